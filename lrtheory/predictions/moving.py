"""Prediction 15: at fixed sqrt(m_v) tau_v the full network has a limit of its own, in which kinks move."""

import math

import numpy as np

from lrtheory.intervals import bootstrap, slope
from lrtheory.labelled import at_times
from lrtheory.predictions.base import Need, Prediction, each_seed, lasting, require_groups, require_plain
from lrtheory.style import BLUE, GREY, ORANGE
from lrtheory.theory import kinks
from lrtheory.theory.timescales import q_time

WIDTHS = (2048, 16384, 131_072)
"""Neurons of V."""
CEILING = 6.0
"""Largest contrast of the full networks; fixed kinks would reach about 7 in the time that is judged."""
TIMES = (2.0, 7.0)
"""Of the judged records, in T_Q: the contrast is near half of the ceiling, and then near all of it."""


def needs(base):
    """S on full networks of three widths and one sqrt(m_v) tau_v, their limit, and that of fixed kinks."""
    require_groups(base, "q")
    require_plain(base)
    config = lasting(base, TIMES[1] * q_time(base.problem), engine="reduced", algorithms=("S",), records=20,
                     **{"network.tau_w": 0.2})
    unit = kinks.ceiling(config.problem, config.network) / (math.sqrt(config.network.m_v) * config.network.tau_v)
    taus = [CEILING / unit / math.sqrt(m) for m in WIDTHS]
    config = config.replace(**{"network.m_v": WIDTHS[0], "network.tau_v": taus[0]})
    widths = (("network.m_v", "network.tau_v"), tuple(zip(WIDTHS, taus, strict=True)))
    return {"full": Need(config, (widths,)), "moving": Need(config.at_infinite_width()),
            "fixed": Need(config.replace(engine="decoupled").at_infinite_width())}


def judge(runs, level):
    """The contrast of the full network over that of either limit, and the exponent in m of how it scatters about its own.

    Regions: within a tenth of its own limit at the widest, which is of leading order in r, and below 0.85 of that of fixed
    kinks; within 1/4 of -1/2, the scatter being that about the mean at the widest.
    """
    full, moving, fixed = _contrasts(runs)
    part = np.mean(full / moving[:, None], -1)
    yield bootstrap("exponent of the scatter of f_full over its own limit, in m", [(part - part[:, -1].mean()) ** 2],
                    lambda s: slope(WIDTHS)(np.sqrt(s)), level, (-0.75, -0.25), "-1/2")
    ends = [full[:, -1, -1], moving[:, -1], fixed[:, -1]]
    yield bootstrap("contrast at the widest, over its own limit", [ends[0], ends[1]], lambda a, b: a / b, level, (0.9, 1.1),
                    "1")
    yield bootstrap("contrast at the widest, over that of fixed kinks", [ends[0], ends[2]], lambda a, b: a / b, level,
                    (0.0, 0.85), "below 1: kinks have moved")


def _contrasts(runs):
    """Contrasts of S from `TIMES`[0] on: full (seeds, widths, records), and (seeds, records) of either limit there."""
    full = runs["full"].sel(algorithm="S")
    full = full.transpose("seed", str(full["contrast"].dims[0]), "record")
    times = full["time"].isel({full["contrast"].dims[1]: 0}, drop=True)
    late = times.values[0] >= TIMES[0] / TIMES[1] * times.values[0, -1]
    there = [at_times(runs[name].sel(algorithm="S"), "contrast", times).transpose("seed", "record").values[:, late]
             for name in ("moving", "fixed")]
    return full["contrast"].values[..., late], *there


def draw(runs, figure):
    """The contrast at the end against the width, a dot a seed, and both limits; and over time at the widest."""
    left, right = figure.subplots(1, 2)
    full, moving, fixed = _contrasts(runs)
    each_seed(left, WIDTHS, full[..., -1], ORANGE, "full networks")
    for ends, colour, label in ((moving, BLUE, "its own limit"), (fixed, GREY, "fixed kinks")):
        left.axhline(ends[:, -1].mean(), color=colour, ls="--", lw=1.1, label=label)
    run = runs["full"].sel(algorithm="S")
    run = run.isel({str(run["contrast"].dims[0]): -1})
    right.plot(run["time"].mean("seed"), run["contrast"].mean("seed"), color=ORANGE)
    for name, colour in (("moving", BLUE), ("fixed", GREY)):
        limit = runs[name].sel(algorithm="S")
        right.plot(limit["time"].mean("seed"), limit["contrast"].mean("seed"), color=colour, ls="--", lw=1.1)
    left.set(xscale="log", xlabel="neurons of V at one √m τ", ylabel="contrast under S")
    right.set(xlabel="time (sum of rates)", ylabel="contrast under S")
    left.legend(fontsize="small")


PREDICTION = Prediction(
    "moving", "at fixed sqrt(m_v) tau_v full networks approach a limit of their own, in which V's kinks move",
    "derived here (theory.kinks)",
    f"S over 2 to 7 T_Q, sqrt(m_v) tau_v such that no contrast beyond {CEILING:g} can be reached; the limit is the "
    "engine infinite with network.kinks moving.", needs, judge, draw,
    fails="networks that do not approach it as they widen, that are elsewhere at the widest, or where fixed kinks would be.")
"""The claim and its source."""
