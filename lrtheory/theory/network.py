"""Two-layer ReLU networks with a fixed second layer: N_A(u, U; x), gates, the two variants, initialisation.

Lives here: what the network computes from weights. Lives elsewhere: how weights move (noise, update) and the
cheaper ways of computing the same thing (engines).
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from lrtheory.linalg import matmul
from lrtheory.spec import require, require_choice, require_count, require_positive, span, spec, static, swept

Variant = Literal["block", "conv"]
"""Values of `Network.variant`."""
Init = Literal["antisymmetric", "plain"]
"""Values of `Network.init`."""
Kernel = Literal["matrix", "features"]
"""Values of `Network.kernel`."""
Kinks = Literal["fixed", "moving"]
"""Values of `Network.kinks`."""
Weights = tuple[Array, ...]
"""First-layer matrices, each (inputs, neurons): (W, V) for block, (U,) for conv. The paper's U is their transpose:
neurons come last because accelerators pad the last axis to 128."""


@spec
class Network:
    """f(x) = N_W(w, W; x1) + N_V(v, V; x2) (block), or sum_j u_j (relu(U_j x1) + relu(U_j x2)) (conv).

    Second layers are fixed at +-1/sqrt(neurons of that half), half of them each sign. The paper draws all of U_0
    from N(0, tau0^2); here each half has its own tau0, because at finite size the V half needs a larger one
    (`lrtheory.theory.timescales`, condition F). Source: section 3 and appendix F of Li, Wei & Ma (2019).
    """

    variant: Variant = static(default="block")
    """block: W reads x1 and V reads x2; conv: all m_w + m_v neurons read both halves with shared weights"""
    m_w: int = static(default=128)
    """number of neurons that read x1"""
    m_v: int = static(default=2048)
    """number of neurons that read x2"""
    init: Init = static(default="antisymmetric")
    """antisymmetric: pairs of equal rows with opposite u, so that f = 0 at the start; plain: i.i.d. rows"""
    tau_w: float = swept(default=1.0)
    """tau0 of W, and of the shared U of the conv variant"""
    tau_v: float = swept(default=1.0)
    """tau0 of V (not used by the conv variant)"""
    kernel: Kernel = static(default="matrix")
    """infinite engine: matrix: the kernel between all P rows, O(N^2) memory;
    features: its harmonics up to degree 2, O(N d) memory, for N far above d^2"""
    shortest_lag: float = static(default=1e-12)
    """infinite engine: lag of the noise's clock down to which the kernel's relative changes are resolved; below r^2/200"""

    kinks: Kinks = static(default="fixed")
    """infinite engine: fixed: m -> infinity at fixed tau_v, the limit of decoupled networks;
    moving: at fixed sqrt(m_v) tau_v, that of full ones"""

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons of each first-layer matrix: (m_w, m_v), or (m_w + m_v,) for conv.

        >>> from lrtheory import Network
        >>> Network(m_w=64, m_v=128).widths, Network(m_w=64, m_v=128, variant="conv").widths
        ((64, 128), (192,))
        """
        return (self.m_w, self.m_v) if self.variant == "block" else (self.m_w + self.m_v,)

    @property
    def scales(self) -> tuple[float, ...]:
        """tau0 of each first-layer matrix: (tau_w, tau_v), or (tau_w,) for conv."""
        return (self.tau_w, self.tau_v) if self.variant == "block" else (self.tau_w,)

    def check(self) -> None:
        """Raise `ConfigError` for a network that cannot be built."""
        require_choice("network.variant", self.variant, get_args(Variant))
        require_choice("network.init", self.init, get_args(Init))
        require_choice("network.kernel", self.kernel, get_args(Kernel))
        require_choice("network.kinks", self.kinks, get_args(Kinks))
        least, _, why = span()
        require(least <= self.shortest_lag <= 1e-4, "network.shortest_lag", self.shortest_lag, f"between {least:g} and 1e-4",
                f"1e-12 serves r down to 2e-5; {why}")
        for name in ("m_w", "m_v"):
            value = getattr(self, name)
            require_count(f"network.{name}", value, 2, "half of the neurons carry +1/sqrt(m), half -1/sqrt(m)")
            require(value % 2 == 0, f"network.{name}", value, "an even number of at least 2",
                    "half of the neurons carry +1/sqrt(m), half -1/sqrt(m)")
        require_positive("network.tau_w", self.tau_w)
        require_positive("network.tau_v", self.tau_v)


def second_layer(width: int) -> Array:
    """The fixed u (width,): +1/sqrt(width) for the first half of the neurons, -1/sqrt(width) for the second; width even.

    Source: section 3, up to the order of the neurons.

    >>> second_layer(4).tolist()
    [0.5, 0.5, -0.5, -0.5]
    """
    return jnp.repeat(jnp.array([1.0, -1.0]), width // 2) / math.sqrt(width)


def output(activity: Array) -> Array:
    """The second layer u^T a of activities a (n, m), m even: (n,).

    Equal halves give exactly 0, as antisymmetric pairs must.
    """
    half = activity.shape[-1] // 2
    return matmul(activity[:, :half] - activity[:, half:], jnp.ones(half, activity.dtype)) / math.sqrt(2 * half)


def gates(weights: Array, x: Array) -> Array:
    """Activation pattern 1[U x >= 0]: weights (k, m), x (n, k) -> (n, m) of bool. Source: section 3."""
    return active(matmul(x, weights))


def active(pre_activation: Array) -> Array:
    """1[h >= 0] of h of any shape, and true where h is not a number: a closed gate would turn a diverged output into 0."""
    return ~(pre_activation < 0)


def pattern_network(u: Array, gate_weights: Array, weights: Array, x: Array) -> Array:
    """N_A(u, U; x) = u^T (1[A x >= 0] * U x): the output of U under the activation pattern of A.

    u (m,), A and U (k, m), x (n, k) -> (n,). The network itself is N_U(u, U; x). Source: section 3.
    """
    return matmul(jnp.where(gates(gate_weights, x), matmul(x, weights), 0.0), u)


def apply(weights: Weights, x1: Array, x2: Array, noise: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)) -> Array:
    """Network output f(x) = sum over halves of u^T relu(U x + noise): (n,).

    x1 and x2 (n, d); weights (W, V) for block or (U,) for conv, (d, m) each; pre-activation noise (n, m) a half.
    Source: section 3 (block, noise) and appendix F (conv).
    """
    def half(matrix: Array, x: Array, extra: ArrayLike) -> Array:
        h = matmul(x, matrix) + extra
        return output(jnp.where(active(h), h, 0.0))

    return half(weights[0], x1, noise[0]) + half(weights[-1], x2, noise[1])


def initial_weights(network: Network, inputs: tuple[int, ...], key: Array) -> Weights:
    """U_0 ~ N(0, tau0^2) i.i.d., or antisymmetric pairs of it: one (inputs_b, m_b) matrix a half.

    `inputs` are the numbers that each matrix reads, (d, d) or, for conv, (d,); all draws come from `key`. Source: section 3;
    antisymmetric pairs, which leave the law of the gates as it is, derived here.
    """
    def draw(key: Array, k: int, width: int, tau: float) -> Array:
        if network.init == "plain":
            return tau * jax.random.normal(key, (k, width))
        return tau * jnp.tile(jax.random.normal(key, (k, width // 2)), (1, 2))

    keys = jax.random.split(key, len(inputs))
    return tuple(draw(*args) for args in zip(keys, inputs, network.widths, network.scales, strict=True))
