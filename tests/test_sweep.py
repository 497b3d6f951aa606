"""Sweeps: one call for many runs, the same numbers however they are cut, and nothing lost to any accident."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
import xarray as xr
from conftest import vary

import lrtheory as lt
from lrtheory import batch, plan, results, store, sweeping
from lrtheory.batch import Block
from lrtheory.config import to_json
from lrtheory.grid import make_grid
from lrtheory.spec import ConfigError

AXES = {"eta_ratio": [0.02, 0.1, 1.0], "noise_level": [0.5, 1.0]}


def same(one: xr.Dataset, other: xr.Dataset, rtol: float = 1e-5) -> None:
    """Equal labels and, up to `rtol` and rounding near 0, equal numbers."""
    assert one.sizes == other.sizes
    for name in one.variables:
        if one[name].dtype.kind in "fiu":
            np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-6, err_msg=str(name))
        else:
            assert one[name].values.tolist() == other[name].values.tolist()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lrtheory.cli", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"COLUMNS": "100", "JAX_PLATFORMS": "cpu"} | more


@pytest.fixture
def tiny(small):
    """200 steps of the small configuration, decoupled."""
    return vary(small, training__steps=200, seeds=4, records=5, n_test=32, engine="decoupled")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep of 6 points x 4 seeds in 12 chunks, to be copied and damaged."""
    from lrtheory.config import Config
    from lrtheory.network import Network
    from lrtheory.problem import Problem
    from lrtheory.training import Training

    config = Config(problem=Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0, alpha_min=0.2, gamma0=0.3),
                    network=Network(m_w=16, m_v=32),
                    training=Training(eta1=0.5, eta_ratio=0.1, weight_decay=2e-3, eps1=0.3, step_time=0.5, steps=200),
                    seeds=4, records=5, n_test=32)
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    runs = lt.sweep(config, AXES, folder, chunk=2)
    return config, folder, runs.load()


def test_a_sweep_is_its_runs_one_by_one(tiny):
    axes = {"eta_ratio": [0.02, 1.0], "engine": ["reduced", "decoupled"], ("r", "z_norm"): [(0.2, 2.0), (0.3, 1.5)]}
    swept = lt.sweep(tiny, axes)
    assert swept.sizes == {"eta_ratio": 2, "engine": 2, "r": 2, "algorithm": 2, "seed": 4, "record": 6}
    for ratio, engine, (r, z) in ((1.0, "reduced", (0.2, 2.0)), (0.02, "decoupled", (0.3, 1.5))):
        alone = lt.run(vary(tiny, training__eta_ratio=ratio, engine=engine, problem__r=r, problem__z_norm=z))
        here = swept.sel(eta_ratio=ratio, engine=engine, r=r)
        assert float(here["z_norm"]) == z
        for name in alone.data_vars:
            np.testing.assert_allclose(here[name], alone[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert float(abs(swept["contrast"].isel(record=-1).std("r")).min()) > 0  # and points differ


def test_chunks_and_devices_do_not_change_the_numbers(tiny, tmp_path):
    """Chunks of 1, 7 and all in this process with 2 devices; 1 and 8 devices in processes of their own."""
    whole = lt.sweep(tiny, AXES).load()
    same(lt.sweep(tiny, AXES, chunk=1).load(), whole)
    same(lt.sweep(tiny, AXES, chunk=7).load(), whole)
    (tmp_path / "config.json").write_text(to_json(tiny))
    axes = ["--axis", "eta_ratio=0.02,0.1,1.0", "--axis", "noise_level=0.5,1"]
    for devices in (1, 8):
        folder = tmp_path / f"on-{devices}"
        done = subprocess.run(command("sweep", "--config", tmp_path / "config.json", *axes, "--out", folder), timeout=300,
                              capture_output=True, text=True, env=environment(JAX_NUM_CPU_DEVICES=str(devices)))
        assert done.returncode == 0, done.stderr
        assert f"{min(devices, 6)} x cpu" in done.stdout or f"{min(devices, 4)} x cpu" in done.stdout
        same(lt.load(folder).load(), whole)


def test_boxes_and_devices_that_do_not_divide_the_points(tiny):
    """5 points and 1 seed: filled up to 6 on 2 devices, and in boxes of 3 and 2."""
    config = vary(tiny, seeds=1, first_seed=3)
    ratios = [0.02, 0.05, 0.1, 0.4, 1.0]
    whole, cut = lt.sweep(config, {"eta_ratio": ratios}), lt.sweep(config, {"eta_ratio": ratios}, chunk=3)
    same(cut.load(), whole.load())
    for ratio in (0.02, 0.1, 1.0):
        alone = lt.run(vary(config, training__eta_ratio=ratio))
        np.testing.assert_allclose(whole["contrast"].sel(eta_ratio=ratio), alone["contrast"], rtol=1e-5, atol=1e-5)
    assert float(abs(whole["contrast"].isel(record=-1).diff("eta_ratio").sel(algorithm="S")).min()) > 0


def test_two_processes_write_one_store(tiny, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config.json").write_text(to_json(tiny))
    words = command("sweep", "--config", tmp_path / "config.json", "--axis", "eta_ratio=0.02,0.1,1.0", "--axis",
                    "noise_level=0.5,1", "--chunk", "2", "--distributed", "--out", tmp_path / "both")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(
        JAX_NUM_CPU_DEVICES="1", JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}", JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=str(k)))
        for k in range(2)]
    try:
        said = [p.communicate(timeout=240) for p in both]
    finally:
        for p in both:
            p.kill()
    assert [p.returncode for p in both] == [0, 0], said
    assert "plan" in said[0][0]
    assert "plan" not in said[1][0]  # the first one speaks
    same(lt.load(tmp_path / "both").load(), lt.sweep(tiny, AXES).load())
    sessions = json.loads((tmp_path / "both/sessions.json").read_text())
    assert sessions[0]["processes"] == 2


@pytest.mark.parametrize("spread", [Block(3, 2), Block(4, 1)])
def test_devices_never_talk(tiny, spread):
    """Spread over seeds or over points, the compiled program has no collective operation."""
    program = batch.compile_block(tiny, ("training.eta_ratio",), spread)
    assert program.mesh.size == 2
    assert (program.spread.run[0] is None) == (spread.seeds == 2)
    for compiled in (program.begin, program.follow):
        talk = r"all-reduce|all-gather|all-to-all|collective|reduce-scatter|\bsend\b|\brecv\b"
        assert not re.findall(talk, compiled.as_text())


def test_points_share_what_they_do_not_change(tiny):
    """Data have a points axis only where a swept field touches them: along r x2's directions, but neither x1 nor alpha."""
    def axes(*swept):
        spread = batch.lower_block(tiny, swept, Block(3, 2)).spread
        return {name: spec[0] is None for name, spec in spread.setting.data._asdict().items()} | {
            "directions": spread.setting.inputs.directions[0] is None}

    assert not any(axes("training.eta_ratio", "training.noise_level", "network.tau_v").values())
    assert [name for name, own in axes("problem.r").items() if own] == ["directions"]
    assert [name for name, own in axes("problem.gamma0").items() if own] == ["x1"]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled"])
def test_every_engine_lowers_for_accelerators(tiny, engine, platform):
    config = vary(tiny, engine=engine, training__activation_noise_form="shared", algorithms=("L-S", "S", "S+noise"))
    lowered = batch.lower_block(config, ("training.eta_ratio", "problem.r"), Block(3, 2), platform=platform)
    for program in (lowered.begin, lowered.follow):
        text = program.as_text()
        assert "stablehlo" in text
        assert "callback" not in text


def test_the_cut_is_even_and_covers_every_run(tiny):
    grid = make_grid(vary(tiny, seeds=10), {"eta_ratio": np.geomspace(0.01, 1, 13), "engine": ["reduced", "decoupled"],
                                            "noise_level": np.linspace(0.1, 1, 4)})
    for runs in (1, 2, 7, 8, 30, 104, 10_000):
        cut = plan.cut_for(grid, runs)
        assert cut.block.runs <= runs
        assert cut.axes[1] == 1  # engines are programs of their own
        seen = np.zeros((*grid.shape, 10), int)
        for group in grid.groups():
            for chunk in plan.chunks(grid, cut, group):
                seen[np.ix_(*chunk.box)] += 1
        assert np.all(seen == 1)
    assert plan.cut_for(grid, 16) == plan.Cut((2, 1, 4), 2)  # a seed for each of 2 devices, points, from the last axis
    assert plan.cut_for(grid, 10_000) == plan.Cut((13, 1, 4), 10)


def test_a_chunk_is_made_to_fit_the_memory(tiny, monkeypatch):
    monkeypatch.setattr(plan, "FIRST_GUESS", {"cpu": 32})
    grid = make_grid(vary(tiny, seeds=8), {"eta_ratio": np.geomspace(0.01, 1, 16)}).check()
    ample = plan.make_plan(grid)
    needed = ample.programs[(None,)].memory
    tight = plan.make_plan(grid, free=int(needed / 4 / plan.MEMORY_SHARE))
    assert tight.programs[(None,)].memory <= needed / 4
    assert 1 < tight.cut.block.runs < ample.cut.block.runs
    with pytest.raises(ConfigError, match=r"memory: 1 run\(s\) at once need .* GiB; must be at most 70%.*smaller sizes"):
        plan.make_plan(grid, free=1000)
    with pytest.raises(ConfigError, match="lower --chunk"):
        plan.make_plan(grid, runs=8, free=1000)


def test_a_sweep_that_cannot_fit_writes_no_results(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match="memory"):
        lt.sweep(tiny, AXES, tmp_path / "never")
    assert not (tmp_path / "never/results.zarr").exists()
    monkeypatch.undo()
    assert lt.sweep(tiny, AXES, tmp_path / "never", resume=True).sizes["seed"] == 4  # and starts where there is room


def test_host_memory_stays_flat(tiny, tmp_path):
    """Results of a chunk do not stay in memory: 30 chunks of 4 MB each."""
    held = []

    def watch(runs, group):
        held.append(psutil.Process().memory_info().rss)

    config = vary(tiny, training__steps=3000, records=3000, seeds=30, n_test=1)
    lt.sweep(config, {"eta_ratio": [0.1, 0.2, 0.5, 0.7, 0.9]}, tmp_path / "long", chunk=5,
             watch=sweeping.Watch(progress=watch))
    size = lt.load(tmp_path / "long").nbytes / 2**20
    assert size > 90
    early, late = np.median(held[len(held) // 6 : len(held) // 4]), max(held[len(held) // 2 :])
    assert (late - early) / 2**20 < 0.3 * size


def test_resuming_a_finished_sweep_computes_nothing(finished, tmp_path, monkeypatch):
    config, folder, runs = finished
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setattr(batch, "compile_block", lambda *_: pytest.fail("nothing is missing"))
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
    (zarr / "contrast/c/0/stray.0123.partial").write_bytes(b"half a chunk")
    with pytest.raises(ConfigError, match=r"damaged|missing"):
        lt.load(copy)
    written = []
    keep = store.Store.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.Store, "write",
                      lambda self, chunk, found: (written.append(chunk.number), keep(self, chunk, found)))
        repaired = lt.sweep(config, AXES, copy, resume=True).load()
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
    with pytest.raises(ConfigError, match="leave --chunk out"):
        lt.sweep(config, AXES, folder, resume=True, chunk=24)
    with pytest.raises(ConfigError, match=r"exists and is not empty.*--resume"):
        lt.sweep(config, AXES, folder)
    with pytest.raises(ConfigError, match="no sweep to be found"):
        lt.sweep(config, AXES, folder / "figures", resume=True)
    with pytest.raises(ConfigError, match="must be swept in memory"):
        lt.sweep(config, AXES, folder, algorithms={"mine": config.training.algorithm("S")})


def test_the_second_process_on_a_folder_is_refused(finished, tmp_path):
    config, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    with store.locked(tmp_path / "copy"):
        refused = subprocess.run(command("sweep", "--resume", tmp_path / "copy"), capture_output=True, text=True,
                                 env=environment(), timeout=120)
    assert refused.returncode == 2
    assert "another process is working on this sweep" in refused.stderr
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
    grid, cut = store.read_manifest(tmp_path / "copy")
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


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
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
    assert "stopping after the chunk" in said
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


def test_diverged_runs_are_flagged_and_enter_no_mean(tiny, tmp_path):
    """One rate of the axis is beyond stability for the larger |z|; its neighbours are as they are alone."""
    algorithms = {"S": tiny.training.algorithm("S"),
                  "wild": lt.Algorithm(lt.step_decay([0.05, 1e4], [3.0]), lt.constant(0.0))}
    runs = lt.sweep(tiny, {"eps1": [0.2, 0.3]}, algorithms=algorithms)
    named = lt.tables.diverged(runs)
    assert len(named) == 2 * 4
    assert {one["algorithm"] for one in named} == {"wild"}
    assert all(one["diverged_at"] >= 3.0 for one in named)
    points = lt.tables.points(runs).set_index(["eps1", "algorithm"])
    assert points.loc[(0.2, "wild"), "diverged"] == 4
    assert np.isnan(points.loc[(0.2, "wild"), "test_error_p"])
    assert points.loc[(0.2, "S"), "runs"] == 4
    alone = lt.sweep(tiny, {"eps1": [0.2, 0.3]}, algorithms={"S": algorithms["S"]})
    np.testing.assert_allclose(runs["train_loss"].sel(algorithm=["S"]), alone["train_loss"], rtol=1e-5)


def test_a_full_folder_has_tables_and_figures(finished, tmp_path):
    _, folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    summary = results.save_sweep(tmp_path / "copy")
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
