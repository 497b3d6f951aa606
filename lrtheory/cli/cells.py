"""Numbers as the cells of a table: means with their errors, times that some seeds reached, what was predicted.

Lives here: how many digits are shown, and what stands where there is no number. Lives elsewhere: the tables (report, the
documentation's pages).
"""

import math
from typing import Any

from lrtheory.theory.measure import below, test_points


def value(found: dict[str, Any]) -> str:
    """Mean and standard error with digits that the error supports."""
    mean, sem = found["mean"], found["sem"]
    if mean is None:
        return "-"
    if not sem or sem < 1e-12 * abs(mean):
        return f"{mean:.4g}"
    power = math.floor(math.log10(abs(mean))) if 0 < abs(mean) < 1e-3 or abs(mean) >= 1e6 else 0
    mean, sem = mean / 10.0**power, sem / 10.0**power
    digits = max(0, 1 - math.floor(math.log10(sem)))
    return f"({mean:.{digits}f} ± {sem:.{digits}f})e{power}" if power else f"{mean:.{digits}f} ± {sem:.{digits}f}"


def error(found: dict[str, Any], points: int) -> str:
    """An error on so many test points over all seeds, as `value`; 0 of them say what it is below (`measure.below`)."""
    return below(points) if found["mean"] == 0 and points else value(found)


def predicted(found: dict[str, Any], points: int = 0) -> str:
    """A predicted mean, as `error` but with three digits, for it varies over the seeds' data alone."""
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:.3g}" if found["mean"] else error(found, points)


def points(name: str, found: dict[str, Any], n_test: int) -> int:
    """Test points, over all seeds that have a value, behind a measurement of a summary; 0: none."""
    return test_points(name, n_test) * sum(v is not None for v in found["per_seed"])


def time(found: dict[str, Any], diverged: list[int]) -> str:
    """A time as mean and error, or how many seeds reached it."""
    reached = [t for t in found["per_seed"] if t is not None]
    of = len(found["per_seed"]) - len(diverged)
    if not reached:
        return "never"
    return value(found) if len(reached) == of else f"{len(reached)} of {of}, from {min(reached):.4g}"


def predicted_time(found: dict[str, Any]) -> str:
    """A predicted time, or how many seeds reach it."""
    reached = [t for t in found["per_seed"] if t is not None]
    if not reached:
        return "never"
    of = len(found["per_seed"])
    return predicted(found) if len(reached) == of else f"{len(reached)} of {of}"


def fitted_first(entry: dict[str, Any]) -> str:
    """How many seeds fitted P, Q or neither first; "-" where no seed has examples of both alone."""
    return ", ".join(f"{name} ({count})" for name, count in entry["fitted_first"].items() if count > 0) or "-"


def in_units(found: dict[str, Any], unit: float) -> str:
    """A mean time in units, or of how many seeds it was reached."""
    if found["mean"] is not None:
        return f"{found['mean'] / unit:.3g}"
    return "never" if not found["reached"] else f"{found['reached']} of {found['of']}"


def examples(found: dict[str, Any]) -> str:
    """A number of examples with its interval; "-" where there is none."""
    if found["value"] is None:
        return "-"
    low, high = (found[k] for k in ("low", "high"))
    ends = f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else ""
    return {"at most": "<= ", "at least": ">= "}.get(found.get("bound") or "", "") + f"{found['value']:.3g}{ends}"


def accuracy(found: dict[str, Any] | None) -> str:
    """Mean and standard error of an accuracy; in brackets its standard deviation over the epochs that were averaged."""
    if found is None or found["mean"] is None:
        return "-"
    spread = found.get("sd_over_epochs")
    return (f"{found['mean']:.3f}" + (f" ± {found['sem']:.3f}" if found["sem"] is not None else "")
            + (f" ({spread:.3f})" if spread is not None else ""))
