"""Sharpness: the eigenvalue in closed form against the Hessian itself, and every engine against the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import vary
from jax.flatten_util import ravel_pytree

import lrtheory as lt
from lrtheory.theory import simulate
from lrtheory.theory.engines import ENGINES
from lrtheory.theory.network import apply
from lrtheory.theory.sharpness import sharpness


def state_of(config, steps=20):
    """A network in the middle of its training."""
    algorithm = config.training.algorithm("L-S")
    setting, run = jax.jit(simulate.begin)(config, algorithm, jnp.asarray(1))
    step = jax.jit(simulate.step)
    for index in range(steps):
        run = step(config, algorithm, setting, jnp.asarray(index), run)
    return setting, run


def measured(config, setting, run):
    engine = ENGINES[config.engine]
    f, _ = engine.forward(config, setting.inputs, run.network, None)
    return float(sharpness(setting.data.y, f, lambda v: engine.tangent(config, setting.inputs, run.network, v)))


@pytest.mark.thorough(but=["block"])
@pytest.mark.parametrize("variant", ["block", "conv"])
def test_it_is_the_largest_eigenvalue_of_the_hessian(small, variant, float64):
    config = vary(small, engine="dense", network__variant=variant, problem__N=24, problem__d=6, network__m_w=8,
                  network__m_v=8)
    setting, run = state_of(config, 12)
    flat, back = ravel_pytree(run.network.weights)

    def loss(u):
        f = apply(back(u), setting.data.x1, setting.data.x2)
        return jnp.mean(jax.nn.softplus(-setting.data.y * f))

    hessian = np.asarray(jax.hessian(loss)(flat))
    assert measured(config, setting, run) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-6)
    vector = np.random.default_rng(0).normal(size=len(flat))  # and by power iteration
    for _ in range(3000):
        vector = hessian @ vector
        vector /= np.linalg.norm(vector)
    assert measured(config, setting, run) == pytest.approx(vector @ hessian @ vector, rel=1e-4)


def test_it_is_exact_where_it_stands_apart_and_a_little_low_on_a_flat_spectrum():
    """By as much as its docstring says: the largest eigenvalue of S^(1/2) K S^(1/2)/N at f = 0 is that of K over 4 N."""
    n, rng = 128, np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(n, n)))[0]
    rows = rng.normal(size=(n, n // 4))
    of = jax.jit(lambda k: sharpness(jnp.ones(n), jnp.zeros(n), lambda v: k @ v))
    for name, k, low in (("apart", (turned * np.r_[np.linspace(0, 1, n - 1), 3.0]) @ turned.T, 1e-4),
                         ("uniform", (turned * np.linspace(0, 1, n)) @ turned.T, 0.05),
                         ("semicircle", (turned * (1 + np.cos(np.linspace(0, np.pi, n)))) @ turned.T, 0.05),
                         ("Marchenko-Pastur", rows @ rows.T, 0.05)):
        largest = np.linalg.eigvalsh(k)[-1] / 4 / n
        assert 1 - low < float(of(jnp.asarray(k))) / largest < 1 + 1e-5, name


@pytest.mark.thorough(but=["conv"])
@pytest.mark.parametrize("variant", ["block", "conv"])
def test_the_reduced_network_has_the_sharpness_of_the_dense_one(small, variant):
    """Same law: the same rows, weights and gates, put into the reduced engine's coordinates."""
    dense = vary(small, engine="dense", network__variant=variant)
    reduced = vary(dense, engine="reduced")
    setting, run = state_of(dense)
    if variant == "block":
        z, plus = setting.inputs.directions[0], setting.inputs.directions[1] - setting.inputs.directions[0]
        plane = jnp.stack([z / jnp.linalg.norm(z), plus / jnp.linalg.norm(plus)])
        network = jax.tree.map(lambda w: w, run.network)._replace(
            signal=(run.network.signal[0], plane @ run.network.signal[1]),
            noise=(run.network.noise[0], plane @ run.network.noise[1]))
    else:
        network = run.network
    inputs = ENGINES["reduced"].prepare(reduced, setting.data)
    other = measured(reduced, setting._replace(inputs=inputs), run._replace(network=network))
    assert other == pytest.approx(measured(dense, setting, run), rel=1e-4)


def test_wide_networks_approach_infinite_width_at_the_start(small):
    """f = 0 at the start, so only the kernel's own fluctuation, of order 1/sqrt(m), is left."""
    wide = vary(small, engine="decoupled", network__m_w=20_000, network__m_v=20_000)
    none = vary(small, engine="infinite", training__tolerance=0.0)
    found = {config.engine: measured(config, *state_of(config, 0)) for config in (wide, none)}
    assert found["decoupled"] == pytest.approx(found["infinite"], rel=0.03)


def test_it_is_recorded_with_the_rate_beside_it(tiny):
    runs = lt.run(vary(tiny, seeds=1, training__steps=20, algorithms=("L-S",)))
    np.testing.assert_allclose(runs["rate_sharpness"], runs["learning_rate"] * runs["sharpness"], rtol=1e-5)
    assert float(runs["sharpness"].min()) > 0
