"""Which schedules fresh seeds do not tell from the best one: by the error itself, paired over seeds.

A search finds one place, by a blurred error on the data of two seeds. Around it the error may be flat: here are the ranges
of the free numbers, and the other families, whose error fresh seeds do not tell from that of the best.

Lives here: that set. Lives elsewhere: the search (search), what a schedule ends with (outcomes), networks as the judge
(design).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrtheory.intervals import Level, Statistic, mean
from lrtheory.labelled import finite
from lrtheory.optimal.families import Number
from lrtheory.optimal.outcomes import Outcomes
from lrtheory.optimal.search import Best

PLACES, HALVINGS = 9, 3
"""Values of each number over its bounds, and how often the step at which it is first told apart is halved."""


class Range(NamedTuple):
    """Values of a free number around its best one, the others at theirs, that are not told from it."""

    number: Number
    low: float
    high: float
    tried: tuple[tuple[float, Statistic], ...]  # (place in [0, 1], objective less that of the best), in order

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"low": self.low, "high": self.high, "bounds": [self.number.low, self.number.high], "tried": [
            {"value": float(self.number.at(unit))} | told(s) for unit, s in self.tried]}


class Alike(NamedTuple):
    """What fresh seeds do not tell from the best of a family."""

    closed_form: bool  # whether the objective is without test points
    least: np.ndarray  # (seeds,) the objective of the best
    numbers: dict[str, Range]
    families: dict[str, Statistic]  # objective less that of the best

    def standing(self, which: str) -> list[str]:
        """The families that are "alike", "worse" or "better"."""
        return [name for name, s in self.families.items() if standing(s) == which]

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"closed_form": self.closed_form, "seeds": self.least.size, "least": float(self.least.mean()),
                "numbers": {name: r.tree for name, r in self.numbers.items()},
                "families": {name: told(s) for name, s in self.families.items()}}


def standing(less: Statistic) -> str:
    """What a difference from the best says: "worse", "better", or "alike", where its interval has 0, or there is none."""
    if less.low > 0:
        return "worse"
    return "better" if less.high < 0 else "alike"


def told(less: Statistic) -> dict[str, Any]:
    """A difference from the best as JSON has it."""
    return {"less_the_best": finite(less.value), "low": finite(less.low), "high": finite(less.high),
            "standing": standing(less)}


def alike(outcomes: Outcomes, best: Best, others: Sequence[Best], level: Level,
          tell: Callable[[str], None] = lambda text: None) -> Alike:
    """The set that fresh seeds do not tell from the best, at a level each.

    Each number is moved over its bounds with the others at their best, and each other family stands at its own best
    numbers. A range is what lies around the best without a place that is worse, as finely as `HALVINGS` halvings of 1/8 of
    the bounds tell.

    Args:
      outcomes: of fresh seeds, errors not blurred.
      best: of the family that was searched.
      others: of the other families.
      level: of each paired interval.
      tell: told what is being done.
    """
    least, *rest = outcomes.each([(b.family, b.units) for b in (best, *others)]).T
    families = {b.family.name: less(values, least, level) for b, values in zip(others, rest, strict=True)}
    tried: list[dict[float, Statistic]] = [{float(unit): less(least, least, level)} for unit in best.units]

    def attempt(wanted: Sequence[tuple[int, float]]) -> None:
        places = [(best.family, np.where(np.arange(len(best.units)) == k, unit, best.units)) for k, unit in wanted]
        for (k, unit), values in zip(wanted, outcomes.each(places).T if places else (), strict=True):
            tried[k][unit] = less(values, least, level)

    tell(f"what {least.size} fresh seeds do not tell from the best {best.family.name} ...")
    attempt([(k, unit) for k in range(len(tried)) for unit in np.linspace(0, 1, PLACES).tolist()])
    for _ in range(HALVINGS):
        attempt([(k, sum(step) / 2) for k, here in enumerate(tried) for step in edges(here, float(best.units[k]))])
    return Alike(outcomes.config.n_test == 0 or outcomes.objective == "train_loss", least, {
        number.name: spanned(number, here, float(unit))
        for number, here, unit in zip(best.family.numbers, tried, best.units, strict=True)}, families)


def less(values: np.ndarray, least: np.ndarray, level: Level) -> Statistic:
    """The objective less that of the best, (seeds,) each: its mean with an interval."""
    return mean("less the best", values - least, level, (-math.inf, 0.0), "0 or above")


def reach(here: dict[float, Statistic], best: float) -> tuple[list[float], list[float], list[float]]:
    """Places tried, in order: those around the best up to the first worse one on either side, and what lies beyond."""
    places = sorted(here)
    worse = [unit for unit in places if standing(here[unit]) == "worse"]
    first = max((unit for unit in worse if unit < best), default=-math.inf)
    last = min((unit for unit in worse if unit > best), default=math.inf)
    return ([u for u in places if first < u < last], [u for u in places if u <= first], [u for u in places if u >= last])


def edges(here: dict[float, Statistic], best: float) -> list[tuple[float, float]]:
    """The steps (in, out) on either side of the best in which a number begins to be told from it."""
    inside, below, above = reach(here, best)
    return [(inside[0], below[-1])] * bool(below) + [(inside[-1], above[0])] * bool(above)


def spanned(number: Number, here: dict[float, Statistic], best: float) -> Range:
    """The range of a number from the places that were tried."""
    inside, _, _ = reach(here, best)
    return Range(number, float(number.at(inside[0])), float(number.at(inside[-1])), tuple(sorted(here.items())))
