"""What a person reads on the terminal: progress while running, and the table and verdict at the end.

Lives here: words and layout. Lives elsewhere: every number (results).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from lrtheory.predictions import PREDICTIONS
from lrtheory.predictions import verify as verifying
from lrtheory.sweeps import tables
from lrtheory.sweeps.grid import Grid
from lrtheory.sweeps.plan import Plan, chunks, result_bytes
from lrtheory.theory import runs as batch
from lrtheory.theory.config import Config
from lrtheory.theory.timescales import p_time, q_time


def opening(config: Config) -> str:
    """Two lines on what is about to run and what the theory expects of it."""
    p, n = config.problem, config.network
    sizes = ", ".join(f"{k} {name}" for k, name in zip(p.group_sizes, p.group_labels, strict=True))
    width = "of infinite width" if config.engine == "infinite" else f"with {n.m_w} + {n.m_v} neurons"
    return (f"{config.name}: {' and '.join(config.algorithms)} from {config.seeds} seeds, {config.engine} engine, "
            f"{n.variant} network {width}, d = {p.d}, N = {p.n_train} ({sizes}), "
            f"{config.training.steps:,} steps.\n"
            f"Time is the sum of learning rates. T_Q = {q_time(p):.3g}, T_P = {p_time(p):.3g}.")


@contextmanager
def progress(console: Console, config: Config) -> Iterator[batch.Progress]:
    """A live bar on a terminal, a line every tenth of the run elsewhere."""
    started = time.perf_counter()

    def state(last: dict[str, np.ndarray]) -> str:
        losses = (f"{name} P {last['loss_p'][0, k].mean():.2f} Q {last['loss_q'][0, k].mean():.2f}"
                  for k, name in enumerate(config.algorithms))
        return f"time {last['time'].max():.4g}, losses: " + "; ".join(losses)

    if not console.is_terminal:
        console.print("compiling ...")
        shown = [0]

        def plain(done: int, total: int, last: dict[str, np.ndarray]) -> None:
            if done * 10 // total > shown[0]:
                shown[0] = done * 10 // total
                console.print(f"{done:,} of {total:,} steps, {time.perf_counter() - started:.0f} s, {state(last)}")

        yield plain
        return
    bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.percentage:>3.0f}%"),
                   TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[state]}"),
                   console=console)
    with bar:
        task = bar.add_task("compiling", total=config.training.steps, state="")

        def live(done: int, total: int, last: dict[str, np.ndarray]) -> None:
            bar.update(task, description="training", completed=done, total=total, state=state(last))

        yield live


def closing(summary: dict[str, Any]) -> Group:
    """The table and the verdict of a run."""
    return Group(_table(summary), *verdict_lines(summary))


def verdict_lines(summary: dict[str, Any]) -> list[str]:
    """The verdict in sentences, one a line."""
    verdict, lines = summary["verdict"], []
    missing = [c for c in verdict["conditions"] if not c["holds"]]
    if verdict["expected"]:
        lines.append("Theory: the conditions for a gap between L-S and S hold at this size.")
    else:
        lines.append("Theory: the conditions for a clear gap do not all hold at this size: "
                     + "; ".join(f"({c['name']}) {c['meaning']} = {c['value']:.3g}, needs {c['bound']}" for c in missing)
                     + ".")
    if verdict["error_ratio"] is not None:
        lines.append(_ratio_line("L-S", verdict["error_ratio"]))
    if verdict["learning_order"] is not None:
        order = verdict["learning_order"]
        lines.append(_mark(order["holds"]) + " learning order: S fits Q before P in "
                     f"{order['S']['seeds']} of {order['S']['of']} seeds, L-S fits P before Q in "
                     f"{order['L-S']['seeds']} of {order['L-S']['of']}.")
    if verdict.get("mitigation") is not None:
        lines.append(_ratio_line("S+noise", verdict["mitigation"]))
    for name, entry in summary["algorithms"].items():
        if entry["diverged_seeds"]:
            lines.append(f"NO  diverged: {name}, seeds {', '.join(map(str, entry['diverged_seeds']))}; left out of every "
                         "mean. Lower training.eta1 or training.step_time.")
    if summary["note"]:
        lines.append("Note: " + summary["note"])
    return lines


def sweep_opening(grid: Grid) -> str:
    """What is about to be swept."""
    config = grid.config
    axes = " x ".join(f"{len(axis.values)} {'+'.join(f.rpartition('.')[2] for f in axis.fields)}" for axis in grid.axes)
    return (f"sweep of {config.name}: {axes or 'no axis'} = {grid.points:,} points, {' and '.join(config.algorithms)} from "
            f"{config.seeds} seeds = {grid.runs:,} runs of {config.training.steps:,} steps")


def plan(found: Plan, missing: int) -> Table:
    """A row a program: what it runs, at once and in all, and what that needs."""
    grid, algorithms = found.grid, len(found.grid.config.algorithms)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"plan: {missing:,} runs to do")
    for name in ("program", "runs", "at once", "memory", "compiled in", "time"):
        table.add_column(name, justify="left" if name == "program" else "right")
    total = 0.0
    for group, program in found.programs.items():
        boxes = list(chunks(grid, found.cut, group))
        runs = algorithms * sum(math.prod(map(len, c.box)) for c in boxes)
        seconds = found.seconds[group] * len(boxes)
        total += seconds
        table.add_row(grid.label(group) or "all points", f"{runs:,}", f"{algorithms * found.cut.block.runs:,}",
                      f"{program.memory / 2**20:,.0f} MiB", f"{program.compile_seconds:.0f} s", _duration(seconds))
    table.caption = (f"{_duration(total)} for a whole sweep on this process's {program_devices(found)}; results take at "
                     f"most {result_bytes(grid) / 2**20:,.0f} MiB on disk; {found.free / 2**30:.1f} GiB of memory are free")
    return table


def program_devices(found: Plan) -> str:
    """The devices that programs are spread over, in words."""
    sizes = {p.mesh.size for p in found.programs.values()}
    kinds = {p.mesh.devices.flat[0].device_kind for p in found.programs.values()}
    return f"{'/'.join(map(str, sorted(sizes)))} x {'/'.join(sorted(kinds))}"


class SweepDisplay:
    """Progress of a sweep: a bar on a terminal, a line every ten seconds or more elsewhere."""

    def __init__(self, console: Console, grid: Grid) -> None:
        """Show on `console` the sweep of `grid`."""
        self.console, self.grid, self.total = console, grid, grid.runs
        self.started = self.shown = time.perf_counter()
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"),
                            TimeElapsedColumn(), console=console) if console.is_terminal else None
        self.task = self.bar.add_task("sweeping", total=self.total, state="", visible=False) if self.bar else None

    def tell(self, text: str) -> None:
        """A line in words."""
        self.console.print(text + ("" if text.startswith("note") else " ..."), soft_wrap=True)

    def planned(self, found: Plan, missing: int) -> None:
        """The plan, and the clock starts."""
        if found.programs:
            self.console.print(plan(found, missing))
        else:
            self.console.print("nothing is missing")
        self.total, self.started, self.shown = missing, time.perf_counter(), time.perf_counter()
        if self.bar is not None and self.task is not None and missing:
            self.bar.update(self.task, total=missing, visible=True)

    def progress(self, runs: float, group: str) -> None:
        """How far this process is."""
        now = time.perf_counter()
        rate = runs / max(now - self.started, 1e-9)
        left = _duration((self.total - runs) / rate) if rate > 0 else "?"
        state = f"{int(runs):,} of {self.total:,} runs, {rate:.3g} a second, {left} left" + (f", {group}" if group else "")
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=runs, state=state)
        elif now - self.shown >= max(10.0, (now - self.started) / 20) or runs >= self.total:
            self.shown = now
            self.console.print(state, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def sweep_progress(console: Console, grid: Grid) -> Iterator[SweepDisplay]:
    """A display that is closed however the sweep ends."""
    display = SweepDisplay(console, grid)
    if display.bar is not None:
        display.bar.start()
    try:
        yield display
    finally:
        display.close()


def sweep_closing(summary: dict[str, Any], runs: xr.Dataset) -> Group:
    """What a sweep found, for up to 30 points; diverged runs by name."""
    lines: list[Any] = []
    axes = list(summary["axes"])
    if summary["points"] <= 30:
        found = tables.points(runs)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"sweep of {summary['name']}: mean ± standard error over "
                      f"{summary['seeds']} seeds")
        for name in (*axes, "algorithm", "test error on P", "Q before P", "annealed", "diverged"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in found.to_dict("records"):
            labels = [f"{row[a]:.4g}" if isinstance(row[a], float) else str(row[a]) for a in axes]
            cells = [_value({"mean": None if np.isnan(row[m]) else row[m], "sem": row[f"{m}_sem"]})
                     for m in ("test_error_p", "q_first", "annealed")]
            table.add_row(*labels, row["algorithm"], *cells, str(row["diverged"]))
        lines.append(table)
    else:
        lines.append(f"{summary['points']:,} points: means and standard errors are in points.csv")
    bad = summary["diverged"]
    if bad:
        shown = "; ".join(", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in one.items())
                          for one in bad[:5])
        lines.append(f"NO  {len(bad):,} of {summary['runs']:,} runs diverged and enter no mean: {shown}"
                     + (f"; and {len(bad) - 5:,} more in summary.json" if len(bad) > 5 else ""))
    if summary["note"]:
        lines.append("Note: " + summary["note"])
    return Group(*lines)


def predictions(names: Sequence[str]) -> str:
    """What each prediction says and how it is judged."""
    return "\n\n".join(f"{name}: {(p := PREDICTIONS[name]).statement}\n  source: {p.source}\n  {p.about}" for name in names)


def verified(found: dict[str, Any]) -> Group:
    """The verdicts: a line a claim, and under it a row a statistic; columns are the same throughout."""
    lines: list[Any] = [f"{found['name']}: {found['seeds']} seeds, intervals at {100 * found['level']:.4g}% (5% over all "
                        "predictions together)", ""]
    for c in found["claims"]:
        lines.append(f"{verifying.said(c).upper()}  {c['number']}. {c['name']}: {c['statement']} ({c['source']})")
        if c["reason"]:
            lines.append(f"    {c['reason']}\n")
            continue
        table = Table(box=SIMPLE_HEAD, show_header=not any(isinstance(x, Table) for x in lines), expand=True, pad_edge=False)
        for label, ratio in (("statistic", 8), ("measured, with interval", 5), ("theory", 5), ("holds within", 4), ("", 3)):
            table.add_column(label, ratio=ratio)
        for s in c["statistics"]:
            table.add_row(s["name"], verifying.interval(s), s["theory"], verifying.region(s), s["verdict"])
        lines.append(table)
    if not found["gap_expected"]:
        lines.append(verifying.no_gap(found))
    if found["separation"]:
        lines.append(verifying.at_which_size(found))
    if found["note"]:
        lines.append("Note: " + found["note"])
    if bad := verifying.broken(found):
        lines.append(f"NO  {', '.join(bad)}: should hold here and fails.")
    return Group(*lines)


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ratio_line(other: str, found: dict[str, Any]) -> str:
    ratio = "undefined" if found["ratio"] is None else f"{found['ratio']:.1f}"
    return (_mark(found["holds"]) + f" test error on P: S {_value(found['S'])} against {other} {_value(found[other])}, "
            f"ratio {ratio} (asked: {found['required_ratio']:g}), intervals of 2 standard errors "
            + ("apart." if found["intervals_apart"] else "not apart."))


def _table(summary: dict[str, Any]) -> Table:
    """Rows of quantities, a column an algorithm and, where there is a prediction, one for it; mean and standard error."""
    table = Table(title=f"{summary['name']}: mean ± standard error over {len(summary['seeds'])} seeds", box=SIMPLE_HEAD,
                  pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    names = list(summary["algorithms"])
    entries = [summary["algorithms"][name] for name in names]
    for name, entry in zip(names, entries, strict=True):
        table.add_column(name, justify="right")
        if "theory" in entry:
            table.add_column("theory", justify="right", style="dim")

    def row(label: str, cell: Callable[[dict[str, Any]], str], theory: Callable[[dict[str, Any]], str],
            section: bool = False) -> None:
        cells = [text for e in entries for text in ((cell(e), theory(e["theory"])) if "theory" in e else (cell(e),))]
        table.add_row(label, *cells, end_section=section)

    orders = {"L-S": "P, then Q", "S": "Q, then P", "S+noise": "P, then Q"}
    if not summary["verdict"]["expected"]:
        orders = dict.fromkeys(names, "no clear order")
    expected = {id(e): orders.get(name, "") for name, e in zip(names, entries, strict=True)}
    row("fitted first (seeds)", lambda e: _fitted_first(e, e["diverged_seeds"]), _fitted_first)
    row("time scales predict", lambda e: expected[id(e)], lambda e: "")
    for label, metric in (("loss on P halved at", "time_p_half"), ("loss on Q halved at", "time_q_half"),
                          ("annealed at", "annealed_at"), ("loss at threshold", "threshold_at")):
        row(label, lambda e, m=metric: _time(e[m], e["diverged_seeds"]), lambda e, m=metric: _predicted_time(e[m]),
            section=metric == "threshold_at")
    for label, metric in (("test error on P", "test_error_p"), ("test error on Q", "test_error_q"),
                          ("test error, mixed", "test_error_mixed"), ("test error, all", "test_error"),
                          ("training loss", "train_loss"), ("contrast", "contrast")):
        row(label, lambda e, m=metric: _value(e[m]), lambda e, m=metric: _predicted(e[m]["mean"]))
    return table


def _predicted(mean: float | None) -> str:
    """A predicted mean: three digits, for it varies over the seeds' data alone."""
    return "-" if mean is None else f"{mean:.3g}"


def _predicted_time(found: dict[str, Any]) -> str:
    """A predicted time, or how many seeds reach it."""
    reached = [t for t in found["per_seed"] if t is not None]
    if not reached:
        return "never"
    of = len(found["per_seed"])
    return _predicted(found["mean"]) if len(reached) == of else f"{len(reached)} of {of}"


def _fitted_first(entry: dict[str, Any], diverged: Sequence[int] = ()) -> str:
    """How many seeds fitted P, Q or neither first."""
    counts = {"P": 0, "Q": 0, "neither": 0}
    for p, q in zip(entry["time_p_half"]["per_seed"], entry["time_q_half"]["per_seed"], strict=True):
        p, q = (float("inf") if t is None else t for t in (p, q))
        counts["P" if p < q else "Q" if q < p else "neither"] += 1
    counts["neither"] -= len(diverged)
    return ", ".join(f"{name} ({count})" for name, count in counts.items() if count > 0)


def _time(found: dict[str, Any], diverged: list[int]) -> str:
    """A time as mean and error, or how many seeds reached it."""
    reached = [t for t in found["per_seed"] if t is not None]
    of = len(found["per_seed"]) - len(diverged)
    if not reached:
        return "never"
    return _value(found) if len(reached) == of else f"{len(reached)} of {of}, from {min(reached):.4g}"


def _value(found: dict[str, Any]) -> str:
    """Mean and standard error with digits that the error supports."""
    mean, sem = found["mean"], found["sem"]
    if mean is None:
        return "-"
    if not sem:
        return f"{mean:.4g}"
    power = int(np.floor(np.log10(abs(mean)))) if 0 < abs(mean) < 1e-3 else 0
    mean, sem = mean / 10.0**power, sem / 10.0**power
    digits = max(0, 1 - int(np.floor(np.log10(sem))))
    return f"({mean:.{digits}f} ± {sem:.{digits}f})e{power}" if power else f"{mean:.{digits}f} ± {sem:.{digits}f}"


def _mark(holds: bool) -> str:
    return "YES" if holds else "NO "
