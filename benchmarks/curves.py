"""Curves that came back from an accelerator as JSON lines, as a folder that everything of lrtheory reads.

    python benchmarks/curves.py benchmarks/results/paper-h200.jsonl FOLDER

Prints the table and the verdict and writes FOLDER with config.json, summary.json, results.zarr and figures, but the one of
images. The first line of the file has the configuration and the environment, each other one an epoch of a run
(`accelerator.py` writes it).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console

from lrtheory import files, labelled
from lrtheory.cli import report
from lrtheory.fields import from_json, to_json
from lrtheory.style import save_figures
from lrtheory.vision import figures, results
from lrtheory.vision.config import Experiment

EACH_RUN = ("diverged_at", "epochs_done")
"""Measurements of which a run has one."""


def read(file: Path) -> xr.Dataset:
    """The dataset that `lrtheory.vision.runs.run` returned there, to six digits."""
    head, *rows = map(json.loads, file.read_text().splitlines())
    config = from_json(json.dumps(head["config"]), Experiment, str(file))
    found = pd.DataFrame(rows).set_index(["algorithm", "seed", "record"]).astype(float).to_xarray()
    found = found.sel(algorithm=list(config.algorithms)).assign_coords(algorithm=labelled.names_of(config.algorithms))
    found = found.assign({name: found[name].isel(record=0) for name in EACH_RUN})
    found["diverged_at"] = found["diverged_at"].fillna(np.inf)
    time = found["time"].isel(algorithm=0, seed=0, drop=True)
    return found.drop_vars(["record", "time"]).assign_coords(time=time.drop_vars("record")).assign_attrs(
        head["environment"] | {"config": to_json(config)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON lines")
    parser.add_argument("folder", type=Path, help="to write, new or empty")
    asked = parser.parse_args()
    found = read(asked.file)
    files.prepare_folder(asked.folder, labelled.config_of(found, Experiment))
    Console(highlight=False, width=120).print(report.cifar_closing(results.save(found, asked.folder)))
    save_figures({"accuracies": lambda: figures.accuracies(found),
                  "before_and_after": lambda: figures.patch_before_and_after(found)}, asked.folder / "figures")


if __name__ == "__main__":
    main()
