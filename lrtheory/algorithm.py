"""What an algorithm is: schedules on one clock; which of them run, from which seeds.

Lives here: `Algorithm`, the names L-S, S and S+noise, the check of a choice of algorithms and seeds. Lives elsewhere:
schedules as such (schedule), the numbers of the named ones (theory.training, vision.config).
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from lrtheory.schedule import Schedule, stack
from lrtheory.spec import ConfigError, require, require_choice, require_count

AlgorithmName = Literal["L-S", "S", "S+noise"]
"""Names of the algorithms: large, then small rate; small rate; small rate with annealed pre-activation noise."""
ALGORITHMS: tuple[str, ...] = get_args(AlgorithmName)
"""The same, as a tuple."""


class Algorithm(NamedTuple):
    """What tells L-S, S and the mitigation apart: two schedules on one clock. Source: section 3.

    The two-layer network's clock is time (the sum of rates), its noise in units of tau0 |x|; the CIFAR-10 experiment's
    clock is in epochs done, its noise in those of BatchNorm's outputs.
    """

    rate: Schedule  # the learning rate eta_t
    activation_noise: Schedule  # standard deviation of the noise before every ReLU


def stacked(algorithms: Iterable[Algorithm]) -> Algorithm:
    """One algorithm with a leading axis, for vmap; of one or more, shorter schedules filled up (`schedule.stack`)."""
    return Algorithm(*(stack(list(schedules)) for schedules in zip(*algorithms, strict=True)))


def unknown(name: str) -> ConfigError:
    """The complaint about an algorithm that has no schedules."""
    return ConfigError(f"algorithms = {name!r}: must be one of {', '.join(ALGORITHMS)}; choose one of these")


def check_runs(algorithms: tuple[str, ...], seeds: int, first_seed: int) -> None:
    """Raise `ConfigError` for names of algorithms, or numbers of seeds, that cannot be run."""
    require(len(algorithms) > 0, "algorithms", algorithms, "at least one", "for example L-S S")
    require(len(set(algorithms)) == len(algorithms), "algorithms", algorithms, "different from each other",
            "name each once")
    for name in algorithms:
        require_choice("algorithms", name, ALGORITHMS)
    require_count("seeds", seeds, 1, "2 or more give standard errors")
    require(0 <= first_seed < 2**31 - seeds, "first_seed", first_seed, "in [0, 2^31 - seeds)", "choose another")
