"""Engines: ways of computing the same dynamics, behind one interface (`base.Engine`)."""

from lrtheory.engines.base import Engine, State
from lrtheory.engines.decoupled import DECOUPLED
from lrtheory.engines.dense import DENSE
from lrtheory.engines.infinite import INFINITE
from lrtheory.engines.reduced import REDUCED

ENGINES: dict[str, Engine] = {"dense": DENSE, "reduced": REDUCED, "decoupled": DECOUPLED,
                              "infinite": INFINITE}
"""Every engine, by its name in `lrtheory.config.Config.engine`."""

__all__ = ["ENGINES", "Engine", "State"]
