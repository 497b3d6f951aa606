"""Summaries, verdicts, folders and figures, on results whose answer is known."""

import io
import json

import numpy as np
import pytest
import xarray as xr
from conftest import same, vary
from rich.console import Console

import lrtheory as lt
from lrtheory.cli import report
from lrtheory.files import prepare_folder
from lrtheory.labelled import config_of
from lrtheory.stacking import record_steps
from lrtheory.theory import examples, figures, results

pytestmark = pytest.mark.xdist_group("results")  # they share programs, so one process takes them all


@pytest.fixture(scope="module")
def runs():
    """A short batch of three algorithms."""
    config = lt.preset("quick").replace(
        seeds=9, records=12, n_test=256, algorithms=("L-S", "S", "S+noise"),
        **{"training.steps": 60, "training.activation_noise_form": "shared", "network.m_v": 64, "network.m_w": 16})
    return lt.run(config)


NINE = np.linspace(0.0, 1.0, 9)


def planted(runs, err_ls, err_s, order=True, diverged=(), first=9):
    """The dataset with chosen final errors on P (and test losses), half times and diverged seeds, of its first seeds."""
    runs = runs.sel(algorithm=["L-S", "S"]).isel(seed=slice(first)).copy(deep=True)
    for name, errors in (("L-S", err_ls), ("S", err_s)):
        for metric in ("test_error_p", "test_loss_p"):
            runs[metric].loc[{"algorithm": name, "record": 12}] = errors
    runs["time_p_half"].values[:] = [[3.0], [9.0]]
    runs["time_q_half"].values[:] = [[4.0], [1.0]] if order else [[1.0], [1.0]]
    runs["annealed_at"].loc[{"algorithm": "L-S"}] = 1.0
    for name, seed in diverged:
        runs["diverged_at"].loc[{"algorithm": name, "seed": seed}] = 2.0
        runs["test_error_p"].loc[{"algorithm": name, "seed": seed}] = np.nan
    for name in ("time_p_half", "time_q_half"):
        runs[name].values[:] = runs[name].values * float(runs["time"].max()) / 10  # within the runs
    return runs


def test_every_variable_is_labelled_with_units(runs):
    assert runs.sizes == {"algorithm": 3, "seed": 9, "record": 13}
    for name in runs.data_vars:
        assert runs[name].attrs["units"]
        assert runs[name].attrs["long_name"]
    for fact in ("jax", "python", "device", "precision", "git_revision", "compile_seconds", "wall_seconds"):
        assert fact in runs.attrs
    assert float(runs["time"][0, 0, 0]) == 0


def test_an_error_of_no_test_point_says_what_it_is_below(runs):
    """In tables, sentences, notebooks and figures; but not of Q, whose error is in closed form, nor without test points."""
    none = planted(runs, 0.0, 0.2)
    none["test_error_q"].values[:] = 0.0
    summary, points = results.summarise(none), f"< 1/{9 * 256:,}"
    text = io.StringIO()
    Console(width=140, file=text, color_system=None).print(report.run_closing(summary))
    rows = {line[:20].strip(): line[20:].split("  ") for line in text.getvalue().splitlines()}
    assert points in map(str.strip, rows["test error on P"])
    assert "<" not in "".join(rows["test error on Q"])
    assert f"against L-S {points}, ratio undefined" in text.getvalue()
    assert f"<td>test error on P</td><td>&lt; 1/{9 * 256:,}</td>" in summary._repr_html_()
    axis = figures.test_error_on_p(none).axes[0]
    assert any(text.get_text() == f"none wrong: {points}" for text in axis.texts)
    assert axis.get_ylim()[0] < 1 / (9 * 256)
    assert np.asarray(axis.get_lines()[0].get_ydata(), float)[-1] == pytest.approx(1 / (9 * 256))
    summary["config"]["n_test"] = 0  # in closed form
    assert "<td>test error on P</td><td>0</td>" in summary._repr_html_()


def test_summary_has_mean_sem_and_every_seed(runs):
    bad = planted(runs, [0.01, 0.02, 0.03], [0.2, 0.2, 0.23], first=3)
    bad["time_q_half"].values[0, 0] = np.inf
    summary = results.summarise(bad)
    found = summary["algorithms"]["L-S"]["test_error_p"]
    assert found["mean"] == pytest.approx(0.02)
    assert found["sem"] == pytest.approx(0.01 / np.sqrt(3))
    assert found["per_seed"] == pytest.approx([0.01, 0.02, 0.03])
    times = summary["algorithms"]["L-S"]["time_q_half"]
    assert times == {"mean": None, "sem": None, "per_seed": [None, *bad["time_q_half"].values[0, 1:].tolist()]}
    assert summary["algorithms"]["L-S"]["fitted_first"] == {"P": 3, "Q": 0, "neither": 0}
    assert set(summary["algorithms"]) == {"L-S", "S"}
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(("err_ls", "err_s", "order", "ratio", "order_says"), [
    (0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE, True, "holds", "holds"),
    (0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE, False, "holds", "fails"),
    (0.2 + 0.05 * NINE, 0.01 + 0.02 * NINE, True, "fails", "holds"),
    (0.02 + 0.01 * NINE, 0.03 + 0.01 * NINE, True, "fails", "holds"),  # more, but less than twice
    (0.02 * NINE**6, 0.1 + 0.2 * NINE[::-1], True, "holds", "holds"),
    (0.3 * (NINE == 1), 0.05 + 0.1 * NINE, True, "not resolved", "holds"),  # one seed decides the mean
    (0.0 * NINE, 0.0 * NINE, True, "fails", "holds"),
    (0.0 * NINE, 0.1 + 0 * NINE, True, "holds", "holds"),
])
def test_verdict_follows_the_numbers(runs, err_ls, err_s, order, ratio, order_says):
    verdict = results.verdict(planted(runs, err_ls, err_s, order))
    assert verdict["error_ratio"]["verdict"] == ratio
    assert verdict["learning_order"]["verdict"] == order_says
    if ratio == "holds":
        assert verdict["test_loss"]["verdict"] == "holds"


@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_few_seeds_are_no_evidence(runs, seeds):
    """At 1 - 0.05/4 all of 7 seeds or fewer may agree by chance; 2 resolve nothing at all, however far apart."""
    verdict = results.verdict(planted(runs, 0.01 + 0.02 * NINE[:seeds], 0.2 + 0.05 * NINE[:seeds], first=seeds))
    assert verdict["learning_order"]["S"]["seeds"] == seeds
    assert verdict["learning_order"]["verdict"] == ("holds" if seeds == 8 else "not resolved")
    assert verdict["error_ratio"]["seeds"] == seeds
    assert verdict["error_ratio"]["verdict"] == ("not resolved" if seeds == 2 else verdict["error_ratio"]["verdict"])


def test_exchanged_labels_turn_every_part_of_a_verdict(runs):
    """What tells L-S and S apart must not hold of either's runs under the other's name."""
    right = planted(runs, 0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE)
    right["train_loss"].values[:] = np.linspace(0.7, 0.1, 13)
    wrong = right.assign_coords(algorithm=right["algorithm"].values[::-1])
    for results_, expected in ((right, "holds"), (wrong, "fails")):
        verdict = results.verdict(results_)
        parts = {name: verdict[name]["verdict"] for name in ("error_ratio", "matched_loss", "test_loss", "learning_order")}
        assert parts == dict.fromkeys(parts, expected)


def test_algorithms_are_compared_where_both_have_the_training_loss(runs):
    """S has twice the error at any loss, and goes on to a smaller loss with a smaller error."""
    runs = planted(runs, 0.0 * NINE, 0.0 * NINE)
    loss = np.linspace(0.7, 0.1, 13)
    for name, least, factor in (("L-S", 0.3, 1.0), ("S", 0.1, 2.5)):
        falls = np.maximum(loss, least)
        runs["train_loss"].loc[{"algorithm": name}] = falls
        runs["test_error_p"].loc[{"algorithm": name}] = factor * falls**3 * np.linspace(1.0, 1.05, 9)[:, None]
    verdict = results.verdict(runs)
    assert verdict["error_ratio"]["verdict"] == "fails"
    assert verdict["matched_loss"]["verdict"] == "holds"
    for name in ("L-S", "S"):
        assert verdict["matched_loss"][name]["train_loss"]["mean"] == pytest.approx(0.3)
    assert verdict["matched_loss"]["ratio"] == pytest.approx(2.5)
    told = " ".join(report.verdict_lines(results.summarise(runs)))
    assert "NO  test error on P: S" in told
    assert "YES test error on P at matched training loss: S" in told
    assert "at training losses 0.1" in told


def test_algorithms_followed_for_different_times_are_not_compared(runs):
    """--training.step-time 0: L-S at time 227 beside S at 0.034 is no comparison; up to twice as long, at common time."""
    right = planted(runs, 0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE)
    short = right.copy(deep=True)
    short["time"].loc[{"algorithm": "S"}] = 1e-4 * right["time"].sel(algorithm="S")
    verdict = results.verdict(short)
    for name in ("error_ratio", "matched_loss", "test_loss", "learning_order"):
        assert verdict[name]["verdict"] == "not comparable"
        assert not verdict[name]["holds"]
        assert "S was followed to time" in verdict[name]["reason"]
    told = report.verdict_lines(results.summarise(short))
    assert sum("not comparable: " in line for line in told) == 4
    assert not any("YES" in line for line in told)
    longer = right.copy(deep=True)
    longer["time"].loc[{"algorithm": "L-S"}] = 1.5 * right["time"].sel(algorithm="L-S")
    found = results.verdict(longer)["error_ratio"]["L-S"]["mean"]
    last = right["test_error_p"].sel(algorithm="L-S")  # at two thirds of its own time
    times = longer["time"].sel(algorithm="L-S")
    end = float(right["time"].max())
    expected = np.mean([np.interp(end, times[k], last[k]) for k in range(9)])
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_measurement_at_other_times_is_that_of_its_own_run():
    """Along record, a number a run, and of all runs alike; over more dimensions, too; runs that are others' are refused."""
    rng, dims = np.random.default_rng(0), ("algorithm", "seed", "record")
    labels = {"algorithm": ["L-S", "S"], "seed": [3, 4, 5]}
    time, values = np.sort(rng.random((2, 3, 6)), -1), rng.normal(size=(2, 3, 6))
    one = xr.Dataset({"loss": (dims, values, {"units": "nat"}), "time": (dims, time)},
                     coords=labels | {"step": ("record", np.arange(6))})
    asked = np.sort(rng.random((2, 3, 4)), -1)
    times = xr.DataArray(asked, dims=dims, coords=labels | {"time": (dims, asked), "step": ("record", np.arange(4))})
    found = lt.at_times(one, "loss", times)
    expected = [[np.interp(asked[i, j], time[i, j], values[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(found["time"], asked)
    assert found.attrs == {"units": "nat"}
    np.testing.assert_allclose(lt.at_times(one, "loss", times[..., 2]), found[..., 2])
    level = lt.at_times(one, "loss", 0 * times + 0.5)
    np.testing.assert_allclose(lt.at_times(one, "loss", xr.DataArray(0.5)), level[..., 0])
    several = lt.at_times(one, "loss", times.expand_dims(m_v=[64, 256]))
    np.testing.assert_allclose(several.transpose("m_v", *dims)[1], found)
    assert lt.at_times(one.isel(seed=[]), "loss", times.isel(seed=[])).shape == (2, 0, 4)
    with pytest.raises(ValueError, match="seed"):
        lt.at_times(one.set_coords("time"), "loss", times.assign_coords(seed=[4, 5, 6]))


def test_without_examples_of_a_group_no_order_is_judged(runs):
    """Without Q-only examples Q's loss is not a number and never halved: P does not come before it."""
    none = planted(runs, 0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE)
    none["loss_q"].values[:] = np.nan
    none["time_q_half"].values[:] = np.inf
    summary = results.summarise(none)
    order = summary["verdict"]["learning_order"]
    assert order["verdict"] == "not judged"
    assert "Q-only" in order["reason"]
    assert summary["algorithms"]["L-S"]["fitted_first"] == {"P": 0, "Q": 0, "neither": 0}
    assert summary["verdict"]["error_ratio"]["verdict"] == "holds"
    assert any("not judged" in line for line in report.verdict_lines(summary))
    assert report.run_closing(summary)


def test_order_counts_a_time_never_reached_as_later(runs):
    never = planted(runs, 0.1 * NINE, 0.1 * NINE)
    never["time_p_half"].loc[{"algorithm": "S"}] = np.inf
    never["time_q_half"].loc[{"algorithm": "L-S"}] = np.inf
    sides = results.verdict(never)["learning_order"]
    assert (sides["S"]["seeds"], sides["L-S"]["seeds"]) == (9, 9)


def test_diverged_seeds_are_named_and_left_out(runs):
    bad = planted(runs, [0.01, 0.02, 0.03], [0.2, 0.2, 0.23], diverged=[("S", 1)], first=3)
    summary = results.summarise(bad)
    side = summary["algorithms"]["S"]
    assert side["diverged_seeds"] == [1]
    assert side["test_error_p"]["per_seed"] == [pytest.approx(0.2), None, pytest.approx(0.23)]
    assert side["test_error_p"]["mean"] == pytest.approx(0.215)
    assert summary["verdict"]["learning_order"]["S"]["of"] == 2
    assert summary["verdict"]["error_ratio"]["seeds"] == 2
    assert any("diverged: S, seeds 1" in line for line in report.verdict_lines(summary))
    everything = planted(runs, [0.01] * 3, [0.2] * 3, diverged=[("S", 0), ("S", 1), ("S", 2)], first=3)
    summary = results.summarise(everything)
    assert summary["verdict"]["error_ratio"]["holds"] is False
    shown = figures.learning_order(everything)
    assert shown._repr_png_().startswith(b"\x89PNG")  # a notebook shows it as it is


def test_a_prediction_that_diverged_enters_no_mean(runs):
    theory = runs.isel(seed=slice(3)).copy(deep=True)
    theory["diverged_at"].loc[{"algorithm": "S", "seed": 1}] = 2.0
    theory["test_error_p"].loc[{"algorithm": "S", "seed": 1}] = np.nan
    found = results.summarise(runs.isel(seed=slice(3)), theory)["algorithms"]["S"]["theory"]["test_error_p"]
    assert np.isfinite(found["mean"])
    assert found["per_seed"][1] is None
    figure = figures.test_error_on_p(runs, theory)
    assert figure._repr_png_()
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == runs.sizes["record"] - 1]
    assert len(drawn) == 2 * runs.sizes["algorithm"]  # runs and predictions without the start, at which every output is 0
    line = figures.overlay({"same": runs}, theory, "test_error_p").axes[1].lines[-1]
    assert np.isfinite(line.get_ydata()).all()


def test_one_seed_gives_no_verdict(runs):
    single = planted(runs, [0.01], [0.2], first=1)
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
    summary = lt.save(runs, folder)
    figures.save_all(runs, folder / "figures")
    same(lt.load(folder), runs)
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert config_of(lt.load(folder), lt.Config) == config
    assert {p.name for p in (folder / "figures").iterdir()} == {f"{name}.png" for name in
                                                                   (*figures.FIGURES, *figures.DRAWINGS)}
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


def test_the_gap_is_drawn_against_lambda_times_time(runs):
    """S less L-S, paired over seeds, at the times of S; without either nothing is drawn."""
    shown = planted(runs, 0.01 + 0.02 * NINE, 0.2 + 0.05 * NINE)
    axis = figures.gap(shown).axes[0]
    line = axis.lines[0]
    decay = config_of(shown, lt.Config).training.weight_decay
    assert line.get_xdata()[-1] == pytest.approx(decay * float(shown["time"].max()), rel=1e-3)
    assert line.get_ydata()[-1] == pytest.approx(0.19 + 0.03 / 2)
    band = axis.collections[0].get_paths()[0].get_extents()
    assert band.height > 0
    assert not figures.gap(shown.sel(algorithm=["S"])).axes[0].lines[2:]


@pytest.mark.thorough
def test_own_activation_noise_acts(small):
    """Whether a form of it is set or not; one that is always 0 asks for none."""
    loud = {"loud": lt.Algorithm(lt.constant(0.05), lt.constant(5.0))}
    quiet = lt.run(vary(small, seeds=2), algorithms={"a": lt.Algorithm(lt.constant(0.05))})
    noisy = lt.run(vary(small, seeds=2, training__activation_noise_form="shared"), algorithms=loud)
    assert not np.allclose(quiet["train_loss"], noisy["train_loss"])
    unsaid = lt.run(vary(small, seeds=2), algorithms=loud)
    np.testing.assert_array_equal(unsaid["train_loss"], noisy["train_loss"])
    assert float(unsaid["activation_noise"].max()) == 5.0
    assert small.replace(algorithms=(lt.Algorithm(lt.constant(0.05), lt.constant(0.0)),)).noise_form is None


def test_own_algorithms_go_through_the_same_table(small):
    mine = {"warm": lt.Algorithm(lt.step_decay([0.5, 0.2, 0.05], [5.0, 10.0]), lt.constant(0.0))}
    runs = lt.run(vary(small, seeds=2), algorithms=mine)
    assert runs["algorithm"].values.tolist() == ["warm"]
    assert runs["phase"].values.max() == 2
    assert report.run_closing(lt.summarise(runs))
    assert figures.learning_order(runs)


def test_a_run_that_is_too_short_says_how_long_it_should_be(runs):
    """60 steps of quick: P halves near time 350; the preset has 26,000 steps. Nothing is said once a loss has halved."""
    verdict = results.summarise(runs)["verdict"]
    assert verdict["too_short"] == {"end": pytest.approx(1.2), "p_half_expected": pytest.approx(1.3 * 267.4, rel=1e-3),
                                    "steps": 28_000}
    (line,) = [line for line in report.verdict_lines(results.summarise(runs)) if line.startswith("Too short")]
    assert "by time 1.2; P's halves near 348 at this size. Raise training.steps to 28,000." in line
    assert results.summarise(planted(runs, 0.01 * NINE, 0.2 * NINE))["verdict"]["too_short"] is None
    assert results.summarise(runs.sel(algorithm=["S"]))["verdict"]["too_short"] is None


def test_a_verdict_before_annealing_is_not_a_plain_yes(runs):
    """At a fall of 0.1 a unit of time the loss reaches eps1 + q log 2 = 0.383 at 2.27, and its running mean 15 later."""
    early = planted(runs, 0.01 * NINE, 0.2 + 0.01 * NINE)
    early["train_loss"].loc[{"algorithm": "L-S"}] = 0.61 - 0.1 * early["time"].sel(algorithm="L-S")
    early["annealed_at"].loc[{"algorithm": "L-S"}] = np.where(NINE > 0.5, np.inf, 1.0)
    summary = results.summarise(early)
    training = config_of(early, lt.Config).training
    steps = ((0.61 - training.eps1 - 0.25 * np.log(2)) / 0.1 - 1.2 + training.loss_smoothing) / 0.02
    assert summary["verdict"]["unannealed"] == {"seeds": 4, "of": 9, "steps": pytest.approx(steps, rel=0.05)}
    told = report.verdict_lines(summary)
    assert any(line.startswith("Not annealed: in 4 of 9 seeds L-S ends in its large phase; it takes ") for line in told)
    assert any(line.startswith("YES, before annealing in 4 of 9 seeds: test error on P") for line in told)
    assert "before annealing in 4 of 9 seeds" in summary._repr_html_()
    early["annealed_at"].loc[{"algorithm": "L-S"}] = 1.0
    summary = results.summarise(early)
    assert summary["verdict"]["unannealed"] is None
    assert not any(line.startswith("Not annealed") for line in report.verdict_lines(summary))
    assert any(line.startswith("YES test error on P") for line in report.verdict_lines(summary))


def test_what_a_verdict_lacks_is_said_before_the_run():
    """Seeds that no interval comes from; a trigger of one's own that sees the loss otherwise than L-S's does."""
    config = lt.preset("quick")
    assert report.run_cautions(config) == []
    assert "too few seeds for a verdict, 7: 8 or more" in report.run_cautions(config.replace(seeds=7))[0]
    assert report.run_cautions(config.replace(seeds=1, algorithms=("S",))) == []
    mine = lt.Algorithm(lt.anneal_at_loss(0.02, 2e-6, 0.21), name="mine")
    (said,) = config.replace(algorithms=("L-S", mine)).cautions
    assert said.startswith("algorithms.mine ends a stage by the loss itself, L-S by a mean of its loss over ")
    alike = lt.Algorithm(lt.anneal_at_loss(0.02, 2e-6, 0.21, smoothing=config.training.loss_smoothing), name="mine")
    assert config.replace(algorithms=("L-S", alike)).cautions == config.replace(algorithms=("S", mine)).cautions == []


def test_a_condition_missed_by_a_hair_says_so():
    for value, said in ((0.32, " (missed by a hair)"), (0.34, "")):
        assert report._by_a_hair({"value": value, "bound": "<= 0.3"}) == said


@pytest.mark.parametrize("changes", [{"training__noise_level": 0.0}, {"training__weight_decay": 0.0},
                                     {"problem__q0": 1.0, "problem__p0": 0.0}])
def test_runs_without_a_time_scale_are_saved(small, tmp_path, changes):
    """Without noise, without decay, without P: ratios of time scales are infinite, and said to be."""
    runs = lt.run(vary(small, training__steps=4, records=2, seeds=2, **changes))
    summary = lt.save(runs, tmp_path / "kept")
    found = json.loads((tmp_path / "kept/summary.json").read_text())
    infinite = {c["name"] for c in summary["verdict"]["conditions"] if np.isinf(c["value"])}
    assert infinite
    assert {c["name"] for c in found["verdict"]["conditions"] if c["value"] == "inf"} == infinite
    assert report.verdict_lines(found) == report.verdict_lines(summary)


def test_a_prediction_sees_the_end_of_the_shortest_run(small):
    """Of literal runs at a hundredth of the rate: alone followed for its own time, beside L-S with records early enough."""
    alone = vary(small, algorithms=("S",), training__step_time=0.0, training__eta_ratio=0.01)
    wide = alone.at_infinite_width()
    assert wide.duration == pytest.approx(alone.duration)
    beside = vary(alone, algorithms=("L-S", "S"), training__steps=4000)
    wide = beside.at_infinite_width()
    assert wide.duration == pytest.approx(4000 * 0.5)
    first = record_steps(wide.training.steps, wide.records)[1] * wide.training.step_time
    assert first <= beside.duration


def test_p_is_learned_from_as_many_examples_as_the_runs_time_says(small, monkeypatch):
    """L-S alone, one iteration a step, goes on for as long as its large rate takes, not for eta2's."""
    config = vary(small, algorithms=("L-S",), training__step_time=0.0, training__eta_ratio=0.01, training__eps1=-1.0)
    runs, asked = lt.run(config), []
    curve = examples.learning_curve

    def followed(config, counts=None, *, time=None):
        asked.append(time)
        return curve(config, counts, time=time)

    monkeypatch.setattr(examples, "learning_curve", followed)
    assert examples.learned(config, runs) is not None
    assert asked == [pytest.approx(float(runs["time"].isel(record=-1).min()))]
    assert asked[0] == pytest.approx(30.0)


def test_the_duration_is_the_least_of_what_is_there(small):
    """Of the algorithms that run, and where the engine chooses its steps what it is asked to cover."""
    literal = vary(small, training__step_time=0.0)
    assert literal.duration == pytest.approx(60 * 0.05)
    own = vary(literal, algorithms=(lt.Algorithm(lt.step_decay([0.4, 0.1], [3.0]), name="mine"),))
    assert own.duration == pytest.approx(60 * 0.1)
    assert vary(small, training__step_time=0.7).duration == pytest.approx(60 * 0.5)
    assert vary(small, training__step_time=0.7, engine="infinite").duration == pytest.approx(60 * 0.7)


def test_annealing_by_the_clock_has_no_jitter():
    """What a finite V scatters is the loss."""
    config = lt.preset("phase").replace(algorithms=("L-S",), seeds=2, records=40, n_test=16)
    loss, clock = config, vary(config, training__anneal_time=40.0)
    found = [results.annealing_jitter(c, lt.predict(c)) for c in (loss, clock)]
    assert found[0] is not None
    assert found[1] is None
