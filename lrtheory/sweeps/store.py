"""The results of a sweep as a zarr store: whole chunks or none, found again after any accident.

Lives here: the arrays, writing and checking chunks, making a store larger, opening the dataset. Lives elsewhere: files as
such (files), which sweep it is (manifest), what a chunk is (plan), when it is computed (course, trainings), what the numbers
say (results).

A store has one array for each measurement, with the grid's axes, algorithm, seed (and record) as dimensions and one
file for each chunk of the sweep. Files appear by renaming; a chunk counts once the file of `done`, written last, is there
too. Beside it, each chunk has a seal: what its runs are, and the digests of its files by name; and so have the labels,
everything in the store that is no chunk. A sweep grows behind what is there: each axis, and the seeds, at their ends. So
chunks stay what they are, but for those at an end that were not full, of which a corner counts until the rest is computed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import ByteRequest
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from lrtheory import algorithm, files
from lrtheory.experiments.kinds import kind_in, sweep_of
from lrtheory.fields import to_json
from lrtheory.files import STORE, Damaged, read_sealed, write_sealed
from lrtheory.labelled import config_of, names_of
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import Grid
from lrtheory.sweeps.manifest import SEALS, UNSAID, describe, read_manifest, read_tree, write_tree
from lrtheory.sweeps.plan import Box, Chunk, Cut, chunks

LABELS = "labels.json"
"""The seal of the labels."""
Place = Path | MemoryStore
"""Where a store lies: a path on disk, or memory."""
Measured = dict[str, np.ndarray]
"""{name: (extent along each axis, algorithms, seeds[, records])}."""


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
        """Make the arrays, or repair everything of them but the chunks; what a killed process was writing is removed.

        Raises `OSError` where the disk does not take them.
        """
        if isinstance(self.place, MemoryStore):
            return self._skeleton(self.place)
        self.place.mkdir(exist_ok=True)
        self.seals.mkdir(exist_ok=True)
        held: dict[str, Buffer] = {}
        self._skeleton(MemoryStore(held))
        labels = {name: buffer.to_bytes() for name, buffer in sorted(held.items())}
        for name, contents in labels.items():
            here = self.place / name
            here.parent.mkdir(parents=True, exist_ok=True)
            if not here.is_file() or here.read_bytes() != contents:
                files.write_whole(here, contents)
        written = {name: hashlib.sha256(contents).hexdigest() for name, contents in labels.items()}
        write_sealed(self.seals / LABELS, {"sweep": self.identity, "files": written})
        strays = (p.relative_to(self.place).as_posix() for p in self.place.rglob("*.partial"))
        files.remove_written(self.place, [name for name in strays if name.partition("/")[0] in self.arrays
                                          and files.OF_ZARR.fullmatch(name)])

    def _skeleton(self, target: MemoryStore) -> None:
        """The group with its coordinates and empty arrays."""
        grid, config = self.grid, self.grid.config
        kind, widest = sweep_of(config), grid.widest
        records = len(kind.clock[1](widest))
        coords: dict[str, Any] = dict(grid.coordinates())
        coords["algorithm"] = names_of(self.algorithms)
        coords["seed"] = config.first_seed + np.arange(config.seeds)
        coords[kind.clock[0]] = self._clock()
        xr.Dataset(coords=coords, attrs={"config": to_json(config), "axes": json.dumps(list(grid.dims))}
                   | environment()).to_zarr(target, mode="w", consolidated=False)
        group = zarr.open_group(target, mode="r+")
        dims = (*grid.dims, "algorithm", "seed", "record")
        shape = (*grid.shape, len(self.algorithms), config.seeds, records)
        reach = (*self.cut.axes, len(self.algorithms), self.cut.seeds, records)
        meanings = kind.described(widest)
        for name, (dtype, over_time) in grid.measured.items():
            last = len(dims) if over_time else -1
            group.create_array(
                name, shape=shape[:last], chunks=reach[:last], dtype=dtype, dimension_names=dims[:last],
                fill_value=np.nan if dtype.kind == "f" else 0, compressors=(ZstdCodec(level=3), Crc32cCodec()),
                attributes=dict(zip(("units", "long_name"), meanings[name], strict=True)))
        group.create_array("done", shape=(*grid.shape, config.seeds), chunks=(*self.cut.axes, self.cut.seeds), dtype=bool,
                           dimension_names=(*grid.dims, "seed"), fill_value=False, compressors=(Crc32cCodec(),),
                           attributes={"long_name": "whether the runs are there"})

    def _clock(self) -> tuple[tuple[str, ...], np.ndarray, Mapping[str, str]]:
        """The coordinate along records: steps or epochs done, for each number of steps where that is an axis."""
        grid, (_, values, facts) = self.grid, sweep_of(self.grid.config).clock
        at = next((k for k, axis in enumerate(grid.axes) if "training.steps" in axis.fields), None)
        if at is None:
            return ("record",), values(grid.widest), facts
        rows = [values(grid.at([k if j == at else 0 for j in range(len(grid.axes))])) for k in range(grid.shape[at])]
        return (grid.dims[at], "record"), np.stack(rows), facts

    @property
    def seals(self) -> Path:
        """The folder of seals."""
        assert isinstance(self.place, Path)
        return self.place.parent / SEALS

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What names the numbers, as it was written when the sweep began: a field that is newer than it is not in it."""
        assert isinstance(self.place, Path)
        tree = read_tree(self.place.parent)
        return tree | {"config": tree["config"] | dict.fromkeys(UNSAID, ""), "algorithms": list(self.algorithms)}

    @functools.cached_property
    def identity(self) -> str:
        """A digest of everything that names the numbers: config, axes, seeds, algorithms, and how they are cut."""
        return files.digest({k: v for k, v in self.manifest.items() if k != "random"})

    def meaning(self, box: Box) -> str:
        """A digest of what the runs in a box are: config, values, seeds, algorithms, images; a larger sweep keeps it."""
        tree = self.manifest
        config = {k: v for k, v in tree["config"].items() if k not in ("seeds", "first_seed")}
        axes = [{"fields": a["fields"], "values": [a["values"][k] for k in reach]}
                for a, reach in zip(tree["axes"], box[:-1], strict=True)]
        return files.digest({"config": config, "axes": axes, "images": tree.get("images"), "algorithms": tree["algorithms"],
                             "seeds": [tree["config"]["first_seed"] + k for k in box[-1]]})

    def write(self, chunk: Chunk, found: Measured) -> None:
        """Store a chunk, `done` last; what its runs do not measure is nan.

        Raises `OSError` where the disk does not take it, or the folder has gone; the chunk is then not there.
        """
        if isinstance(self.place, Path):
            (self.place / files.ROOT).stat()  # zarr would make a new folder in the place of one that was renamed
            self.unmark(chunk)
        for name, array in self.arrays.items():
            if name != "done":
                array[_where(chunk.box)] = found.get(name, np.nan)
        if isinstance(self.place, Path):
            write_sealed(self._seal(chunk), self._contents(chunk, chunk.box))
        self.arrays["done"][_slices(chunk.box)] = True

    def read(self, box: Box) -> Measured:
        """What is stored of the runs in a box."""
        return {name: np.asarray(array[_where(box)]) for name, array in self.arrays.items() if name != "done"}

    def _seal(self, chunk: Chunk) -> Path:
        return self.seals / ("-".join(map(str, chunk.number)) + ".json")

    def _contents(self, chunk: Chunk, box: Box) -> dict[str, Any]:
        """What the seal of a chunk says that has the runs of a box."""
        return {"runs": self.meaning(box), "box": [[r.start, r.stop] for r in box], "files": self._digests(chunk)}

    def _digests(self, chunk: Chunk) -> dict[str, str]:
        assert isinstance(self.place, Path)
        names = [self._file(a, chunk).relative_to(self.place).as_posix() for n, a in self.arrays.items() if n != "done"]
        return files.digests(self.place, names)

    def reseal(self, chunk: Chunk) -> None:
        """Give a chunk that an earlier version sealed, by the sweep as a whole, a seal that holds in a larger one."""
        assert isinstance(self.place, Path)
        with contextlib.suppress(ValueError, OSError):  # what is damaged stays so
            if "sweep" in read_sealed(self._seal(chunk)) and self.holds(chunk):
                write_sealed(self._seal(chunk), self._contents(chunk, chunk.box))

    def holds(self, chunk: Chunk) -> bool:
        """Whether a chunk is there, every file of it present and as it was written."""
        return self.kept(chunk) == chunk.box

    def kept(self, chunk: Chunk) -> Box | None:
        """The part of a chunk's box that is there: all, a corner that an extension made larger, or nothing."""
        return None if self.lacks(chunk) else self._sealed_box(chunk)

    def lacks(self, chunk: Chunk) -> str | None:
        """Why nothing of a chunk counts as there, in words; None if it does."""
        if lost := [a for a in self.arrays.values() if not self._file(a, chunk).is_file()]:
            return f"{len(lost)} files are missing"
        try:
            box, seal = self._sealed_box(chunk), read_sealed(self._seal(chunk))
            inside = all(r.start == s.start and r.stop <= s.stop for r, s in zip(box, chunk.box, strict=True))
            asked = {"sweep": self.identity, "files": self._digests(chunk)} if "sweep" in seal else (
                self._contents(chunk, box) if inside else {})
            if seal != asked:
                return "it is not what was written there"
            return None if np.asarray(self.arrays["done"][_slices(box)]).all() else "its mark is damaged"
        except (ValueError, RuntimeError, OSError, TypeError, LookupError) as error:  # of a seal; of the mark
            return files.reason(error)

    def _sealed_box(self, chunk: Chunk) -> Box:
        """The box that a chunk's seal names; those of earlier versions name none, and are whole."""
        return tuple(range(*ends) for ends in read_sealed(self._seal(chunk)).get("box", [])) or chunk.box

    def must_be_whole(self) -> None:
        """Raise `Damaged` unless the labels, and every chunk that is there, are as they were written for this sweep."""
        assert isinstance(self.place, Path)
        seal = read_sealed(self.seals / LABELS)
        if seal["sweep"] != self.identity:
            raise Damaged("its labels are those of another sweep")
        files.must_be_same(self.place, seal["files"])
        files.must_fit(self.place, lambda array: not _is_measured(array))
        boxes = [c for group in self.grid.groups() for c in chunks(self.grid, self.cut, group)]
        if bad := [(chunk, why) for chunk in boxes if self.has_mark(chunk) and (why := self.lacks(chunk)) is not None]:
            chunk, why = bad[0]
            raise Damaged(f"{len(bad)} of {len(boxes)} chunks; of chunk {'-'.join(map(str, chunk.number))} {why}")

    def sealed(self) -> dict[str, str]:
        """{file: SHA-256} of what was measured, as the seals have it."""
        return {name: known for group in self.grid.groups() for chunk in chunks(self.grid, self.cut, group)
                if self.has_mark(chunk) for name, known in read_sealed(self._seal(chunk))["files"].items()}

    def unmark(self, chunk: Chunk) -> None:
        """Make a damaged chunk count as missing, until it is written anew."""
        self._file(self.arrays["done"], chunk).unlink(missing_ok=True)

    def has_mark(self, chunk: Chunk) -> bool:
        """Whether something of a chunk has been written, without looking at its numbers."""
        return self._file(self.arrays["done"], chunk).is_file()

    def is_marked(self, chunk: Chunk) -> bool:
        """Whether all of a chunk has been written, likewise."""
        return self.has_mark(chunk) and bool(np.asarray(self.arrays["done"][_slices(chunk.box)]).all())

    @functools.cached_property
    def arrays(self) -> dict[str, zarr.Array]:
        """The arrays that are cut into chunks, `done` first."""
        group = zarr.open_group(self.place if isinstance(self.place, MemoryStore) else LocalStore(self.place), mode="r+")
        there = [p.parent.name for p in self.place.glob(f"*/{files.ROOT}")] if isinstance(self.place, Path) else list(group)
        known = {name: group[name] for name in sorted(there)}  # and no stranger's, of which zarr would warn
        names = ["done", *(name for name, array in known.items() if isinstance(array, zarr.Array) and _is_measured(array))]
        # write_empty_chunks: a file for each chunk, whatever its values
        return {name: known[name].with_config({"write_empty_chunks": True}) for name in names}  # type: ignore[union-attr]

    def _file(self, array: zarr.Array, chunk: Chunk) -> Path:
        assert isinstance(self.place, Path)
        *where, seeds = chunk.number
        number = {1: (*where, seeds), 2: (*where, 0, seeds), 3: (*where, 0, seeds, 0)}[array.ndim - len(where)]
        return self.place / array.name.strip("/") / array.metadata.encode_chunk_key(number)


def _slices(box: Box) -> tuple[slice, ...]:
    """A box as an index of `done`."""
    return tuple(slice(r.start, r.stop) for r in box)


def _where(box: Box) -> tuple[slice, ...]:
    """A box as an index of what is measured, all algorithms."""
    return (*_slices(box[:-1]), slice(None), *_slices(box[-1:]))


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


class _AsOpened(WrapperStore[LocalStore]):
    """A folder of which the files listed are read as they were when it was opened, or not at all."""

    def __init__(self, store: LocalStore, listed: Mapping[str, str]) -> None:
        super().__init__(store)
        self.listed = listed
        """{file: SHA-256}"""

    def _with_store(self, store: LocalStore) -> "_AsOpened":
        return _AsOpened(store, self.listed)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        known = self.listed.get(key)
        if known is not None and (found is None or hashlib.sha256(found.to_bytes()).hexdigest() != known):
            raise ConfigError(f"{self._store.root.parent}: damaged since it was opened ({key} "
                              f"{'is missing' if found is None else 'was changed'}); must be as it was written; `lrtheory "
                              f"sweep --resume {self._store.root.parent}` computes again what is not")
        return found


def open_results(place: Place, listed: Mapping[str, str] | None = None) -> xr.Dataset:
    """The dataset of a store, read when used; of an unfinished one, the runs that are there (others nan), with `done`.

    Where the digests of its files are given, reading raises `ConfigError` for those that were changed in between.
    """
    source: Any = LocalStore(place, read_only=True) if isinstance(place, Path) else place
    if listed is not None and isinstance(source, LocalStore):
        source = _AsOpened(source, listed)
    results = xr.open_zarr(source, consolidated=False, chunks=None, decode_times=False, mask_and_scale=False)
    dims = [*json.loads(results.attrs.get("axes", "[]")), "algorithm", "seed", "record"]
    config = config_of(results, kind_in(results.attrs["config"]).config)
    names = sweep_of(config).described(config)
    results = results[[n for n in names if n in results] + ["done"]].transpose(*[d for d in dims if d in results.dims])
    for axis in dims[:-3]:  # what an extension added stands behind
        if results[axis].dtype.kind in "fiu" and isinstance(place, Path) and read_tree(place.parent).get("extended"):
            results = results.sortby(axis)
    if bool(results["done"].all()):
        return results.drop_vars("done")
    kept = results.load()
    for name in kept.data_vars:
        if name != "done" and kept[name].dtype.kind in "iuf":  # whole numbers, too, are none where there is no run
            kept[name] = kept[name].where(kept["done"]).transpose(*kept[name].dims).assign_attrs(kept[name].attrs)
    return kept


def extend(folder: Path, grid: Grid) -> None:
    """Make a folder's sweep the larger one `grid` (`Grid.extended` of what it is); its chunks stay, and none is computed.

    Fields of the config that were not there when the sweep began stay unsaid, as every chunk's seal has them. Raises
    `OSError` where the disk does not take it.
    """
    before, cut = read_manifest(folder)
    tree, new = read_tree(folder), describe(grid, cut)
    if cut is not None and (folder / STORE).is_dir():
        store = Store(folder / STORE, before, cut, algorithm.names_of(before.config.algorithms))
        for group in before.groups():
            for chunk in chunks(before, cut, group):
                store.reseal(chunk)
    config = tree["config"] | {"seeds": new["config"]["seeds"]}
    write_tree(folder, tree | {"config": config, "axes": new["axes"], "extended": True})
