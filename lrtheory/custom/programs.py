"""Many runs of your own model in one compiled program: algorithms x seeds, vmapped and spread over the local devices.

Lives here: the program, how many seeds fit into memory at once, running it. Lives elsewhere: a single run (simulate), what
any program of stacked runs needs (stacking), labels and folders (runs).
"""

import functools
import gc
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory.algorithm import Algorithm
from lrtheory.custom import closures, simulate
from lrtheory.custom.simulate import Numbers, Task
from lrtheory.devices import ONCE, RUNS, compiler_options, free_memory, main_memory, run_mesh
from lrtheory.spec import ConfigError
from lrtheory.stacking import axis_length, over, peak_bytes, pieces, places

KEPT = 32
"""Tasks of which a process keeps the compiled program."""
SHARE = 0.6
"""Of the free memory that a program may take."""
OVERHEAD = 1000
"""Bytes that keeping the numbers of a run takes beside these."""
PRECISION = "highest"
"""Of products: float32 means float32 on every backend, as in the theory."""
EVERYWHERE, SEEDS, RUNS_OF_SEEDS = PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(None, RUNS)


class Program(NamedTuple):
    """A compiled block of runs, for any numbers."""

    seeds: int  # at once, a multiple of the devices
    mesh: Mesh
    begin: Any  # (numbers, algorithms, seeds) -> setting (seeds, ...), run (algorithms, seeds, ...)
    follow: Any  # (numbers, algorithms, setting, run, steps) -> run, records (algorithms, seeds, records, ...)
    memory: int  # bytes: on the fullest device, or in all on CPU devices, which share theirs
    compile_seconds: float


@functools.lru_cache(maxsize=KEPT)
def functions(task: Task, mesh: Mesh) -> tuple[Any, Any]:
    """The functions of a task, made once for all numbers and any number of seeds."""
    def begin(numbers, algorithms, seeds):
        each_seed = over(functools.partial(simulate.begin, task, numbers), len(seeds), (None, 0))
        return over(each_seed, axis_length(algorithms), (0, None), (None, 0))(algorithms, seeds)

    def follow(numbers, algorithms, setting, run, steps):
        def one(algorithm, setting, run):
            run, records = simulate.trajectory(task, numbers, algorithm, setting, run, steps)
            return run, records

        each_seed = over(one, run.steps.shape[1], (None, 0, 0))
        return over(each_seed, axis_length(algorithms), (0, None, 0))(algorithms, setting, run)

    def spread(f, in_specs, out_specs, **options):
        return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False), **options)

    return (spread(begin, (EVERYWHERE, EVERYWHERE, SEEDS), (SEEDS, RUNS_OF_SEEDS)),
            spread(follow, (EVERYWHERE, EVERYWHERE, SEEDS, RUNS_OF_SEEDS, EVERYWHERE), (RUNS_OF_SEEDS, RUNS_OF_SEEDS),
                   donate_argnums=3))


def compile_runs(task: Task, numbers: Numbers, algorithms: Algorithm, seeds: int, marks: np.ndarray) -> Program:
    """The program for `seeds` seeds at once, filled up to a multiple of the devices; `marks`: the steps of the records."""
    started = time.perf_counter()
    mesh = run_mesh(jax.local_devices(), seeds)
    seeds = -(-seeds // mesh.size) * mesh.size

    def abstract(tree, spec):
        tree = jax.tree.map(jnp.asarray, tree)
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places(tree, mesh, spec))

    known = abstract(numbers, EVERYWHERE), abstract(algorithms, EVERYWHERE)
    begin, follow = functions(task, mesh)
    with jax.default_matmul_precision(PRECISION):
        begun = begin.trace(*known, abstract(np.zeros(seeds, jnp.asarray(0).dtype), SEEDS))
        setting, run = (jax.tree.map(lambda x, spec=spec: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), part)
            for part, spec in zip(begun.out_info, (SEEDS, RUNS_OF_SEEDS), strict=True))
        followed = follow.trace(*known, setting, run, abstract(pieces(marks)[0], EVERYWHERE))
        compiled = begun.lower().compile(compiler_options(mesh, ONCE)), followed.lower().compile()
    shared_memory = mesh.devices.flat[0].platform == "cpu"
    memory = max(map(peak_bytes, compiled)) * (mesh.size if shared_memory else 1)
    return Program(seeds, mesh, *compiled, memory, time.perf_counter() - started)


def compile_what_fits(task: Task, numbers: Numbers, algorithms: Algorithm, seeds: int, marks: np.ndarray,
                      at_once: int | None) -> Program:
    """The program for as many of `seeds` seeds at once as the memory holds, or for `at_once`; `ConfigError` if for none."""
    free, wanted = free_memory(), seeds if at_once is None else min(at_once, seeds)
    while True:
        program = compile_runs(task, numbers, algorithms, wanted, marks)
        if program.memory <= SHARE * free:
            return program
        if wanted == 1 or at_once is not None:
            raise ConfigError(f"memory: {program.seeds} seed(s) at once need {program.memory / 2**30:.3g} GiB; must be at "
                              f"most {SHARE:.0%} of the {free / 2**30:.3g} GiB that are free; lower at_once, the model's "
                              "size, the data or what is measured")
        wanted = max(1, min(wanted // 2, int(wanted * SHARE * free / program.memory)))


def require_room(runs: int, one: int, results: int) -> None:
    """Raise `ConfigError` for runs that the memory cannot hold, before anything is allocated.

    `one`: bytes of a seed that runs; `results`: those of all that is measured of all.
    """
    for needed, free in ((one, free_memory()), (results + OVERHEAD * runs, main_memory())):
        if needed > free:
            raise ConfigError(f"memory: {runs:,} run(s) need at least {needed / 2**30:.3g} GiB; must be at most the "
                              f"{free / 2**30:.3g} GiB that are free; lower seeds, records, what is measured, the data or "
                              "the model")


def run_seeds(program: Program, numbers: Numbers, algorithms: Algorithm, seeds: np.ndarray, marks: np.ndarray,
              tell: Callable[[int, dict[str, np.ndarray]], None]) -> dict[str, np.ndarray]:
    """All measurements of up to `program.seeds` seeds: {name: (algorithms, seeds, records, ...)}; events have no records.

    `tell` is called with (steps done, {name: (algorithms, seeds, ...)} at the last record).
    """
    def put(tree, spec):
        tree = jax.tree.map(jnp.asarray, tree)
        return jax.device_put(tree, places(tree, program.mesh, spec))

    filled = np.pad(np.asarray(seeds), (0, program.seeds - len(seeds)), mode="edge").astype(jnp.asarray(0).dtype)
    known, taken = (put(numbers, EVERYWHERE), put(algorithms, EVERYWHERE)), []
    setting, run = program.begin(*known, put(filled, SEEDS))
    for steps in pieces(marks):
        run, records = program.follow(*known, setting, run, put(steps, EVERYWHERE))
        taken.append({name: values[:, : len(seeds)] for name, values in jax.device_get(records).items()})
        tell(int(steps[-1]), {name: values[:, :, -1] for name, values in taken[-1].items()})
    over_time = {name: np.concatenate([t[name] for t in taken], axis=2)[:, :, : len(marks)] for name in taken[0]}
    events = jax.device_get({"annealed_at": run.annealed_at, "diverged_at": run.diverged_at})
    return over_time | {name: values[:, : len(seeds)] for name, values in events.items()}


def traced(task: Task, numbers: Numbers, algorithm: Algorithm) -> Any:
    """The program of one run of a task, with the arrays that it closes over as they are now.

    JAX keeps copies of arrays in types that it does not compute in (float64, int64) for as long as somebody holds them, and
    takes one that was changed in place since for what it was. So where a copy is none of the arrays of its shape that the
    functions reach (`closures.arrays`), all that JAX holds is let go of, and the program is traced again.
    """
    def whole(numbers: Numbers, algorithm: Algorithm, seed: jax.Array) -> Any:
        setting, run = simulate.begin(task, numbers, algorithm, seed)
        return simulate.trajectory(task, numbers, algorithm, setting, run, jnp.zeros(2, int))

    def trace() -> Any:
        with jax.default_matmul_precision(PRECISION):
            return jax.make_jaxpr(whole)(numbers, algorithm, jnp.asarray(0))

    closed = trace()
    kept, there = _host_arrays(closed), closures.arrays((*task.model, task.sample, task.loss, task.optimiser, task.measure))
    evidence = _hashed("", [*kept, *there])
    if there and evidence not in _DERIVED and not all(_is_there(array, there) for array in kept):
        del closed, kept
        functions.cache_clear()
        jax.clear_caches()
        gc.collect()
        closed = trace()
        if _hashed("", [*_host_arrays(closed), *there]) == evidence:  # no copies, but what is made of the arrays
            _DERIVED.add(evidence)
    return closed


_DERIVED: set[str] = set()


def _host_arrays(program: Any) -> list[np.ndarray]:
    """The arrays of NumPy that a traced program closes over."""
    return [array for array in constants(program) if isinstance(array, np.ndarray) and array.ndim]


def _is_there(copy: np.ndarray, arrays: list[np.ndarray]) -> bool:
    """Whether a copy is one of the arrays of its shape; if there are none it is a copy of something else."""
    alike = [array for array in arrays if array.shape == copy.shape]
    nan = copy.dtype.kind in "fc"
    return not alike or any(np.array_equal(copy, array.astype(copy.dtype), equal_nan=nan) for array in alike)


def meaning(closed: Any) -> str:
    """What a traced program computes, as a digest: of the program of one run, constants included.

    Equal for equal computations of one version of JAX, whatever they are called and however runs are put together, for any
    `numbers`; functions of the host (`host_functions`) by which object they are.
    """
    hosts = [id(function) for function in host_functions(closed)]
    return _hashed(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)) + str(hosts), constants(closed))


def digest(task: Task, numbers: Numbers) -> str:
    """What a task with a `meaning` computes of these numbers."""
    return _hashed(task.meaning, jax.tree.leaves(numbers))


def _hashed(text: str, arrays: Iterable[Any]) -> str:
    found = hashlib.sha256(text.encode())
    for array in arrays:
        is_key = jnp.issubdtype(getattr(array, "dtype", float), jax.dtypes.prng_key)
        found.update(np.asarray(jax.random.key_data(array) if is_key else array).tobytes())
    return found.hexdigest()


def constants(program: Any) -> Iterator[Any]:
    """The arrays that a traced program closes over, those of the functions in it included: a jitted one keeps its own."""
    for part in within(program):
        yield from getattr(part, "consts", ())


def host_functions(program: Any) -> Iterator[Any]:
    """The functions of the host whose answers a traced program uses, by jax.pure_callback or io_callback."""
    for part in within(program):
        for equation in getattr(part, "eqns", ()):
            if equation.primitive.name in ("pure_callback", "io_callback"):
                called = equation.params["callback"]
                yield getattr(called, "callback_func", called)


def within(program: Any) -> Iterator[Any]:
    """A traced program and all the programs of functions in it."""
    yield program
    for equation in getattr(program, "eqns", ()):
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(part, "eqns"):
                yield from within(part)
