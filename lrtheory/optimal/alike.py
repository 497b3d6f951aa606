"""Which schedules fresh seeds do not tell from the best one: by the error itself, paired over seeds.

A search finds one place, by a blurred error on the data of two seeds. Around it the error may be flat: here are the ranges
of the free numbers, and the other families, whose error fresh seeds do not tell from that of the best.

Lives here: that set. Lives elsewhere: the search (search), what a schedule ends with (outcomes), networks as the judge
(design).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrtheory.intervals import Level, Statistic, bootstrap
from lrtheory.labelled import finite
from lrtheory.optimal.families import Number
from lrtheory.optimal.outcomes import Outcomes
from lrtheory.optimal.search import Best

PLACES, HALVINGS = 9, 3
"""Values of each number over its bounds, and how often the step at which something changes is halved."""
NEAR = 1.1
"""An objective up to so many times the best's is near it, whether or not seeds tell them apart."""
Tried = dict[float, Statistic]
"""{place in [0, 1]: objective over that of the best} of a number, the others at their best."""


class Span(NamedTuple):
    """Values of a number around its best one."""

    low: float
    high: float


class Range(NamedTuple):
    """What becomes of a free number around its best value, the others at theirs."""

    number: Number
    told: Span  # where it is not told from the best
    near: Span  # where its mean objective is at most `NEAR` times the best's
    tried: Tried

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"not_told": list(self.told), "near": list(self.near), "bounds": [self.number.low, self.number.high],
                "tried": [{"value": float(self.number.at(unit))} | told(self.tried[unit]) for unit in sorted(self.tried)]}


class Alike(NamedTuple):
    """What fresh seeds do not tell from the best of a family."""

    closed_form: bool  # whether the objective is without test points
    least: np.ndarray  # (seeds,) the objective of the best
    numbers: dict[str, Range]
    families: dict[str, Statistic]  # objective over that of the best

    def standing(self, which: str) -> list[str]:
        """The families that are "alike", "worse" or "better"."""
        return [name for name, s in self.families.items() if standing(s) == which]

    @property
    def tree(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"closed_form": self.closed_form, "seeds": self.least.size, "least": float(self.least.mean()), "near": NEAR,
                "numbers": {name: r.tree for name, r in self.numbers.items()},
                "families": {name: told(s) for name, s in self.families.items()}}


def standing(over: Statistic) -> str:
    """What a ratio to the best says: "worse", "better", or "alike", where its interval has 1, or there is none."""
    if over.low > 1:
        return "worse"
    return "better" if over.high < 1 else "alike"


def far(over: Statistic) -> bool:
    """Whether a mean is not near the best's."""
    return not over.value <= NEAR


def told(over: Statistic) -> dict[str, Any]:
    """A ratio to the best as JSON has it."""
    return {"over_the_best": finite(over.value), "low": finite(over.low), "high": finite(over.high),
            "standing": standing(over)}


def alike(outcomes: Outcomes, best: Best, others: Sequence[Best], level: Level,
          tell: Callable[[str], None] = lambda text: None) -> Alike:
    """The set that fresh seeds do not tell from the best, at a level each.

    Each number is moved over its bounds with the others at their best, and each other family stands at its own best
    numbers. A range is what lies around the best without a place that is worse, as finely as `HALVINGS` halvings of 1/8 of
    the bounds tell. Where few seeds carry an error, many times the best's is not told from it: so another range says where
    the mean is near.

    Args:
      outcomes: of fresh seeds, errors not blurred.
      best: of the family that was searched.
      others: of the other families.
      level: of each paired interval.
      tell: told what is being done.
    """
    least, *rest = outcomes.each([(b.family, b.units) for b in (best, *others)]).T
    families = {b.family.name: over(values, least, level) for b, values in zip(others, rest, strict=True)}
    tried: list[Tried] = [{float(unit): over(least, least, level)} for unit in best.units]

    def attempt(wanted: Sequence[tuple[int, float]]) -> None:
        places = [(best.family, np.where(np.arange(len(best.units)) == k, unit, best.units)) for k, unit in wanted]
        for (k, unit), values in zip(wanted, outcomes.each(places).T if places else (), strict=True):
            tried[k][unit] = over(values, least, level)

    tell(f"what {least.size} fresh seeds do not tell from the best {best.family.name} ...")
    attempt([(k, unit) for k in range(len(tried)) for unit in np.linspace(0, 1, PLACES).tolist()])
    for _ in range(HALVINGS):
        attempt([(k, unit) for k, here in enumerate(tried) for unit in between(here, float(best.units[k]))])
    return Alike(outcomes.config.n_test == 0 or outcomes.objective == "train_loss", least, {
        number.name: ranged(number, here, float(unit))
        for number, here, unit in zip(best.family.numbers, tried, best.units, strict=True)}, families)


def over(values: np.ndarray, least: np.ndarray, level: Level) -> Statistic:
    """The mean objective over that of the best, (seeds,) each, paired, with an interval of its logarithm."""
    return bootstrap("over the best", [values, least], lambda one, other: one / other, level, (0.0, 1.0), "1 or above",
                     log=True)


def reach(here: Tried, best: float, out: Callable[[Statistic], bool]) -> tuple[list[float], list[float], list[float]]:
    """Places tried, in order: those around the best up to the first that is out on either side, and what lies beyond."""
    places = sorted(here)
    first = max((unit for unit in places if unit < best and out(here[unit])), default=-np.inf)
    last = min((unit for unit in places if unit > best and out(here[unit])), default=np.inf)
    return ([u for u in places if first < u < last], [u for u in places if u <= first], [u for u in places if u >= last])


def worse(over: Statistic) -> bool:
    """Whether seeds tell that a place is worse than the best."""
    return standing(over) == "worse"


def between(here: Tried, best: float) -> list[float]:
    """The middles of the steps, on either side of the best, in which a number begins to be worse or far."""
    found: set[float] = set()
    for out in (worse, far):
        inside, below, above = reach(here, best, out)
        found |= {(inside[0] + unit) / 2 for unit in below[-1:]} | {(inside[-1] + unit) / 2 for unit in above[:1]}
    return sorted(found)


def ranged(number: Number, here: Tried, best: float) -> Range:
    """The ranges of a number from the places that were tried."""
    def span(out: Callable[[Statistic], bool]) -> Span:
        inside, _, _ = reach(here, best, out)
        return Span(float(number.at(inside[0])), float(number.at(inside[-1])))

    return Range(number, span(worse), span(far), here)
