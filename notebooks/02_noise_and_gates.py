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
# **Shows** the mechanism behind the order. Weights are a signal part (decayed sum of gradients) and a noise part (initialisation
# and injected noise), U = Ubar + Utilde, and the noise part decides which neurons are active. **Takes** about 3 minutes on two cores.
#
# Three questions, each with its answer expected beforehand:
#
# 1. Does balanced noise (assumption 3.1) keep the noise part's variance, and what happens after annealing?
# 2. How long do gates that tell z from z + zeta last? Until t_blur(eta) = log(1 + r^2 eta1/eta)/(2 lambda), and no longer.
# 3. Are three ways of computing the dynamics the same: the full network, gates from the noise part alone (decoupled), and no
#    neurons at all (infinite width)? Up to 1/sqrt(m), while V's neurons keep their kinks (condition F).

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import lrtheory as lt
from lrtheory import noise
from lrtheory.theory.kernel import overlap
from lrtheory.theory.timescales import blur_time, conditions, q_time

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few steps of small networks, for the tests
config = lt.preset("phase").replace(seeds=4, n_test=1024)
if FAST:
    config = config.replace(**{"training.steps": 60})
problem, training = config.problem, config.training

# %% [markdown]
# ## 1. The noise part
#
# Its variance v follows v <- a^2 v + s^2, in units of tau0^2: 1 under the large rate; under the small one it relaxes towards
# eta2/eta1 within a time 1/(2 lambda) = 222. Gates of U and of its noise part agree but for those that the signal has moved
# across. Solid: measured, dashed: the recursion, and for the signal the infinite-width limit.

# %%
runs, theory = lt.run(config), lt.predict(config)
lt.figures.noise_and_signal(runs, theory)

# %% [markdown]
# ## 2. Blur
#
# What a residual on z against z +- zeta teaches is remembered through gates that differ between these directions. A neuron's
# gates at angle theta and at two times agree with probability 1/2 + arcsin(rho cos theta)/pi, rho the correlation of its noise
# part: so the memory of the contrast (-2, 1, 1) is its quadratic form in the kernel `<x, x'>` P(both gates open). Below, the form
# at a lag over the form at lag 0, from neurons (dots) and in closed form (lines), for the two rates of the phase diagram.
#
# Expected: most is gone after t_blur, and the rest goes as a power law, (t_blur/t)^(3/2): the blur is no cut-off. Under the small
# rate everything is later by eta1/eta, beyond T_Q; once 1/lambda = 444 has passed, decay has replaced the old noise altogether.

# %%
def move(rate, time):
    """What the noise part does within a time under a rate; the injected noise is that which balances the large rate."""
    return noise.micro_steps(rate, jnp.maximum(jnp.round(time / rate), 1), training.weight_decay, training.tau_xi)


def exact(rate, times):
    """The quadratic form of (-2, 1, 1) in Q's kernel at lags of some times (n,), over its value at lag 0: (n,)."""
    angle, weights = np.arctan(problem.r), np.array([-2.0, 1.0, 1.0]) * np.sqrt(1 + problem.r**2 * np.array([0, 1, 1]))
    cosines = np.cos(angle * np.array([[0, 1, 1], [1, 0, 2], [1, 2, 0]]))
    with jax.enable_x64(True):  # the form is a fourth difference: r^4 of its terms
        moved = [move(rate, time) for time in times]
        correlation = jnp.stack([(1 + m.shrink) / jnp.sqrt(noise.variance(1.0, m)) for m in moved])  # v = 1 before
        lags = jnp.append(0.0, -jnp.log(correlation))
        kernel = overlap(lags[:, None, None] - jnp.log(jnp.asarray(cosines))[None])
        forms = np.asarray(jnp.einsum("i,nij,j,ij->n", weights, kernel, weights, cosines))
    return forms[1:] / forms[0]


def measured(rate, times, neurons=20_000 if FAST else 4_000_000):
    """The same by counting gates of neurons in the plane of z and zeta."""
    points, weights = jnp.array([[1, 0], [1, problem.r], [1, -problem.r]]), np.array([-2.0, 1.0, 1.0])
    before, forms = jax.random.normal(jax.random.key(0), (2, neurons)), []
    for k, time in enumerate([0.0, *times]):
        m, fresh = move(rate, time), jax.random.normal(jax.random.key(k + 1), (2, neurons))
        after = before if k == 0 else (1 + m.shrink) * before - m.kick * fresh
        open_before, open_after = ((points @ u >= 0).astype(float) for u in (before, after))
        forms.append(weights @ np.asarray(points @ points.T * (open_before @ open_after.T / neurons)) @ weights)
    return np.array(forms[1:]) / forms[0]


figure = lt.style.Figure(figsize=(6.2, 3.6), layout="constrained")
axis = figure.subplots()
for rate, colour, name in ((training.eta1, lt.style.BLUE, "eta1"), (0.01 * training.eta1, lt.style.VERMILION, "eta1/100")):
    t_blur = blur_time(problem, training, rate)
    times = np.unique(np.maximum(np.round(t_blur * np.geomspace(0.05, 30, 25) / rate), 1)) * rate  # whole iterations
    axis.loglog(times, exact(rate, times), color=colour, label=f"rate {name}: exact")
    axis.loglog(times[::3], measured(rate, times[::3]), "o", ms=3, color=colour, label="4 million neurons")
    axis.axvline(t_blur, color=colour, lw=0.8, ls=":", label="t_blur")
    print(f"rate {name}: t_blur = {t_blur:.3g}, memory left then {exact(rate, np.array([t_blur]))[0]:.2f}")
axis.axvline(q_time(problem), color=lt.style.GREY, lw=0.8)
axis.text(q_time(problem), 1.1, " T_Q", color=lt.style.GREY, va="bottom")
axis.set(xlabel="lag (sum of rates)", ylabel="memory of the contrast", ylim=(1e-3, 1.1))
axis.legend(fontsize=7)
if not FAST:
    figure.savefig("blur.png", dpi=150)
figure

# %% [markdown]
# ## 3. Full, decoupled, infinite
#
# The full network f(x) = N_U(u, U; x), its decoupled surrogate, and the limit of the latter. Decoupled runs scatter around the
# limit as 1/sqrt(m). The full network follows it while V's neurons keep their kinks (condition F: sqrt(m_v) tau_v |z| r^2 /
# (10 pi) well above 1; here 1.4), then falls short of the contrast, and its L-S jitters by what the noise itself puts out.
# Neurons in brackets.

# %%
full = config.replace(engine="reduced", **{"network.m_w": 512, "network.tau_w": 0.2, "network.m_v": 512 if FAST else 131_072,
                                           "network.tau_v": 3.1})
print(*conditions(full.problem, full.training, full.network, full=True), sep="\n")

# %%
engines = {"full (131,072)": lt.run(full), "decoupled (512)": runs,
           "decoupled (8,192)": lt.run(config.replace(**{"network.m_v": 8192, "network.m_w": 256}))}
for name, found in {**engines, "infinite width": theory}.items():
    last = found.isel(record=-1).mean("seed")
    print(f"{name:26s}", {m: [round(float(x), 4) for x in last[m].values] for m in ("contrast", "test_error_p", "loss_p")})

# %% [markdown]
# The contrast, which tells Q's classes apart, and what the order of learning costs on P.

# %%
contrast = lt.figures.overlay(engines, theory, "contrast")
if not FAST:
    contrast.savefig("three_engines.png", dpi=150)
contrast

# %%
error = lt.figures.overlay(engines, theory, "test_error_p")
error.axes[0].set_ylim(0, 0.06)
error
