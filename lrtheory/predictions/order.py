"""Prediction 5: S learns Q before P, L-S learns P before Q."""

import numpy as np

from lrtheory.intervals import share
from lrtheory.predictions.base import Need, Prediction, require_groups
from lrtheory.spec import ConfigError
from lrtheory.style import BLUE, GREY, VERMILION
from lrtheory.theory.results import apart, by_algorithm, common_time, first_of, ordered


def needs(base):
    """L-S and S at the base configuration."""
    require_groups(base, "p", "q")
    return {"main": Need(base)}


def judge(runs, level):
    """Shares of seeds in which one group's loss halves before the other's, and by the latest time that both reach.

    Never counts as later than any time.
    """
    time = common_time(runs["main"], ("L-S", "S"))
    if time is None:
        raise ConfigError(apart(by_algorithm(runs["main"], ("L-S", "S"))))
    for name, first, second in (("S", "q", "p"), ("L-S", "p", "q")):
        run = ordered(runs["main"].sel(algorithm=name).transpose("seed", "record", ...))
        right = first_of(run, first, second, time)
        yield share(f"{first.upper()} halved before {second.upper()} under {name}", right, level, "almost every seed")


def draw(runs, figure):
    """The two times of every seed; a time that is never reached is drawn at the upper edge."""
    axis = figure.subplots()
    run = runs["main"].sel(algorithm=["L-S", "S"])
    edge = 2 * float(run["time"].max())
    for name, colour, mark in (("L-S", BLUE, "o"), ("S", VERMILION, "^")):
        p, q = (np.minimum(run[f"time_{g}_half"].sel(algorithm=name).values, edge) for g in "pq")
        axis.plot(p, q, mark, color=colour, markersize=4, label=name)
    low = 0.5 * float(min(run["time_p_half"].min(), run["time_q_half"].min()))
    axis.plot([low, edge], [low, edge], color=GREY, lw=0.8)
    axis.set(xscale="log", yscale="log", xlabel="time at which P's loss is halved", ylabel="the same for Q")
    axis.set_title("below the line Q comes first; at the edge: never", fontsize="small", loc="left")
    axis.legend(fontsize="small")


PREDICTION = Prediction(
    "order", "S fits Q before P, L-S fits P before Q", "theorems 3.4 and 3.5 (proofs)",
    "The times at which the training loss of the P-only and of the Q-only examples first is (log 2)/2; exact "
    "binomial interval for the share of seeds.", needs, judge, draw,
    needs_gap=True,
    fails="P before Q under S; Q before P under L-S.")
"""The claim and its source."""
