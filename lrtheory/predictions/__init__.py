"""The predictions of the theory as pure objects; another one is a file and an entry here."""

from lrtheory.predictions import (
    annealing,
    error,
    limit,
    microsteps,
    mitigation,
    order,
    plateau,
    transition,
    variance,
    widths,
)
from lrtheory.predictions.base import Need, Prediction, Statistic, verdict

PREDICTIONS: dict[str, Prediction] = {
    m.PREDICTION.name: m.PREDICTION
    for m in (variance, widths, plateau, annealing, order, error, transition, mitigation, microsteps, limit)}
"""By name, in the order in which they are reported."""

__all__ = ["PREDICTIONS", "Need", "Prediction", "Statistic", "verdict"]
