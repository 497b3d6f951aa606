"""Prediction 6: what order costs: S's error on P is that of the P-only examples, L-S's that of all examples with x1."""

import math

import numpy as np
from sklearn.linear_model import LogisticRegression

from lrtheory import simulate
from lrtheory.predictions.base import Need, Prediction, at_end, bootstrap
from lrtheory.problem import P_ONLY
from lrtheory.results import config_of


def needs(base):
    """L-S and S at the base configuration."""
    return {"main": Need(base)}


def classifiers(config, seeds):
    """Test error on x1 of logistic regression fitted on P-only examples and on all that carry x1: (seeds, 2).

    Ridge C = 1e4: nearly the unregularised fit (the largest margin where the examples are separable).
    """
    errors = []
    for seed in seeds:
        data, test = simulate.datasets(config, seed)
        x, y, group = (np.asarray(v) for v in (data.x1, data.y, data.group))
        carries = np.any(x != 0, axis=1)
        fits = [LogisticRegression(C=1e4, fit_intercept=False, max_iter=2000).fit(x[rows], y[rows])
                for rows in (group == P_ONLY, carries)]
        errors.append([np.mean(f.predict(np.asarray(test.x1)) != np.asarray(test.y)) for f in fits])
    return np.array(errors)


def judge(runs, level):
    """Differences and ratios of errors, and the constants of the theorems' bounds."""
    config, run = config_of(runs["main"]), runs["main"]
    large, small = (at_end(run.sel(algorithm=name), "test_error_p") for name in ("L-S", "S"))
    few, all_ = classifiers(config, run["seed"].values).T
    p, kappa = config.problem.p0, math.sqrt(config.problem.d / config.problem.n_train)
    bound = p * kappa * math.log(1 / config.training.eps1)
    yield bootstrap("error on P: S less L-S", [small - large], lambda e: e, level, (1e-9, np.inf), "above 0")
    yield bootstrap("C in L-S's error = C p kappa log(1/eps1)", [large / bound], lambda c: c, level, (0.0, 1.0),
                    "at most O(1)")
    yield bootstrap("c in S's error = c p", [small / p], lambda c: c, level, (1e-9, np.inf), "above 0")
    yield bootstrap("S's error over that of logistic regression on the P-only examples", [small, few],
                    lambda a, b: a / b if b > 0 else np.nan, level, (1 / 3, 3.0), "of order 1")
    yield bootstrap("logistic regression: P-only less all examples with x1", [few - all_], lambda e: e, level,
                    (1e-9, np.inf), "above 0")
    yield bootstrap("L-S's error less that of logistic regression on all with x1, over S's", [large - all_, small],
                    lambda a, b: a / b if b > 0 else np.nan, level, (-0.25, 0.25), "near 0")


PREDICTION = Prediction(
    "error", "S's error on P is that of a classifier fed the P-only examples, L-S's of one fed all examples with x1",
    "theorems 3.4 and 3.5",
    "Test error on x1 alone, paired over seeds, beside scikit-learn's logistic regression on exactly those examples of the "
    "same training sets. The constants C and c are those of this size; the theorems' own are unknown.", needs, judge,
    needs_gap=True)
