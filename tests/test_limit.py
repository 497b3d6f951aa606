"""Infinitely wide networks on arrays: against the sum over history, the engine, closed forms, networks, and odd data."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from conftest import same, vary

import lrtheory as lt
from lrtheory import noise
from lrtheory.spec import ConfigError
from lrtheory.theory import measure, simulate
from lrtheory.theory.problem import directions
from lrtheory.wide import data as arrays
from lrtheory.wide import gram
from lrtheory.wide import runs as wide

pytestmark = pytest.mark.xdist_group("limit")

RNG = np.random.default_rng(1)
DECAY, TAU = 0.1, float(noise.balanced_noise(0.5, 0.1))


def limit(*args: Any, devices: Any = 1, **kwargs: Any):
    """`lt.limit` on as many devices: each compiles every program for itself."""
    found = jax.local_devices()[:devices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: found)
        return lt.limit(*args, **kwargs)


# The sum over history ----------------------------------------------------------------------------------------------------


def slope(y):
    """-dL/df of the mean logistic loss."""
    return lambda f: (y / (1 + np.exp(y * f[:, 0])) / len(y))[:, None]


def slope_classes(y, count):
    """The same of the softmax loss."""
    def one(f):
        chance = np.exp(f - f.max(1, keepdims=True))
        return (np.eye(count)[y] - chance / chance.sum(1, keepdims=True)) / len(y)

    return one


def history(blocks, slope, rates, taus, *, tests=(), activation=None, injected=None, decay=DECAY, outputs=1):
    """Outputs (iterations + 1, n, outputs) on the rows, then at the end on other rows, by the O(T^2) sum in NumPy."""
    def products(rows):
        found = []
        for a, b in zip(rows, blocks, strict=True):
            size = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
            found.append((a @ b.T, np.clip(a @ b.T / np.where(size > 0, size, 1.0), -1, 1)))
        return found

    n, count, own = len(blocks[0]), len(rates), products(blocks)
    taus = np.asarray(taus, float)
    clock, shifts = np.zeros((count + 1, len(taus))), np.zeros((count, len(taus)))
    shrunk, pushes = np.zeros(count + 1), np.zeros((count, n, outputs))
    v, activation = np.ones(len(taus)), np.zeros(count) if activation is None else activation
    injected = np.ones(count) if injected is None else injected

    def read(kernels, t, blur):
        total, size = 0.0, len(kernels[0][0])
        weight = rates[:t] * np.exp(shrunk[t] - shrunk[1 : t + 1])
        for b, (dot, cosine) in enumerate(kernels):
            lag = clock[t, b] - clock[:t, b] + shifts[:t, b] + blur[b]
            kernel = dot * (0.25 + np.arcsin(np.exp(-lag)[:, None, None] * cosine) / (2 * np.pi))
            total = total + np.einsum("s,snm,smc->nc", weight, kernel, pushes[:t])
        return total + np.zeros((size, outputs))

    clean = [np.zeros((n, outputs))]
    for t in range(count):
        shifts[t] = 0.5 * np.log1p(activation[t] ** 2 / v)
        pushes[t] = slope(read(own, t, shifts[t]))
        a, kick = 1 - rates[t] * decay, rates[t] * injected[t] * taus
        clock[t + 1], shrunk[t + 1] = clock[t] + 0.5 * np.log1p((kick / a) ** 2 / v), shrunk[t] + np.log(a)
        v = a * a * v + kick**2
        clean.append(read(own, t + 1, np.zeros_like(taus)))
    return np.array(clean), [read(products(rows), count, np.zeros_like(taus)) for rows in tests], v


def two_blocks():
    """Opposite points, one direction twice, the same row twice, rows that lack a block or both, nearly parallel ones."""
    x1, x2 = RNG.standard_normal((12, 5)), RNG.standard_normal((12, 3))
    x1[3], x2[3], x1[7], x2[2] = 0, 0, 0, 0
    x2[4], x2[6], x2[8] = x2[5], -x2[7], 1.5 * x2[5]
    x1[1], x2[1] = x1[0], x2[0]
    x1[9] = x1[10] + 1e-3 * RNG.standard_normal(5)
    y = np.sign(RNG.standard_normal(12))
    y[0], y[1] = 1, -1
    return (x1, x2), y, (RNG.standard_normal((4, 5)), np.concatenate([RNG.standard_normal((3, 3)), np.zeros((1, 3))]))


BLOCKS, LABELS, OTHERS = two_blocks()
RATES = np.r_[np.full(60, 0.5), np.full(100, 0.05)]
WORDS = lt.schedule_from
ALGORITHMS = {"plain": "0.5 until 30, 0.05",
              "noisy": lt.Algorithm(
                  rate=WORDS("0.5 until 30, 0.05"), activation_noise=WORDS("0.4 until 20, 0"),
                  injected_noise=WORDS("1 until 10, 0.5"))}
SHARED: dict[str, Any] = dict(
    weight_decay=DECAY, tau_xi=(TAU, 0.5 * TAU), time=35.0, records=8, outputs=True, test=(OTHERS, np.ones(4)),
    groups={"first": np.arange(5), "odd": np.arange(12) % 2 == 1})


@pytest.fixture(scope="module")
def exact():
    """Of each algorithm the outputs on the rows at all iterations, on other rows at the end, the variance at the end."""
    one = partial(history, BLOCKS, slope(LABELS), RATES, (TAU, 0.5 * TAU), tests=[OTHERS])
    time = np.concatenate([[0.0], np.cumsum(RATES)])[:-1]
    return {"plain": one(), "noisy": one(activation=np.where(time < 20 - 1e-9, 0.4, 0.0),
                                         injected=np.where(time < 10 - 1e-9, 1.0, 0.5))}


@pytest.fixture(scope="module")
def literal():
    return limit(BLOCKS, LABELS, ALGORITHMS, tolerance=0, **SHARED)


@pytest.fixture(scope="module")
def leaps():
    return {tolerance: limit(BLOCKS, LABELS, ALGORITHMS, tolerance=tolerance, **SHARED) for tolerance in (1e-2, 1e-3, 1e-5)}


def error_of(runs, exact, name):
    """The largest error of any output on training rows at any record."""
    one = runs.sel(algorithm=name).isel(seed=0)
    return np.max(np.abs(one["train_outputs"].values - exact[name][0][one["iterations"].values.astype(int), :, 0]))


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_iterations_one_by_one_are_the_sum_over_history(literal, exact, name):
    """To 1e-7 on training rows at every record, to 1e-6 on others; the variance of each block's noise to rounding."""
    assert np.max(np.abs(exact[name][0])) > 0.3
    assert error_of(literal, exact, name) < 1e-7
    one = literal.sel(algorithm=name).isel(seed=0, record=-1)
    assert one["iterations"] == 160
    np.testing.assert_allclose(one["test_outputs"], exact[name][1][0][:, 0], atol=1e-6)
    np.testing.assert_allclose([one["noise_variance_1"], one["noise_variance_2"]], exact[name][2], rtol=1e-10)


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_leaps_come_as_near_as_is_asked_for(leaps, exact, name):
    """With noises that move, and across the change of the rate; fewer steps the larger the tolerance."""
    errors = {tolerance: error_of(runs, exact, name) for tolerance, runs in leaps.items()}
    for tolerance, error in errors.items():
        assert error < 5 * tolerance, errors
    assert errors[1e-5] < 0.05 * errors[1e-2]
    steps = [int(runs["steps"].sel(algorithm=name)[0, -1]) for runs in leaps.values()]
    assert steps == sorted(steps)
    assert steps[0] < 60


def test_groups_by_indices_and_by_booleans_are_means_over_their_rows(literal):
    f = literal["train_outputs"]
    each = np.logaddexp(0, -LABELS * f)
    np.testing.assert_allclose(literal["train_loss"], each.mean("row" if "row" in each.dims else each.dims[-1]), rtol=1e-12)
    for name, rows in SHARED["groups"].items():
        np.testing.assert_allclose(literal[f"train_loss_{name}"], each.values[..., rows].mean(-1), rtol=1e-12)
        wrong = np.where(f.values == 0, 0.5, f.values * LABELS < 0)[..., rows].mean(-1)
        np.testing.assert_allclose(literal[f"train_error_{name}"], wrong, rtol=1e-12)
        half = literal[f"time_{name}_half"]
        reached = literal[f"train_loss_{name}"].min("record") <= 0.5 * literal[f"train_loss_{name}"].isel(record=0)
        assert (np.isfinite(half) == reached).all()
    np.testing.assert_allclose(literal["test_loss"], np.logaddexp(0, -literal["test_outputs"]).mean("test_outputs_0"))
    assert (literal["train_outputs"].isel(record=0) == 0).all()
    assert (literal["train_error"].isel(record=0) == 0.5).all()


# The engine of the paper's distribution ----------------------------------------------------------------------------------


def as_limit(config):
    """The paper's data of a configuration as arrays, its algorithms with thresholds of the loss itself, other words."""
    data, test = simulate.datasets(config, config.first_seed)
    p, training = config.problem, config.training
    floor, d = float(measure.floor(p, data)), np.asarray(directions(p))
    which = np.asarray(data.direction)
    x2 = np.where((which >= 0)[:, None], np.asarray(data.alpha)[:, None] * d[np.maximum(which, 0)], 0.0)

    def shifted(algorithm):
        stages = tuple(dataclasses.replace(s, threshold=float(s.threshold) + floor) for s in algorithm.rate.stages)
        return lt.Algorithm(rate=dataclasses.replace(algorithm.rate, stages=stages), name=algorithm.name)

    zeros = np.zeros((len(test.y), x2.shape[1]))
    tests = {"p": ((np.asarray(test.x1), zeros), np.asarray(test.y)),
             "q": ((np.zeros((3, p.d)), d), np.array([1.0, -1.0, -1.0]))}
    return ((np.asarray(data.x1), x2), np.asarray(data.y), {n: shifted(training.algorithm(n)) for n in ("L-S", "S")}), {
        "weight_decay": float(training.weight_decay), "tau_xi": float(training.tau_xi), "test": tests, "outputs": True,
        "tolerance": float(training.tolerance), "step_time": float(training.step_time), "records": config.records}


def require_engine(config):
    """Each algorithm, through annealing, as engine infinite has it: outputs to 1e-5."""
    engine = lt.run(config)
    (x, y, algorithms), words = as_limit(config)
    chosen = {name: algorithms[name] for name in engine["algorithm"].values.tolist()}
    mine = limit(x, y, chosen, time=float(engine["time"].max()), **words)
    assert np.isfinite(engine["annealed_at"].sel(algorithm="L-S")).all()
    np.testing.assert_allclose(mine["annealed_at"], engine["annealed_at"], atol=2.1 * float(config.training.step_time))
    np.testing.assert_allclose(mine["time"], engine["time"], atol=float(config.training.eta1))
    g = mine["test_outputs_q"].values
    for k, name in enumerate(("g_z", "g_plus", "g_minus")):
        np.testing.assert_allclose(g[..., k], engine[name], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(mine["train_loss"], engine["train_loss"], atol=1e-5)
    np.testing.assert_allclose(mine["test_error_p"][..., 1:], engine["test_error_p"][..., 1:], atol=1e-9)  # 0 is a toss here


@pytest.mark.thorough
def test_a_small_configuration_is_followed_as_by_the_engine(float64, small, one_device):
    require_engine(vary(small, engine="infinite", seeds=1, training__tolerance=1e-5, training__step_time=3e-3,
                        training__steps=10_000, algorithms=("L-S",)))


@pytest.mark.thorough
def test_preset_phase_is_followed_as_by_the_engine(float64, one_device):
    """Both algorithms; 8 records of a multiple of 64 steps, so that the engine's lie at the same times."""
    config = lt.preset("phase")
    require_engine(config.replace(**{
        "engine": "infinite", "training.tolerance": 1e-5, "seeds": 1, "records": 8, "n_test": 256,
        "training.steps": 64 * (config.training.steps // 64), "algorithms": ("L-S", "S")}))


# Closed forms ------------------------------------------------------------------------------------------------------------


def arc_cosine(a, b):
    """<a, b> (pi - angle)/(2 pi): the tangent kernel of the first layer of a wide ReLU network."""
    size = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    return a @ b.T * (np.pi - np.arccos(np.clip(a @ b.T / size, -1, 1))) / (2 * np.pi)


@pytest.mark.thorough
def test_without_noise_at_a_rate_near_0_it_is_gradient_flow_of_the_static_kernel():
    """Logistic loss: df/dt = K R(f), by a solver of scipy; on test rows with the kernel between them and the others."""
    x, other = RNG.standard_normal((10, 4)), RNG.standard_normal((3, 4))
    y = np.sign(x[:, 0] * x[:, 1])
    runs = limit(x, y, {"flow": 1e-7}, time=40, records=5, outputs=True, test=(other, np.ones(3)), tolerance=1e-6)
    both = np.concatenate([arc_cosine(x, x), arc_cosine(other, x)])
    flow = scipy.integrate.solve_ivp(lambda t, f: both @ slope(y)(f[:10, None])[:, 0], (0, 40), np.zeros(13), rtol=1e-10,
                                     atol=1e-12, dense_output=True)
    one = runs.isel(algorithm=0, seed=0)
    expected = flow.sol(one["time"].values).T
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(np.concatenate([one["train_outputs"], one["test_outputs"]], -1), expected, atol=2e-5)
    np.testing.assert_allclose(gram.at_start(gram.rows_of(other), gram.rows_of(x)), arc_cosine(other, x), atol=1e-14)


@pytest.mark.thorough(but=["finite"])
@pytest.mark.parametrize(("name", "rate"), [("flow", 1e-7), ("finite", 1.0)])
def test_the_squared_loss_without_noise_is_solved_exactly(name, rate):
    """Two outputs, f = (1 - (1 - eta K/N)^t) y, at a rate near 0 (1 - exp(-K t/N)) y; on test rows K' K^-1 of it."""
    x, y, other = RNG.standard_normal((10, 4)), RNG.standard_normal((10, 2)), RNG.standard_normal((3, 4))
    values, vectors = np.linalg.eigh(arc_cosine(x, x) / 10)
    tolerance = 1e-6 if name == "flow" else 0
    one = limit(x, y, {name: rate}, time=40, records=5, outputs=True, tolerance=tolerance, test=(other, np.zeros((3, 2))))
    one = one.isel(algorithm=0, seed=0)
    left = np.exp(one["iterations"].values[:, None] * np.log1p(-rate * values))
    solved = np.einsum("na,ka,ma,mc->knc", vectors, 1 - left, vectors, y)
    np.testing.assert_allclose(one["train_outputs"], solved, atol=2e-5)
    onward = arc_cosine(other, x) @ np.linalg.inv(arc_cosine(x, x))
    np.testing.assert_allclose(one["test_outputs"], onward @ solved, atol=5e-5)
    np.testing.assert_allclose(one["train_loss"], np.sum((solved - y) ** 2, -1).mean(-1) / 2, atol=1e-4)
    assert "train_error" not in one
    if name == "flow":
        np.testing.assert_allclose(left, np.exp(-one["time"].values[:, None] * values), atol=1e-5)


@pytest.mark.thorough(but=["literal"])
@pytest.mark.parametrize("tolerance", [pytest.param(0.0, id="literal"), pytest.param(1e-5, id="leaps")])
def test_classes_share_one_kernel(tolerance):
    """Three classes by softmax under noise and decay: the sum over history, an output each."""
    x, y = RNG.standard_normal((9, 4)), np.arange(9) % 3
    runs = limit(x, y, {"A": 0.5}, time=40, records=4, weight_decay=DECAY, tau_xi="balanced", outputs=True, test=(x, y),
                 tolerance=tolerance)
    expected, (tests,), _ = history((x,), slope_classes(y, 3), np.full(80, 0.5), (TAU,), outputs=3, tests=[(x,)])
    one = runs.isel(algorithm=0, seed=0)
    np.testing.assert_allclose(one["train_outputs"], expected[one["iterations"].values.astype(int)], atol=5e-5)
    np.testing.assert_allclose(one["test_outputs"][-1], tests, atol=1e-4)
    wrong = np.mean(expected[-1].argmax(1) != y)
    assert one["train_error"][-1] == one["test_error"][-1] == wrong
    np.testing.assert_allclose(one["train_error"][0], 2 / 3)


# Networks ----------------------------------------------------------------------------------------------------------------


def mirrored(m, d):
    """A plain network of m neurons in pairs of opposite a_i that start as one and share xi: u = (V +- D)/sqrt(2).

    So the noise itself puts out nothing; with noise of its own for each neuron it would put out N(0, tau0^2 |x|^2), however
    wide the network. D starts at 0 and has no noise.
    """
    def init(key):
        return {"V": np.sqrt(2) * jax.random.normal(key, (m // 2, d)), "D": jnp.zeros((m // 2, d))}

    def apply(params, x):
        plus, minus = (jax.nn.relu(x @ (params["V"] + sign * params["D"]).T / np.sqrt(2)) for sign in (1, -1))
        return jnp.sum(plus - minus, -1) / np.sqrt(m)

    return lt.Model(init, apply)


@pytest.mark.thorough
def test_networks_come_near_as_the_root_of_the_width():
    """Distance of outputs ~ m^a on training and test rows, m = 256 to 16,384: -1/2 within a 95% interval over 16 seeds."""
    rng = np.random.default_rng(5)
    x, other = rng.standard_normal((12, 6)), rng.standard_normal((20, 6))
    y = np.sign(x[:, 0] * x[:, 1])
    rates, tau = np.r_[np.full(50, 0.2), np.full(200, 0.05)], float(noise.balanced_noise(0.2, 0.05))
    runs = limit(x, y, {"A": "0.2 until 10, 0.05"}, weight_decay=0.05, tau_xi="balanced", time=20, records=1, outputs=True,
                 test=(other, np.ones(20)), tolerance=0)
    expected = np.concatenate([runs[f"{name}_outputs"].values[0, 0, -1] for name in ("train", "test")])
    exact, (tests,), _ = history((x,), slope(y), rates, (tau,), tests=[(other,)], decay=0.05)
    np.testing.assert_allclose(expected, np.concatenate([exact[-1], tests])[:, 0], atol=1e-6)
    rows, widths, distances = jnp.asarray(np.concatenate([x, other]), jnp.float32), 4.0 ** np.arange(4, 8), []
    for m in widths.astype(int).tolist():
        model, data = mirrored(m, 6), (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
        found = lt.train(model, data, {"A": WORDS("0.2 until 10, 0.05")},
                         tau_xi={"V": np.sqrt(2) * tau, "D": 0.0}, weight_decay=0.05, seeds=16, steps=250, records=1,
                         measure=lambda params, data, model=model: {"f": model.apply(params, rows)})
        assert abs(found["time"].values[0, 0, -1] - 20) < 1e-3
        distances.append(np.sqrt(np.mean((found["f"].values[0, :, -1] - expected) ** 2, -1)))
    logs = np.log2(widths) - np.log2(widths).mean()
    slopes = logs @ np.log2(distances) / np.sum(logs**2)
    half = scipy.stats.t.ppf(0.975, 15) * slopes.std(ddof=1) / 4
    assert half < 0.06
    assert abs(slopes.mean() + 0.5) < half
    assert np.mean(distances[-1]) < 0.02 < 0.3 < np.sqrt(np.mean(expected**2))


# Odd data ----------------------------------------------------------------------------------------------------------------


def odd_sets():
    """Data of one shape, odd in every way that n = 6 rows of 3 columns can be."""
    plain, y = RNG.standard_normal((6, 3)), np.array([1.0, -1, 1, 1, -1, -1])
    twice = np.repeat(RNG.standard_normal((3, 3)), 2, axis=0)
    return {"zeros": (0 * plain, y), "collinear": (np.outer([1, -2, 0.5, 3, -1, 0], plain[0]), y),
            "opposite": (np.concatenate([plain[:3], -plain[:3]]), y), "contradictory": (twice, np.array([1.0, -1] * 3)),
            "one class": (plain, np.ones(6)), "plain": (plain, y)}


ODD = odd_sets()
BRIEF: dict[str, Any] = dict(weight_decay=DECAY, tau_xi="balanced", time=15.0, records=3, outputs=True, tolerance=0)


def drawer(sets):
    """sample(key) that gives these one after another, with two test rows."""
    turn = iter(sets)
    return lambda key: (*next(turn), (np.eye(3)[:2], np.ones(2)))


@pytest.fixture(scope="module")
def odd():
    return limit(drawer(ODD.values()), None, {"A": 0.5}, seeds=len(ODD), **BRIEF)


@pytest.mark.parametrize("name", list(ODD))
def test_odd_data_are_followed_as_any(odd, name):
    """Each a seed of one call, of other sizes than its own: the sum over history to 1e-7."""
    x, y = ODD[name]
    one = odd.isel(algorithm=0, seed=list(ODD).index(name))
    expected, (tests,), _ = history((x,), slope(y), np.full(30, 0.5), (TAU,), tests=[(np.eye(3)[:2],)])
    np.testing.assert_allclose(one["train_outputs"], expected[one["iterations"].values.astype(int), :, 0], atol=1e-7)
    np.testing.assert_allclose(one["test_outputs"][-1], tests[:, 0], atol=1e-6)
    assert np.isfinite(one["train_loss"]).all()
    if name == "zeros":
        assert (one["train_outputs"] == 0).all()
        assert (one["train_error"] == 0.5).all()
    if name == "contradictory":
        assert (one["train_loss"][-1] > 0.6).all()


def test_one_example_given_as_lists_of_whole_numbers():
    runs = limit([[3, 4]], [1], {"A": 0.2}, test={"mine": ([[3, 4], [0, 0]], [1, -1])}, **BRIEF)
    expected, _, _ = history((np.array([[3.0, 4.0]]),), slope(np.ones(1)), np.full(75, 0.2),
                             (float(noise.balanced_noise(0.2, DECAY)),))
    np.testing.assert_allclose(runs["train_outputs"][0, 0, -1], expected[-1, :, 0], atol=1e-7)
    assert runs["test_error_mine"][0, 0, -1] == 0.25  # a row of zeros is a toss


def test_types_of_arrays_do_not_matter():
    """Lists, whole numbers and single precision are the numbers that they hold."""
    x, y = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 5.0]]), np.array([1.0, -1.0, 1.0])
    for like in (np.float32, np.int8, list):
        given = (x.tolist(), y.tolist()) if like is list else (x.astype(like), y.astype(like))
        found = arrays.arrays_of(*given, None, {"a": [0, 2]}, 0)
        for mine, theirs in zip(gram.rows_of(found.x[0]), gram.rows_of(x), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert (found.y == y).all()
        assert found.groups["a"].tolist() == [True, False, True]
        assert arrays.kind_of([found], None) == ("signs", 1)


# Minibatches, devices, precision, folders --------------------------------------------------------------------------------


def test_minibatches_are_drawn_and_all_examples_at_once_are_the_full_batch(odd):
    """B = N is the full batch to rounding; B = 2 differs a seed, and its mean over 40 is near it: 4 standard errors."""
    x, y = ODD["plain"]
    words = BRIEF | {"test": (np.eye(3)[:2], np.ones(2))}
    whole = limit(x, y, {"A": 0.05}, batch_size=6, seeds=1, **words)["train_outputs"].values
    few = limit(x, y, {"A": 0.05}, batch_size=2, seeds=40, **words)["train_outputs"].values
    expected, _, _ = history((x,), slope(y), np.full(300, 0.05), (float(noise.balanced_noise(0.05, DECAY)),))
    np.testing.assert_allclose(whole[0, 0, -1], expected[-1, :, 0], atol=1e-7)
    ends = few[0, :, -1]
    scatter = ends.std(0, ddof=1)
    assert (scatter > 1e-3).all()
    assert (np.abs(ends.mean(0) - whole[0, 0, -1]) < 4 * scatter / np.sqrt(40) + 0.01).all()


def test_several_devices_give_the_numbers_of_one(odd):
    """Seeds over both; and of a single seed its kernels by rows over both: a seed is the run on its arrays alone."""
    both = limit(drawer(ODD.values()), None, {"A": 0.5}, seeds=len(ODD), devices=2, at_once=2, **BRIEF)
    assert both.attrs["devices_used"] == 2
    assert odd.attrs["devices_used"] == 1
    np.testing.assert_allclose(both["train_outputs"], odd["train_outputs"], atol=1e-9)
    x, y = ODD["plain"]
    single = limit(x, y, {"A": 0.5}, devices=2, test=(np.eye(3)[:2], np.ones(2)), **BRIEF)
    assert single.attrs["devices_used"] == 2
    np.testing.assert_allclose(single["train_outputs"][0, 0], odd["train_outputs"][0, -1], atol=1e-7)
    np.testing.assert_allclose(single["test_outputs"][0, 0], odd["test_outputs"][0, -1], atol=1e-6)


@pytest.mark.thorough
def test_single_precision_keeps_single_precision(odd):
    x, y = ODD["plain"]
    runs = limit(x, y, {"A": 0.5}, test=(np.eye(3)[:2], np.ones(2)), precision="float32", **BRIEF)
    assert runs["train_outputs"].dtype == np.float32
    np.testing.assert_allclose(runs["train_outputs"][0, 0], odd["train_outputs"][0, -1], atol=2e-5)


def test_a_folder_goes_on_reads_and_refuses_another_question(odd, tmp_path):
    place, words = tmp_path / "runs", BRIEF | {"seeds": len(ODD)}

    def ask(progress=None, **changes):
        return limit(drawer(ODD.values()), None, {"A": 0.5}, folder=place, progress=progress, **words | changes)

    def stop(done, total, last):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(stop)
    kept = sorted((place / "parts").glob("*.zarr"))
    assert 0 < len(kept) < len(ODD)
    before = {path: path.stat().st_mtime_ns for path in kept}
    whole = ask()
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    same(whole.drop_vars("steps"), odd.drop_vars("steps"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "compiled", None)
        same(ask(), whole)
    for changes in ({"time": 16.0}, {"loss": lambda f, y: 2 * lt.logistic(f, y)}, {"outputs": False}):
        with pytest.raises(ConfigError, match="another question"):
            ask(**changes)


def test_names_and_constants_are_part_of_the_question(tmp_path, monkeypatch):
    """What a loss closes over, and what groups and tests are called, tell two questions apart."""
    asked = []
    monkeypatch.setattr(wide.answers, "answered", lambda place, question, *rest: asked.append(question))
    x, y = ODD["plain"]

    def weighted(weights):
        return lambda f, y: jnp.asarray(weights)[: len(y)] * lt.logistic(f, y)

    def ask(weight=1.0, group="a", test="b"):
        limit(x, y, {"A": 0.5}, loss=weighted(np.full(6, weight)), groups={group: [0, 1]}, test={test: (x, y)},
              folder=tmp_path / "runs")
        return asked[-1]

    assert ask() == ask()
    assert ask(weight=2.0) != ask()
    assert ask(group="c") != ask()
    assert ask(test="c") != ask()


# Bad input ---------------------------------------------------------------------------------------------------------------

X, Y = ODD["plain"]
CLASSES = np.arange(6) % 3
BAD = {
    "x of one axis": (dict(x=X[:, 0]), ("x", "(6,)", "(n, d)", "flatten")),
    "x with nan": (dict(x=np.where(np.arange(18).reshape(6, 3) == 7, np.nan, X)), ("x = nan in row 2", "leave")),
    "x too large": (dict(x=1e200 * X), ("x = ", "1e+36", "scale")),
    "x of words": (dict(x=[["a", "b"]]), ("x = [['a', 'b']]", "numbers")),
    "x empty": (dict(x=np.zeros((0, 3))), ("x = nothing",)),
    "blocks of other lengths": (dict(x=(X, X[:4])), ("[6, 4]", "as many", "zeros")),
    "labels too few": (dict(y=Y[:5]), ("y", "(5,)", "6 rows")),
    "labels with inf": (dict(y=np.where(Y > 0, np.inf, Y)), ("y = inf in row 0",)),
    "labels 0 and 1": (dict(y=(Y + 1) / 2, loss=lt.logistic), ("y = [0.0, 1.0]", "2 y - 1")),
    "classes below 0": (dict(y=Y.astype(int), loss=lt.softmax), ("y = [-1, 1]", "from 0")),
    "one class": (dict(y=np.zeros(6, int)), ("classes up to 0", "at least 2")),
    "a group with a row twice": (dict(groups={"a": [1, 1, 2]}), ("groups['a']", "row 1 twice", "leave one out")),
    "a group beyond": (dict(groups={"a": [1, 7]}), ("groups['a']", "[0, 6)")),
    "a group of nothing": (dict(groups={"a": [False] * 6}), ("groups['a']", "one row or more")),
    "a group of no name": (dict(groups={"a/b": [1]}), ("a/b", "name")),
    "groups without names": (dict(groups=[1, 2]), ("groups", "mapping")),
    "test of other columns": (dict(test=(X[:, :2], Y)), ("test: x", "(2,)", "(3,)")),
    "test of other blocks": (dict(test=((X, X), Y)), ("test: x", "(3, 3)")),
    "test labels too few": (dict(test={"mine": (X, Y[:3])}), ("test 'mine': y", "(3,)", "(6,)")),
    "test labels of another kind": (dict(test=(X, (Y > 0) * 1)), ("test: y", "-1 or 1")),
    "test classes of another kind": (dict(y=CLASSES, test=(X, CLASSES / 2)), ("test: y", "whole numbers")),
    "test not a pair": (dict(test=X), ("test", "pair")),
    "noise without decay": (dict(tau_xi=0.5), ("tau_xi = 0.5", "weight_decay")),
    "balanced noise without decay": (dict(tau_xi="balanced"), ("tau_xi", "weight_decay")),
    "noise below 0": (dict(tau_xi=-1, weight_decay=0.1), ("tau_xi = -1",)),
    "noise of other blocks": (dict(tau_xi=(1, 2), weight_decay=0.1), ("tau_xi = (1, 2)", "1 block")),
    "injected noise of no size": (dict(algorithms={"A": lt.Algorithm(WORDS(0.5), None, WORDS(1))}), ("tau_xi",)),
    "a loss of steps": (dict(loss=lambda f, y: (f * y < 0) * 1.0), ("loss", "derivative", "smooth")),
    "a loss that fails": (dict(loss=lambda f, y: f @ jnp.ones(3)), ("loss", "fails", "(6,)")),
    "a loss that lacks a key": (dict(loss=lambda f, y: {}["a"]), ("loss", "fails")),
    "a loss of other shape": (dict(loss=lambda f, y: jnp.ones(2)), ("loss", "(2,)", "(6,)")),
    "a loss of nothing": (dict(loss=lambda f, y: None), ("loss", "NoneType", "array")),
    "a loss that is none": (dict(loss=3), ("loss = 3", "function")),
    "a rate above the bound": (dict(algorithms={"A": 50.0}), ("rate = 50", "2/lambda_max", "allow_unstable")),
    "a rate that overshoots": (dict(algorithms={"A": 3.0}, weight_decay=0.5), ("1.5", "below 1")),
    "no algorithm": (dict(algorithms={}), ("algorithms", "at least one")),
    "algorithms without names": (dict(algorithms=0.5), ("algorithms = 0.5", "mapping")),
    "an unknown setting": (dict(seed=3), ("seed", "seeds", "first_seed")),
    "a batch too large": (dict(batch_size=7), ("batch_size = 7", "6 examples")),
    "time in words": (dict(time="long"), ("time", "number")),
    "a precision of no name": (dict(precision="half"), ("precision = 'half'", "float32")),
    "labels beside a function": (dict(x=lambda key: (X, Y)), ("y", "None where x is a function")),
    "a function of x alone": (dict(x=lambda key: X, y=None), ("(x, y)",)),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_line(case, monkeypatch):
    """What it is, what it must be and a remedy; before anything is computed."""
    monkeypatch.setattr(wide, "_computed", lambda *_: pytest.fail("it is computed"))
    changes, words = BAD[case]
    given = dict(x=X, y=Y, algorithms={"A": 0.5}) | changes
    with pytest.raises(ConfigError) as error:
        limit(**given)
    text = str(error.value)
    assert "\n" not in text
    assert "; " in text or case == "an unknown setting"
    assert all(word in text for word in words), text


def test_seeds_have_data_of_one_shape():
    turn = iter([(X, Y), (X[:5], Y[:5])])
    with pytest.raises(ConfigError, match="for all seeds"):
        limit(lambda key: next(turn), None, {"A": 0.5}, seeds=2)


@pytest.mark.parametrize("name", ["free_memory", "main_memory"])
def test_what_does_not_fit_is_refused_before_it_is_there(monkeypatch, name):
    """The kernel of a seed, and before it the products between all rows."""
    monkeypatch.setattr(wide, name, lambda: 1000)
    monkeypatch.setattr(wide, "lay_out", wide.lay_out if name == "free_memory" else lambda *_: pytest.fail("it is laid out"))
    with pytest.raises(ConfigError, match=r"GiB.*; use fewer rows"):
        limit(X, Y, {"A": 0.5})


def test_rates_above_the_bound_are_followed_by_name():
    """Squared loss, one mode at 2.5 times its bound: f = (1 - (1 - eta K/N)^t) y, until it is given up as diverged."""
    runs = limit([[1.0]], [2.0], {"A": 4.5}, loss=lt.squared, allow_unstable=True, time=450, records=10, outputs=True,
                 largest_loss=1e3, shortest_lag=1e-16)
    one = runs.isel(algorithm=0, seed=0)
    t = one["iterations"].values
    expected = 2 * (1 - (1 - 4.5 / 2) ** t)
    np.testing.assert_allclose(one["train_outputs"][:, 0], expected, rtol=1e-6)
    assert np.isfinite(one["diverged_at"])
    assert one["diverged_at"] / 4.5 == np.ceil(np.log(1e3 / 2) / np.log(1.25) / 2)


# Learning times ----------------------------------------------------------------------------------------------------------


def test_margins_of_q_take_twice_its_time():
    """As many rows of z as of both others: to 1e-3 at r = 0.02, whatever share of the rows has nothing else."""
    problem = dataclasses.replace(lt.preset("quick").problem, p0=0.5)
    which = np.tile([0, 0, 1, 2, -1, -1, -1, -1], 20)
    with jax.enable_x64(True):
        d = np.asarray(directions(problem))
    x2 = np.where((which >= 0)[:, None], d[np.maximum(which, 0)], 0.0)
    y = np.where(which < 0, np.tile([1.0, -1.0], 80), np.where(which == 0, 1.0, -1.0))
    found = lt.learning_times(x2, y, {"any": 0.01}, groups={"Q": which >= 0}, test={"q": (d, np.array([1.0, -1, -1]))})
    expected = 2 * lt.timescales.q_time(problem)
    np.testing.assert_allclose(found["margin_time"].values, expected, rtol=1e-3)
    np.testing.assert_allclose(found["learning_time"].values, expected, rtol=2e-3)  # without noise and decay the same
    assert np.isinf(found["blur_time"]).all()


def test_margins_of_p_take_its_time():
    """On test rows, over 8 draws of 400 rows: within 4 standard errors, of at most 6%."""
    problem = dataclasses.replace(lt.preset("quick").problem, d=16, gamma0=0.2)

    def draw(n):
        x, y = RNG.standard_normal((n, 16)) / 4, np.tile([1.0, -1.0], n // 2)
        x[:, 0] = y * (np.abs(x[:, 0]) + problem.gamma0)
        return x, y

    speeds = []
    for _ in range(8):
        x, y = draw(400)
        x[: round(400 * problem.q0)] = 0.0  # these have Q alone
        found = lt.learning_times(x, y, [0.01], groups={}, test={"p": draw(128)})
        speeds.append(float(1 / found["margin_time"].sel(group="p")[0]) * lt.timescales.p_time(problem))
    error = np.std(speeds, ddof=1) / np.sqrt(8)
    assert error < 0.06
    assert abs(np.mean(speeds) - 1) < 4 * error


@pytest.mark.thorough(but=["quick"])
@pytest.mark.parametrize("name", ["phase", "quick"])
def test_the_order_is_predicted_before_anything_is_run(name):
    """The large rate blurs Q and the small one learns it before P, which no rate blurs: as in the runs of these presets."""
    config = lt.preset(name)
    args, words = as_limit(config.replace(n_test=64, engine="infinite"))
    half = np.abs(args[0][0]).sum(1) > 0
    other = np.abs(args[0][1]).sum(1) > 0
    training = config.training
    rates = {"large": float(training.eta1), "small": float(training.eta1 * training.eta_ratio)}
    found = lt.learning_times(*args[:2], rates, groups={"P": half & ~other, "Q": other & ~half}, time=600,
                              weight_decay=words["weight_decay"], tau_xi=words["tau_xi"])
    times = found["learning_time"]
    assert np.isinf(times.sel(rate="large", group="Q"))
    assert np.isfinite(times.sel(group="P")).all()
    assert times.sel(rate="small", group="Q") < 0.1 * times.sel(rate="small", group="P")
    large, small = found["blur_time"].sel(group="Q")
    for mine, rate in ((large, rates["large"]), (small, rates["small"])):
        theirs = lt.timescales.blur_time(config.problem, training, rate)
        assert 0.1 < mine / theirs < 1
    assert np.isinf(found["blur_time"].sel(group="P")).all()


def test_the_margin_without_noise_is_the_integral_of_the_decay():
    """Reached at the end: (1 - exp(-lambda T))/lambda over margin_time, lambda up to eta lambda; inf where below 1."""
    found = lt.learning_times(X, Y, {"A": 0.5, "B": 0.001}, groups={"all": np.arange(6)}, weight_decay=0.02, time=60)
    speed = -np.log1p(-np.array([0.5, 0.001]) * 0.02) / np.array([0.5, 0.001])
    margin = found["margin_time"].values[:, 0]
    np.testing.assert_allclose(found["reached"].values[:, 0], -np.expm1(-60 * speed) / speed / margin, rtol=1e-3)
    learned = -np.log1p(-speed * margin) / speed
    np.testing.assert_allclose(found["learning_time"].values[:, 0], learned, rtol=5e-3)
    strong = lt.learning_times(X, Y, [0.5], groups={"all": np.arange(6)}, weight_decay=1.5, time=30)
    assert np.isinf(strong["learning_time"]).all()


def test_margins_of_classes_are_what_tells_a_group_s_labels_apart():
    """The mean over labels c of u_c (m_c - mbar)/|u_c|, m = K u/N, also where a group has two of three classes."""
    found = lt.learning_times(X + 1, CLASSES, [0.5], groups={"all": np.arange(6), "two": CLASSES < 2})
    u = np.eye(3)[CLASSES] - 1 / 3
    m = arc_cosine(X + 1, X + 1) @ u / 6
    for name, labels in (("all", [0, 1, 2]), ("two", [0, 1])):
        means = np.stack([m[c == CLASSES].mean(0) for c in labels])
        ways = (np.eye(3)[labels] - 1 / 3) / np.sqrt(2 / 3)
        margin = np.sum(ways * (means - means.mean(0)), -1).mean()
        np.testing.assert_allclose(found["margin_time"].sel(group=name).item(), 1 / margin, rtol=1e-10)
    assert 0 < lt.learning_times(X, X[:, :2], [0.5], groups={"all": np.arange(6)})["margin_time"].item() < 100
    still = lt.learning_times(0 * X, Y, [0.5], groups={"all": np.arange(6)})
    assert np.isinf(still["learning_time"].item())


BAD_TIMES = {
    "no rates": (dict(rates=[]), ("rates = []",)), "one number": (dict(rates=0.5), ("rates = 0.5", "sequence")),
    "a rate in words": (dict(rates=["a"]), ("rates['a']", "above 0")),
    "a rate below 0": (dict(rates=[-1]), ("-1", "above 0")),
    "a rate that overshoots": (dict(rates={"A": 20.0}, weight_decay=0.1), ("rates['A']", "below 1", "lower")),
    "no groups": (dict(groups={}), ("groups = {}", "name")), "none": (dict(groups=None), ("groups", "mapping")),
    "one name twice": (dict(test={"all": (X, Y)}), ("test = all", "another name")),
    "test without a name": (dict(test=(X, Y)), ("test", "mapping")),
    "a function": (dict(x=lambda key: (X, Y), y=None), ("x = a function", "arrays")),
    "noise below 0": (dict(tau_xi=-1.0, weight_decay=0.1), ("tau_xi = -1",)),
    "balanced without decay": (dict(tau_xi="balanced"), ("tau_xi", "weight_decay")),
    "a loss that is none": (dict(loss=3), ("loss = 3",)),
    "a loss that is flat": (dict(loss=lambda f, y: 0 * f), ("derivative",)),
    "no time": (dict(time=0), ("time = 0",)), "labels too few": (dict(y=Y[:4]), ("y", "(4,)")),
}


@pytest.mark.parametrize("case", list(BAD_TIMES))
def test_bad_input_of_learning_times_is_one_line(case):
    changes, words = BAD_TIMES[case]
    given = dict(x=X, y=Y, rates=[0.5], groups={"all": np.arange(6)}) | changes
    with pytest.raises(ConfigError) as error:
        lt.learning_times(**given)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)
