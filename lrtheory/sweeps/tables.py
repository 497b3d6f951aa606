"""Numbers of a sweep as tables: one value a run, a row a point, tidy rows, CSV and parquet.

Lives here: choosing and reducing what is stored. Lives elsewhere: means over seeds (labelled),
storing (store, results), drawing (figures).
"""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from lrtheory.labelled import RUN_DIMS, mean_and_error
from lrtheory.spec import ConfigError, shown
from lrtheory.vision.cifar import CLASSES
from lrtheory.vision.results import READ


def _ordered(runs: xr.Dataset, first: xr.DataArray) -> xr.DataArray:
    """1.0 or 0.0 a run; nan where there are no P-only or no Q-only examples, which have no loss and so no order."""
    known = [xr.apply_ufunc(np.isfinite, runs[f"loss_{g}"].isel(record=0, drop=True)) for g in "pq"]
    return first.astype(float).where(known[0] & known[1])


def _read_at(runs: xr.Dataset) -> xr.DataArray:
    """Epochs done when patch-only accuracy passes `READ`, linear between epochs, from chance; inf where it never does."""
    accuracy = runs["accuracy_patch_only"].transpose(..., "record")
    values = np.concatenate([np.full((*accuracy.shape[:-1], 1), 1 / len(CLASSES)), accuracy.values], -1)
    above = values >= READ
    at = np.maximum(above.argmax(-1), 1)[..., None]
    before, after = (np.take_along_axis(values, k, -1)[..., 0] for k in (at - 1, at))
    with np.errstate(invalid="ignore", divide="ignore"):
        times = at[..., 0] - 1 + (READ - before) / (after - before)
    return accuracy.isel(record=0, drop=True).copy(data=np.where(above.any(-1), times, np.inf))


class Derived(NamedTuple):
    """What follows from stored measurements, a number a run."""

    meaning: str
    units: str
    needs: str  # a measurement without which there is none
    of: Callable[[xr.Dataset], xr.DataArray]
    is_share: bool = True  # 0 or 1 a run


DERIVED = {
    "q_first": Derived("share of seeds, Q halved before P", "1", "time_q_half",
                       lambda runs: _ordered(runs, runs["time_q_half"] < runs["time_p_half"])),
    "p_first": Derived("share of seeds, P halved before Q", "1", "time_p_half",
                       lambda runs: _ordered(runs, runs["time_p_half"] < runs["time_q_half"])),
    "annealed": Derived("share of seeds, annealed", "1", "annealed_at",
                        lambda runs: xr.apply_ufunc(np.isfinite, runs["annealed_at"])),
    "patch_read": Derived("share of seeds that read the patch", "1", "accuracy_patch_only",
                          lambda runs: xr.apply_ufunc(np.isfinite, _read_at(runs))),
    "patch_read_at": Derived("epochs until the patch is read", "epoch", "accuracy_patch_only", _read_at, False),
}
"""By name. Halved is a group's training loss; read is the patch once patch-only accuracy is `READ`."""

SUMMARISED = ("test_error_p", "test_error_q", "test_error_mixed", "test_error", "test_loss_p", "test_loss", "train_loss",
              "loss_p", "loss_mixed", "loss_q", "contrast", "q_first", "p_first", "annealed", "train_accuracy",
              "accuracy_clean", "accuracy_mixed", "accuracy_patched", "accuracy_patch_only", "loss_clean", "patch_read",
              "patch_read_at")
"""Columns of the table of points, where a sweep has them."""


def known(runs: xr.Dataset) -> list[str]:
    """Names of all that a dataset has a number a run of, stored or derived."""
    stored = list(map(str, runs.data_vars))
    return [*stored, *(name for name, derived in DERIVED.items() if derived.needs in runs and name not in stored)]


def axes_of(runs: xr.Dataset) -> list[str]:
    """The axes of a sweep's dataset, in order; none for a single run's."""
    one = runs["diverged_at"] if "diverged_at" in runs else next(iter(runs.data_vars.values()))  # no array by itself
    return [str(d) for d in one.dims if d not in RUN_DIMS]


def labels_of(runs: xr.Dataset, axis: str) -> list[str]:
    """What tells the points of an axis apart: its own values, and those of the fields that are zipped with it."""
    zipped = (str(name) for name, values in runs.coords.items() if values.dims == (axis,) and "field" in values.attrs)
    return list(dict.fromkeys((axis, *zipped)))


def metric(runs: xr.Dataset, name: str) -> xr.DataArray:
    """One number a run: a stored one (the last record of what is recorded over time) or a derived one.

    nan where a run diverged or is not there yet: neither enters any mean. Raises `ConfigError` for an unknown name.
    """
    if name not in known(runs):
        raise ConfigError(f"{name}: no such measurement; must be one of {', '.join(known(runs))}")
    if name not in runs.data_vars:
        derived = DERIVED[name]
        values = derived.of(runs).astype(float).assign_attrs(long_name=derived.meaning, units=derived.units)
    else:
        values = _last(runs, runs[name]).astype(float).assign_attrs(runs[name].attrs)
    good = xr.apply_ufunc(np.isinf, runs["diverged_at"])  # of a missing run it is nan
    return values.where(good).rename(name).transpose(*runs["diverged_at"].dims).drop_vars(("step", "time"), errors="ignore")


def _last(runs: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """The last record of what is recorded over time: of trainings, the last epoch that a run has done."""
    if "record" not in values.dims:
        return values
    if "epochs_done" not in runs or int(runs["epochs_done"].min()) == runs.sizes["record"]:
        return values.isel(record=-1, drop=True)
    last = (runs["epochs_done"].load().fillna(1) - 1).clip(0).astype(int)  # of a run that is not there any
    return values.load().isel(record=last).drop_vars("time", errors="ignore")


def points(runs: xr.Dataset) -> pd.DataFrame:
    """One row a point and algorithm: mean and standard error over seeds of the final measurements, runs, diverged runs."""
    columns: dict[str, xr.DataArray] = {
        "runs": xr.apply_ufunc(np.isinf, runs["diverged_at"]).sum("seed"),
        "diverged": xr.apply_ufunc(np.isfinite, runs["diverged_at"]).sum("seed")}
    for name in (n for n in SUMMARISED if n in known(runs)):
        columns[name], columns[f"{name}_sem"] = mean_and_error(metric(runs, name))
    return _frame(xr.Dataset(columns), [*axes_of(runs), "algorithm"])


def diverged(runs: xr.Dataset) -> list[dict[str, object]]:
    """Which runs diverged, and when: a mapping a run, from axes, algorithm and seed to their values."""
    when = runs["diverged_at"]
    found = []
    for index in np.argwhere(np.isfinite(when.values)):
        where = {d: when[d].values[k] for d, k in zip(when.dims, index, strict=True)}
        found.append({str(d): v.item() if isinstance(v, np.generic) else str(v) for d, v in where.items()}
                     | {"diverged_at": float(when.values[tuple(index)])})
    return found


def tidy(runs: xr.Dataset, over_time: bool = False) -> Iterator[pd.DataFrame]:
    """Tables with one row a run (its last record) or, `over_time`, a record; a part for each value of the first axis.

    Columns: axes and their labels, algorithm, seed, then every measurement. Together the parts are the whole; each alone
    is in memory.
    """
    axes = axes_of(runs)
    if not axes:
        yield _part(runs, over_time)
    else:
        for k in range(runs.sizes[axes[0]]):
            yield _part(runs.isel({axes[0]: [k]}), over_time)


def export(runs: xr.Dataset, path: Path, over_time: bool = False) -> int:
    """Write the tidy table as CSV or parquet, as the name ends; returns its number of rows.

    Raises `ConfigError` for another ending, a file that exists or cannot be written, and parquet without pyarrow.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--to {path}: must end in .csv or .parquet; rename it")
    if path.exists():
        raise ConfigError(f"--to {path}: exists; must be a new file; choose another or remove it")
    if path.suffix == ".csv":
        _must_read_back(runs, path)
    rows, partial = 0, next(other for k in itertools.count() if not os.path.lexists(
        other := path.with_name(f"{path.name}{f'.{k}' if k else ''}.partial")))
    try:
        if path.suffix == ".csv":
            with partial.open("w", encoding="utf-8") as file:
                for part in tidy(runs, over_time):
                    part.to_csv(file, index=False, header=rows == 0)
                    rows += len(part)
        else:
            rows = _parquet(runs, partial, over_time)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"--to {path}: cannot be written ({error.strerror}); choose another place") from None
    return rows


def _must_read_back(runs: xr.Dataset, path: Path) -> None:
    """Raise `ConfigError` for words that a reader of CSV takes for numbers or for nothing, as pandas does by default."""
    for name, values in runs.coords.items():
        words = sorted({str(v) for v in values.values.ravel()}) if values.dtype.kind not in "biufM" else []
        text = pd.Series(words, dtype=str).to_csv(index=False, header=["words"])
        if words and pd.read_csv(io.StringIO(text))["words"].tolist() != words:
            raise ConfigError(f"--to {path}: {name} {shown(', '.join(words))} would be read back as something else than "
                              "words; must be told apart from numbers, true and nothing; write .parquet")


def _parquet(runs: xr.Dataset, path: Path, over_time: bool) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"--to {path.name.removesuffix('.partial')}: parquet needs the package pyarrow; pip install "
                          "'lrtheory[parquet]', or write .csv") from None
    rows, writer = 0, None
    try:
        for part in tidy(runs, over_time):
            table = pyarrow.Table.from_pandas(part, preserve_index=False)
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            rows += len(part)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _part(runs: xr.Dataset, over_time: bool) -> pd.DataFrame:
    if not over_time and "epochs_done" in runs:
        runs = xr.Dataset({name: _last(runs, values) for name, values in runs.data_vars.items()}, attrs=runs.attrs)
    elif not over_time:
        runs = runs.isel(record=-1)
    return _frame(_numbers(runs), [*axes_of(runs), *(d for d in RUN_DIMS if d in runs.dims)])


def _numbers(runs: xr.Dataset) -> xr.Dataset:
    """The same with a measurement that is an array as its numbers: weights[2, 0] of a record is weights.2.0."""
    found, here = {}, {*axes_of(runs), *RUN_DIMS}
    for name, values in runs.data_vars.items():
        more = [d for d in values.dims if d not in here]
        for index in np.ndindex(*(values.sizes[d] for d in more)):
            found[".".join(map(str, (name, *index)))] = values.isel(dict(zip(more, index, strict=True)), drop=True)
    return xr.Dataset(found, coords={name: c for name, c in runs.coords.items() if set(c.dims) <= here}, attrs=runs.attrs)


def _frame(runs: xr.Dataset, dims: list[str]) -> pd.DataFrame:
    """A plain table, dimensions first, strings as strings."""
    frame = runs.to_dataframe(dim_order=dims).reset_index()
    labels = [name for name in frame.columns if name in runs.coords and name not in dims]
    frame = frame.loc[:, [*dims, *labels, *(n for n in frame.columns if n not in dims and n not in labels)]]
    return frame.astype({n: str for n in frame.columns if frame[n].dtype == object or str(frame[n].dtype) == "string"})
