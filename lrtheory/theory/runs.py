"""Runs of one configuration: every algorithm from every seed, as a labelled dataset.

Lives here: `run`, and `predict`, the same at infinite width. Lives elsewhere: the compiled program (programs, room), labels
(labelled), weights as arrays (weights), what the numbers say (results), many configurations (sweeps).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from lrtheory import labelled
from lrtheory.algorithm import Algorithm, named
from lrtheory.devices import require_working
from lrtheory.progress import watching
from lrtheory.spec import require_kind
from lrtheory.stopping import Interrupted
from lrtheory.theory import room, simulate
from lrtheory.theory.config import Config
from lrtheory.theory.measure import STEP, described
from lrtheory.theory.programs import Block, Measured, Program, Progress, compile_block, run_block
from lrtheory.theory.weights import Keeper

FEWER = "lower --seeds, --records, --n-test or sizes (network.m_v, problem.d, problem.N)"
"""What to do about a run that is too large."""


def run(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
        keep: Literal["weights", "final"] | None = None, progress: Progress | bool | None = None) -> xr.Dataset:
    """Train every algorithm from every seed, over all local devices, and return all measurements, labelled.

    A CPU is one device unless `lrtheory.use_all_cores()` was called before anything else.

    Args:
      config: what to run; checked first.
      algorithms: your own by name, instead of `config.algorithms`, where they may stand as well.
      keep: "weights": those of every run, too, at the start and at up to 40 records; "final": at the last alone. They are
        signal_w, noise_w (algorithm, seed, kept, input_w, neuron_w) and the same of V, or of U for conv; U = signal + noise
        (`lrtheory.neurons` reads them). V has the two coordinates along z and zeta unless the engine is dense.
      progress: True for a bar, on a terminal or in a notebook; or a function that is called now and then.

    Returns:
      A dataset with dimensions algorithm, seed and record; time, a coordinate, is in units of the sum of rates (every
      variable carries its units). Averaging over seeds is left to you. attrs hold the config and the environment.

    Raises:
      ConfigError: a field is impossible; the message names it, its bound and a remedy.
      Interrupted: on the command line, an end was asked for; with the dataset of the records so far, whose attribute
        `unfinished` says where it ends, or None before the first.

    All algorithms of a seed share its data, initial weights and noise. For more than one configuration: `sweep`.
    """
    config = with_algorithms(config, algorithms).check()
    require_working()
    require_room(config)
    started = time.perf_counter()
    keeper = None if keep is None else Keeper(config, keep, len(config.algorithms) * config.seeds)
    program = compile_block(config, (), Block(1, config.seeds))
    room.must_fit(program, FEWER)
    with watching(progress, "steps", lambda last: said(program.names, last)) as told:
        try:
            found = run_block(program, {}, config.first_seed + np.arange(config.seeds), told, keeper)
        except Interrupted as early:
            raise Interrupted(early.found and _labelled(config, program, early.found, started)) from None
    results = _labelled(config, program, found, started)
    if keeper is None:
        return results
    weights, kept = keeper.variables()
    return results.assign(weights).assign_coords(kept)


def _labelled(config: Config, program: Program, found: Measured, started: float) -> xr.Dataset:
    """What was measured, with its labels; one that was asked to end early says where."""
    steps, records = simulate.record_steps(config), found["time"].shape[-1]
    facts = {"compile_seconds": round(program.compile_seconds, 3), "wall_seconds": round(time.perf_counter() - started, 3),
             "devices_used": program.mesh.size}
    if records < len(steps):
        facts[labelled.UNFINISHED] = f"followed to step {steps[records - 1]:,} of {steps[-1]:,}"
    return labelled.dataset(
        {name: values[0] for name, values in found.items()}, described(config.problem), config, program.names,
        {"step": ("record", steps[:records], STEP)}, facts).set_coords("time")


def said(algorithms: Sequence[str], last: Mapping[str, np.ndarray]) -> str:
    """Where runs stand, in words, from {name: (points, algorithms, seeds)} at a record."""
    losses = (f"{name} P {last['loss_p'][0, k].mean():.2f} Q {last['loss_q'][0, k].mean():.2f}"
              for k, name in enumerate(algorithms))
    return f"time {last['time'].max():.4g}, losses: " + "; ".join(losses)


def with_algorithms(config: Config, algorithms: Mapping[str, Algorithm] | None) -> Config:
    """The config with algorithms of your own, by name, in the place of its; None: as it is."""
    require_kind("config", config, Config, "a Config", "such as lrtheory.preset('quick')")
    return config if algorithms is None else config.replace(algorithms=named(algorithms))


def require_room(config: Config) -> None:
    """Raise `ConfigError` for a run that the free memory cannot hold. Nothing is allocated."""
    room.require_room(config, Block(1, config.seeds), len(config.algorithms), FEWER)


def predict(config: Config, *, algorithms: Mapping[str, Algorithm] | None = None,
            progress: Progress | bool | None = None) -> xr.Dataset:
    """What the theory predicts for `run(config)`: the same seeds' data, schedules and clock at infinite width.

    A dataset like that of `run`, with records of its own; arguments as there. The limit is derived here: of decoupled
    networks (`lrtheory.theory.engines.infinite`), of full ones at fixed sqrt(m_v) tau_v (`lrtheory.theory.kinks`), of
    minibatches on the run's own ones, step by step. Raises `ConfigError` as `run` does.
    """
    return run(with_algorithms(config, algorithms).at_infinite_width(), progress=progress)
