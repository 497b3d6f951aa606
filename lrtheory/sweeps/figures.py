"""Figures of a sweep: lines over an axis, heat maps over two, small multiples, the phase diagram.

Lives here: one function a kind of figure, each taking a dataset and names. Lives elsewhere: figures of one run over time
(theory.figures), the numbers (tables).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from lrtheory.labelled import mean_and_error
from lrtheory.spec import ConfigError, require
from lrtheory.style import GREY, Figure, algorithm_style, canvas, dashed, save_figures, styled, wrapped
from lrtheory.sweeps.prediction import prediction_at, require_prediction
from lrtheory.sweeps.reading import is_there, read_under_both
from lrtheory.sweeps.tables import DERIVED, axes_of, known, labels_of, metric

NAMES = {"eta_ratio": "η₂/η₁", "weight_decay": "weight decay λ", "noise_level": "noise level ν", "r": "angle r",
         "kappa": "κ", "blur_ratio": "t_blur(η₁)/T_Q", "blur_ratio_small": "t_blur(η₂)/T_Q", "z_norm": "|z|", "eta1": "η₁",
         "eps1": "ε₁", "gamma0": "γ₀", "tau_w": "τ₀ of W", "tau_v": "τ₀ of V"}
"""How labels of points are written in figures."""
HEIGHT = 2.4
"""Inches that a panel's axes are high."""


@styled
def line(runs: xr.Dataset, x: str, y: str, panels: str | None = None, theory: xr.Dataset | None = None) -> Figure:
    """The measurement `y` against the axis or label `x`, a line an algorithm with a band of 2 standard errors.

    `panels` names an axis of which each value gets a panel. Every other axis must have one value (`select`). `theory` is a
    sweep over the same axes by the infinite engine, along `x` perhaps at more points: dashed. Raises `ConfigError`, also
    for a theory of something else.
    """
    at, runs = _along(runs, x), _in_order(runs, x)
    mean, error = mean_and_error(metric(runs, y))
    if theory is not None:
        require_prediction(runs, theory, y)
        theory = _in_order(prediction_at(runs, theory, at), *[x] * (x in theory.coords))
    _apart(runs, {"--x": x, "--panels": panels or ""} | ({} if panels == "algorithm" else {"lines": "algorithm"}))
    _only(runs, [at], panels)
    figure, axes, values = _panels(runs, panels)
    names = runs["algorithm"].values.tolist()
    for k, (axis, value) in enumerate(zip(axes, values, strict=True)):
        for name in names if panels != "algorithm" else [value]:
            chosen = {"algorithm": names.index(name)} | ({} if panels is None else {_along(runs, panels): k})
            centre = _over(mean.isel(chosen), at).values
            spread = 2 * np.nan_to_num(_over(error.isel(chosen), at).values)
            colour, style = algorithm_style(names, name)
            place = _positions(runs, x)
            axis.plot(place, centre, style, color=colour, marker="o", ms=3, label=name)
            axis.fill_between(place, centre - spread, centre + spread, color=colour, alpha=0.2, lw=0)
            if theory is not None:
                expected, _ = mean_and_error(metric(theory, y))
                expected = expected.sel(algorithm=name).isel({d: k for d, k in chosen.items() if d in expected.dims[:-1]})
                expected = _over(expected, *[at] * (at in expected.dims))
                over = _positions(theory, x) if expected.ndim else place[[0, -1]]  # infinite width may lack the axis
                axis.plot(over, np.broadcast_to(expected.values, over.shape), **dashed(colour), zorder=3)
        if theory is not None:
            axis.plot([], [], **dashed("0.2"), label="infinite width")
        _scale(axis, runs, x, "x")
        axis.set_xlabel(_label(runs, x))
        _title(axis, runs, panels, value)
    if y.startswith(("test_error", "train_loss")) and float(mean.min()) > 0 and float(mean.max() / mean.min()) > 20:
        for axis in axes:
            axis.set_yscale("log")
    elif _is_share(y):
        axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_ylabel(wrapped(_label(runs, y), HEIGHT))
    for axis in axes if panels == "algorithm" else axes[:1]:
        axis.legend()
    return figure


@styled
def heat_map(runs: xr.Dataset, x: str, y: str, z: str, panels: str = "algorithm") -> Figure:
    """Mean over seeds of the measurement `z` over two axes or labels, a panel for each value of `panels`.

    Cells whose runs all diverged are grey. Every other axis must have one value. Raises `ConfigError`.
    """
    across, up, runs = _along(runs, x), _along(runs, y), _in_order(runs, x, y)
    mean, _ = mean_and_error(metric(runs, z))
    _apart(runs, {"--x": x, "--y": y, "--panels": panels})
    _only(runs, [across, up], panels)
    figure, axes, values = _panels(runs, panels)
    norm = _norm(mean, z)  # one for all panels: equal values look equal
    for k, (axis, value) in enumerate(zip(axes, values, strict=True)):
        _cells(axis, runs, _over(mean.isel({_along(runs, panels): k}), up, across), x, y, norm)
        _title(axis, runs, panels, value)
    axes[0].set_ylabel(wrapped(_label(runs, y), HEIGHT))
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, label=wrapped(_label(runs, z), HEIGHT))
    return figure


@styled
def phase_diagram(runs: xr.Dataset) -> Figure:
    """Test error on P and learning order of S and L-S against eta2/eta1 and t_blur(eta1)/T_Q, and S along both at once.

    The theory's line (derived here) is t_blur(eta2) = T_Q: to its right the small rate's noise blurs Q before Q is learned,
    and S should do what L-S does. The last panels put every point of S at its t_blur(eta2)/T_Q. Rows that differ by noise
    level must lie on one line there, for S knows nu and eta2/eta1 only as nu^2 eta2/eta1: where it falls is the finding.
    Raises `ConfigError` for a sweep over other axes.
    """
    x, y = "eta_ratio", "blur_ratio"
    up, runs = _along(runs, y), _in_order(runs, x, y)
    _only(runs, [x, up], "algorithm")
    figure = canvas(11.5, 6.2)
    grid = figure.subplots(2, 3)
    for row, z in enumerate(("test_error_p", "q_first")):
        mean, error = mean_and_error(metric(runs, z))
        norm = _norm(mean, z)
        for axis, name in zip(grid[row], ("S", "L-S"), strict=False):
            cells = _over(mean.sel(algorithm=name), up, x)
            mesh = _cells(axis, runs, cells, x, y, norm)
            for style in ({"color": "white", "lw": 2.4}, {"color": "black", "lw": 1.2, "ls": "--"}):
                axis.plot(_edges(runs, x), _edges(runs, x), scaley=False, **style)
            axis.set_title(f"{name}: {_short(z)}")
            axis.set_ylabel(_label(runs, y) if name == "S" else "")
            if name == "L-S":
                figure.colorbar(mesh, ax=grid[row, :2].tolist(), label=_short(z), shrink=0.9)
        _collapse(grid[row, 2], runs, mean, error, up, z)
    grid[0, 0].annotate("t_blur(η₂) = T_Q", (0.97, 0.03), xycoords="axes fraction", ha="right", va="bottom",
                        fontsize="small", color="black", bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5})
    return figure


def _collapse(axis: Axes, runs: xr.Dataset, mean: xr.DataArray, error: xr.DataArray, up: str, z: str) -> None:
    """Every point of S against t_blur(eta2)/T_Q, a colour a row of the diagram."""
    place = runs["blur_ratio_small"].transpose(up, "eta_ratio").values
    rows = runs["blur_ratio"].values
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(rows)))
    for k in np.argsort(rows):
        chosen, bars = (_over(part.sel(algorithm="S"), up, "eta_ratio").values[k] for part in (mean, error))
        spread = 2 * np.nan_to_num(bars)
        axis.errorbar(place[k], chosen, spread, color=colours[k], marker="o", ms=3, lw=1, elinewidth=0.6,
                      label=f"{rows[k]:.2g}")
    axis.axvline(1, color=GREY, lw=0.8, ls="--")
    axis.set_xscale("log")
    if z == "test_error_p" and float(mean.sel(algorithm="S").max()) > 0:
        axis.set_yscale("log")
    axis.set_xlabel(NAMES["blur_ratio_small"])
    axis.set_title(f"S: {_short(z)}, all points")
    axis.legend(title=NAMES["blur_ratio"], fontsize="small", title_fontsize="small")


def save_all(runs: xr.Dataset, folder: Path) -> list[Path]:
    """Write the figures that fit a sweep's axes as PNG into `folder` and return their paths; none for over two axes."""
    axes = [a for a in axes_of(runs) if runs.sizes[a] > 1]
    figures: dict[str, Callable[[], Figure]] = {}
    for z in (z for z in ("test_error_p", "q_first", "accuracy_clean", "patch_read_at") if z in known(runs)):
        if len(axes) == 1:
            figures[z] = functools.partial(line, runs, axes[0], z)
        elif len(axes) == 2:
            figures[z] = functools.partial(heat_map, runs, axes[0], axes[1], z)
    labels = {"S", "L-S"} <= set(runs["algorithm"].values.tolist()) and len(axes) == 2 and "eta_ratio" in axes
    if labels and "blur_ratio" in runs.coords and runs["blur_ratio"].dims == tuple(a for a in axes if a != "eta_ratio"):
        figures["phase_diagram"] = functools.partial(phase_diagram, runs)
    if is_there(runs):
        figures["read_under_both"] = functools.partial(read_under_both, runs)
    return save_figures(figures, folder)


def select(runs: xr.Dataset, choices: Mapping[str, str]) -> xr.Dataset:
    """The part of a dataset at some values of its axes, given as text; the nearest number counts.

    Raises `ConfigError` for a value that is not there, and for labels of a zipped axis that several of its points have.
    """
    chosen: dict[str, np.ndarray] = {}
    for name, text in choices.items():
        values = _values(runs, name)
        if values.dtype.kind in "fiu":
            try:
                wanted = float(text)
            except ValueError:
                raise ConfigError(f"--select {name}={text}: must be a number; give one of {_listed(values)}") from None
            nearest = values[np.argmin(np.abs(values - wanted))]
            here = (values == nearest) & np.isclose(nearest, wanted, rtol=0.02, atol=0)
        else:
            here = np.array([str(v) == text for v in values.tolist()])
        if not here.any():
            raise ConfigError(f"--select {name}={text}: no such value; must be one of {_listed(values)}")
        dim = _along(runs, name)
        chosen[dim] = chosen.get(dim, np.ones(here.size, bool)) & here
    for dim, here in chosen.items():
        said = " ".join(f"{name}={text}" for name, text in choices.items() if _along(runs, name) == dim)
        require(here.sum() == 1, f"--select {said}", f"{here.sum()} points", "one",
                f"choose by {', '.join(labels_of(runs, dim))} together")
        runs = runs.isel({dim: np.flatnonzero(here)})
    return runs


def _along(runs: xr.Dataset, name: str) -> str:
    """The axis along which `name`, an axis or a label of one axis, varies. Raises `ConfigError`."""
    axes = [*axes_of(runs), "algorithm"]
    usable = {a: a for a in axes}
    for label, values in runs.coords.items():
        dims = [str(d) for d in values.dims if values.sizes[d] > 1] or [str(d) for d in values.dims[:1]]
        if len(dims) == 1 and dims[0] in axes:
            usable[str(label)] = dims[0]
    if name not in usable:
        raise ConfigError(f"{name}: no axis of this sweep; must be one of {', '.join(sorted(usable))}")
    return usable[name]


def _values(runs: xr.Dataset, name: str) -> np.ndarray:
    """The values of an axis, or of a label along one."""
    return np.atleast_1d(runs[name].values.squeeze())


def _in_order(runs: xr.Dataset, *names: str) -> xr.Dataset:
    """The same with the points along some axes or labels of numbers from the least to the largest."""
    for name in names:
        values = _values(runs, name)
        if values.dtype.kind in "fiu":
            runs = runs.isel({_along(runs, name): np.argsort(values, kind="stable")})
    return runs


def _over(values: xr.DataArray, *axes: str) -> xr.DataArray:
    """Values over some axes, in this order; all others have one value."""
    return values.squeeze([d for d in values.dims if d not in axes], drop=True).transpose(*axes)


def _apart(runs: xr.Dataset, names: Mapping[str, str]) -> None:
    """Raise `ConfigError` for two of some names, by what they are shown as, that lie along the same axis."""
    taken: dict[str, str] = {}
    for shown, name in names.items():
        if name and (other := taken.setdefault(at := _along(runs, name), shown)) != shown:
            raise ConfigError(f"{other} {names[other]} {shown} {name}: lie along the same axis {at}; must be two different "
                              "ones")


def _only(runs: xr.Dataset, used: Sequence[str], panels: str | None) -> None:
    """Raise `ConfigError` for an axis with several values that the figure would have to average over."""
    if panels is not None:
        used = [*used, _along(runs, panels)]
    left = [a for a in axes_of(runs) if a not in used and runs.sizes[a] > 1]
    if left:
        raise ConfigError(f"{left[0]}: has {runs.sizes[left[0]]} values, {_listed(runs[left[0]].values)}; choose one with "
                          f"--select {left[0]}=VALUE, or show all with --panels {left[0]}")
    if panels != "algorithm" and len(used) > 2 and runs.sizes["algorithm"] > 1 and panels is not None:
        raise ConfigError(f"algorithm: has {runs.sizes['algorithm']} values; must be one for a heat map with panels; choose "
                          "one with --select algorithm=NAME")


def _panels(runs: xr.Dataset, panels: str | None) -> tuple[Figure, list[Axes], list[Any]]:
    """A figure with a panel for each value of an axis (at most 4 a row), and the values; one panel for None."""
    values = [None] if panels is None else _values(runs, _along(runs, panels)).tolist()
    rows = -(-len(values) // 4)
    columns = -(-len(values) // rows)
    figure = canvas(max(3.4 * columns + 1, 5), 3.2 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for spare in axes[len(values) :]:
        spare.set_visible(False)
    for lowest in axes[max(0, len(values) - columns) : len(values)]:
        lowest.tick_params(labelbottom=True)
    return figure, axes[: len(values)], values


def _cells(axis: Axes, runs: xr.Dataset, cells: xr.DataArray, x: str, y: str, norm: Normalize) -> Any:
    """A heat map with edges between the axes' values."""
    least = norm.vmin if isinstance(norm, LogNorm) else None  # the logarithm of 0 would look as if there were nothing
    values = cells.values if least is None else np.maximum(cells.values, least)
    mesh = axis.pcolormesh(_edges(runs, x), _edges(runs, y), values, norm=norm, cmap="viridis")
    axis.set_facecolor("#bbbbbb")
    for name, which in ((x, "x"), (y, "y")):
        _scale(axis, runs, name, which)
    axis.set_xlabel(_label(runs, x))
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
    return mesh


def _norm(mean: xr.DataArray, z: str) -> Normalize:
    """Colours over all panels: 0 to 1 for shares, logarithmic for errors that span more than a factor of 20."""
    if _is_share(z):
        return Normalize(0, 1)
    values = mean.values[np.isfinite(mean.values)]
    if values.size == 0:
        return Normalize(0, 1)
    positive = values[values > 0]
    if z.startswith("test_error") and positive.size and positive.max() > 20 * positive.min():
        return LogNorm(positive.min(), positive.max())
    return Normalize(values.min(), values.max())


def _positions(runs: xr.Dataset, name: str) -> np.ndarray:
    """Where the values of an axis lie: the numbers themselves, or 0, 1, ... for words."""
    values = _values(runs, name)
    return values.astype(float) if values.dtype.kind in "fiu" else np.arange(len(values))


def _is_log(runs: xr.Dataset, name: str) -> bool:
    """Whether an axis is spaced by factors: positive numbers whose logarithms are more even than themselves."""
    values = np.sort(_positions(runs, name))
    if _values(runs, name).dtype.kind not in "fiu" or len(values) < 3 or values[0] <= 0:
        return False

    def uneven(steps: np.ndarray) -> float:
        return float(np.std(steps) / np.mean(steps))

    return uneven(np.diff(np.log(values))) < uneven(np.diff(values))


def _edges(runs: xr.Dataset, name: str) -> np.ndarray:
    """Borders between neighbouring values, half a step beyond the ends."""
    values = _positions(runs, name)
    if len(values) == 1:
        return np.array([0.5, 1.5]) * values if values[0] else np.array([-0.5, 0.5])
    values = np.log(values) if _is_log(runs, name) else values
    middle = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
    return np.exp(edges) if _is_log(runs, name) else edges


def _scale(axis: Axes, runs: xr.Dataset, name: str, which: str) -> None:
    """A logarithmic scale, or the words of a static axis as ticks."""
    if _is_log(runs, name):
        axis.set(**{f"{which}scale": "log"})
    elif _values(runs, name).dtype.kind not in "fiu":
        axis.set(**{f"{which}ticks": np.arange(runs.sizes[name]), f"{which}ticklabels": _values(runs, name).tolist()})


def _label(runs: xr.Dataset, name: str) -> str:
    """What an axis of a figure shows."""
    if name in NAMES:
        return NAMES[name]
    if name in DERIVED:
        return DERIVED[name].meaning
    return str(runs[name].attrs.get("long_name", name)).split(";")[0] if name in runs.variables else name


def _is_share(name: str) -> bool:
    """Whether a measurement is a share of seeds."""
    return name in DERIVED and DERIVED[name].is_share


def _short(z: str) -> str:
    return {"test_error_p": "test error on P", "q_first": "share with Q before P"}[z]


def _title(axis: Axes, runs: xr.Dataset, panels: str | None, value: Any) -> None:
    if value is not None and panels is not None:
        axis.set_title(str(value) if panels == "algorithm" else f"{_label(runs, panels)} = {value:.3g}"
                       if isinstance(value, float) else f"{_label(runs, panels)} = {value}")


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.tolist())
