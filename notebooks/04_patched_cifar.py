# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same order in a real network
#
# **Shows** the paper's section 6 on real images: CIFAR-10 with a patch that can be memorised, learned by a small CNN under a large
# rate annealed (L-S), a small one (S) and a small one with noise before every ReLU (S+noise), with the very schedules of the
# two-layer network. **Takes** about 3 minutes on two cores. It needs CIFAR-10: set LRTHEORY_CIFAR10 to a folder that holds it, or call
# `cifar.load(download=True)`.
#
# Expected, by analogy with P and Q: S reads the patch at once and pays for it on clean images; under L-S the noise of large steps
# keeps the patch unread until annealing, and the images are learned from all examples; activation noise does the same for the
# small rate.

# %%
import os

import lrtheory as lt
from lrtheory.vision import cifar, figures, results, runs
from lrtheory.vision.presets import preset

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a stand-in for the images and a few steps, for the tests
images = cifar.synthetic() if FAST else cifar.load()
config = preset("tiny").replace(seeds=2) if FAST else preset("mini").replace(seeds=2, first_seed=8)
print(config.note)

# %% [markdown]
# What the networks see. Each class has an offset zeta of its own, a fraction of the shared pattern z; its sign is drawn anew each
# time, so that no linear reading of the patch tells the classes apart, like Q's z + zeta and z - zeta.

# %%
figures.samples(config, images)

# %% [markdown]
# The schedules are those of the two-layer network; their clock is in epochs done.

# %%
for name in config.algorithms:
    algorithm = config.training.algorithm(name)
    at = [0.0, *(e - 1.0 for e in config.training.anneal_epochs)]
    print(f"{name:8s} rate {[float(algorithm.rate(t)) for t in at]}, noise {[float(algorithm.activation_noise(t)) for t in at]} at {at}")

# %%
found = runs.run(config, images)
found

# %% [markdown]
# Lines are means, bands two standard errors over seeds.

# %%
accuracies = figures.accuracies(found)
accuracies

# %%
figures.patch_before_and_after(found)

# %% [markdown]
# The claims of section 6, each a paired difference over seeds; True: above 0 by Student's interval at 95%. These two seeds are
# others than those on which the preset's rates and epochs were chosen; they are too few to resolve each of the claims. One L-S in
# four has begun to read the patch before it is annealed and then gains nothing over S: is there one among these two?

# %%
for claim in results.verdict(found):
    difference = claim["difference"]
    print(f"{claim['holds']!s:5} {claim['statement']}: {difference['mean']:.3f} +- {difference['sem']:.3f}")
