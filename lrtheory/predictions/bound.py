"""Prediction 11: L-S's test error and loss fall below S's as kappa log(1/eps1) does; it anneals within O~(1/eps1)."""

import math

import numpy as np
from matplotlib.ticker import NullLocator

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions import regime
from lrtheory.predictions.base import Prediction, each_seed
from lrtheory.style import BLUE, GREY, VERMILION


def judge(runs, level):
    """L-S over S over kappa log(1/eps1): the loss's exponent in kappa, the error's largest value; and times to anneal.

    Regions: a bounded ratio has exponent 0 or above, up to 1/4. L-S's constant is to be the smaller one: the error's ratio
    is below 1. The annealing time's exponent in eps1 is -1 or above, up to 1/4 for logarithms, and below 0. The time does
    not know d', up to 1/10 in the exponent.
    """
    kappas = np.array(regime.KAPPAS)
    small, large, configs = regime.both(runs["kappa"], "test_loss")
    factors = np.array([regime.factor(c) for c in configs])
    yield bootstrap("exponent in kappa of the test loss of L-S over S over kappa log(1/eps1)", [large, small],
                    lambda b, s: slope(kappas)(b / s / factors), level, (-0.25, math.inf), "0 or above: bounded")
    samples, each = [], []
    for key in ("kappa", "eps1", "q"):
        small, large, configs = regime.both(runs[key], "test_error")
        samples += [large, small]
        each.append(np.array([regime.factor(c) for c in configs]))

    def largest(*means):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [b / s / f for b, s, f in zip(means[::2], means[1::2], each, strict=True)]
        return np.concatenate(ratios, -1).max(-1)

    yield bootstrap("largest test error of L-S over S over kappa log(1/eps1), in kappa, eps1 and q", samples, largest, level,
                    (0.0, 1.0), "below 1: L-S's bound is the smaller one", log=True)
    times = {key: runs[key]["annealed_at"].sel(algorithm="L-S").transpose("seed", ...).values for key in ("eps1", "size")}
    yield bootstrap("exponent in eps1 of the time to anneal", [times["eps1"]], slope(regime.EPSILONS), level, (-1.25, 0.0),
                    "-1 or above, up to logarithms")
    unit = np.square(runs["size"]["z_norm"].values)  # d/d', of the paper's
    yield bootstrap("exponent in d' of the time to anneal, in the paper's unit", [times["size"] * unit],
                    slope(regime.SIZES), level, (-0.1, 0.1), "0, up to 1/d'")


def draw(runs, figure):
    """Error and loss over p kappa log(1/eps1) against kappa; S's beside them, and the loss of f = 0 on P."""
    axes = figure.subplots(1, 2)
    for axis, (name, label) in zip(axes, (("test_error", "test error"), ("test_loss", "test loss")), strict=True):
        for algorithm, colour in (("L-S", BLUE), ("S", VERMILION)):
            values, configs = regime.numbers(runs["kappa"], algorithm, name)
            each_seed(axis, regime.KAPPAS, values / [c.problem.p0 * regime.factor(c) for c in configs], colour, algorithm)
        if name == "test_loss":
            axis.plot(regime.KAPPAS, [math.log(2) / regime.factor(c) for c in configs], ":", color=GREY, label="f = 0 on P")
        axis.set(xscale="log", yscale="log", xlabel="κ", ylabel=f"{label} / (p κ log(1/ε₁))")
        axis.set_xticks(regime.KAPPAS, [f"{k:.2g}" for k in regime.KAPPAS], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
    axes[1].legend(fontsize=7)


PREDICTION = Prediction(
    "bound", "L-S's test error and loss fall below S's as kappa log(1/eps1) does, or faster; it anneals within O~(1/eps1)",
    "theorems 3.4 and 3.5",
    "Infinite width at the theorem's own exponents (`lrtheory.theorem`), kappa from 1/2 to 1/4 with p0 = kappa^2/2, N/d = "
    "1/kappa^2 and eps1 = kappa/4; eps1 from 0.2 to 0.05 and q0 from 0.15 to 0.4 at kappa = 0.35. Errors and losses over "
    "the distribution in closed form, where the training loss has come down to 2 p eps1. Theorem 3.4's bound alone, of "
    "order p kappa log(1/eps1), is no statistic: at these sizes S meets it, and f = 0 on P; over S's floor of order p it "
    "is. L-S's error falls to 1e-14, so no exponent is asked of it. The time to anneal is the paper's O~(d/(eta1 eps1)) "
    "in eps1; its d and eta1 are the unit of time here, by construction. What P is simulated in, d', may not matter: "
    "judged over d'/2 to 2d'.",
    regime.needs, judge, draw, needs_gap=True,
    fails="an L-S that loses, or errs, as S does, or as f = 0 on P would; a time to anneal that grows faster than 1/eps1, "
          "or not at all, or with d'.")
"""The claim and its source."""
