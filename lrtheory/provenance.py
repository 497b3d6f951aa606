"""Where numbers come from: versions, device, precision and git revision, for whoever reproduces a result.

Lives here: facts about this process. Lives elsewhere: the results that carry them (labelled, sweeps.store).
"""

import datetime
import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from lrtheory import keys

MATTERS = ("lrtheory", "jax", "jaxlib", "device", "precision", "settings", "git_revision")
"""Facts about a process that its numbers may depend on."""


def environment() -> dict[str, str | int | float]:
    """Versions, device, precision and git revision of this process, and the date (UTC): {name: text or number}."""
    facts: dict[str, str | int | float] = {"python": platform.python_version()}
    for package in ("lrtheory", "jax", "jaxlib", "flax", "optax", "numpy", "xarray"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed as a package"
    device = jax.local_devices()[0]
    facts |= {"device": device.device_kind, "platform": device.platform, "cpu_cores": os.cpu_count() or 0,
              "precision": "float64" if jax.config.read("jax_enable_x64") else "float32, products at highest precision",
              "random": keys.described(), "settings": settings(), "git_revision": _git_revision(),
              "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    return facts


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, now) of what two environments differ in that may change numbers.

    >>> changes({"device": "cpu", "python": "3.11"}, {"device": "TPU v5e", "python": "3.12"})
    [('device', 'cpu', 'TPU v5e')]
    """
    return [(name, before.get(name), now.get(name)) for name in MATTERS if before.get(name) != now.get(name)]


def settings() -> str:
    """Settings of JAX and XLA that may change numbers, those of random numbers aside, where they are not as usual."""
    usual = {"jax_default_matmul_precision": None, "jax_disable_jit": False, "jax_numpy_dtype_promotion": "standard",
             "jax_softmax_custom_jvp": False}
    odd = [f"{n} {value}" for n, normal in usual.items() if str(value := getattr(jax.config, n, normal)) != str(normal)]
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in flag]
    return ", ".join(odd + flags) or "usual"


@functools.cache
def _git_revision() -> str:
    """Revision of the source tree this package runs from, with "+changes" where the package differs; "none" outside one.

    Found once a process, which runs what it has loaded: results kept while a training goes on carry it each time.
    """
    here = Path(__file__).resolve().parent
    try:
        def git(*words: str) -> str:
            return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10,
                                  check=True).stdout.strip()

        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return "none"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", here.name) else "")
    except (OSError, subprocess.SubprocessError):
        return "none"
