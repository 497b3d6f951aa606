"""Everything that determines the CIFAR-10 experiment, as one value.

Lives here: `Experiment`, its parts, and the schedules of its algorithms. Lives elsewhere: JSON (fields), the patch's law
(patches), named experiments (presets), training (simulate).
"""

import dataclasses
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp

from lrtheory.algorithm import Algorithm, AlgorithmName, check_runs, settled_algorithms, unknown
from lrtheory.fields import changed, settled
from lrtheory.schedule import Schedule, constant, step_decay
from lrtheory.spec import (
    require,
    require_choice,
    require_count,
    require_nonnegative,
    require_positive,
    require_words,
    spec,
    static,
    swept,
)
from lrtheory.vision.models import SmallCNN, WideResNet
from lrtheory.vision.patches import PatchLaw

ModelKind = Literal["wide-resnet", "small-cnn"]
"""Values of `Model.kind`."""
Compute = Literal["float32", "bfloat16"]
"""Values of `Model.compute`."""
Spread = Literal["runs", "batch"]
"""Values of `Experiment.spread`."""
N_TRAIN, N_TEST = 50_000, 10_000
"""Images that CIFAR-10 has."""


@spec
class Model:
    """Which network, and in which arithmetic; parameters and optimiser are float32 throughout."""

    kind: ModelKind = static(default="wide-resnet")
    """wide-resnet: pre-activation WideResNet; small-cnn: 3x3 convolutions, global mean, linear"""
    depth: int = static(default=16)
    """wide-resnet: 6 n + 4"""
    widen: int = static(default=10)
    """wide-resnet: widths 16, 16 k, 32 k, 64 k"""
    widths: tuple[int, ...] = static(default=(16, 32, 64))
    """small-cnn: channels of each convolution"""
    strides: tuple[int, ...] = static(default=(2, 2, 1))
    """small-cnn: stride of each convolution"""
    compute: Compute = static(default="float32")
    """of convolutions, BatchNorm and activations"""

    def build(self) -> nn.Module:
        """The Flax module: images (N, 32, 32, 3) -> logits (N, 10), see `lrtheory.vision.models`."""
        dtype = jnp.dtype(self.compute)
        if self.kind == "wide-resnet":
            return WideResNet(depth=self.depth, widen=self.widen, dtype=dtype)
        return SmallCNN(widths=self.widths, strides=self.strides, dtype=dtype)

    def check(self) -> None:
        """Raise `ConfigError` for a network there cannot be."""
        require_choice("model.kind", self.kind, get_args(ModelKind))
        require_choice("model.compute", self.compute, get_args(Compute))
        require(10 <= self.depth <= 1000 and (self.depth - 4) % 6 == 0, "model.depth", self.depth,
                "6 n + 4, at least 10 and at most 1000", "for example 16, 22, 28")
        require(1 <= self.widen <= 1000, "model.widen", self.widen, "between 1 and 1000", "10 is the paper's")
        require(0 < len(self.widths) <= 100 and all(0 < w <= 10**5 for w in self.widths), "model.widths", self.widths,
                "positive, up to 100 of at most 100,000", "for example 16 32 64")
        require(len(self.strides) == len(self.widths) and all(0 < s <= 32 for s in self.strides), "model.strides",
                self.strides, f"{len(self.widths)} numbers from 1 to 32, one for each of model.widths", "for example 2 2 1")


@spec
class SGD:
    """SGD with Nesterov momentum and weight decay; the clock of every schedule is in epochs done.

    g <- grad L + lambda w;  v <- mu v + g;  w <- w - eta_t (g + mu v). L-S starts at eta1, S at eta_ratio eta1; epochs
    count from 1. Source: section 6 of Li, Wei & Ma (2019) and its published code.
    """

    epochs: int = static(default=60)
    """length of training"""
    batch_size: int = static(default=128)
    """images a step; the last step of an epoch takes what is left"""
    eta1: float = swept(default=0.1)
    """large rate"""
    eta_ratio: float = swept(default=0.04)
    """small over large rate"""
    anneal_epochs: tuple[int, ...] = static(default=(30,))
    """epochs from which on the rates are annealed (once more), and the activation noise too"""
    anneal: float = swept(default=0.04)
    """L-S: rate after annealing over before"""
    anneal_small: float = swept(default=1.0)
    """S and S+noise: the same"""
    activation_noise: float = swept(default=0.4)
    """S+noise: std of the noise before every ReLU, after BatchNorm, before annealing"""
    anneal_noise: float = swept(default=1e-5)
    """S+noise: noise after annealing over before"""
    momentum: float = swept(default=0.9)
    """mu, Nesterov"""
    weight_decay: float = swept(default=5e-4)
    """lambda, on all parameters"""
    augment: bool = static(default=False)
    """reflect-pad by 4, crop at random, flip at random"""

    def algorithm(self, name: str) -> Algorithm:
        """Schedules of algorithm `name`, clock in epochs done: epoch k, counted from 1, starts at k - 1.

        Source: section 6 of Li, Wei & Ma (2019). Raises `ConfigError` for a name that is none of L-S, S and S+noise.

        >>> rate = SGD(eta1=0.5, anneal=0.25, anneal_epochs=(3,)).algorithm("L-S").rate
        >>> [float(rate(clock)) for clock in (0, 1.5, 2)]  # annealed from the third epoch on
        [0.5, 0.5, 0.125]
        """
        small = self._staircase(jnp.asarray(self.eta1) * self.eta_ratio, self.anneal_small)
        silent = self._staircase(0.0, 1.0)
        if name == "L-S":
            return Algorithm(self._staircase(self.eta1, self.anneal), silent, name=name)
        if name == "S":
            return Algorithm(small, silent, name=name)
        if name == "S+noise":
            return Algorithm(small, self._staircase(self.activation_noise, self.anneal_noise), name=name)
        raise unknown(name)

    def completed(self, algorithm: "str | Algorithm") -> Algorithm:
        """Rate and activation noise of an algorithm, built in or your own: without another no noise."""
        if isinstance(algorithm, str):
            return self.algorithm(algorithm)
        return algorithm if algorithm.activation_noise is not None else algorithm.replace(activation_noise=constant(0.0))

    def _staircase(self, first: Any, factor: Any) -> Schedule:
        """`first`, times `factor` once for each annealing that has been."""
        return step_decay(first * jnp.asarray(factor) ** jnp.arange(len(self.anneal_epochs) + 1),
                          [float(e - 1) for e in self.anneal_epochs])

    def check(self) -> None:
        """Raise `ConfigError` for numbers no training can have."""
        require_count("training.epochs", self.epochs, 1, "60 are the paper's")
        for name in ("eta1", "anneal", "anneal_small"):
            require_positive(f"training.{name}", getattr(self, name))
        require_positive("training.eta_ratio", self.eta_ratio)
        require(self.eta_ratio <= 1, "training.eta_ratio", self.eta_ratio, "in (0, 1]",
                "the small rate is eta_ratio * eta1")
        for name in ("activation_noise", "anneal_noise", "weight_decay"):
            require_nonnegative(f"training.{name}", getattr(self, name))
        require(0 <= self.momentum < 1, "training.momentum", self.momentum, "in [0, 1)", "0.9 is the paper's")
        at = self.anneal_epochs
        require(all(1 < e <= self.epochs for e in at) and list(at) == sorted(set(at)), "training.anneal_epochs", at,
                f"rising, above 1 and at most training.epochs = {self.epochs}", "epochs count from 1; none: never anneal")


@spec
class Experiment:
    """Trainings of several algorithms from several seeds; a run's randomness depends on its seed alone.

    A seed has its images, patch, flags, initial weights, order of images and draws; its algorithms share all of these.
    """

    name: str = static(default="custom")
    """what to call it"""
    note: str = static(default="")
    """what the reader of its results must know"""
    model: Model = dataclasses.field(default_factory=Model, metadata={"static": False})
    patch: PatchLaw = dataclasses.field(default_factory=PatchLaw, metadata={"static": False})
    training: SGD = dataclasses.field(default_factory=SGD, metadata={"static": False})
    algorithms: tuple[AlgorithmName | Algorithm, ...] = static(default=("L-S", "S", "S+noise"))
    """which of L-S, S and S+noise to train, and algorithms of your own: 'NAME: RATE' in words, clock in epochs done"""
    seeds: int = static(default=1)
    """number of seeds an algorithm"""
    first_seed: int = static(default=0)
    """seeds are first_seed, first_seed + 1, ..."""
    n_train: int = static(default=N_TRAIN)
    """training images, drawn from the 50,000 without replacement, anew for each seed"""
    n_test: int = static(default=N_TEST)
    """test images that every epoch is measured on, drawn likewise from the 10,000"""
    at_once: int = static(default=1)
    """runs trained together on one device, by vmap; the numbers agree up to rounding"""
    spread: Spread = static(default="runs")
    """what several devices share: runs: each trains its own; batch: each batch is split over all of them"""
    margin: float = static(default=0.0)
    """L-S is to be more accurate than S on clean images at the end by more than this"""
    interleave: bool = static(default=False)
    """runs of one seed advance together, epoch by epoch, so that a stop leaves comparable curves"""
    checkpoint_epochs: int = static(default=5)
    """a checkpoint each so many epochs"""

    def check(self) -> "Experiment":
        """Return self, its values as Python's own numbers and tuples, or raise `ConfigError` with the first thing wrong."""
        config = self.settled()
        config.judge()
        return config

    def settled(self) -> "Experiment":
        """The same, its values as Python's own numbers and tuples. Raises `ConfigError` for values of another type."""
        own = settled_algorithms(self.algorithms, lambda: self.training.epochs)
        return settled(self if own is self.algorithms else dataclasses.replace(self, algorithms=own), Experiment)

    def judge(self) -> None:
        """Raise `ConfigError` with the first thing that is wrong, of a config whose values are of their fields' types."""
        require_words(self.name, self.note)
        self.model.check()
        self.patch.check()
        self.training.check()
        check_runs(self.algorithms, self.seeds, self.first_seed)
        for own in (a for a in self.algorithms if isinstance(a, Algorithm)):
            require(own.injected_noise is None, f"algorithms.{own.name}.injected_noise", "a schedule",
                    "left out: these trainings inject none", "anneal the rate or the activation noise")
        require(1 <= self.n_train <= N_TRAIN, "n_train", self.n_train, f"between 1 and {N_TRAIN:,}", "CIFAR-10 has no more")
        require(1 <= self.n_test <= N_TEST, "n_test", self.n_test, f"between 1 and {N_TEST:,}", "CIFAR-10 has no more")
        require(1 <= self.training.batch_size <= self.n_train, "training.batch_size", self.training.batch_size,
                f"between 1 and n_train = {self.n_train}", "lower it")
        require(0 <= self.margin < 1, "margin", self.margin, "in [0, 1)", "0 asks for more accurate, by whatever amount")
        require_count("at_once", self.at_once, 1, "1 trains one run after another")
        require_choice("spread", self.spread, get_args(Spread))
        require(self.spread == "runs" or self.at_once == 1, "at_once", self.at_once, "1 with spread batch",
                "either runs share a device or devices share a run")
        require_count("checkpoint_epochs", self.checkpoint_epochs, 1, "give the epochs between checkpoints")

    @property
    def steps_per_epoch(self) -> int:
        """Batches that a permutation of the training images makes, the last one perhaps a shorter one."""
        return -(-self.n_train // self.training.batch_size)

    def replace(self, **changes: Any) -> "Experiment":
        """A copy with fields changed; dotted names reach into parts. Raises `ConfigError` for a name that is no field."""
        return changed(self, changes)
