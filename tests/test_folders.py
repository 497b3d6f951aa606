"""Folders that are used by others, too: what was not written here stays, first moments, two at once, links, new names."""

import contextlib
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import AXES, vary
from test_damage import invented, refused

import lrtheory as lt
from lrtheory import files
from lrtheory.cli.main import main
from lrtheory.spec import ConfigError
from lrtheory.sweeps import folder as folders
from lrtheory.sweeps import manifest, plan, store, tables
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.training import Training

CONFIG = lt.Config(problem=Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0), network=Network(m_w=16, m_v=32),
                   training=Training(eta1=0.5, eta_ratio=0.1, steps=60), seeds=4, records=6, n_test=64)
GRID = make_grid(CONFIG, AXES)
CUT = plan.cut_for(GRID, 2)
MINE = "of the user's own"


def write(folder, chunks, grid=GRID, cut=CUT):
    """A sweep of runs that never were, of which some chunks are there."""
    folder.mkdir()
    manifest.write_manifest(folder, grid, cut)
    place, found = store.Store(folder / files.STORE, grid, cut, grid.config.algorithms), invented(grid.config, grid.shape)
    place.prepare()
    for chunk in chunks:
        box = tuple(slice(r.start, r.stop) for r in chunk.box)
        place.write(chunk, {name: v[(*box[:-1], slice(None), box[-1])] for name, v in found.items()})
    return place


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a finished sweep."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    write(folder, folders.every_chunk(GRID, CUT))
    return folder


def take_up(folder, grid=GRID, cut_for=lambda: pytest.fail("the cut is known"), **more):
    """The shape of chunks, and those that are missing, of a folder that is taken up and let go."""
    with contextlib.ExitStack() as held:
        there, missing = folders.take_up(grid, folder, cut_for, folders.Watch(), held, **more)
    return there.cut, missing


def put(*paths):
    """Files of the user's own, and the folders they lie in."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MINE)


def test_resuming_a_sweep_removes_what_was_half_written_here_and_nothing_else(swept, tmp_path):
    """By the names of its arrays and of the files that zarr has not finished; whatever else looks like them stays."""
    copy = tmp_path / "copy"
    shutil.copytree(swept, copy)
    zarr, other = copy / files.STORE, tmp_path / "elsewhere"
    put(other / "done" / f"0.{'0' * 32}.partial", copy / "stopped-early", copy / "notes.partial", copy / "a.tex.partial",
        copy / ".skeleton-mine" / "bones", copy / "seals" / "seals.partial", zarr / "contrast" / "c" / "mine.partial",
        zarr / "mine" / "c" / f"0.{'1' * 32}.partial", copy / "stopped-7" / "x", copy / "stopped-01")
    (copy / "stopped-0").write_text("")  # no session had several processes
    (zarr / "contrast" / "c" / "linked").symlink_to(other / "done")
    before = sorted(p for p in tmp_path.rglob("*") if p.name != files.LOCK)
    put(zarr / "contrast" / "c" / "0" / f"0.{'2' * 32}.partial", zarr / "done" / f"zarr.{'3' * 32}.partial")
    assert take_up(copy, resume=True)[1] == []
    after = sorted(p for p in tmp_path.rglob("*") if p.name not in (files.LOCK, folders.SESSIONS))
    assert after == before


def test_marks_of_an_early_end_are_known_by_the_sessions(swept, tmp_path):
    """Of two processes: 0 and 1, as they write them."""
    copy = tmp_path / "copy"
    shutil.copytree(swept, copy)
    (copy / folders.SESSIONS).write_text(json.dumps([{"processes": 2}, {"processes": "many"}, {}]))
    for k in range(4):
        (copy / f"stopped-{k}").write_text("" if k != 1 else MINE)
    take_up(copy, resume=True)
    assert sorted(p.name for p in copy.glob("stopped-*")) == ["stopped-1", "stopped-2", "stopped-3"]


FEW, MORE = (xr.Dataset({"x": ("n", np.full(3, value)), "c": ("m", np.ones(2))}) for value in (1.0, 2.0))


def test_a_dataset_that_is_written_anew_takes_nothing_of_others_with_it(tmp_path):
    """Beside it in its folder, in the place of one that is half written, and behind a link: kept, under another name."""
    place, partial = tmp_path / files.STORE, tmp_path / f"{files.STORE}.partial"
    files.write_store(place, FEW)
    put(place / "x" / "notes", partial / "x" / "thesis", tmp_path / "disk" / "data")
    (place / "x" / "far").symlink_to(tmp_path / "disk")
    files.write_store(place, MORE)
    xr.testing.assert_identical(files.read_dataset(tmp_path), MORE)
    kept = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*kept*/**/*"))
    assert kept == [f"{files.STORE}.kept-1/x", f"{files.STORE}.kept-1/x/far", f"{files.STORE}.kept-1/x/notes",
                    f"{files.STORE}.partial.kept-1/x", f"{files.STORE}.partial.kept-1/x/thesis"]
    assert (tmp_path / "disk" / "data").read_text() == MINE


def test_results_that_are_a_link_to_another_disk_are_replaced_by_results(tmp_path):
    """The link stays, under another name, and so does all behind it."""
    there = tmp_path / "disk" / "there"
    files.write_store(there, FEW)
    (tmp_path / files.STORE).symlink_to(there)
    xr.testing.assert_identical(files.read_dataset(tmp_path), FEW)
    files.write_store(tmp_path / files.STORE, MORE)
    xr.testing.assert_identical(files.read_dataset(tmp_path), MORE)
    xr.testing.assert_identical(files.read_dataset(there.parent, there.name), FEW)
    assert (tmp_path / f"{files.STORE}.kept-1").is_symlink()


def test_no_small_file_is_written_through_a_link_or_into_a_pipe(tmp_path):
    put(tmp_path / "mine")
    (tmp_path / "a.json.partial").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "b.json.partial")
    for name in ("a.json", "b.json"):
        with pytest.raises(OSError, match=r"symbolic links|No such device"):
            files.write_whole(tmp_path / name, "x")
        assert not (tmp_path / name).exists()
    assert (tmp_path / "mine").read_text() == MINE


def test_a_table_is_written_beside_what_has_its_name_while_it_is_partial(swept, tmp_path):
    put(tmp_path / "a.csv.partial")
    tables.export(lt.load(swept), tmp_path / "a.csv")
    assert (tmp_path / "a.csv.partial").read_text() == MINE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.csv.partial"]


@pytest.mark.parametrize("left", [
    {}, {".lock": ""}, {".lock": "", "seals": None}, {".lock": "", "seals": None, "sweep.json.partial": 40},
    {".lock": "", "seals": None, "sweep.json.partial": 0}, {".lock": "", "seals": None, "sweep.json.partial": 10**9}])
def test_a_sweep_that_was_killed_in_its_first_moments_begins_anew(tmp_path, left):
    """Its folder has nothing yet but the first letters of what is written; with anything of others it is not taken."""
    text = files.sealed(manifest.describe(GRID, CUT))
    folder = tmp_path / "killed"
    folder.mkdir()
    for name, size in left.items():
        (folder / name).mkdir() if size is None else (folder / name).write_text(text[:size] if size else "")
    put(folder / "mine")
    assert "exists and is not empty" in refused(lambda: take_up(folder, asked=CUT))
    (folder / "mine").unlink()
    if "seals" in left:
        put(folder / "seals" / "mine")
        assert "exists and is not empty" in refused(lambda: take_up(folder, asked=CUT))
        (folder / "seals" / "mine").unlink()
    if left.get("sweep.json.partial"):
        other = make_grid(CONFIG, {"eta_ratio": [0.5]})
        assert "exists and is not empty" in refused(lambda: take_up(folder, other, asked=plan.cut_for(other, 1)))
    assert len(take_up(folder, asked=CUT)[1]) == 12
    assert len(take_up(folder, resume=True)[1]) == 12


def test_the_cut_that_was_asked_for_is_stored_before_anything_is_compiled(tmp_path, monkeypatch):
    """A kill while the plan is made costs no digit: what is resumed has the chunks that were asked for."""
    monkeypatch.setattr(plan, "make_plan", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        lt.sweep(CONFIG, AXES, tmp_path / "a", chunk=2)
    assert manifest.read_manifest(tmp_path / "a")[1] == CUT
    assert take_up(tmp_path / "a", resume=True)[0] == CUT
    smaller = plan.cut_for(GRID, 1)  # of one that did not fit the memory, while there are no numbers yet
    assert take_up(tmp_path / "a", resume=True, asked=smaller)[0] == smaller
    assert take_up(tmp_path / "a", resume=True)[0] == smaller
    write(tmp_path / "b", folders.every_chunk(GRID, CUT)[:1])
    assert "leave chunk out" in refused(lambda: take_up(tmp_path / "b", resume=True, asked=smaller))


def sample(key):
    del key
    return jnp.ones((4, 3)), jnp.ones(4)


def train(folder):
    return lt.train((lambda key: jnp.zeros(3), lambda w, x: x @ w), sample, {"S": 0.1}, folder=folder, steps=2, records=1,
                    seeds=1)


def test_a_training_that_was_killed_in_its_first_moments_begins_anew(tmp_path):
    """And one whose folder another process has is told of that one; one of others is not taken."""
    train(tmp_path / "whole")
    texts = {name: (tmp_path / "whole" / name).read_text() for name in ("config.json", "question.json")}
    for k, left in enumerate(({".lock": ""}, {"question.json.partial": 30}, {"question.json": 10**9}, {"config.json": 10**9},
                              {"question.json": 10**9, "config.json.partial": 5})):
        folder = tmp_path / str(k)
        folder.mkdir()
        for name, size in left.items():
            (folder / name).write_text(texts[name.removesuffix(".partial")][:size] if size else "")
        with files.locked(folder):
            assert "another process is working on it" in refused(train, folder)
        train(folder)
        xr.testing.assert_equal(lt.load(folder), lt.load(tmp_path / "whole"))
        assert (folder / "config.json").read_text() == texts["config.json"]
    put(tmp_path / "mine" / "config.json")
    assert "exists and is not empty" in refused(train, tmp_path / "mine")
    (tmp_path / "whole" / files.STORE / files.ROOT).write_text("{")
    assert f"remove {files.STORE}, then lrtheory.train" in refused(train, tmp_path / "whole")


@pytest.mark.parametrize(("there", "said"), [
    (("verify.json", "report.md"), "it holds verdicts of `lrtheory verify`, whose figures are in"),
    (("config.json", "design.json"), "it holds a schedule of `lrtheory design`"),
    (("question.json", "config.json"), "did not end; again: lrtheory.train with the same"),
    (("config.json", "checkpoints"), "did not end; again: lrtheory cifar --resume"),
    (("config.json",), "did not end; again: lrtheory run --config"), ((), "give a folder that `lrtheory run`")])
def test_a_folder_without_results_is_told_what_it_is(tmp_path, there, said, capsys):
    put(*(tmp_path / name for name in there))
    for words in (["plot", str(tmp_path), "--x", "r", "--y", "loss_p"], ["export", str(tmp_path), "--to", "a.csv"]):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_damaged_results_of_a_study_of_the_theorems_name_its_command(tmp_path):
    files.write_results(tmp_path, FEW, {"study": "dimension"})
    (tmp_path / files.STORE / files.ROOT).write_text("{")
    assert "write it anew: lrtheory theorem, into another folder" in refused(lt.load, tmp_path)


def test_a_folder_that_gets_another_name_meanwhile_leaves_nothing_behind(tmp_path):
    chunks = folders.every_chunk(GRID, CUT)
    place = write(tmp_path / "old", chunks[:1])
    found = place.read(chunks[0].box)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(FileNotFoundError) as error:
        place.write(chunks[1], found)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    said = str(folders.disk_trouble(tmp_path / "old", error.value))
    assert "it was renamed or removed meanwhile" in said
    assert len(take_up(tmp_path / "new", resume=True)[1]) == 11


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
def test_a_path_that_no_folder_can_have_is_refused_in_one_line(name):
    for call in (lt.load, lambda folder: lt.sweep(CONFIG, AXES, folder), train):
        assert "must be a path that a file system takes" in refused(call, name)


def test_what_some_points_do_not_measure_is_nan_there(tmp_path):
    """Along engines, in memory as in a folder; whatever the base has."""
    for engine in ("reduced", "infinite"):
        grid = make_grid(vary(CONFIG, engine=engine, seeds=1), {"engine": ["reduced", "infinite"], "eta_ratio": [0.1, 0.2]})
        assert grid.measured["p_across"] == (np.dtype(np.float32), True)
    cut, opened = plan.cut_for(grid, 1), []
    for name, place in (("folder", tmp_path / files.STORE), ("memory", store.MemoryStore())):
        if name == "folder":
            manifest.write_manifest(tmp_path, grid, cut)
        there = store.Store(place, grid, cut, grid.config.algorithms)
        there.prepare()
        for chunk in folders.every_chunk(grid, cut):
            one = invented(grid.group_config(chunk.group), (1, 1))
            assert set(one) <= set(grid.measured)
            there.write(chunk, one)
        opened.append(store.open_results(place).load())
    xr.testing.assert_equal(*opened)
    here = opened[0]["p_across"]
    assert here.sel(engine="infinite").notnull().all()
    assert here.sel(engine="reduced").isnull().all()


def test_two_values_that_agree_to_12_digits_are_one_point_or_told_of():
    near = 0.1 + 0.2
    with pytest.raises(ConfigError, match=r"axis r: 0\.3 and 0\.30000000000000004 agree to 12 digits; must be different"):
        make_grid(CONFIG, {"r": [0.3, near]}).check()
    larger = make_grid(CONFIG, {"r": [0.3, 0.2]}).extended(make_grid(CONFIG, {"r": [near, 0.1]}))
    assert [row[0] for row in larger.axes[0].values] == [0.3, 0.2, 0.1]
    make_grid(CONFIG, {"r": [0.3, 0.300000000004]}).check()


def test_a_table_reads_back_as_it_was(swept, tmp_path):
    """With pandas' own defaults: None is a word, and of a point that is not done there are no numbers, whole or not."""
    grid = make_grid(vary(CONFIG, seeds=1), {"batch_size": [None, 10]})
    assert grid.coordinates()["batch_size"][1].tolist() == ["none", "10"]
    assert make_grid(CONFIG, {"batch_size": ["none", "None", 10][::2]}).axes[0].values == ((None,), (10,))
    cut = plan.cut_for(grid, 1)
    write(tmp_path / "a", folders.every_chunk(grid, cut)[:1], grid, cut)
    runs = lt.load(tmp_path / "a")
    runs["whole"] = runs["done"].astype(int)
    tables.export(runs, tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv")
    assert back["batch_size"].unique().tolist() == ["none", "10"]
    counts = [name for name, (kind, _) in grid.measured.items() if kind.kind in "iu"]
    for name in [*counts, "train_loss"]:
        np.testing.assert_array_equal(back[name].isnull(), ~back["done"], err_msg=name)
    for word in ("NA", "null", "1.5", "True", "nan"):
        odd = runs.assign_coords(algorithm=[word, "x" if word == "NA" else "2"])
        if word in ("NA", "null", "nan", "1.5"):
            assert "would be read back as something else than words" in refused(tables.export, odd, tmp_path / "b.csv")
        assert not (tmp_path / "b.csv").exists()
    tables.export(runs.assign_coords(algorithm=["NA", "x"]), tmp_path / "b.parquet")
    assert pd.read_parquet(tmp_path / "b.parquet")["algorithm"].unique().tolist() == ["NA", "x"]


def test_a_measurement_of_ones_own_is_not_taken_for_what_is_derived():
    """Called annealed, as the share of seeds that did is."""
    runs = xr.Dataset({name: (("algorithm", "seed"), np.full((1, 2), value)) for name, value in (
        ("annealed", 7.0), ("annealed_at", 3.0), ("diverged_at", np.inf))})
    assert tables.metric(runs, "annealed").values.tolist() == [[7.0, 7.0]]
    assert tables.known(runs).count("annealed") == 1
    assert tables.metric(runs.drop_vars("annealed"), "annealed").values.tolist() == [[1.0, 1.0]]
