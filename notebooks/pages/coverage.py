"""How often intervals over few seeds miss: simulated, for the seeds and levels by which verdicts are given.

    python notebooks/pages/coverage.py means        one of `TABLES`, as JSON

Lives here: the laws, the simulation, a row a number of seeds. Lives elsewhere: the intervals themselves, and the part of the
table that is printed beside verdicts (lrtheory.intervals), running and keeping this (stored).
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

import lrtheory as lt
from lrtheory import intervals
from lrtheory.theory.examples import ACCURACY, error_on_p, final_errors, inverted, learning_curve

SEEDS = (4, 6, 8, 12, 16, 24, 32, 64, 256)
"""Seeds of an interval."""
LEVELS = (0.95, 0.975, 0.9875, 0.995, 0.999)
"""Levels of an interval: of a verdict's parts, of claims, and those by which claims fail."""
REPEATS, TOGETHER = 4000, 200
"""Samples of a law, and how many of them are worked on at once."""
POPULATION = 128
"""Runs whose errors are a law of their own: samples are drawn from them, with replacement."""
FIRST = 5000
"""The first of their seeds, which no preset runs."""
Law = tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], float]


@functools.cache
def weights(seeds: int, draws: int = intervals.DRAWS) -> np.ndarray:
    """The shares of seeds in the draws of `intervals.bootstrap`: (draws, seeds)."""
    rng = np.random.default_rng(0)
    parts = [rng.multinomial(seeds, np.full(seeds, 1 / seeds), intervals.BATCH) for _ in range(draws // intervals.BATCH)]
    return np.concatenate(parts) / seeds


def misses(samples: np.ndarray, truth: float, levels: tuple[float, ...] = LEVELS,
           draws: int = intervals.DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """Whether intervals for the mean of samples (repeats, seeds) lie below, and above, the truth: (levels, repeats) each.

    Those of `intervals.mean`, many at once: for a mean the bootstrap's standard error is that of its weighted sample.
    """
    n, found = samples.shape[1], []
    value, error = samples.mean(1), samples.std(1, ddof=1) / np.sqrt(n)
    for start in range(0, len(samples), TOGETHER):
        part = samples[start : start + TOGETHER]
        centre = part @ weights(n, draws).T
        square = np.maximum(part**2 @ weights(n, draws).T - centre**2, 0.0)
        spread = np.sqrt(square / (n - 1))
        lost = spread <= 1e-9 * np.abs(centre)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = (centre - part.mean(1)[:, None]) / spread
        ordered = np.sort(np.where(lost, np.inf, scores).astype(np.float32), axis=1)
        count, rows = lost.sum(1), np.arange(len(part))
        here = slice(start, start + TOGETHER)
        ends = []
        for level in levels:
            first, last = (int(np.ceil(draws * q)) - 1 for q in ((1 - level) / 2, (1 + level) / 2))
            low = np.where(first >= count, ordered[rows, np.maximum(first - count, 0)], -np.inf)
            ends.append((value[here] - low * error[here] < truth, value[here] - ordered[:, last] * error[here] > truth))
        found.append(ends)
    below, above = (np.concatenate([[end[side] for end in ends] for ends in found], axis=1) for side in (0, 1))
    return below, above


@functools.cache
def population() -> dict[str, Any]:
    """Errors on P of `POPULATION` runs of preset phase at infinite width, in closed form, and their learning curves."""
    config = lt.preset("phase").replace(seeds=POPULATION, first_seed=FIRST, records=2, n_test=64)
    runs = lt.predict(config)
    curve = learning_curve(config.at_infinite_width())
    time = float(runs["time"].isel(record=-1).min())
    errors = {a: final_errors(config, runs.sel(algorithm=a), time, True) for a in ("L-S", "S")}
    return errors | {"curve": error_on_p(config, curve, True), "counts": curve["examples"].values}


def drawn_from(values: np.ndarray) -> Law:
    """The law of values that were measured."""
    return lambda rng, shape: rng.choice(values, shape), float(values.mean())


def laws() -> dict[str, Law]:
    """What is sampled, and its mean: named ones, and errors on P."""
    found: dict[str, Law] = {
        "normal": (lambda rng, shape: rng.normal(1.0, 1.0, shape), 1.0),
        "exponential": (lambda rng, shape: rng.exponential(1.0, shape), 1.0),
        **{f"lognormal {sigma:g}": (lambda rng, shape, sigma=sigma: rng.lognormal(0.0, sigma, shape),
                                    float(np.exp(sigma**2 / 2))) for sigma in (1.0, 2.0)}}
    errors = population()
    return found | {"error on P, L-S": drawn_from(errors["L-S"]), "S": drawn_from(errors["S"]),
                    "S less 2 L-S": drawn_from(errors["S"] - 2 * errors["L-S"])}


def means() -> list[dict[str, Any]]:
    """How often the interval of a mean misses, and in how much of that it lies above the truth."""
    found = {name: {n: misses(draw(np.random.default_rng(1), (REPEATS, n)), truth) for n in SEEDS}
             for name, (draw, truth) in laws().items()}
    rows: list[dict[str, Any]] = []
    for n in SEEDS:
        for k, level in enumerate(LEVELS):
            either = {name: share(below[k] | above[k]) for name, (below, above) in ((m, by[n]) for m, by in found.items())}
            above = max(share(by_seeds[n][1][k]) for by_seeds in found.values())
            rows.append({"seeds": n, "level": level, **either, "above": above})
    return rows


def share(happened: np.ndarray) -> float:
    """In how many of the samples something happened."""
    return round(float(happened.mean()), 4)


def examples(repeats: int = 2000, level: float = 0.95) -> list[dict[str, Any]]:
    """How often the interval of the number of examples from which P was learned misses that of all runs together.

    It does where the mean difference at that number is told from 0: by Student's test (`intervals.crossing`), and by that of
    the studentised bootstrap instead.
    """
    errors, rows = population(), []
    counts, curve = errors["counts"], errors["curve"]
    truths = {name: inverted(errors[name], curve, counts)[0] for name in ("L-S", "S")}
    for n in SEEDS:
        row: dict[str, Any] = {"seeds": n}
        for name, truth in truths.items():
            chosen = np.random.default_rng(2).integers(POPULATION, size=(repeats, n))
            less = np.stack([inverted_at(errors[name][k], curve[k], counts, truth) for k in chosen])
            far = np.abs(less.mean(1)) > ACCURACY * errors[name][chosen].mean(1)
            reach = stats.t.ppf((1 + level) / 2, n - 1) * less.std(1, ddof=1) / np.sqrt(n)
            below, above = misses(less, 0.0, (level,))
            row |= {name: share(far & (np.abs(less.mean(1)) > reach)), f"{name}, bootstrap": share(far & (below | above)[0])}
        rows.append(row)
    return rows


def inverted_at(errors: np.ndarray, curve: np.ndarray, counts: np.ndarray, place: float) -> np.ndarray:
    """Errors (seeds,) less the learning curves at one size, as `examples.inverted` has them."""
    mean = np.maximum(curve.mean(0), 1e-9)
    k = min(max(int(np.searchsorted(counts, place, "right")) - 1, 0), len(counts) - 2)
    along = np.log(place / counts[k]) / np.log(counts[k + 1] / counts[k])
    ratio = np.log(mean[k + 1] / mean[k])
    share = np.expm1(along * ratio) / np.expm1(ratio) if abs(ratio) > 1e-9 else along
    return errors - curve[:, k] - share * (curve[:, k + 1] - curve[:, k])


TABLES = {table.__name__: table for table in (means, examples)}
"""{name: what measures it}."""

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"{' '.join(sys.argv[1:]) or 'no table'}: unknown; must be one of {', '.join(TABLES)}")
    lt.use_all_cores()
    print(json.dumps({"rows": TABLES[sys.argv[1]]()}))
