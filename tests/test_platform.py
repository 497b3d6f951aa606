"""The installed jax computes what it says: the shape of jax issue 39103, wrong when jitted in jax 0.10.2 on CPU."""

import jax
import jax.numpy as jnp
import numpy as np


def test_vmapped_matvec_with_reduction_is_the_same_eager_jitted_and_in_numpy():
    n = 32_769
    matrices = jnp.tile(jnp.arange(1.0, 3.0), (1, n, 1))
    vectors = jnp.ones((1, 2))

    def total(a, x):
        return jnp.sum(a @ x)

    eager = jax.vmap(total)(matrices, vectors)
    jitted = jax.jit(jax.vmap(total))(matrices, vectors)
    one = jax.jit(total)(matrices[0], vectors[0])
    np.testing.assert_array_equal(eager, [3.0 * n])
    np.testing.assert_array_equal(jitted, eager)
    np.testing.assert_array_equal(one, eager[0])
