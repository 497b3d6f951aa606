"""What the tests of trainings on patched images share: a stand-in for CIFAR-10, and the smallest experiment."""

from lrtheory.vision import cifar
from lrtheory.vision.presets import preset

IMAGES = cifar.synthetic(256, 150)
TINY = preset("tiny").replace(seeds=1)
