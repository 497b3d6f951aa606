"""The fields of a configuration by name: copies with changes, written and read as JSON, values from text, differences.

Lives here: what any nested `spec` can do, whatever it says. Lives elsewhere: how a concept is declared (spec), the
configurations themselves (theory.config, vision.config).
"""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jax
import numpy as np
from jax.core import Tracer

from lrtheory.schedule import Schedule
from lrtheory.spec import ConfigError, require, shown
from lrtheory.wording import schedule_from

T = TypeVar("T")
MOST_TEXT = 2**27
"""Bytes of a file that is read as text; a config has thousands."""


def changed(config: T, changes: Mapping[str, Any]) -> T:
    """A copy of a configuration with fields changed; dotted names reach into parts.

    A field that is given takes back the one that says the same in another way (`spec.static`), unless both are. Raises
    `ConfigError` for a name that is no field; the values are judged by `check`.
    """
    try:
        changes = dict(changes) | {other: None for name, value in changes.items() if value is not None
                                   and (other := _instead(config, name)) not in (None, *changes)}
        for name in sorted(changes, key=lambda name: name.count(".")):  # whole parts before what is in them
            config = _with(config, name.split("."), changes[name])
    except (TypeError, AttributeError):
        unknown = [n for n in changes if not _has(config, n)]
        raise ConfigError(f"unknown config field {', '.join(map(shown, unknown))}: must be one of "
                          f"{', '.join(field_names(config))}") from None
    return config


def _with(owner: Any, path: list[str], value: Any) -> Any:
    """A copy of a part with what a path leads to changed; AttributeError where it leads nowhere."""
    head, *rest = path
    if isinstance(owner, tuple):
        k = _place(owner, head)
        return (*owner[:k], _with(owner[k], rest, value) if rest else value, *owner[k + 1 :])
    if not dataclasses.is_dataclass(owner):
        raise AttributeError(head)
    if isinstance(owner, Schedule) and not hasattr(owner, head):
        return dataclasses.replace(owner, stages=_with(owner.stages, path, value))
    return dataclasses.replace(owner, **{head: _with(getattr(owner, head), rest, value) if rest else value})  # type: ignore


def _place(entries: tuple[Any, ...], word: str) -> int:
    """Which of several parts a word means: its name, its number counted from 0, or its shape. Raises AttributeError."""
    for known in ("name", "shape"):
        places = [k for k, entry in enumerate(entries) if getattr(entry, known, None) == word]
        if len(places) == 1:
            return places[0]
    if word.isdecimal() and int(word) < len(entries):
        return int(word)
    raise AttributeError(word)


def find(config: Any, name: str) -> tuple[Any, dataclasses.Field]:
    """The part that has the field `name` (dotted) of a configuration, and the field. Raises AttributeError without one.

    Among several of a kind a part is found by its name, its number or its shape: algorithms.mine.rate.cosine.duration.

    >>> from lrtheory import Algorithm, Config, wsd
    >>> config = Config(algorithms=(Algorithm(wsd(0.02, 0.0, hold=5.0, decay=9.0)),))
    >>> find(config, "algorithms.mine.rate.decay.duration")[0].duration
    9.0
    """
    *path, last = name.split(".")
    owner = config
    for word in path:
        if isinstance(owner, Schedule) and not hasattr(owner, word):
            owner = owner.stages
        owner = owner[_place(owner, word)] if isinstance(owner, tuple) else getattr(owner, word)
    if not dataclasses.is_dataclass(owner):
        raise AttributeError(last)
    for field in dataclasses.fields(owner):
        if field.name == last:
            return owner, field
    raise AttributeError(last)


def _instead(config: Any, name: str) -> str | None:
    """The field, dotted, that says in another way what the field `name` says; None if there is none."""
    if not _has(config, name):
        return None
    other = find(config, name)[1].metadata.get("instead_of")
    return None if other is None else ".".join([*name.split(".")[:-1], other])


def given_over(config: T, base: T) -> T:
    """A configuration that was made of `base` by changing fields, each of which takes back what says the same.

    >>> from lrtheory import preset
    >>> base = preset("quick")  # gives kappa
    >>> import dataclasses
    >>> given = dataclasses.replace(base, problem=dataclasses.replace(base.problem, N=192))
    >>> given_over(given, base).problem.kappa is None
    True
    """
    back = {}
    for name in field_names(config):
        other = _instead(config, name)
        if other is not None and _value_at(config, name) not in (None, _value_at(base, name)) and (
                _value_at(config, other) == _value_at(base, other)):
            back[other] = None
    return changed(config, back) if back else config


def _value_at(config: Any, name: str) -> Any:
    """What a field, dotted, says."""
    owner, field = find(config, name)
    return getattr(owner, field.name)


def _has(config: Any, name: str) -> bool:
    """Whether a configuration has a field of this name."""
    try:
        find(config, name)
    except (AttributeError, TypeError):
        return False
    return True


def field_names(config: Any) -> list[str]:
    """Dotted names of all fields of a configuration, parts included."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names.append(field.name)
        if dataclasses.is_dataclass(value):
            names += [f"{field.name}.{inner.name}" for inner in dataclasses.fields(value)]
    return names


def settled(config: T, kind: type[T]) -> T:
    """The config of type `kind` with every field of its own type: numbers of NumPy and JAX as Python's, lists as tuples.

    Raises `ConfigError` for a value of another type. A subclass is one, in any part: a folder's config.json says fields, not
    classes, so that what a class of your own does would be left out, now or when the folder is read.
    """
    _must_be(config, (kind,), "config")
    return _build(kind, plain(config), "", "")


def _must_be(value: Any, kinds: Sequence[type], name: str) -> None:
    """Raise `ConfigError` for a spec, or a part of it, whose class is none of those declared."""
    if not dataclasses.is_dataclass(value) or not kinds:  # what is declared as no spec is judged as it is converted
        return
    wanted = " or ".join(kind.__name__ for kind in kinds)
    require(type(value) in kinds, name, f"a {type(value).__name__}", f"a {wanted} itself, no class of your own",
            "say it by its fields; lt.train takes models of your own")
    prefix = "" if name == "config" else f"{name}."
    for field, hint in _hints(type(value)).items():
        part = getattr(value, field)
        for k, one in enumerate(part if isinstance(part, tuple | list) else (part,)):
            own = f".{getattr(one, 'name', k)}" if isinstance(part, tuple | list) else ""
            _must_be(one, _specs(hint), f"{prefix}{field}{own}")


def _specs(hint: Any) -> list[type]:
    """The dataclasses that a type says: itself, or those of a union or a tuple."""
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    return [kind for argument in get_args(hint) for kind in _specs(argument)]


def to_json(config: Any) -> str:
    """The config as strict JSON text; infinite numbers become the strings "inf" and "-inf"."""
    return json.dumps(plain(config), indent=2, allow_nan=False) + "\n"


def plain(value: Any, nan: float | None = math.nan) -> Any:
    """A config, a tree, or a part or value of one as JSON has it: "inf", "-inf" for what is infinite, `nan` for no number.

    >>> plain({"ratio": (1.0, math.inf, math.nan)}, nan=None)
    {'ratio': [1.0, 'inf', None]}
    """
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name), nan) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(v, nan) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v, nan) for v in value]
    if isinstance(value, np.generic) or (isinstance(value, (np.ndarray, jax.Array)) and value.ndim == 0
                                         and not isinstance(value, Tracer)):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return nan
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def from_json(text: str, kind: type[T], source: str = "config") -> T:
    """Read a config of type `kind`; every field must be known and of its type, missing ones take their defaults.

    Raises `ConfigError` naming the source, the field and the remedy; the numbers themselves are judged by `check`.
    """
    return _build(kind, parse(text, source), source + ": ", "")


def parse(text: str, source: str) -> Any:
    """JSON text as a tree. Raises `ConfigError` for what is no JSON, keys that come twice, absurd numbers and depths."""
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        tree = dict(pairs)
        if len(tree) < len(pairs):
            twice = next(k for n, (k, _) in enumerate(pairs) if k in dict(pairs[:n]))
            raise ConfigError(f"{source}: the key {shown(twice)} comes twice; must be there once; remove one")
        return tree

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}: not valid JSON at line {error.lineno} ({error.msg}); must be a whole config.json, "
                          "this one may be truncated; write it anew or start from --preset") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply; must be a config.json that a run wrote; correct it") from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{source}: a number in it has thousands of digits; must be one that a run wrote; correct "
                          "it") from None


def read_text(path: Path) -> str:
    """What a small file says, a mark of the byte order left out. Raises `OSError` for what is no such file."""
    if path.exists() and not path.is_file():  # reading a pipe may never end
        raise OSError(None, "a folder" if path.is_dir() else "not a regular file")
    with path.open("rb") as file:
        contents = file.read(MOST_TEXT + 1)
    if len(contents) > MOST_TEXT:
        raise OSError(None, f"above {MOST_TEXT >> 20} MiB")
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(None, "not text in UTF-8") from None


def read_config(path: str | Path, kind: type[T]) -> T:
    """Read a file with a config of type `kind`; raises `ConfigError` if it cannot be read, and as `from_json` does."""
    path = Path(path)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--config {path}: cannot be read ({reason}); give a config.json that a run wrote") from None
    return from_json(text, kind, str(path))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What tells two JSON trees apart, a line a field.

    >>> differences({"training": {"eta1": 0.02}}, {"training": {"eta1": 0.03}})
    ['training.eta1: 0.02 in the folder, 0.03 asked for']
    """
    def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in tree.items():
            if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
                names = [entry.get("name") or str(k) if isinstance(entry, dict) else entry for k, entry in enumerate(value)]
                value = dict(zip(names, value, strict=True)) if len(set(names)) == len(names) else value
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    def shown(facts: dict[str, Any], name: str) -> str:
        text = json.dumps(facts[name]) if name in facts else "nothing"
        return text if len(text) < 60 else text[:57] + "..."

    kept, asked = dict(flat(here)), dict(flat(there))
    return [f"{name}: {shown(kept, name)} in the folder, {shown(asked, name)} asked for"
            for name in dict.fromkeys([*kept, *asked]) if kept.get(name) != asked.get(name)]


def convert_text(kind: type, name: str, text: str) -> Any:
    """The value of the field `name` (dotted) of a config of type `kind` that `text` says. Raises `ConfigError`.

    Several values, of a field that has them, stand with blanks between them; none: "none".

    >>> from lrtheory import Config
    >>> convert_text(Config, "problem.d", "64"), convert_text(Config, "training.batch_size", "None")
    (64, None)
    >>> from lrtheory.vision.config import Experiment
    >>> convert_text(Experiment, "model.widths", "16 32"), convert_text(Experiment, "training.augment", "True")
    ((16, 32), True)
    """
    owner = kind
    *parts, field = name.split(".")
    for part in parts:
        owner = _hints(owner)[part]
    return value_of(owner, field, name, text)


def value_of(owner: type, field: str, name: str, text: str) -> Any:
    """The value that `text` says of a field of a part, called `name` in messages. Raises `ConfigError`."""
    hint = _hints(owner)[field]
    if typing.get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], name, word) for word in ([] if text == "none" else text.split()))
    return _value(hint, name, text)


def _value(hint: Any, name: str, text: str) -> Any:
    """The value of type `hint` that `text` says. Raises `ConfigError`."""
    kinds = get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    wanted: list[str] = []
    for kind in kinds:
        choices = get_args(kind) if typing.get_origin(kind) is Literal else ()
        wanted += [repr(c) for c in choices] or [{type(None): "None", int: "a whole number", bool: "true or false"}.get(
            kind, "a number")]
        if text in choices:
            return text
        if kind is type(None) and text in ("None", "none"):
            return None
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind is float and not math.isnan(number := float(text)):
                return number
            if kind is int and (number := float(text)).is_integer() and abs(number) < 2**63:
                return int(number)
        except (ValueError, OverflowError):
            continue
    raise ConfigError(f"{name} = {shown(text)}: must be {' or '.join(wanted)}; correct it")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of a config's fields."""
    return typing.get_type_hints(cls)


def _build(cls: type, tree: Any, source: str, prefix: str) -> Any:
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}{prefix or 'the whole file'} must be a JSON object, not {type(tree).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = [key for key in tree if key not in fields]
    if unknown:
        raise ConfigError(f"{source}unknown key {prefix}{shown(unknown[0])}; known keys here are {', '.join(fields)}")
    lacking = [name for name, f in fields.items() if name not in tree
               and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    if lacking:
        raise ConfigError(f"{source}{prefix}{lacking[0]} is missing; must be given; add it")
    return cls(**{key: _convert(_hints(cls)[key], value, source, prefix + key) for key, value in tree.items()})


def _convert(hint: Any, value: Any, source: str, name: str) -> Any:
    """`value` as the type `hint`, or `ConfigError`."""
    if dataclasses.is_dataclass(hint):
        read = schedule_from if hint is Schedule else getattr(hint, "from_text", None)
        if isinstance(value, str if hint is not Schedule else str | float | int) and read is not None:
            try:
                return read(value)
            except ConfigError as error:
                raise ConfigError(f"{source}{name}: {error}") from None
        return _build(typing.cast(type, hint), value, source, name + ".")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(args[0], item, source, name) for item in value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [a for a in args if a is not type(None)]
        if len(kinds) > 1:  # a word that is known, or a part in words or as an object
            parts = [a for a in kinds if dataclasses.is_dataclass(a)]
            kinds = parts if isinstance(value, dict) or (isinstance(value, str) and ":" in value) else kinds
        return _convert(kinds[0], value, source, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not isinstance(value, float) and abs(value) >= 2**63:
        raise ConfigError(f"{source}{name} = {shown(value)}: must be below 2^63; correct it")
    if hint is float and (number or (isinstance(value, str) and value in ("inf", "-inf"))):
        return float(value)
    if hint is int and number and not isinstance(value, float):
        return int(value)
    if hint is bool and isinstance(value, bool):
        return value
    if (hint is str or origin is Literal) and isinstance(value, str):
        return str(value)
    wanted = {tuple: "a list", Literal: "text"}.get(origin) or {str: "text", int: "a whole number", float: "a number",
                                                                bool: "true or false"}.get(hint, str(hint))
    try:
        said = json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # nothing that JSON has
        said = f"a value of type {type(value).__name__}"
    raise ConfigError(f"{source}{name} = {shown(said)}: must be {wanted}; correct it or leave it out")
