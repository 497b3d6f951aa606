"""Runs: laws over time, events, freezing, and what must not depend on how runs are put together."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import vary

import lrtheory as lt
from lrtheory import noise
from lrtheory.algorithm import Algorithm
from lrtheory.schedule import stack
from lrtheory.theory import programs as batch
from lrtheory.theory import simulate
from lrtheory.theory.engines.base import Readout
from lrtheory.theory.measure import errors
from lrtheory.theory.network import apply

pytestmark = pytest.mark.xdist_group("runs")  # they share programs, so one process takes them all


def one_run(config, name="L-S", seed=0, algorithm=None):
    """Final state and records of a single run, without any vmap."""
    algorithm = config.training.algorithm(name) if algorithm is None else algorithm
    bounds = np.append(0, simulate.record_steps(config))
    filled_up = (stack([schedule, TWO_STAGES]) for schedule in algorithm.schedules)
    return _one_run(batch.numbers(config), *filled_up, jnp.asarray(seed), jnp.asarray(bounds))


TWO_STAGES = lt.step_decay([1.0, 1.0], [1.0])


@jax.jit
def _one_run(config, rates, levels, injected, seed, bounds):
    """Schedules are stacked with one of two stages, so that one program serves all algorithms."""
    algorithm = Algorithm(*(jax.tree.map(lambda leaf: leaf[0], s) for s in (rates, levels, injected)))
    setting, run = simulate.begin(config, algorithm, seed)
    return simulate.trajectory(config, algorithm, setting, run, bounds)


def test_calling_for_all_cores_too_late_says_so(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr("lrtheory.devices.chosen", lambda: False)
    jax.devices()
    with pytest.warns(UserWarning, match="before anything else of JAX"):
        lt.use_all_cores()


@pytest.mark.thorough(but=["decoupled"])
@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled"])
def test_a_batch_is_its_runs_one_by_one(small, engine):
    config = vary(small, engine=engine, seeds=3)
    together = lt.run(config)  # 3 seeds on 2 devices: padded
    for name in config.algorithms:
        for seed in range(3):
            state, records = one_run(config, name, seed)
            here = together.sel(algorithm=name, seed=seed)
            for metric, values in records.items():  # from step 1 on: at the start f = 0 up to rounding of either sign
                np.testing.assert_allclose(here[metric][1:], values[1:], rtol=2e-4, atol=2e-5, err_msg=metric)
            for event, when in simulate.events(config, state).items():
                np.testing.assert_allclose(here[event], when, rtol=1e-5, err_msg=event)


def test_a_run_depends_on_its_seed_alone(small):
    few = lt.run(vary(small, seeds=1, first_seed=2))
    many = lt.run(vary(small, seeds=5, algorithms=("S", "L-S")))
    chosen = many.sel(seed=[2], algorithm=["L-S", "S"])
    for metric in ("train_loss", "contrast", "test_error_p", "noise_variance_w"):
        np.testing.assert_allclose(few[metric], chosen[metric], rtol=2e-4, atol=2e-5, err_msg=metric)
    assert not np.allclose(many["train_loss"].sel(seed=0), many["train_loss"].sel(seed=1))


@pytest.mark.thorough(but=["block"])
@pytest.mark.parametrize("variant", ["block", "conv"])
def test_a_step_is_the_update_of_the_paper(float64, small, variant):
    """U_1 = U_0 - eta (grad L_lambda(U_0) + xi_0), xi_0 ~ N(0, tau_xi^2), written out with autodiff, K = 1."""
    config = vary(small, engine="dense", training__step_time=0.0, network__init="plain", network__variant=variant)
    training, algorithm = config.training, config.training.algorithm("L-S")
    setting, run = simulate.begin(config, algorithm, jnp.array(4))
    after = simulate.step(config, algorithm, setting, jnp.array(0), run)

    def regularised_loss(weights):
        f = apply(weights, setting.data.x1, setting.data.x2)
        return jnp.mean(jnp.log1p(jnp.exp(-setting.data.y * f))) + training.weight_decay / 2 * sum(
            jnp.sum(u**2) for u in weights)

    key, _, _ = jax.random.split(jax.random.fold_in(setting.noise_key, 0), 3)
    normals = noise.draw(key, run.network.weights)
    moved = zip(run.network.weights, jax.grad(regularised_loss)(run.network.weights), normals, config.network.scales,
                after.network.weights, strict=True)
    for u, gradient, xi, tau, new in moved:
        np.testing.assert_allclose(new, u - training.eta1 * (gradient + tau * training.tau_xi * xi), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(after.time.value, training.eta1)


def test_progress_does_not_change_the_numbers_and_counts_up(small, monkeypatch):
    seen = []
    whole = lt.run(small, progress=lambda done, total, last: seen.append((done, total, last["time"].shape)))
    assert seen[-1] == (60, 60, (1, 2, 3))
    assert [s[0] for s in seen] == sorted({s[0] for s in seen})
    monkeypatch.setattr("lrtheory.stacking.SEGMENTS", 2)
    coarse = lt.run(small)
    for metric in whole.data_vars:
        np.testing.assert_allclose(coarse[metric], whole[metric], rtol=2e-4, atol=2e-5, err_msg=metric)


def test_new_rates_noise_levels_and_thresholds_do_not_recompile(small):
    bounds = jnp.asarray(np.append(0, simulate.record_steps(small)))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def go(config, seed):
        algorithm = config.training.algorithm("L-S")
        setting, run = simulate.begin(config, algorithm, seed)
        return simulate.trajectory(config, algorithm, setting, run, bounds)[1]["train_loss"][-1]

    losses = {float(go(small, 0))}
    for name, value in {"training.eta1": 0.1, "training.eta_ratio": 0.5, "training.weight_decay": 0.01,
                        "training.noise_level": 0.3, "training.eps1": 0.4, "training.loss_smoothing": 2.0,
                        "training.step_time": 0.1, "training.anneal_time": 3.0, "problem.r": 0.4, "problem.z_norm": 1.5,
                        "problem.gamma0": 0.5, "network.tau_v": 2.0}.items():
        losses.add(float(go(small.replace(**{name: value}), 0)))
    assert len(losses) >= 12  # and they do something


def test_swept_numbers_vmap_inside_one_call(small):
    bounds = jnp.asarray(np.append(0, simulate.record_steps(small)))

    def final(eta_ratio):
        config = dataclasses.replace(small, training=dataclasses.replace(small.training, eta_ratio=eta_ratio))
        algorithm = config.training.algorithm("S")
        setting, run = simulate.begin(config, algorithm, jnp.array(0))
        return simulate.trajectory(config, algorithm, setting, run, bounds)[1]["contrast"][-1]

    ratios = jnp.array([0.05, 0.5, 1.0])
    one_by_one = jax.jit(final)
    np.testing.assert_allclose(jax.jit(jax.vmap(final))(ratios), [one_by_one(r) for r in ratios], rtol=2e-4, atol=1e-5)


def test_noise_variance_stays_at_tau0_squared_and_then_follows_its_law(small):
    """Law of the measured variance, with its own standard error, in the large-rate phase and after annealing."""
    config = vary(small, network__m_w=400, network__m_v=2000, training__steps=400, training__eps1=-10.0,
                  training__anneal_time=100.0, training__weight_decay=0.02, seeds=4, records=20, algorithms=("L-S",))
    runs = lt.run(config).isel(algorithm=0)
    t, training = config.training, config.training
    for half, count in (("w", 400 * 8 / 2), ("v", 2000 * 2 / 2)):  # antisymmetric pairs start equal
        error = np.sqrt(2 / (count * 4))
        for k, time in enumerate(runs["time"].values[0]):
            later = max(time - 100.0, 0.0)
            rate = t.eta1 * t.eta_ratio
            law = 1.0 if later == 0 else float(noise.variance_after(later, 1.0, rate, t.weight_decay, training.tau_xi))
            measured = runs[f"noise_variance_{half}"].values[:, k].mean()
            assert abs(measured / law - 1) < 4.5 * error, (half, time, measured, law)
            np.testing.assert_allclose(runs["noise_variance_theory"].values[:, k], law, rtol=2e-3)
    assert runs["noise_variance_theory"].values[0, -1] < 0.5


@pytest.mark.thorough
def test_noise_that_is_asked_for_as_a_number_needs_no_decay(small):
    """v = 1 + eta tau_xi^2 t, a random walk: at the same time ten times as much under a rate ten times as large."""
    runs = lt.run(vary(small, network__m_w=400, network__m_v=2000, training__weight_decay=0.0, training__noise_scale=0.2,
                       training__eps1=-10.0, seeds=4))
    for name, rate in (("L-S", 0.5), ("S", 0.05)):
        run = runs.sel(algorithm=name).isel(record=-1)
        law = 1 + rate * 0.2**2 * float(run["time"][0])
        np.testing.assert_allclose(run["noise_variance_theory"], law, rtol=1e-5)
        for half, count in (("w", 400 * 8 / 2), ("v", 2000 * 2 / 2)):
            assert abs(float(run[f"noise_variance_{half}"].mean()) / law - 1) < 4.5 * np.sqrt(2 / (count * 4))
    assert law < 1.1 < float(runs["noise_variance_theory"][0, 0, -1])


def test_without_injected_noise_the_noise_part_only_decays(small):
    runs = lt.run(vary(small, training__noise_level=0.0, algorithms=("S",)))
    law = (1 - 0.05 * 2e-3) ** (2 * runs["iterations"].values)
    measured = runs["noise_variance_w"].values
    assert law.min() < 0.9
    np.testing.assert_allclose(runs["noise_variance_theory"], law, rtol=1e-4)
    np.testing.assert_allclose(measured / measured[..., :1], law, rtol=1e-4)


@pytest.mark.thorough
def test_micro_steps_agree_with_the_literal_algorithm_in_law(small):
    """Statistics over seeds of K = 8 against K = 1 at the same rate; the frozen gradient costs O(K eta)."""
    common = {"training__eta_ratio": 0.025, "algorithms": ("S",), "seeds": 96, "records": 2, "engine": "decoupled"}
    literal = lt.run(vary(small, training__step_time=0.0, training__steps=4800, **common))
    micro = lt.run(vary(small, training__step_time=0.1, training__steps=600, **common))
    np.testing.assert_allclose(literal["time"][0, :, -1], micro["time"][0, :, -1], rtol=1e-4)
    np.testing.assert_allclose(literal["iterations"], micro["iterations"])
    for metric in ("loss_p", "loss_q", "loss_mixed", "contrast", "g_z", "signal_norm_w", "signal_norm_v",
                   "noise_variance_v", "test_error_p"):
        a, b = (runs[metric].isel(algorithm=0, record=-1).values for runs in (literal, micro))
        sem = (a - b).std(ddof=1) / np.sqrt(a.size)
        assert abs((a - b).mean()) < 4 * sem + 0.01 * abs(a.mean()), (metric, a.mean(), b.mean(), sem)
    assert abs(literal["contrast"][..., -1].mean()) > 0.05  # something was learned


def test_annealing_happens_once_and_is_recorded(small):
    runs = lt.run(vary(small, training__steps=600, records=60)).sel(algorithm="L-S")
    rate, phase = runs["learning_rate"].values, runs["phase"].values
    for seed in range(3):
        when = float(runs["annealed_at"][seed])
        assert np.isfinite(when)
        after = runs["time"].values[seed] > when + 1e-3
        np.testing.assert_allclose(rate[seed][after], 0.05, rtol=1e-5)
        np.testing.assert_allclose(rate[seed][~after][:-1], 0.5, rtol=1e-5)
        assert np.all(np.diff(phase[seed]) >= 0)
        assert when == float(runs["threshold_at"][seed])  # no smoothing: the loss itself
    smooth = lt.run(vary(small, training__steps=600, records=60, training__loss_smoothing=20.0)).sel(algorithm="L-S")
    assert np.all(smooth["annealed_at"] > smooth["threshold_at"])


def test_time_is_the_sum_of_rates_and_iterations_count_micro_steps(small):
    runs = lt.run(vary(small, training__eta_ratio=0.01))
    time, iterations = runs["time"].sel(algorithm="S"), runs["iterations"].sel(algorithm="S")
    np.testing.assert_allclose(time, 0.005 * iterations, rtol=1e-5)
    np.testing.assert_allclose(iterations[0], 100 * runs["step"], rtol=1e-6)


def test_a_run_that_reaches_stop_loss_is_frozen(small):
    runs = lt.run(vary(small, training__stop_loss=0.4, training__steps=600, records=60)).sel(algorithm="S")
    for seed in range(3):
        when, time = float(runs["stopped_at"][seed]), runs["time"].values[seed]
        assert 0 < when < 600 * 0.5
        np.testing.assert_allclose(time[-1], when)
        frozen = runs["train_loss"].values[seed][time >= when - 1e-4]
        assert frozen.size > 5
        assert np.all(frozen == frozen[0])
        assert frozen[0] <= 0.4


def test_a_run_that_diverges_in_its_last_step_is_flagged(small):
    wild = {"wild": Algorithm(lt.constant(1e6), lt.constant(0.0))}
    for engine in ("dense", "decoupled"):
        runs = lt.run(vary(small, engine=engine, training__steps=1, training__allow_unstable=True).replace(records=1),
                      algorithms=wild)
        assert (runs["train_loss"].isel(record=-1) > 100).all()
        np.testing.assert_array_equal(runs["diverged_at"], runs["time"].isel(record=-1))


def test_a_record_tells_the_rate_of_the_step_to_come(small):
    """Of the step that ends a stage by the clock, too."""
    config = vary(small, training__steps=6, training__step_time=0.0).replace(records=6)
    runs = lt.run(config, algorithms={"drop": Algorithm(lt.step_decay([0.5, 0.05], [1.5]), lt.constant(0.0))})
    moved = np.diff(runs["time"].values[0], axis=-1) / np.diff(runs["step"].values)
    np.testing.assert_allclose(moved, runs["learning_rate"].values[0, :, :-1], rtol=1e-5)


def test_the_duration_is_what_every_algorithm_covers(small):
    """Where step_time is no multiple of a rate, too; a function of the clock is sampled as far as it can go."""
    for step_time in (0.0, 0.0745, 0.1, 0.5, 0.62):
        runs = lt.run(vary(small, training__steps=20, training__step_time=step_time, training__allow_unstable=True).replace(
            records=2, seeds=1))
        covered = runs["time"].isel(record=-1).min().item()
        assert small.replace(**{"training.steps": 20, "training.step_time": step_time}).training.duration == pytest.approx(
            covered, rel=1e-5)
    config = vary(small, training__steps=400, training__step_time=0.0, training__eta_ratio=0.01).replace(
        algorithms=(Algorithm(lambda t: 0.5 / (1 + t / 2), name="falls"),)).settled()  # pyright: ignore[reportArgumentType]
    assert float(config.algorithms[0].rate(8.0)) == pytest.approx(0.1, rel=1e-3)


def test_annealed_is_what_has_fallen(small):
    """Not what has risen, or goes on rising."""
    config = vary(small, training__steps=12).replace(records=2, seeds=1)
    words = {"up": "0.05 for 1, 0.4", "down": "0.4 for 1, 0.05", "warm": "warmup 1 to 0.2, 0.4",
             "bump": "0.1 for 1, 0.4 for 1, 0.2"}
    runs = lt.run(config, algorithms={name: lt.Algorithm.from_text(f"{name}: {text}") for name, text in words.items()})
    annealed = dict(zip(runs["algorithm"].values.tolist(), runs["annealed_at"].values[:, 0].tolist(), strict=True))
    assert annealed["up"] == annealed["warm"] == np.inf
    assert 1 <= annealed["down"] < 2
    assert 2 <= annealed["bump"] < 3.1


def test_rows_that_are_absent_agree_with_nothing(small):
    """Drawn i.i.d., most rows may have no x1: those are not counted as gates that agree."""
    config = vary(small, engine="reduced", problem__groups="iid", problem__q0=0.75).replace(seeds=2)
    runs = lt.run(config, keep="final")
    for k, seed in enumerate(runs["seed"].values.tolist()):
        x1 = np.asarray(simulate.datasets(config.check(), seed)[0].x1)
        x1 = x1[np.any(x1 != 0, axis=1)]
        signal, noise = (runs[f"{part}_w"].values[:, k, 0] for part in ("signal", "noise"))
        same = [np.mean((x1 @ (s + n) >= 0) == (x1 @ n >= 0)) for s, n in zip(signal, noise, strict=True)]
        np.testing.assert_allclose(runs["gate_agreement_w"].values[:, k, -1], same, atol=2e-3)


def test_no_ruined_network_passes_for_a_good_one(small):
    """Outputs that are no numbers are errors on every test point."""
    _, test = simulate.datasets(small.check(), 0)
    found = errors(small.check(), test, Readout(f1=jnp.full(len(test.y), jnp.nan), g=jnp.full(3, jnp.nan)))
    assert {float(found[f"test_error{group}"]) for group in ("", "_p", "_q", "_mixed")} == {1.0}


def test_a_diverged_run_is_flagged_and_disturbs_no_other(small):
    """Three algorithms of one batch; the one whose rate is far beyond stability blows up alone."""
    calm = {"calm": small.training.algorithm("S")}
    wild = calm | {"wild": Algorithm(lt.step_decay([0.05, 1e4], [3.0]), lt.constant(0.0))}
    alone, beside = lt.run(small, algorithms=calm), lt.run(small, algorithms=wild)
    assert np.all(np.isfinite(beside["diverged_at"].sel(algorithm="wild")))
    assert np.all(beside["diverged_at"].sel(algorithm="wild") >= 3.0)
    assert np.all(np.isinf(beside["diverged_at"].sel(algorithm="calm")))
    ruin = beside.sel(algorithm="wild").isel(record=-1)
    assert not np.any(ruin["train_loss"] < 100)
    for metric in ("train_loss", "contrast", "test_error_p"):
        np.testing.assert_allclose(beside[metric].sel(algorithm="calm"), alone[metric].sel(algorithm="calm"), rtol=2e-4,
                                   atol=2e-5)


@pytest.mark.parametrize(("n", "batch"), [(40, 8), (5, 5), (simulate.ONE_SORT, 3), (simulate.ONE_SORT + 1, 3)])
def test_a_batch_is_drawn_without_replacement(n, batch):
    """And is that of a permutation, to the bit."""
    keys = jax.random.split(jax.random.key(0), 4000 if n < 100 else 4)
    weights = np.asarray(jax.vmap(lambda k: simulate._batch_weights(k, n, batch))(keys))
    assert np.all(np.sum(weights > 0, -1) == batch)
    np.testing.assert_array_equal(weights > 0, jax.vmap(lambda k: jax.random.permutation(k, n) < batch)(keys))
    if n == 40:
        np.testing.assert_allclose(weights.mean(0), 1.0, atol=5 * np.sqrt(4 / 4000))


@pytest.mark.thorough
def test_minibatches_change_a_run_and_all_of_the_examples_do_not(small):
    literal = vary(small, training__step_time=0.0, training__eta_ratio=1.0, algorithms=("S",))
    full, mini = lt.run(literal), lt.run(vary(literal, training__batch_size=8))
    whole = lt.run(vary(literal, training__batch_size=40))
    np.testing.assert_allclose(whole["train_loss"], full["train_loss"], rtol=1e-4)
    assert float(abs(mini["train_loss"] - full["train_loss"]).max()) > 1e-3


@pytest.mark.thorough(but=["shared"])
@pytest.mark.parametrize("form", ["example", "shared"])
def test_activation_noise_is_annealed_and_kept_from_the_measured_loss(small, form):
    config = vary(small, training__activation_noise_form=form, algorithms=("S", "S+noise"), training__steps=600,
                  training__activation_noise=1.0, records=30)
    runs = lt.run(config)
    level = runs["activation_noise"].sel(algorithm="S+noise").values
    assert np.all(level[:, 0] == 1.0)
    assert np.all(level[:, -1] == 0.0)
    assert np.all(runs["activation_noise"].sel(algorithm="S") == 0)
    np.testing.assert_allclose(runs["learning_rate"], 0.05, rtol=1e-5)
    np.testing.assert_allclose(runs["train_loss"][1, :, 0], runs["train_loss"][0, :, 0])  # noise-free loss
    assert float(abs(runs["contrast"][1, :, 10]).mean()) < float(abs(runs["contrast"][0, :, 10]).mean())


@pytest.mark.thorough(but=["conv-reduced"])
@pytest.mark.parametrize("engine", ["dense", "reduced"])
@pytest.mark.parametrize("variant", ["block", "conv"])
def test_variants_learn(small, variant, engine):
    runs = lt.run(vary(small, network__variant=variant, engine=engine, network__init="plain", training__steps=300))
    last = runs.isel(record=-1)
    assert np.all(last["train_loss"] < runs.isel(record=0)["train_loss"] - 0.1)
    assert np.all(last["test_error_p"] < 0.3)
    assert np.all((last["gate_agreement_w"] > 0.5) & (last["gate_agreement_w"] < 1))


@pytest.mark.thorough
def test_iid_groups_run(small):
    runs = lt.run(vary(small, problem__groups="iid", problem__N=60))
    assert np.all(runs["train_loss"].isel(record=-1) < 0.6)


@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled", "infinite"])
def test_every_product_is_at_full_precision(small, engine):
    """On GPUs and TPUs float32 products lose digits unless each asks for the highest precision."""
    config = vary(small, engine=engine, training__activation_noise_form="example")

    def go(config, seed):
        algorithm = config.training.algorithm("S+noise")
        setting, run = simulate.begin(config, algorithm, seed)
        return simulate.trajectory(config, algorithm, setting, run, jnp.array([0, 1]))

    text = jax.jit(go).trace(config, jnp.array(0)).lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) > 5
    for line in products:
        assert "precision = [HIGHEST, HIGHEST]" in line, line


def test_record_steps_are_distinct_and_end_at_the_end(small):
    steps = simulate.record_steps(vary(small, training__steps=100, records=100))
    assert steps[0] == 0
    assert steps[-1] == 100
    assert np.all(np.diff(steps) >= 1)
    steps = simulate.record_steps(vary(small, training__steps=22_000, records=150))
    assert steps[1] == 1
    assert steps[-1] == 22_000


def test_halved_is_half_of_log_2_whatever_the_start_is(small):
    """From a random start the loss on Q begins far above log 2 and falls as the noise does, with nothing learned."""
    config = vary(small, engine="reduced", network__init="plain", network__tau_v=15.0, records=60, training__eta_ratio=1.0,
                  training__noise_level=0.5, training__weight_decay=0.02, algorithms=("S",))
    runs = lt.run(config).sel(algorithm="S")
    begun = runs["loss_q"].isel(record=0).values
    assert begun.max() > 1.5
    for group in ("p", "q", "mixed"):
        loss, time = runs[f"loss_{group}"].values[:, :-1], runs["time"].values[:, :-1]  # of the last nothing is looked at
        below = loss <= np.log(2) / 2
        first = np.where(below.any(1), time[np.arange(3), below.argmax(1)], np.inf)
        np.testing.assert_allclose(runs[f"time_{group}_half"], first, rtol=1e-5)
    assert np.any(runs["loss_q"].values.min(1) < begun / 2)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled"])
def test_what_the_signal_moved_is_the_distance_between_records(small, engine):
    config = vary(small, engine=engine, records=2, training__steps=40)
    state, records = one_run(config)
    half_way, _ = one_run(vary(config, records=1, training__steps=10))
    assert simulate.record_steps(config).tolist() == [0, 10, 40]
    for k, half in enumerate("wv"):
        moved = np.linalg.norm(np.asarray(state.network.signal[k] - half_way.network.signal[k]))
        assert float(records[f"signal_moved_{half}"][2]) == pytest.approx(moved, rel=1e-4)
        assert moved > 1.001 * abs(float(np.diff(records[f"signal_norm_{half}"])[1]))  # more than the norm changes
        assert float(records[f"signal_moved_{half}"][1]) == pytest.approx(float(records[f"signal_norm_{half}"][1]), rel=1e-5)
