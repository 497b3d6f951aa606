"""When the patch is read: under L-S against under S, over the points of a sweep, for patches of both kinds.

Lives here: the pairs of epochs, whether linear patches lie on the curve of the others, the figure. Lives elsewhere: when a
run reads (tables), the patch's law (vision.patches), figures over axes (figures).

If the large rate were blind to what is not linear, then at equal difficulty for S it would read a linear patch sooner. If
only the difficulty counts, both kinds lie on one rising curve.
"""

from typing import NamedTuple

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.ticker import FixedLocator, NullLocator

from lrtheory.intervals import Statistic, student
from lrtheory.labelled import config_of
from lrtheory.spec import ConfigError
from lrtheory.style import GREY, Figure, canvas, styled
from lrtheory.sweeps.tables import axes_of, known, metric
from lrtheory.vision.config import Experiment

ALGORITHMS = ("L-S", "S")
"""Those that are compared."""


class Reading(NamedTuple):
    """Epochs at which the patch is read, at each point and from each seed; inf: never, nan: not run, or diverged."""

    large: np.ndarray  # (points, seeds), under L-S
    small: np.ndarray  # (points, seeds), under S
    linear: np.ndarray  # (points,) bool, whether b has one sign
    offset: np.ndarray  # (points,)


def is_there(runs: xr.Dataset) -> bool:
    """Whether a sweep's points have such epochs of both algorithms, with patches of one sign or several offsets."""
    return "patch_read_at" in known(runs) and set(ALGORITHMS) <= set(runs["algorithm"].values.tolist()) and (
        {"negative", "offset"} & set(map(str, runs.coords)) != set())


def reading(runs: xr.Dataset) -> Reading:
    """The epochs of a sweep. Raises `ConfigError` for one without a patch, or without L-S and S."""
    if not is_there(runs):
        raise ConfigError("patch_read_at: needs a sweep over patches by L-S and S; sweep patch.offset or patch.negative")
    axes, law = axes_of(runs), config_of(runs, Experiment).patch
    times = metric(runs, "patch_read_at").transpose(*axes, "algorithm", "seed")

    def label(name: str, otherwise: float) -> np.ndarray:
        values = runs[name] if name in runs.coords else xr.DataArray(otherwise)
        return values.broadcast_like(times.isel(algorithm=0, seed=0, drop=True)).transpose(*axes).values.ravel()

    large, small = (times.sel(algorithm=name).values.reshape(-1, runs.sizes["seed"]) for name in ALGORITHMS)
    linear = np.isin(label("negative", float(law.negative)), (0.0, 1.0))
    return Reading(large, small, linear, label("offset", float(law.offset)))


def linear_over_other(found: Reading, level: float = 0.95) -> Statistic:
    """Log of the epoch at which L-S reads a linear patch over that of another, at equal epoch under S; below 0: sooner.

    c in log large = a + b log small + c [linear], by least squares over the points that both algorithms read, a fit a seed;
    with Student's interval over seeds. Seeds with fewer than two such points of either kind say nothing, and points that L-S
    does not read within the training are left out, which takes late ones from both kinds. Derived here.
    """
    fitted = []
    for large, small in zip(found.large.T, found.small.T, strict=True):
        good = np.isfinite(large) & np.isfinite(small)
        if min(good[found.linear].sum(), good[~found.linear].sum()) >= 2:
            columns = np.stack([np.ones(good.sum()), np.log(small[good]), found.linear[good].astype(float)], 1)
            fitted.append(np.linalg.lstsq(columns, np.log(large[good]), rcond=None)[0][2])
    return student("linear over other patches", fitted, level, (0.0, 0.0),
                   "one curve: 0; blind to what is not linear: below 0")


class Crossings(NamedTuple):
    """Pairs of a linear patch and another from one seed, of which S reads one no later; counted with "never" as later."""

    blind: int  # the other is the easier one for S, and L-S reads it later: what blindness to what is not linear demands
    of_blind: int  # pairs in which that could be
    hidden: int  # the linear one is the easier one for S, and L-S reads it later
    of_hidden: int


def crossings(found: Reading) -> Crossings:
    """How often the order in which L-S reads two patches of different kinds is not that of S. Derived here."""
    counts = np.zeros(4, int)
    for large, small in zip(found.large.T, found.small.T, strict=True):
        for i in np.flatnonzero(found.linear & np.isfinite(small) & ~np.isnan(large)):
            for j in np.flatnonzero(~found.linear & np.isfinite(small) & ~np.isnan(large)):
                other, linear = small[j] <= small[i], small[i] <= small[j]
                counts += [other and large[j] > large[i], other, linear and large[i] > large[j], linear]
    return Crossings(*counts.tolist())


@styled
def read_under_both(runs: xr.Dataset) -> Figure:
    """Epoch at which L-S reads the patch against that at which S does: a dot a run, a colour a kind, its offset beside it.

    Points in the margin above were not read by L-S within the training.
    """
    found, epochs = reading(runs), int(runs["time"].max())
    figure = canvas(5.2, 4.4)
    axis = figure.subplots()
    top, colours = 1.35 * epochs, matplotlib.colormaps["tab10"]
    for k, (linear, label) in enumerate(((False, "both signs: not linear"), (True, "one sign: linear"))):
        chosen = np.flatnonzero(found.linear == linear)
        for point in chosen:
            small, large = found.small[point], found.large[point]
            good = np.isfinite(small) & ~np.isnan(large)
            never = np.isinf(large[good])
            axis.plot(small[good][~never], large[good][~never], "o^"[k], color=colours(k), ms=5, ls="none",
                      label=label if point == chosen[0] else None)
            axis.plot(small[good][never], np.full(never.sum(), top), "o^"[k], color=colours(k), ms=5, mfc="none", ls="none")
            if good.any():
                height = np.where(np.isinf(large[good]), top, large[good])
                axis.annotate(f"{found.offset[point]:g}", (np.exp(np.log(small[good]).mean()), height.max()), xytext=(0, 6),
                              textcoords="offset points", ha="center", fontsize="small", color=colours(k))
    axis.axhline(epochs, color=GREY, lw=0.7, ls="--")
    axis.annotate("not read", (0.01, top), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize="small")
    axis.set(xscale="log", yscale="log", xlabel="epoch at which S reads the patch", ylabel="epoch at which L-S does")
    ends = np.concatenate([found.small[np.isfinite(found.small)], [1.0]])
    axis.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color=GREY, lw=0.7, ls=":")
    for side, last in ((axis.xaxis, float(ends.max())), (axis.yaxis, float(epochs))):
        side.set_major_locator(FixedLocator([tick for tick in (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 60) if tick <= last]))
        side.set_major_formatter("{x:g}")
        side.set_minor_locator(NullLocator())
    axis.set_ylim(top=1.25 * top)
    axis.legend(loc="lower right")
    return figure
