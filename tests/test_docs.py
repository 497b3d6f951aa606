"""What the documentation prints runs as printed: the README's code, every command of every page, and the notebooks."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lrtheory as lt
from lrtheory import predictions
from lrtheory.cli import arguments
from lrtheory.cli import main as cli
from lrtheory.cli.options import COMMANDS
from lrtheory.fields import to_json
from lrtheory.predictions import series
from lrtheory.predictions import verify as verifying
from lrtheory.theory import presets
from lrtheory.theory.presets import preset
from lrtheory.theory.theorem import precision
from lrtheory.vision import cifar
from lrtheory.vision import presets as vision

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SITE = ROOT / "notebooks/pages"
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in (
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", ROOT / "notebooks/index.md",
    *sorted(SITE.glob("*.md")))}
"""Every page, by its path."""
EXAMPLES = [pytest.param(code, id=f"{Path(page).stem}-{k}") for page, text in PAGES.items()
            for k, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.S | re.M))]
"""Every printed piece of Python."""
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
SMALL = {"training.steps": 200, "network.m_v": 64, "network.m_w": 16}
TOOLS = ("pytest", "ruff", "pyright")
"""What CI runs itself: the tests, lint, types."""


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
    for name in ("mini", "narrow", "paper", "plain"):
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


@pytest.mark.thorough(but=["README-0", "howto-2", "howto-3"])
@pytest.mark.parametrize("code", EXAMPLES)
def test_python_examples_run(code, fast):
    """As printed, with fewer steps."""
    exec(compile(code.replace("2000", "200"), "page", "exec"), {"__name__": "page"})
    for name in re.findall(r'savefig\("([\w.]+)"', code):
        assert (fast / name).stat().st_size > 1000


@pytest.mark.slow
def test_the_readme_prints_what_its_example_prints(tmp_path):
    """Number by number, within what another machine's rounding does to a mean over four seeds."""
    pairs = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.S)
    assert len(pairs) == 2
    assert len([line for line in pairs[0][0].splitlines() if line.strip()]) <= 6
    for code, printed in pairs:
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
        for here, there in zip(re.findall(r"[^\s,{}]+", said), re.findall(r"[^\s,{}]+", printed), strict=True):
            if re.fullmatch(r"[\d.]+", there):
                assert float(here) == pytest.approx(float(there), rel=0.25, abs=5e-4)
            else:
                assert here == there


def test_the_first_page_is_short_and_the_pages_are_linked():
    """About 700 words without code, and nothing that leads nowhere."""
    assert 500 < len(re.sub(r"```.*?```|^    [^\n]*$", "", README, flags=re.S | re.M).split()) < 750
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), (page, link)


def test_each_symbol_of_the_first_page_has_a_row_in_the_glossary():
    """Greek letters, single letters and letters with an index: a row that can be linked to."""
    known = set(re.findall(r'<a id="([^"]+)"></a>', PAGES["notebooks/pages/theory.md"]))
    prose = re.sub(r"```.*?```|^    [^\n]*$|`[^`]*`|\]\([^)]*\)", "", README, flags=re.S | re.M)
    found = set(re.findall(r"(?<![\w'-])(T_\w|t_blur|[B-HJ-Zb-z])(?![\w'-])", prose)) | set(re.findall(r"[α-ω]", prose))
    assert {"P", "Q", "U", "ξ"} <= found
    assert found <= known, found - known


def test_there_is_one_version():
    """What cites the package names its version, and so does the newest change."""
    version = lt.__version__
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == version
    assert f"version = {{{version}}}" in README
    assert re.search(r"^## (.*)$", (SITE / "changes.md").read_text(), re.M)[1] == version


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
                                 ["tests/mutations.py"], ["tests/opponents.py"],
                                 *(["notebooks/pages/build.py", *more] for more in ([], ["--site"], ["--measure"]))), words
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
    if name not in ("run", "sweep", "verify", "cifar") or {"--resume", "--extend", "--help"} & set(rest):
        assert name in (*COMMANDS, "--help", "--version")
    elif name == "sweep":
        runs = (78 * 32 * 2, 24 * 256 * 2, 2 * 16 * 2, 3 * 16 * 2, 6 * 3 * 2, 3 * 4 * 3, 2 * 4 * 2, 6 * 8 * 2, 16 * 8 * 2,
                6 * 4, 3 * 4, 3 * 8 * 2, 5 * 8 * 2)
        assert arguments.sweep_arguments(rest)[1].check().runs in runs
    elif name == "run":
        arguments.run_arguments(rest)[0].check()
    else:
        options = {"verify": arguments.verify_arguments, "cifar": arguments.cifar_arguments}[name](rest)[0].options
        with precision(options) if name == "verify" else contextlib.nullcontext():
            options.check()


SWEPT = [words for words in OURS if "runs/mine" in words]
"""A sweep, and what is done with its folder."""


@pytest.mark.thorough
def test_every_command_on_a_swept_folder_runs(fast):
    """As printed, one after another."""
    assert [words[1] for words in SWEPT] == ["sweep", "sweep", "plot", "export"]
    said = "".join(map(run_as_printed, SWEPT))
    assert "nothing is missing" in said
    assert {p.name for p in (fast / "runs/mine").iterdir()} >= {"points.csv", "summary.json", "figures", "sweep.json"}
    assert (fast / "runs/mine/figures/test_error_p-over-r.png").exists()
    assert (fast / "runs/mine.csv").read_text().count("\n") == 1 + 2 * 16 * 2


LONG = {"theorem", "design", "runs/linear", "runs/grows", "runs/settings", "runs/small", "runs/narrow", "runs/rates",
        "--extend", "--algorithm"}
"""Words of commands that take minutes even when small: their parts have tests of their own, and they are understood."""


@pytest.mark.slow
def test_every_other_command_runs(fast):
    """As printed, one after another, in one folder, with the small presets."""
    for words in OURS:
        if words not in SWEPT and not LONG & set(words):
            run_as_printed(words)
    assert "complete -F" in (fast / "lrtheory.bash").read_text()
    assert (fast / "runs/first/summary.json").exists()
    assert (fast / "runs/cifar/summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["engines.py", "--steps", "2"], ["train.py", "--steps", "2", "--repeats", "1"],
    ["sweeps.py", "--runs", "1"], ["infinite.py", "--help"], ["tpu_compile.py", "--help"],
    ["cifar.py", "--preset", "tiny", "--steps", "2", "--at-once", "1"]], ids=lambda words: words[0])
def test_every_benchmark_runs(words):
    """At its smallest size; the one that compiles for TPUs as far as its help, for their compiler is not installed."""
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / words[0]), *words[1:]], capture_output=True, text=True,
                          env=os.environ | {"JAX_PLATFORMS": "cpu"}, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 4


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.parametrize("notebook", [
    pytest.param(p.name, marks=[pytest.mark.slow] if p.name > "02" else []) for p in NOTEBOOKS])  # these compile much
def test_notebooks_run(notebook, fast):
    runpy.run_path(str(ROOT / "notebooks" / notebook))
    assert not list(fast.glob("*.png"))  # in the fast mode no figure is kept


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.name)
def test_executed_copies_are_those_of_their_code(notebook):
    """Outputs older than the code fail; `python notebooks/pages/build.py` makes them."""
    found = json.loads((ROOT / "notebooks/executed" / f"{notebook.stem}.ipynb").read_text())
    assert found["metadata"]["lrtheory"]["source"] == hashlib.sha256(notebook.read_bytes()).hexdigest()
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    outputs = [o for cell in code for o in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    words = json.dumps([{k: v for k, v in (o.get("data") or o).items() if not k.startswith("image/")} for o in outputs])
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/[\w/.-]+", words)  # of the machine that it was made on


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_say_what_they_show_and_how_long_they_take(notebook):
    text = notebook.read_text()
    opening = re.split(r"^# %%$", text, flags=re.M)[0].replace("\n# ", " ")
    assert "**Shows**" in opening
    assert re.search(r"\*\*Takes\*\* (about )?(\d+|a|two|three|four|five|six)\b.* on two cores", opening), opening
    assert "After it you can" in opening
    assert f"`{notebook.stem}`" in PAGES["notebooks/index.md"]
    for words in ("redict", "hat happened", "## Exercises"):
        assert words in text, words


def test_what_extends_the_package_takes_at_most_30_lines():
    """Notebook 05: a group of examples, a schedule, a prediction."""
    cells = re.split(r"^# %%.*$", (ROOT / "notebooks/05_your_own_experiment.py").read_text(), flags=re.M)
    for word in ("lt.Group(", "lt.step_decay(", "Prediction("):
        [cell] = [c for c in cells if word in c and not c.strip().startswith("# #")]
        assert len([line for line in cell.splitlines() if line.strip() and not line.startswith("#")]) <= 30, word
