"""Predictions: the decision rule, and for each claim a planted violation that changes its verdict."""

import json

import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory import verifying
from lrtheory.cli import main
from lrtheory.config import to_json
from lrtheory.predictions import PREDICTIONS, Statistic, base, verdict

LEVEL = 0.995


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0.95, 1.05, "holds"), (1.2, 1.3, "fails"), (1.05, 1.3, "not resolved"), (0.5, 2.0, "not resolved"),
    (np.nan, np.nan, "not resolved")])
def test_an_interval_and_a_region_decide(low, high, expected):
    assert Statistic("", (low + high) / 2, low, high, (0.9, 1.1), "").verdict == expected


def test_a_claim_holds_only_if_all_of_it_does():
    yes, no, unclear = (Statistic("", 1.0, low, 1.0, region, "") for low, region in
                        ((1.0, (0.0, 2.0)), (1.0, (2.0, 3.0)), (np.nan, (0.0, 2.0))))
    assert verdict([yes, yes]) == "holds"
    assert verdict([yes, unclear]) == "not resolved"
    assert verdict([yes, unclear, no]) == "fails"
    assert verdict([]) == "not resolved"


def test_intervals_have_their_coverage():
    """Of 400 means of 16 normal draws, 95% intervals miss the truth in about 5% (Student) and not many more (bootstrap)."""
    draws = np.random.default_rng(0).normal(1.0, 1.0, (400, 16))
    for interval, worst in ((lambda v: base.mean("", v, 0.95, (0, 2), ""), 0.085),
                            (lambda v: base.bootstrap("", [v], lambda m: m, 0.95, (0, 2), ""), 0.12)):
        some = draws if worst < 0.1 else draws[:60]
        missed = np.mean([not s.low <= 1.0 <= s.high for s in map(interval, some)])
        assert missed < worst


def test_too_few_seeds_resolve_nothing():
    assert base.mean("", [1.0], LEVEL, (0, 2), "").verdict == "not resolved"
    assert base.bootstrap("", [np.ones(1)], lambda v: v, LEVEL, (0, 2), "").verdict == "not resolved"
    assert base.share("", [True] * 4, LEVEL, "").verdict == "not resolved"
    assert base.share("", [True] * 16, LEVEL, "").verdict == "holds"
    assert base.share("", [False] * 16, LEVEL, "").verdict == "fails"


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
    assert verdict(list(widths.judge(runs, LEVEL))) == expected
    wide = np.array([256.0, 1024.0, 4096.0])[:, None, None, None] ** exponent
    finite = {g: wide * rng.normal(size=(3, 2, 16, 50)) for g in names}
    runs = {"decoupled": _over("m_w", (256, 1024, 4096), finite, algorithms=["L-S", "S"]),
            "infinite": xr.Dataset({g: (("algorithm", "seed", "record"), np.zeros((2, 16, 50))) for g in names},
                                   coords={"algorithm": ["L-S", "S"]})}
    assert verdict(list(limit.judge(runs, LEVEL))) == expected


@pytest.mark.parametrize(("wrong", "expected"), [(1.0, "holds"), (1.5, "fails")])
def test_micro_steps_that_differ_from_single_ones_fail(wrong, expected):
    values = np.ones((2, 1, 16, 1)) * (1 + 0.01 * np.random.default_rng(2).normal(size=(2, 1, 16, 1)))
    values[1] *= wrong
    data = dict.fromkeys(("loss_q", "loss_p", "contrast"), values)
    runs = {"steps": _over("step_time", (1.0, 2.0), data, algorithms=["S"])}
    assert verdict(list(PREDICTIONS["microsteps"].judge(runs, LEVEL))) == expected


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
    assert verdict(list(PREDICTIONS["annealing"].judge(runs, LEVEL))) == expected


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


@pytest.mark.slow
def test_quick_fails_nothing_and_resolves_the_main_claims():
    report = verifying.verify(verifying.base_config("quick"))
    assert verifying.broken(report) == []
    found = {c["name"]: c["verdict"] for c in report["claims"]}
    assert list(found) == list(PREDICTIONS)
    assert {n for n, v in found.items() if v == "holds"} >= {"variance", "plateau", "order", "transition", "mitigation"}


def test_the_literal_exponents_are_not_expected_to_show_the_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["verify", "--preset", "literal", "--only", "order", "--seeds", "12", "--records", "5",
             "--training.steps", "500", "--out", "found"]
    assert main(words) == 0  # it fails, and need not hold
    report = json.loads((tmp_path / "found/verify.json").read_text())
    assert report["claims"][0]["verdict"] == "fails"
    assert not report["claims"][0]["expected"]
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"verify.json", "report.md", "figures"}
    assert (tmp_path / "found/figures/order.png").stat().st_size > 5000
    assert "T_P/T_Q" in (tmp_path / "found/report.md").read_text()
    capsys.readouterr()
    assert main(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_verify_explains_itself_and_its_errors(capsys):
    assert main(["verify", "--list"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in PREDICTIONS)
    for words, complaint in ((["--only", "ordre"], "--only ordre: must be one of variance"),
                             (["--budget", "huge"], "--budget huge: must be one of quick"),
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
