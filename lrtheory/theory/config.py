"""Everything that determines a run, as one value: checked, written and read as JSON.

Lives here: `Config`, checks that cross concepts, JSON. Lives elsewhere: named configurations (presets) and the
fields of each part, beside the functions that use them.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lrtheory.spec import ConfigError, require, require_choice, spec, static
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.timescales import stability_bound
from lrtheory.theory.training import AlgorithmName, Training

T = TypeVar("T")
EngineName = Literal["dense", "reduced", "decoupled", "infinite"]
"""Values of `Config.engine`."""


@spec
class Config:
    """A run of several algorithms over several seeds; a run's randomness depends on its seed alone."""

    name: str = static(default="custom")
    """what to call the run"""
    note: str = static(default="")
    """what the reader of its results must know"""
    problem: Problem = dataclasses.field(default_factory=Problem, metadata={"static": False})
    network: Network = dataclasses.field(default_factory=Network, metadata={"static": False})
    training: Training = dataclasses.field(default_factory=Training, metadata={"static": False})
    engine: EngineName = static(default="decoupled")
    """dense: (m, d) weights, plain; reduced: the same network, exactly, faster; decoupled: gates from the noise part;
    infinite: the limit of decoupled for m -> infinity, no neurons at all"""
    algorithms: tuple[AlgorithmName, ...] = static(default=("L-S", "S"))
    """which of L-S, S and S+noise to train"""
    seeds: int = static(default=8)
    """number of seeds an algorithm"""
    first_seed: int = static(default=0)
    """seeds are first_seed, first_seed + 1, ..."""
    records: int = static(default=200)
    """number of records after the initial one; record k lies at step steps (k/records)^2, close together early"""
    n_test: int = static(default=4096)
    """number of test points"""
    required_ratio: float = static(default=2.0)
    """the verdict asks for a test error on P of S at least this many times that of L-S"""

    def check(self) -> "Config":
        """Return self, or raise `ConfigError` with the first thing that is wrong."""
        self.problem.check()
        self.network.check()
        self.training.check(self.problem.n_train)
        require_choice("engine", self.engine, get_args(EngineName))
        require(len(self.algorithms) > 0, "algorithms", self.algorithms, "at least one", "for example L-S S")
        require(len(set(self.algorithms)) == len(self.algorithms), "algorithms", self.algorithms,
                "different from each other", "name each once")
        for name in self.algorithms:
            require_choice("algorithms", name, get_args(AlgorithmName))
            require(name != "S+noise" or self.training.activation_noise_form is not None,
                    "training.activation_noise_form", None, "set for the algorithm S+noise",
                    "choose example or shared")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1", "2 or more give standard errors")
        require(0 <= self.first_seed < 2**31 - self.seeds, "first_seed", self.first_seed, "in [0, 2^31 - seeds)",
                "choose another")
        require(1 <= self.records <= self.training.steps, "records", self.records,
                f"between 1 and training.steps = {self.training.steps}", "record less often or train longer")
        require(self.n_test >= 1, "n_test", self.n_test, "at least 1", "4096 resolve an error of 0.5%")
        require(self.required_ratio >= 1, "required_ratio", self.required_ratio, "at least 1", "2 asks for twice")
        bound = stability_bound(self.problem)
        require(self.training.eta1 < bound, "training.eta1", self.training.eta1,
                f"below the stability bound 2/lambda_max = {bound:.4g} of this problem",
                "lower the rate or problem.z_norm")
        if self.engine == "infinite":
            self._check_infinite()
        require(self.adaptive or self.training.step_time < bound, "training.step_time", self.training.step_time,
                f"below the stability bound 2/lambda_max = {bound:.4g} of this problem (K eta is one gradient step)",
                "lower it; 0 takes K = 1")
        return self

    def _check_infinite(self) -> None:
        """Raise `ConfigError` for what the infinite-width engine cannot do."""
        require(self.problem.r < 1, "problem.r", self.problem.r, "below 1 for the infinite engine",
                "z + zeta and z - zeta are taken to lie less than 90 degrees apart")
        resolved = 200 * self.network.shortest_lag
        require(self.problem.r**2 >= resolved, "problem.r", self.problem.r,
                f"at least {math.sqrt(resolved):.3g} = (200 network.shortest_lag)^(1/2)", "lower network.shortest_lag")
        if self.adaptive:
            require(self.training.step_time > 0, "training.step_time", self.training.step_time,
                    "positive where the infinite engine chooses its steps",
                    "records lie at multiples of it; or set training.tolerance 0 to take fixed steps")
            require(self.training.batch_size is None, "training.batch_size", self.training.batch_size,
                    "None where the infinite engine chooses its steps", "or set training.tolerance 0 to take fixed steps")

    def at_infinite_width(self) -> "Config":
        """The same run at infinite width, in steps that the engine chooses: the theory's prediction of it.

        Same data, algorithms and clock; full batches, whatever the batch; at most 60 records, for it is smooth. With
        step_time below eta1, where S ends before L-S, both are followed to the later time.
        """
        training, network = self.training, self.network
        return self.replace(engine="infinite", records=min(self.records, 60), **{
            "training.tolerance": training.tolerance or Training().tolerance, "training.batch_size": None,
            "training.step_time": max(training.step_time, training.eta1),
            "network.shortest_lag": min(network.shortest_lag, self.problem.r**2 / 1000)})

    @property
    def adaptive(self) -> bool:
        """Whether the engine chooses how many iterations a step takes."""
        return self.engine == "infinite" and self.training.tolerance > 0

    def replace(self, **changes: Any) -> "Config":
        """A copy with fields changed; dotted names reach into parts. Raises `ConfigError` for a name that is no field.

        >>> from lrtheory import preset
        >>> config = preset("quick").replace(seeds=2, **{"problem.r": 0.03})
        >>> config.seeds, config.problem.r
        (2, 0.03)
        """
        return changed(self, changes)


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


def from_json(text: str, source: str = "config", kind: type[T] = Config) -> T:
    """Read a config; every field must be known and of its type, missing ones take their defaults.

    Raises `ConfigError` naming the source, the field and the remedy; the numbers themselves are judged by `check`.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}: not valid JSON at line {error.lineno} ({error.msg}); must be a whole config.json, "
                          "this one may be truncated; write it anew or start from --preset") from None
    return _build(kind, tree, source, "")


def read_config(path: str | Path, kind: type[T] = Config) -> T:
    """Read a config file. Raises `ConfigError` for a file that cannot be read, and as `from_json` does."""
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"--config {path}: cannot be read ({reason}); give a config.json that a run wrote") from None
    return from_json(text, str(path), kind)


def convert_text(name: str, text: str) -> Any:
    """The value of the field `name` (dotted) that `text` says. Raises `ConfigError`.

    >>> convert_text("problem.d", "64"), convert_text("training.batch_size", "None")
    (64, None)
    """
    owner: type = Config
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
