"""What a block of runs measures and holds in memory, and whether it fits: before it is traced, and once it is compiled.

Lives here: sizes, and refusals that name a remedy. Lives elsewhere: the program itself (programs), what is free (devices),
how a sweep is cut by it (sweeps.plan).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrtheory.devices import free_memory
from lrtheory.spec import ConfigError
from lrtheory.theory import simulate
from lrtheory.theory.config import Config
from lrtheory.theory.programs import Block, Program, any_algorithm


def measured(config: Config) -> dict[str, tuple[np.dtype, bool]]:
    """Everything that is measured of a run: {name: (type, whether it is recorded over time)}."""
    def whole(config: Config, seed: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        setting, run = simulate.begin(config, any_algorithm(), seed)
        run, records = simulate.trajectory(config, any_algorithm(), setting, run, jnp.zeros(2, int))
        return records, simulate.events(config, run)

    return {name: (np.dtype(x.dtype), over_time)
            for found, over_time in zip(jax.eval_shape(whole, config, jnp.asarray(0)), (True, False), strict=True)
            for name, x in found.items()}


def least_bytes(config: Config, block: Block, count: int) -> int:
    """Bytes that a block of runs of `count` algorithms holds at least: data, states and results; nothing is allocated.

    Of sizes that JAX cannot index, what the largest array alone would take.
    """
    p, n = config.problem, config.network
    largest = max(p.d * p.n_train, p.d * config.n_test, p.d * max(n.widths) if config.engine == "dense" else 0)
    if largest >= 2**40:
        return 4 * largest * block.seeds
    setting, run = jax.eval_shape(lambda seed: simulate.begin(config, any_algorithm(), seed), jnp.asarray(0))
    results = sum(kind.itemsize * (config.records + 1 if over_time else 1) for kind, over_time in measured(config).values())

    def size(tree: Any) -> int:
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))

    return block.seeds * size(setting) + block.runs * count * (size(run) + results)


def require_room(config: Config, block: Block, count: int, remedy: str, share: float = 1.0) -> None:
    """Raise `ConfigError` for a block of runs of `count` algorithms that the free memory cannot hold; nothing is traced."""
    p, n = config.problem, config.network
    rows = p.n_train + config.n_test + p.d
    roughly = block.runs * count * (rows * (p.d + sum(n.widths)) + p.n_train**2 + 100 * config.records)  # numbers, too many
    free = free_memory()
    spread = 1 if jax.default_backend() == "cpu" else min(jax.local_device_count(), block.runs)
    if 4 * roughly <= 0.1 * free:
        return
    needed = least_bytes(config, block, count) / spread
    if needed > share * free:
        raise ConfigError(f"memory: {block.runs * count:,} run(s) need at least {needed / 2**30:.3g} GiB; must be at "
                          f"most {share:.0%} of the {free / 2**30:.3g} GiB that are free; {remedy}")


def must_fit(program: Program, remedy: str, share: float = 1.0, free: int | None = None, where: str = "") -> None:
    """Raise `ConfigError` unless a compiled program fits into a share of the free memory (bytes; None: measured)."""
    free = free_memory() if free is None else free
    if program.memory > share * free:
        raise ConfigError(f"memory: {program.block.runs} run(s) at once{where} need {program.memory / 2**30:.3g} GiB; must "
                          f"be at most {share:.0%} of the {free / 2**30:.3g} GiB that are free; {remedy}")
