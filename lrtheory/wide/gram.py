"""The kernel with memory between your inputs: for each rate its entries, few where inputs are far apart, all where near.

With gates refreshed by noise the outputs are sums over past residuals R (derived here, from `theory.kernel`),

    f(x) = sum_k sum_j <x, x_j> w_k sgn(c_j) |c_j|^mu_k S_k,j,    c_j = cos(x, x_j),    S_k <- keep_k S_k + gain_k R,

one decaying memory S_k a rate mu_k of the expansion; the rate mu_0 = 0 goes without the sign. The weight |c|^mu falls
quickly with mu unless inputs are nearly parallel, so the first rates are kept for all pairs as matrices, and the others for
near pairs alone. Rows along one direction share a memory: a pattern that thousands of examples carry costs as much as one.

Lives here: which rates are kept for which pairs, the entries, a bound on what is left out; NumPy, in float64. Lives
elsewhere: the expansion (theory.kernel), the dynamics (simulate).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lrtheory.theory.kernel import Expansion

SPARSE_COST = 10
"""What an entry of a pair that is kept apart costs, in entries of a matrix."""
SAME = 10
"""Decimals of a unit vector by which directions are told apart; closer ones are one direction: an error below 1e-10."""
MODES = 24
"""Common modes of the outputs that a step solves for implicitly."""
POWERS = 12
"""Iterations of the subspace iteration that finds them; they need not be exact."""


class Rows(NamedTuple):
    """Inputs of one block as multiples of unit vectors."""

    scale: Any  # (n,) |x|, 0 for a row of zeros
    direction: Any  # (n,) which unit vector
    units: Any  # (directions, d)


class Plan(NamedTuple):
    """How much of the kernel of one block is kept: sizes alone, the same for all seeds."""

    directions: int  # of the training rows
    others: int  # of the rows at which it is read
    dense: int  # rates that all pairs keep
    most: int  # rates that near pairs keep
    pairs: int  # near pairs


class Pairs(NamedTuple):
    """The kernel between the directions of two sets of rows, w_k c |c|^mu_k."""

    dense: Any  # (dense rates, n, m), the first rates of all pairs
    at: Any  # (2, pairs) int, which two
    far: Any  # (further rates, pairs), those of near pairs


class Block(NamedTuple):
    """One block of inputs as the dynamics see it."""

    scale: Any  # (n,) |x| of the training rows
    direction: Any  # (n,)
    there: Any  # (directions,) 1, or 0 where a direction only fills up
    pairs: Pairs  # between different training directions
    modes: Any  # (rates, modes, modes) the whole kernel between the common modes


class Reading(NamedTuple):
    """The kernel of one block between test rows and training rows."""

    scale: Any  # (n_test,)
    direction: Any  # (n_test,)
    pairs: Pairs


def rows_of(x: np.ndarray) -> Rows:
    """Inputs x (n, d) as multiples of the unit vectors among them that differ."""
    x = np.asarray(x, np.float64)
    scale = np.linalg.norm(x, axis=-1)
    there = scale > 0
    units = x[there] / scale[there][:, None]
    _, first, which = np.unique(np.round(units, SAME) + 0.0, axis=0, return_index=True, return_inverse=True)
    direction = np.zeros(len(x), np.int32)
    direction[there] = which.reshape(-1)
    return Rows(scale, direction, units[first] if len(first) else np.zeros((1, x.shape[1])))


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosines (n, m) between unit vectors x (n, d) and y (m, d); within 1e-15 of 1 they are 1."""
    found = np.clip(x @ y.T, -1.0, 1.0)
    near = np.argwhere(1 - np.abs(found) < 1e-6)  # |x -+ y|^2 / 2 has the digits that 1 - cos has lost
    if len(near) <= 4_000_000 // max(1, x.shape[1]):
        a, b = x[near[:, 0]], y[near[:, 1]]
        sign = np.sign(found[near[:, 0], near[:, 1]])
        found[near[:, 0], near[:, 1]] = sign * (1 - np.sum((a - sign[:, None] * b) ** 2, -1) / 2)
    return found


def needed(terms: Expansion, error: float) -> np.ndarray:
    """Largest |cos| (rates + 1,) for which the first k rates leave an error below `error` sin(angle) at any lag.

    Two inputs at a small angle are told apart by what is left of the kernel's fall, angle/(2 pi): hence the sine.
    """
    low, high = np.zeros(terms.rates.size + 1), np.ones(terms.rates.size + 1)
    kept = np.arange(terms.rates.size + 1)[:, None] <= np.arange(terms.rates.size)[None]  # (k, j): rate j is left out

    def left(cosine: np.ndarray) -> np.ndarray:
        powers = np.where(cosine[:, None] > 0, np.exp(terms.rates * np.log(np.maximum(cosine[:, None], 1e-300))), 0.0)
        powers[:, 0] = 1.0
        return np.sum(np.where(kept, terms.weights * powers, 0.0), -1)

    for _ in range(60):
        middle = (low + high) / 2
        fits = left(middle) <= error * np.sqrt(1 - middle**2)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    low[-1] = 1.0
    return low


def rates_needed(limits: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """How many of the first rates each pair keeps, from `needed`: at least 2, the shape of `cosine`."""
    return np.maximum(2, np.searchsorted(limits, np.abs(cosine), side="left"))


def plan(sets: Sequence[tuple[Rows, Rows | None]], terms: Expansion, error: float) -> Plan:
    """What is kept, for the training rows of all seeds and, where given, the rows at which they are read.

    Without rows to read at, the plan is of the training rows among themselves.
    """
    limits, size = needed(terms, error), terms.rates.size
    counts, others, pairs = 0, 0, np.zeros(size + 2)
    for train, test in sets:
        rows = train if test is None else test
        cosine = cosines(rows.units, train.units)
        if test is None:
            np.fill_diagonal(cosine, 0.0)
        found = np.bincount(rates_needed(limits, cosine).reshape(-1), minlength=size + 2)
        pairs = np.maximum(pairs, np.cumsum(found[::-1])[::-1])  # pairs that need k rates or more
        counts, others = max(counts, len(train.units)), max(others, len(rows.units))
    most = max(2, int(np.max(np.nonzero(pairs)[0], initial=2)))
    kept = np.arange(2, most + 1)
    cost = kept * counts * others + SPARSE_COST * pairs[kept + 1] * (most - kept)
    dense = int(kept[np.argmin(cost)])
    return Plan(counts, others, dense, most, int(pairs[dense + 1]) if dense < most else 0)


def pairs_of(plan: Plan, terms: Expansion, error: float, train: Rows, test: Rows | None) -> Pairs:
    """The entries that a plan keeps: between training directions (the diagonal left out), or from test to training ones."""
    rows = train if test is None else test
    cosine = cosines(rows.units, train.units)
    size = np.abs(cosine)
    if test is None:
        np.fill_diagonal(size, 0.0)
    shape = (plan.directions if test is None else plan.others, plan.directions)
    dense = np.zeros((plan.dense, *shape))
    inside = dense[:, : cosine.shape[0], : cosine.shape[1]]
    signed = cosine if test is not None else cosine * (1 - np.eye(len(cosine)))
    inside[0] = terms.weights[0] * signed
    power, square = size.copy(), size**2
    for k in range(1, plan.dense):
        rate = terms.rates[k]
        power = power * square if k > 1 and rate - terms.rates[k - 1] == 2 else size ** (rate + 1) if k > 1 else square
        inside[k] = terms.weights[k] * power
    if plan.dense == plan.most:
        return Pairs(dense, np.zeros((2, 0), np.int32), np.zeros((0, 0)))
    at = np.argwhere(rates_needed(needed(terms, error), size) > plan.dense)
    rates = terms.rates[plan.dense : plan.most]
    far = terms.weights[plan.dense : plan.most, None] * size[tuple(at.T)][None] ** (rates[:, None] + 1)
    missing = plan.pairs - len(at)
    return Pairs(dense, np.pad(at.T, ((0, 0), (0, missing))).astype(np.int32), np.pad(far, ((0, 0), (0, missing))))


def at_start(rows: Rows, others: Rows | None = None) -> np.ndarray:
    """The kernel <x, x'> (pi - angle)/(2 pi) at lag 0, from one set of rows to another: (n, m).

    Source: the arc-cosine kernel of degree 0 (Cho & Saul, 2009); a fresh network's tangent kernel in the first layer.
    """
    other = rows if others is None else others
    cosine = cosines(rows.units, other.units)
    whole = cosine * (0.25 + np.arcsin(cosine) / (2 * np.pi))
    return (rows.scale[:, None] * whole[rows.direction][:, other.direction]) * other.scale[None]


def common_modes(kernel: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal vectors (n, count) that nearly span the largest modes of a symmetric matrix (n, n)."""
    n = len(kernel)
    if n <= 2 * count:
        return np.linalg.eigh(kernel)[1][:, ::-1][:, :count]
    vectors = np.random.default_rng(0).standard_normal((n, count + 8))
    for _ in range(POWERS):
        vectors = np.linalg.qr(kernel @ vectors)[0]
    small, turn = np.linalg.eigh(vectors.T @ kernel @ vectors)
    del small
    return (vectors @ turn[:, ::-1])[:, :count]


def block_of(plan: Plan, terms: Expansion, error: float, train: Rows, modes: np.ndarray) -> Block:
    """A block of training rows, with the common modes (n, count) of the whole kernel."""
    pairs = pairs_of(plan, terms, error, train, None)
    on = np.zeros((plan.directions, modes.shape[1]))
    np.add.at(on, train.direction, train.scale[:, None] * modes)
    own = on.T @ on
    projected = terms.weights[:, None, None] * own[None]  # every input with itself
    for k, matrix in enumerate(pairs.dense):
        projected[k] += on.T @ matrix @ on
    first, second = pairs.at
    for k, values in enumerate(pairs.far):
        projected[plan.dense + k] += on[first].T @ (values[:, None] * on[second])
    there = (np.arange(plan.directions) < len(train.units)).astype(float)
    return Block(train.scale, train.direction, there, pairs, projected)


def reading_of(plan: Plan, terms: Expansion, error: float, train: Rows, test: Rows) -> Reading:
    """The kernel from test rows to training rows."""
    return Reading(test.scale, test.direction, pairs_of(plan, terms, error, train, test))
