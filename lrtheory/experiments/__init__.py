"""Experiments of any kind: by what each is known, and what is said and drawn of it.

Lives here: the kinds, and the operations that work on all of them. Lives elsewhere: what each kind is (theory, vision,
custom, wide), many configurations of one (sweeps).
"""

from lrtheory.lazy import on_demand

_ROOMS = ("kinds", "results")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
