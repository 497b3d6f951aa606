"""Figures of the theorems' studies, made from stored results and nothing else.

Lives here: a figure a study. Lives elsewhere: its numbers (series), how figures look (style).
"""

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrtheory.style import BLUE, GREY, ORANGE, SKY, VERMILION, Figure, save_figures, styled

COLOURS = {"L-S": BLUE, "S": VERMILION}


def _series(summary: dict[str, Any], algorithm: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of a metric in every row, nan where there is none: (rows,) each."""
    cells = [row.get(algorithm, {}).get(metric, {}) for row in summary["rows"]]
    return tuple(np.array([math.nan if c.get(k) is None else c[k] for c in cells]) for k in ("mean", "sem"))  # type: ignore


def _curves(axis: Axes, x: np.ndarray, summary: dict[str, Any], metric: str, label: str) -> None:
    """A metric of both algorithms with 2 standard errors."""
    for name, colour in COLOURS.items():
        mean, sem = _series(summary, name, metric)
        axis.errorbar(x, mean, 2 * np.nan_to_num(sem), fmt="o-", ms=3, lw=1.2, color=colour, label=name)
    axis.set(xlabel=axis.get_xlabel() or "d", ylabel=label)


@styled
def dimension(runs: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """Order of learning, error on P, examples, loss, contrast and annealing against d, with the limits as lines."""
    figure = Figure(figsize=(11.5, 6.4), layout="constrained")
    (order, error, examples), (loss, contrast, approach) = figure.subplots(2, 3)
    d, t_p = (np.array([row[k] for row in summary["rows"]]) for k in ("d", "T_P"))
    for name, colour in COLOURS.items():
        for metric, mark, label in (("time_p_half", "s", "P"), ("time_q_half", "o", "Q")):
            order.plot(d, _series(summary, name, metric)[0] / t_p, mark + "-", ms=3.5, lw=1, color=colour,
                       label=f"{name}: {label}", mfc=colour if label == "Q" else "white")
    order.plot(d, _series(summary, "L-S", "annealed_at")[0] / t_p, "k:", lw=1, label="L-S anneals")
    order.set(yscale="log", ylabel="loss halved at, in T_P")
    _curves(error, d, summary, "test_error_p", "test error on P")
    _curves(loss, d, summary, "test_loss_p", "test loss on P (nat)")
    for axis, limit in ((error, "limit_error"), (loss, "limit_loss")):
        for name, colour in COLOURS.items():
            axis.axhline(np.nanmean(_series(summary, name, limit)[0]), color=colour, ls=":", lw=1)
        axis.set_yscale("log")
    error.plot([], [], "k:", lw=1, label="P alone: pN, (1−q)N examples")
    for name, colour in COLOURS.items():
        cells = [row[name]["examples"] for row in summary["rows"]]
        value, low, high = (np.array([math.nan if c[k] is None else c[k] for c in cells]) for k in ("value", "low", "high"))
        low, high = np.where(low > 0, low, value), np.where(np.isfinite(high), high, value)
        examples.errorbar(d, value, (value - low, high - value), fmt="o-", ms=3, lw=1.2, color=colour)
    for n, words in ((runs["P_only"].values.flat[0], "pN"), (runs["with_x1"].values.flat[0], "(1−q)N")):
        examples.axhline(n, color=GREY, lw=0.8, ls=":")
        examples.text(d[0], n, words, fontsize=8, color=GREY, va="bottom")
    examples.set(yscale="log", ylabel="P learned from so many examples",
                 ylim=(runs["P_only"].values.flat[0] / 2, 2 * runs["with_x1"].values.flat[0]))
    for name, colour in COLOURS.items():
        contrast.plot(d, -_series(summary, name, "contrast")[0], "o-", ms=3, lw=1.2, color=colour)
    far = d >= 1e15
    if far.any():
        contrast.plot(d[far], -_series(summary, "S", "contrast")[0][far][0] * (d[far] / d[far][0]) ** (1 / 12), "k:", lw=1,
                      label="d^(1/12)")
        contrast.legend(fontsize=7)
    contrast.set(yscale="log", ylabel="−contrast")
    one = runs.sel(algorithm="S")
    apart = (one["limit_error"] - one["test_error_p"]).transpose("row", "seed").values
    apart, spread = np.nanmean(apart, 1), np.nanstd(apart, 1, ddof=1) / np.sqrt(apart.shape[1])
    approach.errorbar(d, apart, 2 * spread, fmt="o-", ms=3, lw=1.2, color=VERMILION)
    if far.any() and apart[far][0] > 0:
        approach.plot(d[far], apart[far][0] * (d[far] / d[far][0]) ** (-1 / 12), "k:", lw=1, label="d^(−1/12)")
        approach.legend(fontsize=7)
    approach.set(yscale="log", ylabel="limit of S's error on P, less it")
    for axis in (order, error, examples, loss, contrast, approach):
        axis.set(xscale="log", xlabel="d")
    order.legend(fontsize=7)
    error.legend(fontsize=7, loc="lower right")
    return figure


@styled
def size(runs: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """Error on P of both algorithms, and its limits, against 1/d'."""
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    x = np.array([1 / row["size"] for row in summary["rows"]])
    for axis, name, found in zip(figure.subplots(1, 2), COLOURS, summary["findings"], strict=True):
        for metric, colour, label in (("test_error_p", COLOURS[name], name), ("limit_error", GREY, "P alone, d = ∞")):
            mean, sem = _series(summary, name, metric)
            axis.errorbar(x, mean, 2 * sem, fmt="o", ms=3.5, color=colour, label=label)
        axis.errorbar(0, found["value"], [[found["value"] - found["low"]], [found["high"] - found["value"]]], fmt="D", ms=4,
                      color="black", label="extrapolated")
        axis.set(xlabel="1/d'", ylabel="test error on P", ylim=(0, None))
        axis.legend(fontsize=7)
    return figure


@styled
def exponents(runs: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """Order of learning and error on P against the exponent of r, a line a d."""
    figure = Figure(figsize=(10.5, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    values = sorted({row["d"] for row in summary["rows"]})
    for colour, d in zip(itertools.cycle((ORANGE, VERMILION, BLUE, SKY, GREY)), values, strict=False):
        rows = [row for row in summary["rows"] if row["d"] == d]
        a = [row["exponent"] for row in rows]
        axes[0].plot(a, [row["L-S"]["P first"] / row["L-S"]["annealed_at"]["of"] for row in rows], "o-", ms=3, color=colour)
        axes[1].plot(a, [row["S"]["Q first"] / row["S"]["annealed_at"]["of"] for row in rows], "o-", ms=3, color=colour)
        ratio = [row["S"]["test_error_p"]["mean"] / row["L-S"]["test_error_p"]["mean"] for row in rows]
        axes[2].plot(a, ratio, "o-", ms=3, color=colour, label=f"d = {d:.0e}")
    for axis, label in zip(axes, ("L-S: share of seeds, P first", "S: share of seeds, Q first", "error on P, S over L-S"),
                           strict=True):
        axis.axvspan(-1, -5 / 12, color="0.93", zorder=0)
        axis.set(xlabel="exponent of r in d", ylabel=label)
    axes[2].set_yscale("log")
    axes[2].legend(fontsize=7)
    return figure


@styled
def rates(runs: xr.Dataset, summary: dict[str, Any]) -> Figure:
    """From how many examples S has learned P, and its error, against t_blur(eta2)/T_Q."""
    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = np.array([row["blur"] for row in summary["rows"]])
    cells = [row["S"]["examples"] for row in summary["rows"]]
    value, low, high = (np.array([math.nan if c[k] is None else c[k] for c in cells]) for k in ("value", "low", "high"))
    low, high = np.where(low > 0, low, value), np.where(np.isfinite(high), high, value)
    left.errorbar(x, value, (value - low, high - value), fmt="o-", ms=3, color=VERMILION)
    for n, words in ((runs["P_only"].values.flat[0], "pN"), (runs["with_x1"].values.flat[0], "(1−q)N")):
        left.axhline(n, color=GREY, lw=0.8, ls=":")
        left.text(x[0], n, words, fontsize=8, color=GREY, va="bottom")
    left.set_ylim(runs["P_only"].values.flat[0] / 2, 2 * runs["with_x1"].values.flat[0])
    mean, sem = _series(summary, "S", "test_error_p")
    right.errorbar(x, mean, 2 * sem, fmt="o-", ms=3, color=VERMILION)
    for axis, label in ((left, "S learned P from so many examples"), (right, "S's test error on P")):
        axis.axvline(summary["rows"][0]["T_P"] / summary["rows"][0]["T_Q"], color=GREY, lw=0.8)
        axis.set(xscale="log", yscale="log", xlabel="t_blur(η₂)/T_Q   (line: T_P/T_Q)", ylabel=label)
    return figure


FIGURES = {f.__name__: f for f in (dimension, size, exponents, rates)}


def save(runs: xr.Dataset, summary: dict[str, Any], folder: Path) -> list[Path]:
    """Write the figure of a study as PNG into `folder` (made if needed), and return its path."""
    name = summary["study"]
    return save_figures({name: functools.partial(FIGURES[name], runs, summary)}, folder)
