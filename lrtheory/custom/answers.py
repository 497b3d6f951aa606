"""A folder that answers one question: seeds that are done, kept as they come, and the whole once all are.

Lives here: what `lrtheory.train` and `lrtheory.limit` keep, and when they go on. Lives elsewhere: files as such (files),
what is computed (runs, wide.runs).
"""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory import fields, files, labelled
from lrtheory.provenance import changes, environment
from lrtheory.spec import ConfigError

QUESTION, PARTS = "question.json", "parts"
"""Files in the folder beside those of every run: what it answers, and the seeds that are done."""


def answered(place: Path, question: dict[str, Any], config: Any, compute: Callable[[Path], xr.Dataset]) -> xr.Dataset:
    """The answer in a folder, read, or computed and written. Raises `ConfigError` for a folder of something else.

    Args:
      place: the folder.
      question: what is asked, as JSON.
      config: the same as a configuration.
      compute: makes the answer, keeping seeds in the folder that it is given.
    """
    begun = {QUESTION: files.sealed(question), "config.json": fields.to_json(config)}
    _must_be_ours(place, question, begun)
    with files.locked(place):
        _must_be_ours(place, question, begun)  # as it is now that no other process has it
        for name in (name for name in begun if not (place / name).exists()):
            files.write_whole(place / name, begun[name])
        if (place / files.STORE).is_dir():
            return files.read_dataset(place)
        found = compute(place / PARTS)
        files.write_results(place, found, labelled.summary(found, config, labelled.ends(found), None))
    return found


Keep = Callable[[list[int], dict[str, np.ndarray]], None]
"""(seeds, {name: (algorithms, seeds, ...)}) -> nothing: takes what has been computed of some seeds."""


def every_seed(config: Any, parts: Path | None, compute: Callable[[list[int], Keep], None],
               facts: dict[str, Any]) -> dict[str, np.ndarray]:
    """{name: (algorithms, seeds, ...)} of the seeds of a configuration: kept ones are read, the others computed and kept.

    Args:
      config: has seeds and first_seed.
      parts: the folder in which seeds are kept; None: none.
      compute: (missing seeds, keep) calls keep for each few of them.
      facts: if seeds come from another environment, "joined" says so here; a warning does, too.
    """
    seeds = (config.first_seed + np.arange(config.seeds)).tolist()
    there, notes = ({}, []) if parts is None else kept(parts)

    def keep_each(chunk: list[int], found: dict[str, np.ndarray]) -> None:
        for place, seed in enumerate(chunk):
            there[seed] = {name: values[:, place : place + 1] for name, values in found.items()}
        if parts is not None:
            keep(parts, chunk, found)

    if missing := [seed for seed in seeds if seed not in there]:
        compute(missing, keep_each)
    if notes:
        facts["joined"] = f"seeds were trained elsewhere: {'; '.join(notes)}; numbers may differ from an uninterrupted run's"
        warnings.warn(facts["joined"], stacklevel=5)
    return {name: np.concatenate([there[seed][name] for seed in seeds], axis=1) for name in there[seeds[0]]}


def _must_be_ours(folder: Path, question: dict[str, Any], begun: Mapping[str, str]) -> None:
    """Raise `ConfigError` unless a folder is new, this question's, or one in which its first files were `begun`."""
    if not (folder / QUESTION).is_file():
        return files.require_free(folder, begun=begun)
    try:
        there = files.read_sealed(folder / QUESTION)
    except (OSError, files.Damaged) as error:
        raise ConfigError(f"{folder}: {QUESTION} is damaged ({files.reason(error)}); choose another folder") from None
    if differ := fields.differences(there, question):
        raise ConfigError(f"{folder}: holds the answer to another question; must be the same; {'; '.join(differ)}")


def keep(parts: Path, seeds: list[int], found: dict[str, np.ndarray]) -> None:
    """Write the measurements of some seeds, whole or not at all, with the environment that made them."""
    parts.mkdir(exist_ok=True)
    variables = {name: ([f"{name}/{k}" for k in range(values.ndim)], values)  # no variable's name has a /
                 for name, values in found.items()}
    files.write_store(parts / f"{seeds[0]}-{seeds[-1]}.zarr", xr.Dataset(variables, attrs={
        "seeds": seeds, "environment": json.dumps(environment())}))


def kept(parts: Path) -> tuple[dict[int, dict[str, np.ndarray]], list[str]]:
    """{seed: {name: (algorithms, 1, ...)}} of what was written, and how what made it differed from what is here.

    What is damaged is computed again.
    """
    found: dict[int, dict[str, np.ndarray]] = {}
    notes, now = {}, environment()
    for path in sorted(parts.glob("*.zarr*")) if parts.is_dir() else []:
        try:
            part = files.read_dataset(parts, path.name.removesuffix(".whole"))
        except ConfigError:
            continue
        for place, seed in enumerate(np.atleast_1d(part.attrs["seeds"]).tolist()):
            found[int(seed)] = {str(name): values.values[:, place : place + 1] for name, values in part.items()}
        for name, was, is_now in changes(json.loads(part.attrs.get("environment", json.dumps(now))), now):
            notes[f"{name} was {was} then and is {is_now} now"] = None
    return found, list(notes)
