"""The one matrix product of the theory code, at full precision on every backend.

Lives here: the product. Lives elsewhere: everything that multiplies.
"""

import jax
import jax.numpy as jnp
from jax import Array


def matmul(a: Array, b: Array) -> Array:
    """A @ b at full precision, shapes as in `jax.numpy.matmul`: (..., n, k) and (..., k, m) -> (..., n, m).

    A float32 product means TF32 on recent GPUs and bfloat16 on TPUs unless asked otherwise.
    """
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
