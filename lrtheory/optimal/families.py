"""Families of schedules: shapes whose numbers are free within bounds, durations as shares of the whole training.

Lives here: the families by name, families from words, a schedule scaled to a budget. Lives elsewhere: how they are compared
(search).
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from lrtheory.schedule import Schedule, Stage, concrete
from lrtheory.spec import LEAST, ConfigError, require, require_positive, shown
from lrtheory.wording import NUMBER, in_words

MOST_NUMBERS = 4
"""Free numbers of a family at most: directions in which an outcome is differentiated at once."""
SMALLEST = 1e-6
"""Least rate of the families by name, over the peak rate."""


class Number(NamedTuple):
    """A free number and its bounds; on a logarithmic scale where they are positive and far apart."""

    name: str
    low: float
    high: float

    @property
    def log(self) -> bool:
        """Whether it is searched on a logarithmic scale."""
        return self.low > 0 and self.high > 10 * self.low

    def at(self, unit: Any) -> Any:
        """The number that a place () in [0, 1] between the bounds means."""
        if self.log:
            exp: Any = math.exp if isinstance(unit, float) else jnp.exp
            return exp(math.log(self.low) + unit * math.log(self.high / self.low))
        return self.low + unit * (self.high - self.low)


@dataclasses.dataclass(frozen=True)
class Family:
    """Schedules that differ in some numbers."""

    name: str
    """what it is called"""
    numbers: tuple[Number, ...]
    """what is free"""
    make: Callable[[Sequence[Any]], Schedule]
    """the schedule of values of the numbers; its durations are shares, and only their ratios count"""

    def schedule(self, units: Sequence[Any]) -> Schedule:
        """The schedule at a place (numbers,) in the unit box."""
        return self.make([number.at(unit) for number, unit in zip(self.numbers, units, strict=True)])

    def check(self, peak: float, moving: bool = False) -> "Family":
        """Return self, or raise `ConfigError` for bounds that are none, or no schedule that a budget can be laid on.

        `moving`: of a budget in iterations, of which a rate of 0 would need ever more.
        """
        require(len(self.numbers) <= MOST_NUMBERS, f"family {self.name}", f"{len(self.numbers)} free numbers",
                f"at most {MOST_NUMBERS}", "fix some of them")
        for n in self.numbers:
            require(-math.inf < n.low < n.high < math.inf, f"family {self.name}: {n.name}", f"{n.low:g}..{n.high:g}",
                    "two finite bounds, the first one below the second", "give other bounds")
        for corner in (0.0, 0.5, 1.0):
            schedule = self.schedule([corner] * len(self.numbers)).check(f"family {self.name}")
            for k, stage in enumerate(schedule.stages):
                require(math.isfinite(float(stage.duration)), f"family {self.name}: stage {k}", stage.duration,
                        "with a duration", "each stage takes a share of the training, as in 'linear 0.3 to 1e-5'")
                require(concrete(stage.threshold) and stage.threshold == -math.inf and math.isinf(stage.until),
                        f"family {self.name}: stage {k}", "until", "ended by its duration", "budgets are laid on durations")
            rates = [float(v) for pair in schedule.resolved for v in pair]
            highest = max(rates)
            require(min(rates) > 0 or not moving, f"family {self.name}", min(rates), "of rates above 0 with --iterations",
                    "at 0 iterations take no time; end at a small rate")
            require(0 < highest <= peak * (1 + 1e-6), f"family {self.name}", highest,
                    f"of rates above 0 and up to the peak rate {peak:g}", "lower its bounds, or raise --peak")
        return self

    @classmethod
    def from_text(cls, text: str) -> "Family":
        """A family from words: a schedule's, with LOW..HIGH for every free number and durations as shares.

        >>> family = Family.from_text("mine: 0.001..0.04 for 0.1..0.9, linear 0.2 to 1e-6")
        >>> [(n.name, n.low, n.high) for n in family.numbers]
        [('0.start', 0.001, 0.04), ('0.duration', 0.1, 0.9)]
        """
        name, colon, words = text.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"family {shown(text)!r}: must be 'NAME: STAGES' with LOW..HIGH for free numbers, such as "
                              "'mine: 0.001..0.04 for 0.1..0.9, linear 0.2 to 1e-6', or one of "
                              f"{', '.join(FAMILIES)}; correct it")
        free = re.findall(rf"({NUMBER})\.\.({NUMBER})", words)
        bounds = [(float(a), float(b)) for a, b in free]
        marks = [1e30 + 1e25 * k for k in range(len(bounds))]  # numbers that no schedule has
        parts = iter(marks)
        try:
            template = in_words(re.sub(rf"{NUMBER}\.\.{NUMBER}", lambda _: repr(next(parts)), words), ends=True)
        except ConfigError as error:
            said = str(error)
            for mark, (low, high) in reversed(list(zip(marks, free, strict=True))):  # the last ends with the first's digits
                said = said.replace(repr(mark), f"{low}..{high}")
            raise ConfigError(said) from None
        found: dict[float, str] = {}
        for k, stage in enumerate(template.stages):
            for field in ("start", "end", "duration"):
                if getattr(stage, field) in marks:
                    found[getattr(stage, field)] = f"{k}.{field}"
        if len(found) < len(marks) or not marks:
            raise ConfigError(f"family {shown(text)!r}: LOW..HIGH must stand for rates or durations, once at least")

        def make(values: Sequence[Any]) -> Schedule:
            known = dict(zip(marks, values, strict=True))
            return Schedule(stages=tuple(dataclasses.replace(stage, **{
                field: known[getattr(stage, field)] for field in ("start", "end", "duration")
                if getattr(stage, field) in known}) for stage in template.stages))

        return cls(name.strip(), tuple(Number(found[m], *b) for m, b in zip(marks, bounds, strict=True)), make)


def _one(shape: Any) -> Callable[[float], Family]:
    """One stage from a start to an end value, of a shape."""
    def of(peak: float) -> Family:
        return Family(shape, (Number("start", 1e-2 * peak, peak), Number("end", SMALLEST * peak, peak)), lambda v: Schedule(
            stages=(Stage(shape=shape, start=v[0], end=v[1], duration=1.0),)))

    return of


def _constant(peak: float) -> Family:
    return Family("constant", (Number("rate", SMALLEST * peak, peak),), lambda v: Schedule(
        stages=(Stage(start=v[0], duration=1.0),)))


def _drop(peak: float) -> Family:
    numbers = (Number("large", 1e-2 * peak, peak), Number("small", SMALLEST * peak, peak), Number("rest", 1e-3, 0.9))
    return Family("drop", numbers, lambda v: Schedule(
        stages=(Stage(start=v[0], duration=1 - v[2]), Stage(start=v[1], duration=v[2]))))


def _wsd(shape: Any) -> Callable[[float], Family]:
    def of(peak: float) -> Family:
        numbers = (Number("large", 1e-2 * peak, peak), Number("end", SMALLEST * peak, peak), Number("decay", 1e-3, 0.99))
        return Family("wsd" if shape == "linear" else f"wsd-{shape}", numbers, lambda v: Schedule(stages=(
            Stage(start=v[0], duration=1 - v[2]), Stage(shape=shape, start=v[0], end=v[1], duration=v[2]))))

    return of


FAMILIES: dict[str, Callable[[float], Family]] = {
    "constant": _constant, "drop": _drop, "linear": _one("linear"), "cosine": _one("cosine"), "geometric": _one("geometric"),
    "inverse-sqrt": _one("inverse-sqrt"), "wsd": _wsd("linear"), "wsd-geometric": _wsd("geometric")}
"""Families by name, of the peak rate: {name: family}. drop is L-S by the clock: large, then small for the rest; wsd decays
linearly at its end. All decays are over time, the sum of rates, in which a linear one is exponential in iterations."""


def mean_inverse(start: Any, end: Any, shape: str) -> Array:
    """Mean of 1/eta over a stage from `start` to `end`, so that it takes duration times as many iterations: ().

    1/s;  linear: log(s/e)/(s - e);  cosine: 1/sqrt(s e);  geometric: (1/e - 1/s)/log(s/e);  inverse-sqrt:
    (2/3)(e^-3 - s^-3)/(e^-2 - s^-2). Derived here; rates above 0.
    """
    s, e = jnp.asarray(start), jnp.asarray(end)
    same = jnp.abs(s - e) < 1e-4 * s
    apart = jnp.where(same, 0.5 * s, e)
    a, b = 1 / s, 1 / apart
    found = {"constant": a, "linear": jnp.log(s / apart) / (s - apart), "cosine": 1 / jnp.sqrt(s * e),
             "geometric": (b - a) / jnp.log(s / apart), "inverse-sqrt": (2 / 3) * (a * a + a * b + b * b) / (a + b)}
    return jnp.where(same, a, found[shape])


class Budget(NamedTuple):
    """What a training may cost: its time, or its iterations; and its largest rate."""

    peak: float
    time: float | None = None
    iterations: float | None = None

    def check(self) -> "Budget":
        """Return self, or raise `ConfigError`."""
        require((self.time is None) != (self.iterations is None), "time and iterations",
                f"{self.time} and {self.iterations}", "one number and None", "give either, time is the sum of rates")
        name, amount = ("--time", self.time) if self.iterations is None else ("--iterations", self.iterations)
        require_positive(name, amount)  # type: ignore[arg-type]
        require_positive("--peak", self.peak)
        require(self.peak >= 1e6 * LEAST, "--peak", self.peak, f"at least {1e6 * LEAST:g}", "raise it")
        return self

    def __str__(self) -> str:
        return f"time {self.time:g}" if self.iterations is None else f"{self.iterations:,.0f} iterations"

    def lay(self, schedule: Schedule) -> tuple[Schedule, Any]:
        """The schedule with shares as durations that use the budget up, and the time that it then takes.

        In iterations, int dt/eta = N. Both may be traced.
        """
        shares = [stage.duration for stage in schedule.stages]
        if self.time is not None:
            whole = self.time / sum(shares)
        else:
            assert self.iterations is not None, "check() admits exactly one of time and iterations"
            each = [share * mean_inverse(start, end, stage.shape) for share, stage, (start, end) in
                    zip(shares, schedule.stages, schedule.resolved, strict=True)]
            whole = (self.iterations or 0.0) / sum(each)
        laid = tuple(dataclasses.replace(stage, duration=share * whole) for share, stage in
                     zip(shares, schedule.stages, strict=True))
        return Schedule(stages=laid), whole * sum(shares)
