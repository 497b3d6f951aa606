"""Algorithms of one's own: in every engine, in folders, as axes, from the shell."""

import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import command, environment, same, vary

import lrtheory as lt
from lrtheory.cli import arguments, report
from lrtheory.fields import to_json
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.problem import Group

MINE = lt.Algorithm.from_text("mine: warmup 5 to 0.4, hold until loss 0.35 until 12, cosine 10 to 0.01; "
                              "activation noise 0.3 until 10, 0; injected noise linear 20 to 0.5 from 1")


def test_all_three_schedules_act_alike_in_every_engine(small):
    """Clock, rate, injected noise and the recursion of its variance are the schedules' own, whatever the network."""
    own = lt.Algorithm.from_text(MINE.in_words().replace("until loss 0.35 until 12", "for 7").replace("until 12 ", ""))
    own = own.replace(rate=lt.wsd(0.4, 0.01, warm=5.0, hold=7.0, decay=10.0, shape="cosine"))
    half = lt.Algorithm(lt.constant(small.training.eta1), injected_noise=lt.constant(0.5), name="half")
    config = vary(small, training__steps=60, seeds=2, n_test=32).replace(algorithms=(own, half))
    dense, decoupled = (lt.run(config.replace(engine=engine)) for engine in ("dense", "decoupled"))
    for metric in ("learning_rate", "injected_noise", "activation_noise", "time", "annealed_at", "noise_variance_theory"):
        np.testing.assert_allclose(dense[metric], decoupled[metric], rtol=1e-5, err_msg=metric)
    clock, rate = (dense[m].values[0, 0] for m in ("time", "learning_rate"))
    assert clock[-1] > 22
    early = clock < 5
    np.testing.assert_allclose(rate[early], 0.08 * clock[early], rtol=1e-4, atol=1e-6)
    assert rate[-1] == pytest.approx(0.01)
    np.testing.assert_allclose(dense["injected_noise"].values[0, 0], np.maximum(1 - clock / 40, 0.5), rtol=1e-4)
    assert 10 <= dense["annealed_at"].values[0, 0] <= 10.6  # the activation noise is the first to go
    theory, found = (float(dense[m][0, :, -1].mean()) for m in ("noise_variance_theory", "noise_variance_w"))
    assert theory == pytest.approx(found, rel=0.2)
    old = np.exp(2 * small.training.steps * np.log1p(-small.training.eta1 * small.training.weight_decay))
    np.testing.assert_allclose(dense["noise_variance_theory"].values[1, :, -1], 0.25 + 0.75 * old, rtol=1e-5)


@pytest.mark.thorough
def test_leaps_see_the_rate_move(small):
    """Against fixed steps, which are shorter and shorter: a warm-up from 0, a decay to 0; the end is where it was meant."""
    own = lt.Algorithm(lt.wsd(0.4, 0.0, warm=5.0, hold=10.0, decay=15.0), name="wsd")
    config = vary(small, engine="infinite", training__steps=60, seeds=1, n_test=32).replace(algorithms=(own,))
    leaps = lt.run(config)
    np.testing.assert_allclose(leaps["time"].values[0, 0, -1], 30.0, atol=0.05)
    assert leaps["learning_rate"].values[0, 0, -1] < 1e-3
    fine = lt.run(vary(config, training__tolerance=0.0, training__step_time=0.05, training__steps=600))
    for metric, within in (("train_loss", 0.01), ("contrast", 0.02), ("noise_variance_w", 0.01)):
        assert float(abs(leaps[metric] - fine[metric]).isel(record=-1).max()) < within, metric


@pytest.mark.thorough
def test_own_algorithms_are_swept_into_folders_and_a_folder_knows_them(tiny, tmp_path):
    """A number inside a schedule is an axis; its points are runs of their own; another schedule is another sweep."""
    config = tiny.replace(algorithms=("S", MINE), seeds=2)
    axes = {"algorithms.mine.rate.cosine.duration": [5.0, 20.0]}
    folder = tmp_path / "mine"
    swept = lt.sweep(config, axes, folder).load()
    assert swept.sizes["mine_rate_cosine_duration"] == 2
    alone = lt.run(config.replace(**{"algorithms.mine.rate.cosine.duration": 20.0}))
    second = swept.isel(mine_rate_cosine_duration=1)
    np.testing.assert_allclose(second["train_loss"], alone["train_loss"], rtol=1e-4, atol=1e-5)
    apart = abs(swept["time"].diff("mine_rate_cosine_duration"))
    assert float(apart.sel(algorithm="mine").max()) > 0
    assert float(apart.sel(algorithm="S").max()) == 0
    for chunk in list(folder.glob("results.zarr/done/c/*/*"))[:1]:
        chunk.unlink()
    same(lt.sweep(config, axes, folder, resume=True).load(), swept)
    other = config.replace(**{"algorithms.mine.rate.warmup.end": 0.3})
    with pytest.raises(ConfigError, match=r"algorithms\.mine\.rate\.stages\.warmup\.end: 0.4 in the folder, 0.3 asked for"):
        lt.sweep(other, axes, folder, resume=True)


def test_axes_inside_algorithms_and_groups_are_named_and_checked(small):
    group = Group(name="lies", share=0.1, q=-1.0)
    config = vary(small, problem__extra_groups=(group,)).replace(algorithms=(MINE,))
    grid = make_grid(config, {"algorithms.mine.rate.warmup.end": [0.2, 0.4],
                              "problem.extra_groups.lies.share": [0.1, 0.2]})
    assert grid.check().dims == ("mine_rate_warmup_end", "lies_share")
    assert grid.compiled == (False, True)
    assert report.sweep_opening(grid).startswith(f"sweep of {config.name}: 2 mine_rate_warmup_end x 2 lies_share = 4 points")
    (ends,) = report.cautions(make_grid(config, {"algorithms.mine.rate.warmup.end": [0.4]}))
    assert "covers between 0.4 and 0.5 of time" in ends
    wild = make_grid(config, {"algorithms.mine.rate.warmup.end": [0.2, 50.0, 60.0, 70.0, 80.0]})
    assert [text[:35] for text in report.cautions(wild)[1::2]] == [
        "algorithms.mine.rate reaches 50: ab", "and 6 more like these"]
    assert grid.at((0, 1)).problem.extra_groups[0].share == 0.2
    for wrong in ("algorithms.other.rate.0.end", "algorithms.mine", "algorithms.mine.name",
                  "problem.extra_groups.truth.share"):
        with pytest.raises(ConfigError, match="axis"):
            make_grid(config, {wrong: [1.0]})
    with pytest.raises(ConfigError, match=r"at mine_rate_warmup_end = -1.0: algorithms\.mine\.rate\.0\.end = -1"):
        make_grid(config, {"algorithms.mine.rate.warmup.end": [0.2, -1.0]}).check()


def test_the_shell_takes_algorithms_and_groups_in_words(capsys):
    config, _, _ = arguments.run_arguments(["--algorithms", "S", "--algorithm", MINE.in_words(), "--problem.extra-groups",
                                            "lies: share 0.1, q -1"])
    assert config.algorithms == ("S", MINE)
    assert config.problem.extra_groups == (Group(name="lies", share=0.1, q=-1.0),)
    assert config.name == "quick-changed"
    assert arguments.cifar_arguments(["--algorithm", "drop: 0.1 until 3, 0.01"])[0].options.algorithms[-1].name == "drop"
    with pytest.raises(SystemExit):
        arguments.run_arguments(["--help-all"])
    assert capsys.readouterr().out.count("--algorithm '") == 4  # the option and three examples
    for wrong in (["--algorithm", "mine"], ["--problem.extra-groups", "lies 0.1"]):
        with pytest.raises(ConfigError):
            arguments.run_arguments(wrong)


@pytest.mark.thorough
def test_averaged_weights_are_the_last_ones_or_the_first_ones(tiny):
    """Over no time and over all times; the numbers compile nothing; the infinite engine has no weights."""
    short, long = (lt.run(vary(tiny, seeds=2, training__average_time=tau)) for tau in (1e-4, 1e9))
    for name in ("contrast", "test_error_p", "train_loss"):
        np.testing.assert_allclose(short[f"averaged_{name}"], short[name], rtol=1e-4, atol=1e-4)
        if name != "test_error_p":  # a first output of 0 has no sign
            start = long[f"averaged_{name}"].isel(record=[0])
            np.testing.assert_allclose(long[f"averaged_{name}"], np.broadcast_to(start, long[name].shape), atol=1e-4)
    with pytest.raises(ConfigError, match="no weights to average"):
        vary(tiny, engine="infinite", training__average_time=1.0).check()
    with pytest.raises(ConfigError, match="must be set in the configuration, too"):
        make_grid(tiny, {"average_time": [1.0, 2.0]})


@pytest.mark.slow
def test_64_schedules_from_64_seeds_survive_being_killed(tiny, tmp_path):
    """One call into a folder, killed twice at some moment, resumed, equal to another one in memory."""
    own = tuple(lt.Algorithm(lt.cosine(0.1 + 0.005 * k, 0.001, 20.0 + k), name=f"c{k}") for k in range(64))
    config = vary(tiny, training__steps=100, network__m_v=16, network__m_w=8).replace(algorithms=own, seeds=64)
    (tmp_path / "config.json").write_text(to_json(config))
    folder = tmp_path / "sweep"
    for words in (("--config", tmp_path / "config.json", "--chunk", "8", "--out", folder), ("--resume", folder)):
        process = subprocess.Popen(command("sweep", *words), env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        until, before = time.monotonic() + 300, len(list(folder.glob("results.zarr/done/c/*")))
        while time.monotonic() < until and process.poll() is None and len(
                list(folder.glob("results.zarr/done/c/*"))) <= before:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = lt.sweep(config, {}, folder, resume=True).load()
    assert done.sizes["algorithm"] == done.sizes["seed"] == 64
    # The same chunks: under other shapes products round otherwise, and of 4,096 runs one or two have a gate that tells.
    same(done, lt.sweep(config, {}, chunk=8).load())
