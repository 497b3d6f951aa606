"""A grid of configurations: named axes over the fields of a config, as a product.

Lives here: axes, their values from text, which of them are static, the config at each point, a grid and what is added to
it. Lives elsewhere: what tells kinds of configurations apart (kinds), how the points are computed (plan, course, trainings)
and stored (store).
"""

import dataclasses
import difflib
import functools
import itertools
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lrtheory.experiments.kinds import TRAININGS, sweep_of
from lrtheory.fields import field_names, find, value_of
from lrtheory.files import require_name
from lrtheory.labelled import OWN
from lrtheory.spec import MOST, ConfigError, require_kind, shown

MEASURED_TOO = ("steps", "activation_noise")
"""Fields whose names without their part are also measurements (a test compares with `lrtheory.theory.measure.described`)."""
INSIDE = re.compile(r"(?:algorithms|problem\.extra_groups)\.(.+)")
"""Fields of algorithms and groups of your own, by their names: algorithms.mine.rate.cosine.duration."""
MOST_POINTS = 1_000_000
"""A grid with more points is taken for a mistake."""
MOST_RUNS = 100_000_000
"""And so is one with more runs."""


def label_of(field: str) -> str:
    """What a field is called in results: without its part, unless a measurement is called so.

    >>> label_of("training.eta_ratio"), label_of("training.steps"), label_of("algorithms.mine.rate.cosine.duration")
    ('eta_ratio', 'training_steps', 'mine_rate_cosine_duration')
    """
    if inner := INSIDE.match(field):
        return re.sub(r"\W+", "_", inner[1])
    short = field.rpartition(".")[2]
    return field.replace(".", "_") if short in MEASURED_TOO else short


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis: the values of one field, or of several fields walked together (zipped)."""

    fields: tuple[str, ...]
    """dotted names of config fields"""
    values: tuple[tuple[Any, ...], ...]
    """for each step along the axis, one value a field"""

    @property
    def name(self) -> str:
        """The dimension in the results: the label of the first field."""
        return label_of(self.fields[0])


@dataclasses.dataclass(frozen=True)
class Grid:
    """All combinations of the values of some axes, on top of a base config; a point is an index along each axis."""

    config: Any
    """what all points share, a `Config` or an `Experiment`; a field that is on an axis has the axis's values instead"""
    axes: tuple[Axis, ...]
    """in the order of the results' dimensions; none: a single point"""
    images: str | None = None
    """digest of the images that trainings see; None: they see none, or it is not known yet"""

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def points(self) -> int:
        """Number of configurations."""
        return math.prod(self.shape)

    @property
    def runs(self) -> int:
        """Number of runs: points x algorithms x seeds."""
        return self.points * len(self.config.algorithms) * self.config.seeds

    @property
    def compiled(self) -> tuple[bool, ...]:
        """For each axis, whether its steps are separate programs: a static field changes, or is None at some."""
        return tuple(any(is_static(self.config, f) for f in axis.fields) or any(None in row for row in axis.values)
                     for axis in self.axes)

    @property
    def swept(self) -> tuple[str, ...]:
        """Fields that differ between the points of one program."""
        return tuple(f for axis, compiled in zip(self.axes, self.compiled, strict=True) if not compiled for f in axis.fields)

    @property
    def widest(self) -> Any:
        """The config that gives the results their shape: what any point measures, for as long as any does."""
        every = {f: [row[k] for row in axis.values] for axis in self.axes for k, f in enumerate(axis.fields)}
        return self.config.replace(**{f: max(every[f]) for f in sweep_of(self.config).largest if f in every})

    @functools.cached_property
    def measured(self) -> dict[str, tuple[np.dtype, bool]]:
        """What any point measures, {name: (type, whether over time)}; where not all do, as floats, for the others have none.

        Choices decide it, such as the engine, and not how large a number is: one point for each of their combinations.
        """
        measured, places = sweep_of(self.config).measured, []
        for axis in self.axes:
            choices = {tuple(type(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in row): k
                       for k, row in reversed(list(enumerate(axis.values)))}
            places.append([*choices.values()])
        largest = {f: operator.attrgetter(f)(self.widest) for f in sweep_of(self.config).largest}
        each = [measured(self.at(index).replace(**largest)) for index in itertools.product(*places)]
        found: dict[str, tuple[np.dtype, bool]] = {}
        for name, (dtype, over_time) in (item for one in each for item in one.items()):
            everywhere = all(name in one for one in each)
            found[name] = (dtype if everywhere else np.result_type(dtype, np.float32), over_time)
        return found

    def at(self, index: Sequence[int]) -> Any:
        """The config of one point: an index along each axis, in order."""
        return self.config.replace(**{f: v for axis, k in zip(self.axes, index, strict=True)
                                      for f, v in zip(axis.fields, axis.values[k], strict=True)})

    def groups(self) -> Iterator[tuple[int | None, ...]]:
        """The separate programs: an index along each compiled axis, None along the others."""
        return itertools.product(*(range(n) if compiled else (None,)
                                   for n, compiled in zip(self.shape, self.compiled, strict=True)))

    def group_config(self, group: Sequence[int | None]) -> Any:
        """What the points of a group share (the first of them)."""
        return self.at([k or 0 for k in group])

    def label(self, group: Sequence[int | None]) -> str:
        """The group's values along compiled axes, such as "d = 64, engine = reduced"; empty for a single group."""
        return ", ".join(f"{axis.name} = {axis.values[k][0]}" for axis, k in zip(self.axes, group, strict=True)
                         if k is not None)

    def point_values(self, indices: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """{field: (points,) values} of every swept field at some points of one group."""
        found: dict[str, np.ndarray] = {}
        for position, (axis, compiled) in enumerate(zip(self.axes, self.compiled, strict=True)):
            if not compiled:
                for column, field in enumerate(axis.fields):
                    found[field] = np.array([axis.values[index[position]][column] for index in indices], float)
        return found

    def check(self) -> "Grid":
        """Return self, or raise `ConfigError` for the first point that cannot be run, and for two that are hardly two."""
        self.must_be_few()
        for axis in self.axes:
            alike = {}
            for row in axis.values:
                other = alike.setdefault(_to_12_digits(row), row)
                if other is not row:
                    raise ConfigError(f"--axis {axis.name}: {_word(other)} and {_word(row)} agree to 12 digits; must be "
                                      "different; leave one out")
        for index in np.ndindex(self.shape):
            try:
                self.at(index).judge()
            except ConfigError as error:
                where = ", ".join(f"{axis.name} = {axis.values[k][0]}" for axis, k in zip(self.axes, index, strict=True))
                raise ConfigError(f"at {where}: {error.in_shell}" if where else error.in_shell) from None
        return self

    def must_be_few(self) -> None:
        """Raise `ConfigError` for more points or runs than anyone means."""
        if self.points > MOST_POINTS:
            raise ConfigError(f"--axis: {self.points:,} points; must be at most {MOST_POINTS:,}; use fewer values")
        if self.runs > MOST_RUNS:
            raise ConfigError(f"--seeds {self.config.seeds}: {self.runs:,} runs; must be at most {MOST_RUNS:,}; use fewer "
                              "seeds or values")

    def coordinates(self) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]:
        """Labels of the points: {name: (dimensions, values, attributes)}; every axis, and the time scales of the theory.

        A time scale has only the dimensions along which it varies.
        """
        found: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {}
        for axis in self.axes:
            for column, field in enumerate(axis.fields):
                values = [row[column] for row in axis.values]
                text = any(isinstance(v, str | tuple) or v is None for v in values)
                array = np.array([_word(v) for v in values], np.dtypes.StringDType()) if text else np.array(values)
                found[label_of(field)] = ((axis.name,), array, {"field": field})
        for name, (meaning, units, function) in sweep_of(self.config).labels.items():
            values = np.empty(self.shape)
            for index in np.ndindex(self.shape):
                values[index] = function(self.at(index))
            dims = list(self.dims)
            for position in reversed(range(len(dims))):
                first = values.take([0], position)
                if np.allclose(values, first, rtol=1e-12, atol=0, equal_nan=True):
                    values = first.squeeze(position)
                    del dims[position]
            found[name] = (tuple(dims), values, {"long_name": meaning, "units": units})
        return found

    def extended(self, other: "Grid") -> "Grid":
        """This grid with the values and seeds that another one, of its config, adds: each axis's behind those that it has.

        Raises `ConfigError` for an axis that is not there, and for fewer seeds.
        """
        mine, its = {axis.fields: axis for axis in self.axes}, {axis.fields: axis for axis in other.axes}
        if strange := [axis.name for axis in other.axes if axis.fields not in mine]:
            raise ConfigError(f"--axis {strange[0]}: the folder's sweep has no such axis; must be one of "
                              f"{', '.join(self.dims) or 'none'}; start anew in another folder")
        if other.config.seeds < self.config.seeds:
            raise ConfigError(f"--seeds {other.config.seeds}: the folder has {self.config.seeds}; must be at least so many; "
                              "say how many there shall be in all")
        def joined(here: Axis, there: Axis) -> Axis:
            known = set(map(_to_12_digits, here.values))
            return Axis(here.fields, (*here.values, *(v for v in there.values if _to_12_digits(v) not in known)))

        return Grid(other.config, tuple(joined(axis, its.get(f, axis)) for f, axis in mine.items()), self.images)


def _to_12_digits(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values at one step of an axis, by which it is known: two that agree so far are the same number, written twice."""
    return tuple(f"{v:.12g}" if isinstance(v, float) else v for v in row)


def make_grid(config: Any, axes: Mapping[str | tuple[str, ...], Sequence[Any] | np.ndarray]) -> Grid:
    """The grid of a mapping from names to values.

    A name is a config field, with its part or without ("training.eta_ratio" or "eta_ratio"). A tuple of names is one
    axis along which the fields change together; its values are tuples. Raises `ConfigError` for a name that is no field or
    comes twice, and for values that are missing, repeated or not of the field's type; `Grid.check` judges the points.

    >>> from lrtheory import preset
    >>> grid = make_grid(preset("quick"), {"eta_ratio": [1e-4, 1e-2], ("r", "z_norm"): [(0.02, 25.0), (0.03, 20.0)]})
    >>> grid.dims, grid.shape, grid.at((1, 0)).training.eta_ratio
    (('eta_ratio', 'r'), (2, 2), 0.01)
    """
    require_kind("axes", axes, Mapping, "a mapping {field: values}", "such as {'eta_ratio': [0.01, 0.1]}")
    made, as_given, config = [], config, config.settled()
    for key, values in axes.items():
        require_kind("axes", key, (str, tuple), "of fields by name, or of tuples of them", "such as {'r': [0.01, 0.1]}")
        names = (key,) if isinstance(key, str) else tuple(key)
        label = shown(",".join(map(str, names)))
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ConfigError(f"--axis {label} = {shown(values)}: must be several values; give a list")
        rows = [row if isinstance(key, tuple) else (row,) for row in itertools.islice(values, MOST_POINTS + 1)]
        if not rows:
            raise ConfigError(f"--axis {label}: no values; must be at least one; give some")
        if len(rows) > MOST_POINTS:
            raise ConfigError(f"--axis {label}: more than {MOST_POINTS:,} values; must be at most so many; use fewer")
        if any(not isinstance(row, Sequence | np.ndarray) or isinstance(row, str) or len(row) != len(names) for row in rows):
            raise ConfigError(f"--axis {label}: each value must be {len(names)} numbers, one a field")
        fields = tuple(full_name(config, name) for name in names)
        made.append(Axis(fields, tuple(tuple(_value(config, f, v) for f, v in zip(fields, row, strict=True))
                                       for row in rows)))
    fields = [f for axis in made for f in axis.fields]
    if "training.average_time" in fields and config.training.average_time is None:
        raise ConfigError("--axis average_time: must be set in the configuration, too, for it changes what is measured; set "
                          "training.average_time")
    _must_be_told_apart(config, fields)
    for f in fields:
        if fields.count(f) > 1:
            raise ConfigError(f"--axis {f}: named twice; must be on one axis; leave one out")
    for axis in made:
        if len(set(axis.values)) < len(axis.values):
            raise ConfigError(f"--axis {axis.name}: a value comes twice; must be different; leave one out")
    for given, other in (("problem.N", "problem.kappa"), ("problem.kappa", "problem.N")):
        if given in fields and other not in fields:  # either gives the number of examples: the axis does
            config = config.replace(**{other: None})
    longest = {f: max(row[k] for row in axis.values) for axis in made for k, f in enumerate(axis.fields)
               if f in sweep_of(config).lasting}
    if longest:  # functions of the clock are sampled as far as any point goes
        config = config.replace(algorithms=as_given.replace(**longest).settled().algorithms)
    return Grid(config, tuple(made))


def _must_be_told_apart(config: Any, fields: Sequence[str]) -> None:
    """Raise `ConfigError` unless each field of the axes is called in results as nothing else there is."""
    kind, labels = sweep_of(config), [label_of(f) for f in fields]
    others = dict.fromkeys((*OWN, *kind.labels, *kind.described(config)), "what is measured")
    for f, label in zip(fields, labels, strict=True):
        require_name(f"--axis {f}: in results", label)
        other = others.get(label) or ("another one" if labels.count(label) > fields.count(f) else None)
        if other is not None:
            raise ConfigError(f"--axis {f}: called {label} in results, as {other} is; must have a name of its own; "
                              "rename the algorithm or group")


def read_axes(config: Any, products: Sequence[str], zips: Sequence[Sequence[str]] = ()) -> Grid:
    """The grid of axes given as text.

    Args:
      config: the base.
      products: "NAME=VALUES" an axis; VALUES is a list "0.1,0.2" or geomspace(a,b,n) or linspace(a,b,n).
      zips: for each zipped axis, several "NAME=VALUES" of equal length.

    Raises:
      ConfigError: text that is not of this form, or what `make_grid` does not take.

    >>> from lrtheory import preset
    >>> read_axes(preset("quick"), ["eta_ratio=geomspace(1e-4,1,3)"]).axes[0].values
    ((0.0001,), (0.01,), (1.0,))
    """
    axes: dict[str | tuple[str, ...], list[Any]] = {}
    for text in products:
        name, values = _parse(text)
        if name in axes:
            raise ConfigError(f"--axis {name}: named twice; must be on one axis; leave one out")
        axes[name] = values
    for group in zips:
        names, columns = zip(*map(_parse, group), strict=True)
        if len({len(c) for c in columns}) > 1:
            sizes = ", ".join(f"{n} has {len(c)}" for n, c in zip(names, columns, strict=True))
            raise ConfigError(f"--zip {' '.join(names)}: {sizes} values; must be equally many, they change together")
        if names in axes:
            raise ConfigError(f"--zip {' '.join(names)}: named twice; must be on one axis; leave one out")
        axes[names] = list(zip(*columns, strict=True))
    return make_grid(config, axes)


def is_static(config: Any, name: str) -> bool:
    """Whether the field `name` (dotted) shapes the program, so that its values compile apart."""
    return find(config, name)[1].metadata["static"]


def possible_axes(config: Any) -> list[str]:
    """The dotted names of all fields of a configuration that may be an axis; numbers of one's own algorithms may be, too."""
    return [f for f in field_names(config) if f not in sweep_of(config).fixed]


def full_name(config: Any, name: str) -> str:
    """The dotted name of a field that may be an axis. Raises `ConfigError`, with near names, for any other."""
    if not isinstance(name, str):
        raise ConfigError(f"--axis {shown(name)}: must be the name of a field; correct it")
    kind, allowed = sweep_of(config), possible_axes(config)
    short = [f.rpartition(".")[2] for f in allowed]
    if name in allowed:
        return name
    if inner := INSIDE.match(name):
        try:
            find(config, name)
        except (AttributeError, TypeError):
            raise ConfigError(f"--axis {shown(name)}: not there; must be a number of an algorithm or a group of your own "
                              "that the configuration has, such as algorithms.NAME.rate.cosine.duration (stages by number, "
                              "name or shape) or problem.extra_groups.NAME.share") from None
        if dataclasses.is_dataclass(find(config, name)[1].type) or inner[1].count(".") == 0 or name.endswith(".name"):
            raise ConfigError(f"--axis {shown(name)}: cannot be an axis; must be a number of a stage or a group")
        return name
    if name in short:
        return allowed[short.index(name)]
    if name in kind.fixed:
        raise ConfigError(f"--axis {name}: cannot be an axis; must be {kind.may_be}; seeds and algorithms are dimensions of "
                          "every result, set them by --seeds and --algorithms")
    near = difflib.get_close_matches(name, short, 3)
    command = "lrtheory sweep --preset mini --help" if kind is TRAININGS.sweep else "lrtheory sweep --help"
    raise ConfigError(f"--axis {shown(name)}: unknown field of {config.name}; must be one of those that {command} lists"
                      + (f"; perhaps you meant {' or '.join(near)}" if near else ""))


def _parse(text: str) -> tuple[str, list[Any]]:
    """(name, values) of "NAME=VALUES"."""
    name, equals, values = (part.strip() for part in text.partition("="))
    said = shown(text)
    if not equals or not name or not values:
        raise ConfigError(f"--axis {said}: must be NAME=VALUES, such as eta_ratio=1e-4,1e-2 or "
                          "'eta_ratio=geomspace(1e-5,1,12)'")
    spaced = re.fullmatch(r"(geomspace|linspace)\(([^,()]+),([^,()]+),([^,()]+)\)", values)
    if spaced is None:
        if "(" in values:
            raise ConfigError(f"--axis {said}: must be a list of values, geomspace(first,last,count) or "
                              "linspace(first,last,count)")
        return name, [v.strip() for v in values.split(",")]
    try:
        first, last, count = float(spaced[2]), float(spaced[3]), int(spaced[4])
        if not (1 <= count <= MOST_POINTS and abs(first) <= MOST and abs(last) <= MOST):
            raise ValueError
        if spaced[1] == "linspace":
            return name, np.linspace(first, last, count).tolist()
        if first <= 0 or last <= 0:
            raise ValueError
    except ValueError:
        raise ConfigError(f"--axis {said}: must be finite bounds{' above 0' if spaced[1] == 'geomspace' else ''} and a "
                          f"count of 1 to {MOST_POINTS:,}") from None
    # the ends exactly, and numbers in between as short as their spacing allows
    between = [float(f"{v:.12g}") for v in np.geomspace(first, last, count)[1:-1]]
    return name, [first, *between, last] if count > 1 else [first]


def _value(config: Any, name: str, value: Any) -> Any:
    """One value of an axis, as the field's own type. Raises `ConfigError`."""
    if not isinstance(value, str | int | float | tuple | np.generic | None) and getattr(value, "ndim", 1) != 0:
        raise ConfigError(f"--axis {name} = {shown(value)}: must be a number or a word; correct it")
    owner, field = find(config, name)
    return value_of(type(owner), field.name, name,
                    repr(float(value)) if isinstance(value, float | np.floating) else _word(value))


def _word(value: Any) -> str:
    """What is no float as text, a tuple's parts apart, "none" for none, which tables of others take for a word.

    Of a whole number with thousands of digits, that it is one.
    """
    if value is None or isinstance(value, tuple):
        return " ".join(map(str, value or ())) or "none"
    return shown(value, 400) if isinstance(value, int) else str(value)
