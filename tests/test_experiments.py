"""Every operation on every kind of experiment: it works, or says in a line why not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrtheory as lt
from lrtheory.cli.main import main
from lrtheory.experiments.kinds import KINDS, kind_in
from lrtheory.experiments.results import kind_of
from lrtheory.fields import field_names, to_json
from lrtheory.spec import ConfigError
from lrtheory.theory.config import Config
from lrtheory.vision.config import Experiment


def sample(key):
    x = jax.random.normal(key, (16, 3))
    return x, jnp.sign(x[:, 0])


def rows():
    x = np.random.default_rng(0).standard_normal((12, 3))
    return x, np.sign(x[:, 0])


@pytest.fixture(scope="module")
def every(small_runs):
    """{who made it: results}; of CIFAR-10 the tests are beside its runs."""
    own = lt.train((lambda key: jnp.zeros(3), lambda w, x: x @ w), sample, {"S": 0.1}, seeds=2, steps=4, records=2,
                   measure=lambda w, data: {"weights": w, "size": jnp.sum(w**2)})
    wide = lt.limit(*rows(), {"S": 0.1}, time=1.0, records=2, groups={"first": [0, 1]})
    return {"lrtheory.run": small_runs, "lrtheory.train": own, "lrtheory.limit": wide}


@pytest.fixture(scope="module")
def small_runs():
    return lt.run(lt.preset("phase").replace(seeds=2, records=2, algorithms=("S",), **{"training.steps": 4}))


MADE_BY = "lrtheory.run", "lrtheory.train", "lrtheory.limit"


@pytest.mark.parametrize("made_by", MADE_BY)
def test_results_know_their_kind_are_said_kept_drawn_and_exported(every, made_by, tmp_path, capsys):
    runs, folder = every[made_by], tmp_path / "kept"
    assert kind_of(runs).made_by == made_by
    summary = lt.summarise(runs)
    entry = summary["algorithms"]["S"]["train_loss"]
    assert entry["mean"] == pytest.approx(float(runs["train_loss"].sel(algorithm="S").isel(record=-1).mean()))
    assert "±" in summary._repr_html_()
    assert lt.save(runs, folder)["algorithms"] == summary["algorithms"]
    assert lt.load(folder).identical(runs)
    assert main(["plot", str(folder), "--y", "train_loss", "--out", str(tmp_path / "loss.png")]) == 0
    assert main(["export", str(folder), "--to", str(tmp_path / "rows.csv")]) == 0
    assert "train_loss" in (tmp_path / "rows.csv").read_text().splitlines()[0]
    with pytest.raises(ConfigError, match="must be"):
        lt.save(runs, folder)  # what is there is not written over
    capsys.readouterr()


@pytest.mark.parametrize("made_by", MADE_BY[1:])
def test_what_has_no_figures_of_its_own_is_drawn_over_time_and_has_no_theory_beside_it(every, made_by, tmp_path, capsys):
    runs = every[made_by]
    assert main(["plot", str(_kept(runs, tmp_path / "kept"))]) == 0
    assert {p.stem for p in (tmp_path / "kept/figures").iterdir()} >= {"train_loss-over-time"}
    with pytest.raises(ConfigError, match=f"theory = given: must be None for results of `{made_by}`"):
        lt.summarise(runs, runs)
    assert "weights" not in lt.summarise(runs)["algorithms"]["S"]  # not one number a run
    capsys.readouterr()


def _kept(runs, folder):
    lt.save(runs, folder)
    return folder


def test_what_cannot_be_swept_says_so():
    for config in (kind.config() for kind in KINDS.values() if kind.sweep is None):
        with pytest.raises(ConfigError, match="config = a Settings: must be a Config or an Experiment"):
            lt.sweep(config, {"seeds": [1, 2]})


def test_each_kind_has_a_mark_of_its_own():
    """A field that no other kind's configurations have: by it a stored one is known."""
    configs = {name: config() if config is not Config else lt.preset("phase") for name, config in (
        (kind.made_by, kind.config) for kind in KINDS.values())}
    fields = {name: {field.partition(".")[0] for field in field_names(config)} for name, config in configs.items()}
    for kind in KINDS.values():
        assert [name for name, there in fields.items() if kind.mark in there] == [kind.made_by]
        assert kind_in(to_json(configs[kind.made_by])) is kind
    assert isinstance(Experiment(), tuple(KINDS))
