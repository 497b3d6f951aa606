"""Balanced noise and micro-steps: exact composition, limits, float32 digits, and the law of the variance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrtheory import noise
from lrtheory.schedule import anneal_at_loss, constant, linear
from lrtheory.update import noisy_sgd


@pytest.mark.parametrize("weight_decay", [0.0, 1e-3, 0.4])
def test_k_micro_steps_compose_k_single_steps_exactly(float64, weight_decay):
    eta, tau_xi, k = 0.3, 0.7, 17
    one = noise.micro_steps(eta, 1, weight_decay, tau_xi)
    many = noise.micro_steps(eta, k, weight_decay, tau_xi)
    assert abs(float(one.drift) - eta) < 1e-15
    assert abs(float(one.kick) - eta * tau_xi) < 1e-15
    u, gradient, var = 1.3, -0.6, 0.2
    for _ in range(k):
        u = u - eta * (gradient + weight_decay * u)
        var = (1 - eta * weight_decay) ** 2 * var + (eta * tau_xi) ** 2
    np.testing.assert_allclose(1.3 * (1 + many.shrink) - many.drift * gradient, u, rtol=1e-13)
    np.testing.assert_allclose(noise.variance(0.2, many), var, rtol=1e-13)


def test_micro_steps_keep_their_digits_in_float32():
    eta, lam, k = 4e-6, 2.3e-4, 1e4
    move = noise.micro_steps(eta, k, lam, noise.balanced_noise(0.04, lam))
    log_a = k * np.log1p(-eta * lam)
    np.testing.assert_allclose(move.shrink, np.expm1(log_a), rtol=1e-5)
    np.testing.assert_allclose(move.drift, -np.expm1(log_a) / lam, rtol=1e-5)
    tau_xi = np.sqrt(-np.expm1(2 * np.log1p(-0.04 * lam))) / 0.04
    kick = eta * tau_xi * np.sqrt(np.expm1(2 * log_a) / np.expm1(2 * np.log1p(-eta * lam)))
    np.testing.assert_allclose(move.kick, kick, rtol=1e-4)


def test_a_rate_above_one_over_the_decay_is_the_algorithm_itself():
    """1 - eta lambda is negative there: K = 1, and three times the same, with all noise."""
    np.testing.assert_allclose(noise.micro_steps(1.5, 1, 1.0, 2.0), [-1.5, 1.5, 3.0], rtol=1e-6)
    expected = [(-0.5) ** 3 - 1, 1 - (-0.5) ** 3, 3.0 * np.sqrt(1 + 0.25 + 0.0625)]
    np.testing.assert_allclose(noise.micro_steps(1.5, 3, 1.0, 2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(noise.micro_steps(2.0, 3, 1.0, 1.0), [-2, 2, 2 * np.sqrt(3)], rtol=1e-6)


def test_balanced_noise_is_the_assumption_of_the_paper(float64):
    eta, lam = 0.3, 0.05
    tau_xi = noise.balanced_noise(eta, lam)
    np.testing.assert_allclose((1 - eta * lam) ** 2 + eta**2 * tau_xi**2, 1.0, rtol=1e-14)
    np.testing.assert_allclose(noise.variance(1.0, noise.micro_steps(eta, 5, lam, tau_xi)), 1.0, rtol=1e-14)


def test_variance_law_is_the_recursion_before_and_after_annealing(float64):
    eta1, lam, ratio, v = 0.3, 0.05, 0.1, 1.0
    tau_xi = noise.balanced_noise(eta1, lam)
    move = noise.micro_steps(eta1 * ratio, 10, lam, tau_xi)
    for k in range(1, 41):
        v = float(noise.variance(v, move))
        np.testing.assert_allclose(v, noise.variance_after(k * 0.3, 1.0, eta1 * ratio, lam, tau_xi), rtol=1e-12)
    assert noise.variance_after(7.0, 1.0, eta1, lam, tau_xi) == pytest.approx(1.0)
    assert noise.variance_after(1e4, 1.0, eta1 * ratio, lam, tau_xi) == pytest.approx(ratio, rel=0.02)
    assert noise.variance_after(0.0, 0.3, eta1, lam, tau_xi) == pytest.approx(0.3)


def test_micro_step_count():
    assert noise.micro_step_count(2e-6, 0.02) == 10_000
    assert noise.micro_step_count(0.02, 0.02) == 1
    assert noise.micro_step_count(0.02, 0.0) == 1


def test_draws_fill_a_tree_with_independent_standard_normals():
    tree = noise.draw(jax.random.key(0), (jnp.zeros((3, 40_000)), jnp.zeros(40_000)))
    flat = np.concatenate([np.ravel(leaf) for leaf in tree])
    assert abs(flat.mean()) < 5 / 400
    assert abs(flat.var() - 1) < 5 * np.sqrt(2) / 400
    assert abs(np.corrcoef(tree[0][0], tree[1])[0, 1]) < 5 / 200


def test_noisy_sgd_is_the_update_of_the_paper_step_by_step(float64):
    eta, lam, tau_xi, key = 0.1, 0.02, 0.5, jax.random.key(3)
    optimiser = noisy_sgd(constant(eta), weight_decay=lam, tau_xi=tau_xi, key=key)
    params = {"a": jnp.arange(4.0), "b": jnp.ones((2, 3))}
    state, ours = optimiser.init(params), params
    for k in range(5):
        grads = jax.tree.map(lambda u, k=k: jnp.cos(u + k), ours)
        now, key = jax.random.split(key)
        xi = noise.draw(now, params)
        expected = jax.tree.map(lambda u, g, n: u - eta * (g + lam * u + tau_xi * n), ours, grads, xi)
        updates, state = optimiser.update(grads, state, ours)
        ours = optax.apply_updates(ours, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), ours, expected)
    np.testing.assert_allclose(state.time, 5 * eta)


def test_noisy_sgd_anneals_by_the_loss_and_keeps_time_with_micro_steps():
    optimiser = noisy_sgd(anneal_at_loss(0.1, 0.001, 0.5), weight_decay=0.01, tau_xi=0.1, key=jax.random.key(0),
                          step_time=0.1)
    params = jnp.ones(3)
    state = optimiser.init(params)
    for loss in (0.9, 0.4, 0.9):
        _, state = optimiser.update(jnp.zeros(3), state, params, value=loss)
    assert int(state.schedule.stage) == 1
    np.testing.assert_allclose(state.time, 0.3, rtol=1e-6)
    with pytest.raises(ValueError, match="call update"):
        optimiser.update(jnp.zeros(3), state)


def test_the_mean_rate_of_micro_steps_is_that_of_their_middle(float64):
    """Of a rate that falls linearly, by which each micro-step's own rate moves the clock; of one step it is its own."""
    falls, clock, rates = linear(0.1, 0.0, 40.0), 3.0, []
    while sum(rates) < 5.0:
        rates.append(float(falls(clock + sum(rates))))
    found = [float(noise.mean_rate(falls, falls.init(), clock, rates[0], covered))
             for covered in (sum(rates), rates[0])]
    assert found[0] == pytest.approx(np.average(rates), rel=2e-3)
    assert rates[0] / found[0] > 1.05
    assert found[1] == pytest.approx(rates[0], rel=1e-12)


@pytest.mark.parametrize(("rate", "count"), [(0.3, 1), (0.02, 17)])
def test_derivatives_by_the_decay_hold_where_it_is_0(float64, rate, count):
    """Of all three moments, both ways, as a small decay has them; and a step of `noisy_sgd` moves by -eta U."""
    def moments(weight_decay):
        return jnp.stack(noise.micro_steps(rate, count, weight_decay, 0.7))

    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(moments)(0.0), derivative(moments)(1e-7), rtol=1e-5, atol=1e-8)

    def step(weight_decay):
        optimiser = noisy_sgd(constant(0.1), weight_decay=weight_decay, tau_xi=0.0, key=jax.random.key(0))
        return optimiser.update(jnp.ones(2), optimiser.init(jnp.ones(2)), jnp.array([1.0, -2.0]))[0]

    np.testing.assert_allclose(jax.jacfwd(step)(0.0), [-0.1, 0.2], rtol=1e-12)
