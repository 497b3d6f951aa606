"""Summaries, verdicts, folders and figures, on results whose answer is known."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import vary

import lrtheory as lt
from lrtheory.cli import report
from lrtheory.files import prepare_folder
from lrtheory.labelled import config_of
from lrtheory.theory import figures, results

pytestmark = pytest.mark.xdist_group("results")  # they share programs, so one process takes them all


@pytest.fixture(scope="module")
def runs():
    """A short batch of three algorithms."""
    config = lt.preset("quick").replace(
        seeds=3, records=12, n_test=256, algorithms=("L-S", "S", "S+noise"),
        **{"training.steps": 60, "training.activation_noise_form": "shared", "network.m_v": 64, "network.m_w": 16})
    return lt.run(config)


def planted(runs, err_ls, err_s, order=True, diverged=()):
    """The dataset with chosen final errors on P, half times and diverged seeds."""
    runs = runs.sel(algorithm=["L-S", "S"]).copy(deep=True)
    for name, errors in (("L-S", err_ls), ("S", err_s)):
        runs["test_error_p"].loc[{"algorithm": name, "record": 12}] = errors
    runs["time_p_half"].values[:] = [[3.0, 3.0, 3.0], [np.inf, 9.0, 9.0]]
    runs["time_q_half"].values[:] = [[np.inf, 4.0, 5.0], [1.0, 1.0, 2.0]] if order else [[1.0, 1.0, 1.0]] * 2
    for name, seed in diverged:
        runs["diverged_at"].loc[{"algorithm": name, "seed": seed}] = 2.0
        runs["test_error_p"].loc[{"algorithm": name, "seed": seed}] = np.nan
    return runs


def test_every_variable_is_labelled_with_units(runs):
    assert runs.sizes == {"algorithm": 3, "seed": 3, "record": 13}
    for name in runs.data_vars:
        assert runs[name].attrs["units"]
        assert runs[name].attrs["long_name"]
    for fact in ("jax", "python", "device", "precision", "git_revision", "compile_seconds", "wall_seconds"):
        assert fact in runs.attrs
    assert float(runs["time"][0, 0, 0]) == 0


def test_summary_has_mean_sem_and_every_seed(runs):
    summary = results.summarise(planted(runs, [0.01, 0.02, 0.03], [0.2, 0.2, 0.23]))
    found = summary["algorithms"]["L-S"]["test_error_p"]
    assert found["mean"] == pytest.approx(0.02)
    assert found["sem"] == pytest.approx(0.01 / np.sqrt(3))
    assert found["per_seed"] == pytest.approx([0.01, 0.02, 0.03])
    times = summary["algorithms"]["L-S"]["time_q_half"]
    assert times == {"mean": None, "sem": None, "per_seed": [None, 4.0, 5.0]}
    assert set(summary["algorithms"]) == {"L-S", "S"}
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(("err_ls", "err_s", "order", "ratio_holds", "order_holds"), [
    ([0.01, 0.02, 0.03], [0.2, 0.2, 0.23], True, True, True),
    ([0.01, 0.02, 0.03], [0.2, 0.2, 0.23], False, True, False),
    ([0.01, 0.02, 0.03], [0.03, 0.03, 0.03], True, False, True),  # less than twice
    ([0.0, 0.0, 0.1], [0.1, 0.2, 0.3], True, False, True),  # intervals overlap
    ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], True, False, True),
    ([0.0, 0.0, 0.0], [0.1, 0.1, 0.1], True, True, True),
])
def test_verdict_follows_the_numbers(runs, err_ls, err_s, order, ratio_holds, order_holds):
    verdict = results.verdict(planted(runs, err_ls, err_s, order))
    assert verdict["error_ratio"]["holds"] is ratio_holds
    assert verdict["learning_order"]["holds"] is order_holds


def test_order_counts_a_time_never_reached_as_later(runs):
    sides = results.verdict(planted(runs, [0.1] * 3, [0.1] * 3))["learning_order"]
    assert (sides["S"]["seeds"], sides["L-S"]["seeds"]) == (3, 3)


def test_diverged_seeds_are_named_and_left_out(runs):
    bad = planted(runs, [0.01, 0.02, 0.03], [0.2, 0.2, 0.23], diverged=[("S", 1)])
    summary = results.summarise(bad)
    side = summary["algorithms"]["S"]
    assert side["diverged_seeds"] == [1]
    assert side["test_error_p"]["per_seed"] == [pytest.approx(0.2), None, pytest.approx(0.23)]
    assert side["test_error_p"]["mean"] == pytest.approx(0.215)
    assert summary["verdict"]["learning_order"]["S"]["of"] == 2
    assert any("diverged: S, seeds 1" in line for line in report.verdict_lines(summary))
    everything = planted(runs, [0.01] * 3, [0.2] * 3, diverged=[("S", 0), ("S", 1), ("S", 2)])
    summary = results.summarise(everything)
    assert summary["verdict"]["error_ratio"]["holds"] is False
    shown = figures.learning_order(everything)
    assert shown._repr_png_().startswith(b"\x89PNG")  # a notebook shows it as it is


def test_one_seed_gives_no_verdict(runs):
    single = planted(runs, [0.01] * 3, [0.2] * 3).isel(seed=[1])
    verdict = results.verdict(single)
    assert not verdict["error_ratio"]["holds"]
    assert not verdict["learning_order"]["holds"]
    assert report.run_closing(results.summarise(single))


def test_an_algorithm_alone_has_no_comparison(runs):
    alone = results.summarise(runs.sel(algorithm=["S"]))
    assert alone["verdict"]["error_ratio"] is None
    assert alone["verdict"]["learning_order"] is None
    assert "mitigation" not in alone["verdict"]
    assert report.run_closing(alone)
    assert results.summarise(runs)["verdict"]["mitigation"] is not None


def test_a_folder_holds_everything_and_reads_back(runs, tmp_path):
    folder = tmp_path / "run"
    config = config_of(runs, lt.Config)
    prepare_folder(folder, config)
    summary = results.save(runs, folder)
    figures.save_all(runs, folder / "figures")
    xr.testing.assert_identical(lt.load(folder), runs)
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert config_of(lt.load(folder), lt.Config) == config
    assert {p.name for p in (folder / "figures").iterdir()} == {f"{name}.png" for name in figures.FIGURES}
    with pytest.raises(lt.ConfigError, match="exists and is not empty"):
        prepare_folder(folder, config)
    with pytest.raises(lt.ConfigError, match=r"no results\.zarr"):
        lt.load(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(lt.ConfigError, match="exists and is not empty"):
        prepare_folder(tmp_path / "file", config)
    with pytest.raises(lt.ConfigError, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "below", config)
    assert (tmp_path / "file").read_text() == "mine"


def test_figures_draw_from_results_alone_and_leave_the_style_alone(runs):
    import matplotlib

    before = dict(matplotlib.rcParams)
    for draw in figures.FIGURES.values():
        figure = draw(runs)
        assert isinstance(figure, matplotlib.figure.Figure)
        assert all(axis.get_xlabel() or True for axis in figure.axes)
    for error in (0 * runs["test_error_p"], (0 * runs["test_error_p"]).where(runs["record"] != 1, 0.1)):
        figures.test_error_on_p(runs.assign(test_error_p=error))._repr_png_()  # no errors, or early ones only: no warning
    assert dict(matplotlib.rcParams) == before
    labels = [line.get_label() for line in figures.learning_order(runs).axes[0].lines]
    assert {"P only", "both halves", "Q only"} <= set(labels)


def test_own_algorithms_go_through_the_same_table(small):
    mine = {"warm": lt.Algorithm(lt.step_decay([0.5, 0.2, 0.05], [5.0, 10.0]), lt.constant(0.0))}
    runs = lt.run(vary(small, seeds=2), algorithms=mine)
    assert runs["algorithm"].values.tolist() == ["warm"]
    assert runs["phase"].values.max() == 2
    assert report.run_closing(lt.summarise(runs))
    assert figures.learning_order(runs)
