"""Configs: JSON there and back, every kind of bad input refused in one line, fields static or swept."""

import dataclasses
import json
import math
import os
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import vary

from lrtheory import noise
from lrtheory.algorithm import Algorithm
from lrtheory.cli.arguments import run_arguments
from lrtheory.custom.config import Settings
from lrtheory.fields import field_names, from_json, read_config, to_json
from lrtheory.schedule import constant
from lrtheory.spec import ConfigError
from lrtheory.sweeps.grid import make_grid
from lrtheory.theory.config import Config
from lrtheory.theory.presets import PRESETS, preset
from lrtheory.theory.problem import Group
from lrtheory.theory.timescales import blur_time, conditions, p_time, q_time, stability_bound
from lrtheory.vision.config import Experiment


@pytest.mark.parametrize("name", PRESETS)
def test_presets_pass_their_checks_and_survive_json(name):
    config = preset(name).check()
    assert from_json(to_json(config), Config) == config
    assert json.loads(to_json(config))["name"] == name


def test_infinite_and_missing_values_survive_json(small):
    config = vary(small, training__anneal_time=12.0, training__batch_size=7, training__activation_noise_form="shared",
                  problem__N=None, problem__kappa=0.5)
    assert from_json(to_json(config), Config) == config
    assert from_json(to_json(small), Config).training.anneal_time == float("inf")
    assert from_json("{}", Config) == Config()


@pytest.mark.parametrize(("text", "words"), [
    ('{"seeds": 3', "truncated"),
    ('{"sedes": 3}', "unknown key sedes; known keys"),
    ('{"problem": {"rr": 3}}', "unknown key problem.rr"),
    ('{"seeds": "many"}', 'seeds = "many"'),
    ('{"seeds": 2.5}', "seeds = 2.5"),
    ('{"seeds": true}', "seeds = true"),
    ('{"training": {"eta1": null}}', "training.eta1 = null"),
    ('{"algorithms": ["L-S", 3]}', "algorithms = 3"),
    ('{"problem": 3}', "problem. must be a JSON object"),
    ("[]", "the whole file must be a JSON object"),
    ('{"seeds": 3, "seeds": 4}', "the key seeds comes twice"),
    ('{"problem": {"r": 0.1, "p0": 0, "r": 0.2}}', "the key r comes twice"),
    ('{"problem": {"d": ' + 400 * "9" + "}}", "problem.d = 9999999999"),
    ('{"problem": {"r": ' + 400 * "9" + "}}", "problem.r = 9999999999"),
    ('{"problem": {"r": ' + 5000 * "9" + "}}", "thousands of digits"),
    ('{"seeds": -' + 400 * "9" + "}", "must be below 2^63"),
    (100_000 * "[", "nested too deeply"),
    (100_000 * '{"a":', "nested too deeply"),
    ('{"problem": {"extra_groups": [{"share": 0.1}]}}', "problem.extra_groups.name is missing"),
    ('{"problem": {"extra_groups": [{"name": 3, "share": 0.1}]}}', "problem.extra_groups.name = 3"),
    ('{"problem": {"extra_groups": [7]}}', "problem.extra_groups. must be a JSON object"),
    ('{"algorithms": "S"}', 'algorithms = "S": must be a list'),
    ('{"name": "' + 10_000 * "x" + '", "sedes": 3}', "unknown key sedes"),
    ('{"' + 10_000 * "x" + '": 3}', "unknown key xxxxxxxx"),
    ('{"seeds": "\x1b[31m"}', "not valid JSON"),
    ('{"seeds": "\\u001b[31m\\u0007"}', "seeds = "),
    ('{"seeds": "' + 10_000 * "x" + '"}', 'seeds = "xxxxxx'),
    ("", "not valid JSON"),
])
def test_bad_config_files_are_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path, Config)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(("encoding", "said"), [("utf-8-sig", None), ("utf-8", None), ("utf-16", "not text in UTF-8"),
                                                ("utf-32", "not text in UTF-8")])
def test_a_byte_order_mark_is_no_damage(tmp_path, small, encoding, said):
    """That of UTF-8 is passed over; what it says of other encodings is said."""
    path = tmp_path / "config.json"
    path.write_bytes(to_json(small.replace(note="ν")).replace("\\u03bd", "ν").encode(encoding))
    if said is None:
        assert read_config(path, Config) == small.replace(note="ν")
        return
    with pytest.raises(ConfigError, match=said):
        read_config(path, Config)


@pytest.mark.parametrize("change", [
    {"training__eta1": np.float32(0.5)}, {"training__eta1": np.float64(0.5)}, {"training__eta1": jnp.float32(0.5)},
    {"training__eta1": np.array(0.5)}, {"seeds": np.int64(3)}, {"seeds": jnp.asarray(3)}, {"engine": np.str_("decoupled")},
    {"algorithms": ["L-S", "S"]}, {"algorithms": np.array(["L-S", "S"]).tolist()}, {"training__steps": np.uint8(60)},
    {"training__eps1": np.float64(0.3)}, {"problem__extra_groups": []}, {"training__weight_decay": 2e-3},
    {"training__allow_unstable": np.bool_(False)}])
def test_values_of_other_libraries_become_pythons_own(small, change):
    """They are equal, are written and read back, and are what a run holds; as they are without conversion, too."""
    given = vary(small, **change)
    found = given.check()
    assert found == small
    plain = (str, int, float, bool, tuple, type(None))
    for part in (found, found.problem, found.network, found.training):
        assert all(type(getattr(part, f.name)) in plain or dataclasses.is_dataclass(getattr(part, f.name))
                   for f in dataclasses.fields(part))
    assert from_json(to_json(given), Config) == small
    assert make_grid(given, {"r": np.array([0.2, 0.3], np.float64)}).config == small


@pytest.mark.parametrize("change", [
    {"algorithms": "S"}, {"algorithms": "L-S"}, {"algorithms": {"S"}}, {"algorithms": None}, {"seeds": 2.0}, {"seeds": True},
    {"seeds": "3"}, {"training__eta1": "0.5"}, {"training__eta1": 1j}, {"training__eta1": np.array([0.5, 0.4])},
    {"training__eta1": None}, {"training__eta1": Decimal("0.5")}, {"training__eta1": Fraction(1, 2)}, {"problem__r": [0.3]},
    {"problem": None}, {"problem": 8}, {"network": "conv"}, {"name": 3}, {"name": b"x"}, {"problem__d": 8.0},
    {"problem__extra_groups": ("x",)}, {"problem__r": np.bool_(True)}, {"problem__d": 10**30}, {"problem__r": 10**400},
    {"training__eta1": np.ma.masked}])
def test_values_of_other_types_are_refused_by_check(small, change):
    with pytest.raises(ConfigError) as caught:
        vary(small, **change).check()
    assert str(caught.value).isprintable()
    assert "must be" in str(caught.value)


OWN_RATE = Algorithm(constant(0.01), name="mine")
GROUPED = dataclasses.replace(preset("quick").problem, extra_groups=(Group(name="liars", share=0.1, q=-1.0),))


@pytest.mark.parametrize(("config", "field", "declared"), [
    (Config(), "config", "Config"), (Config(), "problem", "Problem"), (Config(), "network", "Network"),
    (Config(), "training", "Training"), (Config(problem=GROUPED), "problem.extra_groups.liars", "Group"),
    (Config(algorithms=("L-S", OWN_RATE)), "algorithms.mine", "Algorithm"),
    (Config(algorithms=("L-S", OWN_RATE)), "algorithms.mine.rate", "Schedule"),
    (Settings(algorithms=(OWN_RATE,)), "algorithms.mine.rate", "Schedule"),
    (Experiment(), "model", "Model"), (Experiment(), "patch", "PatchLaw"), (Experiment(), "training", "SGD")])
def test_a_class_of_ones_own_is_refused_and_not_taken_for_another(config, field, declared):
    """`check` would give back a Model for a subclass with its own `build`: WideResNet would be trained, without a word."""
    def owned(value: Any, path: list[str]) -> Any:
        if not path:
            return type("Mine", (type(value),), {})(**{f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        if isinstance(value, tuple):
            return tuple(owned(one, path[1:]) if getattr(one, "name", None) == path[0] else one for one in value)
        return dataclasses.replace(value, **{path[0]: owned(getattr(value, path[0]), path[1:])})

    bad = owned(config, [] if field == "config" else field.split("."))
    with pytest.raises(ConfigError, match=f"^{field} = a Mine: must be a {declared} itself, no class of your own") as error:
        bad.check()
    assert "\n" not in str(error.value)
    config.check()


@pytest.mark.parametrize(("field", "values"), [
    ("problem__r", (1e200, 1e-200)), ("problem__z_norm", (1e200,)), ("problem__gamma0", (1e200,)),
    ("network__tau_v", (1e200, 1e-200)), ("training__weight_decay", (1e200,)), ("training__eps1", (1e200, -1e200)),
    ("training__anneal_time", (1e200,)), ("training__eta_ratio", (1e-200,)), ("required_ratio", (1e200,)),
    ("problem__kappa", (1e200, 1e-300, 1e-36))])
def test_numbers_that_float32_does_not_hold_are_refused(small, field, values):
    config = vary(small, problem__N=None) if field == "problem__kappa" else small
    for value in values:
        with pytest.raises(ConfigError, match=field.replace("__", ".").replace("problem.kappa", "problem.(kappa|N)")):
            vary(config, **{field: value}).check()
    for half in ("p", "q"):
        with pytest.raises(ConfigError, match=half):
            vary(small, problem__extra_groups=(Group(name="x", share=0.1, **{half: 1e200}),)).check()


def test_a_config_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.json", Config)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("binary.json", "not text"), ("pipe", "not a regular file"), ("", "a folder"),
                       ("/dev/zero", "regular"), ("x" * 300, "cannot be read"), ("a\0b", "cannot be read")):
        with pytest.raises(ConfigError, match=said) as caught:
            read_config(tmp_path / name, Config)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(("change", "words"), [
    ({"training__eta1": -0.1}, "training.eta1 = -0.1"),
    ({"training__eta1": 30.0}, "below the stability bound"),
    ({"training__step_time": 30.0}, "training.step_time = 30: must be below the stability bound"),
    ({"training__eta_ratio": 2.0}, "training.eta_ratio = 2"),
    ({"training__weight_decay": -1.0}, "training.weight_decay = -1"),
    ({"training__noise_level": float("inf")}, "training.noise_level = inf"),
    ({"training__steps": 0}, "training.steps = 0"),
    ({"training__batch_size": 41}, "between 1 and N = 40"),
    ({"training__batch_size": 5}, "K micro-steps would share one batch"),
    ({"training__eps1": float("nan")}, "training.eps1 = nan"),
    ({"training__anneal_time": 0.0}, "training.anneal_time = 0"),
    ({"training__activation_noise_form": "loud"}, "must be one of example, shared"),
    ({"algorithms": ("S", "S")}, "different from each other"),
    ({"algorithms": ("Q",)}, "must be one of L-S, S, S+noise"),
    ({"algorithms": ()}, "at least one"),
    ({"engine": "warp"}, "engine = 'warp': must be one of dense, reduced, decoupled"),
    ({"network__m_w": 7}, "network.m_w = 7: must be an even number"),
    ({"network__tau_v": 0.0}, "network.tau_v = 0"),
    ({"network__variant": "residual"}, "network.variant = 'residual'"),
    ({"seeds": 0}, "seeds = 0"),
    ({"records": 61}, "between 1 and training.steps = 60"),
    ({"n_test": 0}, "n_test = 0"),
    ({"required_ratio": 0.5}, "required_ratio = 0.5"),
    ({"first_seed": -1}, "first_seed = -1"),
])
def test_impossible_numbers_are_refused_by_name_value_and_bound(small, change, words):
    with pytest.raises(ConfigError) as caught:
        vary(small, **change).check()
    assert words in str(caught.value)
    assert "; " in str(caught.value)  # a remedy follows
    assert "\n" not in str(caught.value)


def test_replace_reaches_into_parts_and_names_what_it_does_not_know(small):
    assert small.replace(seeds=5, **{"problem.r": 0.4}).problem.r == 0.4
    for name in ("problem.q", "sedes", "trainer.eta1"):
        with pytest.raises(ConfigError, match=f"unknown config field {name}"):
            small.replace(**{name: 1})


def test_unknown_preset():
    with pytest.raises(ConfigError, match="preset fast: must be one of quick, full, literal, mitigation"):
        preset("fast")


def test_swept_fields_are_leaves_and_static_ones_are_structure(small):
    numbers = {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in
               jax.tree_util.tree_flatten_with_path(small)[0]}
    for part in (small.problem, small.network, small.training):
        for field in dataclasses.fields(part):
            if getattr(part, field.name) is None:
                continue  # swept where it is given
            swept = any(n.endswith("." + field.name) for n in numbers)
            assert swept is not field.metadata["static"], field.name
    assert "problem.r" in numbers
    assert "training.eta1" in numbers
    assert set(numbers) < set(field_names(small))


def test_time_scales_are_those_of_the_theory_at_the_literal_exponents():
    """T_Q = 16 pi d^(3/4) / (1 - p0), T_P = 3.3 d: their ratio is 0.066 d^(1/4) for small p0."""
    literal = preset("literal")
    for d in (64, 4096):
        problem = dataclasses.replace(literal.problem, d=d, r=d**-0.75, gamma0=d**-0.5, p0=0.0)
        assert p_time(problem) / q_time(problem) == pytest.approx(0.066 * d**0.25, rel=0.01)
    assert not all(c.holds for c in conditions(literal.problem, literal.training, literal.network, full=False))


def test_time_scales_of_the_reference_run():
    problem = preset("quick").replace(**{"problem.p0": 0.05, "problem.gamma0": 0.3 / 8}).problem
    training = preset("quick").training
    assert q_time(problem) == pytest.approx(2.116, rel=1e-3)
    assert p_time(problem) == pytest.approx(566, rel=2e-3)
    assert blur_time(problem, training, training.eta1) == pytest.approx(0.435, rel=1e-2)
    assert blur_time(problem, training, training.eta1 * 1e-4) == pytest.approx(1749, rel=1e-3)
    assert stability_bound(problem) == pytest.approx(2 / (0.95 * 625 / 8), rel=2e-3)


@pytest.mark.parametrize("level", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("ratio", [1.0, 0.1, 1e-4, 1e-6])
def test_blur_time_is_that_of_the_noise_itself(ratio, level, float64):
    """At t_blur fresh noise is r times what is left of the old, by the recursion of both: no linearisation."""
    config = preset("phase").replace(**{"training.noise_level": level})
    problem, training = config.problem, config.training
    rate = ratio * training.eta1
    time = blur_time(problem, training, rate)
    move = noise.micro_steps(rate, time / rate, training.weight_decay, training.tau_xi)
    assert float(move.kick / (1 + move.shrink)) == pytest.approx(problem.r, rel=1e-3)


@pytest.mark.parametrize("decay", [0.0, 1e-9, 4.6e-4])
def test_blur_time_without_balance_is_that_of_the_noise_itself(decay, float64):
    """Noise that is asked for as a number acts without decay, too; at its balanced value it is the balanced one."""
    config = preset("phase").replace(**{"training.noise_scale": 0.02, "training.noise_level": 0.5,
                                        "training.weight_decay": decay})
    problem, training = config.problem, config.training
    for rate in (training.eta1, 1e-3 * training.eta1):
        time = blur_time(problem, training, rate)
        move = noise.micro_steps(rate, time / rate, decay, training.tau_xi)
        assert float(move.kick / (1 + move.shrink)) == pytest.approx(problem.r, rel=1e-3)
    if decay:
        same = config.replace(**{"training.noise_scale": float(training.balanced)})
        balanced = config.replace(**{"training.noise_scale": None})
        assert blur_time(problem, same.training, 0.01) == pytest.approx(blur_time(problem, balanced.training, 0.01), 1e-4)


def test_a_rate_above_the_stability_bound_is_asked_for_by_name():
    config = preset("phase")
    eta1 = 1.5 * stability_bound(config.problem)
    config = config.replace(**{"training.eta1": eta1, "training.eta_ratio": 1e-8})
    with pytest.raises(ConfigError, match="or set training"):
        config.check()
    said, ends = config.replace(**{"training.allow_unstable": True}).check().cautions
    assert "above the stability bound" in said
    assert "end at different times" in ends


def test_steps_that_are_longer_than_asked_for_are_told_and_bounded():
    """K = round(step_time/eta) iterations of two thirds of it cover four thirds."""
    config = preset("phase")
    assert not config.cautions
    step = 0.85 * stability_bound(config.problem)
    longer = config.replace(**{"training.eta1": step / 1.5 * 0.99, "training.step_time": step})
    with pytest.raises(ConfigError, match=r"training.step_time = .* below the stability bound .* \(K eta, up to"):
        longer.check()
    own = config.replace(algorithms=(Algorithm(constant(0.03), name="mine"), "S"))
    assert own.check().cautions == [
        "a step of K = round(step_time/rate) iterations covers between 0.046 and 0.06 of time, so algorithms end at "
        "different times and are compared at the latest that all reach; rates that step_time is a multiple of end together"]


@pytest.mark.parametrize("name", ["noise_level", "weight_decay"])
def test_nothing_blurs_without_noise_or_decay(name):
    config = preset("phase").replace(**{f"training.{name}": 0.0})
    assert blur_time(config.problem, config.training, config.training.eta1) == math.inf


@pytest.mark.parametrize("name", ["quick", "full", "mitigation"])
def test_presets_that_promise_the_effect_meet_its_conditions(name):
    config = preset(name)
    found = conditions(config.problem, config.training, config.network, full=config.engine != "decoupled")
    assert all(c.holds for c in found), [c for c in found if not c.holds]


def named(config):
    found = conditions(config.problem, config.training, config.network, full=config.engine in ("dense", "reduced"))
    return {c.name: c for c in found}


def test_a_run_that_is_too_long_lets_both_algorithms_forget():
    """At 10 times quick's length L-S and S err alike (0.0070 and 0.0076 at infinite width): condition G alone says so."""
    config = preset("quick")
    assert named(config)["G"].value == pytest.approx(4.6e-4 * 520, rel=1e-6)
    long = named(config.replace(**{"training.steps": 260_000}))
    assert [name for name, c in long.items() if not c.holds] == ["G"]
    literal = named(config.replace(**{"training.step_time": 0.0}))  # S is followed to time 0.052 only
    assert literal["G"].value == pytest.approx(4.6e-4 * 0.052, rel=1e-6)


def test_kinks_of_a_shared_matrix_are_those_of_all_its_neurons():
    """Condition F for conv: neither tau_v nor m_v exists there, U has m_w + m_v neurons of scale tau_w."""
    config = preset("full")
    assert named(config)["F"].value == pytest.approx(1.07, rel=0.01)
    shared = named(config.replace(**{"network.variant": "conv"}))["F"]
    assert shared.value == pytest.approx(0.0476, rel=0.01)
    assert not shared.holds
    assert "tau_w" in shared.meaning
    assert named(config.replace(**{"network.variant": "conv", "network.tau_v": 99.0}))["F"].value == shared.value


def test_what_a_user_gives_takes_back_what_a_preset_gives_in_another_way():
    """N on a preset with kappa, by `replace`, as an axis and on the command line; both given contradict each other."""
    base = preset("phase")
    assert base.problem.kappa is not None
    assert base.replace(**{"problem.N": 192}).check().problem.n_train == 192
    back = base.replace(**{"problem.N": 192}).replace(**{"problem.kappa": 0.5})
    assert (back.problem.N, back.problem.n_train) == (None, 4 * base.problem.d)
    with pytest.raises(ConfigError, match="give one at most"):
        base.replace(**{"problem.N": 192, "problem.kappa": 0.5}).check()
    config, _, _ = run_arguments(["--preset", "phase", "--problem.N", "192"])
    assert config.check().problem.n_train == 192
    assert run_arguments(["--preset", "phase"])[0] == base
    with pytest.raises(ConfigError, match="give one at most"):
        run_arguments(["--preset", "phase", "--problem.N", "192", "--problem.kappa", "0.3"])[0].check()
