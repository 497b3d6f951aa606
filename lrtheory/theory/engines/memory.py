"""The memory of infinite width: decoupled dynamics with the gates averaged, no width, no tau0, no sampling of noise.

Averaging the gates of `decoupled` over neurons leaves outputs that are sums over all past residuals (derived here from
section 3 of Li, Wei & Ma 2019),

    f_t(x) = sum_{s<t} drift_s a^(t-s-1) sum_i R_i(s) <x, x_i> P(x, t; x_i, s),   R_i = -dL/df_i,

P the probability that a neuron's gates at (x, t) and at (x_i, s) are both open (`lrtheory.theory.kernel`), separately for
(x1, W) and (x2, V), or for all pairs of halves where U is shared (conv). With P a sum of exponentials in the noise's clock
the sum over s is carried along as one number for each rate and each row, S_k <- keep_k S_k + gain_k R:

* P rows: the outputs of x1. Off the diagonal |cos| is well below 1, so the leading rates do; the diagonal needs all.
* Q: three directions. Sums and differences of the three are formed on paper, so that nothing cancels at small angles r.

Lives here: the memory, the outputs it makes, one step with frozen residuals. Lives elsewhere: leaps over many iterations and
what is measured (infinite), the kernel itself (kernel) and between the inputs of a run (gram).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import noise
from lrtheory.linalg import matmul
from lrtheory.noise import Move
from lrtheory.theory import kernel, kinks
from lrtheory.theory.config import Config
from lrtheory.theory.engines.base import Perturbation, Pullback
from lrtheory.theory.engines.gram import off_diagonal, off_diagonal_rates, own_rates, terms
from lrtheory.theory.kernel import Decay
from lrtheory.theory.problem import Data, directions

GRAM = 16
"""Up to so many P rows a dimension, features read the training rows by their Gram matrix: as large as this many copies of
the rows, and 2 d^2/n_P times fewer operations than by the d^2 products of two coordinates."""


class Inputs(NamedTuple):
    """The training set as the kernel sees it."""

    p_rows: Array  # (n_P, d) x1 of the examples that can carry one, 0 where absent
    pairs: Array | None  # (n_P, n_off * n_P) sum_k S_k -> off-diagonal outputs; None: features
    gram: Array | None  # (n_P, n_P) <x, x'>^2/(|x| |x'|), of which features are made where it is small; else None
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
    squares = jnp.sum(rows**2, -1)
    pairs, gram = None, None
    if config.network.kernel == "matrix":
        pairs = off_diagonal(config, rows, rows, keep=1 - jnp.eye(n, dtype=rows.dtype))
    elif n <= GRAM * problem.d:
        inverse = inverses(jnp.sqrt(squares))
        gram = matmul(rows, rows.T) ** 2 * inverse[:, None] * inverse[None]
    on = data.direction[None] == jnp.arange(3)[:, None]
    return Inputs(p_rows=rows, pairs=pairs, gram=gram, squares=squares,
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
        others = features(config, inputs, p, inputs.p_rows, own=True)
    else:
        others = matmul(inputs.pairs, p[:count].reshape(-1))
    f1 = others + inputs.squares * matmul(jnp.asarray(found.weights[: p.shape[0]]), p)
    if inputs.cross is not None:
        cross = inputs.cross.reshape(3, count, inputs.p_rows.shape[0])
        f1 = f1 + jnp.einsum("bkn,kb->n", cross, each_direction(q)[:count], precision=jax.lax.Precision.HIGHEST)
    return f1


def read_q(config: Config, inputs: Inputs, p: Array, q: Array) -> Array:
    """Outputs of Q as (g(z), contrast, g(z + zeta) - g(z - zeta)), (3,), from the memories."""
    modes = inputs.z_square * q_modes(config, inputs.r, q)
    if inputs.cross is not None:
        g = matmul(inputs.cross, p[: off_diagonal_rates(config)].reshape(-1))
        modes = modes + jnp.stack([g[0], g[1] + g[2] - 2 * g[0], g[1] - g[2]])
    return modes


def q_modes(config: Config, r: Array, q: Array) -> Array:
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


def g_of(config: Config, modes: Array, variance: Array) -> Array:
    """Outputs g at z, z + zeta, z - zeta from (g(z), contrast, difference) of neurons that keep their kinks.

    `Network.kinks` "moving": what neurons of a full network reach of that contrast (`kinks.reached`) at a variance v of
    their noise.
    """
    if config.network.kinks == "moving":
        modes = modes.at[1].set(kinks.reached(modes[1], ceiling(config, variance)))
    return directions_of(modes)


def ceiling(config: Config, variance: Array) -> Array:
    """Largest contrast of the full network whose noise has variance v: `kinks.ceiling` sqrt(v)."""
    return kinks.ceiling(config.problem, config.network) * jnp.sqrt(variance)


def directions_of(modes: Array) -> Array:
    """Outputs g at z, z + zeta, z - zeta from (g(z), contrast, difference)."""
    g_z, contrast, difference = modes
    return jnp.stack([g_z, g_z + (contrast + difference) / 2, g_z + (contrast - difference) / 2])


def each_direction(q: Array) -> Array:
    """Memories of z, z + zeta, z - zeta from those of (total, both, difference): (rates, 3) to (rates, 3)."""
    return jnp.stack([q[:, 0] - q[:, 1], (q[:, 1] + q[:, 2]) / 2, (q[:, 1] - q[:, 2]) / 2], -1)


def features(config: Config, inputs: Inputs, p: Array, x: Array, own: bool) -> Array:
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
    even = p[1:count]
    level, each = matmul(matmul(alpha, even), sizes), matmul(beta, even)
    norms = sizes if own else jnp.linalg.norm(x, axis=-1)
    if own and inputs.gram is not None:
        quadratic = matmul(inputs.gram, each)
    else:
        matrix = matmul((y * (each * inverses(sizes))[:, None]).T, y)
        quadratic = jnp.sum(matmul(x, matrix) * x, -1) * inverses(norms)
    f = found.weights[0] * matmul(x, matmul(p[0], y)) + norms * level + quadratic
    if not own:
        return f
    return f - inputs.squares * (found.weights[0] * p[0] + matmul(alpha + beta, even))


def inverses(lengths: Array) -> Array:
    """1/|x|, and 0 where a row is absent."""
    return jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1.0), 0.0)


# Steps -------------------------------------------------------------------------------------------------------------------


def source_of(config: Config, inputs: Inputs, df: Array) -> Source:
    """Residuals by row from dL/df on examples."""
    rho = -matmul(inputs.on, df)
    return Source(-df[config.problem.p_rows], jnp.stack([jnp.sum(rho), rho[1] + rho[2], rho[1] - rho[2]]))


def examples(config: Config, inputs: Inputs, f1: Array, g: Array) -> Array:
    """Outputs f (N,) on examples from those on P rows and directions."""
    return jnp.pad(f1, (0, config.problem.n_train - f1.shape[0])) + matmul(g, inputs.on)


def forward(config: Config, inputs: Inputs, state: State, perturbation: Perturbation | None) -> tuple[Array, Pullback]:
    """Outputs f (N,), and dL/df -> residuals by row; pre-activation noise blurs the gates, in closed form."""
    f1, g, shift = state.f1, state.g, jnp.zeros(())
    if perturbation is not None:
        shift = kernel.gate_noise_shift(perturbation.level, state.variance)
        blurred = jnp.exp(-jnp.asarray(terms(config).rates) * shift)[:, None]
        f1 = read_p(config, inputs, blurred[: state.p.shape[0]] * state.p, blurred * state.q)
        modes = read_q(config, inputs, blurred[: state.p.shape[0]] * state.p, blurred * state.q)
        g = g_of(config, modes, state.variance)
    return examples(config, inputs, f1, g), lambda df: Gradient(source_of(config, inputs, df), f1, g, shift)


def remember(state: State, decay: Decay, source: Source, blur: Array) -> tuple[Array, Array]:
    """Memories after a move: S_k <- keep_k S_k + gain_k exp(-mu_k shift) R."""
    keep, gain, own = decay.keep[:, None], (decay.gain * blur)[:, None], state.p.shape[0]
    return keep[:own] * state.p + gain[:own] * source.p[None], keep * state.q + gain * source.q[None]


def advance(config: Config, inputs: Inputs, state: State, gradient: Gradient, move: Move, normals: None) -> State:
    """K micro-steps with residuals and gates frozen at their start, S_k <- keep_k S_k + gain_k R (`kernel.frozen_steps`)."""
    del normals
    rates = terms(config).rates
    decay = kernel.frozen_steps(rates, state.variance, move)
    p, q = remember(state, decay, gradient.source, jnp.exp(-rates * gradient.shift))
    f1 = read_p(config, inputs, p, q)
    variance = noise.variance(state.variance, move)
    g = g_of(config, read_q(config, inputs, p, q), variance)
    a, drift = 1 + move.shrink, move.drift
    work = work_done(config, gradient.source, gradient.f1, gradient.g)
    square = gradient_square(config, inputs, gradient.source, f1 - a * state.f1, drift)
    squares = a**2 * state.squares + 2 * a * drift * work + drift * square
    return State(p, q, f1, g, variance, squares)


def work_done(config: Config, source: Source, f1: Array, g: Array) -> Array:
    """-<Ubar, grad L> of each half, (2,): sum_i R_i f(x_i), for f is linear in Ubar under its own gates."""
    parts = jnp.stack([jnp.sum(source.p * f1), jnp.sum(each_direction(source.q[None])[0] * g)])
    return jnp.full(2, jnp.sum(parts)) if config.network.variant == "conv" else parts


def gradient_square(config: Config, inputs: Inputs, source: Source, change: Array, drift: Array) -> Array:
    """Drift times |grad L|^2 of each half, (2,): drift R K R, K the kernel at lag 0; change is that of P's outputs.

    For Q it is exact; for P (and the pairs of conv) the change holds that of the gates, too: an error of 1e-3 and less.
    """
    at_once = inputs.z_square * q_modes(config, inputs.r, jnp.tile(source.q, (terms(config).rates.size, 1)))
    return work_done(config, source, change, drift * directions_of(at_once))
