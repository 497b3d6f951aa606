"""A sweep's folder: nothing that is finished is lost to any accident, and what is damaged is found and redone."""

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import AXES, command, environment, same, vary

import lrtheory as lt
from lrtheory.fields import to_json
from lrtheory.files import locked
from lrtheory.spec import ConfigError
from lrtheory.sweeps import course as sweeping
from lrtheory.sweeps import manifest, plan, results, store
from lrtheory.theory.config import Config
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.training import Training

pytestmark = pytest.mark.xdist_group("store")  # they share programs, so one process takes them all


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of 6 points x 4 seeds in 12 chunks, to be copied and damaged."""
    config = Config(problem=Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0, alpha_min=0.2, gamma0=0.3),
                    network=Network(m_w=16, m_v=32),
                    training=Training(eta1=0.5, eta_ratio=0.1, weight_decay=2e-3, eps1=0.3, step_time=0.5, steps=200),
                    seeds=4, records=5, n_test=32)
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    runs = lt.sweep(config, AXES, folder, chunk=2)
    return config, folder, runs.load()


def test_resuming_a_finished_sweep_computes_nothing(finished, tmp_path, monkeypatch):
    config, folder, runs = finished
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr(plan, "compile_block", lambda *_: pytest.fail("nothing is missing"))
    same(lt.sweep(config, AXES, tmp_path / "copy", resume=True).load(), runs, rtol=0)


def test_damage_is_found_and_redone(finished, tmp_path):
    """Truncated, flipped, empty, missing and swapped-in files, a lost mark, broken labels, strays: only that is redone."""
    config, folder, runs = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    zarr = copy / "results.zarr"

    def chunk_file(name, *number):
        file = zarr.joinpath(name, "c", *map(str, number))
        assert file.is_file()
        return file

    a = chunk_file("train_loss", 0, 0, 0, 0, 0)
    a.write_bytes(a.read_bytes()[:-7])
    b = chunk_file("contrast", 1, 0, 0, 1, 0)
    flipped = bytearray(b.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    b.write_bytes(flipped)
    chunk_file("time_q_half", 2, 0, 0, 0).unlink()
    chunk_file("done", 0, 1, 1).unlink()
    chunk_file("done", 1, 1, 0).write_bytes(b"")
    c = chunk_file("test_error_p", 2, 1, 0, 1, 0)
    c.write_bytes(b"")
    (zarr / "train_loss/zarr.json").write_text("{")
    (zarr / "eta_ratio/c/0").write_bytes(b"nonsense")
    (zarr / f"contrast/c/0/0.{'0123' * 8}.partial").write_bytes(b"half a chunk")
    with pytest.raises(ConfigError, match=r"damaged|missing"):
        lt.load(copy)
    written, marks = [], []
    keep = store.Store.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.Store, "write",
                      lambda self, chunk, found: (written.append(chunk.number), keep(self, chunk, found)))
        repaired = lt.sweep(config, AXES, copy, resume=True, watch=sweeping.Watch(
            planned=lambda *_: marks.append(len(list(zarr.glob("done/c/*/*/*")))))).load()
    assert marks == [6]  # what is damaged counts as missing before anything is computed
    assert sorted(written) == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 0, 0), (2, 1, 1)]
    same(repaired, runs, rtol=0)
    assert not list(zarr.rglob("*.partial"))


def test_a_finished_sweep_that_lost_a_file_does_not_load(finished, tmp_path):
    _, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/results.zarr/contrast/c/1/0/0/1/0").unlink()
    with pytest.raises(ConfigError, match=r"1 files are missing.*--resume"):
        lt.load(tmp_path / "copy")


def test_another_sweep_is_refused_with_the_difference(finished):
    config, folder, _ = finished
    with pytest.raises(ConfigError, match=r"holds another sweep; .*training.eps1: 0.3 in the folder, 0.4 asked for"):
        lt.sweep(vary(config, training__eps1=0.4), AXES, folder, resume=True)
    with pytest.raises(ConfigError, match=r"axis training.noise_level: .* in the folder, nothing asked for"):
        lt.sweep(config, {"eta_ratio": AXES["eta_ratio"]}, folder, resume=True)
    with pytest.raises(ConfigError, match="order of the axes"):
        lt.sweep(config, dict(reversed(AXES.items())), folder, resume=True)
    with pytest.raises(ConfigError, match="leave chunk out"):
        lt.sweep(config, AXES, folder, resume=True, chunk=24)
    with pytest.raises(ConfigError, match=r"exists and is not empty.*resume"):
        lt.sweep(config, AXES, folder)
    with pytest.raises(ConfigError, match="no sweep to be found"):
        lt.sweep(config, AXES, folder / "figures", resume=True)
    with pytest.raises(ConfigError, match="holds another sweep"):
        lt.sweep(config, AXES, folder, resume=True, algorithms={"mine": config.training.algorithm("S")})


def test_the_second_process_on_a_folder_is_refused(finished, tmp_path):
    config, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    with locked(tmp_path / "copy"):
        refused = subprocess.run(command("sweep", "--resume", tmp_path / "copy"), capture_output=True, text=True,
                                 env=environment(), timeout=120)
    assert refused.returncode == 2
    assert "another process is working on it" in refused.stderr
    same(lt.sweep(config, AXES, tmp_path / "copy", resume=True).load(), lt.load(folder).load(), rtol=0)


def test_an_unfinished_sweep_shows_whole_chunks_only(finished, tmp_path):
    """A chunk whose files are all there but whose mark is not does not count."""
    _, folder, runs = finished
    shutil.copytree(folder, tmp_path / "copy")
    for mark in ("0/1/0", "2/0/1"):
        (tmp_path / "copy/results.zarr/done/c" / mark).unlink()
    part = lt.load(tmp_path / "copy")
    assert int(part["done"].sum()) == 6 * 4 - 2 * 2
    gone = ~part["done"]
    assert np.isnan(part["test_error_p"].where(gone, 0)).sum() == gone.sum() * 2 * 6
    here = part["train_loss"].where(part["done"], 0)
    np.testing.assert_array_equal(here, runs["train_loss"].where(part["done"], 0))
    assert lt.tables.points(part)["runs"].min() == 2


class Full:
    """An array that takes nothing."""

    def __setitem__(self, where, values):
        raise OSError("full")


def test_a_chunk_that_could_not_be_written_whole_is_not_there(finished, tmp_path):
    config, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    grid, cut = manifest.read_manifest(tmp_path / "copy")
    there = store.Store(tmp_path / "copy/results.zarr", grid, cut, config.algorithms)
    chunk = next(plan.chunks(grid, cut, (None, None)))
    values = {name: np.asarray(array[(*(slice(r.start, r.stop) for r in chunk.box[:-1]), slice(None),
                                      slice(chunk.box[-1].start, chunk.box[-1].stop))])
              for name, array in there.arrays.items() if name != "done"}
    assert there.holds(chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(there.arrays, "diverged_at", Full())
        with pytest.raises(OSError, match="full"):
            there.write(chunk, values)
    assert not there.has_mark(chunk)
    assert not there.holds(chunk)
    there.write(chunk, values)
    assert there.holds(chunk)


@pytest.mark.thorough
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_loses_nothing(finished, tmp_path, kills):
    """Killed at random moments from the first second on, and resumed; the result is that of a sweep left alone."""
    config, _, runs = finished
    folder, chance = tmp_path / "killed", random.Random(7 + kills)
    (tmp_path / "config.json").write_text(to_json(config))
    words = command("sweep", "--config", tmp_path / "config.json", "--axis", "eta_ratio=0.02,0.1,1.0", "--axis",
                    "noise_level=0.5,1", "--chunk", "1")
    new, old = [*words, "--out", str(folder)], command("sweep", "--resume", folder)
    moments = []
    for kill in range(kills):
        go = old if (folder / "sweep.json").exists() else new
        process = subprocess.Popen(go, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        if kill % 3 == 0:  # any time at all
            time.sleep(chance.uniform(1.0, 9.0))
        else:  # while chunks are written
            until = time.monotonic() + 60
            before = len(list(folder.glob("results.zarr/done/c/*/*/*")))
            while time.monotonic() < until and process.poll() is None and len(
                    list(folder.glob("results.zarr/done/c/*/*/*"))) == before:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        moments.append(len(list(folder.glob("results.zarr/done/c/*/*/*"))))
    if not (folder / "sweep.json").exists():
        subprocess.run(new, check=True, env=environment(), capture_output=True, timeout=300)
    last = subprocess.run(old, capture_output=True, text=True, env=environment(), timeout=300)
    assert last.returncode == 0, last.stderr
    same(lt.sweep(config, AXES, folder, resume=True).load(), runs)
    assert not [*folder.rglob("*.partial"), *folder.glob(".skeleton-*")]
    assert moments == sorted(moments)  # what was there stayed


@pytest.mark.thorough
def test_an_interrupt_keeps_what_is_finished_and_says_how_to_go_on(finished, tmp_path):
    config, _, runs = finished
    folder = tmp_path / "stopped"
    (tmp_path / "config.json").write_text(to_json(config))
    process = subprocess.Popen(
        command("sweep", "--config", tmp_path / "config.json", "--axis", "eta_ratio=0.02,0.1,1.0", "--axis",
                "noise_level=0.5,1", "--chunk", "1", "--out", folder),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(folder.glob("results.zarr/done/c/*/*/*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping after the chunks" in said
    assert f"lrtheory sweep --resume {folder}" in complaint
    assert complaint.count("\n") == 1
    there = int(lt.load(folder)["done"].sum())
    assert 0 < there < 24
    done = subprocess.run(command("sweep", "--resume", folder), capture_output=True, text=True, env=environment(),
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{2 * (24 - there)} of {2 * (24 - there)} runs" in done.stdout
    same(lt.load(folder).load(), runs)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for a few chunks; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=False)


def test_a_full_disk_keeps_what_is_finished(finished, small_disk):
    config, _, runs = finished
    folder = small_disk / "full"
    ballast = small_disk / "ballast"
    with pytest.raises(ConfigError, match=r"cannot be written .No space left.*every finished chunk is kept; make room"):
        lt.sweep(config, AXES, folder, chunk=2, watch=sweeping.Watch(
            progress=lambda done, group: fill(ballast) if done >= 8 else None))
    there = int(lt.load(folder)["done"].sum())
    assert 4 <= there < 24
    ballast.unlink()
    same(lt.sweep(config, AXES, folder, resume=True).load(), runs)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    try:
        with file.open("ab", buffering=0) as ballast:
            while True:
                ballast.write(b"0" * 4096)
    except OSError:
        pass


def shapes(monkeypatch):
    """How many runs of each algorithm are computed from here on, box by box."""
    boxes, compute = [], plan.compute
    monkeypatch.setattr(plan, "compute", lambda grid, program, chunk, *rest: boxes.append(
        np.prod([len(r) for r in chunk.box])) or compute(grid, program, chunk, *rest))
    return boxes


@pytest.mark.thorough
def test_a_finished_sweep_is_made_larger_and_only_what_is_new_is_computed(finished, tmp_path, monkeypatch):
    """Values between, and a seed that fills up chunks which were not full: the sweep that was larger from the start."""
    config, folder, runs = finished
    shutil.copytree(folder, tmp_path / "copy")
    more, axes = config.replace(seeds=5), {"eta_ratio": [0.05, 1.0], "noise_level": [0.7]}
    boxes = shapes(monkeypatch)
    found = lt.sweep(more, axes, tmp_path / "copy", extend=True)
    assert sum(boxes) == 4 * 3 * 5 - 3 * 2 * 4
    same(found.sel(eta_ratio=runs["eta_ratio"], noise_level=runs["noise_level"], seed=runs["seed"]).load(), runs, rtol=0)
    whole = {"eta_ratio": [0.02, 0.05, 0.1, 1.0], "noise_level": [0.5, 0.7, 1.0]}
    same(found.load(), lt.sweep(more, whole, tmp_path / "whole").load())
    same(lt.load(tmp_path / "copy").load(), found)
    boxes.clear()
    lt.sweep(more, axes, tmp_path / "copy", extend=True)
    assert not boxes
    for word, (other, kind) in {"resume": (more.replace(**{"training.eps1": 0.2}), {"resume": True}),
                                "extend": (more.replace(**{"training.eps1": 0.2}), {"extend": True})}.items():
        with pytest.raises(ConfigError, match=rf"{word} .*holds another sweep; .*training\.eps1"):
            lt.sweep(other, whole, tmp_path / "copy", **kind)


def test_a_chunk_that_grows_keeps_its_corner(finished, tmp_path, monkeypatch):
    """Chunks of 2 seeds, of which an odd number fills the last to a half: only the other is computed, also when killed."""
    config, _, _ = finished
    odd, axes = config.replace(seeds=3), {"eta_ratio": [0.02, 0.1]}
    folder = tmp_path / "odd"
    before = lt.sweep(odd, axes, folder, chunk=2).load()
    boxes, write = shapes(monkeypatch), store.Store.write
    monkeypatch.setattr(store.Store, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        lt.sweep(config, axes, folder, extend=True)
    monkeypatch.setattr(store.Store, "write", write)
    assert int(lt.load(folder)["done"].sum()) == 2 * 3  # what was there is there
    boxes.clear()
    grid, _ = manifest.read_manifest(folder)
    assert grid.config.seeds == 4
    found = lt.sweep(config, axes, folder, resume=True).load()
    assert boxes == [1, 1]
    same(found.isel(seed=slice(3)), before, rtol=0)
    assert float(abs(found["train_loss"].diff("seed")).min()) >= 0
    assert bool(np.isfinite(found["diverged_at"].isel(seed=3)).all()) is False


def test_a_sweep_of_an_earlier_version_is_read_and_made_larger(finished, tmp_path, monkeypatch):
    """Its seals name the sweep as a whole, and its config lacks a field that has come since."""
    config, folder, runs = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tree = {k: v for k, v in manifest.read_tree(copy).items()}
    del tree["config"]["training"]["loss_smoothing"]
    manifest.write_tree(copy, tree)
    grid, cut = manifest.read_manifest(copy)
    old = store.Store(copy / "results.zarr", grid, cut, config.algorithms)
    for chunk in (c for group in grid.groups() for c in plan.chunks(grid, cut, group)):
        store.write_sealed(old._seal(chunk), {"sweep": old.identity, "files": old._digests(chunk)})
    labels = store.read_sealed(copy / manifest.SEALS / store.LABELS)
    store.write_sealed(copy / manifest.SEALS / store.LABELS, labels | {"sweep": old.identity})
    same(lt.load(copy).load(), runs, rtol=0)
    boxes = shapes(monkeypatch)
    found = lt.sweep(config, {"noise_level": [0.7]}, copy, extend=True)
    assert sum(boxes) == 3 * 1 * 4
    same(found.sel(noise_level=runs["noise_level"]).load(), runs, rtol=0)


def test_a_full_folder_has_tables_and_figures(finished, tmp_path):
    _, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    runs = results.load(tmp_path / "copy")
    summary = results.summarise(tmp_path / "copy", runs)
    results.save(tmp_path / "copy", runs, summary)
    assert summary["runs"] == 48
    assert summary["points"] == 6
    assert summary["diverged"] == []
    assert summary["sessions"][0]["jax"] == jax.__version__
    assert json.loads((tmp_path / "copy/summary.json").read_text()) == summary
    lines = (tmp_path / "copy/points.csv").read_text().splitlines()
    assert len(lines) == 1 + 12
    assert lines[0].startswith("eta_ratio,noise_level,algorithm")


def test_results_are_read_when_used(finished, monkeypatch):
    _, folder, runs = finished
    lazy = lt.load(folder)
    assert not lazy["train_loss"]._in_memory
    one = lazy["train_loss"].isel(eta_ratio=1, noise_level=0, seed=2)
    np.testing.assert_array_equal(one, runs["train_loss"].isel(eta_ratio=1, noise_level=0, seed=2))
    assert lazy["train_loss"].attrs["units"] == "nat"
    assert list(lazy["contrast"].dims) == ["eta_ratio", "noise_level", "algorithm", "seed", "record"]
