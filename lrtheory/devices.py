"""The devices that runs are spread over, and the memory they have.

Lives here: turning CPU cores into devices, the mesh over local devices, free memory. Lives elsewhere: several processes
(processes), what runs.
"""

import functools
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import numpy as np
import psutil
from jax.sharding import Mesh

from lrtheory.spec import ConfigError, one_line, require

RUNS = "runs"
"""Name of the mesh axis over which runs are spread; they never talk to each other."""
ONCE = {"xla_backend_optimization_level": 2}
"""CPU compiler options of what runs once: drawing compiles in half the time, to the same numbers (tested): to the bit with
jaxlib 0.10, up to the last digit with 0.12."""


def use_all_cores() -> None:
    """Make every CPU core a JAX device, so that independent runs use all of them; call before any other JAX work.

    Leaves accelerators, and a number of CPU devices that you chose yourself, as they are: by XLA_FLAGS, by
    JAX_NUM_CPU_DEVICES, or by `jax.config.update("jax_num_cpu_devices", n)`. Warns where it comes too late: once JAX has
    started its devices are fixed.
    """
    if chosen():
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.local_device_count() < cores:
            warnings.warn(f"JAX has started with {jax.local_device_count()} CPU device(s) on {cores} cores: call "
                          "use_all_cores() before anything else of JAX", stacklevel=2)


def chosen() -> bool:
    """Whether somebody has said how many CPU devices there are: in the environment, or to JAX itself."""
    said = getattr(jax.config, "jax_num_cpu_devices", -1)  # JAX reads JAX_NUM_CPU_DEVICES as it is imported
    return said not in (-1, None) or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")


def require_working() -> None:
    """Raise `ConfigError` where JAX does not start, or is set to what these programs cannot do; nothing is computed."""
    for name, odd, why in (("jax_disable_jit", True, "programs are compiled before they run"),
                           ("jax_debug_infs", True, "a time that is never reached is infinite"),
                           ("jax_numpy_dtype_promotion", "strict", "whole numbers and floats meet in them")):
        require(str(getattr(jax.config, name, None)) != str(odd), name, odd, "off: " + why, f"unset {name.upper()}")
    try:
        jax.local_devices()
    except Exception as error:  # of a type that depends on the backend
        said = " ".join(str(error).split()) or type(error).__name__
        named = f"JAX_PLATFORMS = {os.environ['JAX_PLATFORMS']}: must name what is there; " if os.environ.get(
            "JAX_PLATFORMS") else ""
        raise ConfigError(f"{named}JAX finds no device ({one_line(said, 300)}); correct or unset JAX_PLATFORMS, "
                          "JAX_NUM_CPU_DEVICES and the like in the environment") from None


def run_mesh(devices: Sequence[Any], runs: int) -> Mesh:
    """A one-axis mesh (`RUNS`) over the first of some devices, never more than there are runs."""
    return Mesh(np.array(devices[: min(len(devices), runs)]), (RUNS,))


def compiler_options(mesh: Mesh, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Those of the compiler options `wanted` that this version of XLA knows, on CPU devices; None elsewhere.

    What XLA_FLAGS says is left as it is.
    """
    if mesh.devices.flat[0].platform != "cpu":
        return None
    chosen = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in wanted.items() if f"--{name}=" not in chosen and _known(name, value)}


@functools.cache
def _known(name: str, value: Any) -> bool:
    """Whether XLA takes a compiler option; it refuses to compile anything with one that it does not know."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except Exception:  # of a type that depends on the version
        return False
    return True


def free_memory() -> int:
    """Bytes that a program may still take: on one accelerator, or in main memory, which all CPU devices share."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats.get("bytes_limit", 2**63) - stats.get("bytes_in_use", 0)
    return main_memory()


def main_memory() -> int:
    """Bytes of main memory that this process may still take: what the machine has free, or what its job is allowed."""
    left = group_memory()
    return min(psutil.virtual_memory().available, math.inf if left is None else left)  # type: ignore[return-value]


def group_memory(root: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process leave it, of Slurm or a container for instance; None: no limit.

    Its own group and all above it count, of version 2 and of version 1. Pages of files that can be dropped
    (inactive_file) are not taken as used. `root`: where /proc and /sys are.
    """
    left = []
    for version, group, top in _groups(root):
        for folder in (group, *group.parents):
            if (bytes_left := _left(folder, version)) is not None:
                left.append(bytes_left)
            if folder == top:
                break
    return max(0, min(left)) if left else None


CONTROL = {2: (("memory.max", "memory.high"), "memory.current", "inactive_file"),
           1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")}
"""Of each version of control groups: the files with limits, that with what is used, and the entry of memory.stat."""


def _groups(root: Path) -> Iterator[tuple[int, Path, Path]]:
    """(version, its folder, the topmost one that is mounted) of the control groups that count this process's memory."""
    try:
        own = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text().splitlines()]
    except OSError:  # no Linux
        return
    for line in mounts:
        kind, options = line[line.index("-") + 1], line[-1].split(",")
        version = {"cgroup2": 2, "cgroup": 1 if "memory" in options else 0}.get(kind, 0)
        for _, controllers, path in own if version else ():
            if (version == 2 and not controllers) or (version == 1 and "memory" in controllers.split(",")):
                top, inside = root / line[4].lstrip("/"), PurePosixPath(path)
                known = inside.is_relative_to(line[3]) and ".." not in inside.parts  # else it is seen from a container
                yield version, top / (inside.relative_to(line[3]) if known else ""), top


def _left(folder: Path, version: int) -> int | None:
    """Bytes that a control group leaves; None where it has no limit."""
    limits, used, droppable = CONTROL[version]
    found = [number for name in limits if (number := _number(folder / name)) is not None]
    taken = _number(folder / used)
    if not found or taken is None:
        return None
    try:
        entries = dict(line.split(None, 1) for line in (folder / "memory.stat").read_text().splitlines())
        return min(found) - max(0, taken - int(entries.get(droppable, 0)))
    except (OSError, ValueError):
        return min(found) - taken


def _number(path: Path) -> int | None:
    """The number that a file says; None for "max", and where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
