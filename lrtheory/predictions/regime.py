"""The regime of theorems 3.4 and 3.5, kappa -> 0 at their own exponents: the runs by which both are judged.

Lives here: what claims 11 and 12 share. Lives elsewhere: each claim (bound, floor), the configuration (theory.theorem).
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from lrtheory.labelled import config_of
from lrtheory.predictions.base import Need
from lrtheory.spec import ConfigError
from lrtheory.sweeps.tables import axes_of
from lrtheory.theory import linear_readout
from lrtheory.theory.config import Config
from lrtheory.theory.theorem import dimension
from lrtheory.theory.timescales import p_time

KAPPAS = (0.5, 0.5**1.5, 0.25)
"""kappa, with p0 = kappa^2/2 and N/d = 1/kappa^2; eps1 is kappa/4, as P's loss must not hide what order costs, but where S's
constant is asked for: S's loss falls with the training loss it is followed to, so that one is held at the middle kappa's."""
EPSILONS = (0.2, 0.1, 0.05)
"""eps1 at the middle kappa."""
SHARES = (0.15, 0.4)
"""q0 at the middle kappa."""
SIZES = (0.5, 1, 2)
"""d' over the base's own: the dimension in which P is simulated (`theory.theorem`)."""
PATIENCE = 20.0
"""Length of a run in times that P-only examples take alone, T_P (1-q)/p: beyond it a run that has not stopped is cut."""


def at(base: Config, kappa: float, eps1: float, q0: float) -> Config:
    """The base at other numbers: both algorithms stop at a training loss of 2 p eps1, which asks for Q and for P-only.

    L-S anneals where P's loss is eps1/(1-q), so that once Q is fitted its loss is p eps1/(1-q); S is followed to the same
    loss.
    """
    p0 = kappa**2 / 2
    changed = base.replace(records=10, **{"problem.kappa": kappa, "problem.p0": p0, "problem.q0": q0, "training.eps1": eps1,
                                         "training.stop_loss": 2 * p0 * eps1})
    length = PATIENCE * p_time(changed.problem) * (1 - q0) / p0
    return changed.replace(**{"training.step_time": length / base.training.steps})


def needs(base: Config) -> Mapping[str, Need]:
    """L-S and S over kappa, over eps1 and over q0, S over kappa at one eps1, L-S over d' at one d.

    Raises `ConfigError` for a base that is not the theorems'.
    """
    d = dimension(base)
    if d is None:
        raise ConfigError(f"{base.name}: must be a configuration of lrtheory.theorem to be judged in the theorems' own "
                          "regime; say --setting theorem")
    middle, q0 = KAPPAS[1], base.problem.q0
    main = at(base, middle, middle / 4, q0)

    def over(*configs: Config) -> Need:
        fields = ("problem.kappa", "problem.p0", "problem.q0", "training.eps1", "training.stop_loss", "training.step_time")
        return Need(main, ((fields, tuple(tuple(_value(c, f) for f in fields) for c in configs)),))

    def simulated_in(by: float) -> tuple[float, ...]:
        """The fields below, of the same theorem with P in by times as many dimensions; the unit of time is d/d'."""
        training, size = base.training, round(by * base.problem.d)
        by = size / base.problem.d
        changed = base.replace(**{"problem.d": size, "problem.gamma0": size**-0.5, "problem.z_norm": math.sqrt(d / size),
                                  "training.eta1": training.eta1 * by, "training.weight_decay": training.weight_decay / by})
        config = at(changed, middle, middle / 4, q0)
        return tuple(_value(config, f) for f in sizes)

    sizes = ("problem.d", "problem.gamma0", "problem.z_norm", "training.eta1", "training.weight_decay", "training.step_time")
    held = over(*(at(base, k, middle / 4, q0) for k in KAPPAS))
    return {"kappa": over(*(at(base, k, k / 4, q0) for k in KAPPAS)),
            "held": held._replace(config=main.replace(algorithms=("S",))),
            "eps1": over(*(at(base, middle, e, q0) for e in EPSILONS)),
            "q": over(*(at(base, middle, middle / 4, q) for q in SHARES)),
            "size": Need(main.replace(algorithms=("L-S",)), ((sizes, tuple(map(simulated_in, SIZES))),))}


def _value(config: Config, field: str) -> float:
    part, name = field.split(".")
    return getattr(getattr(config, part), name)


def points(runs: xr.Dataset) -> Iterator[tuple[Config, xr.Dataset]]:
    """Each point of a need's axis: its configuration (as far as p, kappa, q and eps1 go) and its runs."""
    base, [axis] = config_of(runs, Config), axes_of(runs)
    for k in range(runs.sizes[axis]):
        here = runs.isel({axis: k})
        fields = {"problem": ("kappa", "p0", "q0"), "training": ("eps1",)}
        yield base.replace(**{f"{part}.{name}": float(here[name]) for part, names in fields.items() for name in names
                              if name in here.coords}), here


def numbers(runs: xr.Dataset, algorithm: str, name: str) -> tuple[np.ndarray, list[Config]]:
    """A test error or loss over the distribution in closed form, (seeds, points), where the runs of an algorithm stopped.

    nan for a run that was cut before it reached the loss at which it was to stop.
    """
    found, configs = [], []
    for config, here in points(runs):
        one = here.sel(algorithm=algorithm)
        values = linear_readout.at_end(config.problem, one)[name].values
        found.append(np.where(np.isfinite(one["stopped_at"].values), values, np.nan))
        configs.append(config)
    return np.stack(found, 1), configs


def both(runs: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray, list[Config]]:
    """`numbers` of S and of L-S."""
    small, configs = numbers(runs, "S", name)
    return small, numbers(runs, "L-S", name)[0], configs


def factor(config: Config) -> float:
    """Kappa log(1/eps1): by which L-S's bound lies below S's, constants aside."""
    return math.sqrt(config.problem.d / config.problem.n_train) * math.log(1 / config.training.eps1)
