"""Stages as arrays: what a schedule is while it runs, stacked for many runs, without a shape that would recompile.

Lives here: the value at a clock, when a stage ends, a run's state on its stages, a clock that keeps its digits. Lives
elsewhere: schedules as they are written down, checked and stored (schedule).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

SHAPES = ("constant", "linear", "cosine", "geometric", "inverse-sqrt")
"""How a value goes from a stage's start to its end; their codes are their places."""


def between(start: Array, end: Array, shape: Array, part: Array) -> Array:
    """The value when `part` in [0, 1] of a stage is over; all broadcast, shape is a code of `SHAPES`.

    linear: s + (e - s) x;  cosine: e + (s - e) (1 + cos(pi x))/2;  geometric: s (e/s)^x;  inverse-sqrt:
    (s^-2 + (e^-2 - s^-2) x)^(-1/2), the decay 1/sqrt(t) that goes through both. Exact at both ends. The last two need
    positive values.
    """
    part = jnp.clip(part, 0.0, 1.0)
    one = jnp.ones_like(part)

    def own(name: str) -> tuple[Array, Array]:
        """Start and end of stages of a shape; of others 1, for derivatives of what is not taken must be numbers, too."""
        positive = (start > 0) & (end > 0) & (shape == SHAPES.index(name))
        return jnp.where(positive, start, one), jnp.where(positive, end, one)

    (s, e), (s_root, e_root) = own("geometric"), own("inverse-sqrt")
    shapes = [start + 0 * part, start + (end - start) * part, end + (start - end) * (1 + jnp.cos(jnp.pi * part)) / 2,
              s * jnp.exp(part * jnp.log(e / s)), s_root / jnp.sqrt(1 - part + part * (s_root / e_root) ** 2)]
    found = jnp.select([shape == k for k in range(len(shapes))], shapes)
    return jnp.where((part >= 1) & (shape > 0), end, jnp.where(part <= 0, start, found))


MOST_UNROLLED = 16
"""Stages that are followed without a loop."""


class Sum(NamedTuple):
    """A running sum that keeps the digits float32 would drop (Kahan): a clock that small rates move, too."""

    value: Array  # ()
    lost: Array  # ()

    def add(self, x: Array) -> "Sum":
        """The sum plus x."""
        x = x - self.lost
        value = self.value + x
        return Sum(value, (value - self.value) - x)


def clock_after(count: Array, steps_per_clock: float) -> Array:
    """Clock () after `count` () whole steps, count / steps_per_clock, exact wherever a clock of whole steps is whole.

    A compiler divides by a constant by multiplying with its rounded reciprocal: 41 steps of 1/41 would fall short of 1, and
    a stage that ends there would end a step late.
    """
    if float(steps_per_clock).is_integer():
        steps = int(steps_per_clock)
        return count // steps + (count % steps) / steps
    return count / steps_per_clock


class StageState(NamedTuple):
    """Where a run stands on its stages."""

    stage: Array  # () int
    entered: Array  # () clock at which it began
    pulled: Array  # () int, stages that the loss has ended
    mean_loss: Array  # () running mean of the training loss
    loss: Array  # () at the last update
    clock: Array  # () clock at the last update, -inf before the first
    updates: Array  # () int, how many there were: the clock of optax


class Stages(NamedTuple):
    """Stages of one schedule, or with leading axes of many; what no stage has is None, and costs nothing.

    Stage k ends once clock >= until[k], or clock >= entered + duration[k], or (running mean of the loss) <= thresholds[k];
    the last one never ends.
    """

    values: Array  # (stages,) at the start of each stage
    until: Array  # (stages,) clock at which each ends at the latest; inf: never
    thresholds: Array  # (stages,) loss at which each ends; -inf: never
    smoothing: Array  # () time constant of the running mean of the loss
    last: Array  # () int, the stage that has no end; those beyond only fill up
    peak: Array  # () int, the last stage before it that is headed for the largest value; annealed once it is over
    headed: Array | None  # (stages,) value at the end of each; None: all are constant
    shapes: Array | None  # (stages,) codes; None likewise
    durations: Array | None  # (stages,) length after which each ends; None: all inf

    def init(self) -> StageState:
        """State before the first update: stage 0, entered at clock 0, no loss seen."""
        values = jnp.asarray(self.values)
        never = jnp.array(-jnp.inf, values.dtype)
        entered, mean_loss, loss = (jnp.zeros_like(never) for _ in range(3))  # arrays each: a step may use them up
        return StageState(stage=jnp.zeros((), int), entered=entered, pulled=jnp.zeros((), int), mean_loss=mean_loss,
                          loss=loss, clock=never, updates=jnp.zeros((), int))

    def update(self, state: StageState, clock: ArrayLike, loss: ArrayLike) -> tuple[Array, StageState]:
        """Value () for the step that starts at `clock` () with training loss `loss` (), and the new state.

        The running mean takes the loss to be linear between updates, so that long steps give the mean of short ones; a loss
        that is not finite is passed over.
        """
        smoothing, counts, begun = jnp.asarray(self.smoothing), jnp.isfinite(loss), jnp.isfinite(state.clock)
        since = jnp.where(begun, clock - jnp.where(begun, state.clock, 0.0), 0.0)  # what is infinite has no derivative
        elapsed = since / jnp.where(smoothing > 0, smoothing, 1.0)
        weight = -jnp.expm1(-elapsed)
        rise = jnp.where(elapsed > 0, 1 - weight / jnp.where(elapsed > 0, elapsed, 1.0), 0.0)
        rises = jnp.where(counts, loss, state.loss) - state.loss
        mean_loss = state.mean_loss + weight * (state.loss - state.mean_loss) + rise * rises
        mean_loss = jnp.where((smoothing > 0) & begun, mean_loss, loss)
        mean_loss = jnp.where(counts | (smoothing == 0), mean_loss, jnp.inf)  # such a loss pulls no smoothed trigger
        stage, entered = self._by_clock(state.stage, state.entered, clock)
        pulled = (mean_loss <= jnp.asarray(self.thresholds)[stage]) & (stage < self.last)
        mean_loss, loss, last = (jnp.where(counts, jnp.asarray(new, old.dtype), old) for new, old in zip(
            (mean_loss, loss, clock), (state.mean_loss, state.loss, state.clock), strict=True))
        stage, entered = stage + pulled, jnp.where(pulled, jnp.asarray(clock, entered.dtype), entered)
        if self.values.shape[-1] > 2:  # the clock may have ended the next one, too
            stage, entered = self._by_clock(stage, entered, clock)
        now = StageState(stage, entered, state.pulled + pulled, mean_loss, loss, last, state.updates + 1)
        return self.value(now, clock), now

    def _ends(self, stage: Array, entered: Array) -> Array:
        """Clock (stages,) at which the stages from `stage` () on end, if only the clock ends them.

        Each begins where the one before ends, and ends at once where its own clock is already over:
        end_k = max(end_(k-1), min(until_k, end_(k-1) + duration_k)).
        """
        until = jnp.maximum(jnp.asarray(self.until), entered)
        if self.durations is None:
            return jax.lax.cummax(jnp.where(jnp.arange(until.size) >= stage, until, entered))

        def after(begun: Array, this: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            until, duration, own = this
            ended = jnp.where(own, jnp.maximum(begun, jnp.minimum(until, begun + duration)), begun)
            return ended, ended

        own = jnp.arange(until.size) >= stage
        return jax.lax.scan(after, entered, (until, jnp.asarray(self.durations), own), unroll=MOST_UNROLLED)[1]

    def _by_clock(self, stage: Array, entered: Array, clock: ArrayLike) -> tuple[Array, Array]:
        """Stage and its beginning once the clock alone has ended what it ends by `clock`."""
        if self.values.shape[-1] == 1:
            return stage, entered
        ends = self._ends(stage, entered)[:-1]
        index = jnp.arange(ends.size)
        over = (clock >= ends) & (index >= stage) & (index < self.last)
        now = stage + jnp.sum(over)
        return now, jnp.where(now > stage, ends[now - 1], entered)

    def value(self, state: StageState, clock: ArrayLike) -> Array:
        """The value () at a clock () within the stage where a run stands."""
        start = jnp.asarray(self.values)[state.stage]
        if self.headed is None or self.shapes is None:
            return start
        length = self.end(state) - state.entered
        real = (length > 0) & jnp.isfinite(length)
        part = jnp.where(real, (clock - state.entered) / jnp.where(real, length, 1.0), 1.0)
        return between(start, jnp.asarray(self.headed)[state.stage], jnp.asarray(self.shapes)[state.stage], part)

    def upcoming(self, state: StageState, clock: ArrayLike) -> Array:
        """The value () that a step from `clock` () on will have, unless its loss ends a stage."""
        stage, entered = self._by_clock(state.stage, state.entered, clock)
        return self.value(state._replace(stage=stage, entered=entered), clock)

    def end(self, state: StageState) -> Array:
        """Clock () at which the clock ends the stage where a run stands, or the last one reaches its end; inf: never."""
        until = jnp.maximum(jnp.asarray(self.until)[state.stage], state.entered)
        if self.durations is None:
            return until
        return jnp.minimum(until, state.entered + jnp.asarray(self.durations)[state.stage])

    def at(self, clock: ArrayLike) -> Array:
        """Values at clocks of any shape, without loss triggers."""
        first = self.init()

        def one(clock: Array) -> Array:
            stage, entered = self._by_clock(first.stage, first.entered, clock)
            return self.value(first._replace(stage=stage, entered=entered), clock)

        clock = jnp.asarray(clock, jnp.asarray(self.values).dtype)
        return jax.vmap(one)(clock.reshape(-1)).reshape(clock.shape) if clock.ndim else one(clock)

    @property
    def threshold(self) -> Array:
        """The first loss () that ends a stage; -inf: none does."""
        thresholds = jnp.asarray(self.thresholds)
        return thresholds[jnp.argmax(thresholds > -jnp.inf)]


def stack(each: Sequence[Stages], axis: int = 0) -> Stages:
    """Schedules along a new axis; stages, the last axis, are filled up with ones that are never entered.

    NumPy arrays stay such.
    """
    stages = max(s.values.shape[-1] for s in each)
    smooth, lasting = any(s.headed is not None for s in each), any(s.durations is not None for s in each)

    def filled(array: Any, fill: float) -> Any:
        numpy: Any = np if isinstance(array, np.ndarray) else jnp
        extra = stages - array.shape[-1]
        return numpy.concatenate([array, numpy.full((*array.shape[:-1], extra), fill, array.dtype)], -1) if extra else array

    def whole(s: Stages) -> Stages:
        numpy: Any = np if isinstance(s.values, np.ndarray) else jnp
        headed, shapes, durations = s.headed, s.shapes, s.durations
        if smooth and (headed is None or shapes is None):
            headed, shapes = s.values, numpy.zeros(s.values.shape, np.int32)
        if lasting and durations is None:
            durations = numpy.full_like(s.values, np.inf)
        return s._replace(
            values=filled(s.values, 0.0), until=filled(s.until, np.inf), thresholds=filled(s.thresholds, -np.inf),
            headed=None if headed is None else filled(headed, 0.0), shapes=None if shapes is None else filled(shapes, 0),
            durations=None if durations is None else filled(durations, np.inf))

    def put(*leaves: Any) -> Any:
        numpy: Any = np if all(isinstance(x, (np.ndarray, np.generic)) for x in leaves) else jnp
        return numpy.stack(leaves, axis=axis)

    return jax.tree.map(put, *map(whole, each))
