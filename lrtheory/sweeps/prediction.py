"""The prediction of a sweep: a sweep over the same axes at infinite width, read where the other has its points.

Lives here: whether one sweep predicts another, and what it predicts along an axis. Lives elsewhere: one run's prediction
(theory.runs), numbers of runs (tables), the figure (figures).
"""

import math
from operator import attrgetter

import numpy as np
import xarray as xr

from lrtheory.algorithm import names_of
from lrtheory.experiments.kinds import kind_in
from lrtheory.fields import field_names
from lrtheory.labelled import config_of
from lrtheory.spec import ConfigError
from lrtheory.sweeps.tables import axes_of, known
from lrtheory.theory.config import Config

FREE = frozenset({
    "name", "note", "engine", "algorithms", "seeds", "first_seed", "records", "n_test", "required_ratio", "network.m_w",
    "network.m_v", "network.init", "network.kernel", "network.kinks", "network.shortest_lag", "training.step_time",
    "training.tolerance", "training.steps", "training.average_time"})
"""Fields that the limit of infinite width does not have, or that say how it is computed: they may differ, also as an axis.

The time that is covered may not, though what makes it may; nor the width of V where its kinks move.
"""
REMEDY = "sweep the same axes with the same options and --engine infinite"


def require_prediction(runs: xr.Dataset, theory: xr.Dataset, y: str) -> None:
    """Raise `ConfigError` unless one sweep is the prediction of a measurement of another, in one line that says why not.

    It has the engine infinite, the algorithms, the axes and, off them, the fields of the other, but for `FREE` ones.
    """
    if any(kind_in(part.attrs["config"]).config is not Config for part in (runs, theory)):
        raise ConfigError("theory: of trainings on CIFAR-10 there is none; must be left out")
    ours, theirs = config_of(runs, Config), config_of(theory, Config)
    if theirs.engine != "infinite":
        raise ConfigError(f"theory: is of the {theirs.engine} engine; must be of infinite width; {REMEDY}")
    if y not in known(theory):
        raise ConfigError(f"theory: has no {y}; must have what is drawn; choose one of {', '.join(known(theory))}")
    own = dict(zip(names_of(theirs.algorithms), theirs.algorithms, strict=True))
    for name, algorithm in zip(names_of(ours.algorithms), ours.algorithms, strict=True):
        if name in runs["algorithm"].values and own.get(name) != algorithm:
            raise ConfigError(f"theory: has {', '.join(own)} but not this {name}; must have the same algorithms; {REMEDY}")
    free = FREE - {"network.m_v"} if theirs.network.kinks == "moving" else FREE
    swept = [axes_and_fields(part, free) for part in (runs, theory)]
    if swept[0] != swept[1]:
        here, there = (" x ".join("+".join(fields) for fields in axes.values()) or "nothing" for axes in swept)
        raise ConfigError(f"theory: is a sweep over {there}; must be over {here}; {REMEDY}")
    on_axes = {field for fields in swept[0].values() for field in fields}
    for name in (n for n in field_names(ours) if n not in free | on_axes | {"problem", "network", "training"}):
        here, there = map(attrgetter(name), (ours, theirs))
        if here != there:
            raise ConfigError(f"theory: has {name} = {there}; must be {here}, as here; {REMEDY}")
    times = [config.duration for config in (ours, theirs)]
    if not math.isclose(*times, rel_tol=1e-3):
        raise ConfigError(f"theory: covers a time of {times[1]:g}; must be {times[0]:g}, as here; {REMEDY}")


def axes_and_fields(runs: xr.Dataset, free: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """{axis: fields that change along it}, without those that are free."""
    found: dict[str, list[str]] = {axis: [] for axis in axes_of(runs)}
    for values in runs.coords.values():
        if "field" in values.attrs and values.attrs["field"] not in free and len(values.dims) == 1:
            found[str(values.dims[0])].append(str(values.attrs["field"]))
    return {axis: tuple(sorted(fields)) for axis, fields in sorted(found.items()) if fields}


def prediction_at(runs: xr.Dataset, theory: xr.Dataset, at: str) -> xr.Dataset:
    """The prediction where the runs have their points, and along the axis `at`, if it has numbers, wherever it has its own.

    It lacks an axis that infinite width does not have. The sweeps must belong together (`require_prediction`). Raises
    `ConfigError` for a point that the theory's sweep has not.
    """
    for axis in (a for a in axes_of(runs) if a in axes_of(theory)):
        there, here = theory[axis].values, runs[axis].values
        numbers = here.dtype.kind in "fiu"
        if axis == at and numbers:
            continue
        places = [np.flatnonzero(np.isclose(there.astype(float), value, rtol=1e-6, atol=0) if numbers else there == value)
                  for value in here]
        if lacking := [value for value, place in zip(here.tolist(), places, strict=True) if not place.size]:
            raise ConfigError(f"theory: has no point at {axis} = {lacking[0]}; must have those that are drawn; {REMEDY}")
        theory = theory.isel({axis: [int(place[0]) for place in places]}).assign_coords({axis: runs[axis].variable})
    return theory
