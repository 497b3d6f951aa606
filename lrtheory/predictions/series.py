"""The theorems at their own exponents, followed over d and what else they depend on: the studies of `lrtheory theorem`.

Each row of a study is a configuration of `lrtheory.theorem`, run in double precision; its errors are those of the readout
that is linear in x1, in closed form (`theory.linear_readout`), so nothing is lost below 1/n_test. Beside it the learning
curve of P alone: at n = pN it is S's limit for d -> infinity (Q costs S every example that carries it), at n = (1-q)N
L-S's (Q teaches nothing).

Lives here: which rows a study has, running them, what is said of them. Lives elsewhere: the configuration (theory.theorem),
figures (series_figures), verdicts (bound, floor).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from lrtheory.intervals import Level, Statistic, bootstrap, slope
from lrtheory.labelled import estimate, finite, names_of
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError, choose, require
from lrtheory.stopping import Interrupted
from lrtheory.theory import linear_readout
from lrtheory.theory.config import Config
from lrtheory.theory.examples import effective_examples, error_on_p, learning_curve
from lrtheory.theory.runs import run
from lrtheory.theory.theorem import dimension, precision, theorem
from lrtheory.theory.timescales import blur_time, p_time, q_time

EVENTS = ("time_p_half", "time_q_half", "annealed_at", "diverged_at")
MEANS = ("test_error_p", "test_error", "test_loss_p", "test_loss", "contrast")
"""Measurements at the end of a run that tables have."""
DIMENSIONS = (1e2, 1e3, *(10.0**k for k in range(6, 37, 3)), 1e40)
"""d of the series."""
SIZES = {64: 16, 128: 16, 256: 8, 512: 6, 1024: 4}
"""d' of the study of sizes, and seeds of each: the spread over seeds falls with d'."""
EXPONENTS = (-0.3, -0.4, -0.45, -0.55, -0.65, -0.75, -0.85, -0.95, -1.05)
"""Exponents of r in d: the theory's lie between -1 and -5/12 = -0.417."""
FAR = (1e12, 1e20, 1e30)
"""d at which they are tried."""
BLURS = tuple(10.0**k for k in range(-1, 9))
"""t_blur(eta2)/T_Q of the study of rates, at d = 1e30."""
LEVEL = 0.95
"""Of the intervals in tables."""


class Study(NamedTuple):
    """A series of configurations."""

    about: str
    over: tuple[str, ...]  # what tells its rows apart: coordinates
    rows: Callable[..., Mapping[tuple[float, ...], Config]]  # of settings (seeds, kappa, ...) -> {coordinates: config}


def _dimension(dimensions: Sequence[float] | None = None, seeds: int | None = None, **more: Any):
    """A row a d, all by one compiled program."""
    values = tuple(dimensions or DIMENSIONS)
    lag = theorem(max(values), **more).network.shortest_lag
    return {(d,): theorem(d, seeds=seeds or 8, **more).replace(**{"network.shortest_lag": lag}) for d in values}


def _size(dimensions: Sequence[float] | None = None, seeds: int | None = None, **more: Any):
    """A row a d', each a program of its own."""
    require("size" not in more, "--size", more.get("size"), "left out in the study of sizes", "it goes through them")
    d = (dimensions or (1e18,))[0]
    return {(float(size),): theorem(d, size=size, seeds=seeds or count, **more) for size, count in SIZES.items()}


def _exponents(dimensions: Sequence[float] | None = None, seeds: int | None = None, **more: Any):
    """A row an exponent and d."""
    values = tuple(dimensions or FAR)
    lag = min(theorem(d, r_exponent=a, **more).network.shortest_lag for d in values for a in EXPONENTS)
    return {(a, d): theorem(d, r_exponent=a, seeds=seeds or 8, **more).replace(**{"network.shortest_lag": lag})
            for a in EXPONENTS for d in values}


def _rates(dimensions: Sequence[float] | None = None, seeds: int | None = None, **more: Any):
    """A row a t_blur(eta2)/T_Q, from r^2/ratio = exp(2 lambda t_blur) - 1."""
    require("rate_exponent" not in more, "--rate-exponent", more.get("rate_exponent"), "left out in the study of rates",
            "it goes through them")
    d = (dimensions or (1e30,))[0]
    base = theorem(d, seeds=seeds or 8, **more)
    scale = 2 * base.training.weight_decay * q_time(base.problem)
    with np.errstate(over="ignore"):  # where T_Q is long no rate blurs so late: 0
        ratios = (base.problem.r**2 / np.expm1(np.multiply(BLURS, scale))).tolist()
    return {(x,): base.replace(algorithms=("S",), **{"training.eta_ratio": ratio})
            for x, ratio in zip(BLURS, ratios, strict=True) if 0 < ratio <= 1}


STUDIES = {
    "dimension": Study("order, errors, loss and annealing over d, with the limit d = infinity", ("d",), _dimension),
    "size": Study("the same at one d over the dimension d' in which P is simulated, extrapolated", ("size",), _size),
    "exponents": Study("which exponents of r in d separate the algorithms", ("exponent", "d"), _exponents),
    "rates": Study("from how many examples S has learned P, over t_blur(eta2)/T_Q at one d", ("blur",), _rates)}
"""By name."""


def follow(config: Config) -> tuple[xr.Dataset, xr.Dataset]:
    """A row: its runs' events and final measurements (algorithm, seed), and the learning curve of P alone (seed, examples).

    Raises `ConfigError` for a configuration that is not the theorem's.
    """
    if dimension(config) is None:
        raise ConfigError(f"{config.name}: not a configuration of the theorems; must be made by lrtheory.theorem; run it by "
                          "lrtheory run")
    with precision(config):
        found = run(config)
        curve = learning_curve(config)
    last = found[[*EVENTS, "contrast", "train_loss", "loss_p", "p_along", "p_across", "steps"]]
    last = xr.Dataset({n: v.isel(record=-1, drop=True) if "record" in v.dims else v for n, v in last.data_vars.items()})
    exact = linear_readout.at_end(config.problem, found)
    curve = curve.assign(error=(("seed", "examples"), error_on_p(config, curve, True)),
                         loss=(("seed", "examples"), linear_readout.loss_on_p(config.problem, curve["p_along"].values,
                                                                    curve["p_across"].values)))
    names = found["algorithm"].values.tolist()
    few, mixed = config.problem.group_sizes[:2]
    for what in ("error", "loss"):
        limits = [curve[what].sel(examples={"S": few, "L-S": few + mixed}[name]).values for name in names]
        exact[f"limit_{what}"] = (("algorithm", "seed"), np.stack(limits))
    numbers = effective_examples(found, curve, level=LEVEL)
    for part in ("value", "low", "high"):
        exact[f"examples_{part}"] = ("algorithm", [getattr(numbers[a], part) for a in names])
    good = np.isinf(found["diverged_at"])  # of a run that diverged only that it did is known
    exact = exact.map(lambda v: v.where(good) if "seed" in v.dims else v)
    last = last.map(lambda v: v if v.name == "diverged_at" else v.where(good))
    return last.drop_vars("step", errors="ignore").merge(exact, compat="no_conflicts").assign_attrs(found.attrs), curve


def plan(name: str, **settings: Any) -> Mapping[tuple[float, ...], Config]:
    """The rows of a study, checked. Raises `ConfigError` as `study` does."""
    rows = choose(STUDIES, name, "--study").rows(**settings)
    for config in rows.values():
        with precision(config):
            config.check()
    return rows


def study(name: str, *, tell: Callable[[str], None] = lambda text: None,
          **settings: Any) -> tuple[xr.Dataset, dict[str, Any]]:
    """Run a study: its numbers with the rows along the dimension `row`, and what is said of them.

    Args:
      name: one of `STUDIES`.
      tell: called with a line before each row.
      settings: dimensions, seeds, and what `lrtheory.theorem` takes (kappa, size, eps1, length, rate_exponent).

    Raises:
      ConfigError: an unknown study, or numbers that no run can have.
      Interrupted: on the command line, an end was asked for; with the same of the rows that were finished, or None.
    """
    started, chosen, rows = time.perf_counter(), STUDIES[name], plan(name, **settings)
    found = []
    for k, (at, config) in enumerate(rows.items()):
        tell(f"{k + 1} of {len(rows)}: " + ", ".join(f"{n} = {v:g}" for n, v in zip(chosen.over, at, strict=True)))
        try:
            here, _ = follow(config)
        except Interrupted:
            if not found:
                raise Interrupted from None
            raise Interrupted(_told(name, found, started, unfinished=f"{k} of {len(rows)} rows")) from None
        t_q, t_p = q_time(config.problem), p_time(config.problem)
        coords = dict(zip(chosen.over, at, strict=True)) | {
            "T_P": t_p, "T_Q": t_q, "P_only": config.problem.group_sizes[0], "with_x1": sum(config.problem.group_sizes[:2]),
            "t_blur_small": blur_time(config.problem, config.training, config.training.eta1 * config.training.eta_ratio)}
        found.append(here.assign_coords(coords))
    return _told(name, found, started)


def _told(name: str, found: Sequence[xr.Dataset], started: float, **more: Any) -> tuple[xr.Dataset, dict[str, Any]]:
    """The rows of a study together, and what is said of them."""
    chosen = STUDIES[name]
    runs: Any = xr.concat(found, "row", join="outer", combine_attrs="override")
    runs = runs.assign_coords(algorithm=names_of(runs["algorithm"].values.tolist()))
    numbers = [{"name": s.name, "theory": s.theory} | {k: finite(getattr(s, k)) for k in ("value", "low", "high")}
               for s in ([] if more else findings(name, runs, LEVEL))]
    return runs, {"study": name, "about": chosen.about, "findings": numbers,
                  "rows": [row(runs.isel(row=k), chosen.over) for k in range(len(found))],
                  "seconds": time.perf_counter() - started, "environment": environment()} | more


def row(here: xr.Dataset, over: Sequence[str]) -> dict[str, Any]:
    """What the table says of a row: coordinates, and for each algorithm means with standard errors over its seeds."""
    said: dict[str, Any] = {name: float(here[name]) for name in (*over, "T_P", "T_Q", "t_blur_small")}
    for name in here["algorithm"].values.tolist():
        there = here.sel(algorithm=name)
        one = there.dropna("seed", subset=["p_along"])  # neither diverged nor of a row with fewer seeds
        times = {m: one[m].values for m in EVENTS[:3]}
        said[name] = {m: estimate(one[m].values) for m in MEANS}
        said[name] |= {m: estimate(v) | {"reached": int(np.isfinite(v).sum()), "of": len(v)} for m, v in times.items()}
        said[name] |= {"diverged": int(np.isfinite(there["diverged_at"].values).sum()),
                        "P first": int((times["time_p_half"] < times["time_q_half"]).sum()),
                        "Q first": int((times["time_q_half"] < times["time_p_half"]).sum()),
                        "examples": {p: finite(float(one[f"examples_{p}"])) for p in ("value", "low", "high")},
                        "limit_error": estimate(one["limit_error"].values), "limit_loss": estimate(one["limit_loss"].values)}
    return said


def findings(name: str, runs: xr.Dataset, level: Level) -> list[Statistic]:
    """Numbers that are drawn from all rows of a study, with intervals over seeds.

    Exponents in d are fitted where S has Q first by far (d >= 1e15) and alpha's tail still has examples: once S's margin at
    alpha = 1 is above the number of mixed examples, all of the N that are simulated have been learned.
    """
    anywhere = (-math.inf, math.inf)
    if name == "dimension":
        margin = -runs["contrast"].sel(algorithm="S").mean("seed").values / 4  # of S, on an example of Q with alpha = 1
        far = runs.isel(row=(runs["d"].values >= 1e15) & (margin < (runs["with_x1"] - runs["P_only"]).values))
        if far.sizes["row"] < 2:
            return []
        limit, error = (far[m].sel(algorithm="S").transpose("seed", "row").values for m in ("limit_error", "test_error_p"))
        contrast = -far["contrast"].sel(algorithm="S").transpose("seed", "row").values
        d = far["d"].values
        span = f"d = {d.min():.0e} to {d.max():.0e}"
        return [bootstrap(f"exponent in d of the distance of S's error on P from its limit, {span}", [limit - error],
                          slope(d), level, anywhere, "-1/12 = -0.083 far out"),
                bootstrap(f"exponent in d of S's contrast, {span}", [contrast], slope(d), level, anywhere, "1/12 = 0.083")]
    if name == "size":
        size = runs["size"].values
        found = []
        for algorithm in ("L-S", "S"):
            values = runs["test_error_p"].sel(algorithm=algorithm).transpose("row", "seed").values
            found.append(extrapolated(f"error on P of {algorithm} for d' -> infinity, linear in 1/d'", size, values, level))
        return found
    return []


def extrapolated(name: str, size: np.ndarray, values: np.ndarray, level: Level) -> Statistic:
    """Intercept of a fit linear in 1/d', values (rows, seeds; nan: none), rows weighted by their seeds.

    The interval is Student's, with Satterthwaite's degrees of freedom for rows of their own spread.
    """
    from scipy import stats

    count = np.isfinite(values).sum(1)
    mean, variance = np.nanmean(values, 1), np.nanvar(values, 1, ddof=1) / count
    design = np.stack([np.ones(len(size)), 1 / size], 1) * np.sqrt(count)[:, None]
    weights = (np.linalg.pinv(design) * np.sqrt(count))[0]  # of the rows' means in the intercept
    parts = weights**2 * variance
    centre, freedom = float(weights @ mean), parts.sum() ** 2 / np.sum(parts**2 / (count - 1))
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(parts.sum()))
    return Statistic(name, centre, centre - reach, centre + reach, (-math.inf, math.inf), "a + b/d'")


