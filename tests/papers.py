"""The paper's network as somebody's own model: two pure functions, a sample, its algorithms (not a test)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lrtheory as lt
from lrtheory.theory.measure import losses
from lrtheory.theory.network import apply, initial_weights


def model(config: lt.Config) -> lt.Model:
    return lt.Model(lambda key: initial_weights(config.network, (config.problem.d,) * len(config.network.widths), key),
                    lambda weights, x: apply(weights, *x))


def sample(config: lt.Config):
    def draw(key: jax.Array) -> Any:
        data = lt.sample(config.problem, key)
        return (data.x1, data.x2), data.y, data

    return draw


def algorithms(config: lt.Config) -> dict[str, lt.Algorithm]:
    """L-S and S: the threshold is that of the loss itself."""
    training = config.training
    q = config.problem.group_sizes[2] / config.problem.n_train
    small = training.eta1 * training.eta_ratio
    annealed = lt.anneal_at_loss(training.eta1, small, training.eps1 + q * np.log(2), smoothing=training.loss_smoothing)
    return {"L-S": lt.Algorithm(rate=annealed), "S": lt.Algorithm(rate=lt.constant(small))}


def noise(config: lt.Config) -> tuple[float, ...]:
    training = config.training
    balanced = float(lt.noise.balanced_noise(training.eta1, training.weight_decay))
    return tuple(training.noise_level * balanced * tau for tau in config.network.scales)


def measure(config: lt.Config):
    def take(weights: Any, data: Any) -> dict[str, jax.Array]:
        (x1, x2), _, examples = data
        each = losses(config.problem, examples, apply(weights, x1, x2)).each
        points = examples.points
        return {"loss_p": each[0], "loss_q": each[2],
                "contrast": lt.contrast(apply(weights, jnp.zeros_like(points), points))}

    return take
