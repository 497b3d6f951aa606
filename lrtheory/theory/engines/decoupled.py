"""Decoupled dynamics, f(x) = N_{Utilde}(u, Ubar; x): gates from the noise part alone, output from the signal part.

The surrogate of the full network for m -> infinity (Li, Wei & Ma 2019, section 3: 1[U x] ~ 1[Utilde x] at large m).
Free of tau0, because gates do not see the scale. The full network approaches it as 1/sqrt(m), up to the output of the
noise itself, N_{Utilde}(u, Utilde; x), which is of order tau0 whatever m is once injected noise has broken the
antisymmetry of the start (derived here; the paper takes tau0 -> 0).

Lives here: the activity of a half. Lives elsewhere: outputs and gradients made of it (rows).
"""

from jax import Array

from lrtheory.linalg import matmul
from lrtheory.theory.engines import rows
from lrtheory.theory.engines.base import State
from lrtheory.theory.network import active


def activity(state: State, half: int, x: Array, extra: Array | None) -> tuple[Array, Array]:
    """Gates 1[Utilde x + noise >= 0] (n, m) and values Ubar x (n, m) of rows x (n, k); noise `extra` (n, m) or none."""
    pre = matmul(x, state.noise[half])
    return active(pre if extra is None else pre + extra), matmul(x, state.signal[half])


DECOUPLED = rows.make(activity)
"""The engine `decoupled`."""
