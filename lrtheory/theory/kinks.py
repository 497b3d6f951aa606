"""V's kinks in closed form: where the contrast levels off under noise, how it scatters, how far a full network reaches.

A neuron of V tells z from z + zeta and z - zeta only if its kink lies between them. Let n be its pre-activation on z, in
units of its own standard deviation, and r |n_zeta| = w how far zeta moves it; n and n_zeta are N(0, 1), and n diffuses by
the noise that is added over the noise that is there, b/v a unit of time: 2 lambda once v is stationary, whatever the level
of the noise. The neuron is between where |n| < w. There the residuals, rho of z and -rho/2 of each of z + zeta
and z - zeta (they balance, for the sum of Q's outputs is stiff), push it by sign(n) rho |z|/2, and nowhere else. To leading
order in r:

* Its memory is h = (rho |z|^2/2) int e^(-lambda (t - s)) sign(n_s) 1[|n_s| < w_s] ds, and the contrast is -(1/m) times the
  sum of h sign(n) 1[|n| < w] over neurons: `plateau` is its mean, `scatter` its standard deviation over networks.
* In the full network the push moves the kink itself, away from the three directions where u > 0 and onto them where u < 0:
  `reached` is what is left of the contrast of fixed kinks.

All derived here. Lives here: these three, and what they need. Lives elsewhere: time scales (timescales), the network with
gates averaged at any r (engines.memory), what the scatter does to annealing (results).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import blur_time, fresh_noise, q_time
from lrtheory.theory.training import Training


def ceiling(problem: Problem, network: Network) -> float:
    """Largest contrast of a full network: sqrt(m_v) tau_v |z| r^2 / sqrt(2 pi), 12.5 times condition F's number.

    With all kinks of u < 0 on z and all of u > 0 away from it, (|z| sqrt(m) tau/2) E[w 1[|n| < w]] is left, E w^2 = r^2.
    conv: the neurons are those of U.
    """
    neurons, tau = network.widths[-1], network.scales[-1]
    return math.sqrt(neurons / (2 * math.pi)) * tau * problem.z_norm * problem.r**2


def reached(contrast: ArrayLike, ceiling: ArrayLike) -> Array:
    """Contrast of a full network, whose kinks move, where that of fixed kinks would be `contrast`: (...).

    Kinks that the residuals have moved by delta r, delta = |contrast| / (sqrt(8/pi) ceiling), leave for w = r |n_zeta|
    2 w delta r - (delta r)^2 of the contrast while delta r < w, and w^2 once they have come through; over n_zeta ~ N(0, 1)

        reached = ceiling (2 delta phi(delta) + erf(delta/sqrt 2) - delta^2 erfc(delta/sqrt 2)),

    phi the normal density. First correction: contrast (1 - delta sqrt(pi/8)), of order 1/(sqrt(m) tau). Holds while noise
    does not carry kinks back, so before and after blur, in which the contrast is far below the ceiling.

    >>> [round(float(reached(-c, 10.0)), 2) for c in (0.1, 1.0, 10.0, 100.0)]
    [-0.1, -0.96, -6.72, -10.0]
    """
    delta = jnp.asarray(contrast) / (math.sqrt(8 / math.pi) * ceiling)
    size, half = jnp.abs(delta), math.sqrt(0.5)
    density = jnp.exp(-(delta**2) / 2) / math.sqrt(2 * math.pi)
    share = 2 * delta * density + jax.scipy.special.erf(delta * half) - delta * size * jax.scipy.special.erfc(size * half)
    return jnp.asarray(ceiling) * share


def turning_time(problem: Problem, training: Training, time: ArrayLike) -> np.ndarray:
    """Time in which noise turns gates by r, at a time t under the large rate: r^2 v/b, in units of the sum of rates, (...).

    b = `fresh_noise` is added a unit of time to v = exp(-2 lambda t) + (b/2 lambda)(1 - exp(-2 lambda t)), 1 + b t without
    decay. At first that is t_blur (r^2/b), and in the end, from t = 1/(2 lambda nu^2) on, r^2/(2 lambda) whatever the noise
    level nu is, for what turns gates is the share of noise that is fresh. Balanced: r^2/(2 lambda) throughout. inf without
    noise. To leading order in r. Derived here.
    """
    time, decay, fresh = np.asarray(time, float), 2 * training.weight_decay, fresh_noise(training, training.eta1)
    if not fresh > 0:
        return np.full(time.shape, np.inf)
    added = fresh * time if decay == 0 else fresh / decay * -np.expm1(-decay * time)
    return problem.r**2 * (np.exp(-decay * time) + added) / fresh


def plateau(problem: Problem, training: Training, push: ArrayLike, time: ArrayLike = math.inf) -> np.ndarray:
    """Contrast at which the large rate's noise holds Q at a time t since the start, to leading order in r: (...).

        -(tau/T_Q) push F(t/tau),  F(X) = 8/3 + (2/3) (4 (1 + X)^(3/2) - 3 X^(3/2) - (4 + X)^(3/2)),  tau: `turning_time`,

    from -2 t/T_Q at first (F = 2 X) to -(8/3) tau/T_Q, (9/8) (tau/t)^(1/2) of it less, for gates return to where they were.
    That is -(rho |z|^2/2) int_0^t E[e(t) e(t - s)] ds, e = sign(n) 1[|n| < w]: two gates whose angle has grown to r x^(1/2)
    give r (4 (1 + x)^(1/2) - 3 x^(1/2) - (4 + x)^(1/2))/(2 pi). `push` is rho over its value at f = 0 (`push_of`) of late,
    within tau. Noise of any level. Derived here.

    >>> from lrtheory import preset
    >>> phase = preset("phase")
    >>> [round(float(plateau(phase.problem, phase.training, 0.6, t)), 3) for t in (0.1, 10.0, 400.0)]
    [-0.035, -0.296, -0.381]
    """
    push, time = np.asarray(push, float), np.asarray(time, float)
    turning = turning_time(problem, training, time)
    if not np.isfinite(turning).all():  # without noise, or without an end to it
        return -2 * push * time / q_time(problem)
    x = time / turning
    near = np.minimum(x, 1e4)  # beyond, powers would cancel to less than 1e-9
    grown = 2 / 3 * (4 * np.expm1(1.5 * np.log1p(near)) - 3 * near**1.5 - 8 * np.expm1(1.5 * np.log1p(near / 4)))
    with np.errstate(divide="ignore"):
        return -turning / q_time(problem) * push * np.where(x > near, 8 / 3 - 3 / np.sqrt(x), grown)


def push_of(problem: Problem, losses: dict[str, float]) -> float:
    """Residuals on Q over those at f = 0, from the mean training losses {group: nat} of the groups that carry it.

    2 sum_g share_g (1 - exp(-loss_g)) over the same with log 2: an example's residual is 1 - exp(-its loss). A group without
    examples has a loss of nan and no share; nan if none has any.
    """
    losses = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
    shares = {name: size / problem.n_train for name, size in zip(problem.group_names, problem.group_sizes, strict=True)}
    total = sum(shares[name] for name in losses)
    return sum(2 * shares[name] * -math.expm1(-loss) for name, loss in losses.items()) / total if total else math.nan


def scatter(problem: Problem, training: Training, neurons: int, push: float, time: float, smoothing: float = 0.0) -> float:
    """Standard deviation of the contrast over decoupled networks of m = `neurons`, at a time t under the large rate.

    m Var = (4 / (3 pi)) (rho |z|^2 t_blur)^2 J, rho |z|^2 = push 2 pi/(r T_Q),
    J = int_0^Theta cos(theta) E[|a| |b|^3 S(a)] d theta, cos Theta = e^(-lambda t), a and b N(0, 1) correlated by cos theta:
    h has been gathered wherever the neuron was between before, at local time's rate. S = 1; of the running mean over
    `smoothing` (time), S(a) = 1 - (1 - E)(3 - E)/(2 q), q = |a| (2 t_blur/smoothing)^(1/2), E = e^(-q). For balanced noise;
    to leading order in r, and in 1/m: what is measured is 10% to 20% less at r = 0.05.
    """
    blur = blur_time(problem, training, training.eta1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    share = np.ones_like(nodes)
    if smoothing > 0:
        q = np.abs(nodes) * math.sqrt(2 * blur / smoothing)
        left = np.exp(-q)
        share = 1 - (1 - left) * (3 - left) / (2 * q)
    theta, width = np.polynomial.legendre.leggauss(40)
    most = math.acos(math.exp(-training.weight_decay * time))
    theta, width = (theta + 1) / 2 * most, width / 2 * most
    b = np.abs(np.cos(theta)[:, None, None] * nodes[:, None] + np.sin(theta)[:, None, None] * nodes)
    j = np.sum(width * np.cos(theta) * np.einsum("tab,a,b->t", b**3, np.abs(nodes) * share * weights, weights))
    return 2 * math.pi * push * blur / (problem.r * q_time(problem)) * math.sqrt(4 / (3 * math.pi) * j / neurons)
