"""Milliseconds a step of `lt.train` against the dense engine of `lt.run`, the same network on the same data.

    python benchmarks/train.py

Claim: at d = 128, N = 512, 256 + 256 neurons a step by `lt.train` takes at most 1.2 times as long as one of the engine whose
path it follows (tests/test_train.py). Both are measured in turns, the best of several repeats, records apart. Machines are
shared: the ratio is what counts.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np
from engines import config
from measure import best

import lrtheory as lt
from lrtheory.algorithm import packed, stacked
from lrtheory.custom import programs as own
from lrtheory.custom import runs
from lrtheory.custom.config import Settings
from lrtheory.stacking import record_steps
from lrtheory.theory import programs as batch

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import papers

SEEDS = 4


def engine(cfg: lt.Config, steps: int) -> tuple[Any, int]:
    """A function that takes all runs of the dense engine `steps` steps further, and the bounds of one call."""
    program = batch.compile_block(cfg, (), batch.Block(1, cfg.seeds))
    running = batch.start(program, {}, np.arange(cfg.seeds))
    length = len(batch.pieces(cfg)[0])

    def go(bounds: np.ndarray) -> None:
        nonlocal running
        running, _ = batch.advance(program, running, bounds)

    return go, length


def trained(cfg: lt.Config, steps: int) -> tuple[Any, int]:
    """The same by `lt.train`."""
    algorithms = tuple(a.replace(name=name, activation_noise=lt.constant(0.0), injected_noise=lt.constant(1.0))
                       for name, a in papers.algorithms(cfg).items())
    training = cfg.training
    settings = Settings(algorithms=algorithms, seeds=SEEDS, steps=training.steps, records=cfg.records,
                        weight_decay=training.weight_decay, step_time=training.step_time)
    task, numbers = runs._task(papers.model(cfg), papers.sample(cfg), lt.logistic, None, papers.noise(cfg),
                               papers.measure(cfg), settings)
    stack, marks = stacked(map(packed, algorithms)), record_steps(training.steps, cfg.records)
    program = own.compile_runs(task, numbers, stack, SEEDS, marks)

    def put(tree: Any, spec: Any) -> Any:
        tree = jax.tree.map(jax.numpy.asarray, tree)
        return jax.device_put(tree, own.places(tree, program.mesh, spec))

    known = put(numbers, own.EVERYWHERE), put(stack, own.EVERYWHERE)
    setting, run = program.begin(*known, put(np.arange(program.seeds), own.SEEDS))

    def go(bounds: np.ndarray) -> None:
        nonlocal run
        run, records = program.follow(*known, setting, run, put(bounds, own.EVERYWHERE))
        jax.block_until_ready(records)

    return go, len(own.pieces(marks)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps a repeat")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    cfg = config("dense").replace(seeds=SEEDS).check()
    print(f"{measure.describe()}; d = 128, N = 512, m = 256 + 256, L-S and S from {SEEDS} seeds, {asked.steps} steps a "
          "repeat")
    both = {"dense engine": engine(cfg, asked.steps), "lt.train": trained(cfg, asked.steps)}
    least = dict.fromkeys(both, np.inf)
    recording = dict.fromkeys(both, np.inf)
    for _ in range(asked.repeats):  # in turns: what else the machine does falls on both
        for name, (go, length) in both.items():
            bounds = np.zeros(length, np.int32)
            recording[name] = min(recording[name], best(lambda go=go, bounds=bounds: go(bounds), 1))
            bounds[-1] = asked.steps
            least[name] = min(least[name], best(lambda go=go, bounds=bounds: go(bounds), 1))
    runs_at_once = SEEDS * len(cfg.algorithms)
    ms = {name: (least[name] - recording[name]) / asked.steps / runs_at_once * 1e3 for name in both}
    for name, value in ms.items():
        print(f"{name:<14} {value:.3f} ms a step of one run")
    print(f"lt.train over the dense engine: {ms['lt.train'] / ms['dense engine']:.2f}")


if __name__ == "__main__":
    lt.use_all_cores()
    main()
