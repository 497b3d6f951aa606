"""Sweeps: one call for many runs, the same numbers however they are cut, within the memory there is."""

import json
import re
import socket
import subprocess

import numpy as np
import psutil
import pytest
from conftest import AXES, command, environment, same, vary

import lrtheory as lt
from lrtheory.fields import to_json
from lrtheory.spec import ConfigError
from lrtheory.stopping import Interrupted
from lrtheory.sweeps import course as sweeping
from lrtheory.sweeps import plan
from lrtheory.sweeps.folder import Watch
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory import programs as batch
from lrtheory.theory.runs import Block

pytestmark = pytest.mark.xdist_group("sweep")  # they share programs, so one process takes them all


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


@pytest.mark.thorough
def test_chunks_and_devices_do_not_change_the_numbers(tiny, tmp_path):
    """Chunks of 1, 7 and all in this process with 2 devices; 8 devices in one of its own (1: the two processes below)."""
    whole = lt.sweep(tiny, AXES).load()
    same(lt.sweep(tiny, AXES, chunk=1).load(), whole)
    same(lt.sweep(tiny, AXES, chunk=7).load(), whole)
    (tmp_path / "config.json").write_text(to_json(tiny))
    axes = ["--axis", "eta_ratio=0.02,0.1,1.0", "--axis", "noise_level=0.5,1"]
    done = subprocess.run(command("sweep", "--config", tmp_path / "config.json", *axes, "--out", tmp_path / "on-8"),
                          timeout=300, capture_output=True, text=True, env=environment(JAX_NUM_CPU_DEVICES="8"))
    assert done.returncode == 0, done.stderr
    assert "6 x cpu" in done.stdout or "4 x cpu" in done.stdout
    same(lt.load(tmp_path / "on-8").load(), whole)


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_two_processes_write_one_store(tiny, tmp_path):
    """In a folder that nobody named: the first process's, for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config.json").write_text(to_json(tiny))
    words = command("sweep", "--config", tmp_path / "config.json", "--axis", "eta_ratio=0.02,0.1,1.0", "--axis",
                    "noise_level=0.5,1", "--chunk", "2", "--distributed")
    both = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(
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
    (folder,) = (tmp_path / "runs").iterdir()
    same(lt.load(folder).load(), lt.sweep(tiny, AXES).load())
    sessions = json.loads((folder / "sessions.json").read_text())
    assert sessions[0]["processes"] == 2


@pytest.mark.thorough
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
    assert [name for name, own in axes("problem.r").items() if own] == ["points", "directions"]
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


@pytest.mark.thorough
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
    with pytest.raises(ConfigError, match="lower chunk"):
        plan.make_plan(grid, runs=8, free=1000)


@pytest.mark.thorough
def test_a_sweep_that_cannot_fit_writes_no_results(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match="memory"):
        lt.sweep(tiny, AXES, tmp_path / "never")
    assert not (tmp_path / "never/results.zarr").exists()
    monkeypatch.undo()
    assert lt.sweep(tiny, AXES, tmp_path / "never", resume=True).sizes["seed"] == 4  # and starts where there is room


@pytest.mark.slow
def test_host_memory_stays_flat(tiny, tmp_path):
    """Results of a chunk do not stay in memory: 30 chunks of 2 MB each."""
    held = []

    def watch(runs, group):
        held.append(psutil.Process().memory_info().rss)

    config = vary(tiny, training__steps=1500, records=1500, seeds=30, n_test=1)
    lt.sweep(config, {"eta_ratio": [0.1, 0.2, 0.5, 0.7, 0.9]}, tmp_path / "long", chunk=5,
             watch=sweeping.Watch(progress=watch))
    size = lt.load(tmp_path / "long").nbytes / 2**20
    assert size > 45
    early, late = np.median(held[len(held) // 6 : len(held) // 4]), max(held[len(held) // 2 :])
    assert (late - early) / 2**20 < 0.3 * size


@pytest.mark.thorough
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


def test_a_sweep_that_is_to_stop_compiles_no_further_program(small, tmp_path):
    """Whoever ends it gives it seconds; it goes on from where it was."""
    grid = make_grid(vary(small, seeds=1, records=1, training__steps=4), {"m_v": [16, 32, 64]})
    told = []
    with pytest.raises(Interrupted):
        sweeping.carry_out(grid, tmp_path / "swept", watch=Watch(tell=told.append, stop=lambda: len(told) > 1))
    assert sum(text.startswith("compiling") for text in told) == 1
    sweeping.carry_out(grid, tmp_path / "swept", resume=True)
    assert lt.load(tmp_path / "swept").sizes["m_v"] == 3
