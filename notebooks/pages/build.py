"""Execute the notebooks that have changed, and build the site from pages and executed notebooks.

    python notebooks/pages/build.py                 what has changed, then the site, into build/site
    python notebooks/pages/build.py --site          the site alone: a minute, no network
    python notebooks/pages/build.py --all           every notebook again
    python notebooks/pages/build.py 00 03           those notebooks

An executed copy keeps the digest of the source that it was made from, so that outputs older than their code are seen.
"""

import dataclasses
import hashlib
import inspect
import json
import subprocess
import sys
import time
import typing
from pathlib import Path

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
    nbformat.write(book, EXECUTED / f"{source.stem}.ipynb")
    print(f"{source.name}: {time.time() - started:.0f} s", flush=True)


def row(*cells: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def tables() -> dict[str, str]:
    """{page: text} of the pages that are made from the code: public names, fields, measurements."""
    import lrtheory
    from lrtheory.spec import meanings
    from lrtheory.theory.measure import described
    from lrtheory.theory.problem import Problem

    names = ["# Public names", "", "Of `import lrtheory as lt`; the API reference has each in full.", "",
             row("name", "what it is"), row("---", "---")]
    for name in sorted(lrtheory.__all__, key=str.lower):
        value = getattr(lrtheory, name)
        names.append(row(f"`lt.{name}`", (inspect.getdoc(value) or "").partition("\n")[0] if inspect.getdoc(value) else ""))
    fields = ["# Fields", "", "Every number and choice of a configuration, as `--problem.d 128` or `config.replace(**{\"problem.d\": 128})`.",
              "Swept fields are numbers that are traced: changing one compiles nothing. Defaults are those of the classes; presets set",
              "most of them."]
    for title, config, parts in parts_of_configs():
        fields += ["", f"## {title}", "", row("field", "default", "", "meaning"), row("---", "---", "---", "---")]
        for prefix, kind in (("", config), *parts):
            for field in dataclasses.fields(kind):
                if field.name in dict(parts):
                    continue
                default = "" if field.default is dataclasses.MISSING else json.dumps(field.default, default=str)
                swept = "" if field.metadata.get("static", True) else "swept"
                name = f"{prefix}.{field.name}" if prefix else field.name
                fields.append(row(f"`{name}`", default, swept, meanings(kind).get(field.name, "")))
    units = ["# Measurements", "", "Of every run, over time or once, as variables of its dataset. `log 2` is 0.693 nat.", "",
             row("name", "units", "meaning"), row("---", "---", "---")]
    units += [row(f"`{name}`", unit, meaning) for name, (unit, meaning) in described(Problem(N=64)).items()]
    return {name: "\n".join(lines) + "\n" for name, lines in (("names.md", names), ("fields.md", fields), ("measurements.md", units))}


def parts_of_configs() -> list[tuple[str, type, list[tuple[str, type]]]]:
    """(title, configuration, its parts by name) of both halves."""
    from lrtheory.theory.config import Config
    from lrtheory.vision.config import Experiment

    def parts(kind: type) -> list[tuple[str, type]]:
        hints = typing.get_type_hints(kind)
        return [(f.name, hints[f.name]) for f in dataclasses.fields(kind) if dataclasses.is_dataclass(hints[f.name])]

    return [("The two-layer network (`lrtheory run`, `sweep`, `verify`)", Config, parts(Config)),
            ("CIFAR-10 (`lrtheory cifar`)", Experiment, parts(Experiment))]


def site() -> int:
    """The pages, with warnings as errors."""
    for name, text in tables().items():
        (HERE / name).write_text(text)
    subprocess.run([sys.executable, "-m", "lrtheory.cli.reference", ROOT / "build/api/api"], check=True)
    return subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-c", HERE, NOTEBOOKS,
                           ROOT / "build/site"], check=False).returncode


def main(words: list[str]) -> int:
    """The command."""
    sources = sorted(NOTEBOOKS.glob("*.py"))
    numbers = [word for word in words if not word.startswith("-")]
    if unknown := [n for n in numbers if not any(s.name.startswith(n) for s in sources)] + [
            w for w in words if w.startswith("-") and w not in ("--site", "--all")]:
        print(f"{' '.join(unknown)}: no such notebook or option; see the head of {Path(__file__).name}", file=sys.stderr)
        return 2
    for source in sources:
        stale = "--all" in words or made_from(source) != digest(source)
        if "--site" not in words and (any(map(source.name.startswith, numbers)) if numbers else stale):
            execute(source)
    return 0 if numbers else site()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
