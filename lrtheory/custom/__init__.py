"""Your own experiment: any JAX model, data, loss and optimiser under the same schedules and noise, many seeds in one call.

Lives here: the rooms of `lrtheory.train`. Lives elsewhere: the paper's network (theory) and CNN (vision), schedules and
noise (the ground floor).
"""

from lrtheory.lazy import on_demand

_ROOMS = ("answers", "closures", "config", "models", "optimisers", "programs", "runs", "simulate")
__all__ = [*_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, {room: room for room in _ROOMS})
