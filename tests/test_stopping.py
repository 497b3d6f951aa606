"""An early end: signals, what they leave behind, what is told and kept, and how a command goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import lrtheory as lt
from lrtheory import stopping
from lrtheory.cli.main import main
from lrtheory.fields import to_json
from lrtheory.predictions import verify as verifying
from lrtheory.spec import ConfigError
from lrtheory.stopping import Interrupted

LISTENER = """
import os, signal, sys, time
from lrtheory import stopping
def send(name):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.2)
for name in sys.argv[2].split():
    signal.signal(getattr(signal, name), signal.SIG_IGN)
with stopping.listening("lrtheory test"):
    stopping.stands("nothing was computed")
    if sys.argv[1] == "gently":
        with stopping.gently("this", lambda text: print(text, flush=True)):
            for name in sys.argv[3:]:
                send(name)
            print("asked" if stopping.asked() else "not asked", flush=True)
    else:
        for name in sys.argv[3:]:
            send(name)
    print("at the end", flush=True)
"""


def heard(*words):
    done = subprocess.run([sys.executable, "-c", LISTENER, *words], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", stopping.NAMES)
def test_the_first_signal_ends_what_has_nothing_to_lose_in_a_line(name):
    assert heard("at once", "", name) == (130, "", "lrtheory test: nothing was computed\n")


def test_a_signal_only_asks_where_there_is_something_to_keep_and_a_second_ends_at_once():
    code, said, complaint = heard("gently", "", "SIGTERM")
    assert (code, complaint) == (0, "")
    assert said == "stopping after this; press Ctrl-C again to end at once\nasked\nat the end\n"
    assert heard("gently", "", "SIGINT", "SIGINT")[::2] == (130, "lrtheory test: nothing was computed\n")


def test_a_terminal_that_closes_sends_its_signal_twice_and_means_it_once():
    assert heard("gently", "", "SIGHUP", "SIGHUP")[0] == 0
    assert heard("gently", "", "SIGTERM", "SIGINT")[0] == 130


def test_what_is_ignored_stays_ignored():
    """As nohup does, and shells do with what runs in the background."""
    assert heard("at once", "SIGHUP SIGINT", "SIGHUP", "SIGINT") == (0, "at the end\n", "")


def test_an_end_waits_for_no_reader():
    """A pipe that nobody reads is full, so the last words cannot be said: it ends all the same."""
    code = ("from lrtheory import stopping\nimport os, signal, sys, threading, time\n"
            "with stopping.listening('lrtheory test'):\n"
            "    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
            "    while True:\n"  # unbuffered, a write that a signal meets returns before all is written
            "        sys.stdout.write('x' * 10**8)\n")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=20) == 130


def test_the_library_keeps_python_s_own():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with stopping.listening("lrtheory test"):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1
    assert not stopping.asked()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    until = time.monotonic() + 10
    while not stopping.asked() and time.monotonic() < until:
        time.sleep(0.01)


def test_a_run_that_is_interrupted_tells_and_keeps_what_it_measured(small, tmp_path, monkeypatch, capsys):
    from lrtheory.cli import progress

    config, seen = small.replace(seeds=2, records=4), []
    (tmp_path / "config.json").write_text(to_json(config))
    monkeypatch.setattr(progress.RunDisplay, "progress", lambda self, done, *_: seen.append(done) or (
        interrupt() if len(seen) == 3 else None))
    folder = tmp_path / "out"
    assert main(["run", "--config", str(tmp_path / "config.json"), "--no-theory", "--out", str(folder)]) == 130
    told = capsys.readouterr()
    assert "stopping after the steps that are being computed" in told.out
    assert "test error on P" in told.out
    assert f"followed to step {seen[-1]} of 60" in told.out
    assert told.err == (f"lrtheory run: stopped early; what was measured is in {folder}; the whole of it: lrtheory run "
                        f"--config {folder}/config.json\n")
    runs, whole = lt.load(folder), lt.run(config)
    assert runs["step"].values.tolist() == whole["step"].values[:3].tolist()
    assert (runs["train_loss"] == whole["train_loss"].isel(record=slice(3))).all()
    verdict = json.loads((folder / "summary.json").read_text())["verdict"]
    assert verdict["unfinished"] == f"followed to step {seen[-1]} of 60"
    assert verdict["error_ratio"] is None  # nothing is compared
    assert "unfinished" in lt.summarise(runs)._repr_html_()


def claims(small, monkeypatch, ran):
    """Three claims of one's own, whose runs cost nothing."""
    two = lt.run(small.replace(seeds=2, records=2))
    monkeypatch.setattr(verifying, "_found", lambda need, done: two)

    def claim(name):
        def judge(runs, level):
            ran.append(name)
            yield lt.predictions.share("", [True] * 12, level, "")

        return lt.predictions.Prediction(name, f"that {name}", "", "", lambda c: {"main": lt.predictions.Need(c)}, judge)

    return [claim(name) for name in ("one", "two", "three")]


def test_claims_are_kept_as_they_end_and_the_others_are_judged_when_it_goes_on(small, tmp_path, monkeypatch):
    ran, folder = [], tmp_path / "found"
    first, second, third = claims(small, monkeypatch, ran)
    stop = second._replace(judge=lambda runs, level: (_ for _ in ()).throw(Interrupted))
    with pytest.raises(Interrupted) as early:
        lt.verify(small, [first, stop, third], folder=folder)
    assert [c["name"] for c in early.value.found["claims"]] == ["one"]
    assert verifying.begun(folder)["unfinished"] == ["two", "three"]
    assert "Unfinished: two, three" in (folder / "report.md").read_text()
    for others in ([first, second], [first, second, third._replace(name="four")],
                   [first._replace(statement="other"), second, third]):
        with pytest.raises(ConfigError, match="holds claims of another configuration, or others"):
            lt.verify(small, others, folder=folder, resume=True)
    with pytest.raises(ConfigError, match="holds claims of another configuration"):
        lt.verify(small.replace(seeds=5), [first, second, third], folder=folder, resume=True)
    assert ran == ["one"]
    report = lt.verify(small, [first, second, third], folder=folder, resume=True)
    assert ran == ["one", "two", "three"]
    assert [c["verdict"] for c in report["claims"]] == ["holds"] * 3
    assert not report["unfinished"]
    assert {c["name"] for c in verifying.begun(folder)["claims"]} == {"one", "two", "three"}
    (folder / "verify.json").write_text((folder / "verify.json").read_text().replace("holds", "fails"))
    with pytest.raises(ConfigError, match=r"verify\.json was changed after it was written"):
        lt.verify(small, [first, second, third], folder=folder, resume=True)
    with pytest.raises(ConfigError, match="exists and is not empty"):
        lt.verify(small, [first], folder=folder)
    with pytest.raises(ConfigError, match=r"no verify\.json in it"):
        lt.verify(small, [first], folder=tmp_path / "none", resume=True)


def no_room(*_, **__):
    raise OSError(28, "No space left on device")


def test_verdicts_are_told_though_the_disk_takes_none(small, tmp_path, monkeypatch):
    ran, told = [], []
    first, *_ = claims(small, monkeypatch, ran)
    monkeypatch.setattr(verifying, "write_whole", no_room)
    with pytest.raises(OSError, match="No space left") as error:
        lt.verify(small, [first], folder=tmp_path / "found", tell=told.append)
    assert vars(error.value)["found"]["claims"][0]["verdict"] == "holds"
    assert any("what is judged will be printed" in text for text in told)


def test_verify_says_what_it_found_on_a_full_disk(tmp_path, monkeypatch, capsys):
    """The claims of the smallest setting cannot be judged, which costs no run: that is the verdict."""
    monkeypatch.setattr(verifying, "write_whole", no_room)
    words = ["--setting", "minibatch", "--only", "microsteps", "--out", str(tmp_path / "found")]
    assert main(["verify", *words]) == 1
    told = capsys.readouterr()
    assert "NOT JUDGED" in told.out
    assert told.err.startswith("lrtheory verify: ")
    assert "No space left on device" in told.err
    monkeypatch.undo()
    assert main(["verify", "--resume", str(tmp_path / "found"), "--only", "order"]) == 2
    assert "its claims were others" in capsys.readouterr().err
    assert main(["verify", "--resume", str(tmp_path / "found")]) == 0
    assert "NOT JUDGED" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "design", "theorem", "verify"])
def test_a_folder_that_cannot_be_is_refused_before_anything_is_computed(command, tmp_path, monkeypatch, capsys):
    for home, name in ((lt.theory.runs, "run"), (lt.optimal.design, "design"), (verifying, "_found")):
        monkeypatch.setattr(home, name, lambda *_, **__: pytest.fail("it was computed"))
    (tmp_path / "file").write_text("")
    assert main([command, *["--only", "order"] * (command == "verify"), "--out", str(tmp_path / "file/within")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Board:
    """What the service of `jax.distributed` does here: texts under keys."""

    def __init__(self):
        self.texts = {}

    def key_value_set(self, key, text, allow_overwrite=False):
        self.texts[key] = text

    def key_value_dir_get(self, prefix):
        return [(key, text) for key, text in self.texts.items() if key.startswith(prefix)]


def test_what_ends_one_of_several_processes_ends_all(monkeypatch):
    from lrtheory.processes import Company

    now, board = [0.0], Board()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first, second, third = (Company(board, k, 3) for k in range(3))
    second.say("beat 1")
    third.leave(0)
    first.look()
    assert first.why_end() is None
    now[0] = 61.0
    assert first.why_end() == "process 1 has been silent for 60 s"  # the third is done, and need not say more
    second.say("beat 2")
    first.look()
    assert first.why_end() is None
    second.leave(2)
    first.look()
    assert first.why_end() is None  # it has a moment to find out by itself
    now[0] += 2
    assert first.why_end() == "process 1 failed; its own message says why"
    asked = []
    monkeypatch.setattr(stopping, "ask", asked.append)
    second.leave(stopping.STOPPED)
    first.look()
    assert first.why_end() is None
    assert asked == ["another process was asked to end"]
    first.trouble, now[0] = now[0], now[0] + 2
    assert first.why_end() == "the first process does not answer any more"
