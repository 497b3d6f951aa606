"""Pictures of the mechanism: the data, what the noise does to gates under each rate, and a film of both algorithms.

Lives here: drawings made from a run's stored results, and from the law of the noise for its configuration. Lives elsewhere:
measurements over time (figures.curves), the noise's law itself (noise), how figures look (style).
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lrtheory import noise
from lrtheory.labelled import config_of
from lrtheory.spec import ConfigError, require
from lrtheory.style import BLUE, GREY, VERMILION, Figure, algorithm_style, canvas, own_settings, styled
from lrtheory.theory.config import Config
from lrtheory.theory.figures.curves import group_styles
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import blur_time, q_time

DRAWN_ANGLE = 0.22
"""Angle between Q's directions in drawings, radians: the true one, r, is too small to be seen."""
NEURONS = 20_000
"""Neurons of which shares are taken; their statistical error is below 0.4%."""


@styled
def problem(source: xr.Dataset | Config) -> Figure:
    """The data of a run or configuration: P as two clouds cut by w*, Q as three almost equal arrows; who carries which."""
    law = _config(source).problem
    figure = canvas(9.6, 3.1)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.75))
    rng = np.random.default_rng(0)
    for y, colour in ((1, BLUE), (-1, VERMILION)):
        along = y * (law.gamma0 + np.abs(rng.standard_normal(120)) / np.sqrt(law.d))
        left.scatter(along, rng.standard_normal(120) / np.sqrt(law.d), s=6, color=colour, lw=0)
        left.text(y * (law.gamma0 + 0.8 / np.sqrt(law.d)), 4.1 / np.sqrt(law.d), "y = +1" if y > 0 else "y = −1",
                  color=colour, ha="center", fontsize="small")
    left.axvline(0, color=GREY, lw=0.8, ls="--")
    left.set(xlabel="along w*", ylabel=f"one of {law.d - 1} other directions", xticks=[], yticks=[],
             ylim=(-4.6 / np.sqrt(law.d), 4.6 / np.sqrt(law.d)), title="P, carried by x₁")
    for b, colour, label in ((1, VERMILION, "z + ζ: y = −1"), (0, BLUE, "z: y = +1"), (-1, VERMILION, "z − ζ: y = −1")):
        x, y = np.cos(b * DRAWN_ANGLE), np.sin(b * DRAWN_ANGLE)
        middle.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0})
        middle.text(1.06 * x, 1.06 * y, label, color=colour, va="center", fontsize="small")
    middle.set(xlim=(-0.05, 1.75), ylim=(-0.5, 0.5), title="Q, carried by x₂")
    middle.text(0, -0.47, f"true angle r = {law.r:g}: {np.degrees(law.r):.2g}°", fontsize="small", color=GREY)
    middle.axis("off")
    _groups(right, law)
    return figure


def _groups(axis: Axes, law: Problem) -> None:
    """Which halves each group of examples carries, and what they teach."""
    said = {"p": "teaches P", "q": "teaches Q",
            "mixed": "S memorises x₂ first:\nright by Q, it stops teaching P.\nL-S: noise blurs x₂,\nso x₁ must teach P"}
    sizes, names = law.group_sizes, law.group_names
    for row, (name, size, (p, q)) in enumerate(zip(names, sizes, law.halves, strict=True)):
        y = len(names) - row - 1 + (0.25 if name == "p" else -0.25 if name == "q" else 0)
        for x, carried, label in ((3.4, p, "x₁"), (4.5, q, "x₂")):
            shade = "0.85" if carried else "white"
            axis.add_patch(Rectangle((x, y - 0.25), 1.0, 0.5, facecolor=shade, edgecolor="0.4", lw=0.8))
            axis.text(x + 0.5, y, label if carried else "0", ha="center", va="center", fontsize="small")
        label = dict(zip(names, law.group_labels, strict=True))[name]
        axis.text(3.2, y, f"{size} {label}", ha="right", va="center", fontsize="small")
        axis.text(5.8, y, said.get(name, ""), ha="left", va="center", fontsize="small")
    p_only, all_p = law.group_sizes[0], law.group_sizes[0] + law.group_sizes[1]
    axis.text(5.0, -0.95, f"S learns P from about {p_only} examples, L-S from {all_p}", ha="center", va="center",
              weight="bold", fontsize="small")
    axis.set(xlim=(0, 10.6), ylim=(-1.25, len(names) - 0.3), title=f"{law.n_train} examples")
    axis.axis("off")


@styled
def gates(source: xr.Dataset | Config) -> Figure:
    """Neurons of V in the plane of z and zeta under both rates, by the noise's law, and how long their gates tell Q apart.

    A neuron v opens on z + b zeta where v.z + b v.zeta >= 0. In the coordinates v.zeta/|zeta| and v.z/|zeta|, over tau0,
    these boundaries are the lines y = 0 and y = -+x, whatever r; what tells Q's classes apart is which neurons lie between
    them. From left to right: neurons that lie there at time 0, followed for T_Q under eta1 and under eta2; the share of them
    that lies between the same lines a time later.
    """
    config = _config(source)
    training, law = config.training, config.problem
    t_q = q_time(law)
    require(np.isfinite(t_q), "T_Q", t_q, "finite", "gates tell Q's directions apart: give p0 below 1")
    figure = canvas(9.6, 3.3)
    *planes, last = figure.subplots(1, 3)
    rates = (("η₁, the large rate", training.eta1, BLUE),
             ("η₂, the small rate", training.eta1 * training.eta_ratio, VERMILION))
    for axis, (name, rate, colour) in zip(planes, rates, strict=True):
        axis.axhline(0, color=GREY, lw=0.8)
        for slope, label in ((-1, "z + ζ"), (1, "z − ζ")):
            axis.axline((0, 0), slope=slope, color=GREY, lw=0.8)
            axis.text(2.9, 2.9 * slope, label, fontsize="small", color=GREY, ha="right", va="bottom" if slope < 0 else "top")
        axis.text(2.9, 0, "z", fontsize="small", color=GREY, ha="right", va="bottom")
        path = np.stack(list(_moved(config, rate, np.linspace(0, t_q, 120)[1:], _between(9, 1))))
        axis.plot(*path.transpose(1, 0, 2), color=colour, lw=0.7, alpha=0.8)
        axis.scatter(*path[0], s=14, color=colour, zorder=3)
        axis.set(xlim=(-3, 3), ylim=(-4, 4), title=name, xlabel="v·ζ/|ζ|, in units of τ₀")
    planes[0].set_ylabel("v·z/|ζ|, in units of τ₀")
    times = t_q * np.geomspace(1e-3, 1e3, 60)
    for name, rate, colour in rates:
        start = _between(NEURONS, 2)
        left = [np.mean(_wedge(now) == _wedge(start)) for now in _moved(config, rate, times, start)][1:]
        last.semilogx(times / t_q, left, color=colour, label=name.partition(",")[0])
        last.axvline(blur_time(law, training, rate) / t_q, color=colour, lw=0.8, ls=":")
    last.axvline(1, color=GREY, lw=0.8)
    last.set(xlabel="time / T_Q   (dotted: t_blur)", ylabel="share", ylim=(0, 1.02), title="still between the same lines")
    last.legend(fontsize="small")
    return figure


def _wedge(plane: np.ndarray) -> np.ndarray:
    """Which of the gates of z + zeta, z and z - zeta are open, as one number, of neurons (2, n): (n,)."""
    x, y = plane
    return 4 * (y + x >= 0) + 2 * (y >= 0) + (y - x >= 0)


def _between(count: int, seed: int) -> np.ndarray:
    """Neurons of the initial law that tell Q's directions apart, |y| < |x|: (2, count).

    The density of v.z is flat on the scale of |zeta|, so between the lines neurons have a density of |x| exp(-x^2/2) in x.
    """
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], count) * rng.rayleigh(size=count)
    return np.stack([x, x * rng.uniform(-1, 1, count)])


def _moved(config: Config, rate: float, times: np.ndarray, start: np.ndarray) -> Iterator[np.ndarray]:
    """Neurons (2, n) at the start and at times (sum of rates, whole iterations of a rate), in the coordinates of `gates`.

    U <- (1 + shrink) U - kick tau0 xi (`noise.micro_steps`), with the noise that balances eta1.
    """
    counts = np.diff(np.round(times / rate), prepend=0)
    move = noise.micro_steps(rate, np.maximum(counts, 1), config.training.weight_decay, config.training.tau_xi)
    kept = np.where(counts > 0, 1 + np.asarray(move.shrink), 1.0)
    kicks = np.where(counts > 0, np.asarray(move.kick), 0.0)
    return _followed(start, kept, kicks, config.problem.r, 3)


def _followed(start: np.ndarray, kept: np.ndarray, kicks: np.ndarray, r: float, seed: int) -> Iterator[np.ndarray]:
    """Neurons (2, n) at the start and after each move U <- a U - s xi, a and s (moves,), in the coordinates of `gates`."""
    rng, now = np.random.default_rng(seed), start
    yield now
    for a, s in zip(kept, kicks, strict=True):
        if s > 0 or a != 1:
            now = a * now - s * rng.standard_normal(now.shape) / np.array([[1.0], [r]])
        yield now


FRAMES, FILM_NEURONS, INCHES, DPI = 90, 60, (7.6, 5.0), 80
"""Of a film: pictures, neurons in each plane, size, resolution."""


def film(results: xr.Dataset, path: Path) -> Path:
    """Write an animated GIF of L-S beside S, first seed: loss of each group, V's neurons in Q's plane, test error on P.

    Losses and errors are the recorded ones. Neurons follow the noise part's law, U <- a U - s xi, between records, with the
    recorded variance: a = exp(-lambda (t' - t)), s^2 = v' - a^2 v; those drawn lie between Q's lines at time 0. Raises
    `ConfigError` unless the results hold L-S and S and the path ends in .gif.
    """
    names = results["algorithm"].values.tolist()
    if not {"L-S", "S"} <= set(names):
        raise ConfigError(f"film: the results hold {', '.join(names)}; must hold L-S and S; run both")
    require(path.suffix == ".gif", "film", repr(path.name), "a file ending in .gif", "choose another name")
    from PIL import Image

    runs = results.isel(seed=0).sel(algorithm=["L-S", "S"])
    shown = np.unique(np.round(np.linspace(0, runs.sizes["record"] - 1, FRAMES)).astype(int))
    planes = {name: _neurons(runs.sel(algorithm=name), _config(results)) for name in ("L-S", "S")}
    pictures = []
    with own_settings():
        for record in shown:
            picture = io.BytesIO()
            _frame(runs, planes, int(record)).savefig(picture, format="png", dpi=DPI)
            pictures.append(Image.open(picture).convert("RGB").quantize(64, dither=Image.Dither.NONE))
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[80] * (len(pictures) - 1) + [2500], loop=0,
                     optimize=True)
    return path


def _neurons(run: xr.Dataset, config: Config) -> np.ndarray:
    """Neurons (records, 2, n) of one run's noise part, in the coordinates of `gates`."""
    time, variance = run["time"].values, run["noise_variance_theory"].values
    kept = np.exp(-config.training.weight_decay * np.diff(time))
    kicks = np.sqrt(np.maximum(variance[1:] - kept**2 * variance[:-1], 0.0))
    return np.stack(list(_followed(_between(FILM_NEURONS, 5), kept, kicks, config.problem.r, 4)))


def _frame(runs: xr.Dataset, planes: dict[str, np.ndarray], record: int) -> Figure:
    """One picture of a film."""
    figure = Figure(figsize=INCHES, layout="constrained")
    top, bottom = figure.subplots(2, 3, width_ratios=(1, 1, 1))
    so_far, names = runs.isel(record=slice(0, record + 1)), ("L-S", "S")
    for k, (name, axis) in enumerate(zip(names, top[:2], strict=True)):
        for group, (colour, label) in group_styles(runs).items():
            axis.plot(np.sqrt(so_far["time"].sel(algorithm=name)), so_far[f"loss_{group}"].sel(algorithm=name), color=colour,
                      label=label)
        axis.set(title=f"{name}: training loss", ylim=(0, 0.85))
        _over_time(axis, runs)
        if k == 0:
            axis.legend(fontsize="small", loc="lower left")
    for name, axis in zip(names, bottom[:2], strict=True):
        colour, _ = algorithm_style(names, name)
        axis.axhline(0, color=GREY, lw=0.8)
        for slope in (-1, 1):
            axis.axline((0, 0), slope=slope, color=GREY, lw=0.8)
        x, y = planes[name][record]
        axis.scatter(np.clip(x, -3.9, 3.9), np.clip(y, -3.9, 3.9), s=12, color=colour, lw=0)
        axis.set(xlim=(-4, 4), ylim=(-4, 4), xticks=[], yticks=[], xlabel="v·ζ/|ζ|",
                 title=f"{name}: neurons of V at their kinks")
    bottom[0].set_ylabel("v·z/|ζ|  (edge: beyond)")
    for name in names:
        colour, line = algorithm_style(names, name)
        part = so_far.sel(algorithm=name).isel(record=slice(1, None))
        top[2].plot(np.sqrt(part["time"]), np.maximum(part["test_error_p"], 1e-4), color=colour, ls=line, label=name)
    top[2].set(title="test error on P", yscale="log", ylim=(1e-4, 1))
    _over_time(top[2], runs)
    top[2].legend(fontsize="small", loc="lower left")
    for name in names:
        colour, line = algorithm_style(names, name)
        part = so_far.sel(algorithm=name)
        bottom[2].plot(np.sqrt(part["time"]), part["contrast"], color=colour, ls=line)
    low = float(runs["contrast"].min())
    bottom[2].set(title="contrast on Q", ylim=(1.1 * min(low, -1), 1 - 0.05 * low))
    _over_time(bottom[2], runs)
    moment = float(runs["time"].sel(algorithm="S")[record])
    figure.suptitle(f"time {moment:,.1f}" + _stage(runs, record), fontsize="medium")
    return figure


def _stage(runs: xr.Dataset, record: int) -> str:
    """Whether L-S has annealed by a record."""
    annealed = float(runs["annealed_at"].sel(algorithm="L-S"))
    return f"   (L-S annealed at {annealed:.0f})" if float(runs["time"].sel(algorithm="L-S")[record]) >= annealed else ""


def _over_time(axis: Axes, runs: xr.Dataset) -> None:
    """Time as far as the runs go, on a square-root scale."""
    end = float(runs["time"].max())
    ticks = end * np.array([0.0, 0.1, 0.4, 1.0])
    axis.set_xlim(0, np.sqrt(end))
    axis.set_xticks(np.sqrt(ticks), [f"{t:.0f}" for t in ticks])


def _config(source: xr.Dataset | Config) -> Config:
    """The configuration of results, or itself."""
    return source if isinstance(source, Config) else config_of(source, Config)
