"""Infinitely wide networks on your arrays under every algorithm from every seed, as a labelled dataset: `limit`.

Lives here: the call, its check, what is laid out before it runs, the compiled program. Lives elsewhere: one run (simulate),
the kernel between inputs (gram), the folder with what is done (custom.answers).
"""

import functools
import hashlib
import time as clock
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory import fields, keys, labelled
from lrtheory.algorithm import Algorithm, named, silent, stacked
from lrtheory.custom import answers, programs
from lrtheory.custom.models import logistic, softmax
from lrtheory.custom.runs import MEANINGS, losses_in_words
from lrtheory.devices import ONCE, RUNS, compiler_options, free_memory, main_memory, require_working
from lrtheory.progress import watching
from lrtheory.schedule import constant
from lrtheory.spec import require, require_count, require_kind, require_path, shown
from lrtheory.stacking import axis_length, over, pieces, record_steps
from lrtheory.theory import kernel
from lrtheory.wide import gram, memory, simulate
from lrtheory.wide.config import Settings
from lrtheory.wide.data import LOSSES, Arrays, alike, arrays_of, check_loss, kind_of, noise_of, sharpness_at_start
from lrtheory.wide.memory import Numbers, Setting, Task
from lrtheory.wide.simulate import UNITS

SHARE = 0.6
"""Of the free memory that the arrays of a run may take."""
OPTIONS = ONCE | {"xla_cpu_use_fusion_emitters": False}
"""CPU compiler options: half the time to compile, and as fast, for products of matrices take the time."""
MATRICES = 4
"""Matrices of all pairs of rows that are held at once before a run is laid out."""
TEST_ERROR = 10
"""Error of the kernel between test rows and training rows, in that among training rows: it does not add up over steps."""
COPIES = 1.5
"""Bytes that a program takes, in those of its arrays."""


def limit(x: Any, y: Any, algorithms: Mapping[str, Any], *, test: Any = None, groups: Mapping[str, Any] | None = None,
          loss: Callable[[Any, Any], jax.Array] | None = None, weight_decay: float = 0.0, tau_xi: Any = 0.0,
          time: float = 100.0, records: int = 100, outputs: bool = False, at_once: int | None = None,
          folder: str | Path | None = None, progress: Callable[[int, int, dict[str, np.ndarray]], None] | bool | None = None,
          **settings: Any) -> xr.Dataset:
    """Train infinitely wide two-layer ReLU networks on your arrays by noisy SGD at a finite rate, under every algorithm.

    f_t(x) = sum_{s<t} eta_s prod_{s<r<t} (1 - eta_r lambda) sum_j R_j(s) <x, x_j> P(gates of (x, t) and (x_j, s) are open),
    R_j = -dL/df_j: the limit m -> infinity of f(x) = m^(-1/2) sum_i a_i relu(<u_i, x>), a_i = +-1 fixed, under
    U <- U - eta (grad L + lambda U + xi), whose gates the injected noise xi refreshes. No width, no sampling of noise. What
    the noise alone puts out, of the order of the initial weights' size tau0, is left out: it vanishes with tau0, and where
    neurons come in pairs of opposite a_i with one noise. Source: the network and update of section 3 of Li, Wei & Ma
    (2019); the limit is derived here (`lrtheory.theory.kernel`).

    Args:
      x: training inputs, (n, d), or a tuple of such blocks whose contributions add up: neurons of their own read each. Or
        sample(key) -> (x, y), (x, y, test) or (x, y, test, groups), called once a seed with y = None.
      y: labels (n,): -1 or 1; whole numbers from 0 for classes (an output each); or real numbers, (n,) or (n, outputs).
      algorithms: {name: an `Algorithm`, or its rate: a schedule, a number, words, an optax schedule}. Loss triggers read the
        training loss; injected noise is in units of tau_xi (None: 1), activation noise in units of tau0 |x|.
      test: (x, y) of further rows, measured as test_error and test_loss; or {name: (x, y)}, as test_error_NAME.
      groups: {name: training rows, as n booleans or as indices}: train_loss_NAME, train_error_NAME, time_NAME_half.
      loss: (outputs, y) -> a loss an example (n,), or their mean; None: logistic, softmax or squared, by what y are.
      weight_decay: lambda.
      tau_xi: standard deviation of xi in units of that of the initial weights: a number, one for each block, `Balanced`, or
        "balanced": what keeps the weights' noise at its size under the largest rate there is. 0: none.
      time: how long each algorithm runs, as the sum of its rates. A rate near 0 is gradient flow, at any cost of iterations:
        a step takes as many at once as `tolerance` admits.
      records: after the initial one; record k lies at time (k/records)^2 of the whole.
      outputs: record outputs at training rows and test rows, too, as train_outputs and test_outputs.
      at_once: seeds in one program; None: one on CPUs, elsewhere as many as the memory holds.
      folder: where finished seeds are kept; called again with the same question it goes on, or reads what is there.
      progress: True for a bar, or a function, as for `lrtheory.run`.
      **settings: fields of `lrtheory.wide.config.Settings`: seeds, batch_size, tolerance, precision, allow_unstable, ...

    Returns:
      A dataset with dimensions algorithm, seed and record; time, a coordinate, is the sum of rates.

    Raises:
      ConfigError: something is impossible; the message names it, its bound and a remedy.

    >>> import numpy as np, lrtheory as lt
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 20))
    >>> y = np.sign(x[:, 0])
    >>> runs = lt.limit(x, y, {"L-S": "0.5 until loss 0.3, 0.005", "S": 0.005}, weight_decay=0.01, tau_xi="balanced",
    ...                 time=40, records=4, test=(rng.standard_normal((500, 20)), np.ones(500)))
    >>> runs["train_loss"].dims, [round(float(v), 3) for v in runs["train_loss"].isel(record=-1, seed=0)]
    (('algorithm', 'seed', 'record'), [0.155, 0.154])
    """
    require_kind("algorithms", algorithms, Mapping, "a mapping {name: rate}", "such as {'large': 0.5}")
    require_kind("outputs", outputs, bool, "True or False", "True records them")
    if at_once is not None:
        require_count("at_once", at_once, 1, "or None for as many as fit")
    place = None if folder is None else require_path("folder", folder)
    base = fields.changed(Settings(), settings | {"time": time, "records": records, "weight_decay": weight_decay})
    require(isinstance(base.time, int | float) and not isinstance(base.time, bool), "time", shown(base.time), "a number",
            "the sum of rates to run for")
    own = tuple(algorithm_of(name, given, float(base.time)) for name, given in algorithms.items())
    base = base.replace(algorithms=named(dict(zip(algorithms, own, strict=True)))).check()
    require_working()
    drawn = [arrays_of(x, y, test, groups, seed) for seed in (
        base.first_seed + np.arange(base.seeds if callable(x) else 1)).tolist()]
    alike(drawn)
    largest = max(map(largest_rate, base.algorithms))
    config = base.replace(tau_xi=noise_of(tau_xi, float(base.weight_decay), largest, len(drawn[0].x))).check()
    with jax.enable_x64(config.precision == "float64"):
        return _answered(config, drawn, loss, outputs, at_once, place, progress)


def algorithm_of(name: str, given: Any, until: float) -> Algorithm:
    """An algorithm from what stands for one; functions are sampled up to the time `until`."""
    if not isinstance(given, Algorithm):
        given = Algorithm(rate=given, name=str(name))
    return given.replace(name=str(name)).settled(lambda: until)


# The program -------------------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How the arrays of all seeds are laid out: of training rows among themselves, and of each set of test rows."""

    blocks: tuple[gram.Plan, ...]
    reads: tuple[tuple[gram.Plan, ...], ...]


def lay_out(config: Settings, drawn: list[Arrays], terms: kernel.Expansion) -> Layout:
    """Sizes that serve all seeds."""
    rows = [tuple(map(gram.rows_of, data.x)) for data in drawn]
    blocks, reads = [], []
    for b in range(len(drawn[0].x)):
        blocks.append(gram.plan([(r[b], None) for r in rows], terms, config.kernel_error))
    for name in drawn[0].tests:
        tests = [tuple(map(gram.rows_of, data.tests[name][0])) for data in drawn]
        reads.append(tuple(gram.plan([(r[b], t[b]) for r, t in zip(rows, tests, strict=True)], terms,
                                     TEST_ERROR * config.kernel_error) for b in range(len(drawn[0].x))))
    return Layout(tuple(blocks), tuple(reads))


def setting_of(config: Settings, data: Arrays, layout: Layout, terms: kernel.Expansion, seed: int) -> Setting:
    """The arrays of a seed as the dynamics see them, in NumPy."""
    rows = tuple(map(gram.rows_of, data.x))
    modes = gram.common_modes(np.sum([gram.at_start(r) for r in rows], axis=0), min(gram.MODES, len(data.y)))
    blocks = tuple(gram.block_of(p, terms, config.kernel_error, r, modes) for p, r in zip(layout.blocks, rows, strict=True))
    reads = tuple(tuple(gram.reading_of(p, terms, TEST_ERROR * config.kernel_error, r, gram.rows_of(t)) for p, r, t in zip(
        plans, rows, tests, strict=True)) for plans, (tests, _) in zip(layout.reads, data.tests.values(), strict=True))
    shares = np.array([group / group.sum() for group in data.groups.values()]).reshape(len(data.groups), len(data.y))
    found = Setting(blocks, modes, data.y, shares, reads, tuple(y for _, y in data.tests.values()), np.int32(seed))
    precision = np.dtype(config.precision)
    return jax.tree.map(lambda a: a.astype(precision) if getattr(a, "dtype", np.dtype(int)).kind == "f" else a, found)


def bytes_of(config: Settings, layout: Layout, outputs: int) -> int:
    """Bytes of the kernel of one seed and of the memories of its runs."""
    size = np.dtype(config.precision).itemsize
    kernel_ = sum(p.directions * p.others * p.dense + p.pairs * (p.most - p.dense + 1) for plans in (
        layout.blocks, *layout.reads) for p in plans)
    memory = sum(p.directions * (60 + 3 * p.dense) for p in layout.blocks) * outputs * len(config.algorithms)
    return int(size * (kernel_ + 8 * memory))


class Program(NamedTuple):
    """A compiled block of runs."""

    seeds: int
    mesh: Mesh
    begin: Any  # (numbers, algorithms, settings (seeds, ...)) -> run (algorithms, seeds, ...)
    follow: Any  # (numbers, algorithms, settings, run, bounds) -> run, records
    compile_seconds: float


@functools.lru_cache(maxsize=32)
def functions(task: Task, mesh: Mesh, spread: bool) -> tuple[Any, Any]:
    """The functions of a task; `spread`: over seeds on several devices, else kernels lie where they were put."""
    def begin(numbers, algorithms, settings):
        each = over(lambda a, s: simulate.begin(task, numbers, a, s), axis_length(settings.modes), (None, 0))
        return over(each, axis_length(algorithms), (0, None))(algorithms, settings)

    def follow(numbers, algorithms, settings, run, bounds):
        def one(algorithm, setting, run):
            return simulate.trajectory(task, numbers, algorithm, setting, run, bounds)

        each = over(one, run.steps.shape[1], (None, 0, 0))
        return over(each, axis_length(algorithms), (0, None, 0))(algorithms, settings, run)

    if not spread:
        whole = NamedSharding(mesh, PartitionSpec())  # else XLA chooses, and one call would not take what another one gave
        return jax.jit(begin, out_shardings=whole), jax.jit(follow, donate_argnums=3, out_shardings=whole)
    everywhere, seeds, runs = PartitionSpec(), PartitionSpec(RUNS), PartitionSpec(None, RUNS)
    start = jax.shard_map(begin, mesh=mesh, in_specs=(everywhere, everywhere, seeds), out_specs=runs, check_vma=False)
    then = jax.shard_map(follow, mesh=mesh, in_specs=(everywhere, everywhere, seeds, runs, everywhere),
                         out_specs=(runs, runs), check_vma=False)
    return jax.jit(start), jax.jit(then, donate_argnums=3)


def numbers_for(config: Settings, terms: kernel.Expansion) -> Numbers:
    """What runs share, as numbers."""
    step_time = config.step_time or config.time / 10_000
    return Numbers(terms.rates, terms.weights, config.weight_decay, np.asarray(config.tau_xi), config.tolerance, step_time,
                   config.largest_loss, config.time / UNITS)


def places_of(settings: Setting, mesh: Mesh, spread: bool) -> Any:
    """Where each array of the settings lies: over seeds; or, of few seeds on many devices, kernels by rows of theirs."""
    if spread:
        return jax.tree.map(lambda a: NamedSharding(mesh, PartitionSpec(RUNS)), settings)

    def rows(a: np.ndarray) -> NamedSharding:
        divided = a.ndim == 4 and mesh.size > 1 and a.shape[2] % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec(None, None, RUNS) if divided else PartitionSpec())

    return jax.tree.map(rows, settings)


def compiled(task: Task, numbers: Numbers, algorithms: Algorithm, settings: Setting, marks: np.ndarray, mesh: Mesh,
             spread: bool) -> Program:
    """The program for settings of some seeds, (seeds, ...) each."""
    started = clock.perf_counter()
    begin, follow = functions(task, mesh, spread)
    put = functools.partial(jax.device_put, device=NamedSharding(mesh, PartitionSpec()))
    known = put(numbers), put(jax.tree.map(jnp.asarray, algorithms))
    first = begin.lower(*known, settings).compile(compiler_options(mesh, OPTIONS))
    run = first(*known, settings)
    then = follow.lower(*known, settings, run, put(pieces(marks)[0])).compile(compiler_options(mesh, OPTIONS))
    return Program(axis_length(settings.modes), mesh, first, then, clock.perf_counter() - started)


def run_seeds(program: Program, numbers: Numbers, algorithms: Algorithm, settings: Setting, marks: np.ndarray,
              task: Task, tell: Callable[[int, dict[str, np.ndarray]], None]) -> dict[str, np.ndarray]:
    """All measurements: {name: (algorithms, seeds, records, ...)}; events have no records."""
    put = functools.partial(jax.device_put, device=NamedSharding(program.mesh, PartitionSpec()))
    known, taken = (put(numbers), put(jax.tree.map(jnp.asarray, algorithms))), []
    run = program.begin(*known, settings)
    for bounds in pieces(marks):
        run, records = program.follow(*known, settings, run, put(bounds))
        taken.append(jax.device_get(records))
        tell(int(bounds[-1]), {name: values[:, :, -1] for name, values in taken[-1].items()})
    over_time = {name: np.concatenate([t[name] for t in taken], axis=2)[:, :, : len(marks)] for name in taken[0]}
    return over_time | jax.device_get(simulate.events(task, run))


def _answered(config: Settings, drawn: list[Arrays], loss: Any, outputs: bool, at_once: int | None, place: Path | None,
              progress: Any) -> xr.Dataset:
    """The dataset, in the precision of the configuration."""
    require_room(drawn[0])
    kind, count = kind_of(drawn, loss)
    noisy = any(a.noisy for a in config.algorithms)
    literal = config.batch_size is not None or config.tolerance == 0 or config.allow_unstable
    task = Task(loss or LOSSES[kind], kind, tuple(drawn[0].groups), tuple(drawn[0].tests), config.batch_size, noisy, literal,
                count, outputs)
    check_loss(task, drawn[0])
    n = len(drawn[0].y)
    require(config.batch_size is None or config.batch_size <= n, "batch_size", config.batch_size,
            f"at most the {n} examples", "or None for all")
    unasked = all(silent(a.injected_noise) for a in config.algorithms)
    require(any(config.tau_xi) or unasked, "algorithms", "injected noise", "left out without tau_xi",
            "give tau_xi, its standard deviation at level 1")
    require_stable(config, task, drawn[0])
    terms = kernel.expansion(config.shortest_lag)
    layout = lay_out(config, drawn, terms)
    at_once = seeds_at_once(config, layout, count, at_once)
    said = meanings(config, task, len(drawn[0].x))
    labelled.require_measured("groups or test", {name: np.zeros(()) for name in said if name not in labelled.OWN})
    if place is None:
        return _computed(config, task, drawn, layout, terms, at_once, progress, said, None)
    contents = [d._asdict() for d in drawn]
    arrays = hashlib.sha256(str(jax.tree.structure(contents)).encode())  # names of groups and of test rows
    for array in jax.tree.leaves(contents):
        arrays.update(f"{array.shape} {array.dtype.kind}".encode() + np.ascontiguousarray(array).tobytes())
    trial = jnp.zeros((2, count))
    asked = jax.make_jaxpr(lambda f, y: task.loss(memory.shaped(task, f), y))(trial, jnp.asarray(drawn[0].y[:2]))
    question = {"arrays": arrays.hexdigest(), "loss": programs.meaning(asked), "outputs": outputs,
                "settings": fields.parse(fields.to_json(config), "settings"), "random numbers": keys.described()}
    return answers.answered(place, question, config, lambda parts: _computed(
        config, task, drawn, layout, terms, at_once, progress, said, parts))


def _computed(config: Settings, task: Task, drawn: list[Arrays], layout: Layout, terms: kernel.Expansion, at_once: int,
              progress: Any, said: Mapping[str, tuple[str, str]], parts: Path | None) -> xr.Dataset:
    """Every seed, those that are kept in `parts` read and the others computed and, if there are parts, kept."""
    started, facts = clock.perf_counter(), {}
    names, marks = [a.name for a in config.algorithms], record_steps(UNITS, config.records)
    numbers = numbers_for(config, terms)
    complete = [a.replace(activation_noise=a.activation_noise or constant(0.0),
                          injected_noise=a.injected_noise or constant(1.0)) for a in config.algorithms]
    stack = stacked(complete)

    def compute(missing: list[int], keep: answers.Keep) -> None:
        devices = jax.local_devices()
        spread = at_once >= len(devices) > 1 and at_once % len(devices) == 0
        mesh = Mesh(np.array(devices if spread or len(missing) == 1 else devices[:1]), (RUNS,))
        chunks = [missing[k : k + at_once] for k in range(0, len(missing), at_once)]
        program = None
        with watching(progress, "time", lambda last: losses_in_words(names, last)) as told:
            for k, chunk in enumerate(chunks):
                filled = [*chunk, *[chunk[-1]] * (at_once - len(chunk))]
                each = [setting_of(config, drawn[(seed - config.first_seed) % len(drawn)], layout, terms, seed)
                        for seed in filled]
                settings = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
                settings = jax.device_put(settings, places_of(settings, mesh, spread))
                program = program or compiled(task, numbers, stack, settings, marks, mesh, spread)

                def tell(done: int, last: dict[str, np.ndarray], k: int = k) -> None:
                    if told is not None:
                        told(k * UNITS + done, len(chunks) * UNITS, last)

                found = run_seeds(program, numbers, stack, settings, marks, task, tell)
                keep(chunk, {name: values[:, : len(chunk)] for name, values in found.items()})
        assert program is not None
        facts.update(compile_seconds=round(program.compile_seconds, 3), devices_used=program.mesh.size,
                     seeds_at_once=at_once)

    whole = answers.every_seed(config, parts, compute, facts)
    facts |= {"kernel_rates": str([p.dense for p in layout.blocks]),
              "wall_seconds": round(clock.perf_counter() - started, 3)}
    return labelled.dataset(whole, said, config, names, {}, facts).set_coords("time")


# Checks and words --------------------------------------------------------------------------------------------------------


def largest_rate(algorithm: Algorithm) -> float:
    """The largest rate that any of its stages begins or ends with."""
    return max(float(np.max(np.asarray(pair))) for pair in algorithm.rate.resolved)


def require_stable(config: Settings, task: Task, data: Arrays) -> None:
    """Raise `ConfigError` for rates at or beyond the stability bound 2/lambda_max, unless they are asked for by name."""
    sharp = sharpness_at_start(task, data)
    for a in config.algorithms:
        largest = largest_rate(a)
        require(config.allow_unstable or largest * sharp < 2, f"algorithms.{a.name}.rate", largest,
                f"below the stability bound 2/lambda_max = {2 / sharp if sharp else np.inf:.4g} of these data at f = 0",
                "lower it, or scale x down; allow_unstable=True follows it iteration by iteration")


def require_room(data: Arrays) -> None:
    """Raise `ConfigError` for rows between which not even the cosines fit, before any are computed."""
    n = len(data.y)
    least, free = MATRICES * 8 * n * max(n, *(len(y) for _, y in data.tests.values()), 1), main_memory()
    require(least <= SHARE * free, "x", f"{n:,} rows", f"so few that products between them, {least / 2**30:.3g} GiB, are at "
            f"most {SHARE * free / 2**30:.3g} GiB", "use fewer rows")


def seeds_at_once(config: Settings, layout: Layout, outputs: int, asked: int | None) -> int:
    """Seeds in one program, or `ConfigError` if not even one fits."""
    one = COPIES * bytes_of(config, layout, outputs)
    devices = jax.local_devices()
    cpu = devices[0].platform == "cpu"
    free = SHARE * (free_memory() if cpu else free_memory() * len(devices))
    require(one <= free, "memory", f"{one / 2**30:.3g} GiB for the kernel of one seed",
            f"at most {free / 2**30:.3g} GiB here", "use fewer rows, centre x so that its rows are less alike, or "
            "precision='float32'")
    fits = max(1, min(int(free // one), config.seeds))
    if asked is None:
        return 1 if cpu and len(devices) == 1 else fits
    require(asked <= max(fits, config.seeds), "at_once", asked, f"at most {fits}", "None: as many as fit")
    return min(asked, fits)


def meanings(config: Settings, task: Task, blocks: int) -> dict[str, tuple[str, str]]:
    """{name: (units, meaning)} of everything that is recorded."""
    unit = "nat" if task.loss in (logistic, softmax) else "loss"
    said = MEANINGS | {
        "iterations": ("1", "iterations of the algorithm"),
        "steps": ("1", "steps taken, each of many iterations; tried ones included"),
        "activation_noise": ("tau0 |x|", "std of the pre-activation noise on x"),
    }
    said |= {name: ("tau0^2", "variance of the noise part of the weights, over that of the initial ones")
             for name in simulate.variances(blocks)}
    for name in ("", *task.groups):
        where = f"the rows {name}" if name else "all training rows"
        said[simulate.named("train_loss", name)] = (unit, f"training loss on {where}, without weight decay")
        said[simulate.named("train_error", name)] = ("1", f"share of wrong answers on {where}")
        said[f"time_{name}_half" if name else "time_half"] = (
            "sum of rates", f"first time the loss on {where} is half of what it began with; inf: never")
    for name in task.tests:
        where = f"the test rows {name}" if name else "the test rows"
        said[simulate.named("test_loss", name)] = (unit, f"loss on {where}")
        said[simulate.named("test_error", name)] = ("1", f"share of wrong answers on {where}")
        said[simulate.named("test_outputs", name)] = ("1", f"outputs on {where}")
    said["train_outputs"] = ("1", "outputs on the training rows")
    return said
