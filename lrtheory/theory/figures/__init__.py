"""Figures of the theory's runs, by name.

Lives here: the public names of figures.curves and figures.mechanism, and saving them all. Lives elsewhere: the figures
themselves, figures over many configurations (sweeps.figures).
"""

import functools
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from lrtheory.style import Figure, save_figures
from lrtheory.theory.figures.curves import (
    DIRECTION_STYLE,
    GROUP_STYLE,
    curve,
    directions,
    gap,
    group_styles,
    learning_order,
    mark_annealing,
    noise_and_signal,
    over_time,
    overlay,
    test_error_on_p,
    time_axis,
)
from lrtheory.theory.figures.mechanism import film, gates, problem

FIGURES: dict[str, Callable[..., Figure]] = {
    f.__name__: f for f in (learning_order, test_error_on_p, directions, noise_and_signal, gap)}
"""The figures of a run over time, by name: each of (results, its prediction or None)."""
DRAWINGS: dict[str, Callable[..., Figure]] = {f.__name__: f for f in (problem, gates)}
"""Pictures of the mechanism, by name: each of a run's results or a configuration."""


def save_all(results: xr.Dataset, folder: Path, theory: xr.Dataset | None = None) -> list[Path]:
    """Write every figure as PNG into `folder` (made if needed), with the prediction if given, and return the paths."""
    over = {name: functools.partial(draw, results, theory) for name, draw in FIGURES.items()}
    return save_figures(over | {name: functools.partial(draw, results) for name, draw in DRAWINGS.items()}, folder)


__all__ = ["DIRECTION_STYLE", "DRAWINGS", "FIGURES", "GROUP_STYLE", "curve", "directions", "film", "gap", "gates",
           "group_styles", "learning_order", "mark_annealing", "noise_and_signal", "over_time", "overlay", "problem",
           "save_all", "test_error_on_p", "time_axis"]
