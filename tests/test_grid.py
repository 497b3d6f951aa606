"""Axes from text and from Python: values, kinds, points, and what is refused."""

import dataclasses

import numpy as np
import optax
import pytest
import xarray as xr
from conftest import vary

import lrtheory as lt
from lrtheory.experiments.kinds import THEORY
from lrtheory.fields import field_names, to_json
from lrtheory.spec import ConfigError
from lrtheory.sweeps import figures as maps
from lrtheory.sweeps.grid import MEASURED_TOO, full_name, make_grid, read_axes
from lrtheory.sweeps.prediction import prediction_at
from lrtheory.theory.config import Config
from lrtheory.theory.problem import Group, Problem
from lrtheory.theory.timescales import blur_time, q_time
from lrtheory.vision.presets import preset

QUICK = lt.preset("quick")


def test_every_field_has_a_short_name_of_its_own():
    short = [name.rpartition(".")[2] for name in field_names(QUICK) if name not in THEORY.sweep.fixed]
    assert len(set(short)) == len(short)
    assert full_name(QUICK, "r") == full_name(QUICK, "problem.r") == "problem.r"


def test_a_product_has_every_combination_and_a_zip_walks_together():
    grid = read_axes(QUICK, ["eta_ratio=geomspace(1e-6,1,4)", "engine=reduced,decoupled"], [["r=0.02,0.03", "z_norm=25,20"]])
    assert grid.dims == ("eta_ratio", "engine", "r")
    assert grid.shape == (4, 2, 2)
    assert grid.points == 16
    assert grid.runs == 16 * 2 * 8
    assert grid.compiled == (False, True, False)
    assert grid.swept == ("training.eta_ratio", "problem.r", "problem.z_norm")
    config = grid.at((2, 0, 1))
    assert config.engine == "reduced"
    assert dataclasses.replace(config, engine="decoupled") == QUICK.replace(
        **{"training.eta_ratio": 0.01, "problem.r": 0.03, "problem.z_norm": 20.0})
    assert [grid.label(g) for g in grid.groups()] == ["engine = reduced", "engine = decoupled"]
    values = grid.point_values([(2, 0, 1), (3, 0, 0)])
    np.testing.assert_allclose(values["training.eta_ratio"], [0.01, 1.0])
    np.testing.assert_allclose(values["problem.z_norm"], [20.0, 25.0])


def test_python_and_text_give_the_same_grid():
    text = read_axes(QUICK, ["d=32,64", "noise_level=linspace(0,1,3)"], [["r=0.02,0.03", "z_norm=25,20"]])
    python = make_grid(QUICK, {"problem.d": np.array([32, 64]), "noise_level": np.linspace(0, 1, 3),
                               ("r", "z_norm"): [(0.02, 25), (0.03, 20.0)]})
    assert text == python
    assert isinstance(text.at((0, 0, 0)).problem.d, int)


def test_an_axis_of_n_takes_the_place_of_kappa():
    grid = read_axes(QUICK, ["N=128,256"]).check()
    assert grid.at((0,)).problem.n_train == 128


def test_time_scales_are_labels_along_the_axes_that_move_them():
    grid = read_axes(QUICK, ["eta_ratio=1e-4,1e-2", "noise_level=0.5,1", "m_v=64,128"])
    labels = grid.coordinates()
    assert labels["T_Q"][0] == ()
    assert labels["blur_ratio"][0] == ("noise_level",)
    assert labels["blur_ratio_small"][0] == ("eta_ratio", "noise_level")
    config = grid.at((1, 0, 0))
    ratio = blur_time(config.problem, config.training, 1e-2 * config.training.eta1) / q_time(config.problem)
    np.testing.assert_allclose(labels["blur_ratio_small"][1][1, 0], ratio)
    np.testing.assert_allclose(labels["blur_ratio"][1], [4 * labels["blur_ratio"][1][1], labels["blur_ratio"][1][1]],
                               rtol=1e-3)  # as 1/nu^2, up to r^2


@pytest.mark.parametrize(("axes", "said"), [
    (["x=1"], "unknown field"),
    (["eta_rati=1"], "perhaps you meant eta_ratio"),
    (["eta_ratio"], "must be NAME=VALUES"),
    (["eta_ratio="], "must be NAME=VALUES"),
    (["d=3.5"], "must be a whole number"),
    (["engine=warp"], "must be 'dense' or 'reduced'"),
    (["eta_ratio=geomspace(0,1,3)"], "above 0"),
    (["eta_ratio=geomspace(1,2)"], "must be a list of values"),
    (["eta_ratio=1,1"], "comes twice"),
    (["eta_ratio=1,0.1", "training.eta_ratio=0.2"], "named twice"),
    (["eta_ratio=nan"], "must be a number"),
    (["seeds=1,2"], "cannot be an axis"),
    (["eta_ratio=0.1,-1"], "at eta_ratio = -1.0: training.eta_ratio = -1: must be in (0, 1]"),
    (["eta_ratio=linspace(0.001,1,2000)", "eps1=linspace(0.1,1,2000)"], "must be at most 1,000,000"),
])
def test_bad_axes_are_refused_in_one_line(axes, said):
    with pytest.raises(lt.ConfigError) as error:
        read_axes(QUICK, axes).check()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_zipped_values_must_be_equally_many():
    with pytest.raises(lt.ConfigError, match="r has 2, z_norm has 1 values"):
        read_axes(QUICK, [], [["r=0.02,0.03", "z_norm=25"]])
    with pytest.raises(lt.ConfigError, match="each value must be 2"):
        make_grid(QUICK, {("r", "z_norm"): [(0.02, 25, 1)]})


def test_no_axis_takes_the_name_of_a_measurement(small):
    """Sweeping such a field once ended in an error of the store."""
    from lrtheory.fields import field_names
    from lrtheory.theory.measure import described

    shared = {name.rpartition(".")[2] for name in field_names(small)} & set(described(small.problem))
    assert shared == set(MEASURED_TOO)
    assert make_grid(small, {"steps": [3, 4]}).dims == ("training_steps",)


def test_none_on_an_axis_is_a_program_apart_and_as_it_is_alone(small):
    """Of a number that may be there or not."""
    config = vary(small, seeds=2, records=2, training__steps=10)
    found = lt.sweep(config, {"noise_scale": [0.5, None]})
    for k, value in enumerate((0.5, None)):
        alone = lt.run(vary(config, training__noise_scale=value))
        np.testing.assert_allclose(found["train_loss"].isel(noise_scale=k), alone["train_loss"], rtol=1e-5)
    assert make_grid(config, {"noise_scale": [None, 0.5]}).compiled == (True,)


def test_functions_of_the_clock_are_sampled_as_far_as_any_point_goes(small):
    """Whatever the base's own length is."""
    cosine = optax.cosine_decay_schedule(0.1, 60)
    trained = preset("tiny").replace(algorithms=(lt.Algorithm(cosine, name="mine"),))
    grid = make_grid(trained, {"training.epochs": [4, 60]})
    found = grid.at((1,)).algorithms[0].rate(np.array([2.0, 30.0, 59.0]))
    np.testing.assert_allclose(found, [cosine(t) for t in (2.0, 30.0, 59.0)], atol=2e-4)
    theirs = vary(small, algorithms=(lt.Algorithm(optax.cosine_decay_schedule(0.4, 500.0), name="mine"),))
    rate = make_grid(theirs, {"training.steps": [60, 2000]}).at((1,)).algorithms[0].rate
    assert rate(250.0).item() == pytest.approx(0.2, rel=1e-3)


def test_numbers_of_the_theorems_own_size_are_told_apart():
    """1e-12 is not 1e-10."""
    ratios = make_grid(QUICK, {"r": [1e-9, 1e-8]}).coordinates()["blur_ratio"]
    assert ratios[0] == ("r",)
    values = [1e-12, 1e-10, 1e-9]
    config = QUICK.replace(engine="infinite", seeds=1)
    data = {"test_error_p": (("eta_ratio", "algorithm", "seed"), np.arange(3.0)[:, None, None])}
    theory = xr.Dataset(data, {"eta_ratio": ("eta_ratio", values, {"field": "training.eta_ratio"}), "algorithm": ["S"]},
                        {"config": to_json(config)})
    assert prediction_at(theory, theory, "r")["test_error_p"].values.ravel().tolist() == [0, 1, 2]
    assert maps.select(theory, {"eta_ratio": "1e-10"})["test_error_p"].item() == 1
    for text in ("5e-9", "0"):
        with pytest.raises(ConfigError, match="no such value"):
            maps.select(theory, {"eta_ratio": text})


def test_a_point_of_a_zip_is_chosen_by_all_its_labels():
    """Where one alone leaves several."""
    labels = {"eta1": [0.35, 0.7, 0.35], "batch_size": [32, 64, 64]}
    runs = xr.Dataset({"test_error_p": (("eta1", "algorithm", "seed"), np.arange(3.0)[:, None, None])},
                      {name: ("eta1", values, {"field": f"training.{name}"}) for name, values in labels.items()}
                      | {"algorithm": ["S"]})
    assert maps.select(runs, {"eta1": "0.35", "batch_size": "64"})["test_error_p"].item() == 2
    assert maps.select(runs, {"eta1": "0.7"})["test_error_p"].item() == 1
    with pytest.raises(ConfigError, match=r"eta1=0\.35 = 2 points: must be one; choose by eta1, batch_size together"):
        maps.select(runs, {"eta1": "0.35"})


def test_an_axis_has_a_name_of_its_own():
    """Two zips of the same fields, two fields that results would call alike; and the ends of a range are as given."""
    with pytest.raises(ConfigError, match="zip r z_norm: named twice"):
        read_axes(QUICK, [], [["r=0.02,0.03", "z_norm=25,20"], ["r=0.04,0.05", "z_norm=22,21"]])
    config = QUICK.replace(algorithms=tuple(lt.Algorithm(lt.constant(0.01), name=name) for name in ("a b", "a_b")))
    with pytest.raises(ConfigError, match="called a_b_rate_0_start in results, as another one is"):
        make_grid(config, {"algorithms.a b.rate.0.start": [0.01, 0.02], "algorithms.a_b.rate.0.start": [0.01, 0.02]})
    ends = [row[0] for row in read_axes(QUICK, ["r=geomspace(0.0123456789012345,0.1,5)"]).axes[0].values]
    assert ends[0] == 0.0123456789012345
    assert len(ends) == 5


@pytest.mark.parametrize(("group", "field", "label"), [
    ("loss", "p", "loss_p"), ("test_error", "q", "test_error_q")])
def test_an_axis_is_not_called_as_what_is_measured(group, field, label):
    """A group's name and a field's make a label: one that results have already would take its place."""
    config = Config(problem=Problem(N=200, p0=0.1, q0=0.25, extra_groups=(Group(name=group, share=0.05, q=-1.0),)))
    with pytest.raises(ConfigError, match=f"called {label} in results, as what is measured is"):
        make_grid(config, {f"problem.extra_groups.{group}.{field}": [0.5, 1.0]})


def test_an_axis_that_no_file_can_be_called_by_is_refused():
    """Of an algorithm with a long name in letters of three bytes."""
    config = Config(algorithms=(lt.Algorithm(lt.cosine(0.02, 0.002, 5.0), name="学" * 90),))
    with pytest.raises(ConfigError, match=r"in results = .*must be 1 to 200 bytes"):
        make_grid(config, {f"algorithms.{'学' * 90}.rate.cosine.duration": [3.0, 5.0]})
    with pytest.raises(ConfigError, match="1 to 100 lower-case letters"):
        Problem(N=200, p0=0.1, q0=0.25, extra_groups=(Group(name="g" * 101, share=0.05),)).check()
