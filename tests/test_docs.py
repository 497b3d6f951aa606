"""What the documentation prints runs as printed: the README's code, its commands, and the notebooks."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from lrtheory import arguments, presets
from lrtheory.cli import main
from lrtheory.presets import preset

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
quick = preset("quick").replace(seeds=2, records=20, n_test=256, **{
    "training.steps": 200, "network.m_v": 64, "network.m_w": 16})


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """The default preset at a size that takes seconds, in a scratch folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: quick)
    monkeypatch.setenv("LRTHEORY_FAST", "1")
    return tmp_path


def test_the_python_examples_run(fast):
    examples = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(examples) == 2
    for code in examples:
        assert len([line for line in code.splitlines() if line.strip()]) <= 14
        exec(compile(code.replace("6000", "200").replace("2000", "200"), "README.md", "exec"), {})
    assert (fast / "two_steps.png").exists()
    assert (fast / "contrast.png").exists()


def test_every_run_command_of_the_readme_parses():
    commands = [line.strip() for line in README.splitlines() if line.strip().startswith(".venv/bin/lrtheory run")]
    commands += [line.split("&&")[-1].strip() for line in README.splitlines() if line.startswith("    python3")]
    runs = [shlex.split(c)[2:] for c in commands if "lrtheory run" in c and "--help" not in c]
    assert len(runs) == 4
    for words in runs:
        config, _, theory = arguments.run_arguments(words)
        assert theory
        config.check()


def test_every_verify_command_of_the_readme_parses():
    commands = [shlex.split(line)[2:] for line in README.splitlines() if line.startswith("    .venv/bin/lrtheory verify")]
    assert len(commands) == 6
    for words in commands:
        asked, _ = arguments.verify_arguments(words)
        asked.options.check()


def test_every_cifar_command_of_the_readme_parses():
    commands = [shlex.split(line)[2:] for line in README.splitlines() if line.startswith("    .venv/bin/lrtheory cifar")]
    assert len(commands) == 5
    for words in commands:
        if "--resume" not in words:
            asked, _ = arguments.cifar_arguments(words)
            asked.options.check()


def test_every_sweep_command_of_the_readme_works(fast, capsys):
    """As printed, one after another; the headline and the large ones as far as their grids."""
    commands = [shlex.split(line)[1:] for line in README.splitlines()
                if re.match(r"    \.venv/bin/lrtheory (sweep|plot|export)", line)]
    assert [words[0] for words in commands] == ["sweep", "sweep", "sweep", "sweep", "plot", "export"]
    for words in commands[:2]:
        _, grid, _ = arguments.sweep_arguments(words[1:])
        assert grid.check().runs in (78 * 32 * 2, 24 * 256 * 2)
    for words in commands[2:]:
        assert main(words) == 0, capsys.readouterr().err
    assert {p.name for p in (fast / "runs/mine").iterdir()} >= {"points.csv", "summary.json", "figures", "sweep.json"}
    assert (fast / "runs/mine/figures/test_error_p-over-r.png").exists()
    assert (fast / "runs/mine.csv").read_text().count("\n") == 1 + 2 * 16 * 2
    assert "nothing is missing" in capsys.readouterr().out


def test_every_module_is_in_the_map_and_imports_no_later_one():
    order = re.findall(r"`([\w/]+(?:\.py)?)`", README.split("## Where things are")[1].split("## Speed")[0])
    order = [name for name in order if name.endswith(".py") or name.endswith("/")]
    names = [name.removesuffix(".py").rstrip("/") for name in order]
    here = {p.stem for p in (ROOT / "lrtheory").glob("*.py")} - {"__init__"} | {"engines", "predictions", "vision"}
    assert set(names) == here
    for name in names:
        folder = ROOT / "lrtheory" / name
        files = folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
        for file in files:
            text = file.read_text()
            used = set(re.findall(r"^\s*from lrtheory\.(\w+)", text, re.M))
            for line in re.findall(r"^\s*from lrtheory import (.*)$", text, re.M):
                used |= {word.strip() for word in line.split(",")}
            later = {u for u in used if u in names and names.index(u) > names.index(name)}
            assert not later, (file.name, later)


@pytest.mark.parametrize("notebook", [
    pytest.param(p.name, marks=[pytest.mark.slow] if p.name > "02" else [])  # these compile several programs
    for p in sorted((ROOT / "notebooks").glob("*.py"))])
def test_notebooks_run(notebook, fast):
    runpy.run_path(str(ROOT / "notebooks" / notebook))
