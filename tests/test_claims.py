"""Claims: on data of which they hold each does, and each statistic has opponents that turn it (`opponents`)."""

import honest
import jax
import numpy as np
import opponents
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.predictions import PREDICTIONS, error
from lrtheory.predictions import verify as verifying
from lrtheory.spec import ConfigError
from lrtheory.theory import programs, simulate
from lrtheory.theory.problem import sample, sample_test

pytestmark = pytest.mark.xdist_group("verify")  # they share programs, so one process takes them all


SLOW = "bound", "floor", "error"
"""Claims whose part of the table takes half of its time."""


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.thorough] if name in SLOW else [])
                                        for name in opponents.CLAIMS])
def table(request):
    """A claim's name and its part of the table."""
    return request.param, opponents.judged(request.param)


def test_every_statistic_of_a_claim_holds_of_the_theory_and_fails_of_an_opponent(table):
    _, found = table
    assert set(found["theory"].values()) == {"holds"}, found["theory"]
    failed = {statistic for opponent in opponents.OPPONENTS for statistic, v in found[opponent].items() if v == "fails"}
    assert failed == set(found["theory"])
    assert set(found["law"].values()) == {"fails"}, found["law"]
    assert not found["also"], found["also"]


def test_a_claim_on_a_difference_fails_with_its_labels_exchanged(table):
    name, found = table
    opponent = opponents.TABLES[name]
    assert opponent.differs == (not isinstance(opponent.labels, str))
    assert not opponent.differs or "fails" in found["labels"].values()


SEPARATE = {"error": ("error on P: S less L-S", "error on P at matched", "test loss on P", "exponent in kappa"),
            "bound": ("exponent in kappa", "largest test error"), "floor": ("least test error", "least test loss")}
"""Statistics that tell L-S from S: of labels exchanged, of chance and of L-S without noise each fails."""


def test_what_tells_the_algorithms_apart_fails_of_every_opponent(table):
    name, found = table
    for opponent in ("labels", "chance", "quiet"):
        for start in SEPARATE.get(name, ()):
            [verdict] = [v for statistic, v in found[opponent].items() if statistic.startswith(start)]
            assert verdict == "fails", (opponent, start)


def test_the_table_is_printed(capsys):
    assert opponents.main(["order"]) == 0
    told = capsys.readouterr().out
    assert "Q halved before P under S" in told
    assert all(f"{name}: {what}" in told for name, what in opponents.OPPONENTS.items())
    assert opponents.main(["ordre"]) == 2
    assert "ordre: unknown; must be among variance" in capsys.readouterr().err


def statistics(name, runs):
    """{statistic: verdict}."""
    return opponents.verdicts(name, runs)


@pytest.mark.parametrize("name", ["order", "error", "mitigation"])
def test_algorithms_that_are_followed_for_different_times_are_not_judged(name):
    """--training.step-time 0: S ends at a small part of L-S's time."""
    short = {key: honest.of(run, "S", time=1e-4) if run.sizes["algorithm"] > 1 else run
             for key, run in honest.RUNS[name]().items()}
    with pytest.raises(ConfigError, match=r"S was followed to time .*; set training\.step_time"):
        statistics(name, short)


def test_a_time_that_never_comes_is_not_resolved():
    never = honest.over_axis([1.0, 0.5, 0.25], {"annealed_at": np.full((3, 1, honest.SEEDS), np.inf)}, ["L-S"], "eta1")
    found = statistics("annealing", honest.annealing() | {"rates": never})
    assert found["exponent of the time to anneal in eta1"] == "not resolved"


def test_a_q_that_is_never_learned_fails():
    """It is neither first halved after annealing nor within a few T_Q of it."""
    run = honest.of(honest.course(), "L-S", time_q_half=np.inf, loss_q=lambda q: q.where(q > 0.5, np.log(2)))
    found = statistics("plateau", {"main": run})
    assert {name for name, verdict in found.items() if verdict == "fails"} >= {
        "Q's loss is first halved after annealing", "time from annealing until Q's loss is halved, over T_Q"}


@pytest.mark.parametrize("by", [0.5, 30.0])
def test_a_contrast_otherwise_than_its_closed_form_fails(by):
    """Half of it; and that without noise."""
    found = statistics("plateau", opponents.wrong("main", "L-S", contrast=by)({"main": honest.course()}))
    assert [v for s, v in found.items() if s.startswith("contrast")] == ["fails"]


def test_runs_that_were_cut_decide_nothing():
    """Claim 12: S, never at the small loss that it is to reach."""
    cut = opponents.literal("held kappa eps1 q", "S", stopped=lambda c, v: np.inf)
    assert set(statistics("floor", cut({})).values()) == {"not resolved"}


def test_errors_are_read_at_the_time_that_all_reach():
    """Claim 13: L-S goes on for half as long again, and forgets P: that is not the price of order."""
    longer = honest.noise() | {"base": xr.concat(
        [honest.side([0.0007], [180], [280], [1.27], ["L-S"], 500.0, (1.0, 60.0)),
         honest.side([0.019], [np.inf], [6.0], [1e-4], ["S"])], "algorithm")}
    first, *_ = opponents.CLAIMS["noise"].judge(longer, 0.99)
    assert first.value == pytest.approx(0.019 - 0.0007 * (1 + 59 * 0.5), abs=0.002)


def test_without_noise_the_small_rate_takes_every_iteration():
    """Claim 13: K micro-steps with the gradient frozen would be L-S's own step, whatever the rate."""
    needs = PREDICTIONS["noise"].needs(lt.preset("phase"))
    quiet, finer = (needs[key].config.training for key in ("quiet", "finer"))
    assert finer.step_time == 0
    assert finer.eta1 * finer.eta_ratio == pytest.approx(quiet.eta1 / 8)
    assert finer.duration == pytest.approx(quiet.duration)
    assert quiet.noise_level == finer.noise_level == 0


def test_what_is_compared_is_compared_at_one_time():
    """Where a step is one iteration, rates cover different times: each point of a sweep is given its own number of steps."""
    base = verifying.base_config("quick", "minibatch")
    (fields, values), = PREDICTIONS["transition"].needs(base)["ratios"].axes
    assert fields == ("training.eta_ratio", "training.steps")
    covered = [steps * base.training.eta1 * ratio for ratio, steps in values]
    np.testing.assert_allclose(covered, base.training.duration, rtol=1e-3)
    needs = PREDICTIONS["limit"].needs(base)
    large, small = (needs[f"decoupled, {a}"].config.training for a in ("L-S", "S"))
    assert large.steps == 1500
    assert small.duration == pytest.approx(1500 * base.training.eta1, rel=1e-3)
    for name in ("annealing", "error"):
        for key, need in PREDICTIONS[name].needs(small_of(verifying.base_config("quick"))).items():
            for (fields, values) in need.axes or (((), ((),)),):
                for row in values:
                    problem = need.config.replace(**dict(zip(fields, row, strict=True))).problem if need.axes else (
                        need.config.problem)
                    assert problem.d / problem.n_train == pytest.approx(0.25 * (2 if key == "wide" else 1), rel=0.02)


def small_of(base):
    """The same, which gives N and not kappa."""
    return base.replace(**{"problem.N": base.problem.n_train, "problem.kappa": None})


def test_where_nothing_blurs_no_order_flips():
    """Without noise t_blur is infinite at every ratio of rates, one number in the labels: not resolved, not a fault."""
    run = honest.transition()["ratios"]
    found = statistics("transition", {"ratios": run.drop_vars("blur_ratio_small").assign_coords(blur_ratio_small=np.inf)})
    assert [v for s, v in found.items() if s.startswith("P halved")] == ["not resolved"]


@pytest.mark.thorough
def test_classifiers_err_less_on_more_examples():
    few, everything = error.classifiers(honest.PHASE, (0, 1)).T
    assert np.all((everything < few) & (few < 0.3))


@pytest.mark.parametrize("cosine", [-0.3, 0.0, 0.8, 0.98])
def test_the_error_of_a_linear_classifier_is_that_on_test_points(cosine):
    """Against 200,000 test points, within 4 standard errors."""
    problem = lt.preset("phase").problem
    data = sample(problem, jax.random.key(0))
    test = sample_test(problem, data, 200_000, jax.random.key(1))
    w_star, across = np.asarray(data.basis[0]), np.eye(problem.d)[0]
    across -= (across @ w_star) * w_star
    weights = cosine * w_star + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)
    wrong = np.mean(np.asarray(test.y) * (np.asarray(test.x1) @ weights) <= 0)
    assert abs(error.linear_error(problem, 3 * weights, w_star) - wrong) < 4 * np.sqrt(wrong / 200_000)


PLANTED = {
    "variance": {"training.noise_level": 0.0},   # noise left out
    "plateau": {"training.noise_level": 0.0},
    "order": {"training.eta_ratio": 1.0},        # the wrong rate in S's schedule
    "error": {"training.eta_ratio": 1.0},
    "mitigation": {"training.activation_noise": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_fails(name):
    report = verifying.verify(verifying.base_config("quick").replace(**PLANTED[name]), [name])
    assert report["claims"][0]["verdict"] == "fails", report["claims"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), [
    ("plateau", {"training.eps1": -10.0}),              # annealing never happens
    ("transition", {"training.noise_level": 0.0})])     # nothing blurs
def test_a_planted_violation_is_not_a_pass(name, changes):
    report = verifying.verify(verifying.base_config("quick").replace(**changes), [name])
    assert report["claims"][0]["verdict"] in ("fails", "not resolved"), report["claims"][0]


@pytest.fixture
def planted_code():
    """Programs compiled before a fault is planted, or with it, must not serve a test."""
    jax.clear_caches()
    programs.functions.cache_clear()
    yield
    jax.clear_caches()
    programs.functions.cache_clear()


@pytest.mark.slow
def test_shuffled_labels_fail(monkeypatch, planted_code):
    def shuffled(problem, key):
        data = sample(problem, key)
        return data._replace(y=jax.random.permutation(jax.random.fold_in(key, 1), data.y))

    monkeypatch.setattr(simulate, "sample", shuffled)
    report = verifying.verify(verifying.base_config("quick"), ["order", "error"])
    assert [c["verdict"] for c in report["claims"]] == ["fails", "fails"], report["claims"]


@pytest.mark.slow
def test_halves_that_are_swapped_fail(monkeypatch):
    """What is W's and P's is reported as V's and Q's, and the other way round."""
    honest = verifying.run

    def swapped(config):
        run = honest(config)
        pairs = (("loss_p", "loss_q"), ("time_p_half", "time_q_half"), ("signal_norm_w", "signal_norm_v"))
        return run.rename({a: b for pair in pairs for a, b in (pair, pair[::-1])})

    monkeypatch.setattr(verifying, "run", swapped)
    report = verifying.verify(verifying.base_config("quick"), ["plateau", "order"])
    assert [c["verdict"] for c in report["claims"]] == ["fails", "fails"], report["claims"]


@pytest.mark.slow
def test_errors_that_scale_otherwise_fail():
    prediction, level = PREDICTIONS["error"], 0.995
    runs = {k: lt.run(need.config) for k, need in prediction.needs(verifying.base_config("quick")).items()}

    def found(**changes):
        return {s.name: s.verdict for s in prediction.judge(runs | changes, level)}

    def times(key, factor):
        return runs[key].assign(test_error_p=factor * runs[key]["test_error_p"])

    honest = found()
    assert "fails" not in honest.values()
    reversed_ = runs["wide"].assign(test_error_p=xr.where(runs["wide"]["algorithm"] == "S", 1e3, 1.0)
                                * runs["wide"]["test_error_p"])  # S ever worse as kappa grows
    for changes, part in (({"wide": reversed_}, "exponent in kappa"), ({"main": times("main", 10)}, "exponent in T_P/T_Q"),
                          ({"sharp": times("sharp", 0.1)}, "S's error over that of logistic regression"),
                          ({"dense": times("dense", 0.1)}, "S's error over that of logistic regression")):
        verdicts = [v for k, v in found(**changes).items() if k.startswith(part)]
        assert "fails" in verdicts, (part, verdicts)
