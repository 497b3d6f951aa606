"""The patched CIFAR-10 experiment: the paper's section 6 in a CNN.

Lives here: images, patch, models, runs and what they say. Lives elsewhere: the two-layer theory, which has rooms of the same
names (theory), and schedules (schedule), which both share.
"""

from lrtheory.lazy import on_demand

_ROOMS = (
    "checkpoints", "cifar", "config", "download", "figures", "models", "patches", "presets", "programs", "results", "runs",
    "simulate")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
