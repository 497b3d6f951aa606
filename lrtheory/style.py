"""How every figure looks: colours, lines, settings of our own whatever the user's are, and how figures are saved.

Lives here: what the figures of both wings and of sweeps share. Lives elsewhere: every figure itself.
"""

import contextlib
import functools
import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
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


class Undrawn(Exception):
    """Figures that could not be drawn, by name, and why; the others were."""


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Matplotlib's defaults and `RC`, not what the user's matplotlibrc says (LaTeX, fonts that are not there)."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that notebooks show as it is returned, whether or not pyplot has been loaded."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Under the settings it was drawn with."""
        with own_settings():
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def styled(draw: Callable[Q, Figure]) -> Callable[Q, Figure]:
    """Draw under the house style without changing the user's."""
    @functools.wraps(draw)
    def in_style(*args: Q.args, **kwargs: Q.kwargs) -> Figure:
        with own_settings():
            return draw(*args, **kwargs)

    return in_style


def algorithm_style(algorithms: Iterable[str], name: str) -> tuple[str, str]:
    """(colour, line) of an algorithm among `algorithms`: its own or, for one of yours, a spare one."""
    spare = [(PURPLE, "-"), (SKY, "--"), (ORANGE, "-.")]
    others = [n for n in algorithms if n not in ALGORITHM_STYLE]
    return ALGORITHM_STYLE[name] if name in ALGORITHM_STYLE else spare[others.index(name) % len(spare)]


def wrapped(text: str, inches: float) -> str:
    r"""A label in lines that fit along an axis of so many inches.

    >>> wrapped("test error on P of the runs that did not diverge", 1.5)
    'test error on P of\nthe runs that did\nnot diverge'
    """
    return textwrap.fill(text, max(8, int(13 * inches)), break_long_words=False)


def save_figures(figures: Mapping[str, Callable[[], Figure]], folder: Path) -> list[Path]:
    """Draw figures by name, write them as PNG into `folder`, made if needed, and return the paths.

    Raises `Undrawn`, after all others are there, for those that cannot be drawn or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faults: dict[str, Exception] = {}
    for name, draw in figures.items():
        try:
            draw().savefig(folder / f"{name}.png", dpi=200)
        except Exception as fault:  # of matplotlib, of fonts, of the disk
            faults[name] = fault
    if faults:
        first = next(iter(faults.values()))
        raise Undrawn(f"{', '.join(faults)}: {str(first) or type(first).__name__}")
    return [folder / f"{name}.png" for name in figures]
