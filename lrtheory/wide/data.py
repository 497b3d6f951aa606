"""Your arrays, checked: inputs in blocks, labels and what they are, test rows, groups, the loss, the noise.

Lives here: whatever is asked of data before anything is computed of them. Lives elsewhere: the numbers of a training
(config), the kernel between inputs (gram).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrtheory import keys, noise
from lrtheory.custom.config import Balanced
from lrtheory.custom.models import logistic, softmax, squared
from lrtheory.files import require_name
from lrtheory.spec import MOST, ConfigError, require, require_kind, shown
from lrtheory.wide import gram, memory
from lrtheory.wide.memory import Setting, Task

KINDS = {"signs": "-1 or 1", "classes": "whole numbers from 0", "numbers": "real numbers"}
"""What labels may be."""
LOSSES = {"signs": logistic, "classes": softmax, "numbers": squared}
"""The loss of each kind, unless another is given."""


class Arrays(NamedTuple):
    """The data of one seed."""

    x: tuple[np.ndarray, ...]  # (n, d) of each block
    y: np.ndarray
    tests: dict[str, tuple[tuple[np.ndarray, ...], np.ndarray]]
    groups: dict[str, np.ndarray]  # (n,) bool


def arrays_of(x: Any, y: Any, test: Any, groups: Any, seed: int) -> Arrays:
    """The data of a seed, checked."""
    if callable(x):
        require(y is None and test is None and groups is None, "y", "given" if y is not None else "test or groups given",
                "None where x is a function", "sample(key) returns (x, y, test, groups)")
        drawn: Any = x(keys.key(seed))
        require(isinstance(drawn, tuple) and 2 <= len(drawn) <= 4, "x", f"a function that returns a {type(drawn).__name__}",
                "one that returns (x, y), (x, y, test) or (x, y, test, groups)", "return a tuple")
        x, y, test, groups = [*drawn, None, None][:4]
    blocks = blocks_of("x", x)
    labels = numbers_of("y", y)
    n = len(blocks[0])
    require(labels.ndim in (1, 2) and len(labels) == n, "y", f"an array of shape {labels.shape}",
            f"one label for each of the {n} rows of x", "give as many")
    tests = test if isinstance(test, Mapping) else {} if test is None else {"": test}
    found: dict[str, tuple[tuple[np.ndarray, ...], np.ndarray]] = {}
    for name, pair in tests.items():
        where = f"test {name!r}" if name else "test"
        if name:
            require_name("test", name)
        require(isinstance(pair, tuple | list) and len(pair) == 2, where, type(pair).__name__, "a pair (x, y)",
                "or {name: (x, y)}")
        rows, answers_ = blocks_of(f"{where}: x", pair[0]), numbers_of(f"{where}: y", pair[1])
        widths = tuple(b.shape[1] for b in rows)
        require(widths == tuple(b.shape[1] for b in blocks), f"{where}: x", f"blocks of {widths} columns",
                f"blocks of {tuple(b.shape[1] for b in blocks)} as in training", "give the same columns")
        require(answers_.shape == (len(rows[0]), *labels.shape[1:]), f"{where}: y", f"an array of shape {answers_.shape}",
                f"labels of shape {(len(rows[0]), *labels.shape[1:])}", "one for each row")
        found[name] = rows, answers_
    require_kind("groups", groups, (Mapping, type(None)), "a mapping {name: rows}", "None: none")
    return Arrays(blocks, labels, found, {name: _rows(name, rows, n) for name, rows in (groups or {}).items()})


def _rows(name: str, given: Any, n: int) -> np.ndarray:
    """Rows of a group, as n booleans."""
    require_name("groups", name)
    try:
        rows = np.asarray(given)
    except ValueError:
        rows = np.asarray(None)
    if rows.dtype == bool:
        require(rows.shape == (n,) and bool(rows.any()), f"groups[{name!r}]",
                f"{int(rows.sum())} of booleans of shape {rows.shape}", f"one row or more of n = {n} booleans",
                "or give indices")
        return rows
    good = rows.dtype.kind in "iu" and rows.ndim == 1 and rows.size > 0 and bool(((rows >= 0) & (rows < n)).all())
    require(good, f"groups[{name!r}]", shown(given), f"indices in [0, {n}), or {n} booleans", "name each row once")
    values, counts = np.unique(rows, return_counts=True)
    require(len(values) == len(rows), f"groups[{name!r}]", f"row {values[np.argmax(counts)]} twice", "each row once",
            "leave one out")
    return np.isin(np.arange(n), rows)


def numbers_of(name: str, given: Any) -> np.ndarray:
    """An array of finite numbers, or `ConfigError`."""
    try:
        found = np.asarray(given)
    except (TypeError, ValueError):
        found = np.asarray(None)
    require(found.dtype.kind in "iuf" and found.size > 0, name, shown(given) if found.dtype.kind not in "iuf" else "nothing",
            "an array of numbers", "labels as -1 and 1, whole numbers from 0, or real numbers; inputs as (n, d)")
    bad = np.argwhere(~np.isfinite(found))
    require(len(bad) == 0, name, f"{found[tuple(bad[0])] if len(bad) else 0} in row {int(bad[0][0]) if len(bad) else 0}",
            "finite numbers", "leave such rows out, or fill them")
    largest = float(np.max(np.abs(found.astype(float))))
    require(largest <= MOST, name, f"{largest:.4g}", f"numbers of at most {MOST:g}", "scale them down")
    return found


def blocks_of(name: str, given: Any) -> tuple[np.ndarray, ...]:
    """Inputs as a tuple of blocks (n, d), or `ConfigError`."""
    parts = given if isinstance(given, tuple) else (given,)
    require(len(parts) > 0, name, "()", "one block or more", "give an (n, d) array")
    found = tuple(numbers_of(name, part) for part in parts)
    for part in found:
        require(part.ndim == 2, name, f"an array of shape {part.shape}", "of shape (n, d)", "flatten images to rows")
        require(len(part) == len(found[0]), name, f"blocks of {[len(p) for p in found]} rows", "blocks of as many rows each",
                "give what an example lacks as zeros")
    return found


def alike(drawn: list[Arrays]) -> None:
    """Raise `ConfigError` unless all seeds have data of the same shapes and names."""
    def shape(data: Arrays) -> Any:
        return ([b.shape for b in data.x], data.y.shape, {name: len(y) for name, (_, y) in data.tests.items()},
                sorted(data.groups))

    for data in drawn:
        require(shape(data) == shape(drawn[0]), "x", f"data of shapes {shown(shape(data))}",
                f"{shown(shape(drawn[0]))} for all seeds", "draw as many of each")


def kind_of(drawn: list[Arrays], loss: Any) -> tuple[str, int]:
    """What the labels are, and how many outputs a network has."""
    y = np.concatenate([d.y for d in drawn])
    tests = np.concatenate([y, *(t[1] for d in drawn for t in d.tests.values())])
    whole = bool(np.all(tests == np.round(tests)))
    if y.ndim == 1 and loss is not softmax and set(np.unique(y).tolist()) <= {-1.0, 1.0}:
        kind = "signs"
    elif y.ndim == 1 and (loss is softmax or (loss is None and y.dtype.kind in "iu" and y.min() >= 0)):
        kind = "classes"
    else:
        kind = "numbers"
    require(loss is not logistic or kind == "signs", "y", shown(np.unique(y)[:5].tolist()), "-1 or 1 for lrtheory.logistic",
            "of labels 0 and 1 give 2 y - 1")
    require(loss is not softmax or (kind == "classes" and whole and y.min() >= 0), "y", shown(np.unique(y)[:5].tolist()),
            "whole numbers from 0 for softmax", "number the classes")
    fits = kind == "numbers" or bool(np.isin(tests, (-1, 1)).all() if kind == "signs" else whole and tests.min() >= 0)
    require(fits, "test: y", shown(np.unique(tests)[:5].tolist()), f"{KINDS[kind]}, as in training",
            "give labels of one kind")
    classes = int(tests.max()) + 1
    require(kind != "classes" or 2 <= classes <= 10_000, "y", f"classes up to {classes - 1}", "at least 2 of at most 10,000",
            "number the classes from 0; real numbers as floats")
    return kind, classes if kind == "classes" else 1 if y.ndim == 1 else y.shape[1]


def noise_of(given: Any, weight_decay: float, largest: float, blocks: int) -> tuple[float, ...]:
    """tau_xi of each block, in units of the initial weights' own; "balanced" is so under the rate `largest`."""
    if isinstance(given, str):
        require(given == "balanced", "tau_xi", shown(given), "balanced, a number, or one for each block", "0: none")
        require(weight_decay > 0, "tau_xi", given, "0 without weight decay",
                "noise balances decay: give weight_decay, or leave tau_xi out")
        given = Balanced(rate=largest, weight_decay=weight_decay)
    if isinstance(given, Balanced):
        given.check()
        given = float(noise.balanced_noise(given.rate, given.weight_decay))
    found = np.asarray(given)
    require(found.dtype.kind in "iuf" and found.shape in ((), (blocks,)), "tau_xi", shown(given),
            f"balanced, a number, or one for each of {blocks} block(s)", "0: none")
    return tuple(float(v) for v in np.broadcast_to(found, (blocks,)))


def check_loss(task: Task, data: Arrays) -> None:
    """Raise `ConfigError` for a loss that does not fit the labels, or that teaches nothing at outputs of 0."""
    require(callable(task.loss), "loss", shown(task.loss), "a function (outputs, y) -> a loss an example",
            "None: by what y are")
    f, y = jnp.zeros((len(data.y), task.outputs)), jnp.asarray(data.y)
    try:
        found = jax.eval_shape(lambda f: task.loss(memory.shaped(task, f), y), f)
    except Exception as error:  # whatever a function of somebody else may raise
        raise ConfigError(f"loss: fails on outputs of shape {memory.shaped(task, f).shape} and labels of shape {y.shape} "
                          f"({shown(error)}); must take (outputs, y); correct it") from None
    require(hasattr(found, "shape"), "loss", f"a {type(found).__name__}", f"a loss an example, {y.shape[:1]}, or their "
            "mean, ()", "return an array")
    shape = found.shape
    require(shape in ((), y.shape[:1]), "loss", f"an array of shape {shape}", f"a loss an example, {y.shape[:1]}, or their "
            "mean, ()", "sum or average it over what an example has")
    slope = memory.residual(task, Setting((), None, y, None, (), (), None), f)
    teaches = bool(jnp.all(jnp.isfinite(slope))) and bool(jnp.any(slope != 0))
    require(teaches, "loss", "a derivative of 0 or none at outputs of 0",
            "one with a derivative, for it is all that a network learns from", "take a smooth loss")


def sharpness_at_start(task: Task, data: Arrays) -> float:
    """Largest eigenvalue of the Hessian of the training loss at f = 0, by the curvature of its largest output."""
    y = jnp.asarray(data.y)
    setting, f = Setting((), None, y, None, (), (), None), jnp.zeros((len(data.y), task.outputs))
    unit = jnp.zeros_like(f).at[:, 0].set(1.0)
    curvature = -jax.jvp(lambda f: memory.residual(task, setting, f), (f,), (unit,))[1][:, 0]
    root = np.sqrt(np.maximum(np.asarray(curvature), 0.0))
    whole = np.sum([gram.at_start(gram.rows_of(x)) for x in data.x], axis=0)
    scaled = root[:, None] * whole * root[None]
    modes = gram.common_modes(scaled, 1)
    return float(np.max(np.linalg.norm(scaled @ modes, axis=0)))
