"""Many configurations: axes, how they are cut, computed, kept and shown.

Lives here: grid, plan, store, the course of a sweep, its tables and figures. Lives elsewhere: one configuration (theory).
"""

from lrtheory.lazy import on_demand

_ROOMS = (
    "course", "figures", "folder", "grid", "manifest", "plan", "reading", "results", "store", "tables", "trainings")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
