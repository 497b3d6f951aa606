"""Many runs in one compiled program: points x algorithms x seeds, vmapped and spread over the local devices.

Lives here: the program for a block of runs, what of a run its point changes, the memory it takes, running it.
Lives elsewhere: a single run (simulate), which blocks a sweep has (plan, sweeping), labels and files (results, store).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.extend.core import Literal
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory import schedule
from lrtheory.devices import RUNS, run_mesh
from lrtheory.provenance import environment
from lrtheory.schedule import Algorithm
from lrtheory.theory import simulate
from lrtheory.theory.config import Config, to_json
from lrtheory.theory.measure import STEP, described

Measured = dict[str, np.ndarray]
"""{name: (points, algorithms, seeds, records) or, for what happens once a run, (points, algorithms, seeds)}."""
Progress = Callable[[int, int, Measured], None]
"""Called with (steps done, steps in all, {name: (points, algorithms, seeds) measurement at the last record})."""

SEGMENTS = 40
"""A block is run as this many calls of one compiled program, for progress; the numbers do not depend on it."""


def run(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
        progress: Progress | None = None) -> xr.Dataset:
    """Train every algorithm from every seed and return all measurements, labelled.

    Args:
      config: what to run; checked first.
      algorithms: your own schedules by name, instead of the named ones of `config.algorithms`.
      progress: called now and then.

    Returns:
      A dataset with dimensions algorithm, seed and record; time is in units of the sum of rates (every variable
      carries its units). Averaging over seeds is left to you. attrs hold the config and the environment.

    Raises:
      ConfigError: a field is impossible; the message names it, its bound and a remedy.

    All algorithms of a seed share its data, initial weights and noise. For more than one configuration: `sweep`.
    """
    config.check()
    started = time.perf_counter()
    program = compile_block(config, (), Block(1, config.seeds), algorithms)
    found = run_block(program, {}, config.first_seed + np.arange(config.seeds), progress=progress)
    results = xr.Dataset(
        {name: (("algorithm", "seed", "record")[: values.ndim - 1], values[0]) for name, values in found.items()},
        coords={"algorithm": np.array(program.algorithms, np.dtypes.StringDType()),  # zarr 3 stores no other stably
                "seed": config.first_seed + np.arange(config.seeds),
                "step": ("record", simulate.record_steps(config), STEP)},
        attrs={"config": to_json(config)} | environment() | {
            "compile_seconds": round(program.compile_seconds, 3),
            "wall_seconds": round(time.perf_counter() - started, 3), "devices_used": program.mesh.size})
    meanings = described(config.problem)
    for name in found:
        results[name].attrs = dict(zip(("units", "long_name"), meanings[name], strict=True))
    return results


def predict(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
            progress: Progress | None = None) -> xr.Dataset:
    """What the theory predicts for `run(config)`: the same seeds' data, schedules and clock at infinite width.

    A dataset like that of `run`, with records of its own; arguments as there. The limit is derived here
    (`lrtheory.theory.engines.infinite`). Raises `ConfigError` as `run` does.
    """
    return run(config.at_infinite_width(), algorithms=algorithms, progress=progress)


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
    """A compiled block of runs: `begin` draws and starts them, `follow` takes them through some records."""

    config: Config
    algorithms: tuple[str, ...]
    block: Block
    padded: Block  # the block with the axis that is spread over devices filled up
    mesh: Mesh
    spread: Spread
    begin: Any  # (config, point, seeds) -> setting, run
    follow: Any  # (config, point, setting, run, steps) -> run, records
    memory: int  # bytes: on the fullest device, or in all on CPU devices, which share theirs
    compile_seconds: float


class Lowered(NamedTuple):
    """A block of runs before it is compiled, for the devices of `mesh`."""

    algorithms: tuple[str, ...]
    padded: Block
    mesh: Mesh
    spread: Spread
    begin: jax.stages.Lowered
    follow: jax.stages.Lowered


def lower_block(config: Config, swept: tuple[str, ...], block: Block,
                algorithms: Mapping[str, Algorithm] | None = None, *, devices: Sequence[Any] | None = None,
                platform: str | None = None) -> Lowered:
    """The program that runs `block.points` points x algorithms x `block.seeds` seeds of one static configuration.

    Args:
      config: the numbers that all points share.
      swept: dotted names of the fields in which points differ; each must be a swept field of its part.
      block: how many points and seeds.
      algorithms: your own schedules by name, the same at every point, instead of the config's named ones.
      devices: to spread it over; None: the local ones. Those of a described TPU topology compile for it from anywhere.
      platform: to lower for, where it is not that of the devices ("cuda", "tpu").

    Seeds are the innermost axis and nothing random depends on a point or an algorithm, so that all runs of a seed share
    its draws; of the data, only what a point changes is computed once a point (`_depends`).
    """
    names = tuple(algorithms) if algorithms is not None else config.algorithms

    def schedules(config: Config) -> Algorithm:
        """Schedules of every algorithm at one point, stacked."""
        own = algorithms.values() if algorithms is not None else map(config.training.algorithm, names)
        return Algorithm(*(schedule.stack(list(s)) for s in zip(*own, strict=True)))

    def begin_point(config, point, seeds):
        config = config.replace(**point)
        over_seeds = jax.vmap(simulate.begin, in_axes=(None, None, 0))
        return jax.vmap(over_seeds, in_axes=(None, 0, None), out_axes=(None, 0))(config, schedules(config), seeds)

    def follow_point(config, point, setting, run, steps):
        config = config.replace(**point)
        over_seeds = jax.vmap(simulate.trajectory, in_axes=(None, None, 0, 0, None))
        return jax.vmap(over_seeds, in_axes=(None, 0, None, 0, None))(config, schedules(config), setting, run, steps)

    shared = jax.tree.map(jnp.asarray, config)
    example = {name: _example(config, name) for name in swept}
    depends = _depends(begin_point, shared, example, np.zeros(1, np.int64))
    axes = jax.tree.map(lambda d: 0 if d else None, depends)
    mesh, padded, over_seeds = _layout(block, jax.local_devices() if devices is None else devices)
    everywhere, first, second, third = (PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(None, RUNS),
                                        PartitionSpec(None, None, RUNS))
    if over_seeds:  # of (seeds, ...) where no point changes it, (points, seeds, ...), (points, algorithms, seeds, ...)
        spread = Spread(everywhere, first, jax.tree.map(lambda d: second if d else first, depends), third)
    else:
        spread = Spread(first, everywhere, jax.tree.map(lambda d: first if d else everywhere, depends), first)
    here = padded.points if over_seeds else padded.points // mesh.size  # points on one device
    begin = jax.vmap(begin_point, in_axes=(None, 0, None), out_axes=(axes, 0), axis_size=here)
    follow = jax.vmap(follow_point, in_axes=(None, 0, axes, 0, None), axis_size=here)

    def spread_over_devices(f, in_specs, out_specs, **options):
        return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False), **options)

    begin = spread_over_devices(begin, (everywhere, spread.point, spread.seeds), (spread.setting, spread.run))
    follow = spread_over_devices(follow, (everywhere, spread.point, spread.setting, spread.run, everywhere),
                                 (spread.run, spread.run), donate_argnums=3)

    def abstract(tree, spec):
        """Shapes of `tree`, placed by one spec or a spec a leaf."""
        specs = jax.tree.map(lambda _: spec, tree) if isinstance(spec, PartitionSpec) else spec
        return jax.tree.map(  # an empty array (a group without examples) is never spread
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, s if x.size else everywhere)),
            tree, specs)

    point = {name: jax.ShapeDtypeStruct((padded.points,), value.dtype) for name, value in example.items()}
    known = (abstract(shared, everywhere), abstract(point, spread.point),
             abstract(jax.ShapeDtypeStruct((padded.seeds,), jnp.asarray(0).dtype), spread.seeds))
    setting, run = jax.eval_shape(begin, *known)
    steps = jnp.asarray(pieces(config)[0])
    platforms = None if platform is None else (platform,)
    return Lowered(
        names, padded, mesh, spread, begin.trace(*known).lower(lowering_platforms=platforms),
        follow.trace(*known[:2], abstract(setting, spread.setting), abstract(run, spread.run), abstract(steps, everywhere))
        .lower(lowering_platforms=platforms))


def compile_block(config: Config, swept: tuple[str, ...], block: Block,
                  algorithms: Mapping[str, Algorithm] | None = None) -> Program:
    """`lower_block` compiled for the local devices; arguments as there."""
    started = time.perf_counter()
    lowered = lower_block(config, swept, block, algorithms)
    begin, follow = lowered.begin.compile(), lowered.follow.compile()
    shared_memory = lowered.mesh.devices.flat[0].platform == "cpu"
    memory = max(map(peak_bytes, (begin, follow))) * (lowered.mesh.size if shared_memory else 1)
    return Program(config, lowered.algorithms, block, lowered.padded, lowered.mesh, lowered.spread, begin, follow, memory,
                   time.perf_counter() - started)


class Running(NamedTuple):
    """A block of runs under way, placed on the devices."""

    config: Config  # its numbers as arrays
    point: dict[str, jax.Array]  # {dotted name: (points,) values}
    setting: Any  # `simulate.Setting` with leading axes (seeds,) or, where a point changes it, (points, seeds)
    run: Any  # `simulate.Run` with leading axes (points, algorithms, seeds)


def start(program: Program, point: Mapping[str, np.ndarray], seeds: np.ndarray) -> Running:
    """Draw and start the runs of some points, {dotted name: (points,) values}, and seeds (seeds,)."""
    def put(value, spec, length, like):
        value = np.asarray(value, jnp.asarray(like).dtype)
        return jax.device_put(np.pad(value, (0, length - len(value)), mode="edge"), NamedSharding(program.mesh, spec))

    shared = jax.device_put(jax.tree.map(jnp.asarray, program.config), NamedSharding(program.mesh, PartitionSpec()))
    placed = {name: put(values, program.spread.point, program.padded.points, _example(program.config, name))
              for name, values in point.items()}
    setting, run = program.begin(shared, placed, put(seeds, program.spread.seeds, program.padded.seeds, 0))
    return Running(shared, placed, setting, run)


def advance(program: Program, running: Running, steps: np.ndarray) -> tuple[Running, Measured]:
    """Take the runs from step steps[0] through steps[-1]; what is measured at steps[1:]. `running` is used up.

    Measurements are (points, algorithms, seeds, records), of the block as it is filled up.
    """
    bounds = jax.device_put(jnp.asarray(steps), NamedSharding(program.mesh, PartitionSpec()))
    run, records = program.follow(running.config, running.point, running.setting, running.run, bounds)
    return running._replace(run=run), jax.device_get(records)


def run_block(program: Program, point: Mapping[str, np.ndarray], seeds: np.ndarray,
              progress: Progress | None = None) -> Measured:
    """Every measurement of a block of runs, which may have fewer points and seeds than the program has room for."""
    points = len(next(iter(point.values()))) if point else 1
    running, taken, total = start(program, point, seeds), [], simulate.record_steps(program.config)
    for steps in pieces(program.config):
        running, records = advance(program, running, steps)
        taken.append({name: values[:points, :, : len(seeds)] for name, values in records.items()})
        if progress is not None:
            progress(int(steps[-1]), int(total[-1]), {n: v[..., -1] for n, v in taken[-1].items()})
    over_time = {name: np.concatenate([t[name] for t in taken], axis=3)[..., : len(total)] for name in taken[0]}
    once = jax.device_get(simulate.events(program.config, running.run))
    return over_time | {name: values[:points, :, : len(seeds)] for name, values in once.items()}


def pieces(config: Config) -> list[np.ndarray]:
    """Cut the record steps into calls of equal length: [previous end, ends ...] for each.

    The first record is that of step 0, after no steps; the last call repeats the last end (no steps either).
    """
    steps = simulate.record_steps(config)
    length = -(-len(steps) // SEGMENTS)
    count = -(-len(steps) // length)
    padded = np.pad(steps, (1, count * length - len(steps)), mode="edge").astype(np.int32)
    return [padded[k * length : (k + 1) * length + 1] for k in range(count)]


def measured(config: Config) -> dict[str, tuple[np.dtype, bool]]:
    """Everything that is measured of a run: {name: (type, whether it is recorded over time)}."""
    def whole(config: Config, seed: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        algorithm = Algorithm(schedule.constant(1.0), schedule.constant(0.0))
        setting, run = simulate.begin(config, algorithm, seed)
        run, records = simulate.trajectory(config, algorithm, setting, run, jnp.zeros(2, int))
        return records, simulate.events(config, run)

    return {name: (np.dtype(x.dtype), over_time)
            for found, over_time in zip(jax.eval_shape(whole, config, jnp.asarray(0)), (True, False), strict=True)
            for name, x in found.items()}


def _example(config: Config, name: str) -> jax.Array:
    """One value of the swept field `name`, as JAX will see it."""
    part, _, field = name.partition(".")
    return jnp.asarray(getattr(getattr(config, part), field))


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


def _depends(begin: Callable, config: Config, point: Mapping[str, jax.Array], seeds: np.ndarray) -> Any:
    """Whether each leaf of the setting that `begin` returns depends on the point: a tree of bools."""
    closed, (setting, _) = jax.make_jaxpr(begin, return_shape=True)(config, point, seeds)
    jaxpr = closed.jaxpr
    count = len(jax.tree.leaves(config))
    touched = set(jaxpr.invars[count : count + len(point)])
    for equation in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in touched for v in equation.invars):
            touched.update(equation.outvars)
    leaves, tree = jax.tree.flatten(setting)
    return jax.tree.unflatten(tree, [not isinstance(v, Literal) and v in touched for v in jaxpr.outvars[: len(leaves)]])


def peak_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes a compiled program takes on one device, arguments and results included; 0 where the backend does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return (found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
            - found.alias_size_in_bytes)
