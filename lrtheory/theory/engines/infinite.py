"""The infinite-width limit: decoupled dynamics with the gates averaged, no width, no tau0, no sampling of noise.

Averaging the gates of `decoupled` over neurons leaves outputs that are sums over all past residuals (derived here from
section 3 of Li, Wei & Ma 2019),

    f_t(x) = sum_{s<t} drift_s a^(t-s-1) sum_i R_i(s) <x, x_i> P(x, t; x_i, s),   R_i = -dL/df_i,

P the probability that a neuron's gates at (x, t) and at (x_i, s) are both open (`lrtheory.theory.kernel`), separately for
(x1, W) and (x2, V), or for all pairs of halves where U is shared (conv). With P a sum of exponentials in the noise's clock
the sum over s is carried along as one number for each rate and each row, S_k <- keep_k S_k + gain_k R:

* P rows: the outputs of x1. Off the diagonal |cos| is well below 1, so the leading rates do; the diagonal needs all.
* Q: three directions. Sums and differences of the three are formed on paper, so that nothing cancels at small angles r.

Lives here: memory, outputs, one step of either kind. Lives elsewhere: the kernel itself (kernel) and between the inputs of a
run (gram), which steps are taken (simulate).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import keys, noise
from lrtheory.linalg import matmul
from lrtheory.noise import Move
from lrtheory.theory import kernel
from lrtheory.theory.config import Config
from lrtheory.theory.engines.base import Diagnostics, Engine, Leap, Perturbation, Pullback, Readout, Slope
from lrtheory.theory.engines.gram import TEST_ERROR, off_diagonal, off_diagonal_rates, own_rates, terms
from lrtheory.theory.kernel import Decay
from lrtheory.theory.problem import Data, directions

TEST_ROWS = 64
"""Test points evaluated at a time; the numbers do not depend on it."""
LARGE = 20.0
"""Size of Q's outputs g above which a leap's error counts relative to them: what still learns there has alpha g near 1."""
STIFF = 1e3
"""Response of g(z) to a residual of 1 above which the residual is read from it, and not the other way round."""
NEWTON_STEPS = 12
"""Newton steps for the three outputs of Q; what they leave is part of a leap's error."""


class Inputs(NamedTuple):
    """The training set as the kernel sees it."""

    p_rows: Array  # (n_P, d) x1 of the examples that can carry one, 0 where absent
    pairs: Array | None  # (n_P, n_off * n_P) sum_k S_k -> off-diagonal outputs; None: features
    squares: Array  # (n_P,) |x1|^2
    cross: Array | None  # (3, n_off * n_P) between Q's directions and the P rows (conv); None: block
    on: Array  # (3, N) alpha where the example lies on the direction
    r: Array  # () angle of Q
    z_square: Array  # () |z|^2
    directions: Array  # (3, k) Q's directions, k = 2 (block) or d (conv)


class Source(NamedTuple):
    """Residuals, by row: what a step adds to the memory."""

    p: Array  # (n_P,)
    q: Array  # (3,) sums over a direction's examples of alpha R: total, over z + zeta and z - zeta, their difference


class Gradient(NamedTuple):
    """A source, and the outputs and gates it was read from."""

    source: Source
    f1: Array  # (n_P,)
    g: Array  # (3,)
    shift: Array  # () of the clock, by pre-activation noise


class State(NamedTuple):
    """Decayed sums of past residuals, the outputs they make, and the noise's variance."""

    p: Array  # (leading rates, n_P)
    q: Array  # (rates, 3)
    f1: Array  # (n_P,) outputs of the P rows
    g: Array  # (3,) outputs of Q's directions
    variance: Array  # () v, in units of tau0^2
    squares: Array  # (2,) |Wbar|^2 and |Vbar|^2


def prepare(config: Config, data: Data) -> Inputs:
    """The kernel between the rows of a training set, once for a run."""
    problem = config.problem
    rows = data.x1[problem.p_rows]
    n = rows.shape[0]
    points = directions(problem)
    conv = config.network.variant == "conv"
    if conv:
        points = matmul(points, data.basis[1:])
    pairs = None
    if config.network.kernel == "matrix":
        pairs = off_diagonal(config, rows, rows, keep=1 - jnp.eye(n, dtype=rows.dtype))
    on = data.direction[None] == jnp.arange(3)[:, None]
    return Inputs(p_rows=rows, pairs=pairs, squares=jnp.sum(rows**2, -1),
                  cross=off_diagonal(config, points, rows) if conv else None,
                  on=jnp.where(on, data.alpha[None], 0.0), r=jnp.asarray(problem.r),
                  z_square=jnp.asarray(problem.z_norm) ** 2, directions=points)


def init(config: Config, inputs: Inputs, key: Array) -> State:
    """No residual has been seen: all outputs are 0."""
    del key
    rates, n = terms(config).rates.size, inputs.p_rows.shape[0]
    return State(p=jnp.zeros((own_rates(config), n)), q=jnp.zeros((rates, 3)), f1=jnp.zeros(n), g=jnp.zeros(3),
                 variance=jnp.ones(()), squares=jnp.zeros(2))


# Outputs -----------------------------------------------------------------------------------------------------------------


def read_p(config: Config, inputs: Inputs, p: Array, q: Array) -> Array:
    """Outputs f1 (n_P,) of the P rows from the memory of P (its rates, n_P) and, where weights are shared, of Q."""
    found, count = terms(config), off_diagonal_rates(config)
    if inputs.pairs is None:
        others = _features(config, inputs, p, inputs.p_rows, own=True)
    else:
        others = matmul(inputs.pairs, p[:count].reshape(-1))
    f1 = others + inputs.squares * matmul(jnp.asarray(found.weights[: p.shape[0]]), p)
    if inputs.cross is not None:
        cross = inputs.cross.reshape(3, count, inputs.p_rows.shape[0])
        f1 = f1 + jnp.einsum("bkn,kb->n", cross, _each(q)[:count], precision=jax.lax.Precision.HIGHEST)
    return f1


def read_q(config: Config, inputs: Inputs, p: Array, q: Array) -> Array:
    """Outputs of Q as (g(z), contrast, g(z + zeta) - g(z - zeta)), (3,), from the memories."""
    modes = inputs.z_square * _q_modes(config, inputs.r, q)
    if inputs.cross is not None:
        g = matmul(inputs.cross, p[: off_diagonal_rates(config)].reshape(-1))
        modes = modes + jnp.stack([g[0], g[1] + g[2] - 2 * g[0], g[1] - g[2]])
    return modes


def _q_modes(config: Config, r: Array, q: Array) -> Array:
    """Outputs of Q, as in `read_q` and for |z| = 1, from its own memory q (rates, 3).

    With K_ab the kernel between directions a and b, D1 = P(x) - P(x + c1), c1 = -log cos of the angle between z and z +-
    zeta, D2 likewise for z + zeta and z - zeta, rho the memory of the total, rho_s that of z + zeta and z - zeta together
    and delta their difference: g(z) = P rho - D1 rho_s, contrast = -2 D1 rho + (4 D1 - (1 - r^2) D2) rho_s, and
    g(z + zeta) - g(z - zeta) = (2 r^2 P + (1 - r^2) D2) delta.
    """
    found = terms(config)
    rates, weights = jnp.asarray(found.rates), jnp.asarray(found.weights)
    once = 0.5 * jnp.log1p(r**2)
    twice = jnp.log1p(r**2) - jnp.log1p(-(r**2))
    d1, d2 = (-jnp.expm1(-rates * angle) * weights for angle in (once, twice))
    rho, rho_s, delta = q[:, 0], q[:, 1], q[:, 2]
    return jnp.stack([jnp.sum(weights * rho - d1 * rho_s), jnp.sum(-2 * d1 * rho + (4 * d1 - (1 - r**2) * d2) * rho_s),
                      jnp.sum((2 * r**2 * weights + (1 - r**2) * d2) * delta)])


def _directions_of(modes: Array) -> Array:
    """Outputs g at z, z + zeta, z - zeta from (g(z), contrast, difference)."""
    g_z, contrast, difference = modes
    return jnp.stack([g_z, g_z + (contrast + difference) / 2, g_z + (contrast - difference) / 2])


def _each(q: Array) -> Array:
    """Memories of z, z + zeta, z - zeta from those of (total, both, difference): (rates, 3) to (rates, 3)."""
    return jnp.stack([q[:, 0] - q[:, 1], (q[:, 1] + q[:, 2]) / 2, (q[:, 1] - q[:, 2]) / 2], -1)


def _features(config: Config, inputs: Inputs, p: Array, x: Array, own: bool) -> Array:
    """Off-diagonal outputs (n,) at inputs x (n, d) without pairs: harmonics of degree 0, 1 and 2 of the kernel.

    <x, x'> P = <x, x'>/4 + |x| |x'| sum_k w_k cos^(mu_k + 1), and cos^(mu + 1) = alpha + beta cos^2 + rest, the
    projection on functions of degree 0 and 2 under cos^2 ~ Beta(1/2, (d-1)/2), the law for independent directions. The
    rest, of degree 4 and more, has standard deviation sqrt(24)/d^2 times w_1 and less; no feature of it is kept (an
    approximation, measured in the tests). `own`: x are the training rows, whose own term is taken off.
    """
    found, count = terms(config), off_diagonal_rates(config)
    d, y = config.problem.d, inputs.p_rows
    order = (found.rates[1:count] + 1) / 2

    def moment(k):  # E cos^(2k)
        return math.exp(math.lgamma(k + 0.5) + math.lgamma(d / 2) - math.lgamma(0.5) - math.lgamma(d / 2 + k))

    spread = moment(2) - moment(1) ** 2
    beta = jnp.array([(moment(k + 1) - moment(k) * moment(1)) / spread for k in order]) * found.weights[1:count]
    alpha = jnp.array([moment(k) * w for k, w in zip(order, found.weights[1:count], strict=True)]) - beta * moment(1)
    sizes = jnp.sqrt(inputs.squares)
    inverse = jnp.where(sizes > 0, 1 / jnp.where(sizes > 0, sizes, 1.0), 0.0)
    even = p[1:count]
    level, matrix = matmul(matmul(alpha, even), sizes), matmul((y * (matmul(beta, even) * inverse)[:, None]).T, y)
    norms = jnp.linalg.norm(x, axis=-1)
    quadratic = jnp.sum(matmul(x, matrix) * x, -1) / jnp.where(norms > 0, norms, 1.0)
    f = found.weights[0] * matmul(x, matmul(p[0], y)) + norms * level + quadratic
    if not own:
        return f
    return f - inputs.squares * (found.weights[0] * p[0] + matmul(alpha + beta, even))


# Steps -------------------------------------------------------------------------------------------------------------------


def _source(config: Config, inputs: Inputs, df: Array) -> Source:
    """Residuals by row from dL/df on examples."""
    rho = -matmul(inputs.on, df)
    return Source(-df[config.problem.p_rows], jnp.stack([jnp.sum(rho), rho[1] + rho[2], rho[1] - rho[2]]))


def _examples(config: Config, inputs: Inputs, f1: Array, g: Array) -> Array:
    """Outputs f (N,) on examples from those on P rows and directions."""
    return jnp.pad(f1, (0, config.problem.n_train - f1.shape[0])) + matmul(g, inputs.on)


def forward(config: Config, inputs: Inputs, state: State, perturbation: Perturbation | None) -> tuple[Array, Pullback]:
    """Outputs f (N,), and dL/df -> residuals by row; pre-activation noise blurs the gates, in closed form."""
    f1, g, shift = state.f1, state.g, jnp.zeros(())
    if perturbation is not None:
        shift = kernel.gate_noise_shift(perturbation.level, state.variance)
        blurred = jnp.exp(-jnp.asarray(terms(config).rates) * shift)[:, None]
        f1 = read_p(config, inputs, blurred[: state.p.shape[0]] * state.p, blurred * state.q)
        g = _directions_of(read_q(config, inputs, blurred[: state.p.shape[0]] * state.p, blurred * state.q))
    return _examples(config, inputs, f1, g), lambda df: Gradient(_source(config, inputs, df), f1, g, shift)


def _remember(state: State, decay: Decay, source: Source, blur: Array) -> tuple[Array, Array]:
    """Memories after a move: S_k <- keep_k S_k + gain_k exp(-mu_k shift) R."""
    keep, gain, own = decay.keep[:, None], (decay.gain * blur)[:, None], state.p.shape[0]
    return keep[:own] * state.p + gain[:own] * source.p[None], keep * state.q + gain * source.q[None]


def advance(config: Config, inputs: Inputs, state: State, gradient: Gradient, move: Move, normals: None) -> State:
    """K micro-steps with residuals and gates frozen at their start, S_k <- keep_k S_k + gain_k R (`kernel.frozen_steps`)."""
    del normals
    rates = terms(config).rates
    decay = kernel.frozen_steps(rates, state.variance, move)
    p, q = _remember(state, decay, gradient.source, jnp.exp(-rates * gradient.shift))
    f1 = read_p(config, inputs, p, q)
    g = _directions_of(read_q(config, inputs, p, q))
    a, drift = 1 + move.shrink, move.drift
    work = _work(config, gradient.source, gradient.f1, gradient.g)
    square = _square(config, inputs, gradient.source, f1 - a * state.f1, drift)
    squares = a**2 * state.squares + 2 * a * drift * work + drift * square
    return State(p, q, f1, g, noise.variance(state.variance, move), squares)


def _work(config: Config, source: Source, f1: Array, g: Array) -> Array:
    """-<Ubar, grad L> of each half, (2,): sum_i R_i f(x_i), for f is linear in Ubar under its own gates."""
    parts = jnp.stack([jnp.sum(source.p * f1), jnp.sum(_each(source.q[None])[0] * g)])
    return jnp.full(2, jnp.sum(parts)) if config.network.variant == "conv" else parts


def _square(config: Config, inputs: Inputs, source: Source, change: Array, drift: Array) -> Array:
    """Drift times |grad L|^2 of each half, (2,): drift R K R, K the kernel at lag 0; change is that of P's outputs.

    For Q it is exact; for P (and the pairs of conv) the change holds that of the gates, too: an error of 1e-3 and less.
    """
    at_once = inputs.z_square * _q_modes(config, inputs.r, jnp.tile(source.q, (terms(config).rates.size, 1)))
    return _work(config, source, change, drift * _directions_of(at_once))


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
    f1 = read_p(config, inputs, p, q)
    g = _directions_of(read_q(config, inputs, p, q))
    move = noise.micro_steps(rate, count, config.training.weight_decay, noises[0])
    a, took = 1 + move.shrink, count * rate
    pulls = [_work(config, source, f1, g) for source, f1, g in  # Simpson's rule over the leap
             ((start, start_f1, start_g), (half.source, half.state.f1, half.state.g),
              (halves.source, halves.state.f1, halves.state.g))]
    square = _square(config, inputs, start, f1 - a * state.f1, move.drift)
    squares = a**2 * state.squares + rate * square + jnp.where(
        literal, 2 * a * took * pulls[0], took / 3 * (a**2 * pulls[0] + 4 * a * pulls[1] + pulls[2]))
    of_q = jnp.max(jnp.abs(halves.state.g - whole.state.g)) + whole.left + half.left + halves.left
    error = jnp.maximum(jnp.max(jnp.abs(halves.state.f1 - whole.state.f1), initial=0.0),
                        of_q / jnp.maximum(1.0, jnp.max(jnp.abs(halves.state.g)) / LARGE))
    steady = (rates[1] == rates[2]) & (noises[1] == noises[2])
    variance = jnp.where(steady | literal, whole.state.variance, halves.state.variance)
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
    p, q = literal = _remember(state, decay, start, blur)
    p, q = (blur[: part.shape[0], None] * part for part in (p, q)) if noisy else (p, q)
    f1 = read_p(config, inputs, p, q)
    kept, added = decay.keep * blur, decay.gain * blur**2
    base = read_q(config, inputs, p, kept[:, None] * state.q)
    response = inputs.z_square * jax.vmap(lambda unit: _q_modes(config, inputs.r, added[:, None] * unit[None]),
                                          out_axes=-1)(jnp.eye(3))

    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        """Towards modes = base + response rho(modes), rho the residuals' sums."""
        k, modes, _ = carry
        f = _examples(config, inputs, f1, _directions_of(modes))
        df, curvature = jax.jvp(slope, (f,), (jnp.ones_like(f),))
        value = modes - base - matmul(response, _source(config, inputs, df).q)
        h_z, h_plus, h_minus = matmul(inputs.on**2, curvature)
        both, apart = h_plus + h_minus, h_plus - h_minus
        fall = jnp.stack([jnp.stack([h_z + both, both / 2, apart / 2]),  # -d rho / d modes
                          jnp.stack([both, both / 2, apart / 2]), jnp.stack([apart, apart / 2, both / 2])])
        jacobian = jnp.eye(3) + matmul(response, fall)
        scale = jnp.max(jnp.abs(jacobian), axis=-1)
        change = _solve(jacobian / scale[:, None], value / scale)
        size = jnp.max(jnp.abs(change))
        damping = jnp.minimum(1.0, 4.0 / jnp.maximum(jax.lax.stop_gradient(size), 1e-30))
        return k + 1, modes - change * damping, size

    def unsolved(carry: tuple[Array, Array, Array]) -> Array:
        k, modes, size = carry
        return (k < NEWTON_STEPS) & (size > jnp.finfo(size.dtype).eps * jnp.maximum(1.0, jnp.max(jnp.abs(modes))))

    first = jnp.stack([state.g[0], state.g[1] + state.g[2] - 2 * state.g[0], state.g[1] - state.g[2]])
    _, modes, left = jax.lax.while_loop(unsolved, newton, (jnp.array(0), first, jnp.array(jnp.inf)))
    g = _directions_of(modes)
    source = _stiff(_source(config, inputs, slope(_examples(config, inputs, f1, g))), modes - base, response)
    p, q = _remember(state, decay, source, blur)
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
            f1 = _features(config, inputs, state.p, x, own=False)
        else:
            f1 = matmul(off_diagonal(config, x, inputs.p_rows, TEST_ERROR), state.p[:count].reshape(-1))
        if inputs.cross is not None:
            others = off_diagonal(config, x, inputs.directions, TEST_ERROR)
            f1 = f1 + matmul(others, _each(state.q)[:count].reshape(-1))
        return f1

    n = test.x1.shape[0]
    blocks = jnp.pad(test.x1, ((0, -n % TEST_ROWS), (0, 0))).reshape(-1, TEST_ROWS, test.x1.shape[-1])
    linear = None if inputs.cross is not None else terms(config).weights[0] * matmul(state.p[0], inputs.p_rows)
    return Readout(f1=jax.lax.map(at, blocks).reshape(-1)[:n], g=state.g, linear=linear)


def diagnose(config: Config, inputs: Inputs, state: State, before: State) -> Diagnostics:
    """`Diagnostics`: the variance by its recursion, gates that the noise alone decides, norms of the signal part.

    At infinite width the noise part's norm is infinite: reported as such. Distances are not followed (nan).
    """
    del config, inputs, before
    norms = jnp.sqrt(jnp.maximum(state.squares, 0.0))
    return Diagnostics(noise_variance=jnp.stack([state.variance, state.variance]), gate_agreement=jnp.ones(2),
                       signal_norm=norms, noise_norm=jnp.full(2, jnp.inf), signal_moved=jnp.full(2, jnp.nan))


def tangent(config: Config, inputs: Inputs, state: State, v: Array) -> Array:
    """K v (N,): the outputs of a memory of v alone, at lag 0."""
    del state
    source, rates = _source(config, inputs, -v), terms(config).rates.size
    p, q = (jnp.tile(part, (rates, 1)) for part in source)
    return _examples(config, inputs, read_p(config, inputs, p, q), _directions_of(read_q(config, inputs, p, q)))


INFINITE = Engine(prepare=prepare, init=init, forward=forward, draw=draw, advance=advance, read=read, diagnose=diagnose,
                  tangent=tangent, leap=leap)
"""The engine `infinite`, the one that can choose its steps."""
