"""Engines: ways of computing the same dynamics, behind one interface (`base.Engine`).

Lives here: their names. Lives elsewhere: each of them (one file an engine), the steps they take (simulate).
"""

from lrtheory.theory.engines.base import Engine, State
from lrtheory.theory.engines.decoupled import DECOUPLED
from lrtheory.theory.engines.dense import DENSE
from lrtheory.theory.engines.infinite import INFINITE
from lrtheory.theory.engines.reduced import REDUCED

ENGINES: dict[str, Engine] = {"dense": DENSE, "reduced": REDUCED, "decoupled": DECOUPLED,
                              "infinite": INFINITE}
"""Every engine, by its name in `lrtheory.theory.config.Config.engine`."""

__all__ = ["ENGINES", "Engine", "State"]
