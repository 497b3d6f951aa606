"""Training on patched images: schedules in epochs, the update, one run however it is driven."""


import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from patched import IMAGES, TINY

from lrtheory.algorithm import Algorithm
from lrtheory.fields import read_config, to_json
from lrtheory.schedule import anneal_at_loss, constant, scale_by_rate
from lrtheory.spec import ConfigError
from lrtheory.vision import patches, programs, runs
from lrtheory.vision import simulate as train
from lrtheory.vision.config import SGD, Experiment
from lrtheory.vision.presets import PRESETS, preset

pytestmark = [pytest.mark.xdist_group("vision"),  # they share programs, so one process takes them all
              pytest.mark.usefixtures("one_device")]


def one(config, seed=0, algorithm="L-S"):
    """(algorithm, data, state) of a run."""
    schedules = config.training.algorithm(algorithm)
    return schedules, train.choose(config, IMAGES, seed), train.begin(config, schedules, jnp.asarray(seed))


def same_runs(found, other, rtol=2e-3, but=()):
    for name in found.data_vars:
        if name not in ("seconds", *but):
            np.testing.assert_allclose(found[name], other[name], rtol=rtol, atol=1e-4, err_msg=name)


def test_the_papers_numbers():
    config = preset("paper").check()
    assert (config.n_train, config.n_test, config.training.batch_size, config.training.epochs) == (50_000, 10_000, 128, 60)
    assert (config.patch.share, config.patch.alone, config.patch.common, config.patch.offset) == (0.8, 0.2, 1.25, 0.1)
    assert (config.training.momentum, config.training.weight_decay, config.training.augment) == (0.9, 5e-4, False)
    assert config.model.build().depth == 16
    assert train.parameter_count(config) == 17_116_634
    for name in PRESETS:
        preset(name).check()


@pytest.mark.parametrize("steps_per_epoch", [390, 391, 40, 7])
def test_schedules_at_epochs_29_30_31(steps_per_epoch):
    """Annealed from epoch 30, counted from 1: the very step at which 29 epochs are done, and not one earlier."""
    sgd = SGD()
    expected = {"L-S": (0.1, 0.004, 0.0, 0.0), "S": (0.004, 0.004, 0.0, 0.0), "S+noise": (0.004, 0.004, 0.4, 4e-6)}
    for name, (before, after, noise_before, noise_after) in expected.items():
        algorithm = sgd.algorithm(name)
        link = scale_by_rate(algorithm.rate, steps_per_epoch)
        start = link.init(())
        taken = jax.jit(jax.vmap(lambda n, start=start, link=link: link.update(
            jnp.ones(()), start._replace(count=n))[0]))
        counts = steps_per_epoch * np.arange(61)  # epoch k starts with k - 1 done
        rates = -np.asarray(taken(jnp.asarray(counts)))
        np.testing.assert_allclose(rates[[28, 29, 30]], [before, after, after], rtol=1e-6)  # epochs 29, 30, 31
        np.testing.assert_allclose(rates, [before] * 29 + [after] * 32, rtol=1e-6)
        np.testing.assert_allclose(-np.asarray(taken(jnp.asarray(counts[1:] - 1))), [before] * 29 + [after] * 31, rtol=1e-6)
        levels = jax.vmap(algorithm.activation_noise)(jnp.asarray([28.0, 29.0, 30.0]))
        np.testing.assert_allclose(levels, [noise_before, noise_after, noise_after], rtol=1e-6)


def test_plain_anneals_three_times():
    rates = [float(preset("plain").training.algorithm(name).rate(jnp.asarray(clock)))
             for name in ("L-S", "S") for clock in (58.9, 59.0, 119.0, 149.0)]
    np.testing.assert_allclose(rates, [0.1, 0.02, 0.004, 0.0008, 0.01, 0.002, 0.0004, 0.00008], rtol=1e-5)


def test_the_update_is_nesterov_with_decay_on_everything():
    config = TINY
    algorithm, _, state = one(config)
    gradient = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=jnp.float32)).reshape(p.shape), state.params)
    optimiser = train.optimiser(config, algorithm)
    inner, found = state.optimiser, state.params
    expected, velocity = jax.tree.map(np.asarray, state.params), jax.tree.map(lambda p: np.zeros(p.shape), state.params)
    for _ in range(3):
        updates, inner = optimiser.update(gradient, inner, found)
        found = optax.apply_updates(found, updates)
        g = jax.tree.map(lambda g, w: np.asarray(g) + 5e-4 * w, gradient, expected)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, g)
        expected = jax.tree.map(lambda w, g, v: w - 0.1 * (g + 0.9 * v), expected, g, velocity)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_eager_is_jitted():
    config = TINY.replace(**{"training.augment": True})
    algorithm, data, state = one(config, algorithm="S+noise")
    chosen = train.order(config, jnp.asarray(0), jnp.asarray(0))[0][0]
    arguments = (config, algorithm, jnp.asarray(0), data, state, train.tally(), chosen)
    for a, b in zip(jax.tree.leaves(train.step(*arguments)), jax.tree.leaves(jax.jit(train.step)(*arguments)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


def test_an_epoch_takes_each_image_once_and_epochs_differ():
    config = TINY.replace(n_train=120)
    (first, rest), (second, _) = (train.order(config, jnp.asarray(0), jnp.asarray(k)) for k in (0, 1))
    assert (first.shape, rest.shape, config.steps_per_epoch) == ((3, 32), (24,), 4)
    assert sorted([*np.ravel(first), *np.ravel(rest)]) == list(range(120))
    assert (first != second).any()
    assert preset("paper").steps_per_epoch == 391


def test_a_new_rate_or_length_does_not_compile_anew():
    runs.run(TINY, IMAGES)
    before = programs.programs(False).step._cache_size()
    runs.run(TINY.replace(name="other", **{"training.eta1": 0.07, "patch.offset": 0.2}), IMAGES)
    shorter = TINY.replace(first_seed=3, algorithms=("S",), **{"training.epochs": 3, "training.anneal_epochs": (2,)})
    runs.run(shorter, IMAGES)
    assert programs.programs(False).step._cache_size() == before


@pytest.mark.thorough
def test_every_way_of_driving_it_is_the_same_run(two_devices):
    """One scan an epoch, several runs at once, a batch over two devices: the numbers of steps driven one by one.

    With a last batch that is shorter.
    """
    config = TINY.replace(n_train=120)
    plain = runs.run(config, IMAGES)
    assert plain.sizes == {"algorithm": 3, "seed": 1, "record": 4}
    assert (plain["train_loss"].values > 0).all()
    same_runs(plain, runs.run(config.replace(at_once=3), IMAGES))
    same_runs(plain, runs.run(config.replace(spread="batch"), IMAGES))
    job = runs.Job(runs=(("L-S", 0),))
    course = runs.Course(config, job, [config.training.algorithm("L-S")], IMAGES, jax.devices()[0], scan=True)
    state = course.begin()
    for epoch in range(config.training.epochs):
        state, seen = course.train_epoch(state, epoch)
        for name, value in course.measure(state, seen).items():
            np.testing.assert_allclose(value, plain[name].sel(algorithm="L-S", seed=[0]).isel(record=epoch), rtol=2e-3,
                                       atol=1e-4, err_msg=name)


def test_a_seed_is_itself_whatever_runs_beside_it():
    two = runs.run(TINY.replace(seeds=2, algorithms=("S",)), IMAGES)
    alone = runs.run(TINY.replace(first_seed=1, algorithms=("S",)), IMAGES)
    xr.testing.assert_equal(two.sel(seed=[1]).drop_vars("seconds"), alone.drop_vars("seconds"))
    assert (two["train_loss"].sel(seed=0) != two["train_loss"].sel(seed=1)).all()


def test_what_is_recorded_is_what_was_done():
    found = runs.run(TINY, IMAGES)
    np.testing.assert_allclose(found["rate"].sel(algorithm="L-S", seed=0), [0.1, 0.1, 0.004, 0.004], rtol=1e-6)
    np.testing.assert_allclose(found["rate"].sel(algorithm="S", seed=0), 4 * [0.004], rtol=1e-6)
    np.testing.assert_allclose(found["activation_noise"].sel(algorithm="S+noise", seed=0), [0.4, 0.4, 4e-6, 4e-6], rtol=1e-6)
    assert found["activation_noise"].sel(algorithm="S").max() == 0
    assert all({"units", "long_name"} <= set(v.attrs) for v in found.data_vars.values())


@pytest.mark.thorough
def test_the_devices_that_worked_are_counted(two_devices, tmp_path):
    """One run cannot use two; two can; none works where all is there already."""
    config = TINY.replace(algorithms=("S",), **{"training.epochs": 2, "training.anneal_epochs": ()})
    assert runs.run(config, IMAGES, checkpoints=tmp_path).attrs["devices_used"] == 1
    assert runs.run(config.replace(seeds=2), IMAGES).attrs["devices_used"] == 2
    assert runs.run(config.replace(spread="batch"), IMAGES).attrs["devices_used"] == 2
    assert runs.run(config, IMAGES, checkpoints=tmp_path).attrs["devices_used"] == 0


def test_test_accuracy_counts_every_test_image_once():
    """150 images in chunks of 100, the last one half filled."""
    config = TINY.replace(n_test=150)
    _, _, state = one(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "CHUNK", 100)
        data = train.choose(config, IMAGES, 0)
        assert data.test_images.shape[:2] == (2, 100)
        found = train.scanned_evaluation(tuple(train.CONDITIONS), config, jnp.asarray(0), data, state)
    assert {float(t.count) for t in found.values()} == {150.0}
    logits = config.model.build().apply({"params": state.params, "batch_stats": state.stats},
                                        patches.normalise(jnp.asarray(IMAGES.test)))
    assert float(found["clean"].correct) == int((logits.argmax(-1) == IMAGES.test_classes).sum())


def test_augmented_images_are_crops_of_the_reflected_image_or_their_mirrors():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    crops = {padded[i : i + 32, j : j + 32].tobytes(): (i, j) for i in range(9) for j in range(9)}
    found = np.asarray(train.augment(jax.random.key(1), jnp.asarray(np.broadcast_to(image, (400, 32, 32, 3)))))
    straight = [x.tobytes() in crops for x in found]
    mirrored = [np.ascontiguousarray(x[:, ::-1]).tobytes() in crops for x in found]
    assert all(a or b for a, b in zip(straight, mirrored, strict=True))
    assert abs(np.mean(straight) - 0.5) < 0.1
    assert len({crops[x.tobytes()] for x, is_crop in zip(found, straight, strict=True) if is_crop}) > 50


def test_any_schedule_of_the_two_layer_path_trains_it():
    """Annealing by the loss, which the CNN's own presets do not use."""
    config = TINY.replace(**{"training.epochs": 12})
    never = Algorithm(rate=constant(0.05), activation_noise=constant(0.1))
    losses = runs.run(config, IMAGES, algorithms={"never": never})["train_loss"].values.ravel()
    mine = never.replace(rate=anneal_at_loss(0.05, 0.001, losses[5], smoothing=0.25))
    found = runs.run(config, IMAGES, algorithms={"mine": mine})
    rate, loss = (found[m].sel(algorithm="mine", seed=0).values for m in ("rate", "train_loss"))
    at = int(np.argmax(rate < 0.01))
    assert 3 <= at <= 8
    np.testing.assert_allclose(rate, [0.05] * at + [0.001] * (12 - at), rtol=1e-5)
    np.testing.assert_allclose(loss[:at], losses[:at], rtol=1e-4)
    np.testing.assert_allclose(found["activation_noise"], 0.1, rtol=1e-6)


def test_bfloat16_trains(tmp_path):
    found = runs.run(TINY.replace(algorithms=("S",), **{"model.compute": "bfloat16"}), IMAGES)
    plain = runs.run(TINY.replace(algorithms=("S",)), IMAGES)
    np.testing.assert_allclose(found["train_loss"], plain["train_loss"], rtol=0.02)
    assert found.attrs["precision"].startswith("bfloat16; ")
    assert (found["train_loss"] != plain["train_loss"]).any()


def test_a_config_of_the_experiment_is_read_back(tmp_path):
    config = TINY.replace(**{"training.augment": True, "training.anneal_epochs": ()})
    (tmp_path / "config.json").write_text(to_json(config))
    assert read_config(tmp_path / "config.json", Experiment) == config
    (tmp_path / "config.json").write_text(to_json(config).replace('"augment": true', '"augment": 3'))
    with pytest.raises(ConfigError, match=r"training\.augment"):
        read_config(tmp_path / "config.json", Experiment)
