"""Schedules from what people have: numbers, words, functions of the clock.

Lives here: the words for stages, and sampling. Lives elsewhere: stages themselves and their check (schedule).
"""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from lrtheory.schedule import MOST_STAGES, Schedule, Stage, constant
from lrtheory.spec import ConfigError, shown

WORDS = {"warmup": "linear", "hold": "constant", "constant": "constant", "linear": "linear", "cosine": "cosine",
         "geometric": "geometric", "inverse-sqrt": "inverse-sqrt"}
"""What a stage in words begins with, and the shape that it means."""
GRAMMAR = ("stages such as 'warmup 20 to 0.02', 'hold until loss 0.21', 'cosine 100 to 2e-6', or a number that holds, "
           "separated by commas")
"""What text must be."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FEWEST, DEEPEST = 8, 14
"""Pieces that a function is first cut into, and how often one is halved: a jump becomes a ramp of 2^-14/8 of the whole."""
LOOKED_AT = (0.118, 0.236, 0.382, 0.5, 0.618, 0.764, 0.91)
"""Where within a piece a function is compared with the straight line: not in steps alike, for functions that repeat."""


def schedule_from(given: Any, *, until: float | None = None, tolerance: float = 1e-4) -> Schedule:
    """A schedule from a number, words, a schedule, or a function of the clock, such as optax's.

    Args:
      given: a number is a constant; words are what `in_words` reads; a function is sampled, value_t = given(t).
      until: clock up to which a function is sampled; it then stays where it is.
      tolerance: error of what lies between its samples, as a share of the largest value; jumps become steep ramps.

    Raises:
      ConfigError: none of these, a function without `until`, or values that no schedule can have.

    >>> import optax
    >>> from lrtheory import schedule_from
    >>> float(schedule_from(0.5)(3)), float(schedule_from("warmup 10 to 0.5, hold")(5))
    (0.5, 0.25)
    >>> sampled = schedule_from(optax.cosine_decay_schedule(1.0, 100), until=100.0)
    >>> round(float(sampled(50)), 3)
    0.5
    """
    if isinstance(given, Schedule):
        return given.check()
    if isinstance(given, str):
        return in_words(given)
    if callable(given):
        return _sampled(given, until, tolerance)
    if getattr(given, "ndim", 0) == 0 and (hasattr(given, "dtype") or isinstance(given, int | float)) and not isinstance(
            given, bool):
        return constant(given)
    raise ConfigError(f"schedule = {shown(given)}: must be a number, words, a Schedule or a function of the clock; give one")


def _sampled(function: Callable[[Any], Any], until: float | None, tolerance: float) -> Schedule:
    """Straight lines through values of a function, as many as its bends need."""
    if until is None or not 0 < until < math.inf:
        raise ConfigError(f"until = {until}: must be a clock above 0 up to which the function is sampled; give one")
    known: dict[float, float] = {}

    def at(clock: float) -> float:
        if clock not in known:
            try:
                known[clock] = float(function(clock))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"schedule: a function of the clock must give a number, and not {shown(error)}; "
                                  "correct it") from None
            if not math.isfinite(known[clock]):
                raise ConfigError(f"schedule: a function of the clock gives {known[clock]} at {clock:g}; must be a number "
                                  f"up to {until:g}; correct it")
        return known[clock]

    edges = [until * k / FEWEST for k in range(FEWEST + 1)]

    def inside(a: float, b: float) -> list[float]:
        return [a + (b - a) * part for part in LOOKED_AT]

    allowed = tolerance * max(abs(at(t)) for pair in itertools.pairwise(edges) for t in (*pair, *inside(*pair)))

    def knots(a: float, b: float, depth: int) -> list[float]:
        off = max(abs(at(t) - (at(a) + (at(b) - at(a)) * (t - a) / (b - a))) for t in inside(a, b))
        if off <= allowed or depth == 0:
            return [b]
        middle = (a + b) / 2
        return knots(a, middle, depth - 1) + knots(middle, b, depth - 1)

    clocks = [0.0]
    for a, b in itertools.pairwise(edges):
        clocks += knots(a, b, DEEPEST)
    stages = [Stage(shape="linear" if at(a) != at(b) else "constant", start=at(a), end=at(b), until=b)
              for a, b in itertools.pairwise(clocks)]
    joined: list[Stage] = []
    for stage in stages:
        if joined and stage.shape == joined[-1].shape == "constant" and stage.start == joined[-1].start:
            joined[-1] = Stage(start=stage.start, end=stage.end, until=stage.until)
        else:
            joined.append(stage)
    if len(joined) > MOST_STAGES:
        raise ConfigError(f"schedule: a function bends so often that it takes {len(joined):,} straight lines up to "
                          f"{until:g}; must be at most {MOST_STAGES:,}; give stages, such as lrtheory.restarts makes")
    if len(joined) == 1 and joined[0].shape == "constant":
        return constant(joined[0].start)
    return Schedule(stages=tuple(joined)).check()


def in_words(text: str, *, ends: bool = False) -> Schedule:
    """A schedule from words: stages separated by commas, each with its modifiers in any order.

    A stage is a number, which holds, or warmup, hold, linear, cosine, geometric or inverse-sqrt. `20` or `for 20`: its
    duration; `to 0.1`: its end; `from 0.3`: its start, without which it begins where the stage before is headed (a warmup
    at 0); `until 50`: a clock; `until loss 0.2`: a loss; `smoothed 20`: time constant of the mean of the loss.
    Raises `ConfigError` for other words, and unless the last stage `ends` for one that does.

    >>> from lrtheory.wording import in_words
    >>> schedule = in_words("warmup 20 to 0.02, hold until loss 0.21, cosine 100 to 2e-6")
    >>> [stage.shape for stage in schedule.stages], schedule.stages[1].threshold
    (['linear', 'constant', 'cosine'], 0.21)
    """
    stages, smoothing = [], 0.0
    for part in text.split(","):
        stage, smoothed = _stage(part.strip().lower(), text)
        stages.append(stage)
        smoothing = smoothing if smoothed is None else smoothed
    last = stages[-1]
    if not ends and ((last.shape == "constant" and min(last.duration, last.until) < math.inf) or last.threshold > -math.inf):
        raise ConfigError(f"schedule {shown(text)!r}: its last stage must have no end; say what comes after it")
    if stages[0].start is None:
        raise ConfigError(f"schedule {shown(text)!r}: its first stage must have a value to start from; say 'from 0.02', or "
                          "begin with a number")
    return Schedule(stages=tuple(stages), smoothing=smoothing).check(f"schedule {shown(text)!r}")


def _stage(part: str, whole: str) -> tuple[Stage, float | None]:
    """One stage, and the smoothing of the loss where it says one."""
    def complaint(wrong: str) -> ConfigError:
        where = "" if part == whole.strip().lower() else f" of {shown(whole.strip())!r}"
        return ConfigError(f"schedule {shown(part)!r}{where}: {wrong}; must be {GRAMMAR}")

    tokens = re.findall(rf"{NUMBER}(?![\w.])|[a-z][a-z-]*|\S", part)
    if not tokens:
        raise complaint("a stage is empty")
    found: dict[str, Any] = {}
    smoothed: float | None = None
    word = tokens.pop(0)
    if word in WORDS:
        found["shape"] = WORDS[word]
        found["name"] = word if word not in ("linear", "cosine", "geometric", "inverse-sqrt", "constant") else ""
        if word == "warmup":
            found["start"] = 0.0
        if tokens and re.fullmatch(NUMBER, tokens[0]):
            found["start" if word == "constant" else "duration"] = float(tokens.pop(0))
    elif re.fullmatch(NUMBER, word):
        found["start"] = float(word)
    else:
        raise complaint(f"{shown(word)!r} begins no stage")
    keys = {"for": "duration", "to": "end", "from": "start", "until": "until"}
    while tokens:
        word = tokens.pop(0)
        if word == "until" and tokens[:1] == ["loss"]:
            tokens.pop(0)
            key = "threshold"
        elif word == "smoothed":
            key = "smoothed"
        elif word in keys:
            key = keys[word]
        else:
            raise complaint(f"{shown(word)!r} is not understood there")
        if not tokens or not re.fullmatch(NUMBER, tokens[0]):
            raise complaint(f"no number after {'until loss' if key == 'threshold' else word!r}")
        value = float(tokens.pop(0))
        if key == "smoothed":
            smoothed = value
        elif key in found and not (word == "from" and found.get("name") == "warmup"):
            raise complaint(f"a second {key if key != 'threshold' else 'until loss'}")
        else:
            found[key] = value
    if found.get("shape", "constant") != "constant" and "end" not in found:
        raise complaint("its end is missing, 'to VALUE'")
    return Stage(**found), smoothed


def words_of(schedule: Schedule) -> str:
    """A schedule in words that `in_words` reads, its numbers rounded to six digits.

    >>> from lrtheory import wsd
    >>> words_of(wsd(0.02, 2e-6, warm=20.0, until_loss=0.21, decay=100.0, shape="cosine", smoothing=20.0))
    'warmup 20 to 0.02, hold until loss 0.21 smoothed 20, cosine 100 to 2e-06'
    """
    parts = []
    for k, stage in enumerate(schedule.stages):
        start, end = schedule.resolved[k]
        if stage.name == "warmup" and stage.shape == "linear":
            said = "warmup"
        elif stage.shape == "constant":
            said = "hold" if stage.start is None else f"{float(start):g}"
        else:
            said = stage.shape
        if np.isfinite(stage.duration):
            said += f" {stage.duration:g}" if said[0].isalpha() else f" for {stage.duration:g}"
        if stage.start is not None and stage.shape != "constant" and not (said.startswith("warmup") and start == 0):
            said += f" from {float(start):g}"
        if stage.shape != "constant":
            said += f" to {float(end):g}"
        if np.isfinite(stage.until):
            said += f" until {stage.until:g}"
        if np.isfinite(stage.threshold):
            said += f" until loss {stage.threshold:g}"
            said += f" smoothed {float(schedule.smoothing):g}" if schedule.smoothing else ""
        parts.append(said)
    return ", ".join(parts)
