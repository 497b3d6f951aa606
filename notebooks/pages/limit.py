"""What the pages say of infinite width beyond what single commands print: a function a table.

    python notebooks/pages/limit.py ratios          one of `TABLES`, as JSON

Lives here: how each of those tables is measured, as rows {heading: number or estimate}, and what theory said of it before it
was run. Lives elsewhere: running and keeping them (stored), finite networks (finite).
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import lrtheory as lt
from lrtheory.labelled import estimate
from lrtheory.theory import linear_readout
from lrtheory.theory.timescales import p_time, q_time, stability_bound

PHASE = lt.preset("phase")
APART, BLURRED = (30.0, 90.0, 270.0), (30.0, 100.0, 300.0)
"""T_P/T_Q and t_blur(eta2)/T_Q of the points of `ratios`."""
END = 2.5
"""Length of its runs in T_P: that of preset phase."""


class Way(NamedTuple):
    """A way to the same two ratios: |z| and eta2/eta1 are set to reach them, after these changes of preset phase."""

    name: str
    changes: Mapping[str, Any] = MappingProxyType({})
    decay: float = 0.3
    """lambda T_P"""


WAYS = (Way("phase"), Way("r × 2", {"problem.r": 0.1}), Way("r / 2.5", {"problem.r": 0.02}),
        Way("d × 2, N/d kept", {"problem.d": 64, "problem.gamma0": PHASE.problem.gamma0 / math.sqrt(2)}),
        Way("λT_P / 2", decay=0.15), Way("N/d × 2, p0 / 2", {"problem.kappa": 0.5**1.5, "problem.p0": 0.05}),
        Way("N/d × 2", {"problem.kappa": 0.5**1.5}))
"""The first is what the others are compared with."""


def ratios(seeds: int = 8, apart: tuple[float, ...] = APART, blurred: tuple[float, ...] = BLURRED) -> dict[str, Any]:
    """S's error on P at infinite width, at the same T_P/T_Q and t_blur(eta2)/T_Q reached in several ways.

    Which dimensionless numbers are there? S at infinite width is a kernel with memory. In units of T_P, of P there are
    N/d, p0, q0, gamma0 sqrt(d) (its Gram matrix), lambda T_P (what is forgotten) and the length of the run; of Q, T_P/T_Q
    and, by the noise's clock, t_blur(eta2)/T_Q; and three that are small, r, 1/d and, for the stiff common mode of Q,
    1/(lambda_max T_P). Noise level and eta2/eta1 enter by nu^2 eta2/eta1 alone, exactly: they are one way, not two. So, said
    before it was run:

    1. Two ratios decide what Q has to do with it: r and |z| change errors by O(r), less than 5%, at the same two ratios, and
       d (N/d kept, other data) by less than the seeds' standard error.
    2. They do not decide the error: lambda T_P, N/d and p0 are ratios of their own. lambda T_P / 2 changes it by 10% to 30%,
       either way (less is forgotten; noise turns gates sooner within the same t_blur), N/d x 2 by a factor of 5 and more (as
       many more P-only examples), N/d x 2 with p0 / 2 by less, downwards, for P-only examples push half as much.
    3. Over the error of P alone (the P-only examples and nothing else for the same time) N/d has less of an effect, but one.
    """
    errors, alone = (np.empty((len(WAYS), len(apart), len(blurred), seeds)) for _ in range(2))
    for index in np.ndindex(*errors.shape[:3]):
        config = reached(WAYS[index[0]], apart[index[1]], blurred[index[2]]).replace(seeds=seeds)
        errors[index], alone[index] = both_errors(config)
    rows = [{"T_P/T_Q": f"{a:g}", "t_blur(η₂)/T_Q": f"{b:g}",
             **{way.name: estimate(errors[w, i, j]) for w, way in enumerate(WAYS)}}
            for i, a in enumerate(apart) for j, b in enumerate(blurred)]
    change = np.log(errors[0].mean(-1))
    compared = [{"way": way.name, "error over phase's": spread(errors[w], errors[0]),
                 "over P alone's, over phase's": spread(errors[w] / alone[w].mean(-1, keepdims=True),
                                                        errors[0] / alone[0].mean(-1, keepdims=True)),
                 "P alone": estimate(alone[w, 0, 0])} for w, way in enumerate(WAYS)]
    return {"rows": rows, "ways": compared, "seeds": seeds, "points": int(errors[..., 0].size),
            "change": float(np.exp(np.ptp(change)))}


def both_errors(config: lt.Config) -> tuple[np.ndarray, np.ndarray]:
    """Error on P at the end, of S and of P alone, in closed form: (seeds,) each."""
    run = lt.run(config).isel(algorithm=0, record=-1)
    curve = lt.learning_curve(config, [config.problem.group_sizes[0]]).isel(examples=0)
    along, across = (np.stack([found[part].values for found in (run, curve)]) for part in ("p_along", "p_across"))
    first, second = linear_readout.error_on_p(config.problem, along, across)
    return first, second


def reached(way: Way, apart: float, blurred: float) -> lt.Config:
    """S at infinite width at two ratios, in a way: |z| sets T_Q, eta2/eta1 then t_blur(eta2)."""
    config = PHASE.replace(engine="infinite", algorithms=("S",), records=2, n_test=16, **way.changes)
    problem = config.problem
    t_p = p_time(problem)
    config = config.replace(**{"problem.z_norm": problem.z_norm * math.sqrt(q_time(problem) * apart / t_p)})
    decay, t_q = way.decay / t_p, q_time(config.problem)
    return config.replace(**{
        "training.weight_decay": decay, "training.eta1": 0.4 * stability_bound(config.problem), "training.steps": 5000,
        "training.step_time": END * t_p / 5000, "training.eta_ratio": problem.r**2 / math.expm1(2 * decay * blurred * t_q),
        "network.shortest_lag": 1e-7})


def spread(values: np.ndarray, others: np.ndarray) -> str:
    """Ratios of means over seeds at each point: their geometric mean with its jackknife error, the least and the most."""
    def logs(kept: np.ndarray) -> np.ndarray:
        return np.log(values[..., kept].mean(-1) / others[..., kept].mean(-1))

    n = values.shape[-1]
    whole, without = logs(np.arange(n)), [logs(np.delete(np.arange(n), k)).mean() for k in range(n)]
    error = math.sqrt((n - 1) * np.var(without))
    middle = math.exp(whole.mean())
    return f"{middle:.3f} ± {middle * error:.3f} ({math.exp(whole.min()):.3f} to {math.exp(whole.max()):.3f})"


LOOKED_AT = (0.9, 1.23, 1.6, 2.5, 3.0, 3.6, 4.2, 4.9, 6.4, 10.0)
"""lambda t of `clocks`."""


def clocks(seeds: int = 8, silent: float = 1e-12) -> dict[str, Any]:
    """How L-S and S forget each other, preset phase at infinite width; and the same where the small rate has no noise left.

    Said before it was run. There are two clocks. Weights forget at lambda: what mixed examples have taught P under the large
    rate fades under L-S, whose error rises to S's. Noise renews itself at 2 lambda, and what turns gates is the share of it
    that is fresh: under eta2 first v = exp(-2 lambda t) of old noise has to go, in S from the start, in L-S from annealing
    on. So S is blurred first, unlearns Q while L-S still has it, and the difference reverses. Fresh noise dominates from
    lambda t = log(eta1/eta2)/2 = 4.6 on; then both hold Q at one plateau, which is as v, so that the difference dies as
    exp(-2 lambda t). At eta2/eta1 = 1e-12 (log/2 = 13.8) the first clock is alone for long: no reversal, both keep Q.
    """
    base = PHASE.replace(engine="infinite", seeds=seeds, records=300, n_test=16)
    decay = base.training.weight_decay
    base = base.replace(**{"training.steps": math.ceil(max(LOOKED_AT) / decay / base.training.step_time) + 1})
    rate = math.nan
    found: dict[str, list[str]] = {"λt": [f"{x:g}" for x in LOOKED_AT]}
    for ratio, where in ((base.training.eta_ratio, ""), (silent, f" (η₂/η₁ = {silent:.0e})")):
        runs = lt.run(base.replace(**{"training.eta_ratio": ratio}))
        one, other = (runs.sel(algorithm=a) for a in ("L-S", "S"))
        contrasts = [told(run, "contrast").mean(1) for run in (one, other)]
        errors = [linear_readout.error_on_p(base.problem, told(run, "p_along"), told(run, "p_across")).mean(1)
                  for run in (one, other)]
        found[f"mean size of g_LS - g_S{where}"] = [f"{x:.2g}" for x in gap(one, other)]
        found[f"contrast: L-S; S{where}"] = [f"{x:.1f}; {y:.1f}" for x, y in zip(*contrasts, strict=True)]
        found[f"error on P: L-S; S{where}"] = [f"{x:.2g}; {y:.2g}" for x, y in zip(*errors, strict=True)]
        if ratio != silent:
            first, last = gap(one, other, (5.5, 7.0))
            rate = math.log(first / last) / 1.5
    return {"rows": [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)],
            "seeds": seeds, "rate": rate}


def told(run: xr.Dataset, name: str, lambda_t: Sequence[float] = LOOKED_AT) -> np.ndarray:
    """A measurement of a run at some lambda t: (times, seeds)."""
    at = xr.DataArray(np.array(lambda_t) / PHASE.training.weight_decay, dims="record")
    return lt.at_times(run, name, at).transpose("record", "seed").values


def gap(one: xr.Dataset, other: xr.Dataset, lambda_t: Sequence[float] = LOOKED_AT) -> np.ndarray:
    """Mean over Q's directions and seeds of how far two runs' outputs are apart: (times,)."""
    return np.mean([np.abs(told(one, g, lambda_t) - told(other, g, lambda_t)) for g in ("g_z", "g_plus", "g_minus")], (0, 2))


TABLES = {table.__name__: table for table in (ratios, clocks)}
"""{name: what measures it}."""

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"{' '.join(sys.argv[1:]) or 'no table'}: unknown; must be one of {', '.join(TABLES)}")
    print(json.dumps(TABLES[sys.argv[1]]()))
