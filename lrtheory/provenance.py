"""Where numbers come from: versions, device, precision and git revision, for whoever reproduces a result.

Lives here: facts about this process. Lives elsewhere: the results that carry them (labelled, sweeps.store).
"""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax


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
