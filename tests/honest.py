"""Runs as the theory has them, for every claim: planted numbers, for nothing is computed here.

Lives here: what each claim is to hold of. Lives elsewhere: what it is to fail of (opponents).
"""

import functools

import jax
import numpy as np
import xarray as xr

import lrtheory as lt
from lrtheory.fields import to_json
from lrtheory.predictions import PREDICTIONS, jitter, limit, moving, regime, widths
from lrtheory.predictions import verify as verifying
from lrtheory.theory import kinks
from lrtheory.theory.results import annealing_jitter
from lrtheory.theory.timescales import q_time

SEEDS, RECORDS = 16, 17
DIMS = ("algorithm", "seed", "record")
BASE = verifying.base_config("quick")
PHASE = lt.preset("phase")
T_Q, END = q_time(BASE.problem), BASE.training.duration
FEW, ALL = {0.1: 0.078, 0.2: 0.027}, 2e-4
"""Errors of the classifiers that claim 6 fits: of the P-only examples, by p0, and of all that carry x1."""


def jittered(*shape, size=0.05, seed=11):
    """Factors near 1."""
    return 1 + size * np.random.default_rng(seed).normal(size=shape)


def classifiers(config, seeds):
    """In the place of `predictions.error.classifiers`, which fits them: (seeds, 2)."""
    return np.array([FEW[round(float(config.problem.p0), 3)], ALL]) * jittered(len(seeds), 1)


def course(names=("L-S", "S")):
    """L-S and S at the base configuration: what is measured over time, and once a run."""
    jitter_ = jittered(len(names), SEEDS)
    rng = np.random.default_rng(12)
    time = np.broadcast_to(np.linspace(0, END, RECORDS), (len(names), SEEDS, RECORDS))
    anneals = np.array([n != "S" for n in names])
    annealed = np.where(anneals, 0.5 * END, np.inf)[:, None] * jitter_
    blurred = anneals[:, None, None] & (time < annealed[..., None])
    few, everything = np.moveaxis(classifiers(BASE, range(SEEDS)), 1, 0)
    loss_q = np.where(blurred, np.log(2), 0.05) * jitter_[..., None]
    loss_q[..., 0] = np.log(2)
    least = np.where(anneals, 0.1, 0.2)[:, None, None]
    data = {
        "time": time, "phase": 1.0 * (time >= annealed[..., None]), "loss_q": loss_q,
        "loss_p": np.where(time > 0, 0.4, np.log(2)),
        "train_loss": np.maximum(np.linspace(0.7, 0.1, RECORDS) + 0 * time, least),
        "loss_mixed": np.where(blurred, 0.27, 0.03) * jitter_[..., None],
        "contrast": np.where(blurred, -0.4, -12.0) * jitter_[..., None],  # -(8/3) t_blur/T_Q push = -0.41
        "noise_variance_theory": np.where(blurred, 1.0, 0.5), "signal_norm_w": 2.0 + 0 * time,
        "signal_moved_w": 0.01 * jitter_[..., None] + 0 * time,
        "test_error_p": np.where(anneals[:, None], everything + 1e-4, 0.25 * few)[..., None] + 0 * time}
    for half in "wv":
        data[f"noise_variance_{half}"] = data["noise_variance_theory"] * (1 + 0.02 * rng.normal(size=time.shape))
    data["test_loss_p"] = 0.3 + 10 * data["test_error_p"]
    q_half = np.where(anneals[:, None], annealed + 3 * T_Q, 3 * T_Q * jitter_)
    once = {"annealed_at": annealed, "time_q_half": q_half,
            "time_p_half": np.where(anneals, 0.3 * END, np.inf)[:, None] * jitter_,
            "diverged_at": np.full(jitter_.shape, np.inf), "stopped_at": np.full(jitter_.shape, np.inf)}
    return xr.Dataset({k: (DIMS[: v.ndim], np.array(v)) for k, v in (data | once).items()},
                      coords={"algorithm": list(names), "seed": np.arange(SEEDS), "at": ("record", np.arange(RECORDS))},
                      attrs={"config": to_json(BASE)})


def of(run, name, **changes):
    """The runs with an algorithm's measurements multiplied, or replaced by a function of them."""
    run = run.copy(deep=True)
    for metric, change in changes.items():
        here = run[metric].sel(algorithm=name)
        run[metric].loc[{"algorithm": name}] = change(here) if callable(change) else change * here
    return run


def renamed(run, name, new):
    """The runs of one algorithm under another name."""
    return run.sel(algorithm=[name]).assign_coords(algorithm=[new])


def over_axis(values, data, algorithms, field):
    """A dataset (axis, algorithm, seed, record) of measurements of that shape, or of its beginning."""
    dims = (field, *DIMS)
    return xr.Dataset({k: (dims[: v.ndim], v, {"long_name": k}) for k, v in data.items()},
                      coords={field: list(values), "algorithm": list(algorithms)})


# Claims 1, 3 to 8 --------------------------------------------------------------------------------------------------------


def variance():
    run = course()
    throughout = {f"noise_variance_{h}": lambda v: 1 + 0.02 * (v - 0.5) for h in "wv"}
    return {"main": run, "large": of(run, "S", **throughout).sel(algorithm=["S"])}


def annealing(in_eta1=0.0, in_d=1.0):
    """Times that follow two laws."""
    found = {}
    laws = ("rates", "eta1", [1.0, 0.5, 0.25], in_eta1), ("dimensions", "d", [16.0, 32.0, 64.0], in_d)
    for key, field, x, power in laws:
        times = 100 * np.array(x)[:, None, None] ** power * jittered(3, 1, SEEDS, size=0.02)
        found[key] = over_axis(x, {"annealed_at": times}, ["L-S"], field)
    return found


def error():
    """kappa larger: L-S 64 times worse; T_P/T_Q large: S near its classifier."""
    run, needs = course(), PREDICTIONS["error"].needs(BASE)
    found = {"main": run, "wide": of(run, "L-S", test_error_p=64.0)}
    for key in ("sharp", "dense"):
        config = needs[key].config
        few = classifiers(config, range(SEEDS))[:, 0]
        found[key] = of(run.sel(algorithm=["S"]), "S", test_error_p=lambda e, few=few: 0.6 * few[:, None] + 0 * e
                        ).assign_attrs(config=to_json(config))
    return found


def transition(course=course):
    """S over eta2/eta1, from S's own order and error to L-S's as t_blur falls below T_Q."""
    run, axis = course(), np.array([1e-4, 0.03, 0.1, 1.0])
    parts = [renamed(run, "S" if ratio < 0.2 else "L-S", "S") for ratio in axis]
    swept = xr.concat(parts, xr.DataArray(axis, dims="eta_ratio", name="eta_ratio"))
    return {"ratios": swept.assign_coords(blur_ratio_small=("eta_ratio", [324.0, 7.9, 2.45, 0.25]))}


def mitigation():
    """S+noise beside them: L-S's error."""
    run = course()
    return {"noisy": xr.concat([run, renamed(run, "L-S", "S+noise")], "algorithm")}


# Claims 2, 9, 10, 14, 15: widths and micro-steps -------------------------------------------------------------------------

G = ("g_z", "g_plus", "g_minus")


def falling(widths_, power, *shape, size=0.1):
    """Numbers (widths, *shape) that fall with the width."""
    wide = np.array(widths_, float).reshape(-1, *np.ones(len(shape), int))
    return (wide / wide[0]) ** power * jittered(len(widths_), *shape, size=size)


def in_the_width(powers=(-0.5, -0.5, -0.5)):
    """Claim 2: outputs, gates of W and gates of V that differ by powers of the width."""
    outputs, *gates = (falling(widths.WIDTHS, power, 1, SEEDS, 1) for power in powers)
    full = dict.fromkeys(G, outputs) | {f"gate_agreement_{h}": 1 - 0.1 * apart for h, apart in zip("wv", gates, strict=True)}
    return {"reduced": over_axis(widths.WIDTHS, full, ["L-S"], "m_w"),
            "decoupled": over_axis(widths.WIDTHS, dict.fromkeys(G, 0 * outputs), ["L-S"], "m_w")}


def micro_steps(**wrong):
    """Claim 9: K = 100 over K = 1, in one measurement wrong by a factor."""
    data = {m: jittered(2, 1, SEEDS, 1, size=0.005) for m in ("loss_q", "loss_p", "contrast")}
    for name, by in wrong.items():
        data[name][1] *= by
    return {"steps": over_axis((1.0, 2.0), data, ["S"], "step_time")}


def to_the_limit(**powers):
    """Claim 10: networks (algorithm by algorithm, by a power of the width) about limits of their own."""
    found, names = {}, ("L-S", "S")
    for name, centre in zip(names, (1.0, -3.0), strict=True):
        power = powers.get(name.replace("-", ""), -0.5)
        random = np.random.default_rng(4).normal(size=(3, 1, SEEDS, 20))
        time = np.linspace(0, 1, 20) + 0 * random
        outputs = centre * time + falling(limit.WIDTHS, power, 1, 1, 1, size=0) * random
        run = over_axis(limit.WIDTHS, dict.fromkeys(G, outputs) | {"time": time}, [name], "m_w")
        theory = run.isel(m_w=0, drop=True).assign({g: (DIMS, (centre * time)[0]) for g in G})
        found |= {f"decoupled, {name}": run, f"infinite, {name}": theory}
    return found


def labelled(config, coords, **values):
    dims = DIMS if "m_v" not in coords else ("m_v", *DIMS)
    return xr.Dataset({name: (dims[:np.ndim(v)], v) for name, v in values.items()}, coords=coords,
                      attrs={"config": to_json(config)})


def jittering(exponent=-0.5, size=1.0, late=1.0):
    """Claim 14: networks whose contrast and annealing scatter as the closed form says, or otherwise."""
    rng, config, seeds = np.random.default_rng(3), PHASE.replace(algorithms=("L-S",)), 24
    time = np.linspace(0, 300, 100) * np.ones((1, seeds, 1))
    loss = 0.4 - 3e-4 * time
    ends = np.full((1, seeds), 280.0)
    infinite = labelled(config, {"algorithm": ["L-S"]}, time=time, contrast=0 * time - 0.4, train_loss=loss,
                        loss_q=0 * time + 0.66, loss_mixed=0 * time + 0.27, annealed_at=ends, threshold_at=ends,
                        diverged_at=ends + np.inf)
    push = kinks.push_of(config.problem, {"q": 0.66, "mixed": 0.27})
    m = np.array(jitter.WIDTHS, float)[:, None, None, None]
    form = kinks.scatter(config.problem, config.training, jitter.WIDTHS[-1], push, 126.0) * (m / m[-1]) ** exponent
    wide = config.replace(**{"network.m_v": jitter.WIDTHS[-1]})
    expected = annealing_jitter(wide, infinite)
    assert expected is not None
    spread = late * expected["jitter"] * (m[..., 0] / m[-1, 0]) ** -0.5
    networks = labelled(config, {"m_v": list(jitter.WIDTHS), "algorithm": ["L-S"]}, time=np.tile(time, (3, 1, 1, 1)),
                        phase=np.zeros((3, 1, seeds, 100), int), annealed_at=280 + spread * rng.normal(size=(3, 1, seeds)),
                        contrast=-0.4 + size * form * rng.normal(size=(3, 1, seeds, 100)))
    return {"infinite": infinite, "decoupled": networks}


def moved(exponent=-0.5, own=1.0, fixed=1.4):
    """Claim 15: full networks about a limit of their own, or about another."""
    rng, config, seeds = np.random.default_rng(4), PHASE.replace(algorithms=("S",)), 24
    time = np.linspace(0.5, 16, 20) * np.ones((1, seeds, 1))
    at_limit = -5 * time / 16
    m = np.array(moving.WIDTHS, float)[:, None, None, None]
    networks = own * at_limit * (1 + 0.1 * (m / m[0]) ** exponent * rng.normal(size=(3, 1, seeds, 1)))
    return {"full": labelled(config, {"m_v": list(moving.WIDTHS), "algorithm": ["S"]}, contrast=networks,
                             time=np.tile(time, (3, 1, 1, 1))),
            **{name: labelled(config, {"algorithm": ["S"]}, time=time, contrast=by * at_limit)
               for name, by in (("moving", 1.0), ("fixed", fixed))}}


# Claims 11 and 12 --------------------------------------------------------------------------------------------------------


@functools.cache
def _literal_needs():
    base = verifying.base_config("quick", "theorem").replace(seeds=SEEDS)
    with jax.enable_x64(True):
        return regime.needs(base)


def literal(change=lambda key, config, name, numbers: numbers):
    """As the theorems have it: along and across so that S errs by p/40, L-S by p kappa^2 of that; Q is fitted.

    `change` (key of the need, configuration, algorithm, {along, far, g, annealed, stopped}) plants a violation; far: along
    over across.
    """
    rng, found = np.random.default_rng(4), {}
    for key, need in _literal_needs().items():
        [(fields, rows)] = need.axes
        names, values = list(need.config.algorithms), []
        for row in rows:
            config = need.config.replace(**dict(zip(fields, row, strict=True)))
            unit = config.problem.z_norm**2 / need.config.problem.z_norm**2
            for name in names:
                values.append(change(key, config, name, literal_numbers(config, name, unit)))
        along, far, annealed, stopped, g = (
            np.array([v[k] for v in values]).reshape(len(rows), len(names), 1)
            * (1 + 0.01 * rng.normal(size=(len(rows), 1, SEEDS)))  # of the same training sets
            for k in ("along", "far", "annealed", "stopped", "g"))
        axis = fields[0].rpartition(".")[2]
        with np.errstate(invalid="ignore", divide="ignore"):
            across = np.where(far == 0, 0.0, along / far)
        records = {"p_along": along, "p_across": across, "g_z": g, "g_plus": -g, "g_minus": -g}
        dims = (axis, *DIMS)
        data = {k: (dims, v[..., None]) for k, v in records.items()} | {
            "annealed_at": (dims[:3], annealed), "stopped_at": (dims[:3], stopped)}
        coords = {f.rpartition(".")[2]: (axis, [row[k] for row in rows]) for k, f in enumerate(fields)}
        found[key] = xr.Dataset(data, coords=coords | {"algorithm": names, "seed": np.arange(SEEDS)},
                                attrs={"config": to_json(need.config)})
    return found


def literal_numbers(config, name, unit=1.0):
    """Of one run: S learns P from few examples, L-S from all; L-S anneals at a time that goes as 1/eps1."""
    kappa, eps1 = config.problem.kappa, config.training.eps1
    if name == "S":
        return {"along": 0.8, "far": 1.0, "stopped": 1.0, "g": 3e4, "annealed": np.inf}
    return {"along": 1.7 * np.log(1 / eps1) * np.sqrt(0.5 / kappa), "far": 1.6 - 0.5 * np.log2(kappa / 0.5), "stopped": 1.0,
            "g": 3e4, "annealed": 50 / eps1 / unit}


# Claim 13 ----------------------------------------------------------------------------------------------------------------


def side(errors, p_half, q_half, rate_sharp, names, until=300.0, rises=(1.0, 1.0)):
    """Runs of some algorithms: final errors on P, times at which losses halve, eta lambda_max at most.

    At time 100 and at the end, `until`, errors are `rises` times what is said.
    """
    jitter_ = jittered(SEEDS, seed=3)
    column = {k: np.array(v)[:, None] * jitter_ for k, v in (("e", errors), ("p", p_half), ("q", q_half), ("r", rate_sharp))}
    return xr.Dataset({"test_error_p": (DIMS, column["e"][..., None] * np.array([1.0, *rises])),
                       "rate_sharpness": (DIMS, column["r"][..., None] * np.array([1.0, 0.5, 0.1])),
                       "time_p_half": (DIMS[:2], column["p"]), "time_q_half": (DIMS[:2], column["q"]),
                       "time": (DIMS, np.array([0.0, 100.0, until]) + 0 * column["e"][..., None]),
                       "diverged_at": (DIMS[:2], np.inf + 0 * column["e"]),
                       "stopped_at": (DIMS[:2], np.inf + 0 * column["e"])},
                      coords={"algorithm": list(names), "seed": np.arange(SEEDS)})


def noise(**changes):
    """{part: runs}; a change replaces one argument of `side`: part__argument=values."""
    never = np.inf
    parts = {"base": {"errors": [0.0007, 0.019], "p_half": [180, never], "q_half": [280, 6.0],
                      "rate_sharp": [1.27, 1e-4], "names": ["L-S", "S"]},
             "quiet": {"errors": [0.026], "p_half": [never], "q_half": [6.0], "rate_sharp": [1.27],
                       "names": ["L-S"]},
             "finer": {"errors": [0.026], "p_half": [never], "q_half": [6.0], "rate_sharp": [0.16],
                       "names": ["S"]}}
    for name, values in changes.items():
        part, _, argument = name.partition("__")
        parts[part][argument] = values
    return {part: side(**arguments) for part, arguments in parts.items()}


RUNS = {"variance": variance, "widths": in_the_width, "plateau": lambda: {"main": course()}, "annealing": annealing,
        "order": lambda: {"main": course()}, "error": error, "transition": transition, "mitigation": mitigation,
        "microsteps": micro_steps, "limit": to_the_limit, "bound": literal, "floor": literal, "noise": noise,
        "jitter": jittering, "moving": moved}
"""{claim: what makes its runs}."""
