"""Figures of a run, made from stored results and nothing else.

Lives here: one function a figure, each taking a dataset and returning a matplotlib figure. Lives elsewhere:
numbers (results), tables (report).
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrtheory.measure import GROUPS
from lrtheory.results import undiverged

# Okabe & Ito (2008): told apart by readers with any colour vision, and in grey by line style.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, GREY = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
                                                     "#666666")
ALGORITHM_STYLE = {"L-S": (BLUE, "-"), "S": (VERMILION, "--"), "S+noise": (GREEN, "-.")}
GROUP_STYLE = {"p": (BLUE, "-", "P only"), "mixed": (GREY, ":", "both halves"), "q": (ORANGE, "--", "Q only")}
RC: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
      "legend.frameon": False, "figure.dpi": 100, "lines.linewidth": 1.6}


def _styled(draw: Callable[[xr.Dataset], Figure]) -> Callable[[xr.Dataset], Figure]:
    """Draw under the house style without changing the user's."""
    @functools.wraps(draw)
    def styled(results: xr.Dataset) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(results)

    return styled


@_styled
def learning_order(results: xr.Dataset) -> Figure:
    """Training loss of each group against time, a panel an algorithm; bands from the least to the largest seed."""
    names = results["algorithm"].values.tolist()
    figure, axes = _panels(len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        runs = results.sel(algorithm=name)
        for group in GROUPS:
            colour, line, label = GROUP_STYLE[group]
            _curve(axis, runs, f"loss_{group}", colour, line, label, band="range")
        axis.axhline(np.log(2), color=GREY, lw=0.6)
        _mark_annealing(axis, runs)
        axis.set_title(name)
        axis.set_ylim(0, 0.85)
    axes[0].set_ylabel("training loss (nat)")
    axes[0].text(0.02, np.log(2) + 0.012, "log 2", color=GREY, fontsize=8, transform=axes[0].get_yaxis_transform())
    _legend_above(figure, axes[0])
    return figure


@_styled
def test_error_on_p(results: xr.Dataset) -> Figure:
    """Test error on P against time for every algorithm, from the first step on; bands of 2 standard errors over seeds."""
    results = results.isel(record=slice(1, None))  # at the start f = 0, an error everywhere by convention
    figure, (axis,) = _panels(1)
    for name in results["algorithm"].values.tolist():
        colour, line = algorithm_style(results, name)
        runs = results.sel(algorithm=name)
        _curve(axis, runs, "test_error_p", colour, line, name, band="error")
        _mark_annealing(axis, runs, colour)
    axis.set_ylabel("test error on P")
    axis.set_yscale("log")
    error = results["test_error_p"].mean("seed").values
    if np.any(error > 0):
        axis.set_ylim(0.3 * error[error > 0].min(), min(2.0, 2.5 * np.max(error[:, error.shape[1] // 20 :])))
    _legend_above(figure, axis)
    return figure


@_styled
def directions(results: xr.Dataset) -> Figure:
    """Outputs g at the three directions of Q, a panel an algorithm, and the contrast of all algorithms in the last panel."""
    names = results["algorithm"].values.tolist()
    figure, axes = _panels(len(names) + 1)
    for axis, name in zip(axes, names, strict=False):
        runs = results.sel(algorithm=name)
        for metric, colour, line, label in (("g_z", BLUE, "-", "g(z)"), ("g_plus", ORANGE, "--", "g(z + ζ)"),
                                            ("g_minus", PURPLE, ":", "g(z − ζ)")):
            _curve(axis, runs, metric, colour, line, label, band="range")
        axis.axhline(0, color=GREY, lw=0.6)
        _mark_annealing(axis, runs)
        axis.set_title(name)
    limits = [axis.get_ylim() for axis in axes[: len(names)]]
    for axis in axes[: len(names)]:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    axes[0].set_ylabel("output on a direction of Q")
    for name in names:
        colour, line = algorithm_style(results, name)
        _curve(axes[-1], results.sel(algorithm=name), "contrast", colour, line, name, band="range")
    axes[-1].set_title("contrast g(z+ζ) + g(z−ζ) − 2g(z)")
    axes[-1].legend(loc="best")
    _legend_above(figure, axes[0])
    return figure


@_styled
def noise_and_signal(results: xr.Dataset) -> Figure:
    """Noise against signal: norms of both parts of W and of V, the noise variance with its law, and gate agreement."""
    figure, axes = _panels(4, columns=2)
    for axis, half in zip(axes, "wv", strict=False):
        for name in results["algorithm"].values.tolist():
            colour, line = algorithm_style(results, name)
            runs = results.sel(algorithm=name)
            _curve(axis, runs, f"signal_norm_{half}", colour, line, f"{name}, signal", band="range")
            _curve(axis, runs, f"noise_norm_{half}", colour, line, f"{name}, noise", band=None, width=0.8)
        axis.set_yscale("log")
        axis.set_title(f"norms of the parts of {half.upper()}")
        axis.set_ylabel("Frobenius norm")
    axes[0].legend(fontsize=7, loc="lower right")
    for name in results["algorithm"].values.tolist():
        colour, line = algorithm_style(results, name)
        runs = results.sel(algorithm=name)
        _curve(axes[2], runs, "noise_variance_w", colour, line, f"{name}, W", band="range")
        _curve(axes[2], runs, "noise_variance_theory", "black", ":", "_", band=None, width=0.9)
        for half, width in (("w", 0.9), ("v", 1.8)):
            _curve(axes[3], runs, f"gate_agreement_{half}", colour, line, f"{name}, {half.upper()}", band="range",
                   width=width)
    axes[2].plot([], [], color="black", ls=":", lw=0.9, label="its recursion, for each")
    axes[2].set_title("variance of the noise part")
    axes[2].set_ylabel("mean square / τ₀²")
    axes[2].legend(fontsize=7, loc="lower left")
    axes[3].set_title("gates: U against its noise part")
    axes[3].set_ylabel("share of gates")
    axes[3].legend(fontsize=7, loc="lower left")
    return figure


FIGURES: dict[str, Callable[[xr.Dataset], Figure]] = {f.__name__: f for f in (learning_order, test_error_on_p,
                                                                              directions, noise_and_signal)}


def save_all(results: xr.Dataset, folder: Path) -> list[Path]:
    """Write every figure as PNG into `folder` (made if needed) and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        paths.append(folder / f"{name}.png")
        draw(results).savefig(paths[-1], dpi=200)
    return paths


def _panels(count: int, columns: int | None = None, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, its time axes on a square-root scale (early and late are both to be seen)."""
    columns = columns or count
    rows = -(-count // columns)
    figure = Figure(figsize=(max(3.6 * columns, 4.8), 3.1 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.set_xscale("function", functions=(lambda t: np.sqrt(np.maximum(t, 0)), lambda s: s**2))
    for axis in axes[-columns:]:
        axis.set_xlabel("time (sum of learning rates, √ scale)")
    return figure, axes


def algorithm_style(results: xr.Dataset, name: str) -> tuple[str, str]:
    """(colour, line) of an algorithm, its own or, for one of yours, a spare one."""
    spare = [(PURPLE, "-"), (SKY, "--"), (ORANGE, "-.")]
    others = [n for n in results["algorithm"].values.tolist() if n not in ALGORITHM_STYLE]
    return ALGORITHM_STYLE[name] if name in ALGORITHM_STYLE else spare[others.index(name) % len(spare)]


def _curve(axis: Axes, runs: xr.Dataset, metric: str, colour: str, line: str, label: str, *, band: str | None,
           width: float | None = None) -> None:
    """Mean over the seeds that did not diverge, with a band: their range, 2 standard errors, or none."""
    runs = undiverged(runs)
    if runs.sizes["seed"] == 0:
        return
    time, values = runs["time"].mean("seed").values, runs[metric].values
    mean = values.mean(0)
    axis.plot(time, mean, color=colour, ls=line, label=label, lw=width)
    if band == "range":
        axis.fill_between(time, values.min(0), values.max(0), color=colour, alpha=0.18, lw=0)
    elif band == "error" and values.shape[0] > 1:
        spread = 2 * values.std(0, ddof=1) / np.sqrt(values.shape[0])
        axis.fill_between(time, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
    axis.margins(x=0)
    limit = float(time[-1])
    ticks = [t for t in limit * np.array([0.01, 0.1, 0.3, 0.6, 1.0]) if t > 0]
    axis.set_xticks([0.0] + [float(f"{t:.1g}") for t in ticks[:-1]] + [limit])
    axis.set_xticklabels(["0"] + [f"{float(f'{t:.1g}'):g}" for t in ticks[:-1]] + [f"{limit:g}"])


def _mark_annealing(axis: Axes, runs: xr.Dataset, colour: str = "black") -> None:
    """A thin line at each seed's annealing, and a label at the first."""
    times = runs["annealed_at"].values
    times = np.sort(times[np.isfinite(times)])
    for time in times:
        axis.axvline(time, color=colour, lw=0.6, alpha=0.5)
    if times.size:
        axis.annotate("annealed", (times[0], 0.98), xycoords=("data", "axes fraction"), xytext=(-3, 0),
                      textcoords="offset points", ha="right", va="top", fontsize=8, color=colour)


def _legend_above(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
