"""Any model under the paper's schedules: the paper's network comes out as `lt.run` has it, and what a user may do wrong."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import papers
import pytest
import xarray as xr
from conftest import same, vary
from flax import nnx

import lrtheory as lt
from lrtheory.custom import answers, models, programs, simulate
from lrtheory.custom import runs as training
from lrtheory.spec import ConfigError

pytestmark = pytest.mark.xdist_group("train")
ALGORITHMS = {"large": lt.constant(0.5), "annealed": lt.anneal_at_loss(0.5, 0.05, 0.3)}
SHORT = {"steps": 12, "records": 3, "seeds": 3}


def sample(key):
    x = jax.random.normal(key, (64, 3))
    return x, jnp.sign(x[:, 0])


def init(key):
    return jax.random.normal(key, (3,))


def apply(w, x):
    return x @ w


def measure(w, data):
    return {"weights": w}


MODEL = lt.Model(init, apply)


@pytest.fixture(scope="module")
def plain():
    return lt.train(MODEL, sample, ALGORITHMS, measure=measure, **SHORT)


def test_the_papers_network_is_followed_as_by_the_dense_engine(small):
    """The same draws, so the same path: data, initial weights and noise of a seed, decay, micro-steps, the trigger."""
    config = vary(small, engine="dense")
    runs = lt.run(config)
    mine = lt.train(papers.model(config), papers.sample(config), papers.algorithms(config), tau_xi=papers.noise(config),
                    measure=papers.measure(config), seeds=config.seeds, steps=config.training.steps, records=config.records,
                    weight_decay=config.training.weight_decay, step_time=config.training.step_time)
    assert np.isfinite(runs["annealed_at"].sel(algorithm="L-S")).any()
    np.testing.assert_allclose(mine["annealed_at"], runs["annealed_at"], rtol=1e-6)
    for name in ("time", "iterations", "learning_rate", "train_loss", "loss_p", "loss_q", "contrast"):
        np.testing.assert_allclose(mine[name], runs[name], rtol=2e-4, atol=5e-5, err_msg=name)


def flavours():
    """{name: (model, plain apply on its params)} of a linear layer without bias."""
    equinox = pytest.importorskip("equinox")
    return {"linen": (models.linen(linen.Dense(1, use_bias=False), jnp.ones((1, 3))), lambda p, x: x @ p["kernel"]),
            "nnx": (models.nnx(lambda rngs: nnx.Linear(3, 1, use_bias=False, rngs=rngs)),
                    lambda p, x: x @ jax.tree.leaves(p)[0]),
            "equinox": (models.equinox(lambda key: equinox.nn.Linear(3, 1, use_bias=False, key=key)),
                        lambda p, x: x @ p[0].T)}


@pytest.mark.parametrize("name", ["linen", "nnx", "equinox"])
def test_flax_and_equinox_are_trained_as_plain_pytrees_are(name):
    model, by_hand = flavours()[name]
    found = [lt.train(m, sample, {"S": 0.1}, steps=5, records=2, seeds=1, optimiser=optax.trace(0.9))["train_loss"]
             for m in (model, lt.Model(model.init, by_hand))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert found[0][0, 0, -1] < found[0][0, 0, 0]


def test_models_with_statistics_are_refused():
    with pytest.raises(ConfigError, match="batch_stats, which change while it trains"):
        models.linen(linen.BatchNorm(use_running_average=False), jnp.ones((2, 3)))
    with pytest.raises(ConfigError, match="BatchStat, which change"):
        models.nnx(lambda rngs: nnx.BatchNorm(3, rngs=rngs))


def test_a_dataset_has_the_usual_dimensions_and_units(plain):
    assert plain["train_loss"].dims == ("algorithm", "seed", "record")
    assert plain["weights"].dims == ("algorithm", "seed", "record", "weights_0")
    assert plain["time"].attrs["units"] == "sum of rates"
    assert plain["algorithm"].values.tolist() == ["large", "annealed"]
    assert np.isinf(plain["annealed_at"].sel(algorithm="large")).all()
    assert np.isfinite(plain["annealed_at"].sel(algorithm="annealed")).any()


def test_runs_depend_on_their_seed_alone_and_new_numbers_compile_nothing(plain, monkeypatch):
    alone = lt.train(MODEL, sample, {"annealed": ALGORITHMS["annealed"]}, measure=measure, first_seed=1,
                     **(SHORT | {"seeds": 1}))
    np.testing.assert_allclose(alone["weights"][0, 0], plain["weights"].sel(algorithm="annealed", seed=1), rtol=1e-5)
    one_by_one = lt.train(MODEL, sample, ALGORITHMS, measure=measure, at_once=1, **SHORT)
    same(one_by_one, plain)
    made, traced, follow = programs.functions.cache_info().misses, [], simulate.trajectory
    monkeypatch.setattr(simulate, "trajectory", lambda *a: traced.append(a) or follow(*a))
    other = lt.train(MODEL, sample, {"large": lt.constant(0.4), "annealed": lt.anneal_at_loss(0.6, 0.1, 0.2)},
                     measure=measure, **SHORT)
    assert len(traced) == 1  # to see whether the functions still compute the same
    assert programs.functions.cache_info().misses == made
    assert not np.allclose(other["train_loss"], plain["train_loss"])


def test_functions_that_read_another_value_are_other_functions():
    """A model that closes over a variable of the session, which has changed since."""
    scale = 1.0
    model = lt.Model(init, lambda w, x: scale * apply(w, x))
    first = lt.train(model, sample, {"large": 0.1}, **SHORT)["train_loss"]
    scale = 3.0
    other = lt.train(model, sample, {"large": 0.1}, **SHORT)["train_loss"]
    fresh = lt.train(lt.Model(init, lambda w, x: 3.0 * apply(w, x)), sample, {"large": 0.1}, **SHORT)
    np.testing.assert_array_equal(other, fresh["train_loss"])
    assert not np.allclose(other, first)


def test_labels_and_noise_that_would_say_nothing_are_refused():
    """Labels 0 and 1 where -1 and 1 are meant; injected noise of strength 0."""
    x, y = sample(jax.random.key(0))[:2]
    with pytest.raises(ConfigError, match=r"y = \[0.0, 1.0\]: must be -1 or 1 for lrtheory.logistic; of labels 0 and 1"):
        lt.train(MODEL, (x, (y + 1) / 2), {"large": 0.1}, **SHORT)
    noisy = lt.Algorithm(lt.constant(0.1), injected_noise=lt.constant(5.0))
    with pytest.raises(ConfigError, match="injected noise: must be left out without tau_xi; give tau_xi"):
        lt.train(MODEL, sample, {"noisy": noisy}, **SHORT)


def test_a_key_that_a_function_closes_over_is_part_of_the_question(tmp_path):
    """Typed keys, too: another one is another question."""
    for seed in (0, 1):
        key = jax.random.key(seed)

        def drawn(other, key=key):
            return sample(jax.random.fold_in(key, jax.random.key_data(other)[-1]))

        if seed == 0:
            lt.train(MODEL, drawn, {"large": 0.1}, folder=tmp_path / "kept", **SHORT)
        else:
            with pytest.raises(ConfigError, match="another question"):
                lt.train(MODEL, drawn, {"large": 0.1}, folder=tmp_path / "kept", **SHORT)

def test_a_diverged_run_is_named_and_harmless(plain):
    wild = lt.train(MODEL, sample, {"wild": 1e9, "annealed": ALGORITHMS["annealed"]}, measure=measure, largest_loss=100.0,
                    **SHORT)
    assert np.isfinite(wild["diverged_at"].sel(algorithm="wild")).all()
    stood = wild["weights"].sel(algorithm="wild").values
    np.testing.assert_array_equal(stood[:, 1], stood[:, 3])  # it stands still
    calm = (runs["weights"].sel(algorithm="annealed") for runs in (wild, plain))
    np.testing.assert_allclose(*calm, rtol=1e-5)
    last = lt.train(MODEL, sample, {"wild": 1e9}, steps=1, records=1, seeds=1)  # which only its last step shows
    assert last["diverged_at"].item() == 1e9


def test_what_is_done_is_kept_and_gone_on_with(plain, tmp_path, monkeypatch):
    ask = {"measure": measure, "at_once": 1, "folder": tmp_path / "kept"} | SHORT
    run_seeds, done = programs.run_seeds, []

    def until_the_second(program, numbers, algorithms, seeds, *rest):
        done.extend(seeds.tolist())
        if done == [0, 1]:
            raise KeyboardInterrupt
        return run_seeds(program, numbers, algorithms, seeds, *rest)

    monkeypatch.setattr(programs, "run_seeds", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        lt.train(MODEL, sample, ALGORITHMS, **ask)
    found = lt.train(MODEL, sample, ALGORITHMS, **ask)
    assert done == [0, 1, 1, 2]
    same(found.drop_vars("annealed_at"), plain.drop_vars("annealed_at"))
    same(lt.train(MODEL, sample, ALGORITHMS, **ask), found)
    same(lt.load(tmp_path / "kept"), found)
    assert done == [0, 1, 1, 2]
    with pytest.raises(ConfigError, match=r"settings\.steps: 12 in the folder, 13 asked for"):
        lt.train(MODEL, sample, ALGORITHMS, **(ask | {"steps": 13}))
    with pytest.raises(ConfigError, match=r"another question.*program"):
        lt.train(lt.Model(init, lambda w, x: x @ (2 * w)), sample, ALGORITHMS, **ask)


def test_data_that_a_compiled_function_holds_are_part_of_the_question(tmp_path):
    """Jitted, as plain functions: other arrays inside are another question, equal ones the same."""
    def from_(x):
        return jax.jit(lambda key: (x[: 8 + 0 * key.shape[0]] if key.shape else x, jnp.sign(x[:, 0])))

    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    ask = {"steps": 4, "records": 2, "seeds": 1, "folder": tmp_path / "kept"}
    first = lt.train(MODEL, from_(x), {"S": 0.1}, **ask)
    same(lt.train(MODEL, from_(x.copy()), {"S": 0.1}, **ask), first)
    with pytest.raises(ConfigError, match=r"another question.*program"):
        lt.train(MODEL, from_(1 - 3 * x), {"S": 0.1}, **ask)


def test_a_record_tells_the_rate_of_the_step_to_come():
    """Of the step that ends a stage by the clock, too."""
    runs = lt.train(MODEL, sample, {"drop": lt.step_decay([1.0, 0.1], [3.0])}, clock="steps", steps=6, records=6, seeds=1)
    steps, rates = runs["step"].values, runs["learning_rate"].values[0, 0]
    np.testing.assert_allclose(np.diff(runs["time"].values[0, 0]) / np.diff(steps), rates[:-1], rtol=1e-5)


def test_as_many_seeds_run_at_once_as_fit(plain, monkeypatch):
    monkeypatch.setattr(programs, "compile_runs", lambda task, numbers, algorithms, seeds, marks, f=programs.compile_runs: f(
        task, numbers, algorithms, seeds, marks)._replace(memory=seeds * 10))
    monkeypatch.setattr(programs, "require_room", lambda *sizes: None)  # these bytes are not real
    monkeypatch.setattr(programs, "free_memory", lambda: 35)
    found = lt.train(MODEL, sample, ALGORITHMS, measure=measure, **SHORT)
    assert found.attrs["seeds_at_once"] <= 2
    np.testing.assert_allclose(found["train_loss"], plain["train_loss"], rtol=1e-5)
    monkeypatch.setattr(programs, "free_memory", lambda: 5)
    with pytest.raises(ConfigError, match="memory: 1 seed"):
        lt.train(MODEL, sample, ALGORITHMS, measure=measure, **SHORT)


def flat(outputs, y):
    return 0.0 * outputs


def test_balanced_noise_keeps_every_array_at_its_size():
    """Of 40,000 numbers without a gradient the mean square stays that of the start; zeros stay zeros."""
    model = lt.Model(lambda key: {"w": 3.0 * jax.random.normal(key, (200, 200)), "bias": jnp.zeros(7)},
                     lambda params, x: jnp.sum(params["w"]) + jnp.sum(params["bias"]) + 0 * x[:, 0])
    runs = lt.train(model, (jnp.zeros((2, 1)), jnp.ones(2)), {"large": 0.5, "quiet": lt.Algorithm(
        rate=lt.constant(0.5), injected_noise=lt.constant(0.0))}, loss=flat, steps=40, records=2, seeds=1, weight_decay=0.1,
        tau_xi=lt.Balanced(rate=0.5, weight_decay=0.1),
        measure=lambda params, data: {"size": jnp.mean(params["w"] ** 2), "bias": jnp.max(jnp.abs(params["bias"]))})
    size = runs["size"].isel(seed=0, record=-1)
    assert float(size[0]) / 9 == pytest.approx(1.0, abs=4.5 * np.sqrt(2 / 40_000) + 0.01)
    assert float(size[1]) / 9 == pytest.approx(0.95**80, rel=0.02)
    assert not runs["bias"].any()


def test_optimisers_minibatches_and_steps_as_the_clock(plain):
    """A chain that doubles the gradient is twice the rate; a batch of all is no batch; steps end a stage of steps."""
    doubled = lt.train(MODEL, sample, {"large": 0.25}, optimiser=optax.chain(optax.scale(2.0)), batch_size=64,
                       measure=measure, **SHORT)
    np.testing.assert_allclose(doubled["weights"].sel(algorithm="large"), plain["weights"].sel(algorithm="large"), rtol=1e-4)
    half = lt.train(MODEL, sample, {"decay": lt.step_decay([0.5, 0.0], [6])}, clock="steps", batch_size=16, measure=measure,
                    **(SHORT | {"records": 12, "seeds": 1}))
    moved = np.abs(np.diff(half["weights"].values[0, 0], axis=0)).sum(-1) > 0
    assert moved.tolist() == [True] * 6 + [False] * 6
    assert not np.allclose(half["weights"][0, 0, 1], plain["weights"][0, 0, 1])


def odd(**found):
    """A function that measures these at any parameters."""
    return lambda w, data: found


@pytest.mark.parametrize(("found", "said"), [
    *((({name: 0.0}), "must be 1 to 200 bytes of printable text") for name in (
        "a/b", "..", ".", "zarr.json", "a\\b", "a\0b", "\ud800", "x" * 300, "ä" * 101, "a\nb", "")),
    ({1: 0.0}, "measure = 1: must be 1 to 200 bytes"),
    ({"w": 0.0, "W": 0.0}, "measure = w: must be another name than W, by more than its case"),
    ({"w": jnp.ones(3), "w_0": 0.0}, "measure = w_0: must be another name than the dimensions of w"),
    *(({name: 0.0}, f"measure = {name}: must be .*with names beside") for name in (
        "seed", "record", "algorithm", "step", "done", "epochs_done", "diverged_at", "train_loss")),
    *(({"v": jnp.ones(3, kind)}, f"measure 'v' = {kind}: must be one of bool, int8, .*astype") for kind in (
        "bfloat16", "float8_e4m3fn", "int4", "complex64")),
    ({"v": jax.random.key(0)}, "measure 'v' = key<fry>: must be one of"),
    ({"v": jnp.ones((2, 0))}, r"measure 'v' = an array of shape \(2, 0\): must be of one entry or more"),
    ({"v": (jnp.ones(3), jnp.ones(2))}, "measure 'v' = tuple: must be an array"),
])
def test_what_a_store_would_not_give_back_is_not_measured(found, said, monkeypatch):
    """Names that are paths, files, labels or dimensions; types and shapes that are not stored."""
    monkeypatch.setattr(programs, "compile_runs", None)
    with pytest.raises(ConfigError, match=said):
        lt.train(MODEL, sample, {"S": 0.1}, measure=odd(**found) if all(isinstance(k, str) for k in found)
                 else lambda w, data: found, **SHORT)


def test_every_other_name_and_type_comes_back_as_it_was_given(tmp_path):
    """Also from the parts of an unfinished training, whose arrays have more dimensions; a path with :: is a path."""
    found = {"c": jnp.ones(2), ".zattrs": jnp.ones((2, 2)), "a.b": 0.5, "ä b": True, "w": 1.0, "w_0": jnp.arange(3),
             "x.partial": jnp.float16(0.5), "a::b": jnp.uint8(7), "checksums": 1, "order": 2, "coordinates": 3, "__x": 4}
    ask = {"steps": 2, "records": 2, "seeds": 2, "measure": odd(**found), "at_once": 1}
    runs = lt.train(MODEL, sample, {"S": 0.1}, folder=tmp_path / "a::b" / "kept", **ask)
    xr.testing.assert_identical(lt.load(tmp_path / "a::b" / "kept").drop_attrs(), runs.drop_attrs())
    parts, _ = answers.kept(tmp_path / "a::b" / "kept" / "parts")
    assert sorted(parts) == [0, 1]
    assert all(set(found) <= set(part) for part in parts.values())
    for name, values in found.items():
        here = runs[name].isel(algorithm=0, seed=0, record=0)
        assert here.dtype == np.asarray(values).dtype or isinstance(values, int | float)
        np.testing.assert_array_equal(here, values)


@pytest.mark.parametrize(("change", "said"), [
    ({"optimiser": optax.adam(0.1)}, "optimiser = a chain that climbs: must be without a rate"),
    ({"measure": lambda w, data: {"time": w}}, "measure = time"),
    ({"measure": lambda w, data: {"step": w, "seed": w}}, "measure = seed"),
    ({"measure": lambda w, data: w}, "measure = .*must be a function to {name: array}"),
    ({"algorithms": {"a": lt.warmup(0.1, 5.0)}}, "above 0 with a step_time of 0.*clock='steps'"),
    ({"algorithms": {"a": lt.step_decay([0.0, 0.1], [5.0])}}, "stands still for ever"),
    ({"loss": lambda f, y: jnp.ones((3, 3))}, r"loss = an array of shape \(3, 3\)"),
    ({"batch_size": 65}, "batch_size = 65: must be at most the 64"),
    ({"batch_size": 8, "step_time": 0.5}, "step_time = 0.5: must be 0 with minibatches"),
    ({"seed": 3}, "unknown config field seed"),
    ({"records": 13}, "records = 13: must be between 1 and steps"),
    ({"steps": 1.5}, "steps"),
    ({"tau_xi": lt.Balanced(rate=0.5, weight_decay=0.0)}, "noise balances decay"),
    ({"algorithms": {"a": "fast"}}, "algorithms"),
    ({"algorithms": {"a": lt.Algorithm(rate=lt.constant(0.1), activation_noise=lt.constant(0.3))}}, "of a model with"),
    ({"data": jnp.ones((3, 2))}, "data = ArrayImpl"),
    ({"at_once": 0}, "at_once = 0"),
], ids=lambda part: part if isinstance(part, str) else " ".join(part))
def test_what_cannot_be_is_said_before_anything_is_compiled(change, said, monkeypatch):
    monkeypatch.setattr(programs, "compile_runs", None)
    ask = {"algorithms": ALGORITHMS, "data": sample} | SHORT | change
    with pytest.raises(ConfigError, match=said):
        lt.train(MODEL, ask.pop("data"), ask.pop("algorithms"), **ask)


def test_activation_noise_acts_where_the_model_has_it():
    def noisy(w, x, level, key):
        return x @ w + level * jax.random.normal(key, x.shape[:1])

    algorithms = {"S": 0.1, "S+noise": lt.Algorithm(rate=lt.constant(0.1), activation_noise=lt.constant(3.0))}
    runs = lt.train(lt.Model(init, apply, noisy), sample, algorithms, steps=3, records=3, seeds=1)
    assert not np.allclose(runs["train_loss"][0, 0, 1:], runs["train_loss"][1, 0, 1:])
    assert training.MEANINGS.keys() - {"annealed_at", "diverged_at"} <= set(runs.variables)
