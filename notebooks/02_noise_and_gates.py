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
# # Noise and gates
#
# **Shows** the mechanism behind the order: noise keeps moving the gates that would tell Q's classes apart. **Takes** about 3 minutes
# on two cores.
#
# After it you can say what balanced noise is, how long a gate lasts under a rate, and when the full network may be replaced by its
# decoupled surrogate and by infinite width.
#
# Three definitions:
#
# * Weights are a **signal part** (decayed sum of gradients) and a **noise part** (initialisation and injected noise), U = Ubar + Utilde.
# * **Balanced** noise keeps the noise part's variance at tau0^2 under the large rate (assumption 3.1).
# * **Decoupled** dynamics take the gates of the noise part alone; their limit of infinitely many neurons has no neurons at all.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import lrtheory as lt
from lrtheory import noise
from lrtheory.theory.timescales import conditions

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few steps of small networks, for the tests
config = lt.preset("phase").replace(seeds=4, n_test=1024)
if FAST:
    config = config.replace(**{"training.steps": 60})
training = config.training

# %% [markdown]
# ## 1. The noise part
#
# **Predict**: its variance follows v <- a^2 v + s^2, in units of tau0^2. Where is it under the large rate, and where does it go after
# annealing, and how fast?

# %%
runs, theory = lt.run(config), lt.predict(config)
lt.figures.noise_and_signal(runs, theory)

# %% [markdown]
# **What happened**: it is 1 under the large rate; after annealing it falls towards eta2/eta1 within 1/(2 lambda) = 222. Gates of U and
# of its noise part agree but for those that the signal has moved across. (Solid: measured; dashed: the recursion, and for the signal
# infinite width.)
#
# ## 2. How long a gate lasts
#
# Two gates of one neuron at two times are signs of two normals with correlation rho, so they agree with probability
# 1/2 + arcsin(rho)/pi. **Predict** the share that agrees after t = 1, 10, 100 under the large rate, if rho = exp(-lambda t).

# %%
neurons = 20_000 if FAST else 1_000_000
for time in (1.0, 10.0, 100.0):
    move = noise.micro_steps(training.eta1, round(time / training.eta1), training.weight_decay, training.tau_xi)
    before, fresh = jax.random.normal(jax.random.key(0), (2, neurons))
    after = (1 + move.shrink) * before - move.kick * fresh
    agree = float(jnp.mean((before >= 0) == (after >= 0)))
    print(f"after {time:5.0f}: {agree:.4f} of the gates agree, theory {0.5 + np.arcsin(1 + float(move.shrink)) / np.pi:.4f}")

# %% [markdown]
# **What happened**: 2%, 7% and 21% of all gates have changed. But the neurons that tell z from z + zeta are those within an angle r of
# their kink, and these change first: within t_blur(eta) = log(1 + r^2 eta1/eta)/(2 lambda). (What is left of the contrast's memory
# then falls as (t_blur/t)^(3/2): the blur is no cut-off.)

# %%
lt.figures.gates(config)

# %% [markdown]
# ## 3. Full, decoupled, infinite
#
# **Predict**: decoupled runs scatter around infinite width as 1/sqrt(m). The full network follows it while V's neurons keep their
# kinks (condition F, sqrt(m_v) tau_v |z| r^2/(10 pi) well above 1). Here it is 1.4: when will it depart?

# %%
full = config.replace(engine="reduced", **{"network.m_w": 512, "network.tau_w": 0.2, "network.m_v": 512 if FAST else 131_072,
                                           "network.tau_v": 3.1})
print(conditions(full.problem, full.training, full.network, full=True)[4])
engines = {"full (131,072)": lt.run(full), "decoupled (512)": runs,
           "decoupled (8,192)": lt.run(config.replace(**{"network.m_v": 8192, "network.m_w": 256}))}
for name, found in {**engines, "infinite width": theory}.items():
    last = found.isel(record=-1).mean("seed")
    print(f"{name:26s}", {m: [round(float(x), 4) for x in last[m].values] for m in ("contrast", "test_error_p", "loss_p")})

# %%
contrast = lt.figures.overlay(engines, theory, "contrast")
if not FAST:
    contrast.savefig("three_engines.png", dpi=150)
contrast

# %% [markdown]
# **What happened**: decoupled networks follow the limit closely, and scatter about it less the more neurons they have. The full one does until the contrast is
# about -7; then the signal has moved V's neurons off their kinks, it falls short, and under L-S it jitters by what the noise itself
# puts out. (V's neurons in brackets, bands over 4 seeds.)
#
# ## Exercises
#
# 1. With `training.noise_level` = 0 the noise part only decays. What is its variance at the end, and how often do gates of z change?
#
#    <details><summary>Solution</summary>
#
#    v = exp(-2 lambda t); never, for shrinking moves no sign: rho = 1. Without noise nothing is blurred (notebook 00).
#
#    </details>
#
# 2. Condition F grows with sqrt(m_v) tau_v. Which of the two would you raise at equal cost, and what does tau_v cost?
#
#    <details><summary>Solution</summary>
#
#    tau_v is free of arithmetic, but the noise's own output on Q grows with it, and with it the jitter of the loss that triggers
#    annealing. At fixed sqrt(m_v) tau_v more neurons mean less jitter.
#
#    </details>
