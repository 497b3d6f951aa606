"""Injected noise: its balanced strength, what K micro-steps do to it, its variance, and draws.

Lives here: the scalar moments of the update U <- U - eta (grad L_lambda + xi). Lives elsewhere: the gradient
(engines) and the optax form (update).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from lrtheory.schedule import Schedule
from lrtheory.stages import Stages, StageState


def log_decay(rate: ArrayLike, weight_decay: ArrayLike, micro_steps: ArrayLike = 1.0) -> Array:
    """Log a = K log(1 - eta lambda), accurate where eta lambda is below float32's resolution of 1.

    Rate eta, weight decay lambda (eta lambda < 1) and K micro-steps broadcast.

    >>> f"{log_decay(4e-6, 2.3e-4, 1e4):.3g}"  # 1 - eta lambda is 1 in float32
    '-9.2e-06'
    """
    return jnp.asarray(micro_steps) * jnp.log1p(-jnp.asarray(rate) * weight_decay)


def balanced_noise(rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    """tau_xi / tau0 that keeps the noise part at variance tau0^2 under the large rate.

    (1 - eta1 lambda)^2 tau0^2 + eta1^2 tau_xi^2 = tau0^2. Source: assumption 3.1 of Li, Wei & Ma (2019), section 3.
    Rate eta1 and weight decay lambda broadcast.

    >>> f"{balanced_noise(0.5, 1.0):.4f}"  # 0.5^2 + 0.5^2 * 3 = 1
    '1.7321'
    """
    return jnp.sqrt(-jnp.expm1(2 * log_decay(rate, weight_decay))) / rate


class Move(NamedTuple):
    """Moments of K micro-steps: U <- U + shrink U - drift grad L - kick tau0 xi, xi ~ N(0, I)."""

    shrink: Array  # () a - 1 = (1 - eta lambda)^K - 1, added as a product so that float32 keeps its digits
    drift: Array  # () (1 - a)/lambda, in units of time
    kick: Array  # () standard deviation of the injected noise, in units of tau0


def micro_steps(rate: ArrayLike, count: ArrayLike, weight_decay: ArrayLike, tau_xi: ArrayLike) -> Move:
    """K = `count` updates at rate eta with the gradient held fixed, as one move (derived here, exact).

    a = (1 - eta lambda)^K;  U <- a U - ((1 - a)/lambda) grad L - s xi, xi ~ N(0, I),
    s^2 = eta^2 tau_xi^2 (1 - a^2) / (1 - (1 - eta lambda)^2), tau_xi in units of tau0. K = 1 is the algorithm
    itself: a = 1 - eta lambda, drift = eta, s = eta tau_xi. For lambda = 0: drift = K eta, s^2 = K eta^2 tau_xi^2.
    The only error is the frozen gradient, O(K eta). All arguments broadcast; `count` need not be whole, but where
    eta lambda >= 1, so that a is negative or a power of such. First derivatives hold at lambda = 0, too.

    >>> [round(float(x), 4) for x in micro_steps(0.1, 2, 0.5, 1.0)]  # a = 0.95^2
    [-0.0975, 0.195, 0.1379]
    """
    rate, weight_decay, count = (jnp.asarray(v, jnp.result_type(float)) for v in (rate, weight_decay, count))
    decays = weight_decay != 0
    safe = jnp.where(decays, weight_decay, 1.0)
    moves, small = rate > 0, rate * weight_decay < 1  # a rate of 0 moves nothing; beyond 1 there is no logarithm of a
    one = log_decay(jnp.where(moves & small, rate, 0.5 / safe), safe)
    all_ = log_decay(jnp.where(small, rate, 0.5 / safe), safe, count)
    left = 1 - rate * weight_decay
    fewer = jnp.where(small, jnp.expm1(all_), left**count - 1)  # a - 1
    first_order = jnp.where(decays, 0.0, (count - 1) * rate * weight_decay)  # 0, but for its derivative
    shrink = jnp.where(decays, fewer, -count * rate * weight_decay)
    drift = jnp.where(decays, -fewer / safe, count * rate * (1 - first_order / 2))
    first, last = (jnp.where(small, jnp.expm1(2 * power), left ** (2 * k) - 1) for power, k in ((one, 1.0), (all_, count)))
    counted = decays & moves & (first != 0)
    steps = jnp.where(counted, last / jnp.where(first != 0, first, 1.0), count * (1 - first_order))  # draws that count
    return Move(shrink=shrink, drift=drift, kick=rate * tau_xi * jnp.sqrt(steps))


def micro_step_count(rate: ArrayLike, step_time: ArrayLike) -> Array:
    """K = max(1, round(step_time / eta)): micro-steps that cover `step_time` units of time; 1 for 0, and at a rate of 0."""
    rate = jnp.asarray(rate)
    moves = rate > 0
    return jnp.where(moves, jnp.maximum(1.0, jnp.round(step_time / jnp.where(moves, rate, 1.0))), 1.0)


def mean_rate(schedule: Schedule | Stages, state: StageState, clock: ArrayLike, first: ArrayLike,
              step_time: ArrayLike) -> Array:
    """Mean of eta over the micro-steps that cover `step_time` from `clock` on, of which `first` is the first one's rate: ().

    K micro-steps of rate eta start at clock, clock + eta, ..., clock + step_time - eta, the middle of which is clock +
    (step_time - eta)/2: there the rate is their mean up to step_time^2 eta''/24, and it is eta itself where it is constant
    or K = 1. Derived here; all in units of time.
    """
    return schedule.value(state, clock + ahead(first, step_time))


def ahead(first: ArrayLike, step_time: ArrayLike) -> Array:
    """Time from the first to the middle of the micro-steps that cover `step_time`, of a rate near `first`; 0 for one."""
    return jnp.maximum(step_time - jnp.asarray(first), 0.0) / 2


def variance(v: ArrayLike, move: Move) -> Array:
    """Variance of the noise part after a move, v <- a^2 v + s^2, in units of tau0^2. Derived here."""
    return (1 + move.shrink) ** 2 * jnp.asarray(v) + move.kick**2


def variance_over(v: ArrayLike, rates: Array, count: ArrayLike, tau_xi: Array, weight_decay: ArrayLike) -> Array:
    """Variance of the noise part after K = `count` micro-steps whose rate moves, in units of tau0^2. Derived here.

    rates and tau_xi (3,) are means over the whole, its first and its second half of the time that they cover: by two moves,
    or by one where the halves are alike.
    """
    whole = variance(v, micro_steps(rates[0], count, weight_decay, tau_xi[0]))
    half = jnp.asarray(count) / 2
    for k in (1, 2):
        v = variance(v, micro_steps(rates[k], half * (rates[0] / rates[k]), weight_decay, tau_xi[k]))
    return jnp.where((rates[1] == rates[2]) & (tau_xi[1] == tau_xi[2]), whole, v)


def variance_after(time: ArrayLike, v0: ArrayLike, rate: ArrayLike, weight_decay: ArrayLike, tau_xi: ArrayLike) -> Array:
    """Variance of the noise part `time` units of time after it was v0, at a constant rate, in units of tau0^2.

    v_t = v_inf + (v0 - v_inf) (1 - eta lambda)^(2 t/eta), v_inf = eta^2 tau_xi^2 / (1 - (1 - eta lambda)^2): 1 at
    eta = eta1 with balanced noise, close to eta2/eta1 after annealing. Derived here. Time is the sum of rates, tau_xi in
    units of tau0; all arguments broadcast; rate and weight decay above 0.
    """
    v_inf = (jnp.asarray(rate) * tau_xi) ** 2 / -jnp.expm1(2 * log_decay(rate, weight_decay))
    return v_inf + (v0 - v_inf) * jnp.exp(2 * log_decay(rate, weight_decay, time / rate))


def draw(key: Array, like: Any) -> Any:
    """Standard normals in the shapes of a pytree of arrays, from one key (one draw of all: fewer, larger calls)."""
    flat, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, like))
    return unravel(jax.random.normal(key, flat.shape, flat.dtype))
