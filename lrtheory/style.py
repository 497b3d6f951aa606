"""How every figure looks: colours, lines, settings of our own whatever the user's are, and how figures are saved.

Lives here: what the figures of both wings and of sweeps share; `figure=` and `style=` of each. Lives elsewhere: every figure
itself.
"""

import contextlib
import contextvars
import functools
import inspect
import io
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import matplotlib.figure
from matplotlib.colors import to_rgb

from lrtheory.spec import ConfigError, require_choice

# Okabe & Ito (2008): told apart by readers with any colour vision, and in grey by line style.
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, GREY = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
                                                     "#666666")
ALGORITHM_STYLE = {"L-S": (BLUE, "-"), "S": (VERMILION, "--"), "S+noise": (GREEN, "-.")}
"""{algorithm: (colour, line)}."""
DASHED: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 1.1}
"""How a prediction is drawn."""
RC: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
      "legend.frameon": False, "figure.dpi": 100, "lines.linewidth": 1.6, "pdf.fonttype": 42}
"""Matplotlib settings of the style "paper", over its defaults."""
STYLES: dict[str, dict[Any, Any] | None] = {
    "paper": RC,
    "talk": RC | {"font.size": 14, "axes.titlesize": 16, "lines.linewidth": 2.6, "lines.markersize": 9,
                  "axes.linewidth": 1.2},
    "mine": None}
"""{style: its settings}: for a page, for a wall, and whatever the user's rcParams say."""
SCALE = {"paper": 1.0, "talk": 1.4, "mine": 1.0}
"""{style: size of a figure over that for a page}."""
FORMATS = ("png", "pdf", "svg")
"""Endings of files that a figure can be saved as."""


class Undrawn(Exception):
    """Figures that could not be drawn, by name, and why; the others were."""


class Canvas(NamedTuple):
    """What the next figure is drawn on and how."""

    style: str = "paper"
    figure: matplotlib.figure.FigureBase | None = None  # a new one


PAGE = Canvas()
_canvas: contextvars.ContextVar[Canvas] = contextvars.ContextVar("canvas", default=PAGE)


@contextlib.contextmanager
def own_settings(style: str = "paper") -> Iterator[None]:
    """Matplotlib's defaults and a style, not what the user's matplotlibrc says (LaTeX, fonts that are not there).

    The style "mine" leaves everything as it is. Raises `ConfigError` for one that is not in `STYLES`.
    """
    require_choice("style", style, tuple(STYLES))
    settings = STYLES[style]
    with matplotlib.rc_context():
        if settings is not None:
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(settings)
        yield


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that notebooks show as it is returned, whether or not pyplot has been loaded."""

    style: str = "paper"

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save under the settings it was drawn with; the file's ending says the format."""
        with own_settings(self.style):
            super().savefig(*args, **kwargs)

    def show(self, warn: bool = True) -> None:
        """Show it: below the cell of a notebook, else in a window. Raises `ConfigError` where no window can be opened."""
        shell = sys.modules.get("IPython")
        if shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None:
            from IPython.display import display  # pyright: ignore[reportMissingImports]

            display(self)
            return
        import matplotlib.pyplot as plt

        backend = plt.get_backend()
        if backend.lower() in ("agg", "pdf", "svg", "ps", "pgf", "cairo", "template"):
            raise ConfigError(f"figure.show(): matplotlib's backend {backend} opens no windows; must be an interactive one; "
                              "save it (.savefig), or choose one by MPLBACKEND")
        window = plt.figure(figsize=tuple(self.get_size_inches()), dpi=self.dpi).canvas.manager
        window.canvas.figure = self  # pyright: ignore[reportOptionalMemberAccess]
        self.set_canvas(window.canvas)  # pyright: ignore[reportOptionalMemberAccess]
        plt.show()

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def canvas(width: float, height: float) -> Any:
    """What a figure function draws on: the caller's figure, or a new one of so many inches, in the asked style."""
    asked = _canvas.get()
    if asked.figure is not None:
        return asked.figure
    made = Figure(figsize=(SCALE[asked.style] * width, SCALE[asked.style] * height), layout="constrained")
    made.style = asked.style
    return made


class Styled(Protocol):
    """A figure function: what it draws, and on what and how."""

    __name__: str

    def __call__(self, *args: Any, figure: matplotlib.figure.FigureBase | None = None, style: str = "paper",
                 **kwargs: Any) -> Any:
        """Draw, on a figure or subfigure of the caller's if one is given, and return it."""
        ...


def styled(draw: Callable[..., Any]) -> Styled:
    """Give a figure function `figure=` and `style=` ("paper", "talk" or "mine"), and leave the user's settings alone.

    A figure or subfigure of the caller's should have layout="constrained".
    """
    @functools.wraps(draw)
    def in_style(*args: Any, figure: matplotlib.figure.FigureBase | None = None, style: str = "paper", **kwargs: Any) -> Any:
        with own_settings(style):
            token = _canvas.set(Canvas(style, figure))
            try:
                return draw(*args, **kwargs)
            finally:
                _canvas.reset(token)

    in_style.__signature__ = _with_canvas(draw)  # pyright: ignore[reportAttributeAccessIssue]
    return in_style


def _with_canvas(draw: Callable[..., Any]) -> inspect.Signature:
    """The signature of a figure function with what `styled` adds."""
    plain = inspect.signature(draw)
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
             for name, default in (("figure", None), ("style", "paper"))]
    return plain.replace(parameters=[*plain.parameters.values(), *added])


def algorithm_style(algorithms: Iterable[str], name: str) -> tuple[str, str]:
    """(colour, line) of an algorithm among `algorithms`: its own or, for one of yours, a spare one."""
    spare = [(PURPLE, "-"), (SKY, "--"), (ORANGE, "-.")]
    others = [n for n in algorithms if n not in ALGORITHM_STYLE]
    return ALGORITHM_STYLE[name] if name in ALGORITHM_STYLE else spare[others.index(name) % len(spare)]


def dashed(colour: str) -> dict[str, Any]:
    """How the prediction of what has a colour is drawn: dashed, of the same colour, darker."""
    return DASHED | {"color": tuple(0.45 * part for part in to_rgb(colour))}


def wrapped(text: str, inches: float) -> str:
    r"""A label in lines that fit along an axis of so many inches.

    >>> wrapped("test error on P of the runs that did not diverge", 1.5)
    'test error on P of\nthe runs that did\nnot diverge'
    """
    return textwrap.fill(text, max(8, int(13 * inches)), break_long_words=False)


def save_figures(figures: Mapping[str, Callable[[], Figure]], folder: Path, ending: str = "png") -> list[Path]:
    """Draw figures by name, write them as PNG, PDF or SVG into `folder`, made if needed, and return the paths.

    Raises `Undrawn`, after all others are there, for those that cannot be drawn or written, and `ConfigError` for an ending
    that is not in `FORMATS`.
    """
    require_choice("format", ending, FORMATS)
    folder.mkdir(parents=True, exist_ok=True)
    faults: dict[str, Exception] = {}
    for name, draw in figures.items():
        try:
            draw().savefig(folder / f"{name}.{ending}", dpi=200)
        except ConfigError:
            raise
        except Exception as fault:  # of matplotlib, of fonts, of the disk
            faults[name] = fault
    if faults:
        first = next(iter(faults.values()))
        raise Undrawn(f"{', '.join(faults)}: {str(first) or type(first).__name__}")
    return [folder / f"{name}.{ending}" for name in figures]
