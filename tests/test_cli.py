"""The command line as a person meets it: output, exit codes, one-line complaints, and runs repeated bit for bit."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version

import jax
import numpy as np
import pytest

import lrtheory as lt
from lrtheory.cli.main import main
from lrtheory.cli.options import COMMANDS
from lrtheory.predictions import series
from lrtheory.predictions import verify as verifying
from lrtheory.sweeps.tables import DERIVED
from lrtheory.theory import figures, presets
from lrtheory.theory.measure import described
from lrtheory.theory.problem import Problem
from lrtheory.theory.results import load_theory
from lrtheory.vision import figures as accuracies
from lrtheory.vision import presets as vision
from lrtheory.vision.results import SUMMARISED

SHORT = ["--seeds", "2", "--records", "5", "--n-test", "128", "--training.steps", "40", "--network.m-v", "64",
         "--network.m-w", "16"]


def lrtheory(*words, cwd):
    """The installed command in a process of its own, as users run it."""
    return subprocess.run([sys.executable, "-m", "lrtheory", *map(str, words)], cwd=cwd, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"COLUMNS": "100"})


def test_help_is_there_and_lists_what_can_be_done(capsys):
    assert main([]) == 0
    assert "lrtheory run" in capsys.readouterr().out
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    for words in (f"lrtheory {version('lrtheory')}", f"jax {jax.__version__}", "devices: 2 x cpu", "precision: float32"):
        assert words in said
    for command in ("sweep", "plot", "completion", "export"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
    assert "--over-time" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--preset", "--seeds", "--out", "--config", "--problem.r", "--training.eta1",
                   "--engine (decoupled)              dense, reduced, decoupled or infinite\n"):
        assert option in text


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_says_each_default_once_and_in_words(command, capsys):
    """In a command's own options: no None, no default that is said twice, no quoting of the shell's."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = re.split(r"--(?:problem|model)\.", capsys.readouterr().out)[0]
    assert "--" in options
    assert "None" not in options
    assert "'\"'" not in options
    assert not re.search(r"\(default[^)]*\)[\s│|]*\(default", options)


@pytest.mark.parametrize(("command", "preset", "shown"), [
    ("run", "phase", ["--problem.z-norm (15.8)", "--training.eta-ratio (0.0001)", "--seeds (32)"]),
    ("cifar", "paper", ["--training.epochs (60)", "--model.kind (wide-resnet)", "--for"])])
def test_help_fits_two_screens_and_help_all_has_the_rest(command, preset, shown, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--preset", preset, "--help"])
    short = capsys.readouterr().out
    assert stop.value.code == 0
    assert short.count("\n") <= 72
    assert max(map(len, short.splitlines())) <= 80
    assert all(text in short for text in shown)
    assert not re.findall(r"^  --\S+(?: \([^)]*\))?\s*\n(?! {36}\S)", short, re.M)  # an option without words
    assert "problem:" in short or "patch:" in short
    with pytest.raises(SystemExit):
        main([command, "--preset", preset, "--help-all"])
    whole = capsys.readouterr().out
    assert all(option in whole for option in re.findall(r"--[\w.-]+", short) if option not in ("--help-all", "--theory"))
    assert len(set(re.findall(r"--[\w.-]+", whole))) > len(set(re.findall(r"--[\w.-]+", short))) + 5


def test_help_is_immediate():
    """Under half a second, best of five processes: nothing that takes long is imported for it."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        done = lrtheory("--help", cwd=".")
        times.append(time.perf_counter() - started)
        assert done.returncode == 0
    for command in ("run", "sweep", "verify", "cifar", "plot", "export", "completion"):
        assert f"  lrtheory {command} " in done.stdout
    assert min(times) < 0.5
    loaded = "import sys, lrtheory.cli.main; print(sorted({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "lrtheory.bash"
    script.write_text(capsys.readouterr().out)

    def completed(*words):
        ask = (f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
               "$(complete -p lrtheory | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo ${COMPREPLY[@]}")
        return subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()

    assert {"run", "sweep", "verify", "cifar", "plot", "export"} <= set(completed("lrtheory", "''"))
    assert completed("lrtheory", "ver") == ["verify"]
    assert "--training.eta1" in completed("lrtheory", "run", "--training.eta")
    assert completed("lrtheory", "sweep", "--engine", "de") == ["dense", "decoupled"]
    for words, offered in (
            ("run --preset ''", presets.PRESETS), ("cifar --preset ''", vision.PRESETS),
            ("verify --setting ''", [*verifying.SETTINGS, "theorem"]), ("verify --budget ''", verifying.BUDGETS),
            ("verify --only order an", ["annealing"]), ("theorem --study ''", series.STUDIES),
            ("design --family w", ["wsd", "wsd-geometric"]), ("sweep --axis eta", ["eta1=", "eta_ratio="]),
            ("plot f --figure g", ["gap", "gates"]), ("plot f --y q_f", ["q_first"]), ("run --algorithms L", ["L-S"]),
            ("cifar --pre", ["--preset"]), ("plot nothing-of-this-name", [])):  # then the shell offers files
        assert completed("lrtheory", *words.split()) == list(offered), words
    for shell in ("zsh", "fish"):
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert "'choices': ['quick', " in text
        assert "eta-ratio" in text


def test_help_of_plot_lists_measurements_and_figures(capsys):
    with pytest.raises(SystemExit):
        main(["plot", "--help"])
    said = capsys.readouterr().out.replace(",", " ").replace(";", " ").replace(".", " ").split()
    measured = [*described(Problem()), *DERIVED, *SUMMARISED]
    assert not {*measured, *figures.FIGURES, *figures.DRAWINGS, "film", *accuracies.FIGURES} - set(said)


@pytest.mark.parametrize(("words", "said"), [
    (["walk"], "unknown command 'walk'"),
    (["run", "--preset", "fast"], "--preset fast: must be one of quick, full, literal, mitigation, phase"),
    (["run", "--engine", "warp"], "invalid choice 'warp'"),
    (["run", "--problem.rr", "3"], "perhaps you meant --problem.r"),
    (["run", "--seeds", "many"], "--seeds many: must be a whole number;"),
    (["run", "--training.eta1", "fast"], "--training.eta1 fast: must be a number;"),
    (["run", "--problem.N", "1e3"], "--problem.N 1e3: must be a whole number;"),
    (["run", "--problem.e", "3"], "perhaps you meant --problem.N or --problem.alpha-min or --problem.alpha-power; see"),
    (["cifar", "--for", "soon"], "--for soon: must be a number;"),
    (["cifar", "--resume", "nowhere"], "--resume nowhere: no experiment to be found there"),
    (["sweep"], "--axis: no axis; must be at least one; give --axis NAME=VALUES or --zip, or say lrtheory run"),
    (["sweep", "--preset", "mini", "--eta1", "0.5"], "perhaps you meant"),
    (["sweep", "--preset", "mini", "--axis", "r=0.5,0.7"], "of cifar-mini; must be one of those that lrtheory sweep"),
    (["run", "--problem.p0", "0.9"], "problem.p0 + problem.q0 = 1.15"),
    (["run", "--training.eta1", "0.05"], "below the stability bound"),
    (["run", "--training.eta1", "-1"], "training.eta1 = -1"),
    (["run", "--problem.kappa", "None", "--problem.N", "4"], "problem.N = 4"),
    (["run", "--config", "nowhere.json"], "cannot be read"),
    (["run", "--config", "nowhere.json", "--preset", "quick"], "give one of them"),
    (["sweep", "--axis", "etas=1,2"], "--axis etas: unknown field"),
    (["sweep", "--axis", "eta1=0.01,0.05"], "at eta1 = 0.05: training.eta1 = 0.05: must be below the stability bound"),
    (["sweep", "--zip", "r=0.02,0.03", "z_norm=25"], "they change together"),
    (["sweep", "--chunk", "0"], "--chunk 0: must be at least 1"),
    (["sweep", "--axis", "r=0.02,0.03", "--chunk", "some"], "--chunk some: must be a whole number;"),
    (["sweep", "--resume", "nowhere"], "nowhere: no sweep to be found there"),
    (["sweep", "--axes", "r=1"], "perhaps you meant --axis"),
    (["plot", "nowhere", "--x", "r", "--y", "test_error_p"], "nowhere: no results.zarr in it"),
    (["plot", "nowhere", "--x", "r"], "no results.zarr in it"),
    (["export", "nowhere", "--to", "a.csv"], "nowhere: no results.zarr in it"),
    (["completion", "tcsh"], "invalid choice 'tcsh'"),
])
def test_bad_input_is_one_line_and_code_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not any(tmp_path.iterdir())  # nothing was written


@pytest.mark.thorough
def test_a_run_writes_its_folder_and_is_repeated_bit_for_bit(tmp_path):
    first = lrtheory("run", *SHORT, "--out", "a", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for words in ("fitted first", "test error on P", "Theory:", "learning order", "Written to a"):
        assert words in first.stdout
    assert "quick-changed" in first.stdout  # not the preset any more
    assert "40 of 40 steps" in first.stdout  # plain progress where there is no terminal
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"config.json", "summary.json", "results.zarr", "theory.zarr",
                                                            "figures"}
    again = lrtheory("run", "--config", "a/config.json", "--out", "b", "--no-theory", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "a/config.json").read_text() == (tmp_path / "b/config.json").read_text()
    a, b = lt.load(tmp_path / "a"), lt.load(tmp_path / "b")
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    summaries = [json.loads((tmp_path / x / "summary.json").read_text()) for x in "ab"]
    assert summaries[0]["environment"]["devices_used"] == min(len(os.sched_getaffinity(0)), 2)  # a seed a core
    assert " theory " in first.stdout
    assert " theory " not in again.stdout
    predicted = load_theory(tmp_path / "a")
    for name, entry in summaries[0]["algorithms"].items():
        final = predicted["contrast"].sel(algorithm=name).isel(record=-1).values
        entry.pop("examples", None)  # from a learning curve, which is theory, too
        np.testing.assert_allclose(entry.pop("theory")["contrast"]["per_seed"], final, rtol=1e-5)
    assert load_theory(tmp_path / "b") is None
    assert summaries[0]["algorithms"] == summaries[1]["algorithms"]
    assert summaries[0]["verdict"] == summaries[1]["verdict"]

    refused = lrtheory("run", *SHORT, "--out", "a", cwd=tmp_path)
    assert refused.returncode == 2
    assert "exists and is not empty" in refused.stderr
    assert json.loads((tmp_path / "a/summary.json").read_text())["verdict"] == summaries[0]["verdict"]
