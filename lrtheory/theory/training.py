"""The numbers of an algorithm and its named forms: L-S, S and the mitigation, as schedules.

Lives here: rates, decay, noise levels, thresholds, micro-steps, and which schedules they make. Lives elsewhere:
schedules as such (schedule), and the step that uses them (simulate).
"""

import math
from typing import Any, Literal, get_args

import jax.numpy as jnp
from jax import Array

from lrtheory import noise
from lrtheory.algorithm import Algorithm, unknown
from lrtheory.schedule import Schedule, Stage, constant
from lrtheory.spec import (
    MOST,
    require,
    require_choice,
    require_count,
    require_nonnegative,
    require_positive,
    spec,
    static,
    swept,
)

ActivationNoise = Literal["example", "shared"]
"""Values of `Training.activation_noise_form`."""


@spec
class Training:
    """SGD with weight decay and balanced injected noise: U <- U - eta_t (grad L_lambda(U) + xi_t).

    Time is the sum of rates, sum_t eta_t. L-S anneals from eta1 to eta2 = eta_ratio eta1 when L <= eps1 + q log 2;
    S has eta2 throughout. Source: section 3 of Li, Wei & Ma (2019); micro-steps and activation noise in units of
    the pre-activation's own scale are this project's.
    """

    eta1: float = swept(default=0.02)
    """large learning rate"""
    eta_ratio: float = swept(default=1e-4)
    """eta2/eta1, small over large rate"""
    weight_decay: float = swept(default=4.6e-4)
    """lambda of L + (lambda/2)|U|^2 (paper: d^-5/4)"""
    noise_level: float = swept(default=1.0)
    """tau_xi over its balanced value (assumption 3.1), or over noise_scale; 1: as in the paper, 0: no injected noise"""
    noise_scale: float | None = swept(default=None)
    """tau_xi at noise_level 1, in units of tau0, whatever rate and decay; None: the balanced value, 0 without decay"""
    eps1: float = swept(default=0.15)
    """anneal once the training loss is at most eps1 + q log 2 (nat)"""
    loss_smoothing: float = swept(default=0.0)
    """time constant of the running mean of the loss that triggers annealing; 0: the loss itself, as in the paper"""
    anneal_time: float = swept(default=math.inf)
    """anneal at this time at the latest; inf: by the loss alone, as in the paper"""
    stop_loss: float = swept(default=0.0)
    """a run stops (its state is frozen) once its training loss is at most this; 0: never"""
    activation_noise: float = swept(default=0.3)
    """S+noise: std of the pre-activation noise on x before annealing,
    in units of the pre-activation's own standard deviation at the start, tau0 |x|"""
    activation_noise_after: float = swept(default=0.0)
    """S+noise: the same after annealing"""
    activation_noise_form: ActivationNoise | None = static(default=None)
    """fresh each step: example: a draw for each neuron and example;
    shared: one for each neuron, the same for all examples, which is cheaper; None: shared, where an algorithm has any"""
    step_time: float = swept(default=0.02)
    """time a step covers: K = max(1, round(step_time/eta)) micro-steps with the gradient frozen; 0: K = 1, literal"""
    tolerance: float = static(default=1e-3)
    """infinite engine: error that a step may add to any output; the engine then chooses K itself
    and step_time only places the records and resolves events; 0: fixed steps of step_time, as the other engines take them"""
    steps: int = static(default=24_000)
    """number of steps of step_time; K times as many iterations"""
    average_time: float | None = swept(default=None)
    """time constant of an exponential moving average of the weights, measured as averaged_...; None: no average"""
    batch_size: int | None = static(default=None)
    """examples in the gradient of a step, drawn without replacement; None: all of them, as in the paper"""
    allow_unstable: bool = static(default=False)
    """whether eta1 and step_time may reach the stability bound 2/lambda_max at f = 0; such runs may diverge"""

    @property
    def balanced(self) -> Array:
        """Balanced standard deviation of the injected noise, in units of tau0. Source: assumption 3.1, section 3."""
        return noise.balanced_noise(self.eta1, self.weight_decay)

    @property
    def noise_unit(self) -> Array:
        """Standard deviation of the injected noise at level 1, in units of tau0: `noise_scale`, or the balanced one."""
        return self.balanced if self.noise_scale is None else jnp.asarray(self.noise_scale)

    @property
    def tau_xi(self) -> Array:
        """Standard deviation of the injected noise of L-S and S, in units of tau0: noise_level times its unit."""
        return self.noise_level * self.noise_unit

    @property
    def duration(self) -> float:
        """Time that L-S, S and S+noise cover at least: K iterations a step, of the rate by which it covers less."""
        rates = self.eta1, self.eta1 * self.eta_ratio
        return self.steps * min(eta * max(1, round(self.step_time / eta)) for eta in rates)

    def algorithm(self, name: str) -> Algorithm:
        """Schedules of algorithm `name`; their clock is time and their loss is the excess L - q log 2 (nat).

        L-S: eta1 until the excess is at most eps1, then eta2 = eta_ratio eta1. S: eta2. S+noise: eta2, and activation noise
        that is annealed as L-S's rate is. Source: section 3 of Li, Wei & Ma (2019). Raises `ConfigError` for another name.

        >>> from lrtheory import Training
        >>> training = Training(eta1=0.5, eta_ratio=0.25)
        >>> [[float(stage.start) for stage in training.algorithm(name).rate.stages] for name in ("L-S", "S")]
        [[0.5, 0.125], [0.125]]
        """
        def annealed(before: Any, after: Any) -> Schedule:
            return Schedule(stages=(Stage(start=before, until=self.anneal_time, threshold=self.eps1), Stage(start=after)),
                            smoothing=self.loss_smoothing)

        eta2 = self.eta1 * jnp.asarray(self.eta_ratio)
        small, silent, injected = constant(eta2), constant(0.0), constant(self.noise_level)
        if name == "L-S":
            return Algorithm(annealed(self.eta1, eta2), silent, injected, name=name)
        if name == "S":
            return Algorithm(small, silent, injected, name=name)
        if name == "S+noise":
            return Algorithm(small, annealed(self.activation_noise, self.activation_noise_after), injected, name=name)
        raise unknown(name)

    def completed(self, algorithm: "str | Algorithm") -> Algorithm:
        """All three schedules of an algorithm; your own have no activation noise and `noise_level`, unless they say so."""
        if isinstance(algorithm, str):
            return self.algorithm(algorithm)
        noise = constant(0.0) if algorithm.activation_noise is None else algorithm.activation_noise
        injected = constant(self.noise_level) if algorithm.injected_noise is None else algorithm.injected_noise
        return algorithm.replace(activation_noise=noise, injected_noise=injected)

    def check(self, n_train: int) -> None:
        """Raise `ConfigError` for numbers no run on N = `n_train` examples can have."""
        require_positive("training.eta1", self.eta1)
        require(0 < self.eta_ratio <= 1, "training.eta_ratio", self.eta_ratio, "in (0, 1]",
                "eta2 = eta_ratio * eta1 is the small rate")
        require_positive("training.eta_ratio", self.eta_ratio)
        for name in ("weight_decay", "noise_level", "loss_smoothing", "stop_loss", "activation_noise",
                     "activation_noise_after", "step_time", "tolerance"):
            require_nonnegative(f"training.{name}", getattr(self, name))
        require(self.eta1 * self.weight_decay < 1, "training.eta1 * training.weight_decay",
                self.eta1 * self.weight_decay, "below 1", "the decay would overshoot zero; lower either")
        require(not MOST < abs(self.eps1) < math.inf and not math.isnan(self.eps1), "training.eps1", self.eps1, "a number",
                "give the excess loss to anneal at")
        require(self.anneal_time == math.inf or 0 < self.anneal_time <= MOST, "training.anneal_time", self.anneal_time,
                f"positive and at most {MOST:g}", "give a time, or inf")
        require_count("training.steps", self.steps, 1, "give the number of steps")
        if self.activation_noise_form is not None:
            require_choice("training.activation_noise_form", self.activation_noise_form, get_args(ActivationNoise))
        for name in ("average_time", "noise_scale"):
            if getattr(self, name) is not None:
                require_positive(f"training.{name}", getattr(self, name))
        if self.batch_size is not None:
            require(1 <= self.batch_size <= n_train, "training.batch_size", self.batch_size,
                    f"between 1 and N = {n_train}", "or None for the full batch")
            require(self.step_time <= self.eta1 * self.eta_ratio, "training.step_time", self.step_time,
                    "0 with minibatches", "K micro-steps would share one batch; set training.step_time 0")
