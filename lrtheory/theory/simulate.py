"""One run: the step, its events, and the trajectory of measurements, as pure functions of (config, algorithm, seed).

Lives here: the order of things within a step. Lives elsewhere: how outputs are computed (engines), moments of the
noise (noise), rates (schedule), many runs at once (programs).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lrtheory import keys, leaps, noise, stacking
from lrtheory.algorithm import Algorithm
from lrtheory.leaps import Course, Levels, Now
from lrtheory.stages import StageState, Sum
from lrtheory.theory.config import Config
from lrtheory.theory.engines import ENGINES
from lrtheory.theory.engines.base import Perturbation
from lrtheory.theory.measure import averages, floor, loss_gradient, losses, measurements
from lrtheory.theory.problem import Data, sample, sample_test
from lrtheory.theory.sharpness import sharpness

DIVERGED_LOSS = 100.0
"""A training loss above this, or not finite, ends a run as diverged."""
HALVED = math.log(2) / 2
"""A group's loss is halved at half of log 2 (nat), the loss of an output of 0: where an antisymmetric network starts.

A random start has a loss of its own, which shrinks with the noise and nothing learned; it is not what is halved.
"""
ONE_SORT = 1625
"""Up to so many 32-bit numbers, two are equal in fewer than one draw of 3,000: one sort of them is a fair permutation."""


class Setting(NamedTuple):
    """What stays fixed over a run, drawn from its seed alone."""

    data: Data
    test: Data
    inputs: Any  # the engine's own view of the training set
    noise_key: Array


class Run(NamedTuple):
    """What moves over a run; times are sums of rates, inf while something has not happened."""

    network: Any  # the engine's state
    average: Any  # the same with weights averaged over time; None: not followed
    rate: StageState
    activation_noise: StageState
    injected_noise: StageState
    time: Sum
    iterations: Sum
    steps: Array  # () steps taken, tried leaps included
    stride: Array  # () time that the next leap tries to cover
    noise_variance: Array  # () v, in units of tau0^2, by its recursion
    half_times: Array  # (groups,)
    annealed_at: Array  # ()
    threshold_at: Array  # ()
    stopped_at: Array  # ()
    diverged_at: Array  # ()


def datasets(config: Config, seed: ArrayLike) -> tuple[Data, Data]:
    """The training set and the test points of a seed, whatever the engine and the algorithm."""
    data_key, test_key, _, _ = jax.random.split(keys.key(seed), 4)
    data = sample(config.problem, data_key)
    return data, sample_test(config.problem, data, config.n_test, test_key)


def begin(config: Config, algorithm: Algorithm, seed: Array) -> tuple[Setting, Run]:
    """Draw data, test points and weights from the seed, and start the clock."""
    engine = ENGINES[config.engine]
    _, _, weights_key, noise_key = jax.random.split(keys.key(seed), 4)
    data, test = datasets(config, seed)
    inputs = engine.prepare(config, data)
    network = engine.init(config, inputs, weights_key)
    algorithm = config.training.completed(algorithm)
    zero = jnp.zeros(())
    never = jnp.full((), jnp.inf)
    rate, activation_noise, injected_noise = (schedule.init() for schedule in algorithm.schedules)
    average = None if config.training.average_time is None else jax.tree.map(jnp.copy, network)
    run = Run(network=network, average=average, rate=rate, activation_noise=activation_noise, injected_noise=injected_noise,
              time=Sum(zero, zero), iterations=Sum(zero, zero), steps=jnp.array(0),
              stride=jnp.asarray(config.training.step_time, zero.dtype), noise_variance=jnp.ones(()),
              half_times=jnp.full(len(config.problem.group_names), jnp.inf), annealed_at=never,
              threshold_at=never, stopped_at=never, diverged_at=never)
    return Setting(data, test, inputs, noise_key), run


def levels(config: Config, algorithm: Algorithm, run: Run, clock: Array) -> Levels:
    """The schedules at a clock () within the stages where a run stands."""
    eta, activation, injected = (schedule.value(state, clock) for schedule, state in zip(
        algorithm.schedules, (run.rate, run.activation_noise, run.injected_noise), strict=True))
    return Levels(eta, activation, injected * config.training.noise_unit)


def look(config: Config, algorithm: Algorithm, data: Data, run: Run, f: Array) -> Now:
    """Rate and noise level from the loss of the network as it is, without activation noise, and what has happened."""
    training, time = config.training, run.time.value
    loss = losses(config.problem, data, f)
    excess = loss.total - floor(config.problem, data)
    diverged_at = _first(run.diverged_at, time, ~(loss.total < DIVERGED_LOSS))
    stopped_at = _first(run.stopped_at, time, loss.total <= training.stop_loss)
    eta, rate = algorithm.rate.update(run.rate, time, excess)
    activation_noise, injected_noise = (schedule.update(state, time, excess)[1] for schedule, state in zip(
        algorithm.schedules[1:], (run.activation_noise, run.injected_noise), strict=True))
    annealed = [state.stage > schedule.peak for schedule, state in
                zip(algorithm.schedules, (rate, activation_noise, injected_noise), strict=True)]
    run = run._replace(
        rate=rate, activation_noise=activation_noise, injected_noise=injected_noise,
        stopped_at=stopped_at, diverged_at=diverged_at,
        half_times=_first(run.half_times, time, loss.each <= HALVED),
        annealed_at=_first(run.annealed_at, time, annealed[0] | annealed[1] | annealed[2]),
        threshold_at=_first(run.threshold_at, time, _reached(algorithm, excess)))
    return Now(run, eta, jnp.isinf(diverged_at) & jnp.isinf(stopped_at))


def step(config: Config, algorithm: Algorithm, setting: Setting, index: Array, run: Run) -> Run:
    """K iterations: U <- U - eta (grad L_lambda(U) + xi), eta and the noises chosen by L(U) and time.

    Where they move within the step, all K have their values in the middle (`noise.mean_rate`). `index` is the step's number;
    it alone, with the seed, decides the step's random numbers.
    """
    engine, training, data = ENGINES[config.engine], config.training, setting.data
    key_noise, key_activation, key_batch = jax.random.split(jax.random.fold_in(setting.noise_key, index), 3)
    f, pullback = engine.forward(config, setting.inputs, run.network, None)
    algorithm = training.completed(algorithm)
    run, first, going = look(config, algorithm, data, run, f)
    eta, level, tau_xi = levels(config, algorithm, run, run.time.value + noise.ahead(first, training.step_time))
    if training.activation_noise_form is not None:
        f, pullback = engine.forward(config, setting.inputs, run.network, Perturbation(level, key_activation))
    df = loss_gradient(data, f)
    if training.batch_size is not None:
        df = df * _batch_weights(key_batch, df.shape[0], training.batch_size)

    count = noise.micro_step_count(eta, training.step_time)
    move = noise.micro_steps(eta, count, training.weight_decay, tau_xi)
    count = jnp.where(going & (eta > 0), count, 0.0)
    move = noise.Move(*(jnp.where(going, m, 0.0) for m in move))  # a finished run is frozen
    normals = engine.draw(key_noise, run.network)
    network = engine.advance(config, setting.inputs, run.network, pullback(df), move, normals)
    average = run.average
    if training.average_time is not None:  # of the weights after each step, over the time that it covers
        weight = -jnp.expm1(-count * eta / training.average_time)
        average = jax.tree.map(lambda old, new: old + weight * (new - old), average, network)
    return run._replace(
        network=network, average=average,
        time=run.time.add(count * eta), iterations=run.iterations.add(count), steps=run.steps + going,
        noise_variance=noise.variance(run.noise_variance, move))


def leap_to(config: Config, algorithm: Algorithm, setting: Setting, end: Array, run: Run, *, whole: bool = True) -> Run:
    """Leaps of as many iterations as the tolerance allows, up to the time `end`: `leaps.leap_to` with this network's."""
    engine, training, data = ENGINES[config.engine], config.training, setting.data
    assert engine.leap is not None, "check() admits a tolerance only for engines that can leap"
    leap, algorithm = engine.leap, training.completed(algorithm)

    def seen(run: Run) -> Now:
        return look(config, algorithm, data, run, engine.forward(config, setting.inputs, run.network, None)[0])

    def ends(run: Run) -> Array:
        return jnp.stack([schedule.end(state) for schedule, state in zip(
            algorithm.schedules, (run.rate, run.activation_noise, run.injected_noise), strict=True)])

    def attempt(run: Run, parts: Levels, count: Array) -> tuple[Run, Array]:
        network, error = leap(config, setting.inputs, run.network, lambda f: loss_gradient(data, f), parts.eta, count,
                              parts.activation, parts.tau_xi)
        variance = noise.variance_over(run.noise_variance, parts.eta, count, parts.tau_xi, training.weight_decay)
        return run._replace(network=network, noise_variance=variance), error

    course = Course(seen, lambda run, clock: levels(config, algorithm, run, clock), ends, attempt, _count_events)
    return leaps.leap_to(course, end, run, training.tolerance, training.step_time, whole=whole)


def observe(config: Config, algorithm: Algorithm, setting: Setting, run: Run, before: Run) -> dict[str, Array]:
    """All measurements of a run at one moment, as scalars; `before`: the run at the record before."""
    engine = ENGINES[config.engine]
    f, _ = engine.forward(config, setting.inputs, run.network, None)
    algorithm = config.training.completed(algorithm)
    eta, activation, injected = (schedule.upcoming(state, run.time.value) for schedule, state in zip(
        algorithm.schedules, (run.rate, run.activation_noise, run.injected_noise), strict=True))
    readout = engine.read(config, setting.inputs, run.network, setting.test)
    diagnostics = engine.diagnose(config, setting.inputs, run.network, before.network)
    averaged: dict[str, Array] = {}
    if run.average is not None:
        f_mean, _ = engine.forward(config, setting.inputs, run.average, None)
        mean_readout = engine.read(config, setting.inputs, run.average, setting.test)
        averaged = averages(config, setting.data, setting.test, f_mean, mean_readout)
    sharp = sharpness(setting.data.y, f, lambda v: engine.tangent(config, setting.inputs, run.network, v))
    return measurements(config, setting.data, setting.test, f, readout, diagnostics) | averaged | {
        "time": run.time.value, "iterations": run.iterations.value, "steps": run.steps,
        "learning_rate": eta, "activation_noise": activation, "injected_noise": injected,
        "phase": run.rate.stage + run.activation_noise.stage + run.injected_noise.stage,
        "noise_variance_theory": run.noise_variance, "sharpness": sharp, "rate_sharpness": eta * sharp}


def events(config: Config, run: Run) -> dict[str, Array]:
    """What happened once in a run, as times (sums of rates); inf: never."""
    halved = {f"time_{name}_half": run.half_times[..., k] for k, name in enumerate(config.problem.group_names)}
    return halved | {"annealed_at": run.annealed_at,
            "threshold_at": run.threshold_at, "stopped_at": run.stopped_at, "diverged_at": run.diverged_at}


def record_steps(config: Config) -> np.ndarray:
    """Number of steps done at each record (`stacking.record_steps`): (records + 1,)."""
    return stacking.record_steps(config.training.steps, config.records)


def trajectory(config: Config, algorithm: Algorithm, setting: Setting, run: Run,
               bounds: Array) -> tuple[Run, dict[str, Array]]:
    """Run from step bounds[0] through bounds[-1], observing at bounds[1:]; the record axis comes first.

    Bounds are traced and must not be batched: all runs of a vmapped call are observed at the same steps. Where the
    engine chooses its steps, bounds are times in units of `training.step_time`.
    """
    def segment(before: Run, ends: tuple[Array, Array]) -> tuple[Run, dict[str, Array]]:
        run = before
        if config.adaptive:
            run = leap_to(config, algorithm, setting, ends[1] * jnp.asarray(config.training.step_time), run)
        else:
            run = jax.lax.fori_loop(*ends, lambda index, r: step(config, algorithm, setting, index, r), run)
        seen = observe(config, algorithm, setting, run, before)
        lost = ~(seen["train_loss"] < DIVERGED_LOSS)  # in the last step, too, after which no step looks
        return run._replace(diverged_at=_first(run.diverged_at, run.time.value, lost)), seen

    return jax.lax.scan(segment, run, (bounds[:-1], bounds[1:]))


def _first(when: Array, now: Array, happens: Array) -> Array:
    """`when` if it has happened before, else `now` if it happens, else inf."""
    return jnp.where(jnp.isinf(when) & happens, now, when)


def _count_events(run: Run) -> Array:
    """How much has happened in a run: stages that the loss has ended, and times that are set."""
    times = jnp.append(run.half_times, jnp.stack([run.threshold_at, run.stopped_at, run.diverged_at]))
    return (run.rate.pulled + run.activation_noise.pulled + run.injected_noise.pulled
            + jnp.sum(jnp.isfinite(times)))


def _reached(algorithm: Algorithm, loss: Array) -> Array:
    """Whether the loss is at the first threshold of any schedule, whatever their stages."""
    return jnp.any(loss <= jnp.stack([schedule.threshold for schedule in algorithm.schedules]))


def _batch_weights(key: Array, n: int, batch: int) -> Array:
    """N/B on B examples drawn without replacement, 0 on the others: unbiased for the full gradient.

    Drawn are the ranks of the first B of N random numbers: what `jax.random.permutation` would draw by its one sort of them,
    counted, which takes a quarter of the time on CPU. Of more numbers, some would be equal too often.
    """
    if n > ONE_SORT:
        return jnp.where(jax.random.permutation(key, n) < batch, n / batch, 0.0)
    numbers, place = jax.random.bits(jax.random.split(key)[1], (n,), jnp.uint32), jnp.arange(n)
    first, its_place = numbers[:batch, None], place[:batch, None]
    before = (numbers[None] < first) | ((numbers[None] == first) & (place[None] < its_place))
    rank = jnp.sum(before, axis=1)
    return jnp.where(jnp.any(rank[:, None] == place[None], axis=0), n / batch, 0.0)
