"""Closed-form time scales of the theory and the conditions under which L-S and S come apart at finite size.

Lives here: T_Q, T_P, t_blur, the stability bound (condition E), conditions A to D, F and G. Derived for this project from
the kernel of section 3's network at initialisation; unit of time: sum of rates. Lives elsewhere: anything that is simulated.
"""

import math
from typing import NamedTuple

from lrtheory.spec import require_kind
from lrtheory.theory.network import Network
from lrtheory.theory.problem import Problem
from lrtheory.theory.training import Training


def q_time(problem: Problem) -> float:
    """Time to fit Q: g(z) - (g(z + zeta) + g(z - zeta))/2 grows at 1/T_Q = (1 - p0) E[alpha] |z|^2 r / (8 pi) at first.

    That is half of the measured contrast g(z + zeta) + g(z - zeta) - 2 g(z), which falls at 2/T_Q: g(z) rises while
    g(z +- zeta) stays. At f = 0, without blur; derived here. inf without Q.
    With further groups 1 - p0 is E[q], what an example says of Q on average (`Group`).
    """
    rate = problem.carried()[1] * problem.alpha_moment(1) * problem.z_norm**2 * problem.r
    return 8 * math.pi / rate if rate > 0 else math.inf


def p_time(problem: Problem) -> float:
    """Time in which margins on P grow by 1: 1/T_P = (1 - q0) gbar^2 / (8 d), gbar as in `mean_margin`.

    inf without examples that carry x1. With further groups 1 - q0 is E[p], what an example says of P on average (`Group`).
    Derived here.
    """
    gbar = mean_margin(problem)
    taught = problem.carried()[0]
    return 8 * problem.d / (taught * gbar**2) if taught > 1e-12 else math.inf


def mean_margin(problem: Problem) -> float:
    """The margin gbar = sqrt(d) E[y w*^T x1] = gamma0 sqrt(d) + sqrt(2/pi) exp(-p_tail^2/2) of P. Derived here."""
    return problem.gamma0 * math.sqrt(problem.d) + math.sqrt(2 / math.pi) * math.exp(-problem.p_tail**2 / 2)


def blur_time(problem: Problem, training: Training, rate: float) -> float:
    """Time in which noise under a rate eta blurs angles of size r: t_blur = log(1 + r^2/(nu^2 eps)) / (2 lambda).

    eps = eta/eta1, nu the noise level (1: balanced). Of noise of variance tau0^2, exp(-2 lambda t) is left after a time t,
    beside nu^2 eps (1 - exp(-2 lambda t)) of fresh noise, so gates have turned by an angle whose square (of the tangent) is
    nu^2 eps (exp(2 lambda t) - 1): at t_blur that is r^2. Derived here, up to a relative eta1 lambda. Under a small rate the
    old noise must decay first, so t_blur grows like log(1/eps) only; for r^2 << nu^2 eps it is r^2/(2 lambda nu^2 eps).
    With `noise_scale` c (tau_xi = nu c tau0) 2 lambda nu^2 eps is nu^2 c^2 eta: without decay t_blur = r^2/(nu^2 c^2 eta).
    Infinite without noise.
    """
    decay, fresh = 2 * training.weight_decay, fresh_noise(training, rate)
    if not fresh > 0:
        return math.inf
    return math.log1p(decay * problem.r**2 / fresh) / decay if decay > 0 else problem.r**2 / fresh


def fresh_noise(training: Training, rate: float) -> float:
    """Variance that noise under a rate eta adds a unit of time, over tau0^2: 2 lambda nu^2 eta/eta1, or nu^2 c^2 eta.

    c is `noise_scale`, where it is given; 2 lambda under eta1 if balanced. Derived here, up to a relative eta lambda.
    """
    decay, scale = 2 * training.weight_decay, training.noise_scale
    return training.noise_level**2 * rate * (decay / training.eta1 if scale is None else scale**2)


def is_balanced(training: Training) -> bool:
    """Whether noise under eta1 keeps its variance (assumption 3.1), to 1e-3; never without decay."""
    return training.weight_decay > 0 and math.isclose(float(training.tau_xi), float(training.balanced), rel_tol=1e-3)


def stability_bound(problem: Problem) -> float:
    """Largest stable step in units of time, 2/lambda_max, lambda_max = sharpness of the logistic loss at f = 0.

    The Q half has lambda_Q = (1 - p0) E[alpha^2] |z|^2 / 8 and the P half at most
    lambda_P = (1 - q0) ((gbar^2 + (1 + sqrt(d/N_P))^2) / d) / 8, N_P = (1 - q0) N; the halves share the mixed examples,
    so lambda_max <= lambda_Q + lambda_P (derived here). With further groups 1 - p0 and 1 - q0 are E[q^2] and E[p^2].
    """
    carry_p, carry_q = problem.carried(2)
    lambda_q = carry_q * problem.alpha_moment(2) * problem.z_norm**2 / 8
    gbar = mean_margin(problem)
    rows = max(carry_p * problem.n_train, 1)
    lambda_p = carry_p * (gbar**2 + (1 + math.sqrt(problem.d / rows)) ** 2) / problem.d / 8
    return 2 / (lambda_q + lambda_p)


class Condition(NamedTuple):
    """One requirement for L-S and S to come apart."""

    name: str
    meaning: str
    value: float
    bound: str
    holds: bool


def conditions(problem: Problem, training: Training, network: Network, full: bool) -> list[Condition]:
    """Conditions A to D and G (and F, for the full network) with their values; a clear effect needs all (derived here).

    A: Q is much faster than P, so that order matters. B: the large rate blurs Q's angle before Q is learned. C: weight
    decay leaves P alone. D: the small rate does not blur. F: V's neurons do not leave their kinks before
    g(z) - (g(z + zeta) + g(z - zeta))/2 reaches 5, a contrast of -10; conv: those of U, of which there are m_w + m_v, with
    tau_w. G: the run ends before two clocks undo the gap. Weights forget at lambda: what mixed examples have taught P
    under the large rate fades under the small one, and L-S's error rises to S's. Noise renews itself at 2 lambda: from
    t_blur(eta2) on (1.6/lambda in phase, 0.8/lambda in quick) the small rate's noise turns gates, too, and Q is unlearned,
    first by S, whose old noise has decayed from the start, then by L-S, whose has from annealing on. Once fresh noise
    dominates, from lambda t = log(eta1/eta2)/2 on, both are held at one plateau (`kinks.plateau`), and the difference dies
    as exp(-2 lambda t).

    The bounds lie where the effect was seen to be clear, not at its edge, at infinite width. A: at T_P/T_Q = 99.8
    (`lrtheory run --problem.gamma0 0.125 --problem.p0 0.05`) S's error on P was 0.0141 and L-S's 0.00006. D: along eta2/eta1
    S's error is 100%, 75%, 56%, 33% of its largest at t_blur(eta2)/T_Q = 777, 324, 217, 124 (preset phase), 100%, 83%, 66%,
    45% at 2,920, 783, 398, 164 (preset quick). G: S's error is 25, 15, 6, 1.1 times L-S's at lambda t = 0.8, 1.2, 1.6, 2.4
    (preset phase), 17, 8, 3.5, 1.5, 0.9 times at 0.24, 0.66, 1.06, 1.7, 2.5 (preset quick).
    """
    for value, kind in ((problem, Problem), (training, Training), (network, Network)):
        require_kind(kind.__name__.lower(), value, kind, f"a {kind.__name__}", "as a Config has it")
    require_kind("full", full, bool, "True or False", "True for the full network")
    t_q, t_p = q_time(problem), p_time(problem)
    blur_1 = blur_time(problem, training, training.eta1) / t_q
    blur_2 = blur_time(problem, training, training.eta1 * training.eta_ratio) / t_q
    decay = training.weight_decay
    found = [
        Condition("A", "T_P/T_Q, P's learning time over Q's", t_p / t_q, ">= 100", t_p / t_q >= 100),
        Condition("B", "t_blur(eta1)/T_Q, the large rate blurs Q", blur_1, "<= 0.3", blur_1 <= 0.3),
        Condition("C", "lambda T_P, decay leaves P alone", decay * t_p, "<= 0.3", decay * t_p <= 0.3),
        Condition("D", "t_blur(eta2)/T_Q, the small rate does not", blur_2, ">= 300", blur_2 >= 300),
    ]
    if full:
        neurons, tau = network.widths[-1], network.scales[-1]
        kinks = math.sqrt(neurons) * tau * problem.z_norm * problem.r**2 / (10 * math.pi)
        meaning = {"block": "sqrt(m_v) tau_v |z| r^2/(10 pi), V keeps its kinks",
                   "conv": "sqrt(m_w + m_v) tau_w |z| r^2/(10 pi), U keeps its kinks"}[network.variant]
        found.append(Condition("F", meaning, kinks, ">= 1", kinks >= 1))
    forgotten = decay * training.duration
    found.append(Condition("G", "lambda times the run's length, decay and fresh noise do not undo the gap", forgotten,
                           "<= 1", forgotten <= 1))
    return found
