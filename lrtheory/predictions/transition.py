"""Prediction 7: along eta2/eta1 S turns from L-S's order to its own where t_blur(eta2) passes T_Q."""

import math

import numpy as np

from lrtheory.intervals import mean, share
from lrtheory.predictions.base import Need, Prediction, at_end, each_seed, require_groups
from lrtheory.style import GREY, VERMILION

RATIOS = (1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
"""Values of eta2/eta1."""


def needs(base):
    """S over the ratio of rates, for one time; where a step is one iteration (step_time 0), down to the base's own ratio."""
    require_groups(base, "p", "q")
    training = base.training
    ratios = tuple(x for x in RATIOS if x >= training.eta_ratio or training.step_time > 0)
    config = base.replace(algorithms=("S",), records=10)
    if training.step_time > 0:
        return {"ratios": Need(config, (("training.eta_ratio", ratios),))}
    steps = tuple((x, math.ceil(training.duration / (training.eta1 * x))) for x in ratios)
    return {"ratios": Need(config, ((("training.eta_ratio", "training.steps"), steps),))}


def judge(runs, level):
    """S's order where t_blur(eta2)/T_Q is nearest to a factor of ten from 1, on either side; and errors at the ends."""
    run = runs["ratios"].sel(algorithm="S")
    q, p = (run[f"time_{g}_half"].transpose("seed", "eta_ratio").values for g in "qp")
    x = np.broadcast_to(run["blur_ratio_small"].values, q.shape[1])  # one number where nothing blurs at any ratio
    for first, second, ten, side in (("Q", "P", 10.0, x > 2), ("P", "Q", 0.1, x < 0.5)):
        if not side.any():
            yield share(f"{first} halved before {second} where t_blur(eta2)/T_Q is near {ten:g}: no such point", [], level,
                        "almost every seed")
            continue
        k = int(np.argmin(np.where(side, np.abs(np.log(np.where(side, x, 1.0) / ten)), np.inf)))
        times = {"P": p[:, k], "Q": q[:, k]}
        yield share(f"{first} halved before {second} at t_blur(eta2)/T_Q = {x[k]:.3g}", times[first] < times[second], level,
                    "almost every seed")
    error = at_end(run, "test_error_p")
    yield mean("error on P at the smallest rate, less that at eta2 = eta1", error[:, 0] - error[:, -1], level, (0.0, np.inf),
               "above 0")


def draw(runs, figure):
    """Share of seeds that fit Q first, and error on P, against t_blur(eta2)/T_Q."""
    run = runs["ratios"].sel(algorithm="S")
    x = np.broadcast_to(run["blur_ratio_small"].values, run.sizes["eta_ratio"])
    left, right = figure.subplots(1, 2)
    left.plot(x, (run["time_q_half"] < run["time_p_half"]).transpose("seed", ...).values.mean(0), "o-", color=VERMILION)
    each_seed(right, x, at_end(run, "test_error_p"), VERMILION, "S")
    left.axhline(0.5, color=GREY, lw=0.8)
    for axis, label in ((left, "share of seeds that fit Q first"), (right, "test error on P of S")):
        axis.axvline(1, color=GREY, lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="t_blur(η₂)/T_Q", ylabel=label)


PREDICTION = Prediction(
    "transition", "S learns in L-S's order when t_blur(eta2) is below T_Q, and in its own above", "derived here",
    "Judged by the order of learning, within a factor of ten of t_blur(eta2)/T_Q = 1. The error follows later: it reaches "
    "half of its ceiling only near 200 (the phase diagram), so an order is not yet a price.", needs, judge, draw,
    needs_gap=True,
    fails="S keeping L-S's order where its noise does not blur, or its own where it does; no price at the smallest "
          "rate.")
"""The claim and its source."""
