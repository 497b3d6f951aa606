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
READ = 0.8
"""Patch-only accuracy above which a network is said to read the patch."""


def last_before_annealing(results: xr.Dataset) -> int | None:
    """Index of the record taken after the last epoch before the first annealing; None if that has not been, or never is."""
    first = min(config_of(results, Experiment).training.anneal_epochs, default=None)
    return None if first is None or first - 2 > last(results) else first - 2


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
    (Student's), does not have 0, and holds if it is above; with fewer than 2 such seeds it is not judged (both None). Of an
    unfinished experiment the end is the last epoch that every run has done, and what annealing does is not claimed before it
    has been. Source: section 6 of Li, Wei & Ma (2019).

    These are claims of order and price. That the large rate passes the patch over *because* it is not linear is none of
    them: a linear patch (`patch.negative` 0) it passes over, too, as far as that was measured (notebooks/pages/cifar.md).
    """
    names, before, end = results["algorithm"].values.tolist(), last_before_annealing(results), last(results)
    if end < 0:
        return []
    annealed = not config_of(results, Experiment).training.anneal_epochs or (before is not None and end > before)
    finally_ = "at the end" if unfinished(results) is None else f"after epoch {end + 1}, not the last,"
    good = dict(zip(names, np.isinf(results["diverged_at"].values), strict=True))

    def at(name: str, metric: str, record: int) -> np.ndarray:
        return results[metric].sel(algorithm=name).isel(record=record).values.astype(float)

    claims: list[dict[str, Any]] = []

    def claim(name: str, statement: str, of: tuple[str, ...], difference: Any, among: Any = True) -> None:
        if any(a not in names for a in of) or not np.any(among):
            return
        kept = np.logical_and.reduce([good[a] for a in of]) & among
        values = difference()[kept]
        found = student(name, values, LEVEL, (0.0, math.inf), "above 0")
        judged = kept.sum() > 1 and np.isfinite(values).all()
        claims.append({"name": name, "statement": statement, "difference": estimate(values), "seeds": int(kept.sum()),
                       "low": finite(found.low), "high": finite(found.high),
                       "resolved": found.verdict != "not resolved" if judged else None,
                       "holds": found.verdict == "holds" if judged else None})

    if "accuracy_patch_only" in results and before is not None:
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
        margin = config_of(results, Experiment).margin
        by = f" by more than {margin:.0%}" if margin else ""
        claim("price", f"{finally_} L-S is more accurate than S on clean images{by}", ("L-S", "S"),
              lambda: at("L-S", "accuracy_clean", end) - at("S", "accuracy_clean", end) - margin)
        claim("mitigation", f"{finally_} S+noise is more accurate than S on clean images", ("S+noise", "S"),
              lambda: at("S+noise", "accuracy_clean", end) - at("S", "accuracy_clean", end))
        if "accuracy_patch_only" not in results and "S" in names:
            found = results["train_accuracy"].sel(algorithm="S").isel(record=slice(end + 1)).values > FITTED
            fitted = found.argmax(-1)
            clean = results["accuracy_clean"].sel(algorithm="S").values
            claim("memorises", f"once S's training accuracy is above {FITTED:.1%} its accuracy on clean images falls",
                  ("S",), lambda: clean[np.arange(len(fitted)), fitted] - clean[:, end], found.any(-1))
    return claims


def summarise(results: xr.Dataset) -> dict[str, Any]:
    """Per algorithm, before annealing and at the end, mean, sem and per_seed of each measurement; and the verdict."""
    moments = {"before_annealing": last_before_annealing(results), "end": last(results) if last(results) >= 0 else None}
    algorithms: dict[str, Any] = {}
    for name in results["algorithm"].values.tolist():
        runs = results.sel(algorithm=name)
        good = np.isinf(runs["diverged_at"].values)
        algorithms[name] = {
            when: {m: each_seed(runs[m].isel(record=record).values.astype(float), good) for m in SUMMARISED if m in runs}
            for when, record in moments.items() if record is not None}
    return summary(results, config_of(results, Experiment), algorithms, verdict(results)) | {
        "unfinished": unfinished(results), "end_epoch": last(results) + 1}


def save(results: xr.Dataset, folder: Path) -> dict[str, Any]:
    """Write results.zarr and summary.json into a folder that has its config.json; return the summary."""
    return files.write_results(folder, results, summarise(results))
