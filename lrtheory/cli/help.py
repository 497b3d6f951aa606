"""Two screens of help: the options that most runs need, by what they are about.

Lives here: which these are. Lives elsewhere: every option (arguments, shown by --help-all) and its words (the fields).
"""

import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any

from lrtheory.spec import meanings

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "run": {"what to run": ("preset", "config", "engine", "algorithm", "algorithms", "seeds", "first_seed"),
            "problem": ("d", "N", "p0", "q0", "r", "z_norm", "alpha_min", "gamma0"),
            "network": ("m_w", "m_v", "tau_w", "tau_v"),
            "training": ("eta1", "eta_ratio", "weight_decay", "noise_level", "eps1", "step_time", "steps"),
            "output": ("out", "name", "records", "theory")},
    "cifar": {"what to run": ("preset", "config", "resume", "data_dir", "download", "algorithm", "algorithms", "seeds",
                              "n_train", "minutes"),
              "model": ("kind", "widths", "depth", "widen", "compute"),
              "patch": ("share", "offset"),
              "training": ("epochs", "batch_size", "eta1", "eta_ratio", "anneal_epochs", "anneal", "activation_noise"),
              "output": ("out", "name")}}
"""{command: {group: fields}}; what is no part of a configuration is an option by itself."""
PARTS = ("problem", "network", "training", "model", "patch")
"""Groups whose fields are those of the configuration's part of that name."""
SPELT = {"minutes": "for"}
"""Options that are called otherwise than their fields."""


def short(arguments: Any, command: str, about: str) -> str:
    """The help of a command on two screens of 80 columns, with what holds without each option."""
    lines = [f"usage: lrtheory {command} [OPTIONS]", "", *textwrap.wrap(about, 80)]
    for group, fields in GROUPS[command].items():
        lines += ["", f"{group}:"]
        for option, default, words in _options(arguments, group, fields):
            head = f"  --{option}" + (f" ({default})" if default else "")
            said = textwrap.wrap(re.split("; ", words)[0], 44, max_lines=2, placeholder=" ...") or [""]
            lines += [f"{head:<34}  {said.pop(0)}"] if len(head) <= 34 else [head]
            lines += [f"{'':<36}{line}" for line in said]
    return "\n".join([*lines, "", f"Every option, in full: lrtheory {command} --help-all"]) + "\n"


def _options(arguments: Any, group: str, fields: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """(option, its default in short, its words) of the fields of a group that there are."""
    config = arguments.options
    places = [(f"{group}.", getattr(config, group))] if group in PARTS else [("", arguments), ("", config)]
    for name in fields:
        for prefix, place in places:
            if name in {f.name for f in dataclasses.fields(place)}:
                value = getattr(place, name)
                spelling = SPELT.get(name, name).replace("_", "-")
                yield prefix + spelling, _shown(value), _one_of(type(place), name) or meanings(type(place)).get(name, "")
                break


def _one_of(kind: type, name: str) -> str:
    """Of a field with choices, which they are; else nothing."""
    hint = typing.get_type_hints(kind)[name]
    choices = list(map(str, typing.get_args(hint))) if typing.get_origin(hint) is typing.Literal else []
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else ""


def _shown(value: Any) -> str:
    """A default in a few characters; nothing for none, flags and long ones."""
    if value is None or value == () or isinstance(value, bool):
        return ""
    text = " ".join(map(str, value)) if isinstance(value, tuple) else (
        f"{value:g}" if isinstance(value, float) else str(value))
    return text if len(text) <= 18 else ""
