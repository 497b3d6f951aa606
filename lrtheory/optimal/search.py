"""The best member of a family: places spread over its box, closer and closer ones, then derivatives.

Lives here: the order in which places are tried, the curve around the best. Lives elsewhere: what a place ends with
(outcomes), families and budgets (families), judgement (design).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.stats import qmc

from lrtheory.optimal.families import Family
from lrtheory.optimal.outcomes import LOST, Outcomes
from lrtheory.schedule import Schedule

ROUNDS, CLOSER = 3, 8
"""Rounds of closer places after the first, and places a round; each round's box is half as wide as the one before."""
POLISH = 10
"""Values and derivatives that the descent from each of the best places may take."""
STARTS = 2
"""Places from which it descends."""
AROUND = 9
"""Values of each number in the curve around the optimum."""


class Best(NamedTuple):
    """The best schedule of a family that was found."""

    family: Family
    units: np.ndarray  # (numbers,) its place in the unit box
    value: float  # the objective there, errors blurred, mean over the seeds that were searched
    spread: float  # largest difference of the ends of the descents, relative: how far restarts agree
    schedule: Schedule  # laid on the budget
    time: float  # that it takes
    evaluations: int  # runs a seed

    @property
    def numbers(self) -> dict[str, float]:
        """Its free numbers, {name: value}; durations as shares."""
        return {n.name: float(n.at(float(u))) for n, u in zip(self.family.numbers, self.units, strict=True)}

    @property
    def at_bounds(self) -> list[str]:
        """Numbers that lie at an end of their bounds: the optimum may lie beyond."""
        return [n.name for n, u in zip(self.family.numbers, self.units, strict=True) if not 0.005 < u < 0.995]


def search(outcomes: Outcomes, family: Family, tell: Callable[[str], None] = lambda text: None) -> Best:
    """The place of a family with the least outcome: a Sobol' sequence, rounds around the best of it, then L-BFGS-B.

    The descent uses derivatives by forward mode through the leaps (`Outcomes.slope`), of the logarithm of the outcome. The
    same numbers every time.
    """
    before, count = outcomes.calls, len(family.numbers)
    rng = np.random.default_rng(0)
    places = [qmc.Sobol(count, scramble=True, rng=np.random.default_rng(0)).random(16 if count < 3 else 32)]
    found = [outcomes.values([(family, place) for place in places[0]])]
    for k in range(ROUNDS):
        tried, known = np.concatenate(places), np.concatenate(found)
        middle, reach = tried[known.argmin()], 0.25 / 2**k
        closer = np.clip(middle + reach * rng.uniform(-1, 1, (CLOSER, count)), 0, 1)
        places.append(closer)
        found.append(outcomes.values([(family, place) for place in closer]))
        tell(f"{family.name}: {np.concatenate(found).min():.3g} after {outcomes.calls - before} runs a seed")
    tried, known = np.concatenate(places), np.concatenate(found)
    order = known.argsort()
    starts = [tried[order[0]]]
    starts += [tried[k] for k in order if np.abs(tried[k] - starts[0]).max() > 0.1][: STARTS - 1]
    ends: list[tuple[float, np.ndarray]] = [(float(known[order[0]]), tried[order[0]])]
    for start in starts:
        ends.append(_descend(outcomes, family, start))
    value, units = min(ends, key=lambda end: end[0])
    arrived = [end[0] for end in ends[1:]]
    schedule, time = outcomes.budget.lay(family.schedule(list(map(float, units))))
    plain = [{"start": float(a), "end": float(b), "duration": float(stage.duration)} for stage, (a, b) in
             zip(schedule.stages, schedule.resolved, strict=True)]
    schedule = Schedule(stages=tuple(type(stage)(shape=stage.shape, name=stage.name, **numbers) for stage, numbers in
                                     zip(schedule.stages, plain, strict=True)))
    return Best(family, units, float(value), float((max(arrived) - min(arrived)) / max(min(arrived), 1e-30)), schedule,
                float(time), outcomes.calls - before)


def _descend(outcomes: Outcomes, family: Family, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and place where a descent from a place ends."""
    best = [np.inf, start]

    def log_value(units: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = outcomes.slope(family, units)
        if value < best[0]:
            best[:] = [value, units.copy()]
        value = max(value, 1e-30)
        usable = value < LOST and np.isfinite(slope).all()
        return float(np.log(value)), np.where(usable, slope, 0.0) / value

    minimize(log_value, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(start),
             options={"maxfun": POLISH, "maxiter": POLISH})
    return float(best[0]), np.asarray(best[1])


def around(outcomes: Outcomes, best: Best) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{number: (values, outcomes)} of one number at a time over its bounds, the others at the optimum."""
    found = {}
    for k, number in enumerate(best.family.numbers):
        grid = np.unique(np.append(np.linspace(0, 1, AROUND - 1), best.units[k]))
        places = [np.where(np.arange(len(best.units)) == k, unit, best.units) for unit in grid]
        values = outcomes.values([(best.family, place) for place in places])
        found[number.name] = np.array([float(number.at(float(u))) for u in grid]), values
    return found
