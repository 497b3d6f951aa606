"""What a sweep says: its summary, its table of points, and any folder read back.

Lives here: summary.json and points.csv of a sweep, `load`. Lives elsewhere: one configuration's verdict (theory.results),
the chunks on disk (store), tables (tables).
"""

import json
import math
from pathlib import Path
from typing import Any

import xarray as xr

from lrtheory.files import STORE, SUMMARY, read_dataset, write_json, write_whole
from lrtheory.labelled import config_of, plain
from lrtheory.spec import ConfigError
from lrtheory.sweeps import tables
from lrtheory.sweeps.course import SESSIONS
from lrtheory.sweeps.store import MANIFEST, missing_files, open_results
from lrtheory.theory.config import Config


def save(folder: Path) -> dict[str, Any]:
    """Write points.csv and summary.json beside a finished sweep; return the summary."""
    runs = load(folder)
    config = config_of(runs, Config)
    write_whole(folder / "points.csv", tables.points(runs).to_csv(index=False))
    axes = {a: [plain(v) for v in runs[a].values.tolist()] for a in tables.axes_of(runs)}
    summary = {"name": config.name, "note": config.note, "axes": axes, "points": math.prod(map(len, axes.values())),
               "algorithms": runs["algorithm"].values.tolist(), "seeds": runs.sizes["seed"],
               "runs": runs["diverged_at"].size, "diverged": tables.diverged(runs),
               "sessions": json.loads((folder / SESSIONS).read_text())}
    write_json(folder / SUMMARY, summary)
    return summary


def load(folder: str | Path) -> xr.Dataset:
    """The labelled results of a folder that `lrtheory run`, `lrtheory sweep` or `lrtheory cifar` wrote.

    A sweep's axes come first, then algorithm, seed and record; its values are read from disk when used. Of a sweep
    that is not finished the runs that are there are read at once, the others are nan, and `done` tells them apart.
    Raises `ConfigError` if there are no results, or a finished sweep has lost files.
    """
    store = Path(folder) / STORE
    if not store.is_dir() or not (Path(folder) / MANIFEST).is_file():
        return read_dataset(folder)
    try:
        results = open_results(store)
        lost = 0 if "done" in results else missing_files(store)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise ConfigError(f"{folder}: damaged ({str(error).splitlines()[0]}); must be whole; `lrtheory sweep --resume "
                          f"{folder}` repairs it") from None
    if lost:
        raise ConfigError(f"{folder}: {lost} files are missing; must be whole; `lrtheory sweep --resume {folder}` computes "
                          "them again")
    return results
