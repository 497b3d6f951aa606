"""States of trainings on disk, from which an interrupted one goes on.

Lives here: saving, restoring, whose they are. Lives elsewhere: what a state is (simulate), when it is kept (runs).
"""

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np

from lrtheory import keys
from lrtheory.algorithm import Algorithm, names_of
from lrtheory.fields import differences, parse, read_text, to_json
from lrtheory.files import Damaged, digest, digests, new_folder, read_sealed, remove_written, write_json, write_sealed
from lrtheory.spec import ConfigError
from lrtheory.vision import simulate
from lrtheory.vision.cifar import Images, fingerprint
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import Job

LONGEST = 200
"""Letters of a folder's name."""
CLAIM = "experiment.json"
"""The file that says whose checkpoints a folder holds."""


def claim(folder: Path, config: Experiment, images: Images) -> str:
    """Say in the folder of checkpoints whose they are, and return a digest of it.

    Theirs are the experiment, its images, schedules of your own and how random numbers are made: all that decides the
    numbers. Raises `ConfigError` if the folder holds those of others, or ones of which nothing says whose they are. Those of
    an earlier version lack fields that there were not yet: these had the values that they have by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, tree = folder / CLAIM, json.loads(to_json(config.replace(name="", note="")))
    tree |= {"images": fingerprint(images), "random": keys.described(), "algorithms": list(names_of(config.algorithms)),
             "schedules": {a.name: _schedule(a) for a in config.algorithms if isinstance(a, Algorithm)}}
    tree = json.loads(json.dumps(tree))
    try:
        found = parse(read_text(path), str(path)) if path.exists() else None
        if found is None and any(p.is_dir() for p in folder.iterdir()):
            raise ValueError
    except (OSError, ValueError):
        raise ConfigError(f"{folder}: holds checkpoints of unknown origin ({CLAIM} is missing or damaged); must be of this "
                          "experiment; choose another folder") from None
    if found is not None and _completed(found) != tree:
        differ = "; ".join(differences(found, tree)) if isinstance(found, dict) else f"{CLAIM} is damaged"
        raise ConfigError(f"{folder}: holds checkpoints of another experiment; must be of this one ({differ}); choose "
                          "another folder")
    if found is None:
        write_json(path, tree)
    return digest(found or tree)


def _completed(found: Any, whole: Any = None) -> Any:
    """A claim with the fields that an earlier version did not have, at their defaults."""
    whole = json.loads(to_json(Experiment())) if whole is None else whole
    if not isinstance(found, dict):
        return found
    return whole | {k: _completed(v, whole[k]) if isinstance(whole.get(k), dict) else v for k, v in found.items()}


def _schedule(algorithm: Algorithm) -> dict[str, Any]:
    """The structure of an algorithm's schedules and every number in them, as JSON has them."""
    leaves, structure = jax.tree.flatten_with_path(algorithm)
    return {"structure": str(structure)} | {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{np.asarray(leaf).dtype} {np.asarray(leaf).tolist()}"
        for path, leaf in leaves}


def forget(folder: Path, job: Job, whose: str) -> None:
    """Remove the states of a job within `folder` that their seals say were written for it, and nothing else."""
    where, seals = _places(folder, job)
    for epoch, seal in _own(seals, f"{whose} {job}").items():
        _remove(where, epoch, seal)
        _seal(seals, epoch).unlink()
    for place in (where, seals):
        with contextlib.suppress(OSError):  # it is not there, or something else is in it
            place.rmdir()


def _places(folder: Path, job: Job) -> tuple[Path, Path]:
    """The folders of a job's states and of their seals."""
    name = "-and-".join(f"{quote(name, safe='+')}-seed-{seed}" for name, seed in job.runs)
    name = name if len(name) <= LONGEST else f"{name[:LONGEST - 20]}-{digest(name)[:16]}"  # as file systems have them
    where = (folder / name).absolute()
    return where, where.with_name(where.name + ".seals")


def _seal(seals: Path, epoch: int) -> Path:
    return seals / f"{epoch}.json"


def _sealed(seals: Path, epoch: int) -> dict[str, Any] | None:
    """What the seal of a state says; None where there is none, or it is damaged. Raises `OSError`."""
    try:
        return read_sealed(_seal(seals, epoch))
    except (FileNotFoundError, Damaged):
        return None


def _epochs(folder: Path, ending: str = "") -> list[int]:
    """The epochs by which entries of a folder are called; none behind a link."""
    names = [] if folder.is_symlink() or not folder.is_dir() else [p.name for p in folder.iterdir() if not p.is_symlink()]
    return [int(found[1]) for name in names if (found := re.fullmatch(f"([0-9]{{1,9}}){re.escape(ending)}", name))
            and str(int(found[1])) == found[1]]


def _own(seals: Path, whose: str) -> dict[int, dict[str, Any]]:
    """{epoch: seal} of the states that were written, or begun, for someone."""
    found = {epoch: _sealed(seals, epoch) for epoch in _epochs(seals, ".json")}
    return {epoch: seal for epoch, seal in found.items() if seal is not None and seal.get("whose") == whose}


def _remove(where: Path, epoch: int, seal: dict[str, Any]) -> None:
    """Remove a state, whole or begun, as its seal has it."""
    if not where.is_symlink():
        remove_written(where / str(epoch), seal.get("files"))
        for begun in where.glob(f"{epoch}.orbax-checkpoint-tmp*"):
            remove_written(begun)


class Checkpoints:
    """States of a job on disk: whole or not at all, the latest two (orbax), each with a seal: its files and whose it is.

    A seal without files says that a state was begun. What no seal of this job names was not written here, and is set aside.
    """

    def __init__(self, folder: Path, job: Job, whose: str) -> None:
        """In a folder of the job's own within `folder`; `whose`: the digest that `claim` returned."""
        import orbax.checkpoint as ocp  # takes a second, and only those who keep states need it

        self.args, self.whose = ocp.args, f"{whose} {job}"
        self.where, self.seals = _places(folder, job)
        folder.mkdir(exist_ok=True)  # in the folder that there is: none is made where one was renamed
        self.seals.mkdir(exist_ok=True)
        own = _own(self.seals, self.whose)
        there = _epochs(self.where)
        if strange := [epoch for epoch in there if epoch not in own]:
            aside = new_folder(self.where.with_name(f"{self.where.name}.aside"))
            for epoch in strange:
                (self.where / str(epoch)).rename(aside / str(epoch))
        for epoch in own.keys() - set(there):  # a kill ended it while it was written
            _remove(self.where, epoch, own[epoch])
            _seal(self.seals, epoch).unlink()
        with _quietly():
            self.manager = ocp.CheckpointManager(self.where, options=ocp.CheckpointManagerOptions(
                max_to_keep=2, create=True, enable_async_checkpointing=False))

    def save(self, epoch: int, state: simulate.State, history: dict[str, np.ndarray]) -> None:
        """Keep the state after `epoch` epochs; a rerun after a fault may find it there already."""
        write_sealed(_seal(self.seals, epoch), {"whose": self.whose, "epoch": epoch, "files": None})
        self.manager.save(epoch, args=self.args.StandardSave({"state": jax.tree.leaves(state), "history": history}),
                          force=True)
        write_sealed(_seal(self.seals, epoch), self._contents(epoch))
        for old in _own(self.seals, self.whose):
            if not (self.where / str(old)).exists():
                _seal(self.seals, old).unlink()

    def latest(self, state: simulate.State, history: dict[str, np.ndarray]) -> tuple[int, simulate.State, dict] | None:
        """(epochs, state, history) of the latest whole checkpoint, shaped like those given; None if there is none.

        One that is damaged, or cannot be read, is removed: the one before it counts, or the start. It may be of other
        devices. Raises `OSError` for a file that cannot be read now: nothing is removed.
        """
        leaves, tree = jax.tree.flatten(state)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
                            {"state": leaves, "history": history})
        with _quietly():
            for epoch in sorted(self.manager.all_steps(), reverse=True):
                seal = _sealed(self.seals, epoch)
                if seal is None or seal.get("whose") != self.whose:  # behind a link
                    continue
                found = self._restored(epoch, like) if seal == self._contents(epoch) else None
                if found is not None:
                    kept = {n: np.array(v) for n, v in found["history"].items()}
                    return epoch, jax.tree.unflatten(tree, found["state"]), kept
                self.manager.delete(epoch)
        return None

    def _restored(self, epoch: int, like: Any) -> Any:
        """A checkpoint that is as it was written; None for one that this version of orbax cannot read."""
        try:
            return self.manager.restore(epoch, args=self.args.StandardRestore(like))
        except OSError:
            raise
        except Exception:  # of a type that depends on what it lacks
            return None

    def _contents(self, epoch: int) -> dict[str, Any]:
        """What the seal of a checkpoint says."""
        step = self.where / str(epoch)
        names = sorted(p.relative_to(step).as_posix() for p in step.rglob("*") if p.is_file())
        return {"whose": self.whose, "epoch": epoch, "files": digests(step, names)}

    def close(self) -> None:
        """End its threads."""
        self.manager.close()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the pages that orbax logs of what is damaged."""
    loggers = [logging.getLogger(name) for name in ("absl", "orbax")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
