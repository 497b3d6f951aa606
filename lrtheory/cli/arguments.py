"""Arguments of the commands, from words to values: --preset, --config, every field of the config, axes, folders.

Lives here: what each command understands. Lives elsewhere: what is done with it (cli).
"""

import argparse
import contextlib
import dataclasses
import datetime
import inspect
import io
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import tyro

from lrtheory.algorithm import Algorithm, AlgorithmName
from lrtheory.cli.help import GROUPS
from lrtheory.cli.help import short as short_help
from lrtheory.fields import read_config, read_text
from lrtheory.files import new_folder, plain_name
from lrtheory.predictions.verify import base_config
from lrtheory.spec import ConfigError
from lrtheory.spec import shown as short
from lrtheory.sweeps.grid import Grid, read_axes
from lrtheory.sweeps.kinds import kind_in
from lrtheory.sweeps.manifest import read_manifest
from lrtheory.sweeps.tables import DERIVED
from lrtheory.theory.config import Config
from lrtheory.theory.measure import described
from lrtheory.theory.presets import AXES, PRESETS, preset
from lrtheory.theory.problem import Group, Problem
from lrtheory.vision import presets as vision
from lrtheory.vision.config import Experiment
from lrtheory.vision.results import SUMMARISED as MEASURED

T = TypeVar("T")
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


@dataclasses.dataclass(frozen=True)
class RunArguments:
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
    algorithm: Own = ()
    """an algorithm of your own, beside --algorithms; may be given again; clock in units of time (sum of rates):
    --algorithm 'mine: warmup 20 to 0.02, hold until loss 0.21, cosine 100 to 2e-6'
    --algorithm 'late: 0.02 until 300, 2e-6'
    --algorithm 'calm: 2e-6; activation noise 0.3 until loss 0.21, 0; injected noise 1'"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sweeping:
    """What sweeps of either kind understand."""

    axis: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]],
                    shown("NAME=VALUES", "none; --preset phase has axes of its own")] = ()
    """values of a config field, as a list 0.1,0.2 or 'geomspace(1e-5,1,12)' or 'linspace(0,1,5)';
    give it once an axis, for a grid of all combinations"""
    zip: Annotated[tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], shown("NAME=VALUES ...", "none")] = ()
    """fields that change together, as one axis; may be given again"""
    algorithm: Own = ()
    """an algorithm of your own, beside --algorithms; may be given again; clock in units of time (sum of rates):
    --algorithm 'mine: warmup 20 to 0.02, hold until loss 0.21, cosine 100 to 2e-6'
    --algorithm 'late: 0.02 until 300, 2e-6'
    --algorithm 'calm: 2e-6; activation noise 0.3 until loss 0.21, 0; injected noise 1'"""
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
    """print the plan, with memory and time, and stop"""
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
    """quick: 5 to 9 minutes on two cores (preset phase, 24 seeds); standard: preset quick, 16 seeds; gpu: 256 seeds"""
    setting: str = "block"
    """block: the theorems' own network; conv: every neuron sees both halves; minibatch: batches of 32, eta2/eta1 = 0.03;
    theorem: infinite width at the theorems' own exponents, claims 11 and 12"""
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
    """dimension: d = 1e2 to 1e40, about 10 minutes on two cores; size: d' from 64 to 1024 at d = 1e18; exponents: of r in d;
    rates: t_blur(eta2)/T_Q at d = 1e30"""
    d: Annotated[tuple[float, ...], shown("D ...", "those of the study")] = ()
    """dimensions of the theorem; size and rates take the first"""
    seeds: Annotated[int | None, shown("SEEDS", "8; size 4 to 16, exponents 3")] = None
    """seeds of each algorithm"""
    kappa: float = 0.5
    """sqrt(d/N)"""
    size: int = 64
    """d', the dimension in which P is simulated"""
    eps1: float = 0.15
    """L-S anneals at a training loss of eps1 + q log 2"""
    rate_exponent: float = -2.0
    """of eta2/eta1 in d"""
    length: float = 5.0
    """of a run, in T_P"""
    out: Annotated[Path | None, shown("FOLDER", "runs/theorem-STUDY-DATE-TIME")] = None
    """folder to write, new or empty"""

    def settings(self) -> dict[str, Any]:
        """What `series.study` takes."""
        return {"dimensions": self.d, "seeds": self.seeds, "kappa": self.kappa, "size": self.size, "eps1": self.eps1,
                "rate_exponent": self.rate_exponent, "length": self.length}


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


def run_arguments(argv: list[str]) -> tuple[Config, Path | None, bool]:
    """The resolved config, the folder if one is named, and whether to predict. Raises `ConfigError`."""
    base = _base(argv)
    found = parse(RunArguments, "run", argv, RunArguments(options=base))
    options = _renamed(_with_own(found.options, found.algorithm), base)
    return options, found.out, found.theory


def verify_arguments(argv: list[str]) -> tuple[VerifyArguments, Path | None]:
    """Arguments with the resolved config, and the folder if one is named. Raises `ConfigError`."""
    first = _first_words(argv)
    if first.budget is not None and (first.preset or first.config) is not None:
        raise ConfigError(f"--budget {first.budget}: give it or --preset or --config; a budget is a configuration, too")
    if first.setting is not None and (first.preset or first.config) is not None:
        raise ConfigError(f"--setting {first.setting}: give it with a budget; with --preset or --config say "
                          "--network.variant conv or --training.batch-size 32")
    budgeted = first.preset is None and first.config is None
    base = base_config(first.budget or "quick", first.setting or "block") if budgeted else _base(argv)
    found = parse(VerifyArguments, "verify", argv, VerifyArguments(options=base))
    found = dataclasses.replace(found, options=_renamed(found.options, base))
    return found, found.out


def design_arguments(argv: list[str]) -> DesignArguments:
    """Arguments with the resolved config. Raises `ConfigError`."""
    first = _first_words(argv)
    base = _base(argv if first.preset is not None or first.config is not None else [*argv, "--preset", "phase"])
    found = parse(DesignArguments, "design", argv, DesignArguments(options=base))
    return dataclasses.replace(found, options=_renamed(found.options, base))


def theorem_arguments(argv: list[str]) -> TheoremArguments:
    """Arguments of the command. Raises `ConfigError`."""
    found = parse(TheoremArguments, "theorem", argv)
    if found.seeds is not None and found.seeds < 2:
        raise ConfigError(f"--seeds {found.seeds}: must be at least 2; errors are over seeds")
    return found


def cifar_arguments(argv: list[str]) -> tuple[CifarArguments, Path | None]:
    """Arguments with the resolved experiment, and the folder to write or finish if one is named. Raises `ConfigError`."""
    first = _first_words(argv)
    given = {f"--{n}": v for n in ("preset", "config", "resume") if (v := getattr(first, n)) is not None}
    if len(given) > 1:
        raise ConfigError(" and ".join(f"{n} {v}" for n, v in given.items()) + ": give one of them")
    source = Path(first.resume) / "config.json" if first.resume is not None else first.config
    base = read_config(source, Experiment) if source is not None else vision.preset(first.preset or "mini")
    found = parse(CifarArguments, "cifar", argv, CifarArguments(options=base), tuple(vision.PRESETS))
    if found.minutes is not None and not found.minutes > 0:
        raise ConfigError(f"--for {found.minutes:g}: must be above 0; give minutes, or leave it out")
    if found.resume is not None and found.out is not None:
        raise ConfigError(f"--resume {found.resume} and --out {found.out}: give one of them")
    found = dataclasses.replace(found, options=_with_own(found.options, found.algorithm))
    if found.resume is not None and found.options != base:
        raise ConfigError(f"--resume {found.resume}: its experiment was another; must be the same; give no options, or "
                          "start anew in another folder")
    found = dataclasses.replace(found, options=_renamed(found.options, base))
    return found, found.resume or found.out


def sweep_arguments(argv: list[str]) -> tuple[SweepArguments | TrainingsArguments, Grid, Path | None]:
    """Arguments, the grid, and the folder to write, finish or extend if one is named. Raises `ConfigError`."""
    first = _first_words(argv)
    taken = first.resume if first.resume is not None else first.extend
    known = read_manifest(Path(taken))[0] if taken is not None else None
    base = known.config if known is not None and first.preset is None and first.config is None else _any_base(argv)
    trained = isinstance(base, Experiment)
    presets = tuple(vision.PRESETS) if trained else (*PRESETS, *vision.PRESETS)
    found = parse(TrainingsArguments, "sweep", argv, TrainingsArguments(options=base), presets) if trained else parse(
        SweepArguments, "sweep", argv, SweepArguments(options=base), presets)
    folders = {f"--{name}": value for name in ("resume", "extend", "out") if (value := getattr(found, name)) is not None}
    if len(folders) > 1:
        raise ConfigError(" and ".join(f"{name} {value}" for name, value in folders.items()) + ": give one of them")
    if found.chunk is not None and found.chunk < 1:
        raise ConfigError(f"--chunk {found.chunk}: must be at least 1; leave it out to have it chosen by memory")
    if found.chunk is not None and trained:
        raise ConfigError(f"--chunk {found.chunk}: trainings are not cut into chunks; leave it out")
    options: Config | Experiment = _with_own(found.options, found.algorithm)
    if found.extend is None:
        options = _renamed(options, base)
    if known is not None and not found.axis and not found.zip:
        grid = Grid(options, known.axes, known.images)
    else:
        chosen = found.axis or (AXES.get(base.name, ()) if not found.zip else ())
        grid = read_axes(options, chosen, found.zip)
    if known is not None and found.extend is not None:
        grid = known.extended(grid)
    return found, grid, next(iter(folders.values()), None)


def plot_arguments(argv: list[str]) -> PlotArguments:
    """Arguments; the help names every measurement. Raises `ConfigError`."""
    return parse(PlotArguments, "plot", argv, note=f" Measurements: {', '.join(described(Problem()))}; "
                 f"of cifar: {', '.join(MEASURED)}; of a sweep, too: {', '.join(DERIVED)}.")


def selections(words: tuple[str, ...]) -> dict[str, str]:
    """{name: value} of "NAME=VALUE" words. Raises `ConfigError`."""
    for word in words:
        if not all(word.partition("=")):
            raise ConfigError(f"--select {word}: must be NAME=VALUE, such as eta_ratio=1e-4")
    return {name.strip(): value.strip() for name, _, value in (word.partition("=") for word in words)}


def parse(kind: type[T], command: str, argv: list[str], default: T | None = None,
          presets: tuple[str, ...] = tuple(PRESETS), note: str = "") -> T:
    """The words as a dataclass of arguments. Raises `ConfigError` with one line for words it does not understand."""
    complaint = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    about = inspect.cleandoc(kind.__doc__ or "") + ("" if default is None else f" Presets: {', '.join(presets)}.") + note
    if command in GROUPS and not {"-h", "--help"}.isdisjoint(argv):
        print(short_help(default, command, about), end="")
        raise SystemExit(0)
    argv = ["--help" if word == "--help-all" else word for word in argv]
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=argv, prog=f"lrtheory {command}", config=(tyro.conf.HelptextFromCommentsOff,),
                            description=about, registry=REGISTRY, **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(one_line(complaint.getvalue(), command)) from None


def one_line(box: str, command: str) -> str:
    """The parser's framed complaint as one line: what is wrong, the nearest options, where to read on."""
    rows = [row.strip("│╭╮╰╯ ").replace("─", "-") for row in box.splitlines()]
    rows = [row for row in rows if row]
    if len(rows) > 1 and set(rows[1]) == {"-"}:
        del rows[1]  # the title's own rule, where the frame is drawn in ASCII
    rule = next((k for k, row in enumerate(rows) if set(row) == {"-"}), len(rows))
    wrong = short(" ".join(rows[1:rule]).rstrip("."), 400)
    near = [row.split()[0] for row in rows[rule:] if row.startswith("--") and set(row) != {"-"}]
    meant = f"; perhaps you meant {' or '.join(near)}" if "Perhaps you meant:" in rows and near else ""
    return f"{wrong}{meant}; see lrtheory {command} --help"


def _first_words(argv: list[str]) -> argparse.Namespace:
    """The options that decide what the others are added to."""
    start = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--preset", "--config", "--resume", "--extend", "--budget", "--setting"):
        start.add_argument(name)
    try:
        return start.parse_known_args(argv)[0]
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; give a value") from None


def _base(argv: list[str]) -> Config:
    """The config that options are added to."""
    first = _first_words(argv)
    if first.preset is not None and first.config is not None:
        raise ConfigError(f"--preset {first.preset} and --config {first.config}: give one of them")
    return read_config(first.config, Config) if first.config is not None else preset(first.preset or "quick")


def _any_base(argv: list[str]) -> Config | Experiment:
    """The config or experiment that options are added to, as the preset's name or what is in the file says."""
    first = _first_words(argv)
    if first.preset in vision.PRESETS and first.config is None:
        return vision.preset(first.preset)
    if first.preset is None and first.config is not None:
        with contextlib.suppress(OSError, ValueError):
            return read_config(first.config, kind_in(read_text(Path(first.config))).config)
    return _base(argv)


def _with_own(options: Any, texts: tuple[str, ...]) -> Any:
    """Options with algorithms of one's own, in words, beside those that they name. Raises `ConfigError`."""
    return options.replace(algorithms=(*options.algorithms, *map(Algorithm.from_text, texts))) if texts else options


def _renamed(options: Any, base: Any) -> Any:
    """Options under a name that says so: a preset that was changed must not pass for the preset."""
    if options == base or options.name != base.name:
        return options
    return options.replace(name=base.name.removesuffix("-changed") + "-changed")


def dated_folder(name: str) -> Path:
    """A new folder below runs/ that is nobody else's, for a command that names none. Raises `ConfigError`."""
    return new_folder(Path("runs") / f"{plain_name(name)}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
