"""Verdicts in words: intervals, regions, and the Markdown report.

Lives here: what a reader is told, on the terminal and in report.md alike. Lives elsewhere: the numbers (verify), the
terminal's tables (cli.report).
"""

from typing import Any

from lrtheory.intervals import told_misses


def interval(row: dict[str, Any]) -> str:
    """A value with its interval, for a table.

    >>> interval({"value": 1.0, "low": 0.9, "high": 1.1})
    '1 [0.9, 1.1]'
    """
    if row["value"] is None:
        return "no value"
    return f"{row['value']:.3g} [{_number(row['low'])}, {_number(row['high'])}]"


def region(row: dict[str, Any]) -> str:
    """The region of a claim, for a table.

    >>> region({"region": [1e-9, "inf"]}), region({"region": [0.9, 1.1]})
    ('above 0', '0.9 to 1.1')
    """
    low, high = row["region"]
    if low == "-inf":
        return f"at most {_number(high)}"
    if high == "inf":
        return f"above {_number(0 if abs(low) < 1e-6 else low)}"
    return f"{_number(low)} to {_number(high)}"


def _number(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def markdown(report: dict[str, Any]) -> str:
    """The report for a reader."""
    lines = [f"# Predictions at {report['name']}", "",
             levels(report), "",
             "| # | claim | source | verdict |", "|---|---|---|---|"]
    for c in report["claims"]:
        lines.append(row(c["number"], c["statement"], c["source"], said(c)))
    if report["unfinished"]:
        lines += ["", f"Unfinished: {', '.join(report['unfinished'])} not judged yet."]
    if report["note"]:
        lines += ["", "Note: " + report["note"]]
    if not report["gap_expected"]:
        lines += ["", no_gap(report)]
    if report["separation"]:
        lines += ["", at_which_size(report)]
    for c in report["claims"]:
        fails = f" It would fail by: {c['fails']}" if c["fails"] else ""
        lines += ["", f"## {c['number']}. {c['statement']}", "", f"{c['source']}. {c['about']}{fails}", "",
                  "| statistic | value and interval | theory | holds within | verdict |", "|---|---|---|---|---|"]
        lines += [row(r["name"], interval(r), r["theory"], region(r), r["verdict"]) for r in c["statistics"]]
        if c["reason"]:
            lines += ["", f"Not judged: {c['reason']}"]
            continue
        lines += ["", f"Not drawn: {c['undrawn']}" if c["undrawn"] else f"![{c['name']}](figures/{c['name']}.png)"]
        if c["diverged"]:
            lines += ["", f"{c['diverged']} of the runs behind this claim diverged; their seeds are left out, {c['seeds']} "
                      "are judged."]
    facts = report["environment"]
    lines += ["", f"{report['seconds']:.0f} s. lrtheory {facts['lrtheory']}, jax {facts['jax']}, {facts['device']}.", ""]
    return "\n".join(lines)


def levels(report: dict[str, Any]) -> str:
    """By which intervals a claim holds or fails, and how often that is wrong."""
    return (f"{report['seeds']} seeds. A claim holds if the intervals of all its statistics, at "
            f"{100 * report['level']:.4g}%, lie within their regions; it fails if one lies apart at the higher level that "
            "corrects for how many it has. So any verdict at all is wrong in at most 5%, as far as intervals cover. "
            + told_misses(report["seeds"], report["level"])).rstrip()


def row(*cells: Any) -> str:
    r"""A row of a Markdown table.

    >>> row("|f|", 1)
    '| \\|f\\| | 1 |'
    """
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def no_gap(report: dict[str, Any]) -> str:
    """Why L-S and S are not expected to come apart, with numbers."""
    return ("No gap between L-S and S is expected of this configuration: "
            + "; ".join(f"({c['name']}) {c['meaning']} = {float(c['value']):.3g}, needs {c['bound']}"
                        for c in report["conditions"] if not c["holds"]) + ".")


def at_which_size(report: dict[str, Any]) -> str:
    """At which d the theorem's exponents would make Q fast against P, in a sentence."""
    sizes = ", ".join(f"{where} at d = {d:.2g}" for where, d in report["separation"].items())
    here = report["config"]["problem"]["d"]
    return (f"With this configuration's constants and the theorem's exponents in d (here d = {here}), "
            f"{sizes}: `lrtheory theorem` follows both algorithms there.")


def said(claim: dict[str, Any]) -> str:
    """A verdict in words."""
    if claim["verdict"] == "not resolved":
        return "not resolved at this size"
    unexpected = claim["verdict"] == "fails" and not claim["expected"]
    return claim["verdict"] + (" (not expected to hold here)" if unexpected else "")
