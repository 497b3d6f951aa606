"""At which dimension the theorem's own exponents let S learn Q before P, followed at infinite width.

Lives here: that one series in d. Lives elsewhere: the engine (engines/infinite), time scales as laws (timescales), and
claims judged at one size (predictions).
"""

from typing import Any

import jax
import numpy as np

from lrtheory.sweeps.course import sweep
from lrtheory.theory.config import Config
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import p_time, q_time
from lrtheory.theory.training import Training

DIMENSIONS = tuple(10.0**k for k in range(2, 16))
"""Values of d that are followed."""


def separation(base: Config, dimensions: tuple[float, ...] = DIMENSIONS) -> dict[str, Any]:
    """When S halves Q's loss, over the time scales of P, along d at the theorem's exponents.

    r = c d^-3/4, lambda = c' d^-5/4 and gamma0 = c'' d^-1/2 with the constants of a configuration (1 in the preset literal).
    At infinite width Q is three numbers whatever d is, so S is followed there in double precision, on examples that carry
    x2 only, with a rate that does not blur (eta2/eta1 = d^-2). P's time is the law T_P; at d = 32 to 512 what is measured is
    0.90 of it (notebooks/06_literal_exponents.py). Derived here.

    Args:
      base: whose constants are taken.
      dimensions: values of d.

    Returns:
      rows of d, T_P/T_Q, lambda T_Q, the time in which S halves Q's loss over T_Q and over T_P (None: never within
      200 T_Q); the least of these d from which on Q comes before P (None: beyond), and d at which T_P/T_Q passes 100.

    Raises:
      ConfigError: r that the infinite-width engine cannot follow.
    """
    problem, decay = base.problem, base.training.weight_decay

    def at(d: float) -> Problem:
        by = d / problem.d
        return Problem(d=2, N=4096, p0=0.0, q0=1.0, r=problem.r * by**-0.75, z_norm=problem.z_norm,
                       alpha_min=problem.alpha_min)

    def margin_time(d: float) -> float:
        return p_time(problem) * d / problem.d  # gamma0 sqrt(d) is kept

    share = problem.carried()[1]  # Q is taught by this share of the examples, not by all
    config = Config(problem=at(dimensions[0]), network=Network(shortest_lag=1e-28), engine="infinite", seeds=2, records=60,
                    n_test=1, algorithms=("S",), training=Training(eta1=problem.z_norm**-2, steps=100_000))
    points = [(at(d).r, decay * (d / problem.d) ** -1.25 / share, q_time(at(d)) / 500, d**-2.0) for d in dimensions]
    with jax.enable_x64(True):
        run = sweep(config, {("r", "weight_decay", "step_time", "eta_ratio"): points}).sel(algorithm="S").load()
    halved = run["time_q_half"].where(np.isinf(run["diverged_at"])).mean("seed").values / share
    # a gradient weaker by a factor is a clock slower by it
    rows = []
    for d, time in zip(dimensions, halved, strict=True):
        t_q, t_p = q_time(at(d)) / share, margin_time(d)
        rows.append({"d": d, "T_P/T_Q": t_p / t_q, "lambda T_Q": decay * (d / problem.d) ** -1.25 * t_q,
                     "halved/T_Q": float(time / t_q) if np.isfinite(time) else None,
                     "halved/T_P": float(time / t_p) if np.isfinite(time) else None})
    late = [k for k, row in enumerate(rows) if row["halved/T_P"] is None or row["halved/T_P"] >= 1]
    first = late[-1] + 1 if late else 0
    return {"rows": rows, "q_first_from": rows[first]["d"] if first < len(rows) else None,
            "clear_from": problem.d * (100 * q_time(problem) / p_time(problem)) ** 4}
