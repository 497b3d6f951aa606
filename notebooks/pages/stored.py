"""What commands have written, kept in `stored/`, a JSON file each: the numbers behind the pages.

Lives here: which command writes which file, running it, what of its folder is kept, reading it back. Lives elsewhere: the
tables (page_tables), building the site (build).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
STORED = HERE / "stored"
ROOT = HERE.parent.parent
COMMANDS: dict[str, tuple[str, ...]] = {
    "run-quick": ("run",), "run-phase": ("run", "--preset", "phase"), "run-mitigation": ("run", "--preset", "mitigation"),
    "run-full": ("run", "--preset", "full"), "run-literal": ("run", "--preset", "literal"),
    "verify-block": ("verify",), "verify-conv": ("verify", "--setting", "conv"),
    "verify-minibatch": ("verify", "--setting", "minibatch"), "verify-theorem": ("verify", "--setting", "theorem"),
    "theorem-dimension": ("theorem",),
    **{f"theorem-{study}": ("theorem", "--study", study) for study in ("size", "exponents", "rates")},
    "transient-quick": ("run", "--engine", "infinite", "--seeds", "4", "--n-test", "2048", "--training.steps", "286000",
                        "--records", "60"),
    "transient-phase": ("run", "--preset", "phase", "--engine", "infinite", "--seeds", "8", "--training.steps", "47450",
                        "--records", "60"),
    "sweep-phase": ("sweep", "--preset", "phase"),
    "sweep-limit": ("sweep", "--preset", "phase", "--engine", "infinite", "--axis", "eta_ratio=geomspace(1e-6,1,13)",
                    "--seeds", "8"),
    "cifar-paper": ("cifar", "--preset", "paper", "--seeds", "1", "--interleave", "--checkpoint-epochs", "100"),
    "cifar-mini": ("cifar", "--seeds", "16", "--first-seed", "100"),
    "cifar-narrow": ("cifar", "--preset", "narrow", "--algorithms", "L-S", "S", "--interleave"),
    "cifar-unpatched": ("cifar", "--preset", "narrow", "--patch.share", "0", "--algorithms", "S", "--interleave"),
    "cifar-offset": ("cifar", "--patch.offset", "0", "--algorithms", "L-S", "S", "--first-seed", "100"),
    "cifar-constant": ("cifar", "--training.anneal-small", "1", "--algorithms", "S", "S+noise", "--first-seed", "100"),
    "sweep-linear": ("sweep", "--preset", "mini", "--algorithms", "L-S", "S", "--seeds", "3", "--first-seed", "8",
                     "--n-test", "500", "--training.epochs", "10", "--training.anneal-epochs", "--zip",
                     "offset=0.1,0.15,0.2,0.3,0.45,0.7", "negative=0,0,0,0.5,0.5,0.5"),
    "sweep-settings": ("sweep", "--preset", "mini", "--algorithms", "L-S", "--seeds", "4", "--first-seed", "100", "--n-test",
                       "500", "--training.anneal-epochs", "--zip", "eta1=0.35,0.7,1.4,0.35,0.7,0.85",
                       "batch_size=32,64,128,64,128,64"),
    "sweep-small": ("sweep", "--preset", "mini", "--algorithms", "S", "--seeds", "4", "--first-seed", "100", "--n-test",
                    "2000", "--axis", "eta_ratio=0.025,0.05,0.1")}
"""{name: what `lrtheory` is told to write stored/NAME.json}."""
SCRIPTS: dict[str, tuple[str, ...]] = {
    **{f"finite-{table}": ("notebooks/pages/finite.py", table)
       for table in ("kinks", "batches", "batch_noise", "jitter", "annealing")},
    **{f"limit-{table}": ("notebooks/pages/limit.py", table) for table in ("ratios", "clocks")},
    **{f"digits-{table}": ("notebooks/pages/digits.py", table) for table in ("prices", "dependence", "alone")},
    **{f"intervals-{table}": ("notebooks/pages/coverage.py", table) for table in ("means", "examples")},
    "speed-engines": ("benchmarks/engines.py",), "speed-train": ("benchmarks/train.py",),
    "speed-sweeps": ("benchmarks/sweeps.py",), "speed-infinite": ("benchmarks/infinite.py",),
    "speed-limit": ("benchmarks/limit.py",),
    "speed-cifar": ("benchmarks/cifar.py", "--steps", "60", "--at-once", "1", "2"),
    "speed-narrow": ("benchmarks/cifar.py", "--preset", "narrow", "--steps", "6", "--at-once", "1"),
    "speed-operations": ("benchmarks/operations.py", "--preset", "narrow")}
"""{name: the script that prints what stored/NAME.json keeps}: a benchmark lines of text, another its rows."""
ON_A_GPU = ("cifar-paper",)
"""Commands that take weeks on two cores: run only when named."""
IMAGES = "LRTHEORY_CIFAR10"
"""Environment variable that says where CIFAR-10 is: for the commands that train on it."""
TRAINED = ("patch_read_at", "accuracy_patch_only", "accuracy_clean")
"""Measurements that are kept of a sweep of trainings, one a seed."""
SWEPT = ("test_error_p", "contrast", "q_first", "p_first")
"""Measurements that are kept of a sweep of the theory, means and standard errors."""
DECAYS = (0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4)
"""lambda t at which a transient is told."""


def command(name: str) -> str:
    """The command that makes a stored result, as it is typed."""
    return " ".join(("lrtheory", *COMMANDS[name]) if name in COMMANDS else ("python", *SCRIPTS[name]))


def stored(name: str) -> dict[str, Any] | None:
    """What a command has written, if it has been run."""
    path = STORED / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def measure(chosen: Sequence[str]) -> None:
    """Run commands anew (a minute to two hours each, as they say) and store what they write."""
    from lrtheory.provenance import environment

    for k, name in enumerate(chosen):
        before = stored(name)
        print(f"{name} ({k + 1} of {len(chosen)}): {command(name)}, "
              f"{'never run here' if before is None else f'{spoken(before)} last time'}", flush=True)
        started = time.time()
        if name in SCRIPTS:
            done = subprocess.run([sys.executable, *SCRIPTS[name]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: ended with code {done.returncode}; nothing was stored of it")
            found = json.loads(done.stdout) if kind(name) != "speed" else {"printed": done.stdout.splitlines()}
            write(name, found | {"seconds": round(time.time() - started), "environment": environment()})
            continue
        images: tuple[str, ...] = ()
        if kind(name) == "trainings":
            if IMAGES not in os.environ:
                raise SystemExit(f"{name}: {IMAGES} is not set; must be the folder of CIFAR-10's files; export {IMAGES}=DIR")
            images = ("--data-dir", os.environ[IMAGES])
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-m", "lrtheory", *COMMANDS[name], *images, "--out", f"{folder}/out"],
                                  stdout=subprocess.DEVNULL)
            if done.returncode not in (0, 1):  # 1: a claim fails, which is a result
                raise SystemExit(f"{name}: ended with code {done.returncode}; nothing was stored of it")
            keep(name, Path(folder, "out"), time.time() - started)


def is_old(claim: dict[str, Any]) -> bool:
    """Whether a claim was judged by another rule than today's, as far as its words say."""
    from lrtheory.predictions import PREDICTIONS, THEOREM

    today = (PREDICTIONS | THEOREM)[claim["name"]]
    return any(claim[part] != getattr(today, part) for part in ("statement", "source", "about", "fails"))


def again(name: str, more: Sequence[str] = ()) -> None:
    """Judge anew what a stored report has of claims that say something else by now, and more, at the level among all.

    Trainings that have their curves are told anew by today's rule, which runs nothing.
    """
    before = stored(name)
    if before is not None and "curves" in before:
        write(name, retold(before))
        return
    old = [c["name"] for c in before.get("claims", ()) if is_old(c) or c["name"] in more] if before else []
    if before is None or not old:
        print(f"{name}: nothing in it has changed", flush=True)
        return
    if not same_question(name, before):
        raise SystemExit(f"{name}: its configuration or level has changed, too; run all of it: --measure {name}")
    print(f"{name}: {', '.join(old)} anew", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        words = [*COMMANDS[name], "--only", *old, "--out", f"{folder}/out"]
        done = subprocess.run([sys.executable, "-m", "lrtheory", *words], stdout=subprocess.DEVNULL)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{name}: ended with code {done.returncode}; nothing was stored of it")
        found = json.loads(Path(folder, "out/verify.json").read_text())
    new = {c["name"]: c for c in found["claims"]}
    before["claims"] = [new.get(c["name"], c) for c in before["claims"]]
    before["again"] = [*before.get("again", []), {
        "claims": [c["number"] for c in found["claims"]], "seconds": found["seconds"],
        "revision": found["environment"]["git_revision"]}]
    write(name, before)


def same_question(name: str, before: dict[str, Any]) -> bool:
    """Whether a stored report is of the configuration, as read today, and the level that its command has today."""
    from lrtheory.cli import arguments
    from lrtheory.fields import from_json
    from lrtheory.predictions.verify import ERROR_RATE, family
    from lrtheory.theory.theorem import precision

    asked = arguments.verify_arguments(COMMANDS[name][1:])[0].options
    with precision(asked):
        today = asked.check()
        there = from_json(json.dumps(before["config"]), type(today))
    return today.replace(note="") == there.replace(note="") and before["level"] == 1 - ERROR_RATE / len(family(today))


def kind(name: str) -> str:
    """What a stored result is of: theory, trainings, speed, finite (networks), limit (infinite width), digits, intervals."""
    if name in SCRIPTS:
        return name.partition("-")[0]
    words = COMMANDS[name]
    return "trainings" if words[0] == "cifar" or "mini" in words else "theory"


def keep(name: str, folder: Path, seconds: float) -> None:
    """Store what a command has left in a folder: verify.json or summary.json; of a sweep, and of a transient, more."""
    word = COMMANDS[name][0]
    found = json.loads((folder / ("verify.json" if word == "verify" else "summary.json")).read_text())
    if word == "cifar":
        found["environment"]["images"] = re.sub(r"\S*/", "", found["environment"]["images"])
        found = retold(found | {"curves": curves_of(folder)})
    if word == "sweep":
        found |= points_of(folder) | {"seconds": round(seconds), "environment": found["sessions"][0]}
    if name.startswith("transient-"):
        found |= {"over_time": over_time(folder)}
    write(name, found)


def write(name: str, found: dict[str, Any]) -> None:
    """Write a stored result."""
    STORED.mkdir(exist_ok=True)
    (STORED / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def points_of(folder: Path) -> dict[str, Any]:
    """Of a sweep: its configuration, and a row a point, with each algorithm's numbers."""
    import lrtheory as lt
    from lrtheory.labelled import each_seed, estimate

    runs = lt.load(folder)
    axes = lt.tables.axes_of(runs)
    trained = "epochs_done" in runs
    labels = [str(name) for name, values in runs.coords.items() if "field" in values.attrs or name == "blur_ratio_small"]
    found = {name: lt.tables.metric(runs, name).transpose(*axes, "algorithm", "seed")
             for name in (TRAINED if trained else SWEPT)}
    told = each_seed if trained else estimate
    rows = []
    for index in np.ndindex(*(runs.sizes[axis] for axis in axes)):
        at = dict(zip(axes, index, strict=True))
        row = {label: runs[label].isel({a: k for a, k in at.items() if a in runs[label].dims}).item() for label in labels}
        for name in runs["algorithm"].values.tolist():
            row[name] = {metric: told(values.isel(at).sel(algorithm=name).values) for metric, values in found.items()}
        rows.append(row)
    return {"config": json.loads(runs.attrs["config"]), "rows": rows}


def curves_of(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Of trainings: {algorithm: {measurement: a line a seed}}, a line a number an epoch; what has none is left out."""
    import lrtheory as lt
    from lrtheory.vision.results import SUMMARISED

    runs = lt.load(folder)
    return {name: {metric: [" ".join(f"{v:.5g}" for v in values) for values in runs[metric].sel(algorithm=name).values]
                   for metric in SUMMARISED if metric in runs} for name in runs["algorithm"].values.tolist()}


def trainings(found: dict[str, Any]) -> Any:
    """The labelled results of stored trainings, as far as their curves say: an `xarray.Dataset`."""
    import xarray as xr

    from lrtheory.labelled import names_of

    curves, dims = found["curves"], ("algorithm", "seed", "record")
    measured = {metric: np.array([[line.split() for line in one[metric]] for one in curves.values()], float)
                for metric in next(iter(curves.values()))}
    lost = ~np.isfinite(measured["train_loss"])
    epochs = 1 + np.arange(lost.shape[-1])
    diverged = np.where(lost.any(-1), epochs[lost.argmax(-1)], np.inf)
    return xr.Dataset({name: (dims, values) for name, values in measured.items()} | {
        "diverged_at": (dims[:2], diverged), "epochs_done": (dims[:2], np.full(diverged.shape, len(epochs)))},
        coords={"algorithm": names_of(list(curves)), "seed": found["seeds"], "time": ("record", epochs)},
        attrs={"config": json.dumps(found["config"])} | found["environment"])


def retold(found: dict[str, Any]) -> dict[str, Any]:
    """Stored trainings with what is said of their curves by today's rule."""
    from lrtheory.vision.results import summarise

    return found | summarise(trainings(found))


def over_time(folder: Path) -> list[dict[str, float]]:
    """Of a run: each algorithm's mean error on P at chosen values of lambda t, as far as it went."""
    import xarray as xr

    import lrtheory as lt
    from lrtheory.labelled import config_of
    from lrtheory.theory.config import Config

    runs = lt.load(folder)
    decay = config_of(runs, Config).training.weight_decay
    asked = [t for t in DECAYS if t / decay <= runs["time"].isel(record=-1).min().item()]
    found = lt.at_times(runs, "test_error_p", xr.DataArray(np.array(asked) / decay, dims="record")).mean("seed")
    return [{"lambda_t": t, **{str(name): found.sel(algorithm=name).values[k].item() for name in runs["algorithm"].values}}
            for k, t in enumerate(asked)]


def seeds_of(found: dict[str, Any]) -> str:
    """How many seeds a command ran: a number, or the least and the most over a study's rows."""
    if "study" in found:
        counts = sorted({at["S"]["time_p_half"]["of"] for at in found["rows"]})
        return " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))
    if "seeds" not in found:
        return ""
    return str(found["seeds"] if isinstance(found["seeds"], int) else len(found["seeds"]))


def spoken(found: dict[str, Any]) -> str:
    """How long a command took, where that is known."""
    seconds = found.get("seconds", found.get("environment", {}).get("wall_seconds"))
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
