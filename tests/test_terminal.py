"""What surrounds a run: who reads its output, what its words hold, where it writes, what the environment says, how large."""

import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from conftest import command, environment, vary
from rich.console import Console

import lrtheory as lt
from lrtheory import devices, files, keys, labelled
from lrtheory.cli import arguments, cells, report
from lrtheory.cli.main import main
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory import figures, programs, room, runs
from lrtheory.theory.measure import described
from lrtheory.theory.room import measured
from lrtheory.vision import cifar
from lrtheory.vision import runs as vision_runs
from lrtheory.vision.presets import preset

SMALL = ["--seeds", "2", "--records", "3", "--n-test", "8", "--training.steps", "4", "--network.m-v", "4", "--network.m-w",
         "4", "--no-theory"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A scratch folder in which runs take no time: their numbers are invented."""
    def invented(config, *, progress=None, **_):
        rng = np.random.default_rng(0)
        found = {name: rng.uniform(0.1, 1, (2, config.seeds) + (config.records + 1,) * over_time).astype(kind)
                 for name, (kind, over_time) in measured(config).items()}
        found["diverged_at"] = np.full((2, config.seeds), np.inf)
        return labelled.dataset(found, described(config.problem), config, config.algorithms,
                                {"step": ("record", np.arange(config.records + 1), {})},
                                {"compile_seconds": 0.0, "wall_seconds": 0.0, "devices_used": 1})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "run", invented)
    monkeypatch.setattr(figures, "save_all", lambda found, folder, theory: folder.mkdir() or [folder])
    return tmp_path


@pytest.fixture
def drawn(here, monkeypatch):
    """The same, with figures."""
    monkeypatch.setattr(figures, "save_all", SAVE_ALL)
    return here


SAVE_ALL = figures.save_all


class Gone(io.StringIO):
    """A reader that goes away after some words."""

    def __init__(self, words, error):
        super().__init__()
        self.words, self.error = words, error

    def write(self, text):
        self.words -= 1
        if self.words < 0:
            raise self.error
        return super().write(text)

    def flush(self):
        if self.words < 0:
            raise self.error


@pytest.mark.thorough(but=["error0-0"])
@pytest.mark.parametrize("words", [0, 1, 3])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"),
                                   ValueError("I/O operation on closed file")])
def test_a_reader_that_goes_away_ends_no_run(here, monkeypatch, error, words):
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, Gone(words, error))
    assert main(["run", *SMALL, "--out", "kept"]) == 0
    assert lt.load("kept").sizes["seed"] == 2
    assert (here / "kept/figures").is_dir()
    assert main(["run", "--seeds", "0"]) == 2
    assert main(["export", "kept", "--to", "a.csv"]) == 0
    assert main(["--help"]) == main(["--version"]) == 0


def test_a_closed_pipe_and_a_full_device_end_no_process(tmp_path):
    """As the shell closes them; and nothing is complained of at the end."""
    for out in ("| head -n 1", "> /dev/full", ">&-", "2>&1 >&- | true"):
        shell = f"{sys.executable} -m lrtheory --help {out}; echo ${{PIPESTATUS[0]}} >&2"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment(), timeout=120)
        assert done.stderr == "0\n"


@pytest.mark.thorough(but=["[red]"])
@pytest.mark.parametrize("text", ["[old]", "[/b]", "[red]x[/red]", ":smile:", "a\\[b]", "[[", "{task}", "Δ±"])
def test_text_of_users_is_printed_as_it_is(here, capsys, text):
    assert main(["run", *SMALL, "--out", f"o/{text}", "--note", text]) == 0
    said = capsys.readouterr().out
    assert f"Note: {text}" in said
    assert f"Written to o/{text}:" in said
    assert (here / "o" / text / "summary.json").is_file()
    assert main(["run", *SMALL, "--out", f"o/{text}"]) == 2
    assert f"--out o/{text}: exists" in capsys.readouterr().err
    assert main(["run", *SMALL, "--name", f"n {text}"]) == 0
    assert f"n {text}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "a\\b", "-x", "x" * 100, "[/b]", "*?", "~", "con:"])
def test_no_name_leaves_the_folder_of_runs(here, name):
    assert main(["run", *SMALL, f"--name={name}"]) == 0
    assert [p.name for p in here.iterdir()] == ["runs"]
    folder, = (here / "runs").iterdir()
    assert (folder / "config.json").is_file()
    assert json.loads((folder / "config.json").read_text())["name"] == name


@pytest.mark.parametrize("words", [["--name", "a\nb"], ["--name", "\x1b[31m"], ["--name", ""], ["--name", "x" * 101],
                                   ["--note", "\x07"], ["--note", "a\x00b"]])
def test_names_and_notes_of_control_characters_are_refused(here, capsys, words):
    assert main(["run", *SMALL, *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert not list(here.iterdir())


@pytest.mark.parametrize("words", [
    ["--seeds", 5000 * "9"], ["--problem.r", 5000 * "9"], ["--problem.d", "1e" + 500 * "9"], ["--problem.r", "nan"],
    ["--engine", 5000 * "x"], ["--preset", 5000 * "x"], ["--config", 5000 * "x"], ["--" + 5000 * "x", "3"],
    ["--seeds", "\x1b[31m"], ["--engine", "a\nb"], ["--algorithms", 5000 * "x"], ["--problem.extra-groups", 5000 * "x"]])
@pytest.mark.parametrize("command", ["run", "sweep", "verify"])
def test_words_of_any_length_get_a_line(here, capsys, command, words):
    """Of at most what a path may need, without control characters."""
    assert main([command, *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert len(said) < (1300 if words[0] == "--config" else 600)
    assert not list(here.iterdir())


def test_runs_that_start_together_have_folders_of_their_own(here, monkeypatch):
    """Where none is named each has one; of two that name the same, and both found it free, one has it."""
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(arguments.dated_folder("same"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20
    assert all(folder.is_dir() for folder in made)
    monkeypatch.setattr(files, "require_free", lambda folder: None)
    files.prepare_folder(here / "one", lt.preset("quick"))
    with pytest.raises(ConfigError, match="another process has it"):
        files.prepare_folder(here / "one", lt.preset("full"))
    assert json.loads((here / "one/config.json").read_text())["name"] == "quick"


def test_a_folder_that_cannot_be_made_is_one_line(here, capsys):
    (here / "runs").write_text("a file")
    for words in (["run", *SMALL], ["run", *SMALL, "--out", "runs/x"], ["run", *SMALL, "--out", "a\0b"],
                  ["run", *SMALL, "--out", "x" * 300]):
        assert main(words) == 2, words
        assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_costs_the_files_and_not_the_verdict(here, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_store", full)
        assert main(["run", *SMALL, "--out", "full"]) == 1
    told = capsys.readouterr()
    assert "test error on P" in told.out
    assert "No space left on device; make room" in told.err
    with pytest.raises(ConfigError, match=r"did not end; again: lrtheory run --config full/config\.json"):
        lt.load("full")


@pytest.mark.thorough(but=["fault0"])
@pytest.mark.parametrize("fault", [RuntimeError("no LaTeX"), OSError(28, "No space left"), MemoryError()])
def test_figures_that_cannot_be_drawn_cost_themselves(drawn, capsys, monkeypatch, fault):
    def broken(*_, **__):
        raise fault

    monkeypatch.setitem(figures.FIGURES, "directions", broken)
    assert main(["run", *SMALL, "--out", "drawn"]) == 0
    said = capsys.readouterr().out
    assert said.index("learning order") < said.index("figures: not drawn (directions: ")
    assert {p.stem for p in (drawn / "drawn/figures").iterdir()} == {*figures.FIGURES, *figures.DRAWINGS} - {"directions"}
    assert lt.load("drawn").sizes["seed"] == 2


def test_figures_are_drawn_under_settings_of_our_own(here):
    import matplotlib

    found = runs.run(lt.preset("quick").replace(seeds=2, records=4))
    plain = figures.learning_order(found)._repr_png_()
    odd = {"text.usetex": True, "font.family": "no such font", "figure.dpi": 20, "axes.grid": True, "savefig.dpi": 9,
           "axes.unicode_minus": False, "svg.fonttype": "none", "savefig.bbox": "tight"}
    with matplotlib.rc_context(odd):
        figure = figures.learning_order(found)
        assert figure._repr_png_() == plain
        figure.savefig(here / "x.pdf")
        assert matplotlib.rcParams["text.usetex"] is True


@pytest.mark.thorough(but=["settings3"])
@pytest.mark.parametrize("settings", [{"JAX_PLATFORMS": "nowhere"}, {"JAX_PLATFORMS": "cuda"}, {"JAX_NUM_CPU_DEVICES": "0"},
                                      {"JAX_NUM_CPU_DEVICES": "x"}])
def test_an_environment_without_devices_is_one_line_and_no_folder(tmp_path, settings):
    done = subprocess.run(command("run"), cwd=tmp_path, env=environment(**settings), capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "JAX" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), [("jax_disable_jit", True), ("jax_debug_infs", True),
                                             ("jax_numpy_dtype_promotion", "strict")])
def test_settings_that_programs_cannot_do_are_one_line(tiny, name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        for call in (lambda: lt.run(tiny), lambda: lt.sweep(tiny, {"r": [0.2]}), devices.require_working,
                     lambda: vision_runs.run(preset("tiny"), cifar.synthetic(256, 150))):
            with pytest.raises(ConfigError, match=f"{name} = .*: must be off: .*; unset {name.upper()}"):
                call()
    finally:
        jax.config.update(name, getattr(before, "value", before))


def test_keys_do_not_depend_on_the_default_implementation(small):
    """Nor does a run; and with JAX's defaults they are what they were."""
    assert keys.key(3) == jax.random.key(3)
    alone, draw = programs.simulate.datasets(small, 3)[0].x1, lambda seed: jax.random.normal(keys.key(seed), (5,))
    with jax.default_prng_impl("rbg"):
        assert keys.key(3) == jax.random.key(3, impl="threefry2x32")
        np.testing.assert_array_equal(programs.simulate.datasets(small, 3)[0].x1, alone)
        np.testing.assert_array_equal(jax.vmap(draw)(jnp.arange(4))[3], draw(3))
        assert "threefry2x32" in keys.described()
    here = keys.described()
    with jax.threefry_partitionable(False):
        assert keys.described() != here


PLENTY = 4 * 2**30


@pytest.mark.parametrize(("changes", "said"), [
    ({"n_test": 200_000_000}, "memory: "), ({"seeds": 1_000_000}, "memory: "), ({"network.m_v": 2**40}, "below 2^31"),
    ({"network.m_v": 2**31 - 2}, "memory: "), ({"problem.d": 10**30}, "must be below 2^63"),
    ({"problem.d": 2**28}, "memory: "), ({"records": 10**9, "training.steps": 10**9}, "memory: "),
    ({"problem.N": 2 * 10**9, "problem.kappa": None}, "memory: "),
    ({"problem.kappa": 1e-30}, "problem.N = "), ({"training.steps": 10**10}, "below 2^31"),
    ({"engine": "dense", "network.m_w": 2**31 - 2, "problem.d": 2**20}, "memory: "),
    ({"engine": "infinite", "problem.N": 10**6, "problem.kappa": None, "training.tolerance": 0.0}, "memory: ")])
def test_sizes_are_refused_before_anything_is_allocated(monkeypatch, changes, said):
    for module in (room, devices):
        monkeypatch.setattr(module, "free_memory", lambda: PLENTY)
    monkeypatch.setattr(programs, "lower_block", lambda *_, **__: pytest.fail("it was traced"))
    config = lt.preset("quick")
    for call in (lambda: lt.run(config.replace(**changes)), lambda: lt.sweep(config.replace(**changes), {"gamma0": [0.1]})):
        with pytest.raises(ConfigError) as error:
            call()
        assert said in str(error.value)
        assert "; " in str(error.value)


@pytest.mark.thorough
def test_a_size_that_fits_passes_and_an_estimate_is_a_lower_bound(small):
    """At most what the compiled program says it takes, and no less than a third of it."""
    for config in (vary(small, seeds=8), vary(small, engine="dense", seeds=8)):
        block = programs.Block(1, 8)
        least = room.least_bytes(config, block, 2)
        assert 0.2 < least / programs.compile_block(config, (), block).memory < 1.5
        room.require_room(config, block, 2, "")


@pytest.mark.parametrize("values", [range(10**12), np.broadcast_to(np.float64(0.1), 10**9), iter(float, 1.0), "0.1", 0.1,
                                    [[0.1]], [np.zeros(3)]])
def test_axes_are_counted_before_they_are_made(values):
    with pytest.raises(ConfigError, match=r"axis (problem\.)?r"):
        make_grid(lt.preset("quick"), {"r": values})


def test_trainings_that_do_not_fit_are_refused(monkeypatch):
    config = preset("tiny")
    images = cifar.synthetic(256, 150)
    for changes in ({"seeds": 10**9}, {"training.epochs": 2 * 10**9}, {"model.widths": (10**5,) * 2}):
        with pytest.raises(ConfigError, match="of memory that are free"):
            vision_runs.run(config.replace(**changes), images)
    for changes in ({"model.depth": 10**9}, {"model.widths": (10**9,) * 2}, {"model.widen": 10**9},
                    {"model.strides": (2**40,) * 2}):
        with pytest.raises(ConfigError, match="must be"):
            config.replace(**changes).check()


@pytest.mark.parametrize("width", [80, 60, 40])
def test_tables_cut_no_digit_at_any_width(width):
    """Of all that a two-axis table says, every figure is there; at 80 columns none is broken."""
    frame = report.tables.pd.DataFrame([
        {"eta_ratio": a, "blur_ratio": b, "algorithm": name, "test_error_p": 0.012345, "test_error_p_sem": 0.00123,
         "q_first": 0.5, "q_first_sem": 0.123, "annealed": 1.0, "annealed_sem": 0.0, "diverged": 0}
        for a in (1.234e-5, 1e-2) for b in (0.02345, 0.03) for name in ("L-S", "S+noise")])
    summary = {"axes": ["eta_ratio", "blur_ratio"], "points": 4, "name": "x", "seeds": 8, "diverged": [], "runs": 8,
               "note": ""}
    console = Console(width=width, file=io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.tables, "points", lambda runs: frame)
        console.print(report.sweep_closing(summary, xr.Dataset(attrs={"config": '{"n_test": 64}'})))
    said = console.file.getvalue()
    assert "…" not in said
    assert {c for c in said if c.isdigit()} >= set("012345")
    if width == 80:
        for word in ("1.234e-05", "0.02345", "0.0123 ±", "0.0012", "0.50 ±", "0.12", "S+noise"):
            assert word in said


def test_a_point_of_a_zip_is_told_by_all_its_labels(small):
    """Whatever its first one is."""
    runs = lt.sweep(vary(small, seeds=2, records=1, training__steps=2), {
        ("eta1", "eta_ratio"): [(0.5, 0.1), (0.25, 0.1), (0.5, 0.2)]})
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(report.sweep_closing({"axes": {"eta1": 3}, "points": 3, "runs": 12, "seeds": 2, "name": "small",
                                        "diverged": [], "note": ""}, runs))
    rows = [line.split()[:3] for line in console.file.getvalue().splitlines() if line.strip()[:2] == "0."]
    assert rows[::2] == [["0.5", "0.1", "L-S"], ["0.25", "0.1", "L-S"], ["0.5", "0.2", "L-S"]]


def test_a_mean_has_the_digits_that_it_has():
    """A spread that is rounding is none; large numbers have a power of ten."""
    shown = [cells.value({"mean": mean, "sem": sem}) for mean, sem in (
        (0.1, 9.8e-18), (1.1e20, 5.8e18), (0.0291, 0.0035), (123456.0, 210.0))]
    assert shown == ["0.1", "(1.100 ± 0.058)e20", "0.0291 ± 0.0035", "123456 ± 210"]
