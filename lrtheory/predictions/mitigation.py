"""Prediction 8: pre-activation noise on S, annealed, recovers L-S's error."""

import numpy as np

from lrtheory.intervals import bootstrap, mean
from lrtheory.predictions.base import Need, Prediction, at_end, paired_end, require_groups
from lrtheory.style import ALGORITHM_STYLE
from lrtheory.theory.figures import curve, time_axis


def needs(base):
    """L-S, S and S+noise, annealed by time."""
    require_groups(base, "q")
    latest = min(2 / 3 * base.training.duration, base.training.anneal_time)
    return {"noisy": Need(base.replace(algorithms=("L-S", "S", "S+noise"), **{
        "training.activation_noise_form": "shared", "training.anneal_time": latest}))}


def judge(runs, level):
    """Paired over seeds: what the noise gains, as a share of what L-S gains (within a quarter), and Q fitted in the end.

    Fitted: Q's loss is at most half of log 2.
    """
    run = runs["noisy"]
    small, noisy = paired_end(run, "S", "S+noise", "test_error_p")
    rest, large = paired_end(run, "S", "L-S", "test_error_p")
    yield mean("error on P: S less L-S", rest - large, level, (0.0, np.inf), "above 0")
    yield mean("error on P: S less S+noise", small - noisy, level, (0.0, np.inf), "above 0")
    yield bootstrap("S less S+noise, over S less L-S", [small - noisy, rest - large],
                    lambda a, b: np.where(b > 0, a / b, np.nan), level, (0.75, 1.25), "1")
    yield mean("Q's loss at the end, S+noise, over log 2", at_end(run.sel(algorithm="S+noise"), "loss_q") / np.log(2), level,
               (-np.inf, 0.5), "small: Q is learned once the noise is gone")


def draw(runs, figure):
    """Error on P and Q's loss against time for the three algorithms."""
    axes = figure.subplots(1, 2)
    run = runs["noisy"].isel(record=slice(1, None))
    for name, (colour, line) in ALGORITHM_STYLE.items():
        for axis, metric in zip(axes, ("test_error_p", "loss_q"), strict=True):
            curve(axis, run.sel(algorithm=name), metric, colour, name, band="error", line=line)
            time_axis(axis)
    axes[0].set(yscale="log", ylabel="test error on P")
    axes[1].set_ylabel("training loss on Q (nat)")
    axes[1].legend(fontsize="small")


PREDICTION = Prediction(
    "mitigation", "pre-activation noise on S, annealed, recovers L-S's error", "section 3 of the paper (mitigation)",
    "One draw a neuron and step, relative size 0.3, annealed after two thirds of the run at the latest (L-S likewise): the "
    "noise-free loss cannot be relied on as a trigger, because under activation noise the noise-free outputs of Q drift off "
    "together, and at infinite width keep it from its threshold.", needs, judge, draw,
    needs_gap=True,
    fails="no gap to close; noise that does not help; one that helps otherwise than L-S; Q never learned.")
"""The claim and its source."""
