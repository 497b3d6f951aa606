"""Named CIFAR-10 experiments, each with why.

Lives here: numbers. Lives elsewhere: what they mean (experiment, patches).
"""

from lrtheory.spec import ConfigError
from lrtheory.vision.experiment import SGD, Experiment, Model
from lrtheory.vision.patches import PatchLaw

_LAST_BATCH = "An epoch leaves out the images that do not fill a batch (the paper: a shorter last batch)."


def paper() -> Experiment:
    """Section 6 as published: WideResNet-16-10, 50,000 images, 60 epochs, annealed at 30. For a GPU or TPU."""
    return Experiment(name="cifar-paper", note=_LAST_BATCH, model=Model(compute="bfloat16"))


def tiny() -> Experiment:
    """Every part of it within a minute, for tests: too short to show anything."""
    return Experiment(
        name="cifar-tiny", note="Too short to show anything: a check that all parts work.",
        model=Model(kind="small-cnn", widths=(4, 8), strides=(4, 2)), patch=PatchLaw(offset=0.3),
        training=SGD(epochs=4, batch_size=32, anneal_epochs=(3,)), seeds=2, n_train=128, n_test=100, checkpoint_epochs=2)


def plain() -> Experiment:
    """CIFAR-10 without a patch: 0.1 against 0.01, each x 0.2 at epochs 60, 120 and 150 of 200. For a GPU or TPU."""
    return Experiment(
        name="cifar-plain", note=_LAST_BATCH + " No patch. --training.augment adds reflect-padded crops and flips. The "
        "noise of S+noise has the patched experiment's strength and ends at the first annealing.",
        model=Model(compute="bfloat16"), patch=PatchLaw(share=0.0),
        training=SGD(epochs=200, eta1=0.1, eta_ratio=0.1, anneal_epochs=(60, 120, 150), anneal=0.2, anneal_small=0.2))


PRESETS = {f.__name__: f for f in (paper, tiny, plain)}


def preset(name: str) -> Experiment:
    """The experiment called `name`. Raises `ConfigError` for an unknown one."""
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: must be one of {', '.join(PRESETS)}; choose one of these")
    return PRESETS[name]()
