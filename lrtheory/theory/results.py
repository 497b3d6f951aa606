"""What runs say: the summary over seeds, the verdict, and the folder on disk.

Lives here: statistics over seeds, the two comparisons the theory predicts, writing and reading folders. Lives
elsewhere: computing (batch, sweeping), a sweep's chunks (store) and tables, drawing (figures, maps), printing (report).
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory.spec import ConfigError
from lrtheory.sweeps import tables
from lrtheory.sweeps.course import SESSIONS
from lrtheory.sweeps.store import MANIFEST, STORE, missing_files, open_results, write_whole
from lrtheory.theory.config import Config, from_json, to_json
from lrtheory.theory.timescales import conditions

THEORY = "theory.zarr"
"""The prediction beside the results of `lrtheory run`."""
FINAL = ("test_error_p", "test_error_q", "test_error_mixed", "test_error", "train_loss", "contrast")
"""Measurements summarised at the last record."""
TIMES = ("time_p_half", "time_mixed_half", "time_q_half", "annealed_at", "threshold_at", "stopped_at")
"""Times summarised; one that was never reached is null and counts as later than any."""


def config_of(results: xr.Dataset) -> Config:
    """The config that made a dataset."""
    return from_json(results.attrs["config"], "results")


def estimate(values: np.ndarray) -> dict[str, float | None]:
    """Mean over seeds and its standard error, values (seeds,); null where a seed has none or, for the error, under 2 seeds.

    >>> import numpy as np
    >>> estimate(np.array([1.0, 3.0]))
    {'mean': 2.0, 'sem': 1.0}
    """
    mean = float(np.mean(values)) if values.size else math.nan
    sem = float(np.std(values, ddof=1) / math.sqrt(values.size)) if values.size > 1 and math.isfinite(mean) else math.nan
    return {"mean": _finite(mean), "sem": _finite(sem)}


def summarise(results: xr.Dataset, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Everything a reader wants in one tree: per algorithm and metric mean, sem and per_seed, and the verdict.

    Diverged seeds are named, have null in per_seed, and enter no mean. With a prediction (`lrtheory.predict`), each
    algorithm has the same numbers of it under "theory", at the time where its runs end.
    """
    algorithms: dict[str, Any] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        entry: dict[str, Any] = {}
        for metric in FINAL + TIMES:
            values = runs[metric].values if metric in TIMES else runs[metric].isel(record=-1).values
            entry[metric] = estimate(values[good]) | {
                "per_seed": [_finite(v) if ok else None for v, ok in zip(values.tolist(), good, strict=True)]}
        entry["diverged_seeds"] = runs["seed"].values[~good].tolist()
        if theory is not None:
            entry["theory"] = _prediction(runs, theory.sel(algorithm=name))
        algorithms[str(name)] = entry
    config = config_of(results)
    return {"name": config.name, "note": config.note, "algorithms": algorithms, "verdict": verdict(results),
            "seeds": results["seed"].values.tolist(),
            "environment": {k: _plain(v) for k, v in results.attrs.items() if k != "config"}}


def _prediction(runs: xr.Dataset, theory: xr.Dataset) -> dict[str, Any]:
    """`FINAL` at the times where the runs of an algorithm end, and `TIMES` before them, of its prediction."""
    ends = runs["time"].isel(record=-1).values
    found: dict[str, Any] = {}
    for metric in FINAL:
        values = [np.interp(end, t, v) for end, t, v in zip(ends, theory["time"].values, theory[metric].values, strict=True)]
        found[metric] = estimate(np.array(values)) | {"per_seed": [_finite(v) for v in values]}
    for metric in TIMES:
        values = np.where(theory[metric].values <= ends, theory[metric].values, np.inf)
        found[metric] = estimate(values) | {"per_seed": [_finite(v) for v in values]}
    return found


def verdict(results: xr.Dataset) -> dict[str, Any]:
    """Whether the runs show what the theory predicts, with the numbers; null where an algorithm is missing.

    error_ratio: S's test error on P at least `required_ratio` times L-S's, intervals of 2 standard errors apart.
    learning_order: Q's loss halves before P's under S, and after it under L-S: the share of seeds that do, less 2
    standard errors, is above one half. mitigation: the first comparison with S+noise in the place of L-S.
    expected: whether conditions A to D of `lrtheory.theory.timescales`, and F for the full network, hold, so that the theory
    predicts a gap at all. Source: theorems 3.4 and 3.5 of Li, Wei & Ma (2019); conditions derived here.
    """
    config = config_of(results)
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


def undiverged(runs: xr.Dataset) -> xr.Dataset:
    """The seeds of one algorithm that did not diverge: what every mean is taken over."""
    return runs.isel(seed=np.isinf(runs["diverged_at"].values))


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


def require_free(folder: Path) -> None:
    """Raise `ConfigError` if writing into the folder would touch what is there."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be read ({error.strerror}); choose another folder") from None
    if taken:
        raise ConfigError(f"--out {folder}: exists and is not empty; must be a new or empty folder; choose another or "
                          "remove it")


def prepare_folder(folder: Path, config: Any) -> None:
    """Create the folder of a run with its resolved config.json, before anything is computed.

    Raises `ConfigError` if it exists and is not empty, or cannot be written; nothing is overwritten.
    """
    require_free(folder)
    text = to_json(config)
    assert from_json(text, kind=type(config)) == config, "a config that cannot be read back would lose the run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(text)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from None


def save(results: xr.Dataset, folder: Path, theory: xr.Dataset | None = None) -> dict[str, Any]:
    """Write results.zarr, theory.zarr and summary.json into a folder made by `prepare_folder`; return the summary."""
    summary = summarise(results, theory)
    results.to_zarr(folder / STORE, mode="w-", consolidated=False)
    if theory is not None:
        theory.to_zarr(folder / THEORY, mode="w-", consolidated=False)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def save_sweep(folder: Path) -> dict[str, Any]:
    """Write points.csv and summary.json beside a finished sweep; return the summary."""
    runs = load(folder)
    config = config_of(runs)
    write_whole(folder / "points.csv", tables.points(runs).to_csv(index=False))
    sessions = json.loads((folder / SESSIONS).read_text())
    axes = {a: [_plain(v) for v in runs[a].values.tolist()] for a in tables.axes_of(runs)}
    summary = {"name": config.name, "note": config.note, "axes": axes, "points": math.prod(map(len, axes.values())),
               "algorithms": runs["algorithm"].values.tolist(), "seeds": runs.sizes["seed"],
               "runs": runs["diverged_at"].size, "diverged": tables.diverged(runs), "sessions": sessions}
    write_whole(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def load(folder: str | Path) -> xr.Dataset:
    """The labelled results of a folder that `lrtheory run` or `lrtheory sweep` wrote.

    A sweep's axes come first, then algorithm, seed and record; its values are read from disk when used. Of a sweep
    that is not finished the runs that are there are read at once, the others are nan, and `done` tells them apart.
    Raises `ConfigError` if there are no results, or a finished sweep has lost files.
    """
    store = Path(folder) / STORE
    if not store.is_dir():
        raise ConfigError(f"{folder}: no {STORE} in it; give a folder that `lrtheory run` or `lrtheory sweep` wrote")
    if not (Path(folder) / MANIFEST).is_file():
        return xr.open_zarr(store, consolidated=False).load()
    try:
        results = open_results(store)
        lost = 0 if "done" in results else missing_files(store)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise ConfigError(f"{folder}: damaged ({str(error).splitlines()[0]}); must be whole; `lrtheory sweep --resume "
                          f"{folder}` repairs it") from None
    if lost:
        raise ConfigError(f"{folder}: {lost} files are missing; must be whole; `lrtheory sweep --resume {folder}` computes "
                          "them again")
    return results


def load_theory(folder: str | Path) -> xr.Dataset | None:
    """The prediction that `lrtheory run` wrote beside its results; None if there is none."""
    store = Path(folder) / THEORY
    return xr.open_zarr(store, consolidated=False).load() if store.is_dir() else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
