"""Infinitely wide networks under noisy SGD at a finite rate, on your own arrays.

Lives here: the rooms of `lrtheory.limit`. Lives elsewhere: the kernel with memory as such (theory.kernel), the paper's own
distribution at infinite width (theory.engines), networks with neurons (custom).
"""

from lrtheory.lazy import on_demand

_ROOMS = ("config", "data", "gram", "memory", "runs", "simulate", "timescales")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
