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
# # Learning order
#
# **Shows** what the paper claims, in its own two-layer network: a large rate that is annealed (L-S) learns the noisy pattern P
# from every example that carries it, and the fine pattern Q only after annealing. The small rate (S) memorises Q first, so that
# mixed examples stop teaching P, and fits P from the few P-only examples. **Takes** about 2 minutes on two cores.
#
# Expected before looking, from the time scales (time is the sum of learning rates):
#
# * P needs T_P, Q needs T_Q = T_P/120. Under S Q comes first; the mixed examples are then right by Q alone and teach P no more.
# * Under the large rate noise blurs Q's angle within t_blur(eta1) < T_Q, so Q's loss stays at log 2 until annealing.
# * S ends with the error on P of a classifier fed the P-only examples, L-S with that of one fed all examples that carry P.

# %%
import os

import lrtheory as lt
from lrtheory.theory.timescales import conditions

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # a few steps of small networks, for the tests
config = lt.preset("quick")
for condition in conditions(config.problem, config.training, config.network, full=False):
    print(f"{condition.name}: {condition.meaning} = {condition.value:.3g}, needs {condition.bound}")

# %% [markdown]
# Both algorithms from 8 seeds in one compiled program, and what the theory predicts for the same data at infinite width,
# with nothing fitted (dashed in the figures).

# %%
runs = lt.run(config)
theory = lt.predict(config)
runs

# %% [markdown]
# The headline figure: training loss of each group of examples. Bands from the least to the largest seed; thin lines where each
# seed annealed.

# %%
order = lt.figures.learning_order(runs, theory)
if not FAST:
    order.savefig("learning_order.png", dpi=150)
order

# %% [markdown]
# Times at which each group's training loss first was half its initial value, and at which L-S annealed:

# %%
runs[["time_p_half", "time_q_half", "annealed_at"]].to_dataframe().unstack("algorithm")

# %% [markdown]
# The price of the wrong order: S's error on P rises while it trains, because what P teaches comes from the P-only examples
# alone, and those are overfitted.

# %%
lt.figures.test_error_on_p(runs, theory)

# %% [markdown]
# What each half says: the outputs on Q's three directions. The contrast is what tells z from z + zeta and z - zeta.

# %%
lt.figures.directions(runs, theory)

# %% [markdown]
# What S errs more than L-S, against lambda times time: what tells the algorithms apart decays as exp(-lambda t), so the gap is a
# transient, and a run should end before lambda t = 1 (condition G).

# %%
lt.figures.gap(runs, theory)

# %% [markdown]
# The verdict, as `lrtheory run` prints it, with its numbers:

# %%
verdict = lt.summarise(runs, theory)["verdict"]
for name in ("S", "L-S"):
    side = verdict["learning_order"][name]
    print(f"{name}: {side['first']} first in {side['seeds']} of {side['of']} seeds")
ratio = verdict["error_ratio"]
print(f"test error on P: S {ratio['S']['mean']:.4f} +- {ratio['S']['sem']:.4f}, "
      f"L-S {ratio['L-S']['mean']:.5f} +- {ratio['L-S']['sem']:.5f}; {ratio['verdict']}")
matched = verdict["matched_loss"]
print(f"the same where both first have a training loss of {matched['S']['train_loss']['mean']:.3f}: "
      f"S {matched['S']['mean']:.4f}, L-S {matched['L-S']['mean']:.5f}; {matched['verdict']}")
if not FAST:
    assert verdict["learning_order"]["holds"]
    assert ratio["holds"]
