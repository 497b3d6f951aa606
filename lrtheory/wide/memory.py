"""The memory of an infinitely wide network on given arrays: what it puts out, single iterations, many at once.

The memory is that of `gram`; the outputs of the first rates, Z_k = A_k S_k, are carried along beside it, for they follow
the same recursion, Z_k <- keep_k Z_k + gain_k A_k R: a step needs the product A R for each residual R that it tries, and no
other.

Lives here: the state, its outputs, leaps. Lives elsewhere: the kernel's entries (gram), the length of leaps (leaps), what a
run is and what is recorded of it (simulate).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.leaps import Levels
from lrtheory.linalg import matmul
from lrtheory.theory import kernel
from lrtheory.theory.kernel import Decay
from lrtheory.wide.gram import Block, Pairs, Reading

LARGE = 20.0
"""Size of outputs above which a leap's error counts relative to them."""
NEWTON_STEPS = 12
"""Newton steps for the common modes; what they leave is part of a leap's error."""


class Task(NamedTuple):
    """What shapes the program: functions and choices."""

    loss: Callable[[Any, Any], Array]  # (outputs, y) -> a loss an example, or their mean
    kind: str  # of y: signs, classes or numbers
    groups: tuple[str, ...]  # of training rows
    tests: tuple[str, ...]  # names of the sets of test rows; "" is the one without a name
    batch_size: int | None
    noisy: bool  # whether there is noise on activations
    literal: bool  # iterations one by one
    outputs: int  # how many the network has
    keep: bool  # whether they are recorded


class Numbers(NamedTuple):
    """What does not."""

    rates: Any  # (rates,) of the expansion
    weights: Any  # (rates,)
    weight_decay: Any
    tau_xi: Any  # (blocks,) in units of the initial weights' standard deviation
    tolerance: Any
    step_time: Any
    largest_loss: Any
    unit: Any  # of the records' times


class Setting(NamedTuple):
    """What stays fixed over a run: the arrays of a seed."""

    blocks: tuple[Block, ...]
    modes: Any  # (n, modes) common modes of the outputs
    y: Any  # (n,) or (n, outputs)
    groups: Any  # (groups, n) share of each row in the mean of a group
    reads: tuple[tuple[Reading, ...], ...]  # of each set of test rows, of each block
    y_tests: tuple[Any, ...]
    seed: Any  # ()


class Memory(NamedTuple):
    """Decayed sums of past residuals of one block, and what the first rates make of them."""

    sums: Array  # (rates, directions, outputs) S_k, residuals times |x|
    dense: Array  # (dense rates, directions, outputs) A_k S_k


class State(NamedTuple):
    """An infinitely wide network: it is a function of its past residuals."""

    memory: tuple[Memory, ...]
    f: Array  # (n, outputs) on the training rows
    variance: Array  # (blocks,) v of the noise, in units of tau0^2


# Outputs -----------------------------------------------------------------------------------------------------------------


def remote(pairs: Pairs, sums: Array, size: int) -> Array:
    """What near pairs add beyond the first rates: (size, outputs) from sums (rates, directions, outputs)."""
    first, second = pairs.at
    count = pairs.dense.shape[0]
    there = sums[count : count + pairs.far.shape[0]][:, second]
    return jnp.zeros((size, sums.shape[-1])).at[first].add(jnp.einsum("kp,kpc->pc", pairs.far, there))


def read_block(numbers: Numbers, block: Block, memory: Memory, blur: Array) -> Array:
    """Outputs (n, outputs) of one block on the training rows; blur (rates,): what activation noise leaves of each rate."""
    sums = blur[:, None, None] * memory.sums
    g = jnp.sum(blur[: memory.dense.shape[0], None, None] * memory.dense, 0)
    g = g + jnp.einsum("k,kdc->dc", numbers.weights, sums, precision=jax.lax.Precision.HIGHEST)
    if block.pairs.far.size:
        g = g + remote(block.pairs, sums, g.shape[0])
    return block.scale[:, None] * g[block.direction]


def outputs(numbers: Numbers, setting: Setting, memory: tuple[Memory, ...], blur: Array | None = None) -> Array:
    """Outputs (n, outputs) on the training rows, of all blocks; blur (blocks, rates) as in `read_block`."""
    blurs = jnp.ones((len(memory), numbers.rates.shape[0])) if blur is None else blur
    return jnp.asarray(sum(read_block(numbers, block, part, blurs[b]) for b, (block, part) in enumerate(
        zip(setting.blocks, memory, strict=True))))


def read_rows(numbers: Numbers, reads: tuple[Reading, ...], state: State) -> Array:
    """Outputs (n_test, outputs) on other rows."""
    del numbers
    total: Any = 0.0
    for reading, memory in zip(reads, state.memory, strict=True):
        count = reading.pairs.dense.shape[0]
        g = jnp.einsum("knd,kdc->nc", reading.pairs.dense, memory.sums[:count], precision=jax.lax.Precision.HIGHEST)
        if reading.pairs.far.size:
            g = g + remote(reading.pairs, memory.sums, g.shape[0])
        total = total + reading.scale[:, None] * g[reading.direction]
    return total


class Source(NamedTuple):
    """A residual, and what each block makes of it."""

    rows: Array  # (n, outputs) R = -dL/df
    sums: tuple[Array, ...]  # (directions, outputs) of each block: |x| R, summed over a direction
    dense: tuple[Array, ...]  # (dense rates, directions, outputs) A_k of these


def sources(setting: Setting, rows: Array) -> Source:
    """Of residuals (n, outputs)."""
    sums = tuple(jnp.zeros((block.there.shape[0], rows.shape[1])).at[block.direction].add(block.scale[:, None] * rows)
                 for block in setting.blocks)
    dense = tuple(matmul(block.pairs.dense, part) for block, part in zip(setting.blocks, sums, strict=True))
    return Source(rows, sums, dense)


def residual(task: Task, setting: Setting, f: Array) -> Array:
    """R = -dL/df (n, outputs) of the mean loss."""
    return -jax.grad(lambda f: mean_loss(task, f, setting.y))(f)


def mean_loss(task: Task, f: Array, y: Array) -> Array:
    """The loss of outputs (n, outputs) on labels, without weight decay: ()."""
    return jnp.mean(task.loss(shaped(task, f), y))


def shaped(task: Task, f: Array) -> Array:
    """Outputs as losses take them: (n,) where there is one."""
    return f[:, 0] if task.kind == "signs" or (task.kind == "numbers" and f.shape[1] == 1) else f


def each_loss(task: Task, f: Array, y: Array) -> Array:
    """The loss of each example, (n,), or its mean for each where the loss is one number."""
    return jnp.broadcast_to(task.loss(shaped(task, f), y), y.shape[:1])


def wrong(task: Task, f: Array, y: Array) -> Array:
    """Share of wrong answers an example, (n,): among equal largest outputs one is drawn."""
    if task.kind == "signs":
        right = jnp.where(f[:, 0] == 0, 0.5, (f[:, 0] * y > 0).astype(f.dtype))
        return 1 - right
    ties = f == jnp.max(f, -1, keepdims=True)
    mine = jnp.take_along_axis(ties, y[:, None].astype(int), -1)[:, 0]
    return 1 - mine / jnp.maximum(jnp.sum(ties, -1), 1)


# Leaps -------------------------------------------------------------------------------------------------------------------


def remember(memory: Memory, decay: Decay, sums: Array, dense: Array, blur: Array) -> Memory:
    """After a move: S_k <- keep_k S_k + gain_k exp(-mu_k shift) R, and so the outputs of the first rates."""
    keep, gain = decay.keep[:, None, None], (decay.gain * blur)[:, None, None]
    count = memory.dense.shape[0]
    return Memory(keep * memory.sums + gain * sums[None], keep[:count] * memory.dense + gain[:count] * dense)


class _Move(NamedTuple):
    """K iterations as the memories see them, for each block."""

    decay: Decay  # (blocks, rates)
    blur: Array  # (blocks, rates)
    variance: Array  # (blocks,) after them

    def of(self, block: int) -> Decay:
        """What happens to the memory of one block."""
        return Decay(self.decay.keep[block], self.decay.gain[block])


def _move(task: Task, numbers: Numbers, variance: Array, rate: Array, count: Array, level: Array, injected: Array) -> _Move:
    """What K iterations at a rate do to the memories; `level` of activation noise, `injected` of the injected one."""
    def one(variance: Array, tau: Array) -> tuple[Decay, Array]:
        return kernel.refreshed_steps(numbers.rates, variance, rate, count, numbers.weight_decay, injected * tau)

    decay, after = jax.vmap(one)(variance, numbers.tau_xi)
    shift = kernel.gate_noise_shift(level, after) if task.noisy else jnp.zeros_like(after)
    return _Move(decay, jnp.exp(-numbers.rates[None] * shift[:, None]), after)


class _Try(NamedTuple):
    """Where K iterations with one residual lead."""

    state: State
    source: Source  # at the end
    left: Array  # () what Newton left of its equation


def _ahead(task: Task, numbers: Numbers, setting: Setting, state: State, start: Source, move: _Move) -> State:
    """The state after a move with the residual held at its start."""
    memory = tuple(remember(memory, move.of(b), start.sums[b], start.dense[b], move.blur[b])
                   for b, memory in enumerate(state.memory))
    return State(memory, outputs(numbers, setting, memory, move.blur), move.variance)


def _end_residual(task: Task, numbers: Numbers, setting: Setting, ahead: State, start: Array,
                  move: _Move) -> tuple[Array, Array]:
    """The residual at the end of a move, (n, outputs), the common modes implicitly, and what Newton left: ().

    f = f_ahead + G (R(f) - R_start) within the span of the common modes, G the kernel that the move adds; outside of it the
    outputs are those ahead.
    """
    v = setting.modes
    added = move.decay.gain * move.blur**2
    small = sum(jnp.einsum("k,kab->ab", added[b], block.modes, precision=jax.lax.Precision.HIGHEST)
                for b, block in enumerate(setting.blocks))
    small = jnp.asarray(small)
    modes, outputs = small.shape[0], start.shape[1]

    def value(change: Array) -> tuple[Array, Array]:
        f = ahead.f + matmul(v, change)
        return change - matmul(small, matmul(v.T, residual(task, setting, f) - start)), f

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, change, _ = carry
        off, f = value(change)
        # -dR/df, one output at a time: (outputs, n, outputs)
        units = jnp.eye(outputs)
        curvature = jnp.stack([-jax.jvp(lambda f: residual(task, setting, f), (f,), (jnp.broadcast_to(u, f.shape),))[1]
                               for u in units])
        curved = jnp.einsum("na,dnc,nb->acbd", v, curvature, v, precision=jax.lax.Precision.HIGHEST)
        jacobian = jnp.einsum("ea,acbd->ecbd", small, curved, precision=jax.lax.Precision.HIGHEST)
        jacobian = jacobian.reshape(modes * outputs, modes * outputs) + jnp.eye(modes * outputs)
        step = jnp.linalg.solve(jacobian, off.reshape(-1)).reshape(off.shape)
        size = jnp.max(jnp.abs(matmul(v, step)))
        damping = jnp.minimum(1.0, 4.0 / jnp.maximum(size, 1e-30))
        return k + 1, change - damping * step, size

    def unsolved(carry: tuple[Array, Array, Array]) -> Array:
        k, _, size = carry
        return (k < NEWTON_STEPS) & (size > 1e-3 * numbers.tolerance)

    zero = jnp.zeros((modes, outputs))
    _, change, left = jax.lax.while_loop(unsolved, newton, (jnp.array(0), zero, jnp.array(jnp.inf)))
    return residual(task, setting, ahead.f + matmul(v, change)), left


def leap(task: Task, numbers: Numbers, setting: Setting, state: State, parts: Levels,
         count: Array) -> tuple[State, Array]:
    """K iterations at once with an error estimate, as `theory.engines.infinite.leap`: whole, halves, and what both say.

    The residual is held at its end value over the K iterations and over each half; from the two the dependence on K is
    extrapolated to the sum over single iterations, S = S_halves + (1 + 2/K) (S_halves - S_whole). At K = 1 it is the
    algorithm itself. The error is the largest difference in any output between whole and halves. Derived here.
    """
    start = sources(setting, residual_seen(task, numbers, setting, state, parts.activation[0]))

    def attempt(half: _Try, case: Array) -> tuple[_Try, _Try]:
        """All K, the first half, and the second from where the first one led: one after another, compiled once."""
        begun, held = jax.tree.map(lambda a, b: jnp.where(case == 2, a, b), (half.state, half.source), (state, start))
        iterations = jnp.where(case == 0, count, count / 2 * (parts.eta[0] / parts.eta[case]))
        move = _move(task, numbers, begun.variance, parts.eta[case], iterations, parts.activation[case], parts.tau_xi[case])
        ahead = _ahead(task, numbers, setting, begun, held, move)
        rows, left = _end_residual(task, numbers, setting, ahead, held.rows, move)
        source = sources(setting, rows)
        extra = jax.tree.map(jnp.subtract, source, held)  # beyond what is ahead
        memory = tuple(remember(part, move.of(b)._replace(keep=jnp.ones_like(numbers.rates)), extra.sums[b], extra.dense[b],
                                move.blur[b]) for b, part in enumerate(ahead.memory))
        found = _Try(State(memory, outputs(numbers, setting, memory), move.variance), source, left)
        return found, found

    none = _Try(state, start, jnp.zeros(()))
    whole, half, halves = (jax.tree.map(lambda leaf, k=k: leaf[k], jax.lax.scan(attempt, none, jnp.arange(3))[1])
                           for k in range(3))
    weight, one = 1 + 2 / count, count <= 1
    literal = literal_state(task, numbers, setting, state, start, parts, count)
    memory = jax.tree.map(lambda lit, w, h: jnp.where(one, lit, h + weight * (h - w)), literal.memory,
                          whole.state.memory, halves.state.memory)
    steady = (parts.eta[1] == parts.eta[2]) & (parts.tau_xi[1] == parts.tau_xi[2])
    variance = jnp.where(steady | one, whole.state.variance, halves.state.variance)
    f = outputs(numbers, setting, memory)
    error = (jnp.max(jnp.abs(halves.state.f - whole.state.f)) + whole.left + half.left + halves.left) / jnp.maximum(
        1.0, jnp.max(jnp.abs(halves.state.f)) / LARGE)
    return State(memory, f, variance), jnp.where(one, 0.0, error)


def residual_seen(task: Task, numbers: Numbers, setting: Setting, state: State, level: Array) -> Array:
    """The residual R (n, outputs) that the gradient has, of outputs under activation noise where there is any."""
    return residual(task, setting, outputs_seen(task, numbers, setting, state, level))


def outputs_seen(task: Task, numbers: Numbers, setting: Setting, state: State, level: Array) -> Array:
    """Outputs (n, outputs) under activation noise of a level; without any, as they are."""
    if not task.noisy:
        return state.f
    shift = kernel.gate_noise_shift(level, state.variance)
    return outputs(numbers, setting, state.memory, jnp.exp(-numbers.rates[None] * shift[:, None]))


def literal_state(task: Task, numbers: Numbers, setting: Setting, state: State, start: Source, parts: Levels,
                  count: Array) -> State:
    """One iteration (or K with all held), as the algorithm says: residual and activation noise of its start."""
    move = _move(task, numbers, state.variance, parts.eta[0], count, parts.activation[0], parts.tau_xi[0])
    shift = kernel.gate_noise_shift(parts.activation[0], state.variance) if task.noisy else jnp.zeros_like(state.variance)
    blur = jnp.exp(-numbers.rates[None] * shift[:, None])
    memory = tuple(remember(memory, move.of(b), start.sums[b], start.dense[b], blur[b])
                   for b, memory in enumerate(state.memory))
    return State(memory, outputs(numbers, setting, memory), move.variance)
