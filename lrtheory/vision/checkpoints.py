"""States of trainings on disk, from which an interrupted one goes on.

Lives here: saving, restoring, whose they are. Lives elsewhere: what a state is (simulate), when it is kept (runs).
"""

import json
from pathlib import Path

import jax
import numpy as np

from lrtheory.fields import differences, to_json
from lrtheory.files import write_whole
from lrtheory.spec import ConfigError
from lrtheory.vision import simulate
from lrtheory.vision.config import Experiment
from lrtheory.vision.programs import Job


def claim(folder: Path, config: Experiment) -> None:
    """Say in the folder of checkpoints whose they are. Raises `ConfigError` if they are another experiment's."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "experiment.json", to_json(config.replace(name="", note=""))
    if path.exists() and (found := path.read_text()) != text:
        try:
            differ = "; ".join(differences(json.loads(found), json.loads(text)))
        except ValueError:
            differ = "its experiment.json is damaged"
        raise ConfigError(f"{folder}: holds checkpoints of another experiment; must be of this one ({differ}); choose "
                          "another folder")
    write_whole(path, text)


class Checkpoints:
    """States of a job on disk: whole or not at all, the latest two (orbax)."""

    def __init__(self, folder: Path, job: Job) -> None:
        """In a folder of the job's own within `folder`."""
        import orbax.checkpoint as ocp  # takes a second, and only those who keep states need it

        self.args = ocp.args
        where = (folder / str(job).replace(" ", "-")).absolute()
        self.manager = ocp.CheckpointManager(where, options=ocp.CheckpointManagerOptions(
            max_to_keep=2, create=True, enable_async_checkpointing=False))

    def save(self, epoch: int, state: simulate.State, history: dict[str, np.ndarray]) -> None:
        """Keep the state after `epoch` epochs; a rerun after a fault may find it there already."""
        self.manager.save(epoch, args=self.args.StandardSave({"state": jax.tree.leaves(state), "history": history}),
                          force=True)

    def latest(self, state: simulate.State, history: dict[str, np.ndarray]) -> tuple[int, simulate.State, dict] | None:
        """(epochs, state, history) of the latest whole checkpoint, shaped like those given; None if there is none."""
        leaves, tree = jax.tree.flatten(state)
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), {"state": leaves, "history": history})
        for epoch in sorted(self.manager.all_steps(), reverse=True):
            try:
                found = self.manager.restore(epoch, args=self.args.StandardRestore(like))
            except Exception:  # damaged, in whatever way: the one before it, or from the start
                self.manager.delete(epoch)
                continue
            return epoch, jax.tree.unflatten(tree, found["state"]), {n: np.array(v) for n, v in found["history"].items()}
        return None

    def close(self) -> None:
        """End its threads."""
        self.manager.close()
