"""The sampler against closed-form moments of the distribution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrtheory.spec import ConfigError
from lrtheory.theory.problem import (
    MIXED,
    P_ONLY,
    Q_ONLY,
    Problem,
    contrast,
    directions,
    q_test_error,
    sample,
    sample_test,
)
from lrtheory.theory.timescales import mean_margin

PROBLEM = Problem(d=12, N=100, p0=0.1, q0=0.25, r=0.2, z_norm=3.0, alpha_min=0.25, gamma0=0.4)


@pytest.fixture(scope="module")
def points():
    """A large test draw and the training set whose basis it shares."""
    data = sample(PROBLEM, jax.random.key(0))
    return data, sample_test(PROBLEM, data, 200_000, jax.random.key(1))


def within(values, expected, errors=4.5):
    """Mean of `values` within `errors` standard errors of `expected`."""
    values = np.asarray(values, np.float64)
    sem = values.std(0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - expected), errors * sem + 1e-12)


def test_p_has_its_mean_variance_and_sign(points):
    data, test = points
    w_star, d = data.basis[0], PROBLEM.d
    margin = test.y * (test.x1 @ w_star)
    assert margin.min() >= PROBLEM.gamma0 - 1e-5  # separable: y <w*, x1> = gamma0 + |N(0, 1/d)|
    within(margin, PROBLEM.gamma0 + np.sqrt(2 / (np.pi * d)))
    within((margin - PROBLEM.gamma0) ** 2, 1 / d)
    across = test.x1 - jnp.outer(test.x1 @ w_star, w_star)
    within(np.sum(np.asarray(across) ** 2, -1), (d - 1) / d)
    within(across, np.zeros(d))
    within(test.y, 0.0)


def test_q_has_its_directions_and_scales(points):
    data, test = points
    x2 = np.asarray(test.x2)
    z_hat, zeta_hat = np.asarray(data.basis[1:])
    s, r, a = PROBLEM.z_norm, PROBLEM.r, PROBLEM.alpha_min
    np.testing.assert_allclose(data.basis[1:] @ data.basis[1:].T, np.eye(2), atol=1e-6)
    along, aside = x2 @ z_hat / s, x2 @ zeta_hat / (s * r)
    within(along, (1 + a) / 2)
    within(along**2, (1 + a + a * a) / 3)
    positive = np.asarray(test.y) > 0
    np.testing.assert_allclose(aside[positive], 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(aside[~positive]), along[~positive], rtol=1e-3)
    within(np.sign(aside[~positive]), 0.0)
    rest = x2 - np.outer(x2 @ z_hat, z_hat) - np.outer(x2 @ zeta_hat, zeta_hat)
    np.testing.assert_allclose(rest, 0, atol=1e-5)


def test_exact_groups_have_exact_sizes_and_blank_halves():
    data = sample(PROBLEM, jax.random.key(3))
    assert [int(jnp.sum(data.group == g)) for g in (P_ONLY, MIXED, Q_ONLY)] == [10, 65, 25]
    assert not jnp.any(data.x1[data.group == Q_ONLY])
    assert not jnp.any(data.alpha[data.group == P_ONLY])
    assert jnp.all(jnp.any(data.x1[data.group != Q_ONLY] != 0, -1))


def test_iid_groups_follow_their_probabilities():
    iid = dataclasses.replace(PROBLEM, groups="iid")
    groups = jax.vmap(lambda k: sample(iid, k).group)(jax.random.split(jax.random.key(4), 2000))
    for group, share in ((P_ONLY, 0.1), (MIXED, 0.65), (Q_ONLY, 0.25)):
        counts = jnp.sum(groups == group, -1)
        within(counts / 100, share)
        assert abs(float(jnp.var(counts)) / (100 * share * (1 - share)) - 1) < 0.15  # binomial, not exact


def test_problem_numbers_are_traced():
    def means(problem):
        return jnp.mean(sample(problem, jax.random.key(0)).x1)

    batched = dataclasses.replace(PROBLEM, gamma0=jnp.array([0.1, 0.2]))
    axes = dataclasses.replace(PROBLEM, r=None, z_norm=None, alpha_min=None, alpha_power=None, p_tail=None, gamma0=0)
    out = jax.vmap(means, in_axes=(axes,))(batched)
    np.testing.assert_allclose(out[0], means(dataclasses.replace(PROBLEM, gamma0=0.1)), rtol=1e-5)


def test_q_test_error_counts_what_monte_carlo_counts(points):
    _, test = points
    for g in ([1.0, -1.0, -2.0], [1.0, 0.5, -2.0], [-0.1, 0.5, -2.0], [0.0, 0.0, 0.0]):
        g = jnp.array(g)
        wrong = test.y * test.alpha * g[test.direction] <= 0
        within(wrong, float(q_test_error(g)))
    assert float(contrast(jnp.array([1.0, -1.0, -2.0]))) == -5.0


def test_directions_are_homogeneous_in_z_norm():
    twice = dataclasses.replace(PROBLEM, z_norm=6.0)
    np.testing.assert_allclose(directions(twice), 2 * directions(PROBLEM))


@pytest.mark.parametrize(("change", "words"), [
    ({"p0": 0.9}, "problem.p0 + problem.q0 = 1.15"),
    ({"p0": -0.1}, "problem.p0 = -0.1"),
    ({"N": 3}, "problem.N = 3"),
    ({"kappa": 0.5}, "give one at most"),
    ({"d": 1}, "problem.d = 1"),
    ({"r": 0.0}, "problem.r = 0"),
    ({"alpha_min": 1.5}, "problem.alpha_min = 1.5"),
    ({"z_norm": float("nan")}, "problem.z_norm = nan"),
])
def test_impossible_problems_are_refused_by_name(change, words):
    with pytest.raises(ConfigError, match=r"must be|give one at most") as caught:
        dataclasses.replace(PROBLEM, **change).check()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_halves_are_vectors_for_one_data_set_and_for_many(points):
    data, _ = points
    three = np.asarray(directions(PROBLEM)) @ np.asarray(data.basis[1:])
    expected = np.asarray(data.alpha)[:, None] * three[data.direction]
    np.testing.assert_allclose(data.x2, expected, rtol=1e-6)
    assert not np.any(data.x2[data.group == P_ONLY])
    np.testing.assert_array_equal(data.x, np.concatenate([data.x1, data.x2], 1))
    many = jax.vmap(sample, in_axes=(None, 0))(PROBLEM, jax.random.split(jax.random.key(2), 3))
    np.testing.assert_allclose(many.x2[1], jax.tree.map(lambda leaf: leaf[1], many).x2, rtol=1e-6)


def test_other_laws_of_alpha_and_of_p_have_their_moments():
    """alpha = a + (1 - a) u^3, and P with heavy tails: what the time scales take of them."""
    other = dataclasses.replace(PROBLEM, alpha_power=3.0, p_tail=0.5)
    test = sample_test(other, sample(other, jax.random.key(0)), 100_000, jax.random.key(1))
    for power in (1, 2):
        within(np.asarray(test.alpha) ** power, other.alpha_moment(power))
    margin = test.y * (test.x1 @ test.basis[0])
    within(np.sqrt(PROBLEM.d) * margin, mean_margin(other))
    across = test.x1 - jnp.outer(test.x1 @ test.basis[0], test.basis[0])
    square = np.sum(np.asarray(across) ** 2, -1)
    within(square, (PROBLEM.d - 1) / PROBLEM.d, errors=6)  # the tails are heavy
    assert np.mean(square**2) > 1.5 * np.mean(square) ** 2
    plain = sample(PROBLEM, jax.random.key(0))
    np.testing.assert_array_equal(sample(dataclasses.replace(PROBLEM, p_tail=0.5), jax.random.key(0)).alpha, plain.alpha)
