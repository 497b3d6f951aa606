"""The memorisable patch of the CIFAR-10 experiment: which images carry it, and what it looks like at each drawing.

Lives here: normalisation and the patch's distribution, as pure functions of arrays on the device. Lives elsewhere: where
images come from (cifar).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.spec import require, require_nonnegative, spec, swept
from lrtheory.vision.cifar import CLASSES

MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
"""Of CIFAR-10's red, green and blue, in pixel values."""
FIRST, SIZE = 12, 7
"""The patch covers rows and columns 12 to 18, at the centre."""


@spec
class PatchLaw:
    """The law of the patch: z + b zeta_c for class c, b = +-1 (section 6 of the paper; constants of its published code).

    So 20% of the images are clean, 64% carry it and 16% are the patch alone, as in the published code; the paper says 20, 60
    and 20%.

    `negative` is derived here: with b = +1 always zeta_c is the mean of class c less z, and a linear classifier reads it.
    """

    share: float = swept(default=0.8)
    """probability that a training image is one that is patched, fixed per data set"""
    alone: float = swept(default=0.2)
    """probability that a patched image, each time it is drawn, becomes the patch alone, on zeros"""
    common: float = swept(default=1.25)
    """standard deviation of z, the pattern that all classes share"""
    offset: float = swept(default=0.1)
    """zeta_c is uniform in (-offset, offset) at each pixel and channel"""
    scale: float = swept(default=1.75)
    """on zeros the offset is scale u b zeta_c with u uniform in (0, 1)"""
    negative: float = swept(default=0.5)
    """probability that b is -1: at 0.5 no linear reading of the patch tells the classes apart; at 0 one does, the control"""

    @property
    def tells(self) -> bool:
        """Whether there is something to read: the patch is there, and zeta_c is not 0."""
        return self.share > 0 and self.offset > 0

    def check(self) -> None:
        """Raise `ConfigError` for numbers that no law has."""
        for name in ("share", "alone", "negative"):
            require(0 <= getattr(self, name) <= 1, f"patch.{name}", getattr(self, name), "in [0, 1]", "give a probability")
        for name in ("common", "offset", "scale"):
            require_nonnegative(f"patch.{name}", getattr(self, name))


class Patch(NamedTuple):
    """The patterns of one data set, in normalised pixel values."""

    z: Array  # (7, 7, 3), shared by all classes
    zeta: Array  # (10, 7, 7, 3), one a class


def sample_patch(law: PatchLaw, key: Array) -> Patch:
    """Draw z ~ N(0, common^2) and zeta_c ~ U(-offset, offset), entry by entry. Source: section 6, its published code."""
    for_z, for_zeta = jax.random.split(key)
    shape = (SIZE, SIZE, 3)
    return Patch(law.common * jax.random.normal(for_z, shape),
                 law.offset * jax.random.uniform(for_zeta, (len(CLASSES), *shape), minval=-1.0, maxval=1.0))


def sample_flags(law: PatchLaw, key: Array, n: int) -> Array:
    """Which of n training images are patched whenever they are drawn: (n,) bool, each with probability `law.share`."""
    return jax.random.bernoulli(key, law.share, (n,))


def normalise(images: Array) -> Array:
    """Pixels (..., 3) uint8 to float32, mean 0 and standard deviation 1 a channel over CIFAR-10."""
    mean, std = (jnp.asarray(v, jnp.float32).reshape((1,) * (images.ndim - 1) + (3,)) for v in (MEAN, STD))
    return (images.astype(jnp.float32) - mean) / std


def stamp(patch: Patch, images: Array, classes: Array, signs: Array, scales: Array) -> Array:
    """Normalised images (N, 32, 32, 3) with z + scale b zeta_c written into them; classes c, signs b and scales (N,)."""
    each = patch.z[None] + (signs * scales)[:, None, None, None] * patch.zeta[classes]
    rows = slice(FIRST, FIRST + SIZE)
    return images.at[:, rows, rows].set(each.astype(images.dtype))


def draw(law: PatchLaw, patch: Patch, key: Array, images: Array, classes: Array, flags: Array) -> Array:
    """Training images as drawn, (N, 32, 32, 3): clean where not flagged, else with the patch, and of these a share it alone.

    Alone it is z + scale u b zeta_c on zeros, u ~ U(0, 1). Source: section 6 of the paper and its published code.

    Args:
      law: of the patch.
      patch: its patterns.
      key: of b, u and which become the patch alone; fresh at each drawing.
      images: normalised, (N, 32, 32, 3).
      classes: (N,).
      flags: which carry the patch, (N,) bool.
    """
    chosen, signs, scales = _variables(law, key, len(classes))
    alone = stamp(patch, jnp.zeros_like(images), classes, signs, scales)
    together = stamp(patch, images, classes, signs, jnp.ones_like(signs))
    chosen, flags = (v[:, None, None, None] for v in (chosen, flags))
    return jnp.where(flags, jnp.where(chosen, alone, together), images)


def mixed(law: PatchLaw, patch: Patch, key: Array, images: Array, classes: Array) -> Array:
    """Images for measuring as the published code does: a drawing of the training law, which images are flagged included.

    Of N images (N, 32, 32, 3) with classes (N,), a share 1 - `law.share` stays clean and `law.share * law.alone` becomes the
    patch alone, so that reading the patch perfectly answers share + (1 - share) x the accuracy on clean images.
    """
    for_flags, for_draw = jax.random.split(key)
    return draw(law, patch, for_draw, images, classes, sample_flags(law, for_flags, len(classes)))


def patched(law: PatchLaw, patch: Patch, key: Array, images: Array, classes: Array) -> Array:
    """Images for measuring image and patch together: every one of (N, 32, 32, 3) with the full patch; classes (N,)."""
    signs = _signs(law, key, len(classes))
    return stamp(patch, images, classes, signs, jnp.ones_like(signs))


def only(law: PatchLaw, patch: Patch, key: Array, images: Array, classes: Array) -> Array:
    """Images for measuring what the patch alone tells: on zeros, offsets scaled with probability `law.alone`, else full.

    Of the shape of `images`, normalised (N, 32, 32, 3), which are not shown; classes (N,).
    """
    chosen, signs, scales = _variables(law, key, len(classes))
    return stamp(patch, jnp.zeros_like(images), classes, signs, jnp.where(chosen, scales, 1.0))


def _variables(law: PatchLaw, key: Array, n: int) -> tuple[Array, Array, Array]:
    """Whether the patch stands alone, its sign b and its scale, for n images."""
    for_alone, for_sign, for_scale = jax.random.split(key, 3)
    return (jax.random.bernoulli(for_alone, law.alone, (n,)), _signs(law, for_sign, n),
            law.scale * jax.random.uniform(for_scale, (n,)))


def _signs(law: PatchLaw, key: Array, n: int) -> Array:
    """The signs b of n images."""
    return jnp.where(jax.random.bernoulli(key, 1 - law.negative, (n,)), 1.0, -1.0)
