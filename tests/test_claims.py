"""Claims: on data of which they hold each does, and each statistic has a planted violation that turns it."""


import jax
import numpy as np
import pytest
import xarray as xr

import lrtheory as lt
from lrtheory.fields import to_json
from lrtheory.intervals import decide
from lrtheory.labelled import config_of
from lrtheory.predictions import PREDICTIONS, error
from lrtheory.predictions import verify as verifying
from lrtheory.spec import ConfigError
from lrtheory.theory import programs, simulate
from lrtheory.theory.problem import sample, sample_test
from lrtheory.theory.timescales import q_time

pytestmark = pytest.mark.xdist_group("verify")  # they share programs, so one process takes them all

LEVEL = 0.995


def judged(prediction, runs):
    return decide(lambda level: prediction.judge(runs, level), LEVEL).verdict


def _over(field, values, data, **attrs):
    """A dataset (axis, algorithm, seed, record) of one algorithm a name."""
    dims = (field, "algorithm", "seed", "record")
    found = xr.Dataset({k: (dims[: v.ndim], v, {"long_name": k}) for k, v in data.items()},
                       coords={field: list(values), "algorithm": list(attrs["algorithms"])})
    if "record" not in found.dims:
        return found
    return found.assign(time=(found[next(iter(data))] * 0).fillna(0.0) + np.arange(found.sizes["record"]))


@pytest.mark.parametrize(("exponent", "expected"), [(-0.5, "holds"), (0.0, "fails")])
def test_exponents_in_the_width_decide(exponent, expected):
    rng, widths, limit = np.random.default_rng(1), PREDICTIONS["widths"], PREDICTIONS["limit"]
    wide = np.array([64.0, 512.0, 4096.0])[:, None, None, None] ** exponent
    apart = wide * (1 + 0.1 * rng.normal(size=(3, 1, 16, 1)))
    zero, names = np.zeros((3, 1, 16, 1)), ("g_z", "g_plus", "g_minus")
    full = {g: apart for g in names} | {f"gate_agreement_{h}": 1 - 0.1 * apart for h in "wv"}
    runs = {"reduced": _over("m_w", (64, 512, 4096), full, algorithms=["L-S"]),
            "decoupled": _over("m_w", (64, 512, 4096), {g: zero for g in names}, algorithms=["L-S"])}
    assert judged(widths, runs) == expected
    wide = np.array([256.0, 1024.0, 4096.0])[:, None, None, None] ** exponent
    finite = {g: wide * rng.normal(size=(3, 2, 16, 50)) for g in names}
    assert judged(limit, beside_the_limit(_over("m_w", (256, 1024, 4096), finite, algorithms=["L-S", "S"]))) == expected


def beside_the_limit(networks):
    """Runs of claim 10: these, and a limit in which nothing moves."""
    nothing = networks.isel(m_w=0, drop=True)
    nothing = nothing.assign({name: nothing[name] * 0.0 for name in ("g_z", "g_plus", "g_minus")})
    return {f"{kind}, {name}": runs.sel(algorithm=[name]) for kind, runs in (("decoupled", networks), ("infinite", nothing))
            for name in ("L-S", "S")}


@pytest.mark.parametrize(("wrong", "expected"), [(1.0, "holds"), (1.5, "fails")])
def test_micro_steps_that_differ_from_single_ones_fail(wrong, expected):
    values = np.ones((2, 1, 16, 1)) * (1 + 0.01 * np.random.default_rng(2).normal(size=(2, 1, 16, 1)))
    values[1] *= wrong
    data = dict.fromkeys(("loss_q", "loss_p", "contrast"), values)
    runs = {"steps": _over("step_time", (1.0, 2.0), data, algorithms=["S"])}
    assert judged(PREDICTIONS["microsteps"], runs) == expected


@pytest.mark.parametrize(("in_eta1", "in_d", "expected"), [(0.0, 1.0, "holds"), (-1.0, 1.0, "fails"), (0.0, 0.0, "fails"),
                                                           (np.nan, 1.0, "not resolved")])
def test_annealing_times_decide(in_eta1, in_d, expected):
    eta1, d = np.array([1.0, 0.5, 0.25]), np.array([16.0, 32.0, 64.0])
    jitter = np.random.default_rng(3).normal(size=(3, 1, 16))
    times = {k: 100 * x[:, None, None] ** power * (1 + 0.02 * jitter) for k, x, power in
             (("rates", eta1, in_eta1), ("dimensions", d, in_d))}
    if np.isnan(in_eta1):
        times["rates"] = np.full((3, 1, 16), np.inf)  # annealing never happens
    runs = {"rates": _over("eta1", eta1, {"annealed_at": times["rates"]}, algorithms=["L-S"]),
            "dimensions": _over("d", d, {"annealed_at": times["dimensions"]}, algorithms=["L-S"])}
    assert judged(PREDICTIONS["annealing"], runs) == expected


DIMS = ("algorithm", "seed", "record")
SEEDS, RECORDS = 24, 9


def honest(names=("L-S", "S"), over=None):
    """Runs as the theory has them, at the base configuration: 24 seeds, what is asked of `over` time or once a run."""
    config, rng = verifying.base_config("quick"), np.random.default_rng(11)
    t_q, end = q_time(config.problem), config.training.duration
    jitter = 1 + 0.05 * rng.normal(size=(len(names), SEEDS))
    time = np.broadcast_to(np.linspace(0, end, RECORDS), (len(names), SEEDS, RECORDS))
    anneals = np.array([n != "S" for n in names])
    annealed = np.where(anneals, 0.5 * end, np.inf)[:, None] * jitter
    blurred = anneals[:, None, None] & (time < annealed[..., None])
    loss_q = np.where(blurred, np.log(2), 0.05) * jitter[..., None]
    loss_q[..., 0] = np.log(2)
    data = {
        "time": time, "phase": 1.0 * (time >= annealed[..., None]), "loss_q": loss_q,
        "loss_p": np.where(time > 0, 0.4, np.log(2)), "train_loss": np.linspace(0.7, 0.1, RECORDS) + 0 * time,
        "loss_mixed": np.where(blurred, 0.27, 0.03) * jitter[..., None],
        "contrast": np.where(blurred, -0.4, -12.0) * jitter[..., None],  # -(8/3) t_blur/T_Q push = -0.41
        "noise_variance_theory": np.where(blurred, 1.0, 0.5), "signal_norm_w": 2.0 + 0 * time,
        "signal_moved_w": np.full(time.shape, 0.01), "test_error_p": np.where(anneals, 0.001, 0.02)[:, None, None]
        * jitter[..., None] + 0 * time}
    for half in "wv":
        data[f"noise_variance_{half}"] = data["noise_variance_theory"] * (1 + 0.02 * rng.normal(size=time.shape))
    data["train_loss"] = np.where(anneals[:, None, None], data["train_loss"], np.maximum(data["train_loss"], 0.2))
    data["test_error"] = 0.7 * data["test_error_p"]
    data["test_loss_p"] = 0.3 + 10 * data["test_error_p"]
    once = {"annealed_at": annealed, "time_q_half": np.where(anneals, 0.5 * end + 3 * t_q, 3 * t_q)[:, None] * jitter,
            "time_p_half": np.where(anneals, 0.3 * end, np.inf)[:, None] * jitter,
            "diverged_at": np.full(jitter.shape, np.inf), "stopped_at": np.full(jitter.shape, np.inf)}
    once["time_q_half"] = np.where(anneals[:, None], annealed + 3 * t_q, once["time_q_half"])
    return xr.Dataset({k: (DIMS[: v.ndim], np.array(v)) for k, v in (data | once).items()},
                      coords={"algorithm": list(names), "seed": np.arange(SEEDS), "at": ("record", np.arange(RECORDS))},
                      attrs={"config": to_json(config)})


def of(run, name, **changes):
    """The runs with an algorithm's measurements multiplied, or replaced by a function of them."""
    run = run.copy(deep=True)
    for metric, change in changes.items():
        here = run[metric].sel(algorithm=name)
        run[metric].loc[{"algorithm": name}] = change(here) if callable(change) else change * here
    return run


def ratios(run):
    """S over eta2/eta1, from S's own order and error to L-S's as t_blur falls below T_Q."""
    axis = np.array([1e-4, 0.03, 0.1, 1.0])
    parts = [run.sel(algorithm=["S" if ratio < 0.2 else "L-S"]).assign_coords(algorithm=["S"]) for ratio in axis]
    swept = xr.concat(parts, xr.DataArray(axis, dims="eta_ratio", name="eta_ratio"))
    return swept.assign_coords(blur_ratio_small=("eta_ratio", [324.0, 7.9, 2.45, 0.25]))


def noisy(run):
    """S+noise beside them: L-S's error."""
    return xr.concat([run, of(run, "L-S", test_error_p=1.0).sel(algorithm=["L-S"]).assign_coords(algorithm=["S+noise"])],
                     "algorithm")


def kappas(run, factor=64.0):
    """What claim 6 needs: kappa larger (L-S worse), fewer P-only examples, d/2 and 2d, T_P/T_Q large."""
    few, _ = error.classifiers(config_of(run, lt.Config), tuple(range(SEEDS))).T
    alone = run.sel(algorithm=["S"])
    sharp = of(alone, "S", test_error_p=lambda e: 0.6 * few[:, None] + 0 * e)
    config = PREDICTIONS["error"].needs(config_of(run, lt.Config))["sharp"].config
    return {"main": run, "wide": of(run, "L-S", test_error_p=factor), "rare": alone, "small": alone, "large": alone,
            "sharp": sharp.assign_attrs(config=to_json(config))}


@pytest.fixture(scope="module")
def right():
    """{claim: its runs}, all as the theory has them; L-S errs as its classifier does."""
    run = honest()
    _, everything = error.classifiers(config_of(run, lt.Config), tuple(range(SEEDS))).T
    run = of(run, "L-S", test_error_p=lambda e: (everything + 1e-4)[:, None] + 0 * e)
    few, _ = error.classifiers(config_of(run, lt.Config), tuple(range(SEEDS))).T
    run = of(run, "S", test_error_p=lambda e: 0.5 * few[:, None] + 0 * e)
    run = run.assign(test_error=0.7 * run["test_error_p"], test_loss_p=0.3 + 10 * run["test_error_p"])
    main = {name: {"main": run} for name in ("variance", "plateau", "order")}
    main["variance"]["large"] = of(run, "S", noise_variance_w=lambda v: 1 + 0.02 * (v - 0.5), noise_variance_v=lambda v:
                                   1 + 0.02 * (v - 0.5)).sel(algorithm=["S"])
    return main | {"error": kappas(run), "transition": {"ratios": ratios(run)}, "mitigation": {"noisy": noisy(run)}}


def statistics(name, runs):
    """{start of a statistic's name: verdict}."""
    found = decide(lambda level: PREDICTIONS[name].judge(runs, level), LEVEL)
    return {s.name: v for s, v in zip(found.statistics, found.verdicts, strict=True)}


CLAIMS = ("variance", "plateau", "order", "error", "transition", "mitigation")


@pytest.mark.thorough(but=["order", "plateau"])
@pytest.mark.parametrize("name", CLAIMS)
def test_what_the_theory_says_holds_in_every_statistic(right, name):
    found = statistics(name, right[name])
    assert set(found.values()) == {"holds"}, found


@pytest.mark.parametrize("name", ["order", "error", "mitigation"])
def test_algorithms_that_are_followed_for_different_times_are_not_judged(right, name):
    """--training.step-time 0: S ends at a small part of L-S's time."""
    short = {key: of(run, "S", time=1e-4) if run.sizes["algorithm"] > 1 else run for key, run in right[name].items()}
    with pytest.raises(ConfigError, match=r"S was followed to time .*; set training\.step_time"):
        statistics(name, short)


def test_a_q_that_is_never_learned_fails(right):
    """It is neither first halved after annealing nor within a few T_Q of it."""
    run = of(right["plateau"]["main"], "L-S", time_q_half=np.inf, loss_q=lambda q: q.where(q > 0.5, np.log(2)))
    found = statistics("plateau", right["plateau"] | {"main": run})
    assert {name for name, verdict in found.items() if verdict == "fails"} >= {
        "Q's loss is first halved after annealing", "time from annealing until Q's loss is halved, over T_Q"}


def test_what_is_compared_is_compared_at_one_time():
    """Where a step is one iteration, rates cover different times: each point of a sweep is given its own number of steps."""
    base = verifying.base_config("quick", "minibatch")
    (fields, values), = PREDICTIONS["transition"].needs(base)["ratios"].axes
    assert fields == ("training.eta_ratio", "training.steps")
    covered = [steps * base.training.eta1 * ratio for ratio, steps in values]
    np.testing.assert_allclose(covered, base.training.duration, rtol=1e-3)
    needs = PREDICTIONS["limit"].needs(base)
    large, small = (needs[f"decoupled, {a}"].config.training for a in ("L-S", "S"))
    assert large.steps == 1500
    assert small.duration == pytest.approx(1500 * base.training.eta1, rel=1e-3)
    for name in ("annealing", "error"):
        for need in PREDICTIONS[name].needs(small_of(verifying.base_config("quick"))).values():
            for (fields, values) in need.axes or (((), ((),)),):
                for row in values:
                    problem = need.config.replace(**dict(zip(fields, row, strict=True))).problem if need.axes else (
                        need.config.problem)
                    assert problem.d / problem.n_train == pytest.approx(0.25 * (2 if problem.p0 > 0.15 else 1), rel=0.02)


def small_of(base):
    """The same, which gives N and not kappa."""
    return base.replace(**{"problem.N": base.problem.n_train, "problem.kappa": None})


def test_where_nothing_blurs_no_order_flips(right):
    """Without noise t_blur is infinite at every ratio of rates, one number in the labels: not resolved, not a fault."""
    run = right["transition"]["ratios"]
    found = statistics("transition", {"ratios": run.drop_vars("blur_ratio_small").assign_coords(blur_ratio_small=np.inf)})
    assert [v for s, v in found.items() if s.startswith("P halved")] == ["not resolved"]


@pytest.mark.thorough(but=["order", "plateau"])
@pytest.mark.parametrize("name", CLAIMS)
def test_exchanged_labels_fail(right, name):
    """L-S's runs as S's and S's as L-S's, in all runs of a claim that have both, and S's replaced where it is alone."""
    swap = {"L-S": "S", "S": "L-S", "S+noise": "S+noise"}
    exchanged = {key: run.assign_coords(algorithm=[swap[a] for a in run["algorithm"].values])
                 for key, run in right[name].items() if run.sizes["algorithm"] > 1}
    if name == "transition":  # S alone: L-S at every ratio of rates
        run = right["order"]["main"].sel(algorithm=["L-S"]).assign_coords(algorithm=["S"])
        exchanged = {"ratios": ratios(xr.concat([run, run.assign_coords(algorithm=["L-S"])], "algorithm"))}
    found = statistics(name, right[name] | exchanged)
    assert "fails" in found.values(), found


T_Q = q_time(verifying.base_config("quick").problem)
OWN = [  # (claim, run, algorithm, change, the one statistic that it turns)
    ("variance", "main", "L-S", {"noise_variance_w": lambda v: v.where(v < 0.7, 1.5), "noise_variance_v": lambda v:
                                 v.where(v < 0.7, 1.5)}, "variance over tau0^2 under the large rate, L-S"),
    ("variance", "large", "S", {"noise_variance_w": 0.5, "noise_variance_v": 0.5},
     "variance over tau0^2 under the large rate throughout"),
    ("variance", "main", "L-S", {"noise_variance_w": lambda v: v.where(v > 0.7, 0.9), "noise_variance_v": lambda v:
                                 v.where(v > 0.7, 0.9)}, "variance over its closed form, L-S"),
    ("variance", "main", "S", {"noise_variance_w": 1.5, "noise_variance_v": 1.5}, "variance over its closed form, S"),
    ("plateau", "main", "L-S", {"loss_q": lambda q: q.where(q < 0.5, 0.45)}, "Q's loss before annealing"),
    ("plateau", "main", "L-S", {"contrast": 2.0}, "contrast before annealing"),  # a constant of twice the size
    ("plateau", "main", "L-S", {"contrast": 0.5}, "contrast before annealing"),
    ("plateau", "main", "L-S", {"contrast": 30.0}, "contrast before annealing"),  # noise off
    ("plateau", "main", "L-S", {"time_q_half": 0.01}, "Q's loss is first halved"),
    ("plateau", "main", "L-S", {"time_q_half": lambda t: t + 20 * T_Q}, "time from annealing"),
    ("plateau", "main", "L-S", {"signal_moved_w": 1000.0}, "length of W's path"),
    ("plateau", "main", "L-S", {"contrast": lambda c: c.where(c["at"] != 3, 13 * c)}, "contrast before annealing"),
    ("order", "main", "S", {"time_q_half": lambda t: t + np.inf}, "Q halved before P under S"),
    ("order", "main", "L-S", {"time_q_half": 0.01}, "P halved before Q under L-S"),
    ("error", "main", "L-S", {"test_error_p": lambda e: e.where((e["at"] < 5) | (e["at"] == 8), 0.9)},
     "error on P at matched"),
    ("error", "sharp", "S", {"test_error_p": 0.75}, "that ratio at"),
    ("error", "sharp", "S", {"test_error_p": 8.0}, "S's error over that of logistic"),
    ("error", "main", "both", {"test_loss_p": -1.0}, "test loss on P"),
    ("error", "main", "both", {"test_error": lambda e: 1 / e}, "C/c"),
    ("error", "wide", "L-S", {"test_error_p": 0.01}, "exponent in kappa"),
    ("error", "rare", "S", {"test_error_p": 16.0}, "exponent in p0"),
    ("error", "large", "S", {"test_error_p": 10.0}, "exponent in d"),
    ("error", "main", "L-S", {"test_error_p": lambda e: 8 * e}, "L-S's error over that of logistic"),
    ("transition", "ratios", 1, {"time_q_half": lambda t: t + np.inf}, "Q halved before P at"),
    ("transition", "ratios", 3, {"time_q_half": 0.01}, "P halved before Q at"),
    ("transition", "ratios", 0, {"test_error_p": 0.0}, "error on P at the smallest rate"),
    ("mitigation", "noisy", "S+noise", {"loss_q": 12.0}, "Q's loss at the end"),
    ("mitigation", "noisy", "S+noise", {"test_error_p": lambda e: e + 0.03}, "S less S+noise, over"),
]
MORE = [  # those that turn others, too
    ("error", "main", "L-S", {"test_error_p": 5000.0}, "error on P: S less L-S"),
    ("mitigation", "noisy", "L-S", {"test_error_p": 5000.0}, "error on P: S less L-S"),
    ("mitigation", "noisy", "S+noise", {"test_error_p": 5000.0}, "error on P: S less S+noise"),
]


@pytest.mark.thorough(but=["order:", "plateau:", "transition:"])
@pytest.mark.parametrize(("name", "key", "where", "change", "turned"), OWN + MORE,
                         ids=[f"{o[0]}: {o[-1]}" for o in OWN + MORE])
def test_each_statistic_has_a_violation_of_its_own(right, name, key, where, change, turned):
    """It turns this statistic red and leaves every other as it was, but for a few that follow from others."""
    runs, before = dict(right[name]), statistics(name, right[name])
    run = runs[key].copy(deep=True)
    at = {"eta_ratio": run["eta_ratio"].values[where]} if isinstance(where, int) else (
        {} if where == "both" else {"algorithm": where})
    for metric, alter in change.items():
        here = run[metric].sel(at)
        run[metric].loc[at] = (alter(here) if callable(alter) else alter * here).values
    after = statistics(name, runs | {key: run})
    assert all(after[s] == "fails" for s in before if s.startswith(turned)), after
    if (name, key, where, change, turned) in MORE:
        return
    assert all(after[s] == "holds" for s in before if not s.startswith(turned)), after


@pytest.mark.parametrize("cosine", [-0.3, 0.0, 0.8, 0.98])
def test_the_error_of_a_linear_classifier_is_that_on_test_points(cosine):
    """Against 200,000 test points, within 4 standard errors."""
    problem = lt.preset("phase").problem
    data = sample(problem, jax.random.key(0))
    test = sample_test(problem, data, 200_000, jax.random.key(1))
    w_star, across = np.asarray(data.basis[0]), np.eye(problem.d)[0]
    across -= (across @ w_star) * w_star
    weights = cosine * w_star + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)
    wrong = np.mean(np.asarray(test.y) * (np.asarray(test.x1) @ weights) <= 0)
    assert abs(error.linear_error(problem, 3 * weights, w_star) - wrong) < 4 * np.sqrt(wrong / 200_000)


@pytest.mark.parametrize("wrong", ["loss_q", "loss_p", "contrast"])
def test_micro_steps_are_judged_by_each_measurement(wrong):
    rng = np.random.default_rng(2)
    data = {m: np.ones((2, 1, 16, 1)) * (1 + 0.005 * rng.normal(size=(2, 1, 16, 1)))
            for m in ("loss_q", "loss_p", "contrast")}
    data[wrong][1] *= 1.2
    found = statistics("microsteps", {"steps": _over("step_time", (1.0, 2.0), data, algorithms=["S"])})
    assert [v for s, v in found.items() if s.startswith(wrong)] == ["fails"]
    assert list(found.values()).count("holds") == 2


@pytest.mark.thorough
@pytest.mark.parametrize("wrong", ["g_z", "gate_agreement_w", "gate_agreement_v", "L-S", "S"])
def test_each_exponent_in_the_width_decides(wrong):
    rng, names = np.random.default_rng(1), ("g_z", "g_plus", "g_minus")

    def falling(widths, power, shape):
        wide = np.array(widths)[:, None, None, None] ** power
        return wide * (1 + 0.1 * rng.normal(size=(3, *shape)))

    def power(what):
        return 0.0 if what == wrong else -0.5

    if wrong in ("L-S", "S"):
        widths = (256.0, 1024.0, 4096.0)
        finite = {g: np.concatenate([falling(widths, power(a), (1, 16, 50)) for a in ("L-S", "S")], 1) for g in names}
        found = statistics("limit", beside_the_limit(_over("m_w", widths, finite, algorithms=["L-S", "S"])))
        assert {s.rpartition(" ")[2]: v for s, v in found.items()} == {
            a: "fails" if a == wrong else "holds" for a in ("L-S", "S")}
        return
    widths = (64.0, 512.0, 4096.0)
    full = dict.fromkeys(names, falling(widths, power("g_z"), (1, 16, 1)))
    full |= {f"gate_agreement_{h}": 1 - 0.1 * falling(widths, power(f"gate_agreement_{h}"), (1, 16, 1)) for h in "wv"}
    none = dict.fromkeys(names, np.zeros((3, 1, 16, 1)))
    found = list(statistics("widths", {"reduced": _over("m_w", widths, full, algorithms=["L-S"]),
                                       "decoupled": _over("m_w", widths, none, algorithms=["L-S"])}).values())
    assert found == ["fails" if name == wrong else "holds" for name in ("g_z", "gate_agreement_w", "gate_agreement_v")]


PLANTED = {
    "variance": {"training.noise_level": 0.0},   # noise left out
    "plateau": {"training.noise_level": 0.0},
    "order": {"training.eta_ratio": 1.0},        # the wrong rate in S's schedule
    "error": {"training.eta_ratio": 1.0},
    "mitigation": {"training.activation_noise": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_fails(name):
    report = verifying.verify(verifying.base_config("quick").replace(**PLANTED[name]), [name])
    assert report["claims"][0]["verdict"] == "fails", report["claims"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), [
    ("plateau", {"training.eps1": -10.0}),              # annealing never happens
    ("transition", {"training.noise_level": 0.0})])     # nothing blurs
def test_a_planted_violation_is_not_a_pass(name, changes):
    report = verifying.verify(verifying.base_config("quick").replace(**changes), [name])
    assert report["claims"][0]["verdict"] in ("fails", "not resolved"), report["claims"][0]


@pytest.fixture
def planted_code():
    """Programs compiled before a fault is planted, or with it, must not serve a test."""
    jax.clear_caches()
    programs.functions.cache_clear()
    yield
    jax.clear_caches()
    programs.functions.cache_clear()


@pytest.mark.slow
def test_shuffled_labels_fail(monkeypatch, planted_code):
    def shuffled(problem, key):
        data = sample(problem, key)
        return data._replace(y=jax.random.permutation(jax.random.fold_in(key, 1), data.y))

    monkeypatch.setattr(simulate, "sample", shuffled)
    report = verifying.verify(verifying.base_config("quick"), ["order", "error"])
    assert [c["verdict"] for c in report["claims"]] == ["fails", "fails"], report["claims"]


@pytest.mark.slow
def test_halves_that_are_swapped_fail(monkeypatch):
    """What is W's and P's is reported as V's and Q's, and the other way round."""
    honest = verifying.run

    def swapped(config):
        run = honest(config)
        pairs = (("loss_p", "loss_q"), ("time_p_half", "time_q_half"), ("signal_norm_w", "signal_norm_v"))
        return run.rename({a: b for pair in pairs for a, b in (pair, pair[::-1])})

    monkeypatch.setattr(verifying, "run", swapped)
    report = verifying.verify(verifying.base_config("quick"), ["plateau", "order"])
    assert [c["verdict"] for c in report["claims"]] == ["fails", "fails"], report["claims"]


@pytest.mark.slow
def test_errors_that_scale_otherwise_fail():
    prediction, level = PREDICTIONS["error"], 0.995
    runs = {k: lt.run(need.config) for k, need in prediction.needs(verifying.base_config("quick")).items()}

    def found(**changes):
        return {s.name.partition(" at T_P")[0].strip(","): s.verdict for s in prediction.judge(runs | changes, level)}

    def times(key, factor):
        return runs[key].assign(test_error_p=factor * runs[key]["test_error_p"])

    honest = found()
    assert "fails" not in honest.values()
    reversed_ = runs["wide"].assign(test_error_p=xr.where(runs["wide"]["algorithm"] == "S", 1e3, 1.0)
                                * runs["wide"]["test_error_p"])  # S ever worse as kappa grows
    for changes, part in (({"wide": reversed_}, "exponent in kappa"),
                          ({"rare": times("rare", 16)}, "exponent in p0"),
                          ({"large": times("large", 10)}, "exponent in d"),
                          ({"sharp": times("sharp", 0.1)}, "S's error over that of logistic regression")):
        verdicts = {k: v for k, v in found(**changes).items() if k.startswith(part)}
        assert list(verdicts.values()) == ["fails"], (part, verdicts)
