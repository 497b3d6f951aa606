"""The full network, f(x) = N_U(u, U; x), on the rows that matter: the default for the full network.

Lives here: the activity of a half. Lives elsewhere: outputs and gradients made of it (rows).
"""

from jax import Array

from lrtheory.linalg import matmul
from lrtheory.theory.engines import rows
from lrtheory.theory.engines.base import State
from lrtheory.theory.network import active


def activity(state: State, half: int, x: Array, extra: Array | None) -> tuple[Array, Array]:
    """Gates 1[U x + noise >= 0] (n, m) and values U x + noise (n, m) of rows x (n, k); noise `extra` (n, m) or none."""
    h = matmul(x, state.signal[half] + state.noise[half])
    h = h if extra is None else h + extra
    return active(h), h


REDUCED = rows.make(activity)
"""The engine `reduced`."""
