"""What is measured of a run: losses and accuracies of each group, test errors, and the table of all measurements.

Lives here: reductions of outputs to scalars, and names, units and meanings of everything recorded. Lives elsewhere:
when they are taken (simulate) and how they are stored (results).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.config import Config
from lrtheory.engines.base import Diagnostics, Readout
from lrtheory.linalg import matmul
from lrtheory.problem import Data, contrast, q_test_error

GROUPS = ("p", "mixed", "q")


class Groups(NamedTuple):
    """Means over the training set and over each of its groups, in the order P-only, mixed, Q-only."""

    total: Array  # ()
    each: Array  # (3,), nan for an empty group


def group_means(data: Data, per_example: Array) -> Groups:
    """Mean of per_example (N,) over all examples and over each group."""
    member = (data.group[None] == jnp.arange(3)[:, None]).astype(per_example.dtype)
    return Groups(total=jnp.mean(per_example), each=matmul(member, per_example) / jnp.sum(member, -1))


def losses(data: Data, f: Array) -> Groups:
    """Logistic loss log(1 + exp(-y f)): L over all examples, and over each group."""
    return group_means(data, jax.nn.softplus(-data.y * f))


def accuracies(data: Data, f: Array) -> Groups:
    """Share of examples with y f > 0 (f = 0 is wrong)."""
    return group_means(data, (data.y * f > 0).astype(f.dtype))


def loss_gradient(data: Data, f: Array) -> Array:
    """dL/df_i = -y_i sigma(-y_i f_i) / N: (N,)."""
    return -data.y * jax.nn.sigmoid(-data.y * f) / f.shape[0]


def test_errors(config: Config, test: Data, readout: Readout) -> dict[str, Array]:
    """Test errors on P alone, Q alone (closed form), mixed, and overall with the groups' probabilities.

    An output of exactly 0, or not a number, counts as an error.
    """
    problem = config.problem

    def error(f: Array) -> Array:
        return jnp.mean((~(test.y * f > 0)).astype(f.dtype))

    on_p, on_q = error(readout.f1), q_test_error(readout.g)
    mixed = error(readout.f1 + test.alpha * readout.g[test.direction])
    overall = problem.p0 * on_p + problem.q0 * on_q + (1 - problem.p0 - problem.q0) * mixed
    return {"test_error_p": on_p, "test_error_q": on_q, "test_error_mixed": mixed, "test_error": overall}


def measurements(config: Config, data: Data, test: Data, f: Array, readout: Readout,
                 diagnostics: Diagnostics) -> dict[str, Array]:
    """Every measurement of the network at one moment, as scalars."""
    loss, accuracy = losses(data, f), accuracies(data, f)
    taken = {"train_loss": loss.total, "accuracy": accuracy.total}
    for k, name in enumerate(GROUPS):
        taken[f"loss_{name}"], taken[f"accuracy_{name}"] = loss.each[k], accuracy.each[k]
    taken |= test_errors(config, test, readout)
    taken |= dict(zip(("g_z", "g_plus", "g_minus"), readout.g, strict=True))
    taken["contrast"] = contrast(readout.g)
    for name, pair in diagnostics._asdict().items():
        taken[f"{name}_w"], taken[f"{name}_v"] = pair
    return taken


UNITS: dict[str, tuple[str, str]] = {
    "time": ("sum of rates", "training time, sum over iterations of the learning rate"),
    "iterations": ("1", "iterations of the algorithm, K for a step of K micro-steps"),
    "steps": ("1", "steps taken, each of K iterations; tried ones included where the engine chooses K"),
    "learning_rate": ("sum of rates an iteration", "rate of the next step unless the loss changes it"),
    "activation_noise": ("tau0 |x|", "std of the pre-activation noise on x"),
    "phase": ("1", "stage of the algorithm: 0 before annealing, 1 after"),
    "train_loss": ("nat", "logistic training loss L, without weight decay and without activation noise"),
    "accuracy": ("1", "training accuracy"),
    **{f"loss_{g}": ("nat", f"training loss on the group {g}") for g in GROUPS},
    **{f"accuracy_{g}": ("1", f"training accuracy on the group {g}") for g in GROUPS},
    "test_error_p": ("1", "test error on x1 alone"),
    "test_error_q": ("1", "test error on x2 alone, closed form"),
    "test_error_mixed": ("1", "test error on examples with both halves"),
    "test_error": ("1", "test error over the distribution"),
    "g_z": ("1", "g(z), output on the direction z"),
    "g_plus": ("1", "g(z + zeta)"),
    "g_minus": ("1", "g(z - zeta)"),
    "contrast": ("1", "g(z + zeta) + g(z - zeta) - 2 g(z); far below 0 where Q is told apart"),
    **{f"noise_variance_{h}": ("tau0^2", f"mean square of the noise part of {h.upper()}") for h in "wv"},
    "noise_variance_theory": ("tau0^2", "the same, from its recursion v <- a^2 v + s^2"),
    **{f"gate_agreement_{h}": ("1", f"share of gates that {h.upper()} and its noise part have in common") for h in "wv"},
    **{f"signal_norm_{h}": ("1", f"Frobenius norm of the signal part of {h.upper()}") for h in "wv"},
    **{f"noise_norm_{h}": ("1", f"Frobenius norm of the noise part of {h.upper()}") for h in "wv"},
    **{f"time_{g}_half": ("sum of rates", f"first time the loss on {g} is at most half its initial value; inf: never")
       for g in GROUPS},
    "annealed_at": ("sum of rates", "time of annealing, of the rate or of the activation noise; inf: never"),
    "threshold_at": ("sum of rates", "first time the loss itself, not its running mean, is at the threshold"),
    "stopped_at": ("sum of rates", "time at which the training loss reached stop_loss; inf: never"),
    "diverged_at": ("sum of rates", "time at which the loss ceased to be finite or passed 100; inf: never"),
}
"""Units and meaning of every recorded name; the first block is recorded over time, the last once a run."""

STEP = {"units": "1", "long_name": "steps done, each of K iterations"}
"""Units and meaning of the coordinate along the records."""
