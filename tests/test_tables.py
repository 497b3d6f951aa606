"""Tables and figures of a sweep, on results whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

import lrtheory as lt
from lrtheory.spec import ConfigError
from lrtheory.sweeps import figures as maps
from lrtheory.sweeps import tables

pytestmark = pytest.mark.xdist_group("tables")  # they share programs, so one process takes them all


@pytest.fixture(scope="module")
def runs():
    """A sweep over numbers and over engines, 3 seeds."""
    config = lt.preset("quick").replace(seeds=3, records=4, n_test=64, **{
        "training.steps": 40, "network.m_v": 32, "network.m_w": 16})
    return lt.sweep(config, {"eta_ratio": [1e-4, 1e-3, 1e-2], "engine": ["reduced", "decoupled"],
                             "noise_level": [0.5, 1.0]}).load()


@pytest.fixture
def planted(runs):
    """The same with chosen errors, times and one diverged and one missing run."""
    runs = runs.isel(engine=[1], noise_level=[1]).copy(deep=True)
    runs["test_error_p"][:, 0, 0, 0, :, -1] = [[0.1, 0.2, 0.3], [0.0, 0.0, 0.3], [0.5, 0.5, 0.5]]
    runs["time_q_half"][:, 0, 0, 0] = [[1.0, 2.0, np.inf], [1.0, 1.0, 1.0], [np.inf, np.inf, 4.0]]
    runs["time_p_half"][:, 0, 0, 0] = [[3.0, 1.0, np.inf], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    runs["diverged_at"][1, 0, 0, 0, 2] = 7.0
    runs["diverged_at"][2, 0, 0, 0, 0] = np.nan  # a run that is not there yet
    return runs


def test_means_leave_out_diverged_and_missing_runs(planted):
    mean, error = tables.mean_and_error(tables.metric(planted, "test_error_p"))
    first = dict(algorithm="L-S", engine="decoupled", noise_level=1.0)
    np.testing.assert_allclose(mean.sel(first), [0.2, 0.0, 0.5])
    np.testing.assert_allclose(error.sel(first), [0.1 / np.sqrt(3), 0.0, 0.0], atol=1e-12)
    share, _ = tables.mean_and_error(tables.metric(planted, "q_first"))
    np.testing.assert_allclose(share.sel(first), [1 / 3, 1.0, 0.0])
    table = tables.points(planted).set_index(["eta_ratio", "algorithm"])
    assert table.loc[1e-3, "L-S"][["runs", "diverged"]].tolist() == [2, 1]
    assert table.loc[1e-2, "L-S"][["runs", "diverged"]].tolist() == [2, 0]
    assert tables.diverged(planted) == [{"eta_ratio": 1e-3, "engine": "decoupled", "noise_level": 1.0, "algorithm": "L-S",
                                         "seed": 2, "diverged_at": 7.0}]
    never, _ = tables.mean_and_error(tables.metric(planted, "time_q_half"))
    assert np.isnan(never.sel(first)[0])  # a mean with "never" in it is none


@pytest.mark.parametrize("name", ["q_first", "p_first"])
def test_without_examples_of_a_group_there_is_no_order(planted, name):
    """Q's loss is no number and never halved: P does not come first, and the share has no value."""
    none = planted.assign(loss_q=np.nan * planted["loss_q"], time_q_half=np.inf + 0 * planted["time_p_half"])
    assert np.isnan(tables.metric(none, name)).all()


def test_one_seed_has_no_error(runs):
    mean, error = tables.mean_and_error(tables.metric(runs.isel(seed=[0]), "contrast"))
    assert np.all(np.isfinite(mean))
    assert np.all(np.isnan(error))


@pytest.mark.parametrize("over_time", [False, True])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tidy_tables_hold_every_run(runs, tmp_path, ending, over_time):
    path = tmp_path / f"t.{ending}"
    rows = 3 * 2 * 2 * 2 * 3 * (5 if over_time else 1)
    assert tables.export(runs, path, over_time) == rows
    table = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert len(table) == rows
    assert list(table.columns[:5]) == ["eta_ratio", "engine", "noise_level", "algorithm", "seed"]
    chosen = table[(table.eta_ratio == 1e-3) & (table.engine == "reduced") & (table.noise_level == 0.5)
                   & (table.algorithm == "S") & (table.seed == 1)]
    expected = runs["contrast"].sel(eta_ratio=1e-3, engine="reduced", noise_level=0.5, algorithm="S", seed=1)
    np.testing.assert_allclose(chosen["contrast"], expected if over_time else expected[-1:], rtol=1e-5)
    with pytest.raises(ConfigError, match="exists"):
        tables.export(runs, path)
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.parquet"):
        tables.export(runs, tmp_path / "t.xlsx")
    with pytest.raises(ConfigError, match="cannot be written"):
        tables.export(runs, tmp_path / "nowhere/t.csv")


def test_a_line_shows_the_means_against_the_axis(planted):
    figure = maps.line(planted, "eta_ratio", "test_error_p")
    (axis,) = figure.axes
    line = axis.lines[0]
    assert line.get_label() == "L-S"
    np.testing.assert_allclose(line.get_xdata(), [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.0, 0.5])
    assert axis.get_xscale() == "log"
    by_label = maps.line(planted, "blur_ratio_small", "contrast")  # along eta_ratio, where nothing else moves it
    drawn = by_label.axes[0].lines[0]
    np.testing.assert_allclose(drawn.get_xdata(), planted["blur_ratio_small"].values.ravel()[::-1])  # the least first
    contrast = tables.mean_and_error(tables.metric(planted, "contrast").sel(algorithm="L-S"))[0]
    np.testing.assert_allclose(drawn.get_ydata(), contrast.values.ravel()[::-1])


def test_points_are_drawn_in_the_order_of_their_numbers(runs):
    """Whatever order an axis was written in; of an axis with one value there is one point; labels are panels, too."""
    mixed, rest = runs.isel(eta_ratio=[0, 2, 1]), {"engine": [0], "noise_level": [0]}
    for draw in (lambda r: maps.line(r.isel(rest), "eta_ratio", "contrast"),
                 lambda r: maps.heat_map(r.isel(engine=[0]), "eta_ratio", "noise_level", "contrast")):
        one, other = (draw(r).axes[0] for r in (runs, mixed))
        if one.lines:
            np.testing.assert_array_equal(one.lines[0].get_xydata(), other.lines[0].get_xydata())
        else:
            cells, others = (axis.collections[0] for axis in (one, other))
            np.testing.assert_array_equal(cells.get_array(), others.get_array())
            np.testing.assert_array_equal(cells.get_coordinates(), others.get_coordinates())
    single = runs.isel(rest | {"eta_ratio": [1]})
    assert len(maps.line(single, "eta_ratio", "contrast").axes[0].lines[0].get_xdata()) == 1
    assert maps.heat_map(single, "eta_ratio", "noise_level", "contrast").axes
    panels = maps.line(runs.isel(noise_level=[0]), "engine", "contrast", panels="blur_ratio_small").axes
    assert len(panels) == 3


def test_a_mean_that_is_none_has_no_error():
    values = xr.DataArray([[3.0, np.inf, 4.0], [1.0, 2.0, 3.0]], dims=("point", "seed"))
    mean, error = tables.mean_and_error(values)
    np.testing.assert_array_equal(np.isnan(mean), [True, False])
    np.testing.assert_array_equal(np.isnan(error), [True, False])


def test_a_measurement_that_is_an_array_is_its_numbers_in_a_table(runs, tmp_path):
    weights = xr.DataArray(np.arange(6.0).reshape(3, 2), dims=("seed", "weights_0"))
    more = xr.Dataset({"weights": weights * xr.ones_like(runs["loss_p"])})
    wide = more.assign({name: runs[name] for name in runs.data_vars}).assign_attrs(runs.attrs)
    assert tables.axes_of(wide) == tables.axes_of(runs)
    tables.export(wide, tmp_path / "wide.csv")
    table = pd.read_csv(tmp_path / "wide.csv")
    assert table["weights.1"].tolist() == [1.0, 3.0, 5.0] * (len(table) // 3)


def test_a_heat_map_has_its_cells_where_they_belong(runs):
    part = maps.select(runs, {"engine": "decoupled", "algorithm": "S"})
    figure = maps.heat_map(part, "eta_ratio", "noise_level", "contrast")
    mesh = figure.axes[0].collections[0]
    expected, _ = tables.mean_and_error(tables.metric(part, "contrast"))
    np.testing.assert_allclose(mesh.get_array(), expected.squeeze().transpose("noise_level", "eta_ratio"))
    assert maps.heat_map(part, "eta_ratio", "blur_ratio", "q_first").axes[0].get_ylabel() == "t_blur(η₁)/T_Q"
    many = maps.heat_map(maps.select(runs, {"algorithm": "S"}), "eta_ratio", "noise_level", "contrast", panels="engine")
    assert [a.get_title() for a in many.axes[:2]] == ["engine = reduced", "engine = decoupled"]


def test_the_phase_diagram_is_drawn_for_what_can_have_one(runs, tmp_path):
    two = runs.isel(engine=1)
    names = {p.stem for p in maps.save_all(two, tmp_path / "two")}
    assert names == {"test_error_p", "q_first", "phase_diagram"}
    assert {p.stem for p in maps.save_all(two.isel(noise_level=0), tmp_path / "one")} == {"test_error_p", "q_first"}
    assert not maps.save_all(runs, tmp_path / "three")
    right = maps.phase_diagram(two).axes[2]
    assert isinstance(maps.phase_diagram(two), Figure)
    points = sum(len(line.get_xdata()) for line in right.lines if len(line.get_xdata()) == 3)
    assert points == two.sizes["eta_ratio"] * two.sizes["noise_level"]


@pytest.mark.parametrize(("draw", "said"), [
    (lambda r: maps.line(r, "eta_ratio", "contrast"), "engine: has 2 values.*select engine=VALUE"),
    (lambda r: maps.line(r, "kappa", "contrast"), "kappa: no axis of this sweep; must be one of"),
    (lambda r: maps.line(r.isel(engine=0, noise_level=0), "eta_ratio", "error"), "error: no such measurement"),
    (lambda r: maps.heat_map(r.isel(engine=0), "noise_level", "blur_ratio", "contrast"), "same axis noise_level"),
    (lambda r: maps.heat_map(r, "eta_ratio", "noise_level", "contrast", "engine"), "must be one for a heat map"),
    (lambda r: maps.select(r, {"eta_ratio": "0.5"}), "no such value; must be one of 0.0001, 0.001, 0.01"),
    (lambda r: maps.select(r, {"eta_ratio": "low"}), "must be a number"),
    (lambda r: maps.select(r, {"engine": "warp"}), "must be one of reduced, decoupled"),
])
def test_figures_that_would_mislead_are_refused(runs, draw, said):
    with pytest.raises(ConfigError, match=said) as error:
        draw(runs)
    assert "\n" not in str(error.value)


def test_a_run_without_axes_has_tables_too(small):
    runs = lt.run(small)
    assert isinstance(runs, xr.Dataset)
    assert len(tables.points(runs)) == 2
    assert sum(map(len, tables.tidy(runs))) == 6
