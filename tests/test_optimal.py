"""The best schedule: families, budgets, outcomes and their derivatives, the search, the judge."""

import dataclasses
import json
import math

import numpy as np
import pytest
from conftest import vary

import lrtheory as lt
from lrtheory.cli import main as cli
from lrtheory.cli import report
from lrtheory.fields import to_json
from lrtheory.optimal import design as designing
from lrtheory.optimal import search as searching
from lrtheory.optimal.alike import alike, far, reach, worse
from lrtheory.optimal.design import Design, Judged, family_of
from lrtheory.optimal.families import FAMILIES, Budget, Family, mean_inverse
from lrtheory.optimal.figures import figure
from lrtheory.optimal.outcomes import Outcomes
from lrtheory.optimal.search import Best
from lrtheory.schedule import Schedule, Stage
from lrtheory.spec import ConfigError
from lrtheory.stages import SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_iterations_of_a_stage_are_the_integral_of_one_over_the_rate(float64, shape):
    for start, end in ((0.3, 0.02), (0.02, 0.3), (0.1, 0.1)):
        end = start if shape == "constant" else end
        edges = (np.arange(40_000) + 0.5) / 40_000
        rates = Schedule(stages=(Stage(shape=shape, start=start, end=end, duration=1.0),))(edges)
        np.testing.assert_allclose(mean_inverse(start, end, shape), np.mean(1 / np.asarray(rates)), rtol=1e-5)


def test_a_budget_is_used_up(float64):
    for name, make in FAMILIES.items():
        family = make(0.1).check(0.1)
        schedule = family.schedule([0.6] * len(family.numbers))
        laid, time = Budget(0.1, iterations=5000.0).check().lay(schedule)
        clock = (np.arange(400_000) + 0.5) / 400_000 * float(time)
        np.testing.assert_allclose(float(time) * np.mean(1 / np.asarray(laid(clock))), 5000.0, rtol=2e-3, err_msg=name)
        laid, time = Budget(0.1, time=30.0).lay(schedule)
        assert sum(float(s.duration) for s in laid.stages) == pytest.approx(30.0)
        assert time == pytest.approx(30.0)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Budget(0.1).check(), "must be one number and None"),
    (lambda: Budget(0.1, 3.0, 4.0).check(), "one number and None"),
    (lambda: Budget(0.1, time=-3.0).check(), "time = -3"), (lambda: Budget(0.0, time=3.0).check(), "peak = 0"),
    (lambda: Budget(0.1, iterations=0.0).check(), "iterations = 0"),
    (lambda: family_of("cubic", 0.1), "family cubic: must be one of"),
    (lambda: family_of("x: 0.3..0.1 for 1", 0.5), "two finite bounds"),
    (lambda: family_of("x: 0.1 for 1, 0.2 for 1", 0.5), "LOW..HIGH"),
    (lambda: family_of("x: 0.1..0.9 for 1, linear 1 to 0.1", 0.5), "up to the peak rate 0.5"),
    (lambda: family_of("x: 0.1..0.2 until loss 0.3, linear 1 to 0.1", 0.5), "a duration"),
    (lambda: Family.from_text("0.1..0.2"), "must be 'NAME: STAGES'"),
    (lambda: family_of("five: 0.01..0.4 for 0.1..0.9, 0.01..0.4 for 0.1..0.9, linear 0.1..0.5 to 0.1", 0.5), "at most 4"),
    (lambda: family_of("x: 0.1..0.4 for 1, linear 1 to 0", 0.5, True), "of rates above 0 with iterations"),
    (lambda: Family.from_text("x: 0.1..0.2 for 0.1..0.9, linear 0.3..0.4 to"),
     "'linear 0.3..0.4 to' of '0.1..0.2 for 0.1..0.9, linear 0.3..0.4 to': no number after 'to'"),
    (lambda: lt.design(lt.preset("phase"), peak=1.0, time=3.0), "below the stability bound"),
    (lambda: lt.design(lt.preset("phase"), objective="accuracy", time=3.0), "objective"),
])
def test_impossible_budgets_and_families_are_refused_in_one_line(make, said):
    with pytest.raises(ConfigError) as caught:
        make()
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_words_make_a_family():
    family = family_of("mine: 0.001..0.04 for 0.1..0.9, linear 0.2 to 1e-6..1e-3", 0.05)
    assert [n.log for n in family.numbers] == [True, False, True]
    schedule = family.schedule([1.0, 0.5, 0.0])
    assert [float(s.duration) for s in schedule.stages] == pytest.approx([0.5, 0.2])
    pairs = [tuple(map(float, pair)) for pair in schedule.resolved]
    assert pairs == [pytest.approx((0.04, 0.04)), pytest.approx((0.04, 1e-6))]


def test_the_judge_is_paired_over_seeds():
    predicted = np.linspace(1e-4, 5e-4, 8)
    assert Judged(predicted, predicted + np.array([1, -1] * 4) * 1e-5, -5.0, 1.0).agrees
    assert not Judged(predicted, predicted + 1e-5 * np.linspace(0.9, 1.1, 8), -5.0, 1.0).agrees
    assert Judged(predicted, predicted, -5.0, 1.0).agrees
    assert not Judged(predicted, predicted + 1.0, -5.0, 1.0).agrees  # the same in all eight


def test_a_design_of_one_seed_or_of_equal_ones_is_written(tmp_path):
    """There is no interval over one seed, nor one over two that say the same: none is judged, and all is kept."""
    best = Best(family_of("constant", 0.05), np.array([0.5]), 0.1, 0.0, lt.constant(0.02), 10.0, 3)
    for seeds in (1, 2, 8):
        judged = Judged(np.full(seeds, 0.1), np.full(seeds, 0.2), -5.0, 1.0)
        found = Design(lt.preset("phase"), Budget(0.05, time=10.0), "test_error", best, (), {}, {"constant": judged})
        (tmp_path / str(seeds)).mkdir()
        tree = json.loads(found.save(tmp_path / str(seeds)).read_text())["families"]["constant"]
        assert tree["agrees"] is (False if seeds == 8 else None)
        assert tree["difference"]["mean"] == pytest.approx(0.1)
        assert (tree["difference"]["low"] is None) == (seeds < 8)
        report.design_closing(found)


def parabola(centre, width):
    """Outcomes of seeds that scatter, nearly alike everywhere, about 1e-4 (1 + ((u - centre)/width)^2), u the first."""
    class Bowl:
        objective, config, seeds = "test_error", lt.preset("phase").replace(n_test=0), np.arange(8)

        def each(self, places):
            noise = 1e-6 * np.random.default_rng(0).normal(size=(8, 500)) + 5e-5 * np.linspace(-1, 1, 8)[:, None]
            values = [1e-4 * (1 + ((u[0] - centre) / width) ** 2) + 1e-3 * (f.name == "constant") for f, u in places]
            scatter = [noise[:, int(1e4 * u[0]) % 500] for _, u in places]
            return np.array(values)[None] + np.stack(scatter, 1)

    return Bowl()


def of(name, place):
    family = family_of(name, 0.05)
    return Best(family, np.asarray(place), 0.1, 0.0, lt.constant(0.02), 10.0, 3)


def test_what_fresh_seeds_do_not_tell_from_the_best_is_a_set(tmp_path):
    """The range in which a parabola lies within the seeds' scatter of its bottom; a flat number has all of its bounds."""
    best, other, bad = of("drop", [0.5, 0.3, 0.6]), of("cosine", [0.5, 0.1]), of("constant", [0.5])
    for width in (1.0, 3.0):
        found = alike(parabola(0.5, width), best, (other, bad), 0.95)
        large, small, _ = (found.numbers[name] for name in ("large", "small", "rest"))
        inside, below, above = reach(large.tried, 0.5, worse)
        assert inside[0] < 0.5 < inside[-1]
        edge = width * math.sqrt(1e-6 * math.sqrt(2 / 8) * 2.36 / 1e-4)  # where it rises by half an interval's width
        assert inside[-1] - 0.5 == pytest.approx(edge, rel=0.5)
        assert above[0] - inside[-1] <= 1 / 64 + 1e-9  # as finely as said
        assert inside[0] - below[-1] <= 1 / 64 + 1e-9
        near, _, _ = reach(large.tried, 0.5, far)
        assert near[-1] - 0.5 == pytest.approx(min(0.5, width * math.sqrt(0.1)), abs=1 / 64)
        assert tuple(small.told) == tuple(small.near) == pytest.approx((small.number.low, small.number.high))
        assert found.standing("alike") == ["cosine"]
        assert found.standing("worse") == ["constant"]
    curves = {"large": (np.geomspace(5e-4, 0.05, 9), np.linspace(2.0, 1.0, 9))}
    design = Design(lt.preset("phase"), Budget(0.05, time=10.0), "test_error", best, (other, bad), curves, {}, found)
    bar = figure(design).axes[1].get_lines()[2]  # after the curve and the star
    assert tuple(bar.get_xdata()) == (inside[0], inside[-1])
    tree = json.loads(design.save(tmp_path).read_text())["not_told_from_the_best"]
    assert tree["families"]["constant"]["standing"] == "worse"
    assert tree["numbers"]["small"]["not_told"] == pytest.approx(tree["numbers"]["small"]["bounds"])
    said = [str(line) for line in report.design_closing(design).renderables]
    for begun in ("around it, one number at a time, by 8 fresh seeds (test_error in closed form, 0.0001; paired, 95%",
                  "worse: constant (+1e+03% [", "    small: not told from the best 5e-08 (bound) to 0.05 (bound), within"):
        assert any(line.startswith(begun) for line in said), begun


def test_where_no_test_point_is_wrong_nothing_is_told():
    """Errors of 0 have no ratio: that is said, and the whole of each number's bounds is left."""
    class None_:
        objective, config, seeds = "test_error", lt.preset("phase").replace(n_test=64), np.arange(8)

        def each(self, places):
            return np.zeros((8, len(places)))

    best, other = of("drop", [0.5, 0.3, 0.6]), of("cosine", [0.5, 0.1])
    found = alike(None_(), best, (other,), 0.95)
    assert not found.closed_form
    assert found.standing("alike") == ["cosine"]
    large = found.numbers["large"]
    assert tuple(large.told) == pytest.approx((large.number.low, large.number.high))
    design = Design(lt.preset("phase"), Budget(0.05, time=10.0), "test_error", best, (other,), {}, {}, found)
    said = [str(line) for line in report.design_closing(design).renderables]
    assert "not told from it, either: cosine (no ratio)" in said
    assert json.loads(json.dumps(design.tree))["not_told_from_the_best"]["families"]["cosine"]["low"] is None


def test_a_place_that_is_better_than_the_best_of_the_search_is_said_to_be():
    found = alike(parabola(0.5, 0.2), of("drop", [0.2, 0.3, 0.6]), (of("cosine", [0.5, 0.1]),), 0.95)
    assert found.standing("better") == ["cosine"]
    assert found.numbers["large"].told.high > 0.9 * found.numbers["large"].number.at(0.75)  # what is better is not worse


@pytest.fixture(scope="module")
def outcomes():
    """Of a small problem on one seed."""
    problem = lt.Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0, alpha_min=0.2, gamma0=0.3)
    training = lt.Training(eta1=0.5, eta_ratio=0.1, weight_decay=2e-3, step_time=0.5, steps=60)
    config = lt.Config(problem=problem, training=training, network=lt.Network(m_w=16, m_v=32), seeds=1, records=6,
                       n_test=64)
    return Outcomes(config.check().at_infinite_width(), Budget(0.5, time=30.0), "test_loss", [0])


@pytest.mark.thorough
def test_derivatives_through_the_leaps_are_those_of_differences(outcomes):
    for name, place in (("drop", [0.8, 0.6, 0.7]), ("wsd", [0.9, 0.5, 0.8])):
        family = FAMILIES[name](0.5)
        value, slope = outcomes.slope(family, np.array(place))
        assert value == pytest.approx(float(outcomes.values([(family, np.array(place))])[0]), rel=1e-5)
        for k in range(3):
            step = 0.02 * np.eye(3)[k]
            high, low = outcomes.values([(family, place + step), (family, place - step)])
            assert slope[k] == pytest.approx((high - low) / 0.04, rel=0.05, abs=2e-4), (name, k)
    finer = Outcomes(outcomes.config.replace(**{"training.tolerance": 1e-5}), outcomes.budget, "test_loss", [0])
    again = finer.slope(family, np.array(place))[1]  # leaps whose error is 0 have no derivative of their length
    np.testing.assert_allclose(again, slope, rtol=0.05, atol=2e-4)


@pytest.mark.thorough
def test_the_search_finds_what_a_grid_finds(outcomes, monkeypatch):
    family = FAMILIES["constant"](0.5)
    grid = outcomes.values([(family, np.array([u])) for u in np.linspace(0, 1, 24)])
    best = searching.search(outcomes, family)
    assert best.value <= grid.min() * 1.001
    assert best.schedule.stages[0].duration == pytest.approx(30.0)
    assert family.numbers[0].low <= best.numbers["rate"] <= 0.5


@pytest.mark.parametrize("step_time", [0.5, 0.0])
def test_networks_are_read_where_the_schedule_ends(small, step_time):
    """Where a step is an iteration of a small rate, too; a schedule that reaches 0 has no such end."""
    config = vary(small, training__step_time=step_time, engine="decoupled").replace(n_test=64)
    ended = Schedule(stages=(Stage(start=0.5, duration=4.0), Stage(start=0.05, duration=2.0)))
    best = searching.Best(FAMILIES["drop"](0.5), np.zeros(3), 0.1, 0.0, ended, 6.0, 1)
    judged = designing.judge(config, (best,), "test_loss", 2)["drop"]
    assert judged.iterations == pytest.approx(4 / 0.5 + 2 / 0.05, rel=0.05)
    falling = dataclasses.replace(ended.stages[1], shape="linear", start=0.05, end=0.0)
    endless = best._replace(schedule=Schedule(stages=(ended.stages[0], falling)))
    if step_time == 0:
        with pytest.raises(lt.ConfigError, match="above 0 for a schedule that reaches 0"):
            designing.judge(config, (endless,), "test_loss", 2)


@pytest.mark.slow
def test_a_design_from_the_shell_writes_what_it_found(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = vary(small, training__steps=60, seeds=1, n_test=64, engine="decoupled").replace(algorithms=("S",))
    (tmp_path / "config.json").write_text(to_json(config))
    words = ["design", "--config", "config.json", "--family", "drop", "--time", "30", "--competitors", "constant", "cosine",
             "--judges", "3", "--out", "found", "--objective", "test_loss"]
    assert cli.main(words) == 0
    tree = json.loads((tmp_path / "found/design.json").read_text())
    assert set(tree["families"]) == {"drop", "constant", "cosine"}
    drop = tree["families"]["drop"]
    assert drop["searched"] <= tree["families"]["constant"]["searched"] * 1.01  # a constant is a drop without one
    assert drop["measured"]["mean"] == pytest.approx(drop["predicted"]["mean"], rel=0.3)
    same = tree["not_told_from_the_best"]
    assert same["closed_form"]
    assert set(same["numbers"]) == {"large", "small", "rest"}
    assert same["least"] == pytest.approx(drop["predicted"]["mean"], rel=0.2)  # loss in closed form, and on test points
    assert (tmp_path / "found/figures/design.png").exists()
    out = capsys.readouterr().out
    assert "best of drop" in out
    assert "by 3 fresh seeds (test_loss in closed form" in out
    assert cli.main(words) == 2  # the folder is taken
