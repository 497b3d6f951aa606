"""One run of your own model: the step, its events, and the trajectory of measurements, as pure functions.

Lives here: the order of things within a step. Lives elsewhere: the model (models), moments of the noise (noise), rates
(stages), many runs at once (programs).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lrtheory import keys, noise
from lrtheory.algorithm import Algorithm
from lrtheory.custom.config import Balanced
from lrtheory.custom.models import Model, Params
from lrtheory.stages import StageState, Sum


class Task(NamedTuple):
    """What shapes the program: functions and choices, compared as such."""

    model: Model
    sample: Callable[[Array], Any] | None  # key -> (x, y, ...); None: all seeds have the same data
    loss: Callable[[Any, Any], Array]  # (outputs, y) -> a loss an example, or their mean
    optimiser: optax.GradientTransformationExtraArgs
    measure: Callable[[Params, Any], dict[str, Array]]  # (params, (x, y, ...)) -> arrays by name
    batch_size: int | None
    clock: str
    injects: bool  # whether there is injected noise
    noisy: bool  # whether there is noise on activations
    meaning: str = ""  # digest of what the functions compute: one that reads a changed value is another


class Numbers(NamedTuple):
    """What does not."""

    weight_decay: Any
    step_time: Any
    largest_loss: Any
    tau_xi: Any  # a number, a tree that params extend, or `Balanced`
    data: Any  # (x, y, ...) of all seeds, or None


class Setting(NamedTuple):
    """What stays fixed over a run, drawn from its seed alone."""

    data: Any  # None where all seeds have the same
    tau_xi: Params
    noise_key: Array


class Run(NamedTuple):
    """What moves over a run; times are sums of rates, inf while something has not happened."""

    params: Params
    optimiser: Any
    stages: tuple[StageState, ...]  # of rate, activation noise, injected noise
    time: Sum
    iterations: Sum
    steps: Array  # ()
    annealed_at: Array  # ()
    diverged_at: Array  # ()


def begin(task: Task, numbers: Numbers, algorithm: Algorithm, seed: Array) -> tuple[Setting, Run]:
    """Draw data and parameters from the seed, as `lrtheory.run` does, and start the clock."""
    data_key, _, params_key, noise_key = jax.random.split(keys.key(seed), 4)
    data = None if task.sample is None else task.sample(data_key)
    params = task.model.init(params_key)
    tau_xi = numbers.tau_xi.of(params) if isinstance(numbers.tau_xi, Balanced) else jax.tree.map(
        lambda tau, part: jax.tree.map(lambda _: jnp.asarray(tau, jnp.result_type(float)), part), numbers.tau_xi, params)
    zero, never = jnp.zeros(()), jnp.full((), jnp.inf)
    run = Run(params=params, optimiser=task.optimiser.init(params), stages=tuple(s.init() for s in algorithm.schedules),
              time=Sum(zero, zero), iterations=Sum(zero, zero), steps=jnp.array(0), annealed_at=never, diverged_at=never)
    return Setting(data, tau_xi, noise_key), run


def data_of(numbers: Numbers, setting: Setting) -> Any:
    """The data of a run, (x, y, ...)."""
    return numbers.data if setting.data is None else setting.data


def mean_loss(task: Task, params: Params, x: Any, y: Any) -> Array:
    """The training loss of the model as it is: ()."""
    return jnp.mean(task.loss(task.model.apply(params, x), y))


def step(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, index: Array, run: Run) -> Run:
    """K iterations: U <- U - eta (direction + lambda U + xi), the direction that of the optimiser, SGD's the gradient.

    Rate and noises are chosen by the loss of the step's examples, and by the clock. `index` is the step's number; it alone,
    with the seed, decides the step's random numbers, which all algorithms of a seed share.
    """
    key_noise, key_activation, key_batch = jax.random.split(jax.random.fold_in(setting.noise_key, index), 3)
    x, y, *_ = data_of(numbers, setting)
    if task.batch_size is not None:
        chosen = jax.random.choice(key_batch, jax.tree.leaves(y)[0].shape[0], (task.batch_size,), replace=False)
        x, y = jax.tree.map(lambda part: part[chosen], (x, y))
    loss, gradient = jax.value_and_grad(lambda params: mean_loss(task, params, x, y))(run.params)

    clock = run.time.value if task.clock == "time" else run.steps.astype(run.time.value.dtype)
    first, *_ = found = [s.update(state, clock, loss) for s, state in zip(algorithm.schedules, run.stages, strict=True)]
    stages = tuple(state for _, state in found)
    middle = clock + noise.ahead(first[0], numbers.step_time)
    eta, level, injected = (s.value(state, middle) for s, state in zip(algorithm.schedules, stages, strict=True))
    if task.noisy:
        assert task.model.noisy is not None, "train() refuses activation noise that would not act"
        noisy = task.model.noisy
        gradient = jax.grad(lambda params: jnp.mean(task.loss(noisy(params, x, level, key_activation), y)))(run.params)

    direction, optimiser = task.optimiser.update(gradient, run.optimiser, run.params, value=loss)
    count = noise.micro_step_count(eta, numbers.step_time)
    move = noise.micro_steps(eta, count, numbers.weight_decay, injected)
    params = jax.tree.map(lambda u, g: u + (move.shrink * u - move.drift * g).astype(u.dtype), run.params, direction)
    if task.injects:
        params = jax.tree.map(lambda u, tau, xi: u - (move.kick * tau * xi).astype(u.dtype), params, setting.tau_xi,
                              noise.draw(key_noise, params))
    diverged_at = first_time(run.diverged_at, run.time.value, ~(loss <= numbers.largest_loss))
    annealed = jnp.any(jnp.stack([state.stage > s.peak for s, state in zip(algorithm.schedules, stages, strict=True)]))
    going = jnp.isinf(diverged_at)
    moved = run._replace(params=params, optimiser=optimiser, stages=stages, time=run.time.add(count * eta),
                         iterations=run.iterations.add(count), steps=run.steps + 1,
                         annealed_at=first_time(run.annealed_at, run.time.value, annealed))
    kept = jax.tree.map(lambda new, old: jnp.where(going, new, old), moved, run)  # a diverged run is frozen
    return kept._replace(diverged_at=diverged_at)


def observe(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, run: Run) -> dict[str, Array]:
    """All measurements of a run at one moment: its clock, its loss on all examples, and your own."""
    data = data_of(numbers, setting)
    clock = run.time.value if task.clock == "time" else run.steps.astype(run.time.value.dtype)
    eta, _, injected = (s.upcoming(state, clock) for s, state in zip(algorithm.schedules, run.stages, strict=True))
    taken = {"time": run.time.value, "iterations": run.iterations.value, "learning_rate": eta, "injected_noise": injected,
             "train_loss": mean_loss(task, run.params, *data[:2])}
    return taken | {name: jnp.asarray(value) for name, value in task.measure(run.params, data).items()}


def trajectory(task: Task, numbers: Numbers, algorithm: Algorithm, setting: Setting, run: Run,
               bounds: Array) -> tuple[Run, dict[str, Array]]:
    """Run from step bounds[0] through bounds[-1], observing at bounds[1:]; the record axis comes first."""
    def segment(run: Run, ends: tuple[Array, Array]) -> tuple[Run, dict[str, Array]]:
        run = jax.lax.fori_loop(*ends, lambda index, r: step(task, numbers, algorithm, setting, index, r), run)
        seen = observe(task, numbers, algorithm, setting, run)
        lost = ~(seen["train_loss"] <= numbers.largest_loss)  # in the last step, too, after which no step looks
        return run._replace(diverged_at=first_time(run.diverged_at, run.time.value, lost)), seen

    return jax.lax.scan(segment, run, (bounds[:-1], bounds[1:]))


def first_time(when: Array, now: Array, happens: Array) -> Array:
    """`when` if it has happened before, else `now` if it happens, else inf."""
    return jnp.where(jnp.isinf(when) & happens, now, when)
