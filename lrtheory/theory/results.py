"""What runs of one configuration say: the summary over seeds, the verdict, and the folder on disk.

Lives here: the two comparisons the theory predicts, and what is summarised. Lives elsewhere: computing (runs), means over
seeds (labelled), files as such (files), drawing (figures), printing (cli.report).
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory import files
from lrtheory.labelled import config_of, each_seed, estimate, summary, undiverged
from lrtheory.theory.config import Config
from lrtheory.theory.timescales import conditions

THEORY = "theory.zarr"
"""The prediction beside the results of `lrtheory run`."""
FINAL = ("test_error_p", "test_error_q", "test_error_mixed", "test_error", "train_loss", "contrast")
"""Measurements summarised at the last record."""
TIMES = ("time_p_half", "time_mixed_half", "time_q_half", "annealed_at", "threshold_at", "stopped_at")
"""Times summarised; one that was never reached is null and counts as later than any."""


def summarise(results: xr.Dataset, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Everything a reader wants in one tree: per algorithm and metric mean, sem and per_seed, and the verdict.

    Diverged seeds are named, have null in per_seed, and enter no mean. With a prediction (`lrtheory.predict`), each
    algorithm has the same numbers of it under "theory", at the time where its runs end.
    """
    algorithms: dict[str, Any] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        algorithms[name] = {
            metric: each_seed(runs[metric].values if metric in TIMES else runs[metric].isel(record=-1).values, good)
            for metric in FINAL + TIMES}
        if theory is not None:
            algorithms[name]["theory"] = _prediction(runs, theory.sel(algorithm=name))
    return summary(results, config_of(results, Config), algorithms, verdict(results))


def _prediction(runs: xr.Dataset, theory: xr.Dataset) -> dict[str, Any]:
    """`FINAL` at the times where the runs of an algorithm end, and `TIMES` before them, of its prediction."""
    ends = runs["time"].isel(record=-1).values
    found: dict[str, Any] = {}
    for metric in FINAL:
        values = [np.interp(end, t, v) for end, t, v in zip(ends, theory["time"].values, theory[metric].values, strict=True)]
        found[metric] = each_seed(np.array(values))
    for metric in TIMES:
        values = np.where(theory[metric].values <= ends, theory[metric].values, np.inf)
        found[metric] = each_seed(values)
    return found


def verdict(results: xr.Dataset) -> dict[str, Any]:
    """Whether the runs show what the theory predicts, with the numbers; null where an algorithm is missing.

    error_ratio: S's test error on P at least `required_ratio` times L-S's, intervals of 2 standard errors apart.
    learning_order: Q's loss halves before P's under S, and after it under L-S: the share of seeds that do, less 2
    standard errors, is above one half. mitigation: the first comparison with S+noise in the place of L-S.
    expected: whether conditions A to D of `lrtheory.theory.timescales`, and F for the full network, hold, so that the theory
    predicts a gap at all. Source: theorems 3.4 and 3.5 of Li, Wei & Ma (2019); conditions derived here.
    """
    config = config_of(results, Config)
    names = results["algorithm"].values.tolist()
    found = conditions(config.problem, config.training, config.network, full=config.engine in ("dense", "reduced"))
    both = "S" in names and "L-S" in names
    tree: dict[str, Any] = {
        "expected": all(c.holds for c in found),
        "conditions": [c._asdict() for c in found],
        "error_ratio": compare_errors(results, "L-S", config.required_ratio) if both else None,
        "learning_order": compare_orders(results) if both else None,
    }
    if "S" in names and "S+noise" in names:
        tree["mitigation"] = compare_errors(results, "S+noise", config.required_ratio)
    return tree


def compare_errors(results: xr.Dataset, other: str, required: float) -> dict[str, Any]:
    """Final test error on P of S against `other`: ratio of means, and intervals of 2 standard errors.

    It holds if S's mean is at least `required` times the other's and the intervals are apart.
    """
    sides: dict[str, Any] = {}
    for name in (other, "S"):
        side = estimate(undiverged(results.sel(algorithm=name))["test_error_p"].isel(record=-1).values)
        if side["mean"] is not None and side["sem"] is not None:
            side |= {"low": side["mean"] - 2 * side["sem"], "high": side["mean"] + 2 * side["sem"]}
        sides[name] = side
    mean_s, mean_other = sides["S"]["mean"], sides[other]["mean"]
    apart = "low" in sides["S"] and "high" in sides[other] and sides["S"]["low"] > sides[other]["high"]
    ratio, large = None, False
    if mean_s is not None and mean_other is not None:
        ratio = mean_s / mean_other if mean_other > 0 else None
        large = mean_s > 0 and mean_s >= required * mean_other
    return {"holds": bool(large and apart), "ratio": ratio, "required_ratio": required, "intervals_apart": bool(apart),
            **sides}


def compare_orders(results: xr.Dataset) -> dict[str, Any]:
    """Share of seeds whose losses halve in the predicted order: Q before P under S, P before Q under L-S."""
    sides: dict[str, Any] = {}
    for name, (first, second) in {"S": ("q", "p"), "L-S": ("p", "q")}.items():
        runs = undiverged(results.sel(algorithm=name))
        right = runs[f"time_{first}_half"].values < runs[f"time_{second}_half"].values
        side = estimate(right.astype(float))
        mean, sem = side["mean"], side["sem"]
        holds = mean is not None and sem is not None and mean - 2 * sem > 0.5
        sides[name] = {"first": first.upper(), "holds": holds, "share": mean, "sem": sem, "seeds": int(right.sum()),
                       "of": int(right.size)}
    return {"holds": all(side["holds"] for side in sides.values()), **sides}


def save(results: xr.Dataset, folder: Path, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Write results.zarr, theory.zarr and summary.json into a folder that has its config.json; return the summary."""
    return files.write_results(folder, results, summarise(results, theory), theory=theory)


def load_theory(folder: str | Path) -> xr.Dataset | None:
    """The prediction that `lrtheory run` wrote beside its results; None if there is none."""
    return files.read_dataset(folder, THEORY) if (Path(folder) / THEORY).is_dir() else None
