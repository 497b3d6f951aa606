"""The tables of the pages that are made: from the code, and from results that commands have written.

Lives here: public names, fields, measurements; what `lrtheory run`, `verify`, `theorem`, `cifar` and `sweep` found, read from
the JSON files in `stored/`, each what one command wrote; the commands. A file that is not there is shown as "not run". Lives
elsewhere: what is said of the numbers (the pages, by hand, around the markers), building the site (build).
"""

import dataclasses
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
STORED = HERE / "stored"
COMMANDS: dict[str, tuple[str, ...]] = {
    "run-quick": ("run",), "run-phase": ("run", "--preset", "phase"), "run-mitigation": ("run", "--preset", "mitigation"),
    "run-full": ("run", "--preset", "full"), "run-literal": ("run", "--preset", "literal"),
    "verify-block": ("verify",), "verify-conv": ("verify", "--setting", "conv"),
    "verify-minibatch": ("verify", "--setting", "minibatch"), "verify-theorem": ("verify", "--setting", "theorem"),
    "theorem-dimension": ("theorem",),
    **{f"theorem-{study}": ("theorem", "--study", study) for study in ("size", "exponents", "rates")},
    "cifar-paper": ("cifar", "--preset", "paper", "--seeds", "1", "--interleave", "--checkpoint-epochs", "100"),
    "cifar-mini": ("cifar", "--seeds", "16", "--first-seed", "100"),
    "cifar-narrow": ("cifar", "--preset", "narrow", "--algorithms", "L-S", "S", "--interleave"),
    "sweep-linear": ("sweep", "--preset", "mini", "--algorithms", "L-S", "S", "--seeds", "3", "--first-seed", "8",
                     "--n-test", "500", "--training.epochs", "10", "--training.anneal-epochs", "--zip",
                     "offset=0.1,0.15,0.2,0.3,0.45,0.7", "negative=0,0,0,0.5,0.5,0.5"),
    "sweep-settings": ("sweep", "--preset", "mini", "--algorithms", "L-S", "--seeds", "4", "--first-seed", "100", "--n-test",
                       "500", "--training.anneal-epochs", "--zip", "eta1=0.35,0.7,1.4,0.35,0.7,0.85",
                       "batch_size=32,64,128,64,128,64"),
    "sweep-small": ("sweep", "--preset", "mini", "--algorithms", "S", "--seeds", "4", "--first-seed", "100", "--n-test",
                    "2000", "--axis", "eta_ratio=0.025,0.05,0.1")}
"""{name: what writes stored/NAME.json}."""
SWEPT = ("patch_read_at", "accuracy_patch_only", "accuracy_clean")
"""Measurements that are stored of a sweep of trainings."""
IMAGES = "LRTHEORY_CIFAR10"
"""Environment variable that says where CIFAR-10 is: for the commands that train on it."""


def pages() -> dict[str, str]:
    """{page: text} of every page that is made, or has made tables in it."""
    made = {"names.md": names(), "fields.md": fields(), "measurements.md": measurements()}
    runs = [name for name in COMMANDS if name.startswith("run-")]
    made["results.md"] = filled("results.md", {
        "runs": run_table(runs), "runs-made": made_by(runs),
        "verify": verify_table(["verify-block", "verify-conv", "verify-minibatch"]),
        "verify-made": made_by(["verify-block", "verify-conv", "verify-minibatch"])})
    made["../../README.md"] = filled("../../README.md", {"run": ["```text", *printed("run-quick"), "```"]})
    studies = {name.removeprefix("theorem-"): name for name in COMMANDS if name.startswith("theorem-")}
    made["theorem.md"] = filled("theorem.md", {
        **{study: study_table(name) for study, name in studies.items()}, "studies-made": made_by(list(studies.values())),
        "verify": verify_table(["verify-theorem"]), "verify-made": made_by(["verify-theorem"])})
    trained = [name for name in COMMANDS if name.startswith(("cifar-", "sweep-"))]
    made["cifar.md"] = filled("cifar.md", {
        **{name: cifar_table(f"cifar-{name}") for name in ("mini", "paper", "narrow")}, "linear": reading_table("sweep-linear"),
        "settings": settings_table("sweep-settings", "L-S"), "small": settings_table("sweep-small", "S"),
        "made": made_by(trained)})
    return made


def filled(page: str, found: dict[str, list[str]]) -> str:
    """A page with what stands between <!-- begin NAME --> and <!-- end NAME --> replaced. ValueError for a lacking marker."""
    text = (HERE / page).read_text()
    for name, lines in found.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
        head, one, rest = text.partition(begin)
        _, other, tail = rest.partition(end)
        if not one or not other:
            raise ValueError(f"{page}: no {begin.strip()} ... {end.strip()}; must be there for its table; put it back")
        text = head + begin + "\n" + "\n".join(lines) + "\n\n" + end + tail
    return text


def printed(name: str) -> list[str]:
    """The table that a stored run printed, without the sentences under it."""
    from rich.console import Console

    from lrtheory.cli import report

    found = stored(name)
    if found is None:
        return ["not run"]
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(report.run_closing(found).renderables[0])
    return [line.rstrip() for line in console.file.getvalue().rstrip().splitlines()]


def stored(name: str) -> dict[str, Any] | None:
    """What a command has written, if it has been run."""
    path = STORED / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def measure(chosen: Sequence[str]) -> None:
    """Run commands anew (minutes to half an hour each, as they say) and store what they write."""
    for k, name in enumerate(chosen):
        before = stored(name)
        print(f"{name} ({k + 1} of {len(chosen)}): lrtheory {' '.join(COMMANDS[name])}, "
              f"{'never run here' if before is None else f'{spoken(before)} last time'}", flush=True)
        images: tuple[str, ...] = ()
        if name.startswith(("cifar-", "sweep-")):
            if IMAGES not in os.environ:
                raise SystemExit(f"{name}: {IMAGES} is not set; must be the folder of CIFAR-10's files; export {IMAGES}=DIR")
            images = ("--data-dir", os.environ[IMAGES])
        started = time.time()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-m", "lrtheory", *COMMANDS[name], *images, "--out", f"{folder}/out"],
                                  stdout=subprocess.DEVNULL)
            if done.returncode not in (0, 1):  # 1: a claim fails, which is a result
                raise SystemExit(f"{name}: ended with code {done.returncode}; nothing was stored of it")
            keep(name, Path(folder, "out"), time.time() - started)


def keep(name: str, folder: Path, seconds: float) -> None:
    """Store what a command has written in a folder: summary.json or verify.json; of a sweep its points, too."""
    command = COMMANDS[name][0]
    found = json.loads((folder / ("verify.json" if command == "verify" else "summary.json")).read_text())
    if command == "cifar":
        found["environment"]["images"] = re.sub(r"\S*/", "", found["environment"]["images"])
    if command == "sweep":
        found |= points_of(folder) | {"seconds": round(seconds), "environment": found["sessions"][0]}
    STORED.mkdir(exist_ok=True)
    (STORED / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")


def points_of(folder: Path) -> dict[str, Any]:
    """Of a sweep of trainings: its configuration, and a row a point, with each algorithm's numbers, one a seed."""
    import lrtheory as lt
    from lrtheory.labelled import each_seed

    runs = lt.load(folder)
    axes = lt.tables.axes_of(runs)
    labels = [str(name) for name, values in runs.coords.items() if "field" in values.attrs]
    found = {name: lt.tables.metric(runs, name).transpose(*axes, "algorithm", "seed") for name in SWEPT}
    rows = []
    for index in np.ndindex(*(runs.sizes[axis] for axis in axes)):
        at = dict(zip(axes, index, strict=True))
        rows.append({label: runs[label].isel({a: k for a, k in at.items() if a in runs[label].dims}).item() for label in labels}
                    | {str(name): {metric: each_seed(values.isel(at).sel(algorithm=name).values)
                                   for metric, values in found.items()} for name in runs["algorithm"].values})
    return {"config": json.loads(runs.attrs["config"]), "rows": rows}


def row(*cells: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def head(*cells: str) -> list[str]:
    """The first two rows of a table."""
    return [row(*cells), "|" + "---|" * len(cells)]


def run_table(chosen: Sequence[str]) -> list[str]:
    """What presets end with: a row a run, in brackets what infinite width predicts."""
    from lrtheory.cli import cells

    shown = ("L-S", "S", "S+noise")
    lines = head("preset", "error on P: L-S", *shown[1:], "P; Q halved under L-S", "under S",
                 "S errs more", "order")
    for name in chosen:
        found, preset = stored(name), f"`{name.removeprefix('run-')}`"
        if found is None:
            lines.append(row(preset, "not run", *[""] * 6))
            continue
        entries = {a: found["algorithms"].get(a) for a in shown}

        def both(said: str, predicted: str | None) -> str:
            return said if predicted is None else f"{said} ({predicted})"

        def error(entry: dict[str, Any] | None) -> str:
            if entry is None:
                return ""
            theory = entry.get("theory")
            return both(cells.value(entry["test_error_p"]),
                        None if theory is None else cells.predicted(theory["test_error_p"]["mean"]))

        def halved(entry: dict[str, Any] | None) -> str:
            if entry is None:
                return ""
            times, theory = ("time_p_half", "time_q_half"), entry.get("theory")
            return both("; ".join(cells.time(entry[m], entry["diverged_seeds"]) for m in times),
                        None if theory is None else "; ".join(cells.predicted_time(theory[m]) for m in times))

        verdict = found["verdict"]
        said = [verdict[part]["verdict"] for part in ("error_ratio", "learning_order")]
        lines.append(row(preset, *map(error, entries.values()), halved(entries["L-S"]), halved(entries["S"]), *(
            word + (" (not expected to hold here)" if word == "fails" and not verdict["expected"] else "") for word in said)))
    return lines


COORDINATES = {"size": "d'", "exponent": "exponent of r", "blur": "t_blur(eta2)/T_Q"}
"""Of a study's rows, as its table heads them."""


def study_table(name: str) -> list[str]:
    """A row a row of a study of the theorems, and under the table what was found over all of them."""
    from lrtheory.cli import cells
    from lrtheory.predictions.series import STUDIES
    from lrtheory.predictions.words import interval

    found = stored(name)
    if found is None:
        return ["not run"]
    rows = found["rows"]
    keys = STUDIES[found["study"]].over
    algorithms = [a for a in ("L-S", "S") if a in rows[0]]
    lines = head(*(COORDINATES.get(key, key) for key in keys), "seeds", "T_P/T_Q", *(f"{a} halves P, Q" for a in algorithms),
                 *(f"error on P: {a}" for a in algorithms), "P alone, n = pN", "S learned P from n")
    for at in rows:
        halved = [", ".join(cells.in_units(at[a][event], at["T_P"]) for event in ("time_p_half", "time_q_half"))
                  for a in algorithms]
        lines.append(row(*(f"{at[key]:.4g}" for key in keys), at["S"]["time_p_half"]["of"], f"{at['T_P'] / at['T_Q']:.3g}",
                         *halved, *(cells.value(at[a]["test_error_p"]) for a in algorithms),
                         cells.value(at["S"]["limit_error"]), cells.examples(at["S"]["examples"])))
    return [*lines, *(line for f in found["findings"]
                      for line in ("", f"* {f['name']}: {interval(f)} (expected: {f['theory']})"))]


def cifar_table(name: str) -> list[str]:
    """Accuracies before annealing and at the end, and under the table the verdict of each claim."""
    from lrtheory.cli import cells, report

    found = stored(name)
    if found is None:
        return ["not run"]
    entries = found["algorithms"]
    lines = head("accuracy", *entries)
    for metric, label in report.CIFAR_ROWS:
        for moment in ("before_annealing", "end"):
            lines.append(row(f"{label}, {'at the end' if moment == 'end' else 'before annealing'}",
                             *(cells.accuracy(e[moment].get(metric)) for e in entries.values())))
    lines.append("")
    for claim in found["verdict"]:
        said = {True: "holds", False: "not resolved" if claim["resolved"] is False else "fails", None: "not judged"}
        ends = "" if claim["low"] is None else f" [{claim['low']:.3f}, {claim['high']:.3f}]"
        lines.append(f"* {claim['statement'][0].upper()}{claim['statement'][1:]}: **{said[claim['holds']]}**, difference "
                     f"{cells.accuracy(claim['difference'])}{ends}, {claim['seeds']} seed{'s' * (claim['seeds'] != 1)}.")
    return lines + ([f"* Unfinished: {found['unfinished']}."] if found["unfinished"] else [])


def reading_table(name: str) -> list[str]:
    """The epochs at which S and L-S read each patch of a sweep, a number a seed."""
    found = stored(name)
    if found is None:
        return ["not run"]
    return [*head("patch", "offset", "S", "L-S"), *(row(
        "linear" if at["negative"] in (0, 1) else "both signs", f"{at['offset']:g}", *(epochs(at[a]) for a in ("S", "L-S")))
        for at in found["rows"])]


def settings_table(name: str, algorithm: str) -> list[str]:
    """What settings of the training make of one algorithm: a row a point of a sweep."""
    from lrtheory.cli import cells

    found = stored(name)
    if found is None:
        return ["not run"]
    labels = [key for key, value in found["rows"][0].items() if not isinstance(value, dict)]
    return [*head(*labels, "patch read at epoch", "patch only, at the end", "clean images, at the end"), *(row(
        *(f"{at[label]:g}" for label in labels), epochs(at[algorithm]),
        *(cells.accuracy(at[algorithm][metric]) for metric in ("accuracy_patch_only", "accuracy_clean")))
        for at in found["rows"])]


def epochs(found: dict[str, Any]) -> str:
    """When the patch is read, a number a seed."""
    return ", ".join("never" if v is None else f"{v:.2f}" for v in found["patch_read_at"]["per_seed"])


def verify_table(chosen: Sequence[str]) -> list[str]:
    """A row a statistic under its claim's, a column a setting: values with intervals, and what does not hold by itself.

    Statistics of different settings are the same if their names are, but for numbers, which then stand with the value. A
    claim that says something else by now has no verdict.
    """
    from lrtheory.predictions.words import interval, region, said

    reports = {name: stored(name) for name in chosen}
    claims = {(c["number"], c["name"]): c["statement"] for report in reports.values() if report for c in report["claims"]}
    lines = head("#", "claim, its statistics", "theory", "holds within", *(name.partition("-")[2] for name in chosen))
    if not claims:
        return [*lines, row("", "", "", "", *["not run"] * len(chosen))]
    for (number, claim), statement in claims.items():
        judged = [next((c for c in report["claims"] if c["name"] == claim), None) if report else None
                  for report in reports.values()]
        lines.append(row(number, f"**{statement}**", "", "", *(
            "not run" if c is None else "changed since, not run" if is_old(c) else f"**{said(c)}**" for c in judged)))
        rows: dict[str, list[dict[str, Any] | None]] = {}
        for k, c in enumerate(judged):
            for s in c["statistics"] if c and not is_old(c) else ():
                rows.setdefault(without_numbers(s["name"]), [None] * len(judged))[k] = s
        for found in rows.values():
            first = next(s for s in found if s is not None)
            lines.append(row("", first["name"], first["theory"], region(first), *(
                "" if s is None else interval(s) + ("" if s["verdict"] == "holds" else f", {s['verdict']}")
                + ("" if s["name"] == first["name"] else f" (at {', '.join(numbers_in(s['name']))})") for s in found)))
    return lines


def is_old(claim: dict[str, Any]) -> bool:
    """Whether a claim was judged by another rule than today's, as far as its words say."""
    from lrtheory.predictions import PREDICTIONS, THEOREM

    today = (PREDICTIONS | THEOREM)[claim["name"]]
    return any(claim[part] != getattr(today, part) for part in ("statement", "source", "about", "fails"))


NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number that stands alone."""


def without_numbers(name: str) -> str:
    """A statistic's name with its numbers left open."""
    return NUMBER.sub("#", name)


def numbers_in(name: str) -> list[str]:
    """The numbers of a statistic's name."""
    return NUMBER.findall(name)


def made_by(chosen: Sequence[str]) -> list[str]:
    """Which command, when and by what each stored result was made."""
    lines = head("made by", "seeds", "took", "on")
    for name in chosen:
        found, command = stored(name), f"`lrtheory {' '.join(COMMANDS[name])}`"
        if found is None:
            lines.append(row(command, "not run", "", ""))
            continue
        facts, revision = found["environment"], found["environment"]["git_revision"]
        version = "" if facts["lrtheory"].startswith("not installed") else f" {facts['lrtheory']}"  # run from a checkout
        lines.append(row(command, seeds_of(found), spoken(found),
                         f"{facts['device']}, {facts['cpu_cores']} cores; lrtheory{version} at {revision[:7]}"
                         f"{'+' if '+' in revision else ''}, jax {facts['jax']}; {facts['date'][:10]}"))
    return lines


def seeds_of(found: dict[str, Any]) -> str:
    """How many seeds a command ran: a number, or the least and the most over a study's rows."""
    if "study" in found:
        counts = sorted({at["S"]["time_p_half"]["of"] for at in found["rows"]})
        return " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))
    return str(found["seeds"] if isinstance(found["seeds"], int) else len(found["seeds"]))


def spoken(found: dict[str, Any]) -> str:
    """How long a command took."""
    seconds = found.get("seconds", found["environment"].get("wall_seconds"))
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def names() -> str:
    """The page of public names."""
    import lrtheory

    lines = ["# Public names", "", "Of `import lrtheory as lt`; <a href=\"../api/lrtheory.html\">the API reference</a> has each in full."]
    public = {name: getattr(lrtheory, name) for name in sorted(lrtheory.__all__, key=str.lower)}
    for title, modules in (("Functions and classes", False), ("Modules", True)):
        lines += ["", f"## {title}", "", *head("name", "what it is")]
        lines += [row(f"`lt.{name}`", (inspect.getdoc(value) or "").partition("\n")[0])
                  for name, value in public.items() if inspect.ismodule(value) == modules]
    return "\n".join(lines) + "\n"


def fields() -> str:
    """The page of every field of a configuration."""
    from lrtheory.spec import meanings

    lines = ["# Fields", "", "Every number and choice of a configuration, as `--problem.d 128` or `config.replace(**{\"problem.d\": 128})`.",
             "Swept fields are numbers that are traced: changing one compiles nothing. Defaults are those of the classes; presets set",
             "most of them."]
    for title, config, parts in parts_of_configs():
        lines += ["", f"## {title}", "", *head("field", "default", "swept", "meaning")]
        for prefix, kind in (("", config), *parts):
            for field in dataclasses.fields(kind):
                if field.name in dict(parts):
                    continue
                default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
                swept = "" if field.metadata.get("static", True) else "yes"
                name = f"{prefix}.{field.name}" if prefix else field.name
                lines.append(row(f"`{name}`", default, swept, meanings(kind).get(field.name, "")))
    return "\n".join(lines) + "\n"


def parts_of_configs() -> list[tuple[str, type, list[tuple[str, type]]]]:
    """(title, configuration, its parts by name) of both halves."""
    from lrtheory.theory.config import Config
    from lrtheory.vision.config import Experiment

    def parts(kind: type) -> list[tuple[str, type]]:
        hints = typing.get_type_hints(kind)
        return [(f.name, hints[f.name]) for f in dataclasses.fields(kind) if dataclasses.is_dataclass(hints[f.name])]

    return [("The two-layer network (`lrtheory run`, `sweep`, `verify`)", Config, parts(Config)),
            ("CIFAR-10 (`lrtheory cifar`)", Experiment, parts(Experiment))]


def measurements() -> str:
    """The page of what is measured."""
    from lrtheory.theory.measure import described
    from lrtheory.theory.problem import Problem

    lines = ["# Measurements", "", "Of every run, over time or once, as variables of its dataset. `log 2` is 0.693 nat.", "",
             *head("name", "units", "meaning")]
    lines += [row(f"`{name}`", unit, meaning) for name, (unit, meaning) in described(Problem(N=64)).items()]
    return "\n".join(lines) + "\n"
