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
# # Full network, decoupled network, infinite width
#
# The full network f(x) = N_U(u, U; x), its decoupled surrogate (gates from the noise part alone), and the limit of the
# latter, which has no neurons. Expected before looking: decoupled runs scatter around the limit as 1/sqrt(m). The full
# network follows it while V's neurons keep their kinks (condition F: sqrt(m_v) tau_v |z| r^2 / (10 pi) well above 1; here
# 1.4), then falls short of the contrast, and its L-S jitters by what the noise itself puts out. Neurons in brackets. Four minutes on two cores.

# %%
import os

import lrtheory as lt
from lrtheory.timescales import conditions

lt.use_all_cores()
config = lt.preset("phase").replace(seeds=4, n_test=1024)
full = config.replace(engine="reduced", **{"network.m_w": 512, "network.tau_w": 0.2, "network.m_v": 131_072, "network.tau_v": 3.1})
if "LRTHEORY_FAST" in os.environ:  # a few steps of small networks, for the tests
    config = config.replace(**{"training.steps": 60})
    full = full.replace(**{"training.steps": 60, "network.m_v": 512})
print(*conditions(full.problem, full.training, full.network, full=True), sep="\n")

# %%
runs = {"full (131,072)": lt.run(full), "decoupled (512)": lt.run(config),
        "decoupled (8,192)": lt.run(config.replace(**{"network.m_v": 8192, "network.m_w": 256}))}
theory = lt.predict(config)

# %%
for name, found in {**runs, "infinite width": theory}.items():
    last = found.isel(record=-1).mean("seed")
    print(f"{name:26s}", {m: [round(float(x), 4) for x in last[m].values] for m in ("contrast", "test_error_p", "loss_p")})

# %% [markdown]
# The contrast, which tells Q's classes apart, and what the order of learning costs on P.

# %%
contrast = lt.figures.overlay(runs, theory, "contrast")
contrast

# %%
error = lt.figures.overlay(runs, theory, "test_error_p")
error.axes[0].set_ylim(0, 0.06)
error
