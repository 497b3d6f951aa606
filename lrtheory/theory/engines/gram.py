"""The kernel between the inputs of a run: which rates it keeps, its entries, and a bound on its error.

Lives here: P(both gates open) for pairs of x1 (and of x1 with Q's directions), as one number for each rate and pair. Lives
elsewhere: the kernel of a lag and an angle (`lrtheory.theory.kernel`), what is done with it (infinite).
"""

import math

import jax.numpy as jnp
from jax import Array

from lrtheory.linalg import matmul
from lrtheory.theory import kernel
from lrtheory.theory.config import Config
from lrtheory.theory.kernel import Expansion

TRAIN_ERROR, TEST_ERROR = 1e-8, 1e-5
"""Error of the kernel between different inputs of P that cutting the rates may add, at the expected largest cosine."""
OWN_ERROR = 1e-9
"""The same for an input and itself; below what shortest lags of 1e-12 and more resolve, so that these keep all rates."""


def terms(config: Config) -> Expansion:
    """The expansion of the kernel that a configuration asks for, (rates,) each, in the precision of the run."""
    found, precision = kernel.expansion(config.network.shortest_lag), jnp.result_type(float)
    return Expansion(found.rates.astype(precision), found.weights.astype(precision), found.error)


def off_diagonal_rates(config: Config, error: float = TRAIN_ERROR) -> int:
    """How many leading rates the kernel between different inputs of P keeps.

    The largest of N^2 cosines between normal vectors is near sqrt(4 log N / d); 0.1 is for their means.
    """
    n = config.problem.p_rows.stop
    largest = min(math.sqrt(4 * math.log(max(n, 2)) / config.problem.d) + 0.1, 0.9999)
    return max(2, kernel.leading_rates(kernel.expansion(config.network.shortest_lag), largest, error))


def own_rates(config: Config) -> int:
    """How many leading rates the kernel between an input of P and itself keeps: all down to lags of 1e-16.

    P is never resolved as finely as Q, whose rates go up to 1/r^2: what is left out adds less than `OWN_ERROR` at any lag.
    """
    return kernel.leading_rates(kernel.expansion(config.network.shortest_lag), 1.0, OWN_ERROR)


def kernel_error(config: Config, x: Array, y: Array | None = None, error: float = TRAIN_ERROR) -> Array:
    """Bound on the error of P(both gates open) between inputs x (n, d), and y (m, d) if given, at any lag: ().

    The expansion's own error, and what the rates beyond `off_diagonal_rates` would add at the largest |cos| there is:
    sum_k w_k |cos|^mu_k over those left out.
    """
    found, count = kernel.expansion(config.network.shortest_lag), off_diagonal_rates(config, error)
    other = x if y is None else y
    norms = jnp.linalg.norm(x, axis=-1)[:, None] * jnp.linalg.norm(other, axis=-1)[None]
    cosines = jnp.abs(matmul(x, other.T)) / jnp.where(norms > 0, norms, 1.0)
    largest = jnp.minimum(jnp.max(cosines * (1 - jnp.eye(x.shape[0])) if y is None else cosines), 1.0)
    return found.error + jnp.sum(jnp.asarray(found.weights[count:]) * largest ** jnp.asarray(found.rates[count:]))


def off_diagonal(config: Config, x: Array, y: Array, error: float = TRAIN_ERROR, keep: Array | float = 1.0) -> Array:
    """|x| |y| w_k cos^(mu_k + 1) of inputs x (n, d) and y (m, d), what rate k adds to `<x, y>` P: (n, rates * m).

    keep (n, m): 0 where a pair is left out. The leading `off_diagonal_rates` are kept. Derived here.
    """
    found, count = terms(config), off_diagonal_rates(config, error)
    norms = jnp.linalg.norm(x, axis=-1)[:, None] * jnp.linalg.norm(y, axis=-1)[None]
    products = matmul(x, y.T)
    square = jnp.clip(products / jnp.where(norms > 0, norms, 1.0), -1.0, 1.0) ** 2
    parts, power = [found.weights[0] * products * keep], norms * keep
    odd = min(count, 1 + kernel.ODD_RATES)
    for k in range(1, odd):  # rates 1, 3, 5, ...: products are cheaper than powers
        power = power * square
        parts.append(found.weights[k] * power)
    if odd < count:
        exponents = (found.rates[odd:count] + 1) / 2
        far = norms[:, None] * square[:, None] ** exponents[None, :, None] * found.weights[odd:count][None, :, None]
        parts.append((far * jnp.broadcast_to(keep, square.shape)[:, None]).reshape(x.shape[0], far.shape[1] * y.shape[0]))
    return jnp.concatenate(parts, axis=-1)
