"""The fields of a configuration by name: copies with changes, written and read as JSON, values from text, differences.

Lives here: what any nested `spec` can do, whatever it says. Lives elsewhere: how a concept is declared (spec), the
configurations themselves (theory.config, vision.config).
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lrtheory.spec import ConfigError

T = TypeVar("T")


def changed(config: T, changes: Mapping[str, Any]) -> T:
    """A copy of a configuration with fields changed; dotted names reach into parts.

    Raises `ConfigError` for a name that is no field; the values are judged by `check`.
    """
    parts: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest:
            parts.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    try:
        for head, inner in parts.items():
            own[head] = dataclasses.replace(own.get(head, getattr(config, head)), **inner)
        return dataclasses.replace(config, **own)  # type: ignore[type-var]
    except (TypeError, AttributeError):
        unknown = [n for n in changes if n not in field_names(config)]
        raise ConfigError(f"unknown config field {', '.join(unknown)}: must be one of "
                          f"{', '.join(field_names(config))}") from None


def field_names(config: Any) -> list[str]:
    """Dotted names of all fields of a configuration, parts included."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names.append(field.name)
        if dataclasses.is_dataclass(value):
            names += [f"{field.name}.{inner.name}" for inner in dataclasses.fields(value)]
    return names


def to_json(config: Any) -> str:
    """The config as strict JSON text; infinite numbers become the strings "inf" and "-inf"."""
    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return value

    return json.dumps(plain(config), indent=2, allow_nan=False) + "\n"


def from_json(text: str, kind: type[T], source: str = "config") -> T:
    """Read a config of type `kind`; every field must be known and of its type, missing ones take their defaults.

    Raises `ConfigError` naming the source, the field and the remedy; the numbers themselves are judged by `check`.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}: not valid JSON at line {error.lineno} ({error.msg}); must be a whole config.json, "
                          "this one may be truncated; write it anew or start from --preset") from None
    return _build(kind, tree, source, "")


def read_config(path: str | Path, kind: type[T]) -> T:
    """Read a file with a config of type `kind`; raises `ConfigError` if it cannot be read, and as `from_json` does."""
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"--config {path}: cannot be read ({reason}); give a config.json that a run wrote") from None
    return from_json(text, kind, str(path))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What tells two JSON trees apart, a line a field.

    >>> differences({"training": {"eta1": 0.02}}, {"training": {"eta1": 0.03}})
    ['training.eta1: 0.02 in the folder, 0.03 asked for']
    """
    def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in tree.items():
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

    >>> from lrtheory import Config
    >>> convert_text(Config, "problem.d", "64"), convert_text(Config, "training.batch_size", "None")
    (64, None)
    """
    owner = kind
    *parts, field = name.split(".")
    for part in parts:
        owner = typing.get_type_hints(owner)[part]
    hint = typing.get_type_hints(owner)[field]
    kinds = get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    wanted: list[str] = []
    for kind in kinds:
        choices = get_args(kind) if typing.get_origin(kind) is Literal else ()
        wanted += [repr(c) for c in choices] or [{type(None): "None", int: "a whole number"}.get(kind, "a number")]
        if (kind is type(None) and text == "None") or text in choices:
            return None if text == "None" else text
        try:
            if kind is float and not math.isnan(number := float(text)):
                return number
            if kind is int and (number := float(text)).is_integer():
                return int(number)
        except (ValueError, OverflowError):
            continue
    raise ConfigError(f"{name} = {text}: must be {' or '.join(wanted)}; correct it")


def _build(cls: type, tree: Any, source: str, prefix: str) -> Any:
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: {prefix or 'the whole file'} must be a JSON object, not {type(tree).__name__}")
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = [key for key in tree if key not in known]
    if unknown:
        raise ConfigError(f"{source}: unknown key {prefix}{unknown[0]}; known keys here are {', '.join(known)}")
    return cls(**{key: _convert(hints[key], value, source, prefix + key) for key, value in tree.items()})


def _convert(hint: Any, value: Any, source: str, name: str) -> Any:
    """`value` as the type `hint`, or `ConfigError`."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, source, name + ".")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(args[0], item, source, name) for item in value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, source, name)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and value in ("inf", "-inf"):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if (hint is str or origin is Literal) and isinstance(value, str):
        return value
    wanted = "text" if origin is Literal else getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{source}: {name} = {json.dumps(value)}: must be {wanted}; correct it or leave it out")
