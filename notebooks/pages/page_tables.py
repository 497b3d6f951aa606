"""The tables of the pages that are made: from the code, and from results that commands have written.

Lives here: public names, fields, measurements; what `lrtheory run`, `verify`, `theorem`, `cifar`, `sweep` and the benchmarks
found. What was not run is shown as "not run". Lives elsewhere: running them and keeping what they wrote (stored), what is
said of the numbers (the pages, by hand, around the markers), building the site (build).
"""

import dataclasses
import inspect
import io
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stored import COMMANDS, SCRIPTS, command, is_old, kind, seeds_of, spoken, stored

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """{page: text} of every page that is made, or has made tables in it."""
    made = {"names.md": names(), "fields.md": fields(), "measurements.md": measurements()}
    runs = [name for name in COMMANDS if name.startswith("run-")]
    finite, intervals, speed = ([n for n in SCRIPTS if kind(n) == part] for part in ("finite", "intervals", "speed"))
    made["results.md"] = filled("results.md", {
        "runs": run_table(runs), "runs-made": made_by(runs),
        "verify": verify_table(["verify-block", "verify-conv", "verify-minibatch"]),
        "verify-made": made_by(["verify-block", "verify-conv", "verify-minibatch"]),
        "transient": transient_table(["transient-quick", "transient-phase"]),
        "ratio": ratio_table("sweep-phase", "sweep-limit"),
        "limit-clocks": plain_table("limit-clocks"), "limit-ratios": plain_table("limit-ratios"),
        "limit-ways": plain_table("limit-ratios", "ways"),
        "curves-made": made_by(["transient-quick", "transient-phase", "limit-clocks", "sweep-phase", "sweep-limit",
                                "limit-ratios"]),
        **{name: plain_table(name) for name in (*finite, *intervals)}, "finite-made": made_by(finite),
        "intervals-made": made_by(intervals),
        "speed": speed_table(), "speed-made": made_by(speed)})
    digits = [name for name in SCRIPTS if kind(name) == "digits"]
    made["own_data.md"] = filled("own_data.md", {
        **{part: plain_table(name, key) for part, name, key in (
            ("prices", "digits-prices", "rows"), ("order", "digits-prices", "order"),
            ("dependence", "digits-dependence", "rows"), ("alone", "digits-alone", "rows"))},
        "digits-made": made_by(digits)})
    made["../../benchmarks/README.md"] = filled("../../benchmarks/README.md", {name: block(name) for name in speed})
    made["../../README.md"] = filled("../../README.md", {"run": ["```text", *printed("run-quick"), "```"]})
    studies = {name.removeprefix("theorem-"): name for name in COMMANDS if name.startswith("theorem-")}
    made["theorem.md"] = filled("theorem.md", {
        **{study: study_table(name) for study, name in studies.items()}, "studies-made": made_by(list(studies.values())),
        "verify": verify_table(["verify-theorem"]), "verify-made": made_by(["verify-theorem"])})
    trained = [name for name in COMMANDS if kind(name) == "trainings"]
    made["cifar.md"] = filled("cifar.md", {
        **{name: cifar_table(f"cifar-{name}") for name in ("mini", "offset", "constant", "paper", "narrow", "unpatched")},
        "price": price_table("cifar-offset", "cifar-mini"), "linear": reading_table("sweep-linear"),
        "settings": settings_table("sweep-settings", "L-S"), "small": settings_table("sweep-small", "S"),
        "made": made_by(trained)})
    return made


def filled(page: str, found: dict[str, list[str]]) -> str:
    """A page with what stands between <!-- begin NAME --> and <!-- end NAME --> replaced; ValueError: one is lacking."""
    text = (HERE / page).read_text()
    for name, lines in found.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
        head, one, rest = text.partition(begin)
        _, other, tail = rest.partition(end)
        if not one or not other:
            raise ValueError(f"{page}: no {begin.strip()} ... {end.strip()}; must be there for its table; put it back")
        text = head + begin + "\n" + "\n".join(lines) + "\n\n" + end + tail
    return text


def plain_table(name: str, part: str = "rows") -> list[str]:
    """A stored result of which a part is the rows of a table: a column a key, estimates with their errors."""
    from lrtheory.cli import cells

    found = stored(name)
    if found is None:
        return ["not run"]
    return [*head(*found[part][0]), *(row(*(cells.value(v) if isinstance(v, dict) else v for v in at.values()))
                                      for at in found[part])]


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
        entries, n_test = {a: found["algorithms"].get(a) for a in shown}, found["config"]["n_test"]

        def both(said: str, predicted: str | None) -> str:
            return said if predicted is None else f"{said} ({predicted})"

        def error(entry: dict[str, Any] | None, n_test: int = n_test) -> str:
            if entry is None:
                return ""
            theory, points = entry.get("theory"), cells.points("test_error_p", entry["test_error_p"], n_test)
            return both(cells.error(entry["test_error_p"], points),
                        None if theory is None else cells.predicted(theory["test_error_p"], points))

        def halved(entry: dict[str, Any] | None) -> str:
            if entry is None:
                return ""
            times, theory = ("time_p_half", "time_q_half"), entry.get("theory")
            return both("; ".join(cells.time(entry[m], entry["diverged_seeds"]) for m in times),
                        None if theory is None else "; ".join(cells.predicted_time(theory[m]) for m in times))

        verdict = found["verdict"]
        said = [verdict[part]["verdict"] for part in ("error_ratio", "learning_order")]
        unexpected = "" if verdict["expected"] else " (not expected to hold here)"
        lines.append(row(preset, *map(error, entries.values()), halved(entries["L-S"]), halved(entries["S"]),
                         *(word + (unexpected if word == "fails" else "") for word in said)))
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
        for moment in ("before_annealing", "end") if any(metric in e["end"] for e in entries.values()) else ():
            lines.append(row(f"{label}, {'at the end' if moment == 'end' else 'before annealing'}",
                             *(cells.accuracy(e[moment].get(metric)) for e in entries.values())))
    lines += ["", *report.epochs_read(found)] if "epochs" in found else [
        "", "**By an earlier rule**, not run again since: the last epoch before annealing alone and the last of all; the "
        "patch counts as read from 80% on."]
    lines.append("")
    for claim in found["verdict"]:
        said = {True: "holds", False: "not resolved" if claim["resolved"] is False else "fails", None: "not judged"}
        ends = "" if claim["low"] is None else f" [{claim['low']:.3f}, {claim['high']:.3f}]"
        lines.append(f"* {claim['statement'][0].upper()}{claim['statement'][1:]}: **{said[claim['holds']]}**, difference "
                     f"{cells.accuracy(claim['difference'])}{ends}, {claim['seeds']} seed{'s' * (claim['seeds'] != 1)}.")
    return lines + ([f"* Unfinished: {found['unfinished']}."] if found["unfinished"] else [])


def price_table(without: str, name: str) -> list[str]:
    """What a patch costs on clean images at the end: with nothing to read in it, less with the patch, seed by seed."""
    from lrtheory.cli import cells
    from lrtheory.intervals import student
    from lrtheory.labelled import estimate
    from lrtheory.vision.results import LEVEL

    free, patched = stored(without), stored(name)
    if free is None or patched is None:
        return ["not run"]
    seeds = [seed for seed in free["seeds"] if seed in patched["seeds"]]
    lines = head("clean images, at the end", "nothing to read", "with the patch", f"price, {LEVEL:.0%} interval")
    for algorithm in free["algorithms"]:
        ends = [np.array([found["algorithms"][algorithm]["end"]["accuracy_clean"]["per_seed"][found["seeds"].index(seed)]
                          for seed in seeds]) for found in (free, patched)]
        price = student("price", ends[0] - ends[1], LEVEL, (0.0, np.inf), "above 0")
        means = [cells.accuracy(estimate(values)) for values in (*ends, ends[0] - ends[1])]
        lines.append(row(algorithm, *means[:2], f"{means[2]} [{price.low:.3f}, {price.high:.3f}]"))
    return [*lines, "", f"Seeds {seeds[0]} to {seeds[-1]}, paired."]


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


def transient_table(chosen: Sequence[str]) -> list[str]:
    """S's error on P over L-S's against lambda t, of long runs at infinite width: a column a preset."""
    found = {name: stored(name) for name in chosen}
    times = sorted({at["lambda_t"] for run in found.values() if run for at in run["over_time"]})
    lines = head("λt", *(cell for name in chosen for cell in (
        f"`{name.removeprefix('transient-')}`: L-S", "S", "S over L-S")))
    for time in times:
        cells = []
        for run in found.values():
            at = next((at for at in (run["over_time"] if run else ()) if at["lambda_t"] == time), None)
            cells += [""] * 3 if at is None else [f"{at['L-S']:.2g}", f"{at['S']:.2g}",
                                                  f"{at['S'] / at['L-S']:.2g}" if at["L-S"] else ""]
        lines.append(row(f"{time:g}", *cells))
    return lines if times else ["not run"]


def ratio_table(networks: str, limit: str) -> list[str]:
    """S against eta2/eta1: whether Q comes first, its error on P and its contrast, of networks and in the limit."""
    from lrtheory.cli import cells

    found = stored(networks), stored(limit)
    if found[0] is None or found[1] is None:
        return ["not run"]
    level = found[0]["config"]["training"]["noise_level"]
    rows = [at for at in found[0]["rows"] if at["noise_level"] == level]
    points = [run["config"]["n_test"] * run["config"]["seeds"] for run in found if run]
    lines = head("η₂/η₁", "t_blur(η₂)/T_Q", *(f"{what}, {whose}" for what in ("Q before P", "error on P", "contrast")
                                              for whose in ("networks", "infinite width")))
    for one, other in zip(rows, found[1]["rows"], strict=True):
        lines.append(row(f"{one['eta_ratio']:.2g}", f"{one['blur_ratio_small']:.3g}", *(
            f"{at['S']['q_first']['mean']:.0%}" for at in (one, other)), *(
            cells.error(at["S"][metric], of * seen) for metric, of in (("test_error_p", 1), ("contrast", 0))
            for at, seen in ((one, points[0]), (other, points[1])))))
    return lines


SPEED = (
    ("a step of the full network, d = 128, N = 512, 256 + 256 neurons", "speed-engines",
     r"reduced +(\S+) +\S+ +(\S+) +(\S+)", "{} ms, {} of the matmul peak, {} times as fast as eager PyTorch's dense loop"),
    ("the same, decoupled", "speed-engines", r"decoupled +(\d\S+) +\S+ +(\S+)", "{} ms, {} of the peak"),
    ("micro-steps, S at eta2/eta1 = 1e-4", "speed-engines", r"one seed: (\S+) literal iterations in (\S+ s)",
     "{} literal iterations in {}"),
    ("the paper's network by `lt.train`", "speed-train", r"over the dense engine: (\S+)",
     "{} of a step of the dense engine"),
    ("sweep of 256 runs, even widths", "speed-sweeps",
     r"even: .*? 256 +\d+ +(\S+) +\S+ +\S+ +\S+ +(\S+)", "{} runs/s, {} times eager PyTorch's loop"),
    ("sweep of 256 runs, V of 4,096 neurons", "speed-sweeps",
     r"wide V .*? 256 +\d+ +(\S+) +\S+ +\S+ +\S+ +(\S+)", "{} runs/s, {} times eager PyTorch's loop"),
    ("infinite width, d = 128, N = 512, L-S and S", "speed-infinite",
     r"chosen steps +(\S+) .*, (\d+) times as fast as neurons", "{} s after compilation, {} times as fast as neurons"),
    ("CIFAR-10, small CNN, a training on each of two CPU devices", "speed-cifar",
     r"on 2 devices +(\S+) .*over PyTorch: (\S+)",
     "{} images/s in all, {} of eager PyTorch on both cores"),
    ("CIFAR-10, WideResNet-16-1, likewise", "speed-narrow", r"on 2 devices +(\S+) .*over PyTorch: (\S+)",
     "{} images/s in all, {} of eager PyTorch on both cores"),
)
"""What is told of a benchmark: what it is, whose output, where in it, in which words."""


def speed_table() -> list[str]:
    """A line a number that a benchmark printed."""
    lines = head("what", "measured", "command")
    for what, name, where, words in SPEED:
        found, said = stored(name), "not run"
        if found is not None:
            match = re.search(where, "\n".join(found["printed"]), re.DOTALL)
            if match is None:
                raise ValueError(f"{name}: nothing it printed is like {where}; must be; mend SPEED in page_tables.py")
            said = words.format(*match.groups())
        lines.append(row(what, said, f"`{command(name)}`"))
    return lines


def block(name: str) -> list[str]:
    """What a benchmark printed."""
    found = stored(name)
    return ["not run"] if found is None else ["```", *found["printed"], "```"]


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
        found, typed = stored(name), f"`{command(name)}`"
        if found is None:
            lines.append(row(typed, "not run", "", ""))
            continue
        facts, revision = found["environment"], found["environment"]["git_revision"]
        version = "" if facts["lrtheory"].startswith("not installed") else f" {facts['lrtheory']}"  # run from a checkout
        again = "".join(f"; claim{'s' * (len(part['claims']) > 1)} {', '.join(map(str, part['claims']))} again at "
                        f"{part['revision'][:7]}, {spoken(part)}" for part in found.get("again", ()))
        lines.append(row(typed, seeds_of(found), spoken(found),
                         f"{facts['device']}, {facts['cpu_cores']} cores; lrtheory{version} at {revision[:7]}"
                         f"{'+' if '+' in revision else ''}, jax {facts['jax']}; {facts['date'][:10]}{again}"))
    return lines


def names() -> str:
    """The page of public names."""
    import lrtheory

    lines = ["# Public names", "",
             "Of `import lrtheory as lt`; <a href=\"../api/lrtheory.html\">the API reference</a> has each in full."]
    public = {name: getattr(lrtheory, name) for name in sorted(lrtheory.__all__, key=str.lower)}
    for title, modules in (("Functions and classes", False), ("Modules", True)):
        lines += ["", f"## {title}", "", *head("name", "what it is")]
        lines += [row(f"`lt.{name}`", (inspect.getdoc(value) or "").partition("\n")[0])
                  for name, value in public.items() if inspect.ismodule(value) == modules]
    return "\n".join(lines) + "\n"


def fields() -> str:
    """The page of every field of a configuration."""
    from lrtheory.spec import meanings

    lines = ["# Fields", "",
             'Every number and choice of a configuration, as `--problem.d 128` or `config.replace(**{"problem.d": 128})`.',
             "Swept fields are numbers that are traced: changing one compiles nothing. Defaults are those of the classes;",
             "presets set most of them."]
    for title, config, parts in parts_of_configs():
        lines += ["", f"## {title}", "", *head("field", "default", "swept", "meaning")]
        for prefix, part in (("", config), *parts):
            for field in dataclasses.fields(part):
                if field.name in dict(parts):
                    continue
                default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
                swept = "" if field.metadata.get("static", True) else "yes"
                name = f"{prefix}.{field.name}" if prefix else field.name
                lines.append(row(f"`{name}`", default, swept, meanings(part).get(field.name, "")))
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
