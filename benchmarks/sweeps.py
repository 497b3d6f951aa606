"""Runs a second of a sweep against a Python loop over jitted runs and a PyTorch loop, at 1, 16 and 256 runs.

    python benchmarks/sweeps.py             (needs the extra `bench` for the PyTorch column)

Aims, on two cores: a sweep of 256 runs of the full network (reduced engine) takes its products at 70% of the float32 matmul
peak measured in the same run, and does 10 times the runs a second of the PyTorch loop at equal K (met with V as wide as
condition F asks, not at even widths, where the reductions save a factor of 2.7 only). Every run is S at K = 1, 200 steps, 5
records; compilation is apart; the gain of micro-steps is on a line of its own. GFLOP counts the products of the steps only.
Peak memory is that of a process of its own, against the plan's estimate. On an accelerator the same command adds 1024 runs
and the share of its ceiling; `--chunks 64 256` tells how many runs at once serve it best. Machines are shared: compare
within one run.
"""

import argparse
import json
import subprocess
import sys

import engines as single
import measure
import numpy as np
import psutil

import lrtheory as lt
from lrtheory.sweeps import plan
from lrtheory.sweeps.grid import Grid, make_grid
from lrtheory.theory import programs as batch
from lrtheory.theory.runs import Block

lt.use_all_cores()
STEPS = 200
SIZES = {"even": dict(d=128, N=512, m_w=256, m_v=256, z_norm=18.0, eta1=0.03),
         "wide V (quick)": dict(d=64, N=256, m_w=64, m_v=4096, z_norm=25.0, eta1=0.02)}


def config(size: dict, seeds: int) -> lt.Config:
    """S of the full network, every step literal (K = 1)."""
    return lt.preset("quick").replace(
        engine="reduced", algorithms=("S",), seeds=seeds, records=5, n_test=256, **{
            "problem.d": size["d"], "problem.kappa": None, "problem.N": size["N"], "problem.z_norm": size["z_norm"],
            "training.eta1": size["eta1"], "training.step_time": 0.0, "training.steps": STEPS,
            "network.m_w": size["m_w"], "network.m_v": size["m_v"]})


def grid_of(size: dict, runs: int) -> Grid:
    """`runs` runs: up to 8 seeds, the rest as rates."""
    seeds = min(runs, 8)
    return make_grid(config(size, seeds), {"eta_ratio": np.geomspace(1e-2, 1, runs // seeds) if runs > seeds else [1.0]})


def products(size: dict) -> float:
    """Floating-point operations of the products of one step of one run."""
    rows = config(size, 1).problem.p_rows.stop
    return 2 * (2.0 * rows * size["d"] * size["m_w"] + 2.0 * 3 * 2 * size["m_v"])


def sweep_seconds(grid: Grid, chunk: int | None = None) -> tuple[float, float, plan.Plan]:
    """(seconds for all runs, compile seconds, the plan) as `lrtheory sweep --chunk` cuts them, without the disk."""
    made = plan.make_plan(grid, runs=chunk)
    (group,) = made.programs
    program, chunks = made.programs[group], list(plan.chunks(grid, made.cut, group))
    seconds = measure.best(lambda: [plan.compute(grid, program, c) for c in chunks], 3)
    return seconds, program.compile_seconds, made


def loop_seconds(size: dict) -> float:
    """Seconds a run in a Python loop over one jitted run."""
    one = config(size, 1)
    program = batch.compile_block(one, ("training.eta_ratio",), Block(1, 1))
    point = {"training.eta_ratio": np.array([0.1])}
    return measure.best(lambda: batch.run_block(program, point, np.array([0])), 5)


def torch_seconds(size: dict) -> float:
    """Seconds a run of the dense computation in PyTorch: autograd, every row, all of R^{2d}, K = 1."""
    single.D, single.N = size["d"], size["N"]
    return single.torch_step(STEPS, size["m_w"], size["m_v"]) / 1e3 * STEPS


def peak_memory(runs: int) -> tuple[float, float]:
    """(plan's estimate, measured peak above what the process held before) of one chunk, in MiB, in this process."""
    size = SIZES["wide V (quick)"]
    program = batch.compile_block(config(size, 8), ("training.eta_ratio",), Block(runs // 8, 8))
    point = {"training.eta_ratio": np.geomspace(1e-2, 1, runs // 8)}
    tiny = batch.compile_block(config(size, 2).replace(n_test=8, **{"network.m_v": 8}), (), Block(1, 2))
    batch.run_block(tiny, {}, np.arange(2))  # what JAX itself takes
    before = psutil.Process().memory_info().rss
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    batch.run_block(program, point, np.arange(8))
    with open("/proc/self/status") as status:
        high = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return program.memory / 2**20, high / 2**10 - before / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", help="numbers of runs (default: 1 16 256, and 1024 on accelerators)")
    parser.add_argument("--chunks", type=int, nargs="+", default=[], help="sizes of chunks to try, too, besides the plan's")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        print(json.dumps(peak_memory(asked.memory)))
        return
    on_cpu = not measure.on_accelerator()
    print(f"{measure.describe()}; S, reduced engine, K = 1, {STEPS} steps a run")
    peaks = single.matmul_peak()
    peak = max(peaks.values())
    print("float32 matmul at full precision, GFLOP/s: " + ", ".join(f"{k} {v:.0f}" for k, v in peaks.items()))
    for name, size in SIZES.items():
        loop = loop_seconds(size)
        try:
            torch = torch_seconds(size)
        except ImportError:
            torch = float("nan")
        print(f"{name}: d = {size['d']}, N = {size['N']}, {size['m_w']} + {size['m_v']} neurons; "
              f"Python loop over jitted runs {1 / loop:.2f} runs/s, PyTorch loop {1 / torch:.2f} runs/s")
        print(f"{'runs':>6} {'at once':>8} {'runs/s':>8} {'GFLOP/s':>8} {'of peak':>8} {'sweep/loop':>11} "
              f"{'sweep/PyTorch':>14} {'compile s':>10} {'MiB':>6}")
        for runs in asked.runs or ([1, 16, 256] if on_cpu else [1, 16, 256, 1024]):
            for chunk in (None, *(chunk for chunk in asked.chunks if chunk < runs)):
                seconds, compile_seconds, made = sweep_seconds(grid_of(size, runs), chunk)
                rate = products(size) * STEPS * runs / seconds / 1e9
                memory = next(iter(made.programs.values())).memory
                print(f"{runs:>6} {made.cut.block.runs:>8} {runs / seconds:>8.2f} {rate:>8.0f} {rate / peak:>8.0%} "
                      f"{loop * runs / seconds:>11.1f} {torch * runs / seconds:>14.1f} {compile_seconds:>10.1f} "
                      f"{memory / 2**20:>6.0f}", flush=True)
    micro = config(SIZES["wide V (quick)"], 8).replace(**{"training.eta_ratio": 1e-4, "training.step_time": 0.02})
    seconds, _, _ = sweep_seconds(make_grid(micro, {"eta_ratio": [1e-4]}))
    print(f"micro-steps, eta2/eta1 = 1e-4, 8 runs: {8 * STEPS * 1e4 / seconds:.3g} literal iterations a second, "
          f"10,000 times {8 * STEPS / seconds:.3g} steps")
    if on_cpu and sys.platform == "linux" and not asked.runs:
        for runs in (64, 256, 1024):
            found = subprocess.run([sys.executable, __file__, "--memory", str(runs)], capture_output=True, text=True,
                                   check=True)
            estimate, measured = json.loads(found.stdout.splitlines()[-1])
            print(f"peak memory, {runs} runs at once: {measured:.0f} MiB against the plan's {estimate:.0f}, "
                  f"ratio {measured / estimate:.2f}")


if __name__ == "__main__":
    main()
