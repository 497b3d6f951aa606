"""Prediction 10: decoupled networks approach the infinite-width trajectory as 1/sqrt(m)."""

import numpy as np
import xarray as xr

from lrtheory.intervals import bootstrap, slope
from lrtheory.labelled import at_times
from lrtheory.predictions.base import Need, Prediction, lasting
from lrtheory.style import ORANGE, SKY, VERMILION
from lrtheory.theory.figures import curve, time_axis

WIDTHS = (256, 1024, 4096)
"""Neurons of V; W has a quarter."""
STEPS = 1500
"""Of the large rate; the small one is followed for the same time."""


def needs(base):
    """Decoupled networks of three widths, and their limit, of minibatches on the same ones."""
    whole = lasting(base, STEPS * base.training.eta1, engine="decoupled", records=20)
    widths = (("network.m_w", "network.m_v"), tuple((m // 4, m) for m in WIDTHS))
    needs = {}
    for name in ("L-S", "S"):
        config = whole.replace(algorithms=(name,))
        if name == "L-S" and base.training.step_time == 0:  # its steps are as long as its rate
            config = config.replace(**{"training.steps": STEPS})
        needs |= {f"decoupled, {name}": Need(config, (widths,)), f"infinite, {name}": Need(config.at_infinite_width())}
    return needs


def judge(runs, level):
    """Exponent in m of the deviation of Q's outputs, mean square over records and directions, for each algorithm.

    Region: within 1/4 of -1/2.
    """
    for name in ("L-S", "S"):
        run, theory = (runs[f"{k}, {name}"].sel(algorithm=name) for k in ("decoupled", "infinite"))
        known = run["time"] <= theory["time"].isel(record=-1) * (1 + 1e-6)  # a step of K iterations may go on beyond
        away = [(run[g] - at_times(theory, g, run["time"])) ** 2 for g in ("g_z", "g_plus", "g_minus")]
        square = xr.concat(away, "direction").where(known).mean(("direction", "record"))
        yield bootstrap(f"exponent of |f_decoupled - f_infinite| in m, {name}", [square.transpose("seed", ...).values],
                        lambda s: slope(WIDTHS)(np.sqrt(s)), level, (-0.75, -0.25), "-1/2")


def draw(runs, figure):
    """The contrast against time at each width (range over seeds), and at infinite width (dashed)."""
    axes = figure.subplots(1, 2)
    for axis, name in zip(axes, ("L-S", "S"), strict=True):
        wide = runs[f"decoupled, {name}"]
        for k, colour in enumerate((SKY, ORANGE, VERMILION)):
            run = wide.isel({wide["contrast"].dims[0]: k}).sel(algorithm=name).transpose("seed", "record", ...)
            curve(axis, run, "contrast", colour, f"m = {WIDTHS[k]:,}", band="range")
        theory = runs[f"infinite, {name}"].sel(algorithm=name).mean("seed")
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
