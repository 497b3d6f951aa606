"""Every algorithm from every seed on patched CIFAR-10: which device trains which, and the labelled dataset.

Lives here: the order of work, what is kept of an epoch. Lives elsewhere: a single run (simulate), what is compiled
(programs), states on disk (checkpoints), what the numbers say (results).

Two runs by vmap on a device train half as many images a second as one after another, on a CPU and, WideResNet-16-4, a third
as many on an H200 (their convolutions become grouped ones; `benchmarks/README.md`). So each device trains a run of its own,
in a thread of its own, and `at_once` is 1 unless you say otherwise.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from lrtheory import labelled
from lrtheory.algorithm import Algorithm, named, names_of
from lrtheory.devices import free_memory, require_working
from lrtheory.spec import require
from lrtheory.vision import simulate
from lrtheory.vision.checkpoints import Checkpoints, claim
from lrtheory.vision.cifar import Images
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import MEASURED, Course, Job

Progress = Callable[[int, int, str, int, int, dict[str, float]], None]
"""Called with (epochs done over all runs, in all, algorithm, seed, its epochs done, measurements of the last)."""
EPOCH = {"units": "epoch", "long_name": "epochs done"}
"""Attributes of the coordinate time."""
PRECISION = {"float32": "float32, products and convolutions at highest precision",
             "bfloat16": "bfloat16; parameters, statistics of batches and logits float32"}
"""What `Model.compute` means."""
SAVING = 1.0
"""Seconds set apart for a checkpoint before a deadline."""
KEEP_EVERY = 10.0
"""Seconds after which results so far are kept again, at the end of an epoch."""


class Interrupted(Exception):
    """Training was asked to stop, or its time was up; the checkpoints are there."""


def jobs(config: Experiment, names: Sequence[str]) -> list[list[Job]]:
    """All runs, seed by seed, `at_once` a job; jobs of one list advance together, epoch by epoch."""
    runs = [(name, config.first_seed + k) for k in range(config.seeds) for name in names]
    each = [Job(runs=tuple(runs[k : k + config.at_once])) for k in range(0, len(runs), config.at_once)]
    if not config.interleave:
        return [[job] for job in each]
    return [list(group) for _, group in itertools.groupby(each, key=lambda job: job.runs[0][1])]


def require_room(config: Experiment, count: int | None = None) -> None:
    """Raise `ConfigError` for trainings that the free memory cannot hold; `count` algorithms, None: the config's.

    What is held at least: results of every run, weights, momentum and gradient of those under way.
    """
    count, free = len(config.algorithms) if count is None else count, free_memory()
    results = 4 * len(MEASURED) * count * config.seeds * config.training.epochs + 200 * count * config.seeds
    if results <= free:  # else there is no need to look at the network
        under_way = config.at_once * (count if config.interleave else 1)
        results += 12 * simulate.parameter_count(config) * under_way
    require(results <= free, "seeds, training.epochs, model", f"{results / 2**30:.3g} GiB at least",
            f"at most the {free / 2**30:.3g} GiB of memory that are free", "lower one of them")


def run(config: Experiment, images: Images, *, algorithms: Mapping[str, Algorithm] | None = None,
        checkpoints: Path | None = None, progress: Progress | None = None, keep: Callable[[xr.Dataset], Any] | None = None,
        stop: Callable[[], bool] = lambda: False, until: float = math.inf) -> xr.Dataset:
    """Train every algorithm from every seed and return what each epoch measured.

    Args:
      config: what to train; checked first.
      images: CIFAR-10.
      algorithms: your own by name, clock in epochs done, instead of `config.algorithms`, where they may stand as well.
      checkpoints: folder to keep states in, every `config.checkpoint_epochs`; what lies there already is gone on from.
      progress: called after each epoch of each run.
      keep: given the results so far, marked unfinished, after epochs at least `KEEP_EVERY` seconds apart and at an
        interruption.
      stop: asked before each epoch; once it says yes, the runs end there and `Interrupted` is raised.
      until: as if `stop` said yes before an epoch that would not end, with its checkpoints, by this `time.monotonic()`.

    Returns:
      A dataset with dimensions algorithm, seed, record; record k is taken after epoch k + 1.

    Raises:
      ConfigError: a field is impossible, or `checkpoints` holds those of another experiment: other numbers, schedules of
        your own, images or settings of random numbers.
      Interrupted: `stop` asked for it, or `until` came.
    """
    if algorithms is not None:
        config = config.replace(algorithms=named(algorithms))
    config = config.check()
    for name, have, wanted in (("n_train", len(images.train), config.n_train), ("n_test", len(images.test), config.n_test)):
        require(wanted <= have, name, wanted, f"at most the {have:,} images there are", "lower it")
    names = names_of(config.algorithms)
    require_working()
    require_room(config, len(names))
    schedules = dict(zip(names, map(config.training.completed, config.algorithms), strict=True))
    whose = claim(checkpoints, config, images) if checkpoints is not None else ""
    devices: list[Any] = [jax.local_devices()] if config.spread == "batch" else list(jax.local_devices())
    todo = jobs(config, names)
    devices = devices[: len(todo)]
    record = _Record(config, names, images.source, len(jax.local_devices()), progress, keep)
    queue, free, ended = iter(todo), threading.Lock(), threading.Event()

    def drain(device: Any) -> None:
        while True:
            with free:
                group = next(queue, None)
            if group is None:
                return
            under_way = [_Training(Course(config, job, [schedules[name] for name, _ in job.runs], images, device),
                                   checkpoints, whose, record) for job in group]
            _together(under_way, record, lambda: stop() or ended.is_set(), until)

    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(drain, device) for device in devices]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()  # after a fault the other threads end after their epoch
    faults = [fault for future in futures if (fault := future.exception()) is not None]
    if faults:
        if all(isinstance(fault, Interrupted) for fault in faults):
            record.keep_now()
        raise next((fault for fault in faults if not isinstance(fault, Interrupted)), faults[0])
    return record.dataset()


class _Record:
    """What all runs have measured so far; threads write to it."""

    def __init__(self, config: Experiment, names: Sequence[str], source: str, devices: int, progress: Progress | None,
                 keep: Callable[[xr.Dataset], Any] | None) -> None:
        self.config, self.names, self.source, self.devices = config, names, source, devices
        self.progress, self.keep = progress, keep
        self.lock, self.started = threading.Lock(), time.perf_counter()
        self.kept, self.done, self.slowest = self.started, 0, 0.0
        shape = (len(names), config.seeds)
        self.values = {name: np.full((*shape, config.training.epochs), np.nan, np.float32) for name in MEASURED}
        self.epochs_done = np.zeros(shape, int)

    def take(self, job: Job, history: Mapping[str, np.ndarray], epochs: int, new: int, ended: bool) -> None:
        """`new` more epochs of a job: its history {name: (runs, epochs)} has `epochs`; `ended`: there will be no more."""
        with self.lock:
            for k, (name, seed) in enumerate(job.runs):
                where = self.names.index(name), seed - self.config.first_seed
                for what, values in history.items():
                    self.values[what][where] = values[k]
                self.epochs_done[where] = self.config.training.epochs if ended else epochs
                self.done += new
                if self.progress is not None:
                    self.progress(self.done, self.epochs_done.size * self.config.training.epochs, name, seed, epochs,
                                  {what: float(values[k, epochs - 1]) for what, values in history.items()})
            if self.keep is not None and not ended and time.perf_counter() - self.kept > KEEP_EVERY:
                self.keep_now()

    def keep_now(self) -> None:
        """Hand out what is there, if anything is."""
        if self.keep is not None and self.epochs_done.any():
            self.keep(self.dataset())
            self.kept = time.perf_counter()

    def dataset(self) -> xr.Dataset:
        """Everything measured, with dimensions algorithm, seed, record; records that no run has are left out."""
        config, done = self.config, self.epochs_done
        there = slice(int(done.max()))
        epochs = 1 + np.arange(config.training.epochs)[there]
        values = {name: v[..., there] for name, v in self.values.items()}
        lost = ~np.isfinite(values["train_loss"]) & (epochs <= done[..., None])
        diverged = np.where(lost.any(-1), epochs[lost.argmax(-1)], np.inf)
        facts = {"images": self.source, "precision": PRECISION[config.model.compute],
                 "wall_seconds": round(time.perf_counter() - self.started, 3), "devices_used": self.devices}
        return labelled.dataset(
            {name: v for name, v in values.items() if not np.isnan(v).all()}
            | {"diverged_at": diverged, "epochs_done": done.copy()},
            MEASURED | {"diverged_at": ("epoch", "first epoch whose training loss is not a number; inf: none"),
                        "epochs_done": ("epoch", "epochs that the run has done")},
            config, self.names, {"time": ("record", epochs, EPOCH)}, facts)


class _Training:
    """A job under way: its state, how far it is, what it has measured. What a checkpoint has is not done again."""

    def __init__(self, course: Course, checkpoints: Path | None, whose: str, record: _Record) -> None:
        self.course, self.record = course, record
        epochs, runs = course.config.training.epochs, course.job.runs
        self.history = {name: np.full((len(runs), epochs), np.nan, np.float32) for name in MEASURED}
        self.state, self.epoch, self.saved, self.begun = course.begin(), 0, 0, False
        self.kept = Checkpoints(checkpoints, course.job, whose) if checkpoints is not None else None
        if self.kept is not None and (found := self.kept.latest(self.state, self.history)) is not None:
            self.epoch, self.history, self.saved = found[0], found[2], found[0]
            self.state = jax.device_put(found[1], course.device)
            record.take(course.job, self.history, self.epoch, self.epoch, self.ended)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or every run's training loss is no longer a number: it has diverged."""
        return self.epoch == self.course.config.training.epochs or bool(
            self.epoch and np.isnan(self.history["train_loss"][:, self.epoch - 1]).all())

    def advance(self) -> None:
        """One epoch more, measured, and kept if it is time."""
        started = time.perf_counter()
        self.state, seen = self.course.train_epoch(self.state, self.epoch)
        row = self.course.measure(self.state, seen) | {"seconds": np.full(len(self.course.job.runs),
                                                                          time.perf_counter() - started)}
        for name, values in row.items():
            self.history[name][:, self.epoch] = values
        if self.begun:  # the first may have compiled
            self.record.slowest = max(self.record.slowest, float(row["seconds"][0]))
        self.begun, self.epoch = True, self.epoch + 1
        if self.epoch % self.course.config.checkpoint_epochs == 0 or self.ended:
            self.save()
        self.record.take(self.course.job, self.history, self.epoch, 1, self.ended)

    def save(self) -> None:
        """A checkpoint, unless this epoch has one."""
        if self.kept is not None and self.saved < self.epoch:
            self.kept.save(self.epoch, self.state, self.history)
            self.saved = self.epoch


def _together(trainings: Sequence[_Training], record: _Record, stop: Callable[[], bool], until: float) -> None:
    """Advance trainings, always one of those furthest back, to their ends. Raises `Interrupted`, after checkpoints."""
    try:
        while left := [training for training in trainings if not training.ended]:
            if stop() or time.monotonic() + 1.25 * record.slowest + SAVING * len(trainings) > until:
                for training in trainings:
                    training.save()
                raise Interrupted
            min(left, key=lambda training: training.epoch).advance()
    finally:
        for training in trainings:
            if training.kept is not None:
                training.kept.close()
