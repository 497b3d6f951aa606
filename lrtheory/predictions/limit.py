"""Prediction 10: decoupled networks approach the infinite-width trajectory as 1/sqrt(m)."""

import numpy as np

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions.base import Need, Prediction, lasting
from lrtheory.style import ORANGE, SKY, VERMILION
from lrtheory.theory.figures import curve, time_axis

WIDTHS = (256, 1024, 4096)
"""Neurons of V; W has a quarter."""


def needs(base):
    """Decoupled networks of three widths, and their limit, of minibatches on the same ones."""
    config = lasting(base, 1500 * base.training.eta1, engine="decoupled", records=20)
    widths = (("network.m_w", "network.m_v"), tuple((m // 4, m) for m in WIDTHS))
    return {"decoupled": Need(config, (widths,)), "infinite": Need(config.at_infinite_width())}


def judge(runs, level):
    """Exponent in m of the deviation of Q's outputs, mean square over records and directions, for each algorithm.

    Region: within 1/4 of -1/2.
    """
    for name in ("L-S", "S"):
        run, theory = (runs[k].sel(algorithm=name) for k in ("decoupled", "infinite"))
        square = np.mean([(run[g].values - theory[g].values) ** 2 for g in ("g_z", "g_plus", "g_minus")], axis=(0, -1))
        yield bootstrap(f"exponent of |f_decoupled - f_infinite| in m, {name}", [square.reshape(len(WIDTHS), -1).T],
                        lambda s: slope(WIDTHS)(np.sqrt(s)), level, (-0.75, -0.25), "-1/2")


def draw(runs, figure):
    """The contrast against time at each width (range over seeds), and at infinite width (dashed)."""
    axes = figure.subplots(1, 2)
    wide = runs["decoupled"]
    for axis, name in zip(axes, ("L-S", "S"), strict=True):
        for k, colour in enumerate((SKY, ORANGE, VERMILION)):
            run = wide.isel({wide["contrast"].dims[0]: k}).sel(algorithm=name).transpose("seed", "record", ...)
            curve(axis, run, "contrast", colour, f"m = {WIDTHS[k]:,}", band="range")
        theory = runs["infinite"].sel(algorithm=name).mean("seed")
        axis.plot(theory["time"], theory["contrast"], "k--", lw=1.1, label="infinite width")
        time_axis(axis)
        axis.set_title(name)
    axes[0].set_ylabel("contrast")
    axes[0].legend(fontsize="small")


PREDICTION = Prediction(
    "limit", "decoupled and infinite-width trajectories agree to O(1/sqrt(m))", "derived here",
    "Root mean square over the records of the first 1,500 steps and over Q's three directions.", needs, judge, draw,
    fails="a deviation from the limit, under L-S or S, that does not fall as the networks widen.")
"""The claim and its source."""
