#!/usr/bin/env python3
"""Everything that should be measured on a GPU or TPU, each part in a box of time of its own, most valuable first.

    python benchmarks/accelerator.py DATA FOLDER                     DATA: a folder with CIFAR-10, or `synthetic`
    python benchmarks/accelerator.py DATA FOLDER --sitting speed --minutes 10 --wheels WHEELS
    JAX_PLATFORMS=cpu python benchmarks/accelerator.py synthetic FOLDER --preset tiny     all of it, on a CPU, in minutes

Runs from a checkout and needs Python alone to start: lrtheory is taken from the checkout, and what the machine lacks from a
folder of wheels, without a network. A part that fails or is cut at its box costs itself alone; one whose minimum does not
fit in the minutes left is not started. Called again, it does what is not done, a training from its checkpoints.

FOLDER gets few and small files: sitting-NAME.txt, what the parts of a sitting print, as they print it (of each the last
200 kB); index.jsonl, a line an attempt; curves-NAME.jsonl, every epoch of every run of a training, kept current while it
trains. States, images and compiled programs stay in --states, on a local disk.
"""

import argparse
import contextlib
import csv
import datetime
import hashlib
import json
import math
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
SITTINGS = ("train", "speed", "statistics")
KEPT = 200_000
"""Bytes kept of what a part prints."""
GRACE = 10.0
"""Seconds between asking a part to end and ending it."""
ENDING = 30.0
"""Seconds of its box that a training keeps for its last checkpoint and figures."""
EVERY = 10.0
"""Seconds between copies of the curves."""
INTERRUPTED = 130
"""Exit status of a training that its deadline ended: the next call goes on with it."""


class Part(NamedTuple):
    """Something to measure."""

    sitting: str
    name: str
    box: float  # seconds it may take
    least: float  # seconds below which it is not worth starting
    command: Callable[[float], list[str]]  # of the seconds it has
    results: Path | None = None  # folder of a training, whose curves are copied while it trains
    always: bool = False  # done anew by every call


class Section:
    """A part's text in a file that others share: written at once, in the end the last `KEPT` bytes."""

    def __init__(self, file: Path, head: str) -> None:
        self.file = file.open("ab+")
        self.write(head.encode())
        self.start = self.file.seek(0, os.SEEK_END)

    def write(self, text: bytes) -> None:
        """Append."""
        self.file.write(text)
        self.file.flush()

    def copy(self, pipe: IO[bytes]) -> None:
        """Append what comes out of a pipe, until its end."""
        while text := os.read(pipe.fileno(), 1 << 16):
            self.write(text)
            if self.file.tell() - self.start > 2 * KEPT:
                self.shorten()

    def shorten(self) -> None:
        """Leave out all but the last bytes."""
        size = self.file.seek(0, os.SEEK_END) - self.start
        if size > KEPT:
            self.file.seek(self.start + size - KEPT)
            last = self.file.read()
            self.file.truncate(self.start)
            self.write(b"[... what came before is left out]\n" + last)

    def close(self, foot: str) -> None:
        """Shorten, end with a line of its own, close."""
        self.shorten()
        self.write(foot.encode())
        self.file.close()


def main() -> int:
    """Carry out what was asked for: 0 if every part of it is done, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with CIFAR-10, or the word synthetic")
    parser.add_argument("folder", type=Path, help="where the texts go")
    parser.add_argument("--preset", choices=("paper", "tiny"), default="paper", help="tiny: all parts, as small as can be")
    parser.add_argument("--sitting", choices=(*SITTINGS, "all"), default="all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end within so many (default: the boxes alone)")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install beside the checkout")
    parser.add_argument("--states", type=Path, help="folder on a local disk (default: one in the temporary folder)")
    asked = parser.parse_args()
    deadline = time.monotonic() + 60 * asked.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is under way ends, too
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    own = f"lrtheory-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    states = (asked.states or Path(tempfile.gettempdir()) / own).resolve()
    states.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = stand_in(states / "synthetic") if asked.data == "synthetic" else Path(asked.data).resolve()
    chosen = [part for part in parts(asked.preset, data, states) if asked.sitting in (part.sitting, "all")]
    if asked.wheels:
        chosen.insert(0, installation(asked.wheels.resolve(), states, chosen[0].sitting))
    return 0 if carry_out(chosen, folder, deadline, surroundings(states), asked.preset) else 1


def parts(preset: str, data: Path, states: Path) -> list[Part]:
    """All of them, the most valuable first; short ones before the trainings, which take what is left."""
    tiny = preset == "tiny"

    def script(name: str, paper: str, least: str) -> Callable[[float], list[str]]:
        return lambda seconds: [PYTHON, f"benchmarks/{name}.py", *(least if tiny else paper).split()]

    def lrtheory(words: str, *more: object) -> list[str]:
        return [PYTHON, "-m", "lrtheory", *words.split(), *map(str, more)]

    def training(name: str, paper: str, least: str) -> Part:
        def command(seconds: float) -> list[str]:
            where = ("--data-dir", data, "--for", f"{(seconds - (10 if tiny else ENDING)) / 60:.3f}")
            if (states / name / "config.json").exists():
                return lrtheory("cifar --resume", states / name, *where)
            return lrtheory(f"cifar --preset {preset} {least if tiny else paper} --interleave --checkpoint-epochs 100 --out",
                            states / name, *where)

        sitting = "train" if name == "paper" else name
        return Part(sitting, name, 120 if tiny else 1200, 40 if tiny else 150, command, states / name)

    def tests(seconds: float) -> list[str]:
        names = ("platform",) if tiny else ("platform", "vision", "patched_training", "schedule", "kernel", "engines")
        told = ("import pytest, signal, sys; signal.signal(signal.SIGTERM, signal.default_int_handler); "
                "sys.exit(pytest.main(sys.argv[1:]))")  # cut, it still says what failed
        options = ["-v", "--maxfail=5", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=default", "-m",
                   "not slow", "-k", "not bad_input"]  # whose complaints count two devices
        return [PYTHON, "-c", told, *options, *(f"tests/test_{name}.py" for name in names)]

    quick = ("run --seeds 2 --records 5 --n-test 128 --training.steps 40 --network.m-v 64 --network.m-w 16" if tiny
             else "run --seeds 256")
    found = [
        Part("train", "devices", 60, 10, lambda seconds: lrtheory("--version")),
        Part("train", "smoke", 90, 30, lambda seconds: lrtheory(
            "cifar --preset tiny --data-dir", data, "--out", fresh(states / "tiny"))),
        Part("speed", "cifar", 170, 90, script(
            "cifar", "--preset paper --steps 60 --kernels --at-once 1", "--preset tiny --steps 2 --kernels --at-once 1")),
        Part("speed", "at-once", 150, 60, script(
            "cifar", "--preset paper --steps 60 --widen 4 --compute bfloat16 --at-once 1 2 4 --by vmap map --alone",
            "--preset tiny --steps 2 --compute bfloat16 --at-once 1 2 --by vmap map --alone")),
        Part("speed", "quick", 90, 30, lambda seconds: lrtheory(quick, "--out", fresh(states / "quick"))),
        Part("speed", "sweeps", 80, 40, script("sweeps", "--runs 256 1024 --chunks 64 256", "--runs 1")),
        Part("speed", "infinite", 60, 30, script("infinite", "", "--tiny")),
        Part("speed", "engines", 60, 30, script("engines", "", "--steps 2")),
        Part("speed", "tests", 100, 30, tests),
        training("paper", "--seeds 1", "--seeds 1"),
        training("statistics", "--seeds 3 --model.widen 4 --n-test 4000", "--seeds 2")]
    return [part._replace(box=5 * part.box) for part in found] if tiny else found  # on a CPU, and perhaps not alone there


def installation(wheels: Path, states: Path, sitting: str) -> Part:
    """The wheels, unpacked where every part looks first."""
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade", "--target",
               str(states / "site"), *map(str, sorted(wheels.glob("*.whl")))]
    return Part(sitting, "wheels", 90, 10, lambda seconds: command, always=True)


def carry_out(chosen: Iterable[Part], folder: Path, deadline: float, env: dict[str, str], preset: str) -> bool:
    """Run what is not done; whether all is done now. `deadline`: a `time.monotonic()`."""
    index = folder / "index.jsonl"
    before = []
    for line in index.read_text().splitlines() if index.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):  # an attempt that was killed while it was noted
            before.append(json.loads(line))
    done = {row["part"] for row in before if row["status"] == "done" and row["preset"] == preset}
    whole = True
    for part in chosen:
        if part.name in done and not part.always:
            print(f"{part.name}: done before", flush=True)
            continue
        left = deadline - time.monotonic() - GRACE
        row = {"part": part.name, "sitting": part.sitting, "preset": preset, "started": _now()}
        text = folder / f"sitting-{part.sitting}.txt"
        if left < part.least:
            said = f"{left:.0f} s left, it needs {part.least:.0f}"
            row |= {"status": "not started", "why": said}
            Section(text, f"=== {part.name}: not started, {said}\n\n").close("")
        else:
            row |= attempt(part, min(part.box, left), text, folder, env)
        with index.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        whole &= row["status"] == "done"
        print(f"{part.name}: {row['status']}, " + (row.get("why") or f"{row['seconds']:.0f} s"), flush=True)
    return whole


def attempt(part: Part, seconds: float, text: Path, folder: Path, env: dict[str, str]) -> dict[str, object]:
    """Run a part, asked to end after `seconds`; what the index says of it."""
    command = part.command(seconds)
    section = Section(text, f"=== {part.name}, {_now()}, box {seconds:.0f} s\n$ {shlex.join(command)}\n{versions()}\n")
    curves = folder / f"curves-{part.name}.jsonl"
    start, cut, copied, copying = time.monotonic(), False, -EVERY, None
    with running(command, section, env) as process:
        while process.poll() is None and not cut:
            time.sleep(0.05)
            took = time.monotonic() - start
            cut = took > seconds
            if part.results and took - copied > EVERY and not (copying and copying.is_alive()):
                copied, copying = took, threading.Thread(target=copy_curves, args=(part.results, curves, env))
                copying.start()
    took = time.monotonic() - start
    if part.results:
        if copying:
            copying.join()
        copy_curves(part.results, curves, env)
    cut |= process.returncode == INTERRUPTED
    status = "cut" if cut else "failed" if process.returncode else "done"
    section.close(f"=== {part.name}: {status}, exit status {process.returncode}, {took:.1f} s\n\n")
    return {"status": status, "exit": process.returncode, "seconds": round(took, 1), "box": round(seconds, 1),
            "command": shlex.join(command)}


@contextlib.contextmanager
def running(command: list[str], section: Section, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A command under way in a process group of its own, its words going to a section; at the end nothing of it is left."""
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=section.copy, args=(process.stdout,))
        reader.start()
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
            with contextlib.suppress(ProcessLookupError):  # it, or what it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join()


def copy_curves(results: Path, curves: Path, env: dict[str, str]) -> None:
    """What a training has measured so far as JSON lines; nothing changes where nothing can be read.

    The first has its configuration and environment, each other one an epoch of a run: what `curves.py` reads.
    """
    table = results.parent / f"{curves.stem}.csv"
    table.unlink(missing_ok=True)
    command = [PYTHON, "-m", "lrtheory", "export", str(results), "--to", str(table), "--over-time"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=ROOT, env=env | {"JAX_PLATFORMS": "cpu"}, timeout=30, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if table.exists() and (results / "summary.json").exists():
        config, summary = (json.loads((results / f"{name}.json").read_text()) for name in ("config", "summary"))
        with table.open(newline="") as file:
            rows = [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]
        rows = [row for row in rows if row["time"] <= row["epochs_done"]]
        new = curves.with_suffix(".new")
        new.write_text("".join(json.dumps(row) + "\n" for row in (
            {"config": config, "environment": summary["environment"]}, *rows)))
        new.replace(curves)


def surroundings(states: Path) -> dict[str, str]:
    """That of every part: the wheels and the checkout to import from, compiled programs kept on the local disk."""
    paths = [str(states / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {"JAX_COMPILATION_CACHE_DIR": str(states / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
            "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "140", **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def stand_in(folder: Path) -> Path:
    """Noise in the binary layout of CIFAR-10, the same in all six files; each class has a brightness of its own."""
    layout = folder / "cifar-10-batches-bin"
    layout.mkdir(parents=True, exist_ok=True)
    draw, names = random.Random(0), [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    if not all((layout / name).exists() for name in names):
        shades = [bytes(12 * c + value // 2 for value in range(256)) for c in range(10)]
        images = b"".join(bytes([k % 10]) + draw.randbytes(3072).translate(shades[k % 10]) for k in range(10_000))
        (layout / "images").write_bytes(images)
        for name in names:
            (layout / name).unlink(missing_ok=True)
            (layout / name).symlink_to("images")
    return folder


def fresh(folder: Path) -> Path:
    """The folder's name, nothing being there any more: of a part that is done in one go or not at all."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def versions() -> str:
    """Of Python and of what is installed here."""
    found = [f"Python {sys.version.split()[0]}"]
    for package in ("jax", "jaxlib", "flax", "optax", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _value(text: str) -> float | str | None:
    """A table's entry: a number, a word, None where it is no finite number, which JSON does not know."""
    try:
        number = float(f"{float(text):.6g}")
    except ValueError:
        return text or None
    return (int(number) if number.is_integer() else number) if math.isfinite(number) else None


if __name__ == "__main__":
    sys.exit(main())
