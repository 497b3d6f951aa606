"""Execute the notebooks whose code has changed, and build the site from pages and executed notebooks.

    python notebooks/pages/build.py                 what has changed, words or code, then the site, into build/site
    python notebooks/pages/build.py --site          the site alone: a minute, no network
    python notebooks/pages/build.py --all           every notebook again
    python notebooks/pages/build.py 00 03           those notebooks
    python notebooks/pages/build.py --measure       every result anew but `cifar-paper`, which needs a GPU: 8 hours
    python notebooks/pages/build.py --measure run-quick verify-conv    those
    python notebooks/pages/build.py --measure --changed verify-conv    of its claims those that say something else by now

Tables of pages are made from stored results, `stored/`. An executed copy keeps the digest of the source that it was made
from, so that outputs older than their code are seen; a test asks that stored results are of the configurations that their
commands run today.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import page_tables
import stored

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parent
ROOT = NOTEBOOKS.parent
EXECUTED = NOTEBOOKS / "executed"


def digest(source: Path) -> str:
    """What a notebook's executed copy must have been made from."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def made_from(source: Path) -> str | None:
    """The digest that an executed copy keeps, or None where there is none."""
    copy = EXECUTED / f"{source.stem}.ipynb"
    return json.loads(copy.read_text())["metadata"]["lrtheory"]["source"] if copy.exists() else None


def reword(source: Path) -> bool:
    """Put a notebook's words of today around the outputs of its executed copy; False where its code is another."""
    import jupytext
    import nbformat

    book, copy = jupytext.read(source), EXECUTED / f"{source.stem}.ipynb"
    if not copy.exists():
        return False
    done = nbformat.read(copy, as_version=4)
    code, run = ([cell.source for cell in b.cells if cell.cell_type == "code"] for b in (book, done))
    if code != run:
        return False
    before = {kind: iter([cell for cell in done.cells if cell.cell_type == kind]) for kind in ("code", "markdown")}
    cells = [next(before[cell.cell_type], cell) for cell in book.cells]
    for cell, today in zip(cells, book.cells, strict=True):
        cell.source = today.source
    done.cells = cells
    done.metadata["lrtheory"]["source"] = digest(source)
    keep(source, nbformat.writes(done))
    return True


def keep(source: Path, text: str) -> None:
    """Write an executed copy, without where the images were on this machine."""
    images = os.environ.get("LRTHEORY_CIFAR10")
    text = text.rstrip()
    (EXECUTED / f"{source.stem}.ipynb").write_text((text.replace(images, "cifar10") if images else text) + "\n")


def execute(source: Path) -> None:
    """Run a notebook from its folder, as a reader would, and keep it with its outputs."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    from lrtheory.provenance import environment

    started = time.time()
    book = jupytext.read(source)
    NotebookClient(book, timeout=3600, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # times of day
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    facts = environment()
    book.metadata["lrtheory"] = {"source": digest(source), "seconds": round(time.time() - started),
                                 **{name: facts[name] for name in ("lrtheory", "jax", "device")}}
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    keep(source, nbformat.writes(book))
    print(f"{source.name}: {time.time() - started:.0f} s", flush=True)


def made() -> None:
    """Write the pages that are made from the code and from stored results."""
    for name, text in page_tables.pages().items():
        (HERE / name).write_text(text)


def site() -> int:
    """The pages, with warnings as errors."""
    made()
    subprocess.run([sys.executable, "-m", "lrtheory.cli.reference", ROOT / "build/api/api"], check=True)
    return subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-c", HERE, NOTEBOOKS,
                           ROOT / "build/site"], check=False).returncode


def main(words: list[str]) -> int:
    """The command."""
    sources = sorted(NOTEBOOKS.glob("*.py"))
    chosen, options = [w for w in words if not w.startswith("-")], {w for w in words if w.startswith("-")}
    measured = "--measure" in options
    known = [*stored.COMMANDS, *stored.SCRIPTS] if measured else [s.name for s in sources]
    odd = [c for c in chosen if not (c in known if measured else any(name.startswith(c) for name in known))]
    if unknown := odd + sorted(options - {"--site", "--all", "--measure", "--changed"}):
        print(f"{' '.join(unknown)}: unknown; must be one of {', '.join(known)}, or an option; see the head of "
              f"{Path(__file__).name}", file=sys.stderr)
        return 2
    if measured:
        if "--changed" in options:
            for name in chosen or [name for name in known if name.startswith("verify-")]:
                stored.again(name)
        else:
            stored.measure(chosen or [name for name in known if name not in stored.ON_A_GPU])
        made()
        return 0
    for source in sources:
        stale = "--all" in options or made_from(source) != digest(source)
        if "--site" in options or not (any(map(source.name.startswith, chosen)) if chosen else stale):
            continue
        if chosen or "--all" in options or not reword(source):
            execute(source)
    return 0 if chosen else site()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
