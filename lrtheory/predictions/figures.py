"""The figure of a claim: the curves behind it, and its statistics with their intervals.

Lives here: that one figure. Lives elsewhere: each claim's own curves (beside the claim), how figures look (style).
"""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import SubFigure

from lrtheory.style import SKY, VERMILION, Figure, canvas, styled


@styled
def figure(claim: dict[str, Any], draw: Callable[[SubFigure], None] | None = None) -> Figure:
    """The curves behind a claim; under them its statistics: the interval of each, and the region where the claim puts it."""
    rows, curves = claim["statistics"], 3.2 if draw is not None else 0.3
    drawn = canvas(7.6, curves + 0.5 + 0.75 * len(rows))
    parts: Any = drawn.subfigures(2, 1, height_ratios=(curves, 0.75 * len(rows) + 0.2))
    above, below = parts
    if draw is not None:
        draw(above)
    axes = below.subplots(len(rows), 1, squeeze=False).ravel()
    for axis, row in zip(axes, rows, strict=True):
        ends = [v for v in (*row["region"], row["low"], row["high"]) if isinstance(v, (int, float))]
        span = max(ends) - min(ends) or abs(ends[0]) or 1.0
        left, right = min(ends) - 0.15 * span, max(ends) + 0.15 * span
        low, high = (v if isinstance(v, (int, float)) else (left, right)[k] for k, v in enumerate(row["region"]))
        axis.axvspan(low, high, color="0.9", zorder=0)
        if row["value"] is not None and row["low"] is not None:
            colour = VERMILION if row["verdict"] == "fails" else SKY
            ends = [v if isinstance(v, (int, float)) else (left, right)[k] for k, v in enumerate((row["low"], row["high"]))]
            axis.plot(ends, [0, 0], color=colour, linewidth=3, solid_capstyle="butt")
            axis.plot(row["value"], 0, "o", color="black", markersize=5)
        axis.set_xlim(left, right)
        axis.set_yticks([])
        axis.set_title(f"{row['name']}: {row['verdict']}", fontsize="small", loc="left")
        axis.tick_params(labelsize=7)
    above.suptitle(f"{claim['number']}. {claim['statement']}", fontsize="small")
    below.supxlabel("point and bar: value and interval over seeds; grey: where the claim puts it", fontsize="small")
    return drawn
