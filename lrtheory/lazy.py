"""Public names that are loaded when first used, so that importing the package, and its help, are immediate.

Lives here: the hook. Lives elsewhere: which names there are (each package's `__init__`).
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, modules: Mapping[str, str], names: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """A package's `__getattr__`: modules {name: module below it}, and names {name: module that has it}.

    >>> find = on_demand("lrtheory", {"schedule": "schedule"}, {"constant": "schedule"})
    >>> find("constant") is find("schedule").constant
    True
    """
    names = names or {}

    def find(name: str) -> Any:
        if name in modules:
            found = import_module(f"{package}.{modules[name]}")
        elif name in names:
            found = getattr(import_module(f"{package}.{names[name]}"), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, found)
        return found

    return find
