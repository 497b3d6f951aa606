"""The runs that claims ask for, before any is computed: what they keep, times that agree, noise as it was given."""

import math

import numpy as np
import pytest
import xarray as xr
from conftest import vary

import lrtheory as lt
from lrtheory.predictions import PREDICTIONS, limit, regime
from lrtheory.predictions.base import over_balance
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.theorem import dimension
from lrtheory.theory.timescales import blur_time, p_time, q_time

PHASE = lt.preset("phase")


def points(need):
    """Every configuration of a need."""
    grid = make_grid(need.config, dict(need.axes))
    return [grid.at(index) for index in np.ndindex(grid.shape)]


def given(config, factor=1.0):
    """The same noise as a number of its own, times a factor."""
    return vary(config, training__noise_scale=factor * float(config.training.balanced))


def test_noise_as_a_number_of_its_own_is_the_balanced_one():
    assert over_balance(PHASE) is PHASE
    same = over_balance(given(vary(PHASE, training__noise_level=2.0), 0.5))
    assert same.training.noise_scale is None
    assert same.training.noise_level == pytest.approx(1.0)
    with pytest.raises(ConfigError, match=r"training\.weight_decay = 0"):
        over_balance(vary(given(PHASE), training__weight_decay=0.0))


@pytest.mark.parametrize("name", ["annealing", "error"])
def test_claims_that_change_d_or_the_rate_ask_for_the_same_runs_of_the_same_noise(name):
    """However it is given."""
    asked = [PREDICTIONS[name].needs(config) for config in (PHASE, given(PHASE))]
    for key in asked[0]:
        for one, other in zip(*(points(need[key]) for need in asked), strict=True):
            ratios = [blur_time(c.problem, c.training, c.training.eta1) / q_time(c.problem) for c in (one, other)]
            assert ratios[0] == pytest.approx(ratios[1], rel=1e-5), key
            assert float(one.training.tau_xi) == pytest.approx(float(other.training.tau_xi), rel=1e-5), key


def test_the_limit_is_compared_at_its_networks_times():
    """Both go as the square of time, the limit with records of its own and for longer or not as long."""
    def runs(ends, widths=None):
        time = np.linspace(0.0, 1.0, 200) * ends
        shape = (3, 1, 8, 200) if widths else (1, 8, 200)
        dims = ("algorithm", "seed", "record")
        grown = np.broadcast_to(time**2, shape)
        if widths:
            scatter = np.random.default_rng(0).normal(size=(1, 1, 8, 1))
            grown = grown + np.array(widths)[:, None, None, None] ** -0.5 * scatter
            dims = ("m", *dims)
        data = {"g_z": grown, "g_plus": grown, "g_minus": grown, "time": np.broadcast_to(time, shape)}
        return xr.Dataset({name: (dims, values) for name, values in data.items()}, {"algorithm": ["S"]})

    for ends in (0.8, 5.0):
        each = {"decoupled, S": runs(1.0, limit.WIDTHS), "infinite, S": runs(ends)}
        each |= {key.replace("S", "L-S"): r.assign_coords(algorithm=["L-S"]) for key, r in each.items()}
        for statistic in limit.judge(each, 0.95):
            assert statistic.value == pytest.approx(-0.5, abs=0.02)


def test_annealing_is_judged_by_the_loss_alone():
    """A clock that anneals sooner is left out of the claims on when the loss does."""
    early = vary(PHASE, training__anneal_time=40.0)
    for name in ("annealing", "jitter"):
        for need in PREDICTIONS[name].needs(early).values():
            assert need.config.training.anneal_time == math.inf


def test_the_regime_is_one_theorem_at_every_d_prime(float64):
    """In the paper's unit P's time scales with d alone, and Q's not with d' at all."""
    base = lt.theorem(1e24, r_exponent=-0.65, rate_exponent=-1.5)
    found = points(regime.needs(base)["size"])
    assert [c.problem.d for c in found] == [32, 64, 128]
    for config in found:
        assert dimension(config) == pytest.approx(1e24)
        unit = config.problem.z_norm**2
        assert unit == pytest.approx(1e24 / config.problem.d)
        assert config.problem.n_train == 8 * config.problem.d
        first, first_unit = found[0], found[0].problem.z_norm ** 2
        for scale in (p_time, q_time):
            assert scale(config.problem) * unit == pytest.approx(scale(first.problem) * first_unit, rel=0.01)
        assert config.training.duration * unit == pytest.approx(first.training.duration * first_unit, rel=0.01)


def test_closed_forms_are_asked_of_the_law_they_are_of():
    """The classifiers' error knows no heavier tails."""
    with pytest.raises(ConfigError, match=r"problem\.p_tail = 1: must be 0 for this claim"):
        PREDICTIONS["error"].needs(vary(PHASE, problem__p_tail=1.0))
