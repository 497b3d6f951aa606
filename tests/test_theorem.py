"""The theorems at their own exponents: units, an engine that holds at any d, errors, studies, claims 11 and 12."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.cli.main import main
from lrtheory.fields import to_json
from lrtheory.labelled import config_of
from lrtheory.predictions import regime, series
from lrtheory.predictions import verify as verifying
from lrtheory.spec import ConfigError
from lrtheory.theory import examples, linear_readout
from lrtheory.theory.engines import ENGINES
from lrtheory.theory.measure import loss_gradient
from lrtheory.theory.problem import sample, sample_test
from lrtheory.theory.runs import run
from lrtheory.theory.theorem import dimension, theorem
from lrtheory.theory.timescales import p_time, q_time

pytestmark = pytest.mark.xdist_group("theorem")  # they share programs, so one process takes them all

ENGINE = ENGINES["infinite"]
SMALL = {"size": 16, "seeds": 2}


# Units -------------------------------------------------------------------------------------------------------------------


def test_a_change_of_units_changes_no_iteration(float64):
    """Both halves multiplied by 2, rates by 1/4 and lambda by 4: the same outputs after the same numbers of iterations."""
    config = theorem(1e9, **SMALL)
    data = sample(config.problem, jax.random.key(0))
    other = config.replace(**{"problem.z_norm": 2 * config.problem.z_norm, "training.eta1": config.training.eta1 / 4,
                              "training.weight_decay": 4 * config.training.weight_decay})

    @jax.jit
    def outputs(config, data):
        inputs = ENGINE.prepare(config, data)
        state = ENGINE.init(config, inputs, jax.random.key(0))

        def leap(state, count):
            after, error = ENGINE.leap(config, inputs, state, lambda f: loss_gradient(data, f), config.training.eta1, count,
                                       jnp.zeros(()))
            return after, (after.f1, after.g, after.variance, error)

        return jax.lax.scan(leap, state, jnp.array([1.0, 1.0, 10.0, 1e3, 1e5, 1e7, 1e9, 1e9]))[1]

    numbers = jax.tree.map(jnp.asarray, config), jax.tree.map(jnp.asarray, other)
    here = outputs(numbers[0], data)
    there = outputs(numbers[1], data._replace(x1=2 * data.x1))
    assert np.abs(here[0][-1]).max() > 0.05
    assert np.abs(here[1][-1]).max() > 0.05
    for one, two in zip(here[:3], there[:3], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_numbers_in_the_paper_s_unit(float64):
    for d, kappa in ((1e3, 0.5), (1e18, 0.25), (1e40, 0.5)):
        config = theorem(d, kappa).check()
        b = d / 64
        assert dimension(config) == pytest.approx(d)
        assert (config.problem.z_norm**2 / b, config.training.weight_decay / b * d**1.25, 2 * config.training.eta1 * b) == (
            pytest.approx((1, 1, 1)))
        apart = p_time(config.problem) / q_time(config.problem)
        assert apart == pytest.approx((1 - kappa**2 / 2) / (1 - 0.125) * 0.0577 * d**0.25, rel=1e-2)
    assert dimension(lt.preset("phase")) is None
    assert dimension(theorem(1e9).replace(**{"training.weight_decay": 1.0})) is None
    assert dimension(theorem(1e9).replace(**{"training.noise_scale": 0.1})) is None
    with pytest.raises(ConfigError, match=r"d = 10: must be finite and at least size = 64"):
        theorem(10)


def test_single_precision_is_refused_where_it_holds_no_such_numbers():
    with pytest.raises(ConfigError, match=r"in double precision \(jax\.enable_x64\)"):
        theorem(1e21).check()
    with pytest.raises(ConfigError, match=r"problem\.z_norm = 1250: must be at most 330 for this infinite run"):
        theorem(1e8).check()  # before: a contrast of 0, without a word, at 1e15
    theorem(1e6).check()


@pytest.mark.thorough
def test_a_d_that_can_be_simulated_is_as_in_its_own_unit(float64):
    """D = 96 at d' = 96, b = 1, an ordinary configuration, against d' = 32, b = 3: times and losses within 4 errors."""
    found = []
    for size, seeds in ((96, 6), (32, 16)):
        config = theorem(96, size=size, seeds=seeds, length=2.0, **{"records": 4, "network.shortest_lag": 1e-8})
        run = lt.run(config)
        unit = 96 / size
        found.append({m: (float(v.mean()), float(v.std(ddof=1) / np.sqrt(seeds))) for m, v in (
            ("loss_p", run["loss_p"].sel(algorithm="L-S").values[:, -1]),
            ("mixed", run["loss_mixed"].sel(algorithm="S").values[:, -1]),
            ("along", run["p_along"].sel(algorithm="L-S").values[:, -1]))} | {"time": float(run["time"].max()) * unit})
    assert found[0].pop("time") == pytest.approx(found[1].pop("time"))
    for m, (value, error) in found[0].items():
        other, its = found[1][m]
        assert abs(value - other) < 4 * np.hypot(error, its), (m, found)


# The engine --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def far():
    """D = 1e40: Q is learned in 1e-9 of the run. The runs and, of the same seeds, the learning curve of P alone."""
    with jax.enable_x64(True):
        config = theorem(1e40, length=3.0, records=6, **SMALL)
        return lt.run(config), examples.learning_curve(config)


def test_at_any_d_nothing_diverges_and_s_is_at_its_limit(far):
    """No mixed example is left to teach P (N is 64), so S's readout is that of the P-only examples alone."""
    run, curve = far
    assert np.all(np.isinf(run["diverged_at"]))
    assert np.all(np.isfinite(run["contrast"]))
    config = theorem(1e40, length=3.0, **SMALL)
    last = run.sel(algorithm="S").isel(record=-1)
    few = config.problem.group_sizes[0]
    for name in ("p_along", "p_across"):
        np.testing.assert_allclose(last[name], curve[name].sel(examples=few), rtol=5e-3)
    halved = run["time_q_half"].sel(algorithm="S") / q_time(config.problem)
    assert np.all((halved > 3) & (halved < 12))
    assert np.all(run["time_p_half"].sel(algorithm="L-S") < run["annealed_at"].sel(algorithm="L-S"))
    assert float(last["contrast"].max()) < -100  # (t/T_Q)^(1/3)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_closed_forms_are_the_errors_on_test_points(power):
    """Of readouts of every kind, against 400,000 points, within 4 standard errors."""
    problem = dataclasses.replace(theorem(1e9, size=24).problem, alpha_power=power)
    n = 400_000
    data = sample(problem, jax.random.key(0))
    test = jax.jit(lambda: sample_test(problem, data, n, jax.random.key(1)))()
    x1, y, alpha, direction = (np.asarray(v, float) for v in (test.x1, test.y, test.alpha, test.direction))
    w_star, across = np.asarray(data.basis[0], float), np.eye(24)[0]
    across = across - (across @ w_star) * w_star
    across /= np.linalg.norm(across)
    for a, s, g in ((1.0, 0.7, (0.8, -1.5, 0.3)), (0.2, 0.9, (6.0, -4.0, -5.0)), (-0.3, 0.2, (-1.0, 2.0, 0.0))):
        f1 = x1 @ (np.sqrt(24) * (a * w_star + s * across))
        g_of = np.array(g)[direction.astype(int)]
        found = linear_readout.test_errors(problem, a, s, np.array(g))
        for name, margin in (("p", y * f1), ("mixed", y * (f1 + alpha * g_of)), ("q", y * alpha * g_of)):
            wrong, loss = margin <= 0, np.logaddexp(0, -margin)
            assert abs(found[f"test_error_{name}"] - wrong.mean()) < 4 * wrong.std() / np.sqrt(n) + 1e-12, (name, a)
            assert abs(found[f"test_loss_{name}"] - loss.mean()) < 4 * loss.std() / np.sqrt(n), (name, a)
        assert found["test_error"] == pytest.approx(sum(
            p * found[f"test_error_{g}"] for p, g in zip(problem.shares, ("p", "mixed", "q"), strict=True)))
    assert linear_readout.error_on_p(problem, np.array([0.0, 4.0]), np.array([0.0, 0.5]))[0] == pytest.approx(1)
    assert 0 < linear_readout.error_on_p(problem, np.array(8.0), np.array(0.5)) < 1e-30  # no n_test sees it


def test_what_is_recorded_of_the_theorem_is_the_closed_form(far):
    """Not 0 of 64 test points: of both algorithms, and of a learning curve; at f = 0 all is wrong."""
    found, curve = far
    config = config_of(found, lt.Config)
    assert config.n_test == 0
    exact = linear_readout.at_end(config.problem, found)
    for name in exact:
        finely = 1e-9 if str(name).startswith("test_error") else 1e-5  # traced losses have fixed nodes
        np.testing.assert_allclose(found[name].isel(record=-1), exact[name], rtol=finely, err_msg=str(name))
    assert np.all(found["test_error_p"].isel(record=-1) > 0)
    np.testing.assert_allclose(found["test_error_p"].isel(record=0), 1.0)
    np.testing.assert_allclose(curve["test_error_p"], examples.error_on_p(config, curve, True), rtol=1e-9)


@pytest.mark.parametrize("change", [{"engine": "decoupled"}, {"network.variant": "conv"}, {"problem.p_tail": 0.5},
                                    {"problem.extra_groups": (lt.Group(name="lies", share=0.05, q=-1.0),)}], ids=str)
def test_without_test_points_errors_must_have_a_closed_form(small, change):
    config = small.replace(engine="infinite", n_test=0)
    assert config.check().has_closed_form
    with pytest.raises(lt.ConfigError, match="n_test = 0: must be at least 1; errors are known without test points at"):
        config.replace(**change).check()


@pytest.mark.parametrize("a", [0.5, 20.0, 300.0, -30.0, 0.0])
def test_the_loss_of_a_readout_is_exact_however_large_it_is(a):
    """Against a fine rule around each kink; where a is large one rule over all of g errs."""
    problem, x = dataclasses.replace(theorem(1e9, size=24).problem), np.polynomial.legendre.leggauss(10)
    c = problem.gamma0 * np.sqrt(problem.d)
    for s in (0.3, 2.0, 40.0):
        for more in (0.0, -35.0, 60.0):
            kink = -more / a - c if a else 0.0
            near = kink + (s + 3) / max(abs(a), 1e-9) * np.linspace(-12, 12, 97)
            edges = np.unique(np.clip([*np.linspace(0, 9, 60), *near], 0, 9))
            half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
            g, w = (middle + half * x[0]).ravel(), (half * x[1]).ravel()
            xi = np.linspace(-9, 9, 1201)
            inner = np.logaddexp(0, -((c + g) * a + more)[:, None] - s * xi) @ np.exp(-(xi**2) / 2)
            loss = inner @ (w * np.exp(-(g**2) / 2)) * (xi[1] - xi[0]) / np.pi
            found = linear_readout._losses(problem, a, s, np.array([more]))[0]
            assert found == pytest.approx(loss, rel=1e-6, abs=1e-12), (s, more)


def test_of_no_number_there_is_no_error():
    problem = theorem(1e9, size=24).problem
    errors = linear_readout.error_on_p(problem, np.array([np.nan, 1.0, 1.0]), np.array([1.0, np.nan, 0.0]))
    np.testing.assert_array_equal(np.isnan(errors), [True, True, False])
    found = linear_readout.test_errors(problem, np.nan, np.nan, np.full(3, np.nan))
    assert all(np.isnan(found[f"test_error{part}"]) for part in ("", "_p", "_q", "_mixed"))


@pytest.mark.parametrize("change", [{"problem.alpha_power": 3.0}, {"problem.p_tail": 1.0}, {"network.variant": "conv"},
                                    {"problem.extra_groups": (lt.Group(name="lies", share=0.05, q=-1.0),)}], ids=str)
def test_what_is_not_the_theorems_law_is_not_judged_by_its_closed_forms(change):
    assert dimension(theorem(1e9)) == pytest.approx(1e9)
    assert dimension(theorem(1e9, **change)) is None


@pytest.mark.thorough
def test_a_seed_that_diverged_enters_no_mean_of_a_study_and_is_told(monkeypatch):
    """It is nan in all that is drawn from it, whatever its last weights would say."""
    config = theorem(1e2, size=16, seeds=3, length=0.2).replace(records=2)
    runs = run(config).copy(deep=True)
    runs["diverged_at"].loc[{"algorithm": "S", "seed": 1}] = 0.1
    monkeypatch.setattr(series, "run", lambda config: runs)
    found, _ = series.follow(config)
    assert np.isnan(found["test_error_p"].sel(algorithm="S", seed=1))
    assert np.isfinite(found["test_error_p"].sel(algorithm="L-S")).all()
    said = series.row(found.assign_coords(d=1e2, T_P=1.0, T_Q=1.0, t_blur_small=1.0), ("d",))
    assert (said["S"]["diverged"], said["S"]["annealed_at"]["of"]) == (1, 2)


# Studies -----------------------------------------------------------------------------------------------------------------


def synthetic(config):
    """A row as the theory has it, without running: S's error grows to its limit as d^(-1/12)."""
    rng, names = np.random.default_rng(int(np.log(dimension(config)))), list(config.algorithms)
    shape = (len(names), config.seeds)
    d = dimension(config)
    jitter = 1 + 0.05 * rng.normal(size=shape)
    limit = np.where(np.array(names) == "S", 0.024, 3e-5)[:, None] * np.ones(shape)
    error = np.where(np.array(names) == "S", 1.0, 0.0)[:, None]
    error = np.where(error > 0, 0.024 - 0.02 * (d / 1e15) ** (-1 / 12) * jitter, 5e-5 * jitter)
    data = {name: error for name in ("test_error_p", "test_error", "test_loss_p", "test_loss", "limit_loss", "p_along")}
    data |= {"limit_error": limit, "contrast": -50 * (d / 1e15) ** (1 / 12) * jitter, "diverged_at": np.full(shape, np.inf)}
    data |= {"time_p_half": 200 * jitter, "time_q_half": np.where(np.array(names) == "S", 2.0, np.inf)[:, None] * jitter,
             "annealed_at": np.full(shape, np.inf)}
    runs = xr.Dataset({k: (("algorithm", "seed"), v) for k, v in data.items()},
                      coords={"algorithm": names, "seed": np.arange(config.seeds)}, attrs={"config": to_json(config)})
    for k, part in enumerate(("low", "value", "high")):
        runs[f"examples_{part}"] = ("algorithm", np.full(len(names), 40.0 + k))
    return runs, None


@pytest.mark.parametrize("study", series.STUDIES)
def test_every_study_has_a_table_a_figure_and_its_numbers(study, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(series, "follow", synthetic)
    assert main(["theorem", "--study", study, "--out", "found", "--seeds", "4"]) == 0
    told = capsys.readouterr().out
    assert "not drawn" not in told
    assert "T_P/T_Q" in told
    assert (tmp_path / f"found/figures/{study}.png").stat().st_size > 5000
    summary = json.loads((tmp_path / "found/summary.json").read_text())
    assert len(summary["rows"]) == len(series.plan(study, seeds=4))
    if study == "dimension":
        approach, contrast = summary["findings"]
        assert approach["low"] < -1 / 12 < approach["high"]
        assert contrast["low"] < 1 / 12 < contrast["high"]
        assert main(["theorem", "--out", "found"]) == 2
        assert "exists and is not empty" in capsys.readouterr().err


def test_a_study_says_what_it_cannot_do(capsys):
    for words, complaint in ((["--study", "width"], "--study width: must be one of dimension, size"),
                             (["--d", "10"], "d = 10: must be finite and at least size"), (["--seeds", "1"], "--seeds 1"),
                             (["--kappa", "2"], "problem.p0"), (["--size", "1"], "size = 1: must be at least 2"),
                             (["--study", "size", "--size", "64"], "--size = 64: must be left out in the study of sizes"),
                             (["--study", "rates", "--rate-exponent", "-3"], "--rate-exponent = -3: must be left out")):
        assert main(["theorem", *words]) == 2
        told = capsys.readouterr().err
        assert complaint in told, told
        assert told.count("\n") == 1


# Claims 11 and 12 (their opponents: test_claims.py) ----------------------------------------------------------------------


def test_the_setting_has_two_claims_of_its_own():
    base = verifying.base_config("quick", "theorem")
    assert dimension(base) == pytest.approx(verifying.LITERAL_AT)
    assert verifying.expected(base)
    assert verifying.chosen((), base) == ["bound", "floor"]
    assert verifying.chosen((), lt.preset("phase")) == list(lt.predictions.PREDICTIONS)
    report = verifying.verify(lt.preset("phase"), ["bound"])
    claim = report["claims"][0]
    assert (claim["number"], claim["verdict"]) == (11, "not judged")
    assert "say setting theorem" in claim["reason"]
    with jax.enable_x64(True):
        for need in regime.needs(base).values():
            need.config.check()


def test_an_extrapolation_covers_as_it_says():
    """Rows of few seeds, each of its own spread: at 95% the truth is outside in 3% to 7% of 1,000."""
    size, seeds = np.array([64.0, 128, 256, 512, 1024]), (16, 16, 8, 6, 4)
    rng, inside = np.random.default_rng(0), 0
    for _ in range(1000):
        values = np.full((5, 16), np.nan)
        for k, count in enumerate(seeds):
            values[k, :count] = 1 + 3 / size[k] + (0.3 + 8 / size[k]) * rng.normal(size=count)
        found = series.extrapolated("", size, values, 0.95)
        inside += found.low <= 1 <= found.high
    assert 930 <= inside <= 970
