"""Arguments that every command understands: --preset, --config, --seeds, --out, and every field of the config.

Lives here: from words to a `Config` and a folder. Lives elsewhere: what is done with them (cli).
"""

import argparse
import contextlib
import dataclasses
import datetime
import io
from pathlib import Path
from typing import Annotated

import tyro

from lrtheory.config import Config, read_config
from lrtheory.presets import PRESETS, preset
from lrtheory.spec import ConfigError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train the algorithms of a configuration from several seeds and judge the learning order."""

    options: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """where to start from: quick (default), full, literal or mitigation"""
    config: Path | None = None
    """a config.json to start from instead of a preset; with nothing else it repeats that run"""
    out: Path | None = None
    """folder to write, new or empty (default: runs/NAME-DATE-TIME)"""


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The resolved config and the folder to write. Raises `ConfigError` for anything it does not understand."""
    start = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    start.add_argument("--preset")
    start.add_argument("--config")
    first, _ = start.parse_known_args(argv)
    if first.preset is not None and first.config is not None:
        raise ConfigError(f"--preset {first.preset} and --config {first.config}: give one of them")
    base = read_config(first.config) if first.config is not None else preset(first.preset or "quick")
    default = Arguments(options=base)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            found = tyro.cli(Arguments, args=argv, default=default, prog="lrtheory run",
                             config=(tyro.conf.HelptextFromCommentsOff,),
                             description=f"{Arguments.__doc__} Presets: {', '.join(PRESETS)}.")
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(one_line(complaint.getvalue())) from None
    options = found.options
    if options != base and options.name == base.name:  # a preset that was changed must not pass for the preset
        options = options.replace(name=base.name.removesuffix("-changed") + "-changed")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return options, found.out if found.out is not None else Path("runs") / f"{options.name}-{now}"


def one_line(box: str) -> str:
    """The parser's framed complaint as one line: what is wrong, the nearest options, where to read on."""
    rows = [row.strip("│╭╮╰╯ ").replace("─", "-") for row in box.splitlines()]
    rows = [row for row in rows if row]
    if len(rows) > 1 and set(rows[1]) == {"-"}:
        del rows[1]  # the title's own rule, where the frame is drawn in ASCII
    rule = next((k for k, row in enumerate(rows) if set(row) == {"-"}), len(rows))
    wrong = " ".join(rows[1:rule]).rstrip(".")
    near = [row.split()[0] for row in rows[rule:] if row.startswith("--") and set(row) != {"-"}]
    meant = f"; perhaps you meant {' or '.join(near)}" if "Perhaps you meant:" in rows and near else ""
    return f"{wrong}{meant}; see lrtheory run --help"
