"""What a person reads of the CIFAR-10 experiment on the terminal: progress, the table and the verdict.

Lives here: words and layout. Lives elsewhere: every number (outcome).
"""

import time
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lrtheory.vision.config import Experiment

ROWS = (("train_accuracy", "training accuracy"), ("accuracy_clean", "clean images"),
        ("accuracy_mixed", "images with the patch"), ("accuracy_patch_only", "patch only"))
"""(measurement, label) of each row of the table."""


def opening(config: Experiment, parameters: int, source: str) -> str:
    """What is about to be trained."""
    m, t = config.model, config.training
    net = f"WideResNet-{m.depth}-{m.widen}" if m.kind == "wide-resnet" else f"CNN of widths {'/'.join(map(str, m.widths))}"
    return (f"{config.name}: {', '.join(config.algorithms)} from {config.seeds} seeds, {net} ({parameters:,} parameters, "
            f"{m.compute}), {config.n_train:,} images, {t.epochs} epochs of {config.steps_per_epoch} steps"
            + (f", annealed at epoch {' '.join(map(str, t.anneal_epochs))}" if t.anneal_epochs else "")
            + f". Large rate {t.eta1:g}, small {t.eta1 * t.eta_ratio:.3g}.\nImages: {source}")


class Display:
    """Progress: a bar on a terminal, elsewhere a line every ten seconds or more."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self.console, self.started = console, time.perf_counter()
        self.shown, self.first = self.started, None
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn(),
                            TextColumn("{task.fields[state]}"), console=console) if console.is_terminal else None
        self.task = self.bar.add_task("compiling", total=None, state="") if self.bar else None

    def __enter__(self) -> "Display":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *rest: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def tell(self, text: str) -> None:
        """A line in words."""
        self.console.print(text, soft_wrap=True)

    def progress(self, done: int, total: int, name: str, seed: int, epoch: int, row: dict[str, float]) -> None:
        """An epoch of a run is done; arguments as in `lrtheory.vision.runs.Progress`."""
        now = time.perf_counter()
        if self.first is None:
            self.first = (now, done)
        pace = (now - self.first[0]) / max(done - self.first[1], 1)
        left = f"{pace * (total - done):.0f} s left, " if done > self.first[1] else ""
        labels = {"train_accuracy": "train", "accuracy_clean": "clean", "accuracy_patch_only": "patch only"}
        accuracy = "".join(f", {label} {row[metric]:.2f}" for metric, label in labels.items() if metric in row)
        state = f"{done} of {total} epochs, {left}{name} seed {seed} epoch {epoch}{accuracy}"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description="training", total=total, completed=done, state=state)
        elif now - self.shown >= max(10.0, (now - self.started) / 20) or done >= total:
            self.shown = now
            self.console.print(state, soft_wrap=True)


def closing(summary: dict[str, Any]) -> Group:
    """The table and the verdict."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True,
                  title=f"{summary['name']}: accuracy, mean ± standard error over {len(summary['seeds'])} seeds")
    table.add_column("", no_wrap=True)
    entries = summary["algorithms"]
    for name in entries:
        table.add_column(name, justify="right")
    moments = [m for m in ("before_annealing", "end") if any(m in e for e in entries.values())]
    for moment in moments:
        for metric, label in ROWS:
            cells = [e[moment].get(metric) for e in entries.values()]
            if any(c is not None for c in cells):
                table.add_row(f"{label}, {moment.replace('_', ' ')}", *map(_value, cells), end_section=metric == ROWS[-1][0])
    lines: list[Any] = [table]
    for claim in summary["verdict"]:
        mark = {True: "YES", False: "NO ", None: "?  "}[claim["holds"]]
        found = claim["difference"]
        shown = f"difference {_value(found)} ({claim['seeds']} seeds)" if claim["holds"] is not None else (
            f"difference {_value(found)}; not judged, it takes 2 seeds that did not diverge")
        if claim["resolved"] is False:
            shown += ", within 2 standard errors of 0: not resolved, more --seeds tell more"
        lines.append(f"{mark} {claim['statement']}: {shown}.")
    for name, entry in entries.items():
        if entry["diverged_seeds"]:
            lines.append(f"NO  diverged: {name}, seeds {', '.join(map(str, entry['diverged_seeds']))}; left out of every "
                         "mean. Lower training.eta1.")
    if summary["note"]:
        lines.append("Note: " + summary["note"])
    return Group(*lines)


def _value(found: dict[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return "-"
    return f"{found['mean']:.3f}" + (f" ± {found['sem']:.3f}" if found["sem"] is not None else "")
