"""The pages that are made: from the code, and from what commands and scripts have written into `notebooks/pages/stored`."""

import contextlib
import importlib
import itertools
import json
import math
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory import predictions
from lrtheory.cli import arguments, cells
from lrtheory.cli import main as cli
from lrtheory.fields import from_json
from lrtheory.labelled import estimate
from lrtheory.predictions import series
from lrtheory.sweeps.grid import label_of
from lrtheory.theory.config import Config
from lrtheory.theory.theorem import precision
from lrtheory.theory.timescales import p_time, q_time

ROOT = Path(__file__).parent.parent
SITE = ROOT / "notebooks/pages"


@pytest.fixture
def made(monkeypatch):
    """The module that makes tables of pages; those beside it can be imported, too."""
    monkeypatch.syspath_prepend(SITE)
    return importlib.import_module("page_tables")


@pytest.fixture
def kept(made, monkeypatch, tmp_path):
    """The module that runs commands and keeps what they write, its folder an empty one."""
    module = importlib.import_module("stored")
    monkeypatch.setattr(module, "STORED", tmp_path / "stored")
    return module


def test_pages_made_from_code_and_stored_results_are_those_of_today(made):
    """Public names, fields, measurements, what was run and verified; `python notebooks/pages/build.py --site` makes them."""
    for name, text in made.pages().items():
        assert (SITE / name).read_text() == text, name


def test_stored_results_are_of_what_their_commands_run_today(made):
    """A preset or a budget that was changed since leaves an old number on the page; `build.py --measure` makes a new one."""
    assert {p.stem for p in (SITE / "stored").glob("*.json")} <= {*made.COMMANDS, *made.SCRIPTS}
    for name, (command, *words) in made.COMMANDS.items():
        if (found := made.stored(name)) is None:
            continue
        if command == "verify":
            assert importlib.import_module("stored").same_question(name, found), name
        if command == "theorem":
            asked = arguments.theorem_arguments(words)
            planned = series.plan(asked.study, **asked.settings())
            assert len(planned) == len(found["rows"])
            for (at, config), row in zip(planned.items(), found["rows"], strict=True):
                times = p_time(config.problem), q_time(config.problem)
                assert tuple(row[key] for key in series.STUDIES[asked.study].over) == at, name
                np.testing.assert_allclose((row["T_P"], row["T_Q"]), times, rtol=1e-9, err_msg=name)
                assert row["S"]["time_p_half"]["of"] == config.seeds, name
            continue
        if command == "sweep":
            more = ["--data-dir", "there"] if made.kind(name) == "trainings" else []
            _, grid, _ = arguments.sweep_arguments([*words, *more])
            asked = grid.config
            labels = [label_of(field) for axis in grid.axes for field in axis.fields]
            points = [sum(values, ()) for values in itertools.product(*(axis.values for axis in grid.axes))]
            np.testing.assert_allclose([[row[label] for label in labels] for row in found["rows"]], points, err_msg=name)
        elif command == "cifar":
            asked = arguments.cifar_arguments([*words, "--data-dir", "there"])[0].options
        else:
            asked = arguments.run_arguments(words)[0] if command == "run" else arguments.verify_arguments(words)[0].options
        with precision(asked) if isinstance(asked, Config) else contextlib.nullcontext():
            same = [c.replace(note="") for c in (from_json(json.dumps(found["config"]), type(asked)), asked.check())]
            assert same[0] == same[1], name


def test_stored_trainings_are_told_by_todays_rule(made):
    """As far as their curves were kept; those of preset paper are every epoch that the H200 wrote."""
    kept = importlib.import_module("stored")
    curved = {name: found for name in made.COMMANDS if "curves" in (found := made.stored(name) or {})}
    assert {"cifar-paper", "cifar-offset"} <= set(curved)
    for name, found in curved.items():
        assert kept.retold(found) == found, name
        entry = found["algorithms"]["S"]["end"]["accuracy_clean"]
        assert entry["per_seed"] == pytest.approx([np.mean([float(v) for v in line.split()[found["epochs"]["end"][0] - 1 :]])
                                                   for line in found["curves"]["S"]["accuracy_clean"]]), name
    rows = [json.loads(line) for line in (ROOT / "benchmarks/results/paper-h200.jsonl").read_text().splitlines()[1:]]
    for name, curves in curved["cifar-paper"]["curves"].items():
        for metric, (line,) in curves.items():
            assert line.split() == [f"{row[metric]:.5g}" for row in rows if row["algorithm"] == name]


def test_a_command_is_measured_and_its_table_made_of_what_it_wrote(made, kept, monkeypatch, capsys):
    """Of two settings, one not run; what names differ in is told; an unknown name is one line."""
    def stand_in(words, **_):
        folder = Path(words[words.index("--out") + 1])
        folder.mkdir(parents=True)
        row = {"name": f"Q first at t = {0.5 if 'conv' in words else 7.9}", "value": 0.9, "low": 0.8, "high": 1.0,
               "theory": "|f| = 1", "region": [0.85, "inf"], "verdict": "not resolved"}
        today = predictions.PREDICTIONS["order"], predictions.PREDICTIONS["transition"]
        claims = [{"number": k, "verdict": "holds", "expected": True, "statistics": [row], "name": p.name,
                   "statement": p.statement, "source": p.source, "about": p.about, "fails": p.fails}
                  for k, p in ((5, today[0]._replace(about="judged otherwise")), (7, today[1]))]
        if "--only" in words:  # judged anew, as it says today
            asked = words[words.index("--only") + 1 : words.index("--out")]
            claims = [c | {"about": today[0].about, "verdict": "fails"} for c in claims if c["name"] in asked]
        facts = {"device": "cpu", "cpu_cores": 2, "lrtheory": "0.1.0", "git_revision": "abcdefghij", "jax": "1",
                 "date": "2026-01-01T"}
        (folder / "verify.json").write_text(json.dumps({"claims": claims, "seeds": 24, "seconds": 600.0, "config": {},
                                                        "level": 0.996, "environment": facts}))
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(kept.subprocess, "run", stand_in)
    kept.measure(["verify-block", "verify-conv"])
    kept.measure(["verify-conv"])
    said = capsys.readouterr().out
    assert "verify-block (1 of 2): lrtheory verify, never run here" in said
    assert "10 min last time" in said
    *_, old, claim, row = made.verify_table(["verify-block", "verify-conv", "verify-minibatch"])
    assert old.endswith("|  |  | changed since, not run | changed since, not run | not run |")
    assert claim.endswith("|  |  | **holds** | **holds** | not run |")
    assert row == ("|  | Q first at t = 7.9 | \\|f\\| = 1 | above 0.85 | 0.9 [0.8, 1], not resolved | "
                   "0.9 [0.8, 1], not resolved (at 0.5) |  |")
    assert ("| `lrtheory verify` | 24 | 10 min | cpu, 2 cores; lrtheory 0.1.0 at abcdefg, jax 1; 2026-01-01 |"
            in made.made_by(["verify-block"]))
    build = importlib.import_module("build")
    monkeypatch.setattr(build, "made", lambda: None)
    with pytest.raises(SystemExit, match="its configuration or level has changed, too; run all of it"):
        build.main(["--measure", "--changed", "verify-block"])  # told before an hour of runs
    monkeypatch.setattr(kept, "same_question", lambda name, before: True)
    assert build.main(["--measure", "--changed", "verify-block"]) == 0
    found = {c["name"]: c["verdict"] for c in kept.stored("verify-block")["claims"]}
    assert found == {"order": "fails", "transition": "holds"}
    assert "; claim 5 again at abcdefg, 10 min |" in made.made_by(["verify-block"])[-1]
    assert build.main(["--measure", "--changed", "verify-block"]) == 0
    assert "nothing in it has changed" in capsys.readouterr().out
    assert build.main(["--measure", "verify-all"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_benchmark_prints_is_kept_and_told(made, kept, monkeypatch):
    """Numbers are taken from what was printed; what lacks them is an error; what was not run says so."""
    printed = ("jax\nwide V (quick): d = 64, N = 256, 64 + 4096 neurons\n"
               "   256       64   230.10      150      31%         9.2          166.0      4   27\n")
    monkeypatch.setattr(kept.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 0, stdout=printed))
    monkeypatch.setattr(made, "SPEED", (("wide", "speed-sweeps", made.SPEED[5][2], "{} runs/s, {} times"),
                                        ("engine", "speed-engines", "reduced", "{}")))
    kept.measure(["speed-sweeps"])
    assert made.speed_table()[2:] == ["| wide | 230.10 runs/s, 166.0 times | `python benchmarks/sweeps.py` |",
                                      "| engine | not run | `python benchmarks/engines.py` |"]
    assert made.block("speed-sweeps")[1:2] == ["jax"]
    kept.measure(["speed-engines"])
    with pytest.raises(ValueError, match="speed-engines: nothing"):
        made.speed_table()


@pytest.mark.thorough
def test_a_transient_and_a_sweep_are_kept_as_what_their_tables_need(made, kept, tmp_path):
    """Small ones, run and kept; the numbers are those of the results."""
    small = ["--preset", "phase", "--seeds", "2", "--n-test", "512"]
    cli.main(["run", *small, "--engine", "infinite", "--training.steps", "8000", "--out", str(tmp_path / "run")])
    kept.keep("transient-phase", tmp_path / "run", 1.0)
    assert [at["lambda_t"] for at in kept.stored("transient-phase")["over_time"]] == [0.25, 0.5]
    runs = lt.load(tmp_path / "run")
    errors = lt.at_times(runs, "test_error_p", xr.DataArray([0.25 / 0.00225], dims="record")).mean("seed").isel(record=0)
    *_, first, _ = made.transient_table(["transient-phase", "transient-quick"])
    assert first.split(" | ")[:3] == ["| 0.25", *(f"{errors.sel(algorithm=name).item():.2g}" for name in ("L-S", "S"))]
    for engine, name, axes in (("reduced", "sweep-phase", ["eta_ratio=1e-4,1e-2", "noise_level=1,2"]),
                               ("infinite", "sweep-limit", ["eta_ratio=1e-4,1e-2"])):
        cli.main(["sweep", *small, "--engine", engine, "--training.steps", "200", "--network.m-v", "64", "--out",
                  str(tmp_path / name), *(word for axis in axes for word in ("--axis", axis))])
        kept.keep(name, tmp_path / name, 1.0)
    rows = made.ratio_table("sweep-phase", "sweep-limit")[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 0.0001", "| 0.01"]
    swept = lt.load(tmp_path / "sweep-phase").sel(noise_level=1.0, algorithm="S")
    expected = cells.value(estimate(swept["test_error_p"].isel(record=-1, eta_ratio=0).values))
    assert rows[0].split(" | ")[1:5:3] == [f"{swept['blur_ratio_small'][0].item():.3g}", expected]


def test_a_table_of_finite_networks_is_kept_and_made(made, kept, monkeypatch):
    """Of rows that the script prints: estimates with errors, what is not a number as it is."""
    rows = [{"m_v": "512", "contrast": {"mean": 0.6174, "sem": 0.028}, "closed form": 0.844}]
    monkeypatch.setattr(kept.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(
        words, 0, stdout=json.dumps({"rows": rows})))
    assert made.plain_table("finite-jitter") == ["not run"]
    kept.measure(["finite-jitter"])
    assert made.plain_table("finite-jitter")[::2] == ["| m_v | contrast | closed form |", "| 512 | 0.617 ± 0.028 | 0.844 |"]
    assert "| `python notebooks/pages/finite.py jitter` |  | 0 s |" in made.made_by(["finite-jitter"])[-1]


@pytest.mark.thorough
@pytest.mark.parametrize(("table", "options"), [
    ("kinks", {"seeds": 2, "times": (3.4,)}), ("batches", {"seeds": 2, "steps": 40, "widths": (64, 256)}),
    ("batch_noise", {"widths": (64,), "moments": (("S", 20),)}), ("jitter", {"seeds": 2, "widths": (64,)}),
    ("annealing", {"seeds": 4, "widths": (128,)})])
def test_tables_of_finite_networks_are_measured(made, table, options):
    """At a small size: a row each, whose columns are those of the next."""
    rows = importlib.import_module("finite").TABLES[table](**options)
    assert len({tuple(row) for row in rows}) == 1
    json.dumps(rows, allow_nan=False)


def test_every_way_reaches_the_two_ratios_that_its_row_has(made):
    """T_P/T_Q and t_blur(eta2)/T_Q to the digit, lambda T_P as it says, one length in T_P, a run that is admitted."""
    limit = importlib.import_module("limit")
    for way in limit.WAYS:
        config = limit.reached(way, 90.0, 100.0).check()
        values = {c.name: c.value for c in config.conditions}
        assert (values["A"], values["D"], values["C"]) == pytest.approx((90, 100, way.decay)), way.name
        assert config.duration == pytest.approx(limit.END * p_time(config.problem)), way.name
    assert len({limit.reached(way, 90.0, 100.0) for way in limit.WAYS}) == len(limit.WAYS)


def test_ways_are_compared_point_by_point(made):
    """The geometric mean of ratios of means, and its jackknife error: that of seeds, not of points."""
    limit = importlib.import_module("limit")
    seeds = np.random.default_rng(0).normal(1, 0.1, size=(3, 3, 400))
    middle, error = (float(part) for part in limit.spread(2 * seeds, np.ones_like(seeds)).split(" (")[0].split(" ± "))
    assert middle == pytest.approx(2, abs=0.02)
    assert error == pytest.approx(2 * 0.1 / math.sqrt(9 * 400), rel=0.3)
    assert limit.spread(2 * seeds, seeds) == "2.000 ± 0.000 (2.000 to 2.000)"


def test_digits_carry_what_their_setting_says(made):
    """Clean, alone and both by the shares; the pattern's three directions; no test image among those of training."""
    digits = importlib.import_module("digits")
    for setting in digits.BASE:
        x, labels = digits.images(setting.task)
        assert np.mean(np.sum(x**2, 1)) == pytest.approx(1)
        assert not x[:, digits.DARK].any()
        train, y, (test, others), groups = digits.sampler(setting)(jax.random.key(3))
        if setting.written:
            pattern, train, test = train[:, digits.DARK], np.delete(train, digits.DARK, 1), np.delete(test, digits.DARK, 1)
        else:
            train, pattern = (np.delete(train[0], digits.DARK, 1), train[1])
            assert not test[1].any()
            test = np.delete(test[0], digits.DARK, 1)
        assert (len(y), len(y) + len(others)) == (setting.n, len(labels))
        assert np.sum(np.sign(y)) + np.sum(others) == labels.sum()
        clean, alone = groups["clean"], groups["pattern"]
        assert (len(clean), len(alone)) == (round(setting.p0 * setting.n), round(setting.q0 * setting.n))
        assert not pattern[clean].any()
        assert not train[alone].any()
        assert np.all(np.abs(train).sum(1)[np.setdiff1d(np.arange(setting.n), alone)] > 0)
        carried = np.setdiff1d(np.arange(setting.n), clean)
        along, across = pattern[carried].T / setting.z_norm
        np.testing.assert_allclose(along, 1)
        np.testing.assert_allclose(np.abs(across), np.where(y[carried] > 0, 0, setting.r))
        assert abs(across.sum()) < setting.r * len(carried) / 2
        distance = np.abs(test[:, None] - train[None, np.setdiff1d(np.arange(setting.n), alone)]).sum(-1)
        assert distance.min() > 0


@pytest.mark.thorough
def test_the_rules_of_digits_are_reached(made):
    """T_P/T_Q by `learning_times` of the data drawn, t_blur(eta1)/T_Q, a rate that is admitted, under every angle."""
    digits = importlib.import_module("digits")
    setting = digits.Setting(n=512)
    said = digits.predicted(setting, 2)["margin_time"].mean("seed").sel(rate="S")
    assert float(said.sel(group="clean")) == pytest.approx(digits.TASKS[setting.task], rel=0.15)
    t_q = digits.TASKS[setting.task] / setting.faster
    assert float(said.sel(group="pattern")) == pytest.approx(2 * t_q, rel=0.1)
    assert setting.r**2 / (2 * setting.weight_decay) / t_q == pytest.approx(0.22, abs=0.03)
    turned = setting._replace(r=2 * setting.r)
    assert turned.z_norm**2 * turned.r == pytest.approx(setting.z_norm**2 * setting.r)


def test_times_over_seeds_are_told_with_those_that_never_come(made):
    digits = importlib.import_module("digits")
    assert digits.middle(np.array([1.0, 2.0, math.inf])) == "2 (never in 1 of 3)"
    assert digits.middle(np.array([math.inf])) == "never in 1 of 1"
    assert digits.first(np.array([1.0, math.inf, 3.0]), np.array([2.0, math.inf, 1.0])) == "1 of 3"
    row = digits.compared({"L-S": np.full(8, 0.1), "S": 0.1 * np.linspace(1.9, 2.1, 8)})
    assert row["S / L-S"].startswith("2 [1.9")
    assert row["S errs more"] == "8 of 8"


@pytest.mark.thorough
def test_tables_of_digits_are_measured(made, monkeypatch, tmp_path):
    """At a small size: what is there twice is read, and a table can be made of it."""
    digits = importlib.import_module("digits")
    monkeypatch.setattr(digits, "DONE", tmp_path)
    small = digits.Setting("3/8", n=40)
    found = digits.prices(seeds=2, settings=(small,))
    assert [row["pattern"] for row in found["rows"]] == ["block of its own"]
    assert len(found["order"]) == 3
    assert digits.prices(seeds=2, settings=(small,)) == found
    json.dumps(found, allow_nan=False)
    rows = digits.alone(seeds=2, counts=(6,))["rows"]
    assert {tuple(row) for row in rows} == {("task", "6 images")}


def test_a_gradient_on_v_is_that_of_the_loss(made):
    """Of single examples, against JAX's of the paper's network."""
    finite = importlib.import_module("finite")
    config = lt.preset("phase").replace(engine="dense", seeds=1, **{"network.m_v": 8, "network.m_w": 4, "training.steps": 1})
    data = finite.datasets(config, 0)[0]
    rng = np.random.default_rng(0)
    w, v = (rng.standard_normal((m, config.problem.d)) for m in (4, 8))

    def loss(v: jax.Array, x1: jax.Array, x2: jax.Array, y: jax.Array) -> jax.Array:
        f = sum(jax.nn.relu(part @ x) @ lt.network.second_layer(len(part)) for part, x in ((w, x1), (v, x2)))
        return jnp.logaddexp(0.0, -y * f)

    found = finite.gradients_on_v(config, data, w, v)
    exact = jax.vmap(jax.grad(loss), (None, 0, 0, 0))(jnp.asarray(v), data.x1, data.x2, data.y)
    np.testing.assert_allclose(found, exact.reshape(found.shape), rtol=1e-4, atol=1e-6)


def test_words_of_a_notebook_change_without_running_it(made, monkeypatch, tmp_path):
    """Its outputs stay as they are and the copy is of today's source; where code has changed it says so and leaves all."""
    jupytext, nbformat = (pytest.importorskip(name) for name in ("jupytext", "nbformat"))
    build = importlib.import_module("build")
    monkeypatch.setattr(build, "EXECUTED", tmp_path)
    source = tmp_path / "00_one.py"
    source.write_text("# %% [markdown]\n# Old.\n\n# %%\n1 + 1\n")
    book = jupytext.read(source)
    book.cells[1].outputs = [nbformat.v4.new_output("stream", text="2")]
    book.metadata["lrtheory"] = {"source": build.digest(source)}
    (tmp_path / "00_one.ipynb").write_text(nbformat.writes(book))
    source.write_text("# %% [markdown]\n# New.\n\n# %%\n1 + 1\n\n# %% [markdown]\n# More.\n")
    assert build.reword(source)
    assert build.made_from(source) == build.digest(source)
    done = nbformat.read(tmp_path / "00_one.ipynb", as_version=4)
    assert [cell.source for cell in done.cells] == ["New.", "1 + 1", "More."]
    assert done.cells[1].outputs[0].text == "2"
    source.write_text("# %% [markdown]\n# New.\n\n# %%\n1 + 2\n")
    assert not build.reword(source)
    assert build.made_from(source) != build.digest(source)
