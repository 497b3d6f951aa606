"""Every algorithm from every seed on patched CIFAR-10: which device trains which, and the labelled dataset.

Lives here: the order of work over the devices, what is kept of an epoch. Lives elsewhere: a single run (simulate), what is
compiled (programs), states on disk (checkpoints), what the numbers say (results), many experiments (sweeps.trainings).

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
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from lrtheory import labelled, stopping
from lrtheory.algorithm import Algorithm, named, names_of
from lrtheory.devices import free_memory, require_working
from lrtheory.files import locked
from lrtheory.spec import require, require_path
from lrtheory.stopping import Interrupted
from lrtheory.vision import simulate
from lrtheory.vision.checkpoints import Checkpoints, claim
from lrtheory.vision.cifar import Images, must_be_usable
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import MEASURED, Course, Job, require_even

Progress = Callable[[int, int, str, int, int, dict[str, float]], None]
"""Called with (epochs done over all runs, in all, algorithm, seed, its epochs done, measurements of the last)."""
EPOCH = {"units": "epoch", "long_name": "epochs done"}
"""Attributes of the coordinate time."""
DESCRIBED = MEASURED | {"diverged_at": ("epoch", "first epoch whose training loss is not a number; inf: none"),
                        "epochs_done": ("epoch", "epochs that the run has done")}
"""All that results of an experiment have: {name: (units, meaning)}."""
PRECISION = {"float32": "float32, products and convolutions at highest precision",
             "bfloat16": "bfloat16; parameters, statistics of batches and logits float32"}
"""What `Model.compute` means."""
SAVING = 1.0
"""Seconds set apart for a checkpoint before a deadline."""
KEEP_EVERY = 10.0
"""Seconds after which results so far are kept again, at the end of an epoch."""


def jobs(config: Experiment, names: Sequence[str]) -> list[list[Job]]:
    """All runs, seed by seed, `at_once` a job; jobs of one list advance together, epoch by epoch."""
    runs = [(name, config.first_seed + k) for k in range(config.seeds) for name in names]
    each = [Job(runs=tuple(runs[k : k + config.at_once])) for k in range(0, len(runs), config.at_once)]
    if not config.interleave:
        return [[job] for job in each]
    return [list(group) for _, group in itertools.groupby(each, key=lambda job: job.runs[0][1])]


def require_room(config: Experiment) -> None:
    """Raise `ConfigError` for trainings that the devices cannot share or the free memory cannot hold.

    What is held at least: results of every run, weights, momentum and gradient of those under way.
    """
    if config.spread == "batch":
        require_even(config, len(jax.local_devices()))
    count, free = len(config.algorithms), free_memory()
    results = 4 * len(MEASURED) * count * config.seeds * config.training.epochs + 200 * count * config.seeds
    if results <= free:  # else there is no need to look at the network
        under_way = config.at_once * (count if config.interleave else 1)
        results += 12 * simulate.parameter_count(config) * under_way
    require(results <= free, "seeds, training.epochs, model", f"{results / 2**30:.3g} GiB at least",
            f"at most the {free / 2**30:.3g} GiB of memory that are free", "lower one of them")


def run(config: Experiment, images: Images, *, algorithms: Mapping[str, Algorithm] | None = None,
        checkpoints: Path | None = None, progress: Progress | None = None, keep: Callable[[xr.Dataset], Any] | None = None,
        stop: Callable[[], bool] = stopping.asked, until: float = math.inf) -> xr.Dataset:
    """Train every algorithm from every seed and return what each epoch measured. For many experiments: `lrtheory.sweep`.

    Args:
      config: what to train; checked first.
      images: CIFAR-10.
      algorithms: your own by name, clock in epochs done, instead of `config.algorithms`, where they may stand as well.
      checkpoints: folder to keep states in, every `config.checkpoint_epochs`; what lies there already is gone on from. It is
        this process's alone meanwhile.
      progress: called after each epoch of each run.
      keep: given the results so far, marked unfinished, after epochs at least `KEEP_EVERY` seconds apart and at an
        interruption.
      stop: asked before each epoch; once it says yes, the runs end there and `Interrupted` is raised.
      until: as if `stop` said yes before an epoch that would not end, with its checkpoints, by this `time.monotonic()`.

    Returns:
      A dataset with dimensions algorithm, seed, record; record k is taken after epoch k + 1.

    Raises:
      ConfigError: a field is impossible, images are not as `cifar.load` gives them, another process has `checkpoints`, or
        they are of another experiment: other numbers, schedules of your own, images or settings of random numbers.
      Interrupted: `stop` asked for it, or `until` came. This, and any other fault of a training or of the disk, has the
        results so far as its attribute `found`, None before the first epoch ends.
    """
    if algorithms is not None:
        config = config.replace(algorithms=named(algorithms))
    config = config.check()
    checkpoints = None if checkpoints is None else require_path("checkpoints", checkpoints)
    require_images(config, images)
    names = names_of(config.algorithms)
    require_working()
    require_room(config)
    record = Record(config, names, images.source, progress, keep)
    with nullcontext() if checkpoints is None else locked(checkpoints):
        whose = claim(checkpoints, config, images) if checkpoints is not None else ""
        work = [[Work(config, job, record, checkpoints, whose) for job in group] for group in jobs(config, names)]
        try:
            try:
                train_all(work, images, stop, until)
            except Interrupted:
                record.keep_now()
                raise
        except Exception as error:  # of a disk that is full, too
            vars(error)["found"] = record.dataset() if record.epochs_done.any() else None
            raise
    return record.dataset()


def require_images(config: Experiment, images: Images) -> None:
    """Raise `ConfigError` for images that are none of CIFAR-10's, or fewer than an experiment wants."""
    must_be_usable(images)
    for name, have, wanted in (("n_train", len(images.train), config.n_train), ("n_test", len(images.test), config.n_test)):
        require(wanted <= have, name, wanted, f"at most the {have:,} images there are", "lower it")


class Record:
    """What all runs of an experiment have measured so far; threads write to it."""

    def __init__(self, config: Experiment, names: Sequence[str], source: str, progress: Progress | None = None,
                 keep: Callable[[xr.Dataset], Any] | None = None,
                 done: Callable[["Record"], Any] = lambda record: None) -> None:
        """`source` of the images; `progress` and `keep` as in `run`; `done`: called once, when all runs have ended."""
        self.config, self.names, self.source = config, tuple(names), source
        self.progress, self.keep, self.done = progress, keep, done
        self.devices: set[Any] = set()  # that have trained an epoch
        self.lock, self.started = threading.Lock(), time.perf_counter()
        self.kept, self.count = self.started, 0
        shape = (len(names), config.seeds)
        self.values = {name: np.full((*shape, config.training.epochs), np.nan, np.float32) for name in MEASURED}
        self.epochs_done = np.zeros(shape, int)

    def take(self, training: "_Training", new: int) -> None:
        """`new` more epochs of a training."""
        job, epochs = training.course.job, training.epoch
        with self.lock:
            if training.begun:
                self.devices |= training.course.devices
            for k, (name, seed) in enumerate(job.runs):
                where = self.names.index(name), seed - self.config.first_seed
                for what, values in training.history.items():
                    self.values[what][where] = values[k]
                self.epochs_done[where] = self.config.training.epochs if training.ended else epochs
                self.count += new
                if self.progress is not None:
                    self.progress(self.count, self.epochs_done.size * self.config.training.epochs, name, seed, epochs,
                                  {what: float(values[k, epochs - 1]) for what, values in training.history.items()})
            if (self.epochs_done == self.config.training.epochs).all():
                self.done(self)
            elif self.keep is not None and not training.ended and time.perf_counter() - self.kept > KEEP_EVERY:
                self.keep_now()

    def keep_now(self) -> None:
        """Hand out what is there, if anything is."""
        if self.keep is not None and self.epochs_done.any():
            self.keep(self.dataset())
            self.kept = time.perf_counter()

    def found(self) -> dict[str, np.ndarray]:
        """Everything measured, and diverged_at and epochs_done: {name: (algorithms, seeds[, epochs])}."""
        epochs, lost = 1 + np.arange(self.config.training.epochs), ~np.isfinite(self.values["train_loss"])
        lost &= epochs <= self.epochs_done[..., None]
        diverged = np.where(lost.any(-1), epochs[lost.argmax(-1)], np.inf)
        return dict(self.values) | {"diverged_at": diverged, "epochs_done": self.epochs_done.copy()}

    def dataset(self) -> xr.Dataset:
        """Everything measured, with dimensions algorithm, seed, record; records that no run has are left out."""
        config, there = self.config, slice(int(self.epochs_done.max()))
        found = {name: v[..., there] if v.ndim == 3 else v for name, v in self.found().items()}
        facts = {"images": self.source, "precision": PRECISION[config.model.compute],
                 "wall_seconds": round(time.perf_counter() - self.started, 3), "devices_used": len(self.devices)}
        return labelled.dataset(
            {name: v for name, v in found.items() if not np.isnan(v).all()}, DESCRIBED, config, self.names,
            {"time": ("record", 1 + np.arange(config.training.epochs)[there], EPOCH)}, facts)


class Work(NamedTuple):
    """Some runs there are to do, whoever asks for them."""

    config: Experiment
    job: Job
    record: Record  # told of every epoch
    checkpoints: Path | None  # folder of the states, and whose they are
    whose: str


def train_all(groups: Sequence[Sequence[Work]], images: Images, stop: Callable[[], bool] = stopping.asked,
              until: float = math.inf) -> None:
    """Do all work, group after group, each on a device of its own; the runs of a group advance together, epoch by epoch.

    With `spread` batch all devices share each group. `stop` and `until` as in `run`. Raises `Interrupted`, or the first
    fault of any thread once the others have ended their epochs.
    """
    if not groups:
        return
    devices: list[Any] = list(jax.local_devices())
    devices = [devices] if groups[0][0].config.spread == "batch" else devices[: len(groups)]
    queue, free, ended, pace = iter(groups), threading.Lock(), threading.Event(), _Pace()

    def drain(device: Any) -> None:
        while True:
            with free:
                group = next(queue, None)
            if group is None:
                return
            under_way = [_Training(work, images, device, pace) for work in group]
            _together(under_way, pace, lambda: stop() or ended.is_set(), until)

    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(drain, device) for device in devices]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()  # after a fault the other threads end after their epoch
    faults = [fault for future in futures if (fault := future.exception()) is not None]
    if faults:
        raise next((fault for fault in faults if not isinstance(fault, Interrupted)), faults[0])


class _Pace:
    """How long an epoch takes; threads write to it."""

    slowest = 0.0  # seconds, of epochs that compiled nothing
    first = 0.0  # of one that may have compiled

    @property
    def longest(self) -> float:
        """What an epoch takes, as far as is known."""
        return self.slowest or self.first


class _Training:
    """A job under way: its state, how far it is, what it has measured. What a checkpoint has is not done again."""

    def __init__(self, work: Work, images: Images, device: Any, pace: _Pace) -> None:
        config, job = work.config, work.job
        named_so = dict(zip(names_of(config.algorithms), map(config.training.completed, config.algorithms), strict=True))
        schedules = [named_so[name] for name, _ in job.runs]
        self.course, self.record, self.pace = Course(config, job, schedules, images, device), work.record, pace
        self.history = {name: np.full((len(job.runs), config.training.epochs), np.nan, np.float32) for name in MEASURED}
        self.state, self.epoch, self.saved, self.begun = self.course.begin(), 0, 0, False
        self.kept = Checkpoints(work.checkpoints, job, work.whose) if work.checkpoints is not None else None
        if self.kept is not None and (found := self.kept.latest(self.state, self.history)) is not None:
            self.epoch, self.history, self.saved = found[0], found[2], found[0]
            self.state = jax.device_put(found[1], self.course.device)
            self.record.take(self, self.epoch)

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
        seconds = float(row["seconds"][0])
        if self.begun:  # the first may have compiled
            self.pace.slowest = max(self.pace.slowest, seconds)
        else:
            self.pace.first = max(self.pace.first, seconds)
        self.begun, self.epoch = True, self.epoch + 1
        if self.epoch % self.course.config.checkpoint_epochs == 0 or self.ended:
            self.save()
        self.record.take(self, 1)

    def save(self) -> None:
        """A checkpoint, unless this epoch has one."""
        if self.kept is not None and self.saved < self.epoch:
            self.kept.save(self.epoch, self.state, self.history)
            self.saved = self.epoch


def _together(trainings: Sequence[_Training], pace: _Pace, stop: Callable[[], bool], until: float) -> None:
    """Advance trainings, always one of those furthest back, to their ends. Raises `Interrupted`, after checkpoints."""
    try:
        while left := [training for training in trainings if not training.ended]:
            if stop() or time.monotonic() + 1.25 * pace.longest + SAVING * len(trainings) > until:
                for training in trainings:
                    training.save()
                raise Interrupted
            min(left, key=lambda training: training.epoch).advance()
    finally:
        for training in trainings:
            if training.kept is not None:
                training.kept.close()
