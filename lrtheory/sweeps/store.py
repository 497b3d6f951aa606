"""The results of a sweep as a zarr store: whole chunks or none, found again after any accident.

Lives here: the folder's manifest, the arrays, writing and checking chunks, opening the dataset. Lives elsewhere: files as
such (files), what a chunk is (plan), when it is computed (course), what the numbers say (results).

A store has one array for each measurement, with the grid's axes, algorithm, seed (and record) as dimensions and one
file for each chunk of the sweep. Files appear by renaming and carry a checksum; a chunk counts once the file of `done`,
written last, is there too.
"""

import dataclasses
import functools
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from lrtheory import fields
from lrtheory.fields import from_json, to_json
from lrtheory.files import STORE, write_whole
from lrtheory.labelled import config_of, names_of
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import Axis, Grid
from lrtheory.sweeps.plan import Chunk, Cut
from lrtheory.theory import simulate
from lrtheory.theory.config import Config
from lrtheory.theory.measure import STEP, described
from lrtheory.theory.programs import Measured, measured

MANIFEST = "sweep.json"
"""What a folder has to be that of a sweep."""
Place = Path | MemoryStore
"""Where a store lies: a path on disk, or memory."""


def describe(grid: Grid, cut: Cut | None) -> dict[str, Any]:
    """The manifest: everything that determines the numbers, and how they are cut."""
    tree: dict[str, Any] = {"config": json.loads(to_json(grid.config)),
                            "axes": [{"fields": list(a.fields), "values": [list(v) for v in a.values]} for a in grid.axes]}
    return tree | ({} if cut is None else {"chunk": {"axes": list(cut.axes), "seeds": cut.seeds}})


def write_manifest(folder: Path, grid: Grid, cut: Cut | None) -> None:
    """Write the manifest, whole or not at all. Raises `OSError` where the disk does not take it."""
    write_whole(folder / MANIFEST, json.dumps(describe(grid, cut), indent=1) + "\n")


def read_manifest(folder: Path) -> tuple[Grid, Cut | None]:
    """The grid of a sweep folder, and how it was cut if that is decided. Raises `ConfigError`."""
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text())
        config = from_json(json.dumps(tree["config"]), Config, str(path))
        axes = tuple(Axis(tuple(a["fields"]), tuple(tuple(v) for v in a["values"])) for a in tree["axes"])
        cut = tree.get("chunk")
        return Grid(config, axes), Cut(tuple(cut["axes"]), cut["seeds"]) if cut else None
    except OSError as error:
        raise ConfigError(f"{folder}: no sweep to be found there ({path.name}: {error.strerror}); give a folder that "
                          "lrtheory sweep wrote") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: damaged ({error}); restore it, or start anew in another folder") from None


def differences(grid: Grid, other: Grid) -> list[str]:
    """What tells two sweeps apart, a line a field: "training.eta1: 0.02 in the folder, 0.03 asked for"."""
    def facts(grid: Grid) -> dict[str, Any]:
        unnamed = grid.config.replace(name="", note="")  # no number depends on these
        tree = describe(dataclasses.replace(grid, config=unnamed), None)
        axes = {"axis " + "+".join(a["fields"]): a["values"] for a in tree["axes"]}
        return tree["config"] | axes | {"order of the axes": list(grid.dims)}

    return fields.differences(facts(grid), facts(other))


@dataclasses.dataclass(frozen=True)
class Store:
    """An open store: a grid cut into chunks, and where their numbers are."""

    place: Place
    """where it lies"""
    grid: Grid
    """the points, along the first dimensions of every array"""
    cut: Cut
    """the shape of a chunk"""
    algorithms: tuple[str, ...]
    """names along the dimension algorithm, which is never cut"""

    def prepare(self) -> None:
        """Make the arrays, or repair everything of them but the chunks; stray files of a kill are removed.

        Raises `OSError` where the disk does not take them.
        """
        if isinstance(self.place, MemoryStore):
            return self._skeleton(self.place)
        self.place.mkdir(exist_ok=True)
        for stray in [*self.place.rglob("*.partial"), *self.place.parent.glob("*.partial")]:
            stray.unlink(missing_ok=True)
        for stray in self.place.parent.glob(".skeleton-*"):
            shutil.rmtree(stray, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.place.parent, prefix=".skeleton-") as scratch:
            fresh = Path(scratch) / STORE
            self._skeleton(LocalStore(fresh))
            for file in sorted(fresh.rglob("*")):
                here = self.place / file.relative_to(fresh)
                if file.is_dir():
                    here.mkdir(exist_ok=True)
                elif not here.is_file() or here.read_bytes() != file.read_bytes():
                    shutil.copyfile(file, here.with_name(here.name + ".partial"))
                    here.with_name(here.name + ".partial").replace(here)

    def _skeleton(self, target: LocalStore | MemoryStore) -> None:
        """The group with its coordinates and empty arrays."""
        grid, config = self.grid, self.grid.config
        coords: dict[str, Any] = dict(grid.coordinates())
        coords["algorithm"] = names_of(self.algorithms)
        coords["seed"] = config.first_seed + np.arange(config.seeds)
        coords["step"] = self._steps()
        xr.Dataset(coords=coords, attrs={"config": to_json(config), "axes": json.dumps(list(grid.dims))}
                   | environment()).to_zarr(target, mode="w", consolidated=False)
        group = zarr.open_group(target, mode="r+")
        dims = (*grid.dims, "algorithm", "seed", "record")
        shape = (*grid.shape, len(self.algorithms), config.seeds, config.records + 1)
        reach = (*self.cut.axes, len(self.algorithms), self.cut.seeds, config.records + 1)
        meanings = described(config.problem)
        for name, (kind, over_time) in measured(config).items():
            last = len(dims) if over_time else -1
            group.create_array(
                name, shape=shape[:last], chunks=reach[:last], dtype=kind, dimension_names=dims[:last],
                fill_value=np.nan if kind.kind == "f" else 0, compressors=(ZstdCodec(level=3), Crc32cCodec()),
                attributes=dict(zip(("units", "long_name"), meanings[name], strict=True)))
        group.create_array("done", shape=(*grid.shape, config.seeds), chunks=(*self.cut.axes, self.cut.seeds), dtype=bool,
                           dimension_names=(*grid.dims, "seed"), fill_value=False, compressors=(Crc32cCodec(),),
                           attributes={"long_name": "whether the runs are there"})

    def _steps(self) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        """The coordinate of steps done at each record, for each length of training where that is an axis."""
        grid = self.grid
        at = next((k for k, axis in enumerate(grid.axes) if "training.steps" in axis.fields), None)
        if at is None:
            return ("record",), simulate.record_steps(grid.config), STEP
        rows = [simulate.record_steps(grid.at([k if j == at else 0 for j in range(len(grid.axes))]))
                for k in range(grid.shape[at])]
        return (grid.dims[at], "record"), np.stack(rows), STEP

    def write(self, chunk: Chunk, found: Measured) -> None:
        """Store a chunk, `done` last. Raises `OSError` where the disk does not take it; the chunk is then not there."""
        box = tuple(slice(r.start, r.stop) for r in chunk.box)
        if isinstance(self.place, Path):
            self.unmark(chunk)
        for name, values in found.items():
            self.arrays[name][(*box[:-1], slice(None), box[-1])] = values
        self.arrays["done"][box] = True

    def holds(self, chunk: Chunk) -> bool:
        """Whether a chunk is there, every file of it present and true to its checksum."""
        box = tuple(slice(r.start, r.stop) for r in chunk.box)
        try:
            for name, array in self.arrays.items():
                if not self._file(array, chunk).is_file():
                    return False
                values = np.asarray(array[box if name == "done" else (*box[:-1], slice(None), box[-1])])
                if name == "done" and not values.all():
                    return False
        except (ValueError, RuntimeError, OSError):  # checksum, decompression, length
            return False
        return True

    def unmark(self, chunk: Chunk) -> None:
        """Make a damaged chunk count as missing, until it is written anew."""
        self._file(self.arrays["done"], chunk).unlink(missing_ok=True)

    def has_mark(self, chunk: Chunk) -> bool:
        """Whether a chunk has been written, without looking at its numbers."""
        return self._file(self.arrays["done"], chunk).is_file()

    @functools.cached_property
    def arrays(self) -> dict[str, zarr.Array]:
        """The arrays that are cut into chunks, `done` first."""
        group = zarr.open_group(self.place if isinstance(self.place, MemoryStore) else LocalStore(self.place), mode="r+")
        names = ["done", *(name for name, array in group.arrays() if _is_measured(array))]
        # write_empty_chunks: a file for each chunk, whatever its values
        return {name: group[name].with_config({"write_empty_chunks": True}) for name in names}  # type: ignore[union-attr]

    def _file(self, array: zarr.Array, chunk: Chunk) -> Path:
        assert isinstance(self.place, Path)
        *where, seeds = chunk.number
        number = {1: (*where, seeds), 2: (*where, 0, seeds), 3: (*where, 0, seeds, 0)}[array.ndim - len(where)]
        return self.place / array.name.strip("/") / array.metadata.encode_chunk_key(number)


def _is_measured(array: zarr.Array) -> bool:
    """Whether an array of a store is cut into chunks, as everything measured is and no coordinate."""
    return array.ndim > 1 and "algorithm" in (getattr(array.metadata, "dimension_names", None) or ())


def missing_files(place: Path) -> int:
    """How many files of chunks are not there (an unfinished sweep, or damage)."""
    group = zarr.open_group(LocalStore(place, read_only=True), mode="r")
    count = 0
    for name, array in group.arrays():
        if name == "done" or _is_measured(array):
            numbers = itertools.product(*(range(-(-n // reach)) for n, reach in zip(array.shape, array.chunks, strict=True)))
            count += sum(not (place / name / array.metadata.encode_chunk_key(number)).is_file() for number in numbers)
    return count


def open_results(place: Place) -> xr.Dataset:
    """The dataset of a store, read when used; of an unfinished one, the runs that are there (others nan), with `done`."""
    results = xr.open_zarr(place, consolidated=False, chunks=None, decode_times=False, mask_and_scale=False)
    dims = [*json.loads(results.attrs.get("axes", "[]")), "algorithm", "seed", "record"]
    names = described(config_of(results, Config).problem)
    results = results[[n for n in names if n in results] + ["done"]].transpose(*[d for d in dims if d in results.dims])
    if bool(results["done"].all()):
        return results.drop_vars("done")
    kept = results.load()
    for name in kept.data_vars:
        if name != "done" and kept[name].dtype.kind == "f":
            kept[name] = kept[name].where(kept["done"]).transpose(*kept[name].dims).assign_attrs(kept[name].attrs)
    return kept
