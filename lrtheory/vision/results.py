"""What the CIFAR-10 experiment says: means over seeds, the verdict, and the folder on disk.

Lives here: the comparisons that section 6 of the paper makes, and what is summarised. Lives elsewhere: computing (runs),
means over seeds (labelled), files as such (files), drawing (figures), printing (cli.report).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory import files
from lrtheory.intervals import student
from lrtheory.labelled import config_of, each_seed, estimate, finite, summary
from lrtheory.vision.config import Experiment

SUMMARISED = ("train_loss", "train_accuracy", "accuracy_clean", "accuracy_mixed", "accuracy_patched", "accuracy_patch_only",
              "loss_clean")
"""Measurements that `summarise` takes, where the experiment has them."""
CHANCE = 0.1
"""Accuracy of guessing one of ten classes."""
LEVEL = 0.95
"""Confidence level of each claim by itself."""
FITTED = 0.999
"""Training accuracy above which a network is said to fit its images."""
READ = 0.5
"""Patch-only accuracy from which on a network is said to read the patch: here and in sweeps."""
WINDOW = 5
"""Epochs over which a moment is averaged, at most (`moments`)."""


def moments(results: xr.Dataset) -> dict[str, range]:
    """Which records tell of each moment there has been: {"before_annealing": ..., "end": ...}, the last ones up to it.

    Accuracies fluctuate from epoch to epoch, so that no single one is told: a moment is the mean of the last `WINDOW`
    epochs since the rates were last annealed, or since the start; of their last third where that is fewer, so that a
    moment of a short training does not reach back to where it was another. Record k is taken after epoch k + 1.
    """
    annealed = [epoch - 1 for epoch in config_of(results, Experiment).training.anneal_epochs]  # the first such records
    ended = last(results) + 1

    def up_to(stop: int) -> range:
        start = max((k for k in annealed if k < stop), default=0)
        return range(stop - min(WINDOW, -(-(stop - start) // 3)), stop)

    found = {"before_annealing": up_to(annealed[0])} if annealed and annealed[0] <= ended else {}
    return found | ({"end": up_to(ended)} if ended else {})


def averaged(values: xr.DataArray, records: range) -> xr.DataArray:
    """The mean over some records of each run; nan where a run lacks one."""
    return values.isel(record=slice(records.start, records.stop)).astype(float).mean("record", skipna=False)


def last(results: xr.Dataset) -> int:
    """Index of the last record that every run has; of finished ones, of the last epoch."""
    return int(results["epochs_done"].min()) - 1


def unfinished(results: xr.Dataset) -> str | None:
    """Which runs lack epochs, in words; None if none does."""
    epochs, done = config_of(results, Experiment).training.epochs, results["epochs_done"]
    lacking = [f"{name} seed {seed} {int(done.sel(algorithm=name, seed=seed))}" for name in done["algorithm"].values.tolist()
               for seed in done["seed"].values.tolist() if done.sel(algorithm=name, seed=seed) < epochs]
    return f"of {epochs} epochs, done: {', '.join(lacking)}" if lacking else None


def verdict(results: xr.Dataset) -> list[dict[str, Any]]:
    """The claims of section 6 that these runs can judge: what is claimed, a paired difference over seeds, whether it holds.

    A claim is resolved if the interval of the mean difference, at `LEVEL` over the seeds in which neither run diverged
    (Student's), does not have 0, and holds if it is above; with fewer than 2 such seeds it is not judged (both None). Each
    moment is a mean over epochs (`moments`). Of an unfinished experiment the end is at the last epoch that every run has
    done, and what annealing does is not claimed before it has been. Of a patch that tells nothing (`PatchLaw.tells`)
    nobody is claimed to read it. Source: section 6 of Li, Wei & Ma (2019).

    These are claims of order and price. That the large rate passes the patch over *because* it is not linear is none of
    them: a linear patch (`patch.negative` 0) it passes over, too, as far as that was measured (notebooks/pages/cifar.md).
    """
    names, found, config = results["algorithm"].values.tolist(), moments(results), config_of(results, Experiment)
    if "end" not in found:
        return []
    end, before = found["end"], found.get("before_annealing")
    annealed = not config.training.anneal_epochs or (before is not None and end.stop > before.stop)
    finally_ = "at the end" if unfinished(results) is None else f"after epoch {end.stop}, not the last,"
    good = dict(zip(names, np.isinf(results["diverged_at"].values), strict=True))

    def at(name: str, metric: str, records: range) -> np.ndarray:
        return averaged(results[metric].sel(algorithm=name), records).values

    claims: list[dict[str, Any]] = []

    def claim(name: str, statement: str, of: tuple[str, ...], difference: Any, among: Any = True) -> None:
        if any(a not in names for a in of) or not np.any(among):
            return
        kept = np.logical_and.reduce([good[a] for a in of]) & among
        values = difference()[kept]
        mean = student(name, values, LEVEL, (0.0, math.inf), "above 0")
        judged = kept.sum() > 1 and np.isfinite(values).all()
        claims.append({"name": name, "statement": statement, "difference": estimate(values), "seeds": int(kept.sum()),
                       "low": finite(mean.low), "high": finite(mean.high),
                       "resolved": mean.verdict != "not resolved" if judged else None,
                       "holds": mean.verdict == "holds" if judged else None})

    if config.patch.tells and before is not None:
        only = "accuracy_patch_only"
        claim("small reads", f"before annealing S reads the patch: patch-only accuracy above {READ:.0%}", ("S",),
              lambda: at("S", only, before) - READ)
        claim("large ignores", "before annealing L-S does not: its patch-only accuracy is below half of S's", ("L-S", "S"),
              lambda: at("S", only, before) / 2 - at("L-S", only, before))
        if annealed:
            claim("large learns it later", "after annealing L-S's patch-only accuracy rises", ("L-S",),
                  lambda: at("L-S", only, end) - at("L-S", only, before))
        claim("noise ignores", "before annealing S+noise does not read the patch either: below half of S's",
              ("S+noise", "S"), lambda: at("S", only, before) / 2 - at("S+noise", only, before))
    if annealed:
        by = f" by more than {config.margin:.0%}" if config.margin else ""
        claim("price", f"{finally_} L-S is more accurate than S on clean images{by}", ("L-S", "S"),
              lambda: at("L-S", "accuracy_clean", end) - at("S", "accuracy_clean", end) - config.margin)
        claim("mitigation", f"{finally_} S+noise is more accurate than S on clean images", ("S+noise", "S"),
              lambda: at("S+noise", "accuracy_clean", end) - at("S", "accuracy_clean", end))
        if not config.patch.tells and "S" in names:
            fits = results["train_accuracy"].sel(algorithm="S").isel(record=slice(end.stop)).values > FITTED
            clean = results["accuracy_clean"].sel(algorithm="S").isel(record=slice(end.stop)).values
            claim("memorises", f"once S's training accuracy is above {FITTED:.1%} its accuracy on clean images falls",
                  ("S",), lambda: _from(clean, fits.argmax(-1), len(end)) - at("S", "accuracy_clean", end), fits.any(-1))
    return claims


def summarise(results: xr.Dataset) -> dict[str, Any]:
    """Per algorithm, before annealing and at the end, mean, sem and per_seed of each measurement; and the verdict.

    Each is a mean over epochs (`moments`), whose first and last are in `epochs`; sd_over_epochs is the standard deviation
    over them of one run, root mean square over the seeds (null: one epoch).
    """
    found = moments(results)
    algorithms: dict[str, Any] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        algorithms[name] = {when: {m: _told(runs[m], records, good) for m in SUMMARISED if m in runs}
                            for when, records in found.items()}
    return summary(results, config_of(results, Experiment), algorithms, verdict(results)) | {
        "unfinished": unfinished(results), "end_epoch": last(results) + 1,
        "epochs": {when: [1 + records.start, records.stop] for when, records in found.items()}}


def _told(values: xr.DataArray, records: range, good: np.ndarray) -> dict[str, Any]:
    """What is told of one algorithm (seed, record) at a moment, and its deviation over the epochs, rms over good seeds."""
    window = values.isel(record=slice(records.start, records.stop)).values[good].astype(float)
    spread = math.sqrt(window.var(1, ddof=1).mean()) if len(records) > 1 and good.any() else math.nan
    return each_seed(averaged(values, records).values, good) | {"sd_over_epochs": finite(spread)}


def _from(values: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """The mean of up to `count` records of each seed from its start on: (seed, record) -> (seed,)."""
    return np.array([own[start : start + count].mean(dtype=float) for own, start in zip(values, starts, strict=True)])


def save(results: xr.Dataset, folder: Path) -> dict[str, Any]:
    """Write results.zarr and summary.json into a folder that has its config.json; return the summary."""
    return files.write_results(folder, results, summarise(results))
