"""Verifying the theory: run what the predictions need, judge them together, write each as it is judged.

Lives here: budgets and settings, the correction for many claims, verify.json, from which one goes on. Lives elsewhere: the
claims (one file each) and the rule that decides one (base), what is told of them (words, figures).
"""

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrtheory.fields import from_json, plain, to_json
from lrtheory.files import Damaged, locked, read_sealed, reason, require_free, require_name, write_sealed, write_whole
from lrtheory.intervals import decide
from lrtheory.predictions import NUMBERS, PREDICTIONS, THEOREM, Need, Prediction, words
from lrtheory.predictions.base import lasting
from lrtheory.predictions.figures import figure
from lrtheory.provenance import environment
from lrtheory.spec import ConfigError, choose, require_kind, require_path
from lrtheory.stopping import Interrupted
from lrtheory.sweeps.course import sweep
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.config import Config
from lrtheory.theory.presets import preset
from lrtheory.theory.runs import run
from lrtheory.theory.theorem import dimension, precision, theorem
from lrtheory.theory.timescales import conditions, p_time, q_time

ERROR_RATE = 0.05
"""Chance, over all claims together, that a verdict "holds" or "fails" is wrong, as far as intervals cover (`intervals`).

Each claim has an equal part (Bonferroni); within a claim `intervals.decide` corrects what fails, and need not what holds."""
EFFECT = {"A": (50.0, math.inf), "B": (0.0, 0.3), "D": (100.0, math.inf), "G": (0.0, 1.7)}
"""{condition: values} at which the gap has been seen here: looser than those of timescales, where it is clear.

Preset phase at infinite width: at t_blur(eta2)/T_Q = 124 S's error on P is 11 times L-S's, at lambda t = 1.7 5 times.
"""
BUDGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("phase", {"seeds": 24, "training.steps": 8000}), "standard": ("quick", {"seeds": 16}),
    "gpu": ("quick", {"seeds": 256})}
"""What a budget runs: {name: (preset, changes)}."""
SETTINGS: dict[str, dict[str, Any]] = {
    "block": {},
    "conv": {"network.variant": "conv"},
    "minibatch": {"training.batch_size": 32, "training.step_time": 0.0, "training.eta_ratio": 0.03, "seeds": 12},
}
"""Where the claims are judged: the theorems' own setting, and two outside it.

conv: every neuron sees both halves; the runs are twice as long, by which L-S forgets more of P (condition G).
minibatch: a step is one iteration (K micro-steps would share one batch), so for the runs to end eta2/eta1 is 0.03, not
1e-4, and there are 12 seeds. There t_blur(eta2)/T_Q is 8: enough for S's order, far from the 200 at which its error is
half its ceiling.
"""
LITERAL = "theorem"
"""The setting of claims 11 and 12: the theorems' own exponents at infinite width, in double precision."""
LITERAL_SEEDS = 8
"""Of its budget quick."""
REPORT = "verify.json"
"""The report as a tree, with a digest; of one that is not finished, too."""
LITERAL_AT = 1e36
"""Its d: at 1e30 and below, what small alpha leaves of Q's loss would outweigh p kappa log(1/eps1) at the least kappa."""


def base_config(budget: str, setting: str = "block") -> Config:
    """What a budget (quick, standard or gpu) runs in a setting (block, conv, minibatch or theorem). Raises `ConfigError`."""
    changes = choose(SETTINGS | {LITERAL: {}}, setting, "--setting")
    name, more = choose(BUDGETS, budget, "--budget")
    if setting == LITERAL:
        seeds = LITERAL_SEEDS if budget == "quick" else more["seeds"]
        # its claims take closed forms where runs end; test points cost less than those at every record
        return theorem(LITERAL_AT, seeds=seeds, n_test=64, name=f"verify-{budget}-{setting}")
    base = preset(name).replace(**more)
    time = base.training.duration * (2 if setting == "conv" else 1)
    name = f"verify-{budget}" + (f"-{setting}" if setting != "block" else "")
    return lasting(base.replace(name=name), time, **changes)


def family(base: Config) -> Mapping[str, Prediction]:
    """The claims that are about a configuration: the two at the theorems' own exponents, or the others, at finite size."""
    return PREDICTIONS if dimension(base) is None else THEOREM


def chosen(names: Sequence[str], base: Config | None = None) -> list[str]:
    """Names of predictions in order; none given: all that are about the base or, without one, all. Raises `ConfigError`."""
    known = PREDICTIONS | THEOREM
    for name in names:
        choose(known, name, "--only")
    return [name for name in known if name in names] if names else list(known if base is None else family(base))


def expected(config: Config) -> bool:
    """Whether L-S and S should come apart: conditions A, B, D and G within `EFFECT`."""
    values = {c.name: c.value for c in conditions(config.problem, config.training, config.network, full=False)}
    return all(low <= values[name] <= high for name, (low, high) in EFFECT.items())


def verify(base: Config, claims: Sequence[str | Prediction] = (), *, folder: str | Path | None = None, resume: bool = False,
           tell: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Judge predictions at and around a configuration.

    Args:
      base: the configuration; predictions change of it what they need.
      claims: names of the theory's predictions, and predictions of your own; none: all of the theory's that are about the
        base (`family`).
      folder: where verify.json, report.md and figures/NAME.png go, claim by claim, new or empty; None: nothing is written.
      resume: go on in a folder that has some of the same claims at the same configuration.
      tell: told what is being done.

    Returns:
      A tree: claims with statistics, intervals and verdicts, whether each should hold at this configuration (never with
      minibatches, of which the theorems say nothing), and the level of an interval: 1 - 0.05/n for the n predictions that
      are about the base, whether or not all are judged, a part more for each of your own. A claim holds by these; of its k
      statistics one fails by an interval at 1 - 0.05/(n k). Seeds of which a run diverged enter no statistic. A claim
      whose runs cannot be made of this configuration, or which cannot be judged, is "not judged", with the reason.

    Raises:
      ConfigError: an unknown name, two claims of one name, a configuration that cannot run, or a folder that is not free or,
        resumed, holds other claims.
      OSError: the disk took not all of it; its attribute `found` is the tree.
      Interrupted: on the command line, an end was asked for; with the tree of the claims so far.
    """
    require_kind("base", base, Config, "a Config", "lrtheory.predictions.verify.base_config('quick') makes one")
    require_kind("claims", claims, (list, tuple), "a list of names and predictions", "() for all")
    place = None if folder is None else require_path("folder", folder)
    with precision(base), contextlib.ExitStack() as held:
        return _verified(base.check(), claims, place, resume, tell, held)


def _verified(base: Config, claims: Sequence[str | Prediction], folder: Path | None, resume: bool,
              tell: Callable[[str], None], held: contextlib.ExitStack) -> dict[str, Any]:
    """`verify`, of a checked configuration and in its precision."""
    names, own = [c for c in claims if isinstance(c, str)], [c for c in claims if isinstance(c, Prediction)]
    theirs = PREDICTIONS | THEOREM
    for prediction in own:
        require_name("claims", prediction.name)  # of its figure's file
    if len(theirs | {p.name: p for p in own}) < len(theirs) + len(own):
        raise ConfigError(f"claims {', '.join(p.name for p in own)}: must have names of their own, unlike each other and "
                          f"{', '.join(theirs)}; rename them")
    judged = [*(chosen(names, base) if names or not own else ()), *(p.name for p in own)]
    known = dict(family(base)) | {name: theirs[name] for name in judged if name in theirs} | {p.name: p for p in own}
    numbers = NUMBERS | {p.name: max(NUMBERS.values()) + k for k, p in enumerate(own, 1)}
    level, done = 1 - ERROR_RATE / len(known), {}
    started, gap = time.perf_counter(), expected(base)
    planned = [_planned(known[name], numbers[name], base, gap) for name in judged]
    needed = base.conditions
    far = not needed[0].holds and not gap and any(known[name].needs_gap for name in judged)
    apart = p_time(base.problem) / q_time(base.problem)  # 0 where nothing carries Q
    report = {"name": base.name, "note": base.note, "config": json.loads(to_json(base)), "level": level,
              "seeds": base.seeds, "gap_expected": gap, "conditions": [c._asdict() for c in needed],
              "separation": {f"T_P/T_Q = {k}": base.problem.d * (k / apart) ** 4 for k in (1, 200)}
              if far and 0 < apart < math.inf else None,
              "claims": [], "unfinished": judged, "seconds": 0.0, "environment": environment()}
    if folder is not None:
        kept = _taken(folder, report, [claim for claim, _ in planned], resume, tell, held)
        report |= {name: kept[name] for name in ("claims", "seconds")}
    before, there, trouble = report["seconds"], {claim["name"]: claim for claim in report["claims"]}, None
    report["claims"] = []
    for claim, needs in planned:
        if claim["name"] not in there:
            tell(claim["name"])
            try:
                there[claim["name"]] = _judged(known[claim["name"]], claim, needs, level, done, folder)
            except Interrupted:
                raise Interrupted(report) from None
        report["claims"].append(there[claim["name"]])
        report |= {"unfinished": judged[len(report["claims"]) :], "seconds": before + time.perf_counter() - started}
        trouble = None if folder is None else _kept(folder, report, tell)
    if trouble is not None:
        vars(trouble)["found"] = report
        raise trouble
    return report


def _taken(folder: Path, report: dict[str, Any], planned: Sequence[dict[str, Any]], resume: bool,
           tell: Callable[[str], None], held: contextlib.ExitStack) -> dict[str, Any]:
    """What a folder has of a report, this process's for as long as `held`. Raises `ConfigError` for one of another."""
    known = begun(folder) if resume else None
    try:
        held.enter_context(locked(folder))
        if known is None:
            require_free(folder)
            write_sealed(folder / REPORT, plain(report, nan=None))
        (folder / "figures").mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({reason(error)}); choose another folder") from None
    if known is None:
        return report
    known = begun(folder)  # as it is now that it is ours
    said = ("name", "number", "statement", "source", "about", "fails", "expected")
    asked = {claim["name"]: plain({k: claim[k] for k in said}) for claim in planned}
    same = [*known["unfinished"], *(c["name"] for c in known["claims"])]
    if known["config"] != report["config"] or known["level"] != report["level"] or sorted(same) != sorted(asked) or any(
            asked[c["name"]] != {k: c[k] for k in said} for c in known["claims"]):
        raise ConfigError(f"--resume {folder}: holds claims of another configuration, or others; must be the same; give no "
                          "options, or start anew in another folder")
    now, then = report["environment"], known["environment"]
    for name in ("lrtheory", "jax", "jaxlib", "device", "precision", "git_revision"):
        if then.get(name) != now[name]:
            tell(f"note: {name} was {then.get(name)} for the claims that are there and is {now[name]} now")
    return known


def begun(folder: Path) -> dict[str, Any]:
    """The report that a folder holds, finished or not. Raises `ConfigError`."""
    try:
        found = read_sealed(folder / REPORT)
        if lost := {"config", "level", "claims", "unfinished", "seconds", "environment"} - found.keys():
            raise Damaged(f"no {', '.join(sorted(lost))} in it")
        return found
    except FileNotFoundError:
        raise ConfigError(f"--resume {folder}: no {REPORT} in it; must be a folder that lrtheory verify has begun; correct "
                          "it") from None
    except (OSError, Damaged) as error:
        raise ConfigError(f"--resume {folder}: {REPORT} cannot be gone on from ({reason(error)}); must be as it was "
                          "written; start anew in another folder") from None


def resumed(folder: Path) -> tuple[Config, list[str]]:
    """The configuration and the names of the claims of a folder that is to be finished. Raises `ConfigError`."""
    known = begun(folder)
    names = [*(claim["name"] for claim in known["claims"]), *known["unfinished"]]
    return from_json(json.dumps(known["config"]), Config, f"{folder}/{REPORT}"), names


def _kept(folder: Path, report: dict[str, Any], tell: Callable[[str], None]) -> OSError | None:
    """Write what there is of a report; why it could not be written, which costs no verdict."""
    try:
        write_sealed(folder / REPORT, plain(report, nan=None))
        write_whole(folder / "report.md", words.markdown(report))
    except OSError as error:
        tell(f"note: {folder} cannot be written ({reason(error)}); what is judged will be printed")
        return error
    return None


def _judged(prediction: Prediction, claim: dict[str, Any], needs: Mapping[str, Need], level: float,
            done: dict[Any, xr.Dataset], folder: Path | None) -> dict[str, Any]:
    """A claim with its verdict, drawn into a folder if there is one. Raises `Interrupted`."""
    since = time.perf_counter()
    if claim["reason"] is None:
        try:
            runs = usable(claim, {key: _found(need, done) for key, need in needs.items()})
            decision = decide(functools.partial(prediction.judge, runs), level)
            claim |= {"verdict": decision.verdict, "level_to_fail": decision.level_to_fail, "statistics": [
                plain(s._asdict() | {"verdict": v}, nan=None)
                for s, v in zip(decision.statistics, decision.verdicts, strict=True)]}
        except Interrupted:
            raise
        except Exception as error:  # what is wrong with one claim costs that claim, not the others
            claim["reason"] = _in_one_line(error)
        else:
            if folder is not None:
                claim["undrawn"] = _drawn(prediction, claim, runs, folder / "figures" / f"{prediction.name}.png")
    return claim | {"seconds": time.perf_counter() - since}


def broken(report: dict[str, Any]) -> list[str]:
    """Names of claims that fail although the configuration should satisfy them."""
    return [c["name"] for c in report["claims"] if c["verdict"] == "fails" and c["expected"]]


def _planned(prediction: Prediction, number: int, base: Config, gap: bool) -> tuple[dict[str, Any], Mapping[str, Need]]:
    """A claim before it is judged, and its runs; with the reason, and none, if they cannot be made of this configuration."""
    should = base.training.batch_size is None and (gap or not prediction.needs_gap)
    claim = {"name": prediction.name, "number": number, "statement": prediction.statement, "source": prediction.source,
             "about": prediction.about, "fails": prediction.fails, "expected": should, "verdict": "not judged",
             "reason": None, "diverged": 0, "seeds": 0, "level_to_fail": None, "statistics": [], "undrawn": None}
    needs: Mapping[str, Need] = {}
    try:
        needs = prediction.needs(base)
        for need in needs.values():
            make_grid(need.config, dict(need.axes)).check()
    except ConfigError as error:
        claim["reason"] = str(error)
    return claim, needs


def usable(claim: dict[str, Any], runs: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The runs of a claim without the seeds of which any run diverged, of which the claim is told.

    Statistics are paired over seeds: one is left out of all runs or of none. Raises `ConfigError` if none is left.
    """
    bad: set[int] = set()
    for found in runs.values():
        ended = (found["diverged_at"] < math.inf).transpose("seed", ...).values
        claim["diverged"] += int(ended.sum())
        bad |= set(found["seed"].values[ended.reshape(len(ended), -1).any(1)].tolist())
    kept = {key: r.isel(seed=~np.isin(r["seed"].values, sorted(bad))) for key, r in runs.items()}
    claim["seeds"] = min(found.sizes["seed"] for found in kept.values())
    if claim["seeds"] == 0:
        raise ConfigError("every seed has a run that diverged; lower training.eta1 or training.step_time")
    return kept


def _drawn(prediction: Prediction, claim: dict[str, Any], runs: Mapping[str, xr.Dataset], path: Path) -> str | None:
    """Draw a claim into a file; why it could not be drawn, which costs the figure and not the verdict."""
    curves = functools.partial(prediction.draw, runs) if prediction.draw is not None else None
    try:
        figure(claim, curves).savefig(path, dpi=150)
    except Exception as error:
        return _in_one_line(error)
    return None


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _found(need: Need, done: dict[Any, xr.Dataset]) -> xr.Dataset:
    """The runs of a need, computed once for all claims."""
    key = to_json(need.config), need.axes
    if key not in done:
        done[key] = (sweep(need.config, dict(need.axes)) if need.axes else run(need.config)).load()
    return done[key]
