"""The architecture: every module is in the map, imports only what stands before it, and says what lives there."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from mutations import MUTATIONS

import lrtheory

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lrtheory"
WINGS = ("theory", "vision")
APART = (*WINGS, "custom")
"""Rooms on the ground floor that do not know each other."""
CLAIM = re.compile(r"^PREDICTION = ", re.M)


def rooms() -> list[str]:
    """Dotted names of all modules below lrtheory, in the order of the map in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## How it is laid out")[1].split("\n## ")[0]
    found = []
    for table in re.split(r"\n\n(?=\|)", text)[1:]:
        head, _, *rows = table.strip().splitlines()
        folder = re.search(r"`lrtheory/([\w/]*)`", head)[1]
        for row in rows:
            found += [folder + path for path in re.findall(r"`([\w/]+\.py)`", row.split("|")[1])]
    return [dotted(PACKAGE / path) for path in found]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(p): p for p in sorted(PACKAGE.rglob("*.py")) if p.parent != PACKAGE or not p.stem.startswith("__")}
ORDER = rooms()
FLOORS = {name: FILES[name] for name in FILES if name not in (*APART, "wide", "experiments", "sweeps", "cli")}
"""All modules but the packages that hold nothing but words."""


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, in functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrtheory"):
            base = (node.module or "").removeprefix("lrtheory").removeprefix(".")
            for alias in node.names:
                below = f"{base}.{alias.name}".removeprefix(".")
                found.add(below if below in FILES else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("lrtheory.") for alias in node.names if alias.name.startswith("lrtheory.")}
    return found - {""}


def test_the_map_is_the_tree():
    assert sorted(ORDER) == sorted(FLOORS)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("name", FLOORS)
def test_no_import_goes_up_and_no_wing_knows_the_other(name):
    used = imports(FLOORS[name]) - {name}
    late = [u for u in used if u not in ORDER or ORDER.index(u) > ORDER.index(name)]
    assert not late, late
    here = name.partition(".")[0]
    if here in APART:
        assert not [u for u in used if u.partition(".")[0] in set(APART) - {here}]
    if "." not in name and name != "predictions":
        assert not [u for u in used if "." in u], "the ground floor knows no network"


def test_an_import_that_goes_up_is_seen(tmp_path):
    file = tmp_path / "schedule.py"
    file.write_text("def f():\n    from lrtheory.theory import simulate\n    from lrtheory.vision.runs import run\n")
    assert imports(file) == {"theory.simulate", "vision.runs"}


@pytest.mark.parametrize("name", FILES)
def test_a_module_says_what_lives_there(name):
    text = ast.get_docstring(ast.parse(FILES[name].read_text())) or ""
    assert text
    if not CLAIM.search(FILES[name].read_text()):  # a claim's file says its claim
        assert "Lives here:" in text, name
        assert "Lives elsewhere:" in " ".join(text.split()), name


def test_the_wings_have_the_same_rooms():
    same = {"config", "presets", "simulate", "programs", "runs", "results", "figures"}
    for wing in WINGS:
        assert same <= {name.partition(".")[2] for name in FILES if name.startswith(f"{wing}.")}


@pytest.mark.parametrize("file", sorted([*(ROOT / "notebooks").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]),
                         ids=lambda file: file.name)
def test_what_notebooks_and_benchmarks_import_is_there(file):
    """Their own tests are slow; a name that has moved is seen here."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrtheory"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}"), alias.name
    for words in re.findall(r"\blt((?:\.[A-Za-z_]+)+)", file.read_text()):
        found = lrtheory
        for word in words[1:].split("."):
            if not inspect.ismodule(found):
                break  # of a value's attributes only running it tells
            found = getattr(found, word)


def test_every_fault_on_the_list_can_be_planted():
    """What it replaces stands there once, and its tests are there (`tests/mutations.py` plants them, in hours)."""
    for mutation in MUTATIONS:
        assert (ROOT / "lrtheory" / mutation.file).read_text().count(mutation.old) == 1, mutation.fault
        for test in mutation.tests.split():
            file, _, name = test.partition("::")
            assert f"def {name.partition('[')[0]}" in (ROOT / "tests" / file).read_text(), f"{mutation.fault}: {test}"
