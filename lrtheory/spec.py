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


LEAST, MOST = 1e-36, 1e36
"""Numbers that count as such: float32 holds them, and float64 their products."""


class ConfigError(ValueError):
    """Bad input: one line with the value, the bound it breaks and the remedy; no control characters."""

    def __init__(self, message: str) -> None:
        """What to say; whatever is in it, it is one line when said."""
        super().__init__(one_line(message, 1200))


def one_line(text: str, most: int) -> str:
    r"""Text as one line of at most `most` characters: what is not printable escaped, a long one without its middle.

    >>> one_line("a\nb", 80), one_line("9" * 80, 20)
    ('a\\nb', '9999999999 ... 99999')
    """
    ends = text if len(text) <= 2 * most else text[:most] + text[-most:]  # escaping what is left out would take long
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in ends)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-(most - most // 2 - 5) :]}"


def shown(value: Any, most: int = 80) -> str:
    """A value as messages show it: at most `most` characters of one line."""
    try:
        return one_line(f"{value:.6g}" if isinstance(value, float) else str(value), most)
    except ValueError:  # Python does not write numbers of thousands of digits
        return f"a number of {int(value).bit_length() * 0.30103:.0f} digits" if isinstance(value, int) else "a long value"


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
        raise ConfigError(f"{name} = {shown(value)}: must be {bound}; {remedy}")


def span() -> tuple[float, float, str]:
    """Least and largest number that counts as one in the precision in use, and why: products of two must not leave it."""
    if jax.config.read("jax_enable_x64"):
        return 1e-150, 1e150, "float64 holds no products of others"
    return LEAST, MOST, "float32 holds no others; in double precision (jax.enable_x64) more is possible"


def require_positive(name: str, value: float) -> None:
    """Raise `ConfigError` unless value is a positive number that the precision in use holds (`span`)."""
    require(0 < value < math.inf, name, value, "a positive finite number", "give one above 0")
    least, most, why = span()
    require(least <= value <= most, name, value, f"between {least:g} and {most:g}", why)


def require_nonnegative(name: str, value: float) -> None:
    """Raise `ConfigError` unless value is 0 or a positive number that the precision in use holds (`span`)."""
    require(0 <= value < math.inf, name, value, "a finite number of at least 0", "give 0 or more")
    _, most, why = span()
    require(value <= most, name, value, f"at most {most:g}", why)


def require_count(name: str, value: int, least: int, remedy: str) -> None:
    """Raise `ConfigError` unless value is between `least` and 2^31 - 1, what an index can count."""
    require(value >= least, name, value, f"at least {least}", remedy)
    require(value < 2**31, name, value, "below 2^31", "lower it")


def require_words(name: str, note: str) -> None:
    """Raise `ConfigError` unless a name and a note are what folders, terminals and reports can hold."""
    require(name.isprintable() and 0 < len(name) <= 100, "name", repr(name), "a line of 1 to 100 printable characters",
            "choose another")
    require(all(c.isprintable() or c in "\n\t" for c in note), "note", repr(note), "free of control characters",
            "leave them out")


def choose(table: Mapping[str, T], name: str, option: str) -> T:
    """`table[name]`, or `ConfigError` "option name: must be one of ..." for a name that is not in it."""
    if name not in table:
        raise ConfigError(f"{option} {shown(name)}: must be one of {', '.join(table)}; choose one of these")
    return table[name]


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`."""
    require(value in choices, name, repr(value), "one of " + ", ".join(choices), "choose one of these")
