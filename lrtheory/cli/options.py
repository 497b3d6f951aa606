"""What each command of the shell understands: its options, with their words, defaults and places in the help.

Lives here: declarations, and how the words of one option become its value. Lives elsewhere: what the words of a whole line
mean (arguments), what is done with it (main).
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from lrtheory.algorithm import Algorithm, AlgorithmName
from lrtheory.theory.config import Config
from lrtheory.theory.problem import Group
from lrtheory.vision.config import Experiment

REGISTRY = tyro.constructors.ConstructorRegistry()
"""How the words of options become values where tyro has no way of its own."""


@REGISTRY.primitive_rule
def algorithms_from_words(kind: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Algorithms as words: L-S, S, S+noise, or 'NAME: RATE'."""
    if kind.type_origin is not tuple or get_args(kind.type)[:1] != (AlgorithmName | Algorithm,):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*", metavar="[{L-S,S,S+noise} or 'NAME: RATE' ...]",
        instance_from_str=lambda words: tuple(Algorithm.from_text(w) if ":" in w else w for w in words),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [a if isinstance(a, str) else a.in_words() for a in value])


@REGISTRY.primitive_rule
def groups_from_words(kind: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Groups of examples as words: 'NAME: share 0.05, q -1'."""
    if kind.type_origin is not tuple or get_args(kind.type)[:1] != (Group,):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*", metavar="['NAME: share SHARE, p P, q Q' ...]",
        instance_from_str=lambda words: tuple(map(Group.from_text, words)),
        is_instance=lambda value: isinstance(value, tuple), str_from_instance=lambda value: [g.in_words() for g in value])


def shown(metavar: str, default: str = "", name: str | None = None) -> Any:
    """How the help shows an option: what to give, what holds without it in words of ours instead of None, its name."""
    return tyro.conf.arg(name=name, metavar=metavar, help_behavior_hint=f"(default: {default})" if default else "")


Preset = Annotated[str | None, shown("NAME", "quick")]
Source = Annotated[Path | None, shown("FILE")]
Folder = Annotated[Path | None, shown("FOLDER", "runs/NAME-DATE-TIME")]
Own = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("'NAME: RATE'", "none")]
Unfinished = Annotated[Path | None, shown("FOLDER")]
DataDir = Annotated[Path | None,
                    shown("PATH", "what LRTHEORY_CIFAR10 in the environment names, else this user's cache")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WithOwn:
    """What commands understand that train the two-layer network, or what a sweep has."""

    algorithm: Own = ()
    """an algorithm of your own, beside --algorithms; may be given again; clock in units of time (sum of rates), `loss` is
    the excess over q log 2, as eps1:
    --algorithm 'mine: warmup 20 to 0.02, hold until loss 0.21, cosine 100 to 2e-6'
    --algorithm 'late: 0.02 until 300, 2e-6'
    --algorithm 'calm: 2e-6; activation noise 0.3 until loss 0.21, 0; injected noise 1'"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments(_WithOwn):
    """Train the algorithms of a configuration from several seeds and judge the learning order."""

    options: Annotated[Config, tyro.conf.arg(name="")]
    preset: Preset = None
    """where to start from: quick, full, literal, mitigation or phase"""
    config: Source = None
    """a config.json to start from instead of a preset; with nothing else it repeats that run"""
    out: Folder = None
    """folder to write, new or empty"""
    theory: bool = True
    """beside the simulation, what the infinite-width limit predicts for the same data"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sweeping(_WithOwn):
    """What sweeps of either kind understand."""

    axis: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]],
                    shown("NAME=VALUES", "none; --preset phase has axes of its own")] = ()
    """values of a config field, as a list 0.1,0.2 or 'geomspace(1e-5,1,12)' or 'linspace(0,1,5)';
    give it once an axis, for a grid of all combinations"""
    zip: Annotated[tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], shown("NAME=VALUES ...", "none")] = ()
    """fields that change together, as one axis; may be given again"""
    preset: Preset = None
    """where to start from: quick, full, literal, mitigation or phase; or mini, narrow, paper, plain or tiny, whose options
    --preset NAME --help lists"""
    config: Source = None
    """a config.json to start from instead of a preset"""
    out: Annotated[Path | None, shown("FOLDER", "runs/NAME-sweep-DATE-TIME")] = None
    """folder to write, new or empty"""
    resume: Unfinished = None
    """folder of a sweep to finish; nothing else is needed, and what else is given must agree with it"""
    extend: Unfinished = None
    """folder of a sweep to make larger by the values of --axis and to --seeds in all; only what is new is computed"""
    chunk: Annotated[int | None, shown("RUNS", "by memory")] = None
    """most runs of each algorithm at once; the numbers do not depend on it"""
    dry_run: bool = False
    """compile and time each program (a minute or more), print the plan with memory and time, and stop;
    of trainings print how many they are"""
    distributed: bool = False
    """one of several processes, started alike on each host with a folder that all see;
    outside a cluster manager that JAX knows, set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepArguments(_Sweeping):
    """Run every combination of the values of some axes, from every seed, and keep each result as it comes."""

    options: Annotated[Config, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingsArguments(_Sweeping):
    """Train on patched CIFAR-10 at every combination of the values of some axes, and keep each result as it comes."""

    options: Annotated[Experiment, tyro.conf.arg(name="")]
    data_dir: DataDir = None
    """CIFAR-10: a folder with its six files or its archive, or one of these; of a folder that is resumed it is known"""
    download: bool = False
    """fetch CIFAR-10 (170 MB, checksum verified) into this user's cache if it is not there"""


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """Check every prediction of the theory at and around a configuration, with intervals over seeds."""

    options: Annotated[Config, tyro.conf.arg(name="")]
    budget: str = "quick"
    """quick: 11 minutes on two cores (preset phase, 24 seeds); standard: preset quick, 16 seeds; gpu: 256 seeds"""
    setting: str = "block"
    """block: the theorems' own network; conv: every neuron sees both halves; minibatch: batches of 32, eta2/eta1 = 0.03;
    theorem: infinite width at the theorems' own exponents, claims 11 (bound) and 12 (floor)"""
    only: Annotated[tuple[str, ...], shown("NAME ...", "all")] = ()
    """names of predictions to check, as --list prints them"""
    list: bool = False
    """say what each prediction is and how it is judged, and stop"""
    preset: Annotated[str | None, shown("NAME")] = None
    """where to start from instead of a budget: quick, full, literal, mitigation or phase"""
    config: Source = None
    """a config.json to start from instead of a budget"""
    out: Folder = None
    """folder to write, new or empty"""
    resume: Unfinished = None
    """folder of a verification to finish; nothing else is needed, and what else is given must agree with it"""


@dataclasses.dataclass(frozen=True)
class DesignArguments:
    """Find the schedule of a family that ends best within a budget, at infinite width, and judge it with neurons.

    Families: constant, drop, linear, cosine, geometric, inverse-sqrt, wsd, wsd-geometric, or one in words.
    """

    options: Annotated[Config, tyro.conf.arg(name="")]
    family: str = "drop"
    """whose numbers are free: a name, or words with LOW..HIGH for free numbers and durations as shares of the whole:
    --family 'mine: 0.001..0.04 for 0.1..0.9, linear 0.2 to 1e-6'"""
    time: Annotated[float | None, shown("TIME", "the configuration's own")] = None
    """the budget, in units of time (sum of rates)"""
    iterations: Annotated[float | None, shown("N", "none, a time")] = None
    """the budget in iterations instead"""
    peak: Annotated[float | None, shown("RATE", "0.9 of the stability bound")] = None
    """largest rate"""
    objective: Literal["test_error", "test_error_p", "test_loss", "test_loss_p", "train_loss"] = "test_error"
    """what is made least at the end"""
    competitors: tuple[str, ...] = ("constant", "drop", "linear", "cosine", "geometric", "wsd")
    """other families, each at its own best numbers"""
    judges: int = 8
    """fresh seeds on which each family's best is run, at infinite width and with neurons; 0: none"""
    preset: Annotated[str | None, shown("NAME", "phase")] = None
    """where to start from: quick, full, literal, mitigation or phase"""
    config: Source = None
    """a config.json to start from instead of a preset"""
    out: Folder = None
    """folder to write, new or empty"""


@dataclasses.dataclass(frozen=True)
class TheoremArguments:
    """Follow theorems 3.4 and 3.5 at their own exponents over d, or over what else they depend on, at infinite width."""

    study: str = "dimension"
    """dimension: d = 1e2 to 1e40, about a minute on two cores; size: d' from 64 to 1024 at d = 1e18; exponents: of r in d;
    rates: t_blur(eta2)/T_Q at d = 1e30"""
    d: Annotated[tuple[float, ...], shown("D ...", "those of the study")] = ()
    """dimensions of the theorem; size and rates take the first"""
    seeds: Annotated[int | None, shown("SEEDS", "8; size 4 to 16")] = None
    """seeds of each algorithm"""
    kappa: float = 0.5
    """sqrt(d/N)"""
    size: Annotated[int | None, shown("D", "64")] = None
    """d', the dimension in which P is simulated; not of the study of sizes"""
    eps1: float = 0.15
    """L-S anneals at a training loss of eps1 + q log 2"""
    rate_exponent: Annotated[float | None, shown("C", "-2")] = None
    """of eta2/eta1 in d; not of the study of rates"""
    length: float = 5.0
    """of a run, in T_P"""
    out: Annotated[Path | None, shown("FOLDER", "runs/theorem-STUDY-DATE-TIME")] = None
    """folder to write, new or empty"""

    def settings(self) -> dict[str, Any]:
        """What `series.study` takes."""
        given = {"size": self.size, "rate_exponent": self.rate_exponent}
        return {"dimensions": self.d, "seeds": self.seeds, "kappa": self.kappa, "eps1": self.eps1, "length": self.length} | {
            name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class CifarArguments:
    """Train a network on patched CIFAR-10 by a large, a small, and a small rate with activation noise."""

    options: Annotated[Experiment, tyro.conf.arg(name="")]
    preset: Annotated[str | None, shown("NAME", "mini")] = None
    """where to start from: mini (two cores), narrow (two cores, hours), paper or plain (a GPU or TPU), tiny (a check of
    all parts)"""
    config: Source = None
    """a config.json to start from instead of a preset"""
    data_dir: DataDir = None
    """CIFAR-10: a folder with its six files or its archive, or one of these; of a folder that is resumed it is known"""
    download: bool = False
    """fetch CIFAR-10 (170 MB, checksum verified) into this user's cache if it is not there"""
    out: Folder = None
    """folder to write, new or empty"""
    resume: Unfinished = None
    """folder of an interrupted experiment to finish from its checkpoints"""
    algorithm: Own = ()
    """an algorithm of your own, beside --algorithms; may be given again; clock in epochs:
    --algorithm 'mine: warmup 2 to 0.1, hold for 20, cosine 38 to 1e-4'
    --algorithm 'drop: 0.1 until 30, 0.004'
    --algorithm 'calm: 0.004; activation noise 0.4 until 30, 0'"""
    minutes: Annotated[float | None, shown("MINUTES", "until it is done", name="for")] = None
    """end in good order within so many minutes of the start, with what was measured; --resume goes on"""


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """Draw results: a run's figures, a measurement over time, or a sweep as a line over one axis or a heat map over two."""

    folder: tyro.conf.Positional[Path]
    """folder that run, sweep or cifar wrote"""
    figure: Annotated[str | None, shown("NAME", "all of a run")] = None
    """of a run: learning_order, test_error_on_p, directions, noise_and_signal, gap, problem, gates, film (a GIF);
    of cifar: accuracies, before_and_after, paired"""
    y: Annotated[str | None, shown("NAME")] = None
    """measurement to draw, of a run over time, of a sweep over --x; with --z the second axis instead"""
    x: Annotated[str | None, shown("NAME")] = None
    """axis of a sweep, or label of an axis (blur_ratio, T_Q, ...), from left to right"""
    z: Annotated[str | None, shown("NAME", "none, a line")] = None
    """measurement to colour a heat map by"""
    panels: Annotated[str | None, shown("NAME", "none; of heat maps: algorithm")] = None
    """axis of which each value gets a panel"""
    select: Annotated[tuple[str, ...], shown("NAME=VALUE ...")] = ()
    """one value of each axis that the figure does not show"""
    theory: Annotated[Path | None, shown("FOLDER", "none; of a run: its own")] = None
    """folder of a sweep over the same axes with --engine infinite, drawn dashed over a line of a sweep"""
    style: Literal["paper", "talk", "mine"] = "paper"
    """paper: for a page; talk: larger, for a wall; mine: as your matplotlibrc says"""
    format: Annotated[Literal["png", "pdf", "svg"] | None, shown("{png,pdf,svg}", "png")] = None
    """of the files in FOLDER/figures"""
    out: Annotated[Path | None, shown("FILE", "FOLDER/figures/NAME.png")] = None
    """one file to write instead, its format by its ending"""


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write the results of a folder as a tidy table, one row a run."""

    folder: tyro.conf.Positional[Path]
    """folder that run or sweep wrote"""
    to: Path
    """file to write, ending in .csv or .parquet"""
    over_time: bool = False
    """one row a record instead of a run"""


@dataclasses.dataclass(frozen=True)
class CompletionArguments:
    """Print a script that completes commands, options and choices at the tab key.

    lrtheory completion bash > ~/.local/share/bash-completion/completions/lrtheory

    lrtheory completion zsh > ~/.zfunc/_lrtheory    (any folder of $fpath)

    lrtheory completion fish > ~/.config/fish/completions/lrtheory.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """bash, zsh or fish"""


COMMANDS: dict[str, type] = {
    "run": RunArguments, "sweep": SweepArguments, "verify": VerifyArguments, "theorem": TheoremArguments,
    "design": DesignArguments, "cifar": CifarArguments, "plot": PlotArguments, "export": ExportArguments,
    "completion": CompletionArguments}
"""What each command understands."""
