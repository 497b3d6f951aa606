"""The infinite-width engine: against the sum over history, the networks that converge to it, and the algorithm itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import grouped, vary

import lrtheory as lt
from lrtheory import noise
from lrtheory.theory import simulate
from lrtheory.theory.engines import ENGINES, infinite, memory
from lrtheory.theory.engines.base import Perturbation
from lrtheory.theory.engines.gram import own_rates
from lrtheory.theory.measure import loss_gradient
from lrtheory.theory.problem import directions, sample, sample_test
from lrtheory.theory.timescales import conditions

pytestmark = pytest.mark.xdist_group("infinite")  # they share programs, so one process takes them all

ENGINE = ENGINES["infinite"]


# The sum over history ----------------------------------------------------------------------------------------------------


def history_sum(config, data, moves, levels):
    """Outputs on examples at every step, and at the end outputs on other inputs, |Ubar|^2 of each half and the variance.

    In NumPy, by the O(T^2) sum over all past residuals.
    """
    x1, x2 = np.asarray(data.x1), np.asarray(data.x2)
    halves, conv = [x1, x2], config.network.variant == "conv"
    y, n = np.asarray(data.y), len(data.y)
    v, log_a, past, outputs = 1.0, 0.0, [], []

    def gram(a, b, correlation):
        norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        cosine = np.clip(a @ b.T / np.where(norms > 0, norms, 1), -1, 1)
        return a @ b.T * (0.25 + np.arcsin(correlation * cosine) / (2 * np.pi))

    def read(inputs, blur):
        f = np.zeros(len(inputs[0]))
        for drift, log_s, v_s, blur_s, residual in past:
            correlation = np.exp(log_a - log_s) * np.sqrt(v_s / v) * blur * blur_s
            weight = drift * np.exp(log_a - log_s) / past_a[log_s]
            for here in range(2):
                for there in range(2):
                    if here == there or conv:
                        f += weight * gram(inputs[here], halves[there], correlation) @ residual
        return f

    past_a = {}
    for move, level in zip(moves, levels, strict=True):
        outputs.append(read(halves, 1.0))
        blur = np.sqrt(v / (v + level**2))
        f = read(halves, blur) if level else outputs[-1]
        past.append((float(move.drift), log_a, v, blur, y / (1 + np.exp(y * f)) / n))
        past_a[log_a] = 1 + float(move.shrink)
        v, log_a = float(noise.variance(v, move)), log_a + np.log1p(float(move.shrink))
    outputs.append(read(halves, 1.0))

    def squares():
        found = np.zeros(2)
        for one in past:
            for two in past:
                early, late = sorted((one, two), key=lambda p: -p[1])
                correlation = np.exp(late[1] - early[1]) * np.sqrt(early[2] / late[2]) * early[3] * late[3]
                correlation = 1.0 if early is late else correlation
                weight = np.prod([p[0] * np.exp(log_a - p[1]) / past_a[p[1]] for p in (early, late)])
                parts = [[weight * early[4] @ gram(a, b, correlation) @ late[4] for a in halves] for b in halves]
                found += np.sum(parts) if conv else np.diag(parts)
        return found

    return np.stack(outputs), read, squares, v


@pytest.mark.thorough(but=["block-iid"])
@pytest.mark.parametrize(("variant", "groups", "ratio", "level"), [
    ("block", "exact", 1e-6, 0.0), ("block", "iid", 1e-3, 0.5), ("conv", "exact", 1.0, 0.5),
    ("block", "exact+extra", 1e-3, 0.0),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("block", "exact", 1.0, 0.0), ("block", "exact", 1e-3, 0.0), ("conv", "exact", 1e-6, 0.0),
        ("conv", "iid", 1e-3, 0.5), ("conv", "exact+extra", 1e-6, 0.0), ("block", "iid+extra", 1.0, 0.5)))])
def test_memory_without_history(float64, small, variant, groups, ratio, level):
    """The engine's outputs are the sum over history to 1e-6, large rate and then small, at training and test points."""
    config = vary(grouped(small, groups), engine="infinite", problem__d=48, problem__N=60, network__variant=variant,
                  problem__r=0.05, problem__z_norm=5.0)
    lam, tau_xi = 0.02, noise.balanced_noise(0.2, 0.02)
    plan = [(0.2, 1)] * 15 + [(0.2 * ratio, round(1 / ratio))] * 15 + [(0.2 * ratio, 1)] * 2
    levels = [level] * 20 + [0.0] * 12
    moves = [noise.micro_steps(eta, count, lam, tau_xi) for eta, count in plan]
    data = sample(config.problem, jax.random.key(0))
    inputs = ENGINE.prepare(config, data)
    state = ENGINE.init(config, inputs, jax.random.key(1))
    outputs = []

    @jax.jit
    def step(state, move, level):
        f, _ = ENGINE.forward(config, inputs, state, None)
        noisy, pullback = ENGINE.forward(config, inputs, state, Perturbation(level, jax.random.key(2)))
        return f, ENGINE.advance(config, inputs, state, pullback(loss_gradient(data, noisy)), move, None)

    for move, level in zip(moves, levels, strict=True):
        f, state = step(state, move, jnp.array(level))
        outputs.append(f)
    outputs.append(ENGINE.forward(config, inputs, state, None)[0])
    exact, read, squares, variance = history_sum(config, data, moves, levels)
    scale = np.abs(exact).max()
    assert scale > 0.1
    np.testing.assert_allclose(np.stack(outputs), exact, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(ENGINE.diagnose(config, inputs, state, state).noise_variance, variance, rtol=1e-9)
    np.testing.assert_allclose(state.squares, squares(), rtol=1e-2)
    test = sample_test(config.problem, data, 70, jax.random.key(3))
    ours = ENGINE.read(config, inputs, state, test)
    x1 = np.asarray(test.x1)
    np.testing.assert_allclose(ours.f1, read([x1, 0 * x1], 1.0), rtol=1e-4, atol=2e-5 * scale)
    q = np.asarray(directions(config.problem) @ data.basis[1:])
    np.testing.assert_allclose(ours.g, read([0 * q, q], 1.0), rtol=1e-6, atol=1e-6 * scale)


# Leaps -------------------------------------------------------------------------------------------------------------------


def test_a_leap_of_one_is_the_algorithm(float64, small):
    config = vary(small, engine="infinite", training__activation_noise_form="shared")
    setting, run = simulate.begin(config, config.training.algorithm("L-S"), jnp.array(0))
    inputs, state, slope = setting.inputs, run.network, lambda f: loss_gradient(setting.data, f)

    @jax.jit
    def both(state, level):
        f, pullback = ENGINE.forward(config, inputs, state, Perturbation(level, jax.random.key(0)))
        move = noise.micro_steps(0.5, 1, config.training.weight_decay, config.training.tau_xi)
        stepped = ENGINE.advance(config, inputs, state, pullback(slope(f)), move, None)
        return stepped, ENGINE.leap(config, inputs, state, slope, jnp.array(0.5), jnp.array(1.0), level)

    for level in (0.0, 0.4):
        for _ in range(3):
            stepped, (leapt, error) = both(state, jnp.array(level))
            assert error == 0
            for ours, theirs in zip(leapt, stepped, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
            state = stepped


def test_the_end_of_a_leap_agrees_with_itself(float64, small):
    """Q's outputs at the end of an implicit step are those of the memory it leaves, under the same activation noise."""
    config = vary(small, engine="infinite", training__activation_noise_form="shared")
    setting, run = simulate.begin(config, config.training.algorithm("L-S"), jnp.array(0))
    inputs, level, slope = setting.inputs, jnp.array(0.7), lambda f: loss_gradient(setting.data, f)
    f, pullback = ENGINE.forward(config, inputs, run.network, None)
    first, rate, count = pullback(slope(f)).source, jnp.array(0.05), jnp.array(80.0)
    found = jax.jit(lambda state: infinite._implicit(config, inputs, state, slope, first, rate, count, level))(run.network)
    assert found.left < 1e-12
    noisy, _ = ENGINE.forward(config, inputs, found.state, Perturbation(level, jax.random.key(0)))
    alone = np.asarray(setting.data.group) == 2
    alpha, direction = (np.asarray(x)[alone] for x in (setting.data.alpha, setting.data.direction))
    np.testing.assert_allclose(np.asarray(noisy)[alone], alpha * np.asarray(found.state.g)[direction], rtol=1e-9)
    assert np.abs(found.state.g).max() > 0.05


@pytest.mark.thorough(but=["conv-0.4"])
@pytest.mark.parametrize(("variant", "level", "kinks"), [
    ("block", 0.0, "fixed"), ("block", 0.0, "moving"), ("conv", 0.4, "fixed"),
    pytest.param("block", 0.4, "fixed", marks=pytest.mark.slow), pytest.param("conv", 0.0, "fixed", marks=pytest.mark.slow)])
def test_leaps_approach_the_literal_iterations(float64, small, variant, level, kinks):
    """Error of leaps of K against K single iterations: as K^2 over a fixed stretch, and below what the leap says."""
    config = vary(small, engine="infinite", network__variant=variant, network__kinks=kinks,
                  training__activation_noise_form="shared" if level else None, training__weight_decay=2e-2)
    setting, run = simulate.begin(config, config.training.algorithm("L-S"), jnp.array(0))
    leap = jax.jit(lambda state, count: ENGINE.leap(
        config, setting.inputs, state, lambda f: loss_gradient(setting.data, f), jnp.array(0.002), count, jnp.array(level)))
    first = run.network
    for _ in range(4):
        first, _ = leap(first, jnp.array(100.0))

    def outputs(count):
        state, errors = first, []
        for _ in range(800 // count):
            state, error = leap(state, jnp.array(float(count)))
            errors.append(float(error))
        return np.concatenate([state.f1, state.g]), np.sum(errors)

    exact, zero = outputs(1)
    assert zero == 0
    assert np.abs(exact - np.concatenate([first.f1, first.g])).max() > 0.05
    found = [outputs(count) for count in (400, 200, 100, 50)]
    errors = [np.abs(f - exact).max() for f, _ in found]
    for error, (_, said) in zip(errors, found, strict=True):
        assert error < said
    order = np.polyfit(np.log([400, 200, 100, 50]), np.log(errors), 1)[0]
    assert order > 1.6, errors


@pytest.mark.slow
def test_the_steps_it_chooses_lead_where_literal_ones_do(small):
    """Whole runs, L-S through annealing and S, chosen steps against every iteration taken literally (no micro-steps)."""
    config = vary(small, engine="infinite", seeds=2, training__eta_ratio=0.02, training__steps=400, training__eps1=0.35,
                  training__weight_decay=1e-2, records=8)
    exact = lt.run(vary(config, training__tolerance=0.0, training__step_time=0.0, training__steps=20_000, records=600))
    worst = []
    for tolerance in (1e-2, 1e-4):
        runs = lt.run(vary(config, training__tolerance=tolerance))
        assert np.all(runs["steps"].values[..., -1] < (100 if tolerance > 1e-3 else 800))
        assert np.all(runs["iterations"].sel(algorithm="S").values[:, -1] == 20_000)
        errors = [0.0]
        for name in ("L-S", "S"):
            for seed in range(2):
                here, there = (r.sel(algorithm=name, seed=seed) for r in (runs, exact))
                for metric in ("loss_p", "loss_q", "loss_mixed", "g_z", "g_plus", "signal_norm_v"):
                    literal = np.interp(here["time"], there["time"], there[metric])
                    errors.append(float(np.abs(literal - here[metric])[1:].max()))
        worst.append(max(errors))
        for when in ("annealed_at", "time_p_half", "time_q_half"):  # to a step of 0.5
            np.testing.assert_allclose(runs[when], exact[when], atol=0.6 if tolerance < 1e-3 else 3, err_msg=when)
    assert worst[0] < 0.1, worst
    assert worst[1] < 5e-3, worst
    assert np.all(np.isfinite(exact["annealed_at"].sel(algorithm="L-S")))


# What converges to it ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_features_are_the_matrix_up_to_the_kernels_fourth_harmonic(small):
    """The difference falls with d as the neglected harmonics do, and is small against what is learned."""
    found = []
    for d in (24, 96):
        config = vary(small, engine="infinite", seeds=1, problem__d=d, problem__N=2 * d, training__steps=6 * d, n_test=256,
                      records=1, training__weight_decay=1e-3)
        both = [lt.run(vary(config, network__kernel=kind)).isel(record=-1) for kind in ("matrix", "features")]
        for metric, size in (("loss_p", 1e-2), ("test_error_p", 2e-2), ("contrast", 3e-2)):
            np.testing.assert_allclose(both[1][metric], both[0][metric], atol=size, err_msg=metric)
        found.append(float(np.abs(both[1]["loss_p"] - both[0]["loss_p"]).max()))
        assert np.all(both[0]["loss_p"] < 0.6)
    assert found[1] < found[0]
    assert found[0] > 0


def test_features_by_the_gram_matrix_are_those_by_products_of_coordinates(small, float64):
    """To rounding, an absent row included: the same harmonics, read from the training rows in two ways."""
    config = vary(small, engine="infinite", problem__N=100, network__kernel="features")
    data = sample(config.problem, jax.random.key(0))
    data = data._replace(x1=data.x1.at[3].set(0.0))
    inputs = infinite.prepare(config, data)
    p = jax.random.normal(jax.random.key(1), (own_rates(config), inputs.p_rows.shape[0]))
    assert inputs.gram is not None
    one, other = (memory.features(config, these, p, inputs.p_rows, own=True)
                  for these in (inputs, inputs._replace(gram=None)))
    assert float(jnp.abs(one).max()) > 0.1
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    many = vary(config, problem__d=3)
    assert infinite.prepare(many, sample(many.problem, jax.random.key(0))).gram is None


def at_widths(config, widths):
    """Root mean square distance of decoupled outputs from infinite width, over seeds and both algorithms, at each width."""
    theory = lt.run(vary(config, engine="infinite", training__tolerance=0.0)).isel(record=-1)
    gaps = []
    for m in widths:
        runs = lt.run(vary(config, engine="decoupled", network__m_w=m, network__m_v=m)).isel(record=-1)
        gaps.append({metric: float(np.sqrt(((runs[metric] - theory[metric]) ** 2).mean()))
                     for metric in ("loss_p", "loss_mixed", "g_z", "contrast", "signal_norm_v")})
    return gaps, theory


@pytest.mark.thorough
def test_decoupled_networks_are_near(small):
    """Once in a plain test, a smooth schedule among them; the order is fitted in a slow one."""
    smooth = lt.Algorithm.from_text("smooth: warmup 5 to 0.4, cosine 20 to 0.01; activation noise 0.3 until 10, 0; "
                                    "injected noise linear 20 to 0.5 from 1")
    config = vary(small, seeds=4, records=1, training__activation_noise_form="shared",
                  algorithms=("L-S", "S", "S+noise", smooth))
    (gap,), theory = at_widths(config, [4096])
    assert float(np.abs(theory["contrast"]).min()) > 0.01
    for metric in gap:
        assert gap[metric] < 0.06 * max(1.0, float(np.abs(theory[metric]).max())), (metric, gap[metric])


@pytest.mark.thorough
def test_decoupled_networks_are_near_without_balance(small):
    """Without decay the noise grows without end: fixed steps, leaps and neurons forget alike."""
    config = vary(small, seeds=4, records=1, training__weight_decay=0.0, training__noise_scale=0.5)
    (gap,), theory = at_widths(config, [4096])
    assert float(theory["noise_variance_w"].max()) > 2
    for metric in gap:
        assert gap[metric] < 0.06 * max(1.0, float(np.abs(theory[metric]).max())), (metric, gap[metric])
    leaps = lt.run(vary(config, engine="infinite", training__tolerance=1e-4)).isel(record=-1)
    for metric in gap:
        np.testing.assert_allclose(leaps[metric], theory[metric], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["block", "conv"])
def test_decoupled_networks_converge_as_one_over_sqrt_m(small, variant):
    """The fitted order of the distance from infinite width in m, without annealing, whose moment jumps."""
    config = vary(small, seeds=64, records=1, training__eps1=-9.0, network__variant=variant, training__steps=100)
    widths = [64, 256, 1024, 4096]
    gaps, _ = at_widths(config, widths)
    for metric in gaps[0]:
        order = np.polyfit(np.log(widths), np.log([gap[metric] for gap in gaps]), 1)[0]
        assert abs(order + 0.5) < 0.1, (metric, order, gaps)


@pytest.mark.slow
def test_the_full_network_follows_while_its_neurons_keep_their_kinks():
    """S on the full network: within 6% of the limit's contrast where condition F holds twice over, far from it where not."""
    config = lt.preset("phase").replace(seeds=4, records=10, n_test=64, algorithms=("S",), **{"training.steps": 440})
    theory = lt.predict(config)["contrast"].isel(algorithm=0, record=-1).mean().item()
    assert theory < -6
    found = {}
    for m, tau in ((32_768, 9.0), (2048, 3.0)):
        full = config.replace(engine="reduced", **{"network.m_v": m, "network.tau_v": tau, "network.m_w": 256,
                                                   "network.tau_w": 0.2})
        f = {c.name: c.value for c in conditions(full.problem, full.training, full.network, full=True)}["F"]
        found[f] = lt.run(full)["contrast"].isel(algorithm=0, record=-1).mean().item()
    (good, near), (bad, far) = sorted(found.items(), reverse=True)
    assert good > 2 > 0.5 > bad
    assert abs(near / theory - 1) < 0.06, found
    assert abs(far / theory - 1) > 0.2, found


@pytest.mark.slow
def test_single_precision_costs_less_than_the_tolerance():
    """A whole run on the same data in float32 and float64: outputs within 1e-3, annealed at the same time."""
    config = lt.preset("quick").replace(engine="infinite", n_test=64)
    algorithm = config.training.algorithm("L-S")
    setting, run = simulate.begin(config, algorithm, jnp.array(0))
    end = 520.0
    single = jax.jit(lambda s, r, e: simulate.leap_to(config, algorithm, s, e, r))(setting, run, jnp.asarray(end))
    with jax.enable_x64(True):
        data = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), float if x.dtype.kind == "f" else x.dtype), setting.data)
        wide = config.training.algorithm("L-S")
        run = simulate.begin(config, wide, jnp.array(0))[1]
        inputs = ENGINE.prepare(config, data)
        run = run._replace(network=ENGINE.init(config, inputs, jax.random.key(0)))
        there = simulate.Setting(data, data, inputs, setting.noise_key)
        double = jax.jit(lambda s, r, e: simulate.leap_to(config, wide, s, e, r))(there, run, jnp.asarray(end))
        assert double.network.f1.dtype == np.float64
    np.testing.assert_allclose(single.network.f1, double.network.f1, atol=1e-3)
    np.testing.assert_allclose(single.network.g, double.network.g, atol=1e-3)
    np.testing.assert_allclose(single.annealed_at, double.annealed_at, atol=0.05)


@pytest.mark.parametrize(("changes", "said"), [
    ({"problem__r": 1.5}, "problem.r = 1.5: must be below 1"),
    ({"problem__r": 1e-6}, "problem.r = 1e-06: must be at least"),
    ({"training__step_time": 0.0}, "training.step_time = 0: must be positive"),
    ({"training__batch_size": 4, "training__step_time": 0.01}, "training.batch_size = 4: must be None"),
    ({"training__tolerance": -1.0}, "training.tolerance = -1"),
    ({"network__shortest_lag": 0.5}, "network.shortest_lag = 0.5"),
    ({"network__kernel": "vector"}, "network.kernel = 'vector'"),
    ({"training__allow_unstable": True, "training__eta1": 40.0}, "highest rate = 40: must be at most .* step_time = 30"),
    ({"algorithms": ("mine: 0.1 until loss 0.3, 40",)}, "highest rate = 40"),
])
def test_bad_input_is_one_line(small, changes, said):
    with pytest.raises(lt.ConfigError, match=said.replace("[", r"\[")) as error:
        lt.run(vary(small, engine="infinite", **changes))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_it_sweeps_beside_networks(small):
    """One axis of engines: same schema, same data, and a sweep's points are its runs."""
    runs = lt.sweep(vary(small, seeds=2), {"engine": ["decoupled", "infinite"], "eta_ratio": [0.1, 1.0]}, chunk=4)
    alone = lt.predict(vary(small, seeds=2))
    here = runs.sel(engine="infinite", eta_ratio=0.1)
    for metric in alone.data_vars:
        np.testing.assert_allclose(here[metric], alone[metric], rtol=2e-3, atol=2e-3, err_msg=metric)
    np.testing.assert_allclose(runs["time"].sel(engine="infinite"), runs["time"].sel(engine="decoupled"), rtol=1e-4)
    assert np.all(runs["gate_agreement_w"].sel(engine="infinite") == 1)


@pytest.mark.thorough
@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
def test_a_stopped_run_is_frozen(small, tolerance):
    runs = lt.run(vary(small, engine="infinite", seeds=1, training__stop_loss=0.5, training__tolerance=tolerance,
                       training__steps=300, algorithms=("S",))).isel(algorithm=0, seed=0)
    stopped = runs["time"].values >= float(runs["stopped_at"]) - 1e-3
    assert stopped.sum() > 1
    for metric in ("train_loss", "signal_norm_v", "contrast", "noise_variance_w", "steps"):
        assert np.all(np.isfinite(runs[metric])), metric
        assert np.ptp(runs[metric].values[stopped]) == 0, metric


@pytest.mark.slow
def test_without_noise_nothing_is_forgotten_and_a_wild_rate_is_flagged(small):
    still = lt.run(vary(small, engine="infinite", training__noise_level=0.0, training__weight_decay=0.0, seeds=1))
    assert np.all(still["noise_variance_w"] == 1)
    assert np.all(still["loss_q"][:, :, -1] < 0.65)
    wild = {"wild": lt.Algorithm(lt.step_decay([0.05, 1e4], [3.0]), lt.constant(0.0))}
    runs = lt.run(vary(small, engine="infinite", training__tolerance=0.0, seeds=1), algorithms=wild)
    assert np.all(np.isfinite(runs["diverged_at"]))
    assert np.all(runs["test_error"][..., -1] == 1)


@pytest.mark.thorough
def test_minibatches_are_predicted_on_the_same_batches(small):
    """16 times as many neurons are 4 times as near the limit on their own batches, and hardly nearer that of full ones."""
    config = vary(small, engine="decoupled", training__batch_size=8, training__step_time=0.0, training__eta_ratio=0.5,
                  training__steps=200, training__eps1=1e-6, records=5, seeds=6)
    own, full = lt.predict(config), lt.predict(vary(config, training__batch_size=None))
    assert own["time"].values == pytest.approx(lt.run(config)["time"].values)
    near, far = [], []
    for m in (128, 2048):
        run = lt.run(vary(config, network__m_w=m, network__m_v=m))
        for found, limit in ((near, own), (far, full)):
            away = run["loss_p"] - lt.at_times(limit, "loss_p", run["time"])
            found.append(float((away[..., 1:] ** 2).mean()) ** 0.5)
    assert 2.5 < near[0] / near[1] < 6.5, near
    assert far[0] / far[1] < 0.6 * near[0] / near[1], (near, far)


@pytest.mark.thorough
def test_a_run_is_predicted_on_its_own_data_and_clock(small):
    config = vary(small, training__step_time=0.0, seeds=2)
    theory, runs = lt.predict(config), lt.run(config)
    assert float(theory["time"].max()) == pytest.approx(60 * 0.5)  # S's whole time and more
    assert runs["algorithm"].values.tolist() == theory["algorithm"].values.tolist()
    summary = lt.summarise(runs, theory)
    for name in config.algorithms:
        said = summary["algorithms"][name]["theory"]
        ends, here = runs["time"].sel(algorithm=name).values[:, -1], theory.sel(algorithm=name)
        times, losses = here["time"].values, here["train_loss"].values
        expected = [np.interp(end, t, v) for end, t, v in zip(ends, times, losses, strict=True)]
        assert said["train_loss"]["per_seed"] == pytest.approx(expected)
        assert abs(said["train_loss"]["mean"] - summary["algorithms"][name]["train_loss"]["mean"]) < 0.1
