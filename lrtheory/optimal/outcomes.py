"""What a schedule ends with at infinite width, and the derivative of that in every number of it.

Lives here: one compiled program for all families, over schedules and seeds. Lives elsewhere: families (families), which
schedules are tried (search).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from lrtheory import stopping
from lrtheory.algorithm import Algorithm
from lrtheory.devices import RUNS, compiler_options, run_mesh
from lrtheory.optimal.families import MOST_NUMBERS, Budget, Family
from lrtheory.schedule import Schedule, Stage, constant
from lrtheory.spec import require_choice
from lrtheory.stages import Stages, stack
from lrtheory.theory import simulate
from lrtheory.theory.config import Config
from lrtheory.theory.engines import ENGINES
from lrtheory.theory.measure import errors, losses, test_errors
from lrtheory.theory.programs import QUICKLY, numbers

OBJECTIVES = ("test_error", "test_error_p", "test_loss", "test_loss_p", "train_loss")
"""What can be made least at the end."""
BLUR = 0.1
"""Errors that are searched are sigma(-margin/BLUR), margins in units of the output; errors that are told are errors."""
TOGETHER, TANGENTS = 4, MOST_NUMBERS
"""Schedules of a call, and directions in which one is differentiated: others are filled up, so that nothing recompiles."""
STAGES = 8
"""Stages of a family at most."""
LOST = 10.0
"""The outcome of a run that diverged."""


class Laid(NamedTuple):
    """A schedule laid on a budget, as arrays."""

    moving: dict[str, Array]  # values, headed and durations (stages,), and the time () that it takes: what is differentiated
    fixed: Stages  # the same stages; its moving parts are not read


def laid(family: Family, budget: Budget, units: Any) -> Laid:
    """The schedule of a family at a place (numbers,) of its box, laid on a budget."""
    schedule, time = budget.lay(family.schedule(list(units)))
    full = stack([schedule.packed(), _FULL])
    stages = jax.tree.map(lambda leaf: leaf[0], full)
    return Laid({"values": stages.values, "headed": stages.headed, "durations": stages.durations, "time": jnp.asarray(time)},
                stages)


_FULL = stack([Schedule(stages=(Stage(shape="linear", start=1.0, end=1.0, duration=1.0),) * STAGES).packed()])
_FULL = jax.tree.map(lambda leaf: leaf[0], _FULL)
"""Stages of every kind, beside which all others are filled up."""


def outcome(config: Config, objective: str, blur: float, setting: simulate.Setting, run: simulate.Run, laid: Laid) -> Array:
    """The objective () at the end of a run under a laid schedule, errors blurred; `LOST` if it diverged.

    At a blur of 0 they are those that a run records.
    """
    stages = laid.fixed._replace(**{name: laid.moving[name] for name in ("values", "headed", "durations")})
    own: Any = stages
    algorithm = Algorithm(own, constant(0.0), constant(config.training.noise_level))
    states = {name: schedule.init() for name, schedule in
              zip(("rate", "activation_noise", "injected_noise"), algorithm.schedules, strict=True)}
    end = simulate.leap_to(config, algorithm, setting, laid.moving["time"], run._replace(**states), whole=False)
    engine = ENGINES[config.engine]
    if objective == "train_loss":
        f, _ = engine.forward(config, setting.inputs, end.network, None)
        value = losses(config.problem, setting.data, f).total
    else:
        readout = engine.read(config, setting.inputs, end.network, setting.test)
        found = errors(config, setting.test, readout, blur) if blur else test_errors(config, setting.test, readout)
        value = found[objective]
    return jnp.where(jnp.isinf(end.diverged_at) & jnp.isfinite(value), value, LOST)


class Outcomes:
    """Outcomes of schedules on the data of some seeds: one program for values, one for derivatives, whatever the family."""

    def __init__(self, config: Config, budget: Budget, objective: str, seeds: Sequence[int], blur: float = BLUR) -> None:
        """`config` is one at infinite width; raises `ConfigError` for an unknown objective."""
        require_choice("objective", objective, OBJECTIVES)
        self.budget, self.objective, self.seeds, self.calls = budget, objective, np.asarray(seeds), 0
        mesh = run_mesh(jax.local_devices(), max(d for d in range(1, len(seeds) + 1) if len(seeds) % d == 0
                                                 and d <= len(jax.local_devices())))
        self.config = numbers(config)
        self._values, self._slopes = _programs(jax.tree.structure(self.config), objective, blur, mesh)

    def values(self, places: Sequence[tuple[Family, np.ndarray]]) -> np.ndarray:
        """Mean over seeds of the objective at some places of families: (places,)."""
        return self.each(places).mean(0)

    def each(self, places: Sequence[tuple[Family, np.ndarray]]) -> np.ndarray:
        """The objective at some places of families: (seeds, places)."""
        found: list[np.ndarray] = []
        for start in range(0, len(places), TOGETHER):
            stopping.heed()
            part = [laid(family, self.budget, list(map(float, units))) for family, units in places[start : start + TOGETHER]]
            filled = part + [part[-1]] * (TOGETHER - len(part))
            together = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *filled)
            found.append(np.asarray(self._values(self.config, self.seeds, together))[:, : len(part)])
            self.calls += len(part)
        return np.concatenate(found, axis=1)

    def slope(self, family: Family, units: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean of the objective at a place, and its derivative (numbers,) in it: forward mode through the leaps."""
        stopping.heed()
        here = laid(family, self.budget, jnp.asarray(units))
        turned = jax.jacfwd(lambda u: laid(family, self.budget, u).moving)(jnp.asarray(units))
        count = len(units)

        def directions(leaf: Array) -> Array:
            first = jnp.moveaxis(leaf, -1, 0)
            return jnp.concatenate([first, jnp.zeros((TANGENTS - count, *first.shape[1:]), first.dtype)])

        value, slopes = self._slopes(self.config, self.seeds, here, jax.tree.map(directions, turned))
        self.calls += 1 + count
        return float(np.asarray(value).mean()), np.asarray(slopes).mean(0)[:count]


@functools.lru_cache(maxsize=16)
def _programs(structure: Any, objective: str, blur: float, mesh: Any) -> tuple[Callable, Callable]:
    """Compiled functions of (config, seeds, ...): values (seeds, schedules), and one value with directional derivatives."""
    everywhere, spread = PartitionSpec(), PartitionSpec(RUNS)
    options = compiler_options(mesh, QUICKLY)

    def begun(config: Config, seed: Array) -> tuple[simulate.Setting, simulate.Run]:
        return simulate.begin(config, Algorithm(constant(1.0), constant(0.0), constant(1.0)), seed)

    def values(config: Config, seeds: Array, together: Laid) -> Array:
        def of(seed: Array) -> Array:
            setting, run = begun(config, seed)
            return jax.lax.map(lambda one: outcome(config, objective, blur, setting, run, one), together)

        return jax.lax.map(of, seeds)

    def slopes(config: Config, seeds: Array, here: Laid, directions: Any) -> tuple[Array, Array]:
        def of(seed: Array) -> tuple[Array, Array]:
            setting, run = begun(config, seed)

            def value(moving: Any) -> Array:
                return outcome(config, objective, blur, setting, run, here._replace(moving=moving))

            found, slope = jax.vmap(lambda along: jax.jvp(value, (here.moving,), (along,)))(directions)
            return found[0], slope

        return jax.lax.map(of, seeds)

    def compiled(function: Callable, arguments: int) -> Callable:
        return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(everywhere, spread, *[everywhere] * arguments),
                                     out_specs=spread, check_vma=False), compiler_options=options)

    del structure
    return compiled(values, 1), compiled(slopes, 2)
