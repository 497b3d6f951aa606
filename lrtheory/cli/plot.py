"""`lrtheory plot`: which figure of which folder, in which style and format.

Lives here: the choice among figures of one experiment and of a sweep, and where the file goes. Lives elsewhere: which
figures an experiment has (experiments.results), those of a sweep (sweeps.figures), what the words mean (arguments).
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from lrtheory import style
from lrtheory.cli.arguments import selections
from lrtheory.cli.options import PlotArguments
from lrtheory.experiments.kinds import THEORY
from lrtheory.experiments.results import figures, kind_of
from lrtheory.files import reason
from lrtheory.spec import ConfigError, choose
from lrtheory.sweeps import figures as maps
from lrtheory.sweeps.results import load
from lrtheory.sweeps.tables import axes_of
from lrtheory.theory import figures as over_time
from lrtheory.theory.results import load_theory


def draw(asked: PlotArguments) -> list[Path]:
    """Draw what was asked for and return the files. Raises `ConfigError` for what the folder cannot show."""
    if asked.out is not None and asked.format is not None and asked.out.suffix != f".{asked.format}":
        raise ConfigError(f"--out {asked.out} and --format {asked.format}: must agree; give one of them")
    if asked.figure == "film":
        return film(asked)
    runs = load(asked.folder)
    chosen = of_sweep(asked, runs) if axes_of(runs) else of_run(asked, runs)
    folder = asked.folder / "figures"
    if asked.out is None:
        return style.save_figures(chosen, folder, asked.format or "png")
    if len(chosen) > 1:
        raise ConfigError(f"--out {asked.out}: one file for {len(chosen)} figures; say which by --figure or --y")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    (make,) = chosen.values()
    figure = make()
    try:
        figure.savefig(asked.out, dpi=200)
    except OSError:
        raise
    except Exception as error:  # of matplotlib: an ending, a font, a size
        raise ConfigError(f"--out {asked.out}: cannot be drawn ({reason(error)}); end it in .png, .pdf or .svg") from None
    return [asked.out]


def of_sweep(asked: PlotArguments, runs: xr.Dataset) -> Mapping[str, Callable[[], Any]]:
    """A line over one axis of a sweep, or a heat map over two."""
    if asked.figure is not None:
        raise ConfigError(f"--figure {asked.figure}: {asked.folder} holds a sweep; must be a run; say --x AXIS "
                          "--y MEASUREMENT")
    if asked.x is None or asked.y is None:
        raise ConfigError(f"{asked.folder} holds a sweep over {', '.join(axes_of(runs))}; must be told what to draw; say "
                          "--x AXIS --y MEASUREMENT")
    runs = maps.select(runs, selections(asked.select))
    if asked.theory is not None and asked.z is not None:
        raise ConfigError(f"--theory {asked.theory}: cannot be drawn over a heat map; must be over a line; leave out --z")
    if asked.z is None:
        theory = None if asked.theory is None else load(asked.theory)
        make = functools.partial(maps.line, runs, asked.x, asked.y, asked.panels, theory, style=asked.style)
        return {f"{asked.y}-over-{asked.x}": make}
    make = functools.partial(maps.heat_map, runs, asked.x, asked.y, asked.z, asked.panels or "algorithm", style=asked.style)
    return {f"{asked.z}-over-{asked.x}-and-{asked.y}": make}


def of_run(asked: PlotArguments, runs: xr.Dataset) -> Mapping[str, Callable[[], Any]]:
    """Figures of a run or of a CIFAR-10 experiment: one by name, one measurement over time, or all."""
    if asked.x not in (None, "time") or asked.z is not None or asked.panels is not None or asked.select or asked.theory:
        raise ConfigError(f"{asked.folder} holds one configuration; must be a sweep for --x, --z, --panels, --select and "
                          "--theory; say --figure NAME or --y MEASUREMENT")
    if asked.figure is not None and asked.y is not None:
        raise ConfigError(f"--figure {asked.figure} and --y {asked.y}: give one of them")
    theory = load_theory(asked.folder)  # None for kinds that have none
    if asked.y is not None:
        return {f"{asked.y}-over-time": functools.partial(over_time.over_time, runs, theory, asked.y, style=asked.style)}
    makes = figures(runs, theory, asked.style)
    return makes if asked.figure is None else {asked.figure: choose(makes, asked.figure, "--figure")}


def film(asked: PlotArguments) -> list[Path]:
    """The film of a run, an animated GIF."""
    runs = load(asked.folder)
    if axes_of(runs) or kind_of(runs) is not THEORY:
        raise ConfigError(f"--figure film: {asked.folder} holds no run of the two-layer network; must; give a folder of "
                          "`lrtheory run`")
    return [over_time.film(runs, asked.out or asked.folder / "figures" / "film.gif")]
