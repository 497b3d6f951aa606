"""The provable setting: the two-layer network on the paper's distribution.

Lives here: problem, network, kernel, algorithms' numbers, engines, runs and what they say. Lives elsewhere: the CNN
(vision), many configurations (sweeps), claims judged (predictions).
"""

from lrtheory.lazy import on_demand

_ROOMS = (
    "config", "engines", "figures", "html", "kernel", "measure", "network", "presets", "problem", "programs",
    "results", "runs", "simulate", "timescales", "training", "weights")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
