"""A sweep from start to end: plan, compute chunk by chunk, keep each, finish what is missing.

Lives here: the order of events, over one process or many. Lives elsewhere: points (grid), chunks (plan), computing
(theory.programs), files (store), what is shown (cli).
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jax.experimental import multihost_utils
from zarr.storage import MemoryStore

from lrtheory.algorithm import Algorithm, names_of
from lrtheory.devices import free_memory, require_working
from lrtheory.fields import parse, read_text
from lrtheory.files import STORE, locked, require_free, write_whole
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError
from lrtheory.sweeps import plan as planning
from lrtheory.sweeps import store as storing
from lrtheory.sweeps.grid import Grid, make_grid
from lrtheory.sweeps.plan import MEMORY_SHARE, Chunk, Cut, Group, Plan
from lrtheory.sweeps.store import Store
from lrtheory.theory.config import Config
from lrtheory.theory.runs import with_algorithms

SESSIONS = "sessions.json"
"""A list with the environment of every process that worked on a sweep, in order."""


class Interrupted(Exception):
    """A sweep was asked to stop; every chunk that was begun is kept."""


class Watch(NamedTuple):
    """What a caller wants to hear while a sweep runs, and how it asks for an end."""

    tell: Callable[[str], None] = lambda text: None  # what is being done, in words
    planned: Callable[[Plan, int], None] = lambda plan, runs: None  # the plan, and how many runs are still missing
    progress: Callable[[float, str], None] = lambda runs, group: None  # runs done here, a chunk's part included
    stop: Callable[[], bool] = lambda: False  # asked between chunks


def sweep(config: Config, axes: Mapping[str | tuple[str, ...], Sequence[Any] | np.ndarray],
          folder: str | Path | None = None, *, chunk: int | None = None, resume: bool = False,
          algorithms: Mapping[str, Algorithm] | None = None, watch: Watch | None = None) -> xr.Dataset:
    """Run every combination of the axes' values, from every seed, with every algorithm.

    Args:
      config: what the points share; `config.seeds` and `config.algorithms` say how many runs a point has.
      axes: {field: values}, such as {"eta_ratio": np.geomspace(1e-5, 1, 12)}; a tuple of fields is one axis along
        which they change together, its values tuples. Fields that are numbers are vmapped; others compile anew.
      folder: where the results go, chunk by chunk; new or empty. None: into memory.
      chunk: most runs of each algorithm at once; None: chosen by memory. The numbers do not depend on it.
      resume: finish what is missing in `folder`, which must hold the same sweep.
      algorithms: your own by name, instead of `config.algorithms`, where they may stand as well.
      watch: callbacks.

    Returns:
      A dataset with the axes, algorithm, seed and record as dimensions, read from disk when used. Runs that diverged
      have a finite `diverged_at`; nothing is averaged.

    Raises:
      ConfigError: a value, the folder or the memory does not do; one line with the remedy.
      Interrupted: `watch.stop` asked for it.
    """
    grid = make_grid(with_algorithms(config, algorithms), axes).check()
    require_working()
    if folder is None:
        return storing.open_results(_in_memory(grid, chunk, watch or Watch()))
    carry_out(grid, Path(folder), chunk=chunk, resume=resume, watch=watch)
    return storing.open_results(Path(folder) / STORE)


def carry_out(grid: Grid, folder: Path, *, chunk: int | None = None, resume: bool = False,
              watch: Watch | None = None) -> None:
    """Compute every chunk of the grid that `folder` does not hold yet.

    With `jax.distributed` each process computes its share on its own devices; the first one owns the folder, which all
    must see. Raises `ConfigError` for a folder that is taken or holds another sweep, memory or disk that do not do, and
    `Interrupted` when `watch.stop` asked for it.
    """
    watch = watch or Watch()
    with contextlib.ExitStack() as held:
        plan, missing, complaint = None, [], None
        if jax.process_index() == 0:
            try:
                plan, missing = _take_up(grid, folder, chunk, resume, watch, held)
            except ConfigError as error:
                complaint = error
        cut, missing = _agree(grid, plan, missing)
        if complaint is not None:
            raise complaint
        if cut is None:
            raise ConfigError("the first process could not start this sweep; its own message says why")
        mine = missing[jax.process_index() :: jax.process_count()]
        if plan is None:
            plan = planning.make_plan(grid, cut=cut, groups=_groups(mine), tell=watch.tell)
        store = Store(folder / STORE, grid, cut, names_of(grid.config.algorithms))
        watch.planned(plan, sum(_runs(grid, c) for c in missing))
        try:
            _work(store, plan, mine, watch)
            _wait_for_others(store, missing, folder, watch)
        except BaseException:
            if jax.process_count() > 1:
                _mark(folder).touch()
            raise


def _in_memory(grid: Grid, chunk: int | None, watch: Watch) -> MemoryStore:
    """A whole sweep without a folder. Raises `ConfigError` where the memory does not hold its results."""
    needed, free = planning.result_bytes(grid), free_memory()
    if needed > MEMORY_SHARE * free:
        raise ConfigError(f"memory: results of {grid.runs:,} runs need {needed / 2**30:.3g} GiB; must be at most "
                          f"{MEMORY_SHARE:.0%} of the {free / 2**30:.3g} GiB that are free; name a folder, or lower records")
    plan = planning.make_plan(grid, runs=chunk, tell=watch.tell)
    store = Store(MemoryStore(), grid, plan.cut, names_of(grid.config.algorithms))
    store.prepare()
    watch.planned(plan, grid.runs)
    _work(store, plan, _chunks(grid, plan.cut), watch)
    assert isinstance(store.place, MemoryStore)
    return store.place


def _take_up(grid: Grid, folder: Path, chunk: int | None, resume: bool, watch: Watch,
             held: contextlib.ExitStack) -> tuple[Plan, list[Chunk]]:
    """Own the folder, new or old: the plan, and the chunks that are not there."""
    cut = None
    if resume:
        _must_be_the_same(folder, grid)
    else:
        _must_be_free(folder)
    try:
        held.enter_context(locked(folder))
        if resume:  # as it is now that it is ours
            cut = _must_be_the_same(folder, grid)
        else:
            _must_be_free(folder)
            storing.write_manifest(folder, grid, None)
        for mark in folder.glob(_mark(folder, "*").name):
            mark.unlink()
        _remember(folder, watch)
        if cut is None:
            plan = planning.make_plan(grid, runs=chunk, tell=watch.tell)
            storing.write_manifest(folder, grid, plan.cut)
            store = Store(folder / STORE, grid, plan.cut, names_of(grid.config.algorithms))
            store.prepare()
            return plan, _chunks(grid, plan.cut)
        if chunk is not None and planning.cut_for(grid, chunk) != cut:
            raise ConfigError(f"--chunk {chunk}: the folder is cut into chunks of {cut.block.runs} runs; leave --chunk out")
        store = Store(folder / STORE, grid, cut, names_of(grid.config.algorithms))
        store.prepare()
        watch.tell("checking what is there")
        missing = [c for c in _chunks(grid, cut) if not store.holds(c)]
        for damaged in missing:  # no process may take what is left of it for a chunk of another process
            store.unmark(damaged)
        return planning.make_plan(grid, cut=cut, groups=_groups(missing), tell=watch.tell), missing
    except OSError as error:
        raise _disk_trouble(folder, error) from None


def _must_be_free(folder: Path) -> None:
    """Raise `ConfigError` for a folder in which anything could be overwritten."""
    known = (folder / storing.MANIFEST).is_file()
    require_free(folder, *[f"--resume {folder} goes on with it"] * known)


def _must_be_the_same(folder: Path, grid: Grid) -> Cut | None:
    """How a folder's sweep is cut. Raises `ConfigError` unless it is this sweep."""
    there, cut = storing.read_manifest(folder)
    if not storing.is_sealed(folder):
        raise ConfigError(f"--resume {folder}: an earlier version wrote it, its chunks cannot be checked; load it as it is, "
                          "or start anew in another folder")
    differ = storing.differences(there, grid) + storing.random_differences(folder)
    if differ:
        raise ConfigError(f"--resume {folder}: holds another sweep; must be the same; {'; '.join(differ)}")
    return cut


def _work(store: Store, plan: Plan, chunks: Sequence[Chunk], watch: Watch) -> None:
    """Compute and keep some chunks, one after another."""
    done = 0
    for chunk in chunks:
        if watch.stop():
            raise Interrupted
        label, size = plan.grid.label(chunk.group), _runs(plan.grid, chunk)

        def partly(steps: int, of: int, _: Any, done: int = done, size: int = size, label: str = label) -> None:
            if steps < of:  # all of it counts once it is kept
                watch.progress(done + size * steps / of, label)

        found = planning.compute(plan.grid, plan.programs[chunk.group], chunk, partly)
        try:
            store.write(chunk, found)
        except OSError as error:
            assert isinstance(store.place, Path)
            raise _disk_trouble(store.place.parent, error) from None
        done += size
        watch.progress(done, label)


def _wait_for_others(store: Store, chunks: Sequence[Chunk], folder: Path, watch: Watch) -> None:
    """Return once the chunks of the other processes are there, too: processes that talk must end together."""
    others = [c for k, c in enumerate(chunks) if k % jax.process_count() != jax.process_index()]
    if others:
        watch.tell(f"waiting for the other {jax.process_count() - 1} process(es)")
    while others := [c for c in others if not store.has_mark(c)]:
        if watch.stop() or list(folder.glob(_mark(folder, "*").name)):
            raise Interrupted
        time.sleep(0.2)


def _agree(grid: Grid, plan: Plan | None, missing: Sequence[Chunk]) -> tuple[Cut | None, list[Chunk]]:
    """What the first process found, in every process."""
    if jax.process_count() == 1:
        return (None if plan is None else plan.cut), list(missing)
    reach = np.zeros(len(grid.shape) + 1, np.int32) if plan is None else np.array([*plan.cut.axes, plan.cut.seeds], np.int32)
    reach = np.asarray(multihost_utils.broadcast_one_to_all(reach))
    if not reach.all():
        return None, []
    cut = Cut(tuple(reach[:-1].tolist()), int(reach[-1]))
    chunks, known = _chunks(grid, cut), set(missing)
    wanted = np.asarray(multihost_utils.broadcast_one_to_all(np.array([c in known for c in chunks])))
    return cut, [c for c, w in zip(chunks, wanted, strict=True) if w]


def _chunks(grid: Grid, cut: Cut) -> list[Chunk]:
    """All chunks of a grid, in the order in which they are computed."""
    return [c for group in grid.groups() for c in planning.chunks(grid, cut, group)]


def _groups(chunks: Sequence[Chunk]) -> list[Group]:
    """The groups of some chunks, in order."""
    return list(dict.fromkeys(c.group for c in chunks))


def _runs(grid: Grid, chunk: Chunk) -> int:
    """Runs in a chunk, over all algorithms."""
    return len(grid.config.algorithms) * int(np.prod([len(r) for r in chunk.box]))


def _mark(folder: Path, process: int | str | None = None) -> Path:
    """The file by which one of several processes says that it ended early."""
    return folder / f"stopped-{jax.process_index() if process is None else process}"


def _remember(folder: Path, watch: Watch) -> None:
    """Add this process's environment to the sweep's list, and say what differs from the first."""
    now, before = environment() | {"processes": jax.process_count(), "devices": jax.device_count()}, sessions(folder)
    write_whole(folder / SESSIONS, json.dumps([*before, now], indent=1) + "\n")
    for name in ("lrtheory", "jax", "jaxlib", "device", "precision", "settings", "git_revision"):
        if before and before[0].get(name) != now[name]:
            watch.tell(f"note: {name} was {before[0].get(name)} when this sweep began and is {now[name]} now; "
                       "numbers may differ from an uninterrupted sweep's")


def sessions(folder: Path) -> list[dict[str, Any]]:
    """The environments of the processes that worked on a sweep; of those known, for no number depends on this file."""
    try:
        found = parse(read_text(folder / SESSIONS), SESSIONS)
    except (OSError, ValueError):
        return []
    return [s for s in found if isinstance(s, dict)] if isinstance(found, list) else []


def _disk_trouble(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{folder}: cannot be written ({error.strerror or error}); every finished chunk is kept; make room, "
                       f"then --resume {folder}")
