"""What is printed, and where: text as it is, without markup, and on without a reader.

Lives here: the console, output that survives its reader. Lives elsewhere: the words (report, progress).
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class Surviving:
    """A text stream that drops what it cannot write: `| head` or a full disk under a log end no run."""

    def __init__(self, stream: Any) -> None:
        """Of a stream, such as sys.stdout; everything but writing is left to it."""
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        with self._dropping():
            self.stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # nobody reads, no room, closed: from here on into nothing, what is buffered included
            with contextlib.suppress(OSError, ValueError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, self.stream.fileno())
                os.close(nothing)


@contextlib.contextmanager
def surviving() -> Iterator[None]:
    """Standard output and errors that outlive whoever reads them."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and Surviving(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def console(wide: int | None = None, quiet: bool = False) -> "Console":
    """Where commands print; `wide`: columns where there is no terminal."""
    from rich.console import Console  # help is printed without it

    there = sys.stdout is not None and sys.stdout.isatty()
    return Console(highlight=False, markup=False, emoji=False, quiet=quiet, width=None if there else wide)
