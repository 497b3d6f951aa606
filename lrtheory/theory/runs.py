"""Runs of one configuration: every algorithm from every seed, as a labelled dataset.

Lives here: `run`, and `predict`, the same at infinite width. Lives elsewhere: the compiled program (programs), labels
(labelled), what the numbers say (results), many configurations (sweeps).
"""

import time
from collections.abc import Mapping

import numpy as np
import xarray as xr

from lrtheory import labelled
from lrtheory.algorithm import Algorithm, named
from lrtheory.devices import require_working
from lrtheory.theory import programs, simulate
from lrtheory.theory.config import Config
from lrtheory.theory.measure import STEP, described
from lrtheory.theory.programs import Block, Progress, compile_block, must_fit, run_block

FEWER = "lower --seeds, --records, --n-test or sizes (network.m_v, problem.d, problem.N)"
"""What to do about a run that is too large."""


def run(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
        progress: Progress | None = None) -> xr.Dataset:
    """Train every algorithm from every seed and return all measurements, labelled.

    Args:
      config: what to run; checked first.
      algorithms: your own by name, instead of `config.algorithms`, where they may stand as well.
      progress: called now and then.

    Returns:
      A dataset with dimensions algorithm, seed and record; time is in units of the sum of rates (every variable
      carries its units). Averaging over seeds is left to you. attrs hold the config and the environment.

    Raises:
      ConfigError: a field is impossible; the message names it, its bound and a remedy.

    All algorithms of a seed share its data, initial weights and noise. For more than one configuration: `sweep`.
    """
    config = with_algorithms(config, algorithms).check()
    require_working()
    require_room(config)
    started = time.perf_counter()
    program = compile_block(config, (), Block(1, config.seeds))
    must_fit(program, FEWER)
    found = run_block(program, {}, config.first_seed + np.arange(config.seeds), progress=progress)
    return labelled.dataset(
        {name: values[0] for name, values in found.items()}, described(config.problem), config, program.names,
        {"step": ("record", simulate.record_steps(config), STEP)},
        {"compile_seconds": round(program.compile_seconds, 3), "wall_seconds": round(time.perf_counter() - started, 3),
         "devices_used": program.mesh.size})


def with_algorithms(config: Config, algorithms: Mapping[str, Algorithm] | None) -> Config:
    """The config with algorithms of your own, by name, in the place of its; None: as it is."""
    return config if algorithms is None else config.replace(algorithms=named(algorithms))


def require_room(config: Config) -> None:
    """Raise `ConfigError` for a run that the free memory cannot hold. Nothing is allocated."""
    programs.require_room(config, Block(1, config.seeds), len(config.algorithms), FEWER)


def predict(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
            progress: Progress | None = None) -> xr.Dataset:
    """What the theory predicts for `run(config)`: the same seeds' data, schedules and clock at infinite width.

    A dataset like that of `run`, with records of its own; arguments as there. The limit is derived here
    (`lrtheory.theory.engines.infinite`). Raises `ConfigError` as `run` does.
    """
    return run(with_algorithms(config, algorithms).at_infinite_width(), progress=progress)
