"""lrtheory: a JAX laboratory for the regularisation effect of an initially large learning rate.

Every public name is reachable from here and loaded when first used.
"""

from typing import TYPE_CHECKING

from lrtheory.lazy import on_demand

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lrtheory import algorithm as algorithm
    from lrtheory import custom as custom
    from lrtheory import devices as devices
    from lrtheory import experiments as experiments
    from lrtheory import fields as fields
    from lrtheory import files as files
    from lrtheory import intervals as intervals
    from lrtheory import keys as keys
    from lrtheory import labelled as labelled
    from lrtheory import leaps as leaps
    from lrtheory import linalg as linalg
    from lrtheory import noise as noise
    from lrtheory import optimal as optimal
    from lrtheory import predictions as predictions
    from lrtheory import processes as processes
    from lrtheory import progress as progress
    from lrtheory import provenance as provenance
    from lrtheory import schedule as schedule
    from lrtheory import spec as spec
    from lrtheory import stacking as stacking
    from lrtheory import stages as stages
    from lrtheory import stopping as stopping
    from lrtheory import style as style
    from lrtheory import sweeps as sweeps
    from lrtheory import theory as theory
    from lrtheory import update as update
    from lrtheory import vision as vision
    from lrtheory import wide as wide
    from lrtheory import wording as wording
    from lrtheory.algorithm import Algorithm as Algorithm
    from lrtheory.custom.config import Balanced as Balanced
    from lrtheory.custom.models import Model as Model
    from lrtheory.custom.models import logistic as logistic
    from lrtheory.custom.models import softmax as softmax
    from lrtheory.custom.models import squared as squared
    from lrtheory.custom.runs import train as train
    from lrtheory.devices import use_all_cores as use_all_cores
    from lrtheory.experiments.results import save as save
    from lrtheory.experiments.results import summarise as summarise
    from lrtheory.labelled import at_times as at_times
    from lrtheory.optimal.design import design as design
    from lrtheory.predictions.verify import verify as verify
    from lrtheory.schedule import Schedule as Schedule
    from lrtheory.schedule import Stage as Stage
    from lrtheory.schedule import anneal_at_loss as anneal_at_loss
    from lrtheory.schedule import constant as constant
    from lrtheory.schedule import cosine as cosine
    from lrtheory.schedule import cyclic as cyclic
    from lrtheory.schedule import geometric as geometric
    from lrtheory.schedule import inverse_sqrt as inverse_sqrt
    from lrtheory.schedule import linear as linear
    from lrtheory.schedule import restarts as restarts
    from lrtheory.schedule import scale_by_rate as scale_by_rate
    from lrtheory.schedule import step_decay as step_decay
    from lrtheory.schedule import warmup as warmup
    from lrtheory.schedule import wsd as wsd
    from lrtheory.spec import ConfigError as ConfigError
    from lrtheory.sweeps import tables as tables
    from lrtheory.sweeps.course import sweep as sweep
    from lrtheory.sweeps.examples import effective_examples as effective_examples
    from lrtheory.sweeps.results import load as load
    from lrtheory.theory import config as config
    from lrtheory.theory import engines as engines
    from lrtheory.theory import figures as figures
    from lrtheory.theory import html as html
    from lrtheory.theory import kernel as kernel
    from lrtheory.theory import kinks as kinks
    from lrtheory.theory import measure as measure
    from lrtheory.theory import network as network
    from lrtheory.theory import presets as presets
    from lrtheory.theory import problem as problem
    from lrtheory.theory import programs as programs
    from lrtheory.theory import results as results
    from lrtheory.theory import room as room
    from lrtheory.theory import runs as runs
    from lrtheory.theory import simulate as simulate
    from lrtheory.theory import timescales as timescales
    from lrtheory.theory import training as training
    from lrtheory.theory import weights as weights
    from lrtheory.theory.config import Config as Config
    from lrtheory.theory.examples import learning_curve as learning_curve
    from lrtheory.theory.network import Network as Network
    from lrtheory.theory.presets import preset as preset
    from lrtheory.theory.problem import Data as Data
    from lrtheory.theory.problem import Group as Group
    from lrtheory.theory.problem import Problem as Problem
    from lrtheory.theory.problem import contrast as contrast
    from lrtheory.theory.problem import q_test_error as q_test_error
    from lrtheory.theory.problem import sample as sample
    from lrtheory.theory.problem import sample_test as sample_test
    from lrtheory.theory.results import load_theory as load_theory
    from lrtheory.theory.runs import predict as predict
    from lrtheory.theory.runs import run as run
    from lrtheory.theory.theorem import theorem as theorem
    from lrtheory.theory.timescales import conditions as conditions
    from lrtheory.theory.training import Training as Training
    from lrtheory.theory.weights import neurons as neurons
    from lrtheory.update import noisy_sgd as noisy_sgd
    from lrtheory.wide.runs import limit as limit
    from lrtheory.wide.timescales import learning_times as learning_times
    from lrtheory.wording import schedule_from as schedule_from

_HOMES = {
    "run": "theory.runs", "predict": "theory.runs", "summarise": "experiments.results", "save": "experiments.results",
    "load_theory": "theory.results", "neurons": "theory.weights", "conditions": "theory.timescales",
    "Config": "theory.config", "preset": "theory.presets", "Problem": "theory.problem", "Group": "theory.problem",
    "Data": "theory.problem", "sample": "theory.problem", "sample_test": "theory.problem",
    "q_test_error": "theory.problem", "contrast": "theory.problem", "Network": "theory.network",
    "Training": "theory.training", "Algorithm": "algorithm", "schedule_from": "wording",
    **dict.fromkeys(("Schedule", "Stage", "constant", "step_decay", "anneal_at_loss", "warmup", "linear", "cosine",
                     "geometric", "inverse_sqrt", "wsd", "cyclic", "restarts", "scale_by_rate"), "schedule"),
    "noisy_sgd": "update", "ConfigError": "spec", "use_all_cores": "devices", "sweep": "sweeps.course",
    "load": "sweeps.results", "verify": "predictions.verify", "at_times": "labelled",
    "train": "custom.runs", "Model": "custom.models", "Balanced": "custom.config", "logistic": "custom.models",
    "softmax": "custom.models", "squared": "custom.models", "limit": "wide.runs",
    "learning_times": "wide.timescales", "design": "optimal.design", "theorem": "theory.theorem",
    "learning_curve": "theory.examples", "effective_examples": "sweeps.examples",
}
_GROUND = (
    "algorithm", "devices", "fields", "files", "intervals", "keys", "labelled", "leaps", "linalg", "noise", "processes",
    "progress", "provenance", "schedule", "spec", "stacking", "stages", "stopping", "style", "update", "wording", "custom",
    "experiments", "optimal", "predictions", "sweeps", "theory", "vision", "wide")
_THEORY = (
    "config", "engines", "examples", "figures", "html", "kernel", "kinks", "linear_readout", "measure", "network", "presets",
    "problem", "programs", "results", "room", "runs", "sharpness", "simulate", "timescales", "training", "weights")
_MODULES = {name: name for name in _GROUND} | {name: f"theory.{name}" for name in _THEORY} | {"tables": "sweeps.tables"}
__all__ = [*_HOMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__ = on_demand(__name__, _MODULES | {"maps": "sweeps.figures"}, _HOMES)  # maps: what sweeps.figures was called


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
