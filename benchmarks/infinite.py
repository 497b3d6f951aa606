"""The infinite-width engine: a whole comparison of L-S and S, seconds after compilation, against what it replaces.

    python benchmarks/infinite.py            # minutes; --small leaves out d = 1024, --tiny all but the first row

Each row is one seed of the quick preset's problem scaled to d (|z| ~ d^-1/2, lambda ~ 1/d, eta1 ~ d: the same T_P/T_Q and
number of steps). Steps are those of the slower algorithm. Claims: 5 s at d = 128, 120 s at d = 1024 on two cores.
"""

import argparse
import time

import measure

import lrtheory as lt
from lrtheory.theory import programs as batch
from lrtheory.theory.engines.gram import off_diagonal_rates


def scaled(d: int, n: int) -> lt.Config:
    """The quick preset's problem at dimension d with n examples, at infinite width."""
    k, base = d / 64, lt.preset("quick")
    return base.replace(engine="infinite", seeds=1, records=40, n_test=2048, **{
        "problem.d": d, "problem.N": n, "problem.kappa": None, "problem.z_norm": 25.0 / k**0.5,
        "problem.gamma0": 0.8 / d**0.5, "training.eta1": 0.02 * k, "training.step_time": 0.02 * k,
        "training.weight_decay": 4.6e-4 / k, "training.loss_smoothing": 20.0 * k})


def row(label: str, config: lt.Config) -> float:
    """Run it, print it, and return the seconds after compilation."""
    program = batch.compile_block(config, (), batch.Block(1, 1))
    started = time.perf_counter()
    found = batch.run_block(program, {}, [0])
    took = time.perf_counter() - started
    ls, s = (found["test_error_p"][0, k, 0, -1] for k in range(2))
    when = found["annealed_at"][0, 0, 0] / config.training.step_time
    count = config.problem.p_rows.stop
    kernel = count * (count * off_diagonal_rates(config) if config.network.kernel == "matrix" else config.problem.d)
    print(f"{label:34s} {took:8.2f} {program.compile_seconds:9.1f} {found['steps'][0, :, 0, -1].max():7d} "
          f"{kernel * 4 / 2**20:10.1f} {program.memory / 2**20:8.0f} {ls:9.4f} {s:7.4f} {when:9.0f}", flush=True)
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="leave out d = 1024")
    parser.add_argument("--tiny", action="store_true", help="the first row alone")
    asked = parser.parse_args()
    lt.use_all_cores()
    print(f"{measure.describe()}; L-S and S, one seed each")
    print(f"{'engine':34s}  seconds compile s   steps kernel MiB  all MiB error L-S       S annealed at step")
    base = scaled(128, 512)
    chosen = row("d = 128, N = 512, chosen steps", base)
    if asked.tiny:
        return
    row("the same, tolerance 1e-4", base.replace(**{"training.tolerance": 1e-4}))
    fixed = row("the same, fixed steps", base.replace(**{"training.tolerance": 0.0}))
    neurons = row("decoupled, 64 + 4096 neurons", base.replace(engine="decoupled"))
    print(f"chosen steps: {fixed / chosen:.0f} times as fast as fixed ones, {neurons / chosen:.0f} times as fast as neurons")
    row("d = 32, N = 2048, matrix", scaled(32, 2048).replace(records=10))
    row("d = 32, N = 2048, features", scaled(32, 2048).replace(records=10, **{"network.kernel": "features"}))
    if not asked.small:
        row("d = 1024, N = 4096, matrix", scaled(1024, 4096))


if __name__ == "__main__":
    main()
