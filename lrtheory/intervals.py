"""Intervals over seeds, and what they decide.

Lives here: `Statistic`, the decision rule, intervals for means, functions of means and shares, and how often they miss.
Lives elsewhere: what is claimed (predictions, the results of each wing), means and standard errors as such (labelled).

The rule: a statistic has an interval over seeds and a region in which a claim puts it. Interval inside the region: holds.
Interval and region apart: fails. Anything else, and anything that too few seeds say: not resolved. A claim holds if all its
statistics do and fails if one fails. So a claim that is wrong in one statistic holds only if this one interval misses, which
needs no correction over the claim's own statistics; one that is right in all fails if any of k misses, which does
(Bonferroni, 1 - (1 - level)/k). `decide` does both: a verdict is wrong with probability at most 1 - level.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from lrtheory.spec import require_number

Verdict = Literal["holds", "fails", "not resolved"]
Level = float
"""Confidence level of one interval, in (0, 1)."""
DRAWS = 20_000
"""Bootstrap draws of an interval."""
BATCH = 1_000
"""Draws made at a time."""
ROUNDING = 1e-11
"""Of a statistic: a spread over seeds below this share of it is that of last digits, which a derivative's step enlarges."""


LAWS = ("normal values", "errors on P (S less 2 L-S)", "lognormal values (sigma 2)")
"""Laws for which it was simulated how often intervals miss: the best, what a verdict compares, one that is far worse."""
LEVELS = (0.95, 0.975, 0.9875, 0.995, 0.999)
"""Levels at which it was."""
MISSED: dict[int, tuple[tuple[float, ...], ...]] = {
    6: ((4.8, 6.2, 25), (2.5, 3.5, 16), (1.5, 2, 14), (0.83, 1.4, 11), (0.15, 0.18, 4)),
    8: ((4.7, 5.9, 26), (2.7, 3.1, 18), (1.5, 2.1, 16), (0.73, 1.1, 10), (0.27, 0.25, 6.9)),
    12: ((5.2, 6.1, 22), (2.6, 3.7, 18), (1.5, 2.2, 14), (0.6, 1.1, 11), (0.25, 0.43, 6.8)),
    16: ((4.8, 5.9, 19), (2.2, 3.4, 16), (1, 2, 12), (0.45, 1.1, 9.2), (0.1, 0.27, 6)),
    24: ((5.1, 6, 18), (2.7, 3.2, 14), (1.4, 1.7, 11), (0.65, 0.8, 8.6), (0.1, 0.35, 5.1)),
    32: ((4.7, 5.7, 17), (2.3, 2.9, 13), (1.1, 1.3, 9.8), (0.5, 0.6, 6.7), (0.1, 0.22, 4)),
    64: ((4.8, 5.7, 15), (2.5, 3, 11), (1.3, 1.6, 8.8), (0.47, 0.67, 6), (0.15, 0.27, 3.4)),
    256: ((4.9, 5.1, 11), (2.4, 2.5, 7.6), (1.3, 1.2, 5.4), (0.5, 0.43, 3.6), (0.08, 0.08, 2.1)),
}
"""{seeds: for each of `LEVELS`, in how many of 100 cases the interval of a mean misses it, of each of `LAWS`}.

Of 4,000 samples each (notebooks/pages/coverage.py; the page of results has more laws). Below 6 seeds and above 95% most
intervals have no end.
"""


class Statistic(NamedTuple):
    """One number, its interval over seeds, and where the claim puts it."""

    name: str
    value: float
    low: float  # of the interval
    high: float
    region: tuple[float, float]  # where the claim holds: ends included if they are the theory's, excluded if (0, ...)
    theory: str  # what the theory says, in words and numbers

    @property
    def verdict(self) -> Verdict:
        """The decision rule; an interval that is not a number decides nothing.

        An end of the region at 0 is excluded ("above 0", "below 0"): an interval that contains 0 resolves no sign.
        """
        if not (math.isfinite(self.value) and self.low <= self.high):
            return "not resolved"
        (first, last), (low, high) = self.region, (self.low, self.high)
        above = low > 0 if first == 0 else low >= first
        below = high < 0 if last == 0 else high <= last
        if above and below:
            return "holds"
        apart = (high <= 0 if first == 0 else high < first) or (low >= 0 if last == 0 else low > last)
        return "fails" if apart else "not resolved"


def require_level(level: Any) -> None:
    """Raise `ConfigError` for a confidence level that is none."""
    require_number("level", level, lambda part: 0 < part < 1, "a number between 0 and 1, both excluded", "such as 0.95")


def verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of a claim from those on its statistics: fails if one does, holds if all do."""
    if "fails" in verdicts:
        return "fails"
    return "holds" if verdicts and all(v == "holds" for v in verdicts) else "not resolved"


class Decision(NamedTuple):
    """A claim's verdict, its statistics with intervals at the level asked for, and the verdict on each."""

    verdict: Verdict
    statistics: list[Statistic]
    verdicts: list[Verdict]
    level_to_fail: Level  # of the wider intervals by which a statistic fails


def decide(judge: Callable[[Level], Iterable[Statistic]], level: Level) -> Decision:
    """Judge a claim: it holds by intervals at `level`, and fails by those at 1 - (1 - level)/k, k its statistics.

    If all claims are judged at 1 - alpha/n, n of them, the chance that any verdict "holds" or "fails" is wrong is at most
    alpha, as far as the intervals cover. `judge` gives the statistics with intervals at a level.
    """
    require_level(level)
    statistics = list(judge(level))
    wider = 1 - (1 - level) / max(len(statistics), 1)
    wide = list(judge(wider)) if len(statistics) > 1 else statistics
    verdicts: list[Verdict] = ["fails" if w.verdict == "fails" else "holds" if s.verdict == "holds" else "not resolved"
                               for s, w in zip(statistics, wide, strict=True)]
    return Decision(verdict(verdicts), statistics, verdicts, wider)


def mean(name: str, values: Any, level: Level, region: tuple[float, float], theory: str) -> Statistic:
    """Mean over seeds, values (seeds,), by `bootstrap`. A value that is not finite leaves it not resolved.

    Of what the values differ by from one of them, so that all digits of a small spread around a large mean count.
    """
    values = np.asarray(values, float).ravel()
    if not np.isfinite(values).all():
        return Statistic(name, math.nan, math.nan, math.nan, region, theory)
    origin = float(np.median(values)) if values.size else 0.0
    apart = np.zeros_like(values) if _alike(values) else values - origin
    found = bootstrap(name, [apart], lambda m: m, level, region, theory)
    return found._replace(value=found.value + origin, low=found.low + origin, high=found.high + origin)


def student(name: str, values: Any, level: Level, region: tuple[float, float], theory: str) -> Statistic:
    """Mean over seeds, values (seeds,), with Student's interval: for a handful of seeds, of which `bootstrap` says little.

    It is exact for normal laws; skewed ones it misses more often than 1 - level (`bootstrap` has numbers). Seeds that all
    say the same are a point if they are enough to be evidence (`agreed`).
    """
    require_level(level)
    values = np.asarray(values, float).ravel()
    nothing = Statistic(name, math.nan, math.nan, math.nan, region, theory)
    if not values.size:
        return nothing
    nothing = nothing._replace(value=float(values.mean()))
    if not np.isfinite(values).all():
        return nothing
    if _alike(values):
        return nothing._replace(low=nothing.value, high=nothing.value) if agreed(values.size, level) else nothing
    found = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return nothing._replace(low=float(found.low), high=float(found.high))


def _alike(values: np.ndarray) -> bool:
    """Whether all seeds say the same, up to the last digits of their sums."""
    return not values.size or bool(np.ptp(values) <= 8 * np.finfo(float).eps * np.abs(values).max())


def share(name: str, happened: Any, level: Level, theory: str) -> Statistic:
    """Share of seeds in which something happened, with the exact (Clopper-Pearson) interval; claimed: above one half.

    It takes 9 seeds that agree to be above one half at 99.5%, 6 at 95%.
    """
    require_level(level)
    happened = np.asarray(happened, bool).ravel()
    region = (float(np.nextafter(0.5, 1)), 1.0)
    if not happened.size:
        return Statistic(name, math.nan, math.nan, math.nan, region, theory)
    found = stats.binomtest(int(happened.sum()), happened.size)
    low, high = found.proportion_ci(level, method="exact")
    return Statistic(name, found.statistic, low, high, region, theory)


def agreed(seeds: int, level: Level) -> bool:
    """Whether so many seeds that all say the same are evidence: that more than half of all would (exact, `share`)."""
    return seeds > 0 and ((1 - level) / 2) ** (1 / seeds) > 0.5


def fewest(level: Level) -> int:
    """The fewest seeds that are evidence if all of them say the same (`agreed`).

    >>> fewest(0.95), fewest(0.9875)
    (6, 8)
    """
    return math.floor(math.log2(2 / (1 - level))) + 1


def bootstrap(name: str, samples: Sequence[Any], function: Callable[..., Any], level: Level, region: tuple[float, float],
              theory: str, log: bool = False) -> Statistic:
    """A function of means over seeds, with the studentised bootstrap interval over seeds.

    theta - t*_high se <= f <= theta - t*_low se, t* the quantiles of (theta_b - theta)/se_b over draws b of the seeds with
    replacement, se_b^2 = sum_i w_i U_i^2 / (n - 1), w_i the share of seed i in the draw and U_i the derivative of f along
    w_i (infinitesimal jackknife; for a mean se is the standard error). How often it misses is in `MISSED`; of skewed values
    nearly always with the interval below the truth. At 99.5% the mean of 12 and of 24 seeds is missed by Student's interval
    in 2.9% and 2.2% (exponential), 6.6% and 5.4% (lognormal, sigma 1). Source: Efron & Tibshirani, An Introduction to the
    Bootstrap (1993), chapter 12 (bootstrap-t).

    A draw without a value, or without spread, may lie anywhere: enough of them leave the interval without an end. Seeds
    that all say the same are a point if they are enough to be evidence (`agreed`).

    Args:
      name: what it is.
      samples: arrays (seeds, ...) of the same seeds, which are resampled together.
      function: of the samples' means over seeds, (draws, ...) each, to numbers (draws,).
      level: confidence level.
      region: where the claim puts it.
      theory: the claim in numbers.
      log: whether the interval is made for the logarithm, as suits ratios; the value must be above 0.
    """
    require_level(level)
    arrays = [np.asarray(s, float) for s in samples]
    n = min(len(a) for a in arrays)
    nothing = Statistic(name, math.nan, math.nan, math.nan, region, theory)
    if n < 2:
        return nothing

    def of(*means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.asarray(function(*means), float)
            found = np.log(found) if log else found
        return np.where(np.isfinite(found), found, np.nan)

    def estimates(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F and its standard error, (draws,), where seed i has weight `weights` (draws, n)."""
        draws, step = len(weights), 1e-4
        means = [np.einsum("bn,n...->b...", weights, a) for a in arrays]
        centre = of(*means)
        towards = [((1 - step) * m[:, None] + step * a[None]).reshape(-1, *a.shape[1:])
                   for m, a in zip(means, arrays, strict=True)]
        slopes = (of(*towards).reshape(draws, n) - centre[:, None]) / step
        slopes = np.where(weights > 0, slopes, 0.0)
        return centre, np.sqrt(np.sum(weights * slopes**2, 1) / (n - 1))

    value, error = (float(x[0]) for x in estimates(np.full((1, n), 1 / n)))
    point = math.exp(value) if log and math.isfinite(value) else value
    if not math.isfinite(value):
        return nothing
    if error <= ROUNDING * abs(value):
        return nothing._replace(value=point, low=point, high=point) if agreed(n, level) else nothing._replace(value=point)
    rng, scores = np.random.default_rng(0), []
    for _ in range(DRAWS // BATCH):
        centre, spread = estimates(rng.multinomial(n, np.full(n, 1 / n), BATCH) / n)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(np.where(spread > ROUNDING * np.abs(centre), (centre - value) / spread, np.nan))
    t = np.concatenate(scores)
    low, high = (value - float(end) * error for end in reversed(_ends(t, level)))
    if log:
        with np.errstate(over="ignore"):  # an end that no number can say is infinite
            low, high = float(np.exp(low)), float(np.exp(high))
    return nothing._replace(value=point, low=low, high=high)


def _ends(scores: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Low and high quantiles of scores (draws, ...), of which one that is no number may lie anywhere: (...) each."""
    low, high = (np.quantile(np.where(np.isnan(scores), fill, scores), q, axis=0, method="inverted_cdf") for fill, q in
                 ((-np.inf, (1 - level) / 2), (np.inf, (1 + level) / 2)))
    return low, high


def crossing(name: str, value: float, at: np.ndarray, differences: np.ndarray, level: Level, region: tuple[float, float],
             theory: str, resolution: float = 0.0) -> Statistic:
    """Where a mean over seeds is 0, with all places around it at which it is not told from 0.

    x is inside while |mean(D(x))| <= t se(x), by Student's test of each x. So no derivative of the place enters, which has
    none where D has steps. Paired differences are nearly normal: numbers of examples are missed in 3.5 to 6.5 of 100 cases
    at 95% and 6 to 32 seeds, by the studentised bootstrap in 5.6 to 9.3 (notebooks/pages/coverage.py).

    Args:
      name: what it is.
      value: the place, within `at`.
      at: increasing places (points,), `value` among them.
      differences: D (seeds, points).
      level: confidence level.
      region: where the claim puts it.
      theory: the claim in numbers.
      resolution: a mean up to this is 0, as far as D is known.

    Returns:
      An interval that ends with `at`; none where the place itself is told from 0, or fewer than two seeds are there.
    """
    require_level(level)
    n, (place,) = len(differences), np.flatnonzero(at == value)[:1]
    nothing = Statistic(name, value, math.nan, math.nan, region, theory)
    if n < 2:
        return nothing
    mean, error = differences.mean(0), differences.std(0, ddof=1) / math.sqrt(n)
    tiny = 1e-9 * np.abs(differences).max(initial=1e-300)  # below it nothing is but rounding
    reach = np.where(error > tiny, stats.t.ppf((1 + level) / 2, n - 1) * error, 0.0)
    inside = np.abs(mean) <= np.maximum(reach, max(tiny, resolution))
    if not inside[place]:
        return nothing
    outside = np.flatnonzero(~inside)
    first, last = (outside[outside < place][-1:] + 1).tolist() or [0], outside[outside > place][:1].tolist() or [len(at)]
    return nothing._replace(low=float(at[first[0]]), high=float(at[last[0] - 1]))


def slope(x: Sequence[float] | np.ndarray) -> Callable[..., np.ndarray]:
    """The fitted exponent of y over x: slope of log y in log x by least squares.

    y (draws, len(x)) -> (draws,), nan where a y is not positive.
    """
    def fitted(y: np.ndarray) -> np.ndarray:
        good = np.all(np.isfinite(y) & (y > 0), axis=-1)
        logs = np.log(np.where(good[:, None], y, 1.0))
        return np.where(good, np.polyfit(np.log(np.asarray(x, float)), logs.T, 1)[0], np.nan)

    return fitted


def missed(seeds: int, level: Level) -> tuple[float, ...] | None:
    """In how many of 100 cases intervals of `mean` miss, over so many seeds at a level, for each of `LAWS`; None below 6.

    Between what was simulated it is linear in logarithms of seeds, of 1 - level and of the cases; beyond it, its end.

    >>> missed(8, 0.975)
    (2.7, 3.1, 18.0)
    """
    if seeds < min(MISSED):
        return None
    depth = -np.log1p(-np.array(LEVELS))  # rises with the level
    by_seeds = [[np.interp(-math.log1p(-level), depth, np.log(of_law)) for of_law in np.transpose(rows)]
                for rows in MISSED.values()]
    cases = [np.exp(np.interp(math.log(seeds), np.log(list(MISSED)), of_law)) for of_law in np.transpose(by_seeds)]
    return tuple(float(f"{float(case):.2g}") for case in cases)


def told_misses(seeds: int, level: Level) -> str:
    """How often intervals over so many seeds miss, in a sentence for who reads a verdict; "" where it is not known.

    >>> told_misses(8, 0.9875)[:92]
    'Simulated: over 8 seeds 98.75% intervals miss the mean of normal values in 1.5% of cases, of'
    """
    found = missed(seeds, level)
    if found is None:
        return ""
    first, *rest = (f"of {law} in {case:g}%" for case, law in zip(found, LAWS, strict=True))
    said = ", ".join([first + " of cases", *rest])
    return f"Simulated: over {seeds} seeds {100 * level:.4g}% intervals miss the mean {said}."
