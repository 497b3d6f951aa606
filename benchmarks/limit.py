"""Seconds of `lrtheory.limit` beside the engine `infinite` on the paper's data, beside networks, and over n.

    python benchmarks/limit.py              all three
    python benchmarks/limit.py N [FOR]      one run of n = N rows over FOR units of time (600), as the third part starts them

Claims: on preset phase a run takes at most three times that of the engine `infinite`, which knows that Q is three
directions, and its outputs agree to 1e-3 (both at their default tolerance); n = 1,000 rows in 64 + 2 dimensions, L-S and S
over 600 units of time, take less than 60 s and 2 GB on two cores, compilation included; networks come nearer as m^-1/2.
Machines are shared: compare within one run.
"""

import resource
import subprocess
import sys
import time

import jax
import numpy as np

import lrtheory as lt
from lrtheory.theory import simulate
from lrtheory.theory.problem import directions

RATES = {"L-S": "0.02 until loss 0.35, 2e-6", "S": 2e-6}
NEURONS = 1024, 4096, 16384


def two_patterns(n: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Labels and n rows of two blocks: a noisy linear pattern in 64 dimensions, and three directions of length 25."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    linear = (rng.standard_normal((n, 64)) + y[:, None] * rng.standard_normal(64)[None] * 0.1) / 8
    fixed = 25 * np.array([[1, 0], [1, 0.02], [1, -0.02]])[np.where(y > 0, 0, rng.integers(1, 3, n))]
    carries = rng.random(n)
    linear[carries > 0.8], fixed[carries < 0.15] = 0, 0
    return (linear, fixed), y


def timed(f):
    """(result, seconds)."""
    started = time.perf_counter()
    return f(), time.perf_counter() - started


def one(n: int, length: float) -> None:
    """One run; prints seconds in all, those of compiling, leaps, and the memory of this process."""
    x, y = two_patterns(n)
    runs, seconds = timed(lambda: lt.limit(x, y, RATES, weight_decay=5e-4, tau_xi="balanced", time=length, records=60))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    leaps = runs["steps"].isel(record=-1).values.ravel().tolist()
    compiling, rates = runs.attrs["compile_seconds"], runs.attrs["kernel_rates"]
    print(f"{n:>6}  {seconds:>8.1f}  {compiling:>9.1f}  {memory:>10.2f}  {rates:>12}  {leaps}", flush=True)


def beside_the_engine() -> None:
    """Preset phase, S and L-S, one seed, both engines after compiling."""
    config = lt.preset("phase").replace(engine="infinite", seeds=1, records=20, n_test=256)
    with jax.enable_x64(True):
        data, _ = simulate.datasets(config, 0)
        points = np.asarray(directions(config.problem))
        x2 = np.asarray(data.alpha)[:, None] * points[np.asarray(data.direction)]
        engine, _ = timed(lambda: lt.run(config.replace(algorithms=("S",))))
        engine, there = timed(lambda: lt.run(config.replace(algorithms=("S",))))
        small = float(config.training.eta1 * config.training.eta_ratio)
        ours = lt.limit((np.asarray(data.x1), x2), np.asarray(data.y), {"S": small}, records=20,
                        weight_decay=float(config.training.weight_decay), tau_xi=float(config.training.tau_xi),
                        time=float(engine["time"].max()), outputs=True, test=((np.zeros((3, config.problem.d)), points),
                                                                             np.array([1.0, -1.0, -1.0])))
    here = ours.attrs["wall_seconds"] - ours.attrs["compile_seconds"]
    g = ours["test_outputs"].values[0, 0, -1]
    known = np.array([float(engine[name].isel(record=-1).squeeze()) for name in ("g_z", "g_plus", "g_minus")])
    print(f"preset phase, S: engine infinite {there:.2f} s, limit {here:.2f} s (compiled before), ratio {here / there:.1f}; "
          f"largest difference of an output on Q {np.max(np.abs(g - known)):.1e}", flush=True)


def beside_networks() -> None:
    """The plain two-layer net of m neurons, trained step by step, on 64 rows in 16 dimensions.

    Neurons come in pairs of opposite output weights that share their noise, whose own output, of order tau0, so cancels.
    """
    import jax.numpy as jnp

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((64, 16)) / 4, np.where(rng.random(64) < 0.5, 1.0, -1.0)
    rate, decay, length = 0.05, 0.05, 20.0
    limit = lt.limit(x, y, {"S": rate}, weight_decay=decay, tau_xi="balanced", time=length, records=4, outputs=True)
    seconds = limit.attrs["wall_seconds"] - limit.attrs["compile_seconds"]
    goal = limit["train_outputs"].values[0, 0, -1]
    for m in NEURONS:
        def init(key, m=m):
            noise, none = jax.random.normal(key, (16, m // 2)), jnp.zeros((16, m // 2))
            return {"noise": noise, "plus": none, "minus": none}

        def apply(u, x, m=m):
            noise = jax.lax.stop_gradient(u["noise"])
            return jnp.sum(jax.nn.relu(x @ (noise + u["plus"])) - jax.nn.relu(x @ (noise + u["minus"])), -1) / np.sqrt(m)

        model = lt.Model(init, apply)
        runs = lt.train(model, (x, y), {"S": rate}, seeds=4, steps=round(length / rate), records=4, weight_decay=decay,
                        tau_xi=lt.Balanced(rate=rate, weight_decay=decay), measure=lambda u, data, model=model: {
                            "outputs": model.apply(u, data[0])})
        took = (runs.attrs["wall_seconds"] - runs.attrs["compile_seconds"]) / 4
        off = np.sqrt(np.mean((runs["outputs"].values[0, :, -1] - goal) ** 2))
        print(f"network of m = {m:>6}: {took:6.2f} s a seed, limit {seconds:.2f} s; root mean square distance {off:.4f}",
              flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 600.0)
    else:
        print(f"jax {jax.__version__}, {jax.local_device_count()} x {jax.devices()[0].platform}")
        beside_the_engine()
        beside_networks()
        print("     n  s in all  compile s  memory GiB  rates  leaps of L-S and S")
        for rows in (250, 500, 1000, 2000, 4000):
            subprocess.run([sys.executable, __file__, str(rows)], check=True)
