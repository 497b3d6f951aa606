"""Milliseconds a step and GFLOP/s of each engine, against the matmul peak and a PyTorch loop of the same run.

    python benchmarks/engines.py            (needs the extra `bench` for the PyTorch lines)

Claim: at d = 128, N = 512, 256 + 256 neurons the reduced engine reaches 60% of the float32 matmul peak measured in the
same run, and a step of it takes at most a third of the PyTorch loop's. GFLOP counts only the products a step of that
engine needs (forward and gradient); noise, gates and losses are in its time but not in its count. Every number is the
best of several repeats, warmed up, with compilation apart. Machines are shared: compare within one run.
"""

import argparse

import jax
import measure
import numpy as np
from measure import best

import lrtheory as lt
from lrtheory.theory import programs as batch

lt.use_all_cores()
D, N, M = 128, 512, 256


def config(engine: str) -> lt.Config:
    """Both algorithms, 4 seeds, all groups as in the quick preset."""
    return lt.preset("quick").replace(engine=engine, seeds=4, **{
        "problem.d": D, "problem.kappa": None, "problem.N": N, "problem.z_norm": 18.0, "training.eta1": 0.03,
        "training.step_time": 0.03, "network.m_w": M, "network.m_v": M}).check()


def products(engine: str) -> float:
    """Floating-point operations of the matrix products of one step of one run."""
    if engine == "dense":
        return 4.0 * N * D * (M + M)
    rows = config(engine).problem.p_rows.stop
    forward = 2 if engine == "decoupled" else 1  # decoupled: gates and values are two products
    return (1 + forward) * (2.0 * rows * D * M + 2.0 * 3 * 2 * M)


def matmul_peak() -> dict[str, float]:
    """GFLOP/s of large float32 products: on each jax device at once, on one device, and NumPy's on a CPU."""
    peaks = {"jax, all devices": measure.ceiling(precision=measure.HIGHEST, devices=jax.local_device_count()) / 1e9,
             "jax, one device": measure.ceiling(precision=measure.HIGHEST) / 1e9}
    if not measure.on_accelerator():
        a = np.ones((2048, 2048), np.float32)
        peaks["NumPy"] = 2 * len(a)**3 / 1e9 / best(lambda: a @ a, 15)
    return peaks


def engine_step(engine: str, steps: int) -> tuple[float, float]:
    """(milliseconds a step of one run, records apart; compile seconds), L-S and S from 4 seeds at once as in a run."""
    cfg = config(engine)
    program = batch.compile_block(cfg, (), batch.Block(1, cfg.seeds))
    running = batch.start(program, {}, np.arange(cfg.seeds))
    length = len(batch.pieces(cfg)[0]) - 1
    to_the_last = np.array([0] + [0] * (length - 1) + [steps], np.int32)  # one record costs as much as a few steps

    def go(bounds: np.ndarray) -> None:
        nonlocal running
        running, _ = batch.advance(program, running, bounds)

    observing = best(lambda: go(np.zeros_like(to_the_last)), 5)
    seconds = best(lambda: go(to_the_last), 5) - observing
    return seconds / steps / (cfg.seeds * len(cfg.algorithms)) * 1e3, program.compile_seconds


def torch_step(steps: int, m_w: int = M, m_v: int = M) -> float:
    """Milliseconds a step of one run: the dense computation, autograd, all rows and all of R^{2d}, K = 1."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x1, x2 = (torch.randn(N, D, generator=generator) / D**0.5 for _ in range(2))
    y = torch.sign(torch.randn(N, generator=generator))
    w, v = (torch.randn(m, D, generator=generator, requires_grad=True) for m in (m_w, m_v))
    u_w, u_v = (torch.cat([torch.ones(m // 2), -torch.ones(m // 2)]) / m**0.5 for m in (m_w, m_v))
    eta, lam, tau_xi = 0.03, 4.6e-4, 0.17

    def run():
        for _ in range(steps):
            f = torch.relu(x1 @ w.T) @ u_w + torch.relu(x2 @ v.T) @ u_v
            loss = torch.nn.functional.softplus(-y * f).mean()
            gradients = torch.autograd.grad(loss, (w, v))
            with torch.no_grad():
                for weights, gradient in zip((w, v), gradients, strict=True):
                    weights -= eta * (gradient + lam * weights + tau_xi * torch.randn_like(weights))

    return best(run, 3) / steps * 1e3


def literal_iterations() -> tuple[float, float]:
    """(literal iterations, seconds) of decoupled S at eta2/eta1 = 1e-4, one seed, after compilation."""
    cfg = lt.preset("quick").replace(seeds=1, algorithms=("S",), records=20, **{"training.steps": 40_000})
    runs = lt.run(cfg)
    return float(runs["iterations"][0, 0, -1]), runs.attrs["wall_seconds"] - runs.attrs["compile_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="steps a repeat")
    steps = parser.parse_args().steps
    print(f"{measure.describe()}; d = {D}, N = {N}, m = {M} + {M}, L-S and S from 4 seeds, {steps} steps a repeat")
    before = matmul_peak()
    try:
        baseline = torch_step(steps)
        import torch

        print(f"PyTorch {torch.__version__} loop, {torch.get_num_threads()} threads: {baseline:.3f} ms a step of one run, "
              f"{4.0 * N * D * 2 * M / baseline / 1e6:.0f} GFLOP/s")
    except ImportError:
        baseline = float("nan")
        print("PyTorch is not installed: pip install 'lrtheory[bench]'")
    measured = {}
    for engine in ("dense", "reduced", "decoupled"):
        measured[engine] = engine_step(engine, steps)
        print(f"{engine}: {measured[engine][0]:.3f} ms", flush=True)
    peaks = {name: max(rate, before[name]) for name, rate in matmul_peak().items()}
    peak = max(peaks.values())
    print("float32 matmul before or after, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in peaks.items())
          + "; the largest counts as the peak")
    print(f"{'engine':<10} {'ms a step of one run':>21} {'GFLOP/s':>8} {'of peak':>8} {'PyTorch/engine':>15} "
          f"{'dense/engine':>13} {'compile s':>10}")
    for engine, (ms, compile_seconds) in measured.items():
        rate = products(engine) / ms / 1e6
        print(f"{engine:<10} {ms:>21.3f} {rate:>8.0f} {rate / peak:>8.0%} {baseline / ms:>15.1f} "
              f"{measured['dense'][0] / ms:>13.1f} {compile_seconds:>10.1f}")
    iterations, seconds = literal_iterations()
    print(f"decoupled S at eta2/eta1 = 1e-4, quick preset, one seed: {iterations:.3g} literal iterations in {seconds:.1f} s")


if __name__ == "__main__":
    main()
