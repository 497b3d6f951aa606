"""Tab completion: what a shell offers of commands, options and the words that options take.

Lives here: which words may follow which option, from the registries that hold them, and the script. Lives elsewhere: what is
done with a word, and what is said of a wrong one (arguments); how a script asks for them (tyro).
"""

import contextlib
import dataclasses
import io
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args

import tyro

from lrtheory.algorithm import AlgorithmName
from lrtheory.cli.options import COMMANDS, algorithms_from_words, groups_from_words
from lrtheory.experiments.kinds import TIME_SCALES
from lrtheory.optimal.families import FAMILIES
from lrtheory.predictions import PREDICTIONS, THEOREM
from lrtheory.predictions.series import STUDIES
from lrtheory.predictions.verify import BUDGETS, LITERAL, SETTINGS
from lrtheory.sweeps.grid import label_of, possible_axes
from lrtheory.sweeps.tables import DERIVED
from lrtheory.theory.config import Config
from lrtheory.theory.figures import DRAWINGS, FIGURES
from lrtheory.theory.measure import described
from lrtheory.theory.presets import PRESETS
from lrtheory.theory.problem import Problem
from lrtheory.vision import presets as vision
from lrtheory.vision.config import Experiment
from lrtheory.vision.figures import FIGURES as ACCURACIES
from lrtheory.vision.runs import DESCRIBED

FIELDS = sorted({label_of(f) for config in (Config(), Experiment()) for f in possible_axes(config)})
MEASURED = list(dict.fromkeys([*described(Problem()), *DERIVED, *DESCRIBED]))
WORDS: dict[str, dict[str, Iterable[str]]] = {
    "run": {"preset": PRESETS},
    "sweep": {"preset": [*PRESETS, *vision.PRESETS], "axis": [f"{f}=" for f in FIELDS], "zip": [f"{f}=" for f in FIELDS]},
    "verify": {"preset": PRESETS, "budget": BUDGETS, "setting": [*SETTINGS, LITERAL], "only": [*PREDICTIONS, *THEOREM]},
    "theorem": {"study": STUDIES},
    "design": {"preset": PRESETS, "family": FAMILIES, "competitors": FAMILIES},
    "cifar": {"preset": vision.PRESETS},
    "plot": {"figure": [*FIGURES, *DRAWINGS, "film", *ACCURACIES], "x": [*FIELDS, *TIME_SCALES, "time"],
             "y": [*MEASURED, *FIELDS], "z": MEASURED, "panels": ["algorithm", *FIELDS],
             "select": [f"{f}=" for f in ("algorithm", *FIELDS)]}}
"""{command: {option: what may follow it, or begin what follows it}}, beside the choices that options have in `arguments`."""
OFFERED = tyro.constructors.ConstructorRegistry()
"""`options.REGISTRY`, but that an option of algorithms offers those that have names."""
OFFERED.primitive_rule(groups_from_words)
BASH = """
# Where nothing is offered, files are; NAME= is not the end of a word.
_lrtheory() {
  _tyro_lrtheory "$@"
  [[ -n ${COMPREPLY[*]} ]] || COMPREPLY=()
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
  return 0
}
complete -o default -F _lrtheory lrtheory
"""
"""What bash is told beside tyro's script."""


@OFFERED.primitive_rule
def _algorithms(kind: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    found = algorithms_from_words(kind)
    assert found is None or isinstance(found, tyro.constructors.PrimitiveConstructorSpec)
    return None if found is None else dataclasses.replace(found, choices=get_args(AlgorithmName))


def script(shell: str) -> str:
    """The tab completion of all commands for a shell, as tyro writes it, with `WORDS`."""
    kinds: Any = Union[tuple(Annotated[offering(kind, WORDS.get(name, {})), tyro.conf.subcommand(name)]  # noqa: UP007
                             for name, kind in COMMANDS.items())]
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(kinds, prog="lrtheory", registry=OFFERED, args=["--tyro-write-completion", shell, "-"],
                 config=(tyro.conf.HelptextFromCommentsOff,))
    # a description's second line would be taken for a word
    text = re.sub(r"^COMPLETION_SPEC = .*$", lambda spec: re.sub(r"\\+n", " ", spec[0]), written.getvalue(), flags=re.M)
    return text + (BASH if shell == "bash" else "")


def offering(kind: type, words: Mapping[str, Iterable[str]]) -> type:
    """A command's arguments, which take nothing but certain words: for the script alone, which says what is offered."""
    hints, fields = typing.get_type_hints(kind, include_extras=True), []
    for field in (f for f in dataclasses.fields(kind) if f.name in words):
        offered: Any = tuple(words[field.name])
        default = () if isinstance(field.default, tuple) else offered[0]
        fields.append((field.name, _offering(hints[field.name], Literal[offered]), dataclasses.field(default=default)))
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)


def _offering(hint: Any, choice: Any) -> Any:
    """A type with text, and none, replaced by a choice."""
    if hint is str:
        return choice
    if hasattr(hint, "__metadata__"):
        return Annotated[_offering(hint.__origin__, choice), *hint.__metadata__]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is Union:
        return choice
    if typing.get_origin(hint) is tuple:
        return tuple[_offering(get_args(hint)[0], choice), ...]
    return hint
