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
# # What finite networks add
#
# **Shows** three ways in which a network of m neurons differs from infinite width, each predicted before it is run: it scatters, its
# signal moves its own gates, and its minibatches are drawn. **Takes** about 3 minutes on two cores.
#
# After it you can choose m_v by how much jitter you can bear, and say which limit a network has before comparing it with one.
#
# One picture serves all three. A neuron of V tells z from z + zeta and z - zeta only while its **kink** lies between them; there the
# residuals of Q push it, at rate rho |z|/2, and nowhere else (`lt.kinks`).

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import lrtheory as lt

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few steps of few networks, for the tests
phase = lt.preset("phase")


def lines(runs, name, algorithm, **look):
    """Mean over seeds, against time."""
    runs = runs.sel(algorithm=algorithm)
    plt.plot(runs["time"].mean("seed"), runs[name].mean("seed"), **look)


# %% [markdown]
# ## 1. Networks scatter, and L-S anneals by a loss
#
# L-S anneals when its loss, averaged over `loss_smoothing` = 15 units of time, falls below a threshold. **Predict**: by how much do
# three widths of V scatter the contrast halfway, and the time of annealing? The first from
# $m \,\mathrm{Var} = \frac{4}{3\pi}(\rho |z|^2 t_{blur})^2 J(\lambda t)$, the second from the first over the slope of the loss.

# %%
ls = phase.replace(algorithms=("L-S",), seeds=2 if FAST else 24, records=60, **{"training.steps": 60 if FAST else 9000})
limit = lt.predict(ls)
WIDTHS = (128, 512, 2048)
for m in WIDTHS:
    said = lt.results.annealing_jitter(ls.replace(**{"network.m_v": m}), limit)
    print(f"m_v = {m:5,}:", "never anneals" if said is None else f"anneals near {said['time']:.0f}, give or take {said['jitter']:.0f}")

# %%
found = {m: lt.run(ls.replace(**{"network.m_v": m})) for m in WIDTHS}
there = limit.sel(algorithm="L-S")
for m, runs in found.items():
    runs = runs.sel(algorithm="L-S")
    late = (runs["annealed_at"].where(np.isfinite) - there["annealed_at"].where(np.isfinite)).dropna("seed").values
    k = int(np.argmin(abs(runs["time"].isel(seed=0).values - 150)))
    time = runs["time"].isel(record=k)
    away = runs["contrast"].isel(record=k) - lt.at_times(there, "contrast", time)
    push = lt.kinks.push_of(phase.problem, {g: float(there[f"loss_{g}"].mean("seed")[k]) for g in ("q", "mixed")})
    form = lt.kinks.scatter(phase.problem, phase.training, m, push, float(time[0]))
    print(f"m_v = {m:5,}: at time {time[0]:3.0f} the contrast is {float((away**2).mean()) ** 0.5:.2f} off its limit "
          f"(closed form {form:.2f})", f"; {late.size} of {runs.sizes['seed']} anneal, {late.mean():+.0f} ± "
          f"{late.std() / late.size ** 0.5:.0f} after the limit, scatter {late.std():.0f}" if late.size else "", sep="")

# %% [markdown]
# **What happened**: the contrast scatters as 1/sqrt(m_v), by two thirds to three quarters of the closed form (of leading order in r and 1/m:
# the narrower, the less it holds). Annealing jitters as it says where the jitter is not much more than the 15 over which the trigger
# averages; in narrower networks the first of many crossings counts, and some never get there in this time. So m_v is chosen by the jitter
# that one can bear: `lrtheory run` prints it before it starts.
#
# ## 2. Full networks move their own kinks
#
# The push of Q moves a kink, too: away from Q's directions where u > 0, onto them where u < 0. Then at most
# $\sqrt{m_v/2\pi}\,\tau_v |z| r^2$ of contrast is left, whatever the width, as long as sqrt(m_v) tau_v stays the same. **Predict**: here
# that ceiling is 6.3; what will S reach by time 10, 60 and 150, if it learns Q at once and its noise decays as $e^{-\lambda t}$?

# %%
full = phase.replace(engine="reduced", algorithms=("S",), seeds=2 if FAST else 8, records=20 if FAST else 100,
                     **{"network.m_v": 256 if FAST else 4096, "network.tau_w": 0.2, "network.tau_v": 4 / phase.problem.z_norm,
                        "training.steps": 60 if FAST else 3300})
full = full.replace(**{"network.tau_v": full.network.tau_v * 6.27 / lt.kinks.ceiling(full.problem, full.network)})
limits = {"own limit (kinks move)": lt.predict(full), "limit of fixed kinks": lt.predict(full.replace(engine="decoupled"))}
network = lt.run(full)

# %%
figure = plt.figure(figsize=(6, 3.2))
lines(network, "contrast", "S", color="C1", lw=2, label="full networks")
for (name, runs), style in zip(limits.items(), ("-", "--"), strict=True):
    lines(runs, "contrast", "S", color="k", ls=style, lw=1, label=name)
plt.axhline(-lt.kinks.ceiling(full.problem, full.network), color="0.7", lw=1, label="ceiling at time 0")
plt.xlabel("time (sum of rates)"), plt.ylabel("contrast under S"), plt.legend(fontsize="small")
plt.close(), display(figure)
for name, runs in {"full networks": network, **limits}.items():
    runs = runs.sel(algorithm="S")
    time, contrast = runs["time"].mean("seed").values, runs["contrast"].mean("seed").values
    print(f"{name:24s}", {t: round(float(np.interp(t, time, contrast)), 2) for t in (10, 60, 150)})

# %% [markdown]
# **What happened**: full networks follow their own limit, not that of fixed kinks, which is twice as far at time 60. Afterwards the ceiling
# sinks with the noise and the contrast with it; networks end above their limit, for by then the small rate's noise has brought further
# kinks between Q's directions, which the formula leaves out.
#
# ## 3. Minibatches: noise of another kind
#
# The noise of minibatches is not the injected one at another temperature. A gradient on V lies in the plane of z and zeta and its norm
# does not grow with m, while a gate turns by its share of a weight's own size: its trace goes as 1/m of the injected noise's. **Predict**: which
# limit does a network trained on batches of 32 approach as it widens, that of full batches, or the limit trained on *its* batches?

# %%
batches = phase.replace(algorithms=("L-S",), seeds=2 if FAST else 8, records=40,
                        **{"training.batch_size": 32, "training.step_time": 0.0, "training.eta_ratio": 0.03, "network.m_w": 128,
                           "training.steps": 60 if FAST else 4000})
its_own = lt.predict(batches).sel(algorithm="L-S")
whole = lt.predict(batches.replace(**{"training.batch_size": None})).sel(algorithm="L-S")
for m in (256, 1024, 4096):
    runs = lt.run(batches.replace(**{"network.m_v": m})).sel(algorithm="L-S")
    away = []
    for other in (its_own, whole):
        away.append(float(((runs["g_z"] - lt.at_times(other, "g_z", runs["time"])) ** 2).mean()) ** 0.5)
    print(f"m_v = {m:5,}: g(z) is {away[0]:.3f} from the limit on its own batches, {away[1]:.3f} from that of full batches")

# %% [markdown]
# **What happened**: the limit on its own batches, as 1/sqrt(m); from that of full batches it stays 0.36 away however wide it is. So the
# noise of minibatches turns no gates; it stays in the outputs, and cannot do what the paper's injected noise does.
#
# ## Exercises
#
# 1. You want L-S's annealing to jitter by less than 10 in this preset. Which m_v, and why is more of W no help?
#
#    <details><summary>Solution</summary>
#
#    The jitter is 56 at 512 and falls as 1/sqrt(m_v): 512 (56/10)^2, about 16,000. What scatters is the contrast, which V says; W only
#    shifts P's loss, by 1/m_w.
#
#    </details>
#
# 2. In section 2 you double m_v and halve tau_v^2. What changes?
#
#    <details><summary>Solution</summary>
#
#    The ceiling does not, so the limit is the same; the scatter about it is smaller by sqrt(2). Kept at one tau_v, the ceiling rises and
#    the limit goes to that of fixed kinks.
#
#    </details>
