"""From how many examples P was learned: an error on P, said as the size of the training set of P alone that leads to it.

The theorems in one number: S has learned P from the pN examples that carry x1 alone, L-S from all (1-q)N that carry x1.

Lives here: the learning curve at infinite width (the first n of a run's own examples that carry x1, and nothing else), its
inversion with intervals over seeds. Lives elsewhere: the kernel and its memory (kernel, engines.infinite), many
configurations (sweeps.tables), what is printed (cli.report).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from lrtheory.fields import to_json
from lrtheory.intervals import Level, Statistic, crossing, require_level
from lrtheory.labelled import as_run, config_of, finite
from lrtheory.spec import MOST, ConfigError, require, require_kind, require_number
from lrtheory.theory import kernel, linear_readout, programs, simulate
from lrtheory.theory.config import Config
from lrtheory.theory.engines import infinite
from lrtheory.theory.engines.gram import own_rates
from lrtheory.theory.measure import linear_part
from lrtheory.theory.problem import MIXED, P_ONLY
from lrtheory.theory.results import apart, at_time, by_algorithm, common_time, shared_time

STEPS = 200
"""Steps of a learning curve: of Heun's method, at times (k/STEPS)^2 of its length."""
ACCURACY = 2e-3
"""Relative, of errors on P: outputs of runs are solved to 1e-4 (tested), of which errors are steep functions."""
POINTS = 200
"""Sizes at which a learning curve is compared with a run."""
MOST_COUNTS = 10_000
"""Points that a learning curve may be asked for."""
SIZES = 12
"""Points of a learning curve between a quarter of the P-only examples and all that carry x1."""


def sizes(config: Config) -> np.ndarray:
    """Numbers n of examples at which a learning curve has points, both limits pN and (1-q)N among them: (sizes,)."""
    few, mixed = config.problem.group_sizes[:2]
    all_ = few + mixed
    require(few > 0 or all_ > 0, "problem.q0", config.problem.q0, "below 1", "no example carries x1")
    spread = np.geomspace(max(2, (few or all_) / 4), all_, SIZES)
    return np.unique(np.round([*spread, *([few] if few else []), all_]).astype(int))


def learning_curve(config: Config, counts: Sequence[int] | np.ndarray | None = None, *,
                   time: float | None = None) -> xr.Dataset:
    """Error on P of the network trained on n examples of P alone, at infinite width: dimensions seed, examples.

    f_t(x) = sum_s eta2 a^(t-s-1) sum_{i <= n} R_i(s) <x, x_i> P(gates open),   R_i = y_i sigma(-y_i f(x_i))/N,

    over the first n of the seed's own examples that carry x1, the P-only ones first, for the time of the run and
    under the small rate: the very run of algorithm S from which x2 and all other examples have been taken away. So at n = pN
    it is what S would do if Q cost it all others, and at n = (1-q)N what the network does where Q teaches nothing. Derived
    here.

    Args:
      config: of the run that it is compared with; its engine does not matter.
      counts: values of n; None: `sizes`.
      time: for which it is followed, as its run was; None: `config.duration`, which algorithms may go beyond.

    Returns:
      test_error_p (on the run's own test points), p_along and p_across as `lrtheory.run` has them.

    Raises:
      ConfigError: no example carries x1, or a count that is not there.
    """
    require_kind("config", config, Config, "a Config", "such as lrtheory.preset('quick')")
    config = config.check()
    require_number("time", config.duration if time is None else time, lambda t: 0 < t <= MOST, "a finite number above 0",
                   "None for the length of the run")
    wide = config if config.engine == "infinite" else config.replace(**{"training.batch_size": None}).at_infinite_width()
    wide = wide.replace(**{"network.shortest_lag": max(wide.network.shortest_lag, 1e-12), "network.variant": "block"})
    most = sum(config.problem.group_sizes[:2])
    counts = sizes(config) if counts is None else _counts(counts, most)
    found = _curve(programs.numbers(wide), jnp.asarray(config.first_seed + np.arange(config.seeds)), jnp.asarray(counts),
                   jnp.asarray(config.duration if time is None else time, jnp.result_type(float)))
    return xr.Dataset({name: (("seed", "examples"), np.asarray(values)) for name, values in found.items()},
                      coords={"seed": config.first_seed + np.arange(config.seeds), "examples": counts},
                      attrs={"config": to_json(config)})


def _counts(given: Any, most: int) -> np.ndarray:
    """Numbers of examples (counts,), or `ConfigError`."""
    try:
        counts = list(given)
    except TypeError:
        counts = []
    require(0 < len(counts) <= MOST_COUNTS, "counts", f"a {type(given).__name__} of {len(counts):,}",
            f"a list of 1 to {MOST_COUNTS:,} numbers", "None chooses them")
    for n in counts:
        require_number("counts", n, lambda n: 1 <= n <= most and n == int(n), f"whole, between 1 and {most}, the examples "
                       "that carry x1", "choose others")
    return np.asarray(counts, int)


@jax.jit
def _curve(config: Config, seeds: Array, counts: Array, time: Array) -> dict[str, Array]:
    """Measurements (seeds, counts) at the end of a learning curve."""
    training, rates = config.training, infinite.terms(config).rates
    own = own_rates(config)
    eta = training.eta1 * jnp.asarray(training.eta_ratio)

    def of_seed(seed: Array) -> dict[str, Array]:
        data, test = simulate.datasets(config, seed)
        inputs = infinite.prepare(config, data)
        y, n = data.y[config.problem.p_rows], inputs.p_rows.shape[0]
        taught = (data.group == P_ONLY) | (data.group == MIXED)
        place = jnp.cumsum(taught)[config.problem.p_rows]  # of an example among those that carry x1
        known = (place[None] <= counts[:, None]) & taught[config.problem.p_rows][None]  # (counts, n_P)
        nothing = jnp.zeros((rates.size, 3))

        def outputs(p: Array) -> Array:
            return jax.vmap(lambda one: infinite.read_p(config, inputs, one, nothing))(p)

        def residual(f1: Array) -> Array:
            return jnp.where(known, y[None] * jax.nn.sigmoid(-y[None] * f1), 0.0) / config.problem.n_train

        def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            p, variance, first = carry
            count = time * (2 * k + 1) / STEPS**2 / eta
            decay, after = kernel.refreshed_steps(rates, variance, eta, count, training.weight_decay, training.tau_xi)
            keep, gain = decay.keep[None, :own, None], decay.gain[None, :own, None]
            guess = residual(outputs(keep * p + gain * first[:, None]))
            p = keep * p + gain * ((first + guess) / 2)[:, None]
            return p, after, residual(outputs(p))

        start = jnp.zeros((counts.shape[0], own, n))
        p, variance, _ = jax.lax.fori_loop(0, STEPS, step, (start, jnp.ones(()), residual(jnp.zeros_like(start[:, 0]))))

        def measured(p: Array) -> dict[str, Array]:
            state = infinite.State(p, nothing, jnp.zeros(n), jnp.zeros(3), variance, jnp.zeros(2))
            found = infinite.read(config, inputs, state, test)
            along, across = linear_part(config, data.basis, found)
            wrong = (jnp.mean((~(test.y * found.f1 > 0)).astype(p.dtype)) if config.n_test else
                     linear_readout.error_on_p(config.problem, along, across))
            return {"test_error_p": wrong, "p_along": along, "p_across": across}

        return jax.lax.map(measured, p)

    return jax.lax.map(of_seed, seeds)


def error_on_p(config: Config, found: xr.Dataset, exact: bool) -> np.ndarray:
    """Errors on P, of a curve or of runs: in closed form from f1's linear part, or on the test points."""
    if exact:
        return linear_readout.error_on_p(config.problem, found["p_along"].values, found["p_across"].values)
    return found["test_error_p"].values


def inverted(errors: np.ndarray, curve: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Where a mean learning curve has a mean error: that size, sizes around it (points,), the errors less the curves there.

    Means over seeds of errors (seeds,) and curves (seeds, counts). The curve is linear in logarithms between its points; one
    that rises somewhere has the error at the first size at which it falls to it; beyond its ends, its ends. Means below 1e-9
    are taken for it. Each seed's curve is cut between its points in the ratio of the mean curve, of which the differences
    (seeds, points) thus have the mean.
    """
    mean = np.maximum(curve.mean(0), 1e-9)
    falling = np.log(np.minimum.accumulate(mean)) - 1e-9 * np.arange(len(counts))  # where it does not fall, the smaller size
    value = float(np.exp(np.interp(-np.log(max(errors.mean(), 1e-9)), -falling, np.log(counts))))
    places = np.unique([*np.geomspace(counts[0], counts[-1], POINTS), *counts, value])
    k = np.clip(np.searchsorted(counts, places, "right") - 1, 0, max(len(counts) - 2, 0))
    after = np.minimum(k + 1, len(counts) - 1)
    along = np.log(places / counts[k]) / np.where(after > k, np.log(counts[after] / counts[k]), 1.0)
    ratio = np.log(mean[after] / mean[k])
    bent = np.abs(ratio) > 1e-9
    share = np.where(bent, np.expm1(along * ratio) / np.where(bent, np.expm1(ratio), 1.0), along)
    return value, places, errors[:, None] - curve[:, k] - share * (curve[:, after] - curve[:, k])


def effective_examples(run: xr.Dataset, curve: xr.Dataset, *, config: Config | None = None,
                       level: Level = 0.95) -> dict[str, Statistic]:
    """From how many examples each algorithm of a run has learned P: {algorithm: number with its interval over seeds}.

    n such that the learning curve's mean error at n is the run's mean error, at the time that all algorithms reach. The
    interval has all n at which the curve is not told from the run, seed by seed, of which both share data
    (`intervals.crossing`); it ends with the curve. Where the runs have f1's linear part (infinite width), errors are those
    of the linear parts, in closed form; else those on the test points. At the ends of the curve a number means "at most" or
    "at least". Derived here.

    Args:
      run: of `lrtheory.run` or `lrtheory.predict`.
      curve: of `learning_curve` for the same configuration.
      config: that configuration; None: the run's.
      level: of the intervals.

    Raises:
      ConfigError: one algorithm was followed more than twice as long as another.
    """
    config = config_of(run, Config) if config is None else config
    require_level(level)
    exact = "p_along" in run and linear_readout.is_exact(config.problem)
    each = by_algorithm(run, run["algorithm"].values.tolist())
    time = shared_time(list(each.values()))
    if time is None:
        raise ConfigError(apart(each))
    counts, by_size = curve["examples"].values, error_on_p(config, curve, exact)
    few, mixed = config.problem.group_sizes[:2]
    found: dict[str, Statistic] = {}
    for name, here in each.items():
        good = np.isinf(here["diverged_at"].values)
        errors = final_errors(config, here, time, exact)
        said = f"examples from which {name} learned P", f"{few} (P-only) to {few + mixed} (all with x1)"
        if not (good.any() and np.isfinite(errors[good]).all()):
            found[name] = Statistic(said[0], np.nan, np.nan, np.nan, (0.0, np.inf), said[1])
            continue
        value, places, less = inverted(errors[good], by_size[good], counts)
        found[name] = crossing(said[0], value, places, less, level, (0.0, np.inf), said[1],
                               resolution=ACCURACY * float(errors[good].mean()))
    return found


def final_errors(config: Config, run: xr.Dataset, time: float, exact: bool) -> np.ndarray:
    """Errors on P of one algorithm at a time: (seeds,)."""
    if not exact:
        return at_time(run, "test_error_p", time)
    return linear_readout.error_on_p(config.problem, *(at_time(run, name, time) for name in ("p_along", "p_across")))


def told(statistic: Statistic, counts: np.ndarray) -> dict[str, Any]:
    """A number of examples for tables: value, low and high (None where there is none), and "at most" or "at least".

    The latter at an end of the curve (counts,).
    """
    ends = {"at most": counts[0], "at least": counts[-1]}
    bound = next((word for word, end in ends.items() if np.isclose(statistic.value, end, rtol=1e-6)), None)
    return {"value": finite(statistic.value), "low": finite(statistic.low), "high": finite(statistic.high), "bound": bound}


def learned(config: Config, results: xr.Dataset) -> dict[str, dict[str, Any]] | None:
    """{algorithm: `told`} for the summary of a run; None where no example carries x1 and P is not learned at all."""
    if not sum(config.problem.group_sizes[:2]):
        return None
    time = common_time(results, results["algorithm"].values.tolist())
    with as_run(results):  # runs that cannot be compared are told of below
        curve = learning_curve(config, time=time if time is not None and math.isfinite(time) else None)
    return {name: told(s, curve["examples"].values) for name, s in effective_examples(results, curve).items()}
