"""The arrays that functions reach: what they close over, their defaults, the global names and the objects that they read.

Lives here: the search. Lives elsewhere: what a traced program holds (programs).
"""

import functools
import types
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

MOST = 20_000
"""Objects that are looked at."""
LIBRARIES = ("jax", "jaxlib", "numpy", "optax", "flax", "equinox", "lrtheory")
"""Whose functions read no global array of a user."""
PLAIN = (str, bytes, int, float, complex, type, types.ModuleType, types.BuiltinFunctionType, jax.Array, np.generic,
         type(None))
"""What holds no array that JAX would copy."""


def arrays(functions: Iterable[Any]) -> list[np.ndarray]:
    """Arrays of NumPy that functions reach, of types that JAX does not compute in here, and so copies: float64, int64.

    >>> x, y = np.zeros(3), np.zeros(3, np.float32)
    >>> def task(x, y):
    ...     return lambda: x + y
    >>> [found is x for found in arrays([task(x, y)])]
    [True]
    """
    todo, seen, found = list(functions), {}, []
    while todo and len(seen) < MOST:
        part = todo.pop()
        if isinstance(part, PLAIN) or id(part) in seen:
            continue
        seen[id(part)] = part  # held, so that no other object has its number
        if isinstance(part, np.ndarray):
            if part.dtype.kind in "iufc" and jax.dtypes.canonicalize_dtype(part.dtype) != part.dtype:
                found.append(part)
        else:
            todo += _within(part)
    return found


def _within(part: Any) -> Iterator[Any]:
    """What an object leads to."""
    if isinstance(part, dict):
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    elif isinstance(part, types.FunctionType):
        cells = [cell for cell in part.__closure__ or () if cell != types.CellType()]
        yield from (cell.cell_contents for cell in cells)
        if (part.__module__ or "").partition(".")[0] not in LIBRARIES:
            yield from (part.__globals__[name] for name in _names(part.__code__) if name in part.__globals__)
        yield from (part.__defaults__, part.__kwdefaults__, part.__dict__)
    elif isinstance(part, types.MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, functools.partial):
        yield from (part.func, part.args, part.keywords)
    else:
        yield getattr(part, "__wrapped__", None)
        yield from getattr(part, "__dict__", {}).values() if isinstance(getattr(part, "__dict__", None), dict) else ()


def _names(code: types.CodeType) -> set[str]:
    """Names that are not local, in a function and in those that it makes."""
    found = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= _names(inner)
    return found
