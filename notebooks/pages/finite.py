"""What the page of results says of finite networks beyond what single commands print: a function a table.

    python notebooks/pages/finite.py kinks          one of `TABLES`, as JSON

Lives here: how each of those tables is measured, as rows {heading: number or estimate}. Lives elsewhere: running and keeping
them (stored), the claims that are judged (lrtheory.predictions), the same told as a story (notebook 09).
"""

import json
import math
import sys
from typing import Any

import numpy as np
import xarray as xr

import lrtheory as lt
from lrtheory.intervals import slope
from lrtheory.labelled import estimate
from lrtheory.predictions.verify import base_config
from lrtheory.theory.simulate import datasets
from lrtheory.theory.timescales import q_time

PHASE = lt.preset("phase")
Rows = list[dict[str, Any]]


def kinks(seeds: int = 16, times: tuple[float, ...] = (3.4, 15.8, 58, 149, 303)) -> Rows:
    """Contrast of S on full networks at condition F = 0.5, in their own limit and in that of fixed kinks."""
    full = PHASE.replace(engine="reduced", algorithms=("S",), seeds=seeds, records=100, **{
        "network.m_v": 4096, "network.tau_w": 0.2})
    full = full.replace(**{"network.tau_v": full.network.tau_v * 6.27 / lt.kinks.ceiling(full.problem, full.network)})
    found = {"full network": lt.run(full), "own limit": lt.predict(full),
             "fixed kinks": lt.predict(full.replace(engine="decoupled"))}
    at = xr.DataArray(list(times), dims="record")
    curves = {name: lt.at_times(runs.sel(algorithm="S"), "contrast", at).transpose("record", "seed").values
              for name, runs in found.items()}
    return [{"time": time, **{name: estimate(values[k]) if name == "full network" else round(float(values[k].mean()), 2)
                              for name, values in curves.items()}} for k, time in enumerate(times)]


def batches(seeds: int = 12, steps: int = 4000, widths: tuple[int, ...] = (256, 1024, 4096, 16384)) -> Rows:
    """Distance of the networks' g from the limit on their own batches and from that of full ones, root mean square."""
    base = base_config("quick", "minibatch").replace(seeds=seeds, records=40, **{
        "training.steps": steps, "network.m_w": 128})
    limits = {"same batches": lt.predict(base), "full batches": lt.predict(base.replace(**{"training.batch_size": None}))}
    found = {}
    for m in widths:
        runs = lt.run(base.replace(**{"network.m_v": m}))
        for algorithm in ("L-S", "S"):
            one = runs.sel(algorithm=algorithm)
            for name, limit in limits.items():
                away = [(one[g] - lt.at_times(limit.sel(algorithm=algorithm), g, one["time"])) ** 2
                        for g in ("g_z", "g_plus", "g_minus")]
                found[m, f"{algorithm}: {name}"] = float(sum(x.mean() for x in away) / 3) ** 0.5
    columns = [f"{algorithm}: {name}" for algorithm in ("L-S", "S") for name in limits]
    rows: Rows = [{"m_v": f"{m:,}", **{column: round(found[m, column], 3) for column in columns}} for m in widths]
    return [*rows, {"m_v": "exponent in m", **{
        column: round(float(slope(widths)(np.array([[found[m, column] for m in widths]]))[0]), 2) for column in columns}}]


def batch_noise(widths: tuple[int, ...] = (512, 2048), moments: tuple[tuple[str, int], ...] = (
        ("L-S", 100), ("L-S", 3000), ("S", 100), ("S", 6000))) -> Rows:
    """Covariance of the minibatch gradient on V: its trace over the injected noise's in the plane of z and zeta."""
    rows: Rows = []
    for m in widths:
        for algorithm, step in moments:
            config = PHASE.replace(engine="dense", algorithms=(algorithm,), seeds=1, records=2, **{
                "training.batch_size": 32, "training.step_time": 0.0, "training.eta_ratio": 0.03, "training.steps": step,
                "network.m_w": 128, "network.m_v": m, "network.tau_v": 4.0})
            runs = lt.run(config, keep="final").isel(algorithm=0, seed=0, kept=0)
            w, v = ((runs[f"signal_{part}"] + runs[f"noise_{part}"]).transpose(f"neuron_{part}", ...).values
                    for part in "wv")
            data = datasets(config, 0)[0]
            gradients = gradients_on_v(config, data, w, v)
            n, b = len(gradients), 32
            centred = gradients - gradients.mean(0)
            values = np.linalg.eigvalsh(centred @ centred.T) / (n - 1) * (1 - b / n) / b
            injected = 2 * m * float(config.training.tau_xi * config.network.tau_v) ** 2
            rows.append({"m_v": f"{m:,}", "algorithm": algorithm, "step": step,
                         "trace over the injected noise's": f"{values.sum() / injected:.1e}",
                         "of it along one direction": f"{values[-1] / values.sum():.0%}"})
    return rows


def jitter(seeds: int = 256, widths: tuple[int, ...] = (128, 512, 2048)) -> Rows:
    """Scatter about infinite width of the same seeds at time 230, not annealed: of the contrast and of the averaged loss."""
    time = 230.0
    base = PHASE.replace(algorithms=("L-S",), seeds=seeds, records=600, n_test=16, **{
        "training.eps1": 1e-9, "training.steps": round(time / PHASE.training.step_time)})
    limit = lt.predict(base).sel(algorithm="L-S")
    losses = {g: float(limit[f"loss_{g}"].isel(record=-1).mean()) for g in ("q", "mixed")}
    problem, training = base.problem, base.training
    push, slow = lt.kinks.push_of(problem, losses), training.loss_smoothing
    rho = 2 * math.pi * push / (problem.z_norm**2 * problem.r * q_time(problem))
    rows: Rows = []
    for m in widths:
        runs = lt.run(base.replace(**{"network.m_v": m})).sel(algorithm="L-S")
        contrast = (runs["contrast"].isel(record=-1) - limit["contrast"].isel(record=-1)).values
        loss = averaged(runs["time"], runs["train_loss"] - lt.at_times(limit, "train_loss", runs["time"]), slow)
        rows.append({"m_v": f"{m:,}", "contrast": root(contrast), "closed form": round(
            lt.kinks.scatter(problem, training, m, push, time), 3), "averaged loss": root(loss), "closed form of it": round(
            rho / 2 * lt.kinks.scatter(problem, training, m, push, time, slow), 4)})
    return rows


def annealing(seeds: int = 256, widths: tuple[int, ...] = (128, 512, 2048)) -> Rows:
    """Scatter of the time of annealing about the limit's, where both anneal, beside what is expected before the run."""
    from scipy import stats

    base = PHASE.replace(algorithms=("L-S",), seeds=seeds, records=60, n_test=16)
    rows: Rows = []
    for name, changes in (("", {}), (", not averaged", {"training.loss_smoothing": 0.0})):
        config = base.replace(**changes)
        limit = lt.predict(config)
        for m in widths:
            config = config.replace(**{"network.m_v": m})
            late = (lt.run(config)["annealed_at"] - limit["annealed_at"]).sel(algorithm="L-S").values
            late = late[np.isfinite(late)]
            spread, free = late.std(ddof=1), len(late) - 1
            low, high = (spread * np.sqrt(free / stats.chi2.ppf(p, free)) for p in (0.975, 0.025))
            said = lt.results.annealing_jitter(config, limit)
            rows.append({"m_v": f"{m:,}{name}", "anneal": f"{len(late)} of {seeds}",
                         "later than the limit by": estimate(late), "scatter": f"{spread:.0f} [{low:.0f}, {high:.0f}]",
                         "expected": "" if said is None else round(said["jitter"])})
    return rows


def gradients_on_v(config: lt.Config, data: Any, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Each example's gradient of the loss in V, (N, m_v d), from the paper's network of weights (neurons, d)."""
    x1, x2, y = (np.asarray(getattr(data, name)) for name in ("x1", "x2", "y"))
    signs = [np.asarray(lt.network.second_layer(len(part))) for part in (w, v)]
    gates = x2 @ v.T >= 0
    f = np.maximum(x1 @ w.T, 0) @ signs[0] + (gates * (x2 @ v.T)) @ signs[1]
    residual = -y / (1 + np.exp(y * f))
    return ((residual[:, None] * signs[1] * gates)[:, :, None] * x2[:, None, :]).reshape(len(y), -1)


def averaged(times: xr.DataArray, losses: xr.DataArray, constant: float) -> np.ndarray:
    """Exponential mean of a loss over time at the last record, linear between records, as the trigger has it: (seed,)."""
    time, loss = (x.transpose("seed", "record").values for x in (times, losses))
    mean = loss[:, 0]
    for k in range(1, loss.shape[1]):
        elapsed = (time[:, k] - time[:, k - 1]) / constant
        weight = -np.expm1(-elapsed)
        mean = mean + weight * (loss[:, k - 1] - mean) + (1 - weight / elapsed) * (loss[:, k] - loss[:, k - 1])
    return mean


def root(values: np.ndarray) -> dict[str, float]:
    """Root mean square with its standard error."""
    size = float(np.sqrt(np.mean(values**2)))
    return {"mean": size, "sem": float(np.std(values**2, ddof=1) / np.sqrt(len(values)) / 2 / size)}


TABLES = {table.__name__: table for table in (kinks, batches, batch_noise, jitter, annealing)}
"""{name: what measures it}."""

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"{' '.join(sys.argv[1:]) or 'no table'}: unknown; must be one of {', '.join(TABLES)}")
    lt.use_all_cores()
    print(json.dumps({"rows": TABLES[sys.argv[1]]()}))
