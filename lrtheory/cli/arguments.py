"""The words of a command's line as values: options upon a preset or a file, axes, folders.

Lives here: what is added to what, which options exclude each other, complaints in one line. Lives elsewhere: which options
there are (options), what is done with them (main).
"""

import argparse
import contextlib
import dataclasses
import datetime
import inspect
import io
import re
from pathlib import Path
from typing import Any, TypeVar

import tyro

from lrtheory.algorithm import Algorithm
from lrtheory.cli.help import GROUPS
from lrtheory.cli.help import short as short_help
from lrtheory.cli.options import (
    REGISTRY,
    CifarArguments,
    DesignArguments,
    PlotArguments,
    RunArguments,
    SweepArguments,
    TheoremArguments,
    TrainingsArguments,
    VerifyArguments,
)
from lrtheory.experiments.kinds import kind_in
from lrtheory.fields import given_over, read_config, read_text
from lrtheory.files import new_folder, plain_name
from lrtheory.predictions import verify as verifying
from lrtheory.spec import ConfigError
from lrtheory.spec import shown as short
from lrtheory.sweeps.grid import Grid, read_axes
from lrtheory.sweeps.manifest import read_manifest
from lrtheory.sweeps.tables import DERIVED
from lrtheory.theory.config import Config
from lrtheory.theory.measure import described
from lrtheory.theory.presets import AXES, PRESETS, preset
from lrtheory.theory.problem import Problem
from lrtheory.vision import presets as vision
from lrtheory.vision.config import Experiment
from lrtheory.vision.results import SUMMARISED as MEASURED

T = TypeVar("T")


def run_arguments(argv: list[str]) -> tuple[Config, Path | None, bool]:
    """The resolved config, the folder if one is named, and whether to predict. Raises `ConfigError`."""
    base = _base(argv)
    found = parse(RunArguments, "run", argv, RunArguments(options=base))
    options = _renamed(_with_own(found.options, found.algorithm), base)
    return options, found.out, found.theory


def verify_arguments(argv: list[str]) -> tuple[VerifyArguments, Path | None]:
    """Arguments with the resolved config, and the folder if one is named. Raises `ConfigError`."""
    first = _first_words(argv)
    if first.resume is not None:
        return _resumed_verification(argv, first)
    if first.budget is not None and (first.preset or first.config) is not None:
        raise ConfigError(f"--budget {first.budget}: give it or --preset or --config; a budget is a configuration, too")
    if first.setting is not None and (first.preset or first.config) is not None:
        raise ConfigError(f"--setting {first.setting}: give it with a budget; with --preset or --config say "
                          "--network.variant conv or --training.batch-size 32")
    budgeted = first.preset is None and first.config is None
    base = verifying.base_config(first.budget or "quick", first.setting or "block") if budgeted else _base(argv)
    found = parse(VerifyArguments, "verify", argv, VerifyArguments(options=base))
    found = dataclasses.replace(found, options=_renamed(found.options, base))
    return found, found.out


def _resumed_verification(argv: list[str], first: argparse.Namespace) -> tuple[VerifyArguments, Path]:
    """The arguments that a folder was begun with. Raises `ConfigError` where others are given."""
    others = [f"--{n} {v}" for n in ("budget", "setting", "preset", "config") if (v := getattr(first, n)) is not None]
    if others:
        raise ConfigError(" and ".join([*others, f"--resume {first.resume}"]) + ": give one of them")
    base, names = verifying.resumed(Path(first.resume))
    found = parse(VerifyArguments, "verify", argv, VerifyArguments(options=base))
    if found.out is not None:
        raise ConfigError(f"--resume {found.resume} and --out {found.out}: give one of them")
    if found.options != base or (found.only and set(found.only) != set(names)):
        raise ConfigError(f"--resume {found.resume}: its configuration or its claims were others; must be the same; give no "
                          "options, or start anew in another folder")
    return dataclasses.replace(found, only=tuple(names)), Path(first.resume)


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
    if first.resume is not None and not Path(source).is_file():
        raise ConfigError(f"--resume {first.resume}: no experiment to be found there; must be a folder that lrtheory cifar "
                          "has begun; correct it")
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
        if not grid.axes and known is None:
            command = "cifar" if trained else "run"
            raise ConfigError(f"--axis: no axis; must be at least one; give --axis NAME=VALUES or --zip, or say lrtheory "
                              f"{command} for one configuration")
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
    wrong = " ".join(rows[1:rule]).rstrip(".")
    if found := re.match(r"Error parsing (\S+): .*?\b(INT|FLOAT|int|float)\b.*?'(.*?)'", wrong):  # what is no number
        option, kind, given = found.groups()
        wrong = f"{option} {given}: must be a {'whole ' * (kind.lower() == 'int')}number"
    wrong = short(wrong, 400)
    near = [row.split()[0] for row in rows[rule:] if row.startswith("--") and set(row) != {"-"}][:NEAREST]
    meant = f"; perhaps you meant {' or '.join(near)}" if "Perhaps you meant:" in rows and near else ""
    return f"{wrong}{meant}; see lrtheory {command} --help"


NEAREST = 3
"""Options that are named where one is not known."""


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
    """Options under a name that says so: a preset that was changed must not pass for the preset.

    What was given takes back what the preset gives in another way, such as N and kappa.
    """
    options = given_over(options, base)
    if options == base or options.name != base.name:
        return options
    return options.replace(name=base.name.removesuffix("-changed") + "-changed")


def dated_folder(name: str) -> Path:
    """A new folder below runs/ that is nobody else's, for a command that names none. Raises `ConfigError`."""
    return new_folder(Path("runs") / f"{plain_name(name)}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
