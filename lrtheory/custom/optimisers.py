"""What an optimiser may be: an optax transformation without a rate of its own, for the algorithm's is its last link.

Lives here: its form, its check. Lives elsewhere: training with it (simulate), optimisers themselves (optax).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrtheory.devices import compiler_options, run_mesh
from lrtheory.schedule import ScaleByRateState
from lrtheory.spec import ConfigError, one_line, require, shown
from lrtheory.update import NoisySGDState

Optimiser = optax.GradientTransformationExtraArgs
SGD = optax.with_extra_args_support(optax.identity())
"""The optimiser that leaves the gradient as it is."""
PROBED, PATIENCE = 64, 64
"""Updates in a row by which an optimiser is judged, and how often so many are made while all of them are 0."""
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""CPU compiler options of a program that is run three times."""
COUNTS = (None, 1_000, 1_000_000)
"""Steps that an optimiser is told to have done before these; None: none, as it starts."""
OWN_RATE = (optax.ScaleByScheduleState, ScaleByRateState, NoisySGDState)
"""States of links that are a rate."""


def optimiser_of(given: Any) -> Optimiser:
    """The optimiser that is meant, None for SGD. Raises `ConfigError` for what is none."""
    if given is None:
        return SGD
    require(all(callable(getattr(given, part, None)) for part in ("init", "update")), "optimiser", shown(given),
            "an optax transformation", "such as optax.trace(0.9) or optax.scale_by_adam()")
    return _extended(given)


@functools.lru_cache(maxsize=32)
def _extended(given: Any) -> Optimiser:
    """Equal for equal ones, so that programs are compiled once."""
    return optax.with_extra_args_support(given)


def require_no_rate(optimiser: Optimiser, params: Any) -> None:
    """Raise `ConfigError` for an optimiser with a rate, or that climbs or stands still; `params`: shapes and types.

    A rate is known by its state, however it is wrapped: a schedule, or a hyperparameter `learning_rate`. What no state shows
    is seen in the updates: under a gradient that stays as it is those of an array may not point against it, summed over
    `PROBED` steps from the start, and after 10^3 and 10^6 (`COUNTS`). Beyond this check: a positive factor that a
    transformation of one's own changes with the step, and a rate that only acts at other times than these.
    """
    if optimiser is SGD:
        return
    leaves, tree = jax.tree.flatten(params)
    wrong = _wrong(optimiser, tree, tuple((x.shape, np.dtype(x.dtype)) for x in leaves))
    require(wrong is None, "optimiser", wrong, "without a rate of its own: optax.scale_by_adam() for optax.adam(rate)",
            "the rate of each algorithm is its last link")


@functools.lru_cache(maxsize=32)
def _wrong(optimiser: Optimiser, tree: Any, shapes: tuple[tuple[Any, np.dtype], ...]) -> str | None:
    """What is wrong with an optimiser of parameters of these shapes, in words; None: nothing."""
    if not shapes:
        return None
    params, rng = jax.tree.unflatten(tree, [jnp.zeros(shape, dtype) for shape, dtype in shapes]), np.random.default_rng(0)
    gradient = jax.tree.map(  # of sizes from 1 to 2 and either sign: centred or normalised, nothing of it vanishes
        lambda x: jnp.asarray(rng.uniform(1, 2, x.shape) * rng.choice([-1, 1], x.shape), x.dtype), params)
    try:
        state = jax.tree.map(jnp.asarray, optimiser.init(params))
        for part in _parts(state):
            if isinstance(part, OWN_RATE):
                return f"a chain with a schedule ({type(part).__name__})"
            if "learning_rate" in (getattr(part, "hyperparams", None) or {}):
                return "a chain with a hyperparameter learning_rate"
        options = compiler_options(run_mesh(jax.local_devices(), 1), QUICK)
        follow = jax.jit(functools.partial(_followed, optimiser)).lower(state, params, gradient).compile(options)
        along = np.stack([_along(follow, _counted(state, count), params, gradient) for count in COUNTS])
    except Exception as error:  # of a stranger's function: anything
        raise ConfigError(f"optimiser: its init(params) or update(gradient, state, params, value=loss) fails ("
                          f"{type(error).__name__}: {one_line(str(error), 200)}); must need no more than these; "
                          "choose another") from None
    if not np.isfinite(along).all():
        return "a chain whose updates are no numbers"
    if (along < 0).any():
        return "a chain that climbs"
    return None if (along > 0).any() else "a chain that stands still"


def _parts(state: Any) -> Iterator[Any]:
    """A state and all states within it."""
    yield state
    below = jax.tree.leaves(state, is_leaf=lambda part: part is not state)
    yield from (found for part in below if part is not state for found in _parts(part))


def _counted(state: Any, count: int | None) -> Any:
    """The state with all whole numbers in it, the steps that were counted, at `count`; None: as it is."""
    def counted(x: jax.Array) -> jax.Array:
        return jnp.full_like(x, count or 0) if not x.ndim and jnp.issubdtype(x.dtype, jnp.signedinteger) else x

    return state if count is None else jax.tree.map(counted, state)


def _along(follow: Any, state: Any, params: Any, gradient: Any) -> np.ndarray:
    """How far the updates go along a fixed gradient, (arrays,): until some do, for what waits for many micro-batches."""
    for _ in range(PATIENCE):
        state, along = follow(state, params, gradient)
        if np.any(np.asarray(along) != 0):
            break
    return np.asarray(along)


def _followed(optimiser: Optimiser, state: Any, params: Any, gradient: Any) -> tuple[Any, jax.Array]:
    """The state after `PROBED` steps, and how far the updates go along a fixed gradient, (arrays,); the parameters stay."""
    def step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], None]:
        state, along = carry
        updates, state = optimiser.update(gradient, state, params, value=jnp.ones(()))
        pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(gradient), strict=True)
        return (state, along + jnp.stack([jnp.sum((u * jnp.conj(g)).real).astype(along.dtype) for u, g in pairs])), None

    start = jnp.zeros(len(jax.tree.leaves(params)), jnp.result_type(float))
    return jax.lax.scan(step, (state, start), None, length=PROBED)[0]
