"""Trainings that are stopped, killed, late or damaged: they go on to the same curves, or say whose they are."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from patched import IMAGES, TINY

from lrtheory import files
from lrtheory.algorithm import Algorithm, named
from lrtheory.cli import main as cli
from lrtheory.schedule import anneal_at_loss, constant
from lrtheory.spec import ConfigError
from lrtheory.stopping import Interrupted
from lrtheory.vision import checkpoints, cifar, programs, runs

pytestmark = [pytest.mark.xdist_group("vision"),  # they share programs, so one process takes them all
              pytest.mark.usefixtures("one_device")]


def test_stopped_and_resumed_is_the_same_curve(tmp_path):
    config = TINY.replace(checkpoint_epochs=3)
    whole = runs.run(config, IMAGES)
    calls = []
    with pytest.raises(Interrupted):
        runs.run(config, IMAGES, checkpoints=tmp_path, stop=lambda: len(calls) >= 2, progress=lambda *a: calls.append(a))
    seen = []
    resumed = runs.run(config, IMAGES, checkpoints=tmp_path, progress=lambda *a: seen.append(a))
    xr.testing.assert_equal(whole.drop_vars("seconds"), resumed.drop_vars("seconds"))
    assert len(seen) < 12
    assert seen[-1][:2] == (12, 12)


@pytest.mark.thorough
def test_interleaved_runs_are_the_same_and_a_stop_leaves_comparable_curves(tmp_path, two_devices):
    config = TINY.replace(interleave=True, seeds=2)
    seen, kept = [], []
    with pytest.raises(Interrupted):
        runs.run(config, IMAGES, checkpoints=tmp_path, stop=lambda: len(seen) >= 13, keep=kept.append,
                 progress=lambda *a: seen.append(a[2:5]))
    for seed in (0, 1):  # each on its device
        order = [(name, epoch) for name, of, epoch in seen if of == seed]
        assert order == [(name, epoch) for epoch in (1, 2, 3, 4) for name in config.algorithms][: len(order)]
    so_far = kept[-1]
    assert np.ptp(so_far["epochs_done"].values, axis=0).max() <= 1
    whole = runs.run(TINY.replace(seeds=2), IMAGES)
    same = ["train_loss", "accuracy_clean", "loss_patch_only"]
    for name in same:
        there = ~np.isnan(so_far[name].values)
        np.testing.assert_array_equal(there.sum(-1), so_far["epochs_done"])
        np.testing.assert_array_equal(so_far[name].values[there],
                                      whole[name].isel(record=slice(so_far.sizes["record"])).values[there])
    xr.testing.assert_equal(runs.run(config, IMAGES, checkpoints=tmp_path)[same], whole[same])


def test_time_that_is_up_ends_it_before_another_epoch(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        runs.run(TINY, IMAGES, checkpoints=tmp_path, until=time.monotonic() + 0.5 * runs.SAVING,
                 progress=lambda *a: pytest.fail("an epoch was begun"))
    clock, done = [0.0], []
    monkeypatch.setattr(runs.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runs.time, "perf_counter", lambda: clock[0])

    def epoch(*row):  # takes 10 s
        done.append(row)
        clock[0] += 10

    with pytest.raises(Interrupted):
        runs.run(TINY.replace(algorithms=("S",)), IMAGES, until=29.0, progress=epoch)
    assert len(done) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 2)
from lrtheory.vision import cifar, runs
from lrtheory.vision.presets import preset
config = preset("tiny").replace(seeds=1, checkpoint_epochs=1, **{"training.epochs": 6})
calls = []
def progress(*row):
    calls.append(row)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
runs.run(config, cifar.synthetic(256, 150), checkpoints=Path(sys.argv[1]), progress=progress)
"""


@pytest.mark.thorough
def test_killed_and_resumed_is_the_same_curve(tmp_path):
    config = TINY.replace(checkpoint_epochs=1, **{"training.epochs": 6})
    for count in ("5", "6"):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), count], capture_output=True, timeout=300)
        assert done.returncode == -9, done.stderr
    seen = []
    resumed = runs.run(config, IMAGES, checkpoints=tmp_path, progress=lambda *a: seen.append(a))
    assert len(seen) < 18
    xr.testing.assert_equal(runs.run(config, IMAGES).drop_vars("seconds"), resumed.drop_vars("seconds"))


def test_a_damaged_checkpoint_is_passed_over_and_anothers_is_refused(tmp_path):
    config = TINY.replace(checkpoint_epochs=1, algorithms=("S",))
    whole = runs.run(config, IMAGES, checkpoints=tmp_path)
    for file in (tmp_path / "S-seed-0" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen = []
    again = runs.run(config, IMAGES, checkpoints=tmp_path, progress=lambda *a: seen.append(a[4]))
    assert seen == [3, 4]
    xr.testing.assert_equal(whole.drop_vars("seconds"), again.drop_vars("seconds"))
    with pytest.raises(ConfigError, match="another experiment"):
        runs.run(config.replace(n_test=50), IMAGES, checkpoints=tmp_path)


def test_states_that_were_not_written_here_are_set_aside_and_the_folder_is_one_process_s(tmp_path):
    """Where the next epoch's state would lie; notes between the seals stay; begun and killed, a state is removed."""
    config = TINY.replace(checkpoint_epochs=1, algorithms=("S",), **{"training.epochs": 2, "training.anneal_epochs": ()})
    whole = runs.run(config, IMAGES, checkpoints=tmp_path)
    where, seals = tmp_path / "S-seed-0", tmp_path / "S-seed-0.seals"
    (where / "7").mkdir()
    (where / "7" / "mine").write_text("mine")
    (seals / "notes.json").write_text("mine")
    (seals / "8.json").write_text("mine")
    (where / "9.orbax-checkpoint-tmp").mkdir()  # by which orbax calls what it has begun
    begun = files.read_sealed(seals / "2.json") | {"epoch": 9, "files": None}
    files.write_sealed(seals / "9.json", begun)
    with files.locked(tmp_path), pytest.raises(ConfigError, match="another process is working on it"):
        runs.run(config, IMAGES, checkpoints=tmp_path)
    again = runs.run(config, IMAGES, checkpoints=tmp_path)
    xr.testing.assert_equal(whole, again)
    assert (tmp_path / "S-seed-0.aside" / "7" / "mine").read_text() == "mine"
    assert sorted(p.name for p in where.iterdir()) == ["1", "2"]
    assert sorted(p.name for p in seals.iterdir()) == ["1.json", "2.json", "8.json", "notes.json"]


def claimed(folder, config=None, images=IMAGES, algorithms=None):
    """What `claim` says: a digest, or its complaint."""
    try:
        own = {} if algorithms is None else {"algorithms": named(algorithms)}
        return checkpoints.claim(folder, (config or TINY).replace(**own), images)
    except ConfigError as error:
        return str(error)


def test_checkpoints_know_which_question_they_answer(tmp_path):
    """Another schedule under the same name, in value or in structure, other images, settings, numbers: refused by name."""
    mine = {"S": Algorithm(rate=constant(0.05), activation_noise=constant(0.0))}
    first = claimed(tmp_path, algorithms=mine)
    assert len(first) == 64
    assert claimed(tmp_path, TINY.replace(name="other", note="x"), algorithms=mine) == first
    loud = mine["S"].replace(activation_noise=constant(0.1))
    for changed, said in (
            ({"algorithms": {"S": mine["S"].replace(rate=constant(0.050001))}}, "schedules.S.rate.stages.0.start"),
            ({"algorithms": {"S": loud}}, "schedules.S.activation_noise.stages.0.start"),
            ({"algorithms": {"S": mine["S"].replace(rate=anneal_at_loss(0.05, 0.05, 0.1))}},
             "schedules.S.rate.stages.0.threshold"),
            ({"algorithms": {"S": mine["S"].replace(rate=anneal_at_loss(0.05, 0.05, 0.1, smoothing=1.0))}}, "smoothing"),
            ({"algorithms": {"S ": mine["S"]}}, "schedules.S .rate"), ({"algorithms": None}, "schedules.S"),
            ({"algorithms": mine, "images": cifar.synthetic(256, 150, seed=1)}, "images"),
            ({"algorithms": mine, "images": IMAGES._replace(test_classes=IMAGES.test_classes[::-1])}, "images"),
            ({"algorithms": mine, "config": TINY.replace(**{"patch.offset": 0.11})}, "patch.offset: 0.3 in the folder")):
        complaint = claimed(tmp_path, **changed)
        assert "checkpoints of another experiment" in complaint
        assert said in complaint
    with jax.threefry_partitionable(False):
        assert "random" in claimed(tmp_path, algorithms=mine)
    assert claimed(tmp_path, algorithms=mine) == first


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("{"), lambda p: p.write_text("[1]"),
                                    lambda p: p.write_bytes(b"\xff\x00"), lambda p: (p.unlink(), p.mkdir())])
def test_checkpoints_of_unknown_origin_are_refused(tmp_path, damage):
    claimed(tmp_path)
    (tmp_path / "S-seed-0").mkdir()
    damage(tmp_path / checkpoints.CLAIM)
    assert "choose another folder" in claimed(tmp_path)


def test_checkpoints_of_an_earlier_version_are_gone_on_with(tmp_path):
    """Its claim lacks a field that has come since: of these runs it had the value it has by default."""
    whose = claimed(tmp_path)
    tree = json.loads((tmp_path / checkpoints.CLAIM).read_text())
    del tree["patch"]["negative"], tree["interleave"]
    (tmp_path / checkpoints.CLAIM).write_text(json.dumps(tree))
    (tmp_path / "S-seed-0").mkdir()
    assert len(claimed(tmp_path)) == len(whose) == 64
    assert claimed(tmp_path) == files.digest(tree)
    assert "patch.negative" in claimed(tmp_path, TINY.replace(**{"patch.negative": 0.0}))


def test_a_run_under_another_schedule_does_not_return_the_first_ones_numbers(tmp_path):
    config = TINY.replace(algorithms=("S",), **{"training.epochs": 2, "training.anneal_epochs": ()})
    mine = {"S": Algorithm(rate=constant(0.05), activation_noise=constant(0.0))}
    runs.run(config, IMAGES, algorithms=mine, checkpoints=tmp_path)
    with pytest.raises(ConfigError, match=r"another experiment; .*schedules\.S\.rate\.stages\.0\.start"):
        runs.run(config, IMAGES, algorithms={"S": mine["S"].replace(rate=constant(0.06))}, checkpoints=tmp_path)
    with pytest.raises(ConfigError, match="another experiment"):
        runs.run(config, IMAGES, checkpoints=tmp_path)


def test_names_of_algorithms_stay_within_the_folder_of_checkpoints(tmp_path):
    for name in ("../../x", "/etc/x", "a b", "..", "a/b", "L-S", "S+noise", "."):
        job = programs.Job(runs=((name, 0),))
        kept = checkpoints.Checkpoints(tmp_path / "in", job, "")
        assert kept.where.parent == (tmp_path / "in")
        assert kept.where.is_dir()
        kept.close()
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    assert {"L-S-seed-0", "S+noise-seed-0"} <= {p.name for p in (tmp_path / "in").iterdir()}


def test_of_a_checkpoint_that_orbax_cannot_read_the_one_before_counts(tmp_path, monkeypatch):
    """As one of another version may be: whole, and not understood."""
    state, history = {"a": jnp.arange(4.0)}, {"loss": np.arange(3.0)}
    kept = checkpoints.Checkpoints(tmp_path, programs.Job(runs=(("S", 0),)), "whose")
    for epoch in (1, 2):
        kept.save(epoch, jax.tree.map(lambda x, e=epoch: x + e, state), history)
    restore = kept.manager.restore

    def only_the_first(epoch, **options):
        if epoch == 2:
            raise KeyError("a handler that is not known here")
        return restore(epoch, **options)

    monkeypatch.setattr(kept.manager, "restore", only_the_first)
    epoch, found, _ = kept.latest(state, history)
    kept.close()
    assert epoch == 1
    np.testing.assert_array_equal(found["a"], state["a"] + 1)


def test_every_damage_to_a_checkpoint_is_found_without_a_page(tmp_path, capfd):
    """Each file cut, emptied, zeroed or lost, or a checkpoint exchanged for another's: the one before it counts."""
    state, history = {"a": jnp.arange(4.0), "b": jnp.ones((3, 2))}, {"loss": np.arange(3.0)}
    ours, other = (checkpoints.Checkpoints(tmp_path, programs.Job(runs=(("S", k),)), "whose") for k in (0, 1))
    for epoch in (1, 2):
        for kept in (ours, other):
            kept.save(epoch, jax.tree.map(lambda x, e=epoch: x + e, state), history)
    other.close()
    ours.close()
    there = [p for p in (tmp_path / "S-seed-0/2").rglob("*") if p.is_file()]
    assert len(there) > 8
    changes = [lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2] or b"x"), lambda p: p.write_bytes(b""),
               lambda p: p.write_bytes(bytes(p.stat().st_size + 1)), lambda p: p.unlink()]
    cases = [(file, change) for file in there for change in changes if change is not changes[1] or file.stat().st_size]

    def exchanged(file):
        shutil.rmtree(file)
        shutil.copytree(tmp_path / "S-seed-1/2", file)
        shutil.copyfile(tmp_path / "S-seed-1.seals/2.json", file.parent.with_name("S-seed-0.seals") / "2.json")

    for k, (file, change) in enumerate([*cases[::3], (tmp_path / "S-seed-0/2", exchanged)]):
        copy = tmp_path / f"copy-{k}"
        for name in ("S-seed-0", "S-seed-0.seals"):
            shutil.copytree(tmp_path / name, copy / name)
        change(copy / file.relative_to(tmp_path))
        kept = checkpoints.Checkpoints(copy, programs.Job(runs=(("S", 0),)), "whose")
        epoch, found, _ = kept.latest(state, history)
        assert epoch == 1
        np.testing.assert_array_equal(found["a"], state["a"] + 1)
        kept.save(2, state, history)  # and it goes on
        assert kept.latest(state, history)[0] == 2
        kept.close()
    assert checkpoints.Checkpoints(tmp_path, programs.Job(runs=(("S", 0),)), "another's").latest(state, history) is None
    assert capfd.readouterr().err == ""


ALONE = """
import pathlib, sys
import jax
from patched import IMAGES, TINY
from lrtheory.vision import runs
seen = []
runs.run(TINY.replace(seeds=2, checkpoint_epochs=1), IMAGES, checkpoints=pathlib.Path(sys.argv[1]),
         progress=lambda *a: seen.append(a))
print(len(jax.local_devices()), len(seen))
"""


@pytest.mark.thorough
def test_a_checkpoint_goes_on_on_another_device(tmp_path, two_devices):
    """Of the second of two, where there is one: none is thrown away."""
    config = TINY.replace(seeds=2, checkpoint_epochs=1)
    runs.run(config, IMAGES, checkpoints=tmp_path)
    done = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], cwd=Path(__file__).parent, capture_output=True,
                          text=True, env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"}, check=True)
    assert done.stdout.split() == ["1", "6"]  # each training is told of once, whole


def test_a_file_that_cannot_be_read_now_costs_no_checkpoint(tmp_path, monkeypatch):
    """A fault of a network's file system passes; what was trained stays."""
    config = TINY.replace(algorithms=("S",), seeds=1, checkpoint_epochs=1)
    runs.run(config, IMAGES, checkpoints=tmp_path)
    there = sorted(p.name for p in tmp_path.rglob("*"))

    def stale(*_):
        raise OSError(116, "Stale file handle")

    for read in ("digests", "read_sealed"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, read, stale)
            with pytest.raises(OSError, match="Stale"):
                runs.run(config, IMAGES, checkpoints=tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == there


def test_names_of_many_runs_at_once_make_no_folder_too_long(tmp_path):
    """As file systems have them, in any alphabet; two that begin alike are two."""
    long = [programs.Job(tuple((name, seed) for seed in range(30))) for name in ("ж" * 40 + "a", "ж" * 40 + "b")]
    kept = [checkpoints.Checkpoints(tmp_path, job, "whose") for job in long]
    assert len({k.where for k in kept}) == 2
    for each in kept:
        each.close()
        assert len(each.where.name) <= 200
        assert each.where.is_dir()


def test_the_first_epoch_tells_how_long_the_next_takes(tmp_path, monkeypatch):
    """While nothing better is known."""
    clock = [0.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runs.time, "perf_counter", lambda: clock[0])
    trained = programs.Course.train_epoch

    def slow(self, state, epoch):
        clock[0] += 6.0
        return trained(self, state, epoch)

    monkeypatch.setattr(programs.Course, "train_epoch", slow)
    seen = []
    with pytest.raises(Interrupted):
        runs.run(TINY.replace(algorithms=("S",), seeds=1), IMAGES, checkpoints=tmp_path, until=9.0,
                 progress=lambda *a: seen.append(a))
    assert len(seen) == 1


def test_a_batch_of_one_value_a_channel_is_trained():
    """A last batch of one image, on maps of 1x1."""
    config = TINY.replace(algorithms=("S",), seeds=1, n_train=65, **{
        "training.epochs": 1, "training.batch_size": 32, "model.strides": (8, 4), "training.anneal_epochs": ()})
    assert np.isfinite(runs.run(config, IMAGES)["train_loss"]).all()


def test_what_is_finished_keeps_where_it_comes_from(tmp_path, monkeypatch, capsys):
    """Resumed with nothing left to do: time, date and devices are those of the training; refused, its images' place too."""
    monkeypatch.setattr(cifar, "load", lambda where, **_: IMAGES._replace(path=str(where)))
    words = ["cifar", "--preset", "tiny", "--algorithms", "S", "--seeds", "1", "--data-dir", str(tmp_path)]
    assert cli.main([*words, "--out", str(tmp_path / "kept")]) == 0
    before = (tmp_path / "kept/summary.json").read_text()
    assert cli.main(["cifar", "--resume", str(tmp_path / "kept")]) == 0
    assert json.loads((tmp_path / "kept/summary.json").read_text())["environment"] == json.loads(before)["environment"]
    monkeypatch.setattr(cifar, "load", lambda where, **_: cifar.synthetic(256, 100, 1)._replace(path=str(where)))
    (tmp_path / "other").mkdir()
    assert cli.main(["cifar", "--resume", str(tmp_path / "kept"), "--data-dir", str(tmp_path / "other")]) == 2
    assert "another experiment" in capsys.readouterr().err
    assert cifar.remembered(tmp_path / "kept") == tmp_path
