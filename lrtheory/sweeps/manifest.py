"""Which sweep a folder holds: everything that determines its numbers, sealed, with a copy.

Lives here: writing, reading and comparing it. Lives elsewhere: the numbers (store), whether a folder may be taken (folder).
"""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from lrtheory import fields, files, keys
from lrtheory.experiments.kinds import kind_in
from lrtheory.fields import from_json, to_json
from lrtheory.files import Damaged, read_sealed, write_sealed
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import Grid, make_grid
from lrtheory.sweeps.plan import Cut

MANIFEST = "sweep.json"
"""What a folder has to be that of a sweep."""
SEALS = "seals"
"""The folder of seals, with a copy of the manifest."""
UNSAID = ("name", "note")
"""Fields that no number depends on."""


def describe(grid: Grid, cut: Cut | None) -> dict[str, Any]:
    """The manifest: everything that determines the numbers, and how they are cut."""
    tree: dict[str, Any] = {"config": json.loads(to_json(grid.config)), "random": keys.described(),
                            "axes": [{"fields": list(a.fields), "values": [list(v) for v in a.values]} for a in grid.axes]}
    tree |= {} if grid.images is None else {"images": grid.images}
    return json.loads(json.dumps(tree | ({} if cut is None else {"chunk": {"axes": list(cut.axes), "seeds": cut.seeds}})))


def write_manifest(folder: Path, grid: Grid, cut: Cut | None) -> None:
    """Write the manifest, whole or not at all, and a copy. Raises `OSError` where the disk does not take it."""
    write_tree(folder, describe(grid, cut))


def write_tree(folder: Path, tree: dict[str, Any]) -> None:
    """Write the tree of a manifest, likewise."""
    (folder / SEALS).mkdir(exist_ok=True)
    for where in (folder, folder / SEALS):
        write_sealed(where / MANIFEST, tree)


def read_manifest(folder: Path) -> tuple[Grid, Cut | None]:
    """The grid of a sweep folder, and how it was cut if that is decided. Raises `ConfigError`."""
    path = folder / MANIFEST
    tree = read_tree(folder)
    try:
        text = json.dumps(tree["config"])
        config = from_json(text, kind_in(text).config, str(path))
        axes: dict[Any, list[Any]] = {tuple(a["fields"]): [
            tuple(tuple(part) if isinstance(part, list) else part for part in v) for v in a["values"]] for a in tree["axes"]}
        if len(axes) < len(tree["axes"]):
            raise Damaged("an axis comes twice")
        cut = tree.get("chunk")
        grid = dataclasses.replace(make_grid(config, axes), images=tree.get("images"))
        grid.must_be_few()
        if cut is not None and not (len(cut["axes"]) == len(axes) and all(
                type(n) is int and 0 < n <= most for n, most in
                zip((*cut["axes"], cut["seeds"]), (*grid.shape, grid.config.seeds), strict=True))):
            raise Damaged("its chunks are impossible")
        return grid, Cut(tuple(cut["axes"]), cut["seeds"]) if cut is not None else None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(f"{path}: damaged ({files.reason(error)}); restore it, or start anew in another folder") from None


def read_tree(folder: Path) -> dict[str, Any]:
    """The tree of a manifest that is as it was written. Raises `ConfigError`."""
    path, copy = folder / MANIFEST, folder / SEALS / MANIFEST
    try:
        if not path.exists() or copy.parent.exists():
            return read_sealed(path)
        tree = fields.parse(fields.read_text(path), str(path))  # written by an earlier version, without a digest
        if not isinstance(tree, dict):
            raise Damaged("no manifest")
        return tree
    except OSError as error:
        raise ConfigError(f"{folder}: no sweep to be found there ({path.name}: {error.strerror}); give a folder that "
                          "lrtheory sweep wrote") from None
    except ValueError as error:
        remedy = "restore it, or start anew in another folder"
        with contextlib.suppress(OSError, ValueError):
            read_sealed(copy)
            remedy = f"its copy is whole: cp {copy} {path}"
        raise ConfigError(f"{path}: damaged ({files.reason(error)}); {remedy}") from None


def is_sealed(folder: Path) -> bool:
    """Whether a sweep's folder has seals; those of earlier versions have none."""
    return (folder / SEALS).is_dir()


def differences(grid: Grid, other: Grid) -> list[str]:
    """What tells two sweeps apart, a line a field: "training.eta1: 0.02 in the folder, 0.03 asked for"."""
    def facts(grid: Grid) -> dict[str, Any]:
        tree = _numbers(grid, None)
        axes = {"axis " + "+".join(a["fields"]): a["values"] for a in tree["axes"]}
        return tree["config"] | axes | {"order of the axes": list(grid.dims), "images": grid.images}

    return fields.differences(facts(grid), facts(other))


def random_differences(folder: Path) -> list[str]:
    """What tells apart how random numbers were made in a folder and would be here, likewise."""
    here = keys.described()
    return fields.differences({"random numbers": read_tree(folder).get("random", here)}, {"random numbers": here})


def _numbers(grid: Grid, cut: Cut | None) -> dict[str, Any]:
    """The manifest without what no number depends on."""
    return describe(dataclasses.replace(grid, config=grid.config.replace(**dict.fromkeys(UNSAID, ""))), cut)
