"""What a prediction is: a claim of the theory, the runs it needs, and how its statistics follow from them.

Lives here: `Prediction`, and what several claims share. Lives elsewhere: intervals over seeds and what they decide
(intervals), each claim (one file a claim), running them together (verify).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from lrtheory.intervals import Level, Statistic
from lrtheory.spec import ConfigError, require, require_positive
from lrtheory.theory.config import Config
from lrtheory.theory.results import apart, at_time, by_algorithm, shared_time


class Need(NamedTuple):
    """Runs that a claim is judged by: a sweep of a config, or with no axes a single run."""

    config: Config
    axes: tuple[tuple[str | tuple[str, ...], tuple[Any, ...]], ...] = ()
    """((field or fields, values), ...), as `lrtheory.sweep` takes them"""


class Prediction(NamedTuple):
    """A claim as a pure object; those of the theory are `lrtheory.predictions.PREDICTIONS`."""

    name: str
    statement: str  # one line
    source: str  # theorem, section, or "derived here"
    about: str  # how it is measured and why so, for `lrtheory verify --list` and the report
    needs: Callable[[Config], Mapping[str, Need]]
    """runs needed, by name, from the base configuration"""
    judge: Callable[[Mapping[str, xr.Dataset], Level], Iterable[Statistic]]
    """statistics, from the runs by name, with intervals at a level"""
    draw: Callable[[Mapping[str, xr.Dataset], SubFigure], None] | None = None
    """the curves behind the statistics; None: the figure has their intervals alone"""
    needs_gap: bool = False
    """whether the claim is about configurations in which L-S and S come apart"""
    fails: str = ""
    """what would make each of its statistics fail, for `lrtheory verify --list`"""


def require_groups(config: Config, *groups: str) -> None:
    """Raise `ConfigError` if a training set has no examples of a group: what is claimed of them cannot be judged."""
    sizes = dict(zip(config.problem.group_names, config.problem.group_sizes, strict=True))
    for name in groups:
        share = getattr(config.problem, f"{name}0")
        require(sizes[name] > 0, f"problem.{name}0", share, "above 0 for this claim",
                f"there are no {name.upper()}-only examples to judge it by")


def require_plain(config: Config) -> None:
    """Raise `ConfigError` for networks whose V shares its weights, or for minibatches: of either, kinks say less."""
    network, training = config.network, config.training
    require(network.variant == "block", "network.variant", network.variant, "block for this claim",
            "it is about a V of its own")
    require(training.batch_size is None, "training.batch_size", training.batch_size, "None for this claim",
            "minibatches scatter by themselves")


def at_kept_ratio(config: Config) -> Config:
    """A config whose N follows d: by kappa where it gives N."""
    problem = config.problem
    return config if problem.N is None else config.replace(**{"problem.N": None, "problem.kappa": math.sqrt(
        problem.d / problem.n_train)})


def over_balance(config: Config) -> Config:
    """The same noise, over its balanced value where it is given as a number of its own: so it follows eta1 and lambda."""
    training = config.training
    if training.noise_scale is None:
        return config
    require_positive("training.weight_decay", training.weight_decay)  # else no noise is balanced
    return config.replace(**{"training.noise_scale": None,
                             "training.noise_level": training.noise_level * training.noise_scale / float(training.balanced)})


def lasting(config: Config, time: float, **changes: Any) -> Config:
    """A config with changes, and with steps so that every algorithm covers a time."""
    changed = config.replace(**changes)
    step = changed.replace(**{"training.steps": 1}).training.duration
    return changed.replace(**{"training.steps": math.ceil(time / step * (1 - 1e-9))})


def paired_end(runs: xr.Dataset, first: str, second: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A measurement of two algorithms at the latest time that both reach, (seeds,) each; `ConfigError` if they part."""
    found = at_shared_time(by_algorithm(runs, (first, second)), name)
    return found[first], found[second]


def at_shared_time(runs: Mapping[str, xr.Dataset], name: str) -> dict[str, np.ndarray]:
    """A measurement of runs, each of one algorithm, at the latest time that all reach: (seeds,) each.

    Raises `ConfigError` if one is followed more than twice as long as another.
    """
    time = shared_time(list(runs.values()))
    if time is None:
        raise ConfigError(apart(runs))
    return {key: at_time(run, name, time) for key, run in runs.items()}


def at_end(runs: xr.Dataset, name: str) -> np.ndarray:
    """A measurement at the last record, seeds first: (seeds, ...) with the axes in order."""
    values = runs[name].isel(record=-1) if "record" in runs[name].dims else runs[name]
    return values.transpose("seed", ...).values


def each_seed(axis: Axes, x: Any, y: np.ndarray, colour: str, label: str) -> None:
    """Values (seeds, len(x)) as a dot a seed, and a line through their means."""
    axis.plot(np.asarray(x, float), y.T, ".", color=colour, markersize=3, alpha=0.5)
    axis.plot(x, y.mean(0), "-", color=colour, label=label)
