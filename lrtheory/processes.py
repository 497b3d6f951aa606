"""Several processes that work together, by `jax.distributed`: joining, agreeing, and ending together.

A process that waits for another in a barrier would wait for ever if that one failed. So each says every `BEAT` seconds,
through the service by which they found each other, that it is there, and how it ended; a thread of each listens, and ends it
with a line when another failed, was asked to end, or has been silent for long.

Lives here: that thread, what the first process says to all. Lives elsewhere: who computes what (sweeps.course), how a
process ends (stopping).
"""

import os
import threading
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lrtheory import stopping
from lrtheory.spec import ConfigError, require

BEAT, SILENT = 0.3, 60.0
"""Seconds between two signs of life, and after which a process without one is taken for dead."""
GRACE = 1.5
"""Seconds that a process has, once another failed, to find out by itself and say more."""
DONE, STOPPED, FAILED = "done", "stopped", "failed"
"""How a process ended, as the others hear it."""
PREFIX = "lrtheory/processes/"
"""Of the keys under which each says it."""


def join_processes() -> None:
    """Make this process one of several that work together, by `jax.distributed`; call before any other JAX work.

    A cluster manager that JAX knows (Slurm, Open MPI, Kubernetes, TPU pods) says how many there are. Elsewhere set
    JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID. From here on whatever
    ends one ends all. Raises `ConfigError` where these are no numbers or the processes do not find each other.
    """
    def number(name: str) -> int | None:
        text = os.environ.get(name)
        require(text is None or text.isdecimal(), name, text, "a whole number", "correct this environment variable")
        return None if text is None else int(text)

    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    port = (address or "").rpartition(":")[2]
    require(address is None or (":" in address[1:] and port.isdecimal() and 0 < int(port) < 2**16),
            "JAX_COORDINATOR_ADDRESS", address, "host:port of the first process", "such as 10.0.0.1:1234")
    try:
        jax.distributed.initialize(num_processes=number("JAX_NUM_PROCESSES"), process_id=number("JAX_PROCESS_ID"))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--distributed: the processes do not find each other ({reason}); set JAX_COORDINATOR_ADDRESS, "
                          "JAX_NUM_PROCESSES and JAX_PROCESS_ID, or start them by a cluster manager") from None
    stopping.renew()
    if (client := _client()) is not None and jax.process_count() > 1:
        company = Company(client, jax.process_index(), jax.process_count())
        stopping.farewell(company.leave)
        threading.Thread(target=company.listen, daemon=True).start()


def _client() -> Any:
    """JAX's connection to the service that joins the processes; it has no public name, but orbax uses it, too."""
    from jax._src.distributed import global_state

    return global_state.client


class Company:
    """The other processes, as far as this one hears of them."""

    def __init__(self, client: Any, me: int, count: int) -> None:
        """With a connection to the service that holds texts under keys, and which of how many processes this is."""
        self.client, self.me, self.count = client, me, count
        self.ended = threading.Event()
        self.heard: dict[int, tuple[str, float]] = {k: ("", time.monotonic()) for k in range(count) if k != me}
        self.trouble: float | None = None

    def say(self, text: str) -> None:
        """What the others are to hear of this one."""
        self.client.key_value_set(f"{PREFIX}{self.me}", text, allow_overwrite=True)

    def leave(self, code: int) -> None:
        """Tell how this process ends; the first, without whom nobody hears anything, waits until the others have heard."""
        self.ended.set()
        self.say(DONE if code == 0 else STOPPED if code == stopping.STOPPED else FAILED)
        until = time.monotonic() + 2 * GRACE
        while code and self.me == 0 and time.monotonic() < until and not all(
                text in (DONE, STOPPED, FAILED) for text, _ in self.heard.values()):
            self.look()
            time.sleep(BEAT)

    def look(self) -> None:
        """Hear the others."""
        for key, text in self.client.key_value_dir_get(PREFIX):
            other = int(key.rsplit("/", 1)[1])
            if other != self.me and self.heard[other][0] != text:
                self.heard[other] = text, time.monotonic()

    def listen(self) -> None:
        """Say that this process is there and hear the others, until an end."""
        beat = 0
        while not self.ended.wait(BEAT):
            beat += 1
            try:
                self.say(f"beat {beat}")
                self.look()
                self.trouble = None
            except Exception:  # of the service, of a type that depends on the version
                self.trouble = self.trouble or time.monotonic()
            if (why := self.why_end()) is not None and not self.ended.is_set():
                stopping.end(1, f"lrtheory: {why}; what is finished is kept")

    def why_end(self) -> str | None:
        """Why this process must end, in words; None if it need not. One that was asked to end asks all."""
        now = time.monotonic()
        if self.trouble is not None and now - self.trouble > GRACE:
            return "the first process does not answer any more"
        for other, (text, since) in self.heard.items():
            if text == STOPPED:
                stopping.ask("another process was asked to end")
            if text == FAILED and now - since > GRACE:
                return f"process {other} failed; its own message says why"
            if text not in (DONE, STOPPED, FAILED) and now - since > SILENT:
                return f"process {other} has been silent for {SILENT:.0f} s"
        return None


def first_says(text: str) -> str:
    """What the first process says, in every process of a distributed one; up to 4,000 bytes."""
    if jax.process_count() == 1:
        return text
    sent = np.zeros(4000, np.uint8)
    said = np.frombuffer(text.encode()[: len(sent)], np.uint8)
    sent[: len(said)] = said
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent))).rstrip(b"\0").decode()


def is_first() -> bool:
    """Whether this is the first, or the only, process."""
    return jax.process_index() == 0
