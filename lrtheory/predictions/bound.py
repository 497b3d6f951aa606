"""Prediction 11: L-S anneals within O~(d/(eta1 eps1)); its test error and loss are at most of order p kappa log(1/eps1)."""

import math

import numpy as np
from matplotlib.ticker import NullLocator

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions import regime
from lrtheory.predictions.base import Prediction, each_seed
from lrtheory.style import BLUE, VERMILION

OF_ORDER_ONE = 3.0
"""Above this the constant C of the bound is not called of order 1; the paper's is unknown."""


def judge(runs, level):
    """Exponents of error and loss over the bound in kappa, their largest value over all series, and times to anneal.

    Regions: the exponent of a bounded ratio is 0 or above, that of the annealing time in eps1 -1 or above (and not above 0),
    each up to 1/4; that in d is 1, up to 0.1.
    """
    kappas = np.array(regime.KAPPAS)
    for name, word in (("test_error", "test error"), ("test_loss", "test loss")):
        over = {}
        for key in ("kappa", "eps1", "q"):
            values, configs = regime.numbers(runs[key], "L-S", name)
            over[key] = values / [regime.bound(c) for c in configs]
        yield bootstrap(f"exponent in kappa of L-S's {word} over p kappa log(1/eps1)", [over["kappa"]], slope(kappas), level,
                        (-0.25, math.inf), "0 or above: bounded")
        yield bootstrap(f"largest {word} of L-S over p kappa log(1/eps1), in kappa, eps1 and q", list(over.values()),
                        lambda *ratios: np.concatenate(ratios, -1).max(-1), level, (-math.inf, OF_ORDER_ONE),
                        "of order 1 at most (the paper's C is unknown)", log=True)
    times = {key: runs[key]["annealed_at"].sel(algorithm="L-S").transpose("seed", ...).values for key in ("eps1", "d")}
    yield bootstrap("exponent in eps1 of the time to anneal", [times["eps1"]], slope(regime.EPSILONS), level, (-1.25, 0.0),
                    "-1 or above, up to logarithms")
    d = np.array([c.problem.d * float(z) ** 2 for (c, _), z in zip(regime.points(runs["d"]), runs["d"]["z_norm"].values,
                                                                  strict=True)])
    yield bootstrap("exponent in d of the time to anneal, in the paper's unit", [times["d"] * d], slope(d), level,
                    (0.9, 1.1), "1")


def draw(runs, figure):
    """Error and loss over p kappa log(1/eps1) against kappa; S's beside them."""
    axes = figure.subplots(1, 2)
    for axis, (name, label) in zip(axes, (("test_error", "test error"), ("test_loss", "test loss")), strict=True):
        for algorithm, colour in (("L-S", BLUE), ("S", VERMILION)):
            values, configs = regime.numbers(runs["kappa"], algorithm, name)
            each_seed(axis, regime.KAPPAS, values / [regime.bound(c) for c in configs], colour, algorithm)
        axis.set(xscale="log", yscale="log", xlabel="κ", ylabel=f"{label} / (p κ log(1/ε₁))")
        axis.set_xticks(regime.KAPPAS, [f"{k:.2g}" for k in regime.KAPPAS], minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
    axes[0].legend(fontsize=7)


PREDICTION = Prediction(
    "bound", "L-S's test error and loss are at most of order p kappa log(1/eps1); it anneals within O~(d/(eta1 eps1))",
    "theorem 3.4",
    "Infinite width at the theorem's own exponents (`lrtheory.theorem`), kappa from 1/2 to 1/4 with p0 = kappa^2/2, N/d = "
    "1/kappa^2 and eps1 = kappa/4; eps1 from 0.2 to 0.05 and q0 from 0.15 to 0.4 at kappa = 0.35. Errors and losses over "
    "the distribution in closed form, where the training loss has come down to 2 p eps1. A bounded ratio cannot grow as "
    "kappa falls.",
    regime.needs, judge, draw, needs_gap=True,
    fails="an error, or a loss, over p kappa log(1/eps1) that grows as kappa falls, or is above 3; a time to anneal that "
          "grows faster than 1/eps1, or otherwise than d.")
"""The claim and its source."""
