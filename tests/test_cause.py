"""Claim 13, noise decides: runs as the theory has them hold, and each statistic has a violation that turns it red."""

import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.intervals import decide
from lrtheory.predictions import cause

SEEDS = 24


def side(errors, p_half, q_half, sharp, rate_sharp, names, until=300.0, rises=(1.0, 1.0)):
    """Runs of some algorithms: final errors on P, times at which losses halve, sharpness at the end and at most.

    At time 100 and at the end, `until`, errors are `rises` times what is said.
    """
    jitter = 1 + 0.05 * np.random.default_rng(3).normal(size=SEEDS)
    once, over = ("algorithm", "seed"), ("algorithm", "seed", "record")
    column = {k: np.array(v)[:, None] * jitter for k, v in (("e", errors), ("p", p_half), ("q", q_half), ("s", sharp),
                                                            ("r", rate_sharp))}
    times = np.array([1.0, *rises])
    return xr.Dataset({"test_error_p": (over, column["e"][..., None] * times),
                       "sharpness": (over, column["s"][..., None] * times),
                       "rate_sharpness": (over, column["r"][..., None] * np.array([1.0, 0.5, 0.1])),
                       "time_p_half": (once, column["p"]), "time_q_half": (once, column["q"]),
                       "time": (over, np.array([0.0, 100.0, until]) + 0 * column["e"][..., None]),
                       "diverged_at": (once, np.inf + 0 * column["e"]), "stopped_at": (once, np.inf + 0 * column["e"])},
                      coords={"algorithm": list(names), "seed": np.arange(SEEDS)})


def honest(**changes):
    """{part: runs}; a change replaces one argument of `side`: part__argument=values."""
    never = np.inf
    parts = {"base": {"errors": [0.0007, 0.019], "p_half": [180, never], "q_half": [280, 6.0], "sharp": [9.2, 3.6],
                      "rate_sharp": [1.27, 1e-4], "names": ["L-S", "S"]},
             "quiet": {"errors": [0.026], "p_half": [never], "q_half": [6.0], "sharp": [2.1], "rate_sharp": [1.27],
                       "names": ["L-S"]},
             "finer": {"errors": [0.026], "p_half": [never], "q_half": [6.0], "sharp": [2.1], "rate_sharp": [0.16],
                       "names": ["S"]},
             "noisy": {"errors": [0.0007], "p_half": [180], "q_half": [280], "sharp": [8.8], "rate_sharp": [1e-4],
                       "names": [cause.NOISY]}}
    for name, values in changes.items():
        part, _, argument = name.partition("__")
        parts[part][argument] = values
    return {part: side(**arguments) for part, arguments in parts.items()}


def judged(runs):
    return decide(lambda level: list(cause.PREDICTION.judge(runs, level)), 0.995)


def test_runs_as_the_theory_has_them_hold():
    assert judged(honest()).verdict == "holds"


@pytest.mark.parametrize(("change", "statistic"), [
    ({"quiet__errors": [0.0005]}, "L-S without noise less L-S"),
    ({"finer__errors": [0.060]}, "without noise: L-S over S"),
    ({"noisy__errors": [0.019]}, "over S less L-S"),
    ({"quiet__p_half": [5.0], "quiet__q_half": [30.0]}, "Q halved before P"),
    ({"noisy__p_half": [300], "noisy__q_half": [6.0]}, "P halved before Q"),
    ({"base__rate_sharp": [2.3, 1e-4]}, "largest eta lambda_max"),
    ({"base__sharp": [1.5, 3.6]}, "sharpness at the end")])
def test_each_statistic_turns_red_alone(change, statistic):
    found = judged(honest(**change))
    assert found.verdict == "fails"
    red = [s.name for s, v in zip(found.statistics, found.verdicts, strict=True) if v == "fails"]
    assert any(statistic in name for name in red), red


def test_all_is_read_at_the_time_that_all_reach():
    """L-S goes on for half as long again, and forgets P: that is not the price of order."""
    longer = honest(base__until=300.0, quiet__until=300.0) | {"base": xr.concat(
        [side([0.0007], [180], [280], [9.2], [1.27], ["L-S"], 500.0, (1.0, 60.0)),
         side([0.019], [np.inf], [6.0], [3.6], [1e-4], ["S"])], "algorithm")}
    found = judged(longer)
    assert found.statistics[0].value == pytest.approx(0.019 - 0.0007 * (1 + 59 * 0.5), abs=0.002)


def test_without_noise_the_small_rate_takes_every_iteration():
    """K micro-steps with the gradient frozen would be L-S's own step, whatever the rate."""
    base = lt.preset("phase")
    quiet, finer = (cause.needs(base)[key].config.training for key in ("quiet", "finer"))
    assert finer.step_time == 0
    assert finer.eta1 * finer.eta_ratio == pytest.approx(quiet.eta1 / 8)
    assert finer.duration == pytest.approx(quiet.duration)
    assert finer.noise_level == 0


def test_exchanged_names_turn_it_red():
    runs = honest()
    runs["base"] = runs["base"].assign_coords(algorithm=["S", "L-S"])
    assert judged(runs).verdict == "fails"


def test_the_noise_of_the_small_rate_is_that_of_the_large_one():
    """Variance per unit of time, eta tau_xi^2, is equal; after annealing it is that of S."""
    for base, step in ((lt.preset("phase"), 8), (lt.preset("phase").replace(**{"training.step_time": 0.0}), 1e4)):
        needs = cause.needs(base)
        (noisy,), training = needs["noisy"].config.algorithms, base.training
        level = noisy.injected_noise
        before, after = (float(level.value(s, 0.0)) for s in (level.init(), level.update(level.init(), 0.0, -1.0)[1]))
        rate = float(noisy.rate(0.0))
        assert rate == pytest.approx(training.eta1 / step)
        assert rate * before**2 == pytest.approx(training.eta1)
        assert rate * after**2 == pytest.approx(training.eta1 * training.eta_ratio)
        assert needs["noisy"].config.training.step_time == 0
        assert needs["quiet"].config.training.noise_level == 0.0
