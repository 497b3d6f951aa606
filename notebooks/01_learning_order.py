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
# L-S (a large rate, annealed) learns the noisy pattern P from every example that carries it, and the fine pattern Q
# only after annealing. S (the small rate) memorises Q first, so that mixed examples stop teaching P, and fits P from
# the few P-only examples. Takes about 40 seconds on two cores.

# %%
import lrtheory as lt

lt.use_all_cores()
config = lt.preset("quick")
runs = lt.run(config)
runs

# %% [markdown]
# Times (sums of rates) at which each group's training loss halved, and at which L-S annealed:

# %%
runs[["time_p_half", "time_q_half", "annealed_at"]].to_dataframe().unstack("algorithm")

# %%
lt.figures.learning_order(runs)

# %% [markdown]
# The price of the wrong order: S's error on P rises while it trains.

# %%
lt.figures.test_error_on_p(runs)

# %%
verdict = lt.summarise(runs)["verdict"]
print(verdict["error_ratio"]["ratio"], verdict["error_ratio"]["holds"], verdict["learning_order"]["holds"])
