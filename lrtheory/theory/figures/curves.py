"""Figures of a run over time, made from stored results and nothing else.

Lives here: one function a figure, each taking a dataset and returning a matplotlib figure. Lives elsewhere: how figures look
(style), pictures of the mechanism (figures.mechanism), numbers (results), tables at the terminal (cli).
"""

import itertools
from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrtheory.labelled import at_times, config_of, undiverged
from lrtheory.spec import ConfigError
from lrtheory.style import (
    BLUE,
    DASHED,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Figure,
    algorithm_style,
    canvas,
    dashed,
    styled,
    wrapped,
)
from lrtheory.theory.config import Config
from lrtheory.theory.measure import below, test_points

GROUP_STYLE = {"p": (BLUE, "P only"), "mixed": (GREY, "both halves"), "q": (ORANGE, "Q only")}
"""{group: (colour, label)} of the paper's groups."""
DIRECTION_STYLE = {"g_z": (BLUE, "g(z)"), "g_plus": (ORANGE, "g(z + ζ)"), "g_minus": (PURPLE, "g(z − ζ)")}
"""{measurement: (colour, label)} of the outputs on Q's directions."""


@styled
def learning_order(results: xr.Dataset, theory: xr.Dataset | None = None) -> Figure:
    """Training loss of each group against time, a panel an algorithm; bands from the least to the largest seed."""
    names, groups = results["algorithm"].values.tolist(), group_styles(results)
    figure, axes = _panels(len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        runs = results.sel(algorithm=name)
        for group, (colour, label) in groups.items():
            curve(axis, runs, f"loss_{group}", colour, label, band="range", theory=_one(theory, name))
        axis.axhline(np.log(2), color=GREY, lw=0.6)
        mark_annealing(axis, runs)
        axis.set_title(name)
        axis.set_ylim(0, 0.85)
    axes[0].set_ylabel("training loss (nat)")
    axes[0].text(0.02, np.log(2) + 0.012, "log 2", color=GREY, fontsize="small", transform=axes[0].get_yaxis_transform())
    _legend_above(figure, axes[0], theory)
    return figure


@styled
def test_error_on_p(results: xr.Dataset, theory: xr.Dataset | None = None) -> Figure:  # noqa: PT028
    """Test error on P against time for every algorithm, from the first step on; bands of 2 standard errors over seeds.

    A mean of 0 of n test points is drawn at the line 1/n, below which no test point tells.
    """
    results = results.isel(record=slice(1, None))  # at the start f = 0, an error everywhere by convention
    theory = None if theory is None else theory.isel(record=slice(1, None))
    figure, (axis,) = _panels(1)
    for name in results["algorithm"].values.tolist():
        colour, _ = algorithm_style(results["algorithm"].values.tolist(), name)
        runs = results.sel(algorithm=name)
        curve(axis, runs, "test_error_p", colour, name, band="error", theory=_one(theory, name))
        mark_annealing(axis, runs, colour)
    axis.set_ylabel("test error on P")
    error = results["test_error_p"].where(np.isinf(results["diverged_at"])).mean("seed").values
    points = test_points("test_error_p", config_of(results, Config).n_test) * results.sizes["seed"]
    if points and np.any(error == 0):
        _none_wrong(axis, points)
    if np.any(error > 0):  # else there is nothing to show on a logarithmic scale
        least, late = error[error > 0].min(), np.nanmax(error[:, error.shape[1] // 20 :])  # nan: every seed diverged
        least = min(least, 1 / points) if points and np.any(error == 0) else least
        axis.set_yscale("log")
        axis.set_ylim(0.3 * least, min(2.0, 2.5 * max(least, late)))
    _legend_above(figure, axis, theory)
    return figure


def _none_wrong(axis: Axes, points: int) -> None:
    """The least error that so many test points tell, as a dotted line, and lines at 0 of them raised to it."""
    for line in axis.get_lines():
        values = np.asarray(line.get_ydata(), float)
        if values.size > 2:  # a curve
            line.set_ydata(np.where(values == 0, 1 / points, values))
    axis.axhline(1 / points, color=GREY, lw=0.8, ls=":")
    axis.annotate(f"none wrong: {below(points)}", (0.02, 1 / points), xycoords=("axes fraction", "data"), xytext=(0, -2),
                  textcoords="offset points", va="top", color=GREY, fontsize="small")


@styled
def directions(results: xr.Dataset, theory: xr.Dataset | None = None) -> Figure:
    """Outputs g at the three directions of Q, a panel an algorithm, and the contrast of all algorithms in the last panel."""
    names = results["algorithm"].values.tolist()
    figure, axes = _panels(len(names) + 1)
    for axis, name in zip(axes, names, strict=False):
        runs = results.sel(algorithm=name)
        for metric, (colour, label) in DIRECTION_STYLE.items():
            curve(axis, runs, metric, colour, label, band="range", theory=_one(theory, name))
        axis.axhline(0, color=GREY, lw=0.6)
        mark_annealing(axis, runs)
        axis.set_title(name)
    limits = [axis.get_ylim() for axis in axes[: len(names)]]
    for axis in axes[: len(names)]:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    axes[0].set_ylabel("output on a direction of Q")
    for name in names:
        colour, _ = algorithm_style(results["algorithm"].values.tolist(), name)
        curve(axes[-1], results.sel(algorithm=name), "contrast", colour, name, band="range", theory=_one(theory, name))
    axes[-1].set_title("contrast g(z+ζ) + g(z−ζ) − 2g(z)")
    axes[-1].legend(loc="best")
    _legend_above(figure, axes[0], theory)
    return figure


@styled
def noise_and_signal(results: xr.Dataset, theory: xr.Dataset | None = None) -> Figure:
    """Noise against signal: norms of both parts of W and of V, the noise variance with its law, and gate agreement."""
    figure, axes = _panels(4, columns=2)
    for axis, half in zip(axes, "wv", strict=False):
        for name in results["algorithm"].values.tolist():
            colour, _ = algorithm_style(results["algorithm"].values.tolist(), name)
            runs = results.sel(algorithm=name)
            curve(axis, runs, f"signal_norm_{half}", colour, f"{name}, signal", band="range", theory=_one(theory, name))
            curve(axis, runs, f"noise_norm_{half}", colour, f"{name}, noise", band=None, width=0.8)
        axis.set_yscale("log")
        axis.set_title(f"norms of the parts of {half.upper()}")
        axis.set_ylabel("Frobenius norm")
    if theory is not None:
        axes[0].plot([], [], **DASHED, color="0.2", label="infinite width")
    axes[0].legend(fontsize="small", loc="lower right")
    for name in results["algorithm"].values.tolist():
        colour, _ = algorithm_style(results["algorithm"].values.tolist(), name)
        runs = results.sel(algorithm=name)
        curve(axes[2], runs, "noise_variance_w", colour, f"{name}, W", band="range")
        curve(axes[2], runs, "noise_variance_theory", "black", "_", band=None, width=1.0, line="--")
        for half, width in (("w", 0.9), ("v", 1.8)):
            curve(axes[3], runs, f"gate_agreement_{half}", colour, f"{name}, {half.upper()}", band="range", width=width)
    axes[2].plot([], [], color="black", ls="--", lw=1.0, label="its recursion, for each")
    axes[2].set_title("variance of the noise part")
    axes[2].set_ylabel("mean square / τ₀²")
    axes[2].legend(fontsize="small", loc="lower left")
    axes[3].set_title("gates: U against its noise part")
    axes[3].set_ylabel("share of gates")
    axes[3].legend(fontsize="small", loc="lower left")
    return figure


@styled
def overlay(runs: Mapping[str, xr.Dataset], theory: xr.Dataset, metric: str = "contrast") -> Figure:
    """One measurement of several runs by name over the prediction, a panel an algorithm; bands over all seeds."""
    names = theory["algorithm"].values.tolist()
    figure, axes = _panels(len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for colour, (label, results) in zip((SKY, VERMILION, GREEN, PURPLE, ORANGE), runs.items(), strict=False):
            curve(axis, results.sel(algorithm=name), metric, colour, label, band="range")
        when, predicted = (undiverged(theory.sel(algorithm=name))[m].mean("seed") for m in ("time", metric))
        axis.plot(when, predicted, **DASHED, color="black", zorder=3)
        axis.set_title(name)
    axes[0].set_ylabel(wrapped(str(theory[metric].attrs["long_name"].partition(";")[0]), 2.4))
    _legend_above(figure, axes[0], theory)
    return figure


@styled
def gap(results: xr.Dataset, theory: xr.Dataset | None = None) -> Figure:
    """S less L-S, test error and test loss on P, against lambda times time; bands of 2 standard errors over paired seeds.

    What tells the algorithms apart decays as exp(-lambda t), so beyond lambda t = 1 (condition G, dotted) the gap closes.
    Empty where results lack L-S or S.
    """
    figure = canvas(7.2, 3.2)
    axes = figure.subplots(1, 2)
    decay = config_of(results, Config).training.weight_decay
    for axis, metric in zip(axes, ("test_error_p", "test_loss_p"), strict=True):
        for runs, style in ((results, {"color": VERMILION, "label": "S less L-S"}),
                            (theory, {"color": "black", "label": "infinite width", **DASHED})):
            if runs is None or not {"L-S", "S"} <= set(runs["algorithm"].values.tolist()):
                continue
            time, mean, error = _difference(runs.isel(record=slice(1, None)), metric)
            axis.plot(decay * time, mean, **style)
            if runs is results:
                axis.fill_between(decay * time, mean - 2 * error, mean + 2 * error, color=VERMILION, alpha=0.2, lw=0)
        axis.axhline(0, color=GREY, lw=0.6)
        axis.axvline(1, color=GREY, lw=0.8, ls=":")
        axis.set(xlabel="λ × time", ylabel=f"{results[metric].attrs['long_name']}: S less L-S")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize="small")
    return figure


def _difference(runs: xr.Dataset, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time, mean and standard error over seeds of S less L-S, each (records,), at the records of S that both reach."""
    good = np.isinf(runs["diverged_at"].sel(algorithm=["L-S", "S"]).transpose("algorithm", "seed").values).all(0)
    if not good.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    large, small = (runs.sel(algorithm=name, drop=True).isel(seed=good) for name in ("L-S", "S"))
    time = small["time"].mean("seed").values
    time = time[time <= 1.001 * large["time"].isel(record=-1).min().item()]
    asked = xr.DataArray(time, dims="record")
    apart = (at_times(small, metric, asked) - at_times(large, metric, asked)).transpose("seed", "record").values
    error = apart.std(0, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else 0 * apart[0]
    return time, apart.mean(0), error


@styled
def over_time(results: xr.Dataset, theory: xr.Dataset | None = None, metric: str = "train_loss") -> Figure:
    """One measurement of every algorithm against time, bands of 2 standard errors over seeds. Raises `ConfigError`."""
    names = sorted(str(name) for name, values in results.data_vars.items() if "record" in values.dims and name != "time")
    if metric not in names:
        raise ConfigError(f"{metric}: no measurement over time; must be one of {', '.join(names)}; choose one of these")
    figure, (axis,) = _panels(1)
    for name in results["algorithm"].values.tolist():
        colour, line = algorithm_style(results["algorithm"].values.tolist(), name)
        runs = results.sel(algorithm=name)
        curve(axis, runs, metric, colour, name, band="error", line=line, theory=_one(theory, name))
        if "annealed_at" in runs:
            mark_annealing(axis, runs, colour)
    if results["time"].attrs["units"] == "epochs":
        axis.set_xscale("linear")
        axis.set_xlabel("epochs")
    axis.set_ylabel(wrapped(f"{results[metric].attrs.get('long_name', metric)}", 2.4))
    _legend_above(figure, axis, theory)
    return figure


def _panels(count: int, columns: int | None = None, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels over time."""
    columns = columns or count
    rows = -(-count // columns)
    figure = canvas(max(3.6 * columns, 4.8), 3.1 * rows + 0.3)
    axes = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False).ravel().tolist()
    for axis in axes:
        time_axis(axis)
    for axis in axes[:-columns]:
        axis.set_xlabel("")
    return figure, axes


def time_axis(axis: Axes) -> None:
    """Time on a square-root scale: early and late are both to be seen."""
    axis.set_xscale("function", functions=(lambda t: np.sqrt(np.maximum(t, 0)), lambda s: s**2))
    axis.set_xlabel("time (sum of learning rates, √ scale)")


def group_styles(results: xr.Dataset) -> dict[str, tuple[str, str]]:
    """{group: (colour, label)} of every group of examples in the results."""
    spare = itertools.cycle((GREEN, PURPLE, SKY))
    return {name: GROUP_STYLE[name] if name in GROUP_STYLE else (next(spare), name)
            for name in config_of(results, Config).problem.group_names}


def _one(theory: xr.Dataset | None, name: str) -> xr.Dataset | None:
    """The prediction for one algorithm, where there is one."""
    return None if theory is None else theory.sel(algorithm=name)


def curve(axis: Axes, runs: xr.Dataset, metric: str, colour: str, label: str, *, band: str | None,
           width: float | None = None, line: str = "-", theory: xr.Dataset | None = None) -> None:
    """Mean over the seeds that did not diverge, with a band: their range, 2 standard errors, or none.

    The prediction is a dashed line of the same colour, darker, as far as the runs go.
    """
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
    limit = float(time[-1])
    if theory is not None and undiverged(theory).sizes["seed"]:
        when, predicted = (undiverged(theory)[m].mean("seed").values for m in ("time", metric))
        shown = when <= 1.001 * limit
        axis.plot(when[shown], predicted[shown], **dashed(colour), zorder=3)
    axis.margins(x=0)
    ticks = [t for t in limit * np.array([0.01, 0.1, 0.3, 0.6, 1.0]) if t > 0]
    axis.set_xticks([0.0] + [float(f"{t:.1g}") for t in ticks[:-1]] + [limit])
    axis.set_xticklabels(["0"] + [f"{float(f'{t:.1g}'):g}" for t in ticks[:-1]] + [f"{limit:g}"])


def mark_annealing(axis: Axes, runs: xr.Dataset, colour: str = "black") -> None:
    """A thin line at each seed's annealing, and a label at the first."""
    times = runs["annealed_at"].values
    times = np.sort(times[np.isfinite(times)])
    for time in times:
        axis.axvline(time, color=colour, lw=0.6, alpha=0.5)
    if times.size:
        axis.annotate("annealed", (times[0], 0.98), xycoords=("data", "axes fraction"), xytext=(-3, 0),
                      textcoords="offset points", ha="right", va="top", fontsize="small", color=colour)


def _legend_above(figure: Figure, axis: Axes, theory: xr.Dataset | None = None) -> None:
    if theory is not None:
        axis.plot([], [], **DASHED, color="0.2", label="infinite width")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
