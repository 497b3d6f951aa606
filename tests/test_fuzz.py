"""Odd values by the hundred: whatever a config, an axis or a manifest says, it is taken or refused in one line."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
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
