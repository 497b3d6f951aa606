"""Random keys of one kind, whatever JAX's defaults are, and the settings that random numbers depend on.

Lives here: how a key is made from a seed. Lives elsewhere: what is drawn (problem, noise, simulate of each wing).
"""

from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike

from lrtheory.spec import require

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


def require_key(name: str, key: Any) -> None:
    """Raise `ConfigError` unless it is one random key of JAX, typed or as it was before."""
    kind = getattr(key, "dtype", None) if isinstance(key, jax.Array) else None
    typed = kind is not None and jax.numpy.issubdtype(kind, jax.dtypes.prng_key)
    require(typed or kind == jax.numpy.uint32, name, f"a {type(key).__name__}", "a random key", "jax.random.key(0)")


def described() -> str:
    """How random numbers are made, in words: equal words, equal numbers.

    >>> described()
    'threefry2x32, threefry_partitionable True, random_seed_offset 0'
    """
    return ", ".join([IMPLEMENTATION, *(f"{name.removeprefix('jax_')} {getattr(jax.config, name)}" for name in SETTINGS)])
