"""The patch against its law; the models against a second statement of them in NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrtheory.vision import cifar, models, patches, simulate
from lrtheory.vision.patches import PatchLaw
from lrtheory.vision.presets import preset

LAW = PatchLaw()


def test_shares_signs_and_scales_follow_the_law():
    n, key = 20_000, jax.random.key(0)
    classes = jnp.arange(n) % 10
    images = jnp.full((n, 32, 32, 3), 0.5)
    patch = patches.sample_patch(LAW, jax.random.key(1))
    flags = patches.sample_flags(LAW, jax.random.key(2), n)
    drawn = np.asarray(patches.draw(LAW, patch, key, images, classes, flags))
    outside = drawn[:, 0, 0, 0]
    inside = drawn[:, 12:19, 12:19]
    clean = np.all(inside == 0.5, (1, 2, 3))
    alone = outside == 0
    for found, share in ((clean, 0.2), (alone, 0.16), (~clean & ~alone, 0.64)):
        assert abs(found.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert not clean[np.asarray(flags)].any()
    # what is written is z + a zeta_c: a by least squares, and nothing left over
    zeta = np.asarray(patch.zeta)[np.asarray(classes)]
    left = inside - np.asarray(patch.z)
    a = (left * zeta).sum((1, 2, 3)) / (zeta**2).sum((1, 2, 3))
    full = ~clean & ~alone
    np.testing.assert_allclose(np.abs(a[full]), 1, atol=1e-4)
    np.testing.assert_allclose(left[~clean], (a[:, None, None, None] * zeta)[~clean], atol=1e-5)
    for group in (full, alone):
        assert abs(np.mean(a[group] > 0) - 0.5) < 2 / np.sqrt(group.sum())
    u = np.sort(np.abs(a[alone])) / 1.75
    assert np.max(np.abs(u - (np.arange(len(u)) + 0.5) / len(u))) < 1.95 / np.sqrt(len(u))  # Kolmogorov, 0.1%
    # the patch covers rows and columns 12 to 18 and nothing else
    changed = np.any(drawn[full][0] != 0.5, -1)
    assert np.flatnonzero(changed.any(1)).tolist() == np.flatnonzero(changed.any(0)).tolist() == list(range(12, 19))
    again = np.asarray(patches.draw(LAW, patch, jax.random.key(9), images, classes, flags))
    np.testing.assert_array_equal(np.all(again[:, 12:19, 12:19] == 0.5, (1, 2, 3)), clean)  # who is patched stays
    assert np.any(again != drawn)


def test_patterns_follow_the_law_and_are_fixed_per_class():
    many = jax.vmap(lambda k: patches.sample_patch(LAW, k))(jax.random.split(jax.random.key(3), 200))
    assert many.z.shape[1:] == (7, 7, 3)
    assert many.zeta.shape[1:] == (10, 7, 7, 3)
    assert abs(float(many.z.std()) - 1.25) < 0.03
    assert float(jnp.abs(many.zeta).max()) <= 0.1
    assert abs(float(many.zeta.std()) - 0.1 / np.sqrt(3)) < 1e-3


def test_measuring_the_patch_alone_and_with_images():
    n = 4000
    classes = jnp.arange(n) % 10
    patch = patches.sample_patch(LAW, jax.random.key(1))
    images = jnp.full((n, 32, 32, 3), 0.5)
    zeta = np.asarray(patch.zeta)[np.asarray(classes)]

    def coefficient(x):
        left = np.asarray(x)[:, 12:19, 12:19] - np.asarray(patch.z)
        return np.abs((left * zeta).sum((1, 2, 3)) / (zeta**2).sum((1, 2, 3)))

    alone = patches.only(LAW, patch, jax.random.key(4), images, classes)
    assert float(jnp.abs(alone[:, 0]).max()) == 0
    assert abs(np.mean(np.abs(coefficient(alone) - 1) < 1e-3) - 0.8) < 0.03
    every = patches.patched(LAW, patch, jax.random.key(5), images, classes)
    np.testing.assert_allclose(coefficient(every), 1, atol=1e-4)
    assert float(every[0, 0, 0, 0]) == 0.5
    mixed = np.asarray(patches.mixed(LAW, patch, jax.random.key(6), images, classes))  # the training law, flags included
    clean, zeros = (mixed == 0.5).all((1, 2, 3)), mixed[:, 0, 0, 0] == 0
    np.testing.assert_allclose([clean.mean(), zeros.mean()], [0.2, 0.16], atol=0.025)
    full = np.abs(coefficient(mixed) - 1) < 1e-3
    assert full[~clean & ~zeros].all()
    assert full[zeros].mean() < 0.01
    assert coefficient(mixed)[zeros].mean() == pytest.approx(1.75 / 2, abs=0.06)


def test_of_a_linear_patch_the_class_mean_tells_and_of_the_published_one_nothing():
    """b = +1 always at `negative` 0, in training and in every measurement; at 0.5 the very draws of fair signs."""
    n, key = 2000, jax.random.key(0)
    classes, images = jnp.arange(n) % 10, jnp.full((n, 32, 32, 3), 0.5)
    patch, flags = patches.sample_patch(LAW, jax.random.key(1)), jnp.ones(n, bool)
    zeta = np.asarray(patch.zeta)

    def told(law):
        """Of each way of showing the patch, how much of zeta_c the mean over the images of class c has."""
        shown = (patches.draw(law, patch, key, images, classes, flags), patches.patched(law, patch, key, images, classes),
                 patches.only(law, patch, key, images, classes), patches.mixed(law, patch, key, images, classes))
        for x in shown:
            has = np.asarray(x)[:, 0, 0, 0] == 0 if x is shown[2] else (np.asarray(x)[:, 12:19, 12:19] != 0.5).any((1, 2, 3))
            means = [(np.asarray(x)[:, 12:19, 12:19] - np.asarray(patch.z))[has & (np.asarray(classes) == c)].mean(0)
                     for c in range(10)]
            yield float((np.stack(means) * zeta).sum() / (zeta**2).sum())

    assert min(told(PatchLaw(negative=0.0))) > 0.9
    assert max(map(abs, told(LAW))) < 0.15
    assert max(told(PatchLaw(negative=1.0))) < -0.9
    signs = patches._signs(LAW, key, n)
    np.testing.assert_array_equal(signs, jax.random.rademacher(key, (n,), jnp.float32))


def test_normalised_images_have_mean_0_and_deviation_1():
    pixels = jnp.asarray(np.array([[125, 123, 114], [188, 185, 181]], np.uint8))
    np.testing.assert_allclose(patches.normalise(pixels), [[-0.3 / 63, 0, 0.1 / 66.7], [62.7 / 63, 62 / 62.1, 67.1 / 66.7]],
                               atol=1e-5)


def _parameters(model):
    shapes = jax.eval_shape(lambda: model.init({"params": jax.random.key(0), "noise": jax.random.key(1)},
                                               jnp.zeros((1, 32, 32, 3))))
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(shapes["params"]))


def test_the_papers_network_has_its_17_million_parameters():
    def block(before, after):  # two BatchNorms, two convolutions and, where widths differ, a 1x1 one
        return 2 * before + 9 * before * after + 2 * after + 9 * after * after + (before * after if before != after else 0)

    widths = (16, 160, 320, 640)
    count = 3 * 9 * 16 + 2 * 640 + 640 * 10 + 10
    for before, after in itertools.pairwise(widths):
        count += block(before, after) + block(after, after)
    assert _parameters(models.WideResNet()) == count
    assert round(count / 1e6, 1) == 17.1
    assert _parameters(models.SmallCNN()) == 9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 64 * 10 + 10


class Numpy:
    """The architectures once more: channels last, evaluation mode, no library but NumPy."""

    def __init__(self, variables):
        self.p, self.s = (jax.tree.map(np.asarray, variables[k]) for k in ("params", "batch_stats"))

    def conv(self, x, kernel, stride):
        pad = kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
        return np.einsum("nhwcij,ijco->nhwo", windows, kernel)

    def act(self, x, p, s):
        p, s = p["BatchNorm_0"], s["BatchNorm_0"]
        return np.maximum((x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"], 0)

    def head(self, x):
        return x.mean((1, 2)) @ self.p["logits"]["kernel"] + self.p["logits"]["bias"]

    def wide(self, x, strides):
        x = self.conv(x, self.p["Conv_0"]["kernel"], 1)
        for k, stride in enumerate(strides):
            p, s = self.p[f"_Block_{k}"], self.s[f"_Block_{k}"]
            kernels = [p[f"Conv_{i}"]["kernel"] for i in range(len([n for n in p if n.startswith("Conv")]))]
            out = self.act(x, p["_Activation_0"], s["_Activation_0"])
            if len(kernels) == 3:
                x = self.conv(out, kernels.pop(0), stride)
            out = self.act(self.conv(out, kernels[0], stride), p["_Activation_1"], s["_Activation_1"])
            x = x + self.conv(out, kernels[1], 1)
        return self.head(self.act(x, self.p["_Activation_0"], self.s["_Activation_0"]))

    def small(self, x, strides):
        for k, stride in enumerate(strides):
            x = self.conv(x, self.p[f"Conv_{k}"]["kernel"], stride)
            x = self.act(x, self.p[f"_Activation_{k}"], self.s[f"_Activation_{k}"])
        return self.head(x)


def _randomised(variables, seed=5):
    """Other running means, variances, scales and biases than 0 and 1, so that each counts."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda v: v + jnp.asarray(rng.uniform(0.1, 0.5, v.shape), v.dtype), variables)


@pytest.mark.parametrize(("model", "restated"), [
    (models.WideResNet(depth=16, widen=1), lambda n, x: n.wide(x, (1, 1, 2, 1, 2, 1))),
    (models.SmallCNN(), lambda n, x: n.small(x, (2, 2, 1)))])
def test_a_forward_pass_is_the_architecture(model, restated):
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    variables = _randomised(model.init({"params": jax.random.key(1)}, x))
    found = jax.jit(model.apply)(variables, x)
    expected = restated(Numpy(variables), np.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
    np.testing.assert_allclose(model.apply(variables, x), found, rtol=1e-4, atol=1e-3)


def test_kernels_have_the_papers_variance():
    kernel = models.fan_out(jax.random.key(0), (3, 3, 64, 128))
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


def test_the_linear_layer_starts_as_published():
    """U(-1/sqrt(n), 1/sqrt(n)), bias 0 (PyTorch's weights)."""
    start = models.SmallCNN().init({"params": jax.random.key(1)}, jnp.zeros((1, 32, 32, 3)))["params"]["logits"]
    weights, bound = np.asarray(start["kernel"]), 1 / 8
    assert weights.shape == (64, 10)
    assert 0.97 * bound < np.abs(weights).max() <= bound
    assert weights.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert not start["bias"].any()


def test_noise_is_one_plane_a_layer_and_step_shared_over_batch_and_channels():
    layer = models._Activation(jnp.float32)
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (5, 1, 1, 4)), (5, 6, 7, 4))
    variables = layer.init({"params": jax.random.key(1), "noise": jax.random.key(2)}, x, 0.0, True)
    shifted = {**variables, "params": jax.tree.map(lambda p: p, variables["params"])}
    shifted["params"]["BatchNorm_0"]["bias"] = jnp.full(4, 50.0)  # far from the kink: what is added is seen as it is

    def noise(key, std=0.4):
        with_noise, without = (layer.apply(shifted, x, s, True, rngs={"noise": jax.random.key(key)},
                                           mutable=["batch_stats"])[0] for s in (std, 0.0))
        return np.asarray(with_noise - without)

    found = noise(3)
    np.testing.assert_allclose(found, np.broadcast_to(found[:1, :, :, :1], found.shape), atol=1e-4)
    assert found[0, :, :, 0].std() == pytest.approx(0.4, rel=0.35)
    assert not np.allclose(found, noise(4), atol=1e-2)
    assert not noise(3, 0.0).any()
    still = layer.apply(shifted, x, 0.4, False)  # none at evaluation, and no key needed
    np.testing.assert_array_equal(still, layer.apply(shifted, x, 0.0, False))


def test_noise_is_fresh_in_every_layer():
    model = models.SmallCNN(strides=(2, 1, 1))
    images = jax.random.normal(jax.random.key(5), (2, 32, 32, 3))
    values = model.init({"params": jax.random.key(1)}, images)
    for k in range(3):  # BatchNorm puts out 50 whatever comes in
        norm = values["params"][f"_Activation_{k}"]["BatchNorm_0"]
        norm |= {"scale": jnp.zeros_like(norm["scale"]), "bias": jnp.full_like(norm["bias"], 50.0)}
    _, seen = model.apply(values, images, 0.4, train=True, rngs={"noise": jax.random.key(6)}, mutable=True,
                          capture_intermediates=lambda module, name: isinstance(module, models._Activation))
    planes = [np.asarray(seen["intermediates"][f"_Activation_{k}"]["__call__"][0])[0, :, :, 0] - 50 for k in range(3)]
    assert [p.shape for p in planes] == [(16, 16)] * 3
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert abs(np.corrcoef(planes[one].ravel(), planes[other].ravel())[0, 1]) < 0.25


def test_batch_statistics_are_those_of_the_batch_with_decay():
    layer = models._Activation(jnp.float32)
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (64, 8, 8, 4))
    variables = layer.init({"params": jax.random.key(1), "noise": jax.random.key(2)}, x, 0.0, False)
    _, changed = layer.apply(variables, x, 0.0, True, rngs={"noise": jax.random.key(3)}, mutable=["batch_stats"])
    stats = changed["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], 0.1 * np.asarray(x).mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * np.asarray(x).var((0, 1, 2)), rtol=1e-3)
    few = x[:1, :2, :2]  # four values a channel: the unbiased variance is 4/3 of the biased one
    _, changed = layer.apply(variables, few, 0.0, True, rngs={"noise": jax.random.key(3)}, mutable=["batch_stats"])
    np.testing.assert_allclose(changed["batch_stats"]["BatchNorm_0"]["var"],
                               0.9 + 0.1 * np.asarray(few).var((0, 1, 2), ddof=1), rtol=1e-4)


@pytest.mark.parametrize("train", [False, True])
def test_batchnorm_over_two_axes_is_that_over_four(train, float64, monkeypatch):
    """What accelerators compute, against what a CPU does: outputs, statistics and gradients."""
    layer, key = models._Activation(jnp.float64), jax.random.key
    x = 3 + 2 * jax.random.normal(key(0), (8, 6, 4, 5), jnp.float64)
    variables = layer.init({"params": key(1), "noise": key(2)}, x, 0.1, False)

    def found(x):
        return layer.apply(variables, x, 0.1, train, rngs={"noise": key(3)}, mutable=["batch_stats"])

    seen = []
    for is_flat in (True, False):
        monkeypatch.setattr(models, "flat", lambda is_flat=is_flat: is_flat)
        y, back, changed = jax.vjp(found, x, has_aux=True)
        seen.append((y, changed, back(jnp.sin(y))))
        axes = [e.params["axes"] for e in jax.make_jaxpr(lambda x: found(x))(x).eqns if e.primitive.name == "reduce_sum"]
        assert axes == ([(0,) if is_flat else (0, 1, 2)] * 2 if train else [])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), *seen)


def test_bfloat16_stays_near_float32():
    x = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    variables = models.SmallCNN().init({"params": jax.random.key(1)}, x)
    half = models.SmallCNN(dtype=jnp.bfloat16).apply(variables, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, models.SmallCNN().apply(variables, x), atol=0.05)


@pytest.mark.thorough(but=["cuda"])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_float32_means_float32_on_every_platform(platform, compute, monkeypatch):
    """In the lowered training step and evaluation: the default would be TF32 on CUDA, bfloat16 on TPU."""
    monkeypatch.setattr(models, "flat", lambda: platform == "cpu")
    config = preset("tiny").replace(**{"model.compute": compute})
    algorithm, images = config.training.algorithm("S+noise"), cifar.synthetic(128, 100)
    data, state = simulate.choose(config, images, 0), simulate.begin(config, algorithm, jnp.asarray(0))
    chosen = simulate.order(config, jnp.asarray(0), jnp.asarray(0))[0]
    seed = jnp.asarray(0)
    for function, arguments in (
            (simulate.scanned_epoch, (config, algorithm, seed, data, state, chosen)),
            (functools.partial(simulate.scanned_evaluation, tuple(simulate.CONDITIONS)), (config, seed, data, state))):
        text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
        products = [line for line in text.splitlines()
                    if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]
        assert len(products) >= 3
        single = [line for line in products if "bf16" not in line]
        assert all(line.count("HIGHEST") == 2 for line in single), single
        assert len(single) == (len(products) if compute == "float32" else sum("stablehlo.dot" in p for p in products))
