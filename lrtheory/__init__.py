"""lrtheory: a JAX laboratory for the regularisation effect of an initially large learning rate.

Every public name is reachable from here and loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrtheory import predictions as predictions
    from lrtheory import sweeps as sweeps
    from lrtheory import theory as theory
    from lrtheory import vision as vision
    from lrtheory.algorithm import Algorithm as Algorithm
    from lrtheory.devices import use_all_cores as use_all_cores
    from lrtheory.predictions.verify import verify as verify
    from lrtheory.schedule import Schedule as Schedule
    from lrtheory.schedule import anneal_at_loss as anneal_at_loss
    from lrtheory.schedule import constant as constant
    from lrtheory.schedule import scale_by_rate as scale_by_rate
    from lrtheory.schedule import step_decay as step_decay
    from lrtheory.spec import ConfigError as ConfigError
    from lrtheory.sweeps import figures as maps  # noqa: F401
    from lrtheory.sweeps import tables as tables
    from lrtheory.sweeps.course import sweep as sweep
    from lrtheory.sweeps.results import load as load
    from lrtheory.theory import figures as figures
    from lrtheory.theory.config import Config as Config
    from lrtheory.theory.network import Network as Network
    from lrtheory.theory.presets import preset as preset
    from lrtheory.theory.problem import Group as Group
    from lrtheory.theory.problem import Problem as Problem
    from lrtheory.theory.problem import sample as sample
    from lrtheory.theory.results import load_theory as load_theory
    from lrtheory.theory.results import summarise as summarise
    from lrtheory.theory.runs import predict as predict
    from lrtheory.theory.runs import run as run
    from lrtheory.theory.training import Training as Training
    from lrtheory.update import noisy_sgd as noisy_sgd

_HOME = {
    "predict": "theory.runs", "run": "theory.runs", "Config": "theory.config", "use_all_cores": "devices",
    "Network": "theory.network", "preset": "theory.presets", "Group": "theory.problem", "Problem": "theory.problem",
    "sample": "theory.problem", "load": "sweeps.results", "load_theory": "theory.results", "summarise": "theory.results",
    "Algorithm": "algorithm", "Schedule": "schedule", "anneal_at_loss": "schedule", "constant": "schedule",
    "scale_by_rate": "schedule", "step_decay": "schedule", "ConfigError": "spec", "sweep": "sweeps.course",
    "Training": "theory.training", "noisy_sgd": "update", "verify": "predictions.verify",
}
_MODULES = {"figures": "theory.figures", "maps": "sweeps.figures", "predictions": "predictions", "sweeps": "sweeps",
            "tables": "sweeps.tables", "theory": "theory", "vision": "vision"}
__all__ = [*_HOME, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = globals()[name] = getattr(import_module(f"lrtheory.{_HOME[name]}"), name)
        return found
    if name in _MODULES:
        return import_module(f"lrtheory.{_MODULES[name]}")
    raise AttributeError(f"module 'lrtheory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
