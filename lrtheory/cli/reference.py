"""The API reference, built from the docstrings by pdoc: `python -m lrtheory.cli.reference FOLDER`.

Lives here: which modules it covers, and what makes its pages readable. Lives elsewhere: every word of it (the docstrings).
"""

import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import jax.typing

import lrtheory


def build(folder: Path) -> None:
    """Write the reference as HTML pages into a folder, one a module; needs `pip install 'lrtheory[docs]'`.

    For a process of its own, before other modules of the package are imported: signatures say ArrayLike, not its ten types.
    """
    jax.typing.ArrayLike = type("ArrayLike", (), {"__module__": "jax.typing"})
    import pdoc
    import pdoc.render

    for found in pkgutil.walk_packages(lrtheory.__path__, "lrtheory."):
        module = importlib.import_module(found.name)
        explain_fields(module)
        package, _, name = found.name.rpartition(".")
        if name not in getattr(sys.modules[package], "__all__", [name]):
            sys.modules[package].__all__.append(name)  # pdoc lists no others
    for name in lrtheory.__all__:
        getattr(lrtheory, name)  # loaded when first used; pdoc sees what is loaded
    pdoc.render.configure(docformat="google", footer_text=f"lrtheory {importlib.metadata.version('lrtheory')}")
    pdoc.pdoc("lrtheory", output_directory=folder)


def explain_fields(module: ModuleType) -> None:
    """Make the comments behind the fields of a module's NamedTuples (shape, meaning) their docstrings."""
    for kind in vars(module).values():
        fields = getattr(kind, "_fields", ())
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and fields:
            comments = dict(re.findall(r"^    (\w+): [^#\n]*#\s*(.*)$", inspect.getsource(kind), re.M))
            for name in fields:
                getattr(kind, name).__doc__ = comments.get(name, "")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m lrtheory.cli.reference FOLDER: give the folder to write")
    build(Path(sys.argv[1]))
