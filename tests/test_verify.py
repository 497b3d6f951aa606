"""Claims judged together: settings, what is left out and why, reports, the command."""

import json

import numpy as np
import pytest

import lrtheory as lt
from lrtheory.cli.main import main
from lrtheory.fields import to_json
from lrtheory.predictions import PREDICTIONS, THEOREM, words
from lrtheory.predictions import verify as verifying
from lrtheory.predictions.figures import figure as draw_claim
from lrtheory.spec import ConfigError

pytestmark = pytest.mark.xdist_group("verify")  # they share programs, so one process takes them all


def test_what_cannot_run_in_a_setting_is_not_judged(tmp_path):
    config = verifying.base_config("quick", "minibatch").replace(records=4, **{"training.steps": 40})
    report = verifying.verify(config, ["microsteps"], folder=tmp_path / "found")
    claim = report["claims"][0]
    assert claim["verdict"] == "not judged"
    assert "training.step_time" in claim["reason"]
    assert verifying.broken(report) == []
    assert "Not judged" in (tmp_path / "found/report.md").read_text()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), ("-inf", 1.0), (0.5, "inf"), ("-inf", "inf"), (None, None)])
def test_an_interval_without_an_end_is_drawn_to_the_edge(low, high):
    row = {"name": "ratio", "value": None if low is None else 0.7, "low": low, "high": high, "region": [0.3, 3.0],
           "theory": "1", "verdict": "not resolved"}
    figure = draw_claim({"statistics": [row], "number": 1, "statement": "one"})
    assert len(figure.axes[0].lines) == (0 if low is None else 2)
    shown = {0.0: "0.7 [0, 1]", "-inf": f"0.7 [-inf, {high}]".replace("1.0", "1"), 0.5: "0.7 [0.5, inf]", None: "no value"}
    assert words.interval(row) == shown[low]


@pytest.mark.thorough
def test_seeds_that_diverged_enter_no_statistic(small, monkeypatch):
    """Seed 3 diverged under S: it is left out under L-S, too, and in every run of the claim."""
    run = lt.run(small.replace(seeds=12, records=3)).copy(deep=True)
    run["diverged_at"].loc[{"algorithm": "S", "seed": 3}] = 2.0
    run["noise_norm_w"].loc[{"seed": 3}] = 1e9
    monkeypatch.setattr(verifying, "run", lambda config: run)
    seen = {}

    def judge(runs, level):
        seen.update({key: found["seed"].values.tolist() for key, found in runs.items()})
        yield lt.predictions.mean("", lt.predictions.at_end(runs["main"].sel(algorithm="L-S"), "noise_norm_w"), level,
                                  (0.0, 100.0), "")

    claim = lt.predictions.Prediction("own", "", "", "", lambda c: {k: lt.predictions.Need(c) for k in ("main", "more")},
                                      judge)
    told = lt.verify(small.replace(seeds=12), [claim])["claims"][0]
    assert told["verdict"] == "holds"
    assert (told["diverged"], told["seeds"]) == (2, 11)
    assert seen["main"] == seen["more"] == [k for k in range(12) if k != 3]
    run["diverged_at"] = run["diverged_at"].clip(max=1.0)
    told = lt.verify(small.replace(seeds=12), [claim])["claims"][0]
    assert told["verdict"] == "not judged"
    assert "every seed has a run that diverged" in told["reason"]


def test_what_cannot_be_judged_costs_one_claim_and_says_so_first(small, monkeypatch, tmp_path):
    """With 3 P-only examples a seed has them of one class: no classifier. Found before anything runs."""
    ran = []
    two = lt.run(small.replace(seeds=2, records=2))
    monkeypatch.setattr(verifying, "_found", lambda need, done: ran.append(need) or two)
    config = verifying.base_config("quick").replace(seeds=8, **{"problem.p0": 0.02})
    report = verifying.verify(config, ["error"])
    assert report["claims"][0]["verdict"] == "not judged"
    assert "P-only examples of both classes" in report["claims"][0]["reason"]
    assert not ran

    def judge(runs, level):
        raise ValueError("This solver needs samples of at least 2 classes\nin the data")

    claim = lt.predictions.Prediction("own", "", "", "", lambda c: {"main": lt.predictions.Need(c)}, judge)
    fine = claim._replace(name="fine", judge=lambda runs, level: [lt.predictions.share("", [True] * 12, level, "")],
                          draw=lambda runs, figure: 1 / 0)  # nor does a figure cost a verdict
    report = verifying.verify(small, [claim, fine], folder=tmp_path / "found")
    assert [c["verdict"] for c in report["claims"]] == ["not judged", "holds"]
    assert report["claims"][0]["reason"] == "ValueError: This solver needs samples of at least 2 classes in the data"
    assert json.loads((tmp_path / "found/verify.json").read_text())["claims"][1]["verdict"] == "holds"
    told = (tmp_path / "found/report.md").read_text()
    assert "Not judged: ValueError" in told
    assert "Not drawn: ZeroDivisionError: division by zero" in told


@pytest.mark.parametrize(("group", "names"), [("q", ("plateau", "order", "transition", "mitigation", "microsteps")),
                                              ("p", ("order", "error", "transition", "microsteps"))])
def test_claims_on_examples_that_do_not_exist_are_not_judged(group, names, monkeypatch):
    monkeypatch.setattr(verifying, "_found", lambda need, done: pytest.fail("nothing is to be run"))
    config = verifying.base_config("quick").replace(**{f"problem.{group}0": 0.0})
    for claim in verifying.verify(config, list(names))["claims"]:
        assert claim["verdict"] == "not judged"
        assert f"problem.{group}0 = 0" in claim["reason"]


@pytest.mark.thorough
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
    assert report["claims"][0]["number"] == len(PREDICTIONS) + len(THEOREM) + 1
    assert report["level"] == pytest.approx(1 - 0.05 / (len(PREDICTIONS) + 1))
    assert (tmp_path / "found/figures/decay.png").exists()
    for names in (["order", claim._replace(name="order")], [claim, claim]):
        with pytest.raises(ConfigError, match="must have names of their own"):
            lt.verify(config, names)


def test_a_claim_has_a_name_that_a_file_can_have(small):
    for name in ("a/b", "..", "", "x" * 300):
        claim = lt.predictions.Prediction(name, "", "", "", lambda c: {}, lambda runs, level: [])
        with pytest.raises(ConfigError, match=r"claims = .*: must be 1 to 200 bytes"):
            lt.verify(small, [claim])


@pytest.mark.parametrize("setting", verifying.SETTINGS)
def test_settings_cover_the_same_time(setting):
    config = verifying.base_config("quick", setting).check()
    ratio = config.training.duration / verifying.base_config("quick").training.duration
    assert ratio == pytest.approx(2 if setting == "conv" else 1, rel=1e-3)


def test_what_the_theorem_s_exponents_ask_for_is_said(small):
    """Figures of the time scales alone: T_P/T_Q = 0.066 (1 - p0) d^(1/4) at q0 = 1/4, and p0 = 1/8 here."""
    claim = lt.predictions.Prediction("own", "", "", "", lambda c: {}, lambda runs, level: [], needs_gap=True)
    found = verifying.verify(lt.preset("literal"), [claim])["separation"]
    assert found["T_P/T_Q = 1"] == pytest.approx((1 / (0.0657 * 7 / 8)) ** 4, rel=0.02)
    assert found["T_P/T_Q = 200"] == pytest.approx((200 / (0.0657 * 7 / 8)) ** 4, rel=0.02)


@pytest.mark.slow
def test_quick_fails_nothing_and_resolves_the_main_claims():
    report = verifying.verify(verifying.base_config("quick"))
    assert verifying.broken(report) == []
    found = {c["name"]: c["verdict"] for c in report["claims"]}
    assert list(found) == list(PREDICTIONS)
    assert {n for n, v in found.items() if v == "holds"} >= {"variance", "plateau", "order", "transition", "mitigation"}


@pytest.mark.thorough
def test_the_literal_exponents_are_not_expected_to_show_the_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["verify", "--preset", "literal", "--only", "order", "--seeds", "12", "--records", "5",
             "--training.steps", "500", "--out", "found"]
    assert main(words) == 0  # it fails, and need not hold
    report = json.loads((tmp_path / "found/verify.json").read_text())
    assert report["claims"][0]["verdict"] == "fails"
    assert not report["claims"][0]["expected"]
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"verify.json", "report.md", "figures", ".lock"}
    assert (tmp_path / "found/figures/order.png").stat().st_size > 5000
    text = (tmp_path / "found/report.md").read_text()
    assert "T_P/T_Q" in text
    assert "T_P/T_Q = 200 at d = 1.5e+14" in text
    capsys.readouterr()
    assert main(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_verify_explains_itself_and_its_errors(capsys):
    assert main(["verify", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in PREDICTIONS | THEOREM)
    for given, complaint in ((["--only", "ordre"], "--only ordre: must be one of variance"),
                             (["--budget", "huge"], "--budget huge: must be one of quick"),
                             (["--setting", "dense"], "--setting dense: must be one of block"),
                             (["--setting", "conv", "--preset", "full"], "--setting conv: give it with a budget"),
                             (["--budget", "quick", "--preset", "full"], "give it or --preset")):
        assert main(["verify", *given]) == 2
        message = capsys.readouterr().err
        assert complaint in message
        assert message.count("\n") == 1


def test_every_need_is_a_valid_configuration():
    config = lt.preset("phase").replace(seeds=16)
    for prediction in PREDICTIONS.values():
        for need in prediction.needs(config).values():
            to_json(need.config.check())
