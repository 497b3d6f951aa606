"""Prediction 1: the noise part keeps its variance under the large rate and relaxes as its closed form says after it."""

import numpy as np

from lrtheory.intervals import mean
from lrtheory.predictions.base import Need, Prediction, lasting
from lrtheory.style import BLUE, VERMILION
from lrtheory.theory.figures import curve, time_axis


def needs(base):
    """L-S and S at the base configuration, and the large rate throughout (without noise L-S would anneal at once)."""
    large = lasting(base, base.training.duration, algorithms=("S",), **{"training.eta_ratio": 1.0})
    return {"main": Need(base), "large": Need(large)}


def _both(run):
    return (run["noise_variance_w"] + run["noise_variance_v"]) / 2


def judge(runs, level):
    """Of both halves of the network, relative to tau0^2 and, once annealed, to the closed form."""
    run = runs["main"].sel(algorithm="L-S").transpose("seed", "record", ...)
    last = np.maximum((run["phase"] == 0).values.sum(1) - 1, 0)  # records before annealing come first
    large = runs["large"].sel(algorithm="S")
    late = _both(large).where(large["time"] >= large["time"].isel(record=-1) / 2)
    yield mean("variance over tau0^2 under the large rate throughout, second half", late.mean("record"), level, (0.9, 1.1),
               "1 (assumption 3.1)")
    yield mean("variance over tau0^2 under the large rate, L-S at the last record before annealing",
               _both(run).values[np.arange(len(last)), last], level, (0.9, 1.1), "1 (assumption 3.1)")
    for name in ("L-S", "S"):
        run = runs["main"].sel(algorithm=name)
        variance = _both(run)
        ratio = (variance / run["noise_variance_theory"]).isel(record=-1)
        yield mean(f"variance over its closed form, {name} at the end", ratio, level, (0.9, 1.1),
                   f"1; the form itself is {float(np.mean(run['noise_variance_theory'].isel(record=-1))):.3g} tau0^2")


def draw(runs, figure):
    """Variance of both halves together over tau0^2, and its closed form (dashed)."""
    axis = figure.subplots()
    for name, colour in (("L-S", BLUE), ("S", VERMILION)):
        run = runs["main"].sel(algorithm=name)
        curve(axis, run.assign(both=_both(run)), "both", colour, name,
              band="range")
        curve(axis, run, "noise_variance_theory", "black", "closed form" if name == "S" else "_", band=None, width=1.0,
              line="--")
    time_axis(axis)
    axis.set_ylabel("Var(Utilde)/τ₀²")
    axis.legend()


PREDICTION = Prediction(
    "variance", "Var(Utilde) = tau0^2 under the large rate, and relaxes after annealing",
    "assumption 3.1; closed form derived here",
    "Mean square of the entries of the noise part of W and V, averaged over both halves; a tenth of the value is allowed.",
    needs, judge, draw,
    fails="injected noise that is not balanced; noise that relaxes otherwise than by v <- a^2 v + s^2, under either "
          "algorithm.")
"""The claim and its source."""
