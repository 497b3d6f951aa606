"""Schedules as values: constructors against optax's, stages that end, checks, words, functions, derivatives, clocks."""

import contextlib
import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import vary

import lrtheory as lt
from lrtheory import noise
from lrtheory.fields import from_json, to_json
from lrtheory.schedule import Schedule, Stage, stack
from lrtheory.spec import ConfigError
from lrtheory.stages import clock_after
from lrtheory.theory.config import Config
from lrtheory.theory.training import Training
from lrtheory.update import noisy_sgd
from lrtheory.vision.config import Experiment
from lrtheory.wording import in_words, schedule_from, words_of

STEPS = np.arange(0, 130)


def walked(schedule, clocks, losses=None):
    """Values and states of a schedule that is updated clock by clock."""
    losses = jnp.full(len(clocks), jnp.inf) if losses is None else jnp.asarray(losses)

    def one(state, now):
        value, state = schedule.update(state, *now)
        return state, (value, state.stage)

    return [np.asarray(x) for x in jax.lax.scan(one, schedule.init(), (jnp.asarray(clocks, float), losses))[1]]


@pytest.mark.parametrize(("ours", "theirs"), [
    (lt.constant(0.3), optax.constant_schedule(0.3)),
    (lt.step_decay([1.0, 0.5, 0.1], [30, 60]), optax.piecewise_constant_schedule(1.0, {30: 0.5, 60: 0.2})),
    (lt.linear(0.5, 0.1, 100.0), optax.linear_schedule(0.5, 0.1, 100)),
    (lt.warmup(0.5, 20.0), optax.linear_schedule(0.0, 0.5, 20)),
    (lt.cosine(0.5, 0.05, 100.0), optax.cosine_decay_schedule(0.5, 100, alpha=0.1)),
    (lt.geometric(0.5, 0.005, 100.0), optax.exponential_decay(0.5, 100, 0.01, end_value=0.005)),
    (lt.warmup(0.5, 20.0).then(lt.cosine(0.5, 0.0, 80.0)), optax.warmup_cosine_decay_schedule(0.0, 0.5, 20, 100)),
    (lt.wsd(0.5, 0.0, warm=10.0, hold=60.0, decay=30.0), optax.join_schedules(
        [optax.linear_schedule(0.0, 0.5, 10), optax.constant_schedule(0.5), optax.linear_schedule(0.5, 0.0, 30)], [10, 70])),
    (lt.restarts(0.5, 0.0, 40.0, 3), optax.sgdr_schedule(
        [{"init_value": 0.5, "peak_value": 0.5, "decay_steps": 40, "warmup_steps": 0, "end_value": 0.0}] * 3)),
], ids=lambda s: "" if callable(s) and not isinstance(s, Schedule) else words_of(s)[:40])
def test_each_constructor_is_optaxs_of_the_same_name(ours, theirs):
    """As a function of the clock, and updated step by step."""
    expected = np.array([float(theirs(k)) for k in STEPS])
    last = 119 if ours.stages[0].shape == "cosine" and len(ours.stages) == 3 else 129
    np.testing.assert_allclose(ours(STEPS)[:last], expected[:last], rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(walked(ours, STEPS)[0][:last], expected[:last], rtol=2e-6, atol=1e-7)


def test_inverse_square_root_and_cycles():
    decay = lt.inverse_sqrt(1.0, 0.1, 99.0)
    np.testing.assert_allclose(decay(STEPS[:99]), 1 / np.sqrt(1 + STEPS[:99]), rtol=1e-5)  # 1/sqrt(t + 1)
    wave = lt.cyclic(0.1, 0.5, 10.0, 3)
    np.testing.assert_allclose(wave(np.array([0, 5, 10, 12.5, 15, 30, 99])), [0.1, 0.5, 0.1, 0.3, 0.5, 0.1, 0.1], rtol=1e-6)


def test_a_cosine_of_many_stages_is_the_smooth_one():
    edges = np.linspace(0, 100, 401)
    steps = lt.step_decay(0.25 * (1 + np.cos(np.pi * (edges[:-1] + edges[1:]) / 200)), edges[1:-1])
    smooth, clocks = lt.cosine(0.5, 0.0, 100.0), np.linspace(0, 99.99, 777)
    np.testing.assert_allclose(steps(clocks), smooth(clocks), atol=1.1 * 0.5 * np.pi / 2 / 800)
    lines = lt.schedule_from(smooth, until=100.0)
    np.testing.assert_allclose(lines(clocks), smooth(clocks), atol=1e-4)
    assert len(lines.stages) < 200


def test_stages_end_by_clock_duration_or_loss_whichever_is_first_and_for_good():
    falls = Stage(shape="linear", start=1.0, end=0.0, duration=4.0, until=12.0)
    three = Schedule(stages=(Stage(start=1.0, duration=10.0, threshold=0.5), falls, Stage(start=0.25)))
    clocks = np.arange(0, 20, 0.5)
    by_clock = walked(three, clocks)[0]
    np.testing.assert_allclose(by_clock, np.where(clocks < 10, 1.0, np.where(clocks < 12, 1 - (clocks - 10) / 2, 0.25)))
    losses = np.where((clocks >= 3) & (clocks < 4), 0.4, 0.9)
    by_loss = walked(three, clocks, losses)[0]  # entered at 3: its own duration ends it at 7
    np.testing.assert_allclose(by_loss, np.where(clocks < 3, 1.0, np.where(clocks < 7, 1 - (clocks - 3) / 4, 0.25)))
    late = walked(three, [0.0, 100.0])
    assert late[0].tolist() == [1.0, 0.25]  # a step may pass several
    assert late[1].tolist() == [0, 2]
    cut = Schedule(stages=(Stage(start=1.0, duration=10.0, until=4.0), Stage(start=0.5, duration=3.0), Stage(start=0.25)))
    found = walked(cut, [0.0, 6.9]), walked(cut, [0.0, 7.1])  # in one step past the first, whose end was its clock's
    assert [stages.tolist() for _, stages in found] == [[0, 1], [0, 2]]


def test_a_stage_whose_end_is_over_before_it_begins_is_passed_at_once():
    """The end of a later stage, fixed on the clock, cuts none before it short; a duration after it counts from then."""
    late = lt.warmup(0.5, 10.0).then(lt.step_decay([0.5, 0.1], [5.0]))
    clocks = [4.0, 5.0, 6.0, 8.0, 10.0, 11.0]
    every = walked(late, np.arange(0.0, 12.0))[0]
    for found in (late(jnp.array(clocks)), walked(late, clocks)[0], every[[4, 5, 6, 8, 10, 11]]):
        np.testing.assert_allclose(found, [0.2, 0.25, 0.3, 0.4, 0.1, 0.1], rtol=1e-6)
    three = Schedule(stages=(Stage(start=1.0, duration=10.0), Stage(start=2.0, until=5.0), Stage(start=3.0, duration=4.0),
                             Stage(start=4.0)))
    np.testing.assert_array_equal(three(jnp.array([9.0, 10.0, 13.0, 14.0])), [1, 3, 3, 4])
    waits = Schedule(stages=(Stage(start=1.0, threshold=0.3), Stage(start=2.0, until=5.0), Stage(start=3.0)))
    _, stages = walked(waits, [4.0, 6.0, 7.0], [0.9, 0.9, 0.2])  # not before the loss has ended the first
    np.testing.assert_array_equal(stages, [0, 0, 2])  # past the second, whose clock was over by then
    for words, then in (("0.04 until loss 0.2, 0.02 until 10, 1e-6", 1e-6), ("0.04 until loss 0.2, hold for 5, 1e-6", 0.04)):
        pulled = in_words(words)
        value, state = pulled.update(pulled.init(), 50.0, 0.1)
        assert value.item() == pytest.approx(then)
        assert value.item() == pulled.packed().upcoming(state, 50.0).item()
    many = Schedule(stages=(*(Stage(start=float(k), duration=1.0) for k in range(40)), Stage(start=99.0)))
    np.testing.assert_array_equal(many(jnp.array([0.5, 17.5, 39.5, 40.5])), [0, 17, 39, 99])


def test_a_step_ends_a_stage_where_whole_clocks_do():
    """After k times as many steps as there are in an epoch the clock is k, compiled or not."""
    counts = jnp.arange(1, 30)
    for steps in (1, 4, 41, 47, 55, 61, 82, 107, 320, 391, 499):
        assert (jax.jit(lambda n, s=steps: clock_after(n * s, s))(counts) == counts).all(), steps
    link = lt.scale_by_rate(lt.step_decay([0.5, 0.1], [1.0]), 41)
    update = jax.jit(lambda state: link.update(-jnp.ones(()), state))
    state, moved = link.init(None), []
    for _ in range(43):
        move, state = update(state)
        moved.append(float(move))
    np.testing.assert_allclose(moved, [0.5] * 41 + [0.1] * 2, rtol=1e-6)
    assert float(clock_after(jnp.array(3), 2.5)) == pytest.approx(1.2)


@pytest.mark.parametrize("cycles", [8, 16, 32, 64])
def test_a_function_that_repeats_is_not_taken_for_a_constant(cycles):
    """At places between all samples that halving makes."""
    sampled = schedule_from(lambda t: 0.02 + 0.01 * math.cos(2 * math.pi * cycles * t / 500), until=500.0)
    clocks = np.sqrt(np.arange(1, 60)) * 64.7
    exact = 0.02 + 0.01 * np.cos(2 * np.pi * cycles * clocks / 500)
    np.testing.assert_allclose(sampled(clocks), exact, atol=2e-4)


@pytest.mark.parametrize(("function", "said"), [
    (lambda t: 0.02 + 0.01 * math.cos(4.0 * t), "straight lines up to 500; must be at most 10,000"),
    (lambda t: 0.1 if t < 400 else math.nan, "gives nan at 406.25; must be a number up to 500")])
def test_functions_that_are_no_schedule_are_refused_in_one_line(function, said):
    with pytest.raises(ConfigError, match=r"schedule: a function") as caught:
        schedule_from(function, until=500.0)
    assert said in str(caught.value)


@pytest.mark.parametrize("function", [
    lambda t: 0.1 + 0.05 * math.sin(1e5 * t), lambda t: 0.1 + 0.05 * jnp.sin(1e4 * t),
    lambda t: 0.1 * (int(t * 30) % 2 + 1), optax.cosine_decay_schedule(0.1, 500)], ids=["slow", "jax", "jumps", "fine"])
def test_a_function_that_bends_too_often_says_so_within_a_second(function):
    started = time.process_time()
    with contextlib.suppress(ConfigError):
        assert 8 < len(schedule_from(function, until=500.0).stages) < 200
    assert time.process_time() - started < 2


def test_what_anneals_ends_lower_or_by_its_loss():
    """A warmup to the last rate does not; L-S does, even to its own rate."""
    for schedule, peak in ((in_words("warmup 5 to 0.02, hold"), 1), (in_words("0.02 for 5, 0.01 for 5, 0.02"), 2),
                           (lt.anneal_at_loss(0.02, 0.02, 0.2), 0), (lt.step_decay([0.02, 0.01], [5.0]), 0)):
        assert int(schedule.packed().peak) == peak


def test_two_running_means_of_one_loss_are_refused():
    """One of a schedule that waits for no loss is none."""
    smooth, plain = (lt.anneal_at_loss(0.2, 0.1, 0.3, smoothing=x).stages[0] for x in (20.0, 0.0))
    first, second = Schedule(stages=(smooth,), smoothing=20.0), Schedule(stages=(plain, Stage(start=0.1)), smoothing=0.0)
    with pytest.raises(ConfigError, match=r"smoothing = 20\.0 and 0\.0: must be one"):
        first.then(second)
    assert first.then(0.1).smoothing == 20
    assert Schedule(stages=(Stage(start=0.3, duration=5.0),), smoothing=7.0).then(first.then(0.1)).smoothing == 20


def test_the_value_to_come_is_that_of_the_next_step():
    drop = lt.step_decay([1.0, 0.1], [5.0])
    _, state = drop.update(drop.init(), 4.0)
    assert float(drop.value(state, 5.0)) == 1.0
    assert float(drop.upcoming(state, 5.0)) == pytest.approx(0.1)
    assert float(drop.upcoming(state, 4.5)) == 1.0


@pytest.mark.thorough
def test_shorter_schedules_in_a_stack_are_never_left(monkeypatch):
    each = [lt.cosine(0.5, 0.1, 10.0), lt.constant(0.3), lt.wsd(0.4, 0.0, warm=3.0, hold=2.0, decay=4.0)]
    together = stack(each)
    assert isinstance(together.values, np.ndarray)  # nothing is compiled for numbers that are known
    values = jax.vmap(lambda s: s.at(jnp.arange(15.0)))(together)
    np.testing.assert_allclose(values, [s(np.arange(15.0)) for s in each], rtol=1e-6)
    stages = jax.vmap(lambda s: s.update(s.init(), 1e6, 0.0)[1].stage)(together)
    assert stages.tolist() == [0, 0, 2]


@pytest.mark.parametrize("given", [lt.cosine(0.1, 0.0, 50.0), lt.step_decay([0.1, 0.2], [3.0])])
def test_ours_are_plain_callables_in_optax(given):
    params, grads = {"a": jnp.ones(3)}, {"a": jnp.arange(3.0)}
    for optimiser in (optax.sgd(given), optax.inject_hyperparams(optax.sgd)(learning_rate=given)):
        state = optimiser.init(params)
        for k in range(5):
            updates, state = optimiser.update(grads, state, params)
            np.testing.assert_allclose(updates["a"], -np.arange(3.0) * float(given(k)), rtol=1e-6)
    triggered = lt.anneal_at_loss(0.1, 0.01, 0.5)
    optimiser = optax.inject_hyperparams(optax.sgd)(learning_rate=triggered)
    state, seen = optimiser.init(params), []
    for loss in (0.9, 0.4, 0.9):
        updates, state = optimiser.update(grads, state, params, value=loss)
        seen.append(-float(updates["a"][1]))
    np.testing.assert_allclose(seen, [0.1, 0.01, 0.01], rtol=1e-6)
    joined = optax.join_schedules([given, lt.constant(0.7)], [10])
    assert float(joined(4)) == pytest.approx(float(given(4)))
    assert float(joined(12)) == pytest.approx(0.7)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: lt.step_decay([1.0, 0.5, 0.1], [3.0]), "boundaries = 1 for 3 values: must be 2"),
    (lambda: lt.step_decay([1.0, 0.5, 0.1], [3.0, 2.0]), "schedule.1.until = 2: must be above 3"),
    (lambda: lt.constant(math.nan), "schedule.0.start = nan"), (lambda: lt.constant(-0.1), "schedule.0.start = -0.1"),
    (lambda: lt.constant("fast"), "schedule.0.start = fast"),
    (lambda: lt.linear(0.1, math.inf, 3.0), "schedule.0.end = inf"),
    (lambda: lt.cosine(0.1, 0.0, math.inf), "finite for the shape cosine"),
    (lambda: lt.cosine(0.1, 0.0, 0.0), "schedule.0.duration = 0: must be above 0"),
    (lambda: lt.geometric(0.1, 0.0, 3.0), "above 0 for the shape geometric"),
    (lambda: lt.constant(0.1).then(0.2), "stage 1 is never reached"),
    (lambda: lt.wsd(0.1, 0.0, decay=3.0), "stage 1 is never reached"),
    (lambda: lt.anneal_at_loss(0.1, 0.01, math.nan), "schedule.0.threshold = nan"),
    (lambda: lt.anneal_at_loss(0.1, 0.01, 0.3, smoothing=-1.0), "schedule.smoothing = -1"),
    (lambda: Schedule(stages=()).check(), "a tuple of 1 to"),
    (lambda: Schedule(stages=(Stage(),)).check(), "start = None"),
    (lambda: lt.cyclic(0.0, 1.0, 3.0, 0), "cycles = 0"),
    (lambda: lt.schedule_from(optax.constant_schedule(0.1)), "until = None"),
    (lambda: lt.schedule_from([0.1]), "must be a number, words"),
    (lambda: lt.schedule_from(lambda t: "x", until=3.0), "number"),
    (lambda: in_words("0.1, warmup 3"), "'warmup 3' of '0.1, warmup 3': its end is missing, 'to VALUE'; must be stages"),
    (lambda: in_words("0.1 until loss"), "schedule '0.1 until loss': no number after 'until loss'; must be stages such as"),
    (lambda: in_words("0.1 till 3, 0.2"), "'till' is not understood there"),
    (lambda: in_words("slow 3"), "'slow' begins no stage"),
    (lambda: in_words("0.1 for 3 for 4, 0.2"), "a second duration"),
    (lambda: in_words("0.1,, 0.2"), "a stage is empty"),
    (lambda: in_words("hold 3, 0.1"), "must have a value to start from"),
    (lambda: in_words("0.1 until 3"), "must have no end"),
    (lambda: lt.Algorithm.from_text("mine"), "must be 'NAME: RATE'"),
    (lambda: lt.Algorithm.from_text("mine: 0.1; noise 0.3"), "must begin with activation noise"),
])
def test_what_is_no_schedule_is_refused_in_one_line(make, said):
    with pytest.raises(ConfigError) as caught:
        make()
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_words_and_json_keep_a_schedule():
    for given in (lt.wsd(0.02, 2e-6, warm=20.0, until_loss=0.21, decay=100.0, shape="cosine", smoothing=20.0),
                  lt.step_decay([0.5, 0.25], [3.0]), lt.restarts(0.5, 0.1, 3.0, 2), lt.constant(0.5)):
        again = in_words(words_of(given))
        assert [s.shape for s in again.stages] == [s.shape for s in given.stages]
        np.testing.assert_allclose(again(STEPS), given(STEPS), rtol=1e-5)
        assert again.smoothing == given.smoothing
    own = (lt.Algorithm(lt.cosine(0.1, 0.0, 9.0), lt.constant(0.3), lt.linear(1.0, 0.0, 9.0), name="mine"), "S")
    for kind in (Config, Experiment):
        config = kind(algorithms=own)
        assert from_json(to_json(config), kind) == config
        assert hash(config) == hash(from_json(to_json(config), kind))
    loose = json.loads(to_json(Config()))
    loose["algorithms"] = ["L-S", "a: 0.1 until 3, 0.01", {"name": "b", "rate": 0.2},
                           {"name": "c", "rate": "warmup 3 to 0.1"}]
    read = from_json(json.dumps(loose), Config)
    assert [a if isinstance(a, str) else a.name for a in read.algorithms] == ["L-S", "a", "b", "c"]
    assert read.algorithms[2].rate == lt.constant(0.2)
    config = Config(training=Training(steps=100, step_time=1.0), algorithms=(
        "d: 0.1", lt.Algorithm(optax.linear_schedule(0.02, 0.01, 50), name="e"))).settled()
    assert float(config.algorithms[1].rate(25)) == pytest.approx(0.015, rel=1e-3)


def test_an_own_algorithm_is_checked_where_it_enters(small):
    def refused(rate, said, **changes):
        with pytest.raises(ConfigError, match=said):
            vary(small, algorithms=(lt.Algorithm(rate, name="mine"),), **changes).check()

    refused(Schedule(stages=(Stage(start=-1.0),)), r"algorithms\.mine\.rate\.0\.start = -1")
    refused(lt.warmup(0.1, 5.0), "above 0 with a step_time of 0.*set training.step_time", training__step_time=0.0)
    refused(lt.step_decay([0.0, 0.1], [5.0]), "stands still for ever")
    refused(lt.restarts(0.1, 0.0, 5.0, 2), r"rate\.0\.end = 0: must be above 0 where other stages follow")
    refused(lt.cyclic(0.0, 0.1, 5.0, 2), r"rate\.1\.end = 0: must be above 0 where other stages follow")
    lt.preset("phase").replace(algorithms=(lt.Algorithm(lt.linear(0.04, 0.0, 5.0).then(0.0), name="mine"),)).check()
    with pytest.raises(ConfigError, match="these trainings inject none"):
        Experiment(algorithms=(lt.Algorithm(lt.constant(0.1), None, lt.constant(1.0)),)).check()
    with pytest.raises(ConfigError, match="different from each other"):
        small.replace(algorithms=("S", lt.Algorithm(lt.constant(0.1), name="S"))).check()
    loud = small.replace(algorithms=(lt.Algorithm(lt.constant(50.0), name="wild"),))
    assert "above the stability bound" in loud.cautions[0]
    assert small.cautions == []


def test_a_change_moves_what_follows_from_it(small):
    mine = lt.Algorithm.from_text("mine: warmup 20 to 0.02, hold for 5, cosine 100 to 2e-6")
    config = small.replace(algorithms=("S", mine)).replace(**{"algorithms.mine.rate.warmup.end": 0.05})
    assert float(config.algorithms[1].rate(22)) == pytest.approx(0.05)
    assert float(config.algorithms[1].rate(25)) == pytest.approx(0.05)
    again = config.replace(**{"algorithms.mine.rate.2.duration": 10.0, "algorithms.mine.rate.hold.duration": 1.0})
    assert float(again.algorithms[1].rate(31)) == pytest.approx(2e-6)
    for wrong in ("algorithms.other.rate.0.end", "algorithms.mine.rate.3.end", "algorithms.mine.rate.warmup.nothing"):
        with pytest.raises(ConfigError, match="unknown config field"):
            config.replace(**{wrong: 1.0})


SHAPES = {"linear": lt.linear, "cosine": lt.cosine, "geometric": lt.geometric, "inverse-sqrt": lt.inverse_sqrt}


@pytest.mark.thorough(but=["linear"])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_in_every_number_are_those_of_differences(float64, shape):
    def value(numbers, clock):
        start, end, length, hold = numbers
        schedule = lt.warmup(start, 3.0).then(Schedule(stages=(Stage(duration=hold), *SHAPES[shape](
            start, end, length).stages))).then(0.1 * end)
        return jnp.sum(jnp.asarray([1.0, 0.7, 0.3]) * schedule(clock))

    numbers, clock = jnp.array([0.8, 0.2, 6.0, 2.0]), jnp.array([2.0, 7.0, 9.5])
    found = jax.jit(jax.grad(value))(numbers, clock)
    for k in range(4):
        step = 1e-6 * jnp.eye(4)[k]
        slope = (value(numbers + step, clock) - value(numbers - step, clock)) / 2e-6
        np.testing.assert_allclose(found[k], slope, rtol=1e-6, atol=1e-9)


def test_the_derivative_of_a_mean_loss_by_its_smoothing_is_a_number(float64):
    """Of three losses, one of them infinite, from a state that has seen none; both ways, and that of differences."""
    def mean_loss(smoothing):
        schedule, state = lt.anneal_at_loss(0.5, 0.1, 0.1, smoothing=smoothing), lt.constant(0.5).init()
        for clock, loss in ((0.0, 0.9), (1.0, 0.7), (1.5, jnp.inf), (2.5, 0.2)):
            _, state = schedule.update(state, clock, loss)
        return state.mean_loss

    slope = (mean_loss(2.0 + 1e-5) - mean_loss(2.0 - 1e-5)) / 2e-5
    for derivative in (jax.grad, jax.jacfwd):
        assert float(derivative(mean_loss)(2.0)) == pytest.approx(float(slope), rel=1e-6)


def test_a_stage_that_falls_by_30_orders_has_a_derivative():
    """In single precision, where the square of the ratio is infinite: that belongs to another shape."""
    for make in (lt.linear, lt.cosine, lt.geometric):
        assert np.isfinite(jax.grad(lambda end, make=make: make(0.1, end, 10.0)(5.0))(1e-31))


def test_a_rate_of_0_moves_nothing():
    move = noise.micro_steps(0.0, noise.micro_step_count(0.0, 0.1), 0.01, 3.0)
    assert [float(x) for x in move] == [0.0, 0.0, 0.0]
    assert float(noise.micro_step_count(0.0, 0.1)) == 1.0
    slopes = jax.jacfwd(lambda eta: jnp.stack(list(noise.micro_steps(eta, 5.0, 0.01, 3.0))))(0.0)
    assert np.isfinite(slopes).all()
    optimiser = noisy_sgd(lt.constant(0.0), weight_decay=0.1, tau_xi=1.0, key=jax.random.key(0), step_time=0.1)
    updates, state = optimiser.update(jnp.ones(3), optimiser.init(jnp.ones(3)), jnp.ones(3))
    assert updates.tolist() == [0, 0, 0]
    assert float(state.time) == 0
    link = lt.scale_by_rate(lt.constant(0.0))
    assert link.update(jnp.array([jnp.nan, jnp.inf, 1.0]), link.init(None))[0].tolist() == [0, 0, 0]


def test_the_clock_of_noisy_sgd_does_not_stand_still():
    """From 32 on a float32 sum of rates of 1e-6 would stay where it is."""
    optimiser = noisy_sgd(lt.constant(1e-6), weight_decay=0.0, tau_xi=0.0, key=jax.random.key(0))
    state = optimiser.init(jnp.ones(()))._replace(time=jnp.array(32.0))

    def step(state, _):
        return optimiser.update(jnp.zeros(()), state, jnp.ones(()))[1], None

    state = jax.jit(lambda s: jax.lax.scan(step, s, length=5000)[0])(state)
    assert float(state.time) == pytest.approx(32.005, abs=5e-6)


def test_the_variance_under_a_moving_rate_is_that_of_single_iterations(float64):
    """v <- a^2 v + s^2 iteration by iteration; micro-steps at the middle's rate err by the square of their length."""
    lam, tau = 0.05, 2.0
    schedule = lt.wsd(0.01, 1e-4, warm=2.0, hold=3.0, decay=6.0, shape="cosine")

    def literal(state):
        clock, v = state
        eta = schedule(clock)
        return clock + eta, noise.variance(v, noise.micro_steps(eta, 1.0, lam, tau))

    start = 0.02
    exact = jax.lax.while_loop(lambda s: s[0] < 10.0, literal, (jnp.array(start), jnp.array(1.0)))

    def coarse(step_time):
        clock, v = start, jnp.array(1.0)
        packed, state = schedule.packed(), schedule.init()
        while clock < exact[0] - 1e-9:
            first, state = packed.update(state, clock, jnp.inf)
            length = min(step_time, float(exact[0]) - clock)
            eta = noise.mean_rate(packed, state, clock, first, length)
            v = noise.variance(v, noise.micro_steps(eta, length / eta, lam, tau))
            clock += length
        return float(v)

    errors = [abs(coarse(h) / float(exact[1]) - 1) for h in (0.5, 0.25)]
    assert errors[0] < 2e-2
    assert errors[1] < 0.6 * errors[0]
    rates = jnp.array([0.02, 0.03, 0.01])
    two = noise.variance_over(1.0, rates, 100.0, jnp.full(3, tau), lam)
    halves = [noise.micro_steps(0.03, 100 / 3, lam, tau), noise.micro_steps(0.01, 100.0, lam, tau)]
    one = noise.variance(noise.variance(1.0, halves[0]), halves[1])
    np.testing.assert_allclose(two, one, rtol=1e-12)
