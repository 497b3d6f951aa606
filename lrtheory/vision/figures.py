"""Figures of the CIFAR-10 experiment: accuracies over epochs, the patch before and after annealing, patched images.

Lives here: one function a figure. Lives elsewhere: how figures look (style), the numbers (results).
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lrtheory import keys
from lrtheory.intervals import student
from lrtheory.labelled import config_of, estimate, undiverged
from lrtheory.style import GREY, Figure, algorithm_style, canvas, save_figures, styled
from lrtheory.vision import patches, simulate
from lrtheory.vision.cifar import CLASSES, Images
from lrtheory.vision.config import Experiment
from lrtheory.vision.results import CHANCE, LEVEL, averaged, moments

TITLES = {"train_accuracy": "training images, as drawn", "accuracy_clean": "clean test images",
          "accuracy_mixed": "test images, drawn as in training", "accuracy_patch_only": "the patch alone"}
"""{measurement: title of its panel}."""


@styled
def accuracies(results: xr.Dataset) -> Figure:
    """Accuracy against epochs under each condition; lines are means, bands 2 standard errors over seeds."""
    shown = [m for m in TITLES if m in results]
    figure = canvas(3.3 * len(shown), 3.3)
    for axis, metric in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        for name in results["algorithm"].values.tolist():
            runs = undiverged(results.sel(algorithm=name))
            if runs.sizes["seed"]:
                _line(axis, results, runs, metric, name)
        for epoch in config_of(results, Experiment).training.anneal_epochs:
            axis.axvline(epoch - 1, color="black", lw=0.7, alpha=0.6)
            if metric == "accuracy_clean":  # lines leave room at the top here
                axis.annotate("annealed", (epoch - 1, 0.98), xycoords=("data", "axes fraction"), xytext=(3, 0),
                              textcoords="offset points", va="top", fontsize="small")
        if metric == "accuracy_patch_only":
            axis.axhline(CHANCE, color=GREY, lw=0.7, ls=":")
        axis.set_title(TITLES[metric])
        axis.set_xlabel("epochs done")
        axis.set_ylim(0, 1)
        axis.margins(x=0)
    axes = figure.axes
    axes[0].set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _line(axis: Axes, results: xr.Dataset, runs: xr.Dataset, metric: str, name: str) -> None:
    colour, line = algorithm_style(results["algorithm"].values.tolist(), name)
    values, epochs = runs[metric].values, runs["time"].values
    mean = values.mean(0)
    axis.plot(epochs, mean, color=colour, ls=line, label=name)
    if len(values) > 1:
        spread = 2 * values.std(0, ddof=1) / np.sqrt(len(values))
        axis.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)


@styled
def patch_before_and_after(results: xr.Dataset) -> Figure:
    """Patch-only and clean accuracy before annealing and at the end, as `results.moments`: points are seeds, bars means."""
    told = list(dict.fromkeys(moments(results).values()))
    shown = [m for m in ("accuracy_patch_only", "accuracy_clean") if m in results]
    figure = canvas(3.6 * len(shown), 3.1)
    for axis, metric in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        names = results["algorithm"].values.tolist()
        for k, name in enumerate(names):
            colour, _ = algorithm_style(results["algorithm"].values.tolist(), name)
            for j, records in enumerate(told):
                values = averaged(undiverged(results.sel(algorithm=name))[metric], records).values
                x, found = k + 0.36 * (j - (len(told) - 1) / 2), estimate(values)
                if found["mean"] is None:
                    continue
                axis.bar(x, found["mean"], 0.33, color=colour, alpha=0.35 if j < len(told) - 1 else 0.85)
                if found["sem"] is not None:
                    axis.errorbar(x, found["mean"], 2 * found["sem"], color="black", lw=1, capsize=2)
                axis.plot(x + np.linspace(-0.08, 0.08, len(values)), values, ".", color="black", ms=3)
        axis.set_xticks(range(len(names)), names)
        axis.set_title(TITLES[metric] + ("\npale: before annealing; full: at the end" if len(told) > 1 else ""))
        axis.set_ylim(0, 1)
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].axhline(CHANCE, color=GREY, lw=0.7, ls=":")
    return figure


@styled
def paired(results: xr.Dataset) -> Figure:
    """Accuracy on clean images at the end, less that of S from the same seed: a dot a seed; mean with Student's interval.

    The interval is at `LEVEL`; seeds in which either run diverged are left out. Without S the last algorithm is subtracted.
    """
    every = results["algorithm"].values.tolist()
    base = "S" if "S" in every else every[-1]
    names = [name for name in every if name != base]
    clean = averaged(results["accuracy_clean"], moments(results).get("end", range(1)))
    clean = clean.where(np.isinf(results["diverged_at"]))
    figure = canvas(1.5 * max(len(names), 1) + 1.8, 3.1)
    axis = figure.subplots()
    labels = []
    for k, name in enumerate(names):
        values = (clean.sel(algorithm=name) - clean.sel(algorithm=base)).values
        values = values[np.isfinite(values)]
        labels.append(f"{name}\n{len(values)} seeds")
        found = student(name, values, LEVEL, (0.0, np.inf), "")
        axis.plot(k + np.linspace(-0.15, 0.15, len(values)), values, "o", color=algorithm_style(every, name)[0], ms=4)
        if np.isfinite(found.low):
            axis.errorbar(k + 0.27, found.value, [[found.value - found.low], [found.high - found.value]], fmt="_",
                          color="black", lw=1, capsize=2)
    axis.axhline(0, color=GREY, lw=0.7, ls=":")
    axis.set_xticks(range(len(names)), labels)
    axis.set_xlim(-0.5, max(len(names), 1) - 0.4)
    axis.set_ylabel(f"clean images, less {base}'s")
    return figure


@styled
def samples(config: Experiment, images: Images) -> Figure:
    """Test images of the first seed as the networks see them: clean, with z + zeta, with z - zeta, and the patch alone."""
    data = simulate.choose(config.replace(n_test=min(200, len(images.test)), n_train=config.training.batch_size), images,
                        config.first_seed)
    first = [int(np.argmax(np.asarray(data.test_classes[0]) == c)) for c in range(len(CLASSES))]
    x, classes = patches.normalise(data.test_images[0][np.array(first)]), jnp.arange(len(CLASSES))
    one = jnp.ones(len(CLASSES))
    rows: dict[str, Any] = {"clean": x}
    if config.patch.share > 0:
        rows |= {"z + ζ": patches.stamp(data.patch, x, classes, one, one),
                 "z − ζ": patches.stamp(data.patch, x, classes, -one, one),
                 "patch only": patches.only(config.patch, data.patch, keys.key(0), x, classes)}
    figure = canvas(9, 1.0 * len(rows) + 0.3)
    axes = figure.subplots(len(rows), len(CLASSES), squeeze=False)
    for row, (label, shown) in zip(axes, rows.items(), strict=True):
        pixels = np.asarray(shown) * np.array(patches.STD) + np.array(patches.MEAN)
        for axis, image, name in zip(row, pixels, CLASSES, strict=True):
            axis.imshow(np.clip(image, 0, 255).astype(np.uint8))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if label == "clean":
                axis.set_title(name, fontsize="small")
        row[0].set_ylabel(label, fontsize="small")
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {"accuracies": accuracies, "before_and_after": patch_before_and_after,
                                             "paired": paired}
"""The figures of an experiment's results, by name."""


def save_all(results: xr.Dataset, config: Experiment, images: Images, folder: Path) -> list[Path]:
    """Write every figure as PNG into `folder`, made if needed, and return the paths."""
    return save_figures({name: functools.partial(draw, results) for name, draw in FIGURES.items()}
                        | {"samples": lambda: samples(config, images)}, folder)
