"""Numbers that change while training: learning rates and noise levels, over a clock or by the loss.

Lives here: `Schedule` and its stages as written down, their check, constructors, the optax link. Lives elsewhere: stages
while they run (stages), schedules from words and from functions (wording), schedules that make an algorithm (algorithm),
what a rate does to the weights (noise, update). Any training loop can use it; nothing here knows a network.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from lrtheory import stages
from lrtheory.spec import MOST, require, require_choice, require_kind, require_number, spec, static, swept
from lrtheory.stages import SHAPES, Stages, StageState, clock_after

Shape = Literal["constant", "linear", "cosine", "geometric", "inverse-sqrt"]
"""How a value goes from a stage's start to its end (`stages.between`)."""
MOST_STAGES = 10_000
"""A schedule of more stages is taken for a mistake."""


@spec
class Stage:
    """A part of a schedule: from a start to an end value, until the clock, its own duration or the loss ends it, for good.

    Whichever comes first. A stage begins where the one before ended. Of a shape other than constant the value reaches `end`
    when the clock would end the stage. All numbers may be traced.
    """

    shape: Shape = static(default="constant")
    """constant, linear, cosine, geometric or inverse-sqrt"""
    start: float | None = swept(default=None)
    """value at its beginning; None: what the stage before is headed for"""
    end: float | None = swept(default=None)
    """value at its end; None: as at its start"""
    duration: float = swept(default=math.inf)
    """length in units of the clock; inf: none of its own"""
    until: float = swept(default=math.inf)
    """clock at which it ends at the latest; inf: never"""
    threshold: float = swept(default=-math.inf)
    """loss at which it ends, as its user has it (`lrtheory.Algorithm`): in `lrtheory.run` L - q log 2; -inf: never"""
    name: str = static(default="")
    """what axes may call it, beside its number and its shape"""


@spec
class Schedule:
    """A sequence of stages over a clock: units of time (sum of rates), steps or epochs, whatever the caller counts in.

    A value: compared, hashed and written down by its numbers. All of them may be traced, and differentiated in; they vmap
    and never recompile. As a function of the clock, without loss triggers, it is an optax schedule.

    >>> from lrtheory import cosine, warmup
    >>> schedule = warmup(0.5, 10.0).then(cosine(0.5, 0.25, 20.0))
    >>> [float(schedule(t)) for t in (0, 5, 10, 20, 30, 99)]
    [0.0, 0.25, 0.5, 0.375, 0.25, 0.25]
    """

    stages: tuple[Stage, ...] = swept()
    """one or more, in order; the last one has no end"""
    smoothing: float = swept(default=0.0)
    """time constant, in units of the clock, of the running mean of the loss; 0: the loss itself, as in the paper"""

    def then(self, other: "Schedule | float") -> "Schedule":
        """This one until its last stage ends, then the other.

        Its last stage must end: by a duration, a clock or a loss. The other's durations count from there, its clocks
        (`until`) do not. Raises `ConfigError` for a last stage that never ends, and where both wait for a loss and smooth it
        differently.
        """
        other = other if isinstance(other, Schedule) else constant(other)
        for one in (self, other):  # whose start may be that of the whole
            require_kind("stages", one.stages, tuple, "a tuple of stages", "or use constant(value)")
            _number("smoothing", one.smoothing, 0.0, "a finite number of at least 0")
            for stage in one.stages:
                require_kind("stages", stage, Stage, "stages", "or use constant(value)")
                require_number("threshold", stage.threshold, lambda t: t < math.inf, "a number", "-inf: never")
        both = [s.smoothing for s in (self, other) if any(_by_loss(stage) for stage in s.stages)]
        apart = all(map(concrete, both)) and len({np.asarray(smoothing, float).tobytes() for smoothing in both}) > 1
        require(not apart, "smoothing", " and ".join(map(str, both)), "one, for there is one running mean of the loss",
                "give both the same")
        return _made(self.stages + other.stages, both[0] if both else 0.0)

    @property
    def resolved(self) -> tuple[tuple[Any, Any], ...]:
        """(start, end) value of each stage, None filled in."""
        found: list[tuple[Any, Any]] = []
        for stage in self.stages:
            start = found[-1][1] if stage.start is None and found else stage.start
            found.append((start, start if stage.end is None else stage.end))
        return tuple(found)

    def packed(self) -> Stages:
        """The stages as arrays: NumPy's where no number is traced, else JAX's."""
        numpy: Any = np if all(map(concrete, jax.tree.leaves(self))) else jnp
        precision = jnp.result_type(float)

        def row(numbers: Sequence[Any]) -> Any:
            return numpy.stack([numpy.asarray(number, precision) for number in numbers])

        def whole(numbers: Any) -> Any:
            return np.asarray(numbers, np.int32)

        starts, ends = (row(values) for values in zip(*self.resolved, strict=True))
        shapes = [SHAPES.index(stage.shape) for stage in self.stages]
        durations = [stage.duration for stage in self.stages]
        last = len(self.stages) - 1
        forever = all(concrete(d) and np.isinf(d) for d in durations)
        highest = last - 1 - numpy.argmax(ends[:-1][::-1]) if last else numpy.asarray(0)
        thresholds = row([*(stage.threshold for stage in self.stages[:-1]), -math.inf])
        if last:  # a last stage that is headed as high anneals nothing
            by_loss = thresholds[highest] > -math.inf  # L-S anneals, if only to its own rate; a warmup does not
            highest = numpy.where((ends[-1] > ends[highest]) | ((ends[-1] == ends[highest]) & ~by_loss), last, highest)
        return Stages(
            values=starts, until=row([stage.until for stage in self.stages]),
            thresholds=thresholds,
            smoothing=numpy.asarray(self.smoothing, precision), last=whole(last), peak=numpy.asarray(highest, np.int32),
            headed=ends if any(shapes) else None, shapes=whole(shapes) if any(shapes) else None,
            durations=None if forever else row(durations))

    def init(self) -> StageState:
        """State before the first update: stage 0, no loss seen."""
        return self.packed().init()

    def update(self, state: StageState, clock: ArrayLike | None = None, loss: ArrayLike = np.inf, *,
               value: ArrayLike = np.inf, **extra: Any) -> Any:
        """Value () for the step that starts at `clock` () with training loss `loss` (), and the new state.

        Without a clock the new state alone, with `value` for the loss and the clock counting updates: so it is a stateful
        schedule of optax, whose loss triggers act in `optax.inject_hyperparams`.
        """
        del extra
        if clock is None:
            return self.packed().update(state, state.updates, value)[1]
        return self.packed().update(state, clock, loss)

    def value(self, state: StageState, clock: ArrayLike) -> Array:
        """The value () at a clock () within the stage where a run stands."""
        return self.packed().value(state, clock)

    def upcoming(self, state: StageState, clock: ArrayLike) -> Array:
        """The value () that a step from `clock` () on will have, unless its loss ends a stage."""
        return self.packed().upcoming(state, clock)

    def end(self, state: StageState) -> Array:
        """Clock () at which the clock ends the stage where a run stands; inf: never."""
        return self.packed().end(state)

    @property
    def peak(self) -> Any:
        """The stage after which the value is annealed: the last but the final one that is headed for the largest value.

        The final one, which never ends, if that is headed higher.
        """
        return self.packed().peak

    @property
    def threshold(self) -> Array:
        """The first loss () that ends a stage; -inf: none does."""
        return self.packed().threshold

    def __call__(self, count: ArrayLike | StageState, *, value: ArrayLike = np.inf, **extra: Any) -> Array:
        """Values at clocks `count`, in their shape, without loss triggers: an optax schedule when the clock counts steps.

        Of a state, that of the step to come (see `update`).
        """
        del extra
        if isinstance(count, StageState):
            return self.packed().update(count, count.updates, value)[0]
        return self.packed().at(count)

    def check(self, name: str = "schedule") -> "Schedule":
        """Return self, or raise `ConfigError` with the first thing that is wrong; traced numbers are taken as right."""
        own = self.stages
        require(isinstance(own, tuple) and 0 < len(own) <= MOST_STAGES and all(isinstance(s, Stage) for s in own),
                f"{name}.stages", f"{type(own).__name__} of {len(own) if isinstance(own, tuple) else '?'}",
                f"a tuple of 1 to {MOST_STAGES:,} stages", "give some, or use constant(value)")
        _number(f"{name}.smoothing", self.smoothing, 0.0, "a finite number of at least 0")
        before = 0.0
        for k, (stage, (start, end)) in enumerate(zip(own, self.resolved, strict=True)):
            where, last = f"{name}.{k}", k == len(own) - 1
            require_choice(f"{where}.shape", stage.shape, SHAPES)
            require(start is not None, f"{where}.start", None, "a number", "no stage is before it whose value it could have")
            for which, value in (("start", start), ("end", end)):
                _number(f"{where}.{which}", value, 0.0, "a finite number of at least 0")
                if stage.shape in ("geometric", "inverse-sqrt") and concrete(value):
                    require(float(value) > 0, f"{where}.{which}", value, f"above 0 for the shape {stage.shape}",
                            "it never reaches 0; use linear or cosine")
            if stage.shape == "constant" and concrete(start) and concrete(end):
                require(float(start) == float(end), f"{where}.end", end, f"its start {float(start):g}, as a constant",
                        "choose another shape")
            require_number(f"{where}.duration", stage.duration, lambda t: t > 0, "above 0", "inf: none of its own")
            least = before
            require_number(f"{where}.until", stage.until, lambda t, least=least: least < t, f"above {before:g}" + (
                ", where the stage before ends" if before else ""), "clocks count from the start of training")
            if concrete(stage.until):
                before = max(before, float(stage.until)) if math.isfinite(stage.until) else before
            require_number(f"{where}.threshold", stage.threshold, lambda t: t < math.inf, "a number", "-inf: never")
            timed = not all(map(concrete, (stage.duration, stage.until))) or min(stage.duration, stage.until) < math.inf
            require(stage.shape == "constant" or timed, f"{where}.duration", stage.duration,
                    f"finite for the shape {stage.shape}, or its until", "say how long it takes")
            require(last or timed or not concrete(stage.threshold) or stage.threshold > -math.inf, f"{where}.duration",
                    stage.duration, "finite, or its until or its threshold", f"stage {k + 1} is never reached")
        return self


def concrete(number: Any) -> bool:
    """Whether a number is known now, and not traced."""
    return not isinstance(number, Tracer)


def _number(name: str, value: Any, least: float, bound: str) -> None:
    """Raise `ConfigError` unless a number that is not traced is finite and at least `least`."""
    require_number(name, value, lambda number: least <= number <= MOST, bound, "correct it")


def _count(name: str, value: Any) -> int:
    """How many numbers a list has. Raises `ConfigError` for what is no list, or too long."""
    try:
        count = -1 if isinstance(value, str | bytes | dict | set) else len(value)
    except TypeError:
        count = -1
    require(0 <= count <= MOST_STAGES, name, value if count < 0 else f"{count:,} numbers", "a list of numbers, at most "
            f"{MOST_STAGES:,}", "such as [0.5, 0.05]")
    return count


def _cycles(period: Any, cycles: Any, most: int) -> None:
    """Raise `ConfigError` for cycles that are no whole number, or of no length."""
    _number("period", period, 0.0, "a finite number above 0")
    require_number("cycles", cycles, lambda n: 1 <= n <= most and n == int(n), f"a whole number between 1 and {most:,}",
                   "correct it")


def _by_loss(stage: Stage) -> bool:
    """Whether a loss may end a stage."""
    return not concrete(stage.threshold) or bool(np.any(np.asarray(stage.threshold) > -math.inf))


def _made(parts: Sequence[Stage], smoothing: Any = 0.0) -> Schedule:
    return Schedule(stages=tuple(parts), smoothing=smoothing).check()


def constant(value: Any) -> Schedule:
    """value_t = value, whatever the clock and the loss.

    >>> from lrtheory import constant
    >>> float(constant(0.5)(100))
    0.5
    """
    return _made([Stage(start=value)])


def step_decay(values: Any, boundaries: Any) -> Schedule:
    """value_t = values[k] for boundaries[k-1] <= t < boundaries[k], in units of the clock.

    values (stages,), boundaries (stages - 1,) rising; no loss triggers. Raises `ConfigError` for others.

    >>> from lrtheory import step_decay
    >>> schedule = step_decay([0.5, 0.25, 0.125], [60, 120])
    >>> [float(schedule(t)) for t in (0, 59, 60, 150)]
    [0.5, 0.5, 0.25, 0.125]
    """
    count, ends = _count("values", values), _count("boundaries", boundaries)
    require(count == ends + 1 > 0, "boundaries", f"{ends} for {count} values", f"{max(count - 1, 0)}, one less than values",
            "a boundary lies between two values")
    return _made([Stage(start=value, until=end) for value, end in zip(values, [*boundaries, math.inf], strict=True)])


def anneal_at_loss(before: Any, after: Any, threshold: Any, *, latest: Any = math.inf, smoothing: Any = 0.0) -> Schedule:
    """value_t = before until the loss first reaches `threshold` (or the clock `latest`), then after.

    Source: algorithm L-S, section 3, which anneals where L = eps1 + q log 2. In `lrtheory.run` a schedule is given the
    excess L - q log 2, so that threshold = eps1 is L-S; in `lrtheory.train`, optax and the CNN it is given the training
    loss L. `smoothing` > 0 compares a running mean of it instead (a deviation: it keeps the jitter of a finite network from
    pulling the trigger). All arguments are numbers that may be traced; `threshold` is in units of the loss (nat), `latest`
    and `smoothing` in those of the clock.

    >>> from lrtheory import anneal_at_loss
    >>> schedule = anneal_at_loss(0.5, 0.125, threshold=0.3)
    >>> state, rates = schedule.init(), []
    >>> for time, loss in ((0.0, 0.6), (0.5, 0.2), (0.625, 0.6)):  # once annealed, annealed
    ...     rate, state = schedule.update(state, time, loss)
    ...     rates.append(float(rate))
    >>> rates
    [0.5, 0.125, 0.125]
    """
    return _made([Stage(start=before, until=latest, threshold=threshold), Stage(start=after)], smoothing)


def warmup(peak: Any, duration: Any, *, start: Any = 0.0) -> Schedule:
    """value_t = start + (peak - start) t / duration up to `duration` (units of the clock), then peak.

    >>> from lrtheory import warmup
    >>> [float(warmup(0.5, 10.0)(t)) for t in (0, 5, 10, 20)]
    [0.0, 0.25, 0.5, 0.5]
    """
    return _made([Stage(shape="linear", start=start, end=peak, duration=duration, name="warmup")])


def linear(start: Any, end: Any, duration: Any) -> Schedule:
    """value_t = start + (end - start) t / duration up to `duration` (units of the clock), then end.

    >>> from lrtheory import linear
    >>> [float(linear(0.5, 0.0, 10.0)(t)) for t in (0, 5, 20)]
    [0.5, 0.25, 0.0]
    """
    return _made([Stage(shape="linear", start=start, end=end, duration=duration)])


def cosine(start: Any, end: Any, duration: Any) -> Schedule:
    """value_t = end + (start - end) (1 + cos(pi t / duration)) / 2 up to `duration` (units of the clock), then end.

    >>> from lrtheory import cosine
    >>> [round(float(cosine(1.0, 0.0, 10.0)(t)), 4) for t in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """
    return _made([Stage(shape="cosine", start=start, end=end, duration=duration)])


def geometric(start: Any, end: Any, duration: Any) -> Schedule:
    """value_t = start (end/start)^(t/duration) up to `duration` (units of the clock), then end; both above 0.

    >>> from lrtheory import geometric
    >>> [round(float(geometric(1.0, 0.01, 10.0)(t)), 4) for t in (0, 5, 10)]
    [1.0, 0.1, 0.01]
    """
    return _made([Stage(shape="geometric", start=start, end=end, duration=duration)])


def inverse_sqrt(start: Any, end: Any, duration: Any) -> Schedule:
    """value_t = (start^-2 + (end^-2 - start^-2) t/duration)^(-1/2) up to `duration`, then end: a decay as 1/sqrt(t + t0).

    >>> from lrtheory import inverse_sqrt
    >>> [round(float(inverse_sqrt(1.0, 0.25, 15.0)(t)), 4) for t in (0, 3, 8, 15)]
    [1.0, 0.5, 0.3333, 0.25]
    """
    return _made([Stage(shape="inverse-sqrt", start=start, end=end, duration=duration)])


def wsd(peak: Any, end: Any, *, warm: Any = None, hold: Any = math.inf, decay: Any, until_loss: Any = -math.inf,
        shape: Shape = "linear", smoothing: Any = 0.0) -> Schedule:
    """Warmup-stable-decay: from 0 to `peak` in `warm` (None: at once), there for `hold`, then to `end` within `decay`.

    The hold ends after `hold` or at the loss `until_loss` (`anneal_at_loss`), whichever comes first; one must be given.
    Durations in units of the clock; the decay's shape is linear, cosine, geometric or inverse-sqrt.

    >>> from lrtheory import wsd
    >>> schedule = wsd(0.5, 0.0, warm=10.0, hold=20.0, decay=10.0)
    >>> [float(schedule(t)) for t in (5, 10, 29, 35, 40)]
    [0.25, 0.5, 0.5, 0.25, 0.0]
    """
    first = [] if warm is None else [Stage(shape="linear", start=0.0, end=peak, duration=warm, name="warmup")]
    return _made([*first, Stage(start=None if first else peak, duration=hold, threshold=until_loss, name="hold"),
                  Stage(shape=shape, end=end, duration=decay, name="decay")], smoothing)


def cyclic(low: Any, high: Any, period: Any, cycles: int, *, shape: Shape = "linear") -> Schedule:
    """`cycles` times from `low` up to `high` and down again within `period` (units of the clock), half of it each way.

    >>> from lrtheory import cyclic
    >>> [float(cyclic(0.0, 1.0, 4.0, 2)(t)) for t in (0, 1, 2, 3, 4, 6, 8, 9)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 1.0, 0.0, 0.0]
    """
    _cycles(period, cycles, MOST_STAGES // 2)
    half = period / 2
    one = [Stage(shape=shape, start=low, end=high, duration=half), Stage(shape=shape, start=high, end=low, duration=half)]
    return _made(one * int(cycles))


def restarts(start: Any, end: Any, period: Any, cycles: int, *, shape: Shape = "cosine") -> Schedule:
    """`cycles` times from `start` down to `end` within `period` (units of the clock), and back at once: warm restarts.

    >>> from lrtheory import restarts
    >>> [round(float(restarts(1.0, 0.0, 4.0, 2)(t)), 4) for t in (0, 2, 4, 6, 8)]
    [1.0, 0.5, 1.0, 0.5, 0.0]
    """
    _cycles(period, cycles, MOST_STAGES)
    return _made([Stage(shape=shape, start=start, end=end, duration=period)] * int(cycles))


def stack(schedules: Sequence[Schedule]) -> Stages:
    """Schedules as arrays with a leading axis, for vmap; shorter ones get stages that are never entered.

    Of one or more schedules; values become (schedules, stages), smoothing (schedules,).
    """
    return stages.stack([s.packed() for s in schedules])


class ScaleByRateState(NamedTuple):
    """State of `scale_by_rate`."""

    count: Array  # () int, steps taken
    schedule: StageState


def scale_by_rate(schedule: Schedule | Stages, steps_per_clock: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Multiply updates by -value_t, as the last link of an optax chain; loss triggers read `value=`.

    updates <- -schedule_t * updates, with clock = steps taken / steps_per_clock (steps an epoch: clock in epochs). The
    state of the chain's link is a `ScaleByRateState`; without `value` no loss trigger acts.

    >>> import jax.numpy as jnp, optax
    >>> from lrtheory.schedule import anneal_at_loss, scale_by_rate
    >>> optimiser = optax.chain(optax.trace(0.9, nesterov=True), scale_by_rate(anneal_at_loss(0.1, 0.004, 0.5)))
    >>> state = optimiser.init(jnp.ones(2))
    >>> for loss in (0.7, 0.4, 0.7):  # anneals at 0.4 and stays annealed
    ...     updates, state = optimiser.update(jnp.zeros(2), state, value=loss)
    >>> float(state[-1].schedule.stage)
    1.0
    """
    require_kind("schedule", schedule, (Schedule, Stages), "a Schedule", "lrtheory.schedule_from makes one of what there is")
    require_number("steps_per_clock", steps_per_clock, lambda n: 0 < n <= MOST, "a finite number above 0",
                   "steps an epoch, for a clock in epochs")

    def init(params: optax.Params) -> ScaleByRateState:
        del params
        return ScaleByRateState(count=jnp.zeros((), int), schedule=schedule.init())

    def update(updates, state, params=None, *, value: ArrayLike = np.inf, **extra):
        del params, extra
        rate, inner = schedule.update(state.schedule, clock_after(state.count, steps_per_clock), value)
        moves = rate != 0  # a rate of 0 moves nothing, whatever the gradient
        scaled = jax.tree.map(lambda g: jnp.where(moves, -rate.astype(g.dtype) * g, jnp.zeros_like(g)), updates)
        return scaled, ScaleByRateState(state.count + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)
