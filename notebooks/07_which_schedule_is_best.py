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
# # Which schedule is best?
#
# **Shows** the best schedule of each family within a budget, how much the best numbers of one family win over those of another, and
# what networks say of the winner. **Takes** about 5 minutes on two cores.
#
# After it you can search a family of schedules, state its budget, and have networks judge the winner.
#
# Three definitions: a **family** is a shape whose numbers are free within bounds; its **budget** is a time (sum of rates), a number of
# iterations or a peak rate; the **blurred** error, by which a search goes, is the test error of outputs with a little noise, which
# still tells margins apart where no test point is wrong.
#
# **Predict**: at a fixed *time* (sum of rates) small rates cost nothing, so the optimum is as large as stable for as long as possible and
# then falls abruptly, once a few T_Q are left in which Q is learned; shapes that fall slowly waste time at rates that neither blur nor
# learn. At fixed *iterations* small rates are dear, and a decay through decades should win over the abrupt drop.

# %%
import os

import numpy as np

import lrtheory as lt
from lrtheory.theory.timescales import q_time

lt.use_all_cores()
FAST = "LRTHEORY_FAST" in os.environ  # two small budgets of few steps, for the tests
config = lt.preset("phase")
times, families = [75.0, 150.0, 300.0, 600.0], ("constant", "cosine", "linear")
if FAST:
    config = config.replace(n_test=64)
    times, families = [2.0], ("constant",)

# %% [markdown]
# A design searches the infinite-width limit on the data of two seeds: a Sobol' sequence over the bounds, closer places around the
# best, then descents along derivatives by forward mode through the leaps. The same from a shell:
#
#     lrtheory design --preset phase --time 300

# %%
found = {time: lt.design(config, "drop", time=time, competitors=families, seeds=0) for time in times}
for time, one in found.items():
    print(f"time {time:g}, {time / q_time(config.problem):.0f} T_Q:")
    for best in (one.best, *one.competitors):
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in best.numbers.items())
        print(f"    {best.family.name:10s}{best.value:10.2e}   {numbers}")
    left = one.best.time * one.best.numbers["rest"]
    print(f"    the drop leaves {left:.1f} = {left / q_time(config.problem):.1f} T_Q")

# %%
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for k, name in enumerate(("drop", *families)):
    values = [next(b.value for b in (one.best, *one.competitors) if b.family.name == name) for one in found.values()]
    left.plot(times, values, marker="o", label=name)
left.set(xscale="log", yscale="log", xlabel="budget of time (sum of rates)", ylabel="test error, blurred (infinite width)")
left.legend()
for time, one in found.items():
    clock = one.best.time * np.unique(np.append(np.linspace(0, 1, 200), 1 - np.geomspace(1e-3, 1, 100)))
    right.plot(one.best.time - clock, np.asarray(one.best.schedule(clock)), label=f"time {time:g}")
right.set(xscale="symlog", yscale="log", xlabel="time that is left", ylabel="learning rate of the best drop")
right.invert_xaxis()
right.legend()
if not FAST:
    figure.savefig("which_schedule.png", dpi=150)

# %% [markdown]
# ## The judge
#
# The winner on fresh seeds: predicted at infinite width, and measured with neurons. Its schedule is a value like any other, and goes
# into a configuration, a folder or a sweep.

# %%
one = lt.design(config, "drop", time=times[-2] if len(times) > 1 else times[0], competitors=(), seeds=2 if FAST else 8)
judged = one.judged["drop"]
print(f"predicted {judged.predicted.mean():.2e}, with neurons {judged.measured.mean():.2e}, difference {judged.difference}")
mine = lt.Algorithm(one.best.schedule, name="best drop")
print(mine.in_words())

# %% [markdown]
# ## What happened
#
# At fixed time the best drop stays at the largest rate that the search allows and leaves the last few T_Q for Q, as predicted. But that is the blurred
# error. **The best schedule is flat in the error itself**: on 8 fresh seeds at a budget of 300 half the largest rate, or a sixth of it, or 9 or 22 T_Q
# for Q instead of 6, ends within 1% of it, and so do a cosine, a linear decay and WSD. Only the constant rate is told from it, by 20%
# [6, 32] ([schedules](../pages/schedules.md#which-schedule-is-best)). So what matters is that the rate is high for a while, and falls. Otherwise than predicted the drop is first at fixed
# iterations, too ([a budget in iterations](../pages/schedules.md#a-budget-in-iterations)): its small rate rises to 0.001.
#
# ## Exercises
#
# 1. Halve the largest rate that is allowed (`lt.design(..., peak=...)`). Which families lose most?
# 2. Write a family of your own in words, `'mine: 0.001..0.04 for 0.1..0.9, linear 0.2 to 1e-6'`, and let it compete.
