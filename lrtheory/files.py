"""Files and folders: written whole or not at all, owned by one process, never overwritten.

Lives here: the folder of a run, its lock, small files, a labelled dataset on disk. Lives elsewhere: what is written
(theory.results, vision.results), the chunks of a sweep (sweeps.store).
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import xarray as xr

from lrtheory.fields import from_json, to_json
from lrtheory.spec import ConfigError

STORE, SUMMARY, LOCK = "results.zarr", "summary.json", ".lock"
"""Names in the folder of a run, a sweep or a training."""


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there as a whole or as it was before. Raises `OSError` if it cannot be written."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, tree: Any) -> None:
    """Write a tree as strict JSON, as `write_whole` does."""
    write_whole(path, json.dumps(tree, indent=2, allow_nan=False) + "\n")


def write_results(folder: Path, results: xr.Dataset, summary: dict[str, Any],
                  **further: xr.Dataset | None) -> dict[str, Any]:
    """Write results.zarr, NAME.zarr for each further dataset there is, and summary.json into a folder; the summary again."""
    for name, dataset in ({Path(STORE).stem: results} | further).items():
        if dataset is not None:
            write_store(folder / f"{name}.zarr", dataset)
    write_json(folder / SUMMARY, summary)
    return summary


def write_store(path: Path, dataset: xr.Dataset) -> None:
    """Write a dataset so that `read_dataset` finds it as a whole or as it was before, whatever ends this process."""
    partial, whole = (path.with_name(f"{path.name}.{state}") for state in ("partial", "whole"))
    if whole.is_dir():  # an earlier process ended here
        _replace(path, whole)
    shutil.rmtree(partial, ignore_errors=True)
    dataset.to_zarr(partial, mode="w", consolidated=False)
    partial.rename(whole)  # from here on it is what is read
    _replace(path, whole)


def _replace(path: Path, whole: Path) -> None:
    """Put a folder in another's place."""
    shutil.rmtree(path, ignore_errors=True)
    whole.rename(path)


def read_dataset(folder: str | Path, name: str = STORE) -> xr.Dataset:
    """A dataset that `write_results` wrote, in memory. Raises `ConfigError` if there is none."""
    store, whole = Path(folder) / name, Path(folder) / f"{name}.whole"
    store = whole if whole.is_dir() else store
    if not store.is_dir():
        raise ConfigError(f"{folder}: no {name} in it; give a folder that `lrtheory run` or `lrtheory sweep` wrote")
    return xr.open_zarr(store, consolidated=False).load()


def require_free(folder: Path, remedy: str = "choose another or remove it") -> None:
    """Raise `ConfigError` if writing into the folder would touch what is there; a lock alone is nothing."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(p.name != LOCK for p in folder.iterdir()))
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be read ({error.strerror}); choose another folder") from None
    if taken:
        raise ConfigError(f"--out {folder}: exists and is not empty; must be a new or empty folder; {remedy}")


def prepare_folder(folder: Path, config: Any) -> None:
    """Create the folder of a run with its resolved config.json, before anything is computed.

    Raises `ConfigError` if it exists and is not empty, or cannot be written; nothing is overwritten.
    """
    require_free(folder)
    text = to_json(config)
    assert from_json(text, type(config)) == config, "a config that cannot be read back would lose the run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(text)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone; the lock goes with the process, however it ends.

    Raises `ConfigError` if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise ConfigError(f"{folder}: another process is working on it; must be one at a time; wait for that one or "
                          "end it") from None
