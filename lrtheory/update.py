"""The update U <- U - eta (grad L_lambda + xi) as an optax gradient transformation, for any JAX model.

Lives here: the wrapper around `noise.micro_steps` that holds a key and a schedule's state. Lives elsewhere: the
moments themselves (noise), and the engines' own steps, which use the same moments on signal and noise parts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from lrtheory import noise
from lrtheory.keys import require_key
from lrtheory.schedule import Schedule, constant
from lrtheory.spec import MOST, require_number
from lrtheory.stages import StageState, Sum


class NoisySGDState(NamedTuple):
    """State of `noisy_sgd`."""

    key: Array  # PRNG key of the next draw
    time: Array  # () sum of rates so far
    lost: Array  # () digits that it dropped (`Sum`)
    schedule: StageState


def noisy_sgd(schedule: Schedule | ArrayLike, *, weight_decay: ArrayLike, tau_xi: ArrayLike, key: Array,
              step_time: ArrayLike = 0.0) -> optax.GradientTransformationExtraArgs:
    """SGD with weight decay and injected spherical Gaussian noise.

    U_{t+1} = U_t - eta_t (grad L(U_t) + lambda U_t + xi_t), xi_t ~ N(0, tau_xi^2 I), in K micro-steps an update
    (`noise.micro_steps`). Source: section 3 of Li, Wei & Ma (2019); micro-steps derived here.

    Args:
      schedule: the rate, or a number; its clock is time, the sum of rates. Loss triggers read the keyword `value` of
        `update`.
      weight_decay: lambda.
      tau_xi: standard deviation of xi, in the units of the gradient; balanced: tau0 * noise.balanced_noise(...).
      key: PRNG key of the noise.
      step_time: units of time an update covers, K = max(1, round(step_time / eta)); 0: K = 1, the algorithm itself.

    Returns:
      A `GradientTransformationExtraArgs`; `update` needs `params` (else it raises ValueError), and `value` (the loss) for
      loss triggers.

    >>> import jax, jax.numpy as jnp, optax
    >>> from lrtheory import constant, noisy_sgd
    >>> optimiser = noisy_sgd(constant(0.1), weight_decay=0.5, tau_xi=0.0, key=jax.random.key(0))
    >>> params = jnp.array([1.0, -2.0])
    >>> updates, _ = optimiser.update(jnp.array([1.0, 0.0]), optimiser.init(params), params)
    >>> [round(float(u), 4) for u in optax.apply_updates(params, updates)]  # (1 - 0.05) U - 0.1 grad
    [0.85, -1.9]
    """
    schedule = schedule if isinstance(schedule, Schedule) else constant(schedule)  # as optax.inject_hyperparams has it
    for name, value in (("weight_decay", weight_decay), ("tau_xi", tau_xi), ("step_time", step_time)):
        require_number(name, value, lambda number: 0 <= number <= MOST, "a finite number of at least 0", "correct it")
    require_key("key", key)

    def init(params: optax.Params) -> NoisySGDState:
        del params
        return NoisySGDState(key=jnp.copy(key), time=jnp.zeros(()), lost=jnp.zeros(()), schedule=schedule.init())

    def update(updates, state, params=None, *, value: ArrayLike = jnp.inf, **extra):
        del extra
        if params is None:
            raise ValueError("noisy_sgd decays the weights: call update(grads, state, params)")
        time = state.time
        rate, inner = schedule.update(state.schedule, time, value)
        rate = noise.mean_rate(schedule, inner, time, rate, step_time)
        count = noise.micro_step_count(rate, step_time)
        move = noise.micro_steps(rate, count, weight_decay, tau_xi)
        key_now, key_next = jax.random.split(state.key)
        moved = jax.tree.map(
            lambda g, u, xi: (move.shrink * u - move.drift * g - move.kick * xi).astype(u.dtype),
            updates, params, noise.draw(key_now, params))
        return moved, NoisySGDState(key_next, *Sum(time, state.lost).add(count * rate), inner)

    return optax.GradientTransformationExtraArgs(init, update)
