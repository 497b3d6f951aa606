"""Steps of a chosen length: as many iterations at once as an error allows, up to a time, around what happens on the way.

Lives here: how long a leap is, which one is taken, where one must end. Lives elsewhere: what a leap does to a network and
how wrong it is (theory.engines.infinite, wide.memory), schedules as such (stages).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import noise


class Now(NamedTuple):
    """What the loss and the clock decide for the step that starts now."""

    run: Any  # with the events that have happened by now
    eta: Array  # () rate at this clock
    going: Array  # () neither diverged nor stopped


class Levels(NamedTuple):
    """What the schedules of an algorithm say at one moment."""

    eta: Array  # () rate
    activation: Array  # () noise on pre-activations, in units of tau0 |x|
    tau_xi: Array  # () injected noise, in units of tau0


class Course(NamedTuple):
    """A run as leaps see it: a tuple with time, iterations, steps and stride among its fields, and what is done to it.

    look(run) -> Now: what the loss decides.
    levels(run, clock) -> Levels at a clock within the stages where the run stands.
    ends(run) -> clocks at which the clock ends the stages where it stands, stacked.
    attempt(run, levels (3,), count) -> the run after `count` iterations, but for its clocks, and the error of its outputs.
    happened(run) -> how much has happened in it: what must not lie within a leap.
    """

    look: Callable[[Any], Now]
    levels: Callable[[Any, Array], Levels]
    ends: Callable[[Any], Array]
    attempt: Callable[[Any, Levels, Array], tuple[Any, Array]]
    happened: Callable[[Any], Array]


def leap_to(course: Course, end: Array, run: Any, tolerance: Any, step_time: Any, *, whole: bool = True) -> Any:
    """Leaps of as many iterations as the tolerance allows, up to the time `end`.

    A leap ends where the clock ends a stage, and has the rate and the noises in the middle of its whole and of its halves,
    so that its error sees them move. One whose error is above `tolerance` is tried again, shorter; so is one in which
    something happens (a loss ends a stage or reaches a mark), until it is no longer than `step_time`: events are as finely
    resolved as by fixed steps. K = 1 is always taken, for it is the algorithm itself. Not `whole`: K need not be a whole
    number, so that every leap ends where it is meant to and what comes of it can be differentiated in the numbers of the
    schedules (forward mode; the lengths of the leaps count as given).
    """
    def remaining(run: Any) -> Array:
        return end - run.time.value + run.time.lost

    def to_stage_end(run: Any) -> Array:
        """Time until the clock ends a stage, or the record."""
        ends = course.ends(run)
        first = jnp.min(jnp.where(ends > run.time.value, ends, jnp.inf))
        return jnp.minimum(remaining(run), first - run.time.value + run.time.lost)

    def unfinished(now: Now) -> Array:
        rounding = 4 * jnp.finfo(end.dtype).eps * end
        moves = course.levels(now.run, now.run.time.value + to_stage_end(now.run) / 2).eta > 0
        least = jnp.maximum(0.5 * now.eta, rounding) if whole else rounding
        return now.going & moves & (remaining(now.run) > least)

    def try_leap(now: Now) -> Now:
        run, time, within = now.run, now.run.time.value, to_stage_end(now.run)
        eta = course.levels(run, time + noise.ahead(now.eta, jnp.minimum(run.stride, within))).eta
        if whole:
            left = jnp.maximum(jnp.round(within / eta), 1.0)
            count = jnp.clip(jnp.round(run.stride / eta), 1.0, left)
        else:
            left = within / eta
            count = jnp.minimum(jnp.maximum(run.stride / eta, 1.0), left)
        took = count * eta
        middles = [noise.ahead(now.eta, took), *(k * took / 2 + noise.ahead(now.eta, took / 2) for k in (0, 1))]
        parts = Levels(*(jnp.stack(each) for each in zip(
            *(course.levels(run, time + middle) for middle in middles), strict=True)))
        parts = parts._replace(eta=parts.eta.at[0].set(eta))
        moved, error = course.attempt(run, parts, count)
        after = course.look(moved._replace(time=run.time.add(took), iterations=run.iterations.add(count)))
        happens = course.happened(after.run) > course.happened(run)
        fits = (error <= tolerance) & ~(happens & (took > 1.5 * step_time))
        good = fits | (count <= 1) | ~jnp.isfinite(error) & (took <= step_time)
        factor = jnp.clip(0.9 * jnp.sqrt(tolerance / jnp.maximum(error, 1e-30)), 0.2, 3.0)
        factor = jnp.where(jnp.isfinite(error), factor, 0.2)
        factor = jnp.where(good, factor, jnp.minimum(factor, 0.5))  # a shorter leap, even in whole iterations
        # A leap cut short by the end says nothing against a longer one.
        stride = jnp.where(good & (count >= left), jnp.maximum(run.stride, factor * took), factor * took)
        chosen = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, now)
        return chosen._replace(run=chosen.run._replace(steps=run.steps + 1, stride=jax.lax.stop_gradient(stride)))

    return jax.lax.while_loop(unfinished, try_leap, course.look(run)).run
