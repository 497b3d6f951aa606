"""The measuring script's boxes: what fails, hangs or does not fit costs itself alone; and all of it at its smallest size."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lrtheory as lt

pytestmark = pytest.mark.xdist_group("accelerator")  # one process takes them all: they measure time

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "accelerator.py"
HANGS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("asked to end", flush=True))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
while True:
    time.sleep(0.1)
"""
"""Does not end when asked to, and has started something itself."""


@pytest.fixture
def script(monkeypatch):
    """The module, with little patience."""
    spec = importlib.util.spec_from_file_location("accelerator", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "GRACE", 0.5)
    return module


@pytest.fixture
def carry_out(script, tmp_path):
    """A function ({name: code or (code, box, least)}, seconds) -> (all done, text, {part: its last line in the index})."""
    def call(fakes, seconds=60.0):
        parts = []
        for name, fake in fakes.items():
            code, box, least = fake if isinstance(fake, tuple) else (fake, 30.0, 0.0)
            parts.append(script.Part("speed", name, box, least, lambda seconds, code=code: [sys.executable, "-c", code]))
        whole = script.carry_out(parts, tmp_path, time.monotonic() + seconds, dict(os.environ), "tiny")
        rows = [json.loads(line) for line in (tmp_path / "index.jsonl").read_text().splitlines()]
        return whole, (tmp_path / "sitting-speed.txt").read_text(), {row["part"]: row for row in rows}

    return call


def gone(pid):
    """Whether a process has ended; one that nobody has waited for yet has."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_each_part_costs_itself_alone_and_a_second_call_does_what_is_not_done(carry_out, tmp_path):
    fakes = {"fails": "print('before'); raise SystemExit(3)", "hangs": (HANGS, 1.0, 0.0),
             "large": (f"print('ran', file=open({str(tmp_path / 'ran')!r}, 'w'))", 99.0, 98.0),
             "prints": f"print('once', file=open({str(tmp_path / 'once')!r}, 'a')); print('ä result')"}
    whole, text, rows = carry_out(fakes)
    assert not whole
    assert {name: row["status"] for name, row in rows.items()} == {
        "fails": "failed", "hangs": "cut", "large": "not started", "prints": "done"}
    assert rows["fails"]["exit"] == 3
    assert 1 < rows["hangs"]["seconds"] < 10
    for words in ("=== fails: failed, exit status 3", "before", "asked to end", "=== hangs: cut, exit status -9", "ä result",
                  "=== prints: done, exit status 0", "jax ", f"$ {sys.executable} -c", "large: not started"):
        assert words in text
    assert "it needs 98" in rows["large"]["why"]
    assert not (tmp_path / "ran").exists()
    child = int(text.rpartition("child ")[2].split()[0])
    assert gone(child), "what a part started ends with it"

    whole, more, rows = carry_out(fakes | {"fails": "print('mended')", "hangs": "print('quick now')"}, seconds=200)
    assert whole
    assert more.startswith(text)
    assert "mended" in more
    assert {row["status"] for row in rows.values()} == {"done"}
    assert (tmp_path / "once").read_text() == "once\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.jsonl", "once", "ran", "sitting-speed.txt"]


def test_what_a_part_prints_is_there_at_once_and_its_last_part_stays(script, carry_out, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "KEPT", 2000)
    seen = (f"import time; print('early', flush=True); time.sleep(0.5)\n"
            f"print('seen' if 'early' in open({str(tmp_path / 'sitting-speed.txt')!r}).read() else 'late')")
    long = "for k in range(5000): print('line', k)"
    whole, text, _ = carry_out({"seen": seen, "long": long, "short": "print('after')"})
    assert whole
    assert "\nseen\n" in text
    assert "line 4999" in text
    assert "line 100\n" not in text
    assert text.count("what came before is left out") == 1
    assert len(text) < 4000
    assert "after" in text


def test_its_own_deadline_cuts_a_training(carry_out):
    """Exit status 130 of `lrtheory cifar`: not done, so that the next call goes on."""
    whole, _, rows = carry_out({"paper": "raise SystemExit(130)"})
    assert not whole
    assert rows["paper"]["status"] == "cut"


def test_kernels_have_kinds(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import measure

    kinds = {"sm90_xmma_fprop_implicit_gemm_bf16_nhwc": "convolution", "cudnn::nchwToNhwcKernel": "copy",
             "loop_convert_fusion": "elementwise", "input_reduce_fusion": "reduction", "loop_xor_fusion": "random",
             "MemcpyD2D": "copy", "nvjet_hsh_128x256": "convolution", "mystery": "other"}
    assert {name: measure.kind(name) for name in kinds} == kinds
    assert measure._covered(iter([(0, 2), (1, 3), (5, 6), (5, 5.5)])) == 4


def test_curves_that_came_back_are_results_again(tmp_path):
    """Those that are kept in the repository: the table of the README."""
    file = SCRIPT.parent / "results" / "paper-h200.jsonl"
    done = subprocess.run([sys.executable, SCRIPT.parent / "curves.py", file, tmp_path / "paper"], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = lt.load(tmp_path / "paper")
    assert dict(found.sizes) == {"algorithm": 3, "seed": 1, "record": 60}
    clean = found["accuracy_clean"].isel(record=-1, seed=0)
    assert [float(clean.sel(algorithm=name)) for name in ("L-S", "S", "S+noise")] == pytest.approx(
        [0.824, 0.683, 0.779], abs=5e-4)
    assert {p.name for p in (tmp_path / "paper/figures").iterdir()} == {"accuracies.png", "before_and_after.png"}


@pytest.mark.slow
def test_all_of_it_at_its_smallest(tmp_path):
    """Twice: a second call finds all done, and what comes back is small."""
    command = [sys.executable, str(SCRIPT), "synthetic", str(tmp_path / "out"), "--preset", "tiny", "--states",
               str(tmp_path / "states")]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    first = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1800)
    assert first.returncode == 0, first.stdout + "".join(p.read_text() for p in (tmp_path / "out").glob("sitting-*.txt"))
    second = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert second.returncode == 0
    assert second.stdout.count("done before") == first.stdout.count("done") == 11
    files = {p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()}
    assert set(files) == {"index.jsonl", "curves-paper.jsonl", "curves-statistics.jsonl", "sitting-train.txt",
                          "sitting-speed.txt", "sitting-statistics.txt"}
    assert sum(files.values()) < 500_000
    head, *curves = [json.loads(line) for line in (tmp_path / "out/curves-paper.jsonl").read_text().splitlines()]
    assert head["config"]["name"] == "cifar-tiny-changed"
    assert {row["algorithm"] for row in curves} == {"L-S", "S", "S+noise"}
    assert len(curves) == 3 * 4
