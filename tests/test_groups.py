"""Further groups of examples: their law, what is measured of them, and what they do to the time scales."""

import jax
import numpy as np
import pytest
from conftest import EXTRA, grouped, vary

import lrtheory as lt
from lrtheory.cli import arguments, report
from lrtheory.fields import from_json, to_json
from lrtheory.spec import ConfigError
from lrtheory.theory import measure, simulate
from lrtheory.theory.engines import ENGINES
from lrtheory.theory.engines.base import Readout, State
from lrtheory.theory.measure import floor, loss_gradient, losses
from lrtheory.theory.network import apply, initial_weights
from lrtheory.theory.problem import MIXED, Q_ONLY, contrast, directions, sample, sample_test
from lrtheory.theory.timescales import p_time, q_time

pytestmark = pytest.mark.xdist_group("groups")  # they share programs, so one process takes them all


@pytest.mark.parametrize("mode", ["exact+extra", "iid+extra"])
def test_each_half_says_what_its_group_lets_it_say(float64, small, mode):
    problem = vary(grouped(small, mode), problem__N=4000).problem
    data = sample(problem, jax.random.key(0))
    x1, alpha, direction, y, group = (np.asarray(v) for v in data[:5])
    along = x1 @ np.asarray(data.basis[0])
    for code, (name, (p, q), share) in enumerate(zip(problem.group_names, problem.halves, problem.shares, strict=True)):
        member = group == code
        error = 0.6 / 4000 if problem.groups == "exact" else 5 * np.sqrt(share * (1 - share) / 4000)
        assert abs(member.mean() - share) < error, name
        if p == 0:
            assert not x1[member].any()
        else:
            assert np.all(np.sign(p) * y[member] * along[member] >= abs(p) * problem.gamma0)
            across = np.sum(x1[member] ** 2, 1) - along[member] ** 2
            assert np.mean(across) == pytest.approx(p**2 * (problem.d - 1) / problem.d, rel=0.15)
        if q == 0:
            assert not alpha[member].any()
        else:
            assert np.all((direction[member] == 0) == (np.sign(q) * y[member] > 0))
            assert abs(q) * problem.alpha_min < alpha[member].min() < alpha[member].max() < abs(q)
    assert problem.carried() == pytest.approx((0.1 + 0.3 + 0.1 - 0.15, 0.3 + 0.25 - 0.05 + 0.03))
    assert problem.carried(2) == pytest.approx((0.1 + 0.3 + 0.1 + 0.15, 0.3 + 0.25 + 0.025 + 0.009))


def test_rows_lie_where_the_slices_say(small):
    problem = grouped(small, "exact+extra").problem
    group = np.asarray(sample(problem, jax.random.key(1)).group)
    assert group.tolist() == np.repeat([0, 1, 3, 4, 5, 2], [4, 12, 4, 6, 4, 10]).tolist()
    assert problem.group_sizes == (4, 12, 10, 4, 6, 4)


@pytest.mark.thorough
def test_a_group_that_repeats_the_mixed_one_changes_nothing_but_its_name(small):
    """Same arrays, hence the same run: what is not named after a group is equal to the last bit."""
    twin = vary(small, problem__extra_groups=(lt.Group(name="twin", share=0.3),), seeds=1)
    one, other = lt.run(vary(small, seeds=1)), lt.run(twin)
    for name in ("train_loss", "loss_p", "loss_q", "contrast", "test_error_p", "annealed_at", "time_q_half"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    sizes = np.array([14, 12])
    whole = (other["loss_mixed"] * sizes[0] + other["loss_twin"] * sizes[1]) / 26
    np.testing.assert_allclose(whole, one["loss_mixed"], rtol=1e-5)
    np.testing.assert_allclose(other["test_error"], one["test_error"], atol=1e-6)
    assert other["loss_twin"].attrs == {"units": "nat", "long_name": "training loss on the twin group"}


@pytest.mark.thorough(but=["extra4"])
@pytest.mark.parametrize("extra", [*EXTRA, lt.Group(name="flipped", share=0.2, p=-1.0, q=-1.0),
                                   lt.Group(name="lie", share=0.1, p=0.0, q=-1.0)])
def test_its_test_error_is_that_of_fresh_examples(float64, small, extra):
    """Against networks of random weights on 40,000 fresh examples of the group, within 4 standard errors."""
    config = vary(small, problem__extra_groups=(extra,), problem__z_norm=1.0, network__init="plain", n_test=40_000)
    fresh = vary(config, problem__N=60_000, problem__p0=0.05, problem__q0=0.05,
                 problem__extra_groups=(lt.Group(name=extra.name, share=0.8, p=extra.p, q=extra.q),)).problem
    for seed in range(3):
        weights = initial_weights(config.network, (8, 8), jax.random.key(seed))
        data = sample(fresh, jax.random.key(10))
        f = apply(weights, data.x1, data.x2)
        member = np.asarray(data.group) == 3
        wrong = np.asarray(data.y * f <= 0)[member]
        test = sample_test(config.problem, data, 40_000, jax.random.key(20))
        g = apply(weights, 0 * test.x1[:3], directions(config.problem) @ data.basis[1:])
        ours = measure.test_errors(config, test, Readout(f1=apply(weights, test.x1, 0 * test.x1), g=g))
        error = 4 * np.sqrt(2 * 0.25 / 40_000)
        loss = np.logaddexp(0, -np.asarray(data.y * f))[member]
        assert abs(float(ours[f"test_loss_{extra.name}"]) - loss.mean()) < 4 * loss.std() * np.sqrt(2 / 40_000)
        for name, code in (("q", 2), ("p", 0), ("mixed", 1)):
            loss = np.logaddexp(0, -np.asarray(data.y * f))[np.asarray(data.group) == code]
            assert abs(float(ours[f"test_loss_{name}"]) - loss.mean()) < 4 * loss.std() * np.sqrt(1 / len(loss) + 1 / 40_000)
        assert abs(float(ours[f"test_error_{extra.name}"]) - wrong.mean()) < error
        shares = dict(zip(config.problem.group_names, config.problem.shares, strict=True))
        assert float(ours["test_error"]) == pytest.approx(sum(s * float(ours[f"test_error_{n}"]) for n, s in shares.items()))
        assert float(ours["test_loss"]) == pytest.approx(sum(s * float(ours[f"test_loss_{n}"]) for n, s in shares.items()))


def test_the_floor_counts_every_example_that_carries_x2_alone(float64, small):
    problem = grouped(small, "exact+extra").problem
    data = sample(problem, jax.random.key(0))
    assert float(floor(problem, data)) == pytest.approx(np.log(2) * (10 + 4) / 40)
    each = losses(problem, data, 0 * data.y).each
    np.testing.assert_allclose(each, np.log(2))
    assert each.shape == (6,)


@pytest.mark.thorough(but=["extra1"])
@pytest.mark.parametrize(("extra", "half"), [
    (lt.Group(name="lie", share=0.2, p=-1.0), 0), (lt.Group(name="lie", share=0.2, q=-1.0), 1)])
def test_label_noise_slows_its_half_as_its_time_scale_says(float64, small, extra, half):
    """The first step's margins on P (contrast on Q) shrink by the factor between the time scales; N = m = 3,000."""
    base = vary(small, problem__N=3000, problem__d=16, problem__alpha_min=1.0, network__m_w=3000, network__m_v=3000)
    engine, moved, times = ENGINES["decoupled"], [], []
    for config in (base, vary(base, problem__extra_groups=(extra,))):
        data = sample(config.problem, jax.random.key(0))
        test = sample_test(config.problem, data, 3000, jax.random.key(1))
        inputs = engine.prepare(config, data)
        state = engine.init(config, inputs, jax.random.key(2))
        f, pullback = engine.forward(config, inputs, state, None)
        state = State(tuple(-g for g in pullback(loss_gradient(data, f))), state.noise)
        readout = engine.read(config, inputs, state, test)
        moved.append(float((test.y * readout.f1).mean() if half == 0 else -contrast(readout.g)))
        times.append((p_time, q_time)[half](config.problem))
    assert times[1] > 1.5 * times[0]
    assert moved[0] / moved[1] == pytest.approx(times[1] / times[0], rel=0.06)


@pytest.mark.thorough
def test_a_config_with_groups_goes_through_files_and_commands(small, tmp_path):
    config = vary(grouped(small, "exact+extra"), engine="decoupled", training__steps=12, seeds=2, records=3)
    assert from_json(to_json(config), lt.Config) == config
    path = tmp_path / "config.json"
    path.write_text(to_json(config))
    assert arguments.run_arguments(["--config", str(path)])[0] == config
    assert "6 noisy_p" in report.run_opening(config)
    lt.sweep(config, {"r": [0.2, 0.3]}, folder=tmp_path / "sweep")
    runs = lt.load(tmp_path / "sweep")
    assert runs["time_contradiction_half"].dims == ("r", "algorithm", "seed")
    assert np.isfinite(runs["loss_noisy_p"]).all()
    assert list(lt.figures.group_styles(runs)) == ["p", "mixed", "q", "contradiction", "noisy_p", "weak_q"]
    assert simulate.datasets(config, 0)[0].group.max() == 5


@pytest.mark.parametrize(("groups", "words"), [
    ((lt.Group(name="P", share=0.1),), r"extra_groups\[0\].name = 'P': must be 1 to 100 lower-case"),
    ((lt.Group(name="mixed", share=0.1),), "must be different from all other groups"),
    ((lt.Group(name="a", share=0.1), lt.Group(name="a", share=0.1)), "must be different"),
    ((lt.Group(name="a", share=-0.1),), "must be a probability"),
    ((lt.Group(name="a", share=0.8),), r"share of a = 1.15: must be at most 1"),
    ((lt.Group(name="a", share=0.001),), "give the a group"),
    ((lt.Group(name="a", share=0.1, q=float("nan")),), "must be a finite number"),
])
def test_impossible_groups_are_named(small, groups, words):
    with pytest.raises(ConfigError, match=words):
        vary(small, problem__extra_groups=groups).check()
    assert MIXED + 1 == Q_ONLY
