"""Engines: equal where they must be equal, converging where the theory says so."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import grouped, vary
from jax.test_util import check_grads

import lrtheory as lt
from lrtheory import noise
from lrtheory.theory.config import EngineName
from lrtheory.theory.engines import ENGINES, State
from lrtheory.theory.engines.base import Perturbation, pre_activation_noise
from lrtheory.theory.measure import loss_gradient, losses
from lrtheory.theory.network import apply, initial_weights, pattern_network, second_layer
from lrtheory.theory.problem import sample, sample_test

pytestmark = pytest.mark.xdist_group("engines")  # they share programs, so one process takes them all


def test_every_engine_has_a_name_in_the_config():
    assert get_args(EngineName) == tuple(ENGINES)


def projected(config, data, tree):
    """Dense weights in the coordinates of the reduced engine: V onto (z_hat, zeta_hat); conv's U stays."""
    if config.network.variant == "conv":
        return tree
    w, v = tree
    return w, data.basis[1:] @ v


def start(config, seed=0):
    """Data, and the dense and reduced engines' inputs and states from one set of dense weights."""
    data = sample(config.problem, jax.random.key(seed))
    dense, other = ENGINES["dense"], ENGINES["reduced"]
    inputs = dense.prepare(config, data), other.prepare(config, data)
    state = dense.init(config, inputs[0], jax.random.key(seed + 1))
    return data, inputs, (state, State(*(projected(config, data, part) for part in state)))


@pytest.mark.thorough(but=["plain-block-exact"])
@pytest.mark.parametrize("groups", ["exact", "iid", "exact+extra", "iid+extra"])
@pytest.mark.parametrize("variant", ["block", "conv"])
@pytest.mark.parametrize("init", ["antisymmetric", "plain"])
def test_dense_is_reduced_path_by_path(float64, small, variant, init, groups):
    config = grouped(vary(small, network__variant=variant, network__init=init), groups)
    data, inputs, states = start(config)
    test = sample_test(config.problem, data, 32, jax.random.key(7))
    engines = ENGINES["dense"], ENGINES["reduced"]
    lam, tau_xi = config.training.weight_decay, config.training.tau_xi
    begun, rate = states, lt.cosine(0.2, 0.02, 50.0)
    for k in range(100):
        eta, count = (float(rate(k)), 1) if k < 50 else (0.02, 10)  # a falling rate, then micro-steps of the last one
        move = noise.micro_steps(eta, count, lam, tau_xi)
        normals = engines[0].draw(jax.random.key(100 + k), states[0])
        outputs = [e.forward(config, i, s, None) for e, i, s in zip(engines, inputs, states, strict=True)]
        np.testing.assert_allclose(outputs[1][0], outputs[0][0], rtol=1e-9, atol=1e-12)
        states = tuple(
            e.advance(config, i, s, pull(loss_gradient(data, f)), move, xi)
            for e, i, s, (f, pull), xi in zip(engines, inputs, states, outputs, (normals, projected(config, data, normals)),
                                           strict=True))
    for part in ("signal", "noise"):
        for a, b in zip(getattr(states[1], part), projected(config, data, getattr(states[0], part)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for a, b in zip(*(jax.tree.leaves(e.read(config, i, s, test)) for e, i, s in zip(engines, inputs, states, strict=True)),
                    strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)
    ours, theirs = (e.diagnose(config, i, s, b) for e, i, s, b in zip(engines, inputs, states, begun, strict=True))
    for name in ours._fields:
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), rtol=1e-9, err_msg=name)
    assert not np.allclose(states[1].signal[0], 0)


@pytest.mark.parametrize("variant", ["block", "conv"])
def test_dense_outputs_are_the_network_of_the_paper_in_numpy(float64, small, variant):
    config = vary(small, network__variant=variant, network__init="plain")
    data, (inputs, _), (state, _) = start(config)
    f, _ = ENGINES["dense"].forward(config, inputs, state, None)
    x1, x2 = np.asarray(data.x1), np.asarray(data.x2)
    relu = np.maximum
    weights = [np.asarray(u) for u in state.weights]
    if variant == "block":
        w, v = weights
        expected = relu(x1 @ w, 0) @ np.asarray(second_layer(16)) + relu(x2 @ v, 0) @ np.asarray(second_layer(32))
    else:
        expected = (relu(x1 @ weights[0], 0) + relu(x2 @ weights[0], 0)) @ np.asarray(second_layer(48))
    np.testing.assert_allclose(f, expected, rtol=1e-12)
    np.testing.assert_allclose(apply(state.weights, data.x1, jnp.asarray(x2)), expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled"])
@pytest.mark.parametrize("variant", ["block", "conv"])
@pytest.mark.parametrize("form", [None, "example", "shared"])
def test_gradients_are_those_of_the_loss(float64, small, engine, variant, form):
    """Against autodiff of the engine's own forward pass, and numerical differences."""
    config = vary(small, network__variant=variant, training__activation_noise_form=form)
    engine = ENGINES[engine]
    data = sample(config.problem, jax.random.key(2))
    inputs = engine.prepare(config, data)
    state = engine.init(config, inputs, jax.random.key(3))
    signal = tuple(0.3 * jax.random.normal(jax.random.key(4), u.shape) for u in state.signal)
    perturbation = None if form is None else Perturbation(jnp.array(0.4), jax.random.key(5))

    def loss(signal):
        f, _ = engine.forward(config, inputs, State(signal, state.noise), perturbation)
        return losses(config.problem, data, f).total

    f, pullback = engine.forward(config, inputs, State(signal, state.noise), perturbation)
    for ours, theirs in zip(pullback(loss_gradient(data, f)), jax.grad(loss)(signal), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    check_grads(loss, (signal,), order=1, modes=("rev",), eps=1e-7, atol=1e-4, rtol=1e-4)


def test_decoupled_reads_gates_from_the_noise_and_values_from_the_signal(float64, small):
    engine = ENGINES["decoupled"]
    data = sample(small.problem, jax.random.key(0))
    inputs = engine.prepare(small, data)
    noise_part = engine.init(small, inputs, jax.random.key(1)).noise
    signal = tuple(jax.random.normal(jax.random.key(k), u.shape) for k, u in enumerate(noise_part))
    f, _ = engine.forward(small, inputs, State(signal, noise_part), None)
    x2 = data.alpha[:, None] * inputs.directions[data.direction]
    expected = (pattern_network(second_layer(16), noise_part[0], signal[0], data.x1)
                + pattern_network(second_layer(32), noise_part[1], signal[1], x2))
    np.testing.assert_allclose(f, expected, rtol=1e-10)
    scaled, _ = engine.forward(small, inputs, State(signal, tuple(7.0 * u for u in noise_part)), None)
    np.testing.assert_array_equal(scaled, f)  # free of tau0


@pytest.mark.thorough
def test_antisymmetric_initialisation_starts_at_zero_and_plain_does_not(small):
    for init, zero in (("antisymmetric", True), ("plain", False)):
        config = vary(small, network__init=init)
        _, (inputs, _), (state, _) = start(config)
        f, _ = ENGINES["dense"].forward(config, inputs, state, None)
        assert bool(jnp.max(jnp.abs(f)) < 1e-5) is zero


def test_initial_weights_have_their_scales(small):
    config = vary(small, network__m_w=2000, network__m_v=4000)
    w, v = initial_weights(config.network, (30, 20), jax.random.key(0))
    np.testing.assert_allclose([w.std(), v.std()], [0.7, 1.3], rtol=0.02)
    np.testing.assert_array_equal(w[:, :1000], w[:, 1000:])
    assert second_layer(2000)[0] == -second_layer(2000)[1000]


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["block", "conv"])
@pytest.mark.parametrize("form", ["example", "shared"])
def test_activation_noise_of_the_reduced_engine_is_that_of_the_dense_one_in_law(small, variant, form):
    """Means and spreads of the noisy outputs, and how examples share draws, in both engines."""
    config = vary(small, training__activation_noise_form=form, network__variant=variant)
    _, inputs, states = start(config)
    keys = jax.random.split(jax.random.key(5), 4000)
    engines = ENGINES["dense"], ENGINES["reduced"]
    outputs = [np.asarray(jax.vmap(lambda key, e=e, i=i, s=s: e.forward(config, i, s, Perturbation(jnp.array(0.8), key))[0])
                          (keys)) for e, i, s in zip(engines, inputs, states, strict=True)]
    error = np.sqrt(sum(f.var(0) for f in outputs) / 4000) + 1e-6
    assert np.all(np.abs(outputs[0].mean(0) - outputs[1].mean(0)) < 5 * error)
    np.testing.assert_allclose(outputs[0].std(0), outputs[1].std(0), rtol=0.12)
    shared = [np.corrcoef(f[:, -2:].T)[0, 1] for f in outputs]  # two Q-only examples
    assert all(c > 0.9 for c in shared) if form == "shared" else all(abs(c) < 0.1 for c in shared)
    for e, i, s in zip(engines, inputs, states, strict=True):
        quiet, loud = e.forward(config, i, s, None)[0], e.forward(config, i, s, Perturbation(jnp.array(0.0), keys[0]))[0]
        np.testing.assert_allclose(loud, quiet, atol=1e-5)


def test_activation_noise_has_the_scale_of_the_pre_activations(small):
    """level 1 makes noise as large as the pre-activations themselves at the start, on both halves."""
    for variant in ("block", "conv"):
        config = vary(small, network__variant=variant, training__activation_noise_form="example", network__m_w=40_000,
                      network__m_v=40_000)
        x = jax.random.normal(jax.random.key(0), (3, 8))
        last = len(config.network.widths) - 1
        weights = initial_weights(config.network, (8,) * (last + 1), jax.random.key(1))
        noises = pre_activation_noise(config, Perturbation(jnp.array(1.0), jax.random.key(2)), [(0, x), (last, 2 * x)])
        np.testing.assert_allclose(noises[0].std(-1), (x @ weights[0]).std(-1), rtol=0.05)
        np.testing.assert_allclose(noises[1].std(-1), (2 * x @ weights[last]).std(-1), rtol=0.05)


@pytest.mark.thorough
def test_full_network_approaches_decoupled_as_one_over_sqrt_m(small):
    """The order of |f_full - f_decoupled| in m, fitted; without injected noise, whose own output is O(tau0)."""
    config = vary(small, training__noise_level=0.0, network__tau_w=1.0, network__tau_v=1.0, problem__z_norm=1.0)
    lam = config.training.weight_decay
    widths = [64, 256, 1024, 4096]

    def gap(width, seed):
        sized = vary(config, network__m_w=width, network__m_v=width)
        data = sample(sized.problem, jax.random.key(seed))
        engines = ENGINES["reduced"], ENGINES["decoupled"]
        inputs = engines[0].prepare(sized, data)
        first = engines[0].init(sized, inputs, jax.random.fold_in(jax.random.key(1), seed))
        move = noise.micro_steps(0.5, 1, lam, 0.0)

        def step(states, _):
            moved = []
            for engine, state in zip(engines, states, strict=True):
                f, pullback = engine.forward(sized, inputs, state, None)
                zeros = jax.tree.map(jnp.zeros_like, state.noise)
                moved.append(engine.advance(sized, inputs, state, pullback(loss_gradient(data, f)), move, zeros))
            return tuple(moved), None

        states, _ = jax.lax.scan(step, (first, first), None, length=60)
        outputs = [e.forward(sized, inputs, s, None)[0] for e, s in zip(engines, states, strict=True)]
        return jnp.sqrt(jnp.mean((outputs[0] - outputs[1]) ** 2))

    gaps = [float(jnp.mean(jax.jit(jax.vmap(gap, in_axes=(None, 0)), static_argnums=0)(m, jnp.arange(6))))
            for m in widths]
    order = np.polyfit(np.log(widths), np.log(gaps), 1)[0]
    assert -0.65 < order < -0.35, (order, gaps)


def test_the_state_is_signal_plus_noise(float64, small):
    """Tracking the parts is the plain update of their sum, and the noise part never sees the gradient."""
    data, (inputs, _), (state, _) = start(small)
    engine, lam = ENGINES["dense"], small.training.weight_decay
    move = noise.micro_steps(0.2, 1, lam, small.training.tau_xi)
    normals = engine.draw(jax.random.key(0), state)
    f, pullback = engine.forward(small, inputs, state, None)
    gradient = pullback(loss_gradient(data, f))
    after = engine.advance(small, inputs, state, gradient, move, normals)
    for u, g, xi, tau, new in zip(state.weights, gradient, normals, small.network.scales, after.weights, strict=True):
        xi = tau * small.training.tau_xi * xi
        np.testing.assert_allclose(new, u - 0.2 * (g + lam * u + xi), rtol=1e-10, atol=1e-13)
    silent = engine.advance(small, inputs, state, jax.tree.map(jnp.zeros_like, gradient), move, normals)
    for a, b in zip(silent.noise, after.noise, strict=True):
        np.testing.assert_array_equal(a, b)
