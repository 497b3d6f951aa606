"""Prediction 2: gates and outputs of the full network approach those of the decoupled one as it widens."""

import numpy as np

from lrtheory.intervals import bootstrap, slope
from lrtheory.predictions.base import Need, Prediction, each_seed
from lrtheory.style import BLUE, ORANGE, VERMILION

WIDTHS = (64, 512, 4096)
"""Neurons of each half."""


def needs(base):
    """Both engines at three widths: no injected noise (its own output is O(tau0), not O(1/sqrt(m))), r = 0.3, |z| = 1.

    At small r the gates that differ soon fill the angle r and saturate unless m is very large (condition F): at r = 0.05 and
    m = 64 they stop at 0.011 = 0.7 r/pi, and the fitted exponent is -0.2.
    """
    config = base.replace(algorithms=("L-S",), records=10, **{
        "problem.z_norm": 1.0, "problem.r": 0.3, "training.noise_level": 0.0, "training.steps": 200,
        "training.anneal_time": np.inf})
    widths = (("network.m_w", "network.m_v"), tuple((m, m) for m in WIDTHS))
    return {name: Need(config.replace(engine=name), (widths,)) for name in ("reduced", "decoupled")}


def judge(runs, level):
    """Exponents of the differences in m, within 1/4 of -1/2."""
    full, decoupled = (runs[name].sel(algorithm="L-S").isel(record=-1) for name in ("reduced", "decoupled"))
    square = np.square(full["g_z"] - decoupled["g_z"]) + np.square(full["g_plus"] - decoupled["g_plus"])
    order = slope(WIDTHS)
    yield bootstrap("exponent of |f_full - f_decoupled| in m", [square.transpose("seed", ...).values.squeeze()],
                    lambda s: order(np.sqrt(s)), level, (-0.75, -0.25), "-1/2")
    for half in "wv":
        apart = 1 - full[f"gate_agreement_{half}"].transpose("seed", ...).values.squeeze()
        yield bootstrap(f"exponent of gates of {half.upper()} that differ, in m", [apart], order, level, (-0.75, -0.25),
                        "-1/2")


def draw(runs, figure):
    """Differences against the width, a dot a seed."""
    full, decoupled = (runs[name].sel(algorithm="L-S").isel(record=-1) for name in ("reduced", "decoupled"))
    axis = figure.subplots()
    apart = np.hypot(full["g_z"] - decoupled["g_z"], full["g_plus"] - decoupled["g_plus"])
    each_seed(axis, WIDTHS, apart.transpose("seed", ...).values.squeeze(), ORANGE, "|f_full − f_decoupled|")
    for half, colour in (("w", BLUE), ("v", VERMILION)):
        gates = 1 - full[f"gate_agreement_{half}"].transpose("seed", ...).values.squeeze()
        each_seed(axis, WIDTHS, gates, colour, f"gates of {half.upper()} that differ")
    m = np.asarray(WIDTHS, float)
    axis.plot(m, float(apart.mean()) * (m / m[1]) ** -0.5, "k:", label="m^(−1/2)")
    axis.set(xscale="log", yscale="log", xlabel="neurons m of each half")
    axis.legend(fontsize="small")


PREDICTION = Prediction(
    "widths", "gates of U and Utilde, and outputs of full and decoupled networks, agree better as m grows",
    "section 3 (decomposition of U); rate 1/sqrt(m) derived here",
    "Exponents fitted over widths 64 to 4096 of both halves after 200 steps at |z| = 1 and r = 0.3 (so that "
    "condition F holds), without injected noise: its own output is of order tau0 at any width.", needs, judge, draw,
    fails="outputs that differ by as much at any width; gates of W, or of V, that do.")
"""The claim and its source."""
