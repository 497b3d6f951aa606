"""What is measured of a run: losses and accuracies of each group, test errors, and the table of all measurements.

Lives here: reductions of outputs to scalars, and names, units and meanings of everything recorded. Lives elsewhere:
when they are taken (simulate) and how they are stored (results).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.linalg import matmul
from lrtheory.theory import linear_readout
from lrtheory.theory.config import Config
from lrtheory.theory.engines.base import Diagnostics, Readout
from lrtheory.theory.problem import Data, Problem, contrast, q_test_error


class Groups(NamedTuple):
    """Means over the training set and over each of its groups, in the order of `Problem.group_names`."""

    total: Array  # ()
    each: Array  # (groups,), nan for an empty group


def group_means(problem: Problem, data: Data, per_example: Array) -> Groups:
    """Mean of per_example (N,) over all examples and over each group."""
    codes = jnp.arange(len(problem.group_names))
    member = (data.group[None] == codes[:, None]).astype(per_example.dtype)
    return Groups(total=jnp.mean(per_example), each=matmul(member, per_example) / jnp.sum(member, -1))


def losses(problem: Problem, data: Data, f: Array) -> Groups:
    """Logistic loss log(1 + exp(-y f)) in nat, f (N,): L over all examples, and over each group. Source: section 3."""
    return group_means(problem, data, jax.nn.softplus(-data.y * f))


def accuracies(problem: Problem, data: Data, f: Array) -> Groups:
    """Share of examples with y f > 0 (f = 0 is wrong), f (N,)."""
    return group_means(problem, data, (data.y * f > 0).astype(f.dtype))


def floor(problem: Problem, data: Data) -> Array:
    """The loss of a network that knows P and says 0 on Q: q log 2, q the share of examples that carry x2 alone: ().

    Source: algorithm L-S, section 3, anneals when L is at most eps1 above it.
    """
    without_x1 = jnp.array([p == 0 and q != 0 for p, q in problem.halves])
    return jnp.log(2.0) * jnp.mean(without_x1[data.group])


def loss_gradient(data: Data, f: Array) -> Array:
    """dL/df_i = -y_i sigma(-y_i f_i) / N: (N,)."""
    return -data.y * jax.nn.sigmoid(-data.y * f) / f.shape[0]


def test_errors(config: Config, test: Data, readout: Readout) -> dict[str, Array]:
    """Test errors and losses on P alone, Q alone, mixed, further groups, and overall with the groups' probabilities.

    The error on Q is in closed form; its loss takes alpha from the test points and each direction with its probability.
    Without test points (`Config.n_test` 0) all are in closed form (`linear_readout`). An output of exactly 0, or not a
    number, counts as an error. Theorems 3.4 and 3.5 speak of both errors and losses.
    """
    if config.n_test:
        return errors(config, test, readout)
    found = linear_readout.test_errors(config.problem, *linear_part(config, test.basis, readout), readout.g)
    return {name: jnp.where(jnp.isnan(value), 1.0, value) if name.startswith("test_error") else value
            for name, value in found.items()}


def linear_part(config: Config, basis: Array, readout: Readout) -> tuple[Array, Array]:
    """A and s of f1's linear part, y f1 = (gamma0 sqrt(d) + |g|) a + s xi: () each. Source: `linear_readout`."""
    assert readout.linear is not None, "check() admits no test points where the engine knows no linear part"
    along = matmul(readout.linear, basis[0])
    across = jnp.linalg.norm(readout.linear - along * basis[0])
    size = jnp.sqrt(config.problem.d)
    return along / size, across / size


def test_points(name: str, n_test: int) -> int:
    """Test points a run of which a measurement is a share, at `Config.n_test` of them; 0: it is no such share.

    An error of 0 of n points does not say that it is 0 (`below`).
    """
    sampled = name.removeprefix("averaged_").startswith("test_error") and not name.endswith("test_error_q")
    return n_test if sampled else 0


def below(points: int) -> str:
    """What an error of 0 of so many test points says, those of all seeds of a mean together: it is below one of them.

    That is what was counted. Of the mean of the seeds' true errors it says: below 3/points at 95%, as
    prod_k (1 - e_k)^n = exp(-points mean(e)) to first order.

    >>> below(8 * 8192)
    '< 1/65,536'
    """
    return f"< 1/{points:,}"


def errors(config: Config, test: Data, readout: Readout, blur: float = 0.0) -> dict[str, Array]:
    """`test_errors`; with `blur` above 0 (in units of the output) each is sigma(-margin/blur), which has a derivative."""
    problem = config.problem

    def margin(p: float, q: float) -> Array:
        y = test.y if (p or q) > 0 else -test.y  # test points tell the truth, the group may lie
        other = jnp.where(test.direction == 0, 1 + jnp.arange(len(y)) % 2, 0)  # x2 of the other class
        direction = test.direction if p * q >= 0 else other
        return y * (abs(p) * readout.f1 + abs(q) * test.alpha * readout.g[direction])

    margins = {"p": test.y * readout.f1} | {name: margin(*halves) for name, halves in
                                           zip(problem.group_names, problem.halves, strict=True) if name not in ("p", "q")}
    signed = readout.g * jnp.array([1.0, -1.0, -1.0])  # z is of class +1

    def wrong(m: Array) -> Array:
        return jnp.mean(jax.nn.sigmoid(-m / blur) if blur else (~(m > 0)).astype(m.dtype), -1)

    on_directions = jnp.sum(wrong(test.alpha[None] * signed[:, None]) * jnp.array([0.5, 0.25, 0.25]))
    wrongs = {"q": on_directions if blur else q_test_error(readout.g)} | {name: wrong(m) for name, m in margins.items()}
    on_q = jnp.mean(jax.nn.softplus(-test.alpha[None] * signed[:, None]), -1)
    found = {"q": jnp.sum(on_q * jnp.array([0.5, 0.25, 0.25]))} | {
        name: jnp.mean(jax.nn.softplus(-m)) for name, m in margins.items()}

    def overall(each: dict[str, Array]) -> Array:
        return jnp.asarray(sum(share * each[name] for name, share in zip(problem.group_names, problem.shares, strict=True)))

    return {f"{what}_{name}": each[name] for what, each in (("test_error", wrongs), ("test_loss", found))
            for name in problem.group_names} | {"test_error": overall(wrongs), "test_loss": overall(found)}


def measurements(config: Config, data: Data, test: Data, f: Array, readout: Readout,
                 diagnostics: Diagnostics) -> dict[str, Array]:
    """Every measurement of the network at one moment, as scalars."""
    loss, accuracy = losses(config.problem, data, f), accuracies(config.problem, data, f)
    taken = {"train_loss": loss.total, "accuracy": accuracy.total}
    for k, name in enumerate(config.problem.group_names):
        taken[f"loss_{name}"], taken[f"accuracy_{name}"] = loss.each[k], accuracy.each[k]
    taken |= test_errors(config, test, readout)
    taken |= dict(zip(("g_z", "g_plus", "g_minus"), readout.g, strict=True))
    taken["contrast"] = contrast(readout.g)
    if readout.linear is not None:
        taken["p_along"], taken["p_across"] = linear_part(config, data.basis, readout)
    for name, pair in diagnostics._asdict().items():
        taken[f"{name}_w"], taken[f"{name}_v"] = pair
    return taken


AVERAGED = ("test_error_p", "test_error_q", "test_error", "test_loss", "contrast", "train_loss")
"""What is measured of the averaged network, too, as averaged_NAME."""


def averages(config: Config, data: Data, test: Data, f: Array, readout: Readout) -> dict[str, Array]:
    """The measurements `AVERAGED` of the network of averaged weights, as scalars by name."""
    found = errors(config, test, readout) | {"contrast": contrast(readout.g),
                                             "train_loss": losses(config.problem, data, f).total}
    return {f"averaged_{name}": found[name] for name in AVERAGED}


def described(problem: Problem) -> dict[str, tuple[str, str]]:
    """{name: (units, meaning)} of everything that is recorded; first what is recorded over time, last what is once a run."""
    groups = dict(zip(problem.group_names, problem.group_labels, strict=True))
    return {
        "time": ("sum of rates", "training time, sum over iterations of the learning rate"),
        "iterations": ("1", "iterations of the algorithm, K for a step of K micro-steps"),
        "steps": ("1", "steps taken, each of K iterations; tried ones included where the engine chooses K"),
        "learning_rate": ("sum of rates an iteration", "rate of the next step unless the loss changes it"),
        "activation_noise": ("tau0 |x|", "std of the pre-activation noise on x"),
        "injected_noise": ("1", "injected noise over its balanced value, or over noise_scale"),
        "phase": ("1", "stages behind the algorithm, over all its schedules; L-S: 0 before annealing, 1 after"),
        "train_loss": ("nat", "logistic training loss L, without weight decay and without activation noise"),
        "accuracy": ("1", "training accuracy"),
        **{f"loss_{g}": ("nat", f"training loss on the {label} group") for g, label in groups.items()},
        **{f"accuracy_{g}": ("1", f"training accuracy on the {label} group") for g, label in groups.items()},
        "test_error_p": ("1", "test error on x1 alone, of n_test points; n_test 0: in closed form"),
        "test_error_q": ("1", "test error on x2 alone, closed form"),
        "test_error_mixed": ("1", "test error on examples with both halves"),
        **{f"test_error_{g.name}": ("1", f"test error on the {g.name} group, fresh") for g in problem.extra_groups},
        "test_error": ("1", "test error over the distribution"),
        "test_loss_p": ("nat", "test loss on x1 alone"),
        "test_loss_q": ("nat", "test loss on x2 alone"),
        "test_loss_mixed": ("nat", "test loss on examples with both halves"),
        **{f"test_loss_{g.name}": ("nat", f"test loss on the {g.name} group, fresh") for g in problem.extra_groups},
        "test_loss": ("nat", "test loss over the distribution"),
        "g_z": ("1", "g(z), output on the direction z"),
        "g_plus": ("1", "g(z + zeta)"),
        "g_minus": ("1", "g(z - zeta)"),
        "contrast": ("1", "g(z + zeta) + g(z - zeta) - 2 g(z); far below 0 where Q is told apart"),
        "p_along": ("1", "a of f1's linear part, y f1 = (gamma0 sqrt(d) + |g|) a + s xi; infinite width"),
        "p_across": ("1", "s of f1's linear part, y f1 = (gamma0 sqrt(d) + |g|) a + s xi; infinite width"),
        **{f"noise_variance_{h}": ("tau0^2", f"mean square of the noise part of {h.upper()}") for h in "wv"},
        "noise_variance_theory": ("tau0^2", "the same, from its recursion v <- a^2 v + s^2"),
        **{f"gate_agreement_{h}": ("1", f"share of gates that {h.upper()} and its noise part have in common") for h in "wv"},
        **{f"signal_norm_{h}": ("1", f"Frobenius norm of the signal part of {h.upper()}") for h in "wv"},
        **{f"noise_norm_{h}": ("1", f"Frobenius norm of the noise part of {h.upper()}") for h in "wv"},
        **{f"signal_moved_{h}": ("1", f"distance of the signal part of {h.upper()} from that at the record before; "
                                 "nan at infinite width") for h in "wv"},
        "sharpness": ("1/(sum of rates)", "largest eigenvalue of the Hessian of the training loss, given the gates"),
        "rate_sharpness": ("1", "learning rate times sharpness; above 2 an iteration overshoots"),
        **{f"averaged_{name}": ("nat" if "loss" in name else "1", f"{name} of the network of weights averaged over "
                                "training.average_time, where that is set") for name in AVERAGED},
        **{f"time_{g}_half": ("sum of rates", f"first time the loss on the {label} group is at most (log 2)/2; "
                              "inf: never") for g, label in groups.items()},
        "annealed_at": ("sum of rates", "time of annealing, of the rate or of a noise; inf: never"),
        "threshold_at": ("sum of rates", "first time the loss itself, not its running mean, is at the threshold"),
        "stopped_at": ("sum of rates", "time at which the training loss reached stop_loss; inf: never"),
        "diverged_at": ("sum of rates", "time at which the loss ceased to be finite or passed 100; inf: never"),
    }


STEP = {"units": "1", "long_name": "steps done, each of K iterations"}
"""Units and meaning of the coordinate along the records."""
