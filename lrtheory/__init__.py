"""lrtheory: a JAX laboratory for the regularisation effect of an initially large learning rate.

Every public name is reachable from here and loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrtheory import figures as figures
    from lrtheory import maps as maps
    from lrtheory import predictions as predictions
    from lrtheory import tables as tables
    from lrtheory.batch import predict as predict
    from lrtheory.batch import run as run
    from lrtheory.config import Config as Config
    from lrtheory.devices import use_all_cores as use_all_cores
    from lrtheory.network import Network as Network
    from lrtheory.presets import preset as preset
    from lrtheory.problem import Group as Group
    from lrtheory.problem import Problem as Problem
    from lrtheory.problem import sample as sample
    from lrtheory.results import load as load
    from lrtheory.results import load_theory as load_theory
    from lrtheory.results import summarise as summarise
    from lrtheory.schedule import Algorithm as Algorithm
    from lrtheory.schedule import Schedule as Schedule
    from lrtheory.schedule import anneal_at_loss as anneal_at_loss
    from lrtheory.schedule import constant as constant
    from lrtheory.schedule import scale_by_rate as scale_by_rate
    from lrtheory.schedule import step_decay as step_decay
    from lrtheory.spec import ConfigError as ConfigError
    from lrtheory.sweeping import sweep as sweep
    from lrtheory.training import Training as Training
    from lrtheory.update import noisy_sgd as noisy_sgd
    from lrtheory.verifying import verify as verify

_HOME = {
    "predict": "batch", "run": "batch", "Config": "config", "use_all_cores": "devices", "Network": "network",
    "preset": "presets", "Group": "problem", "Problem": "problem", "sample": "problem", "load": "results",
    "load_theory": "results", "summarise": "results", "Algorithm": "schedule", "Schedule": "schedule",
    "anneal_at_loss": "schedule", "constant": "schedule", "scale_by_rate": "schedule", "step_decay": "schedule",
    "ConfigError": "spec", "sweep": "sweeping", "Training": "training", "noisy_sgd": "update", "verify": "verifying",
}
_MODULES = ("figures", "maps", "predictions", "tables")
__all__ = [*_HOME, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = globals()[name] = getattr(import_module(f"lrtheory.{_HOME[name]}"), name)
        return found
    if name in _MODULES:
        return import_module(f"lrtheory.{name}")
    raise AttributeError(f"module 'lrtheory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
