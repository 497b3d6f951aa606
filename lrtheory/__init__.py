"""lrtheory: a JAX laboratory for the regularisation effect of an initially large learning rate.

Every public name is reachable from here and loaded when first used.
"""

from typing import TYPE_CHECKING

from lrtheory.lazy import on_demand

if TYPE_CHECKING:
    from lrtheory import predictions as predictions
    from lrtheory import style as style
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
    from lrtheory.sweeps import tables as tables
    from lrtheory.sweeps.course import sweep as sweep
    from lrtheory.sweeps.examples import effective_examples as effective_examples
    from lrtheory.sweeps.results import load as load
    from lrtheory.theory import figures as figures
    from lrtheory.theory.config import Config as Config
    from lrtheory.theory.examples import learning_curve as learning_curve
    from lrtheory.theory.network import Network as Network
    from lrtheory.theory.presets import preset as preset
    from lrtheory.theory.problem import Group as Group
    from lrtheory.theory.problem import Problem as Problem
    from lrtheory.theory.problem import sample as sample
    from lrtheory.theory.results import load_theory as load_theory
    from lrtheory.theory.results import summarise as summarise
    from lrtheory.theory.runs import predict as predict
    from lrtheory.theory.runs import run as run
    from lrtheory.theory.theorem import theorem as theorem
    from lrtheory.theory.training import Training as Training
    from lrtheory.update import noisy_sgd as noisy_sgd

_HOMES = {
    "run": "theory.runs", "predict": "theory.runs", "summarise": "theory.results", "load_theory": "theory.results",
    "Config": "theory.config", "preset": "theory.presets", "Problem": "theory.problem", "Group": "theory.problem",
    "sample": "theory.problem", "theorem": "theory.theorem",
    "learning_curve": "theory.examples", "effective_examples": "sweeps.examples",
    "Network": "theory.network", "Training": "theory.training",
    "Algorithm": "algorithm", "Schedule": "schedule", "constant": "schedule", "step_decay": "schedule",
    "anneal_at_loss": "schedule", "scale_by_rate": "schedule", "noisy_sgd": "update", "ConfigError": "spec",
    "use_all_cores": "devices", "sweep": "sweeps.course", "load": "sweeps.results", "verify": "predictions.verify",
}
_MODULES = {"figures": "theory.figures", "style": "style", "tables": "sweeps.tables", "predictions": "predictions",
            "sweeps": "sweeps", "theory": "theory", "vision": "vision"}
__all__ = [*_HOMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, _MODULES | {"maps": "sweeps.figures"}, _HOMES)  # maps: what sweeps.figures was called


def __dir__() -> list[str]:
    return sorted(__all__)
