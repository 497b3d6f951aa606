"""The plain reference: first-layer matrices in the ambient space, every example, gradient by autodiff.

It does what section 3 of Li, Wei & Ma (2019) says and nothing clever; the other engines are tested against it. The
paper's U in R^{m x 2d} is block diagonal in the block variant, so its blocks W and V (d rows each) are stored.

Lives here: this one engine. Lives elsewhere: state and step, which it shares (base).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.linalg import matmul
from lrtheory.theory.config import Config
from lrtheory.theory.engines.base import (
    Diagnostics,
    Engine,
    Perturbation,
    Pullback,
    Readout,
    State,
    advance,
    diagnostics,
    draw,
    pre_activation_noise,
    start,
)
from lrtheory.theory.network import Weights, apply
from lrtheory.theory.problem import Data


class Inputs(NamedTuple):
    """Both halves of every training example in the ambient space."""

    x1: Array  # (N, d)
    x2: Array  # (N, d)
    directions: Array  # (3, d) z, z + zeta, z - zeta


def prepare(config: Config, data: Data) -> Inputs:
    """Both halves of every example, in the ambient space."""
    return Inputs(x1=data.x1, x2=data.x2, directions=data.points)


def init(config: Config, inputs: Inputs, key: Array) -> State:
    """The initial state, every matrix in the ambient space: (d, neurons)."""
    return start(config, (config.problem.d,) * len(config.network.widths), key)


def _outputs(config: Config, inputs: Inputs, weights: Weights, perturbation: Perturbation | None) -> Array:
    """Outputs f (N,), with or without noise on the pre-activations."""
    if perturbation is None:
        return apply(weights, inputs.x1, inputs.x2)
    halves = [(0, inputs.x1), (len(weights) - 1, inputs.x2)]
    for_x1, for_x2 = pre_activation_noise(config, perturbation, halves)
    return apply(weights, inputs.x1, inputs.x2, (for_x1, for_x2))


def forward(config: Config, inputs: Inputs, state: State,
            perturbation: Perturbation | None) -> tuple[Array, Pullback]:
    """Outputs f (N,) on the training examples, and dL/df (N,) -> gradient by `jax.vjp`."""
    f, vjp = jax.vjp(lambda weights: _outputs(config, inputs, weights, perturbation), state.weights)
    return f, lambda df: vjp(df)[0]


def read(config: Config, inputs: Inputs, state: State, test: Data) -> Readout:
    """Outputs on test x1 alone and on the three directions of Q alone."""
    def alone(x1: Array, x2: Array) -> Array:
        return _outputs(config, Inputs(x1, x2, inputs.directions), state.weights, None)

    return Readout(f1=alone(test.x1, 0 * test.x1), g=alone(0 * inputs.directions, inputs.directions))


def diagnose(config: Config, inputs: Inputs, state: State, before: State) -> Diagnostics:
    """`Diagnostics`; signal and noise of V are measured in the plane of z and zeta, where alone they matter.

    Orthogonal to that plane V's signal is 0 and its noise never reaches the output.
    """
    rows = inputs.x1[config.problem.p_rows]
    if config.network.variant == "conv":
        return diagnostics(config, state, before, rows, inputs.directions)
    z, plus = inputs.directions[0], inputs.directions[1] - inputs.directions[0]
    plane = jnp.stack([z / jnp.linalg.norm(z), plus / jnp.linalg.norm(plus)])
    planar, planar_before = (State(signal=(s.signal[0], matmul(plane, s.signal[1])),
                                   noise=(s.noise[0], matmul(plane, s.noise[1]))) for s in (state, before))
    return diagnostics(config, planar, planar_before, rows, matmul(inputs.directions, plane.T))


def tangent(config: Config, inputs: Inputs, state: State, v: Array) -> Array:
    """K v (N,), K = J J^T and J the derivative of the outputs in the weights, by autodiff."""
    _, vjp = jax.vjp(lambda weights: _outputs(config, inputs, weights, None), state.weights)
    return jax.jvp(lambda weights: _outputs(config, inputs, weights, None), (state.weights,), vjp(v))[1]


DENSE = Engine(prepare=prepare, init=init, forward=forward, draw=draw, advance=advance, read=read, diagnose=diagnose,
               tangent=tangent)
"""The engine `dense`."""
