"""The infinite-width limit as an engine: many iterations of its memory at once, with an error, and what is measured.

Lives here: leaps, Newton's solve for Q, measurements. Lives elsewhere: the memory, its outputs and single steps (memory),
which steps are taken (simulate).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import keys, noise
from lrtheory.linalg import matmul
from lrtheory.theory import kernel, kinks
from lrtheory.theory.config import Config
from lrtheory.theory.engines.base import Diagnostics, Engine, Leap, Perturbation, Readout, Slope
from lrtheory.theory.engines.gram import TEST_ERROR, off_diagonal, off_diagonal_rates, terms
from lrtheory.theory.engines.memory import (
    Inputs,
    Source,
    State,
    advance,
    ceiling,
    each_direction,
    examples,
    features,
    forward,
    g_of,
    gradient_square,
    init,
    prepare,
    q_modes,
    read_p,
    read_q,
    remember,
    source_of,
    work_done,
)
from lrtheory.theory.problem import Data

TEST_ROWS = 64
"""Test points evaluated at a time; the numbers do not depend on it."""
LARGE = 20.0
"""Size of Q's outputs g above which a leap's error counts relative to them: what still learns there has alpha g near 1."""
STIFF = 1e3
"""Response of g(z) to a residual of 1 above which the residual is read from it, and not the other way round."""
NEWTON_STEPS = 12
"""Newton steps for the three outputs of Q; what they leave is part of a leap's error."""


def leap(config: Config, inputs: Inputs, state: State, slope: Slope, rate: Array, count: Array, level: Array,
         tau_xi: Array | None = None) -> Leap:
    """K iterations at once, of the literal algorithm (K = 1) and not of frozen micro-steps, with an error estimate.

    The residuals over the K iterations are held at their value at the end, once for all K and once for each half
    (gates refresh at every iteration: `kernel.refreshed_steps`); from these two the dependence on K is extrapolated to
    the sum over single iterations. Holding the end value errs by K (K + 1)/2 R' in that sum, halves by K (K + 2)/4 R', so
    S = S_halves + (1 + 2/K) (S_halves - S_whole). Q is solved for the end implicitly, three unknowns by Newton, for its
    common mode is stiff; P is predicted. At K = 1 this is the algorithm itself. The error is the largest difference in
    any output between whole and halves, relative to g/`LARGE` where g is larger: of the first order, while what is kept is
    of the second. Derived here.

    `rate` is eta, `count` K, `level` that of the activation noise (tau0 |x|) and `tau_xi` (tau0) of the injected one (None:
    the config's); `slope` gives dL/df (N,) of f (N,). All are (), or where they move within the leap (3,): means over the
    whole and over the halves of its time, so that the difference of whole and halves, the error, sees them move.
    """
    rates, levels, noises = (jnp.broadcast_to(jnp.asarray(x), (3,)) for x in (
        rate, level, config.training.tau_xi if tau_xi is None else tau_xi))
    rate, level = rates[0], levels[0]
    noisy = config.training.activation_noise_form is not None
    f, pullback = forward(config, inputs, state, Perturbation(level, keys.key(0)) if noisy else None)
    start, start_f1, start_g, _ = pullback(slope(f))
    def attempt(half: _Try, case: Array) -> tuple[_Try, _Try]:
        """All K, the first half, and the second half from where the first one led: one after another, compiled once."""
        second = case == 2
        begun, held = jax.tree.map(lambda a, b: jnp.where(second, a, b), (half.state, half.source), (state, start))
        mean = rates[case]
        found = _implicit(config, inputs, begun, slope, held, mean, jnp.where(case == 0, count, count / 2 * (rate / mean)),
                          levels[case], noises[case])
        return found, found

    none = _Try(state, start, (state.p, state.q), jnp.zeros(()))
    whole, half, halves = (jax.tree.map(lambda leaf, k=k: leaf[k], jax.lax.scan(attempt, none, jnp.arange(3))[1])
                           for k in range(3))
    weight = 1 + 2 / count
    literal = count <= 1
    p, q = (jnp.where(literal, w, h + weight * (h - e)) for w, h, e in
            zip(whole.literal, (halves.state.p, halves.state.q), (whole.state.p, whole.state.q), strict=True))
    steady = (rates[1] == rates[2]) & (noises[1] == noises[2])
    variance = jnp.where(steady | literal, whole.state.variance, halves.state.variance)
    f1 = read_p(config, inputs, p, q)
    g = g_of(config, read_q(config, inputs, p, q), variance)
    move = noise.micro_steps(rate, count, config.training.weight_decay, noises[0])
    a, took = 1 + move.shrink, count * rate
    pulls = [work_done(config, source, f1, g) for source, f1, g in  # Simpson's rule over the leap
             ((start, start_f1, start_g), (half.source, half.state.f1, half.state.g),
              (halves.source, halves.state.f1, halves.state.g))]
    square = gradient_square(config, inputs, start, f1 - a * state.f1, move.drift)
    squares = a**2 * state.squares + rate * square + jnp.where(
        literal, 2 * a * took * pulls[0], took / 3 * (a**2 * pulls[0] + 4 * a * pulls[1] + pulls[2]))
    of_q = jnp.max(jnp.abs(halves.state.g - whole.state.g)) + whole.left + half.left + halves.left
    error = jnp.maximum(jnp.max(jnp.abs(halves.state.f1 - whole.state.f1), initial=0.0),
                        of_q / jnp.maximum(1.0, jnp.max(jnp.abs(halves.state.g)) / LARGE))
    return Leap(State(p, q, f1, g, variance, squares), jnp.where(literal, 0.0, error))


class _Try(NamedTuple):
    """Where K micro-steps with one residual lead."""

    state: State
    source: Source  # at the end
    literal: tuple[Array, Array]  # memories of P and Q with the residual at the start instead
    left: Array  # () what Newton left of its equation


def _implicit(config: Config, inputs: Inputs, state: State, slope: Slope, start: Source, rate: Array, count: Array,
              level: Array, tau_xi: Array | None = None) -> _Try:
    """K micro-steps with the residual at their end (Q) and P's outputs predicted from that at their start."""
    training, rates = config.training, terms(config).rates
    noise_now = training.tau_xi if tau_xi is None else tau_xi
    decay, variance = kernel.refreshed_steps(rates, state.variance, rate, count, training.weight_decay, noise_now)
    noisy = config.training.activation_noise_form is not None
    shift = kernel.gate_noise_shift(level, variance) if noisy else jnp.zeros(())
    blur = jnp.exp(-rates * shift)
    p, q = literal = remember(state, decay, start, blur)
    p, q = (blur[: part.shape[0], None] * part for part in (p, q)) if noisy else (p, q)
    f1 = read_p(config, inputs, p, q)
    kept, added = decay.keep * blur, decay.gain * blur**2
    base = read_q(config, inputs, p, kept[:, None] * state.q)
    response = inputs.z_square * jax.vmap(lambda unit: q_modes(config, inputs.r, added[:, None] * unit[None]),
                                          out_axes=-1)(jnp.eye(3))

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Towards modes = base + response rho(modes), rho the residuals' sums."""
        k, modes, _ = carry
        f = examples(config, inputs, f1, g_of(config, modes, variance))
        df, curvature = jax.jvp(slope, (f,), (jnp.ones_like(f),))
        value = modes - base - matmul(response, source_of(config, inputs, df).q)
        h_z, h_plus, h_minus = matmul(inputs.on**2, curvature)
        both, apart = h_plus + h_minus, h_plus - h_minus
        fall = jnp.stack([jnp.stack([h_z + both, both / 2, apart / 2]),  # -d rho / d modes
                          jnp.stack([both, both / 2, apart / 2]), jnp.stack([apart, apart / 2, both / 2])])
        if config.network.kinks == "moving":
            fall = fall.at[:, 1].multiply(jax.grad(kinks.reached)(modes[1], ceiling(config, variance)))
        jacobian = jnp.eye(3) + matmul(response, fall)
        scale = jnp.max(jnp.abs(jacobian), axis=-1)
        change = _solve(jacobian / scale[:, None], value / scale)
        size = jnp.max(jnp.abs(change))
        damping = jnp.minimum(1.0, 4.0 / jnp.maximum(jax.lax.stop_gradient(size), 1e-30))
        return k + 1, modes - change * damping, size

    def unsolved(carry: tuple[Array, Array, Array]) -> Array:
        k, modes, size = carry
        return (k < NEWTON_STEPS) & (size > jnp.finfo(size.dtype).eps * jnp.maximum(1.0, jnp.max(jnp.abs(modes))))

    if config.network.kinks == "moving":
        first = read_q(config, inputs, state.p, state.q)
    else:
        first = jnp.stack([state.g[0], state.g[1] + state.g[2] - 2 * state.g[0], state.g[1] - state.g[2]])
    _, modes, left = jax.lax.while_loop(unsolved, newton, (jnp.array(0), first, jnp.array(jnp.inf)))
    g = g_of(config, modes, variance)
    source = _stiff(source_of(config, inputs, slope(examples(config, inputs, f1, g))), modes - base, response)
    p, q = remember(state, decay, source, blur)
    return _Try(State(p, q, f1, g, variance, state.squares), source, literal, left)


def _stiff(source: Source, change: Array, response: Array) -> Source:
    """The source with Q's total taken from what it must have done, change (3,) of the modes, where the mode is stiff.

    g(z) = base + response_00 rho + response_01 rho_s, and both it and rho = sum_i alpha_i R_i are known; but as a sum over
    examples rho has lost what is below 1e-17, and response_00 ~ |z|^2 dt multiplies that: at |z|^2 dt above 1e16 g(z) would
    be noise, whatever the step. Read from the change of g(z), rho keeps all its digits. Where response_00 is below
    `STIFF` the sum is the more precise one. Derived here.
    """
    total, both, apart = source.q
    exact = (change[0] - response[0, 1] * both) / response[0, 0]
    return source._replace(q=jnp.stack([jnp.where(response[0, 0] > STIFF, exact, total), both, apart]))


def _solve(matrix: Array, value: Array) -> Array:
    """The solution (3,) of a 3 x 3 system by Cramer's rule: a few products, where a factorisation would be three loops."""
    first, second, third = matrix
    minors = jnp.stack([jnp.cross(second, third), jnp.cross(third, first), jnp.cross(first, second)], -1)
    return jnp.sum(minors * value[None], -1) / jnp.sum(first * minors[:, 0])


# Measurements ------------------------------------------------------------------------------------------------------------


def draw(key: Array, state: State) -> None:
    """Nothing random is injected."""
    del key, state


def read(config: Config, inputs: Inputs, state: State, test: Data) -> Readout:
    """Outputs on test x1 alone (n_test,), from the kernel with the training rows, and on Q's directions (3,).

    The linear part of f1 is that of the rate 0, sum_i S_0i x_i/4 (block).
    """
    count = off_diagonal_rates(config, TEST_ERROR)

    def at(x: Array) -> Array:
        if inputs.pairs is None:
            f1 = features(config, inputs, state.p, x, own=False)
        else:
            f1 = matmul(off_diagonal(config, x, inputs.p_rows, TEST_ERROR), state.p[:count].reshape(-1))
        if inputs.cross is not None:
            others = off_diagonal(config, x, inputs.directions, TEST_ERROR)
            f1 = f1 + matmul(others, each_direction(state.q)[:count].reshape(-1))
        return f1

    n = test.x1.shape[0]
    blocks = jnp.pad(test.x1, ((0, -n % TEST_ROWS), (0, 0))).reshape(-1, TEST_ROWS, test.x1.shape[-1])
    linear = None if inputs.cross is not None else terms(config).weights[0] * matmul(state.p[0], inputs.p_rows)
    return Readout(f1=jax.lax.map(at, blocks).reshape(-1)[:n], g=state.g, linear=linear)


def diagnose(config: Config, inputs: Inputs, state: State, before: State) -> Diagnostics:
    """`Diagnostics`: the variance by its recursion, gates that the noise alone decides, norms of the signal part.

    At infinite width the noise part's norm is infinite: reported as such. Distances are not followed (nan), nor are norms of
    signal parts that move kinks.
    """
    del inputs, before
    norms = jnp.sqrt(jnp.maximum(state.squares, 0.0))
    if config.network.kinks == "moving":
        norms = norms.at[-1].set(jnp.nan)
    return Diagnostics(noise_variance=jnp.stack([state.variance, state.variance]), gate_agreement=jnp.ones(2),
                       signal_norm=norms, noise_norm=jnp.full(2, jnp.inf), signal_moved=jnp.full(2, jnp.nan))


def tangent(config: Config, inputs: Inputs, state: State, v: Array) -> Array:
    """K v (N,): the outputs of a memory of v alone, at lag 0."""
    source, rates = source_of(config, inputs, -v), terms(config).rates.size
    p, q = (jnp.tile(part, (rates, 1)) for part in source)
    _, g = jax.jvp(lambda modes: g_of(config, modes, state.variance), (read_q(config, inputs, state.p, state.q),),
                   (read_q(config, inputs, p, q),))
    return examples(config, inputs, read_p(config, inputs, p, q), g)


INFINITE = Engine(prepare=prepare, init=init, forward=forward, draw=draw, advance=advance, read=read, diagnose=diagnose,
                  tangent=tangent, leap=leap)
"""The engine `infinite`, the one that can choose its steps."""
