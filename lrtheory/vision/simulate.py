"""One training run on patched images: its data, a step, an epoch, and what is measured after each epoch.

Lives here: pure functions of a run's state. Lives elsewhere: what is compiled (programs), which runs there are, where they
run and what is kept of them (runs). Images stay uint8 on the device; they are normalised, augmented and patched as they are
drawn.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from lrtheory.algorithm import Algorithm
from lrtheory.keys import key as key_of
from lrtheory.schedule import scale_by_rate
from lrtheory.stages import StageState, clock_after
from lrtheory.vision import patches
from lrtheory.vision.cifar import Images
from lrtheory.vision.config import Experiment
from lrtheory.vision.patches import Patch

CONDITIONS = {"clean": "clean images", "mixed": "a drawing of the training law: clean, with the patch, or the patch alone",
              "patched": "images that all carry the patch", "patch_only": "the patch alone, on zeros"}
"""What test images are shown, drawn once a seed: {name: meaning}."""
CHUNK = 500
"""Test images evaluated at once."""
PAD = 4
"""Pixels by which augmentation pads."""


class Data(NamedTuple):
    """The images of one seed, on the device."""

    images: Array  # (n_train, 32, 32, 3) uint8
    classes: Array  # (n_train,)
    flags: Array  # (n_train,) bool, which carry the patch
    patch: Patch
    test_images: Array  # (chunks, CHUNK, 32, 32, 3) uint8, filled up with zeros
    test_classes: Array  # (chunks, CHUNK), -1 where filled up


class State(NamedTuple):
    """What the next step needs."""

    params: Any
    stats: Any  # running means and variances of BatchNorm
    optimiser: Any
    noise: StageState
    loss: Array  # () of the last batch, inf before the first; what triggers of the activation noise read


class Tally(NamedTuple):
    """Sums over images seen."""

    loss: Array  # ()
    correct: Array  # ()
    count: Array  # ()


def tally(shape: tuple[int, ...] = ()) -> Tally:
    """Nothing seen yet, by one run or by `shape` runs; three arrays, for a step uses them up."""
    return Tally(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape))


def keys(seed: int | Array) -> dict[str, Array]:
    """The keys of a seed, by what they are for."""
    names = ("images", "test", "patch", "flags", "weights", "order", "draws", "measure")
    return dict(zip(names, jax.random.split(key_of(seed), len(names)), strict=True))


def choose(config: Experiment, images: Images, seed: int) -> Data:
    """The data of a seed: its images among all, its patch and which images carry it."""
    key = keys(seed)

    def some(name: str, n: int, of: int) -> np.ndarray:
        return np.arange(of) if n == of else np.sort(np.asarray(jax.random.permutation(key[name], of))[:n])

    train, test = some("images", config.n_train, len(images.train)), some("test", config.n_test, len(images.test))
    chunk = min(CHUNK, config.n_test)
    fill = -len(test) % chunk
    return Data(
        images=jnp.asarray(images.train[train]), classes=jnp.asarray(images.train_classes[train], jnp.int32),
        flags=patches.sample_flags(config.patch, key["flags"], config.n_train),
        patch=patches.sample_patch(config.patch, key["patch"]),
        test_images=jnp.asarray(np.concatenate([images.test[test], np.zeros((fill, 32, 32, 3), np.uint8)])
                                .reshape(-1, chunk, 32, 32, 3)),
        test_classes=jnp.asarray(np.pad(images.test_classes[test].astype(np.int32), (0, fill), constant_values=-1)
                                 .reshape(-1, chunk)))


def optimiser(config: Experiment, algorithm: Algorithm) -> optax.GradientTransformationExtraArgs:
    """The update g <- g + lambda w;  v <- mu v + g;  w <- w - eta_t (g + mu v), eta_t at the epochs done.

    Source: section 6 of Li, Wei & Ma (2019).
    """
    return optax.chain(optax.add_decayed_weights(config.training.weight_decay),
                       optax.trace(config.training.momentum, nesterov=True),
                       scale_by_rate(algorithm.rate, config.steps_per_epoch))


def begin(config: Experiment, algorithm: Algorithm, seed: Array) -> State:
    """The state before the first step."""
    values = config.model.build().init({"params": keys(seed)["weights"]}, jnp.zeros((1, 32, 32, 3)))
    return State(values["params"], values["batch_stats"], optimiser(config, algorithm).init(values["params"]),
                 algorithm.schedules[1].init(), jnp.full((), jnp.inf, jnp.result_type(float)))


def parameter_count(config: Experiment) -> int:
    """Trainable numbers of the network."""
    shapes = jax.eval_shape(lambda: config.model.build().init({"params": key_of(0)}, jnp.zeros((1, 32, 32, 3))))
    return sum(math.prod(p.shape) for p in jax.tree.leaves(shapes["params"]))


def steps_done(state: State) -> Array:
    """Steps a run has taken."""
    return state.optimiser[-1].count


def order(config: Experiment, seed: Array, epoch: Array) -> tuple[Array, Array]:
    """Indices of the images of each step of an epoch, a fresh permutation: (whole batches, batch_size), and (rest,)."""
    size = config.training.batch_size
    each = jax.random.permutation(jax.random.fold_in(keys(seed)["order"], epoch), config.n_train)
    whole = config.n_train // size * size
    return each[:whole].reshape(-1, size), each[whole:]


def augment(key: Array, images: Array) -> Array:
    """Reflect-pad by 4, crop at random, flip at random: images (N, 32, 32, 3) of any number type, to the same shape."""
    n, side = images.shape[:2]
    for_shift, for_flip = jax.random.split(key)
    padded = jnp.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")
    shifts = jax.random.randint(for_shift, (n, 2), 0, 2 * PAD + 1)
    cropped = jax.vmap(lambda x, s: jax.lax.dynamic_slice(x, (s[0], s[1], 0), (side, side, 3)))(padded, shifts)
    flipped = jax.random.bernoulli(for_flip, 0.5, (n,))
    return jnp.where(flipped[:, None, None, None], cropped[:, :, ::-1], cropped)


def step(config: Experiment, algorithm: Algorithm, seed: Array, data: Data, state: State, seen: Tally,
         chosen: Array) -> tuple[State, Tally]:
    """One step of SGD on the images `chosen` (batch_size,), or fewer in an epoch's last step.

    The rate is that of the epochs done, with this batch's loss for triggers; the noise likewise, with the last batch's.
    """
    count = steps_done(state)
    for_noise, for_patch, for_crop = jax.random.split(jax.random.fold_in(keys(seed)["draws"], count), 3)
    classes = data.classes[chosen]
    pixels = data.images[chosen]
    if config.training.augment:
        pixels = augment(for_crop, pixels)
    x = patches.draw(config.patch, data.patch, for_patch, patches.normalise(pixels), classes, data.flags[chosen])
    std, noise = algorithm.schedules[1].update(state.noise, clock_after(count, config.steps_per_epoch), state.loss)

    def objective(params):
        logits, changed = config.model.build().apply({"params": params, "batch_stats": state.stats}, x, std, train=True,
                                                     rngs={"noise": for_noise}, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean(), (logits, changed["batch_stats"])

    (loss, (logits, stats)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    updates, inner = optimiser(config, algorithm).update(gradient, state.optimiser, state.params, value=loss)
    seen = Tally(seen.loss + loss * len(chosen), seen.correct + jnp.sum(logits.argmax(-1) == classes),
                 seen.count + len(chosen))
    return State(optax.apply_updates(state.params, updates), stats, inner, noise, loss), seen


def scanned_epoch(config: Experiment, algorithm: Algorithm, seed: Array, data: Data, state: State,
                  chosen: Array) -> tuple[State, Tally]:
    """The steps `chosen` (steps, batch_size) of an epoch as one scan, for accelerators.

    On CPU, XLA runs convolutions in a scan many times slower.
    """
    def body(carry, now):
        return step(config, algorithm, seed, data, carry[0], carry[1], now), None

    return jax.lax.scan(body, (state, tally()), chosen)[0]


def conditions(config: Experiment) -> tuple[str, ...]:
    """What is measured; without a patch, clean images alone."""
    return tuple(CONDITIONS) if config.patch.share > 0 else ("clean",)


def evaluate(names: tuple[str, ...], config: Experiment, seed: Array, data: Data, state: State,
             chunk: Array) -> dict[str, Tally]:
    """Loss and correct answers on one chunk of the test images under the conditions `names`, without noise."""
    x, classes = patches.normalise(data.test_images[chunk]), data.test_classes[chunk]
    real = classes >= 0
    classes = jnp.maximum(classes, 0)
    for_mixed, for_patched, for_only = jax.random.split(jax.random.fold_in(keys(seed)["measure"], chunk), 3)
    law, patch = config.patch, data.patch
    shown = {"clean": x, "mixed": patches.mixed(law, patch, for_mixed, x, classes),
             "patched": patches.patched(law, patch, for_patched, x, classes),
             "patch_only": patches.only(law, patch, for_only, x, classes)}

    def measure(images: Array) -> Tally:
        logits = jnp.asarray(config.model.build().apply({"params": state.params, "batch_stats": state.stats}, images))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
        return Tally(jnp.sum(losses, where=real), jnp.sum(logits.argmax(-1) == classes, where=real),
                     jnp.sum(real).astype(jnp.float32))

    return {name: measure(images) for name, images in shown.items() if name in names}


def scanned_evaluation(names: tuple[str, ...], config: Experiment, seed: Array, data: Data,
                       state: State) -> dict[str, Tally]:
    """`evaluate` over all chunks, as one scan: for accelerators."""
    each = jax.lax.map(functools.partial(evaluate, names, config, seed, data, state), jnp.arange(data.test_images.shape[0]))
    return jax.tree.map(lambda x: x.sum(0), each)


def levels(config: Experiment, algorithm: Algorithm, state: State) -> tuple[Array, Array]:
    """Rate and activation noise of the last step taken, as the run's own schedules have them: () each."""
    clock = (steps_done(state) - 1) / config.steps_per_epoch
    return algorithm.rate.value(state.optimiser[-1].schedule, clock), algorithm.schedules[1].value(state.noise, clock)
