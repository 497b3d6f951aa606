"""Predictions: the decision rule, and for each claim a planted violation that changes its verdict."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.cli.main import main
from lrtheory.fields import to_json
from lrtheory.intervals import decide
from lrtheory.predictions import PREDICTIONS
from lrtheory.predictions import verify as verifying
from lrtheory.predictions.separation import separation
from lrtheory.spec import ConfigError
from lrtheory.theory import programs, simulate
from lrtheory.theory.problem import sample
from lrtheory.theory.timescales import p_time, q_time

pytestmark = pytest.mark.xdist_group("verify")  # they share programs, so one process takes them all

LEVEL = 0.995


def judged(prediction, runs):
    return decide(lambda level: prediction.judge(runs, level), LEVEL).verdict


def _over(field, values, data, **attrs):
    """A dataset (axis, algorithm, seed, record) of one algorithm a name."""
    dims = (field, "algorithm", "seed", "record")
    return xr.Dataset({k: (dims[: v.ndim], v, {"long_name": k}) for k, v in data.items()},
                      coords={field: list(values), "algorithm": list(attrs["algorithms"])})


@pytest.mark.parametrize(("exponent", "expected"), [(-0.5, "holds"), (0.0, "fails")])
def test_exponents_in_the_width_decide(exponent, expected):
    rng, widths, limit = np.random.default_rng(1), PREDICTIONS["widths"], PREDICTIONS["limit"]
    wide = np.array([64.0, 512.0, 4096.0])[:, None, None, None] ** exponent
    apart = wide * (1 + 0.1 * rng.normal(size=(3, 1, 16, 1)))
    zero, names = np.zeros((3, 1, 16, 1)), ("g_z", "g_plus", "g_minus")
    full = {g: apart for g in names} | {f"gate_agreement_{h}": 1 - 0.1 * apart for h in "wv"}
    runs = {"reduced": _over("m_w", (64, 512, 4096), full, algorithms=["L-S"]),
            "decoupled": _over("m_w", (64, 512, 4096), {g: zero for g in names}, algorithms=["L-S"])}
    assert judged(widths, runs) == expected
    wide = np.array([256.0, 1024.0, 4096.0])[:, None, None, None] ** exponent
    finite = {g: wide * rng.normal(size=(3, 2, 16, 50)) for g in names}
    runs = {"decoupled": _over("m_w", (256, 1024, 4096), finite, algorithms=["L-S", "S"]),
            "infinite": xr.Dataset({g: (("algorithm", "seed", "record"), np.zeros((2, 16, 50))) for g in names},
                                   coords={"algorithm": ["L-S", "S"]})}
    assert judged(limit, runs) == expected


@pytest.mark.parametrize(("wrong", "expected"), [(1.0, "holds"), (1.5, "fails")])
def test_micro_steps_that_differ_from_single_ones_fail(wrong, expected):
    values = np.ones((2, 1, 16, 1)) * (1 + 0.01 * np.random.default_rng(2).normal(size=(2, 1, 16, 1)))
    values[1] *= wrong
    data = dict.fromkeys(("loss_q", "loss_p", "contrast"), values)
    runs = {"steps": _over("step_time", (1.0, 2.0), data, algorithms=["S"])}
    assert judged(PREDICTIONS["microsteps"], runs) == expected


@pytest.mark.parametrize(("in_eta1", "in_d", "expected"), [(0.0, 1.0, "holds"), (-1.0, 1.0, "fails"), (0.0, 0.0, "fails"),
                                                           (np.nan, 1.0, "not resolved")])
def test_annealing_times_decide(in_eta1, in_d, expected):
    eta1, d = np.array([1.0, 0.5, 0.25]), np.array([16.0, 32.0, 64.0])
    jitter = np.random.default_rng(3).normal(size=(3, 1, 16))
    times = {k: 100 * x[:, None, None] ** power * (1 + 0.02 * jitter) for k, x, power in
             (("rates", eta1, in_eta1), ("dimensions", d, in_d))}
    if np.isnan(in_eta1):
        times["rates"] = np.full((3, 1, 16), np.inf)  # annealing never happens
    runs = {"rates": _over("eta1", eta1, {"annealed_at": times["rates"]}, algorithms=["L-S"]),
            "dimensions": _over("d", d, {"annealed_at": times["dimensions"]}, algorithms=["L-S"])}
    assert judged(PREDICTIONS["annealing"], runs) == expected


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
        return {s.name.partition(" at T_P")[0].strip(","): s.verdict for s in prediction.judge(runs | changes, level)}

    def times(key, factor):
        return runs[key].assign(test_error_p=factor * runs[key]["test_error_p"])

    honest = found()
    assert "fails" not in honest.values()
    reversed_ = runs["wide"].assign(test_error_p=xr.where(runs["wide"]["algorithm"] == "S", 1e3, 1.0)
                                * runs["wide"]["test_error_p"])  # S ever worse as kappa grows
    for changes, part in (({"wide": reversed_}, "exponent in kappa"),
                          ({"rare": times("rare", 16)}, "exponent in p0"),
                          ({"large": times("large", 10)}, "exponent in d"),
                          ({"sharp": times("sharp", 0.1)}, "S's error over that of logistic regression")):
        verdicts = {k: v for k, v in found(**changes).items() if k.startswith(part)}
        assert list(verdicts.values()) == ["fails"], (part, verdicts)


def test_what_cannot_run_in_a_setting_is_not_judged(tmp_path):
    config = verifying.base_config("quick", "minibatch").replace(records=4, **{"training.steps": 40})
    report = verifying.verify(config, ["microsteps"], folder=tmp_path / "found")
    claim = report["claims"][0]
    assert claim["verdict"] == "not judged"
    assert "training.step_time" in claim["reason"]
    assert verifying.broken(report) == []
    assert "Not judged" in (tmp_path / "found/report.md").read_text()


def test_a_prediction_of_your_own_is_judged_like_the_theory_s(small, tmp_path):
    config = small.replace(seeds=12, records=3)

    def judge(runs, level):
        norm = lt.predictions.at_end(runs["main"].sel(algorithm="S"), "noise_norm_w")
        yield lt.predictions.mean("norm over its law", norm / (0.7 * np.sqrt(8 * 16)), level, (0.5, 1.5), "1")

    claim = lt.predictions.Prediction(
        "decay", "the norm of W's noise part follows its variance", "derived here", "Both at the end.",
        needs=lambda config: {"main": lt.predictions.Need(config)}, judge=judge)
    report = lt.verify(config, [claim], folder=str(tmp_path / "found"))
    assert [c["name"] for c in report["claims"]] == ["decay"]
    assert report["claims"][0]["verdict"] == "holds"
    assert report["claims"][0]["number"] == 11
    assert report["level"] == pytest.approx(1 - 0.05 / 11)
    assert (tmp_path / "found/figures/decay.png").exists()
    for names in (["order", claim._replace(name="order")], [claim, claim]):
        with pytest.raises(ConfigError, match="must have names of their own"):
            lt.verify(config, names)


@pytest.mark.parametrize("setting", verifying.SETTINGS)
def test_settings_cover_the_same_time(setting):
    config = verifying.base_config("quick", setting).check()
    ratio = config.training.duration / verifying.base_config("quick").training.duration
    assert ratio == pytest.approx(2 if setting == "conv" else 1, rel=1e-3)


def test_the_theorem_s_exponents_separate_far_out():
    """Against figures of the time scales alone: T_P/T_Q = 0.066 d^(1/4) at q0 = 1/4, and S halves Q's loss at 6 T_Q."""
    found = separation(lt.preset("literal"), (1e3, 1e7, 1e11))
    assert [row["halved/T_P"] is not None for row in found["rows"]] == [False, True, True]
    assert found["rows"][2]["halved/T_Q"] == pytest.approx(6, rel=0.1)
    assert found["rows"][1]["halved/T_P"] > 1 > found["rows"][2]["halved/T_P"]
    assert found["q_first_from"] == 1e11
    d = found["clear_from"]
    problem = lt.preset("literal").problem
    at = dataclasses.replace(problem, d=int(d), r=problem.r * (d / 64) ** -0.75, gamma0=d**-0.5)
    assert p_time(at) / q_time(at) == pytest.approx(100, rel=1e-3)


@pytest.mark.slow
def test_quick_fails_nothing_and_resolves_the_main_claims():
    report = verifying.verify(verifying.base_config("quick"))
    assert verifying.broken(report) == []
    found = {c["name"]: c["verdict"] for c in report["claims"]}
    assert list(found) == list(PREDICTIONS)
    assert {n for n, v in found.items() if v == "holds"} >= {"variance", "plateau", "order", "transition", "mitigation"}


def test_the_literal_exponents_are_not_expected_to_show_the_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verifying, "separation", lambda config: separation(config, (1e7, 1e9)))
    words = ["verify", "--preset", "literal", "--only", "order", "--seeds", "12", "--records", "5",
             "--training.steps", "500", "--out", "found"]
    assert main(words) == 0  # it fails, and need not hold
    report = json.loads((tmp_path / "found/verify.json").read_text())
    assert report["claims"][0]["verdict"] == "fails"
    assert not report["claims"][0]["expected"]
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"verify.json", "report.md", "figures"}
    assert (tmp_path / "found/figures/order.png").stat().st_size > 5000
    text = (tmp_path / "found/report.md").read_text()
    assert "T_P/T_Q" in text
    assert "only from d = 1e+09 on" in text
    capsys.readouterr()
    assert main(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_verify_explains_itself_and_its_errors(capsys):
    assert main(["verify", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in PREDICTIONS)
    for words, complaint in ((["--only", "ordre"], "--only ordre: must be one of variance"),
                             (["--budget", "huge"], "--budget huge: must be one of quick"),
                             (["--setting", "dense"], "--setting dense: must be one of block"),
                             (["--setting", "conv", "--preset", "full"], "--setting conv: give it with a budget"),
                             (["--budget", "quick", "--preset", "full"], "give it or --preset")):
        assert main(["verify", *words]) == 2
        message = capsys.readouterr().err
        assert complaint in message
        assert message.count("\n") == 1


def test_every_need_is_a_valid_configuration():
    config = lt.preset("phase").replace(seeds=16)
    for prediction in PREDICTIONS.values():
        for need in prediction.needs(config).values():
            to_json(need.config.check())
