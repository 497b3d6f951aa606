"""The folder of a sweep, whatever is swept: new, taken up again or made larger; by one process, which it knows.

Lives here: whether a folder may be taken, its lock, the list of sessions, what a caller may hear meanwhile. Lives elsewhere:
what is in it (store), what is computed (course, trainings).
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lrtheory import stopping
from lrtheory.algorithm import names_of
from lrtheory.experiments.kinds import sweep_of
from lrtheory.fields import parse, read_text
from lrtheory.files import STORE, locked, require_free, sealed, write_whole
from lrtheory.provenance import changes, environment
from lrtheory.spec import ConfigError
from lrtheory.sweeps import manifest
from lrtheory.sweeps import plan as planning
from lrtheory.sweeps import store as storing
from lrtheory.sweeps.grid import Grid
from lrtheory.sweeps.plan import Chunk, Cut, Plan
from lrtheory.sweeps.store import Store

SESSIONS = "sessions.json"
"""A list with the environment of every process that worked on a sweep, in order."""


class Watch(NamedTuple):
    """What a caller wants to hear while a sweep runs, and how it asks for an end."""

    tell: Callable[[str], None] = lambda text: None  # what is being done, in words
    planned: Callable[[Plan | None, int], None] = lambda plan, runs: None  # the plan, if any, and runs still missing
    progress: Callable[[float, str], None] = lambda runs, group: None  # runs done here, parts included
    stop: Callable[[], bool] = stopping.asked  # asked between chunks, or epochs


def take_up(grid: Grid, folder: Path, cut_for: Callable[[], Cut], watch: Watch, held: contextlib.ExitStack, *,
            asked: Cut | None = None, resume: bool = False, extend: bool = False) -> tuple[Store, list[Chunk]]:
    """Own a folder for as long as `held`, new, to be finished or to be made larger: its store, and the chunks it lacks.

    `asked` is the shape of chunks that the caller wants, stored before anything else is done, for numbers follow it in their
    last digits; `cut_for` chooses one where neither the caller nor the folder has. Raises `ConfigError` for a folder that is
    taken, holds another sweep or one cut otherwise, or cannot be written.
    """
    def must_fit() -> Cut | None:
        if extend:
            return _must_be_cut_so(folder, _must_be_part_of(folder, grid), asked)
        if resume:
            return _must_be_cut_so(folder, _must_be_the_same(folder, grid), asked)
        return _must_be_free(folder, manifest.describe(grid, asked))

    must_fit()
    try:
        held.enter_context(locked(folder))
        cut = must_fit()  # as it is now that it is ours
        if extend:
            storing.extend(folder, grid)
        if not (resume or extend) or asked not in (None, cut):
            cut = asked
            manifest.write_manifest(folder, grid, cut)
        for mark in marks(folder, [s.get("processes", 1) for s in sessions(folder)]):
            mark.unlink()
        _remember(folder, watch)
        if cut is None:
            cut = cut_for()
            manifest.write_manifest(folder, grid, cut)
        store = Store(folder / STORE, grid, cut, names_of(grid.config.algorithms))
        store.prepare()
        if resume or extend:
            watch.tell("checking what is there")
        missing = [c for c in every_chunk(grid, cut) if not store.holds(c)]
        for damaged in missing:  # no process may take what is left of it for a chunk of another process
            if store.kept(damaged) is None:
                store.unmark(damaged)
        return store, missing
    except OSError as error:
        raise disk_trouble(folder, error) from None


def every_chunk(grid: Grid, cut: Cut) -> list[Chunk]:
    """All chunks of a grid, in the order in which they are computed."""
    return [c for group in grid.groups() for c in planning.chunks(grid, cut, group)]


def _must_be_free(folder: Path, tree: dict[str, Any]) -> None:
    """Raise `ConfigError` for a folder in which anything could be overwritten but what was begun of this manifest."""
    begun = {manifest.SEALS: "", manifest.MANIFEST: sealed(tree)}
    known = (folder / manifest.MANIFEST).is_file()
    require_free(folder, *[f"--resume {folder} goes on with it"] * known, begun={} if known else begun)


def _must_be_cut_so(folder: Path, cut: Cut | None, asked: Cut | None) -> Cut | None:
    """How a folder's sweep is cut. Raises `ConfigError` if it has numbers already and is not cut as `asked`."""
    if asked is None or cut is None or asked == cut or not any((folder / STORE / "done" / "c").rglob("*")):
        return cut
    raise ConfigError(f"--chunk: the folder is cut into chunks of {cut.block.runs} runs; leave --chunk out")


def _must_be_the_same(folder: Path, grid: Grid, word: str = "--resume") -> Cut | None:
    """How a folder's sweep is cut. Raises `ConfigError` unless it is this sweep."""
    there, cut = manifest.read_manifest(folder)
    if not manifest.is_sealed(folder):
        raise ConfigError(f"{word} {folder}: an earlier version wrote it, its chunks cannot be checked; load it as it is, "
                          "or start anew in another folder")
    differ = manifest.differences(there, grid) + manifest.random_differences(folder)
    if differ:
        raise ConfigError(f"{word} {folder}: holds another sweep; must be the same; {'; '.join(differ)}")
    return cut


def _must_be_part_of(folder: Path, grid: Grid) -> Cut | None:
    """How a folder's sweep is cut. Raises `ConfigError` unless `grid` is this sweep made larger."""
    there, _ = manifest.read_manifest(folder)
    larger = there.extended(grid)
    larger = dataclasses.replace(larger, config=there.config.replace(seeds=grid.config.seeds))
    if differ := manifest.differences(larger, grid):
        raise ConfigError(f"--extend {folder}: holds another sweep; must be part of the new one; {'; '.join(differ)}")
    kind = sweep_of(grid.config)
    (records, measured), (now, asked) = ((len(kind.clock[1](g.widest)), set(g.measured)) for g in (there, grid))
    if records != now or measured != asked:
        more = f" of {', '.join(sorted(asked - measured))}, too" if asked > measured else ""
        raise ConfigError(f"--extend {folder}: records stored there: {records} a run, the larger sweep's {now}{more}; "
                          "must be the same; start anew in another folder")
    return _must_be_the_same(folder, there, "--extend")


def _remember(folder: Path, watch: Watch) -> None:
    """Add this process's environment to the sweep's list, and say what differs from the first."""
    now, before = environment() | {"processes": jax.process_count(), "devices": jax.device_count()}, sessions(folder)
    write_whole(folder / SESSIONS, json.dumps([*before, now], indent=1) + "\n")
    for name, was, is_now in changes(before[0], now) if before else ():
        watch.tell(f"note: {name} was {was} when this sweep began and is {is_now} now; numbers may differ from an "
                   "uninterrupted sweep's")


def sessions(folder: Path) -> list[dict[str, Any]]:
    """The environments of the processes that worked on a sweep; of those known, for no number depends on this file."""
    try:
        found = parse(read_text(folder / SESSIONS), SESSIONS)
    except (OSError, ValueError):
        return []
    return [s for s in found if isinstance(s, dict)] if isinstance(found, list) else []


def mark_of(folder: Path, process: int) -> Path:
    """The empty file by which one of several processes says that it ended early."""
    return folder / f"stopped-{process}"


def marks(folder: Path, counts: Iterable[Any]) -> list[Path]:
    """The marks that are there of sessions of so many processes each; a session of one process leaves none."""
    most = max((n for n in counts if isinstance(n, int) and n > 1), default=0)
    there = [p for p in folder.glob("stopped-*") if p.name.removeprefix("stopped-") in map(str, range(min(most, 10_000)))]
    return [p for p in there if p.is_file() and not p.is_symlink() and not p.stat().st_size]


def disk_trouble(folder: Path, error: OSError) -> ConfigError:
    """The complaint about a disk that takes no more."""
    remedy = "choose another folder"
    if (folder / manifest.MANIFEST).exists():
        remedy = f"every finished chunk is kept; make room, then --resume {folder}"
    elif not folder.exists():
        remedy = "it was renamed or removed meanwhile; every finished chunk is where it went; --resume it by its new name"
    return ConfigError(f"{folder}: cannot be written ({error.strerror or error}); {remedy}")
