"""Numbers of a sweep as tables: one value a run, a row a point, tidy rows, CSV and parquet.

Lives here: choosing and reducing what is stored. Lives elsewhere: means over seeds (labelled),
storing (store, results), drawing (figures).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from lrtheory.labelled import RUN_DIMS, mean_and_error
from lrtheory.spec import ConfigError


def _ordered(runs: xr.Dataset, first: xr.DataArray) -> xr.DataArray:
    """1.0 or 0.0 a run; nan where there are no P-only or no Q-only examples, which have no loss and so no order."""
    known = [xr.apply_ufunc(np.isfinite, runs[f"loss_{g}"].isel(record=0, drop=True)) for g in "pq"]
    return first.astype(float).where(known[0] & known[1])


DERIVED: dict[str, tuple[str, Callable[[xr.Dataset], xr.DataArray]]] = {
    "q_first": ("share of seeds, Q halved before P",
                lambda runs: _ordered(runs, runs["time_q_half"] < runs["time_p_half"])),
    "p_first": ("share of seeds, P halved before Q",
                lambda runs: _ordered(runs, runs["time_p_half"] < runs["time_q_half"])),
    "annealed": ("share of seeds, annealed", lambda runs: xr.apply_ufunc(np.isfinite, runs["annealed_at"])),
}
"""What follows from the stored times, 0 or 1 a run: {name: (meaning, of a dataset)}; halved is a group's training loss."""

SUMMARISED = ("test_error_p", "test_error_q", "test_error_mixed", "test_error", "test_loss_p", "test_loss", "train_loss",
              "loss_p", "loss_mixed", "loss_q", "contrast", "q_first", "p_first", "annealed")
"""Columns of the table of points."""


def axes_of(runs: xr.Dataset) -> list[str]:
    """The axes of a sweep's dataset, in order; none for a single run's."""
    first = next(iter(runs.data_vars.values()))
    return [str(d) for d in first.dims if d not in RUN_DIMS]


def metric(runs: xr.Dataset, name: str) -> xr.DataArray:
    """One number a run: a stored one (the last record of what is recorded over time) or a derived one.

    nan where a run diverged or is not there yet: neither enters any mean. Raises `ConfigError` for an unknown name.
    """
    if name in DERIVED:
        meaning, function = DERIVED[name]
        values = function(runs).astype(float).assign_attrs(long_name=meaning, units="1")
    elif name in runs.data_vars:
        values = runs[name].isel(record=-1, drop=True) if "record" in runs[name].dims else runs[name]
        values = values.astype(float).assign_attrs(runs[name].attrs)
    else:
        raise ConfigError(f"{name}: no such measurement; must be one of {', '.join([*map(str, runs.data_vars), *DERIVED])}")
    good = xr.apply_ufunc(np.isinf, runs["diverged_at"])  # of a missing run it is nan
    return values.where(good).rename(name).transpose(*runs["diverged_at"].dims).drop_vars("step", errors="ignore")


def points(runs: xr.Dataset) -> pd.DataFrame:
    """One row a point and algorithm: mean and standard error over seeds of the final measurements, runs, diverged runs."""
    columns: dict[str, xr.DataArray] = {
        "runs": xr.apply_ufunc(np.isinf, runs["diverged_at"]).sum("seed"),
        "diverged": xr.apply_ufunc(np.isfinite, runs["diverged_at"]).sum("seed")}
    for name in (n for n in SUMMARISED if n in runs or n in DERIVED):
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
    rows, partial = 0, path.with_name(path.name + ".partial")
    try:
        if path.suffix == ".csv":
            with partial.open("w") as file:
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
    if not over_time:
        runs = runs.isel(record=-1)
    return _frame(runs, [*axes_of(runs), *(d for d in RUN_DIMS if d in runs.dims)])


def _frame(runs: xr.Dataset, dims: list[str]) -> pd.DataFrame:
    """A plain table, dimensions first, strings as strings."""
    frame = runs.to_dataframe(dim_order=dims).reset_index()
    labels = [name for name in frame.columns if name in runs.coords and name not in dims]
    frame = frame.loc[:, [*dims, *labels, *(n for n in frame.columns if n not in dims and n not in labels)]]
    return frame.astype({n: str for n in frame.columns if frame[n].dtype == object or str(frame[n].dtype) == "string"})
