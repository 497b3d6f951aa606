"""What `lrtheory.train` is asked: an optimiser without a rate, functions as they are now, sizes that fit; else one line."""

import json
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import same

import lrtheory as lt
from lrtheory import files, provenance
from lrtheory.custom import answers, programs
from lrtheory.custom.optimisers import optimiser_of, require_no_rate
from lrtheory.devices import group_memory
from lrtheory.spec import ConfigError

pytestmark = pytest.mark.xdist_group("train")
SHORT = {"steps": 3, "records": 1, "seeds": 1}
PARAMS = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(3)}
WARM = optax.linear_schedule(0.0, 0.1, 20)
LATE = optax.join_schedules([optax.constant_schedule(0.0), optax.constant_schedule(0.1)], [5000])


def init(key):
    return jax.random.normal(key, (3,))


def sample(key):
    x = jax.random.normal(key, (16, 3))
    return x, jnp.sign(x[:, 0])


MODEL = lt.Model(init, lambda w, x: x @ w)


class Count(NamedTuple):
    """Steps of a transformation of one's own."""

    steps: jax.Array


def own(rate):
    """A rate in a transformation of one's own, of which no state says what it is."""
    return optax.GradientTransformation(lambda params: Count(jnp.zeros((), int)), lambda updates, state, params=None: (
        jax.tree.map(lambda g: -rate(state.steps) * g, updates), Count(state.steps + 1)))


@pytest.mark.parametrize("optimiser", [
    optax.adam(WARM), optax.sgd(LATE), optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda count: 1 / (1 + count))),
    optax.inject_hyperparams(optax.adam)(learning_rate=WARM), optax.inject_hyperparams(optax.sgd)(learning_rate=0.0),
    optax.MultiSteps(optax.adam(WARM), 4), optax.multi_transform({"x": optax.adam(WARM), "y": optax.trace(0.9)},
                                                                {"a": "x", "b": "y"}),
    optax.masked(optax.sgd(WARM), {"a": True, "b": False}), optax.apply_if_finite(optax.sgd(WARM), 5),
    optax.contrib.schedule_free(optax.sgd(WARM), 0.1), optax.chain(optax.clip(1.0), optax.chain(
        optax.trace(0.9), optax.scale_by_learning_rate(WARM))), lt.scale_by_rate(lt.warmup(0.1, 1e5)),
    lt.noisy_sgd(lt.constant(0.1), weight_decay=0.0, tau_xi=0.0, key=jax.random.key(0))])
def test_a_rate_is_known_by_its_state_however_it_starts_and_is_wrapped(optimiser):
    with pytest.raises(ConfigError, match=r"optimiser = a chain with a .*: must be without a rate of its own"):
        require_no_rate(optimiser_of(optimiser), PARAMS)


@pytest.mark.parametrize(("optimiser", "said"), [
    (optax.sgd(0.1), "climbs"), (optax.sgd(0.0), "stands still"), (own(lambda steps: 1e-3 * steps), "climbs"),
    (own(lambda steps: 0.1 * (steps >= 200)), "climbs"), (optax.masked(optax.sgd(0.1), {"a": True, "b": False}), "climbs"),
    (optax.MultiSteps(optax.sgd(0.1), 100), "climbs"), (own(lambda steps: jnp.nan), "no numbers"),
    (optax.lbfgs(), r"fails \(TypeError: .*must need no more"), ("adam", "must be an optax transformation"),
    (optax.adam, "must be an optax transformation")])
def test_a_rate_that_no_state_shows_is_seen_in_the_updates(optimiser, said):
    with pytest.raises(ConfigError, match=said):
        require_no_rate(optimiser_of(optimiser), PARAMS)


@pytest.mark.parametrize("optimiser", [
    None, optax.trace(0.9, nesterov=True), optax.scale(2.0), optax.MultiSteps(optax.scale_by_adam(), 100),
    optax.inject_hyperparams(optax.trace)(decay=lambda count: 0.9 * count / (1 + count)), optax.centralize(),
    optax.multi_transform({"x": optax.trace(0.9), "y": optax.set_to_zero()}, {"a": "x", "b": "y"}),
    pytest.param(optax.apply_if_finite(optax.MultiSteps(optax.scale_by_lbfgs(), 4), 3), marks=pytest.mark.thorough)])
def test_chains_without_a_rate_are_taken(optimiser):
    require_no_rate(optimiser_of(optimiser), PARAMS)


def test_a_training_asks_whether_its_optimiser_has_a_rate():
    with pytest.raises(ConfigError, match="a chain with a schedule"):
        lt.train(MODEL, sample, {"S": 0.1}, optimiser=optax.adam(WARM), **SHORT)


# Kept answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.float32])
@pytest.mark.parametrize("jitted", [False, True])
def test_an_array_that_was_changed_in_place_is_trained_on_as_it_is(kind, jitted):
    """JAX keeps copies of what it does not compute in, by identity."""
    x = np.random.default_rng(0).normal(size=(8, 3)) * 3
    x = x.astype(kind)
    inner = (jax.jit if jitted else lambda f: f)(lambda by: by * jnp.asarray(x))

    def data(key):
        return inner(1.0), jnp.ones(8)

    def loss():
        return lt.train(MODEL, data, {"S": 0.1}, **SHORT)["train_loss"].values[0, 0, -1]

    first = loss()
    x *= -2
    there = jnp.asarray(x.copy())
    expected = lt.train(MODEL, (there * 1.0, jnp.ones(8)), {"S": 0.1}, **SHORT)["train_loss"].values[0, 0, -1]
    assert loss() == pytest.approx(float(expected), rel=1e-5) != pytest.approx(float(first), rel=1e-2)


def test_what_python_answers_is_asked_anew_and_not_kept(tmp_path):
    """Another function of the same name is another question, as is the same one that has changed; a folder keeps none."""
    says = {"f": lambda: np.float32(1.0), "next": lambda: np.float32(2.0)}

    def said(outputs, y):
        host = jax.pure_callback(says["f"], jax.ShapeDtypeStruct((), jnp.float32))
        return 0.0 * outputs + jax.lax.stop_gradient(host)

    def ask(**more):
        runs = lt.train(MODEL, (jnp.ones((2, 3)), jnp.ones(2)), {"S": 0.1}, loss=said, **SHORT, **more)
        return float(runs["train_loss"][0, 0, -1])

    assert ask() == 1.0
    says["f"] = says["next"]
    assert ask() == 2.0
    with pytest.raises(ConfigError, match="folder: the functions ask Python for answers, <lambda> by a callback"):
        ask(folder=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert not list(programs.host_functions(jax.make_jaxpr(lambda x: jax.debug.print("{}", x))(1.0)))  # asks nothing


def test_meanings_are_those_of_the_call(tmp_path):
    ask = {"measure": lambda w, data: {"size": jnp.sum(w**2)}, "folder": tmp_path / "kept"} | SHORT
    lt.train(MODEL, sample, {"S": 0.1}, meanings={"size": ("1", "first")}, **ask)
    again = lt.train(MODEL, sample, {"S": 0.1}, meanings={"size": ("2", "second")}, **ask)
    assert again["size"].attrs == {"units": "2", "long_name": "second"}
    assert lt.train(MODEL, sample, {"S": 0.1}, **ask)["size"].attrs["long_name"] == "first"
    for meanings, said in (({"length": ("1", "x")}, "meanings = length: must be of what is measured"),
                           ({"size": "words"}, r"meanings\['size'\] = words: must be \(units, meaning\)")):
        with pytest.raises(ConfigError, match=said):
            lt.train(MODEL, sample, {"S": 0.1}, meanings=meanings, **ask)


def test_seeds_that_another_device_trained_are_joined_with_a_note(tmp_path, monkeypatch):
    run_seeds, done = programs.run_seeds, []
    ask = {"folder": tmp_path / "kept", "at_once": 1} | SHORT | {"seeds": 2}

    def one(program, numbers, algorithms, seeds, *rest):
        if done:
            raise KeyboardInterrupt
        done.append(seeds)
        return run_seeds(program, numbers, algorithms, seeds, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(programs, "run_seeds", one)
        patch.setattr(answers, "environment", lambda: provenance.environment() | {"device": "an abacus", "python": "2"})
        with pytest.raises(KeyboardInterrupt):
            lt.train(MODEL, sample, {"S": 0.1}, **ask)
    with pytest.warns(UserWarning, match="device was an abacus then and is .* now; numbers may differ"):
        found = lt.train(MODEL, sample, {"S": 0.1}, **ask)
    assert "abacus" in lt.load(tmp_path / "kept").attrs["joined"]
    assert "abacus" in json.loads((tmp_path / "kept" / files.SUMMARY).read_text())["environment"]["joined"]
    same(found, lt.train(MODEL, sample, {"S": 0.1}, seeds=2, steps=3, records=1))


# Sizes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"seeds": 10**9}, {"steps": 2**31 - 1, "records": 2**31 - 1}])
def test_what_the_memory_cannot_hold_is_refused_before_it_is_asked_for(change, monkeypatch):
    monkeypatch.setattr(programs, "main_memory", lambda: 2**33)
    monkeypatch.setattr(programs, "traced", None)
    started = time.process_time()
    with pytest.raises(ConfigError, match=r"memory: .* need at least .* GiB; must be at most the 8 GiB"):
        lt.train(MODEL, sample, {"S": 0.1}, **(SHORT | change))
    assert time.process_time() - started < 5


def test_a_model_that_the_memory_cannot_hold_is_refused():
    huge = lt.Model(lambda key: jnp.zeros((2**20, 2**24)), lambda w, x: x @ w[:3, 0])
    with pytest.raises(ConfigError, match="memory: 1 run"):
        lt.train(huge, sample, {"S": 0.1}, **SHORT)


HUGE = 2**63 - 4096


def tree(root, *, group, mounts, folders):
    """A tree as Linux shows control groups: {folder: {file: number or text}} below sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    (root / "proc/self/mountinfo").write_text(mounts)
    for folder, contents in folders.items():
        here = root / "sys/fs/cgroup" / folder
        here.mkdir(parents=True, exist_ok=True)
        for name, value in contents.items():
            (here / name).write_text(f"{value}\n")
    return root


UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MEMORY = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" \
         "35 31 0:32 {} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(("group", "mounts", "folders", "left"), [
    ("0::/\n", UNIFIED, {"": {}}, None),
    ("0::/job/step\n", UNIFIED, {"job": {"memory.max": 1000, "memory.current": 400,
                                         "memory.stat": "anon 1\ninactive_file 100"},
                                 "job/step": {"memory.max": "max", "memory.current": 300}}, 700),
    ("0::/job/step\n", UNIFIED, {"job": {"memory.max": 1000, "memory.current": 100},
                                 "job/step": {"memory.max": "max", "memory.high": 350, "memory.current": 300}}, 50),
    ("0::/a\n", UNIFIED, {"a": {"memory.max": 100, "memory.current": 300, "memory.stat": "nothing"}}, 0),
    ("0::/../other\n", UNIFIED, {"": {"memory.max": 500, "memory.current": 300}}, 200),
    ("4:memory:/slurm/job_7/step_0\n0::/\n", MEMORY.format("/"), {
        "memory": {"memory.limit_in_bytes": HUGE, "memory.usage_in_bytes": 10**6},
        "memory/slurm/job_7": {"memory.limit_in_bytes": 2000, "memory.usage_in_bytes": 1500,
                               "memory.stat": "inactive_file 1\ntotal_inactive_file 600"},
        "memory/slurm/job_7/step_0": {"memory.limit_in_bytes": HUGE, "memory.usage_in_bytes": 900}}, 1100),
    ("4:memory:/docker/abc\n", MEMORY.format("/docker/abc"), {
        "memory": {"memory.limit_in_bytes": 800, "memory.usage_in_bytes": 300}}, 500),
    ("4:memory:/docker/abc\n", MEMORY.format("/"), {
        "memory": {"memory.limit_in_bytes": 800, "memory.usage_in_bytes": 300}}, 500),
    ("3:cpuset:/\n", MEMORY.format("/"), {"memory": {"memory.limit_in_bytes": 800, "memory.usage_in_bytes": 300}}, None),
], ids=["none", "job", "high", "over", "elsewhere", "slurm", "container", "host-path", "other"])
def test_free_memory_is_the_job_s(tmp_path, group, mounts, folders, left):
    """The least that its own group and those above it leave; pages of files that can be dropped are not used."""
    assert group_memory(tree(tmp_path, group=group, mounts=mounts, folders=folders)) == left
    assert group_memory(tmp_path / "no-linux") is None
    assert not math.isnan(lt.devices.main_memory())
