"""Axes from text and from Python: values, kinds, points, and what is refused."""

import dataclasses

import numpy as np
import pytest

import lrtheory as lt
from lrtheory.fields import field_names
from lrtheory.sweeps.grid import MEASURED_TOO, full_name, make_grid, read_axes
from lrtheory.sweeps.kinds import THEORY
from lrtheory.theory.timescales import blur_time, q_time

QUICK = lt.preset("quick")


def test_every_field_has_a_short_name_of_its_own():
    short = [name.rpartition(".")[2] for name in field_names(QUICK) if name not in THEORY.fixed]
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
