"""Labelled results of many runs, and what is said of them over seeds.

Lives here: the dataset with dimensions algorithm, seed, record; a measurement at other times; means and standard errors over
seeds; the summary's frame. Lives elsewhere: what is measured and which comparisons are made (theory.results,
vision.results).
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import xarray as xr

from lrtheory.fields import from_json, to_json
from lrtheory.files import require_name
from lrtheory.provenance import environment
from lrtheory.spec import require, require_kind

T = TypeVar("T")
UNFINISHED = "unfinished"
"""The attribute of results that end before their configuration says: how far they go, in words."""
RUN_DIMS = ("algorithm", "seed", "record")
"""Dimensions of every result; all others are the axes of a sweep."""
OWN = (*RUN_DIMS, "step", "time", "done", "epochs_done", "diverged_at")
"""Names in results by which labels, and the state of runs, are known; no measurement of one's own has them."""
TYPES = "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"
"""Types of numbers that come back from a store, a table and a summary as they were."""


def names_of(algorithms: Sequence[str]) -> np.ndarray:
    """Names of algorithms as a coordinate; zarr 3 stores no other kind of text stably."""
    return np.array(algorithms, np.dtypes.StringDType())


def dataset(found: Mapping[str, np.ndarray], meanings: Mapping[str, tuple[str, str]], config: Any, algorithms: Sequence[str],
            coords: Mapping[str, Any], facts: Mapping[str, Any]) -> xr.Dataset:
    """Measurements {name: (algorithm, seed[, record[, ...]])} with their labels.

    Args:
      found: the measurements.
      meanings: {name: (units, meaning)}.
      config: what was run; its seeds are the labels along seed.
      algorithms: the labels along algorithm.
      coords: further coordinates, as xarray takes them.
      facts: attributes beside the config and the environment.
    """
    return xr.Dataset(
        {name: (_dims(name, values.ndim), values, dict(zip(("units", "long_name"), meanings[name], strict=True)))
         for name, values in found.items()},
        coords={"algorithm": names_of(algorithms), "seed": config.first_seed + np.arange(config.seeds), **coords},
        attrs={"config": to_json(config)} | environment() | dict(facts))


def _dims(name: str, count: int) -> tuple[str, ...]:
    """Dimensions of a measurement: those of every result and, where it has more, NAME_0, NAME_1, ..."""
    return (*RUN_DIMS[:count], *(f"{name}_{k}" for k in range(count - len(RUN_DIMS))))


def require_measured(option: str, measured: Mapping[Any, Any], taken: Sequence[str] = ()) -> None:
    """Raise `ConfigError` unless measurements can be stored, and come back as they were given. Before they are computed.

    Args:
      option: what the user gave them by.
      measured: {name: anything with a shape and a dtype}, at one record of one run.
      taken: further names that results have.
    """
    reserved = dict.fromkeys((*OWN, *taken))
    for name, values in measured.items():
        require_name(option, name)
        require(hasattr(values, "shape"), f"{option} {name!r}", type(values).__name__, "an array", "give each a name")
    alike: dict[str, str] = {}
    for name in measured:
        other = alike.setdefault(str(name).casefold(), name)
        require(other == name, option, name, f"another name than {other}, by more than its case",
                "not all file systems tell them apart; choose another")
    made = {f"{name}_{k}": name for name, values in measured.items() for k in range(len(values.shape))}
    for name, values in measured.items():
        require(name not in reserved, option, name, "{name: array} with names beside " + ", ".join(reserved),
                "choose others")
        require(name not in made, option, name, f"another name than the dimensions of {made.get(name)}", "choose another")
        require(str(values.dtype) in TYPES, f"{option} {name!r}", values.dtype, f"one of {', '.join(TYPES)}",
                "convert it, such as by astype")
        require(0 not in values.shape, f"{option} {name!r}", f"an array of shape {values.shape}", "of one entry or more",
                "leave it out")


def config_of(results: xr.Dataset, kind: type[T]) -> T:
    """The configuration of type `kind` that made a dataset. Raises `ConfigError` for what is no such dataset."""
    require_kind("results", results, xr.Dataset, "a dataset of runs", "such as lrtheory.run returns")
    require(isinstance(results.attrs.get("config"), str), "results",
            f"a dataset of {', '.join(map(str, results.data_vars)) or 'nothing'}", "one that lrtheory made, with its config",
            "give what run or load returned")
    return from_json(results.attrs["config"], kind, "results")


def as_run(results: xr.Dataset) -> contextlib.AbstractContextManager[None]:
    """The precision in which results were computed: what is drawn from their seeds again is then the same."""
    return jax.enable_x64(str(results.attrs.get("precision", "")).startswith("float64"))


def undiverged(runs: xr.Dataset) -> xr.Dataset:
    """The seeds of one algorithm that did not diverge: what every mean is taken over."""
    return runs.isel(seed=np.isinf(runs["diverged_at"].values))


def estimate(values: np.ndarray) -> dict[str, float | None]:
    """Mean over seeds and its standard error, values (seeds,); null where a seed has none or, for the error, under 2 seeds.

    >>> import numpy as np
    >>> estimate(np.array([1.0, 3.0]))
    {'mean': 2.0, 'sem': 1.0}
    """
    mean = float(np.mean(values)) if values.size else math.nan
    sem = float(np.std(values, ddof=1) / math.sqrt(values.size)) if values.size > 1 and math.isfinite(mean) else math.nan
    return {"mean": finite(mean), "sem": finite(sem)}


def each_seed(values: np.ndarray, good: np.ndarray | None = None) -> dict[str, Any]:
    """`estimate` of the seeds that are `good` (seeds,), all if not given, and per_seed, null where one is not."""
    good = np.ones(len(values), bool) if good is None else good
    return estimate(values[good]) | {
        "per_seed": [finite(v) if ok else None for v, ok in zip(values.tolist(), good, strict=True)]}


def require_one(results: xr.Dataset) -> None:
    """Raise `ConfigError` for results of more than one configuration."""
    axes = [str(dim) for dim in results["diverged_at"].dims if dim not in ("algorithm", "seed")]
    require(not axes, "results", f"a sweep over {', '.join(axes)}", "of one configuration",
            "choose a point by .sel; of a sweep lrtheory.tables has a row a point")


def ends(results: xr.Dataset) -> dict[str, dict[str, Any]]:
    """{algorithm: {measurement: `each_seed`}} at the last record, of what is one number a run, and of what happened once.

    Raises `ConfigError` for a sweep, whose points are not one experiment.
    """
    require_one(results)
    found: dict[str, dict[str, Any]] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        last = runs.isel(record=-1) if "record" in runs.sizes else runs
        found[name] = {str(metric): each_seed(values.values, good) for metric, values in last.items()
                       if values.dims == ("seed",) and metric != "diverged_at"}
    return found


def mean_and_error(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over the dimension seed, of those that have a value, and its standard error; nan for fewer than 1 and 2."""
    count = values.notnull().sum("seed")
    mean = values.sum("seed", skipna=True) / count.where(count > 0)
    mean = mean.where(xr.apply_ufunc(np.isfinite, mean))  # a time that was never reached has no mean
    spread = ((values - mean) ** 2).sum("seed", skipna=True) / (count - 1).where(count > 1)
    error = ((spread / count) ** 0.5).where(mean.notnull())
    return mean.rename(values.name), error.rename(f"{values.name}_sem")


def at_times(runs: xr.Dataset, name: str, times: xr.DataArray) -> xr.DataArray:
    """A measurement at other times, linear between its records, run by run: a prediction beside its runs.

    Args:
      runs: what `run`, `predict` or `sweep` returned, or a part of it.
      name: of the measurement.
      times: in the units of `runs["time"]`, along `record` or a number a run; of all runs alike where it has no more
        dimensions. Before the first record and after the last one a run keeps their value.

    Returns:
      The measurement with the dimensions of both, and with `times` as its coordinate `time`.

    Raises:
      ValueError: a dimension that both have, but record, has other labels.

    >>> import xarray as xr
    >>> runs = xr.Dataset({"time": ("record", [0.0, 1.0, 2.0]), "contrast": ("record", [0.0, 1.0, 4.0])})
    >>> at_times(runs, "contrast", xr.DataArray([0.5, 1.5, 3.0], dims="record")).values
    array([0.5, 2.5, 4. ])
    """
    require_kind("runs", runs, xr.Dataset, "a dataset of runs", "such as lrtheory.run returns")
    require_kind("times", times, xr.DataArray, "a labelled array", "such as runs['time']")
    for part in (name, "time"):
        require(isinstance(part, str) and part in runs, "name", part, "what was measured", "see the dataset's variables")
    inner = ["at"] if "record" in times.dims else []
    asked, time, values = (x.reset_coords(drop=True) for x in (times, runs["time"], runs[name]))
    found = xr.apply_ufunc(np.interp, asked.rename({"record": "at"} if inner else {}), time, values, vectorize=True,
                           input_core_dims=[inner, ["record"], ["record"]], output_core_dims=[inner], output_dtypes=[float])
    found = found.rename({"at": "record"} if inner else {}).rename(name).assign_attrs(values.attrs)
    return found.assign_coords(time=asked)


def summary(results: xr.Dataset, config: Any, algorithms: Mapping[str, dict[str, Any]], verdict: Any) -> dict[str, Any]:
    """The tree of summary.json: what was run, what each algorithm did, the verdict, and where the numbers come from.

    Entries get diverged_seeds, the seeds that have null in every per_seed and enter no mean.
    """
    for name, entry in algorithms.items():
        entry["diverged_seeds"] = results["seed"].values[np.isfinite(results["diverged_at"].sel(algorithm=name))].tolist()
    return {"name": config.name, "note": config.note, "config": json.loads(results.attrs["config"]),
            "algorithms": dict(algorithms), "verdict": verdict, "seeds": results["seed"].values.tolist(),
            "environment": {k: plain(v) for k, v in results.attrs.items() if k != "config"}}


def finite(value: float) -> float | None:
    """A number that JSON can say; None for one that is not finite."""
    return float(value) if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
