"""The patched CIFAR-10 experiment: the paper's section 6 in a CNN.

Lives here: images, patch, models, runs and what they say. Lives elsewhere: the two-layer theory, which has rooms of the same
names (theory), and schedules (schedule), which both share.
"""
