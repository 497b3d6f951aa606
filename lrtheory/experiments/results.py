"""What is said, kept and drawn of the results of any kind of experiment.

Lives here: `summarise`, `save`, the figures by kind. Lives elsewhere: what a kind's own summary and figures are
(theory.results, vision.results and their figures), reading a folder back (sweeps.results).
"""

import functools
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr

from lrtheory import files, labelled
from lrtheory.experiments.kinds import THEORY, TRAININGS, Kind, kind_in
from lrtheory.fields import read_config
from lrtheory.spec import require, require_kind, require_path
from lrtheory.theory import figures as over_time
from lrtheory.theory import results as of_theory
from lrtheory.vision import figures as accuracies
from lrtheory.vision import results as of_trainings

DRAWN = ("train_loss", "train_error", "test_loss", "test_error")
"""How the measurements begin that are drawn of experiments without figures of their own."""


class Summary(dict[str, Any]):
    """What `summarise` returns of an experiment without a verdict: a tree, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        algorithms: Mapping[str, Any] = self["algorithms"]
        head = "".join(f"<th>{escape(name)}</th>" for name in algorithms)
        rows = ""
        for metric in (name for name in next(iter(algorithms.values())) if name != "diverged_seeds"):
            cells = "".join(f"<td>{_cell(entry[metric])}</td>" for entry in algorithms.values())
            rows += f"<tr><td>{escape(metric)}</td>{cells}</tr>"
        return (f"<p><b>{escape(self['name'])}</b>: mean ± standard error over {len(self['seeds'])} seeds, at the last "
                f"record</p><table><tr><th></th>{head}</tr>{rows}</table>")


def _cell(found: Mapping[str, Any]) -> str:
    """Mean and standard error of a measurement, or how many seeds have it."""
    if found["mean"] is None:
        reached = sum(value is not None for value in found["per_seed"])
        return f"{reached} of {len(found['per_seed'])} seeds" if reached else "never"
    return f"{found['mean']:.3g}" + (f" ± {found['sem']:.1g}" if found["sem"] else "")


def kind_of(results: xr.Dataset) -> Kind:
    """The kind of experiment that results are of. Raises `ConfigError` for what is no such dataset."""
    require_kind("results", results, xr.Dataset, "a dataset of runs", "such as lrtheory.run returns")
    kind = kind_in(results.attrs["config"]) if isinstance(results.attrs.get("config"), str) else THEORY
    labelled.config_of(results, kind.config)
    return kind


def summarise(results: xr.Dataset, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Everything a reader wants in one tree: per algorithm and measurement mean, sem and per_seed, and the verdict.

    In a notebook it shows itself as a table, and the verdict in words where the kind of experiment has one: `lrtheory.run`
    and CIFAR-10 do, `lrtheory.train` and `lrtheory.limit` have every measurement at the last record. Diverged seeds are
    named, have null in per_seed, and enter no mean. With a prediction (`lrtheory.predict`) of a run, each algorithm has the
    same numbers of it under "theory", at the time where its runs end. Raises `ConfigError` for a sweep.
    """
    kind = kind_of(results)
    if kind is THEORY:
        return of_theory.summarise(results, theory)
    require(theory is None, "theory", "given", f"None for results of `{kind.made_by}`", "leave it out")
    labelled.require_one(results)
    if kind is TRAININGS:
        return of_trainings.summarise(results)
    return Summary(labelled.summary(results, labelled.config_of(results, kind.config), labelled.ends(results), None))


def save(results: xr.Dataset, folder: str | Path, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Write results.zarr, summary.json and config.json, of a run theory.zarr, too, into a folder; the summary.

    `lrtheory.load` and `lrtheory.load_theory` read them back. Raises `ConfigError` if the folder is there and has anything
    but this config.json.

    >>> import tempfile, lrtheory as lt
    >>> runs = lt.run(lt.preset("phase").replace(seeds=1, records=2, **{"training.steps": 4}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = lt.save(runs, folder)
    ...     lt.load(folder).identical(runs)
    True
    """
    folder, kind = require_path("folder", folder), kind_of(results)
    config, found = labelled.config_of(results, kind.config), summarise(results, theory)
    begun = (folder / "config.json").is_file() and not (folder / files.STORE).exists()
    if not begun or read_config(folder / "config.json", kind.config) != config:
        files.prepare_folder(folder, config)
    return files.write_results(folder, results, found, theory=theory)


def figures(results: xr.Dataset, theory: xr.Dataset | None = None, style: str = "paper") -> dict[str, Callable[[], Any]]:
    """The figures of an experiment, by name, each as a function without arguments that draws it."""
    kind = kind_of(results)
    if kind is THEORY:
        makes = {name: functools.partial(make, results, theory, style=style) for name, make in over_time.FIGURES.items()}
        return makes | {name: functools.partial(make, results, style=style) for name, make in over_time.DRAWINGS.items()}
    if kind is TRAININGS:
        return {name: functools.partial(make, results, style=style) for name, make in accuracies.FIGURES.items()}
    drawn = [str(name) for name, values in results.items()
             if set(values.dims) == set(labelled.RUN_DIMS) and str(name).startswith(DRAWN)]
    return {f"{name}-over-time": functools.partial(over_time.over_time, results, None, name, style=style) for name in drawn}
