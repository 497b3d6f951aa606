"""What a sweep says: its summary, its table of points, and any folder read back.

Lives here: summary.json and points.csv of a sweep, `load`. Lives elsewhere: one configuration's verdict (theory.results),
the chunks on disk (store), tables (tables).
"""

import math
from pathlib import Path
from typing import Any

import xarray as xr

from lrtheory.algorithm import names_of
from lrtheory.experiments.kinds import kind_in
from lrtheory.files import STORE, SUMMARY, Damaged, read_dataset, reason, write_json, write_whole
from lrtheory.labelled import RUN_DIMS, config_of, plain
from lrtheory.spec import ConfigError, require_path
from lrtheory.sweeps import tables
from lrtheory.sweeps.folder import sessions
from lrtheory.sweeps.manifest import MANIFEST, is_sealed, read_manifest
from lrtheory.sweeps.store import Store, missing_files, open_results


def save(folder: Path, runs: xr.Dataset, summary: dict[str, Any]) -> None:
    """Write points.csv and summary.json beside a sweep."""
    write_whole(folder / "points.csv", tables.points(runs).to_csv(index=False))
    write_json(folder / SUMMARY, summary)


def summarise(folder: Path, runs: xr.Dataset) -> dict[str, Any]:
    """The summary of a folder's sweep."""
    config = config_of(runs, kind_in(runs.attrs["config"]).config)
    axes = {a: [plain(v) for v in runs[a].values.tolist()] for a in tables.axes_of(runs)}
    return {"name": config.name, "note": config.note, "axes": axes, "points": math.prod(map(len, axes.values())),
            "algorithms": runs["algorithm"].values.tolist(), "seeds": runs.sizes["seed"],
            "runs": runs["diverged_at"].size, "diverged": tables.diverged(runs), "sessions": sessions(folder)}


def load(folder: str | Path) -> xr.Dataset:
    """The labelled results of a folder that `lrtheory run`, `sweep` or `cifar`, `lrtheory.train` or `lrtheory.limit` wrote.

    A sweep's axes come first, then algorithm, seed and record; its values are read from disk when used. Of a sweep
    that is not finished the runs that are there are read at once, the others are nan, and `done` tells them apart.
    Raises `ConfigError` if there are no results, or files were lost or changed; so does reading, if they are later.
    """
    folder = require_path("folder", folder)
    if not is_sealed(folder) and not (folder / MANIFEST).is_file():
        return _must_be_results(folder, read_dataset(folder))
    grid, cut = read_manifest(folder)
    if cut is None or not (folder / STORE).is_dir():
        raise ConfigError(f"{folder}: nothing of this sweep is there yet; must have begun; `lrtheory sweep --resume "
                          f"{folder}` computes it")
    try:
        store = Store(folder / STORE, grid, cut, names_of(grid.config.algorithms))
        if is_sealed(folder):
            store.must_be_whole()
            return open_results(folder / STORE, store.sealed())
        _must_be_as_before(store)
        return open_results(folder / STORE)
    except Exception as error:  # damage, and what others put there, may raise anything
        raise ConfigError(f"{folder}: damaged ({reason(error)}); must be as it was written; `lrtheory sweep --resume "
                          f"{folder}` computes again what is not") from None


def _must_be_as_before(store: Store) -> None:
    """Raise `Damaged` unless a store of an earlier version, without seals, has its files and is of its manifest's config."""
    results = open_results(store.place)
    assert isinstance(store.place, Path)
    if lost := 0 if "done" in results else missing_files(store.place):
        raise Damaged(f"{lost} files are missing")
    plain = {"name": "", "note": ""}
    if config_of(results, type(store.grid.config)).replace(**plain) != store.grid.config.replace(**plain):
        raise Damaged(f"{MANIFEST} has another config than the results")


def _must_be_results(folder: Path, found: xr.Dataset) -> xr.Dataset:
    """A dataset, if it is of the kind that is written here. Raises `ConfigError`."""
    try:
        config_of(found, kind_in(found.attrs["config"], "its config").config).judge()
        if not set(RUN_DIMS) <= set(found.sizes) or 0 in found.sizes.values() or "diverged_at" not in found:
            raise Damaged(f"no runs in it, with dimensions {', '.join(RUN_DIMS)} and diverged_at")
    except Exception as error:  # attributes of others may be anything
        raise ConfigError(f"{folder}: its {STORE} is not what `lrtheory run` writes ({reason(error)}); must be; give "
                          "another folder") from None
    return found
