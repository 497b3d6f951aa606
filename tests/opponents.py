"""What each statistic of each claim is to fail of: claim x statistic x opponent, on planted runs.

    python tests/opponents.py            all claims
    python tests/opponents.py order      those

An opponent is another explanation of what is measured, put in the place of the theory's in the same runs (`honest`). A
statistic that none can fail would be none. tests/test_claims.py holds the table to that.

Lives here: the opponents, where they apply and why not where they do not, the table. Lives elsewhere: runs as the theory has
them (honest), what a claim says (lrtheory.predictions).
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import honest
import numpy as np
import xarray as xr
from honest import T_Q, renamed

from lrtheory import intervals
from lrtheory.predictions import NUMBERS, PREDICTIONS, THEOREM
from lrtheory.predictions import error as error_claim

LEVEL = 0.995
DRAWS = 1000
"""Of the bootstrap: planted effects are large."""
CLAIMS = {name: (PREDICTIONS | THEOREM)[name] for name in sorted(NUMBERS, key=NUMBERS.__getitem__)}

Runs = dict[str, xr.Dataset]
OPPONENTS = {
    "labels": "L-S's runs are given as S's, and S's as L-S's",
    "chance": "f = 0 on P, whatever was learned",
    "quiet": "the noise that blurs does nothing (under S+noise: that on pre-activations): L-S takes S's course",
    "law": "where a law is fitted another exponent, or a constant of twice the size; else the number that is read, wrong"}
"""{opponent: what it is}. law is planted for each statistic by itself, and leaves the others as they were."""


class Table(NamedTuple):
    """Opponents of a claim: planted runs, or why there are none."""

    labels: Callable[[Runs], Runs] | str
    chance: Callable[[Runs], Runs] | str
    quiet: Callable[[Runs], Runs] | str
    law: Mapping[str, Callable[[Runs], Runs]]
    """{beginning of a statistic's name: runs that turn it, and it alone}"""
    differs: bool = True
    """whether the claim says that the algorithms differ: then it fails with their labels exchanged"""


# The four ----------------------------------------------------------------------------------------------------------------


def exchanged(runs: Runs) -> Runs:
    """Labels of L-S and S exchanged wherever both are."""
    swap = {"L-S": "S", "S": "L-S"}
    return {key: run.assign_coords(algorithm=[swap.get(a, a) for a in run["algorithm"].values])
            if run.sizes["algorithm"] > 1 else run for key, run in runs.items()}


def by_chance(runs: Runs) -> Runs:
    """f = 0 on P in all runs: half of the answers wrong, no time at which its loss is halved."""
    said = {"test_error_p": 0.5, "test_loss_p": np.log(2), "loss_p": np.log(2), "time_p_half": np.inf}
    return {key: run.assign({m: xr.full_like(run[m], v) for m, v in said.items() if m in run}) for key, run in runs.items()}


def without_noise(runs: Runs) -> Runs:
    """L-S takes S's course, and anneals when it did."""
    def course(run: xr.Dataset) -> xr.Dataset:
        if not {"L-S", "S"} <= set(run["algorithm"].values):
            return run
        when = {m: run[m].sel(algorithm=["L-S"]) for m in ("annealed_at", "phase")}
        return xr.concat([renamed(run, "S", "L-S").assign(when), run.drop_sel(algorithm="L-S")], "algorithm")

    return {key: course(run) for key, run in runs.items()}


# Planting one number -----------------------------------------------------------------------------------------------------


def wrong(key: str, algorithm: str | int | None, **changes: Any) -> Callable[[Runs], Runs]:
    """Runs in which measurements of one algorithm (None: all; a number: all at that point of the axis) are changed."""
    def plant(runs: Runs) -> Runs:
        run = runs[key].copy(deep=True)
        at: dict[str, Any] = {} if algorithm is None else {"algorithm": algorithm}
        if isinstance(algorithm, int):
            at = {"eta_ratio": run["eta_ratio"].values[algorithm]}
        for metric, change in changes.items():
            here = run[metric].sel(at)
            run[metric].loc[at] = np.asarray(change(here) if callable(change) else change * here)
        return runs | {key: run}

    return plant


def anew(claim: str, **planted: Any) -> Callable[[Runs], Runs]:
    """Runs of a claim made with other arguments."""
    return lambda runs: honest.RUNS[claim](**planted)


def literal(keys: str, algorithm: str, **numbers: Any) -> Callable[[Runs], Runs]:
    """Claims 11 and 12: functions of (configuration, number) for one algorithm in some of their runs."""
    def change(key: str, config: Any, name: str, found: dict[str, float]) -> dict[str, float]:
        if key in keys.split() and name == algorithm:
            found = found | {k: v(config, found[k]) for k, v in numbers.items()}
        return found

    return lambda runs: honest.literal(change)


def by_kappa(power: float) -> Callable[[Any, float], float]:
    return lambda config, value: value * (config.problem.kappa / 0.5) ** power


def literal_as(names: Mapping[str, str], **numbers: float) -> Callable[[Runs], Runs]:
    """Claims 11 and 12: an algorithm's numbers are another's, with some replaced."""
    def change(key: str, config: Any, name: str, found: dict[str, float]) -> dict[str, float]:
        here = honest.literal_numbers(config, names.get(name, name)) if name in names else found
        return {"annealed": found["annealed"]} | {k: v for k, v in here.items() if k != "annealed"} | numbers

    return lambda runs: honest.literal(change)


def variances(of_half: Callable[[xr.DataArray], xr.DataArray]) -> dict[str, Any]:
    return {f"noise_variance_{half}": of_half for half in "wv"}


def sides(runs: Runs) -> Runs:
    """Claim 6: labels exchanged, and L-S's error where S is alone."""
    found = exchanged(runs)
    large = runs["main"]["test_error_p"].sel(algorithm=["L-S"]).assign_coords(algorithm=["S"])
    return found | {key: runs[key].assign(test_error_p=large) for key in ("sharp", "dense")}


def at_every_rate(name: str) -> Callable[[Runs], Runs]:
    """Claim 7: an algorithm's course at every ratio of rates."""
    def course() -> xr.Dataset:
        return xr.concat([renamed(honest.course(), name, n) for n in ("L-S", "S")], "algorithm")

    return lambda runs: honest.transition(course)


def unmitigated(runs: Runs) -> Runs:
    """Claim 8: S+noise takes S's course."""
    run = runs["noisy"]
    return {"noisy": xr.concat([run.sel(algorithm=["L-S", "S"]), renamed(run, "S", "S+noise")], "algorithm")}


def networks_exchanged(runs: Runs) -> Runs:
    """Claim 10: networks of either beside the limit of the other."""
    other = {"L-S": "S", "S": "L-S"}
    return runs | {f"decoupled, {a}": renamed(runs[f"decoupled, {b}"], b, a) for a, b in other.items()}


ONE_ALGORITHM = "one algorithm alone is asked"
NO_P = "nothing is asked of P"
NO_NOISE = "nothing is asked of noise, or of what it does"
TABLES = {
    "variance": Table(exchanged, NO_P, wrong("main", "L-S", **variances(lambda v: 0.2 * v)), {
        "variance over tau0^2 under the large rate throughout": wrong("large", "S", **variances(lambda v: 2 * v)),
        "variance over tau0^2 under the large rate, L-S": wrong("main", "L-S", **variances(lambda v: v.where(v < 0.7, 2.0))),
        "variance over its closed form, L-S": wrong("main", "L-S", **variances(lambda v: v.where(v > 0.7, 1.0))),
        "variance over its closed form, S": wrong("main", "S", **variances(lambda v: 2 * v))}),
    "widths": Table(ONE_ALGORITHM, NO_P, "no noise is injected", {
        "exponent of |f_full": anew("widths", powers=(0.0, -0.5, -0.5)),
        "exponent of gates of W": anew("widths", powers=(-0.5, 0.0, -0.5)),
        "exponent of gates of V": anew("widths", powers=(-0.5, -0.5, -1.0))}, differs=False),
    "plateau": Table(exchanged, NO_P, without_noise, {
        "Q's loss before annealing": wrong("main", "L-S", loss_q=lambda q: q.where(q < 0.5, 0.45)),
        "contrast before annealing": wrong("main", "L-S", contrast=2.0),
        "Q's loss is first halved": wrong("main", "L-S", time_q_half=0.01),
        "time from annealing": wrong("main", "L-S", time_q_half=lambda t: t + 20 * T_Q),
        "length of W's path": wrong("main", "L-S", signal_moved_w=1000.0)}),
    "annealing": Table(ONE_ALGORITHM, "without P no loss falls: never annealed", NO_NOISE, {
        "exponent of the time to anneal in eta1": anew("annealing", in_eta1=-1.0),
        "exponent of the time to anneal in d": anew("annealing", in_d=0.0)}, differs=False),
    "order": Table(exchanged, by_chance, without_noise, {
        "Q halved before P under S": wrong("main", "S", time_q_half=lambda t: t + np.inf),
        "P halved before Q under L-S": wrong("main", "L-S", time_q_half=0.01)}),
    "error": Table(sides, by_chance, without_noise, {
        "error on P at matched": wrong("main", "L-S", test_error_p=lambda e: e.where((e["at"] < 9) | (e["at"] == 16), 0.9)),
        "test loss on P": wrong("main", None, test_loss_p=-1.0),
        "exponent in kappa": wrong("wide", "L-S", test_error_p=0.01),
        "S's error over that of logistic regression on the P-only examples, at T_P/T_Q = 1000":
            wrong("sharp", "S", test_error_p=8.0),
        "S's error over that of logistic regression on the P-only examples, at T_P/T_Q = 889, twice p0":
            wrong("dense", "S", test_error_p=8.0),
        "exponent in T_P/T_Q": wrong("main", "S", test_error_p=4.0),
        "L-S's error over that of logistic": wrong("main", "L-S", test_error_p=8.0)}),
    "transition": Table(at_every_rate("L-S"), by_chance, at_every_rate("S"), {
        "Q halved before P at": wrong("ratios", 1, time_q_half=lambda t: t + np.inf),
        "P halved before Q at": wrong("ratios", 3, time_q_half=0.01),
        "error on P at the smallest rate": wrong("ratios", 0, test_error_p=0.0)}),
    "mitigation": Table(exchanged, by_chance, unmitigated, {
        "S less S+noise, over": wrong("noisy", "S+noise", test_error_p=lambda e: e + 0.01),
        "Q's loss at the end": wrong("noisy", "S+noise", loss_q=12.0)}),
    "microsteps": Table(ONE_ALGORITHM, "P's loss is the same at any K", "S alone is asked", {
        "loss_q": anew("microsteps", loss_q=2.0), "loss_p": anew("microsteps", loss_p=2.0),
        "contrast": anew("microsteps", contrast=2.0)}, differs=False),
    "limit": Table(networks_exchanged, NO_P, NO_NOISE, {
        "exponent of |f_decoupled - f_infinite| in m, L-S": anew("limit", LS=0.0),
        "exponent of |f_decoupled - f_infinite| in m, S": anew("limit", S=-1.0)}),
    "bound": Table(literal_as({"L-S": "S", "S": "L-S"}), literal_as({}, along=0.0, far=0.0), literal_as({"L-S": "S"}), {
        "exponent in kappa of the test loss": literal("kappa", "L-S", along=by_kappa(4)),
        "largest test error": literal("q", "L-S", g=lambda c, v: -v),
        "exponent in eps1": literal("eps1", "L-S", annealed=lambda c, v: v / c.training.eps1),
        "exponent in d'": literal("size", "L-S", annealed=lambda c, v: v * c.problem.d)}),
    "floor": Table(literal_as({"L-S": "S", "S": "L-S"}), literal_as({}, along=0.0, far=0.0), literal_as({"L-S": "S"}), {
        "exponent in kappa of S's test error": literal("held", "S", far=by_kappa(-0.6)),
        "exponent in kappa of S's test loss": literal("held", "S", along=by_kappa(-1))}),
    "noise": Table(exchanged, by_chance, anew("noise", quiet__errors=[0.0007], quiet__p_half=[180], quiet__q_half=[280]), {
        "error on P: L-S without noise less": anew("noise", quiet__errors=[0.0005], finer__errors=[0.0005]),
        "error on P without noise": anew("noise", finer__errors=[0.052]),
        "Q halved before P": anew("noise", quiet__p_half=[5.0], quiet__q_half=[30.0]),
        "largest eta lambda_max": anew("noise", base__rate_sharp=[2.54, 1e-4])}),
    "jitter": Table("L-S alone is asked", NO_P, "without noise no kink moves: not judged", {
        "exponent of the contrast's scatter": anew("jitter", exponent=0.0),
        "scatter of the contrast": anew("jitter", size=2.0),
        "scatter of the time": anew("jitter", late=4.0)}, differs=False),
    "moving": Table("S alone is asked", NO_P, "S alone is asked", {
        "exponent of the scatter": anew("moving", exponent=0.0),
        "contrast at the widest, over its own": anew("moving", own=0.8),
        "contrast at the widest, over that of fixed": anew("moving", fixed=1.0)}, differs=False)}
"""{claim: its opponents}."""


# The table ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Few draws, and errors of classifiers that none has to be fitted for."""
    with mock.patch.object(intervals, "DRAWS", DRAWS), mock.patch.object(error_claim, "classifiers", honest.classifiers):
        yield


def verdicts(claim: str, runs: Runs) -> dict[str, str]:
    """{statistic: verdict}."""
    with quickly():
        found = intervals.decide(lambda level: CLAIMS[claim].judge(runs, level), LEVEL)
    return {s.name: v for s, v in zip(found.statistics, found.verdicts, strict=True)}


def judged(claim: str) -> dict[str, dict[str, str]]:
    """{theory or opponent: {statistic: verdict}}; of law each statistic's own, and "also" those that it turns beside it."""
    runs, opponents = honest.RUNS[claim](), TABLES[claim]
    found = {"theory": verdicts(claim, runs)}
    for name in ("labels", "chance", "quiet"):
        plant = getattr(opponents, name)
        found[name] = {} if isinstance(plant, str) else verdicts(claim, plant(runs))
    found["law"], found["also"] = {}, {}
    for start, plant in opponents.law.items():
        turned = verdicts(claim, plant(runs))
        [statistic] = [s for s in turned if s.startswith(start)]
        found["law"][statistic] = turned.pop(statistic)
        found["also"] |= {f"{s}, by the law of {statistic}": v for s, v in turned.items() if v != "holds"}
    return found


def shown(claim: str) -> str:
    """A claim's part of the table, and why an opponent does not apply."""
    found, opponents = judged(claim), TABLES[claim]
    lines = [f"{NUMBERS[claim]}. {CLAIMS[claim].statement}"]
    for statistic in found["theory"]:
        cells = [found[name].get(statistic, "") for name in ("theory", *OPPONENTS)]
        lines.append(f"  {statistic[:84]:84}" + "".join(f"{cell if cell != 'not resolved' else '?':>8}" for cell in cells))
    lines += [f"    no {name}: {why}" for name in OPPONENTS if isinstance(why := getattr(opponents, name), str)]
    return "\n".join(lines)


def main(names: list[str]) -> int:
    """Print the table; 2 for a claim that does not exist."""
    if unknown := [name for name in names if name not in CLAIMS]:
        print(f"{' '.join(unknown)}: unknown; must be among {', '.join(CLAIMS)}", file=sys.stderr)
        return 2
    for name, what in OPPONENTS.items():
        print(f"{name}: {what}")
    print(f"\n{'':86}" + "".join(f"{name:>8}" for name in ("theory", *OPPONENTS)))
    for name in names or CLAIMS:
        print(shown(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
