"""What a person reads on the terminal before and after: what is about to be done, tables and verdicts.

Lives here: words and layout, of every command. Lives elsewhere: every number (the results of each wing, of sweeps and of
predictions), how one is written (cells), what is shown meanwhile (progress).
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table

from lrtheory.algorithm import names_of
from lrtheory.cli import cells
from lrtheory.intervals import Statistic, told_misses
from lrtheory.labelled import UNFINISHED, finite
from lrtheory.optimal.alike import NEAR, Span
from lrtheory.optimal.design import LEVEL, POINTS, Design
from lrtheory.optimal.families import Number
from lrtheory.predictions import NUMBERS, PREDICTIONS, THEOREM, words
from lrtheory.predictions.verify import broken
from lrtheory.progress import spoken
from lrtheory.sweeps import reading, tables
from lrtheory.sweeps.grid import Grid, label_of
from lrtheory.sweeps.plan import Plan, chunks, result_bytes
from lrtheory.theory.config import Config
from lrtheory.theory.measure import test_points
from lrtheory.theory.results import too_few
from lrtheory.theory.timescales import p_time, q_time
from lrtheory.vision.config import Experiment
from lrtheory.wording import words_of

CIFAR_ROWS = (("train_accuracy", "training accuracy"), ("accuracy_clean", "clean images"),
              ("accuracy_mixed", "drawn as in training"),
              ("accuracy_patched", "images with the patch"), ("accuracy_patch_only", "patch only"))
"""(measurement, label) of each row of the table."""


SWEPT_ROWS = {"test_error_p": "test error on P", "q_first": "Q before P", "annealed": "annealed",
              "patch_read_at": "patch read at epoch", "accuracy_patch_only": "patch only", "accuracy_clean": "clean images"}
"""{measurement: label} of each column of the table of a sweep, where it has them."""


def run_opening(config: Config) -> str:
    """Two lines on what is about to run and what the theory expects of it."""
    p, n = config.problem, config.network
    sizes = ", ".join(f"{k} {name}" for k, name in zip(p.group_sizes, p.group_labels, strict=True))
    width = "of infinite width" if config.engine == "infinite" else f"with {n.m_w} + {n.m_v} neurons"
    return (f"{config.name}: {' and '.join(names_of(config.algorithms))} from {config.seeds} seeds, {config.engine} engine, "
            f"{n.variant} network {width}, d = {p.d}, N = {p.n_train} ({sizes}), "
            f"{config.training.steps:,} steps.\n"
            f"Time is the sum of learning rates. T_Q = {q_time(p):.3g}, T_P = {p_time(p):.3g}.")


def run_cautions(config: Config) -> list[str]:
    """What a reader must be told before a run: of the configuration, and seeds too few for any verdict."""
    needed = too_few(names_of(config.algorithms), config.seeds)
    few = [f"too few seeds for a verdict, {config.seeds}: {needed} or more, or the intervals have no ends"]
    return config.cautions + few * (needed is not None)


def jitter_line(jitter: dict[str, float], config: Config) -> str:
    """When L-S will anneal, and by how much the width of V makes that jitter."""
    window, x = config.training.loss_smoothing, jitter["jitter"]
    said = (f"L-S will anneal near time {jitter['time']:.3g}, give or take {x:.3g} with {config.network.m_v} neurons of V: "
            f"its loss will jitter by {jitter['loss']:.2g}, as 1/sqrt(m_v).")
    if x > 2 * max(window, config.training.eta1):
        said += (f" That is more than the time {window:g} over which the trigger averages: the first of many crossings "
                 "counts, and annealing comes early. Raise network.m_v or training.loss_smoothing.")
    return said


def run_closing(summary: dict[str, Any]) -> Group:
    """The table and the verdict of a run."""
    return Group(Unbroken(_table(summary)), *verdict_lines(summary))


def verdict_lines(summary: dict[str, Any]) -> list[str]:
    """The verdict in sentences, one a line."""
    verdict, lines = summary["verdict"], []
    missing = [c for c in verdict["conditions"] if not c["holds"]]
    if verdict["expected"]:
        lines.append("Theory: the conditions for a gap between L-S and S hold at this size.")
    else:
        lines.append("Theory: the conditions for a clear gap do not all hold at this size: "
                     + "; ".join(f"({c['name']}) {c['meaning']} = {float(c['value']):.3g}, needs {c['bound']}{_by_a_hair(c)}"
                                 for c in missing) + ".")
    if verdict.get(UNFINISHED):
        lines.append(f"NO  unfinished: {verdict[UNFINISHED]}; the numbers are of that time, and nothing is compared.")
    if (short := verdict["too_short"]) is not None:
        lines.append(f"Too short: L-S has halved neither loss by time {short['end']:.4g}; P's halves near "
                     f"{short['p_half_expected']:.3g} at this size. Raise training.steps to {short['steps']:,.0f}.")
    late = verdict.get("unannealed")  # summaries that were stored before have none
    if late is not None:
        more = "its loss falls no more" if late["steps"] is None else f"it takes about {late['steps']:,.0f} more steps"
        lines.append(f"Not annealed: in {late['seeds']} of {late['of']} seeds L-S ends in its large phase; {more}.")
    early = "" if late is None else f", before annealing in {late['seeds']} of {late['of']} seeds:"
    for name, other in (("error_ratio", "L-S"), ("matched_loss", "L-S"), ("mitigation", "S+noise")):
        when = early if other == "L-S" else ""
        if verdict.get(name) is not None:
            where = "at matched training loss" if name == "matched_loss" else ""
            lines.append(_ratio_line(other, verdict[name], summary["config"]["n_test"], where, when))
        if name == "matched_loss" and verdict.get("test_loss") is not None:
            lines.append(_loss_line(verdict["test_loss"], when))
    if verdict["learning_order"] is not None:
        order = verdict["learning_order"]
        lines.append(_mark(order) + " learning order: " + (order.get("reason") or (
            f"S fits Q before P in {order['S']['seeds']} of {order['S']['of']} seeds, L-S fits P before Q in "
            f"{order['L-S']['seeds']} of {order['L-S']['of']}")) + ".")
    if any(verdict.get(c) is not None for c in ("error_ratio", "mitigation")):
        seeds = min(verdict[c]["seeds"] for c in ("error_ratio", "mitigation") if verdict.get(c) is not None)
        lines.append((f"Paired over seeds, intervals at {100 * verdict['level']:.4g}%: any of these verdicts is wrong in at "
                      "most 5%, as far as the intervals cover. " + told_misses(seeds, verdict["level"])).rstrip())
    lines += _remarks(summary, "Lower training.eta1 or training.step_time.")
    return lines


def _remarks(summary: dict[str, Any], remedy: str) -> list[str]:
    """Which seeds diverged, with what to do, and the note."""
    lines = [f"NO  diverged: {name}, seeds {', '.join(map(str, entry['diverged_seeds']))}; left out of every mean. {remedy}"
             for name, entry in summary["algorithms"].items() if entry["diverged_seeds"]]
    return lines + (["Note: " + summary["note"]] if summary["note"] else [])


def design_closing(found: Design) -> Group:
    """A row a family: its best numbers, what they end with, predicted and measured; what the optimum is, in words."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title=f"{found.objective} within {found.budget}",
                  title_justify="left")
    for name in ("family", "best numbers", "searched", "predicted", "with neurons", f"difference, {LEVEL:.0%}"):
        table.add_column(name, justify="left" if name in ("family", "best numbers") else "right")
    tree = found.tree["families"]
    for best in sorted((found.best, *found.competitors), key=lambda b: tree[b.family.name].get("predicted", {}).get(
            "mean", b.value)):
        row = tree[best.family.name]
        judged = ["-"] * 3
        if "agrees" in row:
            points = test_points(found.objective, max(found.config.n_test, POINTS)) * len(
                found.judged[best.family.name].measured)
            judged = [cells.error(row[k], points) for k in ("predicted", "measured")]
            ends = [row["difference"][k] for k in ("low", "high")]
            apart = " (apart)" if row["agrees"] is False else ""
            judged.append("none" if None in ends else f"{ends[0]:.2g} to {ends[1]:.2g}{apart}")
        numbers = ", ".join(f"{name} {value:.3g}" + ("*" if name in best.at_bounds else "")
                            for name, value in best.numbers.items())
        table.add_row(best.family.name, numbers, f"{best.value:.3g}", *judged)
    said = [f"best of {found.best.family.name}: {words_of(found.best.schedule)}"]
    if found.unfinished:
        said.append("NO  unfinished: families that are not in the table were not searched, not all was run on fresh seeds")
    if any(b.at_bounds for b in (found.best, *found.competitors)):
        said.append("*: at an end of its bounds")
    return Group(table, *said, *_alike(found))


def _alike(found: Design) -> list[str]:
    """What fresh seeds do not tell from the best: its numbers' ranges and other families; and what they do tell."""
    if (same := found.alike) is None:
        return []
    how = "in closed form" if same.closed_form else "on test points"
    lines = [f"around it, one number at a time, by {same.least.size} fresh seeds ({found.objective} {how}, "
             f"{same.least.mean():.3g}; paired, {LEVEL:.0%}):"]
    for name, here in same.numbers.items():
        lines.append(f"    {name}: not told from the best {_span(here.told, here.number)}, within {NEAR - 1:.0%} of it "
                     + _span(here.near, here.number))
    for which, head in (("alike", "not told from it, either"), ("worse", "worse"), ("better", "better")):
        if names := same.standing(which):
            lines.append(f"{head}: " + ", ".join(f"{name} ({_over(same.families[name])})" for name in names))
    return [*lines, *filter(None, [told_misses(same.least.size, LEVEL)])]


def _span(here: Span, number: Number) -> str:
    """Values of a number from and to, with which are its bounds."""
    return " to ".join(f"{end:.3g}" + (" (bound)" if math.isclose(end, bound, rel_tol=1e-6) else "")
                       for end, bound in zip(here, (number.low, number.high), strict=True))


def _over(over: Statistic) -> str:
    """How far a family ends from the best, with its interval; both may have no test point wrong."""
    if not math.isfinite(over.value):
        return "no ratio"
    low, high = ("no end" if not math.isfinite(v) else f"{100 * (v - 1):+.2g}" for v in (over.low, over.high))
    return f"{100 * (over.value - 1):+.2g}% [{low}, {high}]"


def cifar_opening(config: Experiment, parameters: int, source: str) -> str:
    """What is about to be trained."""
    m, t = config.model, config.training
    net = f"WideResNet-{m.depth}-{m.widen}" if m.kind == "wide-resnet" else f"CNN of widths {'/'.join(map(str, m.widths))}"
    return (f"{config.name}: {', '.join(names_of(config.algorithms))} from {config.seeds} seeds, {net} "
            f"({parameters:,} parameters, {m.compute}), {config.n_train:,} images, {t.epochs} epochs of "
            f"{config.steps_per_epoch} steps"
            + (f", annealed at epoch {' '.join(map(str, t.anneal_epochs))}" if t.anneal_epochs else "")
            + f". Large rate {t.eta1:g}, small {t.eta1 * t.eta_ratio:.3g}.\nImages: {source}")


def cifar_closing(summary: dict[str, Any]) -> Group:
    """The table and the verdict."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True,
                  title=f"{summary['name']}: accuracy, mean ± standard error over {len(summary['seeds'])} seeds")
    table.add_column("", no_wrap=True)
    entries = summary["algorithms"]
    for name in entries:
        table.add_column(name, justify="right")
    moments = [m for m in ("before_annealing", "end") if any(m in e for e in entries.values())]
    for moment in moments:
        for metric, label in CIFAR_ROWS:
            seen = [e[moment].get(metric) for e in entries.values()]
            if any(c is not None for c in seen):
                table.add_row(f"{label}, {moment.replace('_', ' ')}", *map(cells.accuracy, seen),
                              end_section=metric == CIFAR_ROWS[-1][0])
    lines: list[Any] = [Unbroken(table), *epochs_read(summary)]
    for claim in summary["verdict"]:
        mark = {True: "YES", False: "NO ", None: "?  "}[claim["holds"]]
        found = claim["difference"]
        shown = f"difference {cells.accuracy(found)} ({claim['seeds']} seeds)" if claim["holds"] is not None else (
            f"difference {cells.accuracy(found)}; not judged, it takes 2 seeds that did not diverge")
        if claim["resolved"] is False:
            shown += ", an interval that has 0: not resolved, more --seeds tell more"
        lines.append(f"{mark} {claim['statement']}: {shown}.")
    if summary["unfinished"]:
        until = summary["end_epoch"]
        lines.append(f"NO  unfinished: {summary['unfinished']}; " + (
            f"the end is epoch {until}, the last that all have." if until else "there is no epoch that all have."))
    lines += _remarks(summary, "Lower training.eta1.")
    return Group(*lines)


def epochs_read(summary: dict[str, Any]) -> list[str]:
    """Which epochs the moments of trainings are means of: a line, none where there is no moment."""
    said = [f"{'at the end' if when == 'end' else 'before annealing'} epoch" + (f" {last}" if first == last else
                                                                                  f"s {first} to {last}")
            for when, (first, last) in summary["epochs"].items()]
    spread = ", in brackets the standard deviation over them" if any("epochs" in words for words in said) else ""
    return [f"Means over epochs{spread}: {', '.join(said)}."] if said else []


def sweep_opening(grid: Grid) -> str:
    """What is about to be swept."""
    config = grid.config
    axes = " x ".join(f"{len(axis.values)} {'+'.join(map(label_of, axis.fields))}" for axis in grid.axes)
    return (f"sweep of {config.name}: {axes or 'no axis'} = {grid.points:,} points, "
            f"{' and '.join(names_of(config.algorithms))} from {config.seeds} seeds = {grid.runs:,} " + (
                f"trainings of {grid.widest.training.epochs} epochs" if isinstance(config, Experiment) else
                f"runs of {config.training.steps:,} steps"))


def cautions(grid: Grid) -> list[str]:
    """What a reader of a sweep of the theory must be told before it runs: of all points, each once, and at most three."""
    said = list(dict.fromkeys(text for index in np.ndindex(grid.shape) for text in grid.at(index).cautions))
    return said[:3] + [f"and {len(said) - 3} more like these"] * (len(said) > 3)


def plan_table(found: Plan, missing: int) -> Table:
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
                      f"{program.memory / 2**20:,.0f} MiB", f"{program.compile_seconds:.0f} s", spoken(seconds))
    table.caption = (f"{spoken(total)} for a whole sweep on this process's {program_devices(found)}; results take at "
                     f"most {result_bytes(grid) / 2**20:,.0f} MiB on disk; {found.free / 2**30:.1f} GiB of memory are free")
    return table


def program_devices(found: Plan) -> str:
    """The devices that programs are spread over, in words."""
    sizes = {p.mesh.size for p in found.programs.values()}
    kinds = {p.mesh.devices.flat[0].device_kind for p in found.programs.values()}
    return f"{'/'.join(map(str, sorted(sizes)))} x {'/'.join(sorted(kinds))}"


def sweep_closing(summary: dict[str, Any], runs: xr.Dataset) -> Group:
    """What a sweep found, for up to 30 points; diverged runs by name."""
    lines: list[Any] = []
    axes, n_test = list(summary["axes"]), json.loads(runs.attrs["config"])["n_test"]
    if summary["points"] <= 30:
        found = tables.points(runs)
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title=f"sweep of {summary['name']}: mean ± standard error over "
                      f"{summary['seeds']} seeds")
        columns = {name: label for name, label in SWEPT_ROWS.items() if name in found}
        shown = [label for axis in axes for label in tables.labels_of(runs, axis)]
        for name in (*shown, "algorithm", *columns.values(), "diverged"):
            table.add_column(name, justify="right")
        for row in found.to_dict("records"):
            labels = [f"{row[a]:.4g}" if isinstance(row[a], float) else str(row[a]) for a in shown]
            points = {m: test_points(m, row.get("n_test", n_test)) * (summary["seeds"] - row["diverged"]) for m in columns}
            means = [cells.error({"mean": None if np.isnan(row[m]) else row[m], "sem": finite(row[f"{m}_sem"])}, points[m])
                     for m in columns]
            table.add_row(*labels, row["algorithm"], *means, str(row["diverged"]))
        lines.append(Unbroken(table))
    else:
        lines.append(f"{summary['points']:,} points: means and standard errors are in points.csv")
    if reading.is_there(runs):
        lines += _read(reading.reading(runs))
    bad = summary["diverged"]
    if bad:
        shown = "; ".join(", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in one.items())
                          for one in bad[:5])
        lines.append(f"NO  {len(bad):,} of {summary['runs']:,} runs diverged and enter no mean: {shown}"
                     + (f"; and {len(bad) - 5:,} more in summary.json" if len(bad) > 5 else ""))
    if summary["note"]:
        lines.append("Note: " + summary["note"])
    return Group(*lines)


def _read(found: reading.Reading) -> list[str]:
    """When L-S reads linear patches, against others, as far as a sweep has both."""
    count, lines = reading.crossings(found), []
    if count.of_blind + count.of_hidden:
        lines.append(f"Of {count.of_blind} pairs in which S reads a patch with both signs no later than a linear one, L-S "
                     f"reads it later in {count.blind}, as it would if it were blind to what is not linear; of "
                     f"{count.of_hidden} in which S reads the linear one no later, L-S reads that later in {count.hidden}.")
    factor = reading.linear_over_other(found)
    if math.isfinite(factor.value):
        low, high = ("-" if math.isnan(v) else f"{math.exp(v):.2g}" for v in (factor.low, factor.high))
        lines.append(f"At equal epoch under S, L-S reads the linear patch at {math.exp(factor.value):.2g} [{low}, {high}] "
                     "times the epoch of the other.")
    return lines


def predictions(names: Sequence[str]) -> str:
    """What each prediction says and how it is judged."""
    known = PREDICTIONS | THEOREM
    return "\n\n".join(f"{NUMBERS[name]}. {name}: {known[name].statement}\n  source: {known[name].source}\n"
                       f"  {known[name].about}\n  It would fail by: {known[name].fails}" for name in names)


def theorem_closing(summary: dict[str, Any]) -> Group:
    """The rows of a study: order of learning, errors, loss, contrast, examples; and what is drawn from all of them."""
    from lrtheory.predictions.series import STUDIES

    rows, keys = summary["rows"], STUDIES[summary["study"]].over
    tables_ = []
    for name in (a for a in ("L-S", "S") if a in rows[0]):
        table = Table(title=f"{name}: mean ± standard error over seeds; times in T_P", box=SIMPLE_HEAD, pad_edge=False)
        for label in (*keys, "T_P/T_Q", "P halved", "Q halved", *(["annealed"] if name == "L-S" else []), "first",
                      "error on P", "P alone", "test loss", "contrast", "P from n"):
            table.add_column(label, justify="right")
        for row in rows:
            one, t_p = row[name], row["T_P"]
            events = ("time_p_half", "time_q_half", *(["annealed_at"] if name == "L-S" else []))
            first = " ".join(f"{g} ({one[f'{g} first']})" for g in "PQ" if one[f"{g} first"])
            table.add_row(*(f"{row[k]:g}" for k in keys), f"{t_p / row['T_Q']:.3g}",
                          *(cells.in_units(one[m], t_p) for m in events), first, cells.value(one["test_error_p"]),
                          cells.value(one["limit_error"]), cells.value(one["test_loss"]), cells.value(one["contrast"]),
                          cells.examples(one["examples"]))
        tables_.append(Unbroken(table))
    lines = [f"{f['name']}: {words.interval(f)} (expected: {f['theory']})" for f in summary["findings"]]
    if "unfinished" in summary:
        lines.append(f"NO  unfinished: {summary['unfinished']}")
    return Group(*tables_, "P alone: the same network trained on (1-q)N (L-S) or pN (S) of its examples of P and nothing "
                 "else, the limit d = infinity. P from n: from how many such examples P was learned.", *lines)


def verify_closing(found: dict[str, Any]) -> Group:
    """The verdicts: a line a claim, and under it a row a statistic; columns are the same throughout."""
    lines: list[Any] = [f"{found['name']}: {words.levels(found)}", ""]
    for c in found["claims"]:
        lines.append(f"{words.said(c).upper()}  {c['number']}. {c['name']}: {c['statement']} ({c['source']})")
        if c["reason"]:
            lines.append(f"    {c['reason']}\n")
            continue
        table = Table(box=SIMPLE_HEAD, show_header=not any(isinstance(x, Table) for x in lines), expand=True, pad_edge=False)
        for label, ratio in (("statistic", 8), ("measured, with interval", 5), ("theory", 5), ("holds within", 4), ("", 3)):
            table.add_column(label, ratio=ratio)
        for s in c["statistics"]:
            table.add_row(s["name"], words.interval(s), s["theory"], words.region(s), s["verdict"])
        lines.append(table)
        if c["diverged"]:
            lines.append(f"    {c['diverged']} of its runs diverged; their seeds are left out, {c['seeds']} are judged\n")
    if not found["gap_expected"]:
        lines.append(words.no_gap(found))
    if found["separation"]:
        lines.append(words.at_which_size(found))
    if found["note"]:
        lines.append("Note: " + found["note"])
    if found["unfinished"]:
        lines.append(f"NO  unfinished: {', '.join(found['unfinished'])} not judged yet")
    if bad := broken(found):
        lines.append(f"NO  {', '.join(bad)}: should hold here and fails.")
    return Group(*lines)


class Unbroken:
    """A table whose lines break between words; in a word only where the terminal is too narrow, and nothing is left out."""

    def __init__(self, table: Table) -> None:
        """Of a table that is complete."""
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, fitted to the console."""
        longest = [max((len(word) for cell in (column.header, *column.cells) for word in str(cell).split()), default=1)
                   for column in self.table.columns]
        fits = sum(longest) + 3 * len(longest) <= options.max_width
        for column, least in zip(self.table.columns, longest, strict=True):
            column.no_wrap, column.overflow, column.min_width = False, "fold", least if fits else None
        yield self.table


def _by_a_hair(condition: dict[str, Any]) -> str:
    """That a condition misses its bound by at most a tenth of it."""
    bound = float(condition["bound"].split()[-1])
    return " (missed by a hair)" if 0.9 * bound <= float(condition["value"]) <= 1.1 * bound else ""


def _ratio_line(other: str, found: dict[str, Any], n_test: int, where: str, early: str) -> str:
    head = f"{_mark(found, early)} test error on P{' ' + where if where else ''}: "
    if found.get("reason"):
        return head + found["reason"] + "."
    ratio = "undefined" if found["ratio"] is None else f"{found['ratio']:.1f}"
    errors = [cells.error(found[name], n_test * found["seeds"]) for name in ("S", other)]
    losses = [cells.value(found[name]["train_loss"]) for name in ("S", other)]
    return (head + f"S {errors[0]} against {other} {errors[1]}, ratio {ratio} (asked: {found['required_ratio']:g}) at "
            f"training losses {losses[0]} and {losses[1]}; {_interval(found)}.")


def _loss_line(found: dict[str, Any], early: str) -> str:
    head = f"{_mark(found, early)} test loss on P: "
    if found.get("reason"):
        return head + found["reason"] + "."
    return head + f"S {cells.value(found['S'])} against L-S {cells.value(found['L-S'])}; {_interval(found)}."


def _interval(found: dict[str, Any]) -> str:
    """The statistic of a comparison with its interval, and over how many seeds."""
    row = found["statistics"][0]
    if row["low"] is None and row["high"] is None:
        return f"too few seeds ({found['seeds']}) for an interval of {row['name']}; 6 or more give one"
    low, high = ("no end" if v is None else f"{v:.3g}" for v in (row["low"], row["high"]))
    return f"{row['name']} [{low}, {high}] over {found['seeds']} seeds"


def _table(summary: dict[str, Any]) -> Table:
    """Rows of quantities, a column an algorithm and, where there is a prediction, one for it; mean and standard error."""
    table = Table(title=f"{summary['name']}: mean ± standard error over {len(summary['seeds'])} seeds", box=SIMPLE_HEAD,
                  pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    names = list(summary["algorithms"])
    entries, n_test = [summary["algorithms"][name] for name in names], summary["config"]["n_test"]
    for name, entry in zip(names, entries, strict=True):
        table.add_column(name, justify="right")
        if "theory" in entry:
            table.add_column("theory", justify="right", style="dim")

    def row(label: str, cell: Callable[[dict[str, Any]], str], theory: Callable[[dict[str, Any]], str],
            section: bool = False) -> None:
        texts = [text for e in entries for text in ((cell(e), theory(e["theory"])) if "theory" in e else (cell(e),))]
        table.add_row(label, *texts, end_section=section)

    orders = {"L-S": "P, then Q", "S": "Q, then P", "S+noise": "P, then Q"}
    if not summary["verdict"]["expected"]:
        orders = dict.fromkeys(names, "no clear order")
    expected = {id(e): orders.get(name, "") for name, e in zip(names, entries, strict=True)}
    row("fitted first (seeds)", cells.fitted_first, cells.fitted_first)
    row("time scales predict", lambda e: expected[id(e)], lambda e: "")
    for label, metric in (("loss on P halved at", "time_p_half"), ("loss on Q halved at", "time_q_half"),
                          ("annealed at", "annealed_at"), ("loss at threshold", "threshold_at")):
        row(label, lambda e, m=metric: cells.time(e[m], e["diverged_seeds"]), lambda e, m=metric: cells.predicted_time(e[m]),
            section=metric == "threshold_at")
    for label, metric in (("test error on P", "test_error_p"), ("test error on Q", "test_error_q"),
                          ("test error, mixed", "test_error_mixed"), ("test error, all", "test_error"),
                          ("test loss on P", "test_loss_p"), ("test loss, all", "test_loss"),
                          ("training loss", "train_loss"), ("contrast", "contrast")):
        if all(metric in e for e in entries):
            row(label, lambda e, m=metric: cells.error(e[m], cells.points(m, e[m], n_test)),
                lambda e, m=metric: cells.predicted(e[m], cells.points(m, e[m], n_test)))
        if metric == "test_error_p" and all("examples" in e for e in entries):
            row("P learned from n examples", lambda e: cells.examples(e["examples"]), lambda e: "")
    return table


def _mark(claim: dict[str, Any], early: str = "") -> str:
    """YES, NO or ? of a claim, with why not YES, or why not plainly so: `early`."""
    return {"holds": f"YES{early}", "fails": "NO ", "not resolved": "?   not resolved:"}.get(claim["verdict"],
                                                                                  f"?   {claim['verdict']}:")
