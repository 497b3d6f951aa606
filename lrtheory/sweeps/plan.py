"""How a sweep is cut: programs, chunks that fit the memory, and what they will cost.

Lives here: the shape of a chunk and its choice, the chunks of a grid, estimates of memory, time and disk. Lives
elsewhere: computing a block (theory.programs), keeping results (store), the order of events (course).
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from lrtheory.devices import free_memory
from lrtheory.stopping import Interrupted
from lrtheory.sweeps.grid import Grid
from lrtheory.theory import simulate
from lrtheory.theory.programs import (
    Block,
    Measured,
    Program,
    Progress,
    Running,
    advance,
    compile_block,
    pieces,
    run_block,
    start,
)
from lrtheory.theory.room import must_fit, require_room

Group = tuple[int | None, ...]
"""The points of one program: an index along each axis that is compiled for, None along the others."""

MEMORY_SHARE = 0.7
"""Share of the free memory that a chunk may take."""
CACHE = 16 * 2**20
"""Bytes on each CPU device that a chunk keeps to if it can: what caches hold. Beyond them a run costs up to 1.5 times as
much (measured on two cores: 35 us a step and run at 17 MiB in all, 50 at 190)."""
FIRST_GUESS = {"cpu": 128, "gpu": 2048, "tpu": 2048}
"""Runs of each algorithm on a device that a chunk is first tried with; it is only made smaller from there."""
SMALLER = "choose smaller sizes (network.m_v, problem.d, problem.N)"
"""What to do about a run that is too large."""
CHUNK_SECONDS = 60.0
"""A chunk takes no longer if it can: it is what a kill loses and what an interrupt waits for."""


Box = tuple[range, ...]
"""Indices along each axis of a grid, and along seeds."""


class Cut(NamedTuple):
    """The shape of a chunk: its reach along each axis of the grid, and along seeds."""

    axes: tuple[int, ...]
    seeds: int

    @property
    def block(self) -> Block:
        """The same, as numbers of points and seeds."""
        return Block(math.prod(self.axes), self.seeds)


class Chunk(NamedTuple):
    """A box of the grid that is computed and stored as a whole."""

    group: Group
    number: tuple[int, ...]  # which box along each axis, and along seeds
    box: Box

    @property
    def points(self) -> list[tuple[int, ...]]:
        """Indices of its points, the last axis fastest."""
        return list(itertools.product(*self.box[:-1]))


class Plan(NamedTuple):
    """Everything that is decided before a sweep starts."""

    grid: Grid
    cut: Cut
    programs: dict[Group, Program]
    seconds: dict[Group, float]  # that a chunk of the group takes, measured
    free: int  # bytes of memory there were


def cut_for(grid: Grid, runs: int) -> Cut:
    """A chunk of at most `runs` runs an algorithm: a seed for each device, then points, which share draws, then seeds.

    Boxes are filled from the last axis, and evened out so that the last box is not much smaller than the others.
    """
    seeds = min(grid.config.seeds, jax.local_device_count(), runs)
    room, reach = runs // seeds, []
    for length, compiled in zip(reversed(grid.shape), reversed(grid.compiled), strict=True):
        reach.append(1 if compiled else _even(length, room))
        if not compiled:
            room = room // length if reach[-1] == length else 1
    points = math.prod(reach)
    return Cut(tuple(reversed(reach)), max(seeds, _even(grid.config.seeds, runs // points)))


def _even(length: int, most: int) -> int:
    """The least reach, of at most `most`, that covers `length` in as few boxes."""
    boxes = -(-length // min(most, length))
    return -(-length // boxes)


def chunks(grid: Grid, cut: Cut, group: Group) -> Iterator[Chunk]:
    """The chunks of a group: all points of the first seeds, then of the next."""
    lengths, reaches = (*grid.shape, grid.config.seeds), (*cut.axes, cut.seeds)
    numbers = [range(-(-n // reach)) if k is None else [k]
               for n, reach, k in zip(lengths, reaches, (*group, None), strict=True)]
    for seeds, *where in itertools.product(numbers[-1], *numbers[:-1]):
        number = (*where, seeds)
        yield Chunk(group, number, tuple(range(k * reach, min((k + 1) * reach, n))
                                         for k, reach, n in zip(number, reaches, lengths, strict=True)))


def compute(grid: Grid, program: Program, chunk: Chunk, progress: Progress | None = None,
            stop: Callable[[], bool] = lambda: False) -> Measured:
    """All measurements of a chunk: {name: (its extent along each axis, algorithms, seeds[, records])}.

    Raises `Interrupted` once `stop`, asked between pieces, says yes.
    """
    seeds = grid.config.first_seed + np.array(chunk.box[-1])
    found = run_block(program, grid.point_values(chunk.points), seeds, progress, stop=stop)
    return {name: values.reshape(*map(len, chunk.box[:-1]), *values.shape[1:]) for name, values in found.items()}


def compute_rest(grid: Grid, program: Program, chunk: Chunk, kept: Box, known: Measured,
                 progress: Progress | None = None) -> Measured:
    """All measurements of a chunk of which a corner `kept` is known: only the others are computed."""
    found = {name: np.full((*map(len, chunk.box[:-1]), values.shape[len(kept) - 1], len(chunk.box[-1]),
                            *values.shape[len(kept) + 1 :]), np.nan if values.dtype.kind == "f" else 0, values.dtype)
             for name, values in known.items()}

    def fill(box: Box, values: Measured) -> None:
        here = [slice(r.start - s.start, r.stop - s.start) for r, s in zip(box, chunk.box, strict=True)]
        for name, each in values.items():
            found[name][(*here[:-1], slice(None), here[-1])] = each

    fill(kept, known)
    for k in range(len(kept)):  # what lies behind it along one axis, as far as it reaches along those before
        if kept[k] != chunk.box[k]:
            box = (*kept[:k], range(kept[k].stop, chunk.box[k].stop), *chunk.box[k + 1 :])
            fill(box, compute(grid, program, chunk._replace(box=box), progress))
    return found


def make_plan(grid: Grid, *, runs: int | None = None, cut: Cut | None = None, groups: Sequence[Group] | None = None,
              free: int | None = None, tell: Callable[[str], None] = lambda text: None,
              stop: Callable[[], bool] = lambda: False) -> Plan:
    """Choose the shape of the chunks, compile every program and time it.

    Args:
      grid: checked.
      runs: most runs of each algorithm in a chunk; None: chosen by memory, time and, on CPU, cache.
      cut: the shape itself, where a store has it; then `runs` is what was asked for.
      groups: the programs that are needed; None: all.
      free: bytes of memory there are; None: measured.
      tell: told, in words, what is being done.
      stop: asked between programs.

    Raises:
      ConfigError: a chunk, or even a single run, does not fit into the memory.
      Interrupted: it was asked to stop.
    """
    free = free_memory() if free is None else free
    groups = list(grid.groups()) if groups is None else list(groups)
    programs: dict[Group, Program] = {}
    seconds: dict[Group, float] = {}

    require_room_for(grid, groups)

    def prepare(group: Group, cut: Cut) -> None:
        if stop():
            raise Interrupted
        tell("compiling " + ", ".join(filter(None, [grid.label(group), f"{cut.block.runs} runs of each algorithm at once"])))
        programs[group] = compile_block(grid.group_config(group), grid.swept, cut.block)
        if programs[group].memory <= MEMORY_SHARE * free:
            tell("timing it")
            seconds[group] = seconds_a_chunk(grid, programs[group], next(chunks(grid, cut, group)))

    if cut is None and runs is not None:
        cut = cut_for(grid, runs)
    if cut is None and not groups:
        cut = cut_for(grid, 1)
    if cut is None:  # the program that needs most decides
        group = max(groups, key=lambda g: _size(grid, g))
        cut = cut_for(grid, FIRST_GUESS.get(jax.default_backend(), 2048) * jax.local_device_count())
        while True:
            prepare(group, cut)
            excess = _excess(programs[group], seconds.get(group, 0.0), cut, free)
            smaller = cut_for(grid, max(1, int(cut.block.runs / (1.1 * excess))))
            if excess <= 1 or smaller.block.runs >= cut.block.runs:
                break
            cut = smaller
    for group in groups:
        if group not in programs:
            prepare(group, cut)
        _must_fit(grid, group, programs[group], runs, free)
    return Plan(grid, cut, programs, seconds, free)


def require_room_for(grid: Grid, groups: Iterable[Group] | None = None) -> None:
    """Raise `ConfigError` if the free memory cannot hold a single run, of some groups (None: all); nothing is traced."""
    for group in grid.groups() if groups is None else groups:
        require_room(grid.group_config(group), Block(1, 1), len(grid.config.algorithms), SMALLER, MEMORY_SHARE)


def seconds_a_chunk(grid: Grid, program: Program, chunk: Chunk, budget: float = 0.5) -> float:
    """Seconds the chunk takes, extrapolated from some of its steps and records that take `budget` seconds or more."""
    every = pieces(program.config)
    started = time.perf_counter()
    running = jax.block_until_ready(start(program, grid.point_values(chunk.points),
                                                grid.config.first_seed + np.array(chunk.box[-1])))
    drawing = time.perf_counter() - started

    def timed(running: Running, steps: int) -> tuple[float, Running]:
        bounds = np.linspace(0, steps, len(every[0])).astype(np.int32)
        started = time.perf_counter()
        running, _ = advance(program, running, bounds)
        return time.perf_counter() - started, running

    _, running = timed(running, 0)
    observing, running = timed(running, 0)
    steps, took = 1, 0.0
    while took < budget and steps < 4 * program.config.training.steps:
        steps *= 4
        took, running = timed(running, steps)
    a_step = max(took - observing, 0.0) / steps
    return drawing + observing * len(every) + a_step * float(simulate.record_steps(program.config)[-1])


def result_bytes(grid: Grid) -> int:
    """Bytes of all results, uncompressed."""
    records = grid.config.records + 1
    return grid.runs * sum(kind.itemsize * (records if over_time else 1)
                           for kind, over_time in grid.measured.values())


def _excess(program: Program, seconds: float, cut: Cut, free: int) -> float:
    """How many times too large a chunk is, for memory, patience or (with more than 8 runs a device) CPU caches."""
    devices = jax.local_device_count()
    excess = max(program.memory / (MEMORY_SHARE * free), seconds / CHUNK_SECONDS)
    if jax.default_backend() == "cpu" and cut.block.runs > 8 * devices:
        wanted = program.memory / (CACHE * devices)
        excess = max(excess, min(wanted, cut.block.runs / (8 * devices)))
    return excess


def _size(grid: Grid, group: Group) -> int:
    """What a program's memory roughly grows with."""
    config = grid.group_config(group)
    return (config.problem.d + config.problem.n_train) * (config.network.m_w + config.network.m_v)


def _must_fit(grid: Grid, group: Group, program: Program, runs: int | None, free: int) -> None:
    """Raise `ConfigError` unless the program fits into the memory."""
    label = grid.label(group)
    remedy = (SMALLER if program.block.runs == 1 else "lower --chunk" if runs is not None
              else "choose smaller sizes, or start anew with --chunk 1")
    must_fit(program, remedy, MEMORY_SHARE, free, f" of {label}" if label else "")
