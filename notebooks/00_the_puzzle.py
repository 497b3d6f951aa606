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
# # The puzzle
#
# **Shows** why a network trained with a small learning rate, which fits the training set just as well, can generalise much
# worse: once it knows one pattern, most examples stop teaching it the other. **Takes** about 4 minutes on two cores to run and
# ten to read.
#
# After it you can say
#
# * what P, Q and mixed examples are, and which of them teach what;
# * what decides the test error on P: that there was a large phase, and how long it was; not what was learned first;
# * what noise has to do with it, and what happens when you take it away.
#
# Three definitions:
#
# * **P** is a pattern that is easy to fit and hard to generalise: two noisy clouds that a line cuts. The more examples, the better
#   the line. **Q** is easy to generalise and hard to fit: three fixed directions, almost parallel, which no line tells apart.
# * An example is (x1, x2, y). P-only ones carry P in x1, Q-only ones Q in x2, **mixed** ones both, and then either would do.
# * **Time** is the sum of learning rates, so that one unit of time means as much gradient under any rate.

# %%
import os

import lrtheory as lt

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few steps of small networks, for the tests
config = lt.preset("quick").replace(seeds=4)

drawing = lt.figures.problem(config)
if not FAST:
    drawing.savefig("the_problem.png", dpi=150)
drawing

# %% [markdown]
# ## Predict
#
# Two algorithms: **S** trains with a small rate; **L-S** with one 10,000 times as large, divided by that once the loss is small
# (large, then small). An iteration of either is U <- U - eta (grad L + lambda U + xi) on all examples, xi Gaussian noise that is
# injected, so strong that it keeps the weights at their initial size under the large rate. A unit of time takes 1/eta iterations, each
# with noise of size eta: the larger the rate, the more noise.
#
# Suppose Q is learned first. Then mixed examples are right without P. Of 256 examples, how many still teach P? And how many if P
# comes first? Which of the two orders will S take, which L-S?

# %%
runs = lt.run(config)
lt.figures.learning_order(runs)

# %% [markdown]
# ## What happened
#
# S fits Q and the mixed examples at once. From then on only the P-only examples teach it P: their loss (blue) falls slowly, and
# 26 examples in 64 dimensions are too few for a good line. Under the large rate Q cannot be fitted, so mixed examples go on teaching P.
# Q is fitted after annealing, in no time. Both end with the same mean training loss. The test error on P differs by a factor of about 20:

# %%
runs["test_error_p"].isel(record=-1).mean("seed").to_series()

# %%
lt.figures.test_error_on_p(runs)

# %% [markdown]
# ## S knew P, and lost it
#
# S's error on P *rises* while it trains. What was it at the beginning? `lt.predict` computes the limit of infinitely many
# neurons in seconds. Before you run the cell: how good is either algorithm after a single step?

# %%
step = lt.predict(config.replace(n_test=8192, records=1, **{"training.steps": 1}))
step["test_error_p"].isel(record=-1).mean("seed").to_series()

# %% [markdown]
# **The first step already makes a good classifier of P**: 0.0024 under either rate. It adds up y x1 over all examples that carry P,
# and that sum points along the right line; its margins are near 0, so the loss hardly moves. S has it from all 192 examples, and
# *loses* it while it fits Q: from then on the few P-only examples pull the line towards themselves. L-S keeps it.
#
# ## Is it what was learned first?
#
# S learns Q first and L-S P first. Is this order the reason? Give S a large phase *after* it has memorised Q: small until time 60,
# large for a time T_P (or a third of it), then small again. **Predict** which is learned first, and the error on P.

# %%
large, small = config.training.eta1, config.training.eta1 * config.training.eta_ratio
rates = {"S": lt.constant(small), "large first": lt.step_decay([large, small], [260.0]),
         "large later": lt.step_decay([small, large, small], [60.0, 320.0]),
         "later, a third": lt.step_decay([small, large, small], [60.0, 150.0])}
few = {"training.steps": 60} if FAST else {}
later = lt.predict(config.replace(n_test=8192, **few), algorithms={name: lt.Algorithm(rate=rate) for name, rate in rates.items()})
names = ["time_p_half", "time_q_half", "test_error_p"]
later[names].isel(record=-1).mean("seed").to_dataframe()[names].round(4)

# %% [markdown]
# **What happened**: with the large phase later Q is learned first, at 5.4, as under S; and the error on P is 0.0019, that of the large
# phase first, 0.0020. A third of it leaves 0.0057; S ends at 0.032. So the order tells the two algorithms apart, and is not
# the cause. *A large phase blurs Q, known or not, and meanwhile all examples with P teach P. What counts is that it happened, how
# long it lasted, and how long ago it ended*: under the small rate the error rises again.
#
# ## Why the large rate cannot see Q
#
# A ReLU neuron v tells z from z + zeta only if its kink lies between them: v.z >= 0 but v.(z + zeta) < 0 or the reverse. These few
# neurons lie between the lines below. Noise moves them. Under the large rate they have left before they have learned anything;
# under the small rate, in the same time, they have hardly moved.

# %%
gates = lt.figures.gates(config)
if not FAST:
    gates.savefig("gates.png", dpi=150)
gates

# %% [markdown]
# ## Now change the noise
#
# If this is the reason, it is the *noise* that matters and not the rate. Before you run the cell: what will L-S do *without* noise?
# And S with the noise of the large rate (level 100: its noise per unit of time is level^2 times the ratio of rates, 1e-4)?

# %%
settings = {"as it is": {}, "no noise": {"training.noise_level": 0.0}, "noise of the large rate": {"training.noise_level": 100.0}}
for name, changes in settings.items():
    algorithms = ("S",) if name == "noise of the large rate" else ("L-S", "S")  # L-S would have 10,000 times too much
    found = lt.predict(config.replace(n_test=2048, algorithms=algorithms, **changes, **few)).isel(record=-1)
    print(f"{name:24s}", {a: round(float(found["test_error_p"].sel(algorithm=a).mean()), 4) for a in algorithms})

# %% [markdown]
# ## What happened
#
# Without noise L-S learns Q first, too, and ends with S's error, 0.041: the large rate by itself protects from nothing (below the edge
# of stability, where all runs here are). S with the large rate's noise ends with L-S's error, 0.002. That is no second finding: per unit
# of time it has the same gradient and the same noise as L-S before annealing, so the equations are the same up to the size of a step.
# It shows that the rate acts through its noise alone.
#
# In one sentence: *noise decides whether Q can be known, and while Q is not known all examples with P teach P.*
#
# ## Exercises
#
# 1. Set `training.noise_level` to 0.1, 0.3 and 3. Predict each time which algorithm moves towards the other, and look.
#
#    <details><summary>Solution</summary>
#
#    At 0.1 and 0.3 L-S's noise blurs Q 100 and 11 times more slowly: its error rises to 0.032 and 0.010. At 3 it is S's noise that
#    begins to blur: S falls from 0.033 to 0.018, L-S stays. (`lt.predict`, 4 seeds; standard errors up to 0.005.)
#
#    </details>
#
# 2. Give S more P-only examples: `problem.p0` of 0.2 and 0.4. What must happen to S's error, what to L-S's?
#
#    <details><summary>Solution</summary>
#
#    S learns P from p0 N examples, so its error falls with p0; L-S learns it from (1 - q0) N, which does not change. At p0 = 0.1,
#    0.2 and 0.4 S ends at 0.033, 0.014 and 0.006, L-S at 0.002 each time. (`lt.predict`, 4 seeds.)
#
#    </details>
