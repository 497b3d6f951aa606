"""The paper's algorithm in NumPy, read in a minute, and `lrtheory.run` beside it from the first step to beyond annealing.

Only the draws are taken from lrtheory (examples, first weights, the noise of each iteration); what is done with them is
written out here: section 3 of Li, Wei & Ma (2019).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import vary

import lrtheory as lt
from lrtheory import noise
from lrtheory.theory import simulate

STEPS = 400


def literal(config, algorithm, seed):
    """Training loss before each iteration, and the iteration that first has eta2."""
    training = config.training
    setting, run = simulate.begin(config, training.algorithm(algorithm), jnp.array(seed))
    x1, x2, y = (np.asarray(v) for v in (setting.data.x1, setting.data.x2, setting.data.y))
    w, v = (np.array(weights) for weights in run.network.weights)  # (d, neurons) each
    n, eta1, decay = len(y), training.eta1, training.weight_decay
    eta2, q = eta1 * training.eta_ratio, np.mean(np.all(x1 == 0, axis=1))
    tau_xi = np.sqrt((1 - (1 - eta1 * decay) ** 2) / eta1**2)  # keeps the noise at its variance under eta1
    u_w, u_v = (np.repeat([1.0, -1.0], m.shape[1] // 2) / np.sqrt(m.shape[1]) for m in (w, v))
    losses, annealed = [], 0 if algorithm == "S" else None
    for t in range(STEPS):
        on_w, on_v = x1 @ w >= 0, x2 @ v >= 0
        f = (on_w * (x1 @ w)) @ u_w + (on_v * (x2 @ v)) @ u_v
        losses.append(np.mean(np.log1p(np.exp(-y * f))))
        if annealed is None and losses[-1] <= training.eps1 + q * np.log(2):
            annealed = t
        eta = eta1 if annealed is None else eta2
        residual = -y / (1 + np.exp(y * f)) / n
        drawn = noise.draw(jax.random.split(jax.random.fold_in(setting.noise_key, t), 3)[0], run.network.weights)
        xi_w, xi_v = (tau_xi * tau * np.asarray(normal) for tau, normal in zip(config.network.scales, drawn, strict=True))
        w = w - eta * (x1.T @ (residual[:, None] * on_w * u_w) + decay * w + xi_w)
        v = v - eta * (x2.T @ (residual[:, None] * on_v * u_v) + decay * v + xi_v)
    return np.array(losses), annealed


@pytest.mark.parametrize("algorithm", ["L-S", "S"])
def test_a_run_is_the_papers_algorithm(float64, small, algorithm):
    """The loss before every iteration, and which one anneals."""
    config = vary(small, engine="dense", algorithms=(algorithm,), seeds=2, records=STEPS, training__step_time=0.0,
                  training__steps=STEPS, training__eps1=0.2, training__loss_smoothing=0.0)
    runs = lt.run(config).isel(algorithm=0)
    for seed in (0, 1):
        losses, annealed = literal(config, algorithm, seed)
        np.testing.assert_allclose(runs["train_loss"].sel(seed=seed).values[:-1], losses, rtol=1e-9)
        if algorithm == "L-S":
            assert 0 < annealed < STEPS / 2
            assert runs["annealed_at"].sel(seed=seed).item() == pytest.approx(annealed * config.training.eta1)
