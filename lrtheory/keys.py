"""Random keys of one kind, whatever JAX's defaults are, and the settings that random numbers depend on.

Lives here: how a key is made from a seed. Lives elsewhere: what is drawn (problem, noise, simulate of each wing).
"""

import jax
from jax import Array
from jax.typing import ArrayLike

IMPLEMENTATION = "threefry2x32"
"""Keys of it split and draw alike however runs are batched; those of others (rbg) do not."""
SETTINGS = ("jax_threefry_partitionable", "jax_random_seed_offset")
"""Settings of JAX that change what is drawn from these keys."""


def key(seed: ArrayLike) -> Array:
    """The key of a seed.

    >>> key(3) == jax.random.key(3)
    Array(True, dtype=bool)
    """
    return jax.random.key(seed, impl=IMPLEMENTATION)


def described() -> str:
    """How random numbers are made, in words: equal words, equal numbers.

    >>> described()
    'threefry2x32, threefry_partitionable True, random_seed_offset 0'
    """
    return ", ".join([IMPLEMENTATION, *(f"{name.removeprefix('jax_')} {getattr(jax.config, name)}" for name in SETTINGS)])
