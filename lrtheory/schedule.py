"""Numbers that change while training: learning rates and activation-noise levels, over time or by the loss.

Lives here: the staircase `Schedule`, its constructors and its optax link. Lives elsewhere: schedules that make an algorithm
(algorithm), what a rate does to the weights (noise, update). Any training loop can use it; nothing here
knows the two-layer network.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from lrtheory.spec import spec, swept


@spec
class Schedule:
    """A staircase: stage k has `values[k]` and ends when the clock or the training loss says so, for good.

    Stage k ends once clock >= boundaries[k] or (running mean of the loss) <= thresholds[k], whichever comes first;
    it never returns (once annealed, annealed). The clock is whatever the caller counts in: units of time (sum of
    rates), steps or epochs. All fields are traced numbers, so schedules vmap, stack and never recompile.
    """

    values: Array = swept()
    """(stages,) value in each stage"""
    boundaries: Array = swept()
    """(stages - 1,) clock at which each stage ends; inf: never by the clock"""
    thresholds: Array = swept()
    """(stages - 1,) training loss at which each stage ends; -inf: never by the loss"""
    smoothing: ArrayLike = swept()
    """() time constant, in units of the clock, of the running mean of the loss; 0: the loss itself, as in the paper"""

    def init(self) -> "ScheduleState":
        """State before the first update: stage 0, no loss seen."""
        never = jnp.array(-jnp.inf, self.values.dtype)
        mean_loss, loss = jnp.zeros_like(never), jnp.zeros_like(never)  # two arrays: a step that takes both may use them up
        return ScheduleState(stage=jnp.zeros((), int), mean_loss=mean_loss, loss=loss, clock=never)

    def update(self, state: "ScheduleState", clock: ArrayLike, loss: ArrayLike) -> tuple[Array, "ScheduleState"]:
        """Value () for the step that starts at `clock` () with training loss `loss` (), and the new state.

        The running mean takes the loss to be linear between updates, so that long steps give the mean of short ones; a loss
        that is not finite is passed over.
        """
        smoothing = jnp.asarray(self.smoothing)
        elapsed = (clock - state.clock) / jnp.maximum(smoothing, 1e-30)
        weight = -jnp.expm1(-elapsed)
        rise = jnp.where(elapsed > 0, 1 - weight / jnp.where(elapsed > 0, elapsed, 1.0), 0.0)
        mean_loss = state.mean_loss + weight * (state.loss - state.mean_loss) + rise * (loss - state.loss)
        counts = jnp.isfinite(loss)
        mean_loss = jnp.where((smoothing > 0) & jnp.isfinite(state.clock), mean_loss, loss)
        mean_loss = jnp.where(counts | (smoothing == 0), mean_loss, jnp.inf)  # such a loss pulls no smoothed trigger
        stage = jnp.maximum(state.stage, jnp.sum(clock >= self.boundaries))
        thresholds = jnp.append(self.thresholds, -jnp.inf)  # the last stage has no end
        stage = stage + (mean_loss <= thresholds[stage])
        seen = (jnp.where(counts, jnp.asarray(new, old.dtype), old) for new, old in zip(
            (mean_loss, loss, clock), (state.mean_loss, state.loss, state.clock), strict=True))
        return self.values[stage], ScheduleState(stage, *seen)

    def __call__(self, count: ArrayLike) -> Array:
        """Value at clock `count`, in its shape, without loss triggers: an optax schedule when the clock counts steps."""
        return self.values[jnp.searchsorted(self.boundaries, jnp.asarray(count, self.boundaries.dtype), side="right")]


class ScheduleState(NamedTuple):
    """Where a run stands on its staircase."""

    stage: Array  # () int, index into values
    mean_loss: Array  # () running mean of the training loss
    loss: Array  # () at the last update
    clock: Array  # () clock at the last update, -inf before the first


def constant(value: ArrayLike) -> Schedule:
    """value_t = value, whatever the clock and the loss.

    >>> from lrtheory import constant
    >>> float(constant(0.5)(100))
    0.5
    """
    return step_decay([value], [])


def step_decay(values: ArrayLike | Sequence[ArrayLike], boundaries: ArrayLike | Sequence[ArrayLike]) -> Schedule:
    """value_t = values[k] for boundaries[k-1] <= t < boundaries[k], in units of the clock.

    values (stages,), boundaries (stages - 1,) rising; no loss triggers.

    >>> from lrtheory import step_decay
    >>> schedule = step_decay([0.5, 0.25, 0.125], [60, 120])
    >>> [float(schedule(t)) for t in (0, 59, 60, 150)]
    [0.5, 0.5, 0.25, 0.125]
    """
    steps = jnp.asarray(values, jnp.result_type(float))
    ends = jnp.asarray(boundaries, steps.dtype)
    return Schedule(values=steps, boundaries=ends, thresholds=jnp.full(ends.shape, -jnp.inf),
                    smoothing=jnp.zeros(()))


def anneal_at_loss(before: ArrayLike, after: ArrayLike, threshold: ArrayLike, *, latest: ArrayLike = jnp.inf,
                   smoothing: ArrayLike = 0.0) -> Schedule:
    """value_t = before until the training loss first reaches `threshold` (or the clock `latest`), then after.

    Source: algorithm L-S, section 3, with threshold = eps1 + q log 2. `smoothing` > 0 compares a running mean of
    the loss instead (a deviation: it keeps the jitter of a finite network from pulling the trigger). All arguments are
    numbers that may be traced; `threshold` is in units of the loss (nat), `latest` and `smoothing` in those of the clock.

    >>> from lrtheory import anneal_at_loss
    >>> schedule = anneal_at_loss(0.5, 0.125, threshold=0.3)
    >>> state, rates = schedule.init(), []
    >>> for time, loss in ((0.0, 0.6), (0.5, 0.2), (0.625, 0.6)):  # once annealed, annealed
    ...     rate, state = schedule.update(state, time, loss)
    ...     rates.append(float(rate))
    >>> rates
    [0.5, 0.125, 0.125]
    """
    return Schedule(values=jnp.stack([jnp.asarray(v, jnp.result_type(float)) for v in (before, after)]),
                    boundaries=jnp.asarray(latest, jnp.result_type(float))[None],
                    thresholds=jnp.asarray(threshold, jnp.result_type(float))[None],
                    smoothing=jnp.asarray(smoothing, jnp.result_type(float)))


def stack(schedules: list[Schedule]) -> Schedule:
    """One schedule with a leading axis, for vmap; shorter ones get stages that are never entered.

    Of one or more schedules; values become (schedules, stages), smoothing (schedules,).
    """
    stages = max(s.values.shape[0] for s in schedules)

    def pad(s: Schedule) -> Schedule:
        extra = stages - s.values.shape[0]
        return Schedule(values=jnp.append(s.values, jnp.repeat(s.values[-1:], extra)),
                        boundaries=jnp.append(s.boundaries, jnp.full(extra, jnp.inf)),
                        thresholds=jnp.append(s.thresholds, jnp.full(extra, -jnp.inf)),
                        smoothing=jnp.asarray(s.smoothing, s.values.dtype))

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(pad, schedules))


class ScaleByRateState(NamedTuple):
    """State of `scale_by_rate`."""

    count: Array  # () int, steps taken
    schedule: ScheduleState


def scale_by_rate(schedule: Schedule, steps_per_clock: float = 1.0) -> optax.GradientTransformationExtraArgs:
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
    def init(params: optax.Params) -> ScaleByRateState:
        del params
        return ScaleByRateState(count=jnp.zeros((), int), schedule=schedule.init())

    def update(updates, state, params=None, *, value: ArrayLike = np.inf, **extra):
        del params, extra
        rate, inner = schedule.update(state.schedule, state.count / steps_per_clock, value)
        scaled = jax.tree.map(lambda g: -rate.astype(g.dtype) * g, updates)
        return scaled, ScaleByRateState(state.count + 1, inner)

    return optax.GradientTransformationExtraArgs(init, update)
