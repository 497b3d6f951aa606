"""Prediction 12: S reaches a small training loss with a test error and a loss of at least order p."""

import math

import numpy as np
from matplotlib.ticker import NullLocator

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions import regime
from lrtheory.predictions.base import Prediction, each_seed
from lrtheory.style import BLUE, GREY, VERMILION


def judge(runs, level):
    """Exponents of error and loss over p in kappa, the least of either over all series, and S over L-S over kappa.

    Regions: exponents of what tends to a constant are 0, up to 1/4; the constant is above 0; S's grows over L-S's. The
    exponents are at one eps1: followed to half the training loss S's test loss falls, at any kappa.
    """
    kappas = np.array(regime.KAPPAS)
    for name, word in (("test_error", "test error"), ("test_loss", "test loss")):
        over = {}
        for key in ("held", "kappa", "eps1", "q"):
            values, configs = regime.numbers(runs[key], "S", name)
            over[key] = values / [c.problem.p0 for c in configs]
        yield bootstrap(f"exponent in kappa of S's {word} over p", [over["held"]], slope(kappas), level, (-0.25, 0.25),
                        "0: tends to a constant")
        yield bootstrap(f"least {word} of S over p, in kappa, eps1 and q", list(over.values()),
                        lambda *ratios: np.concatenate(ratios, -1).min(-1), level, (0.0, math.inf),
                        "a constant above 0 (the paper's c is unknown)")
        large, _ = regime.numbers(runs["kappa"], "L-S", name)
        small, _ = regime.numbers(runs["kappa"], "S", name)
        yield bootstrap(f"S's {word} over L-S's, over kappa", [small, large],
                        lambda s, b: slope(kappas)(np.where(b > 0, s / np.where(b > 0, b, 1.0), np.nan)), level,
                        (-math.inf, 0.0), "grows as kappa falls")


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
    "floor", "S reaches a small training loss with a test error and loss of at least order p", "theorem 3.5",
    "The runs of claim 11. S is followed to the same training loss, 2 p eps1; a run that does not reach it leaves the claim "
    "not resolved. What tends to a constant over p has exponent 0 in kappa, at one eps1 (runs of S of their own, for the "
    "constant depends on it), and L-S's falls below it without end.",
    regime.needs, judge, draw, needs_gap=True,
    fails="an error, or a loss, over p that falls with kappa, or is 0; one that does not part from L-S's as kappa falls.")
"""The claim and its source."""
