"""The best schedule within a budget, its competitors at their own best numbers, what is not told from it, and networks.

Lives here: `design`, its result and its file. Lives elsewhere: the search (search), drawing (figures), printing (cli).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from lrtheory import files
from lrtheory.algorithm import Algorithm
from lrtheory.devices import require_working
from lrtheory.intervals import student
from lrtheory.labelled import estimate, finite
from lrtheory.optimal.alike import Alike, alike
from lrtheory.optimal.families import FAMILIES, Budget, Family, mean_inverse
from lrtheory.optimal.outcomes import OBJECTIVES, Outcomes
from lrtheory.optimal.search import Best, around, search
from lrtheory.provenance import environment
from lrtheory.schedule import constant
from lrtheory.spec import ConfigError, choose, require, require_choice, require_count, require_kind
from lrtheory.stopping import Interrupted
from lrtheory.theory.config import Config
from lrtheory.theory.runs import predict, run
from lrtheory.theory.timescales import p_time, q_time, stability_bound
from lrtheory.wording import words_of

COMPETITORS = ("constant", "drop", "linear", "cosine", "geometric", "wsd")
"""Families that a design is compared with."""
SEARCHED, FRESH = 2, 10_000
"""Seeds whose data are searched, and how far beyond them the first fresh one lies."""
LEVEL = 0.95
"""Confidence level of the intervals over fresh seeds."""
POINTS = 8192
"""Test points a seed at least by which schedules are judged, where there must be some."""
STABLE = 0.9
"""The peak rate, unless it is said, over the stability bound."""


class Judged(NamedTuple):
    """A family's best schedule on fresh seeds: predicted at infinite width, and measured with neurons."""

    predicted: np.ndarray  # (seeds,) the objective at the end
    measured: np.ndarray  # (seeds,)
    contrast: float  # that was predicted, mean: far below 0 where Q is told apart
    iterations: float  # that were taken, mean

    @property
    def difference(self) -> dict[str, float | None]:
        """Measured less predicted, paired over seeds: mean and Student's interval, None where there is none."""
        found = student("", self.measured - self.predicted, LEVEL, (0.0, 0.0), "")
        return {"mean": finite(found.value), "low": finite(found.low), "high": finite(found.high)}

    @property
    def agrees(self) -> bool | None:
        """Whether the interval of the difference has 0 in it; None where there is no interval."""
        low, high = self.difference["low"], self.difference["high"]
        return None if low is None or high is None else low <= 0 <= high


@dataclasses.dataclass(frozen=True)
class Design:
    """What came out of `design`."""

    config: Config
    """as it was given"""
    budget: Budget
    """what a training may cost"""
    objective: str
    """what was made least"""
    best: Best
    """of the family that was asked for"""
    competitors: tuple[Best, ...]
    """of the other families, each at its own best numbers"""
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    """the neighbourhood of the optimum: {number: (values, outcomes)}"""
    judged: dict[str, Judged]
    """{family: on fresh seeds}; empty if that was not asked for"""
    alike: Alike | None = None
    """what fresh seeds do not tell from the best; None if that was not asked for"""
    unfinished: bool = False
    """whether an end was asked for before all families were searched and judged"""

    @property
    def tree(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        def told(best: Best) -> dict[str, Any]:
            found: dict[str, Any] = {
                "schedule": words_of(best.schedule), "numbers": best.numbers, "searched": best.value, "time": best.time,
                "at_bounds": best.at_bounds, "restarts_differ_by": best.spread, "runs_a_seed": best.evaluations}
            if (judged := self.judged.get(best.family.name)) is not None:
                found |= {"predicted": estimate(judged.predicted), "measured": estimate(judged.measured),
                          "difference": judged.difference, "agrees": judged.agrees, "contrast": judged.contrast,
                          "iterations": judged.iterations}
            return found

        return {"objective": self.objective, "budget": self.budget._asdict(), "family": self.best.family.name,
                "families": {b.family.name: told(b) for b in (self.best, *self.competitors)},
                "neighbourhood": {name: {"values": x.tolist(), self.objective: y.tolist()} for name, (x, y) in
                                  self.curves.items()},
                "not_told_from_the_best": None if self.alike is None else self.alike.tree,
                "time_scales": {"T_Q": q_time(self.config.problem), "T_P": p_time(self.config.problem)},
                "unfinished": self.unfinished, "level": LEVEL, "environment": environment()}

    def save(self, folder: str | Path) -> Path:
        """Write design.json into a folder that `files.prepare_folder` made."""
        path = Path(folder) / "design.json"
        files.write_json(path, self.tree)
        return path


def family_of(given: str | Family, peak: float, moving: bool = False) -> Family:
    """A family by name, in words, or as it is, checked. Raises `ConfigError`."""
    if isinstance(given, str):
        given = Family.from_text(given) if ":" in given else choose(FAMILIES, given, "family")(peak)
    require_kind("family", given, Family, "a name, words or a Family", f"one of {', '.join(FAMILIES)}")
    return given.check(peak, moving)


def design(config: Config, family: str | Family = "drop", *, time: float | None = None, iterations: float | None = None,
           peak: float | None = None, objective: str = "test_error", competitors: Sequence[str] = COMPETITORS,
           seeds: int = 8, tell: Callable[[str], None] = lambda text: None) -> Design:
    """The schedule of a family that ends with the least error or loss within a budget. Derived here.

    The infinite-width limit is a deterministic function of a schedule's numbers; it is searched on the data of two seeds,
    by places spread over the bounds and by derivatives through the leaps. What is searched is a blurred error on few data.
    Fresh seeds then say, by the error itself, what they do not tell from the best: a range of each of its numbers, and which
    other families (`optimal.alike`). Last, each family's best is run on them, at infinite width and with neurons.

    Args:
      config: the problem, the network and the noise; its seeds but the first, and its algorithms, do not matter.
      family: a name of `optimal.families.FAMILIES`, words with LOW..HIGH for free numbers (`Family.from_text`), or a value.
      time: the budget in time, the sum of rates; without a budget, the config's own.
      iterations: the budget in iterations instead.
      peak: largest rate; None: 0.9 of the stability bound.
      objective: test_error, test_error_p, test_loss, test_loss_p or train_loss, at the end.
      competitors: other families by name, each at its own best numbers.
      seeds: fresh ones for the judgement; 0: none.
      tell: told what is being done.

    Raises:
      ConfigError: a budget, bounds or a family that are impossible.
      Interrupted: on the command line, an end was asked for; with what was found so far, or None before the first optimum.

    >>> import lrtheory as lt
    >>> lt.design(lt.preset("phase"), "drop", time=10.0, iterations=100.0)
    Traceback (most recent call last):
    ...
    lrtheory.spec.ConfigError: time and iterations = 10.0 and 100.0: must be one number and None; give either, time is the \
sum of rates
    """
    require_kind("config", config, Config, "a Config", "such as lrtheory.preset('phase')")
    config = config.check()
    require_choice("objective", objective, OBJECTIVES)
    require_count("seeds", seeds, 0, "2 or more give intervals, 0 leaves the judgement out")
    require_kind("competitors", competitors, (list, tuple), "a list of families by name", "() for none")
    bound = stability_bound(config.problem)
    peak = STABLE * bound if peak is None else peak
    if time is None and iterations is None:
        time = config.training.duration
    budget = Budget(peak, time, iterations).check()
    if peak >= bound:
        raise ConfigError(f"--peak {peak:g}: must be below the stability bound 2/lambda_max = {bound:.4g} of this problem; "
                          "lower it")
    chosen = family_of(family, peak, iterations is not None)
    others = [family_of(name, peak, iterations is not None) for name in competitors if name != chosen.name]
    require_working()
    wide = config.replace(algorithms=("S",), n_test=config.n_test or POINTS, **{
        "training.batch_size": None, "training.activation_noise_form": None, "training.stop_loss": 0.0})
    wide = wide.at_infinite_width()
    outcomes = Outcomes(wide.check(), budget, objective, [config.first_seed + k for k in range(SEARCHED)])
    best = search(outcomes, chosen, tell)
    curves, rest, judged, same = {}, [], {}, None
    try:
        curves = around(outcomes, best)
        for other in others:
            rest.append(search(outcomes, other, tell))
        if seeds:
            points = 0 if wide.has_closed_form else max(wide.n_test, POINTS)
            fresh = Outcomes(wide.replace(n_test=points).check(), budget, objective,
                             [config.first_seed + FRESH + k for k in range(seeds)], blur=0.0)
            same = alike(fresh, best, tuple(rest), LEVEL, tell)
            judged = judge(config, (best, *rest), objective, seeds, tell)
    except Interrupted:
        part = Design(config, budget, objective, best, tuple(rest), curves, judged, same, unfinished=True)
        raise Interrupted(part) from None
    return Design(config, budget, objective, best, tuple(rest), curves, judged, same)


def iterations_of(best: Best) -> float:
    """Iterations of a schedule, int dt/eta."""
    stages = zip(best.schedule.stages, best.schedule.resolved, strict=True)
    return sum(float(stage.duration) * float(mean_inverse(start, end, stage.shape)) for stage, (start, end) in stages)


def judge(config: Config, found: Sequence[Best], objective: str, seeds: int,
          tell: Callable[[str], None] = lambda text: None) -> dict[str, Judged]:
    """Schedules on fresh seeds, at infinite width and with the config's own engine; rate 0 once their time is over."""
    longest = max(best.time for best in found)
    step = config.training.step_time or config.training.eta1
    literal = config.training.step_time == 0  # a step is an iteration, and covers its rate
    steps = max(map(iterations_of, found)) * 1.01 if literal else 1.5 * longest / step
    require(math.isfinite(steps), "training.step_time", config.training.step_time, "above 0 for a schedule that reaches 0",
            "at a rate of 0 an iteration takes no time; set it to training.eta1")
    algorithms = tuple(Algorithm(best.schedule.then(constant(0.0)), name=best.family.name) for best in found)
    trained = config.replace(algorithms=algorithms, seeds=seeds, first_seed=config.first_seed + FRESH, records=8,
                             n_test=max(config.n_test, POINTS), **{"training.steps": math.ceil(steps) + 10,
                                                                 "training.stop_loss": 0.0})
    tell(f"the same on {seeds} fresh seeds, at infinite width ...")
    batches = literal and config.training.batch_size is not None  # the limit of those takes the same steps
    theory = predict(trained if batches else trained.replace(**{"training.steps": math.ceil(longest / step) + 10}))
    tell("... and with neurons")
    measured = run(trained)
    for best in found:
        ends = [float(runs["time"].sel(algorithm=best.family.name).isel(record=-1).min()) for runs in (theory, measured)]
        require(min(ends) >= 0.99 * best.time, f"family {best.family.name}", min(ends),
                f"followed to its end at {best.time:.4g}", "set training.step_time to training.eta1")

    def end(runs: xr.Dataset, metric: str, name: str) -> np.ndarray:
        return runs[metric].sel(algorithm=name).isel(record=-1).values

    return {b.family.name: Judged(end(theory, objective, b.family.name), end(measured, objective, b.family.name),
                                  float(end(theory, "contrast", b.family.name).mean()),
                                  float(end(measured, "iterations", b.family.name).mean())) for b in found}
