"""One strict session: two fake devices, no silent rank promotion, warnings are errors (pyproject.toml)."""

import gc
import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile

os.environ.setdefault("MPLBACKEND", "Agg")
if "XLA_FLAGS" not in os.environ:  # compiled in less than half the time; XLA_FLAGS= tests what users run, as .ci/run does
    KNOWS_EMITTERS = importlib.metadata.version("jaxlib") < "0.11"
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0" + " --xla_cpu_use_fusion_emitters=false" * KNOWS_EMITTERS
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # many tests run the same program, and so do the commands they start
    CACHE = tempfile.mkdtemp(prefix="lrtheory-tests-")
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": CACHE, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
                   "TF_CPP_MIN_LOG_LEVEL": "3"}  # reading it prints a page of remarks about the machine

    def pytest_unconfigure():
        shutil.rmtree(CACHE, ignore_errors=True)

import jax
import numpy as np
import psutil
import pytest
import xarray as xr

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

from lrtheory.theory.config import Config  # noqa: E402
from lrtheory.theory.network import Network  # noqa: E402
from lrtheory.theory.problem import Group, Problem  # noqa: E402
from lrtheory.theory.training import Training  # noqa: E402

gc.collect()
gc.freeze()  # what was imported stays
gc.set_threshold(100_000, 20, 50)  # tracing makes objects that live on: looking for rubbish less often saves a fifth of it


def pytest_collection_modifyitems(items):
    """Of a thorough test, cases whose name has a word of `but` are run by default, and slow ones are slow."""
    for item in items:
        mark = next((m for m in item.own_markers if m.name == "thorough"), None)
        slow = item.get_closest_marker("slow") is not None
        if mark is not None and (slow or any(word in item.name for word in mark.kwargs.get("but", ()))):
            item.own_markers.remove(mark)


MUCH = 3 * 2**30
"""Bytes that a process of the session may hold before it lets go of what JAX keeps of earlier programs."""


@pytest.fixture(scope="module", autouse=True)
def let_go():
    """What was traced and compiled for one file is little use to the next, and 1,500 tests would fill the memory."""
    yield
    if psutil.Process().memory_info().rss > MUCH:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def small() -> Config:
    """A configuration in which everything happens and nothing takes long."""
    return Config(
        problem=Problem(d=8, N=40, p0=0.1, q0=0.25, r=0.3, z_norm=2.0, alpha_min=0.2, gamma0=0.3),
        network=Network(m_w=16, m_v=32, tau_w=0.7, tau_v=1.3),
        training=Training(eta1=0.5, eta_ratio=0.1, weight_decay=2e-3, eps1=0.3, step_time=0.5, steps=60),
        seeds=3, records=6, n_test=64)


@pytest.fixture
def float64():
    """Double precision for exact relations."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def two_devices():
    """Asked for by tests that are about several devices, where all others have `one_device`."""


@pytest.fixture
def one_device(request, monkeypatch):
    """One device for all who do not ask for two: each device compiles every program for itself."""
    if "two_devices" not in request.fixturenames:
        found = jax.local_devices()[:1]
        monkeypatch.setattr(jax, "local_devices", lambda: found)


EXTRA = (Group(name="contradiction", share=0.1, q=-0.5), Group(name="noisy_p", share=0.15, p=-1.0, q=0.0),
         Group(name="weak_q", share=0.1, p=0.0, q=0.3))
"""Further groups of every kind: halves that contradict each other, label noise on P, a half that is scaled."""


def grouped(config: Config, groups: str) -> Config:
    """Groups "exact" or "iid", with further ones where it ends in "+extra"."""
    mode, _, extra = groups.partition("+")
    return vary(config, problem__groups=mode, problem__extra_groups=EXTRA if extra else ())


def vary(config: Config, **changes) -> Config:
    """`Config.replace` with double underscores for dots."""
    return config.replace(**{name.replace("__", "."): value for name, value in changes.items()})


AXES = {"eta_ratio": [0.02, 0.1, 1.0], "noise_level": [0.5, 1.0]}
"""A grid of 6 points."""


def same(one: xr.Dataset, other: xr.Dataset, rtol: float = 1e-5) -> None:
    """Equal labels and, up to `rtol` and rounding near 0, equal numbers."""
    assert one.sizes == other.sizes
    for name in one.variables:
        if one[name].dtype.kind in "fiu":
            np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-6, err_msg=str(name))
        else:
            assert one[name].values.tolist() == other[name].values.tolist()


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lrtheory", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"COLUMNS": "100", "JAX_PLATFORMS": "cpu"} | more


@pytest.fixture
def tiny(small):
    """200 steps of the small configuration, decoupled."""
    return vary(small, training__steps=200, seeds=4, records=5, n_test=32, engine="decoupled")


@pytest.fixture(scope="session", autouse=True)
def usual_signals():
    """What a session ignores, begun in the background or by nohup, its children would: here they hear it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
