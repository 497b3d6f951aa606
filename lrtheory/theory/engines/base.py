"""What an engine is: functions that prepare, start, evaluate and advance a network on one training set.

Lives here: the interface, and the state and step that all engines with neurons share. Lives elsewhere: each way of
computing outputs and gradients (one file an engine); schedules, thresholds and records (simulate).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory import noise
from lrtheory.noise import Move
from lrtheory.theory.config import Config
from lrtheory.theory.network import Weights, gates, initial_weights
from lrtheory.theory.problem import Data

Pullback = Callable[[Array], Any]
"""Gradient of the loss in the engine's own state, from dL/df (N,)."""
Slope = Callable[[Array], Array]
"""dL/df (N,) from outputs f (N,)."""


class Perturbation(NamedTuple):
    """Pre-activation noise of one step."""

    level: Array  # () standard deviation in units of the pre-activation's own at the start, tau0 |x|
    key: Array


class State(NamedTuple):
    """Weights U = Ubar + Utilde as signal and noise parts, each one (inputs, neurons) matrix a half.

    Utilde is the decayed sum of initialisation and injected noise, Ubar that of gradients. Source: section 3 of
    Li, Wei & Ma (2019). Keeping the parts, not U, costs nothing and keeps the digits of the small one.
    """

    signal: Weights
    noise: Weights

    @property
    def weights(self) -> Weights:
        """U = Ubar + Utilde."""
        return tuple(s + n for s, n in zip(self.signal, self.noise, strict=True))


class Readout(NamedTuple):
    """What the network says at test points."""

    f1: Array  # (n_test,) output on x1 alone
    g: Array  # (3,) output on the directions z, z + zeta, z - zeta of Q
    linear: Array | None = None  # (d,) w of the part <w, x1> of f1 that is linear, where the engine knows it


class Diagnostics(NamedTuple):
    """Scalars of the decomposition, one entry a half (W or the x1 rows, V or the x2 rows)."""

    noise_variance: Array  # (2,) mean square of Utilde's entries over tau0^2
    gate_agreement: Array  # (2,) share of gates 1[U x >= 0] = 1[Utilde x >= 0], on training x1 and on Q's directions
    signal_norm: Array  # (2,) Frobenius norm of Ubar
    noise_norm: Array  # (2,) Frobenius norm of Utilde
    signal_moved: Array  # (2,) Frobenius distance of Ubar from that of an earlier state; nan where the engine cannot tell


class Leap(NamedTuple):
    """Many iterations at once."""

    state: Any  # the engine's state after them
    error: Array  # () estimated error of any output, in units of the output


class Engine(NamedTuple):
    """Pure functions; `inputs`, `state` and gradients are pytrees that only the engine reads.

    prepare(config, data) -> inputs: what the engine needs of the training set.
    init(config, inputs, key) -> state.
    forward(config, inputs, state, perturbation or None) -> f (N,) and a function from dL/df (N,) to the gradient.
    draw(key, state) -> standard normals for one step (None where there is nothing to inject).
    advance(config, inputs, state, gradient, move, normals) -> state after K micro-steps.
    read(config, inputs, state, test) -> Readout.
    diagnose(config, inputs, state, before) -> Diagnostics, `before` an earlier state of the same run.
    tangent(config, inputs, state, v) -> K v (N,), K the tangent kernel <df(x_i)/dU, df(x_j)/dU> at the gates as they are.
    leap(config, inputs, state, slope, rate, K, level, tau_xi) -> Leap over K iterations at a rate, a level of activation
    noise and one of injected noise, all () or (3,), for the whole and its halves; None for engines that cannot tell how
    wrong a step is.
    """

    prepare: Callable[[Config, Data], Any]
    init: Callable[[Config, Any, Array], Any]
    forward: Callable[[Config, Any, Any, Perturbation | None], tuple[Array, Pullback]]
    draw: Callable[[Array, Any], Any]
    advance: Callable[[Config, Any, Any, Any, Move, Any], Any]
    read: Callable[[Config, Any, Any, Data], Readout]
    diagnose: Callable[[Config, Any, Any, Any], Diagnostics]
    tangent: Callable[[Config, Any, Any, Array], Array]
    leap: Callable[..., Leap] | None = None


def start(config: Config, inputs: tuple[int, ...], key: Array) -> State:
    """The initial state, first-layer matrices reading `inputs` numbers: all of U_0 is noise, the signal starts at 0."""
    weights = initial_weights(config.network, inputs, key)
    return State(signal=jax.tree.map(jnp.zeros_like, weights), noise=weights)


def draw(key: Array, state: State) -> Weights:
    """Standard normals in the shapes of the weights, one (inputs, neurons) matrix a half."""
    return noise.draw(key, state.noise)


def advance(config: Config, inputs: Any, state: State, gradient: Weights, move: Move, normals: Weights) -> State:
    """K micro-steps of both parts: Ubar <- a Ubar - drift grad L, Utilde <- a Utilde - kick tau0 xi, xi ~ N(0, I).

    The normals xi are given. Source: the update and the decomposition of section 3; micro-steps derived here.
    """
    del inputs
    signal = tuple(u + (move.shrink * u - move.drift * g) for u, g in zip(state.signal, gradient, strict=True))
    refreshed = tuple(u + (move.shrink * u - move.kick * tau * xi)
                      for u, tau, xi in zip(state.noise, config.network.scales, normals, strict=True))
    return State(signal, refreshed)


def diagnostics(config: Config, state: State, before: State, x1: Array, x2: Array) -> Diagnostics:
    """`Diagnostics` of a state, gates compared on the rows x1 (n, k) (for W or U) and x2 (n', k') (for V or U).

    The distance is that from an earlier state.
    """
    weights, scales = state.weights, config.network.scales
    halves = ((0, x1), (-1, x2))

    def norm(matrix: Array) -> Array:
        return jnp.sqrt(jnp.sum(matrix**2))

    def agreement(k: int, x: Array) -> Array:
        there = jnp.any(x != 0, axis=-1)  # a row of zeros opens every gate
        same = jnp.mean((gates(weights[k], x) == gates(state.noise[k], x)).astype(x.dtype), axis=-1)
        return jnp.sum(jnp.where(there, same, 0.0)) / jnp.sum(there)

    return Diagnostics(
        noise_variance=jnp.stack([jnp.mean(state.noise[k] ** 2) / scales[k] ** 2 for k, _ in halves]),
        gate_agreement=jnp.stack([agreement(k, x) for k, x in halves]),
        signal_norm=jnp.stack([norm(state.signal[k]) for k, _ in halves]),
        noise_norm=jnp.stack([norm(state.noise[k]) for k, _ in halves]),
        signal_moved=jnp.stack([norm(state.signal[k] - before.signal[k]) for k, _ in halves]))


def pre_activation_noise(config: Config, perturbation: Perturbation, halves: list[tuple[int, Array]]) -> list[Array]:
    """Noise (n, m) on the pre-activations of each (index of the weights, rows x (n, k)): level tau0 |x| N(0, 1).

    Shared form: one normal a neuron, the same for all rows; else one a neuron and row. Noise proportional to |x| keeps
    the network positively homogeneous, so that the shared form is exact on the three directions of Q. Source: the mitigation
    of section 3; its scale and its forms are this project's.
    """
    network, shared = config.network, config.training.activation_noise_form == "shared"
    noises = []
    for key, (k, x) in zip(jax.random.split(perturbation.key, len(halves)), halves, strict=True):
        normals = jax.random.normal(key, (1 if shared else x.shape[0], network.widths[k]))
        normals = jax.lax.optimization_barrier(normals)  # else XLA draws them anew for each row and algorithm
        noises.append(perturbation.level * network.scales[k] * jnp.linalg.norm(x, axis=-1)[:, None] * normals)
    return noises
