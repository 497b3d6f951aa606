"""How a notebook shows what runs say: a short table and the verdict.

Lives here: HTML of a summary. Lives elsewhere: its numbers (results), the terminal's words for them (cli.report).
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from lrtheory.labelled import UNFINISHED
from lrtheory.theory.measure import below, test_points

ROWS = (("loss on P halved at", "time_p_half"), ("loss on Q halved at", "time_q_half"), ("annealed at", "annealed_at"),
        ("test error on P", "test_error_p"), ("test error on Q", "test_error_q"), ("training loss", "train_loss"))
"""(label, measurement) of each row of the table."""
CLAIMS = {"error_ratio": "S errs more on P", "matched_loss": "the same at matched training loss",
          "test_loss": "S's test loss on P is above L-S's", "learning_order": "S learns Q first, L-S P first",
          "mitigation": "S + noise errs less on P than S"}
"""{part of the verdict: what it claims}."""


def short(summary: Mapping[str, Any]) -> str:
    """A summary (`lrtheory.summarise`) as HTML: mean and standard error over seeds of `ROWS`, and each claim's verdict."""
    algorithms: Mapping[str, Any] = summary["algorithms"]
    head, n_test = "".join(f"<th>{escape(name)}</th>" for name in algorithms), summary["config"]["n_test"]
    rows = ""
    for label, metric in ROWS:
        if all(metric in entry for entry in algorithms.values()):
            cells = "".join(f"<td>{_cell(metric, entry[metric], n_test)}</td>" for entry in algorithms.values())
            rows += f"<tr><td>{label}</td>{cells}</tr>"
    verdict = summary["verdict"]
    late = verdict.get("unannealed")  # summaries that were stored before have none
    early = "" if late is None else f" (before annealing in {late['seeds']} of {late['of']} seeds)"
    claims = "".join(f"<li>{words}: <b>{escape(verdict[name]['verdict'])}</b>{early}</li>" for name, words in CLAIMS.items()
                     if verdict.get(name) is not None)
    expected = ("The conditions for a gap between L-S and S hold at this size." if verdict["expected"] else
                "The conditions for a clear gap do not all hold at this size.")
    diverged = {name: entry["diverged_seeds"] for name, entry in algorithms.items() if entry["diverged_seeds"]}
    lost = "".join(f"<li>diverged, in no mean: {escape(name)}, seeds {', '.join(map(str, seeds))}</li>"
                   for name, seeds in diverged.items())
    if verdict.get(UNFINISHED):
        lost += f"<li>unfinished: {escape(verdict[UNFINISHED])}; nothing is compared</li>"
    return (f"<p><b>{escape(summary['name'])}</b>: mean ± standard error over {len(summary['seeds'])} seeds, time is the "
            f"sum of rates</p><table><tr><th></th>{head}</tr>{rows}</table><p>{expected}</p><ul>{claims}{lost}</ul>")


def _cell(name: str, found: Mapping[str, Any], n_test: int) -> str:
    """Mean and standard error, how many seeds got there, or of an error of 0 below what it is."""
    reached = sum(value is not None for value in found["per_seed"])
    if found["mean"] == 0 and (points := test_points(name, n_test) * reached):
        return escape(below(points))
    if found["mean"] is None:
        return f"{reached} of {len(found['per_seed'])} seeds" if reached else "never"
    return f"{found['mean']:.3g}" + (f" ± {found['sem']:.1g}" if found["sem"] else "")
