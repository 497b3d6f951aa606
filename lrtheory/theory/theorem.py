"""The theorems' own configuration at any dimension d, followed at infinite width in a unit of time that suits it.

Lives here: that configuration, and how d is read from one. Lives elsewhere: the series over d (predictions.series), finite
networks at the same exponents (preset literal).
"""

import contextlib
import math

import jax

from lrtheory.spec import MOST, require_count, require_number
from lrtheory.theory.config import Config
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import p_time
from lrtheory.theory.training import Training


def theorem(d: float, kappa: float = 0.5, *, size: int = 64, q0: float = 0.25, eps1: float = 0.15, r_exponent: float = -0.75,
            rate_exponent: float = -2.0, length: float = 5.0, seeds: int = 8, **changes: object) -> Config:
    """Theorems 3.4 and 3.5 at their own exponents and dimension d, as a run of the infinite-width engine.

    In the paper's unit of time: |z| = 1, alpha ~ U[0, 1], gamma0 = d^-1/2, r = d^-3/4, lambda = d^-5/4, eta1 = 1/2,
    eta2 = eta1 d^-2, N = d/kappa^2, p0 = kappa^2/2. Written in a unit b = d/d' times as long, at a dimension d' = `size` of
    x1:

        |z| = b^(1/2),  lambda -> b lambda,  eta -> eta/b,  d -> d' in P alone (gamma0 = d'^-1/2, N = d'/kappa^2).

    Why this is the same run. Outputs at infinite width are f_t(x) = sum_s eta a^(t-s-1) sum_i R_i(s) <x, x_i> P(gates open),
    R_i = O(1/N), and gates see angles and a = 1 - eta lambda alone. So (1) for both halves multiplied by b^(1/2) and eta by
    1/b, lambda by b, every iteration is what it was: exact, whatever d is. (2) P's part, b^(1/2) x1, is then to be the one
    of dimension d'. Its Gram matrix (b/N) <x_i, x_j> is b kappa^2/d (noise of a Marchenko-Pastur law that depends on N/d
    alone + signal (gamma0 sqrt(d) + |g_i|)(gamma0 sqrt(d) + |g_j|)), and b/d = 1/d' whatever d is; angles between different
    inputs are pi/2 + O(d^-1/2), so that P = 1/4 off the diagonal. So in the new unit P's law has a limit for d -> infinity,
    of which d' is an approximation of order 1/d' in the mean (`lrtheory theorem --study size`), and b multiplies Q alone:
    T_P stays, T_Q = 8 pi/((1-p0) E[alpha] b r) falls as d^(-1/4). Times times b are the paper's. Derived here.

    Args:
      d: dimension of the theorem, at least `size`; need not be whole.
      kappa: sqrt(d/N).
      size: d', the dimension in which P is simulated.
      q0: share of Q-only examples.
      eps1: L-S anneals at a training loss of eps1 + q log 2.
      r_exponent: of r in d; -3/4 in the paper, known to us from memory only. Blur before memory under the large rate asks
        for less than -5/12, T_P above T_Q for more than -1 (`lrtheory theorem --study exponents`).
      rate_exponent: of eta2/eta1 in d. The theorem asks for small enough: t_blur/T_Q = d^(3 a + 5/4 - c)/115 at r = d^a
        and this c, so that at -1 and above noise under eta2 blurs Q however large d is, and S would not keep what it has
        memorised.
      length: of the run, in T_P.
      seeds: of both algorithms.
      changes: further fields of `Config`, dotted names in a dictionary.

    Returns:
      A configuration for double precision: run it under `jax.enable_x64(True)`.

    Raises:
      ConfigError: d below `size`, or numbers that no run can have.

    >>> config = theorem(1e18)
    >>> config.problem.d, config.problem.n_train, f"{config.problem.r:.3g} {config.problem.z_norm:.3g}"
    (64, 256, '3.16e-14 1.25e+08')
    >>> f"{dimension(config):.6g}"
    '1e+18'
    """
    require_number("size", size, float.is_integer, "a whole number", "64 is near the limit")
    require_count("size", size, 2, "64 is near the limit")
    require_number("d", d, lambda d: size <= d < math.inf, f"finite and at least size = {size}",
                   "P of dimension d is simulated at `size`")
    most = 300 / math.log10(d)  # d to that power is what float64 holds
    for name, value, bound in (("kappa", kappa, MOST), ("q0", q0, MOST), ("eps1", eps1, MOST), ("length", length, MOST),
                               ("r_exponent", r_exponent, most), ("rate_exponent", rate_exponent, most)):
        require_number(name, value, lambda x, bound=bound: abs(x) <= bound, f"a number between {-bound:g} and {bound:g}",
                       "leave it out for the paper's")
    b = d / size
    problem = Problem(d=size, kappa=kappa, p0=kappa**2 / 2, q0=q0, r=d**r_exponent, z_norm=math.sqrt(b), alpha_min=0.0,
                      gamma0=size**-0.5)
    time, steps = length * p_time(problem), 5000
    config = Config(
        name="theorem",
        note=f"Theorems 3.4 and 3.5 at their own exponents and d = {d:g}, with P simulated at d' = {size} and time in "
             f"units of d/d' = {b:g} of the paper's. Constants are 1 (the paper's are unknown).",
        problem=problem, network=Network(kernel="features", shortest_lag=min(1e-12, problem.r**2 / 1000)),
        training=Training(eta1=0.5 / b, eta_ratio=d**rate_exponent, weight_decay=d**-1.25 * b, eps1=eps1,
                          step_time=time / steps, steps=steps),
        engine="infinite", seeds=seeds, records=40, n_test=0)
    return config.replace(**changes)


def dimension(config: Config) -> float | None:
    """The d at which a configuration is the theorem's, whatever its r, eta2, times and kappa; None if at none."""
    problem, training = config.problem, config.training
    d = problem.d * problem.z_norm**2
    b = d / problem.d
    asked = {"gamma0": (problem.gamma0, problem.d**-0.5), "lambda": (training.weight_decay, d**-1.25 * b),
             "eta1": (training.eta1, 0.5 / b), "p0": (problem.p0, problem.d / problem.n_train / 2)}
    same = all(math.isclose(here, there, rel_tol=1e-2 if name == "p0" else 1e-6) for name, (here, there) in asked.items())
    balanced = training.noise_level == 1 and training.noise_scale is None
    law = problem.alpha_min == 0 and problem.alpha_power == 1 and problem.p_tail == 0 and not problem.extra_groups
    whole = config.engine == "infinite" and config.network.variant == "block" and law and balanced
    return d if same and whole else None


def precision(config: Config) -> contextlib.AbstractContextManager[None]:
    """Double precision for a configuration that is the theorem's, as r and eta2/eta1 need it; else what is in use."""
    return jax.enable_x64(True) if dimension(config) is not None else contextlib.nullcontext()
