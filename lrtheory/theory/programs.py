"""Many runs in one compiled program: points x algorithms x seeds, vmapped and spread over the local devices.

Lives here: the program for a block of runs, what of a run its point changes, running it. Lives elsewhere: a single run
(simulate), whether a block fits into memory (room), labels (runs), which blocks a sweep has (sweeps).

A program depends on the fields that shape it, on the block, on which fields differ between points, and on how many
algorithms and stages there are. All numbers, seeds and schedules are its arguments, so the next call with others compiles
nothing: JAX keeps what it has compiled for a function, and `functions` keeps the functions.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory import stacking, stopping
from lrtheory.algorithm import Algorithm, names_of, packed, stacked
from lrtheory.devices import ONCE, RUNS, compiler_options, require_working, run_mesh
from lrtheory.schedule import constant
from lrtheory.stacking import axis_length, over, peak_bytes, places
from lrtheory.theory import simulate
from lrtheory.theory.config import Config

Measured = dict[str, np.ndarray]
"""{name: (points, algorithms, seeds, records) or, for what happens once a run, (points, algorithms, seeds)}."""
Progress = Callable[[int, int, Measured], None]
"""Called with (steps done, steps in all, {name: (points, algorithms, seeds) measurement at the last record})."""

QUICKLY = {"xla_cpu_use_fusion_emitters": False}
"""CPU compiler options with which a program of many small operations compiles in two thirds of the time. The infinite-width
engine runs no slower with them; engines with neurons do, by 1.3 to 1.6 times, and do without."""
KEPT = 32
"""Programs that a process keeps, about 30 MB each; the one that was not used for longest makes room."""


class Block(NamedTuple):
    """How many runs of each algorithm a program holds at once."""

    points: int  # configurations
    seeds: int

    @property
    def runs(self) -> int:
        """Runs of each algorithm: points x seeds."""
        return self.points * self.seeds


class Spread(NamedTuple):
    """Which parts carry a points axis, and which axis is spread over the devices: specs in the arguments' order."""

    point: PartitionSpec
    seeds: PartitionSpec
    setting: Any  # a spec a leaf
    run: PartitionSpec


class Program(NamedTuple):
    """A compiled block of runs, and the numbers it is run with."""

    config: Config
    block: Block
    padded: Block  # the block with the axis that is spread over devices filled up
    mesh: Mesh
    spread: Spread
    begin: Any  # (config, point, seeds, schedules) -> setting, run: draws and starts them
    follow: Any  # (config, point, setting, run, schedules, steps) -> run, records: takes them through some records
    memory: int  # bytes: on the fullest device, or in all on CPU devices, which share theirs
    compile_seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the algorithms."""
        return names_of(self.config.algorithms)


class Lowered(NamedTuple):
    """A block of runs before it is compiled, for the devices of `mesh`."""

    padded: Block
    mesh: Mesh
    spread: Spread
    begin: jax.stages.Lowered
    follow: jax.stages.Lowered


def numbers(config: Config) -> Config:
    """The config as a program takes it: its numbers as arrays, and nothing else in which equal programs may differ."""
    same = {"name": "", "note": "", "algorithms": (), "seeds": 1, "first_seed": 0, "records": 1, "required_ratio": 1.0,
            "training.steps": 1, "training.activation_noise_form": config.noise_form}
    return jax.tree.map(jnp.asarray, config.replace(**same))


def any_algorithm() -> Algorithm:
    """An algorithm, where it does not matter which."""
    return Algorithm(constant(1.0), constant(0.0), constant(1.0))


def of_schedules(name: str) -> bool:
    """Whether a swept field is a number inside a schedule, which no program knows by name."""
    return name.startswith("algorithms.")


def schedules(config: Config, point: Mapping[str, Any], count: int) -> Algorithm:
    """Schedules of every algorithm at `count` points, (points, algorithms, ...); point {dotted name: (points,) values}.

    Your own ones are stacked as NumPy arrays, so that whatever their numbers are, nothing is compiled for them.
    """
    theirs = {name: values for name, values in point.items() if not of_schedules(name)}
    inside = {name: np.asarray(values) for name, values in point.items() if of_schedules(name)}
    names = tuple(a if isinstance(a, str) else "" for a in config.algorithms)
    levels = tuple(a.injected_noise is None for a in config.algorithms if not isinstance(a, str))
    built_in, noise_level = _schedules(tuple(filter(None, names)), any(levels), count, numbers(config), theirs)
    built_in, noise_level = iter(jax.device_get(built_in)), jax.device_get(noise_level)
    points = [config.replace(**{name: float(values[k]) for name, values in inside.items()})
              for k in range(count if inside else 1)]
    found = []
    for place, algorithm in enumerate(config.algorithms):
        if isinstance(algorithm, str):
            found.append(next(built_in))
            continue
        each = []
        for at in points:
            own = at.algorithms[place]
            assert isinstance(own, Algorithm)
            own = own if own.injected_noise is not None else own.replace(injected_noise=constant(1.0))
            each.append(packed(at.training.completed(own)))
        one = stacked(each) if inside else jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), each[0])
        if algorithm.injected_noise is None:
            same: Any = one.injected_noise
            one = one.replace(injected_noise=same._replace(values=noise_level[:, None]))
        found.append(one)
    return stacked(found, axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _schedules(names: tuple[str, ...], level: bool, count: int, config: Config,
               point: Mapping[str, jax.Array]) -> tuple[list[Algorithm], Any]:
    """Those of built-in algorithms, and the level of injected noise of others if it is asked for, at `count` points."""
    def at(point: Mapping[str, jax.Array]) -> tuple[list[Algorithm], Any]:
        training = config.replace(**point).training
        return [packed(training.algorithm(name)) for name in names], jnp.asarray(training.noise_level) if level else None

    return jax.vmap(at, axis_size=count)(point)


class Functions(NamedTuple):
    """What is compiled: jitted functions, and where their arguments lie."""

    spread: Spread
    begin: Any
    follow: Any


@functools.lru_cache(maxsize=KEPT)
def functions(structure: Any, swept: tuple[str, ...], padded: Block, mesh: Mesh, over_seeds: bool) -> Functions:
    """The functions of a block, made once for all numbers.

    Args:
      structure: of the config, as `jax.tree.structure` says it of `numbers(config)`.
      swept: dotted names of the fields in which points differ.
      padded: points and seeds, filled up.
      mesh: the devices.
      over_seeds: whether seeds are spread over them, else points.
    """
    def begin_point(config, point, seeds, algorithms):
        each_seed = over(simulate.begin, len(seeds), (None, None, 0))
        each = over(each_seed, axis_length(algorithms), (None, 0, None), (None, 0))
        return each(config.replace(**point), algorithms, seeds)

    def follow_point(config, point, setting, run, algorithms, steps):
        each_seed = over(simulate.trajectory, run.steps.shape[1], (None, None, 0, 0, None))
        each = over(each_seed, axis_length(algorithms), (None, 0, None, 0, None))
        return each(config.replace(**point), algorithms, setting, run, steps)

    example = jax.tree.unflatten(structure, [jnp.zeros(())] * structure.num_leaves)
    depends = _depends(begin_point, example, swept) if swept else False
    axes = jax.tree.map(lambda d: 0 if d else None, depends)
    everywhere, first, second, third = (PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(None, RUNS),
                                        PartitionSpec(None, None, RUNS))
    if over_seeds:  # of (seeds, ...) where no point changes it, (points, seeds, ...), (points, algorithms, seeds, ...)
        spread = Spread(everywhere, first, jax.tree.map(lambda d: second if d else first, depends), third)
    else:
        spread = Spread(first, everywhere, jax.tree.map(lambda d: first if d else everywhere, depends), first)
    here = padded.points if over_seeds else padded.points // mesh.size  # points on one device
    begin = over(begin_point, here, (None, 0, None, 0), (axes, 0))
    follow = over(follow_point, here, (None, 0, axes, 0, 0, None))

    def spread_over_devices(f, in_specs, out_specs, **options):
        return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False), **options)

    known = everywhere, spread.point
    quickly = compiler_options(mesh, QUICKLY if example.engine == "infinite" else {})
    return Functions(
        spread, spread_over_devices(begin, (*known, spread.seeds, spread.point), (spread.setting, spread.run),
                                    compiler_options=compiler_options(mesh, ONCE)),
        spread_over_devices(follow, (*known, spread.setting, spread.run, spread.point, everywhere), (spread.run, spread.run),
                            donate_argnums=3, compiler_options=quickly))


def lower_block(config: Config, swept: tuple[str, ...], block: Block, *, devices: Sequence[Any] | None = None,
                platform: str | None = None, early: Callable[[jax.stages.Lowered], Any] = lambda begin: None) -> Lowered:
    """The program that runs `block.points` points x algorithms x `block.seeds` seeds of one static configuration.

    Args:
      config: the numbers that all points share.
      swept: dotted names of the fields in which points differ; each must be a swept field of its part.
      block: how many points and seeds.
      devices: to spread it over; None: the local ones. Those of a described TPU topology compile for it from anywhere.
      platform: to lower for, where it is not that of the devices ("cuda", "tpu").
      early: called with `begin` before `follow`, which takes longer, is traced.

    Seeds are the innermost axis and nothing random depends on a point or an algorithm, so that all runs of a seed share
    its draws; of the data, only what a point changes is computed once a point (`_depends`).
    """
    shared = numbers(config)
    mesh, padded, over_seeds = _layout(block, jax.local_devices() if devices is None else devices)
    spread, begin, follow = functions(
        jax.tree.structure(shared), tuple(name for name in swept if not of_schedules(name)), padded, mesh, over_seeds)
    everywhere = PartitionSpec()

    def abstract(tree, spec):
        """Shapes of `tree`, placed by one spec or a spec a leaf."""
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places(tree, mesh, spec))

    example = {name: np.zeros(padded.points, _kind(shared, name)) for name in swept}
    point = {name: values for name, values in example.items() if not of_schedules(name)}
    known = abstract(shared, everywhere), abstract(point, spread.point)
    stages = abstract(schedules(config, example, padded.points), spread.point)
    seeds = jax.ShapeDtypeStruct((padded.seeds,), jnp.asarray(0).dtype)
    started = begin.trace(*known, abstract(seeds, spread.seeds), stages)
    setting, run = started.out_info
    platforms = None if platform is None else (platform,)
    early(lowered := started.lower(lowering_platforms=platforms))
    followed = follow.trace(*known, abstract(setting, spread.setting), abstract(run, spread.run), stages,
                            abstract(jnp.asarray(pieces(config)[0]), everywhere))
    return Lowered(padded, mesh, spread, lowered, followed.lower(lowering_platforms=platforms))


def compile_block(config: Config, swept: tuple[str, ...], block: Block) -> Program:
    """`lower_block` compiled for the local devices; arguments as there. What was compiled before is not compiled again."""
    require_working()
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as beside:  # the compiler works while Python traces
        lowered = lower_block(config, swept, block, early=lambda begin: beside.submit(begin.compile))
    begin, follow = lowered.begin.compile(), lowered.follow.compile()
    shared_memory = lowered.mesh.devices.flat[0].platform == "cpu"
    memory = max(map(peak_bytes, (begin, follow))) * (lowered.mesh.size if shared_memory else 1)
    return Program(config, block, lowered.padded, lowered.mesh, lowered.spread, begin, follow, memory,
                   time.perf_counter() - started)


class Running(NamedTuple):
    """A block of runs under way, placed on the devices."""

    config: Config  # its numbers as arrays
    point: dict[str, jax.Array]  # {dotted name: (points,) values}
    schedules: Algorithm  # (points, algorithms, ...)
    setting: Any  # `simulate.Setting` with leading axes (seeds,) or, where a point changes it, (points, seeds)
    run: Any  # `simulate.Run` with leading axes (points, algorithms, seeds)


def start(program: Program, point: Mapping[str, np.ndarray], seeds: np.ndarray) -> Running:
    """Draw and start the runs of some points, {dotted name: (points,) values}, and seeds (seeds,)."""
    def put(tree, spec):
        return jax.device_put(tree, places(tree, program.mesh, spec))

    def filled(value, length, kind):
        value = np.asarray(value, kind)
        return np.pad(value, (0, length - len(value)), mode="edge")

    shared, spread, padded = numbers(program.config), program.spread, program.padded
    values = {name: filled(v, padded.points, _kind(shared, name)) for name, v in point.items()}
    stages = put(schedules(program.config, values, padded.points), spread.point)
    values = {name: v for name, v in values.items() if not of_schedules(name)}
    placed, shared = put(values, spread.point), put(shared, PartitionSpec())
    seeds = filled(seeds, padded.seeds, jnp.asarray(0).dtype)
    setting, run = program.begin(shared, placed, put(seeds, spread.seeds), stages)
    return Running(shared, placed, stages, setting, run)


def advance(program: Program, running: Running, steps: np.ndarray) -> tuple[Running, Measured]:
    """Take the runs from step steps[0] through steps[-1]; what is measured at steps[1:]. `running` is used up.

    Measurements are (points, algorithms, seeds, records), of the block as it is filled up.
    """
    bounds = jax.device_put(jnp.asarray(steps), NamedSharding(program.mesh, PartitionSpec()))
    run, records = program.follow(running.config, running.point, running.setting, running.run, running.schedules, bounds)
    return running._replace(run=run), jax.device_get(records)


def run_block(program: Program, point: Mapping[str, np.ndarray], seeds: np.ndarray, progress: Progress | None = None,
              keep: Callable[[int, Any], None] | None = None, stop: Callable[[], bool] = stopping.asked) -> Measured:
    """Every measurement of a block of runs, which may have fewer points and seeds than the program has room for.

    `keep` is called with (step, the engine's state), on the host, at the start and at the end of each piece of `pieces`.
    `stop` is asked before each piece; once it says yes, `Interrupted` is raised, with the records so far if there are any.
    """
    points = len(next(iter(point.values()))) if point else 1
    running, taken, total = start(program, point, seeds), [], simulate.record_steps(program.config)

    def hand_over(step: int) -> None:
        if keep is not None:
            keep(step, jax.tree.map(lambda x: x[:points, :, : len(seeds)], jax.device_get(running.run.network)))

    def measured() -> Measured:
        over_time = {name: np.concatenate([t[name] for t in taken], axis=3)[..., : len(total)] for name in taken[0]}
        once = jax.device_get(simulate.events(program.config, running.run))
        return over_time | {name: values[:points, :, : len(seeds)] for name, values in once.items()}

    hand_over(0)
    for steps in pieces(program.config):
        if stop():
            raise stopping.Interrupted(measured() if taken else None)
        running, records = advance(program, running, steps)
        hand_over(int(steps[-1]))
        taken.append({name: values[:points, :, : len(seeds)] for name, values in records.items()})
        if progress is not None:
            progress(int(steps[-1]), int(total[-1]), {n: v[..., -1] for n, v in taken[-1].items()})
    return measured()


def pieces(config: Config) -> list[np.ndarray]:
    """The record steps cut into calls (`stacking.pieces`)."""
    return stacking.pieces(simulate.record_steps(config))


def _kind(config: Config, name: str) -> np.dtype:
    """The type of the swept field `name`, as JAX will see it."""
    if of_schedules(name):
        return np.dtype(float)
    part, _, field = name.partition(".")
    return jnp.asarray(getattr(getattr(config, part), field)).dtype


def _layout(block: Block, devices: Sequence[Any]) -> tuple[Mesh, Block, bool]:
    """The mesh, the block filled up to a multiple of its devices, and whether seeds (else points) are spread.

    Spread is the axis that leaves each device the fewest runs; seeds at a tie, because points share their draws.
    """
    def load(spread_axis: int, other: int) -> int:
        return -(-spread_axis // min(len(devices), spread_axis)) * other

    over_seeds = load(block.seeds, block.points) <= load(block.points, block.seeds)
    mesh = run_mesh(devices, block.seeds if over_seeds else block.points)

    def filled(count: int) -> int:
        return -(-count // mesh.size) * mesh.size

    padded = block._replace(seeds=filled(block.seeds)) if over_seeds else block._replace(points=filled(block.points))
    return mesh, padded, over_seeds


def _depends(begin: Callable, config: Config, swept: tuple[str, ...]) -> Any:
    """Whether each leaf of the setting that `begin` returns depends on the point: a tree of bools."""
    point = {name: jnp.zeros(()) for name in swept}
    closed, (setting, _) = jax.make_jaxpr(begin, return_shape=True)(config, point, jnp.zeros(1, int),
                                                                    stacked([any_algorithm()]))
    jaxpr = closed.jaxpr
    count = len(jax.tree.leaves(config))
    touched = set(jaxpr.invars[count : count + len(point)])
    for equation in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in touched for v in equation.invars):
            touched.update(equation.outvars)
    leaves, tree = jax.tree.flatten(setting)
    return jax.tree.unflatten(tree, [not isinstance(v, Literal) and v in touched for v in jaxpr.outvars[: len(leaves)]])
