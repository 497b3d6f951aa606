"""The predictions of the theory as pure objects, and what one is made of (`base`).

Lives here: their order. Lives elsewhere: each of them (one file a claim), judging them together (verify). Another one is a
file and an entry here; one of your own is a `Prediction` given to `lrtheory.verify`.
"""

from lrtheory.intervals import Statistic, bootstrap, mean, share, slope
from lrtheory.predictions import (
    annealing,
    bound,
    error,
    floor,
    limit,
    microsteps,
    mitigation,
    order,
    plateau,
    transition,
    variance,
    widths,
)
from lrtheory.predictions.base import Need, Prediction, at_end

PREDICTIONS: dict[str, Prediction] = {
    m.PREDICTION.name: m.PREDICTION
    for m in (variance, widths, plateau, annealing, order, error, transition, mitigation, microsteps, limit)}
"""By name, in the order in which they are reported."""
THEOREM: dict[str, Prediction] = {m.PREDICTION.name: m.PREDICTION for m in (bound, floor)}
"""The claims at the theorems' own exponents, of configurations of `lrtheory.theorem`; they count on from the others."""

__all__ = ["PREDICTIONS", "THEOREM", "Need", "Prediction", "Statistic", "at_end", "bootstrap", "mean", "share", "slope"]
