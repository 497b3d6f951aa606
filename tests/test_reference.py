"""The reference runs reproduced in law: eight seeds, decoupled in both halves, finite-size preset of |z| = 25.

The table is the mean over eight seeds of an independent, unoptimised implementation (NumPy-style arrays, other random
numbers): error on P with its standard error, contrast with its standard deviation, loss on Q.
"""

import numpy as np
import pytest

import lrtheory as lt

TABLE = {  # (algorithm, time): (loss Q, contrast, its sd, error on P, its standard error)
    ("L-S", 8.0): (0.646, -0.36, 0.32, 0.077, 0.006),
    ("L-S", 136.0): (0.635, -0.51, 0.78, 0.074, 0.005),
    ("L-S", 480.0): (0.035, -14.1, 2.4, 0.069, 0.004),
    ("S", 8.0): (0.262, -4.86, 0.47, 0.078, 0.005),
    ("S", 136.0): (0.028, -14.6, 1.3, 0.127, 0.008),
    ("S", 480.0): (0.017, -16.8, 1.9, 0.185, 0.011),
}


@pytest.mark.slow
def test_the_eight_seed_table_is_reproduced_in_law():
    config = lt.Config(
        problem=lt.Problem(d=64, N=256, p0=0.05, q0=0.25, r=0.02, z_norm=25.0, alpha_min=1.0, gamma0=0.3 / 8),
        network=lt.Network(m_w=128, m_v=2048),
        training=lt.Training(eta1=0.02, eta_ratio=1e-4, weight_decay=4.6e-4, eps1=0.15, step_time=0.02, steps=24_000),
        engine="decoupled", seeds=8, records=100)
    assert config.problem.group_sizes == (13, 179, 64)
    runs = lt.run(config)
    strayed = []
    for (name, time), (loss_q, contrast, contrast_sd, error_p, error_sem) in TABLE.items():
        here = runs.sel(algorithm=name)

        def at(metric, here=here, time=time):
            clock = here["time"].values
            values = np.array([np.interp(time, t, v) for t, v in zip(clock, here[metric].values, strict=True)])
            return values.mean(), values.std(ddof=1) / np.sqrt(8)

        for metric, theirs, their_sem in (("test_error_p", error_p, error_sem),
                                          ("contrast", contrast, contrast_sd / np.sqrt(8)), ("loss_q", loss_q, None)):
            ours, sem = at(metric)
            both = np.hypot(sem, sem if their_sem is None else their_sem)
            if abs(ours - theirs) > 3 * both:
                strayed.append((name, time, metric, ours, theirs, both))
    assert not strayed
    annealed = runs["annealed_at"].sel(algorithm="L-S").values
    assert np.all(annealed < 480)
    assert np.all(runs["time_q_half"].sel(algorithm="S") < 20)


INFINITE = {  # (algorithm, time): (loss P, loss mixed, loss Q, contrast, error on P), another implementation, 8 data seeds
    ("L-S", 8.0): (0.6824, 0.635, 0.645, -0.379, 0.080),
    ("L-S", 136.0): (0.551, 0.512, 0.638, -0.424, 0.077),
    ("L-S", 480.0): (0.379, 0.365, 0.644, -0.365, 0.070),
    ("S", 8.0): (0.684, 0.258, 0.261, -4.83, 0.082),
    ("S", 136.0): (0.612, 0.026, 0.027, -14.3, 0.138),
    ("S", 480.0): (0.494, 0.015, 0.017, -16.35, 0.192),
}


@pytest.mark.slow
def test_the_infinite_width_table_is_reproduced_in_law():
    """Same setting without neurons: within 3 standard errors of two samples of data and the table's last digit."""
    config = lt.Config(
        problem=lt.Problem(d=64, N=256, p0=0.05, q0=0.25, r=0.02, z_norm=25.0, alpha_min=1.0, gamma0=0.3 / 8),
        training=lt.Training(eta1=0.02, eta_ratio=1e-4, weight_decay=4.6e-4, eps1=0.15, step_time=0.02, steps=24_000),
        engine="infinite", seeds=8, records=100)
    runs = lt.run(config)
    for (name, time), theirs in INFINITE.items():
        here = runs.sel(algorithm=name)
        for metric, value in zip(("loss_p", "loss_mixed", "loss_q", "contrast", "test_error_p"), theirs, strict=True):
            ours = np.array([np.interp(time, t, v) for t, v in zip(here["time"].values, here[metric].values, strict=True)])
            error = 3 * np.sqrt(2) * ours.std(ddof=1) / np.sqrt(8)
            printed = 0.05 if metric == "contrast" else 0.0005  # half a unit of the table's last digit
            assert abs(ours.mean() - value) < error + printed, (name, time, metric, ours.mean(), value, error)
    assert np.all(np.isinf(runs["annealed_at"]))
    annealed = lt.run(config.replace(algorithms=("L-S",), **{"training.eps1": 0.3}))
    steps = annealed["annealed_at"].values / 0.02
    assert np.all((steps > 13_000) & (steps < 19_000)), steps  # theirs: 14,168 to 17,777
    assert abs(float(annealed["contrast"].isel(record=-1).mean()) + 13.5) < 0.5
