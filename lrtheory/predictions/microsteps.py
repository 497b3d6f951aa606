"""Prediction 9: K iterations with the gradient frozen agree with K single ones."""

from lrtheory.intervals import bootstrap
from lrtheory.predictions.base import Need, Prediction, at_end, require_groups
from lrtheory.style import BLUE, VERMILION
from lrtheory.theory.figures import curve, time_axis

K = 100
"""Iterations a step."""
STEPS = 400
"""Steps of K iterations."""


def needs(base):
    """S at eta2/eta1 = 1/K over the same time, in steps of K iterations and of one."""
    require_groups(base, "p", "q")
    eta1 = base.training.eta1
    config = base.replace(algorithms=("S",), records=4, **{
        "training.eta_ratio": 1 / K, "network.m_v": 4 * base.network.m_v})
    return {"steps": Need(config, ((("training.step_time", "training.steps"), ((eta1 / K, K * STEPS), (eta1, STEPS))),))}


def judge(runs, level):
    """Ratios of seed means, K over 1: within 10% for Q's loss and the contrast, 2% for P's loss, which varies less."""
    run = runs["steps"].sel(algorithm="S")
    for name, margin in (("loss_q", 0.1), ("loss_p", 0.02), ("contrast", 0.1)):
        yield bootstrap(f"{run[name].attrs['long_name'].partition(';')[0]}: K = {K} over K = 1", [at_end(run, name)],
                        lambda v: v[:, 1] / v[:, 0], level, (1 - margin, 1 + margin), "1")


def draw(runs, figure):
    """Q's loss and the contrast against time for K = 1 and K = 100."""
    axes = figure.subplots(1, 2)
    run = runs["steps"].sel(algorithm="S")
    axis_name = run["loss_q"].dims[0]
    for k, (colour, line, label) in enumerate(((BLUE, "-", "K = 1"), (VERMILION, "--", f"K = {K}"))):
        for axis, metric in zip(axes, ("loss_q", "contrast"), strict=True):
            curve(axis, run.isel({axis_name: k}).transpose("seed", "record", ...), metric, colour, label, band="range",
                  line=line)
            time_axis(axis)
            axis.set_ylabel(metric)
    axes[0].legend(fontsize="small")


PREDICTION = Prediction(
    "microsteps", "K micro-steps agree with K = 1 while K eta lambda_max << 1", "derived here (section 3's update)",
    f"{K * STEPS:,} literal iterations against {STEPS} steps of K = {K}, the same data and independent noise; "
    "four times the neurons of V, for less jitter.", needs, judge, draw,
    fails="K = 100 iterations a step that change Q's loss, P's loss or the contrast.")
"""The claim and its source."""
