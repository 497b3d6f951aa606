"""Prediction 13: it is the noise that decides, not the rate and not the curvature."""

import numpy as np

from lrtheory.algorithm import Algorithm
from lrtheory.intervals import bootstrap, mean, share
from lrtheory.predictions.base import Need, Prediction, at_shared_time, lasting, require_groups
from lrtheory.schedule import anneal_at_loss, constant
from lrtheory.style import ALGORITHM_STYLE, GREY, ORANGE, PURPLE
from lrtheory.theory.figures import curve, time_axis
from lrtheory.theory.results import first_of

NOISY = "S, noisy"
"""S with the large rate's noise per unit of time, annealed to S's own as L-S's rate is."""
FINER = 8
"""Where steps have K iterations, S's interventions take every one, at eta1 over this: K with the gradient frozen, without
noise or with that of eta1, would be L-S's own step."""


def needs(base):
    """L-S and S as they are; both without injected noise; S with the noise of the large rate: S's at a finer step.

    At a rate eta noise nu times the configuration's has the variance per unit of time of eta1 at nu^2 = eta1/eta, of eta2
    at eta2/eta.
    """
    require_groups(base, "p", "q")
    t = base.training
    finer = {"training.step_time": 0.0, "training.eta_ratio": 1 / FINER} if t.step_time > 0 else {}
    small = lasting(base, t.duration, algorithms=("S",), **finer)
    ratio = small.training.eta_ratio
    levels = t.noise_level * ratio**-0.5, t.noise_level * (t.eta_ratio / ratio) ** 0.5
    level = anneal_at_loss(*levels, t.eps1, latest=t.anneal_time, smoothing=t.loss_smoothing)
    noisy = Algorithm(rate=constant(t.eta1 * ratio), injected_noise=level, name=NOISY)
    return {"base": Need(base.replace(algorithms=("L-S", "S"))),
            "quiet": Need(base.replace(algorithms=("L-S",), **{"training.noise_level": 0.0})),
            "finer": Need(small.replace(**{"training.noise_level": 0.0})), "noisy": Need(small.replace(algorithms=(noisy,)))}


def judge(runs, level):
    """Errors on P, orders, and sharpness, with and without noise, at the latest time that all runs reach."""
    each = {"large": runs["base"].sel(algorithm="L-S"), "small": runs["base"].sel(algorithm="S"),
            "quiet": runs["quiet"].sel(algorithm="L-S"), "finer": runs["finer"].sel(algorithm="S"),
            "noisy": runs["noisy"].sel(algorithm=NOISY)}
    large, small, without, small_without, noisy = at_shared_time(each, "test_error_p").values()
    yield mean("error on P: S less L-S", small - large, level, (0.0, np.inf), "above 0")
    yield mean("error on P: L-S without noise less L-S", without - large, level, (0.0, np.inf), "above 0")
    yield bootstrap("error on P without noise: L-S over S, every iteration taken", [without, small_without],
                    lambda a, b: np.where(b > 0, a / b, np.nan), level, (0.8, 1.25), "1")
    yield bootstrap("S less S with the large rate's noise, over S less L-S",
                    [small - noisy, small - large],
                    lambda a, b: np.where(b > 0, a / b, np.nan), level, (0.75, 1.25), "1")
    yield share("Q halved before P under L-S without noise", first_of(each["quiet"], "q", "p"), level,
                "almost every seed")
    yield share("P halved before Q under S with the large rate's noise", first_of(each["noisy"], "p", "q"), level,
                "almost every seed")
    met = each["large"]["rate_sharpness"].transpose("seed", "record").max("record").values
    yield mean("largest eta lambda_max of L-S", met, level, (-np.inf, 2.0), "below 2: no edge of stability")
    ends = [at_shared_time(each, "sharpness")[key] for key in ("large", "quiet")]
    yield bootstrap("sharpness at the end: L-S over L-S without noise", ends, lambda a, b: a / b, level, (1.0, np.inf),
                    "above 1: what errs less is not flatter")


def draw(runs, figure):
    """Error on P, and eta lambda_max, against time, with and without noise."""
    axes = figure.subplots(1, 2)
    shown = [("base", "L-S", "L-S", *ALGORITHM_STYLE["L-S"]), ("base", "S", "S", *ALGORITHM_STYLE["S"]),
             ("quiet", "L-S", "L-S without noise", ORANGE, "-"), ("noisy", NOISY, "S, the large rate's noise", PURPLE, "--")]
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
    "noise", "noise decides, not the rate nor the curvature", "section 3 of the paper; interventions derived here",
    "Without injected noise both algorithms take S's order, and end alike whatever the rate: S at an eighth of L-S's, every "
    "iteration taken. With the large rate's noise per unit of time S takes L-S's. The "
    "large rate stays below the edge of stability, and L-S with noise, which errs less, ends sharper than without.",
    needs, judge, draw, needs_gap=True,
    fails="no gap to explain; noise-free L-S that keeps its error; one that differs from S; noise without help; either "
          "in the other order; a large rate at the edge of stability; a flatter L-S.")
"""The claim and its source."""
