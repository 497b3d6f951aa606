"""How a concept is declared: a frozen dataclass that JAX can trace, each field static or swept.

Lives here: the decorator, the two kinds of field, the one exception for bad input and the checks that raise it.
Lives elsewhere: every concept itself, beside the functions that use it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


class ConfigError(ValueError):
    """Bad input: one line with the value, the bound it breaks and the remedy."""


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field that shapes the program (sizes, names): changing it compiles anew; without `default` it must be given."""
    return dataclasses.field(default=default, metadata={"static": True})


def swept(default: Any = dataclasses.MISSING) -> Any:
    """A field that is a number: traced, so it may be a batched array and never recompiles; `default` as in `static`."""
    return dataclasses.field(default=default, metadata={"static": False})


@dataclass_transform(frozen_default=True, field_specifiers=(static, swept), kw_only_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass and a JAX pytree whose leaves are its swept fields.

    Every field is declared by `static` or `swept`; one that is itself a spec has metadata {"static": False}.

    >>> import jax
    >>> @spec
    ... class Law:
    ...     size: int = static(default=2)
    ...     scale: float = swept(default=0.5)
    >>> jax.tree.leaves(Law(scale=0.25))
    [0.25]
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    kinds = {f.name: f.metadata["static"] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return jax.tree_util.register_dataclass(
        cls,
        data_fields=[name for name, is_static in kinds.items() if not is_static],
        meta_fields=[name for name, is_static in kinds.items() if is_static],
    )


def require(holds: bool, name: str, value: Any, bound: str, remedy: str) -> None:
    """Raise `ConfigError` "name = value: must be bound; remedy" unless `holds`."""
    if not holds:
        shown = f"{value:.6g}" if isinstance(value, float) else value
        raise ConfigError(f"{name} = {shown}: must be {bound}; {remedy}")


def require_positive(name: str, value: float) -> None:
    """Raise `ConfigError` unless 0 < value < infinity."""
    require(0 < value < math.inf, name, value, "a positive finite number", "give one above 0")


def require_nonnegative(name: str, value: float) -> None:
    """Raise `ConfigError` unless 0 <= value < infinity."""
    require(0 <= value < math.inf, name, value, "a finite number of at least 0", "give 0 or more")


def choose(table: Mapping[str, T], name: str, option: str) -> T:
    """`table[name]`, or `ConfigError` "option name: must be one of ..." for a name that is not in it."""
    if name not in table:
        raise ConfigError(f"{option} {name}: must be one of {', '.join(table)}; choose one of these")
    return table[name]


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`."""
    require(value in choices, name, repr(value), "one of " + ", ".join(choices), "choose one of these")
