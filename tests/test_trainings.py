"""Sweeps of trainings: each is its runs, a new number compiles nothing, and nothing that has ended is lost or done again."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from patched import IMAGES, TINY

import lrtheory as lt
from lrtheory import files
from lrtheory.cli import main as cli
from lrtheory.cli import report
from lrtheory.fields import to_json
from lrtheory.spec import ConfigError
from lrtheory.stopping import Interrupted
from lrtheory.sweeps import folder as folders
from lrtheory.sweeps import manifest, reading, store, tables
from lrtheory.sweeps.grid import make_grid, read_axes
from lrtheory.vision import checkpoints, cifar, programs, runs
from lrtheory.vision.presets import preset

pytestmark = [pytest.mark.xdist_group("vision"),  # they share programs, so one process takes them all
              pytest.mark.usefixtures("one_device")]

CONFIG = TINY.replace(algorithms=("L-S", "S"), checkpoint_epochs=1, **{"training.epochs": 3, "training.anneal_epochs": (3,)})
AXES = {"eta1": [0.1, 0.03], ("offset", "negative"): [(0.3, 0.5), (0.2, 0.0)]}


def same(found, other):
    xr.testing.assert_equal(found.load().drop_vars("seconds"), other.load().drop_vars("seconds"))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep of 4 points, 2 algorithms and a seed, in a folder."""
    folder = tmp_path_factory.mktemp("trainings") / "swept"
    return folder, lt.sweep(CONFIG, AXES, folder, images=IMAGES).load()


def test_a_sweep_is_its_runs_one_by_one_and_compiles_nothing(swept):
    folder, found = swept
    assert found.sizes == {"eta1": 2, "offset": 2, "algorithm": 2, "seed": 1, "record": 3}
    compiled = programs.programs(False).step._cache_size()
    for eta1, (offset, negative) in ((0.03, (0.2, 0.0)), (0.1, (0.3, 0.5))):
        point = {"training.eta1": eta1, "patch.offset": offset, "patch.negative": negative}
        alone = runs.run(CONFIG.replace(**point), IMAGES)
        here = found.sel(eta1=eta1, offset=offset)
        assert float(here["negative"]) == negative
        for name in alone.data_vars:
            if name != "seconds":
                np.testing.assert_array_equal(here[name], alone[name], err_msg=name)
        assert here["train_loss"].attrs == alone["train_loss"].attrs
    assert programs.programs(False).step._cache_size() == compiled
    assert float(abs(found["train_loss"].diff("offset")).min()) > 0
    np.testing.assert_array_equal(found["time"], [1, 2, 3])
    assert not list((folder / "checkpoints").iterdir())
    same(lt.load(folder), found)
    assert "nothing" in _missing(folder)


def _missing(folder):
    """What a resumed sweep trains."""
    seen = []
    watch = folders.Watch(progress=lambda n, what: seen.append(what))
    lt.sweep(CONFIG, AXES, folder, images=IMAGES, resume=True, watch=watch)
    return seen or "nothing"


def test_stopped_and_resumed_is_the_same_sweep(swept, tmp_path):
    """Two epochs of the third run are kept; what had ended is not trained again."""
    calls = []
    with pytest.raises(Interrupted):
        lt.sweep(CONFIG, AXES, tmp_path / "a", images=IMAGES, watch=folders.Watch(
            progress=lambda n, what: calls.append(what), stop=lambda: len(calls) >= 8))
    assert int(lt.load(tmp_path / "a")["done"].sum()) == 1
    again = _missing(tmp_path / "a")
    assert len(again) == 3 * 8 - 8 + 1  # the epochs left, and one call for what the checkpoint has
    same(lt.load(tmp_path / "a"), swept[1])
    assert not list((tmp_path / "a/checkpoints").iterdir())


def test_states_are_removed_that_were_written_here_and_no_others(swept, tmp_path):
    """Those of a chunk that is stored, which a kill left; not what else lies there, and nothing behind a link."""
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    grid, cut = manifest.read_manifest(copy)
    place = store.Store(copy / files.STORE, grid, cut, ("L-S", "S"))
    chunk, other = list(folders.every_chunk(grid, cut))[:2]
    job, *_ = runs.jobs(CONFIG, ("S",))[0]
    state, history = {"a": np.ones(3)}, {"loss": np.ones(2)}
    for where, whose in ((chunk, place.meaning(chunk.box)), (other, "another's")):
        kept = checkpoints.Checkpoints(copy / "checkpoints" / "-".join(map(str, where.number)), job, whose)
        kept.save(1, state, history)
        kept.close()
    mine = [copy / "checkpoints" / name for name in ("mine/x", "0-0-1/notes", "9-9-9/S-seed-0/1/x")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = sorted((copy / "checkpoints").rglob("*"))
    own = copy / "checkpoints" / "-".join(map(str, chunk.number))
    assert len(list(own.rglob("*"))) > 10
    assert _missing(copy) == "nothing"
    assert sorted((copy / "checkpoints").rglob("*")) == [p for p in before if own not in (p, *p.parents)]
    (copy / "checkpoints").rename(tmp_path / "archive")
    (copy / "checkpoints").symlink_to(tmp_path / "archive")
    told, there = [], sorted((tmp_path / "archive").rglob("*"))
    lt.sweep(CONFIG, AXES, copy, images=IMAGES, resume=True, watch=folders.Watch(tell=told.append))
    assert sorted((tmp_path / "archive").rglob("*")) == there
    assert any("checkpoints is a link; states of trainings that have ended stay there" in text for text in told)


KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
import lrtheory as lt
from lrtheory.sweeps.folder import Watch
from lrtheory.vision import cifar
from test_trainings import AXES, CONFIG
calls = []
def progress(*row):
    calls.append(row)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
images = cifar.synthetic(256, 150)
lt.sweep(CONFIG, AXES, sys.argv[1], images=images, resume=len(sys.argv) > 3, watch=Watch(progress=progress))
"""


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_sweep(swept, tmp_path):
    """By kill -9 at the 5th, 12th and 9th epoch of processes with two devices."""
    for count, *more in (("5",), ("12", "resume"), ("9", "resume")):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a"), count, *more], capture_output=True,
                              timeout=600, cwd=Path(__file__).parent)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert 2 <= int(lt.load(tmp_path / "a")["done"].sum()) < 4
    _missing(tmp_path / "a")
    same(lt.load(tmp_path / "a"), swept[1])


def test_other_images_another_sweep_and_a_damaged_chunk_are_seen(swept, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    with pytest.raises(ConfigError, match=r"holds another sweep; .*images: "):
        lt.sweep(CONFIG, AXES, copy, images=cifar.synthetic(256, 150, seed=1), resume=True)
    with pytest.raises(ConfigError, match=r"training\.momentum: 0.9 in the folder, 0.8 asked for"):
        lt.sweep(CONFIG.replace(**{"training.momentum": 0.8}), AXES, copy, images=IMAGES, resume=True)
    with pytest.raises(ConfigError, match="at most the 100 images"):
        lt.sweep(CONFIG, {"n_train": [100, 128]}, images=cifar.synthetic(100, 100))
    (copy / "results.zarr/train_loss/c/1/0/0/0/0").write_bytes(b"")
    with pytest.raises(ConfigError, match="damaged"):
        lt.load(copy)
    again = _missing(copy)
    assert len(again) == 2 * 3
    assert all("eta1 0.03, offset 0.3, negative 0.5, " in what for what in again)
    same(lt.load(copy), swept[1])


@pytest.mark.thorough
def test_more_seeds_and_values_train_only_what_is_new(swept, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    seen = []
    watch = folders.Watch(progress=lambda n, what: seen.append(what))
    more = CONFIG.replace(seeds=2)
    found = lt.sweep(more, {"eta1": [0.05]}, copy, images=IMAGES, extend=True, watch=watch)
    assert found.sizes == {"eta1": 3, "offset": 2, "algorithm": 2, "seed": 2, "record": 3}
    assert len(seen) == (12 - 4) * 2 * 3
    np.testing.assert_array_equal(found["eta1"], [0.03, 0.05, 0.1])  # in order, though it stands behind
    same(found.sel(eta1=[0.1, 0.03], offset=[0.3, 0.2], seed=[0]), swept[1])
    alone = runs.run(CONFIG.replace(first_seed=1, **{"training.eta1": 0.05, "patch.offset": 0.3}), IMAGES)
    np.testing.assert_array_equal(found["loss_clean"].sel(eta1=0.05, offset=0.3, seed=1), alone["loss_clean"].sel(seed=1))
    assert files.read_sealed(copy / "sweep.json")["config"]["seeds"] == 2
    with pytest.raises(ConfigError, match="no such axis"):
        lt.sweep(more, {"momentum": [0.5]}, copy, images=IMAGES, extend=True)
    with pytest.raises(ConfigError, match="seeds 1: the folder has 2"):
        lt.sweep(CONFIG, {"eta1": [0.07]}, copy, images=IMAGES, extend=True)


def test_what_would_be_stored_otherwise_is_not_made_larger(tmp_path):
    """Longer trainings, or ones with a patch beside those without, have other arrays: refused, and nothing is touched."""
    short = CONFIG.replace(algorithms=("S",), **{"training.anneal_epochs": (), "training.epochs": 1})
    for axis, first, more, said in (("training.epochs", 1, 2, "records stored there: 1 a run, the larger sweep's 2;"),
                                    ("patch.share", 0.0, 0.8, "larger sweep's 1 of accuracy_mixed, accuracy_patch_only,")):
        found = lt.sweep(short, {axis: [first]}, tmp_path / axis, images=IMAGES)
        with pytest.raises(ConfigError, match=said):
            lt.sweep(short, {axis: [more]}, tmp_path / axis, images=IMAGES, extend=True)
        same(lt.load(tmp_path / axis), found)


def test_trainings_of_other_lengths_and_without_a_patch_have_what_they_have():
    """A shorter one has fewer records, and is judged by its own last; one without a patch has no accuracy on it."""
    found = lt.sweep(CONFIG.replace(algorithms=("S",), **{"training.anneal_epochs": ()}),
                     {"training.epochs": [2, 3], "share": [0.0, 0.8]}, images=IMAGES)
    assert found.sizes["record"] == 3
    np.testing.assert_array_equal(found["epochs_done"].squeeze(), [[2, 2], [3, 3]])
    for epochs in (2, 3):
        here = found.sel(epochs=epochs, share=0.8)
        last = tables.metric(found, "accuracy_patch_only").sel(epochs=epochs, share=0.8)
        np.testing.assert_array_equal(last, here["accuracy_patch_only"].isel(record=epochs - 1))
    assert np.isnan(found["train_loss"].sel(epochs=2).isel(record=2)).all()
    assert np.isnan(found["accuracy_patch_only"].sel(share=0.0)).all()
    table = tables.points(found)
    assert {"accuracy_clean", "patch_read_at", "patch_read"} <= set(table.columns)
    assert not {"q_first", "test_error_p"} & set(table.columns)


def test_when_the_patch_is_read_is_told_between_epochs():
    """0.1, 0.3, 0.7 after epochs 1 to 3: 0.5 at 2.5; 0.9 at once: half way from chance; never: inf."""
    curves = np.array([[[0.1, 0.3, 0.7, 0.2], [0.9, 0.9, 0.9, 0.9], [0.1, 0.2, 0.3, 0.4]]], np.float32)
    dims = ("algorithm", "seed", "record")
    found = xr.Dataset({"accuracy_patch_only": (dims, curves), "diverged_at": (dims[:2], np.full((1, 3), np.inf)),
                        "epochs_done": (dims[:2], np.full((1, 3), 4))}, coords={"algorithm": ["S"], "seed": range(3)})
    np.testing.assert_allclose(tables.metric(found, "patch_read_at").values, [[2.5, 0.5, np.inf]], rtol=1e-6)
    np.testing.assert_allclose(tables.metric(found, "patch_read").values, [[1, 1, 0]])
    with pytest.raises(ConfigError, match="q_first: no such measurement"):
        tables.metric(found, "q_first")


def fabricated(law, seeds=6):
    """Epochs of reading under a law: large = law(small, linear), 3 linear patches and 3 others, with some noise."""
    rng = np.random.default_rng(0)
    linear = np.array([True, True, True, False, False, False])
    small = np.array([1.5, 2.5, 4.0, 1.4, 2.6, 3.9])[:, None] * np.exp(0.02 * rng.normal(size=(6, seeds)))
    large = law(small, linear[:, None]) * np.exp(0.02 * rng.normal(size=(6, seeds)))
    return reading.Reading(np.where(large > 100, np.inf, large), small, linear, np.arange(6.0))


def test_blindness_to_what_is_not_linear_is_told_from_mere_difficulty():
    one = fabricated(lambda small, linear: 3 * small**1.5)
    assert reading.linear_over_other(one).low < 0 < reading.linear_over_other(one).high
    assert reading.crossings(one).blind <= 2  # where S is at a draw
    blind = fabricated(lambda small, linear: 3 * small**1.5 * np.where(linear, 1, 3))
    assert reading.linear_over_other(blind).value == pytest.approx(-np.log(3), abs=0.05)
    assert reading.linear_over_other(blind).high < 0
    count = reading.crossings(blind)
    assert count.blind >= 0.6 * count.of_blind
    assert count.hidden == 0
    late = reading.crossings(blind._replace(linear=~blind.linear))  # the labels exchanged
    assert (late.hidden, late.of_hidden, late.blind) == (count.blind, count.of_blind, count.hidden)
    never = fabricated(lambda small, linear: np.where(linear, 3.0, 300.0) * small)  # others not read at all
    assert np.isnan(reading.linear_over_other(never).value)
    assert reading.crossings(never).blind == reading.crossings(never).of_blind > 0


def test_the_figure_and_the_words_are_of_the_sweep(swept):
    _, found = swept
    found = found.assign(accuracy_patch_only=found["accuracy_patch_only"] + np.array([0, 0.3, 0.6]).astype(np.float32))
    seen = reading.reading(found)
    assert seen.linear.tolist() == [False, True, False, True]
    np.testing.assert_allclose(seen.offset, [0.3, 0.2, 0.3, 0.2])
    figure = reading.read_under_both(found)
    assert {text.get_text() for text in figure.axes[0].get_legend().texts} == {
        "both signs: not linear", "one sign: linear"}
    assert any("blind to what is not linear" in line for line in report._read(seen))


def test_any_field_that_decides_a_number_can_be_an_axis(tmp_path):
    config = preset("mini")
    grid = read_axes(config, ["model.widths=16 32 64,12 24 48", "augment=true,false", "anneal_epochs=none,4 8"],
                     [["negative=0,0.5", "offset=0.1,0.3"]])
    assert grid == make_grid(config, {
        "widths": [(16, 32, 64), (12, 24, 48)], "augment": [True, False], "training.anneal_epochs": [(), (4, 8)],
        ("negative", "offset"): [(0, 0.1), (0.5, 0.3)]})
    at = grid.check().at((1, 0, 1, 1))
    assert (at.model.widths, at.training.augment, at.training.anneal_epochs) == ((12, 24, 48), True, (4, 8))
    assert grid.compiled == (True, True, True, False)
    assert grid.coordinates()["widths"][1].tolist() == ["16 32 64", "12 24 48"]
    manifest.write_manifest(tmp_path, grid, None)
    assert manifest.read_manifest(tmp_path)[0] == grid
    for name in ("seeds", "algorithms", "model", "interleave"):
        with pytest.raises(ConfigError, match="cannot be an axis; must be a number or choice of model, patch"):
            make_grid(config, {name: [1, 2]})
    for text in ("model.widths=16 x", "augment=2", "anneal_epochs=1.5"):
        with pytest.raises(ConfigError, match="must be"):
            read_axes(config, [text])


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """The command with synthetic images, in a scratch folder; what it asks for is kept."""
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar, "load", lambda where=None, **k: asked.append(where) or IMAGES._replace(path=str(tmp_path)))
    return asked


def test_the_command_sweeps_resumes_and_extends(stand_in, tmp_path, capsys):
    (tmp_path / "config.json").write_text(to_json(CONFIG))
    words = ["sweep", "--config", "config.json"]
    assert cli.main([*words, "--zip", "offset=0.3,0.2", "negative=0.5,0", "--data-dir", "there", "--out", "here"]) == 0
    said = capsys.readouterr().out
    assert "2 offset+negative = 2 points, L-S and S from 1 seeds = 4 trainings of 3 epochs" in said
    assert "patch read" in said
    assert {p.name for p in (tmp_path / "here").iterdir()} >= {"points.csv", "summary.json", "sweep.json", "figures"}
    assert {"accuracy_clean.png", "patch_read_at.png"} <= {p.name for p in (tmp_path / "here/figures").iterdir()}
    assert cli.main(["sweep", "--resume", "here"]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert [str(where) for where in stand_in] == ["there", str(tmp_path)]  # the second time nobody had to say
    assert cli.main(["sweep", "--extend", "here", "--seeds", "2"]) == 0
    assert "4 trainings to do" in capsys.readouterr().out
    assert json.loads((tmp_path / "here/summary.json").read_text())["seeds"] == 2
    for wrong, complaint in ((["--chunk", "2"], "leave it out"), (["--axis", "eta2=1"], "unknown field"),
                             (["--resume", "here", "--extend", "here"], "give one of them")):
        assert cli.main([*words, *wrong]) == 2
        assert complaint in capsys.readouterr().err


@pytest.mark.thorough
def test_a_folder_knows_where_its_images_are(stand_in, tmp_path, capsys):
    assert cli.main(["cifar", "--preset", "tiny", "--seeds", "1", "--training.epochs", "3", "--data-dir", "there", "--out",
                     "here"]) == 0
    assert cli.main(["cifar", "--resume", "here"]) == 0
    (tmp_path / "here/images.json").write_text("{")
    assert cli.main(["cifar", "--resume", "here"]) == 0
    assert list(map(str, stand_in)) == ["there", str(tmp_path), "None"]


def test_batches_that_devices_cannot_share_are_refused_at_every_point(tmp_path, two_devices):
    """Before anything is written, not at the point that has them."""
    with pytest.raises(ConfigError, match=r"training\.batch_size = 31: must be a multiple of the 2 devices"):
        lt.sweep(CONFIG.replace(spread="batch"), {"batch_size": [32, 31]}, tmp_path / "swept", images=IMAGES)
    assert not (tmp_path / "swept").exists()
