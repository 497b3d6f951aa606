"""From how many examples P was learned: learning curves of P alone, and runs read on them."""

import jax
import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.fields import to_json
from lrtheory.intervals import crossing
from lrtheory.spec import ConfigError
from lrtheory.theory import examples
from lrtheory.theory.theorem import theorem

pytestmark = pytest.mark.xdist_group("examples")  # they share programs, so one process takes them all


@pytest.fixture(scope="module")
def curve():
    """A learning curve over 12 seeds, and what the engine does on P alone."""
    config = theorem(1e6, size=16, seeds=12, length=4.0).replace(**{"network.shortest_lag": 1e-12})
    with jax.enable_x64(True):
        return config, examples.learning_curve(config)


@pytest.mark.thorough
def test_a_learning_curve_ends_where_the_engine_does(float64, curve):
    """All examples P-only: S, in leaps of its own choice, against Heun's steps."""
    config = curve[0].replace(algorithms=("S",), seeds=2, records=2, **{"problem.p0": 1.0, "problem.q0": 0.0})
    run, ours = lt.run(config).isel(algorithm=0, record=-1), examples.learning_curve(config, [64])
    for name in ("p_along", "p_across"):
        np.testing.assert_allclose(ours[name].values[:, 0], run[name], rtol=5e-4)
    with pytest.raises(ConfigError, match="counts = 65: must be whole, between 1 and 64"):
        examples.learning_curve(config, [65])


def as_run(config, found, counts):
    """A run whose algorithms have learned P from so many examples of other seeds."""
    names = list(counts)
    data = {m: (("algorithm", "seed", "record"), np.stack([found[m].sel(examples=counts[a]).values[:, None] for a in names]))
            for m in ("p_along", "p_across", "test_error_p")}
    shape = (len(names), found.sizes["seed"])
    data |= {"time": (("algorithm", "seed", "record"), np.full((*shape, 1), config.duration))}
    data |= {m: (("algorithm", "seed"), np.full(shape, np.inf)) for m in ("diverged_at", "stopped_at")}
    return xr.Dataset(data, coords={"algorithm": names, "seed": found["seed"].values}, attrs={"config": to_json(config)})


@pytest.mark.thorough
def test_the_number_of_examples_is_recovered(float64, curve):
    """Trained on exactly n of other seeds' examples, n is inside the interval; at either limit too, and nowhere else."""
    config, ours = curve
    other = examples.learning_curve(config.replace(first_seed=100), [8, 16, 30, 48])
    found = examples.effective_examples(as_run(config, other, {"L-S": 30, "S": 16}), ours)
    assert found["L-S"].low < 30 < found["L-S"].high
    assert found["S"].low < 16 < found["S"].high
    assert found["S"].high < 30
    assert found["L-S"].low > 16
    own = examples.effective_examples(as_run(config, ours, {"L-S": 48, "S": 8}), ours)
    told = {name: examples.told(s, ours["examples"].values) for name, s in own.items()}
    assert told["L-S"]["value"] == pytest.approx(48)
    assert told["L-S"]["bound"] == "at least"
    assert told["S"]["value"] == pytest.approx(8, rel=1e-3)
    assert told["S"]["bound"] is None


def test_a_run_that_is_the_curve_has_a_narrow_interval():
    """At its limit S is the curve at n = pN seed by seed, however much seeds scatter: no other size of the curve is."""
    counts = np.array([8, 16, 24, 32, 48, 96, 192])
    common = np.exp(np.random.default_rng(0).normal(0, 1.0, (8, 1)))
    curve = 0.2 * common * np.exp(-counts / 40)
    value, at, apart = examples.inverted(curve[:, 3], curve, counts)
    found = crossing("", value, at, apart, 0.95, (0, np.inf), "", resolution=examples.ACCURACY * curve[:, 3].mean())
    assert value == pytest.approx(32)
    assert 31 < found.low <= 32 <= found.high < 33
    np.testing.assert_allclose(apart[:, np.isin(at, counts)], curve[:, [3]] - curve, atol=1e-12)
    between = (at > 24) & (at < 32)
    expected = np.exp(np.interp(np.log(at), np.log(counts), np.log(curve.mean(0))))
    np.testing.assert_allclose((curve[:, 3].mean() - apart.mean(0))[between], expected[between], rtol=1e-9)


@pytest.mark.thorough
def test_all_algorithms_are_read_at_one_time(float64, curve):
    """L-S goes on for longer, and learns P from more meanwhile: not by the time that both reach."""
    config, ours = curve
    few, some, most = ours["examples"].values[[1, 3, -1]].tolist()
    run = as_run(config, ours, {"L-S": some, "S": few})
    late = as_run(config, ours, {"L-S": most, "S": few})
    times = np.array([[1.0, 1.8], [1.0, 1.0 + 1e-6]])[:, None] * np.ones((2, config.seeds, 1))
    longer = xr.concat([run, late], "record", data_vars="minimal")
    longer = longer.assign_coords(time=(("algorithm", "seed", "record"), times))
    assert examples.effective_examples(longer, ours)["L-S"].value == pytest.approx(some, rel=1e-2)
    apart = longer.assign_coords(time=longer["time"] * xr.DataArray([[1.0, 2.0], [1.0, 1.0]], dims=("algorithm", "record")))
    with pytest.raises(ConfigError, match=r"L-S was followed to time 3\.6, S was followed to time 1"):
        examples.effective_examples(apart, ours)


def test_every_point_of_a_sweep_has_its_number(small):
    """S at one ratio of rates and another, with its limits; the same of a single run."""
    config = small.replace(seeds=3, records=2, **{"problem.N": 60, "problem.p0": 0.2})
    swept = lt.sweep(config, {"eta_ratio": [0.02, 1.0]})
    found = lt.effective_examples(swept)
    assert found["examples"].dims == ("eta_ratio", "algorithm")
    assert found["p_only"].values.tolist() == [12, 12]
    assert found["with_x1"].values.tolist() == [45, 45]
    assert np.all((found["examples"] >= 2.9) & (found["examples"] <= 45.1))
    one = lt.effective_examples(lt.run(config.replace(**{"training.eta_ratio": 0.02})))
    np.testing.assert_allclose(one["examples"], found["examples"].isel(eta_ratio=0), rtol=1e-3)
