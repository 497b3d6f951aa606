"""Prediction 5: S learns Q before P, L-S learns P before Q."""

from lrtheory.predictions.base import Need, Prediction, share


def needs(base):
    """L-S and S at the base configuration."""
    return {"main": Need(base)}


def judge(runs, level):
    """Shares of seeds in which one group's loss halves before the other's; never counts as later than any time."""
    for name, first, second in (("S", "q", "p"), ("L-S", "p", "q")):
        run = runs["main"].sel(algorithm=name)
        yield share(f"{first.upper()} halved before {second.upper()} under {name}",
                    run[f"time_{first}_half"].values < run[f"time_{second}_half"].values, level, "almost every seed")


PREDICTION = Prediction(
    "order", "S fits Q before P, L-S fits P before Q", "theorems 3.4 and 3.5 (proofs)",
    "The times at which the training loss of the P-only and of the Q-only examples first is half its initial value; exact "
    "binomial interval for the share of seeds.", needs, judge,
    needs_gap=True)
