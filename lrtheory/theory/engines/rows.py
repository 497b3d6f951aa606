"""The exact reductions: the network evaluated on the few rows that matter, with a hand-written gradient.

* V lives in the plane of z and zeta, so 2 coordinates a neuron do (block variant).
* relu is positively homogeneous, so f2(x2) = alpha g(direction): 3 rows do for Q, whatever N is.
* Only rows that carry x1 enter the product with W.

Both engines built on this differ in one function, the activity of a half: its gates and its values on rows.
Derived for this project; equal to `dense` path by path.

Lives here: outputs and gradient on those rows. Lives elsewhere: each engine's activity (reduced, decoupled), state and step
(base).
"""

from collections.abc import Callable
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
from lrtheory.theory.network import output, second_layer
from lrtheory.theory.problem import Data, directions

Activity = Callable[[State, int, Array, Array | None], tuple[Array, Array]]
"""(state, half, rows x (n, k), pre-activation noise (n, m) or None) -> gates (n, m) of bool, values (n, m)."""


TEST_ROWS = 256
"""Test points evaluated at a time; the numbers do not depend on it."""


class Inputs(NamedTuple):
    """Rows on which the network is evaluated, and how examples are made of them."""

    p_rows: Array  # (n_P, d) x1 of the examples that can carry one, 0 where absent
    q_rows: Array  # (3, k) directions of Q, or (n_Q, k) x2 of the examples that carry one; k = 2 (block) or d (conv)
    q_mix: Array | None  # (3, N) alpha where the example lies on the direction; None: q_rows are examples
    directions: Array  # (3, k)


def prepare(config: Config, data: Data) -> Inputs:
    """Rows of a training set; pre-activation noise a neuron and example needs Q's examples one by one."""
    points = directions(config.problem)
    if config.network.variant == "conv":
        points = matmul(points, data.basis[1:])
    if config.training.activation_noise_form == "example":
        keep = config.problem.q_rows
        q_rows, q_mix = data.alpha[keep, None] * points[data.direction[keep]], None
    else:
        on = data.direction[None] == jnp.arange(3)[:, None]
        q_rows, q_mix = points, jnp.where(on, data.alpha[None], 0.0)
    return Inputs(p_rows=data.x1[config.problem.p_rows], q_rows=q_rows, q_mix=q_mix, directions=points)


def init(config: Config, inputs: Inputs, key: Array) -> State:
    """The initial state: W (d, m_w) and, in its plane, V (2, m_v) (block), or U (d, m_w + m_v) (conv)."""
    return start(config, (inputs.p_rows.shape[-1], inputs.q_rows.shape[-1])[: len(config.network.widths)], key)


def _halves(config: Config, inputs: Inputs) -> list[tuple[int, Array]]:
    """(index of the weights, rows they read): W reads x1 and V reads x2, or U reads both."""
    return [(0, inputs.p_rows), (len(config.network.widths) - 1, inputs.q_rows)]


def _to_examples(config: Config, inputs: Inputs, f1: Array, f2: Array) -> Array:
    """Outputs f (N,) on examples from those on P rows and on Q rows."""
    n = config.problem.n_train
    f1 = jnp.pad(f1, (0, n - f1.shape[0]))
    return f1 + (jnp.pad(f2, (n - f2.shape[0], 0)) if inputs.q_mix is None else matmul(f2, inputs.q_mix))


def _to_rows(config: Config, inputs: Inputs, df: Array) -> tuple[Array, Array]:
    """The derivative dL/df on P rows and Q rows from that on examples (N,): the transpose of `_to_examples`."""
    problem = config.problem
    return df[problem.p_rows], df[problem.q_rows] if inputs.q_mix is None else matmul(inputs.q_mix, df)


def make(activity: Activity) -> Engine:
    """The engine whose halves respond to rows by `activity`, f = u^T (gates * values). Derived here."""

    def forward(config: Config, inputs: Inputs, state: State,
                perturbation: Perturbation | None) -> tuple[Array, Pullback]:
        """Outputs f (N,), and dL/df -> gradient: dL/dU_j = u_j sum_rows 1[gate] (dL/df_row) x_row."""
        halves = _halves(config, inputs)
        extra: list[Array | None] = [None] * len(halves)
        if perturbation is not None:
            extra = list(pre_activation_noise(config, perturbation, halves))
        active = [activity(state, k, x, e) for (k, x), e in zip(halves, extra, strict=True)]
        f1, f2 = (output(jnp.where(on, h, 0.0)) for on, h in active)

        return _to_examples(config, inputs, f1, f2), lambda df: gradient(config, inputs, [on for on, _ in active], df)

    def gradient(config: Config, inputs: Inputs, opened: list[Array], df: Array) -> tuple[Array, ...]:
        """dL/dU of each first-layer matrix from dL/df (N,), under the gates of both halves."""
        parts = [matmul(x.T, jnp.where(on, df_rows[:, None], 0.0)) * second_layer(on.shape[-1])[None]
                 for (_, x), on, df_rows in zip(_halves(config, inputs), opened, _to_rows(config, inputs, df), strict=True)]
        return tuple(parts) if config.network.variant == "block" else (parts[0] + parts[1],)

    def tangent(config: Config, inputs: Inputs, state: State, v: Array) -> Array:
        """K v (N,): the outputs, under the gates as they are, of weights that are v's gradient."""
        halves = _halves(config, inputs)
        opened = [activity(state, k, x, None)[0] for k, x in halves]
        weights = gradient(config, inputs, opened, v)
        f1, f2 = (output(jnp.where(on, matmul(x, weights[k]), 0.0)) for (k, x), on in zip(halves, opened, strict=True))
        return _to_examples(config, inputs, f1, f2)

    def read(config: Config, inputs: Inputs, state: State, test: Data) -> Readout:
        """Outputs on test x1 alone and on the three directions of Q alone."""
        def at(half: int, x: Array) -> Array:
            on, h = activity(state, half, x, None)
            return output(jnp.where(on, h, 0.0))

        # A few test points at a time: all of them, in every run of a batch at once, would dwarf everything else.
        f1 = jax.lax.map(lambda x: at(0, x[None])[0], test.x1, batch_size=TEST_ROWS)
        return Readout(f1=f1, g=at(-1, inputs.directions))

    def diagnose(config: Config, inputs: Inputs, state: State, before: State) -> Diagnostics:
        """`Diagnostics` on training x1 and on Q's directions."""
        return diagnostics(config, state, before, inputs.p_rows, inputs.directions)

    return Engine(prepare=prepare, init=init, forward=forward, draw=draw, advance=advance, read=read,
                  diagnose=diagnose, tangent=tangent)
