"""Infinitely wide networks on real images with a pattern that can be memorised: a function a table, and the figure.

    python notebooks/pages/digits.py prices         one of `TABLES`, as JSON
    python notebooks/pages/digits.py figure         notebooks/digits.png, of what is stored

Lives here: the images, who carries the pattern, how each table is measured. Lives elsewhere: running and keeping them
(stored), what was predicted and what came out (own_data.md).
"""

import functools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from sklearn.datasets import load_digits
from stored import stored

import lrtheory as lt
from lrtheory import intervals, keys
from lrtheory.labelled import estimate
from lrtheory.predictions.words import interval

HERE = Path(__file__).resolve().parent
DONE = HERE.parent.parent / "build/digits"
"""Where finished seeds are kept."""
Pair = tuple[np.ndarray, ...]
TASKS = {"even/odd": 136.0, "3/8": 52.0}
"""{task: T_P, the margin time of clean images, of `lt.learning_times`}; 1 is even, and 8."""
DARK = (0, 32)
"""Pixels that are dark in every image: where the pattern is written."""
SMALL, DECAY, DROP, END = 1e-4, 0.1, 4.0, 5.0
"""eta2/eta1, lambda T_P (0.1: at 0.3 decay alone keeps the loss on clean images above half), when L-S anneals and when all
end, in T_P."""
TOLERANCE = 1e-2
"""Of a step; on two seeds at 1e-3 errors were the same to the last image, and times to 1%."""
LEVEL = 0.95
"""Of all intervals."""


class Setting(NamedTuple):
    """A task and who carries what: p0 n examples an image alone, q0 n the pattern alone, the others both."""

    task: str = "even/odd"
    written: bool = False
    """in two dark pixels of the image; else a block of its own, which neurons of their own read"""
    n: int = 128
    p0: float = 0.1
    q0: float = 0.25
    r: float = 0.03
    """so that t_blur(eta1) = r^2/(2 lambda) is 0.22 T_Q, below 0.3"""
    faster: float = 50.0
    """T_P/T_Q of the pattern as a block of its own: sets |z|"""

    @property
    def z_norm(self) -> float:
        """|z|, of 1/T_Q = (1 - p0) |z|^2 r / (8 pi) (`theory.timescales.q_time`)."""
        return math.sqrt(8 * math.pi * self.faster / ((1 - self.p0) * self.r * TASKS[self.task]))

    @property
    def rate(self) -> float:
        """eta1: 0.4 of the stability bound 2/lambda_max, lambda_max = (|z|^2 + 1)/8 at most."""
        return 0.4 * 16 / (self.z_norm**2 + 1)

    @property
    def weight_decay(self) -> float:
        """Lambda."""
        return DECAY / TASKS[self.task]

    @property
    def time(self) -> float:
        """How long a run is, as the sum of its rates."""
        return END * TASKS[self.task]


BASE = tuple(Setting(task, written) for task in TASKS for written in (False, True))


@functools.cache
def images(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 64), centred, of mean square norm 1, and their signs (n,)."""
    x, digit = load_digits(return_X_y=True)
    y = np.where(digit % 2 == 0, 1.0, -1.0)
    if task == "3/8":
        chosen = (digit == 3) | (digit == 8)
        x, y = x[chosen], y[chosen]
    x = x - x.mean(0)
    return x / np.sqrt(np.mean(np.sum(x**2, 1))), y


def sampler(setting: Setting) -> Callable[[jax.Array], Any]:
    """sample(key) of a setting: the key draws which images are for training, which carry what, and which of z +- zeta."""
    def sample(key: jax.Array) -> Any:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        x, y = images(setting.task)
        order = rng.permutation(len(y))
        x, y = x[order], y[order]
        n, clean, alone = setting.n, round(setting.p0 * setting.n), round(setting.q0 * setting.n)
        side = rng.choice([-1.0, 1.0], n)
        pattern = setting.z_norm * np.stack([np.ones(n), np.where(y[:n] > 0, 0.0, setting.r * side)], 1)  # z, z +- zeta
        pattern[:clean] = 0.0
        train, rest = x[:n].copy(), x[n:]
        train[clean : clean + alone] = 0.0
        groups = {"clean": np.arange(clean), "pattern": np.arange(clean, clean + alone)}
        if setting.written:
            train[:, DARK] += pattern
            return train, y[:n], (rest, y[n:]), groups
        return (train, pattern), y[:n], ((rest, np.zeros((len(rest), 2))), y[n:]), groups

    return sample


def algorithms(setting: Setting, silent: bool) -> dict[str, lt.Algorithm]:
    """L-S and S, and the same without noise."""
    large, small = setting.rate, setting.rate * SMALL
    rates = {"L-S": lt.step_decay([large, small], [DROP * TASKS[setting.task]]), "S": lt.constant(small)}
    found = {name: lt.Algorithm(rate=rate) for name, rate in rates.items()}
    if silent:
        found |= {f"{name} without noise": lt.Algorithm(rate=rate, injected_noise=lt.constant(0.0))
                  for name, rate in rates.items()}
    return found


def trained(setting: Setting, seeds: int, silent: bool = False) -> xr.Dataset:
    """Runs of a setting; finished seeds are kept, so that what was interrupted goes on."""
    words = setting._asdict() | {"task": setting.task.replace("/", "-"), "silent": silent, "seeds": seeds}
    parts = [f"{name}={value}" for name, value in words.items()]
    return lt.limit(sampler(setting), None, algorithms(setting, silent), weight_decay=setting.weight_decay,
                    tau_xi="balanced", time=setting.time, records=60, seeds=seeds, tolerance=TOLERANCE,
                    folder=DONE / ",".join(parts))


def predicted(setting: Setting, seeds: int) -> xr.Dataset:
    """Learning times of both groups under both rates, a seed each."""
    found = []
    for seed in range(seeds):
        x, y, _, groups = sampler(setting)(keys.key(seed))
        rates = {"L-S": setting.rate, "S": setting.rate * SMALL}
        found.append(lt.learning_times(x, y, rates, groups=groups, weight_decay=setting.weight_decay, tau_xi="balanced",
                                       time=setting.time))
    return xr.concat(found, "seed")


def prices(seeds: int = 16, settings: tuple[Setting, ...] = BASE) -> dict[str, Any]:
    """Errors on clean images, and when each group is learned, of both tasks and both places of the pattern."""
    rows, order, curves = [], [], {}
    for setting in settings:
        at = {"task": setting.task, "pattern": place(setting)}
        runs, said = trained(setting, seeds, silent=True), predicted(setting, seeds)
        errors = last_errors(runs)
        rows.append(at | compared(errors) | {
            "S, early": estimate(early(runs, setting)),
            **{name: estimate(errors[name]) for name in errors if name.endswith("noise")},
            "S - L-S without noise": estimate(errors["S without noise"] - errors["L-S without noise"])})
        for name in ("L-S", "S", "L-S without noise"):
            times = said.sel(rate=name)["learning_time"] if name in said["rate"] else None
            order.append(at | {"algorithm": name} | {
                f"{group} {what}": middle(values) for group in ("clean", "pattern") for what, values in (
                    ("halved", halved(runs, name, group)),
                    ("predicted", None if times is None else times.sel(group=group).values))}
                | {"pattern first": first(halved(runs, name, "pattern"), halved(runs, name, "clean"))})
        curves[f"{setting.task}, {place(setting)}"] = {
            "time": rounded(runs["time"].isel(algorithm=0, seed=0)), **{name: {
                metric: rounded(runs[metric].sel(algorithm=name).mean("seed"))
                for metric in ("test_error", "train_loss_clean", "train_loss_pattern")} for name in ("L-S", "S")}}
    return {"rows": rows, "order": order, "curves": curves, "seeds": seeds}


def dependence(seeds: int = 8) -> dict[str, Any]:
    """The gap of even/odd digits, pattern as a block, over the share of clean images, the pattern's angle, and n."""
    base = Setting()
    varied = {"p0": (0.05, 0.1, 0.2), "r": (0.03, 0.06, 0.12), "n": (128, 256, 512)}
    done: dict[Setting, dict[str, Any]] = {}
    rows = []
    for field, values in varied.items():
        for value in values:
            setting = base._replace(**{field: value})
            if setting not in done:
                runs, said = trained(setting, seeds), predicted(setting, seeds)
                done[setting] = compared(last_errors(runs))
                for name in ("L-S", "S"):
                    happened = first(*(halved(runs, name, group) for group in ORDER))
                    expected = first(*(said["learning_time"].sel(rate=name, group=group).values for group in ORDER))
                    done[setting][f"pattern first, {name} (predicted)"] = f"{happened} ({expected})"
            rows.append({"varied": field, "value": f"{value:g}"} | done[setting])
    return {"rows": rows, "seeds": seeds}


def alone(seeds: int = 16, counts: tuple[int, ...] = (13, 35, 96)) -> dict[str, Any]:
    """Learning curves of the clean tasks: error after a training on so many images and nothing else, without noise."""
    rows = []
    for task in TASKS:
        row: dict[str, Any] = {"task": task}
        for count in counts:
            setting = Setting(task, n=count, p0=1.0, q0=0.0)

            def sample(key: jax.Array, setting: Setting = setting, count: int = count) -> Any:
                rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
                x, y = images(setting.task)
                order = rng.permutation(len(y))
                return x[order[:count]], y[order[:count]], (x[order[count:]], y[order[count:]])

            runs = lt.limit(sample, None, {"S": 1e-3}, weight_decay=setting.weight_decay, time=setting.time, records=4,
                            seeds=seeds, tolerance=TOLERANCE,
                            folder=DONE / f"alone,{task.replace('/', '-')},{count},{seeds}")
            row[f"{count} images"] = estimate(last_errors(runs)["S"])
        rows.append(row)
    return {"rows": rows, "seeds": seeds}


# What is said of runs -----------------------------------------------------------------------------------------------------

ORDER = ("pattern", "clean")


def place(setting: Setting) -> str:
    """Where the pattern is, in words."""
    return "in the image" if setting.written else "block of its own"


def last_errors(runs: xr.Dataset) -> dict[str, np.ndarray]:
    """{algorithm: error on clean images at the end, (seeds,)}."""
    last = runs["test_error"].isel(record=-1)
    return {name: last.sel(algorithm=name).values for name in runs["algorithm"].values.tolist()}


def early(runs: xr.Dataset, setting: Setting) -> np.ndarray:
    """S's error on clean images at T_Q, before the pattern is learned: (seeds,)."""
    time = TASKS[setting.task] / setting.faster
    errors = runs["test_error"].sel(algorithm="S")
    return errors.isel(record=int(np.argmin(abs(runs["time"].sel(algorithm="S").isel(seed=0).values - time)))).values


def halved(runs: xr.Dataset, name: str, group: str) -> np.ndarray:
    """When a group's loss was halved, inf where never: (seeds,)."""
    return runs[f"time_{group}_half"].sel(algorithm=name).values


def compared(errors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Errors of L-S and S, their ratio with its interval over seeds, in how many S errs more."""
    pair = [errors["S"], errors["L-S"]]
    ratio = intervals.bootstrap("S / L-S", pair, lambda s, ls: s / ls, LEVEL, (1.0, math.inf), "above 1", log=True)
    return {"L-S": estimate(errors["L-S"]), "S": estimate(errors["S"]), "S / L-S": interval(ratio._asdict()),
            "S errs more": f"{int(np.sum(pair[0] > pair[1]))} of {len(pair[0])}"}


def first(one: np.ndarray, other: np.ndarray) -> str:
    """In how many seeds one time is before the other."""
    return f"{int(np.sum(one < other))} of {len(one)}"


def middle(times: np.ndarray | None) -> str:
    """The median over seeds, with how many are never."""
    if times is None:
        return ""
    never = int(np.sum(~np.isfinite(times)))
    if never > len(times) / 2:
        return f"never in {never} of {len(times)}"
    return f"{np.median(times):.3g}" + (f" (never in {never} of {len(times)})" if never else "")


def rounded(values: xr.DataArray) -> str:
    """Numbers of four digits, on one line of the stored file."""
    return " ".join(f"{v:.4g}" for v in values.values)


def numbers(line: str) -> np.ndarray:
    """The numbers of such a line."""
    return np.array(line.split(), float)


# The figure ---------------------------------------------------------------------------------------------------------------


def figure(path: Path = HERE.parent / "digits.png") -> None:
    """Losses of both groups and the error on clean images over time, of stored `prices`."""
    import matplotlib.pyplot as plt

    found = stored("digits-prices")
    if found is None:
        sys.exit("digits-prices: not run; must be stored; python notebooks/pages/build.py --measure digits-prices")
    shown = [f"even/odd, {place(Setting(written=written))}" for written in (False, True)]
    fig, axes = plt.subplots(2, 2, figsize=(8, 5), sharex=True, sharey="row")
    for column, name in zip(axes.T, shown, strict=True):
        curves = found["curves"][name]
        time = numbers(curves["time"])  # that of 0 is not on a logarithmic axis
        for color, algorithm in (("C0", "L-S"), ("C3", "S")):
            for style, group, word in (("-", "clean", "clean images"), ("--", "pattern", "pattern alone")):
                column[0].plot(time, numbers(curves[algorithm][f"train_loss_{group}"]), style, color=color,
                               label=f"{algorithm}, {word}")
            column[1].plot(time, numbers(curves[algorithm]["test_error"]), color=color, label=algorithm)
        for axis in column:
            axis.axvline(DROP * TASKS["even/odd"], color="0.7", lw=1)
        column[0].set_title(name, fontsize="medium")
        column[1].set_xlabel("time (sum of rates)")
        column[1].set_xscale("log")
        column[1].set_xlim(0.2, None)
    axes[1, 0].set_ylim(0.09, 0.2)
    axes[0, 0].set_ylabel("training loss (nat)")
    axes[1, 0].set_ylabel("error on clean test images")
    axes[0, 0].legend(fontsize="x-small"), axes[1, 0].legend(fontsize="x-small")
    fig.tight_layout()
    fig.savefig(path, dpi=110)


TABLES = {table.__name__: table for table in (prices, dependence, alone)}
"""{name: what measures it}."""

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in (*TABLES, "figure"):
        sys.exit(f"{' '.join(sys.argv[1:]) or 'no table'}: unknown; must be one of {', '.join(TABLES)}, or figure")
    if sys.argv[1] == "figure":
        figure()
    else:
        lt.use_all_cores()
        print(json.dumps(TABLES[sys.argv[1]]()))
