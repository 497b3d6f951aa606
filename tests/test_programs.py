"""Compiled once: what a program depends on, and what it does not."""

import os
from contextlib import contextmanager

import jax
import numpy as np
import pytest
from conftest import same, vary

import lrtheory as lt
from lrtheory.devices import run_mesh
from lrtheory.theory import programs
from lrtheory.theory.programs import Block

pytestmark = pytest.mark.xdist_group("programs")  # they share programs, so one process takes them all

COMPILED = [0]
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: COMPILED.__setitem__(0, COMPILED[0] + event.endswith("backend_compile_duration")))


@contextmanager
def counted():
    """A list whose one entry, in the end, is how many programs were compiled meanwhile, or read from the disk."""
    before, found = COMPILED[0], []
    yield found
    found.append(COMPILED[0] - before)


OTHER_NUMBERS = {"problem__r": 0.25, "problem__gamma0": 0.2, "network__tau_w": 0.5, "training__eta1": 0.3,
                 "training__eta_ratio": 0.2, "training__eps1": 0.2, "training__noise_level": 0.7,
                 "training__anneal_time": 9.0, "training__loss_smoothing": 1.0, "training__stop_loss": 0.01}
OF_NO_PROGRAM = {"name": "other", "note": "other", "first_seed": 5, "required_ratio": 3.0, "records": 5,
                 "training__steps": 70}


@pytest.mark.thorough(but=["decoupled"])
@pytest.mark.parametrize("engine", ["dense", "reduced", "decoupled", "infinite"])
def test_other_numbers_seeds_and_labels_compile_nothing(small, engine):
    config = vary(small, engine=engine, n_test=61)  # of a shape that no other test has
    with counted() as first:
        before = lt.run(config)
    for changes in (OTHER_NUMBERS, OF_NO_PROGRAM, OTHER_NUMBERS | OF_NO_PROGRAM):
        with counted() as again:
            after = lt.run(vary(config, **changes))
        assert again == [0], changes
        assert float(abs(after["train_loss"].isel(record=-1).mean() - before["train_loss"].isel(record=-1).mean())) > 0
    with counted() as repeated:
        same(lt.run(config), before, rtol=0)
    assert repeated == [0]
    assert first[0] >= 2  # the counter counts


@pytest.mark.thorough
def test_a_prediction_is_compiled_once(small):
    lt.predict(small)
    with counted() as again:
        lt.predict(vary(small, **OTHER_NUMBERS))
    assert again == [0]


@pytest.mark.thorough
def test_schedules_of_the_same_stages_compile_nothing(small):
    """Named or your own: a program sees arrays."""
    def staircase(*values, at=(4.0,)):
        return lt.Algorithm(lt.step_decay(values, at), lt.constant(0.0))

    config = vary(small, engine="decoupled")
    lt.run(config)
    own = {"L-S": config.training.algorithm("L-S"), "S": config.training.algorithm("S")}
    with counted() as as_arrays:
        same(lt.run(config, algorithms=own), lt.run(config), rtol=0)
    assert as_arrays[0] <= 1  # stacking them
    lt.run(config, algorithms={"mine": staircase(0.5, 0.05)})
    with counted() as other:
        fast = lt.run(config, algorithms={"another": staircase(0.3, 0.1, at=(7.0,))})
    assert other == [0]
    assert fast["learning_rate"].isel(record=-1).values == pytest.approx(0.1)
    with counted() as longer:
        lt.run(config, algorithms={"mine": staircase(0.5, 0.2, 0.05, at=(4.0, 6.0))})
    assert longer[0] > 0  # another number of stages is another program


@pytest.mark.thorough
def test_a_sweep_with_other_values_compiles_nothing(tiny):
    lt.sweep(tiny, {"eta_ratio": [0.1, 0.2], "r": [0.2, 0.3]}).load()
    with counted() as again:
        lt.sweep(vary(tiny, training__eps1=0.25), {"eta_ratio": [0.3, 0.4], "r": [0.1, 0.35]}).load()
    assert again == [0]


@pytest.mark.thorough(but=["changes3"])
@pytest.mark.parametrize("changes", [{"network__m_v": 48}, {"problem__p0": 0.2}, {"n_test": 32}, {"seeds": 5},
                                     {"network__variant": "conv"}, {"training__batch_size": 8, "training__step_time": 0.0},
                                     {"problem__groups": "iid"}])
def test_what_shapes_a_program_is_compiled_anew(small, changes):
    """And is not mistaken for what was compiled before."""
    config = vary(small, engine="reduced")
    lowered = [programs.lower_block(c, (), Block(1, c.seeds)).follow.as_text() for c in (config, vary(config, **changes))]
    assert lowered[0] != lowered[1]


def test_what_is_kept_is_bounded():
    assert programs.functions.cache_info().maxsize == programs.KEPT


@pytest.mark.thorough
def test_double_precision_is_another_program(small):
    single = lt.run(small)
    with jax.enable_x64(True):
        double = lt.run(small)
    assert double["train_loss"].dtype == np.float64
    np.testing.assert_allclose(lt.run(small)["train_loss"], single["train_loss"], rtol=0)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["dense", "infinite"])
def test_drawing_is_the_same_at_either_level_of_the_compiler(small, engine, monkeypatch):
    config, found = vary(small, engine=engine), []
    assert programs.compiler_options(run_mesh(jax.local_devices()[:1], 1), programs.ONCE) == (
        {} if "--xla_backend_optimization_level=" in os.environ.get("XLA_FLAGS", "") else programs.ONCE)
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # whose choice would stand; that of the session was read when it began
    for once in (programs.ONCE, {}):
        monkeypatch.setattr(programs, "ONCE", once)
        programs.functions.cache_clear()
        block = Block(1, 3)
        lowered = programs.lower_block(config, (), block)
        program = programs.Program(config, block, lowered.padded, lowered.mesh, lowered.spread,
                                   lowered.begin.compile(), None, 0, 0.0)
        assert programs.compiler_options(program.mesh, once) == once
        found.append([jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
                      for x in jax.tree.leaves(programs.start(program, {}, np.arange(3))[3:])])
    programs.functions.cache_clear()
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
