"""Networks of the CIFAR-10 experiment in Flax: WideResNet and a small CNN, with noise before every ReLU.

Lives here: architectures. Lives elsewhere: how they are trained. A model is applied to normalised images (N, 32, 32, 3)
and returns logits (N, 10), float32 whatever the compute type. Float32 means float32: on GPU and TPU, too, where the default
would round the factors of products and convolutions to TF32 or bfloat16.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.vision.cifar import CLASSES

DECAY = 0.9
"""Of BatchNorm's running mean and variance, a step."""
fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""The linear layer's weights (n, 10) ~ U(-1/sqrt(n), 1/sqrt(n)), as in the published code."""


def precision(dtype: Any) -> jax.lax.Precision | None:
    """Of products and convolutions in a compute type: full for float32; for bfloat16 factors there is one alone."""
    return None if jnp.dtype(dtype) == jnp.bfloat16 else jax.lax.Precision.HIGHEST


def flat() -> bool:
    """Whether BatchNorm sees (N H W, C) instead of (N, H, W, C): on a CPU, where a step is then a tenth shorter.

    Elsewhere it would bind the layout that the compiler chooses for convolutions.
    """
    return jax.default_backend() == "cpu"


def fan_out(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Convolution kernels (k, k, in, out) ~ N(0, 2/(k k out)), as in the paper's code (He et al., fan-out)."""
    height, width, _, out = shape
    return jax.random.normal(key, shape, dtype) * jnp.asarray((2 / (height * width * out)) ** 0.5, dtype)


class _Activation(nn.Module):
    """BatchNorm, noise, ReLU: relu(BN(x) + std n), n an H x W draw shared over batch and channels, fresh a layer and step.

    The mean and variance of BN are of the batch while training, running ones else: v <- 0.9 v + 0.1 var n/(n - 1), n values
    a channel, which is unbiased as in the published code (PyTorch's).
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Array, std: Array | float, train: bool) -> Array:
        norm = nn.BatchNorm(use_running_average=not train, momentum=DECAY, epsilon=1e-5, dtype=self.dtype)
        kept = DECAY * norm.get_variable("batch_stats", "var") if train and not self.is_initializing() else None
        n = x.size // x.shape[-1]
        x = norm(x.reshape(n, -1)).reshape(x.shape) if flat() else norm(x)
        if kept is not None:  # flax has var itself
            unbiased = n / max(n - 1, 1)
            norm.put_variable("batch_stats", "var", kept + (norm.get_variable("batch_stats", "var") - kept) * unbiased)
        if train:
            x = x + (std * jax.random.normal(self.make_rng("noise"), x.shape[1:3])[None, ..., None]).astype(x.dtype)
        return nn.relu(x)


def _conv(features: int, size: int, stride: int, dtype: Any) -> nn.Conv:
    """A convolution without bias; padding size // 2 on each side, as in PyTorch ("SAME" differs at stride 2)."""
    return nn.Conv(features, (size, size), (stride, stride), padding=size // 2, use_bias=False, kernel_init=fan_out,
                   dtype=dtype, precision=precision(dtype))


class WideResNet(nn.Module):
    """Pre-activation WideResNet (Zagoruyko & Komodakis 2016): depth 6 n + 4, widths 16, 16 k, 32 k, 64 k, strides 1, 2, 2.

    17.1 million parameters at depth 16 and k = 10, as in section 6 of the paper.
    """

    depth: int = 16
    """6 n + 4, n blocks of two convolutions at each of three sizes"""
    widen: int = 10
    """factor k of the widths"""
    dtype: Any = jnp.float32
    """of convolutions, BatchNorm and activations; parameters and logits are float32"""

    @nn.compact
    def __call__(self, x: Array, std: Array | float = 0.0, *, train: bool = False) -> Array:
        """Logits (N, 10) of images (N, 32, 32, 3); std of the noise before every ReLU, while training only."""
        x = _conv(16, 3, 1, self.dtype)(x.astype(self.dtype))
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range((self.depth - 4) // 6):
                x = _Block(width * self.widen, stride if block == 0 else 1, self.dtype)(x, std, train)
        return _head(_Activation(self.dtype)(x, std, train))


class _Block(nn.Module):
    """x + conv(act(conv(act(x)))); where shapes change the first term is a 1x1 convolution of act(x)."""

    features: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, std: Array | float, train: bool) -> Array:
        out = _Activation(self.dtype)(x, std, train)
        if x.shape[-1] != self.features or self.stride != 1:
            x = _conv(self.features, 1, self.stride, self.dtype)(out)
        out = _conv(self.features, 3, self.stride, self.dtype)(out)
        out = _Activation(self.dtype)(out, std, train)
        return x + _conv(self.features, 3, 1, self.dtype)(out)


class SmallCNN(nn.Module):
    """Three 3x3 convolutions with strides 2, 2, 1, each with BatchNorm and ReLU, a global mean and a linear layer."""

    widths: tuple[int, ...] = (16, 32, 64)
    """channels of each convolution"""
    strides: tuple[int, ...] = (2, 2, 1)
    """stride of each convolution"""
    dtype: Any = jnp.float32
    """as in `WideResNet`"""

    @nn.compact
    def __call__(self, x: Array, std: Array | float = 0.0, *, train: bool = False) -> Array:
        """Logits (N, 10) of images (N, 32, 32, 3); std of the noise before every ReLU, while training only."""
        x = x.astype(self.dtype)
        for width, stride in zip(self.widths, self.strides, strict=True):
            x = _Activation(self.dtype)(_conv(width, 3, stride, self.dtype)(x), std, train)
        return _head(x)


def _head(x: Array) -> Array:
    """Mean over the image, and logits, both in float32 (double where x is)."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))
    return nn.Dense(len(CLASSES), kernel_init=fan_in, precision=precision(x.dtype), name="logits")(x)
