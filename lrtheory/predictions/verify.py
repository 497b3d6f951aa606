"""Verifying the theory: run what the predictions need, judge them together, write what was found.

Lives here: budgets, the correction for many claims, verify.json, the Markdown report and its figures. Lives elsewhere: the
claims and the rule that decides one (predictions).
"""

import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import xarray as xr
from matplotlib.figure import SubFigure

from lrtheory.predictions import PREDICTIONS, Need, Prediction, Statistic, verdict
from lrtheory.predictions.base import duration, lasting
from lrtheory.predictions.separation import separation
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError
from lrtheory.sweeps.course import sweep
from lrtheory.sweeps.grid import make_grid
from lrtheory.sweeps.store import is_free, write_whole
from lrtheory.theory.config import Config, to_json
from lrtheory.theory.figures import RC, SKY, VERMILION, Figure
from lrtheory.theory.presets import preset
from lrtheory.theory.runs import run
from lrtheory.theory.timescales import conditions

ERROR_RATE = 0.05
"""Chance, over all claims together, that an interval misses its number; each claim has an equal part (Bonferroni)."""
EFFECT = {"A": 50.0, "B": 0.3, "D": 1000.0}
"""Conditions at which the gap has been seen here (preset phase): looser than those of timescales, where it is clear."""


SETTINGS: dict[str, dict[str, Any]] = {
    "block": {},
    "conv": {"network.variant": "conv"},
    "minibatch": {"training.batch_size": 32, "training.step_time": 0.0, "training.eta_ratio": 0.03, "seeds": 12},
}
"""Where the claims are judged: the theorems' own setting, and two outside it.

conv: every neuron sees both halves; annealing comes later, so the runs are twice as long. minibatch: a step is one iteration
(K micro-steps would share one batch), so for the runs to end eta2/eta1 is 0.03, not 1e-4, and there are 12 seeds. There
t_blur(eta2)/T_Q is 8: enough for S's order, far from the 600 at which its error is half its ceiling.
"""


def base_config(budget: str, setting: str = "block") -> Config:
    """What a budget (quick, standard or gpu) runs in a setting (block, conv or minibatch). Raises `ConfigError`."""
    if setting not in SETTINGS:
        raise ConfigError(f"--setting {setting}: must be one of {', '.join(SETTINGS)}; choose one of these")
    if budget == "quick":
        base = preset("phase").replace(seeds=24, **{"training.steps": 8000})
    elif budget in ("standard", "gpu"):
        base = preset("quick").replace(seeds=16 if budget == "standard" else 256)
    else:
        raise ConfigError(f"--budget {budget}: must be one of quick, standard, gpu; choose one of these")
    time = duration(base) * (2 if setting == "conv" else 1)
    name = f"verify-{budget}" + (f"-{setting}" if setting != "block" else "")
    return lasting(base.replace(name=name), time, **SETTINGS[setting])


def chosen(names: Sequence[str]) -> list[str]:
    """Names of predictions in order; all if none is given. Raises `ConfigError`."""
    for name in names:
        if name not in PREDICTIONS:
            raise ConfigError(f"--only {name}: must be one of {', '.join(PREDICTIONS)}; choose from these")
    return [name for name in PREDICTIONS if not names or name in names]


def expected(config: Config) -> bool:
    """Whether L-S and S should come apart: conditions A, B and D within `EFFECT`."""
    values = {c.name: c.value for c in conditions(config.problem, config.training, config.network, full=False)}
    return values["A"] >= EFFECT["A"] and values["B"] <= EFFECT["B"] and values["D"] >= EFFECT["D"]


def verify(base: Config, claims: Sequence[str | Prediction] = (), *, folder: str | Path | None = None,
           tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Judge predictions at and around a configuration.

    Args:
      base: the configuration; predictions change of it what they need.
      claims: names of the theory's predictions, and predictions of your own; none: all of the theory's.
      folder: where verify.json, report.md and figures/NAME.png go, new or empty; None: nothing is written.
      tell: told what is being done.

    Returns:
      A tree: claims with statistics, intervals and verdicts, whether each should hold at this configuration (never with
      minibatches, of which the theorems say nothing), and the level of an interval: 1 - 0.05/10 for the theory's ten
      predictions, whether or not all are judged, a part more for each of your own. A claim whose runs cannot be made of
      this configuration is "not judged", with the reason.

    Raises:
      ConfigError: an unknown name, two claims of one name, a configuration that cannot run, or a folder that is not free.
    """
    names, own = [c for c in claims if isinstance(c, str)], [c for c in claims if isinstance(c, Prediction)]
    known = PREDICTIONS | {p.name: p for p in own}
    if len(known) < len(PREDICTIONS) + len(own):
        raise ConfigError(f"claims {', '.join(p.name for p in own)}: must have names of their own, unlike each other and "
                          f"{', '.join(PREDICTIONS)}; rename them")
    judged = [*(chosen(names) if names or not own else ()), *(p.name for p in own)]
    level, done, found = 1 - ERROR_RATE / len(known), {}, []
    started, gap = time.perf_counter(), expected(base.check())
    if folder is not None:
        folder = Path(folder)
        prepare(folder)
        (folder / "figures").mkdir(parents=True)
    for name in judged:
        prediction, since = known[name], time.perf_counter()
        tell(name)
        should = base.training.batch_size is None and (gap or not prediction.needs_gap)
        claim = {"name": name, "number": list(known).index(name) + 1, "statement": prediction.statement,
                 "source": prediction.source, "about": prediction.about, "expected": should,
                 "verdict": "not judged", "reason": None, "diverged": 0, "statistics": []}
        try:
            needs = prediction.needs(base)
            for need in needs.values():
                make_grid(need.config, dict(need.axes)).check()
        except ConfigError as error:
            claim["reason"] = str(error)
        else:
            runs = {key: _found(need, done) for key, need in needs.items()}
            statistics = list(prediction.judge(runs, level))
            claim |= {"verdict": verdict(statistics), "statistics": [_plain(s) for s in statistics],
                      "diverged": sum(int((r["diverged_at"] < math.inf).sum()) for r in runs.values())}
            if folder is not None:
                curves = functools.partial(prediction.draw, runs) if prediction.draw is not None else None
                figure(claim, curves).savefig(folder / "figures" / f"{name}.png", dpi=150)
        found.append(claim | {"seconds": time.perf_counter() - since})
    needed = conditions(base.problem, base.training, base.network, full=base.engine in ("dense", "reduced"))
    far = not needed[0].holds and not gap and any(known[name].needs_gap for name in judged)
    report = {"name": base.name, "note": base.note, "config": json.loads(to_json(base)), "level": level,
              "seeds": base.seeds, "gap_expected": gap, "conditions": [c._asdict() for c in needed],
              "separation": separation(base) if far else None, "claims": found,
              "seconds": time.perf_counter() - started, "environment": environment()}
    if folder is not None:
        write_whole(folder / "verify.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
        write_whole(folder / "report.md", markdown(report))
    return report


def broken(report: dict[str, Any]) -> list[str]:
    """Names of claims that fail although the configuration should satisfy them."""
    return [c["name"] for c in report["claims"] if c["verdict"] == "fails" and c["expected"]]


def _found(need: Need, done: dict[Any, xr.Dataset]) -> xr.Dataset:
    """The runs of a need, computed once for all claims."""
    key = to_json(need.config), need.axes
    if key not in done:
        done[key] = (sweep(need.config, dict(need.axes)) if need.axes else run(need.config)).load()
    return done[key]


def _plain(statistic: Statistic) -> dict[str, Any]:
    tree = statistic._asdict() | {"region": list(statistic.region), "verdict": statistic.verdict}

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None if math.isnan(value) else str(value)
        return value

    return {k: plain(v) for k, v in tree.items()}


def prepare(folder: Path) -> None:
    """Raise `ConfigError` unless a folder is new or empty."""
    if not is_free(folder):
        raise ConfigError(f"--out {folder}: exists and is not empty; must be a new or empty folder; choose another "
                          "or remove it")


def figure(claim: dict[str, Any], draw: Callable[[SubFigure], None] | None = None) -> Figure:
    """The curves behind a claim; under them its statistics: the interval of each, and the region where the claim puts it."""
    rows, curves = claim["statistics"], 3.2 if draw is not None else 0.3
    with matplotlib.rc_context(RC):
        drawn = Figure(figsize=(7.6, curves + 0.5 + 0.75 * len(rows)), layout="constrained")
        parts: Any = drawn.subfigures(2, 1, height_ratios=(curves, 0.75 * len(rows) + 0.2))
        above, below = parts
        if draw is not None:
            draw(above)
        axes = below.subplots(len(rows), 1, squeeze=False).ravel()
        for axis, row in zip(axes, rows, strict=True):
            ends = [v for v in (*row["region"], row["low"], row["high"]) if isinstance(v, (int, float))]
            span = max(ends) - min(ends) or abs(ends[0]) or 1.0
            left, right = min(ends) - 0.15 * span, max(ends) + 0.15 * span
            low, high = (v if isinstance(v, (int, float)) else (left, right)[k] for k, v in enumerate(row["region"]))
            axis.axvspan(low, high, color="0.9", zorder=0)
            if row["value"] is not None and isinstance(row["low"], float):
                colour = VERMILION if row["verdict"] == "fails" else SKY
                axis.plot([row["low"], row["high"]], [0, 0], color=colour, linewidth=3, solid_capstyle="butt")
                axis.plot(row["value"], 0, "o", color="black", markersize=5)
            axis.set_xlim(left, right)
            axis.set_yticks([])
            axis.set_title(f"{row['name']}: {row['verdict']}", fontsize=8, loc="left")
            axis.tick_params(labelsize=7)
        above.suptitle(f"{claim['number']}. {claim['statement']}", fontsize=8)
        below.supxlabel("point and bar: value and interval over seeds; grey: where the claim puts it", fontsize=7)
    return drawn


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
             f"{report['seeds']} seeds; intervals at {100 * report['level']:.4g}% (5% over all predictions together).", "",
             "| # | claim | source | verdict |", "|---|---|---|---|"]
    for c in report["claims"]:
        lines.append(row(c["number"], c["statement"], c["source"], said(c)))
    if report["note"]:
        lines += ["", "Note: " + report["note"]]
    if not report["gap_expected"]:
        lines += ["", no_gap(report)]
    if report["separation"]:
        lines += ["", at_which_size(report), "",
                  row("d", "T_P/T_Q", "lambda T_Q", "S halves Q's loss at, over T_Q", "the same over T_P"), "|---" * 5 + "|"]
        lines += [row(*("never" if v is None else f"{v:.3g}" for v in r.values())) for r in report["separation"]["rows"]]
    for c in report["claims"]:
        lines += ["", f"## {c['number']}. {c['statement']}", "", f"{c['source']}. {c['about']}", "",
                  "| statistic | value and interval | theory | holds within | verdict |", "|---|---|---|---|---|"]
        lines += [row(r["name"], interval(r), r["theory"], region(r), r["verdict"]) for r in c["statistics"]]
        if c["reason"]:
            lines += ["", f"Not judged: its runs cannot be made of this configuration. {c['reason']}"]
            continue
        lines += ["", f"![{c['name']}](figures/{c['name']}.png)"]
        if c["diverged"]:
            lines += ["", f"{c['diverged']} of the runs behind this claim diverged."]
    facts = report["environment"]
    lines += ["", f"{report['seconds']:.0f} s. lrtheory {facts['lrtheory']}, jax {facts['jax']}, {facts['device']}.", ""]
    return "\n".join(lines)


def row(*cells: Any) -> str:
    r"""A row of a Markdown table.

    >>> row("|f|", 1)
    '| \\|f\\| | 1 |'
    """
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def no_gap(report: dict[str, Any]) -> str:
    """Why L-S and S are not expected to come apart, with numbers."""
    return ("No gap between L-S and S is expected of this configuration: "
            + "; ".join(f"({c['name']}) {c['meaning']} = {c['value']:.3g}, needs {c['bound']}"
                        for c in report["conditions"] if not c["holds"]) + ".")


def at_which_size(report: dict[str, Any]) -> str:
    """From which d on the theorem's exponents separate Q from P, in a sentence."""
    found = report["separation"]
    first = ("at no d of the table" if found["q_first_from"] is None else
             f"only from d = {found['q_first_from']:.0e} on (decades)")
    d = report["config"]["problem"]["d"]
    return (f"With this configuration's constants and the theorem's exponents in d (here d = {d}), "
            f"S, followed at infinite width, halves Q's loss before P's time T_P {first}, and T_P/T_Q passes 100 near "
            f"d = {found['clear_from']:.1e}.")


def said(claim: dict[str, Any]) -> str:
    """A verdict in words."""
    if claim["verdict"] == "not resolved":
        return "not resolved at this size"
    unexpected = claim["verdict"] == "fails" and not claim["expected"]
    return claim["verdict"] + (" (not expected to hold here)" if unexpected else "")
