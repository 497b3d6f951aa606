"""The compiled functions of a training, and some runs placed on a device: epoch by epoch, with what each measures.

Lives here: what is compiled, once for all numbers, seeds and schedules; a `Course`, several runs under way together. Lives
elsewhere: the functions themselves (simulate), which runs there are and in what order (runs).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lrtheory.algorithm import Algorithm, stacked
from lrtheory.spec import require
from lrtheory.vision import simulate
from lrtheory.vision.cifar import Images
from lrtheory.vision.config import Experiment

MEASURED: dict[str, tuple[str, str]] = {
    "train_loss": ("nat", "training loss, mean over an epoch's batches as drawn"),
    "train_accuracy": ("1", "training accuracy, likewise"),
    **{f"{kind}_{name}": ({"loss": "nat", "accuracy": "1"}[kind], f"test {kind} on {meaning}")
       for name, meaning in simulate.CONDITIONS.items() for kind in ("accuracy", "loss")},
    "rate": ("1", "learning rate at the epoch's last step"),
    "activation_noise": ("1", "std of the noise before every ReLU at the epoch's last step"),
    "seconds": ("s", "wall time of the epoch, measurement included"),
}
"""Everything recorded each epoch: {name: (unit, meaning)}."""


class Job(NamedTuple):
    """Runs that one device trains together."""

    runs: tuple[tuple[str, int], ...]  # (algorithm, seed)

    def __str__(self) -> str:
        return " and ".join(f"{name} seed {seed}" for name, seed in self.runs)


def numbers(config: Experiment) -> Experiment:
    """The config as the programs take it: its numbers as arrays, and nothing else in which equal programs may differ."""
    same = {"name": "", "note": "", "algorithms": (), "seeds": 1, "first_seed": 0, "at_once": 1, "spread": "runs",
            "interleave": False, "margin": 0.0, "checkpoint_epochs": 1, "n_test": 1,
            "training.epochs": 1, "training.anneal_epochs": ()}
    return jax.tree.map(jnp.asarray, config.replace(**same))


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
        begin=compiled(simulate.begin, (None, 0, 0)),
        order=compiled(simulate.order, (None, 0, None)),
        step=compiled(simulate.step, (None, 0, 0, 0, 0, 0, 0), donate_argnums=(4, 5)),
        epoch=compiled(simulate.scanned_epoch, (None, 0, 0, 0, 0, 0), donate_argnums=4),
        evaluate=of(simulate.evaluate, (None, 0, 0, 0, None)),
        evaluation=of(simulate.scanned_evaluation, (None, 0, 0, 0)))


def require_even(config: Experiment, devices: int) -> None:
    """Raise `ConfigError` for batches that so many devices cannot share evenly."""
    size, evenly = config.training.batch_size, "spread batch splits each batch evenly"
    require(size % devices == 0, "training.batch_size", size, f"a multiple of the {devices} devices", evenly)
    require(config.n_train % size % devices == 0, "n_train", config.n_train,
            f"such that its last batch, of {config.n_train % size}, is a multiple of the {devices} devices, too", evenly)


class Course:
    """A job placed on its device, or split by batches over all of them."""

    def __init__(self, config: Experiment, job: Job, schedules: list[Algorithm], images: Images,
                 device: Any, scan: bool | None = None) -> None:
        """`device`: one, or a list to split batches over; `scan`: whether an epoch is one program (None: not on CPU)."""
        self.config, self.job, self.several = config, job, len(job.runs) > 1
        many = isinstance(device, list)
        require_even(config, len(device) if many else 1)
        mesh = Mesh(np.array(device), ("batch",)) if many else None
        self.devices = set(device if many else [device])
        self.device = NamedSharding(mesh, PartitionSpec()) if mesh is not None else device
        self.batches = NamedSharding(mesh, PartitionSpec(None, "batch")) if mesh is not None else device
        self.batch = NamedSharding(mesh, PartitionSpec("batch")) if mesh is not None else device
        self.scan = (device[0] if many else device).platform != "cpu" if scan is None else scan
        with jax.default_device(device[0] if many else device):
            algorithm = stacked(schedules)
            each = [(jnp.asarray(seed), simulate.choose(config, images, seed)) for _, seed in job.runs]
            seeds, data = jax.tree.map(lambda *x: jnp.stack(x), *each)
            if not self.several:
                algorithm, seeds, data = jax.tree.map(lambda x: x[0], (algorithm, seeds, data))
        self.known = jax.device_put((numbers(config), algorithm, seeds, data), self.device)
        self.programs = programs(self.several)

    def begin(self) -> simulate.State:
        """The state before the first step, on the device."""
        config, algorithm, seeds, _ = self.known
        return jax.device_put(self.programs.begin(config, algorithm, seeds), self.device)

    def train_epoch(self, state: simulate.State, epoch: int) -> tuple[simulate.State, simulate.Tally]:
        """An epoch (counted from 0): the state after it and sums over its images; the state given is used up."""
        config, algorithm, seeds, data = self.known
        whole, rest = self.programs.order(config, seeds, jnp.asarray(epoch))
        steps = [np.asarray(rest)] if rest.shape[-1] else []
        if self.scan:
            state, seen = self.programs.epoch(config, algorithm, seeds, data, state, jax.device_put(whole, self.batches))
        else:
            seen = jax.device_put(simulate.tally((len(self.job.runs),) if self.several else ()), self.device)
            steps = [*np.moveaxis(np.asarray(whole), -2, 0), *steps]  # on the host: a slice a step costs as much as its call
        for now in jax.device_put(steps, self.batch):
            state, seen = self.programs.step(config, algorithm, seeds, data, state, seen, now)
        return state, seen

    def measure(self, state: simulate.State, seen: simulate.Tally) -> dict[str, np.ndarray]:
        """{name: (runs,)} of `MEASURED`, but the time."""
        config, algorithm, seeds, data = self.known
        names = simulate.conditions(self.config)
        if self.scan:
            found = self.programs.evaluation(names, config, seeds, data, state)
        else:
            chunks = data.test_images.shape[1 if self.several else 0]
            found = jax.tree.map(lambda *x: sum(x), *(
                self.programs.evaluate(names, config, seeds, data, state, jnp.asarray(k)) for k in range(chunks)))
        at = functools.partial(simulate.levels, self.config)
        levels = jax.vmap(at)(algorithm, state) if self.several else at(algorithm, state)
        found, seen, levels = jax.device_get((found, seen, levels))
        rows = {"train_loss": seen.loss / seen.count, "train_accuracy": seen.correct / seen.count}
        for name in names:
            rows |= {f"accuracy_{name}": found[name].correct / found[name].count,
                     f"loss_{name}": found[name].loss / found[name].count}
        rows |= {"rate": levels[0], "activation_noise": levels[1]}
        return {name: np.atleast_1d(values) for name, values in rows.items()}
