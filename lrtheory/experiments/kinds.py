"""The kinds of experiment: the two-layer network, CIFAR-10, your own model, infinite width on your own arrays.

Lives here: by what a configuration is known for which kind it is, who makes results of it; for the two that can be swept
which fields cannot be an axis, what is measured of a run, on which clock, which labels a point has. Lives elsewhere: axes
and points (sweeps.grid), what a kind's numbers mean (theory, vision, custom, wide).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lrtheory.custom.config import Settings as OwnSettings
from lrtheory.fields import parse
from lrtheory.theory.config import Config
from lrtheory.theory.measure import STEP, described
from lrtheory.theory.room import measured
from lrtheory.theory.simulate import record_steps
from lrtheory.theory.timescales import blur_time, p_time, q_time
from lrtheory.vision.config import Experiment
from lrtheory.vision.runs import DESCRIBED, EPOCH
from lrtheory.vision.simulate import CONDITIONS, conditions
from lrtheory.wide.config import Settings as WideSettings


class Sweepable(NamedTuple):
    """What a sweep has to know of a kind."""

    fixed: tuple[str, ...]  # fields that cannot be an axis: parts, labels, what gives the results their shape
    may_be: str  # what can be one, in words
    labels: Mapping[str, tuple[str, str, Callable[[Any], Any]]]  # closed-form numbers: {name: (meaning, units, of a config)}
    largest: tuple[str, ...]  # fields whose largest value decides the results' shape, where they are an axis
    lasting: tuple[str, ...]  # and those that decide how long a run lasts
    measured: Callable[[Any], Mapping[str, tuple[np.dtype, bool]]]  # {name: (type, whether over time)}
    described: Callable[[Any], Mapping[str, tuple[str, str]]]  # {name: (units, meaning)}
    clock: tuple[str, Callable[[Any], np.ndarray], Mapping[str, str]]  # of the records: name, values (records,), attributes


class Kind(NamedTuple):
    """What tells one kind of experiment from another."""

    config: type
    mark: str  # a field that the configurations of no other kind have
    made_by: str  # the function that returns results of it
    sweep: Sweepable | None = None  # None: it cannot be swept


TIME_SCALES = {
    "T_Q": ("T_Q, time to fit Q", "sum of rates", lambda c: q_time(c.problem)),
    "T_P": ("T_P, time in which margins on P grow by 1", "sum of rates", lambda c: p_time(c.problem)),
    "blur_ratio": ("t_blur(eta1)/T_Q, blur to learning under the large rate", "1",
                   lambda c: blur_time(c.problem, c.training, c.training.eta1) / q_time(c.problem)),
    "blur_ratio_small": ("t_blur(eta2)/T_Q, blur to learning under the small rate", "1",
                         lambda c: blur_time(c.problem, c.training, c.training.eta1 * c.training.eta_ratio)
                         / q_time(c.problem)),
}
"""Closed-form numbers of the theory that figures can use as axes: {name: (meaning, units, of a config)}."""

THEORY = Kind(Config, "problem", "lrtheory.run", Sweepable(
    labels=TIME_SCALES, largest=(), lasting=("training.steps", "training.step_time", "training.eta1"),
    fixed=("name", "note", "problem", "network", "training", "algorithms", "seeds", "first_seed", "records", "n_test",
           "required_ratio", "problem.extra_groups"),
    may_be="a number or choice of problem, network or training, or engine",
    measured=measured, described=lambda config: described(config.problem), clock=("step", record_steps, STEP)))


def _trained(config: Experiment) -> dict[str, tuple[np.dtype, bool]]:
    """What an experiment measures."""
    hidden = {f"{kind}_{name}" for name in set(CONDITIONS) - set(conditions(config)) for kind in ("accuracy", "loss")}
    once = {"diverged_at": (np.dtype(float), False), "epochs_done": (np.dtype(np.int64), False)}
    return {name: once.get(name, (np.dtype(np.float32), True)) for name in DESCRIBED if name not in hidden}


TRAININGS = Kind(Experiment, "model", "lrtheory cifar", Sweepable(
    labels={}, largest=("training.epochs", "patch.share"), lasting=("training.epochs",),
    fixed=("name", "note", "model", "patch", "training", "algorithms", "seeds", "first_seed", "at_once", "spread", "margin",
           "interleave", "checkpoint_epochs"),
    may_be="a number or choice of model, patch or training, n_train or n_test",
    measured=_trained, described=lambda config: DESCRIBED,
    clock=("time", lambda config: 1 + np.arange(config.training.epochs), EPOCH)))

OWN = Kind(OwnSettings, "clock", "lrtheory.train")
WIDE = Kind(WideSettings, "kernel_error", "lrtheory.limit")
KINDS = {kind.config: kind for kind in (THEORY, TRAININGS, OWN, WIDE)}
"""All, by the type of the configuration."""


def sweep_of(config: Any) -> Sweepable:
    """What a sweep has to know of a configuration's kind."""
    found = KINDS[type(config)].sweep
    assert found is not None, "lrtheory.sweep takes what can be swept"
    return found


def kind_in(text: str, source: str = "config") -> Kind:
    """The kind of the configuration that JSON text holds. Raises `ConfigError` for what is no JSON."""
    tree = parse(text, source)
    marked = [kind for kind in KINDS.values() if isinstance(tree, dict) and kind.mark in tree]
    return marked[0] if marked else THEORY
