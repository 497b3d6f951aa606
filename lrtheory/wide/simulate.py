"""One run of an infinitely wide network on given arrays: its course, events and measurements, as pure functions.

Lives here: what moves over a run, what is recorded. Lives elsewhere: the network itself (memory), the length of leaps
(leaps), many runs in one call (runs).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import keys, leaps
from lrtheory.algorithm import Algorithm
from lrtheory.custom.simulate import first_time
from lrtheory.leaps import Course, Levels, Now
from lrtheory.linalg import matmul
from lrtheory.stages import StageState, Sum
from lrtheory.wide.gram import Block
from lrtheory.wide.memory import (
    Memory,
    Numbers,
    Setting,
    State,
    Task,
    each_loss,
    leap,
    literal_state,
    mean_loss,
    read_rows,
    residual_seen,
    shaped,
    sources,
    wrong,
)

UNITS = 10**6
"""Parts of the whole time in which records are placed."""


class Run(NamedTuple):
    """What moves over a run; times are sums of rates, inf while something has not happened."""

    network: State
    stages: tuple[StageState, ...]  # of rate, activation noise, injected noise
    time: Sum
    iterations: Sum
    steps: Array  # () leaps tried
    stride: Array  # () time that the next leap tries to cover
    start_losses: Array  # (1 + groups,) at the start, of all rows and of each group
    half_times: Array  # (1 + groups,)
    annealed_at: Array  # ()
    diverged_at: Array  # ()


def begin(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting) -> Run:
    """Nothing has been seen: all outputs are 0."""
    zero, never = jnp.zeros(()), jnp.full((), jnp.inf)
    rates = numbers.rates.shape[0]

    def empty(block: Block) -> Memory:
        size = block.there.shape[0]
        return Memory(jnp.zeros((rates, size, task.outputs)), jnp.zeros((block.pairs.dense.shape[0], size, task.outputs)))

    f = jnp.zeros((setting.y.shape[0], task.outputs))
    network = State(tuple(map(empty, setting.blocks)), f, jnp.ones(len(setting.blocks)))
    losses = group_losses(task, setting, f)
    return Run(network=network, stages=tuple(s.init() for s in algorithm.schedules), time=Sum(zero, zero),
               iterations=Sum(zero, zero), steps=jnp.array(0), stride=zero + numbers.step_time, start_losses=losses,
               half_times=jnp.full(losses.shape, jnp.inf), annealed_at=never, diverged_at=never)


def group_losses(task: Task, setting: Setting, f: Array) -> Array:
    """Training losses (1 + groups,): of all rows, and of those of each group."""
    each = each_loss(task, f, setting.y)
    return jnp.append(mean_loss(task, f, setting.y), matmul(setting.groups, each))


def look(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, run: Run) -> Now:
    """Rate and noises from the loss of the network as it is, without activation noise, and what has happened."""
    time, losses = run.time.value, group_losses(task, setting, run.network.f)
    loss = losses[0]
    diverged_at = first_time(run.diverged_at, time, ~(loss <= numbers.largest_loss))
    found = [s.update(state, time, loss) for s, state in zip(algorithm.schedules, run.stages, strict=True)]
    stages = tuple(state for _, state in found)
    annealed = jnp.any(jnp.stack([state.stage > s.peak for s, state in zip(algorithm.schedules, stages, strict=True)]))
    run = run._replace(stages=stages, diverged_at=diverged_at, annealed_at=first_time(run.annealed_at, time, annealed),
                       half_times=first_time(run.half_times, time, losses <= run.start_losses / 2))
    return Now(run, found[0][0], jnp.isinf(diverged_at))


def levels(algorithm: Algorithm, run: Run, clock: Array) -> Levels:
    """The schedules at a clock () within the stages where a run stands; injected noise in units of tau_xi."""
    return Levels(*(s.value(state, clock) for s, state in zip(algorithm.schedules, run.stages, strict=True)))


def follow_to(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, end: Array, run: Run) -> Run:
    """Up to the time `end`: by leaps, or iteration by iteration."""
    def seen(run: Run) -> Now:
        return look(task, numbers, algorithm, setting, run)

    if task.literal:
        return _iterate_to(task, numbers, algorithm, setting, end, run)

    def ends(run: Run) -> Array:
        return jnp.stack([s.end(state) for s, state in zip(algorithm.schedules, run.stages, strict=True)])

    def attempt(run: Run, parts: Levels, count: Array) -> tuple[Run, Array]:
        network, error = leap(task, numbers, setting, run.network, parts, count)
        return run._replace(network=network), error

    def happened(run: Run) -> Array:
        return (sum(state.pulled for state in run.stages) + jnp.sum(jnp.isfinite(run.half_times))
                + jnp.isfinite(run.diverged_at))

    course = Course(seen, lambda run, clock: levels(algorithm, run, clock), ends, attempt, happened)
    return leaps.leap_to(course, end, run, numbers.tolerance, numbers.step_time)


def _iterate_to(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, end: Array, run: Run) -> Run:
    """One iteration after another, on all examples or on a minibatch of them, up to the time `end`."""
    def unfinished(now: Now) -> Array:
        return now.going & (now.eta > 0) & (end - now.run.time.value + now.run.time.lost > 0.5 * now.eta)

    def iteration(now: Now) -> Now:
        run, one = now.run, jnp.ones(())
        parts = Levels(*(x[None] for x in levels(algorithm, run, run.time.value)))
        rows = residual_seen(task, numbers, setting, run.network, parts.activation[0])
        if task.batch_size is not None:
            key = jax.random.fold_in(keys.key(setting.seed), run.steps)
            rows = rows * batch(key, rows.shape[0], task.batch_size)[:, None]
        network = literal_state(task, numbers, setting, run.network, sources(setting, rows), parts, one)
        return look(task, numbers, algorithm, setting, run._replace(
            network=network, time=run.time.add(now.eta), iterations=run.iterations.add(one), steps=run.steps + 1))

    return jax.lax.while_loop(unfinished, iteration, look(task, numbers, algorithm, setting, run)).run


def batch(key: Array, n: int, size: int) -> Array:
    """N/B on B examples drawn without replacement, 0 on the others: (n,)."""
    return jnp.where(jax.random.permutation(key, n) < size, n / size, 0.0)


def observe(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, run: Run) -> dict[str, Array]:
    """All measurements of a run at one moment."""
    f, y, time = run.network.f, setting.y, run.time.value
    eta, activation, injected = (s.upcoming(state, time) for s, state in zip(algorithm.schedules, run.stages, strict=True))
    found = {"time": time, "iterations": run.iterations.value, "steps": run.steps, "learning_rate": eta,
             "activation_noise": activation, "injected_noise": injected}
    found |= {name: run.network.variance[b] for b, name in enumerate(variances(len(setting.blocks)))}
    loss = group_losses(task, setting, f)
    found |= {named("train_loss", name): loss[k] for k, name in enumerate(("", *task.groups))}
    if task.kind != "numbers":
        each = wrong(task, f, y)
        errors = jnp.append(jnp.mean(each), matmul(setting.groups, each))
        found |= {named("train_error", name): errors[k] for k, name in enumerate(("", *task.groups))}
    if task.keep:
        found["train_outputs"] = shaped(task, f)
    for name, reads, y_test in zip(task.tests, setting.reads, setting.y_tests, strict=True):
        f_test = read_rows(numbers, reads, run.network)
        found[named("test_loss", name)] = mean_loss(task, f_test, y_test)
        if task.kind != "numbers":
            found[named("test_error", name)] = jnp.mean(wrong(task, f_test, y_test))
        if task.keep:
            found[named("test_outputs", name)] = shaped(task, f_test)
    return found


def variances(blocks: int) -> tuple[str, ...]:
    """What the variances of the noise of each block are called."""
    return ("noise_variance",) if blocks == 1 else tuple(f"noise_variance_{b + 1}" for b in range(blocks))


def named(measure: str, group: str) -> str:
    """What a measurement of a group, or without a name, is called."""
    return f"{measure}_{group}" if group else measure


def events(task: Task, run: Run) -> dict[str, Array]:
    """What happened once in a run, as times."""
    halves = {f"time_{name}_half" if name else "time_half": run.half_times[..., k]
              for k, name in enumerate(("", *task.groups))}
    return halves | {"annealed_at": run.annealed_at, "diverged_at": run.diverged_at}


def trajectory(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, run: Run,
               bounds: Array) -> tuple[Run, dict[str, Array]]:
    """Follow a run from bounds[0] through bounds[-1], observing at bounds[1:], in parts of the whole (`UNITS`)."""
    def segment(run: Run, end: Array) -> tuple[Run, dict[str, Array]]:
        run = follow_to(task, numbers, algorithm, setting, end * numbers.unit, run)
        return run, observe(task, numbers, algorithm, setting, run)

    return jax.lax.scan(segment, run, bounds[1:])
