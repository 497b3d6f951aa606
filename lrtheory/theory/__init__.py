"""The provable setting: the two-layer network on the paper's distribution.

Lives here: problem, network, kernel, algorithms' numbers, engines, runs and what they say. Lives elsewhere: the CNN
(vision), many configurations (sweeps), claims judged (predictions).
"""
