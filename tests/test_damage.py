"""What is on disk is what was written, or is refused in one line: kills, flips, losses, exchanges, edits, crafted stores."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import AXES, environment, vary

import lrtheory as lt
from lrtheory import files, keys, labelled
from lrtheory.cli.main import main
from lrtheory.spec import ConfigError
from lrtheory.sweeps import folder as folders
from lrtheory.sweeps import manifest, plan, store
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.measure import described
from lrtheory.theory.room import measured


def invented(config, shape=()):
    """Measurements of runs that never were: {name: values}."""
    rng = np.random.default_rng(0)
    found = {}
    for name, (kind, over_time) in measured(config).items():
        size = (*shape, len(config.algorithms), config.seeds) + (config.records + 1,) * over_time
        found[name] = rng.uniform(1, 100, size).astype(kind)
    return found | {"diverged_at": np.full((*shape, len(config.algorithms), config.seeds), np.inf, np.float32)}


@pytest.fixture(scope="module")
def config():
    from lrtheory.theory.network import Network
    from lrtheory.theory.problem import Problem
    from lrtheory.theory.training import Training

    return lt.Config(problem=Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0), network=Network(m_w=16, m_v=32),
                     training=Training(eta1=0.5, eta_ratio=0.1, steps=60), seeds=3, records=6, n_test=64)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """(folder, dataset) of a run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    files.prepare_folder(folder, config)
    runs = labelled.dataset(invented(config), described(config.problem), config, config.algorithms,
                            {"step": ("record", np.arange(7), {})}, {})
    files.write_results(folder, runs, {})
    return folder, runs


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    """(folder, dataset) of a sweep of 6 points and 4 seeds in 12 chunks."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    folder.mkdir()
    grid = make_grid(vary(config, seeds=4), AXES)
    cut = plan.cut_for(grid, 2)
    manifest.write_manifest(folder, grid, cut)
    place = store.Store(folder / files.STORE, grid, cut, grid.config.algorithms)
    place.prepare()
    found = invented(grid.config, grid.shape)
    for chunk in plan.chunks(grid, cut, (None, None)):
        box = tuple(slice(r.start, r.stop) for r in chunk.box)
        place.write(chunk, {name: v[(*box[:-1], slice(None), box[-1])] for name, v in found.items()})
    return folder, lt.load(folder).load()


def refused(call, *arguments) -> str:
    """What it complains of, in one line; empty where it takes it."""
    said = ""
    try:
        call(*arguments)
    except ConfigError as error:
        said = str(error)
    assert not said or said.isprintable()
    return said


def equal_or_refused(folder, runs):
    """Whether a folder is refused; where it loads, it has the very numbers."""
    if said := refused(lambda: lt.load(folder).load()):
        assert "damaged" in said or "no results" in said or "no sweep" in said
        return True
    found = lt.load(folder).load()
    if "done" in found:  # unfinished, and it says so
        assert not found["done"].all()
        return True
    xr.testing.assert_identical(found, runs)
    return False


def damages(folder: Path, chance: random.Random):
    """Every file in turn lost, emptied, cut, exchanged with its neighbour, and with a bit of it flipped."""
    there = sorted(p for p in folder.rglob("*") if p.is_file())
    for k, file in enumerate(there):
        contents = file.read_bytes()
        flipped = bytearray(contents)
        flipped[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
        other = there[k - 1].read_bytes()
        for changed in (None, b"", contents[: len(contents) // 2], bytes(flipped), other):
            if changed == contents:
                continue
            file.unlink()
            if changed is not None:
                file.write_bytes(changed)
            yield file, changed
            file.write_bytes(contents)


def test_every_damage_to_a_run_is_found(run, tmp_path):
    """In the store; one flip may rename what says that there are checksums, which changes no number."""
    _, runs = run
    shutil.copytree(run[0], tmp_path / "copy")
    found = [equal_or_refused(tmp_path / "copy", runs) for _ in damages(tmp_path / "copy/results.zarr", random.Random(1))]
    assert len(found) > 400
    assert found.count(False) <= 1
    assert not equal_or_refused(tmp_path / "copy", runs)
    (tmp_path / "copy/results.zarr/time/c/0/0/1").write_bytes(b"more")
    assert "was not written with it" in refused(lt.load, tmp_path / "copy")
    words = ["export", str(tmp_path / "copy"), "--to", str(tmp_path / "a.csv")]
    assert main(words) == 2
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(("old", "new"), [("seeds", "seens"), ("0.5,", "0.6,"), ("threefry", "threefly"), ("2.0", "2.5")])
def test_attributes_of_a_run_that_were_changed_are_not_believed(run, tmp_path, old, new):
    shutil.copytree(run[0], tmp_path / "copy")
    root = tmp_path / "copy" / files.STORE / files.ROOT
    text = root.read_text()
    assert old in text
    root.write_text(text.replace(old, new, 1))
    assert "zarr.json was changed after it was written" in refused(lt.load, tmp_path / "copy")


@pytest.mark.thorough
def test_every_damage_to_a_sweep_is_found(swept, tmp_path, monkeypatch):
    """In the store and its seals: refused, with --resume as the remedy; and what is resumed finds the same damage."""
    _, runs = swept
    shutil.copytree(swept[0], tmp_path / "copy")
    copy = tmp_path / "copy"
    chance, seen = random.Random(2), []
    for part in ("results.zarr", "seals"):
        for file, _ in damages(copy / part, chance):
            if file.name != manifest.MANIFEST and chance.random() < 0.02:
                seen.append(equal_or_refused(copy, runs))
    assert len(seen) > 25
    assert all(seen)
    assert not equal_or_refused(copy, runs)
    grid, cut = manifest.read_manifest(copy)
    place = store.Store(copy / files.STORE, grid, cut, grid.config.algorithms)
    first, second, *_ = plan.chunks(grid, cut, (None, None))
    for array in place.arrays.values():
        shutil.copyfile(place._file(array, first), place._file(array, second))
    assert "--resume" in refused(lt.load, copy)
    assert [place.holds(c) for c in (first, second)] == [True, False]
    shutil.copyfile(place._seal(first), place._seal(second))
    assert not place.holds(second)


@pytest.mark.parametrize(("old", "new"), [
    ("0.02", "0.03"), ('"seeds": 4', '"seeds": 3'), ('"first_seed": 0', '"first_seed": 1'),
    ('"z_norm": 2.0', '"z_norm": 2.5'), ('"L-S"', '"S+noise"'), ("{", "")])
def test_a_manifest_that_was_changed_is_not_believed(swept, tmp_path, old, new):
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    file = copy / manifest.MANIFEST
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    for call in (lt.load, manifest.read_manifest):
        assert "its copy is whole: cp" in refused(call, copy)
    shutil.copyfile(copy / manifest.SEALS / manifest.MANIFEST, file)
    assert not equal_or_refused(copy, swept[1])


def test_damage_after_loading_is_found_when_the_numbers_are_read(swept, tmp_path, monkeypatch, capsys):
    """A sweep's values are read when used: what was lost, cut or changed since is refused then, the rest is read."""
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    found = lt.load(copy)
    file, *_, other = (p for p in sorted((copy / files.STORE / "test_error_p" / "c").rglob("*")) if p.is_file())
    contents = file.read_bytes()
    for changed in (None, b"", contents[:-1], other.read_bytes()):
        file.unlink()
        if changed is not None:
            file.write_bytes(changed)
        said = refused(lambda: found["test_error_p"].copy().load())
        assert "damaged since it was opened" in said
        assert "--resume" in said
        xr.testing.assert_identical(found["loss_q"].copy().load(), swept[1]["loss_q"])
        file.write_bytes(contents)
    xr.testing.assert_identical(found["test_error_p"].load(), swept[1]["test_error_p"])
    real = lt.load
    monkeypatch.setattr("lrtheory.cli.plot.load", lambda folder: (real(folder), file.unlink())[0])
    assert main(["plot", str(copy), "--x", "eta_ratio", "--y", "test_error_p"]) == 2
    assert capsys.readouterr().err.count("\n") <= 5


def test_a_manifest_with_a_digest_of_its_own_is_not_believed_either(swept, tmp_path):
    """Its chunks and labels know of which sweep they are."""
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    tree = files.read_sealed(copy / manifest.MANIFEST)
    tree["axes"][0]["values"][0] = [0.03]
    for where in (copy, copy / manifest.SEALS):
        files.write_sealed(where / manifest.MANIFEST, tree)
    assert "labels are those of another sweep" in refused(lt.load, copy)
    grid, cut = manifest.read_manifest(copy)
    place = store.Store(copy / files.STORE, grid, cut, grid.config.algorithms)
    for chunk in plan.chunks(grid, cut, (None, None)):  # all but those with the value that was changed
        assert place.holds(chunk) == (0 not in chunk.box[0])


def test_other_settings_of_random_numbers_do_not_go_on_with_a_sweep(swept, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    grid, _ = manifest.read_manifest(copy)
    monkeypatch.setattr(keys, "described", lambda: "dice")
    assert "random numbers: \"threefry2x32" in refused(folders._must_be_the_same, copy, grid)


def test_a_sweep_of_an_earlier_version_loads_and_is_not_resumed(swept, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(swept[0], copy)
    tree = files.read_sealed(copy / manifest.MANIFEST)
    del tree["random"]
    (copy / manifest.MANIFEST).write_text(json.dumps(tree))
    shutil.rmtree(copy / manifest.SEALS)
    xr.testing.assert_identical(lt.load(copy).load(), swept[1])
    grid, _ = manifest.read_manifest(copy)
    assert "an earlier version wrote it" in refused(folders._must_be_the_same, copy, grid)
    tree["config"]["problem"]["r"] = 0.31
    (copy / manifest.MANIFEST).write_text(json.dumps(tree))
    assert "another config than the results" in refused(lt.load, copy)


def test_a_run_of_an_earlier_version_loads_if_it_was_written_to_its_end(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run[0], copy)
    run[1].to_zarr(copy / files.STORE, mode="w", consolidated=False)
    xr.testing.assert_identical(lt.load(copy), run[1])
    (copy / files.SUMMARY).unlink()
    assert "not written to its end" in refused(lt.load, copy)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np, xarray as xr
from lrtheory import files
few = xr.Dataset({f"v{k}": (("a", "b"), np.full((2, 3), float(k))) for k in range(8)}, {"a": np.array(["x", "y"], "T")})
counts = []
for last in [10**9, *range(0, int(sys.argv[2]), 5)]:
    folder = Path(sys.argv[1]) / str(last)
    folder.mkdir()
    if not (pid := os.fork()):
        seen = [0]
        def hook(event, arguments):
            if event in ("open", "os.rename", "os.mkdir") and (event != "open" or not isinstance(arguments[2], int)
                                                                or arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                seen[0] += 1
                if seen[0] > last:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        files.write_store(folder / files.STORE, few)
        (folder / "calls").write_text(str(seen[0]))
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_results_are_whole_whatever_moment_the_writer_dies_at(tmp_path, monkeypatch):
    """Each call that changes the disk in turn is the last one: what is read is the old or the new, never less."""
    old, new = (xr.Dataset({"x": ("n", np.full(3, float(k)))}) for k in (1, 2))

    class Died(BaseException):
        pass

    def counted(function, left):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Died
            return function(*arguments, **options)
        return call

    read = []
    for last in range(60):
        folder = tmp_path / str(last)
        folder.mkdir()
        files.write_store(folder / files.STORE, old)
        left = [last]
        with monkeypatch.context() as patch, contextlib.suppress(Died):
            patch.setattr(files.Path, "unlink", counted(files.Path.unlink, left))
            patch.setattr(files.os, "rmdir", counted(files.os.rmdir, left))
            patch.setattr(files.Path, "rename", counted(files.Path.rename, left))
            patch.setattr(xr.Dataset, "to_zarr", counted(xr.Dataset.to_zarr, left))
            files.write_store(folder / files.STORE, new)
        read.append(files.read_dataset(folder)["x"].values.tolist())
        files.write_store(folder / files.STORE, old)  # and the next writer gets on
        assert files.read_dataset(folder)["x"].values.tolist() == 3 * [1.0]
        if left[0] > 0:
            break
    assert last < 59
    assert read == sorted(read)
    assert {tuple(x) for x in read} == {(1.0,) * 3, (2.0,) * 3}
    assert read.count(3 * [2.0]) >= 3  # before the old is removed, before the new has its name, and after


@pytest.mark.thorough
def test_killed_at_any_write_a_run_is_whole_or_not_there(tmp_path):
    """Every fifth of the calls that change the disk is the last one."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), "200"], env=environment(),
                          timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole = files.read_dataset(tmp_path / str(10**9))
    calls = int((tmp_path / f"{10**9}/calls").read_text())
    assert calls > 50
    killed = [p for p in tmp_path.iterdir() if int(p.name) < calls]
    assert len(killed) > 10
    for folder in killed:
        if not refused(files.read_dataset, folder):
            xr.testing.assert_identical(files.read_dataset(folder), whole)


@pytest.mark.parametrize("names", [("a/b",), ("a\\b",), ("..",), ("zarr.json",), ("x" * 300,), ("\ud800",)])
def test_a_dataset_that_would_not_come_back_is_not_written(tmp_path, names):
    """One line before anything is on disk, in the place of a variable that is lost."""
    few = xr.Dataset({name: (("n",), np.arange(3.0)) for name in (*names, "y")})
    assert "must be 1 to 200 bytes of printable text" in refused(files.write_store, tmp_path / files.STORE, few)
    assert not list(tmp_path.iterdir())


def test_a_variable_that_was_stored_and_cannot_be_read_is_missed(tmp_path, monkeypatch):
    """Of data and of labels, whatever of a store's format is not understood."""
    few = xr.Dataset({"x": (("n",), np.arange(3.0))}, {"n": np.arange(3)})
    files.write_store(tmp_path / files.STORE, few)
    xr.testing.assert_identical(files.read_dataset(tmp_path), few)
    real = xr.open_zarr
    for name in ("x", "n"):
        monkeypatch.setattr(xr, "open_zarr", lambda *a, name=name, **k: real(*a, **k).drop_vars(name))
        assert f"damaged ({name} was stored and is not there)" in refused(files.read_dataset, tmp_path)


@pytest.mark.parametrize("attributes", [
    {"config": 3}, {"config": None}, {"config": "["}, {"config": "[]"}, {"config": "{}"}, {"config": '{"model": 1}'},
    {"config": [1]}, {"config": {"a": 1}}, {}])
def test_a_store_of_others_is_refused_in_one_line(tmp_path, attributes):
    few = xr.Dataset({"x": (("n",), np.arange(3.0))}, attrs=attributes)
    files.write_store(tmp_path / files.STORE, few)
    assert "is not what `lrtheory run` writes" in refused(lt.load, tmp_path)
    shutil.rmtree(tmp_path / files.STORE)
    (tmp_path / files.SUMMARY).write_text("{}")
    few.to_zarr(tmp_path / files.STORE, consolidated=False)
    assert "is not what `lrtheory run` writes" in refused(lt.load, tmp_path)


@pytest.mark.parametrize(("key", "value"), [
    ("shape", [2**50, 2**50]), ("shape", [2**60]), ("shape", [-1]), ("shape", "many"), ("data_type", "float4096"),
    ("data_type", {"name": "x"}), ("codecs", []), ("codecs", [{"name": "pickle"}]), ("chunk_grid", None),
    ("node_type", "soup"), ("attributes", 3), ("attributes", {"units": "days since never"}),
    ("attributes", {"scale_factor": "x"}), ("dimension_names", ["algorithm"] * 2), ("zarr_format", 2), ("fill_value", "x")])
def test_a_crafted_array_is_refused_in_one_line(run, tmp_path, key, value):
    copy = tmp_path / "copy"
    shutil.copytree(run[0], copy)
    array = copy / files.STORE / "time/zarr.json"
    tree = json.loads(array.read_text())
    array.write_text(json.dumps(tree | {key: value}))
    root = copy / files.STORE / files.ROOT
    tree = json.loads(root.read_text())
    tree["attributes"][files.CHECKSUMS] = {"files": files.digests(copy / files.STORE, files._files(copy / files.STORE))}
    tree["attributes"][files.CHECKSUMS]["digest"] = files.digest(tree)
    root.write_text(json.dumps(tree))
    assert "results.zarr" in refused(lt.load, copy)


def test_folders_that_are_something_else_are_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "sweep.json")
    (tmp_path / "results.zarr").write_text("a file")
    for words in (["export", str(tmp_path), "--to", str(tmp_path / "a.csv")], ["sweep", "--resume", str(tmp_path)],
                  ["cifar", "--resume", str(tmp_path)], ["plot", str(tmp_path), "--x", "r", "--y", "loss_p"],
                  ["run", "--config", str(tmp_path / "sweep.json")], ["run", "--config", str(tmp_path)],
                  ["run", "--config", "/dev/zero"], ["export", "/dev/null", "--to", "a.csv"],
                  ["export", "\0", "--to", "a.csv"]):
        assert main(words) == 2, words
