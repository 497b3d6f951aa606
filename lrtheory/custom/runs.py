"""Your own model under every algorithm from every seed, as a labelled dataset: `train`.

Lives here: the call, its check, the folder with what is done. Lives elsewhere: the compiled program (programs), labels
(labelled), files as such (files).
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from lrtheory import fields, keys, labelled
from lrtheory.algorithm import Algorithm, named, packed, silent, stacked
from lrtheory.custom import answers, programs
from lrtheory.custom.config import Balanced, Settings
from lrtheory.custom.models import Model, logistic
from lrtheory.custom.optimisers import optimiser_of, require_no_rate
from lrtheory.custom.simulate import Numbers, Task
from lrtheory.devices import require_working
from lrtheory.progress import watching
from lrtheory.schedule import Schedule, constant
from lrtheory.spec import ConfigError, require, require_count, require_kind, require_path, shown
from lrtheory.stacking import record_steps

MEANINGS = {
    "time": ("sum of rates", "training time, sum over iterations of the learning rate"),
    "iterations": ("1", "iterations of the algorithm, K for a step of K micro-steps"),
    "learning_rate": ("sum of rates an iteration", "rate of the next step unless the loss changes it"),
    "injected_noise": ("tau_xi", "standard deviation of the injected noise"),
    "train_loss": ("loss", "training loss over all examples, without weight decay"),
    "annealed_at": ("sum of rates", "time of annealing, of the rate or of a noise; inf: never"),
    "diverged_at": ("sum of rates", "time at which the loss ceased to be finite or passed largest_loss; inf: never"),
}
"""{name: (units, meaning)} of what is always recorded."""
ALWAYS = 20
"""Bytes of a record of what is always recorded: five numbers."""


def train(model: Model | tuple[Callable, Callable], data: Callable[[jax.Array], Any] | tuple,
          algorithms: Mapping[str, Any], *, loss: Callable[[Any, Any], jax.Array] = logistic,
          optimiser: optax.GradientTransformation | None = None, tau_xi: Any = 0.0,
          measure: Callable[[Any, Any], dict[str, jax.Array]] | None = None,
          meanings: Mapping[str, tuple[str, str]] | None = None, at_once: int | None = None,
          folder: str | Path | None = None, progress: Callable[[int, int, dict[str, np.ndarray]], None] | bool | None = None,
          **settings: Any) -> xr.Dataset:
    """Train any model under every algorithm from every seed, in one jitted, vmapped call, and return all measurements.

    U <- U - eta_t (direction_t + lambda U + xi_t), xi ~ N(0, (level_t tau_xi)^2): the direction is the gradient (SGD), or
    what an optax chain without a rate makes of it; the algorithm's rate is its last link. Source: section 3 of Li, Wei & Ma
    (2019) for SGD.

    Args:
      model: `Model(init, apply)`, or the pair: init(key) -> params, apply(params, x) -> outputs. `lrtheory.custom.models`
        has linen, nnx and equinox for modules of theirs.
      data: sample(key) -> (x, y, ...), pure; or (x, y, ...), the same for all seeds. x is what `apply` reads and y what the
        loss compares with, pytrees with the examples along the first axis; whatever follows is for `measure`.
      algorithms: {name: `Algorithm`, or its rate as a schedule or a number}. Loss triggers read the loss of the step's
        examples; injected noise is in units of tau_xi (None: 1), activation noise needs `Model.noisy`.
      loss: (outputs, y) -> a loss an example (n,), or their mean.
      optimiser: such as optax.scale_by_adam() or optax.trace(0.9), or a chain of these; its memory counts steps. One with a
        rate of its own is refused (`lrtheory.custom.optimisers.require_no_rate` says what is beyond that check).
      tau_xi: standard deviation of xi in units of the gradient: a number, a tree of numbers that params extend, or
        `Balanced(rate, weight_decay)`, which keeps the random part of each array at its size. 0: none.
      measure: (params, (x, y, ...)) -> {name: array}, recorded over time.
      meanings: {name: (units, meaning)} of these.
      at_once: seeds at once; None: as many as the memory holds. The numbers do not depend on it.
      folder: where finished seeds are kept; called again with the same question it goes on, or reads what is there. None
        of functions that ask Python for answers; seeds of other devices or versions are joined with a warning.
      progress: True for a bar, or a function, as for `lrtheory.run`.
      **settings: fields of `lrtheory.custom.config.Settings`: seeds, steps, records, weight_decay, batch_size, ...

    Returns:
      A dataset with dimensions algorithm, seed and record, and NAME_0, NAME_1, ... for what a measurement has beside; time,
      a coordinate, is the sum of rates. Diverged runs have a finite `diverged_at`, stand still from there, and disturb no
      other.

    Raises:
      ConfigError: something is impossible; the message names it, its bound and a remedy.

    All algorithms of a seed share its data, initial parameters, minibatches and noise, which depend on the seed alone.

    >>> import jax, jax.numpy as jnp, lrtheory as lt
    >>> def sample(key):
    ...     x = jax.random.normal(key, (64, 3))
    ...     return x, jnp.sign(x[:, 0])
    >>> runs = lt.train((lambda key: jax.random.normal(key, (3,)), lambda w, x: x @ w), sample,
    ...                 {"large": 0.5, "annealed": lt.anneal_at_loss(0.5, 0.05, 0.3)}, seeds=2, steps=50, records=5,
    ...                 measure=lambda w, data: {"weights": w})
    >>> runs["weights"].dims, bool((runs["train_loss"].isel(record=-1) < 0.4).all())
    (('algorithm', 'seed', 'record', 'weights_0'), True)
    """
    require_kind("algorithms", algorithms, Mapping, "a mapping {name: rate}", "such as {'large': 0.5}")
    given = named({name: _algorithm(name, a) for name, a in algorithms.items()})
    config = _settings(settings, given).check()
    require_working()
    task, numbers = _task(model, data, loss, optimiser, tau_xi, measure, config)
    if at_once is not None:
        require_count("at_once", at_once, 1, "or None for as many as fit")
    require_kind("meanings", meanings, (Mapping, type(None)), "a mapping {name: (units, meaning)}", "None: none")
    place = None if folder is None else require_path("folder", folder)
    complete = [a.replace(activation_noise=a.activation_noise or constant(0.0),
                          injected_noise=a.injected_noise or constant(1.0)) for a in config.algorithms]
    started, meanings = time.perf_counter(), dict(meanings or {})
    _check_functions(task, numbers, config, meanings)
    marks, program = record_steps(config.steps, config.records), programs.traced(task, numbers, packed(complete[0]))
    task = task._replace(meaning=programs.meaning(program))
    if place is None:
        return _computed(task, numbers, config, complete, marks, at_once, progress, meanings, started, None)
    _require_no_host(program)
    question = {"program": programs.digest(task, numbers), "settings": fields.parse(
        fields.to_json(config), "settings"), "random numbers": keys.described(), "precision": str(jnp.result_type(float))}
    return _said_of(answers.answered(place, question, config, lambda parts: _computed(
        task, numbers, config, complete, marks, at_once, progress, meanings, started, parts)), meanings)


def _algorithm(name: str, given: Any) -> Algorithm:
    """An algorithm from what stands for one."""
    if isinstance(given, Algorithm):
        return given
    if not isinstance(given, Schedule):
        try:
            given = constant(given)
        except ConfigError:
            raise ConfigError(f"algorithms[{shown(name)!r}] = {shown(given)}: must be an Algorithm, a schedule or a number; "
                              "give lrtheory.Algorithm(rate=...)") from None
    return Algorithm(rate=given, name=name)


def _settings(given: dict[str, Any], algorithms: tuple[Algorithm, ...]) -> Settings:
    """The settings, or `ConfigError` for one that is none."""
    return fields.changed(Settings(), given | {"algorithms": algorithms})


def _task(model: Any, data: Any, loss: Any, optimiser: Any, tau_xi: Any, measure: Any,
          config: Settings) -> tuple[Task, Numbers]:
    """What shapes the program and what does not."""
    pair = isinstance(model, tuple | list) and 2 <= len(model) <= 3 and all(map(callable, model[:2]))
    require(pair, "model", f"a {type(model).__name__}", "Model(init, apply), two functions", "lrtheory.custom.models has "
            "linen, nnx and equinox for modules of theirs")
    for name, function in (("loss", loss), ("measure", measure or _nothing)):
        require(callable(function), name, shown(function), "a function", "see the docstring of lrtheory.train")
    model = model if isinstance(model, Model) else Model(*model)
    sample = data if callable(data) else None
    if sample is None:
        _require_pair(data, "sample(key) -> (x, y, ...), or a tuple (x, y, ...)")
    if isinstance(tau_xi, Balanced):
        tau_xi.check()
    noisy = any(a.noisy for a in config.algorithms)
    require(not noisy or model.noisy is not None, "algorithms", "activation noise", "of a model with `noisy`",
            "give Model(init, apply, noisy), or leave it out")
    for tau in [] if isinstance(tau_xi, Balanced) else jax.tree.leaves(tau_xi, is_leaf=lambda part: part is None):
        numbers = getattr(np.asarray(tau), "dtype", np.dtype(object)).kind in "iuf" and np.isfinite(tau).all()
        require(numbers, "tau_xi", shown(tau), "a finite number, a tree of such, or Balanced(rate, weight_decay)", "0: none")
    injects = isinstance(tau_xi, Balanced) or any(np.any(np.asarray(tau)) for tau in jax.tree.leaves(tau_xi))
    unasked = all(silent(a.injected_noise) for a in config.algorithms)
    require(injects or unasked, "algorithms", "injected noise", "left out without tau_xi",
            "give tau_xi, its standard deviation at level 1")
    task = Task(model, sample, loss, optimiser_of(optimiser), measure or _nothing,
                config.batch_size, config.clock, injects, noisy)
    fixed = None if sample is not None else jax.tree.map(_array, data)
    return task, Numbers(config.weight_decay, config.step_time, config.largest_loss, tau_xi, fixed)


def _require_pair(data: Any, bound: str) -> None:
    """Raise `ConfigError` unless data are a tuple of x, y and what else there is."""
    require(isinstance(data, tuple) and len(data) >= 2, "data", type(data).__name__, bound,
            "x is what the model reads, y what the loss compares with")


def _array(values: Any) -> jax.Array:
    """Values as an array, or `ConfigError` for what is none."""
    try:
        return jnp.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"data: a {type(values).__name__}, {shown(values)}, in it; must be arrays of numbers; convert it "
                          "by numpy.asarray") from None


def _nothing(params: Any, data: Any) -> dict[str, jax.Array]:
    """What is measured where nothing was asked for."""
    del params, data
    return {}


def _check_functions(task: Task, numbers: Numbers, config: Settings, meanings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for functions that do not fit together, or into the memory, before anything is computed."""
    seed = jax.random.key(0)
    params = jax.eval_shape(task.model.init, seed)
    data: Any = numbers.data if task.sample is None else jax.eval_shape(task.sample, seed)
    _require_pair(data, "(x, y, ...), a tuple")
    shapes: list[tuple[int, ...]] = [part.shape for part in jax.tree.leaves(data[:2])]
    n = tuple(shapes[-1][:1]) if shapes else ()
    there = bool(n) and all(map(jax.tree.leaves, data[:2])) and all(shape[:1] == n for shape in shapes)
    require(there, "data", f"x and y of shapes {shown(shapes)}",
            "arrays with the same examples along the first axis of each", "lists become arrays by numpy.asarray")
    wrong = [x.dtype.name for x in jax.tree.leaves(params) if not jnp.issubdtype(x.dtype, jnp.inexact)]
    require(not wrong, "params", ", ".join(wrong), "arrays of real numbers", "all are trained; close over the others")
    out = jax.eval_shape(lambda p, d: task.loss(task.model.apply(p, d[0]), d[1]), params, data)
    require(out.shape in ((), n), "loss", f"an array of shape {out.shape}", f"a loss an example, {n}, or their mean, ()",
            "sum or average it over what an example has")
    if task.batch_size is not None:
        examples = math.prod(n)
        require(task.batch_size <= examples, "batch_size", task.batch_size, f"at most the {examples} examples",
                "or None for all")
    measured = jax.eval_shape(task.measure, params, data)
    require(isinstance(measured, dict), "measure", type(measured).__name__, "a function to {name: array}", "return a dict")
    labelled.require_measured("measure", measured, tuple(MEANINGS))
    _check_meanings(meanings, {*MEANINGS, *measured})
    own, drawn, record = _bytes(params), _bytes(data), _bytes(measured)
    runs = len(config.algorithms) * config.seeds
    programs.require_room(runs, drawn + len(config.algorithms) * own, runs * (config.records + 1) * (record + ALWAYS))
    if task.loss is logistic:
        labels = np.unique(np.asarray((numbers.data if task.sample is None else task.sample(seed))[1]))
        require(labels.dtype != bool and set(labels.tolist()) <= {-1, 1}, "y",
                shown(labels.tolist()), "-1 or 1 for lrtheory.logistic",
                "of labels 0 and 1 give 2 y - 1")
    require_no_rate(task.optimiser, params)


def _bytes(tree: Any) -> int:
    """Bytes of arrays, or of what has their shapes and types."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _check_meanings(meanings: Mapping[str, Any], names: set[str]) -> None:
    """Raise `ConfigError` for meanings of what is not measured, or that are not two texts."""
    for name, said in meanings.items():
        require(name in names, "meanings", shown(name), "of what is measured: " + ", ".join(sorted(names)), "correct it")
        pair = isinstance(said, tuple | list) and len(said) == 2 and all(isinstance(text, str) for text in said)
        require(pair, f"meanings[{name!r}]", shown(said), "(units, meaning), two texts", "such as ('nat', 'loss on P')")


def _said_of(found: xr.Dataset, meanings: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """Measurements that were kept, with the units and meanings of this call."""
    for name, (units, meaning) in meanings.items():
        found[name].attrs |= {"units": units, "long_name": meaning}
    return found


def _require_no_host(program: Any) -> None:
    """Raise `ConfigError` for a traced program whose answers a folder cannot keep."""
    if names := sorted({getattr(f, "__name__", type(f).__name__) for f in programs.host_functions(program)}):
        raise ConfigError(f"folder: the functions ask Python for answers, {', '.join(names)} by a callback, which may be "
                          "others next time, so that none can be kept; leave the folder out, or say it in JAX")


def _computed(task: Task, numbers: Numbers, config: Settings, algorithms: list[Algorithm], marks: np.ndarray,
              at_once: int | None, progress: Any, meanings: Mapping[str, tuple[str, str]], started: float,
              parts: Path | None) -> xr.Dataset:
    """Every seed, those that are kept in `parts` read and the others computed and, if there are parts, kept."""
    names, stack, facts = [a.name for a in algorithms], stacked(algorithms), {}

    def compute(missing: list[int], keep: answers.Keep) -> None:
        program = programs.compile_what_fits(task, numbers, stack, len(missing), marks, at_once)
        facts.update(compile_seconds=round(program.compile_seconds, 3), devices_used=program.mesh.size,
                     seeds_at_once=program.seeds)
        chunks = [missing[k : k + program.seeds] for k in range(0, len(missing), program.seeds)]
        with watching(progress, "steps", lambda last: losses_in_words(names, last)) as told:
            for k, chunk in enumerate(chunks):
                def tell(done: int, last: dict[str, np.ndarray], k: int = k) -> None:
                    if told is not None:
                        told(k * config.steps + done, len(chunks) * config.steps, last)

                keep(chunk, programs.run_seeds(program, numbers, stack, np.array(chunk), marks, tell))

    whole = answers.every_seed(config, parts, compute, facts)
    said = MEANINGS | dict.fromkeys(set(whole) - set(MEANINGS), ("", "")) | dict(meanings)
    return labelled.dataset(whole, said, config, names,
                            {"step": ("record", marks, {"units": "1", "long_name": "steps done"})},
                            facts | {"wall_seconds": round(time.perf_counter() - started, 3)}).set_coords("time")


def losses_in_words(names: list[str], last: dict[str, np.ndarray]) -> str:
    """Where runs stand, in words."""
    return ", ".join(f"{name} loss {last['train_loss'][k].mean():.3g}" for k, name in enumerate(names))
