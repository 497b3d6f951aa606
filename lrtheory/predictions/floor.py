"""Prediction 12: S reaches a small training loss with a test error and a loss of at least order p."""

import math

import numpy as np
from matplotlib.ticker import NullLocator

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions import regime
from lrtheory.predictions.base import Prediction, each_seed
from lrtheory.style import BLUE, GREY, VERMILION


def judge(runs, level):
    """Exponents of S's error and loss over p in kappa, and the least that it has above L-S's, over p, over all series.

    Regions: exponents of what tends to a constant are 0, up to 1/4; the differences are above 0. The exponents are at one
    eps1: followed to half the training loss S's test loss falls, at any kappa.
    """
    for name, word in (("test_error", "test error"), ("test_loss", "test loss")):
        values, configs = regime.numbers(runs["held"], "S", name)
        yield bootstrap(f"exponent in kappa of S's {word} over p", [values / [c.problem.p0 for c in configs]],
                        slope(regime.KAPPAS), level, (-0.25, 0.25), "0: tends to a constant")
        above = []
        for key in ("kappa", "eps1", "q"):
            small, large, configs = regime.both(runs[key], name)
            above.append((small - large) / [c.problem.p0 for c in configs])
        yield bootstrap(f"least {word} of S less L-S, over p, in kappa, eps1 and q", above,
                        lambda *parts: np.concatenate(parts, -1).min(-1), level, (0.0, math.inf),
                        "above 0, at the same training loss")


def draw(runs, figure):
    """Error and loss over p against kappa; L-S's beside them, S's at one eps1 in grey."""
    axes = figure.subplots(1, 2)
    for axis, (name, label) in zip(axes, (("test_error", "test error"), ("test_loss", "test loss")), strict=True):
        for algorithm, colour in (("S", VERMILION), ("L-S", BLUE)):
            values, configs = regime.numbers(runs["kappa"], algorithm, name)
            each_seed(axis, regime.KAPPAS, values / [c.problem.p0 for c in configs], colour, f"{algorithm}, ε₁ = κ/4")
        values, configs = regime.numbers(runs["held"], "S", name)
        each_seed(axis, regime.KAPPAS, values / [c.problem.p0 for c in configs], GREY, f"S, ε₁ = {regime.KAPPAS[1] / 4:.2g}")
        axis.set(xscale="log", yscale="log", xlabel="κ", ylabel=f"{label} / p")
        axis.set_xticks(regime.KAPPAS, [f"{k:.2g}" for k in regime.KAPPAS], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
    axes[0].legend(fontsize=7)


PREDICTION = Prediction(
    "floor", "S reaches a small training loss with a test error and loss of order p, above L-S's at every point",
    "theorems 3.4 and 3.5",
    "The runs of claim 11. Either algorithm is followed to the same training loss, 2 p eps1; a run that does not reach it "
    "leaves the claim not resolved (so would f = 0 on P). What tends to a constant over p has exponent 0 in kappa, at one "
    "eps1: runs of S of their own, for the constant depends on it. That S's error is above 0 is no statistic: L-S's is, "
    "too.",
    regime.needs, judge, draw, needs_gap=True,
    fails="an error, or a loss, over p that falls with kappa, as L-S's does; one that is not above L-S's somewhere.")
"""The claim and its source."""
