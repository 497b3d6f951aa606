# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The theorem's literal exponents, up to d = 10^15
#
# **Shows** at which dimension the theorem's own constants separate L-S from S: |z| = 1, alpha ~ U[0, 1], r = d^-3/4,
# lambda = d^-5/4, gamma0 = d^-1/2. At infinite width Q is three numbers, whatever d is, so they can be followed to any d.
# **Takes** about 3 minutes on two cores, in double precision, because r is 2e-12 at d = 10^15.
#
# Expected before looking, from the time scales:
#
# * S needs T_Q = 16 pi d^(3/4) for Q; P needs T_P = 3.3 d. T_P/T_Q = 0.066 d^(1/4) passes 1 at d = 5e4, 200 at 1e14.
# * Weight decay forbids Q below lambda T_Q = 16 pi d^(-1/2) of order 1: d = 2,500 and well above.
# * Under the large rate the noise blurs Q within t_blur = d^(-1/4)/2, and the contrast is held near t_blur/T_Q = 1/(32 pi d),
#   or lower: t_blur is less than one step (eta1 = 1), so residuals are never remembered at lags that resolve r. What is
#   left of the kernel's fourth difference, r^4 (lambda n)^(-3/2) after n steps, makes that a factor (t_blur/eta1)^(1/2).

# %%
import os
from pathlib import Path

import jax
import matplotlib
import numpy as np

import lrtheory as lt
from lrtheory.theory.timescales import blur_time, p_time, q_time

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few points, for the tests

# %% [markdown]
# Q alone: all examples carry x2 only, 4,096 of them for the law of alpha. S has eta2/eta1 = d^-2, small enough not to blur;
# eta2 = eta1 is the large rate throughout. One zipped axis moves everything that depends on d.


# %%
def q_alone(d: float) -> lt.Problem:
    """The Q half of the theorem's problem at dimension d (problem.d only says in how many dimensions x1 would be)."""
    return lt.Problem(d=2, N=4096, p0=0.0, q0=1.0, r=d**-0.75, z_norm=1.0, alpha_min=0.0)


def follow(dims: np.ndarray, small: bool):
    """S, or the large rate throughout, for 200 T_Q at every d."""
    config = lt.Config(problem=q_alone(dims[0]), network=lt.Network(shortest_lag=1e-28), engine="infinite", seeds=2, records=60,
                       n_test=1, algorithms=("S",), training=lt.Training(eta1=1.0, steps=100_000))
    fields = ("r", "weight_decay", "step_time", "eta_ratio")
    points = [(d**-0.75, d**-1.25, q_time(q_alone(d)) / 500, d**-2 if small else 1.0) for d in dims]
    return lt.sweep(config, {fields: points}).isel(algorithm=0)


dims = 10.0 ** (np.array([3, 9, 15]) if FAST else np.arange(1, 15.25, 0.5))
with jax.enable_x64(True):
    small, large = follow(dims, True), follow(dims, False)
t_q = np.array([q_time(q_alone(d)) for d in dims])

# %% [markdown]
# P where it can be simulated: the whole problem, L-S's large rate, kappa = 1/2.

# %%
p_dims = np.array([32] if FAST else [32, 64, 128, 256, 512])
t_p, t_p_law = [], []
for d in p_dims:
    config = lt.preset("literal").replace(
        engine="infinite", seeds=4, records=20, n_test=64, algorithms=("L-S",),
        **{"problem.d": int(d), "problem.r": d**-0.75, "problem.gamma0": d**-0.5, "training.weight_decay": d**-1.25,
           "training.eps1": 0.0, "training.steps": int(2 * d)})
    run, law = lt.run(config).isel(algorithm=0), p_time(config.problem)
    # Weight decay keeps the loss on P from halving at these d; its first fall, log 2 - t/(2 T_P), gives T_P.
    fallen = np.log(2) - run["loss_p"].mean("seed").values
    t_p.append(float(np.interp(0.05 * law, run["time"][0], fallen)) ** -1 * 0.025 * law)
    t_p_law.append(law)

# %%
halved = small["time_q_half"].mean("seed").values
reached, held = -small["contrast"].mean("seed").values, np.abs(large["contrast"].mean("seed").values)
blur = np.array([blur_time(q_alone(d), lt.Training(eta1=1.0, weight_decay=d**-1.25), 1.0) for d in dims])
print("d         T_Q       loss on Q halved/T_Q  contrast of S  of the large rate  t_blur/T_Q")
for row in zip(dims, t_q, halved / t_q, reached[:, -1], held[:, -1], blur / t_q):
    print("{:<9.1e} {:<9.2e} {:<21.2f} {:<14.3g} {:<18.2e} {:.2e}".format(*row))
print("d, T_P from the first fall of the loss on P over its law:", *(f"{d}: {a / b:.2f}" for d, a, b in zip(p_dims, t_p, t_p_law)))

# %%
figure = lt.style.Figure(figsize=(10.5, 3.4), layout="constrained")
with matplotlib.rc_context(lt.style.RC):
    left, middle, right = figure.subplots(1, 3)
wide = np.geomspace(10, 1e15, 50)
left.loglog(wide, 16 * np.pi * wide**0.75, color=lt.style.ORANGE, ls="--", label="T_Q = 16π d^(3/4)")
left.loglog(dims, halved, "o", ms=3.5, color=lt.style.ORANGE, label="Q's loss halved, under S")
left.loglog(wide, 3.3 * wide, color=lt.style.BLUE, ls="--", label="T_P = 3.3 d")
left.loglog(p_dims, t_p, "s", ms=3.5, color=lt.style.BLUE, label="from the fall of P's loss")
for d, words in ((5.3e4, "$T_P = T_Q$"), (8.4e13, "$T_P = 200\\,T_Q$")):
    left.axvline(d, color="0.6", lw=0.8)
    left.text(d, 2e1, words, rotation=90, ha="right", va="bottom", fontsize=7, color="0.4")
left.set_ylabel("time (sum of rates)")
left.legend(fontsize=7)
middle.semilogx(dims, reached.max(axis=-1), "o-", ms=3.5, color=lt.style.VERMILION, label="largest on the way")
middle.semilogx(dims, reached[:, -1], "o-", ms=3.5, color=lt.style.SKY, label="at 200 T_Q")
middle.axvline(2500, color="0.6", lw=0.8)
middle.text(2500, 1, "$λ T_Q = 1$", rotation=90, ha="right", va="bottom", fontsize=7, color="0.4")
middle.set_ylabel("−contrast of S")
middle.legend(fontsize=7)
seen = held[:, -1] > 1e-15  # below, it is lost in the rounding of g
right.loglog(dims[seen], held[seen, -1], "o", ms=3.5, color=lt.style.BLUE, label="large rate, at 200 T_Q")
right.loglog(dims, blur / t_q, color=lt.style.BLUE, ls="--", label="t_blur/T_Q = 1/(32π d)")
right.loglog(dims, blur / t_q * np.sqrt(blur) * 2.612, color="0.5", ls=":", label="× ζ(3/2) (t_blur/η₁)^(1/2)")
right.set_ylim(1e-16, 1e-2)
right.set_ylabel("|contrast|")
right.legend(fontsize=7)
for axis in (left, middle, right):
    axis.set_xlabel("d")
if not FAST:
    figure.savefig(Path(__file__).parent / "literal_exponents.png" if "__file__" in globals() else "literal_exponents.png", dpi=150)
figure
