"""A sweep from start to end: plan, compute chunk by chunk, keep each, finish what is missing.

Lives here: `sweep` of any configuration, and the order of events in one of the theory, over one process or many. Lives
elsewhere: points (grid), chunks (plan), computing (theory.programs), trainings (trainings), the folder (folder), files
(store), what is shown (cli).
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.experimental import multihost_utils
from zarr.storage import MemoryStore

from lrtheory.algorithm import Algorithm, named, names_of
from lrtheory.devices import free_memory, require_working
from lrtheory.files import STORE
from lrtheory.progress import watching
from lrtheory.spec import ConfigError, require_kind, require_path
from lrtheory.stopping import Interrupted
from lrtheory.sweeps import plan as planning
from lrtheory.sweeps import store as storing
from lrtheory.sweeps import trainings
from lrtheory.sweeps.folder import Watch, disk_trouble, every_chunk, mark_of, marks, take_up
from lrtheory.sweeps.grid import Grid, make_grid
from lrtheory.sweeps.manifest import read_manifest
from lrtheory.sweeps.plan import MEMORY_SHARE, Chunk, Cut, Group, Plan
from lrtheory.sweeps.store import Store
from lrtheory.theory.config import Config
from lrtheory.vision import cifar
from lrtheory.vision.config import Experiment


def sweep(config: Config | Experiment, axes: Mapping[str | tuple[str, ...], Sequence[Any] | np.ndarray],
          folder: str | Path | None = None, *, chunk: int | None = None, resume: bool = False, extend: bool = False,
          algorithms: Mapping[str, Algorithm] | None = None, images: cifar.Images | None = None,
          progress: bool | Callable[[float, float, str], None] | None = None, watch: Watch | None = None) -> xr.Dataset:
    """Run every combination of the axes' values, from every seed, with every algorithm.

    Args:
      config: what the points share, of the two-layer network or of the CIFAR-10 experiment; `config.seeds` and
        `config.algorithms` say how many runs a point has.
      axes: {field: values}, such as {"eta_ratio": np.geomspace(1e-5, 1, 12)}; a tuple of fields is one axis along
        which they change together, its values tuples. Fields that are numbers are vmapped; others compile anew.
      folder: where the results go, chunk by chunk; new or empty. None: into memory.
      chunk: most runs of each algorithm at once; None: chosen by memory. The numbers do not depend on it.
      resume: finish what is missing in `folder`, which must hold the same sweep.
      extend: make the sweep in `folder` larger by these values of its axes, and to so many seeds: what is there is kept,
        what is new is computed. Resumed, it goes on.
      algorithms: your own by name, instead of `config.algorithms`, where they may stand as well.
      images: CIFAR-10, of an `Experiment`; None: what `folder` was begun with, else `cifar.load()`.
      progress: True for a bar, on a terminal or in a notebook; or a function that is called with runs done, runs to do
        and what is being computed.
      watch: what else a caller wants to hear, and how it asks for an end (`lrtheory.sweeps.folder.Watch`).

    Returns:
      A dataset with the axes, algorithm, seed and record as dimensions, read from disk when used. Runs that diverged
      have a finite `diverged_at`; nothing is averaged.

    Raises:
      ConfigError: a value, the folder or the memory does not do; one line with the remedy.
      Interrupted: `watch.stop` asked for it.
    """
    require_kind("config", config, (Config, Experiment), "a Config or an Experiment", "such as lrtheory.preset('quick')")
    folder = None if folder is None else require_path("folder", folder)
    grid = make_grid(config if algorithms is None else config.replace(algorithms=named(algorithms)), axes)
    if folder is not None and extend:
        grid = read_manifest(Path(folder))[0].extended(grid)
    grid.check()
    require_working()
    if isinstance(config, Experiment) and images is None:
        images = cifar.load(None if folder is None else cifar.remembered(Path(folder)))
    with watching(progress, "runs", lambda what: what) as told:
        watch = _telling(watch or Watch(), told)
        if folder is None:
            return storing.open_results(_in_memory(grid, chunk, watch) if images is None else trainings.in_memory(
                grid, images, watch))
        if images is None:
            carry_out(grid, Path(folder), chunk=chunk, resume=resume, extend=extend, watch=watch)
        else:
            trainings.carry_out(grid, Path(folder), images, resume=resume, extend=extend, watch=watch)
    return storing.open_results(Path(folder) / STORE)


def _telling(watch: Watch, told: Callable[[float, float, str], Any] | None) -> Watch:
    """The same, and whoever is told of (runs done, runs to do, what) hears them, too."""
    if told is None:
        return watch
    missing = 0

    def planned(plan: Plan | None, runs: int) -> None:
        nonlocal missing
        missing = runs
        watch.planned(plan, runs)

    def progress(runs: float, what: str) -> None:
        told(runs, missing, what)
        watch.progress(runs, what)

    return watch._replace(planned=planned, progress=progress)


def carry_out(grid: Grid, folder: Path, *, chunk: int | None = None, resume: bool = False, extend: bool = False,
              watch: Watch | None = None) -> None:
    """Compute every chunk of the grid that `folder` does not hold yet.

    With `jax.distributed` each process computes its share on its own devices; the first one owns the folder, which all
    must see. Raises `ConfigError` for a folder that is taken or holds another sweep, memory or disk that do not do, and
    `Interrupted` when `watch.stop` asked for it.
    """
    watch = watch or Watch()
    with contextlib.ExitStack() as held:
        plan, store, missing, complaint = None, None, [], None

        def cut_for() -> Cut:
            nonlocal plan
            plan = planning.make_plan(grid, tell=watch.tell, stop=watch.stop)
            return plan.cut

        if jax.process_index() == 0:
            try:
                asked = None if chunk is None else planning.cut_for(grid, chunk)
                store, missing = take_up(grid, folder, cut_for, watch, held, asked=asked, resume=resume, extend=extend)
                if plan is None:
                    plan = planning.make_plan(grid, runs=chunk, cut=store.cut, groups=_groups(missing), tell=watch.tell,
                                              stop=watch.stop)
            except ConfigError as error:
                complaint = error
        cut, missing = _agree(grid, None if complaint is not None or store is None else store.cut, missing)
        if complaint is not None:
            raise complaint
        if cut is None:
            raise ConfigError("the first process could not start this sweep; its own message says why")
        mine = missing[jax.process_index() :: jax.process_count()]
        if plan is None:
            plan = planning.make_plan(grid, cut=cut, groups=_groups(mine), tell=watch.tell, stop=watch.stop)
        store = Store(folder / STORE, grid, cut, names_of(grid.config.algorithms))
        watch.planned(plan, sum(_runs(grid, c) for c in missing))
        try:
            _work(store, plan, mine, watch)
            _wait_for_others(store, missing, folder, watch)
        except BaseException:
            if jax.process_count() > 1:
                mark_of(folder, jax.process_index()).touch()
            raise


def _in_memory(grid: Grid, chunk: int | None, watch: Watch) -> MemoryStore:
    """A whole sweep without a folder. Raises `ConfigError` where the memory does not hold its results."""
    needed, free = planning.result_bytes(grid), free_memory()
    if needed > MEMORY_SHARE * free:
        raise ConfigError(f"memory: results of {grid.runs:,} runs need {needed / 2**30:.3g} GiB; must be at most "
                          f"{MEMORY_SHARE:.0%} of the {free / 2**30:.3g} GiB that are free; name a folder, or lower records")
    plan = planning.make_plan(grid, runs=chunk, tell=watch.tell, stop=watch.stop)
    store = Store(MemoryStore(), grid, plan.cut, names_of(grid.config.algorithms))
    store.prepare()
    watch.planned(plan, grid.runs)
    _work(store, plan, every_chunk(grid, plan.cut), watch)
    assert isinstance(store.place, MemoryStore)
    return store.place


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

        program, kept = plan.programs[chunk.group], store.kept(chunk) if isinstance(store.place, Path) else None
        if kept is None:  # on disk a chunk is kept as a whole, so it is worth ending
            at_once = {} if isinstance(store.place, Path) else {"stop": watch.stop}
            found = planning.compute(plan.grid, program, chunk, partly, **at_once)
        else:
            found = planning.compute_rest(plan.grid, program, chunk, kept, store.read(kept), partly)
        try:
            store.write(chunk, found)
        except OSError as error:
            assert isinstance(store.place, Path)
            raise disk_trouble(store.place.parent, error) from None
        done += size
        watch.progress(done, label)


def _wait_for_others(store: Store, chunks: Sequence[Chunk], folder: Path, watch: Watch) -> None:
    """Return once the chunks of the other processes are there, too: processes that talk must end together."""
    others = [c for k, c in enumerate(chunks) if k % jax.process_count() != jax.process_index()]
    if others:
        watch.tell(f"waiting for the other {jax.process_count() - 1} process(es)")
    while others := [c for c in others if not store.is_marked(c)]:
        if watch.stop() or marks(folder, [jax.process_count()]):
            raise Interrupted
        time.sleep(0.2)


def _agree(grid: Grid, cut: Cut | None, missing: Sequence[Chunk]) -> tuple[Cut | None, list[Chunk]]:
    """What the first process found, in every process."""
    if jax.process_count() == 1:
        return cut, list(missing)
    reach = np.zeros(len(grid.shape) + 1, np.int32) if cut is None else np.array([*cut.axes, cut.seeds], np.int32)
    reach = np.asarray(multihost_utils.broadcast_one_to_all(reach))
    if not reach.all():
        return None, []
    cut = Cut(tuple(reach[:-1].tolist()), int(reach[-1]))
    chunks, known = every_chunk(grid, cut), set(missing)
    wanted = np.asarray(multihost_utils.broadcast_one_to_all(np.array([c in known for c in chunks])))
    return cut, [c for c, w in zip(chunks, wanted, strict=True) if w]


def _groups(chunks: Sequence[Chunk]) -> list[Group]:
    """The groups of some chunks, in order."""
    return list(dict.fromkeys(c.group for c in chunks))


def _runs(grid: Grid, chunk: Chunk) -> int:
    """Runs in a chunk, over all algorithms."""
    return len(grid.config.algorithms) * int(np.prod([len(r) for r in chunk.box]))

