"""Errors and losses of a readout that is linear in x1, in closed form: what the network's is as d grows.

Inputs of P are at right angles up to O(d^-1/2), and there the kernel of infinite width is linear: f1(x) = <w, x> up to
parts of standard deviation O(d^-1/2) of it. With x1's law (section 3) and a = <w, w*>/sqrt(d), s = |w - <w, w*> w*|/sqrt(d),

    y f1 = (gamma0 sqrt(d) + |g|) a + s xi,   g, xi ~ N(0, 1) independent,

so every error on test points is an integral over two or three numbers. Derived here.

That is x1's law without heavier tails (`p_tail` 0, `is_exact`). No network with neurons is linear in x1, for gates depend on
x; nor is one that shares weights with Q (conv). At infinite width what is left out is the kernel's next term, (2/pi) c of
the first, c the cosine between inputs: it adds (2/pi)^2 Var(c^2)/Var(c) = 0.81/d of s^2 to it. So the network of that d errs
more, by (0.41/d) x phi(x)/Phi(-x) of its error, x = Phi^-1(1 - error): at d = 64 and 1% by 4% (measured on 400,000 points:
3.8, 5.5 and 4.2% for three seeds), at d = 128 and 0.01% by 5%. For `lrtheory.theorem`, whose real d is large, there is no
such term: there this is what is recorded (`Config.n_test` 0).

Lives here: those integrals, by Gauss-Legendre quadrature, to six digits, in NumPy or, of traced numbers, in JAX. Lives
elsewhere: w (engines.infinite), errors on drawn test points (measure).
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy import special

from lrtheory.theory.problem import Problem

REACH = 9.0
"""Standard deviations to which normals are followed: what lies beyond has probability 2e-19."""


@functools.cache
def _nodes(count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature over [low, high]: (count,) each."""
    x, w = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (x + 1) / 2, w * (high - low) / 2


def _half_normal(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of |g|, g ~ N(0, 1): (count,) each."""
    g, w = _nodes(count, 0.0, REACH)
    return g, w * np.exp(-(g**2) / 2) * np.sqrt(2 / np.pi)


def _alphas(problem: Problem, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of alpha = alpha_min + (1 - alpha_min) u^power, dense where margins are small: (count,) each."""
    t, w = _nodes(count, 0.0, 1.0)  # u = t^4
    xp = _space(problem.alpha_power)
    t, w = _known(xp, t), _known(xp, w)
    return problem.alpha_min + (1 - problem.alpha_min) * t ** (4 * problem.alpha_power), 4 * t**3 * w


def is_exact(problem: Problem) -> bool:
    """Whether these integrals are over the law of a problem's x1."""
    return problem.p_tail == 0


def error_on_p(problem: Problem, along: Any, across: Any) -> Any:
    """P(y f1 <= 0) = 2 int_0^inf phi(g) Phi(-(gamma0 sqrt(d) + g) a/s) dg, of a and s (...): (...).

    An output of 0 everywhere is wrong everywhere; of no number (nan), as of a run that diverged, there is no error: nan.
    """
    return _wrong(problem, along, across, np.zeros(1))[..., 0]


def _space(*values: Any) -> Any:
    """Whose functions numbers are for: JAX's where any is its, else NumPy's, in double precision."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def _known(xp: Any, values: np.ndarray) -> Any:
    """Known numbers as those of a space: JAX's in the precision of today's program, for it keeps arrays of earlier ones."""
    return jnp.asarray(values.astype(jnp.result_type(float))) if xp is jnp else values


def _wrong(problem: Problem, along: Any, across: Any, more: Any) -> Any:
    """P(y f1 + more <= 0) for each of `more` (k,), (..., k)."""
    xp = _space(along, across, more)
    a, s = (xp.asarray(v, float)[..., None, None] for v in (along, across))
    g, w = (_known(xp, part.reshape((1,) * (a.ndim - 1) + (-1,))) for part in _half_normal(200))
    margin = (problem.gamma0 * np.sqrt(problem.d) + g) * a + more.reshape((1,) * (a.ndim - 2) + (-1, 1))
    below = jax.scipy.special.ndtr if xp is jnp else special.ndtr
    with np.errstate(invalid="ignore", divide="ignore"):
        wrong = xp.where(s > 0, below(-margin / xp.where(s > 0, s, 1.0)), margin <= 0)
    return xp.sum(xp.where(xp.isnan(margin) | xp.isnan(s), xp.nan, wrong) * w, -1)


def loss_on_p(problem: Problem, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """E log(1 + exp(-y f1)) of a and s (...), in nat: (...)."""
    found = np.frompyfunc(lambda a, s: float(_losses(problem, a, s, np.zeros(1))[0]), 2, 1)(along, across)
    return np.asarray(found, float)


def _losses(problem: Problem, along: Any, across: Any, more: Any) -> Any:
    """E log(1 + exp(-(y f1 + more))) for each of `more` (k,)."""
    if _space(along, across, more) is jnp:
        return _traced_losses(problem, along, across, more)
    if not np.isfinite([along, across]).all():
        return np.full(len(more), np.nan)
    return np.array([_loss(problem, along, across, m) if np.isfinite(m) else np.nan for m in more.tolist()])


def _traced_losses(problem: Problem, along: Any, across: Any, more: Any) -> Any:
    """`_losses` of traced numbers, whose scales choose no nodes: to six digits at a and s up to 10, to 2% at 100."""
    xi, v = _nodes(64, -REACH, REACH)
    v = v * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)
    g, w = _half_normal(24)
    weights, g, xi = _known(jnp, w[:, None] * v), _known(jnp, g), _known(jnp, xi)
    margin = ((problem.gamma0 * np.sqrt(problem.d) + g) * along)[None, :, None] + (across * xi)[None, None]
    return jnp.sum(jnp.logaddexp(0.0, -(margin + more[:, None, None])) * weights[None], (-2, -1))


def _loss(problem: Problem, along: float, across: float, more: float) -> float:
    """E log(1 + exp(-(c + g) a - s xi - more)), c = gamma0 sqrt(d), to seven digits at any a and s.

    As a function of g it has scales of its own only where |(c + g) a + more| < 9 s + 40: beyond, it is linear, or 0. So g's
    range is cut there and where this is 0.
    """
    c = problem.gamma0 * np.sqrt(problem.d)
    reach = REACH * across + 40
    cuts = [(m - more) / along - c for m in (-reach, 0.0, reach)] if along else []
    edges = np.unique(np.clip([0.0, *cuts, REACH], 0.0, REACH))
    total = 0.0
    for low, high in itertools.pairwise(edges.tolist()):
        x, w = _nodes(96, -1.0, 1.0)
        g = (low + high + (high - low) * x) / 2
        total += float(_softplus((c + g) * along + more, across) @ (w * np.exp(-(g**2) / 2))) * (high - low) / 2
    return total * math.sqrt(2 / math.pi)


def _softplus(margin: np.ndarray, across: float) -> np.ndarray:
    """E log(1 + exp(-(M + s xi))) of margins M (k,): (k,).

    Where s is large, as E max(0, -(M + s xi)) = s phi(M/s) - M Phi(-M/s) and the rest, log(1 + exp(-|m|)), over m.
    """
    if across < 3:
        xi, v = _nodes(64, -REACH, REACH)
        return np.logaddexp(0.0, -(margin[:, None] + across * xi)) @ (v * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi))
    m, v = (np.concatenate(parts) for parts in zip(_nodes(48, -40.0, 0.0), _nodes(48, 0.0, 40.0), strict=True))

    def density(x: np.ndarray) -> np.ndarray:
        return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)

    rest = density((m - margin[:, None]) / across) / across @ (v * np.log1p(np.exp(-np.abs(m))))
    return across * density(margin / across) - margin * special.ndtr(-margin / across) + rest


def test_errors(problem: Problem, along: Any, across: Any, g: Any) -> dict[str, Any]:
    """Test errors and losses (nat) on P, Q and mixed examples and over the distribution, named as by `measure`.

    Of a (), s () and the outputs g (3,) on Q's directions; for the paper's three groups. An output of exactly 0 is an error,
    of no number there is none: nan.
    """
    xp = _space(along, across, g)
    alpha, w = (part if isinstance(part, jax.Array) else _known(xp, part) for part in _alphas(problem, 32))
    signed, share = _known(xp, np.array([1.0, -1.0, -1.0])) * g, _known(xp, np.array([0.5, 0.25, 0.25]))
    more = xp.ravel(alpha[:, None] * signed[None])
    mean = xp.ravel(w[:, None] * share[None])
    told = xp.all(xp.isfinite(signed))
    with np.errstate(invalid="ignore"):
        losses_q = xp.logaddexp(0.0, -more)
    error = {"p": error_on_p(problem, along, across),
             "mixed": xp.sum(mean * _wrong(problem, along, across, more)),
             "q": xp.where(told, xp.sum(share * ~(signed > 0)), xp.nan)}
    loss = {"p": _losses(problem, along, across, np.zeros(1))[0],
            "mixed": xp.sum(mean * _losses(problem, along, across, more)),
            "q": xp.where(told, xp.sum(mean * losses_q), xp.nan)}
    found = {}
    for name, each in (("test_error", error), ("test_loss", loss)):
        found |= {f"{name}_{group}": value for group, value in each.items()}
        found[name] = sum(part * each[group] for group, part in zip(("p", "mixed", "q"), problem.shares, strict=True))
    return found


@functools.lru_cache(maxsize=8192)
def _kept(problem: Problem, along: float, across: float, *g: float) -> dict[str, float]:
    """`test_errors`, kept: a claim asks for the same runs' several times."""
    return {name: float(value) for name, value in test_errors(problem, along, across, np.array(g)).items()}


def at_end(problem: Problem, runs: xr.Dataset) -> xr.Dataset:
    """`test_errors` at the last record of runs at infinite width, in the runs' dimensions but the last."""
    last = runs[["p_along", "p_across", "g_z", "g_plus", "g_minus"]].isel(record=-1, drop=True)
    dims = last["g_z"].dims
    values = [last[name].transpose(*dims).values for name in ("p_along", "p_across", "g_z", "g_plus", "g_minus")]
    flat = np.stack(values, -1).reshape(-1, 5)
    found = [_kept(problem, *row) for row in flat.tolist()]
    return xr.Dataset({name: (dims, np.reshape([each[name] for each in found], values[0].shape)) for name in found[0]},
                      coords=last.coords)
