"""Pictures of the mechanism show the law they are drawn from; every figure goes where and how it is asked for."""

import sys
import types

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from PIL import Image

import lrtheory as lt
from lrtheory import noise
from lrtheory.cli import main as cli
from lrtheory.files import prepare_folder
from lrtheory.labelled import config_of
from lrtheory.theory.figures import mechanism
from lrtheory.theory.timescales import q_time

pytestmark = pytest.mark.xdist_group("results")  # they share a program with test_results


@pytest.fixture(scope="module")
def runs():
    """A short batch."""
    return lt.run(lt.preset("quick").replace(seeds=2, records=5, n_test=64, **{"training.steps": 20, "network.m_v": 64,
                                                                             "network.m_w": 16}))


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    """The same as `lrtheory run` leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    prepare_folder(folder, config_of(runs, lt.Config))
    lt.save(runs, folder)
    return folder


def test_the_problem_is_drawn_as_it_is():
    law = lt.preset("quick").replace(**{"problem.extra_groups": (lt.Group(name="lies", share=0.1, q=-1.0),)})
    left, middle, right = lt.figures.problem(law).axes
    for cloud, side in zip(left.collections, (1, -1), strict=True):
        assert np.all(side * cloud.get_offsets()[:, 0] > law.problem.gamma0)  # cut by w*, with its margin
    said = " ".join(t.get_text() for t in middle.texts)
    assert said.count("y = −1") == 2
    assert "r = 0.02: 1.1°" in said
    words = [t.get_text() for t in right.texts]
    assert {f"{n} {label}" for n, label in zip(law.problem.group_sizes, law.problem.group_labels, strict=True)} <= set(words)
    assert len([p for p in right.patches if isinstance(p, Rectangle)]) == 2 * 4
    assert any("S learns P from about 26 examples, L-S from 166" in w for w in words)


@pytest.mark.parametrize("which", ["eta1", "eta2"])
def test_neurons_move_by_the_law_of_the_noise(which):
    """From the stationary law under eta1: its variance stays; gates of z at two times agree as P(both open) says."""
    config = lt.preset("phase").replace(**{"training.eta_ratio": 0.3})
    training, r = config.training, config.problem.r
    rate = training.eta1 * (1 if which == "eta1" else training.eta_ratio)
    times, count = np.array([0.3, 3.0, 200.0]), 40_000
    start = np.random.default_rng(0).standard_normal((2, count)) / np.array([[1.0], [r]])
    move = noise.micro_steps(rate, np.round(times / rate), training.weight_decay, training.tau_xi)
    variance = np.asarray(noise.variance(1.0, move))
    correlation = (1 + np.asarray(move.shrink)) / np.sqrt(variance)
    _, *moved = mechanism._moved(config, rate, times, start)
    for now, v, rho in zip(moved, variance, correlation, strict=True):
        spread = np.mean(now**2 * np.array([[1.0], [r**2]]), 1)
        assert abs(spread - v).max() < 4 * v * np.sqrt(2 / count)
        agree = np.mean((now[1] >= 0) == (start[1] >= 0))
        assert abs(agree - (0.5 + np.arcsin(rho) / np.pi)) < 4 * 0.5 / np.sqrt(count)


def test_neurons_begin_where_they_tell_the_directions_apart():
    """The law of v.zeta of a neuron with |v.z| < |v.zeta|, r small: E|x| of a density |x| exp(-x^2/2)."""
    x, y = mechanism._between(40_000, 1)
    assert np.all(np.abs(y) <= np.abs(x))
    assert abs(np.mean(np.abs(x)) - np.sqrt(np.pi / 2)) < 0.02
    assert set(mechanism._wedge(np.array([[1.0, 1.0, -1.0, -1.0, 0.1], [0.5, -0.5, 0.5, -0.5, 2.0]]))) == {6, 4, 3, 1, 7}


def test_gates_are_blurred_under_the_large_rate_and_kept_under_the_small():
    config = lt.preset("quick")
    *_, last = lt.figures.gates(config).axes
    shares = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in last.lines if "η" in str(line.get_label())}
    assert set(shares) == {"η₁", "η₂"}
    at = {name: np.interp(1.0, *share) for name, share in shares.items()}  # T_Q later
    assert at["η₁"] < 0.35
    assert at["η₂"] > 0.9
    assert q_time(config.problem) < np.inf
    with pytest.raises(lt.ConfigError, match="T_Q = inf"):
        lt.figures.gates(config.replace(**{"problem.p0": 1.0, "problem.q0": 0.0}))


@pytest.mark.thorough
def test_a_film_shows_both_algorithms(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(mechanism, "FRAMES", 3)
    path = lt.figures.film(runs, tmp_path / "films" / "one.gif")
    with Image.open(path) as film:
        assert film.n_frames == 3
    neurons = mechanism._neurons(runs.isel(seed=0).sel(algorithm="L-S"), config_of(runs, lt.Config))
    assert neurons.shape == (6, 2, mechanism.FILM_NEURONS)
    with pytest.raises(lt.ConfigError, match="must hold L-S and S"):
        lt.figures.film(runs.sel(algorithm=["S"]), tmp_path / "two.gif")
    with pytest.raises(lt.ConfigError, match=r"ending in \.gif"):
        lt.figures.film(runs, tmp_path / "two.mp4")


def test_a_figure_is_drawn_on_what_is_given(runs):
    whole = lt.style.Figure(figsize=(18, 4), layout="constrained")
    left, right = whole.subfigures(1, 2)
    assert lt.figures.gap(runs, figure=left) is left
    lt.figures.problem(runs, figure=right)
    assert [len(left.axes), len(right.axes)] == [2, 3]
    whole._repr_png_()


def test_styles(runs):
    page, wall = lt.figures.gap(runs), lt.figures.gap(runs, style="talk")
    assert wall.axes[0].xaxis.label.get_size() == 14 > page.axes[0].xaxis.label.get_size() == 9
    assert wall.get_figwidth() > page.get_figwidth()
    with matplotlib.rc_context({"font.size": 21.0}):
        assert lt.figures.gap(runs).axes[0].xaxis.label.get_size() == 9
        assert lt.figures.gap(runs, style="mine").axes[0].xaxis.label.get_size() == 21
    with pytest.raises(lt.ConfigError, match="paper, talk, mine"):
        lt.figures.gap(runs, style="poster")


def test_a_figure_is_not_shown_where_there_are_no_windows(runs):
    with matplotlib.rc_context({"backend": "agg"}), pytest.raises(lt.ConfigError, match="agg opens no windows"):
        lt.figures.gap(runs).show()


def test_a_figure_is_shown_in_a_window_of_its_size(runs, monkeypatch):
    opened, shown = [], []

    class Window(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            opened.append(tuple(figure.get_size_inches()))

    backend = types.ModuleType("windows")
    backend.FigureCanvas = Window
    monkeypatch.setitem(sys.modules, "windows", backend)
    with matplotlib.rc_context({"backend": "module://windows"}):
        monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
        figure = lt.figures.gap(runs)
        figure.show()
        plt.close()
    assert shown == [figure]
    assert opened == [tuple(figure.get_size_inches())]


@pytest.mark.parametrize(("words", "made"), [
    ([], ["directions.png", "gap.png", "gates.png", "learning_order.png", "noise_and_signal.png", "problem.png",
          "test_error_on_p.png"]),
    (["--figure", "gates", "--format", "svg", "--style", "talk"], ["gates.svg"]),
    (["--y", "contrast", "--format", "pdf"], ["contrast-over-time.pdf"])])
def test_plot_draws_a_run(folder, words, made, capsys):
    before = set((folder / "figures").glob("*")) if (folder / "figures").exists() else set()
    assert cli.main(["plot", str(folder), *words]) == 0
    said = capsys.readouterr().out.split()
    assert sorted(said) == [str(folder / "figures" / name) for name in made]
    for path in set((folder / "figures").glob("*")) - before:
        assert path.stat().st_size > 1000
        path.unlink()


@pytest.mark.parametrize(("words", "complaint"), [
    (["--figure", "gate"], "must be one of learning_order"),
    (["--y", "contrasts"], "no measurement over time; must be one of"),
    (["--x", "r", "--y", "contrast"], "must be a sweep"), (["--figure", "gap", "--y", "contrast"], "give one of them"),
    (["--out", "a.png"], "say which by --figure"), (["--out", "a.png", "--format", "pdf", "--y", "contrast"], "must agree")])
def test_what_plot_cannot_draw_is_said_in_one_line(folder, words, complaint, capsys):
    assert cli.main(["plot", str(folder), *words]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
