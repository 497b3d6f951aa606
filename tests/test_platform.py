"""What is installed does what it says: jax issue 39103 (wrong when jitted in jax 0.10.2 on CPU), groups of pytest-xdist."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest


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


@pytest.mark.xdist_group("platform")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process takes all tests")
def test_a_group_of_tests_is_sent_to_one_process(request):
    """By the end of its name; pytest 9.2 hides it from pytest-xdist 3.8, and each process makes every fixture again."""
    assert request.node.nodeid.endswith("@platform")
