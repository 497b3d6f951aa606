"""Many runs at once: algorithms x seeds in one jitted, vmapped call, spread over the local devices.

Lives here: stacking, compiling, progress, and assembling the labelled results. Lives elsewhere: a single run
(simulate), files (results).
"""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import NamedSharding, PartitionSpec

from lrtheory import schedule, simulate
from lrtheory.config import Config, to_json
from lrtheory.devices import RUNS, run_mesh
from lrtheory.measure import UNITS
from lrtheory.schedule import Algorithm

Progress = Callable[[int, int, dict[str, np.ndarray]], None]
"""Called with (steps done, steps in all, {name: (algorithms, seeds) measurement at the last record})."""

SEGMENTS = 40
"""A batch is run as this many calls of one compiled program, for progress; the numbers do not depend on it."""


def run(config: Config, *, algorithms: dict[str, Algorithm] | None = None, progress: Progress | None = None) -> xr.Dataset:
    """Train every algorithm from every seed and return all measurements, labelled.

    Args:
      config: what to run; checked first.
      algorithms: your own schedules by name, instead of the named ones of `config.algorithms`.
      progress: called now and then.

    Returns:
      A dataset with dimensions algorithm, seed and record; time is in units of the sum of rates (every variable
      carries its units). Averaging over seeds is left to you. attrs hold the config and the environment.

    Raises:
      ConfigError: a field is impossible; the message names it, its bound and a remedy.

    Seeds are the inner axis, and all algorithms of a seed share its data, initial weights and noise, drawn once.
    """
    config.check()
    named = algorithms if algorithms is not None else {n: config.training.algorithm(n) for n in config.algorithms}
    stacked = Algorithm(*(schedule.stack(list(s)) for s in zip(*named.values(), strict=True)))
    mesh = run_mesh(config.seeds)
    width = -(-config.seeds // mesh.size) * mesh.size  # pad the seeds to a multiple of the devices
    seeds = config.first_seed + np.minimum(np.arange(width), config.seeds - 1)
    spread, everywhere = PartitionSpec(RUNS), PartitionSpec()
    crossed = PartitionSpec(None, RUNS)  # (algorithm, seed, ...)

    over_seeds = jax.vmap(simulate.begin, in_axes=(None, None, 0))
    begin = jax.vmap(over_seeds, in_axes=(None, 0, None), out_axes=(None, 0))
    follow = jax.vmap(jax.vmap(simulate.trajectory, in_axes=(None, None, 0, 0, None)), in_axes=(None, 0, None, 0, None))

    def spread_over_devices(f, in_specs, out_specs):
        return jax.jit(jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False))

    begin = spread_over_devices(begin, (everywhere, everywhere, spread), (spread, crossed))
    follow = spread_over_devices(follow, (everywhere, everywhere, spread, crossed, everywhere), (crossed, crossed))

    def placed(tree):
        return jax.device_put(tree, NamedSharding(mesh, everywhere))

    started = time.perf_counter()
    config_, stacked = placed(jax.tree.map(jnp.asarray, config)), placed(stacked)
    setting, state = begin(config_, stacked, jax.device_put(jnp.asarray(seeds), NamedSharding(mesh, spread)))
    steps = simulate.record_steps(config)
    pieces = _pieces(steps)
    compiled = follow.lower(config_, stacked, setting, state, placed(jnp.asarray(pieces[0]))).compile()
    compile_seconds = time.perf_counter() - started
    taken: list[dict[str, np.ndarray]] = []
    for ends in pieces:
        state, records = compiled(config_, stacked, setting, state, placed(jnp.asarray(ends)))
        taken.append(jax.device_get(records))
        if progress is not None:
            progress(int(ends[-1]), int(steps[-1]), {n: v[:, : config.seeds, -1] for n, v in taken[-1].items()})
    happened = jax.device_get(jax.vmap(jax.vmap(simulate.events))(state))
    wall_seconds = time.perf_counter() - started

    over_time = {name: np.concatenate([t[name] for t in taken], axis=2)[:, : config.seeds, : len(steps)]
                 for name in taken[0]}
    once = {name: values[:, : config.seeds] for name, values in happened.items()}
    return _label(config, list(named), steps, over_time, once,
                  environment() | {"compile_seconds": round(compile_seconds, 3),
                                   "wall_seconds": round(wall_seconds, 3), "devices_used": mesh.size})


def _pieces(steps: np.ndarray) -> list[np.ndarray]:
    """Cut the record steps into calls of equal length: [previous end, ends ...] for each.

    The first record is that of step 0, after no steps; the last call repeats the last end (no steps either).
    """
    length = -(-len(steps) // SEGMENTS)
    count = -(-len(steps) // length)
    padded = np.pad(steps, (1, count * length - len(steps)), mode="edge").astype(np.int32)
    return [padded[k * length : (k + 1) * length + 1] for k in range(count)]


def _label(config: Config, names: list[str], steps: np.ndarray, over_time: dict[str, np.ndarray],
           once: dict[str, np.ndarray], facts: dict[str, str | int | float]) -> xr.Dataset:
    """The dataset with dimensions (algorithm, seed, record), units and meanings in the attributes."""
    variables = {name: (("algorithm", "seed", "record"), values) for name, values in over_time.items()}
    variables |= {name: (("algorithm", "seed"), values) for name, values in once.items()}
    results = xr.Dataset(
        variables,
        coords={"algorithm": np.array(names, np.dtypes.StringDType()),  # zarr 3 stores no other strings stably
                "seed": config.first_seed + np.arange(config.seeds),
                "step": ("record", steps, {"units": "1", "long_name": "steps done, each of K iterations"})},
        attrs={"config": to_json(config)} | facts)
    for name in variables:
        results[name].attrs = dict(zip(("units", "long_name"), UNITS[name], strict=True))
    return results


def environment() -> dict[str, str | int | float]:
    """Versions, device, precision and git revision, for whoever reproduces a result."""
    facts: dict[str, str | int | float] = {"python": platform.python_version()}
    for package in ("lrtheory", "jax", "jaxlib", "optax", "numpy", "xarray"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed as a package"
    device = jax.local_devices()[0]
    facts |= {"device": device.device_kind, "platform": device.platform, "cpu_cores": os.cpu_count() or 0,
              "precision": "float64" if jax.config.read("jax_enable_x64") else "float32, products at highest precision",
              "git_revision": _git_revision(),
              "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    return facts


def _git_revision() -> str:
    """Revision of the source tree this package runs from, with "+changes" where it differs; "none" outside one."""
    here = Path(__file__).parent
    try:
        def git(*words: str) -> str:
            return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10,
                                  check=True).stdout.strip()

        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return "none"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "none"
