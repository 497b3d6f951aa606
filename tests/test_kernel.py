"""The kernel with memory: at every lag and angle, by the noise's own clock, and between the inputs of a training set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import vary

from lrtheory import noise
from lrtheory.theory import kernel
from lrtheory.theory.engines import gram
from lrtheory.theory.problem import sample, sample_test


@pytest.mark.parametrize(("shortest", "bound"), [(1e-12, 2e-8), (1e-8, 2e-6), (1e-20, 4e-9)])
def test_the_expansion_is_the_kernel_at_every_lag_and_angle(shortest, bound):
    found = kernel.expansion(shortest)
    assert np.all(found.weights > 0)
    assert found.error < bound
    lag = np.append(0.0, np.geomspace(1e-16, 100, 977))
    for cosine in (1.0, np.cos(0.02), np.cos(0.3), 0.5, 0.01):
        exact = 0.25 + np.arcsin(np.exp(-lag) * cosine) / (2 * np.pi)
        ours = np.exp(-np.outer(lag, found.rates)) @ (found.weights * cosine**found.rates)
        assert np.abs(ours - exact).max() <= found.error + 2e-9  # the exact one cancels near lag 0
    lag = np.geomspace(shortest, 5, 977)  # differences of the kernel, which Q lives on, relative to themselves
    slope = np.exp(-np.outer(lag, found.rates)) @ (found.weights * found.rates) * 2 * np.pi
    np.testing.assert_allclose(slope, 1 / np.sqrt(np.expm1(2 * lag)), rtol=2e-6)


def test_cutting_the_rates_costs_what_it_says():
    found = kernel.expansion(1e-12)
    lag = np.append(0.0, np.geomspace(1e-6, 10, 300))
    for cosine in (0.2, 0.5, 0.8):
        for tolerance in (1e-4, 1e-8):
            k = kernel.leading_rates(found, cosine, tolerance)
            for c in (cosine, 0.7 * cosine):
                exact = 0.25 + np.arcsin(np.exp(-lag) * c) / (2 * np.pi)
                cut = np.exp(-np.outer(lag, found.rates[:k])) @ (found.weights[:k] * c ** found.rates[:k])
                assert np.abs(cut - exact).max() <= tolerance + found.error
            assert kernel.leading_rates(found, cosine, 1e-9) > kernel.leading_rates(found, cosine, 1e-3)


def test_the_clock_is_the_noise_parts_correlation(float64):
    """exp(-(C_t - C_s)) = prod a sqrt(v_s / v_t), through annealing, at any rate."""
    v, clock, log_a, history = 1.0, 0.0, 0.0, []
    for rate, count in [(0.5, 1), (0.5, 3), (5e-7, 10_000), (5e-4, 7), (0.5, 1), (0.05, 400)]:
        move = noise.micro_steps(rate, count, 1e-2, noise.balanced_noise(0.5, 1e-2))
        history.append((clock, log_a, v))
        clock += float(kernel.clock_step(v, move))
        v, log_a = float(noise.variance(v, move)), log_a + np.log1p(float(move.shrink))
        for clock_s, log_s, v_s in history:
            np.testing.assert_allclose(np.exp(clock_s - clock), np.exp(log_a - log_s) * np.sqrt(v_s / v), rtol=1e-9)
    assert clock > 0.03


def test_many_micro_steps_with_refreshed_gates_are_their_sum(float64):
    """Exactly where the variance stands still; else to K eta lambda of the whole, the clock not running evenly."""
    rates, variance, lam = kernel.expansion(1e-8).rates, jnp.array(1.0), 2e-3
    tau_xi = noise.balanced_noise(0.5, lam)
    for eta, count in ((0.5, 1), (0.5, 40), (0.05, 1), (0.05, 2), (0.05, 50)):
        decay, after = kernel.refreshed_steps(rates, variance, jnp.array(eta), jnp.array(float(count)), lam, tau_xi)
        one, v, keep, gain = noise.micro_steps(eta, 1, lam, tau_xi), variance, np.ones(rates.size), np.zeros(rates.size)
        for _ in range(count):
            literal = kernel.frozen_steps(rates, v, one)
            keep, gain, v = literal.keep * keep, literal.keep * gain + literal.gain, noise.variance(v, one)
        np.testing.assert_allclose(after, v, rtol=1e-12)
        np.testing.assert_allclose(decay.keep, keep, rtol=1e-6, atol=1e-12)
        even = eta == 0.5 or count == 1
        np.testing.assert_allclose(decay.gain, gain, rtol=1e-8, atol=1e-12 if even else (count * eta) ** 2 * lam)


@pytest.mark.thorough(but=["8-40"])
@pytest.mark.parametrize(("d", "n"), [(8, 40), (64, 256), (128, 512), (1024, 1500)])
def test_the_kernel_of_a_training_set_errs_by_no_more_than_its_bound(float64, small, d, n):
    """Exact arcsines against the rates that are kept, at several lags; the bound itself is small at presets' sizes."""
    config = vary(small, problem__d=d, problem__N=n, problem__gamma0=0.8 / np.sqrt(d))
    rows = sample(config.problem, jax.random.key(4)).x1[config.problem.p_rows]
    test = sample_test(config.problem, sample(config.problem, jax.random.key(4)), 50, jax.random.key(5)).x1
    norms = jnp.linalg.norm(rows, axis=-1)
    for x, y, error, allowed in ((rows, None, gram.TRAIN_ERROR, 1e-6), (test, rows, gram.TEST_ERROR, 1e-4)):
        bound = float(gram.kernel_error(config, x, y, error))
        keep = 1.0 if y is not None else 1 - jnp.eye(len(rows))
        other = rows if y is None else y
        count = gram.off_diagonal_rates(config, error)
        parts = gram.off_diagonal(config, x, other, error, keep).reshape(len(x), count, len(other))
        products = x @ other.T
        scale = jnp.linalg.norm(x, axis=-1)[:, None] * norms[None]
        for lag in (0.0, 1e-4, 0.1, 3.0):
            ours = jnp.einsum("nkm,k->nm", parts, np.exp(-gram.terms(config).rates[:count] * lag))
            arcsine = jnp.arcsin(jnp.exp(-lag) * jnp.clip(products / scale, -1, 1))
            exact = products * (0.25 + arcsine / (2 * np.pi)) * keep
            assert float(jnp.max(jnp.abs(ours - exact) / scale)) <= bound + 1e-12
        assert bound < allowed
