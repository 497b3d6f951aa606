"""The numbers of an infinitely wide network's training, as one checked value.

Lives here: `Settings` (seeds, time, records, decay, noise, tolerances). Lives elsewhere: the arrays (runs), schedules (the
ground floor), the kernel between inputs (gram).
"""

import dataclasses
from typing import Any

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

PRECISIONS = ("float64", "float32")
"""Values of `Settings.precision`."""


@spec
class Settings:
    """How many runs of which algorithms, how long, and what of U <- U - eta (grad L + lambda U + xi) is not the rate."""

    name: str = static(default="mine")
    """what to call it"""
    note: str = static(default="")
    """what the reader of its results must know"""
    algorithms: tuple[Algorithm, ...] = dataclasses.field(default=(), metadata={"static": False})
    """the schedules of each: its rate and, in units of tau_xi, its injected noise"""
    seeds: int = static(default=1)
    """number of seeds an algorithm; more than 1 where each draws its own data or minibatches"""
    first_seed: int = static(default=0)
    """seeds are first_seed, first_seed + 1, ..."""
    time: float = swept(default=100.0)
    """how long each algorithm runs, as the sum of its rates"""
    records: int = static(default=100)
    """number of records after the initial one; record k lies at time (k/records)^2 of the whole, close together early"""
    weight_decay: float = swept(default=0.0)
    """lambda of L + (lambda/2)|U|^2"""
    tau_xi: tuple[float, ...] = static(default=(0.0,))
    """standard deviation of the injected noise xi of each block, in units of the initial weights' own; 0: none"""
    batch_size: int | None = static(default=None)
    """examples in the gradient of an iteration, drawn without replacement; None: all. With it, one step each"""
    tolerance: float = swept(default=1e-3)
    """error that a step may add to any output; a step is as many iterations at once as that admits. 0: one by one"""
    step_time: float = swept(default=0.0)
    """time to which events (a trigger, a half time) are resolved; 0: a ten-thousandth of the whole"""
    kernel_error: float = static(default=1e-6)
    """error that leaving out rates of the kernel's expansion may add to P(both gates open), over sin(angle)"""
    shortest_lag: float = static(default=1e-8)
    """lag of the noise's clock down to which the kernel of an input with itself is resolved; about the square of an angle"""
    allow_unstable: bool = static(default=False)
    """whether a rate may reach the stability bound 2/lambda_max at f = 0; its iterations are then taken one by one"""
    largest_loss: float = swept(default=1e6)
    """a training loss above this, or not finite, ends a run as diverged"""
    precision: str = static(default="float64")
    """of all numbers: float64, or float32 on a TPU and where memory is short"""

    def replace(self, **changes: Any) -> "Settings":
        """A copy with fields changed."""
        return dataclasses.replace(self, **changes)

    def check(self) -> "Settings":
        """Return self, its values of their fields' types, or raise `ConfigError` with the first thing wrong."""
        found = settled(self, Settings)
        found.judge()
        return found

    def judge(self) -> None:
        """Raise `ConfigError` with the first thing that is wrong."""
        require_words(self.name, self.note)
        check_runs(self.algorithms, self.seeds, self.first_seed)
        require(0 < self.time <= MOST, "time", self.time, f"above 0 and at most {MOST:g}", "give the sum of rates")
        require(1 <= self.records <= 10_000, "records", self.records, "between 1 and 10,000", "record less often")
        for name in ("weight_decay", "tolerance", "step_time"):
            require_nonnegative(name, getattr(self, name))
        for tau in self.tau_xi:
            require_nonnegative("tau_xi", tau)
        require(self.weight_decay > 0 or not any(self.tau_xi), "tau_xi", max(self.tau_xi), "0 without weight decay",
                "noise without decay grows for ever: give weight_decay, or leave tau_xi out")
        require(0 < self.largest_loss <= MOST, "largest_loss", self.largest_loss, f"above 0 and at most {MOST:g}", "1e6")
        require(1e-12 <= self.kernel_error <= 1e-2, "kernel_error", self.kernel_error, "between 1e-12 and 1e-2", "1e-6")
        require(1e-30 <= self.shortest_lag <= 1e-2, "shortest_lag", self.shortest_lag, "between 1e-30 and 1e-2", "1e-8")
        require_choice("precision", self.precision, PRECISIONS)
        for algorithm in self.algorithms:
            algorithm.must_move("set a rate above 0")
            for stage in algorithm.rate.stages:
                for rate in (stage.start, stage.end):
                    require(rate is None or rate * self.weight_decay < 1, f"algorithms.{algorithm.name}.rate * weight_decay",
                            None if rate is None else rate * self.weight_decay, "below 1",
                            "the decay would overshoot zero; lower either")
        if self.batch_size is not None:
            require_count("batch_size", self.batch_size, 1, "or None for all examples")
