"""How every figure looks: colours, lines, settings, and how figures are saved.

Lives here: what the figures of both wings and of sweeps share. Lives elsewhere: every figure itself.
"""

import functools
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.figure

# Okabe & Ito (2008): told apart by readers with any colour vision, and in grey by line style.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, GREY = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
                                                     "#666666")
ALGORITHM_STYLE = {"L-S": (BLUE, "-"), "S": (VERMILION, "--"), "S+noise": (GREEN, "-.")}
"""{algorithm: (colour, line)}."""
DASHED: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.1}
"""How a prediction is drawn."""
RC: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
      "legend.frameon": False, "figure.dpi": 100, "lines.linewidth": 1.6}
"""Matplotlib settings under which every figure is drawn."""
Q = ParamSpec("Q")


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that notebooks show as it is returned, whether or not pyplot has been loaded."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def styled(draw: Callable[Q, Figure]) -> Callable[Q, Figure]:
    """Draw under the house style without changing the user's."""
    @functools.wraps(draw)
    def in_style(*args: Q.args, **kwargs: Q.kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return in_style


def algorithm_style(algorithms: Iterable[str], name: str) -> tuple[str, str]:
    """(colour, line) of an algorithm among `algorithms`: its own or, for one of yours, a spare one."""
    spare = [(PURPLE, "-"), (SKY, "--"), (ORANGE, "-.")]
    others = [n for n in algorithms if n not in ALGORITHM_STYLE]
    return ALGORITHM_STYLE[name] if name in ALGORITHM_STYLE else spare[others.index(name) % len(spare)]


def save_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures by name as PNG into `folder`, made if needed, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=200)
    return [folder / f"{name}.png" for name in figures]
