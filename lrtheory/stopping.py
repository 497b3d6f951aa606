"""An early end: the signals that ask a command for it, and the flag that whatever takes long reads.

A signal raises nothing. An exception that comes from outside lands anywhere, in a callback of JAX's garbage collection for
example, where it is lost, or beside a program that still computes, which then ends in a crash. So a thread hears the
signals, also while the main one is inside a compiled program. Before there is anything to lose the first one ends the
process. Later it only sets a flag: loops read it between two pieces of work, what was measured is told and kept, and a
second signal ends the process at once. Only the command line listens; elsewhere, in a notebook, Ctrl-C is Python's own
`KeyboardInterrupt`, and nothing is ever asked for here.

Lives here: the flag, the thread, `Interrupted`. Lives elsewhere: which work ends where (whoever computes), what is kept and
said then (cli.commands). Imports nothing that takes time, for it must listen while the rest is imported.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

STOPPED = 130
"""Exit code of what was asked to end."""
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""What is heard: Ctrl-C, `kill` and managers of jobs, a terminal that closes. One that is ignored (nohup) stays ignored."""
PAIR = 1.0
"""Seconds within which a further SIGTERM or SIGHUP is the same request: shells, terminals and managers send them twice."""
LAST_WORDS = 4.0
"""Seconds that an end at once may take to say what is to be said: whoever reads it may have stopped reading."""


class Interrupted(Exception):
    """What takes long was asked to stop, or its time was up; what is finished is kept."""

    def __init__(self, found: Any = None) -> None:
        """With what was measured until then, as the one who raises it would have returned it; None: nothing."""
        super().__init__("asked to stop")
        self.found = found


class _Ear:
    """What was heard, and what an end would cost now."""

    def __init__(self) -> None:
        self.asked, self.first = threading.Event(), 0.0
        self.name, self.stands = "lrtheory", "interrupted; nothing was computed"
        self.after: str | None = None  # what a gentle end waits for; None: nothing would be lost
        self.tell: Callable[[str], Any] = lambda text: None
        self.farewells: list[Callable[[int], Any]] = []

    def heard(self, number: int) -> None:
        """A signal has come."""
        again = self.asked.is_set()
        if again and number != signal.SIGINT and time.monotonic() - self.first < PAIR:
            return
        if again:
            end(STOPPED, f"{self.name}: {self.stands}")
        self.ask()

    def ask(self, why: str = "") -> None:
        """An end is asked for, by a signal or because of what is said."""
        if self.after is None:
            end(STOPPED, f"{self.name}: {why + '; ' if why else ''}{self.stands}")
        self.first = time.monotonic()
        self.asked.set()
        why = why or "press Ctrl-C again to end at once"
        _aside(lambda: self.tell(f"stopping after {self.after}; {why}"))


_ear = _Ear()


def asked() -> bool:
    """Whether an end was asked for."""
    return _ear.asked.is_set()


def ask(why: str) -> None:
    """Ask for an end, once, as a signal does."""
    if not asked():
        _ear.ask(why)


def heed(found: Any = None) -> None:
    """Raise `Interrupted`, with what was found, if an end was asked for."""
    if asked():
        raise Interrupted(found)


def stands(text: str) -> None:
    """From now on an end at once says this: what is lost, what is kept, how to go on."""
    _ear.stands = text


def how_it_stands() -> str:
    """What an end at once would say."""
    return _ear.stands


def farewell(act: Callable[[int], Any]) -> None:
    """Something to do with the exit code before any end at once, within `LAST_WORDS`, and at any other of a command."""
    _ear.farewells.append(act)


def in_company() -> bool:
    """Whether other processes want to hear how this one ends."""
    return bool(_ear.farewells)


def leave(code: int) -> None:
    """The end of a command that has the process for itself: one that failed waits for no thread and no other process."""
    if code == STOPPED or (code and _ear.farewells):
        end(code)
    for act in _ear.farewells:
        with contextlib.suppress(Exception):
            act(code)


@contextlib.contextmanager
def gently(after: str, tell: Callable[[str], Any]) -> Iterator[None]:
    """Within, the first signal only asks, which is told with `after` (what is waited for); a second one ends at once."""
    before = _ear.after, _ear.tell
    _ear.after, _ear.tell = after, tell
    try:
        yield
    finally:
        _ear.after, _ear.tell = before


def end(code: int, text: str = "") -> None:
    """End the process here and now, whatever its threads do: say `text`, flush, no clearing up, no crash."""
    def last_words() -> None:
        for act in _ear.farewells:
            with contextlib.suppress(Exception):
                act(code)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                if stream.isatty():
                    stream.write("\x1b[?25h\n")  # a bar hides the cursor
        with contextlib.suppress(Exception):
            print(text, end="\n" if text else "", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()

    try:
        _aside(last_words).join(LAST_WORDS)
    finally:
        os._exit(code)


@contextlib.contextmanager
def listening(name: str, for_good: bool = False) -> Iterator[None]:
    """Hear signals on behalf of the command `name`; outside the main thread, nothing. `for_good`: also afterwards."""
    global _ear
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ear = _Ear()
    _ear.name = name
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = {number: signal.signal(number, _nothing) or signal.SIG_DFL for number in _numbers()}
    wakeup = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    _aside(lambda: _listen(heard))
    try:
        yield
    finally:
        if not for_good:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(told)  # its thread ends
            _ear = _Ear()


def renew() -> None:
    """Hear again what a library has taken for itself, as JAX takes SIGTERM when processes join."""
    for number in _numbers():
        if signal.getsignal(number) is _nothing:
            signal.signal(number, _nothing)


def _numbers() -> list[int]:
    """The signals that are heard here."""
    known = [int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


def _nothing(number: int, frame: object) -> None:
    """The handler: its signal's number has gone to the thread that listens."""


def _listen(heard: int) -> None:
    """Until nobody tells any more."""
    known = _numbers()
    while number := os.read(heard, 1):
        if number[0] in known:
            _ear.heard(number[0])
    os.close(heard)


def _aside(act: Callable[[], Any]) -> threading.Thread:
    """Do something in a thread that keeps nobody waiting."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread
