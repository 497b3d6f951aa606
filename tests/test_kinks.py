"""V's kinks in closed form, against kinks that are moved one by one, networks, and the limit of their own."""

import math

import numpy as np
import pytest
from conftest import vary
from honest import jittering

import lrtheory as lt
from lrtheory.predictions import jitter, moving
from lrtheory.theory import kinks
from lrtheory.theory.results import annealing_jitter

PHASE = lt.preset("phase")


def test_what_moved_kinks_reach_is_what_neurons_say_one_by_one():
    """Neurons at random, pushed by delta r: outwards where u > 0, until they leave, onto 0 where u < 0."""
    rng = np.random.default_rng(0)
    w = np.abs(rng.normal(size=400_000))  # r = 1
    n = rng.uniform(0, 6, size=w.size)  # |n|: its density is constant near 0
    between = n < w
    for delta in (0.02, 0.3, 1.0, 4.0):
        away, onto = np.where(between, n + delta, n), np.where(between, np.maximum(n - delta, 0), n)
        change = np.maximum(w - onto, 0) - np.maximum(w - away, 0)
        found = np.mean(change) * 6 * 2 / 2  # both signs of n; over E w^2 = 1 of all kinks at the ends of the way
        fixed = math.sqrt(8 / math.pi) * delta
        assert found == pytest.approx(float(kinks.reached(fixed, 1.0)), rel=0.02), delta
    first = 1 - 1e-3 / math.sqrt(8 / math.pi) * math.sqrt(math.pi / 8)
    assert float(kinks.reached(1e-3, 1.0)) / 1e-3 == pytest.approx(first, rel=1e-6)
    assert float(kinks.reached(-3.0, 2.0)) == -float(kinks.reached(3.0, 2.0))


def test_the_plateau_is_the_integral_of_the_kernel_under_noise_of_any_level():
    """With arcsin and all angles at r = 1e-3, over the whole history; decay, and noise that grows without end, too."""
    for level, decay, scale, time in ((1.0, 2e-3, None, 2.0), (1.0, 2e-3, None, 400.0), (0.3, 2e-3, None, 50.0),
                                      (0.3, 2e-3, None, 800.0), (4.0, 2e-3, None, 400.0), (1.0, 0.0, 0.3, 30.0)):
        training = PHASE.training.__class__(eta1=0.05, weight_decay=decay, noise_level=level, noise_scale=scale)
        problem = lt.Problem(r=1e-3, z_norm=30.0, alpha_min=1.0)
        fresh = 2 * decay * level**2 if scale is None else 0.05 * scale**2
        ago = np.geomspace(1e-9, time, 40_000)
        size = lambda t: np.exp(-2 * decay * t) + (fresh * t if not decay else fresh * -np.expm1(-2 * decay * t) / 2 / decay)  # noqa: B023, E731
        kept = np.exp(-decay * ago) * np.sqrt(size(time - ago) / size(time))
        lost = np.sqrt(-np.expm1(-2 * decay * ago) + np.exp(-2 * decay * ago) * (size(time) - size(time - ago)) / size(time))
        angles = [np.arctan2(np.hypot(np.sin(a), lost * np.cos(a)), kept * np.cos(a)) for a in (0, 1e-3, 2e-3)]
        apart = np.exp(-decay * ago) * (4 * angles[1] - 3 * angles[0] - angles[2])
        contrast = -np.trapezoid(apart * ago, np.log(ago)) / 1e-3 / lt.timescales.q_time(problem)
        assert float(kinks.plateau(problem, training, 1.0, time)) == pytest.approx(contrast, rel=0.01), (level, time)


@pytest.mark.thorough
@pytest.mark.parametrize("level", [0.5, 1.0, 4.0])
def test_the_plateau_is_that_of_the_limit_under_noise_of_any_level(level):
    """At lambda t = 0.9, where t_blur, of fresh noise alone, would say 2.9, 1 and 0.08 times as much."""
    config = PHASE.replace(algorithms=("L-S",), seeds=1, records=8, n_test=16, **{
        "training.noise_level": level, "training.eps1": -9.0, "training.steps": 8700}).at_infinite_width()
    run = lt.run(config).isel(algorithm=0, seed=0, record=-1)
    push = kinks.push_of(config.problem, {g: float(run[f"loss_{g}"]) for g in ("q", "mixed")})
    form = kinks.plateau(config.problem, config.training, push, float(run["time"]))
    assert 0.95 < float(run["contrast"]) / float(form) < 1.0


def test_the_plateau_begins_free_of_noise_and_ends_free_of_its_level():
    problem, t_q = PHASE.problem, lt.timescales.q_time(PHASE.problem)
    loud, quiet, none = (PHASE.replace(**{"training.noise_level": level}).training for level in (4.0, 0.5, 0.0))
    of = lambda training, time=math.inf: float(kinks.plateau(problem, training, 1.0, time))  # noqa: E731
    assert of(loud, 1e-6) == pytest.approx(-2e-6 / t_q, rel=1e-2)
    assert of(none, 100.0) == pytest.approx(-200 / t_q)
    assert of(loud) == pytest.approx(of(quiet)) == pytest.approx(-8 / 3 * problem.r**2 / 2 / 2.25e-3 / t_q)
    beyond = [of(quiet, time) for time in (4e3, 1e9)]
    assert of(quiet) < beyond[1] < beyond[0] < 0


@pytest.mark.thorough
def test_plateau_and_scatter_are_those_of_the_limit_and_of_networks():
    """At t_blur/T_Q = 0.06, from 100 t_blur on; the scatter from below, for it is of leading order in r."""
    config = PHASE.replace(algorithms=("L-S",), seeds=48, records=40, n_test=16, **{
        "problem.z_norm": 8.0, "training.anneal_time": math.inf, "training.eps1": 1e-6, "training.steps": 1700,
        "network.m_v": 256})
    runs, limit = lt.run(config).isel(algorithm=0), lt.predict(config.replace(seeds=2)).isel(algorithm=0)
    runs, limit = (r.isel(record=np.flatnonzero(r["time"].isel(seed=0).values > 60)) for r in (runs, limit))
    push = kinks.push_of(config.problem, {g: float(limit[f"loss_{g}"].mean()) for g in ("q", "mixed")})
    assert 0.95 < float(limit["contrast"].mean()) / kinks.plateau(config.problem, config.training, push, 70.0) < 1
    scatter = kinks.scatter(config.problem, config.training, 256, push, 70.0)
    assert 0.75 < float(np.sqrt(runs["contrast"].var("seed", ddof=1).mean())) / scatter < 1.05


def test_scatter_falls_with_the_width_and_with_what_is_averaged():
    problem, training = PHASE.problem, PHASE.training
    of = lambda m, smoothing=0.0: kinks.scatter(problem, training, m, 1.0, 100.0, smoothing)  # noqa: E731
    assert of(400) == pytest.approx(of(100) / 2)
    blur = lt.timescales.blur_time(problem, training, training.eta1)
    assert of(100, 1e-9) == pytest.approx(of(100), rel=1e-3)
    long = [of(100, s * blur) * math.sqrt(s) for s in (1e4, 1e5)]  # white noise: as smoothing^(-1/2), 5 t_blur/3 at most
    assert long[1] == pytest.approx(long[0], rel=0.02)
    assert long[1] / of(100) == pytest.approx(math.sqrt(2 * 4.3 / 3), rel=0.1)  # E[a^2] = 4.3 where h is large


@pytest.mark.thorough
def test_full_networks_follow_their_own_limit_and_not_that_of_fixed_kinks():
    config = PHASE.replace(algorithms=("S",), seeds=6, records=6, n_test=16, engine="reduced", **{
        "training.steps": 340, "network.m_v": 8192, "network.tau_w": 0.2})
    unit = float(kinks.ceiling(config.problem, config.network)) / config.network.tau_v
    config = config.replace(**{"network.tau_v": 6.0 / unit})
    predicted = config.at_infinite_width()
    assert predicted.network.kinks == "moving"
    full, own, fixed = (float(lt.run(c)["contrast"].isel(record=-1).mean()) for c in (
        config, predicted, predicted.replace(**{"network.kinks": "fixed"})))
    assert full == pytest.approx(own, rel=0.08)
    assert full > 0.8 * fixed  # contrasts are negative
    wide = float(lt.run(predicted.replace(**{"network.tau_v": 6e3 / unit}))["contrast"].isel(record=-1).mean())
    assert wide == pytest.approx(fixed, rel=2e-3)


def test_only_full_networks_are_predicted_with_moving_kinks(small):
    for engine, said in (("dense", "moving"), ("reduced", "moving"), ("decoupled", "fixed")):
        assert vary(small, engine=engine).at_infinite_width().network.kinks == said
    own = vary(small, engine="infinite", network__kinks="moving")
    assert own.at_infinite_width().network.kinks == "moving"


@pytest.mark.thorough
def test_annealing_jitters_as_the_root_of_the_width_says():
    config = PHASE.replace(seeds=3, n_test=16)
    theory = lt.predict(config)
    found = annealing_jitter(config, theory)
    assert found is not None
    wider = annealing_jitter(config.replace(**{"network.m_v": 2048}), theory)
    assert wider["jitter"] == pytest.approx(found["jitter"] / 2)
    assert wider["loss"] == pytest.approx(found["loss"] / 2)
    # Measured over 48 seeds at m_v = 2048: the averaged loss 0.0082 at time 230, annealing 23.
    assert 0.006 < wider["loss"] < 0.011
    assert 15 < wider["jitter"] < 35
    for changes in ({"engine": "reduced"}, {"training.noise_level": 2.0}, {"network.variant": "conv"}):
        assert annealing_jitter(config.replace(**changes), theory) is None


# Claims 14 and 15 (their opponents: test_claims.py) ----------------------------------------------------------------------


def test_claims_about_v_of_its_own_say_where_they_do_not_apply():
    for claim in (jitter, moving):
        for changes, said in (({"network.variant": "conv"}, "network.variant = conv"),
                              ({"training.batch_size": 8}, "training.batch_size = 8")):
            with pytest.raises(lt.ConfigError, match=said):
                claim.PREDICTION.needs(PHASE.replace(**changes))


@pytest.mark.parametrize(("changes", "said"), [
    ({"training.noise_level": 2.0}, "noise over its balanced value = 2: must be 1"),
    ({"training.noise_level": 0.0}, "noise over its balanced value = 0: must be 1"),
    ({"training.weight_decay": 0.0}, "training.weight_decay"),
    ({"training.noise_scale": 0.5}, "noise over its balanced value = ")])
def test_the_claim_on_jitter_says_which_noise_it_cannot_judge(changes, said):
    """Before anything is run; balanced noise may be said by its size, too."""
    with pytest.raises(lt.ConfigError, match=said):
        jitter.PREDICTION.needs(PHASE.replace(**changes))
    jitter.PREDICTION.needs(PHASE.replace(**{"training.noise_scale": float(PHASE.training.balanced)}))


def test_the_claim_on_jitter_says_why_annealing_cannot_be_judged():
    runs = jittering()
    never = runs["infinite"].assign(threshold_at=runs["infinite"]["threshold_at"] + 1)  # another cause than the loss
    with pytest.raises(lt.ConfigError, match=r"does not fall to its threshold; raise training\.eps1"):
        list(jitter.PREDICTION.judge(runs | {"infinite": never}, 0.95))
    late = runs["decoupled"].assign(annealed_at=runs["decoupled"]["annealed_at"] + np.inf)
    with pytest.raises(lt.ConfigError, match=r"2,048 and 8,192 neurons; raise training\.steps"):
        list(jitter.PREDICTION.judge(runs | {"decoupled": late}, 0.95))
