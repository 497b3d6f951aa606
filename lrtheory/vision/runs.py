"""Every algorithm from every seed on patched CIFAR-10: which device trains which, and the labelled dataset.

Lives here: the order of work, what is kept of an epoch. Lives elsewhere: a single run (simulate), what is compiled
(programs), states on disk (checkpoints), what the numbers say (results).

On CPU, two runs by vmap on a device train half as many images a second as one after another (their convolutions become
grouped ones; `benchmarks/cifar.py`). So each device trains a run of its own, in a thread of its own, and `at_once` is 1
unless you say otherwise.
"""

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
from lrtheory.algorithm import Algorithm
from lrtheory.spec import require
from lrtheory.vision.checkpoints import Checkpoints, claim
from lrtheory.vision.cifar import Images
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import MEASURED, Course, Job

Progress = Callable[[int, int, str, int, int, dict[str, float]], None]
"""Called with (epochs done over all runs, in all, algorithm, seed, its epochs done, measurements of the last)."""
EPOCH = {"units": "epoch", "long_name": "epochs done"}
"""Attributes of the coordinate time."""


class Interrupted(Exception):
    """Training was asked to stop; the checkpoints are there."""


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
        claim(checkpoints, config)
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


def _labelled(config: Experiment, names: Sequence[str], found: Mapping[tuple[str, int], Mapping[str, np.ndarray]],
              source: str, seconds: float, devices: int) -> xr.Dataset:
    """Histories as a dataset with dimensions algorithm, seed, record."""
    seeds = config.first_seed + np.arange(config.seeds)
    epochs = 1 + np.arange(config.training.epochs)
    values = {name: np.stack([np.stack([found[a, int(s)][name] for s in seeds]) for a in names]) for name in MEASURED}
    lost = ~np.isfinite(values["train_loss"])
    diverged = np.where(lost.any(-1), epochs[lost.argmax(-1)], np.inf)
    return labelled.dataset(
        {name: v for name, v in values.items() if not np.isnan(v).all()} | {"diverged_at": diverged},
        MEASURED | {"diverged_at": ("epoch", "first epoch whose training loss is not a number; inf: none")}, config, names,
        {"time": ("record", epochs, EPOCH)},
        {"images": source, "precision": config.model.compute, "wall_seconds": round(seconds, 3), "devices_used": devices})
