"""How a concept is declared: a frozen dataclass that JAX can trace, each field static or swept.

Lives here: the decorator, the two kinds of field, the one exception for bad input and the checks that raise it.
Lives elsewhere: every concept itself, beside the functions that use it.
"""

import ast
import dataclasses
import functools
import inspect
import math
import numbers
import os
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, overload

import jax
import numpy as np
from jax.core import Tracer

T = TypeVar("T")


MOST_WHOLE = 2**1023
"""Whole numbers below it are numbers of float64, too."""
LEAST, MOST = 1e-36, 1e36
"""Numbers that count as such: float32 holds them, and float64 their products."""


class ConfigError(ValueError):
    """Bad input: one line with the value, the bound it breaks and the remedy; no control characters.

    Arguments are named as options are, `--n-test`: so `in_shell` says them, and `str` in Python's words, `n_test`.
    """

    def __init__(self, message: str) -> None:
        """What to say; whatever is in it, it is one line when said."""
        self.in_shell = one_line(message, 1200)
        super().__init__(in_python(self.in_shell))


def in_python(text: str) -> str:
    """Text in which arguments are named as Python does; commands of the shell, `lrtheory ...`, stay as they are.

    >>> in_python("lower --n-test or --seeds; or lrtheory run --seeds 2")
    'lower n_test or seeds; or lrtheory run --seeds 2'
    """
    commands = r"(\blrtheory (?:run|sweep|verify|theorem|design|cifar|plot|export)\b[^;,`]*)"
    parts = re.split(commands, text)
    return "".join(part if k % 2 else re.sub(r"(?<![\w-])--([a-z][a-z0-9-]*)", lambda m: m[1].replace("-", "_"), part)
                   for k, part in enumerate(parts))


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


def static(default: Any = dataclasses.MISSING, instead_of: str | None = None) -> Any:
    """A field that shapes the program (sizes, names): changing it compiles anew; without `default` it must be given.

    `instead_of`: another one that says the same in another way. To give one takes back the other, None.
    """
    return dataclasses.field(default=default, metadata={"static": True, "instead_of": instead_of})


def swept(default: Any = dataclasses.MISSING) -> Any:
    """A field that is a number: traced, so it may be a batched array and never recompiles; `default` as in `static`."""
    return dataclasses.field(default=default, metadata={"static": False})


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(static, swept), kw_only_default=True)
def spec(cls: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(static, swept), kw_only_default=True)
def spec(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...


def spec(cls: type[T] | None = None, /, *, kw_only: bool = True) -> Any:
    """Make `cls` a frozen keyword-only dataclass and a JAX pytree whose leaves are its swept fields.

    `@spec(kw_only=False)`: fields may be given by position, too.

    Every field is declared by `static` or `swept`; one that is itself a spec has metadata {"static": False}. Scalars of
    NumPy and JAX become Python's where the field is static, for they must be compared; `help` lists the fields' meanings.

    >>> import jax
    >>> @spec
    ... class Law:
    ...     size: int = static(default=2)
    ...     scale: float = swept(default=0.5)
    >>> jax.tree.leaves(Law(scale=0.25))
    [0.25]
    """
    if cls is None:
        return functools.partial(spec, kw_only=kw_only)  # type: ignore[call-overload]

    def settle(self: Any) -> None:
        for name, is_static in kinds.items():
            value = getattr(self, name)
            number = isinstance(value, (np.generic, jax.Array)) and getattr(value.dtype, "kind", "") in [*"biufSU"]
            if is_static and number and not np.ndim(value):
                object.__setattr__(self, name, value.item())

    cls.__post_init__ = settle  # type: ignore[attr-defined]
    cls = dataclasses.dataclass(frozen=True, kw_only=kw_only)(cls)
    cls.__doc__ = _WithFields(cls.__doc__ or "")  # type: ignore[assignment]
    kinds = {f.name: f.metadata["static"] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return jax.tree_util.register_dataclass(
        cls,
        data_fields=[name for name, is_static in kinds.items() if not is_static],
        meta_fields=[name for name, is_static in kinds.items() if is_static],
    )


class _WithFields:
    """A class's docstring with what its fields say of themselves below them, read from the source when it is asked for."""

    def __init__(self, text: str) -> None:
        self.text = inspect.cleandoc(text)

    def __get__(self, _: Any, owner: type) -> str:
        try:
            known = meanings(owner)
        except (OSError, TypeError, SyntaxError):  # no source is at hand
            return self.text
        fields = "".join(f"\n    {name}: {text}" for name, text in known.items())
        return self.text + f"\n\nAttributes:{fields}\n" * bool(fields)


def meanings(kind: type) -> dict[str, str]:
    """{field: what the string below it says, as one line} of a dataclass whose source is at hand."""
    found: dict[str, str] = {}
    for base in reversed([b for b in kind.__mro__ if dataclasses.is_dataclass(b)]):
        found |= _meanings(inspect.getsourcefile(base) or "").get(base.__qualname__, {})
    return found


@functools.cache
def _meanings(path: str) -> dict[str, dict[str, str]]:
    """{class: {field: what the string below it says, as one line}} of a source file."""
    classes = [node for node in ast.parse(Path(path).read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return {node.name: {field.target.id: " ".join(said.value.value.split()) for field, said in pairwise(node.body)
                        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                        and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
                        and isinstance(said.value.value, str)} for node in classes}


def require(holds: bool, name: str, value: Any, bound: str, remedy: str) -> None:
    """Raise `ConfigError` "name = value: must be bound; remedy" unless `holds`."""
    if not holds:
        raise ConfigError(f"{name} = {shown(value)}: must be {bound}; {remedy}")


def require_kind(name: str, value: Any, kind: type | tuple[type, ...], bound: str, remedy: str) -> None:
    """Raise `ConfigError` unless a value is of a type. What is no word and no number is told by its type."""
    shows = value if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    require(isinstance(value, kind), name, shows, bound, remedy)


def is_number(value: Any) -> bool:
    """Whether a value is one real number that float64 holds: Python's, NumPy's or JAX's; no truth value, no text.

    >>> is_number(np.float32(2)), is_number(10**400), is_number(True), is_number("2")
    (True, False, False, False)
    """
    if isinstance(value, np.ndarray | jax.Array):
        return not value.ndim and any(jax.numpy.issubdtype(value.dtype, kind) for kind in (np.integer, np.floating))
    if isinstance(value, int):
        return not isinstance(value, bool) and -MOST_WHOLE < value < MOST_WHOLE
    return isinstance(value, numbers.Real) and not isinstance(value, np.bool_)


def require_number(name: str, value: Any, holds: Callable[[float], bool], bound: str, remedy: str) -> None:
    """Raise `ConfigError` unless a value is a number for which something holds; one that is traced is taken as right."""
    if not isinstance(value, Tracer):
        require(is_number(value) and holds(float(value)), name, value, bound, remedy)


def require_path(name: str, value: Any) -> Path:
    """The path that a value names, or `ConfigError` where no file system has such a name."""
    require_kind(name, value, (str, os.PathLike), "a path", "give the name of a folder or a file")
    try:
        parts = [len(os.fsencode(part)) for part in Path(value).parts]
    except (TypeError, ValueError):
        parts = [math.inf]
    require(sum(parts) + len(parts) < 4096 and max(parts, default=0) < 256 and "\0" not in str(value), name, value,
            "a path that a file system takes: names of at most 255 bytes, 4,095 in all", "choose another")
    return Path(value)


def span() -> tuple[float, float, str]:
    """Least and largest number that counts as one in the precision in use, and why: products of two must not leave it."""
    if jax.config.read("jax_enable_x64"):
        return 1e-150, 1e150, "float64 holds no products of others"
    return LEAST, MOST, "float32 holds no others; in double precision (jax.enable_x64) more is possible"


def require_positive(name: str, value: float) -> None:
    """Raise `ConfigError` unless value is a positive number that the precision in use holds (`span`)."""
    require(is_number(value) and 0 < value < math.inf, name, value, "a positive finite number", "give one above 0")
    least, most, why = span()
    require(least <= value <= most, name, value, f"between {least:g} and {most:g}", why)


def require_nonnegative(name: str, value: float) -> None:
    """Raise `ConfigError` unless value is 0 or a positive number that the precision in use holds (`span`)."""
    require(is_number(value) and 0 <= value < math.inf, name, value, "a finite number of at least 0", "give 0 or more")
    _, most, why = span()
    require(value <= most, name, value, f"at most {most:g}", why)


def require_count(name: str, value: int, least: int, remedy: str) -> None:
    """Raise `ConfigError` unless value is between `least` and 2^31 - 1, what an index can count."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    require(whole, name, value, "a whole number", remedy)
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
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"{option} {shown(name)}: must be one of {', '.join(table)}; choose one of these")
    return table[name]


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`."""
    known = isinstance(value, str) and value in choices
    require(known, name, repr(value), "one of " + ", ".join(choices), "choose one of these")
