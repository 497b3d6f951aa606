"""The kernel with memory: how likely two gates of one neuron are both open, at two times and for two inputs.

Lives here: the noise's clock, the expansion of the kernel in exponentials of it, its error bounds. Lives elsewhere: the
sums over examples and the dynamics that use them (engines.infinite).

Derivation (this project's, from the gates of section 3 of Li, Wei & Ma 2019). A neuron's noise part is a Gaussian vector
utilde, so the signs of `<utilde_t, x>` and `<utilde_s, x'>` are those of two normals with correlation
rho(t, s) cos(x, x'), and

    P(both gates open) = 1/4 + arcsin(rho(t, s) cos(x, x')) / (2 pi).

The noise part follows U <- a U - kick xi, so rho(t, s) = prod a sqrt(v_s / v_t) = exp(-(C_t - C_s)) with the clock
C_t = -sum log a + (1/2) log v_t: exact at any rate and through annealing. For an angle with 0 < cos <= 1 the angle is but a
shift of the clock: arcsin(rho cos) = A(x - log cos), A(x) = arcsin(exp(-x)), x = C_t - C_s. One sum of exponentials
A(x) = sum_k w_k exp(-mu_k x) therefore serves all angles and all lags, with weights w_k cos^mu_k, and turns the memory of
all past residuals into one decaying number a rate (and arcsin is odd, which serves obtuse angles).
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lrtheory import noise
from lrtheory.noise import Move

ODD_RATES, NEAR_STEP, NEAR_END, FAR_STEP, FITTED_FAR = 6, 0.33, 1000.0, 0.5, 8
"""Rates of the expansion: the first odd integers, then geometric with these steps in log rate; see `expansion`."""


class Expansion(NamedTuple):
    """P(both gates open) = sum_k weights[k] exp(-rates[k] x) at equal inputs and lag x of the clock; rates[0] = 0."""

    rates: np.ndarray  # (rates,) ascending
    weights: np.ndarray  # (rates,) positive
    error: float  # largest error over all lags x >= 0, and so over all angles


def overlap(lag: np.ndarray | float) -> np.ndarray:
    """P(both gates open) = 1/4 + arcsin(exp(-lag)) / (2 pi), lag (...) >= 0, without cancellation at short lags: (...).

    >>> import math
    >>> [round(float(overlap(lag)), 4) for lag in (0.0, math.log(2), math.inf)]
    [0.5, 0.3333, 0.25]
    """
    lag = np.asarray(lag, float)
    return 0.25 + np.arctan2(np.exp(-lag), np.sqrt(-np.expm1(-2 * lag))) / (2 * np.pi)


@functools.cache
def expansion(shortest_lag: float) -> Expansion:
    """The kernel as a sum of exponentials, P(x) = sum_k w_k exp(-mu_k x), resolved down to lags of `shortest_lag`.

    arcsin(e^-x) = sum_n c_n e^-(2n+1)x exactly, c_n = Gamma(n + 1/2) / (sqrt(pi) n! (2n+1)): a positive density over the
    odd rates. The first rates keep their place; the others are gathered on a geometric grid. Far out the weights are the
    density times the spacing, whose relative error exp(-pi^2/spacing) is the same at all scales (the trapezoidal rule for
    x^(-1/2)); near the odd rates they are fitted by least squares to the relative error of dP/dx. Cutting at the rate
    100/shortest_lag leaves an error below 0.1 sqrt(shortest_lag) at lag 0; `error` is the largest one measured.
    Derived here; kept for each `shortest_lag` once computed.
    """
    odd = 2 * np.arange(ODD_RATES) + 1.0
    near = np.arange(1 + round(math.log(NEAR_END / (odd[-1] + 2)) / NEAR_STEP))
    near = (odd[-1] + 2) * np.exp(NEAR_STEP * near)
    count = max(FITTED_FAR, math.ceil(math.log(100 / shortest_lag / near[-1]) / FAR_STEP))
    far = near[-1] * np.exp(FAR_STEP * np.arange(1, count + 1))
    rates = np.concatenate([odd, near, far])
    spacing = np.concatenate([np.full(odd.size, 2.0), NEAR_STEP * near, FAR_STEP * far])
    spacing[odd.size + near.size - 1] *= (1 + FAR_STEP / NEAR_STEP) / 2
    weights = spacing * np.array([_density(rate) for rate in rates])
    fitted = np.arange(2, odd.size + near.size + FITTED_FAR)
    x = np.geomspace(0.003 / rates[fitted[-1]], 40, 4000)
    decays = np.exp(-np.outer(x, rates)) * rates
    known = np.setdiff1d(np.arange(rates.size), fitted)
    missing = 1 / np.sqrt(np.expm1(2 * x)) - decays[:, known] @ weights[known]
    scale = np.sqrt(2 * x)
    weights[fitted] = np.linalg.lstsq(decays[:, fitted] * scale[:, None], missing * scale, rcond=1e-14)[0]
    rates, weights = np.append(0.0, rates), np.append(0.25, weights / (2 * np.pi))
    x = np.append(0.0, np.geomspace(0.01 * shortest_lag, 50, 4000))
    error = float(np.max(np.abs(np.exp(-np.outer(x, rates)) @ weights - overlap(x))))
    return Expansion(rates, weights, error)


def _density(rate: float) -> float:
    """The weights c_n of arcsin's series per unit of rate 2n+1: Gamma(mu/2) / (2 sqrt(pi) mu Gamma(mu/2 + 1/2))."""
    if rate > 1e6:
        ratio = math.sqrt(2 / rate) * (1 + 1 / (4 * rate))
    else:
        ratio = math.exp(math.lgamma(rate / 2) - math.lgamma((rate + 1) / 2))
    return ratio / (2 * math.sqrt(math.pi) * rate)


def leading_rates(terms: Expansion, cosine: float, tolerance: float) -> int:
    """How many of the first rates leave an error below `tolerance` for all |cos| <= cosine, whatever the lag."""
    left = np.cumsum((terms.weights * cosine**terms.rates)[::-1])[::-1]
    return int(np.sum(left > tolerance))


def clock_step(variance: ArrayLike, move: Move) -> Array:
    """C_{t+1} - C_t = (1/2) log(1 + kick^2 / (a^2 v_t)) >= 0, exact: v_{t+1} = a^2 v_t + kick^2, variance v in tau0^2.

    Derived here; a lag of the clock has no unit.
    """
    return 0.5 * jnp.log1p((move.kick / (1 + move.shrink)) ** 2 / variance)


def gate_noise_shift(level: ArrayLike, variance: ArrayLike) -> Array:
    """What pre-activation noise of `level` tau0 |x| does to a gate: it shifts the clock by (1/2) log(1 + level^2/v).

    The noisy pre-activation has variance tau0^2 |x|^2 (v + level^2), of which v correlates with anything else, so every
    cosine is multiplied by sqrt(v / (v + level^2)), once for each of the two gates that is noisy. Fresh draws make no
    difference between one normal a neuron and one a neuron and example. Derived here; variance v in units of tau0^2.
    """
    return 0.5 * jnp.log1p(jnp.asarray(level) ** 2 / variance)


class Decay(NamedTuple):
    """What K micro-steps do to the memory of rate mu_k: S_k <- keep[k] S_k + gain[k] R, R the residual."""

    keep: Array  # (rates,) a^K exp(-mu_k (C_{t+K} - C_t))
    gain: Array  # (rates,) units of time


def frozen_steps(rates: np.ndarray, variance: Array, move: Move) -> Decay:
    """K micro-steps with residuals and gates both frozen at their start, as engines with neurons take them.

    A residual of step s enters step t > s with weight drift a^(t-s-1) exp(-mu_k (C_t - C_s)). Derived here; rates mu
    (rates,), variance v () in units of tau0^2.
    """
    forget = jnp.exp(-rates * clock_step(variance, move))
    return Decay(keep=(1 + move.shrink) * forget, gain=move.drift * forget)


def refreshed_steps(rates: np.ndarray, variance: Array, rate: Array, count: Array, weight_decay: ArrayLike,
                    tau_xi: ArrayLike) -> tuple[Decay, Array]:
    """K = `count` micro-steps with the residual held and the gates refreshed at each, and the new variance.

    gain_k = sum_{j<K} eta a^(K-1-j) exp(-mu_k (C_K - C_j)) = (eta/a) (1 - q^K)/(1/q - 1), q = a exp(-mu_k (C_K - C_0)/K):
    the clock runs evenly within the move, which is exact at stationary variance and else errs by O(K eta lambda) of K eta.
    K need not be whole; at K = 1 it is `frozen_steps`. Derived here; rates mu (rates,), all others (), variance in units of
    tau0^2, tau_xi in units of tau0.
    """
    move = noise.micro_steps(rate, count, weight_decay, tau_xi)
    ticks = clock_step(variance, move)
    log_a = noise.log_decay(rate, weight_decay)
    slowing = rates * ticks / count - log_a  # -log q
    slowing = jnp.maximum(slowing, float(jnp.finfo(slowing.dtype).tiny) ** 0.75)  # nothing decays: gain is K eta
    most = 0.49 * math.log(float(jnp.finfo(slowing.dtype).max))  # beyond it the gain is 0 in any sum
    gain = rate * jnp.exp(-log_a) * -jnp.expm1(-count * slowing) / jnp.expm1(jnp.minimum(slowing, most))
    keep = jnp.exp(-count * slowing)
    return Decay(keep, gain), noise.variance(variance, move)
