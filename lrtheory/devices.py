"""The devices a batch of runs is spread over.

Lives here: the mesh over local devices and turning CPU cores into devices. Lives elsewhere: what runs on them.
"""

import os
import warnings

import jax
import numpy as np
from jax.sharding import Mesh

RUNS = "runs"
"""Name of the mesh axis over which runs are spread; they never talk to each other."""


def use_all_cores() -> None:
    """Make every CPU core a JAX device, so that independent runs use all of them; call before any other JAX work.

    Leaves accelerators, and a number of CPU devices that you chose yourself, as they are. Warns where it comes too
    late: once JAX has started its devices are fixed.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        if jax.default_backend() == "cpu" and jax.local_device_count() < cores:
            warnings.warn(f"JAX has started with {jax.local_device_count()} CPU device(s) on {cores} cores: call "
                          "use_all_cores() before anything else of JAX", stacklevel=2)


def run_mesh(runs: int) -> Mesh:
    """A one-axis mesh over local devices, never more than there are runs."""
    devices = jax.local_devices()
    return Mesh(np.array(devices[: min(len(devices), runs)]), (RUNS,))
