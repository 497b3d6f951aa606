"""The predictions of the theory as pure objects, and what one is made of (`base`).

Lives here: their order. Lives elsewhere: each of them (one file a claim), judging them together (verify). Another one is a
file and an entry here; one of your own is a `Prediction` given to `lrtheory.verify`.
"""

from lrtheory.intervals import Statistic, bootstrap, mean, share, slope
from lrtheory.predictions import (
    annealing,
    bound,
    cause,
    error,
    floor,
    jitter,
    limit,
    microsteps,
    mitigation,
    moving,
    order,
    plateau,
    transition,
    variance,
    widths,
)
from lrtheory.predictions.base import Need, Prediction, at_end

_ALL = [m.PREDICTION for m in (variance, widths, plateau, annealing, order, error, transition, mitigation, microsteps, limit,
                                bound, floor, cause, jitter, moving)]
NUMBERS: dict[str, int] = {p.name: k for k, p in enumerate(_ALL, 1)}
"""The number by which each is known."""
THEOREM: dict[str, Prediction] = {m.PREDICTION.name: m.PREDICTION for m in (bound, floor)}
"""The claims at the theorems' own exponents, of configurations of `lrtheory.theorem`."""
PREDICTIONS: dict[str, Prediction] = {p.name: p for p in _ALL if p.name not in THEOREM}
"""The others by name, in the order in which they are reported."""

__all__ = ["NUMBERS", "PREDICTIONS", "THEOREM", "Need", "Prediction", "Statistic", "at_end", "bootstrap", "mean", "share",
           "slope"]
