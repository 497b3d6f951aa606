"""Weights that a run has kept: they are those of the run, and neurons sum to what it has recorded."""

import jax
import numpy as np
import pytest
from conftest import vary

import lrtheory as lt

pytestmark = pytest.mark.xdist_group("runs")


@pytest.mark.thorough(but=["reduced]"])
@pytest.mark.parametrize("change", [{"engine": "decoupled"}, {"engine": "reduced"}, {"engine": "dense"},
                                    {"engine": "reduced", "network__variant": "conv"},
                                    {"engine": "dense", "problem__d": 2}], ids=lambda c: "-".join(map(str, c.values())))
def test_neurons_sum_to_what_is_recorded(small, change):
    runs = lt.run(vary(small, **change), keep="weights")
    neurons = lt.neurons(runs)
    recorded = runs[["g_z", "g_plus", "g_minus"]].isel(record=runs["kept"]).to_array("direction").values
    np.testing.assert_allclose(neurons["output"].sum("neuron").transpose("direction", ...), recorded, atol=2e-5)
    np.testing.assert_allclose(neurons["contrast"].sum("neuron"), runs["contrast"].isel(record=runs["kept"]), atol=4e-5)
    assert runs["kept"].values.tolist() == list(range(7))
    assert neurons["gate"].dtype == bool


@pytest.mark.thorough
def test_neurons_of_a_run_in_double_precision_are_read_anywhere(small):
    """Its training set is drawn again as it was: in double precision, too."""
    with jax.enable_x64(True):
        runs = lt.run(vary(small, engine="dense"), keep="final")
    summed = lt.neurons(runs)["output"].sum("neuron").transpose("direction", ...)
    recorded = runs[["g_z", "g_plus", "g_minus"]].isel(record=runs["kept"]).to_array("direction").values
    np.testing.assert_allclose(summed, recorded, atol=1e-10)


def test_kept_weights_are_those_of_the_record(small):
    config = vary(small, engine="reduced")
    runs = lt.run(config, keep="weights")
    for half in "wv":
        for part in ("signal", "noise"):
            norm = np.sqrt((runs[f"{part}_{half}"] ** 2).sum([f"input_{half}", f"neuron_{half}"]))
            np.testing.assert_allclose(norm, runs[f"{part}_norm_{half}"].isel(record=runs["kept"]), rtol=1e-5, atol=1e-6)
    last = lt.run(config, keep="final")
    np.testing.assert_array_equal(last["signal_v"].isel(kept=0), runs["signal_v"].isel(kept=-1))
    assert last["kept"].values.tolist() == [6]
    plain = lt.run(config)
    np.testing.assert_array_equal(plain["train_loss"], runs["train_loss"])  # looking changes nothing


def test_what_cannot_be_kept_is_said(small, monkeypatch):
    with pytest.raises(lt.ConfigError, match="one with neurons"):
        lt.run(vary(small, engine="infinite", training__step_time=0.5), keep="weights")
    with pytest.raises(lt.ConfigError, match="keep = 'all': must be one of weights, final"):
        lt.run(small, keep="all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(lt.ConfigError, match="must have been kept"):
        lt.neurons(lt.run(small))
    monkeypatch.setattr("lrtheory.theory.weights.free_memory", lambda: 1000)
    with pytest.raises(lt.ConfigError, match="keep 'final' weights only"):
        lt.run(small, keep="weights")
