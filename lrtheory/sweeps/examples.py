"""From how many examples P was learned, at every point of a sweep.

Lives here: the learning curve of each point, put beside its runs. Lives elsewhere: learning curves and their inversion
(theory.examples), the points themselves (grid).
"""

import numpy as np
import xarray as xr

from lrtheory.intervals import Level, require_level
from lrtheory.labelled import as_run, config_of
from lrtheory.sweeps.tables import axes_of
from lrtheory.theory import examples
from lrtheory.theory.config import Config


def effective_examples(runs: xr.Dataset, *, level: Level = 0.95) -> xr.Dataset:
    """From how many examples of P alone each algorithm would have learned P as well, of a run or of every point of a sweep.

    n such that the same network, trained for the same time on n of the run's own examples that carry x1 and on nothing
    else, has the mean error on P that the run has (`lrtheory.theory.examples.learning_curve`): pN for S and (1-q)N for L-S
    in the theorems' limit.

    Args:
      runs: of `lrtheory.run`, `predict`, `sweep` or `load`.
      level: of the intervals over seeds.

    Returns:
      examples, examples_low and examples_high with the sweep's axes and algorithm as dimensions, and p_only and with_x1, the
      two limits. At an end of the curve (a quarter of p_only, with_x1) a number means "at most" or "at least" and has no
      interval.

    Raises:
      ConfigError: no example carries x1.
    """
    require_level(level)
    base, axes = config_of(runs, Config), axes_of(runs)
    shape = tuple(runs.sizes[a] for a in axes)
    names = runs["algorithm"].values.tolist()
    parts = {"examples": "value", "examples_low": "low", "examples_high": "high"}
    found = {name: np.full((*shape, len(names)), np.nan) for name in parts}
    limits = np.zeros((*shape, 2))
    for index in np.ndindex(shape):
        here = runs.isel(dict(zip(axes, index, strict=True))) if axes else runs
        fields = {str(c.attrs["field"]): c.item() for c in here.coords.values() if "field" in c.attrs and c.ndim == 0}
        config = base.replace(**fields)
        with as_run(runs):
            curve = examples.learning_curve(config)
        numbers = examples.effective_examples(here, curve, config=config, level=level)
        few, mixed = config.problem.group_sizes[:2]
        limits[index] = few, few + mixed
        for name, part in parts.items():
            found[name][index] = [getattr(numbers[a], part) for a in names]
    dims = (*axes, "algorithm")
    coords = {c: runs.coords[c] for c in runs.coords if set(map(str, runs.coords[c].dims)) <= set(dims)}
    return xr.Dataset({name: (dims, values, {"units": "1", "long_name": "examples from which P was learned"})
                       for name, values in found.items()}
                      | {name: (tuple(axes), limits[..., k]) for k, name in enumerate(("p_only", "with_x1"))}, coords=coords,
                      attrs={"level": level})
