"""Progress of what takes long: a bar on a terminal or in a notebook, else lines now and then, or nothing.

Lives here: the display, where it appears, times in words. Lives elsewhere: what it says of each kind of work
(cli.progress, and whoever computes), an early end (stopping).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


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
        else:
            self.write(text, now, done >= total)

    def write(self, text: str, now: float, last: bool) -> None:
        """The same where there is no terminal; `now` in seconds, `last`: nothing follows."""
        if last or now - self.shown >= max(10.0, (now - self.started) / 20):
            self.shown = now
            self.console.print(text, soft_wrap=True)


class NotebookDisplay(Display):
    """One line of a notebook's cell, written anew."""

    def __init__(self, unit: str) -> None:
        """What is counted are `unit`s."""
        super().__init__(Console(quiet=True), unit)
        self.line: Any = None

    def write(self, text: str, now: float, last: bool) -> None:
        """The line, not more often than four times a second."""
        from IPython.display import display  # there, for this is its notebook  # pyright: ignore[reportMissingImports]

        if last or self.line is None or now - self.shown >= 0.25:
            self.shown = now
            words = {"text/plain": text}
            if self.line is None:
                self.line = display(words, raw=True, display_id=True)
            else:
                self.line.update(words, raw=True)


@contextmanager
def watching(progress: bool | Callable[..., Any] | None, unit: str,
             say: Callable[[Any], str]) -> Iterator[Callable[..., Any] | None]:
    """Whoever is to be told of progress, as (done, total, latest), or None: what `progress` asks for.

    A function is told itself. True asks for a bar, on a terminal or in a notebook, and for nothing where neither is: output
    into a file or a pipe stays as it is. `say(latest)` are the words beside the bar.
    """
    if callable(progress) or not progress or not (terminal() or notebook()):
        yield progress if callable(progress) else None
        return
    with NotebookDisplay(unit) if notebook() else Display(Console(stderr=True), unit) as show:
        yield lambda done, total, latest: show.show(done, total, say(latest))


def terminal() -> bool:
    """Whether somebody sees what this process writes as its errors."""
    return sys.stderr is not None and sys.stderr.isatty()


def notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


def spoken(seconds: float) -> str:
    """Seconds as a person says them.

    >>> spoken(0.2), spoken(75), spoken(600), spoken(7200)
    ('under 1 s', '75 s', '10 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
