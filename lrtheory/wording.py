"""Schedules from what people have: numbers, words, functions of the clock.

Lives here: the words for stages, and sampling. Lives elsewhere: stages themselves and their check (schedule).
"""

import functools
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from lrtheory.schedule import MOST_STAGES, Schedule, Stage, concrete, constant
from lrtheory.spec import ConfigError, is_number, require, require_kind, shown

WORDS = {"warmup": "linear", "hold": "constant", "constant": "constant", "linear": "linear", "cosine": "cosine",
         "geometric": "geometric", "inverse-sqrt": "inverse-sqrt"}
"""What a stage in words begins with, and the shape that it means."""
GRAMMAR = ("stages such as 'warmup 20 to 0.02', 'hold until loss 0.21', 'cosine 100 to 2e-6', or a number that holds, "
           "separated by commas")
"""What text must be."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FEWEST, DEEPEST = 8, 14
"""Pieces that a function is first cut into, and how often one is halved: a jump becomes a ramp of 2^-14/8 of the whole."""
ALONE, BLOCK = 100, 4096
"""So many clocks a function is asked one by one; of more, so many at a time."""
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
    if is_number(given) or not concrete(given):
        return constant(given)
    raise ConfigError(f"schedule = {shown(given)}: must be a number, words, a Schedule or a function of the clock; give one")


def _sampled(function: Callable[[Any], Any], until: float | None, tolerance: float) -> Schedule:
    """Straight lines through values of a function, as many as its bends need: pieces are halved, all of a size at a time."""
    require(is_number(until) and 0 < float(until) < math.inf, "until", until,  # type: ignore[arg-type]
            "a clock above 0 up to which the function is sampled", "give one")
    require(is_number(tolerance) and 0 < tolerance < 1, "tolerance", tolerance, "between 0 and 1", "1e-4 is usual")
    until = float(until)  # type: ignore[arg-type]
    at = _values(function, until)
    edges = np.linspace(0.0, until, FEWEST + 1)
    places = np.array([0.0, *LOOKED_AT, 1.0])

    def looked_at(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Values (pieces, places) where pieces are looked at, their ends first and last."""
        clocks = starts[:, None] + (ends - starts)[:, None] * places
        clocks[:, -1] = ends
        return at(clocks.ravel()).reshape(clocks.shape)

    starts, ends, lines = edges[:-1], edges[1:], 0
    values = looked_at(starts, ends)
    allowed = tolerance * np.max(np.abs(values))
    found = {0.0: float(values[0, 0])}
    for depth in range(DEEPEST + 1):
        off = np.max(np.abs(values - (values[:, :1] + (values[:, -1:] - values[:, :1]) * places)), axis=1)
        straight = (off <= allowed) | (depth == DEEPEST)
        found |= dict(zip(ends[straight].tolist(), values[straight, -1].tolist(), strict=True))
        lines += int(np.sum(straight & (values[:, 0] != values[:, -1])))
        bent = ~straight
        if lines + int(bent.sum()) > MOST_STAGES:  # each takes one at least
            raise ConfigError("schedule: a function bends so often that it takes more than that many straight lines up to "
                              f"{until:g}; must be at most {MOST_STAGES:,}; give stages, such as lrtheory.restarts makes")
        if not bent.any():
            break
        middles = (starts[bent] + ends[bent]) / 2
        starts, ends = np.stack([starts[bent], middles], 1).ravel(), np.stack([middles, ends[bent]], 1).ravel()
        values = looked_at(starts, ends)
    clocks = sorted(found)
    stages = [Stage(shape="linear" if found[a] != found[b] else "constant", start=found[a], end=found[b], until=b)
              for a, b in itertools.pairwise(clocks)]
    joined: list[Stage] = []
    for stage in stages:
        if joined and stage.shape == joined[-1].shape == "constant" and stage.start == joined[-1].start:
            joined[-1] = Stage(start=stage.start, end=stage.end, until=stage.until)
        else:
            joined.append(stage)
    if len(joined) == 1 and joined[0].shape == "constant":
        return constant(joined[0].start)
    return Schedule(stages=tuple(joined)).check()


def _values(function: Callable[[Any], Any], until: float) -> Callable[[np.ndarray], np.ndarray]:
    """The values of a function at clocks: one by one or, of many, at once where it can do that and says the same.

    Raises `ConfigError` for values that are no finite numbers.
    """
    def one(clock: float) -> float:
        try:
            return float(function(clock))
        except Exception as error:  # of a stranger's function: anything
            raise ConfigError(f"schedule: a function of the clock must give a number, and not {shown(error)}; "
                              "correct it") from None

    def each(clocks: np.ndarray) -> np.ndarray:
        return np.array([one(clock) for clock in clocks.tolist()])

    def together(clocks: np.ndarray) -> np.ndarray | None:
        blocks = np.resize(clocks, (-(-clocks.size // BLOCK), BLOCK))  # of one size, for what is compiled by sizes
        try:
            values = np.stack([np.asarray(function(block), float) for block in blocks])
        except Exception:  # of one that takes one clock at a time: anything
            return None
        return values.ravel()[: clocks.size] if values.shape == blocks.shape else None

    @functools.cache
    def takes_many() -> bool:
        tried = until * np.array([0.0, 0.1234, 0.5, 0.777, 1.0])
        alone, several = each(tried), together(tried)
        return several is not None and np.allclose(alone, several, rtol=1e-5, atol=1e-7 * np.max(np.abs(alone)))

    def at(clocks: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            values = together(clocks) if clocks.size > ALONE and takes_many() else None
            values = each(clocks) if values is None else values
        for k in np.flatnonzero(~np.isfinite(values))[:1]:
            raise ConfigError(f"schedule: a function of the clock gives {values[k]} at {clocks[k]:g}; must be a number up "
                              f"to {until:g}; correct it")
        return values

    return at


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
    require_kind("schedule", text, str, "words", GRAMMAR)
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
