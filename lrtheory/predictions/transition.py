"""Prediction 7: along eta2/eta1 S turns from L-S's order to its own where t_blur(eta2) passes T_Q."""

import numpy as np

from lrtheory.intervals import bootstrap
from lrtheory.predictions.base import Need, Prediction, at_end, each_seed
from lrtheory.style import GREY, VERMILION

RATIOS = (1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
"""Values of eta2/eta1."""


def needs(base):
    """S over the ratio of rates; where a step is one iteration (step_time 0), down to the base's own ratio."""
    training = base.training
    ratios = tuple(x for x in RATIOS if x >= training.eta_ratio or training.step_time > 0)
    return {"ratios": Need(base.replace(algorithms=("S",), records=10), (("training.eta_ratio", ratios),))}


def judge(runs, level):
    """Where the share of seeds with Q first crosses one half, in t_blur(eta2)/T_Q; and errors at the ends.

    Region of the crossing: within a factor of ten of 1.
    """
    run = runs["ratios"].sel(algorithm="S")
    first = (run["time_q_half"] < run["time_p_half"]).transpose("seed", "eta_ratio").values
    x = np.log10(run["blur_ratio_small"].values)

    def crossing(shares):
        above = shares > 0.5
        if above.all() or not above.any() or above[-1]:
            return np.nan
        k = int(np.max(np.flatnonzero(above)))  # the last ratio at which Q comes first
        part = (shares[k] - 0.5) / (shares[k] - shares[k + 1])
        return 10 ** (x[k] + part * (x[k + 1] - x[k]))

    yield bootstrap("t_blur(eta2)/T_Q at which the order flips", [first],
                    lambda s: np.apply_along_axis(crossing, -1, s), level, (0.1, 10.0), "1")
    yield bootstrap("error on P at the smallest rate, less that at eta2 = eta1", [at_end(run, "test_error_p")],
                    lambda e: e[:, 0] - e[:, -1], level, (0.0, np.inf), "above 0")


def draw(runs, figure):
    """Share of seeds that fit Q first, and error on P, against t_blur(eta2)/T_Q."""
    run = runs["ratios"].sel(algorithm="S")
    x = run["blur_ratio_small"].values
    left, right = figure.subplots(1, 2)
    left.plot(x, (run["time_q_half"] < run["time_p_half"]).transpose("seed", ...).values.mean(0), "o-", color=VERMILION)
    each_seed(right, x, at_end(run, "test_error_p"), VERMILION, "S")
    left.axhline(0.5, color=GREY, lw=0.8)
    for axis, label in ((left, "share of seeds that fit Q first"), (right, "test error on P of S")):
        axis.axvline(1, color=GREY, lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="t_blur(η₂)/T_Q", ylabel=label)


PREDICTION = Prediction(
    "transition", "S learns in L-S's order when t_blur(eta2) is below T_Q, and in its own above", "derived here",
    "Judged by the order of learning. The error follows much later: it reaches half of its ceiling only near "
    "t_blur(eta2)/T_Q = 600 (README, phase diagram), so an order is not yet a price.", needs, judge, draw,
    needs_gap=True)
"""The claim and its source."""
