"""Prediction 3: under the large rate Q is not learned; once annealed it is fitted at once, and W stays."""

import numpy as np

from lrtheory.intervals import mean, share
from lrtheory.labelled import config_of
from lrtheory.predictions.base import Need, Prediction, require_groups
from lrtheory.style import BLUE, GREY
from lrtheory.theory import kinks
from lrtheory.theory.config import Config
from lrtheory.theory.figures import GROUP_STYLE, curve, mark_annealing, time_axis
from lrtheory.theory.timescales import q_time


def needs(base):
    """L-S at the base configuration."""
    require_groups(base, "q")
    return {"main": Need(base)}


def judge(runs, level):
    """Averages over time from 10 T_Q to annealing; the time Q then takes; how far W moves meanwhile.

    Regions: Q's loss within 15% of log 2; the contrast within a factor of 1.5 of its closed form, which is of leading order
    in r, so that one of twice or half the size is none; "a few" T_Q are at most 15; W moves by at most a tenth of |Wbar|.
    """
    config = config_of(runs["main"], Config)
    t_q = q_time(config.problem)
    run = runs["main"].sel(algorithm="L-S").transpose("seed", "record", ...)
    late = ((run["phase"] == 0) & (run["time"] > 10 * t_q)).values * np.gradient(run["time"].values, axis=1)  # over time

    def average(values):
        with np.errstate(invalid="ignore"):
            return np.where(late > 0, late * values, 0.0).sum(1) / late.sum(1)

    yield mean("Q's loss before annealing, over log 2", average(run["loss_q"].values) / np.log(2), level, (0.85, 1.15), "1")
    form = _closed_form(config, run)
    with np.errstate(invalid="ignore"):
        ratio = average(run["contrast"].values) / average(form)
    yield mean("contrast before annealing, over its closed form", ratio, level, (2 / 3, 3 / 2),
               "1, to leading order in r")
    annealed, halved = run["annealed_at"].values, _halved_after(run)
    yield share("Q's loss is first halved after annealing", np.isfinite(run["time_q_half"].values)
                & (run["time_q_half"].values >= annealed), level, "almost every seed")
    with np.errstate(invalid="ignore"):  # never less never
        took = (np.minimum(halved, run["time"].values[:, -1]) - annealed) / t_q
    yield mean("time from annealing until Q's loss is halved, over T_Q", took, level, (-np.inf, 15.0), "a few")
    yield mean("length of W's path in that time, over |Wbar|", _moved(run, annealed, halved), level, (-np.inf, 0.1), "small")


def _closed_form(config, run):
    """The contrast at which noise holds each seed at each record, of its own residuals on Q: (seeds, records)."""
    pushes = np.vectorize(lambda q, mixed: kinks.push_of(config.problem, {"q": q, "mixed": mixed}))
    push = pushes(run["loss_q"].values, run["loss_mixed"].values)
    return kinks.plateau(config.problem, config.training, push, run["time"].values)


def _moved(run, start, end):
    """Length of the path of W's signal part between two times of each seed, over its norm at the first: (seeds,).

    From record to record a straight line, run through at constant speed: at least the distance between its ends.
    """
    moved = np.full(len(start), np.nan)
    for k in np.flatnonzero(np.isfinite(start) & np.isfinite(end)):
        time = run["time"].values[k]
        covered = np.diff(np.interp(np.array([start[k], end[k]]), time, np.cumsum(run["signal_moved_w"].values[k])))[0]
        moved[k] = covered / np.interp(start[k], time, run["signal_norm_w"].values[k])
    return moved


def _halved_after(run):
    """When Q's loss is half of log 2 after annealing: (seeds,).

    Where a finite V's jitter has taken it there once before, the first record after annealing at which it is.
    """
    time, loss = run["time"].values, run["loss_q"].values
    fitted = (time >= run["annealed_at"].values[:, None]) & (loss <= np.log(2) / 2)
    recorded = np.where(fitted.any(1), np.take_along_axis(time, fitted.argmax(1)[:, None], 1)[:, 0], np.inf)
    first = run["time_q_half"].values
    return np.where(first >= run["annealed_at"].values, first, recorded)


def draw(runs, figure):
    """Losses and the contrast of L-S against time, annealing marked."""
    left, right = figure.subplots(1, 2)
    run = runs["main"].sel(algorithm="L-S")
    for group, (colour, label) in GROUP_STYLE.items():
        curve(left, run, f"loss_{group}", colour, label, band="range")
    curve(right, run, "contrast", BLUE, "contrast", band="range")
    left.axhline(np.log(2), color=GREY, lw=0.6)
    for axis, label in ((left, "training loss (nat)"), (right, "contrast")):
        mark_annealing(axis, run)
        time_axis(axis)
        axis.set_ylabel(label)
    left.legend(fontsize="small")


PREDICTION = Prediction(
    "plateau", "under the large rate Q's loss stays at log 2; after annealing Q is fitted within a few T_Q, W barely moves",
    "theorem 3.4 (proof); the plateau of the contrast derived here (theory.kinks)",
    "Means over time from 10 T_Q until annealing, by seed; the closed form is of noise at any level and time, and of each "
    "seed's own residuals on Q. A Q that is never halved takes at least until the end. "
    "What W moves is the length of its signal part's path through the records, linear in time between them: at least the "
    "distance.", needs, judge, draw, needs_gap=True,
    fails="Q learned under the large rate, wholly or by its contrast alone, as without noise; a contrast of twice or half "
          "the closed form's size; Q halved before annealing, or never; only long after it; W moving on by over a tenth.")
"""The claim and its source."""
