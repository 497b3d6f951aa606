"""Single neurons: the weights that a run has kept, their gates, and what each says of Q.

Lives here: weights as labelled arrays, and what is read off them. Lives elsewhere: when they are kept (runs), what is
recorded of every run, neurons summed (measure).
"""

from typing import Any

import jax
import numpy as np
import xarray as xr

from lrtheory.devices import free_memory
from lrtheory.labelled import as_run, config_of
from lrtheory.spec import ConfigError, require, require_choice
from lrtheory.theory.config import Config
from lrtheory.theory.network import second_layer
from lrtheory.theory.problem import directions
from lrtheory.theory.simulate import datasets, record_steps

KEEP = ("weights", "final")
"""What `lrtheory.run` can keep: the weights at some records, or at the last alone."""
MOST_KEPT = 41
"""Moments at which weights are kept, at most."""
DIRECTIONS = ("z", "z + zeta", "z - zeta")
"""Q's directions, in the order of `Problem`."""


class Keeper:
    """Collects the states of a run: called as `programs.run_block` calls it."""

    def __init__(self, config: Config, keep: str, runs: int) -> None:
        """What to keep, of `KEEP`, of how many runs; raises `ConfigError` where there is none, or too much of it."""
        require_choice("keep", keep, KEEP)
        require(config.engine != "infinite", "engine", config.engine, "one with neurons where weights are kept",
                "dense, reduced or decoupled")
        self.config, self.only_last = config, keep == "final"
        self.moments: list[tuple[int, Any]] = []
        d, widths = config.problem.d, config.network.widths
        numbers = d * widths[0] + (d if config.engine == "dense" else 2) * sum(widths[1:])
        needed = 2 * 4 * runs * numbers * (1 if self.only_last else min(MOST_KEPT, config.records + 1))
        require(2 * needed <= free_memory(), "keep", keep, f"of what fits into memory (about {needed / 2**30:.2g} GiB)",
                "keep 'final' weights only, fewer seeds or fewer neurons")

    def __call__(self, step: int, state: Any) -> None:
        """The state (points, algorithms, seeds, ...) of the runs at a step; of one point."""
        if self.moments and (self.only_last or self.moments[-1][0] == step):
            self.moments.pop()
        self.moments.append((step, state))

    def variables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Weights as xarray takes them, {name: (dims, values, attributes)}, and the coordinate of the dimension `kept`."""
        steps = record_steps(self.config).tolist()
        found: dict[str, Any] = {}
        names = "wv" if self.config.network.variant == "block" else "u"
        units = {"units": "1", "long_name": "numbers of records"}
        for part in ("signal", "noise"):
            for k, name in enumerate(names):
                values = np.stack([getattr(state, part)[k][0] for _, state in self.moments], axis=2)
                found[f"{part}_{name}"] = (("algorithm", "seed", "kept", f"input_{name}", f"neuron_{name}"), values,
                                           {"units": "1", "long_name": f"{part} part of {name.upper()}"})
        return found, {"kept": ("kept", [steps.index(step) for step, _ in self.moments], units)}


def neurons(runs: xr.Dataset) -> xr.Dataset:
    """What each neuron that reads x2 says of Q, of a run that has kept its weights: `lrtheory.run(config, keep="weights")`.

    Neuron j adds out_j(x) = u_j 1[a_j x >= 0] b_j x to g(x) on x = z, z + zeta, z - zeta; a = b = U for the full network,
    and a = Utilde, b = Ubar for the decoupled one. Its share of the contrast, out_j(z + zeta) + out_j(z - zeta) -
    2 out_j(z), is far below 0 where it knows Q, and not 0 only where its kink lies between the directions. Derived here.

    Returns:
      A dataset with dimensions algorithm, seed, kept (numbers of records), direction, neuron: `output` (sums over neurons to
      g_z, g_plus, g_minus), `gate` (bool), `contrast`, and `second_layer` u (neuron,).

    Raises:
      ConfigError: no weights were kept.

    >>> import lrtheory as lt
    >>> config = lt.preset("phase").replace(seeds=1, records=2, **{"training.steps": 4})
    >>> runs = lt.run(config, keep="final")
    >>> knows = lt.neurons(runs)["contrast"].sel(algorithm="S", seed=0).isel(kept=-1)
    >>> int(knows.argmin("neuron")) in range(512)  # the neuron that knows most of Q
    True
    """
    config = config_of(runs, Config)
    name = "v" if config.network.variant == "block" else "u"
    if f"signal_{name}" not in runs:
        raise ConfigError("runs: no weights in it; must have been kept; lrtheory.run(config, keep='weights')")
    signal, noise = (runs[f"{part}_{name}"].values for part in ("signal", "noise"))
    if config.engine != "dense" and name == "v":  # coordinates along z and zeta
        points = np.broadcast_to(np.asarray(directions(config.problem)), (signal.shape[1], 3, 2))
    else:
        with as_run(runs):
            drawn = jax.jit(datasets)
            points = np.stack([np.asarray(drawn(config, seed)[0].points) for seed in runs["seed"].values.tolist()])
    of_signal, of_noise = (np.einsum("sxi,askij->askxj", points, part) for part in (signal, noise))
    decoupled = config.engine == "decoupled"
    gate = ~((of_noise if decoupled else of_signal + of_noise) < 0)
    u = np.asarray(second_layer(signal.shape[-1]))
    output = np.where(gate, of_signal if decoupled else of_signal + of_noise, 0.0) * u
    dims = ("algorithm", "seed", "kept", "direction", "neuron")
    labels = {n: runs[n] for n in ("algorithm", "seed", "kept")}
    return xr.Dataset(
        {"output": (dims, output, {"units": "1", "long_name": "what a neuron adds to g"}),
         "gate": (dims, gate, {"units": "1", "long_name": "whether a neuron is active"}),
         "contrast": ((*dims[:3], "neuron"), output[..., 1, :] + output[..., 2, :] - 2 * output[..., 0, :],
                      {"units": "1", "long_name": "a neuron's share of the contrast"}),
         "second_layer": (("neuron",), u, {"units": "1", "long_name": "u"})},
        coords=labels | {"direction": list(DIRECTIONS)})
