"""Progress on the terminal while runs, sweeps and trainings go on.

Lives here: what is said of each kind of work. Lives elsewhere: the bar or lines that say it (lrtheory.progress), what is
printed before and after (report).
"""

import time
from collections.abc import Mapping

import numpy as np
from rich.console import Console

from lrtheory.algorithm import names_of
from lrtheory.cli.report import plan_table
from lrtheory.progress import Display
from lrtheory.sweeps.plan import Plan
from lrtheory.theory import runs
from lrtheory.theory.config import Config


class RunDisplay(Display):
    """Of `lrtheory run`."""

    def __init__(self, console: Console, config: Config) -> None:
        """Show on `console` the steps of `config`."""
        super().__init__(console, "steps")
        self.config = config

    def progress(self, done: int, total: int, last: Mapping[str, np.ndarray]) -> None:
        """Some steps are done; arguments as in `lrtheory.theory.programs.Progress`."""
        self.show(done, total, runs.said(names_of(self.config.algorithms), last))


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
