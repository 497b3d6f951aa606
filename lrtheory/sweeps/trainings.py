"""A sweep of CIFAR-10 trainings from start to end: every point, algorithm and seed over the devices, kept as it ends.

Lives here: trainings as work for the devices, and their results as chunks. Lives elsewhere: training (vision.runs), points
(grid), files (store), the folder (folder), sweeps of the theory (course).

A chunk is one point and one seed with all its algorithms. What has ended of a chunk, and what has not, is in its
checkpoints, which go once it is stored; so a kill costs the epochs since the last one.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from zarr.storage import MemoryStore

from lrtheory.algorithm import names_of
from lrtheory.devices import require_working
from lrtheory.spec import ConfigError
from lrtheory.sweeps.folder import Watch, disk_trouble, every_chunk, take_up
from lrtheory.sweeps.grid import Grid, label_of
from lrtheory.sweeps.plan import Chunk, Cut
from lrtheory.sweeps.store import Store
from lrtheory.vision import cifar, runs
from lrtheory.vision.checkpoints import forget
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import require_even
from lrtheory.vision.simulate import CONDITIONS

CHECKPOINTS = "checkpoints"
"""The folder of states within that of a sweep."""


def carry_out(grid: Grid, folder: Path, images: cifar.Images, *, resume: bool = False, extend: bool = False,
              watch: Watch | None = None) -> None:
    """Train all that `folder` does not hold yet, and keep it there; its images are remembered.

    Raises `ConfigError` for a folder that is taken or holds another sweep, too few images, memory or disk that do not do,
    and `Interrupted` when `watch.stop` asked for it.
    """
    watch, grid = watch or Watch(), _shown(grid, images)
    if jax.process_count() > 1:
        raise ConfigError("--distributed: sweeps of trainings take one process; leave it out")
    with contextlib.ExitStack() as held:
        store, missing = take_up(grid, folder, lambda: _cut(grid), watch, held, asked=_cut(grid), resume=resume,
                                 extend=extend)
        cifar.remember(folder, images)
        states = folder / CHECKPOINTS
        states.mkdir(exist_ok=True)
        if states.is_symlink():
            watch.tell(f"note: {states} is a link; states of trainings that have ended stay there")
        waiting = set(missing)
        for chunk in every_chunk(grid, store.cut):
            if chunk not in waiting:  # stored, and perhaps not removed before a kill
                _forget(store, states, chunk)
        try:
            _train(store, missing, images, states, watch)
        except OSError as error:  # of a checkpoint
            raise disk_trouble(folder, error) from None


def in_memory(grid: Grid, images: cifar.Images, watch: Watch) -> MemoryStore:
    """A whole sweep without a folder."""
    grid = _shown(grid, images)
    store = Store(MemoryStore(), grid, _cut(grid), names_of(grid.config.algorithms))
    store.prepare()
    _train(store, every_chunk(grid, store.cut), images, None, watch)
    assert isinstance(store.place, MemoryStore)
    return store.place


def _cut(grid: Grid) -> Cut:
    """A point and a seed a chunk."""
    return Cut((1,) * len(grid.axes), 1)


def _shown(grid: Grid, images: cifar.Images) -> Grid:
    """The grid of trainings on these images. Raises `ConfigError` where they, or the memory, do not do."""
    require_working()
    for index in np.ndindex(grid.shape):
        runs.require_images(grid.at(index), images)
        if grid.config.spread == "batch":
            require_even(grid.at(index), len(jax.local_devices()))
    runs.require_room(grid.widest)
    return dataclasses.replace(grid, images=cifar.fingerprint(images))


def _states(folder: Path, chunk: Chunk) -> Path:
    """The folder of a chunk's checkpoints."""
    return folder / "-".join(map(str, chunk.number))


def _experiment(grid: Grid, chunk: Chunk) -> Experiment:
    """What a chunk trains: a point from one seed."""
    return grid.at(chunk.points[0]).replace(seeds=1, first_seed=grid.config.first_seed + chunk.box[-1].start)


def _forget(store: Store, states: Path, chunk: Chunk) -> None:
    """Remove the states of a chunk that is stored: those that were written for it, through no link."""
    folder = _states(states, chunk)
    if not folder.is_dir() or states.is_symlink() or folder.is_symlink():
        return
    for group in runs.jobs(_experiment(store.grid, chunk), store.algorithms):
        for job in group:
            forget(folder, job, store.meaning(chunk.box))
    with contextlib.suppress(OSError):  # something else is in it
        folder.rmdir()


def _train(store: Store, missing: Sequence[Chunk], images: cifar.Images, states: Path | None,
           watch: Watch) -> None:
    """Train the runs of some chunks, all points of the first seed, then of the next, and store each chunk as it ends."""
    grid, names, writing, done = store.grid, store.algorithms, threading.Lock(), dict.fromkeys(missing, 0.0)
    watch.planned(None, len(missing) * len(names))

    def finished(chunk: Chunk, record: runs.Record) -> None:
        with writing:
            try:
                store.write(chunk, _found(store, record))
            except OSError as error:
                assert isinstance(store.place, Path)
                raise disk_trouble(store.place.parent, error) from None
        if states is not None:
            _forget(store, states, chunk)

    def work(chunk: Chunk) -> list[list[runs.Work]]:
        (index,), config = chunk.points, _experiment(grid, chunk)
        where = ", ".join(f"{label_of(field)} {value}" for axis, k in zip(grid.axes, index, strict=True)
                          for field, value in zip(axis.fields, axis.values[k], strict=True))

        def progress(epochs: int, of: int, name: str, seed: int, epoch: int, row: Mapping[str, float]) -> None:
            done[chunk] = len(names) * epochs / of
            accuracies = "".join(f", {label} {row[f'accuracy_{what}']:.2f}" for what, label in (
                ("clean", "clean"), ("patch_only", "patch only")) if what in CONDITIONS and f"accuracy_{what}" in row)
            watch.progress(sum(done.values()), ", ".join(filter(None, [where, f"{name} seed {seed} epoch {epoch}"]))
                           + accuracies)

        record = runs.Record(config, names, images.source, progress, done=lambda record: finished(chunk, record))
        at, whose = (None, "") if states is None else (_states(states, chunk), store.meaning(chunk.box))
        return [[runs.Work(config, job, record, at, whose) for job in group]
                for group in runs.jobs(config, names)]

    groups = [group for chunk in sorted(missing, key=lambda c: c.number[-1]) for group in work(chunk)]
    runs.train_all(groups, images, watch.stop)


def _found(store: Store, record: runs.Record) -> dict[str, np.ndarray]:
    """What a chunk's runs measured, as the store has it: as many records as the longest training of the sweep."""
    found, one, records = record.found(), (1,) * len(store.grid.axes), store.grid.widest.training.epochs
    return {name: np.pad(values, ((0, 0), (0, 0), (0, records - values.shape[2])), constant_values=np.nan).reshape(
        *one, *values.shape[:2], records) if values.ndim == 3 else values.reshape(*one, *values.shape)
        for name, values in found.items() if name in store.arrays}
