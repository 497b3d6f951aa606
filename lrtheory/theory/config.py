"""Everything that determines a run of the two-layer network, as one value.

Lives here: `Config` and the checks that cross concepts. Lives elsewhere: JSON (fields), named configurations (presets) and
the fields of each part, beside the functions that use them.
"""

import dataclasses
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from lrtheory.algorithm import ALGORITHMS, Algorithm, AlgorithmName, check_runs, settled_algorithms
from lrtheory.fields import changed, settled
from lrtheory.spec import MOST, require, require_choice, require_count, require_words, spec, static
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import Condition, conditions, p_time, stability_bound
from lrtheory.theory.training import Training

EngineName = Literal["dense", "reduced", "decoupled", "infinite"]
"""Values of `Config.engine`."""


@spec
class Config:
    """A run of several algorithms over several seeds; a run's randomness depends on its seed alone."""

    name: str = static(default="custom")
    """what to call the run"""
    note: str = static(default="")
    """what the reader of its results must know"""
    problem: Problem = dataclasses.field(default_factory=Problem, metadata={"static": False})
    network: Network = dataclasses.field(default_factory=Network, metadata={"static": False})
    training: Training = dataclasses.field(default_factory=Training, metadata={"static": False})
    engine: EngineName = static(default="decoupled")
    """dense: (m, d) weights, plain; reduced: the same network, exactly, faster; decoupled: gates from the noise part;
    infinite: the limit of decoupled for m -> infinity, no neurons at all"""
    algorithms: tuple[AlgorithmName | Algorithm, ...] = static(default=("L-S", "S"))
    """which of L-S, S and S+noise to train, and algorithms of your own: 'NAME: RATE' in words"""
    seeds: int = static(default=8)
    """number of seeds an algorithm"""
    first_seed: int = static(default=0)
    """seeds are first_seed, first_seed + 1, ..."""
    records: int = static(default=200)
    """number of records after the initial one; record k lies at step steps (k/records)^2, close together early"""
    n_test: int = static(default=4096)
    """number of test points; 0: none, errors are in closed form (engine infinite, block: `lrtheory.linear_readout`)"""
    required_ratio: float = static(default=2.0)
    """the verdict asks for a test error on P of S at least this many times that of L-S"""

    def check(self) -> "Config":
        """Return self, its values as Python's own numbers and tuples, or raise `ConfigError` with the first thing wrong."""
        config = self.settled()
        config.judge()
        return config

    def settled(self) -> "Config":
        """The same with values of their fields' types, and algorithms in words or functions as schedules."""
        own = self._settled_algorithms
        return settled(self if own is self.algorithms else dataclasses.replace(self, algorithms=own), Config)

    @property
    def _settled_algorithms(self) -> Any:
        training = self.training
        return settled_algorithms(self.algorithms, lambda: training.steps * max(training.step_time, training.eta1))

    def judge(self) -> None:
        """Raise `ConfigError` with the first thing that is wrong, of a config whose values are of their fields' types."""
        require_words(self.name, self.note)
        self.problem.check()
        self.network.check()
        self.training.check(self.problem.n_train)
        require_choice("engine", self.engine, get_args(EngineName))
        check_runs(self.algorithms, self.seeds, self.first_seed)
        self._check_own()
        require(1 <= self.records <= self.training.steps, "records", self.records,
                f"between 1 and training.steps = {self.training.steps}", "record less often or train longer")
        require_count("n_test", self.n_test, 0 if self.has_closed_form else 1,
                      "errors are known without test points at infinite width alone (block, problem.p_tail 0, no further "
                      "groups); 4096 resolve one of 0.5%")
        require(1 <= self.required_ratio <= MOST, "required_ratio", self.required_ratio, f"between 1 and {MOST:g}",
                "2 asks for twice")
        bound = stability_bound(self.problem)
        free = self.training.allow_unstable
        require(free or self.training.eta1 < bound, "training.eta1", self.training.eta1,
                f"below the stability bound 2/lambda_max = {bound:.4g} of this problem",
                "lower the rate or problem.z_norm, or set training.allow_unstable")
        if self.engine == "infinite":
            self._check_infinite()
        rounded = [stride for eta, stride in zip(self.rates, self._strides, strict=True) if eta < bound]
        longest = max([self.training.step_time, *rounded])
        require(free or self.adaptive or longest < bound, "training.step_time", self.training.step_time,
                f"below the stability bound 2/lambda_max = {bound:.4g} of this problem (K eta, up to {longest:.4g} here, is "
                "one gradient step)", "lower it; 0 takes K = 1")

    def _check_own(self) -> None:
        """Raise `ConfigError` for rates of your own that never move."""
        literal = not self.adaptive and self.training.step_time == 0
        for algorithm in (a for a in self.algorithms if isinstance(a, Algorithm)):
            algorithm.must_move("set training.step_time" if literal else None)
            least = min((float(v) for pair in algorithm.rate.resolved for v in pair if v > 0), default=math.inf)
            require(self.training.batch_size is None or self.training.step_time <= least * (1 + 1e-6), "training.step_time",
                    self.training.step_time, f"at most the least rate of {algorithm.name}, {least:g}, with minibatches",
                    "K micro-steps would share one batch; 0 takes K = 1")

    @property
    def cautions(self) -> list[str]:
        """What its reader must be told before it runs, a line each: unstable rates, triggers and ends that differ."""
        said, bound = [], stability_bound(self.problem)
        if self.training.eta1 >= bound:
            said.append(f"training.eta1 = {self.training.eta1:.4g} is above the stability bound 2/lambda_max = {bound:.4g} "
                        "of this problem, as training.allow_unstable asks for: runs may diverge")
        for algorithm in (a for a in self.algorithms if isinstance(a, Algorithm)):
            highest = max(value for pair in algorithm.rate.resolved for value in pair)
            if highest >= bound:
                said.append(f"algorithms.{algorithm.name}.rate reaches {highest:.4g}: above the stability bound "
                            f"2/lambda_max = {bound:.4g} of this problem, runs may diverge; lower it")
        said += self._unlike_triggers
        if self.training.step_time > 0 and not self.adaptive and max(self._strides) > 1.05 * min(self._strides):
            said.append(f"a step of K = round(step_time/rate) iterations covers between {min(self._strides):.4g} and "
                        f"{max(self._strides):.4g} of time, so algorithms end at different times and are compared at the "
                        "latest that all reach; rates that step_time is a multiple of end together")
        return said

    @property
    def _unlike_triggers(self) -> list[str]:
        """Triggers of one's own on another mean of the loss than that of the built-in algorithms beside them."""
        usual, said = self.training.loss_smoothing, []
        if not {"L-S", "S+noise"} & {a for a in self.algorithms if isinstance(a, str)}:
            return said
        for algorithm in (a for a in self.algorithms if isinstance(a, Algorithm)):
            waiting = [s for s in algorithm.schedules if any(stage.threshold > -math.inf for stage in s.stages)]
            if other := {s.smoothing for s in waiting} - {usual}:
                said.append(f"algorithms.{algorithm.name} ends a stage by {_mean_over(min(other))}, L-S by "
                            f"{_mean_over(usual)} (training.loss_smoothing): a finite network's loss jitters, and the less "
                            "it is averaged the earlier it gets there; give both the same smoothing")
        return said

    @property
    def noise_form(self) -> str | None:
        """Form of the activation noise: as `training` says it, else shared if any algorithm has some."""
        noisy = any(a == "S+noise" or (isinstance(a, Algorithm) and a.noisy) for a in self.algorithms)
        return self.training.activation_noise_form or ("shared" if noisy else None)

    def _check_infinite(self) -> None:
        """Raise `ConfigError` for what the infinite-width engine cannot do."""
        require(self.problem.r < 1, "problem.r", self.problem.r, "below 1 for the infinite engine",
                "z + zeta and z - zeta are taken to lie less than 90 degrees apart")
        require(self.training.average_time is None, "training.average_time", self.training.average_time,
                "None for the infinite engine", "it has no weights to average")
        resolved = 200 * self.network.shortest_lag
        require(self.problem.r**2 >= resolved, "problem.r", self.problem.r,
                f"at least {math.sqrt(resolved):.3g} = (200 network.shortest_lag)^(1/2)", "lower network.shortest_lag")
        if self.adaptive:
            require(self.training.step_time > 0, "training.step_time", self.training.step_time,
                    "positive where the infinite engine chooses its steps",
                    "records lie at multiples of it; or set training.tolerance 0 to take fixed steps")
            require(self.training.batch_size is None, "training.batch_size", self.training.batch_size,
                    "None where the infinite engine chooses its steps", "or set training.tolerance 0 to take fixed steps")
            highest = max(self.rates)
            require(highest <= self.duration * (1 + 1e-6), "highest rate", highest,
                    f"at most the length of this infinite run, steps x step_time = {self.duration:.4g}",
                    "no iteration at it would fit into the run: lower the rate, or train longer")
        self._check_digits()

    def _check_digits(self) -> None:
        """Raise `ConfigError` where single precision cannot tell Q's outputs from rounding.

        g(z) is held near 0 by residuals that cancel to 1 in lambda_max T_P, and steps are T_P/100 at most: at
        lambda_max T_P = 1e6 rounding moves it by 1e-3. Measured along `lt.theorem`: the contrast errs by 5% at 1e5 and by
        12% and more at 1e8; beyond that outputs are no numbers, or 0 (derived here).
        """
        if jax.config.read("jax_enable_x64"):
            return
        problem = self.problem
        time = min(p_time(problem), self.duration)
        stiffness = 2 * time / stability_bound(problem)
        most = 0.1 / float(jnp.finfo(jnp.float32).eps)
        require(stiffness <= most, "problem.z_norm", problem.z_norm,
                f"at most {problem.z_norm * math.sqrt(most / stiffness):.3g} for this infinite run in single precision",
                "Q's outputs would be rounding: run it under jax.enable_x64(True), or with JAX_ENABLE_X64=1")

    def at_infinite_width(self) -> "Config":
        """The same run at infinite width: the theory's prediction of it.

        Same data, algorithms and clock; at most 60 records, for it is smooth. With full batches in steps that the engine
        chooses; with step_time below a rate, whose algorithm goes on for longer, all are followed to the latest time, with
        records enough (400 at most) to see the earliest end. With
        minibatches in the run's own steps and on its own batches: as m grows they move outputs and not gates, so their noise
        is no diffusion of kinks, and given the batches the limit is as sure as without (derived here).
        """
        training, network = self.training, self.network
        largest, whole = max(training.step_time, *self.rates), training.batch_size is None
        records = min(self.records, 60)
        if whole and (apart := largest * training.steps / self.duration) > 2:  # so that the first record is not beyond
            records = min(max(records, math.ceil(2 * math.sqrt(apart))), 400, training.steps)
        return self.replace(engine="infinite", records=records, **{
            "training.tolerance": (training.tolerance or Training().tolerance) if whole else 0.0,
            "training.average_time": None,
            "training.step_time": largest if whole else training.step_time,
            "network.kinks": "moving" if self.engine in ("dense", "reduced") else network.kinks,
            "network.shortest_lag": min(network.shortest_lag, self.problem.r**2 / 1000)})

    @property
    def rates(self) -> list[float]:
        """The rates above 0 that its algorithms have, of your own those at the ends of their stages; eta1 if none is."""
        eta1 = self.training.eta1
        built_in = {name: (eta1, eta1 * self.training.eta_ratio)[name != "L-S" :] for name in ALGORITHMS}
        return [float(value) for a in self._settled_algorithms for value in (
            built_in[a] if isinstance(a, str) else (v for pair in a.rate.resolved for v in pair)) if value > 0] or [eta1]

    @property
    def _strides(self) -> list[float]:
        """Time that a step of K = max(1, round(step_time/eta)) iterations covers at each of its rates."""
        return [eta * max(1, round(self.training.step_time / eta)) for eta in self.rates]

    @property
    def duration(self) -> float:
        """Time that every algorithm covers at least: K iterations a step, of the rate by which it covers least."""
        training = self.training
        if self.adaptive:
            return training.steps * training.step_time
        return training.steps * min(self._strides)

    @property
    def conditions(self) -> list[Condition]:
        """`lrtheory.conditions` of this configuration: what a clear gap between L-S and S needs, with the values it has."""
        return conditions(self.problem, self.training, self.network, full=self.engine in ("dense", "reduced"))

    @property
    def has_closed_form(self) -> bool:
        """Whether its errors have a closed form, which takes no test points: that of outputs linear in x1.

        Source: `lrtheory.linear_readout`, which says how far infinite width is from it.
        """
        own = self.engine == "infinite" and self.network.variant == "block"
        return own and self.problem.p_tail == 0 and not self.problem.extra_groups

    @property
    def adaptive(self) -> bool:
        """Whether the engine chooses how many iterations a step takes."""
        return self.engine == "infinite" and self.training.tolerance > 0

    def replace(self, **changes: Any) -> "Config":
        """A copy with fields changed; dotted names reach into parts. Raises `ConfigError` for a name that is no field.

        >>> from lrtheory import preset
        >>> config = preset("quick").replace(seeds=2, **{"problem.r": 0.03})
        >>> config.seeds, config.problem.r
        (2, 0.03)
        """
        return changed(self, changes)


def _mean_over(smoothing: float) -> str:
    """What a trigger compares, in words."""
    return f"a mean of its loss over {smoothing:g} of time" if smoothing else "the loss itself"
