"""What figures of sweeps show: each line its own data, equal colours for equal values, labels read to their ends."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

import lrtheory as lt
from lrtheory.cli import plot
from lrtheory.cli.options import PlotArguments
from lrtheory.fields import to_json
from lrtheory.spec import ConfigError
from lrtheory.sweeps import figures as maps

LONG = "cross-entropy on the examples of the group that carries both halves, of the network without activation noise; a note"


@pytest.fixture
def swept():
    """Invented errors of three algorithms over r and kappa, each a factor of 10 below the last."""
    dims = ("r", "kappa", "algorithm", "seed")
    factor = np.array([1.0, 0.1, 0.01])[None, None, :, None]
    values = factor * np.linspace(0.2, 0.4, 6).reshape(3, 2)[:, :, None, None] * np.linspace(0.9, 1.1, 4)
    values[0, 0] = 0.05  # equal in all panels
    return xr.Dataset({"test_error_p": (dims, values), "loss_mixed": (dims, values, {"long_name": LONG, "units": "nat"}),
                       "diverged_at": (dims, np.full(values.shape, np.inf))},
                      coords={"r": [0.1, 0.2, 0.3], "kappa": [0.5, 0.6], "algorithm": ["L-S", "S", "S+noise"],
                              "seed": np.arange(4)})


def test_panels_of_algorithms_have_a_line_each_and_it_is_theirs(swept):
    part = maps.select(swept, {"kappa": "0.5"})
    figure = maps.line(part, "r", "test_error_p", "algorithm")
    shown = [a for a in figure.axes if a.get_visible()]
    assert [a.get_title() for a in shown] == ["L-S", "S", "S+noise"]
    for axis in shown:
        (line,) = axis.lines
        assert line.get_label() == axis.get_title()
        assert [t.get_text() for t in axis.get_legend().get_texts()] == [axis.get_title()]
        expected = part["test_error_p"].sel(algorithm=axis.get_title()).mean("seed").squeeze()
        np.testing.assert_allclose(line.get_ydata(), expected)
    whole = maps.line(part, "r", "test_error_p")
    assert [line.get_label() for line in whole.axes[0].lines] == ["L-S", "S", "S+noise"]
    by_kappa = maps.line(maps.select(swept, {"algorithm": "S"}), "r", "test_error_p", "kappa")
    assert [len(a.lines) for a in by_kappa.axes[:2]] == [1, 1]


@pytest.mark.parametrize("measurement", ["test_error_p", "loss_mixed"])
@pytest.mark.parametrize("panels", ["algorithm", "kappa"])
def test_equal_values_have_equal_colours_in_all_panels(swept, measurement, panels):
    part = swept if panels == "algorithm" else maps.select(swept.assign_coords(kappa=[0.5, 0.6]), {"algorithm": "S"})
    y = "kappa" if panels == "algorithm" else "lambda"
    if panels == "kappa":
        part = xr.concat([part, 2 * part], "lambda").assign_coords({"lambda": [1.0, 2.0]}).transpose(
            "r", "kappa", "lambda", "algorithm", "seed")
    figure = maps.heat_map(part, "r", y, measurement, panels)
    meshes = [a.collections[0] for a in figure.axes if a.get_title()]
    assert len({id(mesh.norm) for mesh in meshes}) == 1
    seen = {}
    for mesh in meshes:
        for value, colour in zip(mesh.get_array().ravel(), mesh.to_rgba(mesh.get_array().ravel()), strict=True):
            assert seen.setdefault(round(float(value), 9), tuple(colour)) == tuple(colour)
    (bar,) = [a for a in figure.axes if a.get_label() == "<colorbar>"]
    low, high = (f(m.get_array().min() if f is min else m.get_array().max() for m in meshes) for f in (min, max))
    np.testing.assert_allclose(bar.get_ylim(), (low, high), rtol=1e-6)


def labels_within(figure):
    """Whether every axis label lies within its figure."""
    FigureCanvasAgg(figure).draw()
    whole = figure.bbox.padded(1)
    return all(whole.contains(*corner) for axis in figure.axes for label in (axis.xaxis.label, axis.yaxis.label)
               if label.get_text() for corner in label.get_window_extent().corners())


def test_long_labels_are_read_to_their_ends(swept):
    for figure in (maps.line(maps.select(swept, {"kappa": "0.5"}), "r", "loss_mixed"),
                   maps.line(maps.select(swept, {"kappa": "0.5"}), "r", "loss_mixed", "algorithm"),
                   maps.heat_map(swept, "r", "kappa", "loss_mixed")):
        assert any("activation noise" in a.get_ylabel().replace("\n", " ") for a in figure.axes)
        assert labels_within(figure)


@pytest.mark.parametrize("draw", [
    lambda r: maps.line(r, "algorithm", "test_error_p"), lambda r: maps.line(r, "r", "test_error_p", "r"),
    lambda r: maps.heat_map(r, "algorithm", "r", "test_error_p"),
    lambda r: maps.heat_map(r, "r", "kappa", "test_error_p", "r"),
    lambda r: maps.heat_map(r, "r", "r", "test_error_p")])
def test_one_axis_in_two_roles_is_refused_in_one_line(swept, draw):
    with pytest.raises(ConfigError, match="lie along the same axis") as error:
        draw(swept)
    assert str(error.value).isprintable()


@pytest.fixture(scope="module")
def neurons_and_theory():
    """Invented errors of two sweeps over r and eta_ratio: of neurons, and at infinite width at more points along r."""
    def swept(engine, r, **changes):
        config = lt.preset("phase").replace(engine=engine, seeds=4, **changes)
        dims, shape = ("r", "eta_ratio", "algorithm", "seed"), (len(r), 2, 2, 4)
        values = np.broadcast_to(np.array(r)[:, None, None, None] * np.array([1.0, 3.0])[:, None, None]
                                 * np.array([1.0, 0.1])[:, None] * np.linspace(0.9, 1.1, 4), shape)
        return xr.Dataset({"test_error_p": (dims, values), "diverged_at": (dims, np.full(shape, np.inf))},
                          coords={"r": ("r", r, {"field": "problem.r"}),
                                  "eta_ratio": ("eta_ratio", [1e-4, 1e-2], {"field": "training.eta_ratio"}),
                                  "algorithm": ["L-S", "S"], "seed": np.arange(4)}, attrs={"config": to_json(config)})

    few, many = np.array([0.02, 0.03]), np.array([0.02, 0.022, 0.025, 0.03])
    return (swept("decoupled", few), lambda **changes: swept("infinite", many, **{"network.m_v": 64} | changes), swept)


def test_a_sweep_at_infinite_width_lies_dashed_over_its_sweep(neurons_and_theory):
    """A dashed line an algorithm, darker, through the theory's own points, in each panel that of the panel's value."""
    runs, theory, _ = neurons_and_theory
    figure = maps.line(runs, "r", "test_error_p", "eta_ratio", theory())
    for axis, factor in zip([a for a in figure.axes if a.get_visible()], (1.0, 3.0), strict=True):
        solid, dashed = ([line for line in axis.lines if len(line.get_xdata()) == count] for count in (2, 4))
        assert len(solid) == len(dashed) == 2
        for over, one, share in zip(dashed, solid, (1.0, 0.1), strict=True):
            np.testing.assert_allclose(over.get_xdata(), [0.02, 0.022, 0.025, 0.03])
            np.testing.assert_allclose(over.get_ydata(), factor * share * over.get_xdata())
            assert over.get_linestyle() == "--"
            np.testing.assert_allclose(to_rgb(over.get_color()), 0.45 * np.array(to_rgb(one.get_color())))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["L-S", "S", "infinite width"]
    chosen = maps.line(maps.select(runs, {"eta_ratio": "1e-2"}), "r", "test_error_p", theory=theory())
    np.testing.assert_allclose(chosen.axes[0].lines[1].get_ydata()[-1], 0.09)


def test_a_theory_of_something_else_is_refused_in_one_line(neurons_and_theory):
    runs, theory, swept = neurons_and_theory
    other = {"the decoupled engine": swept("decoupled", np.array([0.02, 0.03])), "problem.gamma0 = 0.5": theory(
        **{"problem.gamma0": 0.5}), "covers a time of": theory(**{"training.steps": 100}),
        "a sweep over problem.r; must be over training.eta_ratio x problem.r": theory().isel(eta_ratio=0),
        "no point at eta_ratio = 0.01": theory().isel(eta_ratio=[0]), "has no contrast": theory(),
        "has S but not this L-S": theory(algorithms=("S",)),
        "training.batch_size = 16; must be None": theory(**{"training.batch_size": 16, "training.tolerance": 0.0})}
    for said, there in other.items():
        y = "contrast" if "contrast" in said else "test_error_p"
        with pytest.raises(ConfigError, match=said) as error:
            maps.line(runs.assign(contrast=runs["test_error_p"]), "r", y, "eta_ratio", there)
        assert str(error.value).isprintable()


def test_the_limit_is_level_over_the_number_of_neurons(neurons_and_theory):
    """Infinite width has no such axis."""
    _, _, swept = neurons_and_theory
    few = [swept("decoupled", np.array([0.02])).assign_coords(m_v=m).expand_dims("m_v") for m in (64, 256)]
    runs = xr.concat(few, "m_v")
    runs["m_v"].attrs["field"] = "network.m_v"
    figure = maps.line(maps.select(runs, {"eta_ratio": "1e-4"}), "m_v", "test_error_p", theory=swept(
        "infinite", np.array([0.02])))
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [0.02, 0.02])


def test_the_command_draws_a_theory_over_lines_of_a_sweep_alone(neurons_and_theory, monkeypatch):
    runs, theory, _ = neurons_and_theory
    monkeypatch.setattr(plot, "load", {Path("limit"): theory()}.__getitem__)
    line = PlotArguments(Path("f"), x="r", y="test_error_p", panels="eta_ratio", theory=Path("limit"))
    (make,) = plot.of_sweep(line, runs).values()
    assert "infinite width" in [t.get_text() for t in make().axes[0].get_legend().get_texts()]
    with pytest.raises(ConfigError, match="over a heat map"):
        plot.of_sweep(PlotArguments(Path("f"), x="r", y="eta_ratio", z="test_error_p", theory=Path("limit")), runs)
    with pytest.raises(ConfigError, match="must be a sweep"):
        plot.of_run(PlotArguments(Path("f"), theory=Path("limit")), runs)


def test_a_cell_without_errors_does_not_look_empty(swept):
    """Of an error of exactly 0 there is no logarithm; a point of which all runs diverged stays grey."""
    runs = swept.sel(algorithm="S")[["test_error_p", "diverged_at"]].copy(deep=True)
    runs["test_error_p"][2, 1] = 0.0
    runs["test_error_p"][1, 1] = 0.2
    runs["diverged_at"][1, 0] = 3.0
    runs["test_error_p"][2, 0] = 1e-4
    figure = maps.heat_map(runs.expand_dims("algorithm", 2), "r", "kappa", "test_error_p")
    mesh = figure.axes[0].collections[0]
    colours = mesh.to_rgba(mesh.get_array())[..., 3].T
    assert colours[2, 1] == 1
    assert colours[1, 0] == 0
