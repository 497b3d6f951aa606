"""Many training runs: which device takes which, epoch by epoch, with checkpoints from which a killed one goes on.

Lives here: the order of work, checkpoints, what is kept of an epoch, the labelled dataset. Lives elsewhere: a single run
(train), what the numbers say (outcome).

On CPU, two runs by vmap on a device train half as many images a second as one after another (their convolutions become
grouped ones; `benchmarks/cifar.py`). So each device trains a run of its own, in a thread of its own, and `at_once` is 1
unless you say otherwise.
"""

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory.provenance import environment
from lrtheory.schedule import Algorithm, stack
from lrtheory.spec import ConfigError, require
from lrtheory.sweeps.store import write_whole
from lrtheory.theory.config import to_json
from lrtheory.vision import simulate as train
from lrtheory.vision.cifar import Images
from lrtheory.vision.config import Experiment

Progress = Callable[[int, int, str, int, int, dict[str, float]], None]
"""Called with (epochs done over all runs, in all, algorithm, seed, its epochs done, measurements of the last)."""

MEASURED: dict[str, tuple[str, str]] = {
    "train_loss": ("nat", "training loss, mean over an epoch's batches as drawn"),
    "train_accuracy": ("1", "training accuracy, likewise"),
    **{f"{kind}_{name}": ({"loss": "nat", "accuracy": "1"}[kind], f"test {kind} on {meaning}")
       for name, meaning in (("clean", "clean images"), ("mixed", "images with the patch"),
                             ("patch_only", "the patch alone, on zeros")) for kind in ("accuracy", "loss")},
    "rate": ("1", "learning rate at the epoch's last step"),
    "activation_noise": ("1", "std of the noise before every ReLU at the epoch's last step"),
    "seconds": ("s", "wall time of the epoch, measurement included"),
}
"""Everything recorded each epoch: {name: (unit, meaning)}."""
EPOCH = {"units": "epoch", "long_name": "epochs done"}
"""Attributes of the coordinate time."""


class Interrupted(Exception):
    """Training was asked to stop; the checkpoints are there."""


class Job(NamedTuple):
    """Runs that one device trains together."""

    runs: tuple[tuple[str, int], ...]  # (algorithm, seed)

    def __str__(self) -> str:
        return " and ".join(f"{name} seed {seed}" for name, seed in self.runs)


def jobs(config: Experiment, names: Sequence[str]) -> list[Job]:
    """All runs, seed by seed, in groups of `at_once`."""
    runs = [(name, config.first_seed + k) for k in range(config.seeds) for name in names]
    return [Job(runs=tuple(runs[k : k + config.at_once])) for k in range(0, len(runs), config.at_once)]


def run(config: Experiment, images: Images, *, algorithms: Mapping[str, Algorithm] | None = None,
        checkpoints: Path | None = None, progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False) -> xr.Dataset:
    """Train every algorithm from every seed and return what each epoch measured.

    Args:
      config: what to train; checked first.
      images: CIFAR-10.
      algorithms: your own schedules by name, clock in epochs done, instead of the named ones of `config.algorithms`.
      checkpoints: folder to keep states in, every `config.checkpoint_epochs`; what lies there already is gone on from.
      progress: called after each epoch of each run.
      stop: asked after each epoch; once it says yes, the runs end there and `Interrupted` is raised.

    Returns:
      A dataset with dimensions algorithm, seed, record; record k is taken after epoch k + 1.

    Raises:
      ConfigError: a field is impossible, or `checkpoints` holds those of another experiment.
      Interrupted: `stop` asked for it.
    """
    config.check()
    for name, have, wanted in (("n_train", len(images.train), config.n_train), ("n_test", len(images.test), config.n_test)):
        require(wanted <= have, name, wanted, f"at most the {have:,} images there are", "lower it")
    names = tuple(algorithms) if algorithms is not None else config.algorithms
    schedules = dict(algorithms) if algorithms is not None else {n: config.training.algorithm(n) for n in names}
    started = time.perf_counter()
    devices = jax.local_devices()
    total, lock, done = len(names) * config.seeds * config.training.epochs, threading.Lock(), [0]
    ended = threading.Event()

    def report(job: Job, epoch: int, row: Mapping[str, np.ndarray], epochs: int) -> None:
        with lock:
            for k, (name, seed) in enumerate(job.runs):
                done[0] += epochs
                if progress is not None:
                    progress(done[0], total, name, seed, epoch, {what: float(values[k]) for what, values in row.items()})

    def work(job: Job, device: Any) -> dict[tuple[str, int], dict[str, np.ndarray]]:
        course = Course(config, job, [schedules[name] for name, _ in job.runs], images, device)
        return follow(course, checkpoints, report, lambda: stop() or ended.is_set())

    if checkpoints is not None:
        _claim(checkpoints, config)
    todo = jobs(config, names)
    found: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    if config.spread == "batch":
        for job in todo:
            found |= work(job, devices)
    else:
        queue, free = iter(todo), threading.Lock()

        def drain(device: Any) -> None:
            while True:
                with free:
                    job = next(queue, None)
                if job is None:
                    return
                found.update(work(job, device))

        with ThreadPoolExecutor(len(devices)) as pool:
            futures = [pool.submit(drain, device) for device in devices[: len(todo)]]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                ended.set()  # after a fault the other threads end after their epoch
        faults = [fault for future in futures if (fault := future.exception()) is not None]
        if faults:
            raise next((fault for fault in faults if not isinstance(fault, Interrupted)), faults[0])
    return _labelled(config, names, found, images.source, time.perf_counter() - started, len(devices))


class Programs(NamedTuple):
    """The functions of train, compiled when first called; over several runs at once they are vmapped."""

    begin: Callable
    order: Callable
    step: Callable
    epoch: Callable
    evaluate: Callable
    evaluation: Callable


@functools.cache
def programs(several: bool) -> Programs:
    """Compiled functions of one run, or of several with a leading axis in everything but the config and the counts."""
    def compiled(f: Callable, axes: tuple[int | None, ...], **options: Any) -> Callable:
        return jax.jit(jax.vmap(f, in_axes=axes) if several else f, **options)

    def of(f: Callable, axes: tuple[int | None, ...]) -> Callable:
        def named(names, *rest):
            over = functools.partial(f, names)
            return (jax.vmap(over, in_axes=axes) if several else over)(*rest)

        return jax.jit(named, static_argnums=0)

    return Programs(
        begin=compiled(train.begin, (None, 0, 0)),
        order=compiled(train.order, (None, 0, None)),
        step=compiled(train.step, (None, 0, 0, 0, 0, 0, 0), donate_argnums=(4, 5)),
        epoch=compiled(train.scanned_epoch, (None, 0, 0, 0, 0, 0), donate_argnums=4),
        evaluate=of(train.evaluate, (None, 0, 0, 0, None)),
        evaluation=of(train.scanned_evaluation, (None, 0, 0, 0)))


class Course:
    """A job placed on its device, or split by batches over all of them."""

    def __init__(self, config: Experiment, job: Job, schedules: list[Algorithm], images: Images,
                 device: Any, scan: bool | None = None) -> None:
        """`device`: one, or a list to split batches over; `scan`: whether an epoch is one program (None: not on CPU)."""
        self.config, self.job, self.several = config, job, len(job.runs) > 1
        many = isinstance(device, list)
        size = config.training.batch_size
        require(not many or size % len(device) == 0, "training.batch_size", size,
                f"a multiple of the {len(device) if many else 1} devices", "spread batch splits each batch evenly")
        mesh = Mesh(np.array(device), ("batch",)) if many else None
        self.device = NamedSharding(mesh, PartitionSpec()) if mesh is not None else device
        self.batches = NamedSharding(mesh, PartitionSpec(None, "batch")) if mesh is not None else device
        self.batch = NamedSharding(mesh, PartitionSpec("batch")) if mesh is not None else device
        self.scan = (device[0] if many else device).platform != "cpu" if scan is None else scan
        with jax.default_device(device[0] if many else device):
            algorithm = Algorithm(*(stack(list(s)) for s in zip(*schedules, strict=True)))
            each = [(jnp.asarray(seed), train.choose(config, images, seed)) for _, seed in job.runs]
            seeds, data = jax.tree.map(lambda *x: jnp.stack(x), *each)
            if not self.several:
                algorithm, seeds, data = jax.tree.map(lambda x: x[0], (algorithm, seeds, data))
        self.known = jax.device_put((jax.tree.map(jnp.asarray, config.replace(name="", note="")), algorithm, seeds, data),
                                    self.device)
        self.programs = programs(self.several)

    def begin(self) -> train.State:
        """The state before the first step, on the device."""
        config, algorithm, seeds, _ = self.known
        return jax.device_put(self.programs.begin(config, algorithm, seeds), self.device)

    def train_epoch(self, state: train.State, epoch: int) -> tuple[train.State, train.Tally]:
        """An epoch (counted from 0): the state after it and sums over its images; the state given is used up."""
        config, algorithm, seeds, data = self.known
        chosen = self.programs.order(config, seeds, jnp.asarray(epoch))
        if self.scan:
            return self.programs.epoch(config, algorithm, seeds, data, state, jax.device_put(chosen, self.batches))
        seen = jax.device_put(train.tally((len(self.job.runs),) if self.several else ()), self.device)
        steps = np.moveaxis(np.asarray(chosen), -2, 0)  # cut on the host: a slice a step costs as much as its call
        for now in jax.device_put(list(steps), self.batch):
            state, seen = self.programs.step(config, algorithm, seeds, data, state, seen, now)
        return state, seen

    def measure(self, state: train.State, seen: train.Tally) -> dict[str, np.ndarray]:
        """{name: (runs,)} of `MEASURED`, but the time."""
        config, algorithm, seeds, data = self.known
        names = train.conditions(self.config)
        if self.scan:
            found = self.programs.evaluation(names, config, seeds, data, state)
        else:
            chunks = data.test_images.shape[1 if self.several else 0]
            found = jax.tree.map(lambda *x: sum(x), *(
                self.programs.evaluate(names, config, seeds, data, state, jnp.asarray(k)) for k in range(chunks)))
        levels = jax.vmap(train.levels)(algorithm, state) if self.several else train.levels(algorithm, state)
        found, seen, levels = jax.device_get((found, seen, levels))
        rows = {"train_loss": seen.loss / seen.count, "train_accuracy": seen.correct / seen.count}
        for name in names:
            rows |= {f"accuracy_{name}": found[name].correct / found[name].count,
                     f"loss_{name}": found[name].loss / found[name].count}
        rows |= {"rate": levels[0], "activation_noise": levels[1]}
        return {name: np.atleast_1d(values) for name, values in rows.items()}


def follow(course: Course, checkpoints: Path | None, report: Callable, stop: Callable[[], bool]) -> dict:
    """All epochs of a job: {(algorithm, seed): {measurement: (epochs,)}}; what a checkpoint has is not done again.

    A run whose training loss is no longer a number has diverged; once all of a job have, the job ends. Raises `Interrupted`,
    after a checkpoint, when `stop` says so.
    """
    config, runs = course.config, course.job.runs
    history = {name: np.full((len(runs), config.training.epochs), np.nan, np.float32) for name in MEASURED}
    state, epoch = course.begin(), 0
    kept = Checkpoints(checkpoints, course.job) if checkpoints is not None else None
    if kept is not None and (restored := kept.latest(state, history)) is not None:
        epoch, state, history = restored[0], jax.device_put(restored[1], course.device), restored[2]
    if epoch:
        report(course.job, epoch, {name: values[:, epoch - 1] for name, values in history.items()}, epoch)
    try:
        while epoch < config.training.epochs and not (epoch and np.isnan(history["train_loss"][:, epoch - 1]).all()):
            started = time.perf_counter()
            state, seen = course.train_epoch(state, epoch)
            row = course.measure(state, seen) | {"seconds": np.full(len(runs), time.perf_counter() - started)}
            for name, values in row.items():
                history[name][:, epoch] = values
            epoch += 1
            report(course.job, epoch, row, 1)
            stopping = stop()
            if kept is not None and (stopping or epoch % config.checkpoint_epochs == 0 or epoch == config.training.epochs):
                kept.save(epoch, state, history)
            if stopping:
                raise Interrupted
    finally:
        if kept is not None:
            kept.close()
    return {run: {name: values[k] for name, values in history.items()} for k, run in enumerate(runs)}


class Checkpoints:
    """States of a job on disk: whole or not at all, the latest two (orbax)."""

    def __init__(self, folder: Path, job: Job) -> None:
        """In a folder of the job's own within `folder`."""
        import orbax.checkpoint as ocp  # takes a second, and only those who keep states need it

        self.args = ocp.args
        where = (folder / str(job).replace(" ", "-")).absolute()
        self.manager = ocp.CheckpointManager(where, options=ocp.CheckpointManagerOptions(
            max_to_keep=2, create=True, enable_async_checkpointing=False))

    def save(self, epoch: int, state: train.State, history: dict[str, np.ndarray]) -> None:
        """Keep the state after `epoch` epochs; a rerun after a fault may find it there already."""
        self.manager.save(epoch, args=self.args.StandardSave({"state": jax.tree.leaves(state), "history": history}),
                          force=True)

    def latest(self, state: train.State, history: dict[str, np.ndarray]) -> tuple[int, train.State, dict] | None:
        """(epochs, state, history) of the latest whole checkpoint, shaped like those given; None if there is none."""
        leaves, tree = jax.tree.flatten(state)
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), {"state": leaves, "history": history})
        for epoch in sorted(self.manager.all_steps(), reverse=True):
            try:
                found = self.manager.restore(epoch, args=self.args.StandardRestore(like))
            except Exception:  # damaged, in whatever way: the one before it, or from the start
                self.manager.delete(epoch)
                continue
            return epoch, jax.tree.unflatten(tree, found["state"]), {n: np.array(v) for n, v in found["history"].items()}
        return None

    def close(self) -> None:
        """End its threads."""
        self.manager.close()


def _claim(folder: Path, config: Experiment) -> None:
    """Say in the folder of checkpoints whose they are. Raises `ConfigError` if they are another experiment's."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "experiment.json", to_json(config.replace(name="", note=""))
    if path.exists() and path.read_text() != text:
        raise ConfigError(f"{folder}: holds checkpoints of another experiment; must be of this one; choose another folder")
    write_whole(path, text)


def _labelled(config: Experiment, names: Sequence[str], found: Mapping[tuple[str, int], Mapping[str, np.ndarray]],
              source: str, seconds: float, devices: int) -> xr.Dataset:
    """Histories as a dataset with dimensions algorithm, seed, record."""
    seeds = config.first_seed + np.arange(config.seeds)
    epochs = 1 + np.arange(config.training.epochs)
    values = {name: np.stack([np.stack([found[a, int(s)][name] for s in seeds]) for a in names]) for name in MEASURED}
    results = xr.Dataset(
        {name: (("algorithm", "seed", "record"), v) for name, v in values.items() if not np.isnan(v).all()},
        coords={"algorithm": np.array(names, np.dtypes.StringDType()), "seed": seeds, "time": ("record", epochs, EPOCH)},
        attrs={"config": to_json(config), "images": source} | environment() | {
            "precision": config.model.compute, "wall_seconds": round(seconds, 3), "devices_used": devices})
    for name in results.data_vars:
        results[name].attrs = dict(zip(("units", "long_name"), MEASURED[str(name)], strict=True))
    lost = ~np.isfinite(values["train_loss"])
    first = np.where(lost.any(-1), epochs[lost.argmax(-1)], np.inf)
    results["diverged_at"] = (("algorithm", "seed"), first,
                              {"units": "epoch", "long_name": "first epoch whose training loss is not a number; inf: none"})
    return results
