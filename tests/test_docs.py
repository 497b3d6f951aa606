"""What the documentation prints runs as printed: the README's code, every command of every page, and the notebooks."""

import contextlib
import importlib.metadata
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lrtheory import predictions
from lrtheory.cli import arguments
from lrtheory.cli import main as cli
from lrtheory.fields import to_json
from lrtheory.predictions import series
from lrtheory.predictions import verify as verifying
from lrtheory.theory import presets
from lrtheory.theory.presets import preset
from lrtheory.vision import cifar
from lrtheory.vision import presets as vision

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {page: (ROOT / page).read_text() for page in (
    "README.md", "CONTRIBUTING.md", "benchmarks/README.md", "notebooks/pages/theorem.md")}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
SMALL = {"training.steps": 200, "network.m_v": 64, "network.m_w": 16}
TOOLS = ("pytest", "ruff", "pyright", "jupytext")
"""What CI runs itself: the tests, lint, types; and jupytext, of which the notebooks' own tests take the place."""


def commands(*pages: str) -> list[list[str]]:
    """The words of every command that is printed on a line of its own; what stands before && counts as one of its own."""
    found = []
    for page in pages or PAGES:
        prose = re.sub(r"```.*?```", "", PAGES[page], flags=re.S)
        for line in re.findall(r"^    (?! )(.+)$", prose, re.M):
            found += [shlex.split(part) for part in line.split("&&")]
    return found


def called(words: list[str]) -> list[str]:
    """The arguments of a lrtheory command."""
    assert words[0] == ".venv/bin/lrtheory", words
    return words[1 : words.index(">") if ">" in words else None]


OURS = [words for words in commands() if words[0] == ".venv/bin/lrtheory"]


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """Every preset at a size that takes seconds, a stand-in for CIFAR-10, two claims of one kind, a scratch folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRTHEORY_FAST", "1")
    for name, make in list(presets.PRESETS.items()):
        small = make().replace(seeds=2, records=10, n_test=256, **SMALL)
        monkeypatch.setitem(presets.PRESETS, name, lambda small=small: small)
    for name in ("mini", "paper", "plain"):
        changes = {"training.epochs": 3, "patch.share": 0.0 if name == "plain" else 0.8}
        small = vision.tiny().replace(name=f"cifar-{name}", **changes)
        monkeypatch.setitem(vision.PRESETS, name, lambda small=small: small)
    monkeypatch.setattr(cifar, "load", lambda *a, **k: cifar.synthetic(256, 128))
    order = predictions.PREDICTIONS["order"]
    two = {"order": order, "error": order._replace(name="error")}
    for module in (predictions, verifying):
        monkeypatch.setattr(module, "PREDICTIONS", two)
        monkeypatch.setattr(module, "THEOREM", {"bound": order._replace(name="bound")})
    for name, few in (("DIMENSIONS", (1e3, 1e18)), ("SIZES", {8: 2, 16: 2}), ("EXPONENTS", (-0.75,)), ("FAR", (1e18,)),
                      ("BLURS", (1e3,))):
        monkeypatch.setattr(series, name, few)
    return tmp_path


def test_the_python_examples_run(fast):
    examples = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(examples) == 2
    for code in examples:
        assert len([line for line in code.splitlines() if line.strip()]) <= 14
        exec(compile(code.replace("6000", "200").replace("2000", "200"), "README.md", "exec"), {})
    assert (fast / "two_steps.png").exists()
    assert (fast / "contrast.png").exists()


def test_every_printed_command_is_one_that_is_tested():
    """Ours below; the two set-up commands and the tools by CI; extras by name; scripts by the tests of their own."""
    extras = set(importlib.metadata.metadata("lrtheory").get_all("Provides-Extra"))
    for words in commands():
        program = Path(words[0]).name
        if program == "pip":
            assert words[1:3] == ["install", "-e"], words
            assert set(re.findall(r"\w+", words[3][1:])) <= extras, words
        elif program.startswith("python"):
            assert words[1:] in (["-m", "venv", ".venv"], ["-m", "lrtheory.cli.reference", "build/reference"],
                                 ["tests/mutations.py"]), words
        else:
            assert program in ("lrtheory", *TOOLS), words
    scripts = set(re.findall(r"`(?:python|bash) (benchmarks/\w+\.\w+)", "".join(PAGES.values())))
    assert scripts == {f"benchmarks/{p.name}" for p in (ROOT / "benchmarks").iterdir() if p.suffix in (".py", ".sh")}


def run_as_printed(words: list[str]) -> str:
    """Run one of our commands, its output into the file that it names, and return that output."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            code = cli.main(called(words))
        except SystemExit as stop:
            code = stop.code
    assert code in (0, None) or (words[1] == "verify" and code == 1), (words, shown.getvalue())
    if ">" in words:
        Path(words[words.index(">") + 1]).write_text(shown.getvalue())
    return shown.getvalue()


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_is_understood(words, tmp_path, monkeypatch):
    """As printed, at full size, as far as its checked configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/first").mkdir(parents=True)
    name, *rest = called(words)
    (tmp_path / "runs/first/config.json").write_text(to_json(preset("quick")))
    if name not in ("run", "sweep", "verify", "cifar") or {"--resume", "--help"} & set(rest):
        assert name in (*arguments.COMMANDS, "--help", "--version")
    elif name == "sweep":
        assert arguments.sweep_arguments(rest)[1].check().runs in (78 * 32 * 2, 24 * 256 * 2, 2 * 16 * 2)
    elif name == "run":
        arguments.run_arguments(rest)[0].check()
    else:
        {"verify": arguments.verify_arguments, "cifar": arguments.cifar_arguments}[name](rest)[0].options.check()


SWEPT = [words for words in OURS if words[1] in ("sweep", "plot", "export") and not {"--preset", "--dry-run"} & set(words)]
"""A sweep, and what is done with its folder."""


def test_every_command_on_a_swept_folder_runs(fast):
    """As printed, one after another."""
    assert [words[1] for words in SWEPT] == ["sweep", "sweep", "plot", "export"]
    said = "".join(map(run_as_printed, SWEPT))
    assert "nothing is missing" in said
    assert {p.name for p in (fast / "runs/mine").iterdir()} >= {"points.csv", "summary.json", "figures", "sweep.json"}
    assert (fast / "runs/mine/figures/test_error_p-over-r.png").exists()
    assert (fast / "runs/mine.csv").read_text().count("\n") == 1 + 2 * 16 * 2


@pytest.mark.slow
def test_every_other_command_runs(fast):
    """As printed, one after another, in one folder, with the small presets."""
    for words in OURS:
        if words not in SWEPT:
            run_as_printed(words)
    assert "complete -F" in (fast / "lrtheory.bash").read_text()
    assert (fast / "runs/first/summary.json").exists()
    assert (fast / "runs/cifar/summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["engines.py", "--steps", "2"], ["sweeps.py", "--runs", "1"], ["infinite.py", "--help"], ["tpu_compile.py", "--help"],
    ["cifar.py", "--preset", "tiny", "--steps", "2", "--at-once", "1"]], ids=lambda words: words[0])
def test_every_benchmark_runs(words):
    """At its smallest size; the one that compiles for TPUs as far as its help, for their compiler is not installed."""
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / words[0]), *words[1:]], capture_output=True, text=True,
                          env=os.environ | {"JAX_PLATFORMS": "cpu"}, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 4


def test_the_reference_has_every_public_name_with_words(tmp_path):
    """Built as printed, in a process of its own, without a warning; no page is left that says nothing of a function."""
    done = subprocess.run([sys.executable, "-W", "error", "-m", "lrtheory.cli.reference", str(tmp_path)],
                          capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert done.returncode == 0, done.stderr
    pages = {str(p.relative_to(tmp_path)).removesuffix(".html"): p.read_text() for p in tmp_path.rglob("*.html")}
    files = {str(p.relative_to(ROOT).with_suffix("")) for p in (ROOT / "lrtheory").rglob("*.py")}
    assert {name.removesuffix("/__init__") for name in files if "__main__" not in name} <= set(pages)
    for name in ("run", "sweep", "verify", "Problem", "Group", "noisy_sgd", "anneal_at_loss"):
        assert f'id="{name}"' in pages["lrtheory"]
    assert "Alias for field number" not in "".join(pages.values())
    assert "(n, d), zero rows in Q-only" in pages["lrtheory/theory/problem"]


@pytest.mark.parametrize("notebook", [
    pytest.param(p.name, marks=[pytest.mark.slow] if p.name > "02" else []) for p in NOTEBOOKS])  # these compile much
def test_notebooks_run(notebook, fast):
    runpy.run_path(str(ROOT / "notebooks" / notebook))
    assert not list(fast.glob("*.png"))  # in the fast mode no figure is kept


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_say_what_they_show_and_how_long_they_take(notebook):
    text = notebook.read_text()
    opening = re.split(r"^# %%$", text, flags=re.M)[0]
    assert "**Shows**" in opening
    assert re.search(r"\*\*Takes\*\* (about )?(\d+|a|two|three|four|five|six)\b.* on\s+(# )?two cores", opening), opening
    assert f"`{notebook.stem}`" in README


def test_what_extends_the_package_takes_at_most_30_lines():
    """Notebook 05: a group of examples, a schedule, a prediction."""
    cells = re.split(r"^# %%.*$", (ROOT / "notebooks/05_your_own_experiment.py").read_text(), flags=re.M)
    for word in ("lt.Group(", "lt.step_decay(", "Prediction("):
        [cell] = [c for c in cells if word in c and not c.strip().startswith("# #")]
        assert len([line for line in cell.splitlines() if line.strip() and not line.startswith("#")]) <= 30, word
