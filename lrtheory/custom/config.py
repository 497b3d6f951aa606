"""The numbers of your own experiment, as one checked value, and the injected noise that keeps weights where they start.

Lives here: `Settings` (seeds, steps, records, decay), `Balanced`. Lives elsewhere: the functions that are trained (models),
schedules (the ground floor), what is done with both (simulate).
"""

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from lrtheory import noise
from lrtheory.algorithm import Algorithm, check_runs
from lrtheory.fields import settled
from lrtheory.spec import (
    MOST,
    require,
    require_choice,
    require_count,
    require_nonnegative,
    require_words,
    spec,
    static,
    swept,
)

Clock = Literal["time", "steps"]
"""Values of `Settings.clock`."""


@spec
class Settings:
    """How many runs of which algorithms, how long, and what of U <- U - eta (direction + lambda U + xi) is not the rate."""

    name: str = static(default="mine")
    """what to call it"""
    note: str = static(default="")
    """what the reader of its results must know"""
    algorithms: tuple[Algorithm, ...] = dataclasses.field(default=(), metadata={"static": False})
    """the schedules of each: its rate and, in units of tau_xi, its injected noise"""
    seeds: int = static(default=8)
    """number of seeds an algorithm"""
    first_seed: int = static(default=0)
    """seeds are first_seed, first_seed + 1, ..."""
    steps: int = static(default=1000)
    """number of steps"""
    records: int = static(default=100)
    """number of records after the initial one; record k lies at step steps (k/records)^2, close together early"""
    weight_decay: float = swept(default=0.0)
    """lambda of L + (lambda/2)|U|^2; decoupled from the optimiser, so for Adam it is AdamW's over the rate"""
    step_time: float = swept(default=0.0)
    """time a step covers: K = max(1, round(step_time/eta)) micro-steps with the direction frozen; 0: K = 1, literal"""
    batch_size: int | None = static(default=None)
    """examples in the gradient, and in the loss that triggers read, of a step; None: all"""
    clock: Clock = static(default="time")
    """what schedules count in: time, the sum of rates, or steps"""
    largest_loss: float = swept(default=1e6)
    """a training loss above this, or not finite, ends a run as diverged"""

    def check(self) -> "Settings":
        """Return self, its values of their fields' types, or raise `ConfigError` with the first thing wrong."""
        found = settled(self, Settings)
        found.judge()
        return found

    def judge(self) -> None:
        """Raise `ConfigError` with the first thing that is wrong."""
        require_words(self.name, self.note)
        check_runs(self.algorithms, self.seeds, self.first_seed)
        require_count("steps", self.steps, 1, "give the number of steps")
        require(1 <= self.records <= self.steps, "records", self.records, f"between 1 and steps = {self.steps}",
                "record less often or train longer")
        require_choice("clock", self.clock, get_args(Clock))
        for name in ("weight_decay", "step_time"):
            require_nonnegative(name, getattr(self, name))
        require(0 < self.largest_loss <= MOST, "largest_loss", self.largest_loss, f"above 0 and at most {MOST:g}", "1e6")
        for algorithm in self.algorithms if self.clock == "time" else ():
            algorithm.must_move("set step_time or clock='steps'" if self.step_time == 0 else None)
        if self.batch_size is not None:
            require_count("batch_size", self.batch_size, 1, "or None for all examples")
        literal = self.batch_size is None and self.clock == "time"
        require(self.step_time == 0 or literal, "step_time", self.step_time,
                "0 with minibatches or with a clock in steps", "K micro-steps would share one batch, and count as one step")


@spec
class Balanced:
    """Injected noise that keeps what is random in each array at its size: tau_xi = tau0 balanced(eta1, lambda).

    (1 - eta1 lambda)^2 tau0^2 + eta1^2 tau_xi^2 = tau0^2 with tau0 the root mean square of the array at the start; an array
    of zeros, such as a bias, gets none. Source: assumption 3.1 of Li, Wei & Ma (2019), section 3; its form for any array is
    this project's.

    >>> [f"{float(tau):.4f}" for tau in Balanced(rate=0.5, weight_decay=1.0).of([2.0 * jnp.ones(3), jnp.zeros(2)])]
    ['3.4641', '0.0000']
    """

    rate: float = swept()
    """eta1, the rate that it balances"""
    weight_decay: float = swept()
    """lambda"""

    def of(self, params: Any) -> Any:
        """tau_xi for each array of `params`, as they start."""
        level = noise.balanced_noise(self.rate, self.weight_decay)
        return jax.tree.map(lambda u: level * jnp.sqrt(jnp.mean(jnp.asarray(u) ** 2)), params)

    def check(self) -> None:
        """Raise `ConfigError` for numbers that balance nothing."""
        for name, value in (("rate", self.rate), ("weight_decay", self.weight_decay)):
            require_nonnegative(f"Balanced: {name}", value)
        require(0 < self.rate * self.weight_decay < 1, "tau_xi",
                f"Balanced(rate={self.rate:g}, weight_decay={self.weight_decay:g})", "of a rate and a decay above 0 whose "
                "product is below 1", "noise balances decay")
