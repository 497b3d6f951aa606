"""What a user of the package from Python meets: names, help, defaults, messages, progress, notebooks."""

import ast
import importlib.metadata
import importlib.resources
import json
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from test_house import FLOORS

import lrtheory as lt
from lrtheory import devices, progress
from lrtheory.cli.main import main
from lrtheory.theory.config import Config
from lrtheory.theory.html import short
from lrtheory.vision.config import SGD, Experiment, Model
from lrtheory.vision.patches import PatchLaw

pytestmark = pytest.mark.xdist_group("runs")


@pytest.fixture(scope="module")
def runs():
    return lt.run(lt.preset("phase").replace(seeds=2, records=4, n_test=16, **{
        "training.steps": 8, "network.m_v": 16, "network.m_w": 8}))


def test_the_package_says_its_version_and_that_it_is_typed():
    assert lt.__version__ == importlib.metadata.version("lrtheory")
    assert importlib.resources.files(lt).joinpath("py.typed").is_file()


def test_every_public_module_is_an_attribute():
    """Of the ground floor and of the theory under its own name."""
    for name in FLOORS:
        wing, _, room = name.rpartition(".")
        if wing in ("", "theory") and room not in ("lazy", "theorem"):  # lt.theorem is the function
            assert isinstance(getattr(lt, room), types.ModuleType), name
            assert room in dir(lt)
    assert {"conditions", "save", "__version__"} <= set(dir(lt))


def promised() -> dict[str, tuple[str, str]]:
    """The public names that type checkers are told: {name: (module, its name there)}."""
    tree = ast.parse(Path(lt.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname: (one.module, alias.name) for one in block.body for alias in one.names}


def test_a_public_name_is_what_type_checkers_are_told():
    """A module and a function of one name would hide each other: theory's `linear` once hid the schedule's."""
    known = promised()
    assert len(lt.__all__) == len(set(lt.__all__))
    assert set(known) <= set(lt.__all__)
    for name, (module, there) in known.items():
        found = getattr(importlib.import_module(module), there, None) or importlib.import_module(f"{module}.{there}")
        assert getattr(lt, name) is found, name


@pytest.mark.parametrize("kind", [lt.Config, lt.Problem, lt.Group, lt.Network, lt.Training, lt.Schedule, Experiment, SGD,
                                  Model, PatchLaw])
def test_help_has_the_meaning_of_every_field(kind):
    said = kind.__doc__.split("Attributes:")[1]
    for name in kind.__dataclass_fields__:
        nested = name in ("problem", "network", "training", "model", "patch")
        assert nested or f"    {name}: " in said, name


def test_defaults_can_be_run():
    for kind in (lt.Config, lt.Problem, lt.Network, Experiment):
        kind().check()
    assert lt.Problem().n_train == 4 * lt.Problem().d
    assert lt.Problem(N=100).n_train == 100


def test_messages_name_arguments_as_python_does(tmp_path, capsys):
    with pytest.raises(lt.ConfigError, match=r"^preset fast: must be one of quick") as error:
        lt.preset("fast")
    assert error.value.in_shell.startswith("--preset fast")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(lt.ConfigError, match="again: lrtheory run --config"):
        lt.load(tmp_path)
    assert main(["run", "--preset", "fast"]) == 2
    assert "--preset fast" in capsys.readouterr().err


def test_a_number_of_devices_that_was_chosen_stays(monkeypatch):
    """By `jax.config.update`, as this session's was."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert devices.chosen()
    devices.use_all_cores()  # neither warns nor changes anything
    assert jax.config.jax_num_cpu_devices == 2


def test_numbers_of_numpy_and_jax_are_numbers(runs):
    problem = lt.Problem(d=np.int64(32), N=jnp.asarray(128), r=np.float32(0.05), z_norm=jnp.asarray(15.8),
                         alpha_min=np.array(1.0))
    assert isinstance(problem.d, int)
    assert lt.sample(problem, jax.random.key(np.int32(0))).x2.shape == (128, 32)
    assert lt.timescales.q_time(problem) > 0
    problem.check()
    config = lt.preset("phase").replace(seeds=np.int64(2), records=jnp.asarray(4), n_test=np.int32(16), **{
        "training.steps": np.int64(8), "training.eta1": np.float64(0.046), "network.m_v": jnp.asarray(16), "network.m_w": 8})
    np.testing.assert_array_equal(lt.run(config)["train_loss"], runs["train_loss"])
    schedule = lt.anneal_at_loss(np.float64(0.5), jnp.asarray(0.1), np.float32(0.3), latest=np.int64(7))
    assert float(schedule(jnp.asarray(8))) == pytest.approx(0.1)
    assert lt.conditions(config.problem, config.training, config.network, full=False)


def test_time_is_a_coordinate(runs):
    assert "time" in runs.coords
    assert runs["train_loss"].coords["time"].dims == ("algorithm", "seed", "record")


def test_a_run_that_is_saved_is_loaded(runs, tmp_path):
    summary = lt.save(runs, tmp_path / "kept")
    assert lt.load(tmp_path / "kept").identical(runs)
    assert json.loads((tmp_path / "kept/summary.json").read_text()) == json.loads(json.dumps(summary))
    with pytest.raises(lt.ConfigError, match="exists and is not empty"):
        lt.save(runs, tmp_path / "kept")


def test_a_summary_shows_itself_in_a_notebook(runs):
    summary = lt.summarise(runs)
    shown = summary._repr_html_()
    assert shown == short(json.loads(json.dumps(summary)))
    for words in ("<th>L-S</th>", "test error on P", "S learns Q first", summary["verdict"]["learning_order"]["verdict"]):
        assert words in shown
    assert "&lt;b&gt;" in short(summary | {"name": "<b>"})


@pytest.fixture
def quick(tiny):
    return tiny.replace(seeds=1)


def test_progress_is_a_bar_for_people_and_nothing_for_pipes(quick, capsys, monkeypatch):
    lt.run(quick, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "terminal", lambda: True)
    monkeypatch.setattr(progress, "Console", lambda **more: Console(force_terminal=True, **more))
    lt.run(quick, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "200 of 200 steps" in err


def test_progress_in_a_notebook_is_one_line_written_anew(quick, monkeypatch):
    shown, updated = [], []

    class Handle:
        def update(self, words, raw):
            updated.append(words["text/plain"])

    def display(words, raw, display_id):
        shown.append(words["text/plain"])
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    lt.run(quick, progress=True)
    assert len(shown) == 1
    assert updated[-1].startswith("200 of 200 steps")


def test_whoever_asks_is_told_himself(quick):
    told = []
    lt.run(quick, progress=lambda done, total, last: told.append((done, total, last["loss_q"].shape)))
    assert told[-1] == (200, 200, (1, 2, 1))
    told.clear()
    lt.sweep(quick, {"eta_ratio": [1e-3, 1e-2]}, progress=lambda done, total, what: told.append((done, total)))
    assert told[-1] == (4, 4)


def test_a_config_is_one_value_whatever_its_numbers_were_made_of():
    assert Config(problem=lt.Problem(d=np.int64(16))).check() == Config(problem=lt.Problem(d=16)).check()
