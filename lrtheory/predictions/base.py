"""What a prediction is: a claim of the theory, the runs it needs, its statistics, and how they decide.

Lives here: `Prediction`, `Statistic`, the decision rule, and intervals over seeds (SciPy's). Lives elsewhere: each claim
(one file a claim), running them together (verify).

The rule: a statistic has an interval over seeds at a confidence level that is corrected for all claims and statistics
decided together, and a region in which the claim puts it. Interval inside the region: holds. Interval and region apart:
fails. Anything else: not resolved at this size. A claim holds if all its statistics do and fails if one fails.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from scipy import stats

from lrtheory.theory.config import Config

Verdict = Literal["holds", "fails", "not resolved"]
Level = float
"""Confidence level of one interval, in (0, 1)."""


class Need(NamedTuple):
    """Runs that a claim is judged by: a sweep of a config, or with no axes a single run."""

    config: Config
    axes: tuple[tuple[str | tuple[str, ...], tuple[Any, ...]], ...] = ()
    """((field or fields, values), ...), as `lrtheory.sweep` takes them"""


class Statistic(NamedTuple):
    """One number, its interval over seeds, and where the claim puts it."""

    name: str
    value: float
    low: float  # of the interval
    high: float
    region: tuple[float, float]  # where the claim holds, ends included
    theory: str  # what the theory says, in words and numbers

    @property
    def verdict(self) -> Verdict:
        """The decision rule; an interval that is not a number decides nothing."""
        if not (math.isfinite(self.value) and self.low <= self.high):
            return "not resolved"
        if self.low >= self.region[0] and self.high <= self.region[1]:
            return "holds"
        return "fails" if self.high < self.region[0] or self.low > self.region[1] else "not resolved"


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


def verdict(statistics: Sequence[Statistic]) -> Verdict:
    """The verdict of a claim: fails if one statistic does, holds if all do."""
    verdicts = [s.verdict for s in statistics]
    if "fails" in verdicts:
        return "fails"
    return "holds" if verdicts and all(v == "holds" for v in verdicts) else "not resolved"


def mean(name: str, values: Any, level: Level, region: tuple[float, float], theory: str) -> Statistic:
    """Mean over seeds with Student's interval; values (seeds,). A value that is not finite leaves it not resolved."""
    values = np.asarray(values, float).ravel()
    if values.size < 2 or not np.isfinite(values).all():
        return Statistic(name, math.nan, math.nan, math.nan, region, theory)
    if np.ptp(values) == 0:
        return Statistic(name, float(values[0]), float(values[0]), float(values[0]), region, theory)
    found = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return Statistic(name, float(values.mean()), float(found.low), float(found.high), region, theory)


def share(name: str, happened: Any, level: Level, theory: str) -> Statistic:
    """Share of seeds in which something happened, with the exact (Clopper-Pearson) interval; claimed: above one half."""
    happened = np.asarray(happened, bool).ravel()
    found = stats.binomtest(int(happened.sum()), happened.size)
    low, high = found.proportion_ci(level, method="exact")
    return Statistic(name, found.statistic, low, high, (float(np.nextafter(0.5, 1)), 1.0), theory)


def bootstrap(name: str, samples: Sequence[Any], function: Callable[..., Any], level: Level, region: tuple[float, float],
              theory: str) -> Statistic:
    """A function of means over seeds, with a bootstrap interval over seeds.

    SciPy's percentile method, 20,000 draws, at the level that makes it as wide as Student's interval for a mean of n seeds:
    1 - 2 Phi(-sqrt(n/(n-1)) t_n-1). Plain percentiles are too narrow for few seeds (Hesterberg, "What teachers should know
    about the bootstrap", 2015: the expanded percentile interval).

    Args:
      name: what it is.
      samples: arrays (seeds, ...) of the same seeds, which are resampled together.
      function: of the samples' means over seeds, (draws, ...) each, to numbers (draws,).
      level: confidence level.
      region: where the claim puts it.
      theory: the claim in numbers.
    """
    arrays = [np.asarray(s, float) for s in samples]
    n = min(len(a) for a in arrays)
    if n < 2:
        return Statistic(name, math.nan, math.nan, math.nan, region, theory)

    def of(chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(function(*(a[np.asarray(chosen, int)].mean(chosen.ndim - 1) for a in arrays)))

    value = of(np.arange(n)[None])[0]
    if not math.isfinite(value):
        return Statistic(name, math.nan, math.nan, math.nan, region, theory)
    wide = 1 - 2 * stats.norm.sf(math.sqrt(n / (n - 1)) * stats.t.isf((1 - level) / 2, n - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # draws without a value: no interval, not resolved
        found = stats.bootstrap((np.arange(n),), of, n_resamples=20_000, batch=2_000, vectorized=True, axis=-1,
                                confidence_level=float(wide), method="percentile",
                                rng=np.random.default_rng(0)).confidence_interval
    return Statistic(name, float(value), float(found.low), float(found.high), region, theory)


def slope(x: Sequence[float] | np.ndarray) -> Callable[..., np.ndarray]:
    """The fitted exponent of y over x: slope of log y in log x by least squares.

    y (draws, len(x)) -> (draws,), nan where a y is not positive.
    """
    def fitted(y: np.ndarray) -> np.ndarray:
        good = np.all(np.isfinite(y) & (y > 0), axis=-1)
        logs = np.log(np.where(good[:, None], y, 1.0))
        return np.where(good, np.polyfit(np.log(np.asarray(x, float)), logs.T, 1)[0], np.nan)

    return fitted


def duration(config: Config) -> float:
    """Time that every algorithm covers at least: steps of step_time, or of the small rate if that is longer."""
    training = config.training
    return training.steps * max(training.step_time, training.eta1 * training.eta_ratio)


def lasting(config: Config, time: float, **changes: Any) -> Config:
    """A config with changes, and with steps so that every algorithm covers a time."""
    changed = config.replace(**changes)
    return changed.replace(**{"training.steps": math.ceil(time / duration(changed.replace(**{"training.steps": 1})))})


def at_end(runs: xr.Dataset, name: str) -> np.ndarray:
    """A measurement at the last record, seeds first: (seeds, ...) with the axes in order."""
    values = runs[name].isel(record=-1) if "record" in runs[name].dims else runs[name]
    return values.transpose("seed", ...).values


def each_seed(axis: Axes, x: Any, y: np.ndarray, colour: str, label: str) -> None:
    """Values (seeds, len(x)) as a dot a seed, and a line through their means."""
    axis.plot(np.asarray(x, float), y.T, ".", color=colour, markersize=3, alpha=0.5)
    axis.plot(x, y.mean(0), "-", color=colour, label=label)
