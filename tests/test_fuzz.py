"""Odd values by the hundred: whatever a config, an axis or a manifest says, it is taken or refused in one line."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lrtheory as lt
from lrtheory.fields import convert_text, field_names, from_json, to_json
from lrtheory.files import read_sealed, write_sealed
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import make_grid, read_axes
from lrtheory.sweeps.manifest import MANIFEST, read_manifest, write_manifest
from lrtheory.sweeps.plan import Cut
from lrtheory.theory.config import Config
from lrtheory.theory.timescales import conditions
from lrtheory.vision.config import Experiment

some = settings(derandomize=True, deadline=None, max_examples=250, database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
KINDS = {"theory": (Config, lt.preset("quick")), "vision": (Experiment, Experiment())}
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1e-300, 1e-160, 1e-40, 1e-36, 1e-8, 0.5, 1.0, 3.0, 1e6, 1e19, 1e36, 1e160, 1e200, 1e308,
                     math.inf, -math.inf, math.nan]), st.floats())
INTS = st.one_of(st.sampled_from([-1, 0, 1, 2, 3, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30, 10**400]),
                 st.integers())
WORDS = st.one_of(st.sampled_from(["", "S", "L-S", "None", "nan", "1e400", "9" * 400, "../../x", "[/b]", "a\nb", "\x1b[31m",
                                   "\udc80", "x" * 100_000, "exact", "block"]), st.text(max_size=20))
SCALARS = st.one_of(st.none(), st.booleans(), FLOATS, INTS, WORDS)
FOREIGN = st.one_of(FLOATS.map(np.float64), st.floats(width=32).map(np.float32), st.integers(-5, 5).map(np.int32),
                    st.floats(width=32).map(jnp.asarray), st.just(np.bool_(True)), st.just(np.str_("S")), st.just(b"S"),
                    st.just(np.arange(3)), st.just(object()), st.just(1j), st.just({1, 2}))
TREES = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)), max_leaves=6)


def refused(error: ConfigError) -> None:
    """The complaint is a line that a terminal shows as it is, and no page."""
    said = str(error)
    assert said.isprintable()
    assert len(said) <= 1200


def tried(call, *arguments):
    """What it returns; None where it refuses."""
    try:
        with np.errstate(all="ignore"):
            return call(*arguments)
    except ConfigError as error:
        refused(error)
        return None


@pytest.mark.thorough(but=["vision"])
@pytest.mark.parametrize("wing", KINDS)
@some
@given(data=st.data())
def test_any_values_in_fields_are_taken_or_refused(wing, data):
    """Taken: plain values that JSON keeps, for which whatever is told of a config before it runs can be told."""
    kind, base = KINDS[wing]
    names = data.draw(st.lists(st.sampled_from(field_names(base)), min_size=1, max_size=3, unique=True))
    changes = {name: data.draw(st.one_of(FLOATS, INTS, TREES, FOREIGN)) for name in names}
    config = tried(lambda: base.replace(**changes))
    found = tried(config.check) if config is not None else None
    if found is not None:
        assert from_json(to_json(found), kind) == found
        hash(found)
        if kind is Config:
            conditions(found.problem, found.training, found.network, full=True)


@pytest.mark.parametrize("wing", KINDS)
@some
@given(data=st.data())
def test_any_json_is_taken_or_refused(wing, data):
    kind, base = KINDS[wing]
    tree = json.loads(to_json(base))
    name = data.draw(st.sampled_from(list(tree)))
    if isinstance(tree[name], dict) and data.draw(st.booleans()):
        tree[name][data.draw(st.sampled_from(list(tree[name])))] = data.draw(TREES)
    else:
        tree[name] = data.draw(TREES)
    found = tried(from_json, json.dumps(tree), kind)
    if found is not None:
        tried(found.check)


@some
@given(tree=TREES, text=WORDS)
def test_any_text_is_a_config_or_refused(tree, text):
    for kind in (Config, Experiment):
        tried(from_json, text, kind)
        tried(from_json, json.dumps(tree), kind)
    for name in ("problem.r", "problem.N", "training.batch_size", "engine"):
        tried(convert_text, Config, name, text)


AXES = st.dictionaries(
    st.one_of(st.sampled_from(["r", "eta_ratio", "problem.N", "kappa", "engine", "batch_size", "seeds", "x"]), WORDS,
              st.tuples(st.sampled_from(["r", "z_norm", "m_v"]), st.sampled_from(["p0", "d", "gamma0"]))),
    st.one_of(st.lists(st.one_of(SCALARS, FOREIGN, st.tuples(SCALARS, SCALARS)), max_size=3), SCALARS), max_size=2)


@some
@given(axes=AXES)
def test_any_axes_are_taken_or_refused(axes):
    grid = tried(make_grid, KINDS["theory"][1], axes)
    if grid is not None and tried(grid.check) is not None:
        grid.coordinates()


@some
@given(st.lists(st.one_of(WORDS, st.tuples(st.sampled_from(["r", "d", "eta1", "x"]), WORDS).map("=".join),
                          st.tuples(st.sampled_from(["r=geomspace", "m_v=linspace"]), FLOATS, FLOATS, INTS)
                          .map(lambda t: f"{t[0]}({t[1]},{t[2]},{t[3]})")), max_size=2))
def test_any_text_of_axes_is_taken_or_refused(words):
    tried(lambda: read_axes(KINDS["theory"][1], words))
    tried(lambda: read_axes(KINDS["theory"][1], [], [words]) if words else None)


@some
@given(data=st.data())
def test_any_manifest_is_taken_or_refused(tmp_path_factory, data):
    """Of a valid digest, for a wrong one is refused before anything is looked at."""
    folder = tmp_path_factory.mktemp("sweep")
    write_manifest(folder, make_grid(KINDS["theory"][1], {"r": [0.02, 0.03], "engine": ["dense"]}), Cut((2, 1), 4))
    tree = read_sealed(folder / MANIFEST)
    for name in data.draw(st.lists(st.sampled_from(list(tree)), min_size=1, unique=True)):
        tree[name] = data.draw(TREES)
    write_sealed(folder / MANIFEST, tree)
    tried(read_manifest, folder)
    (folder / MANIFEST).write_text(data.draw(WORDS), errors="replace")
    tried(read_manifest, folder)


# Odd calls of public functions -------------------------------------------------------------------------------------------


class Reached(Exception):
    """A call that was taken: from here on it would compute."""


def reached(*arguments, **options):
    raise Reached


TINY = Config(problem=lt.Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0, alpha_min=0.2, gamma0=0.3),
              network=lt.Network(m_w=16, m_v=32), training=lt.Training(eta1=0.5, step_time=0.5, steps=60), seeds=3,
              records=6)
LEVELS = {**dict.fromkeys(("time", "test_error_p", "train_loss", "loss_p", "loss_q"), 3), **dict.fromkeys((
    "diverged_at", "annealed_at", "time_p_half", "time_q_half", "time_mixed_half", "threshold_at", "stopped_at"), 2)}


def results(*axes):
    """A dataset as runs have it, with nothing in it."""
    sizes = {"algorithm": 2, "seed": 3, "record": 7}
    dims = [*axes, "algorithm", "seed", "record"]
    return xr.Dataset({name: (dims[: len(axes) + depth], np.ones([sizes.get(d, 2) for d in dims[: len(axes) + depth]]))
                       for name, depth in LEVELS.items()}, attrs={"config": to_json(TINY)},
                      coords={"algorithm": np.array(["L-S", "S"], np.dtypes.StringDType()), "seed": [0, 1, 2]})


RUN, SWEEP = results(), results("eta_ratio")
KEY, ONES = jax.random.key(0), np.ones((4, 3), np.float32)
SIGNED = np.where(np.arange(12).reshape(4, 3) % 5 < 2, -1.0, 1.0)
THREE = {"start": 0.1, "end": 0.2, "duration": 3.0}
DOORS = {
    "run": {"config": TINY, "algorithms": None, "keep": "final", "progress": None},
    "predict": {"config": TINY, "algorithms": None}, "summarise": {"results": RUN, "theory": None},
    "save": {"results": RUN, "folder": "there"}, "load": {"folder": "nowhere"}, "load_theory": {"folder": "nowhere"},
    "neurons": {"runs": RUN}, "conditions": {"problem": TINY.problem, "training": TINY.training, "network": TINY.network,
                                             "full": True},
    "preset": {"name": "quick"}, "sample": {"problem": TINY.problem, "key": KEY},
    "sample_test": {"problem": TINY.problem, "data": None, "n": 4, "key": KEY}, "q_test_error": {"g": np.ones(3)},
    "contrast": {"g": np.ones(3)}, "schedule_from": {"given": 0.1, "until": 9.0, "tolerance": 1e-3},
    "constant": {"value": 0.1}, "step_decay": {"values": [0.1, 0.2], "boundaries": [3.0]},
    "anneal_at_loss": {"before": 0.1, "after": 0.01, "threshold": 0.3, "latest": 9.0, "smoothing": 1.0},
    "warmup": {"peak": 0.1, "duration": 3.0, "start": 0.01}, "linear": THREE, "cosine": THREE, "geometric": THREE,
    "inverse_sqrt": THREE, "wsd": {"peak": 0.1, "end": 0.01, "warm": 1.0, "hold": 3.0, "decay": 3.0, "until_loss": 0.2,
                                   "shape": "cosine", "smoothing": 0.1},
    "cyclic": {"low": 0.1, "high": 0.2, "period": 4.0, "cycles": 2, "shape": "linear"},
    "restarts": {"start": 0.2, "end": 0.1, "period": 4.0, "cycles": 2, "shape": "linear"},
    "scale_by_rate": {"schedule": lt.constant(0.1), "steps_per_clock": 2.0},
    "noisy_sgd": {"schedule": lt.constant(0.1), "weight_decay": 0.1, "tau_xi": 0.1, "key": KEY, "step_time": 0.1},
    "sweep": {"config": TINY, "axes": {"eta_ratio": [0.1, 0.2]}, "folder": None, "chunk": 2},
    "verify": {"base": TINY, "claims": ("variance",)},
    "at_times": {"runs": RUN, "name": "test_error_p", "times": RUN["time"]},
    "train": {"model": lt.Model(lambda key: jnp.ones(3), lambda w, x: x @ w), "data": (ONES, ONES[:, 0]), "algorithms": {
        "S": 0.1}, "tau_xi": 0.1, "at_once": 2, "folder": None, "steps": 10, "records": 2, "seeds": 2, "meanings": None},
    "design": {"config": TINY, "family": "drop", "time": 3.0, "peak": None, "objective": "test_error", "seeds": 0},
    "theorem": {"d": 1e6, "kappa": 0.5, "size": 8, "length": 2.0},
    "limit": {"x": SIGNED, "y": SIGNED[:, 0], "algorithms": {"S": 0.1}, "test": (SIGNED, SIGNED[:, 0]), "groups": {
        "some": [0, 1]}, "weight_decay": 0.1, "tau_xi": 0.1, "time": 2.0, "records": 2, "folder": None, "outputs": True},
    "learning_times": {"x": SIGNED, "y": SIGNED[:, 0], "rates": [0.1], "groups": {"all": [0, 1, 2]}, "test": None,
                       "weight_decay": 0.1, "tau_xi": 0.1, "time": 2.0},
    "learning_curve": {"config": TINY, "counts": [2], "time": 1.0},
    "effective_examples": {"runs": RUN, "level": 0.9}}
OTHERS = {"use_all_cores", "logistic", "softmax", "squared", "Config", "Problem", "Group", "Data", "Network", "Training",
          "Algorithm", "Schedule", "Stage", "ConfigError", "Model", "Balanced"}
ODD = st.one_of(SCALARS, FOREIGN, TREES, st.sampled_from([
    KEY, RUN, SWEEP, TINY, lt.constant(0.1), lt.Algorithm(lt.constant(0.1)), xr.Dataset(), RUN["time"], np.ones((2, 2)),
    np.array([]), np.array("x"), jnp.ones(3), range(3), ..., NotImplemented, Exception("x"), {"S": None}, {1: 2}, ("a", 1),
    "x" * 5000, "mine: 0.1", "hold until loss 0.2", len, int]))


def test_every_public_function_is_called_oddly():
    assert set(lt._HOMES) == set(DOORS) | OTHERS


@pytest.mark.parametrize("name", DOORS)
@settings(derandomize=True, deadline=None, max_examples=40, database=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_an_odd_call_is_taken_or_refused_in_one_line(name, data, tmp_path, monkeypatch):
    """Nothing is compiled: what would compute counts as taken."""
    monkeypatch.chdir(tmp_path)
    for place in ("theory.runs.compile_block", "custom.programs.traced", "custom.runs.require_no_rate",
                  "sweeps.plan.make_plan", "optimal.design.Outcomes", "predictions.verify._verified",
                  "theory.examples._curve", "vision.cifar.load", "wide.runs.compiled"):
        monkeypatch.setattr(f"lrtheory.{place}", reached)
    changed = data.draw(st.lists(st.sampled_from(list(DOORS[name])), min_size=1, max_size=2, unique=True))
    call = DOORS[name] | {argument: data.draw(ODD) for argument in changed}
    try:
        with np.errstate(all="ignore"):
            getattr(lt, name)(**call)
    except Reached:
        pass
    except ConfigError as error:
        refused(error)
