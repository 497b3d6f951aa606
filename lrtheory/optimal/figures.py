"""The figure of a design: its schedules, the neighbourhood of the optimum and what is alike, and every family's error.

Lives here: drawing. Lives elsewhere: the numbers (design), how figures look (style).
"""

import numpy as np
from matplotlib.axes import Axes

from lrtheory.labelled import estimate
from lrtheory.optimal.alike import Range, reach, worse
from lrtheory.optimal.design import Design
from lrtheory.optimal.search import AROUND
from lrtheory.style import Figure, styled


@styled
def figure(found: Design) -> Figure:
    """Rates over time, the objective around the optimum, and predicted and measured errors with standard errors.

    Bars under the middle panel: the ranges that fresh seeds do not tell from the best.
    """
    drawn = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = drawn.subplots(1, 3)
    families = (found.best, *found.competitors)
    for k, best in enumerate(families):
        shares = np.unique(np.concatenate([np.linspace(0, 1, 200), 1 - np.geomspace(1e-4, 1, 100)]))
        left.plot(best.time * shares, np.asarray(best.schedule(best.time * shares)), color=f"C{k}",
                  lw=2.5 if k == 0 else 1.2, label=best.family.name)
    left.set(xlabel="time (sum of rates)", ylabel="learning rate", yscale="log")
    left.legend(fontsize="x-small")
    for k, (name, (_, values)) in enumerate(found.curves.items()):
        units = np.unique(np.append(np.linspace(0, 1, AROUND - 1), found.best.units[k]))
        middle.plot(units, values, marker=".", label=name)
        middle.plot(found.best.units[k], found.best.value, "k*")
        if found.alike is not None:
            _bar(middle, k, found.alike.numbers[name], float(found.best.units[k]))
    middle.set(xlabel="place between the bounds", ylabel=f"{found.objective} (blurred)", yscale="log",
               title=f"around the optimum of {found.best.family.name}")
    if found.alike is not None:
        middle.plot([], [], color="0.4", lw=3, label=f"not told apart by {found.alike.least.size} fresh seeds")
    middle.legend(fontsize="x-small")
    for place, best in enumerate(families):
        judged = found.judged.get(best.family.name)
        if judged is None:
            right.plot(place, best.value, "ko", mfc="none")
            continue
        for shift, values, label, colour in ((-0.1, judged.predicted, "predicted", "C0"),
                                             (0.1, judged.measured, "with neurons", "C1")):
            told = estimate(values)
            right.errorbar(place + shift, told["mean"], told["sem"], fmt="o", color=colour,
                           label=label if place == 0 else None)
    right.set_xticks(range(len(families)), [b.family.name for b in families], rotation=30, ha="right")
    right.set(ylabel=found.objective, yscale="log", title=str(found.budget))
    if found.judged:
        right.legend(fontsize="x-small")
    return drawn


def _bar(axis: Axes, row: int, here: Range, best: float) -> None:
    """A bar under the curves, where a number is not told from its best one."""
    inside, _, _ = reach(here.tried, best, worse)
    height = 0.03 * (row + 1)
    axis.plot([inside[0], inside[-1]], [height] * 2, color=f"C{row}", lw=3, transform=axis.get_xaxis_transform())
