"""When groups of rows are learned: from the kernel at the start, for each rate, before anything is run.

Lives here: the linear response of margins, the times drawn from it. Lives elsewhere: the paper's distribution in closed form
(theory.timescales), the kernel's entries (gram), the runs themselves (runs).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from lrtheory.spec import ConfigError, require, require_kind, require_nonnegative, require_positive, shown
from lrtheory.wide import gram, memory
from lrtheory.wide.data import LOSSES, arrays_of, check_loss, kind_of, noise_of
from lrtheory.wide.memory import Setting, Task

ROWS = 256
"""Rows of the largest group whose margins are followed; more are drawn from, evenly."""
TIMES = 60
"""Times at which margins are evaluated, geometric, over six decades."""
LEAST_LAG, MOST_LAG, LAGS = 1e-12, 40.0, 160
"""Lags of the noise's clock at which the response is evaluated, geometric."""


def learning_times(x: Any, y: Any, rates: Any, *, groups: Mapping[str, Any], test: Mapping[str, Any] | None = None,
                   loss: Callable[[Any, Any], jax.Array] | None = None, weight_decay: float = 0.0, tau_xi: Any = 0.0,
                   time: float = 100.0) -> xr.Dataset:
    """When each group's margins reach 1 under each constant rate, if all residuals stayed as they are at the start.

    m(t) = int_0^t exp(-lambda (t - s)) (1/N) sum_j <x, x_j> P(C_t - C_s, cos_j) u_j ds, u = -dl/df at f = 0, is what outputs
    are then, C the clock of the noise, which starts at the initial weights' variance: what was learned under gates of long
    ago counts as far as those gates and today's agree. The margin of a group is the mean over its labels c of
    u_c (m_c - mbar)/|u_c|, m_c the mean of m over its rows of that label, mbar that over the labels: how far labels are told
    apart, whatever all outputs have in common. Numbers count by their sign.

    For the paper's distribution margin_time is T_P for P, and 2 T_Q for Q, of whose margins T_Q counts one label's.
    learning_time is inf for what the rate blurs. It fails where residuals do not stay: a group whose rows are fitted by what
    another one teaches is learned later than said, or never; where noise holds a group at a plateau near a margin of 1,
    which is no small loss; and where two times are within a factor of two or so. Derived here.

    Args:
      x: inputs, as for `lrtheory.limit`, but no function.
      y: labels, as there.
      rates: {name: rate}, or a sequence of rates.
      groups: {name: training rows}.
      test: {name: (x, y)}; these rows are groups, too.
      loss: as for `lrtheory.limit`.
      weight_decay: lambda.
      tau_xi: as for `lrtheory.limit`; "balanced" is for the largest of the rates.
      time: up to when; a group that is learned later has inf.

    Returns:
      A dataset over rate and group: learning_time, the first at which the margin is 1 (inf: not by `time`); margin_time,
      the same without blur and decay; blur_time, in which the noise turns gates so far that half of the response is gone
      (inf: never); reached, the margin at `time`.

    >>> import numpy as np, lrtheory as lt
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 30))
    >>> y = np.sign(x[:, 0])
    >>> found = lt.learning_times(x, y, [0.5], groups={"all": np.arange(200)}, weight_decay=0.01, tau_xi="balanced")
    >>> round(float(found["margin_time"][0, 0]), 1), bool(found["learning_time"][0, 0] > found["margin_time"][0, 0])
    (7.7, True)
    """
    require(not callable(x), "x", "a function", "arrays", "draw them first")
    require_kind("groups", groups, Mapping, "a mapping {name: rows}", "name what is to be told apart")
    require_kind("test", test, (Mapping, type(None)), "a mapping {name: (x, y)}", "None: none")
    require(len(groups) > 0 or bool(test), "groups", "{}", "one or more", "name what is to be told apart")
    for name in set(groups) & set(test or {}):
        raise ConfigError(f"test = {shown(name)}: must be named unlike the groups of training rows; choose another name")
    data = arrays_of(x, y, test, groups, 0)
    kind, count = kind_of([data], loss)
    named = _named(rates)
    require_nonnegative("weight_decay", weight_decay)
    require_positive("time", time)
    for name, rate in named.items():
        require(rate * weight_decay < 1, f"rates[{shown(name)!r}] * weight_decay", rate * weight_decay, "below 1",
                "the decay would overshoot zero; lower either")
    taus = np.asarray(noise_of(tau_xi, weight_decay, max(named.values()), len(data.x)))
    for tau in taus.tolist():
        require_nonnegative("tau_xi", tau)
    task = Task(loss or LOSSES[kind], kind, (), (), None, False, False, count, False)
    with jax.enable_x64(True):
        check_loss(task, data)
    slopes = _slopes(task, data.y, count)
    sets = {name: (tuple(b[rows] for b in data.x), data.y[rows], slopes[rows]) for name, rows in data.groups.items()}
    sets |= {name: (tests, labels, _slopes(task, labels, count)) for name, (tests, labels) in data.tests.items()}
    found = {what: np.full((len(named), len(sets)), math.inf)
             for what in ("learning_time", "margin_time", "blur_time", "reached")}
    for g, each in enumerate(sets.values()):
        response = _response(data.x, slopes, *each)
        for k, rate in enumerate(named.values()):
            one = _times(response, rate, weight_decay, taus, time)
            for what, value in one.items():
                found[what][k, g] = value
    said = {"learning_time": "time at which the group's margins reach 1; inf: not by the time asked for",
            "margin_time": "the same without blur and decay",
            "blur_time": "time in which the noise turns gates so far that half of the group's response is gone; inf: never",
            "reached": "margin at the end of the time asked for"}
    units = {"reached": "1"}
    return xr.Dataset({what: (("rate", "group"), values, {"units": units.get(what, "sum of rates"), "long_name": said[what]})
                       for what, values in found.items()},
                      {"rate": list(named), "group": list(sets)}, {"weight_decay": weight_decay, "tau_xi": list(taus)})


def _named(rates: Any) -> dict[str, float]:
    """{name: rate} of what was given."""
    rates = rates.tolist() if isinstance(rates, np.ndarray) else rates
    good = isinstance(rates, Mapping | list | tuple) and len(rates) > 0
    require(good, "rates", shown(rates), "{name: rate}, or a sequence of rates, of one or more", "such as [0.1, 0.01]")
    each = rates.items() if isinstance(rates, Mapping) else ((shown(rate), rate) for rate in rates)
    found = {}
    for name, rate in each:
        require_positive(f"rates[{shown(name)!r}]", rate)
        found[str(name)] = float(rate)
    return found


def _slopes(task: Task, y: np.ndarray, count: int) -> np.ndarray:
    """-dl/df at outputs of 0, (n, outputs)."""
    with jax.enable_x64(True):
        labels = jnp.asarray(y)
        setting = Setting((), None, labels, None, (), (), None)
        return np.asarray(memory.residual(task, setting, jnp.zeros((len(y), count)))) * len(y)


def _response(x: tuple[np.ndarray, ...], slopes: np.ndarray, rows: tuple[np.ndarray, ...], labels: np.ndarray,
              own: np.ndarray) -> Callable[[np.ndarray], float]:
    """The growth of a group's margin, a unit of time, as a function of the lag of each block's clock."""
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(ROWS, len(labels))).round().astype(int))
    marks = np.sign(labels[chosen]) if labels.dtype.kind == "f" else labels[chosen]
    of = np.unique(marks.reshape(len(chosen), -1), axis=0, return_inverse=True)[1].reshape(-1)
    share = (of[None] == np.arange(of.max() + 1)[:, None]).astype(float)
    share /= share.sum(-1, keepdims=True)  # (labels, rows): means over the rows of a label
    direction = share @ own[chosen]
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-300)
    kernels = []
    for train, read in zip(x, rows, strict=True):
        a, b = gram.rows_of(read[chosen]), gram.rows_of(train)
        cosine = gram.cosines(a.units, b.units)[a.direction][:, b.direction]
        kernels.append((a.scale[:, None] * b.scale[None] * cosine / len(slopes), cosine))

    def at(lags: np.ndarray) -> float:
        whole = sum(products * (0.25 + np.arcsin(np.exp(-lag) * cosine) / (2 * np.pi))
                    for (products, cosine), lag in zip(kernels, lags, strict=True))
        outputs = share @ (np.asarray(whole) @ slopes)
        if len(outputs) > 1:
            outputs = outputs - np.mean(outputs, axis=0)
        return float(np.mean(np.sum(direction * outputs, -1)))

    return at


def _times(response: Callable[[np.ndarray], float], rate: float, decay: float, taus: np.ndarray,
           time: float) -> dict[str, float]:
    """The times of one group under one rate."""
    speed = -np.log1p(-rate * decay) / rate  # of the decay of weights, lambda up to eta lambda
    fresh = rate * taus**2 * np.ones_like(taus)  # variance that the noise adds a unit of time

    def clock(t: np.ndarray) -> np.ndarray:
        """C (blocks, ...) at times since the start."""
        t = np.asarray(t, float)
        added = fresh[(...,) + (None,) * t.ndim] * (np.expm1(2 * speed * t) / (2 * speed) if decay > 0 else t)
        return 0.5 * np.log1p(added)

    lags = np.concatenate([[0.0], np.geomspace(LEAST_LAG, MOST_LAG, LAGS)]) if np.any(fresh > 0) else np.zeros(1)
    ratio = fresh / np.max(fresh) if np.any(fresh > 0) else np.zeros_like(fresh)
    values = np.array([response(lag * ratio) for lag in lags])  # blocks of equal noise keep one clock
    first = int(np.argmax(fresh))

    def of_lag(lag: np.ndarray) -> np.ndarray:
        return np.interp(lag, lags, values)

    at = np.geomspace(1e-6 * time, time, TIMES)
    margin = []
    for t in at:
        ago = np.concatenate([[0.0], np.geomspace(1e-9 * t, t, 2 * TIMES)])
        lag = clock(np.array(t))[first] - clock(t - ago)[first]
        integrand = of_lag(np.maximum(lag, 0.0)) * np.exp(-speed * ago)
        margin.append(float(np.sum((integrand[1:] + integrand[:-1]) / 2 * np.diff(ago))))
    over, learned = np.nonzero(np.array(margin) >= 1)[0], math.inf
    if len(over):
        k = over[0]
        learned = float(np.exp(np.interp(0.0, np.log(margin[k - 1 : k + 1]), np.log(at[k - 1 : k + 1])))) if k else at[0]
    half, blur = values[0] / 2, math.inf
    if values[0] > 0 and np.any(fresh > 0) and np.any(values < half):
        lag = lags[np.argmax(values < half)]
        low, high = 0.0, float(lag)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if response(middle * ratio) > half else (low, middle)
        blur = float(np.expm1(2 * high) / fresh[first] if decay == 0 else
                     np.log1p(2 * speed * np.expm1(2 * high) / fresh[first]) / (2 * speed))
    return {"learning_time": learned, "margin_time": 1 / values[0] if values[0] > 0 else math.inf, "blur_time": blur,
            "reached": margin[-1]}
