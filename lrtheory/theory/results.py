"""What runs of one configuration say: the summary over seeds, the verdict, the prediction beside them on disk.

Lives here: the comparisons the theory predicts, and what is summarised. Lives elsewhere: computing (runs), means over
seeds (labelled), files as such (files), drawing (figures), printing (cli.report), how notebooks show it (html).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory import files
from lrtheory.intervals import Level, Statistic, decide, fewest, mean, share
from lrtheory.labelled import (
    UNFINISHED,
    at_times,
    config_of,
    each_seed,
    estimate,
    finite,
    require_one,
    summary,
    undiverged,
)
from lrtheory.spec import require_path
from lrtheory.theory import kinks
from lrtheory.theory.config import Config
from lrtheory.theory.html import short
from lrtheory.theory.timescales import is_balanced, p_time, q_time

THEORY = "theory.zarr"
"""The prediction beside the results of `lrtheory run`."""
FINAL = ("test_error_p", "test_error_q", "test_error_mixed", "test_error", "test_loss_p", "test_loss", "train_loss",
         "contrast")
"""Measurements summarised at the last record."""
TIMES = ("time_p_half", "time_mixed_half", "time_q_half", "annealed_at", "threshold_at", "stopped_at")
"""Times summarised; one that was never reached is null and counts as later than any."""


ERROR_RATE = 0.05
"""Chance that any part of the verdict is wrong; each part has an equal share (Bonferroni)."""


class Summary(dict[str, Any]):
    """What `summarise` returns: a tree, which a notebook shows as a short table and the verdict."""

    def _repr_html_(self) -> str:
        return short(self)


def summarise(results: xr.Dataset, theory: xr.Dataset | None = None) -> Summary:
    """Everything a reader wants in one tree: per algorithm and metric mean, sem and per_seed, and the verdict.

    In a notebook it shows itself as a table and the verdict in words. Diverged seeds are named, have null in per_seed, and
    enter no mean. With a prediction (`lrtheory.predict`), each algorithm has the same numbers of it under "theory", at the
    time where its runs end.
    """
    for runs in [results] if theory is None else [results, theory]:
        config_of(runs, Config)
        require_one(runs)
    algorithms: dict[str, Any] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        algorithms[name] = {
            metric: each_seed(runs[metric].values if metric in TIMES else runs[metric].isel(record=-1).values, good)
            for metric in FINAL + TIMES if metric in runs} | {"fitted_first": _fitted_first(runs)}
        if theory is not None:
            algorithms[name]["theory"] = _prediction(runs, theory.sel(algorithm=name))
    return Summary(summary(results, config_of(results, Config), algorithms, verdict(results)))


def _fitted_first(runs: xr.Dataset) -> dict[str, int]:
    """How many seeds fitted P, Q or neither first, of those that did not diverge and have examples of both alone."""
    known = ordered(undiverged(runs))
    p, q = first_of(known, "p", "q"), first_of(known, "q", "p")
    return {"P": int(p.sum()), "Q": int(q.sum()), "neither": int((~p & ~q).sum())}


def _prediction(runs: xr.Dataset, theory: xr.Dataset) -> dict[str, Any]:
    """`FINAL` at the times where the runs of an algorithm end, and `TIMES` before them, of its prediction."""
    last, good = runs["time"].isel(record=-1), np.isinf(theory["diverged_at"].values)
    ends = last.values
    found: dict[str, Any] = {}
    for metric in (m for m in FINAL if m in runs and m in theory):
        found[metric] = each_seed(at_times(theory, metric, last).values, good)
    for metric in TIMES:
        values = np.where(theory[metric].values <= ends, theory[metric].values, np.inf)
        found[metric] = each_seed(values, good)
    return found | {"fitted_first": _fitted_first(theory.assign({
        f"time_{g}_half": theory[f"time_{g}_half"].where(theory[f"time_{g}_half"].values <= ends, np.inf) for g in "pq"}))}


def verdict(results: xr.Dataset) -> dict[str, Any]:
    """Whether the runs show what the theory predicts, with the numbers; null where an algorithm is missing.

    error_ratio: S's test error on P is at least `required_ratio` times L-S's. matched_loss: the same where both first reach
    the training loss that both reach, for the theorems stop at a small loss. test_loss: S's test loss on P is above L-S's.
    learning_order: Q's loss is halved before P's under S, and after it under L-S. mitigation: the first comparison with
    S+noise in the place of L-S. Each by the intervals and the rule of `lrtheory.intervals`, as `lrtheory verify`: means over
    the seeds of which neither run diverged, paired; "holds", "fails" or "not resolved", wrong in at most 5% over all of them
    together, as far as the intervals cover. Two seeds resolve nothing. Algorithms are compared at the latest time that they
    reach; where one is followed more than twice as long as the other, they are "not comparable", with the reason.
    Of runs that were ended early (`unfinished`) nothing is compared.
    too_short: that nothing has been learned by the end, and how many steps it takes. unannealed: in how many seeds L-S has
    not annealed by the end, so that what is compared is its large phase, and about how many more steps it takes.
    expected: whether conditions A to D and G of `lrtheory.theory.timescales`, and F for the full network, hold, so that the
    theory predicts a gap at all. Source: theorems 3.4 and 3.5 of Li, Wei & Ma (2019); conditions derived here.
    """
    config = config_of(results, Config)
    names = results["algorithm"].values.tolist()
    found = config.conditions
    judged: dict[str, Callable[[Level], dict[str, Any]]] = {}
    required = config.required_ratio
    if UNFINISHED in results.attrs:
        names = []
    if "S" in names and "L-S" in names:
        judged = {"error_ratio": lambda level: compare_errors(results, "L-S", required, level),
                  "matched_loss": lambda level: compare_errors(results, "L-S", required, level, matched=True),
                  "learning_order": lambda level: compare_orders(results, level)}
        if "test_loss_p" in results:
            judged["test_loss"] = lambda level: compare_losses(results, "L-S", level)
    if "S" in names and "S+noise" in names:
        judged["mitigation"] = lambda level: compare_errors(results, "S+noise", required, level)
    level = 1 - ERROR_RATE / max(len(judged), 1)
    tree: dict[str, Any] = {
        "expected": all(c.holds for c in found), "conditions": [c._asdict() for c in found], "level": level,
        "too_short": None if UNFINISHED in results.attrs else too_short(results),
        "unannealed": None if UNFINISHED in results.attrs else unannealed(results),
        UNFINISHED: results.attrs.get(UNFINISHED),
        "error_ratio": None, "matched_loss": None, "test_loss": None, "learning_order": None}
    return tree | {name: judge(level) for name, judge in judged.items()}


def too_few(names: Sequence[str], seeds: int) -> int | None:
    """How many seeds a verdict on these algorithms takes, if there are fewer: those that resolve an order if all agree."""
    parts = 4 * ("L-S" in names and "S" in names) + ("S" in names and "S+noise" in names)
    needed = fewest(1 - ERROR_RATE / parts) if parts else 0
    return needed if seeds < needed else None


P_HALF, WHOLE = 1.3, 1.6
"""Time at which P's loss halves under L-S, in units of T_P (1.2 in quick, 1.35 in phase, 1.15 in full), and length of a
run in units of that (quick: 1.6): enough to anneal and fit Q."""


def too_short(results: xr.Dataset) -> dict[str, float] | None:
    """That no seed of L-S halves P's or Q's loss, with when P's should and the steps that would show it; else None."""
    config = config_of(results, Config)
    if "L-S" not in results["algorithm"].values.tolist():
        return None
    runs = undiverged(results.sel(algorithm="L-S"))
    halved = [np.isfinite(runs[f"time_{g}_half"].values).any() for g in "pq"]
    expected = P_HALF * p_time(config.problem)
    end = float(runs["time"].isel(record=-1).max()) if runs.sizes["seed"] else math.inf
    if any(halved) or math.isinf(expected) or end > expected:
        return None
    steps = WHOLE * expected / max(end / config.training.steps, 1e-300)
    return {"end": end, "p_half_expected": expected, "steps": float(f"{steps:.2g}")}


def unannealed(results: xr.Dataset) -> dict[str, float | int | None] | None:
    """In how many seeds L-S has not annealed by its end, and how many more steps it takes; None if all have.

    "steps": until the last of them reaches the threshold, eps1 + q log 2, if its training loss goes on falling as over its
    last four records, or until anneal_time; None where it falls no more. A linear extrapolation, so an order of magnitude.
    """
    config = config_of(results, Config)
    if "L-S" not in results["algorithm"].values.tolist():
        return None
    runs, training = undiverged(results.sel(algorithm="L-S")), config.training
    late = ~np.isfinite(runs["annealed_at"].values)
    if not late.any():
        return None
    time, loss = (runs[name].transpose("seed", "record").values[late] for name in ("time", "train_loss"))
    sizes = dict(zip(config.problem.group_names, config.problem.group_sizes, strict=True))
    above = loss[:, -1] - training.eps1 - sizes["q"] / config.problem.n_train * math.log(2)
    fall = np.array([-np.polyfit(t, x, 1)[0] for t, x in zip(time[:, -4:], loss[:, -4:], strict=True)])
    wait = np.where(fall > 0, np.maximum(above, 0.0) / np.where(fall > 0, fall, 1.0) + training.loss_smoothing, math.inf)
    wait = np.minimum(wait, training.anneal_time - time[:, -1]).max()
    a_step = time[:, -1].max() / training.steps
    steps = float(f"{wait / a_step:.2g}") if math.isfinite(wait) and a_step > 0 else None
    return {"seeds": int(late.sum()), "of": int(late.size), "steps": steps}


def annealing_jitter(config: Config, theory: xr.Dataset) -> dict[str, float] | None:
    """By how much L-S's annealing will jitter in networks of `config.network.m_v` neurons, from its prediction.

    The loss that triggers it scatters over networks by (rho/2) `kinks.scatter`, for dL = (rho/2) d contrast at stiff g(z),
    and crosses its threshold at a slope dL/dt:

        jitter in time = scatter of the loss / |dL/dt|,  as 1/sqrt(m_v).

    Where that is more than what the loss is averaged over (`training.loss_smoothing`), the first of many crossings counts:
    annealing then comes early, by up to the jitter times the root of 2 log of their number. {"time" of annealing, "jitter"
    of it, "loss": its scatter}; None where the prediction does not anneal by its loss, or for networks and noise of which
    the scatter is not known: others than decoupled blocks with full batches, noise that is not balanced. Derived here.
    """
    problem, training = config.problem, config.training
    if not (config.engine == "decoupled" and config.network.variant == "block" and is_balanced(training)
            and training.batch_size is None and "L-S" in theory["algorithm"].values and math.isfinite(q_time(problem))):
        return None
    runs = undiverged(theory.sel(algorithm="L-S"))
    when, slopes = runs["annealed_at"].values, falls(runs)
    known = np.isfinite(when) & (slopes > 0) & (runs["threshold_at"].values <= when)  # by the loss, not by the clock
    if not known.any():
        return None
    last = np.sum(runs["time"].transpose("seed", "record").values[known] < when[known, None], 1) - 1  # before Q is fitted
    push = kinks.push_of(problem, {group: float(runs[f"loss_{group}"].transpose("seed", "record").values[known][
        np.arange(last.size), last].mean()) for group in ("q", "mixed")})
    rho = 2 * math.pi * push / (problem.z_norm**2 * problem.r * q_time(problem))
    time = float(np.mean(when[known]))
    loss = rho / 2 * kinks.scatter(problem, training, config.network.m_v, push, time, training.loss_smoothing)
    return {"time": time, "loss": loss, "jitter": loss / float(np.mean(slopes[known]))}


def falls(runs: xr.Dataset) -> np.ndarray:
    """How fast the training loss falls before each seed anneals, -dL/dt over its last four records: (seeds,); else nan."""
    found = np.full(runs.sizes["seed"], np.nan)
    times, loss = (runs[name].transpose("seed", "record").values for name in ("time", "train_loss"))
    for k, end in enumerate(runs["annealed_at"].values):
        before = np.flatnonzero(times[k] < end)[-4:]
        if np.isfinite(end) and len(before) > 1:
            found[k] = -np.polyfit(times[k][before], loss[k][before], 1)[0]
    return found


def common_time(results: xr.Dataset, names: Sequence[str]) -> float | None:
    """The latest time that all runs of some algorithms reach; None if one is followed more than twice as long as another."""
    return shared_time(list(by_algorithm(results, names).values()))


def by_algorithm(results: xr.Dataset, names: Sequence[str]) -> dict[str, xr.Dataset]:
    """The runs of each of some algorithms, by its name."""
    return {name: results.sel(algorithm=name) for name in names}


def shared_time(each: Sequence[xr.Dataset]) -> float | None:
    """`common_time` of runs of one algorithm each, whichever results they are from.

    An algorithm is followed as long as the middle one of its seeds is. A run that stopped (stop_loss) stands still and is
    there at any later time.
    """
    ends = []
    for runs in map(undiverged, each):
        goes_on = np.isinf(runs["stopped_at"].values) if "stopped_at" in runs else np.ones(runs.sizes["seed"], bool)
        ends.append(runs["time"].isel(record=-1).values[goes_on])
    middle = [float(np.median(end)) for end in ends if end.size]
    if not middle:
        return math.inf
    return float(min(end.min() for end in ends if end.size)) if max(middle) <= 2 * min(middle) else None


def apart(runs: Mapping[str, xr.Dataset]) -> str:
    """Why runs, of one algorithm each, cannot be compared, and what to do."""
    ends = {name: float(undiverged(run)["time"].isel(record=-1).max()) for name, run in runs.items()}
    return (", ".join(f"{name} was followed to time {end:.3g}" for name, end in ends.items())
            + "; set training.step_time to training.eta1, or raise training.steps")


def at_time(runs: xr.Dataset, metric: str, time: float) -> np.ndarray:
    """A measurement at a time, (seeds,), of one algorithm: linear between records; from the last one on, the last."""
    late = runs["time"].isel(record=-1) <= time * (1 + 1e-3)
    return np.where(late, runs[metric].isel(record=-1), at_times(runs, metric, xr.DataArray(time)))


def at_matched_loss(one: xr.Dataset, other: xr.Dataset, metrics: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Measurements of two algorithms where each first reaches, seed by seed, the training loss that both reach.

    (metrics, seeds) for either; linear between records, without the first, at which no output has a sign.
    """
    losses = [runs["train_loss"].transpose("seed", "record").values[:, 1:] for runs in (one, other)]
    target = np.maximum(*(loss.min(1) for loss in losses))
    found = []
    for runs, loss in zip((one, other), losses, strict=True):
        values = [runs[m].transpose("seed", "record").values[:, 1:] for m in metrics]
        row, first = np.arange(len(target)), (loss <= target[:, None]).argmax(1)
        before = np.maximum(first - 1, 0)
        fall = loss[row, before] - loss[row, first]
        part = np.where(fall > 0, (loss[row, before] - target) / np.where(fall > 0, fall, 1.0), 1.0)
        found.append(np.stack([v[row, before] + part * (v[row, first] - v[row, before]) for v in values]))
    return found[0], found[1]


def _pair(results: xr.Dataset, other: str) -> dict[str, xr.Dataset]:
    """The runs of another algorithm and of S, of the seeds of which neither diverged."""
    good = np.isinf(results["diverged_at"].sel(algorithm=[other, "S"]).transpose("algorithm", "seed").values).all(0)
    return {name: results.sel(algorithm=name).isel(seed=good) for name in (other, "S")}


def _claim(judge: Callable[[Level], list[Statistic]], level: Level, pair: dict[str, xr.Dataset]) -> dict[str, Any]:
    """A claim of a verdict: what is decided, by which intervals, over how many seeds."""
    decision = decide(judge, level)
    shown = [{"name": s.name, "value": finite(s.value), "low": finite(s.low), "high": finite(s.high), "theory": s.theory,
              "verdict": v} for s, v in zip(decision.statistics, decision.verdicts, strict=True)]
    return {"holds": decision.verdict == "holds", "verdict": decision.verdict,
            "seeds": pair["S"].sizes["seed"], "statistics": shown}


def _apart(results: xr.Dataset, other: str) -> dict[str, Any]:
    return {"holds": False, "verdict": "not comparable", "seeds": 0, "statistics": [],
            "reason": apart(by_algorithm(results, (other, "S")))}


def compare_errors(results: xr.Dataset, other: str, required: float, level: Level, matched: bool = False) -> dict[str, Any]:
    """Test error on P of S against `other`, at the end or at matched training loss: S - required other > 0 in the mean.

    With the means of error and training loss, and the ratio of errors.
    """
    pair = _pair(results, other)
    time = common_time(results, (other, "S"))
    if time is None:
        return _apart(results, other)
    metrics = ("test_error_p", "train_loss")
    if matched:
        ends = dict(zip((other, "S"), at_matched_loss(pair[other], pair["S"], metrics), strict=True))
    else:
        ends = {name: np.stack([at_time(runs, m, time) for m in metrics]) for name, runs in pair.items()}
    sides: dict[str, Any] = {
        name: estimate(values[0]) | {"train_loss": estimate(values[1])} for name, values in ends.items()}
    mean_s, mean_other = sides["S"]["mean"], sides[other]["mean"]
    ratio = mean_s / mean_other if mean_s is not None and mean_other else None

    def judge(level: Level) -> list[Statistic]:
        less = ends["S"][0] - required * ends[other][0]
        return [mean(f"S's error on P less {required:g} times that of {other}", less, level, (0.0, math.inf), "above 0")]

    return _claim(judge, level, pair) | {"ratio": ratio, "required_ratio": required, **sides}


def compare_losses(results: xr.Dataset, other: str, level: Level) -> dict[str, Any]:
    """Test loss on P of S against `other` at the end: S - other > 0 in the mean."""
    pair = _pair(results, other)
    time = common_time(results, (other, "S"))
    if time is None:
        return _apart(results, other)
    ends = {name: at_time(runs, "test_loss_p", time) for name, runs in pair.items()}

    def judge(level: Level) -> list[Statistic]:
        return [mean(f"S's test loss on P less that of {other}", ends["S"] - ends[other], level, (0.0, math.inf), "above 0")]

    return _claim(judge, level, pair) | {name: estimate(values) for name, values in ends.items()}


def compare_orders(results: xr.Dataset, level: Level) -> dict[str, Any]:
    """Share of seeds whose losses halve in the predicted order: Q before P under S, P before Q under L-S.

    Seeds without P-only or without Q-only examples have no order; if none is left, nothing is judged.
    """
    time = common_time(results, ("L-S", "S"))
    if time is None:
        return _apart(results, "L-S")
    pair = {name: ordered(undiverged(results.sel(algorithm=name))) for name in ("S", "L-S")}
    predicted = {"S": ("q", "p"), "L-S": ("p", "q")}
    if not all(runs.sizes["seed"] for runs in pair.values()):
        return {"holds": False, "verdict": "not judged", "seeds": 0, "statistics": [],
                "reason": "no seed has both P-only and Q-only examples and did not diverge"}
    right = {name: first_of(pair[name], *predicted[name], until=time) for name in pair}

    def judge(level: Level) -> list[Statistic]:
        return [share(" halved before ".join(map(str.upper, predicted[name])) + f" under {name}", right[name], level,
                      "almost every seed") for name in pair]

    claim = _claim(judge, level, pair)
    sides = {name: {"first": predicted[name][0].upper(), "holds": row["verdict"] == "holds",
                    "share": float(right[name].mean()), "seeds": int(right[name].sum()), "of": int(right[name].size)}
             for name, row in zip(pair, claim["statistics"], strict=True)}
    return claim | sides


def ordered(runs: xr.Dataset) -> xr.Dataset:
    """The seeds that have both P-only and Q-only examples: a loss of either at the start."""
    known = [np.isfinite(runs[f"loss_{g}"].isel(record=0).values) for g in "pq"]
    return runs.isel(seed=known[0] & known[1])


def first_of(runs: xr.Dataset, first: str, second: str, until: float = math.inf) -> np.ndarray:
    """Whether one group's loss is halved before another's, and by a time, (seeds,); never is later than any time."""
    one, other = (runs[f"time_{g}_half"].values for g in (first, second))
    return (one < other) & (one <= until)


def load_theory(folder: str | Path) -> xr.Dataset | None:
    """The prediction that `lrtheory run` wrote beside its results; None if there is none."""
    folder = require_path("folder", folder)
    return files.read_dataset(folder, THEORY) if (folder / THEORY).is_dir() else None
