"""Progress on the terminal while runs, sweeps and trainings go on.

Lives here: a bar or lines, and what one of them says of each kind of work. Lives elsewhere: what is printed before and after
(report).
"""

import time
from collections.abc import Mapping
from typing import Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lrtheory.algorithm import names_of
from lrtheory.cli.report import plan_table, spoken
from lrtheory.sweeps.plan import Plan
from lrtheory.theory.config import Config


class Display:
    """A bar on a terminal, elsewhere a line every ten seconds or more, less often the longer it takes."""

    def __init__(self, console: Console, unit: str) -> None:
        """Show on `console`; what is counted are `unit`s, such as steps."""
        self.console, self.unit = console, unit
        self.started = self.shown = time.perf_counter()
        self.first: tuple[float, float] | None = None  # when and how much: before it was compilation
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn(),
                   TextColumn("{task.fields[state]}", markup=False))
        self.bar = Progress(*columns, console=console) if console.is_terminal else None
        self.task = self.bar.add_task("preparing", total=None, state="") if self.bar else None

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *rest: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def tell(self, text: str) -> None:
        """A line in words."""
        self.console.print(text, soft_wrap=True)

    def restart(self) -> None:
        """The clock starts now."""
        self.started = self.shown = time.perf_counter()
        self.first = (self.started, 0.0)

    def show(self, done: float, total: float, state: str) -> None:
        """`done` of `total` units, and what else there is to say."""
        now = time.perf_counter()
        if self.first is None:
            self.first = (now, done)
        pace = (now - self.first[0]) / max(done - self.first[1], 1e-9)
        left = f", {spoken(pace * (total - done))} left" if done > self.first[1] else ""
        text = f"{int(done):,} of {int(total):,} {self.unit}{left}" + (f", {state}" if state else "")
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description="computing", total=total, completed=done, state=text)
        elif now - self.shown >= max(10.0, (now - self.started) / 20) or done >= total:
            self.shown = now
            self.console.print(text, soft_wrap=True)


class RunDisplay(Display):
    """Of `lrtheory run`."""

    def __init__(self, console: Console, config: Config) -> None:
        """Show on `console` the steps of `config`."""
        super().__init__(console, "steps")
        self.config = config

    def progress(self, done: int, total: int, last: Mapping[str, np.ndarray]) -> None:
        """Some steps are done; arguments as in `lrtheory.theory.programs.Progress`."""
        losses = (f"{name} P {last['loss_p'][0, k].mean():.2f} Q {last['loss_q'][0, k].mean():.2f}"
                  for k, name in enumerate(names_of(self.config.algorithms)))
        self.show(done, total, f"time {last['time'].max():.4g}, losses: " + "; ".join(losses))


class SweepDisplay(Display):
    """Of `lrtheory sweep`."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        super().__init__(console, "runs")
        self.total = 0

    def tell(self, text: str) -> None:
        """A line in words; what is being done has dots."""
        super().tell(text + ("" if text.startswith("note") else " ..."))

    def planned(self, found: Plan | None, missing: int) -> None:
        """The plan, where there is one, and the clock starts."""
        if found is None:
            self.console.print(f"{missing:,} trainings to do" if missing else "nothing is missing")
        else:
            self.console.print(plan_table(found, missing) if found.programs else "nothing is missing")
        self.total = missing
        self.restart()

    def progress(self, runs: float, group: str) -> None:
        """How far this process is."""
        rate = runs / max(time.perf_counter() - self.started, 1e-9)
        self.show(runs, self.total, f"{rate:.3g} a second" + (f", {group}" if group else ""))


class CifarDisplay(Display):
    """Of `lrtheory cifar`."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        super().__init__(console, "epochs")

    def progress(self, done: int, total: int, name: str, seed: int, epoch: int, row: dict[str, float]) -> None:
        """An epoch of a run is done; arguments as in `lrtheory.vision.runs.Progress`."""
        labels = {"train_accuracy": "train", "accuracy_clean": "clean", "accuracy_patch_only": "patch only"}
        accuracy = "".join(f", {label} {row[metric]:.2f}" for metric, label in labels.items() if metric in row)
        self.show(done, total, f"{name} seed {seed} epoch {epoch}{accuracy}")
