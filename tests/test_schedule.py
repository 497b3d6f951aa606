"""Schedules: stages, triggers, smoothing, stacking, and their use in optax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrtheory.schedule import anneal_at_loss, constant, scale_by_rate, stack, step_decay
from lrtheory.update import noisy_sgd


def follow(schedule, losses, clocks=None):
    """Values over a sequence of losses, one unit of clock apart."""
    clocks = jnp.arange(len(losses), dtype=float) if clocks is None else jnp.asarray(clocks)

    def one(state, now):
        value, state = schedule.update(state, *now)
        return state, value

    return np.asarray(jax.lax.scan(one, schedule.init(), (clocks, jnp.asarray(losses)))[1])


def test_constant_and_step_decay():
    np.testing.assert_allclose(follow(constant(0.3), [1.0, 0.0]), [0.3, 0.3])
    decay = step_decay([1.0, 0.5, 0.1], [2.0, 3.0])
    expected = np.float32([1, 1, 0.5, 0.1, 0.1])
    np.testing.assert_array_equal(follow(decay, [9.0] * 5), expected)
    np.testing.assert_array_equal(decay(jnp.arange(5)), expected)  # as an optax schedule
    np.testing.assert_array_equal([decay(k) for k in range(5)], expected)


def test_once_annealed_always_annealed():
    schedule = anneal_at_loss(1.0, 0.1, 0.5)
    np.testing.assert_allclose(follow(schedule, [0.9, 0.5, 0.9, 0.4, 0.9]), [1, 0.1, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(follow(schedule, [0.9, 0.51, 0.9]), [1, 1, 1])


def test_the_latest_time_anneals_without_the_loss():
    np.testing.assert_allclose(follow(anneal_at_loss(1.0, 0.1, 0.5, latest=2.0), [9.0] * 4), [1, 1, 0.1, 0.1])


def test_smoothing_is_an_exponential_mean_with_the_given_time_constant():
    tau, losses = 5.0, np.full(60, 1.0)
    losses[3] = 0.0  # one dip of jitter
    assert follow(anneal_at_loss(1.0, 0.1, 0.5), losses)[-1] == np.float32(0.1)
    assert follow(anneal_at_loss(1.0, 0.1, 0.5, smoothing=tau), losses)[-1] == 1.0
    step = np.where(np.arange(60) < 10, 1.0, 0.0)
    values = follow(anneal_at_loss(1.0, 0.1, np.exp(-2.0) + 1e-6, smoothing=tau), step)
    assert int(np.argmax(values < 1)) == 10 + int(2 * tau)  # exp(-(k + 1/2)/tau) after k steps at 0: it fell on the way


def test_the_running_mean_does_not_depend_on_the_steps():
    """Long steps see the mean of short ones, up to the curvature of the loss within a step."""
    schedule = anneal_at_loss(1.0, 0.1, 0.0, smoothing=5.0)

    def mean(clocks):
        state = schedule.init()
        for clock in clocks:
            _, state = schedule.update(state, clock, np.exp(-clock / 10))
        return float(state.mean_loss)

    fine = mean(np.arange(0, 20.0001, 0.1))
    assert abs(mean(np.arange(0, 20.0001, 4.0)) - fine) < 4e-3
    assert abs(mean(np.arange(0, 20.0001, 1.0)) - fine) < 3e-4
    assert fine > np.exp(-2) + 0.1  # and it lags


def test_stacked_schedules_do_what_each_does():
    each = [constant(0.2), anneal_at_loss(1.0, 0.1, 0.5), step_decay([3.0, 2.0, 1.0], [1.0, 2.0])]
    losses = [0.9, 0.4, 0.9, 0.9]
    together = jax.vmap(lambda s: jnp.stack([v for v in _unrolled(s, losses)]))(stack(each))
    np.testing.assert_array_equal(together, [follow(s, losses) for s in each])


def _unrolled(schedule, losses):
    state = schedule.init()
    for k, loss in enumerate(losses):
        value, state = schedule.update(state, float(k), loss)
        yield value


def test_scale_by_rate_is_sgd_with_the_same_schedule():
    decay = step_decay([0.1, 0.01], [2.0])
    ours, theirs = scale_by_rate(decay), optax.sgd(decay)
    params = {"a": jnp.ones(3)}
    state_a, state_b = ours.init(params), theirs.init(params)
    for k in range(4):
        grads = {"a": jnp.arange(3.0) + k}
        a, state_a = ours.update(grads, state_a, params)
        b, state_b = theirs.update(grads, state_b, params)
        np.testing.assert_allclose(a["a"], b["a"], rtol=1e-6)


def test_epochs_as_the_clock():
    optimiser = scale_by_rate(step_decay([1.0, 0.5], [3.0]), steps_per_clock=4)
    state, seen = optimiser.init(None), []
    for _ in range(14):
        update, state = optimiser.update(jnp.ones(()), state)
        seen.append(-float(update))
    assert seen == [1.0] * 12 + [0.5] * 2


@pytest.mark.parametrize("smoothing", [0.0, 3.0])
def test_a_flax_network_trains_with_a_loss_triggered_rate(smoothing):
    model = nn.Dense(1)
    x = jax.random.normal(jax.random.key(0), (64, 5))
    y = x @ jnp.arange(5.0)[:, None]
    params = model.init(jax.random.key(1), x)
    schedule = anneal_at_loss(0.1, 0.01, 1.0, smoothing=smoothing)
    optimiser = optax.chain(optax.trace(0.5, nesterov=True), scale_by_rate(schedule))

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, x) - y) ** 2))(params)
        updates, state = optimiser.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimiser.init(params), []
    for _ in range(60):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[0] > 1.0 > losses[-1]
    assert int(state[-1].schedule.stage) == 1


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 1, 5, slice(0, 4), slice(2, 9)])
def test_losses_that_are_no_numbers_leave_a_smoothed_trigger_as_it_is(odd, at):
    """It neither pulls it nor disables it, whenever they come: first, once, or for a while."""
    losses = np.where(np.arange(40) < 12, 1.0, 0.0)
    schedule = anneal_at_loss(1.0, 0.1, 0.5, smoothing=3.0)
    expected = int(np.argmax(follow(schedule, losses) < 1))
    losses[at] = odd
    found = follow(schedule, losses)
    assert found[0] == 1.0
    assert int(np.argmax(found < 1)) == expected
    states = [schedule.init()]
    for clock, loss in enumerate(losses):
        states.append(schedule.update(states[-1], float(clock), loss)[1])
    assert all(np.isfinite(s.mean_loss) for s in states)


def test_without_smoothing_a_loss_that_is_no_number_is_only_that():
    np.testing.assert_array_equal(follow(anneal_at_loss(1.0, 0.5, 0.3), [0.9, np.nan, np.inf, 0.2, 0.9]),
                                  np.float32([1, 1, 1, 0.5, 0.5]))


@pytest.mark.parametrize("optimiser", [
    scale_by_rate(anneal_at_loss(0.1, 0.01, 1.0)), scale_by_rate(constant(0.1)),
    optax.chain(optax.trace(0.9), scale_by_rate(step_decay([0.1, 0.2], [3.0]))),
    noisy_sgd(anneal_at_loss(0.1, 0.01, 1.0, smoothing=2.0), weight_decay=0.1, tau_xi=0.1, key=jax.random.key(0)),
    noisy_sgd(constant(0.1), weight_decay=0.1, tau_xi=0.1, key=jax.random.PRNGKey(0))],
    ids=["trigger", "constant", "chain", "noisy", "noisy, old key"])
def test_a_step_may_use_up_the_state_it_is_given(optimiser):
    """Donated at every step, from the first, and by a second training, too."""
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = optimiser.update(jax.tree.map(jnp.ones_like, params), state, params, value=jnp.sum(params["a"]))
        return optax.apply_updates(params, updates), state

    for _ in range(2):
        params = {"a": jnp.ones(3), "b": jnp.ones(3)}
        state = optimiser.init(params)
        buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state) if hasattr(x, "unsafe_buffer_pointer")]
        assert len(set(buffers)) == len(buffers)
        for _ in range(3):
            params, state = step(params, state)
