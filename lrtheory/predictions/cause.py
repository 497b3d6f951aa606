"""Prediction 13: without noise there is no gap, at either rate; the large one is below the edge of stability."""

import numpy as np

from lrtheory.intervals import bootstrap, mean, share
from lrtheory.predictions.base import Need, Prediction, at_shared_time, lasting, require_groups
from lrtheory.style import ALGORITHM_STYLE, GREY, ORANGE, PURPLE
from lrtheory.theory.figures import curve, time_axis
from lrtheory.theory.results import first_of

FINER = 8
"""Where steps have K iterations, noise-free S takes every one, at eta1 over this: K with the gradient frozen and without
noise would be L-S's own step."""


def needs(base):
    """L-S and S as they are, and both without injected noise: S at a finer step."""
    require_groups(base, "p", "q")
    t = base.training
    finer = {"training.step_time": 0.0, "training.eta_ratio": 1 / FINER} if t.step_time > 0 else {}
    return {"base": Need(base.replace(algorithms=("L-S", "S"))),
            "quiet": Need(base.replace(algorithms=("L-S",), **{"training.noise_level": 0.0})),
            "finer": Need(lasting(base, t.duration, algorithms=("S",), **{"training.noise_level": 0.0}, **finer))}


def judge(runs, level):
    """Errors on P and order, with and without noise, and eta lambda_max: errors at the latest time that all runs reach.

    Regions: a ratio of 1 within a factor of 1.25; the edge of stability is at 2.
    """
    each = {"large": runs["base"].sel(algorithm="L-S"), "small": runs["base"].sel(algorithm="S"),
            "quiet": runs["quiet"].sel(algorithm="L-S"), "finer": runs["finer"].sel(algorithm="S")}
    large, small, without, small_without = at_shared_time(each, "test_error_p").values()
    yield mean("error on P: S less L-S", small - large, level, (0.0, np.inf), "above 0")
    yield mean("error on P: L-S without noise less L-S", without - large, level, (0.0, np.inf), "above 0")
    yield bootstrap("error on P without noise: L-S over S, every iteration taken", [without, small_without],
                    lambda a, b: np.where(b > 0, a / b, np.nan), level, (0.8, 1.25), "1")
    yield share("Q halved before P under L-S without noise", first_of(each["quiet"], "q", "p"), level,
                "almost every seed")
    met = each["large"]["rate_sharpness"].transpose("seed", "record").max("record").values
    yield mean("largest eta lambda_max of L-S", met, level, (0.0, 2.0), "below 2: no edge of stability")


def draw(runs, figure):
    """Error on P, and eta lambda_max, against time, with and without noise."""
    axes = figure.subplots(1, 2)
    shown = [("base", "L-S", "L-S", *ALGORITHM_STYLE["L-S"]), ("base", "S", "S", *ALGORITHM_STYLE["S"]),
             ("quiet", "L-S", "L-S without noise", ORANGE, "-"), ("finer", "S", "S without noise", PURPLE, "--")]
    for name, algorithm, label, colour, line in shown:
        run = runs[name].isel(record=slice(1, None)).sel(algorithm=algorithm)
        for axis, metric in zip(axes, ("test_error_p", "rate_sharpness"), strict=True):
            curve(axis, run, metric, colour, label, band="error", line=line)
            time_axis(axis)
    axes[0].set(yscale="log", ylabel="test error on P")
    axes[1].axhline(2, color=GREY, lw=0.8)
    axes[1].set(yscale="log", ylabel="η λ_max")
    axes[0].legend(fontsize="small")


PREDICTION = Prediction(
    "noise", "without noise there is no gap, at either rate; the large rate is below the edge of stability",
    "section 3 of the paper; interventions derived here",
    "Without injected noise both algorithms take S's order, and end alike whatever the rate: S at an eighth of L-S's, "
    "every iteration taken. S with the large rate's noise per unit of time is no experiment: noise enters by eta tau_xi^2 "
    "alone, so it is L-S's own diffusion in smaller steps. Sharpness is no statistic: it says how far, and which group "
    "of, the training loss has come down.",
    needs, judge, draw, needs_gap=True,
    fails="no gap to explain; noise-free L-S that keeps its error, or its order; one that differs from S; a large rate at "
          "the edge of stability.")
"""The claim and its source."""
