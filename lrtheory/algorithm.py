"""What an algorithm is: schedules on one clock under a name; which of them run, from which seeds.

Lives here: `Algorithm`, the names L-S, S and S+noise, algorithms from words, the check of a choice of algorithms and seeds.
Lives elsewhere: schedules as such (schedule, wording), the numbers of the named ones (theory.training, vision.config).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from lrtheory.schedule import Schedule, concrete
from lrtheory.spec import ConfigError, require, require_choice, require_count, require_kind, shown, spec, static, swept
from lrtheory.stages import Stages, stack
from lrtheory.wording import in_words, schedule_from, words_of

AlgorithmName = Literal["L-S", "S", "S+noise"]
"""Names of the algorithms: large, then small rate; small rate; small rate with annealed pre-activation noise."""
ALGORITHMS: tuple[str, ...] = get_args(AlgorithmName)
"""The same, as a tuple."""
PARTS = {"rate": "rate", "activation noise": "activation_noise", "injected noise": "injected_noise"}
"""What the schedules of an algorithm are called in words, and their fields."""


@spec(kw_only=False)
class Algorithm:
    """Three schedules on one clock, under a name: what is to be annealed. Source: section 3, where L-S anneals the rate.

    The two-layer network's clock is time (the sum of rates), its loss the excess L - q log 2 over that of a network which
    knows P alone (nat), its activation noise in units of tau0 |x|, its injected noise in units of its balanced value
    (assumption 3.1). The clock of the CIFAR-10 experiment is in epochs done, its activation noise in units of BatchNorm's
    outputs, and it injects none; there and in `lrtheory.train` the loss is the training loss itself.

    >>> from lrtheory import Algorithm, anneal_at_loss
    >>> mine = Algorithm(rate=anneal_at_loss(0.02, 2e-6, 0.21), name="mine")
    >>> mine == Algorithm.from_text("mine: 0.02 until loss 0.21, 2e-6")
    True
    """

    rate: Schedule = swept()
    """the learning rate eta_t"""
    activation_noise: Schedule | None = swept(default=None)
    """standard deviation of the noise before every ReLU; None: none"""
    injected_noise: Schedule | None = swept(default=None)
    """injected noise over its balanced value, or over noise_scale; None: as the configuration's training has it"""
    name: str = static(default="mine")
    """what results call it"""

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Those it has: rate, activation noise, injected noise."""
        return tuple(s for s in (self.rate, self.activation_noise, self.injected_noise) if s is not None)

    @property
    def noisy(self) -> bool:
        """Whether it may have activation noise at any time."""
        return not silent(self.activation_noise)

    def replace(self, **changes: Any) -> "Algorithm":
        """A copy with fields changed."""
        return dataclasses.replace(self, **changes)

    def settled(self, until: Callable[[], float]) -> "Algorithm":
        """The same with numbers, words and functions (sampled up to the clock `until()`) as schedules, or `ConfigError`."""
        def one(field: str) -> Schedule | None:
            given = getattr(self, field)
            if given is None or isinstance(given, Schedule):
                return given
            try:
                return schedule_from(given, until=until() if callable(given) else None)
            except ConfigError as error:
                raise ConfigError(f"algorithms.{self.name}.{field}: {error}") from None

        if self.rate is None:
            raise ConfigError(f"algorithms.{self.name}.rate = None: must be a schedule; give one")
        return dataclasses.replace(self, **{field: one(field) for field in PARTS.values()})

    def check(self) -> None:
        """Raise `ConfigError` with the first thing that is wrong."""
        require(isinstance(self.name, str) and self.name.isprintable() and 0 < len(self.name) <= 100, "algorithms.name",
                repr(self.name), "a line of 1 to 100 printable characters", "choose another")
        for field in PARTS.values():
            schedule, where = getattr(self, field), f"algorithms.{self.name}.{field}"
            if schedule is not None or field == "rate":
                require_kind(where, schedule, Schedule, "a schedule", "lrtheory.schedule_from makes one of what there is")
                assert isinstance(schedule, Schedule)
                schedule.check(where)

    def must_move(self, literal: str | None) -> None:
        """Raise `ConfigError` for a rate at which a clock that is the sum of rates stands still for ever.

        `literal`: the remedy where K = 1, so that a step at a rate of 0 covers no time.
        """
        rate, values, name = self.rate, self.rate.resolved, f"algorithms.{self.name}.rate"
        moving = max((k for k, pair in enumerate(values) if max(pair) > 0), default=0)  # no stage after it moves
        for k, (stage, (start, end)) in enumerate(zip(rate.stages, values, strict=True)):
            last, field = k == len(values) - 1, "end" if start > 0 else "start"
            require(end > 0 or stage.threshold > -math.inf or k >= moving, f"{name}.{k}.{field}", end,
                    "above 0 where other stages follow",
                    "the clock is the sum of rates: at a rate of 0 it stands still for ever")
            require(start > 0 or literal is None or (last and end == 0), f"{name}.{k}.start", start,
                    "above 0 with a step_time of 0", "the clock is the sum of rates, so the first iteration would never "
                    f"end; start above 0, or {literal}")

    @classmethod
    def from_text(cls, text: str) -> "Algorithm":
        """An algorithm from words: "NAME: RATE; activation noise SCHEDULE; injected noise SCHEDULE", the last two optional.

        Schedules as `wording.in_words` reads them. Raises `ConfigError` for other words.

        >>> Algorithm.from_text("quiet: 2e-6; activation noise 0.3 until loss 0.21, 0").noisy
        True
        """
        require_kind("algorithm", text, str, "text", "such as 'mine: 0.02 until loss 0.21, 2e-6'")
        name, colon, rest = text.partition(":")
        parts = [part.strip() for part in rest.split(";")]
        if not colon or not name.strip() or not parts[0]:
            raise ConfigError(f"algorithm {shown(text)!r}: must be 'NAME: RATE', such as 'mine: warmup 20 to 0.02, hold "
                              f"until loss 0.21, cosine 100 to 2e-6', or one of {', '.join(ALGORITHMS)}; correct it")
        found: dict[str, Schedule] = {}
        for k, part in enumerate(parts):
            word = next((w for w in PARTS if part.lower().startswith(w + " ")), "rate" if k == 0 else None)
            if word is None or PARTS[word] in found:
                raise ConfigError(f"algorithm {shown(text)!r}: {shown(part)!r} must begin with activation noise or injected "
                                  "noise, each once; correct it")
            found[PARTS[word]] = in_words(part[len(word):] if part.lower().startswith(word + " ") else part)
        if "rate" not in found:
            raise ConfigError(f"algorithm {shown(text)!r}: must have a rate; begin with it")
        return cls(**found, name=name.strip())

    def in_words(self) -> str:
        """The words that `from_text` reads, numbers rounded to six digits."""
        parts = [words_of(self.rate)]
        for word, field in list(PARTS.items())[1:]:
            if (schedule := getattr(self, field)) is not None:
                parts.append(f"{word} {words_of(schedule)}")
        return f"{self.name}: " + "; ".join(parts)


def silent(schedule: Schedule | None) -> bool:
    """Whether there is none, or it is known to be 0 at all times."""
    return schedule is None or all(concrete(v) and not np.any(np.asarray(v)) for pair in schedule.resolved for v in pair)


def named(algorithms: Mapping[str, Algorithm]) -> tuple[Algorithm, ...]:
    """Algorithms of a mapping, each called by its key."""
    require(isinstance(algorithms, Mapping), "algorithms", type(algorithms).__name__, "a mapping {name: Algorithm}",
            "beside L-S and S put them into a configuration: config.replace(algorithms=('L-S', 'S', mine))")
    found = []
    for name, algorithm in algorithms.items():
        require(isinstance(algorithm, Algorithm), f"algorithms[{name!r}]", shown(algorithm), "an Algorithm",
                "give lrtheory.Algorithm(rate=...); L-S and S are built in: config.replace(algorithms=('L-S', 'S', mine))")
        found.append(algorithm.replace(name=name))
    return tuple(found)


def name_of(algorithm: str | Algorithm) -> str:
    """What results call an algorithm of a configuration: built in, or its own value."""
    return algorithm if isinstance(algorithm, str) else algorithm.name


def names_of(algorithms: Sequence[str | Algorithm]) -> tuple[str, ...]:
    """Names of a configuration's algorithms, in order."""
    return tuple(map(name_of, algorithms))


def packed(algorithm: Algorithm) -> Algorithm:
    """The same with schedules as arrays of stages."""
    rate, *noises = (getattr(algorithm, field) for field in PARTS.values())
    return Algorithm(*(s if isinstance(s, Stages) or s is None else s.packed() for s in (rate, *noises)), name="")  # type: ignore[arg-type]


def stacked(algorithms: Iterable[Algorithm], axis: int = 0) -> Algorithm:
    """One algorithm with a new axis, for vmap; of one or more, shorter schedules filled up (`stages.stack`)."""
    each = [packed(algorithm) for algorithm in algorithms]
    return Algorithm(*(stack([getattr(a, field) for a in each], axis) if getattr(each[0], field) is not None else None
                       for field in PARTS.values()), name="")  # type: ignore[arg-type]


def unknown(name: str) -> ConfigError:
    """The complaint about an algorithm that has no schedules."""
    return ConfigError(f"algorithms = {name!r}: must be one of {', '.join(ALGORITHMS)}; choose one of these")


def settled_algorithms(algorithms: Any, until: Callable[[], float]) -> Any:
    """Algorithms of a configuration with words, numbers and functions as schedules; what is no algorithm as it is."""
    if not isinstance(algorithms, tuple | list):
        return algorithms

    def one(given: Any) -> Any:
        if isinstance(given, str) and given not in ALGORITHMS and ":" in given:
            return Algorithm.from_text(given)
        return given.settled(until) if isinstance(given, Algorithm) else given

    return tuple(map(one, algorithms))


def check_runs(algorithms: tuple[str | Algorithm, ...], seeds: int, first_seed: int) -> None:
    """Raise `ConfigError` for algorithms, or numbers of seeds, that cannot be run."""
    require(len(algorithms) > 0, "algorithms", algorithms, "at least one", "for example L-S S")
    for algorithm in algorithms:
        if isinstance(algorithm, str):
            require_choice("algorithms", algorithm, ALGORITHMS)
        else:
            algorithm.check()
    names = names_of(algorithms)
    require(len(set(names)) == len(names), "algorithms", names, "different from each other", "name each once")
    require_count("seeds", seeds, 1, "2 or more give standard errors")
    require(0 <= first_seed < 2**31 - seeds, "first_seed", first_seed, "in [0, 2^31 - seeds)", "choose another")

