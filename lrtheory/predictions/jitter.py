"""Prediction 14: what a finite V adds to the contrast, and to the time of annealing, is known before the run."""

import numpy as np

from lrtheory.intervals import bootstrap, slope
from lrtheory.labelled import at_times, config_of
from lrtheory.predictions.base import Need, Prediction, each_seed, require_groups, require_plain
from lrtheory.spec import ConfigError, require, require_positive
from lrtheory.style import ORANGE
from lrtheory.theory import kinks
from lrtheory.theory.config import Config
from lrtheory.theory.results import annealing_jitter, falls
from lrtheory.theory.timescales import is_balanced

WIDTHS = (512, 2048, 8192)
"""Neurons of V."""
WINDOW = (0.3, 0.6)
"""Times, in units of the limit's annealing, over which the scatter is taken."""


def needs(base):
    """L-S on decoupled networks of three widths of V, and their limit; W is wide, for it moves P's loss by 1/m_w."""
    require_groups(base, "q")
    require_plain(base)
    _require_balanced(base)
    config = base.replace(engine="decoupled", algorithms=("L-S",), records=100,
                          **{"network.m_w": max(base.network.m_w, 256), "training.anneal_time": np.inf})
    return {"decoupled": Need(config, (("network.m_v", WIDTHS),)), "infinite": Need(config.at_infinite_width())}


def _require_balanced(config):
    """Raise `ConfigError` for noise that does not keep its variance: how it scatters kinks is not known in closed form."""
    training = config.training
    require_positive("training.weight_decay", training.weight_decay)  # else no noise is balanced
    size = training.noise_level * float(training.noise_unit / training.balanced)
    require(is_balanced(training), "noise over its balanced value", f"{size:.3g}", "1 for this claim",
            "set training.noise_level 1 and training.noise_scale None")


def judge(runs, level):
    """Scatter of the contrast about the limit's: its exponent in m, its size; that of the time of annealing.

    Regions: within 1/4 of -1/2; within a factor of 1.5 of the closed form, which is of leading order in r and 1/m; annealing
    within a factor of 2 of it, for there first crossings add to a slope: times of the two widest, each over what is expected
    at its width and at its seed's slope.
    """
    square, at, push = _scatter(runs)
    config = config_of(runs["infinite"], Config)
    yield bootstrap("exponent of the contrast's scatter in m", [square], lambda s: slope(WIDTHS)(np.sqrt(s)), level,
                    (-0.75, -0.25), "-1/2")
    widest = kinks.scatter(config.problem, config.training, WIDTHS[-1], push, at)
    yield bootstrap("scatter of the contrast at the widest, over the closed form", [square[:, -1]],
                    lambda s: np.sqrt(s) / widest, level, (2 / 3, 3 / 2), "1")
    base, slopes = config_of(runs["decoupled"], Config), falls(runs["infinite"].sel(algorithm="L-S"))
    expected = [annealing_jitter(base.replace(**{"network.m_v": m}), runs["infinite"]) for m in WIDTHS[1:]]
    if None in expected:
        raise ConfigError("annealing: at infinite width the loss does not fall to its threshold; raise training.eps1")
    losses = [known["loss"] for known in expected if known is not None]
    late = ((_annealed(runs)[:, 1:] * slopes[:, None] / losses) ** 2).mean(-1)
    if np.isfinite(late).sum() < 2:
        raise ConfigError("annealing: fewer than two seeds anneal at infinite width and in both networks of "
                          f"{WIDTHS[1]:,} and {WIDTHS[2]:,} neurons; raise training.steps")
    yield bootstrap("scatter of the time of annealing, over the closed form", [late[np.isfinite(late)]], np.sqrt, level,
                    (0.5, 2.0), "1")


def _scatter(runs):
    """Squares (seeds, widths) of the contrast's deviation from the limit's, means over `WINDOW`; its middle; the push."""
    wide, limit = (runs[name].sel(algorithm="L-S") for name in ("decoupled", "infinite"))
    ends = limit["annealed_at"].values
    if not np.isfinite(ends).any():
        raise ConfigError("annealing: no seed anneals by its loss at infinite width; raise training.steps or training.eps1")
    low, high = (share * ends[np.isfinite(ends)].mean() for share in WINDOW)
    axis = str(wide["contrast"].dims[0])
    wide = wide.transpose("seed", axis, "record")
    time = wide["time"].values
    theory = at_times(limit, "contrast", wide["time"]).transpose("seed", axis, "record").values
    inside = (time >= low) & (time <= high) & (wide["phase"].values == 0)
    with np.errstate(invalid="ignore"):
        square = np.where(inside, (wide["contrast"].values - theory) ** 2, 0.0).sum(-1) / inside.sum(-1)
    late = (limit["time"] >= low) & (limit["time"] <= high)
    losses = {g: float(limit[f"loss_{g}"].where(late).mean()) for g in ("q", "mixed")}
    problem = config_of(runs["infinite"], Config).problem
    return square, (low + high) / 2, kinks.push_of(problem, losses)


def _annealed(runs):
    """Time of annealing less the limit's, of the same seeds: (seeds, widths); not finite where either never anneals."""
    wide, limit = (runs[name].sel(algorithm="L-S")["annealed_at"] for name in ("decoupled", "infinite"))
    with np.errstate(invalid="ignore"):
        return wide.transpose("seed", ...).values - limit.values[:, None]


def draw(runs, figure):
    """Scatter of the contrast, and times of annealing about the limit's, against the width."""
    left, right = figure.subplots(1, 2)
    square, at, push = _scatter(runs)
    config = config_of(runs["infinite"], Config)
    each_seed(left, WIDTHS, np.sqrt(square), ORANGE, "networks")
    left.plot(WIDTHS, [kinks.scatter(config.problem, config.training, m, push, at) for m in WIDTHS], "k--", lw=1.1,
              label="closed form")
    left.set(xscale="log", yscale="log", ylabel="scatter of the contrast")
    left.yaxis.set_minor_formatter("{x:.2g}")
    apart = _annealed(runs)
    right.plot(WIDTHS, np.where(np.isfinite(apart), apart, np.nan).T, ".", color=ORANGE, markersize=3, alpha=0.5)
    base = config_of(runs["decoupled"], Config)
    expected = [annealing_jitter(base.replace(**{"network.m_v": m}), runs["infinite"]) for m in WIDTHS]
    for sign in (1, -1):
        right.plot(WIDTHS, [np.nan if x is None else sign * x["jitter"] for x in expected], "k--", lw=1.1)
    right.set(xscale="log", ylabel="annealed at, less the limit's")
    for axis in (left, right):
        axis.set_xticks(WIDTHS, [f"{m:,}" for m in WIDTHS])
        axis.set_xticks([], minor=True)
        axis.set_xlabel("neurons of V")
    left.legend(fontsize="small")


PREDICTION = Prediction(
    "jitter", "a finite V scatters the contrast, and the time of annealing, by what its kinks say before the run",
    "derived here (theory.kinks)",
    "Root mean square deviation from infinite width, of the same seeds, between 0.3 and 0.6 of the time of annealing; the "
    "closed form is what the plan of a run prints.", needs, judge, draw, needs_gap=True,
    fails="a scatter that does not fall as the networks widen; one of another size; annealing that jitters by more than "
          "twice what its loss does, or by less than half.")
"""The claim and its source."""
