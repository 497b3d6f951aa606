"""The provable data distribution: its numbers, its samples, and the closed-form test error on Q.

Lives here: `Problem` (Li, Wei & Ma 2019, section 3), further groups of examples, other laws of Q's scale and of P's noise,
training sets with exact or i.i.d. groups, test points. Lives elsewhere: networks that read the data, and time scales
derived from it.
"""

import math
import re
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from lrtheory.keys import require_key
from lrtheory.linalg import matmul
from lrtheory.spec import (
    MOST,
    ConfigError,
    require,
    require_choice,
    require_count,
    require_kind,
    require_nonnegative,
    require_number,
    require_positive,
    shown,
    spec,
    static,
    swept,
)

P_ONLY, MIXED, Q_ONLY = 0, 1, 2
"""Codes of the paper's groups; further ones count on from 3. A training set holds P-only first and Q-only last."""

GroupDraw = Literal["exact", "iid"]
"""How a training set's groups are drawn."""


@spec
class Group:
    """A further group of examples: its share, and what each half says of the label y.

    x1 = |p| P_{sign(p) y} and x2 = |q| Q_{sign(q) y}, draws of the paper's P and Q scaled; 0: that half is absent. In these
    terms the paper's groups have (p, q) = (1, 0) for P-only, (1, 1) for both and (0, 1) for Q-only, while (-1, 0) is label
    noise on P and (1, -1) has halves that contradict each other. Not in the paper.

    >>> from lrtheory import Group, Problem
    >>> problem = Problem(N=200, p0=0.1, q0=0.25, extra_groups=(Group(name="contradiction", share=0.05, q=-1.0),))
    >>> dict(zip(problem.group_names, problem.group_sizes, strict=True))
    {'p': 20, 'mixed': 120, 'q': 50, 'contradiction': 10}
    """

    name: str = static()
    """what its losses and errors are called: loss_NAME, accuracy_NAME, test_error_NAME, time_NAME_half"""
    share: float = static()
    """its probability, taken from the mixed group's"""
    p: float = static(default=1.0)
    """sign: whether x1 tells the truth; size: what x1 is multiplied by; 0: no x1"""
    q: float = static(default=1.0)
    """the same for x2"""

    @classmethod
    def from_text(cls, text: str) -> "Group":
        """A group from words: "NAME: share SHARE, p P, q Q", of which p and q may be left out. Raises `ConfigError`.

        >>> Group.from_text("contradiction: share 0.05, q -1")
        Group(name='contradiction', share=0.05, p=1.0, q=-1.0)
        """
        name, _, rest = text.partition(":")
        found: dict[str, float] = {}
        for part in rest.split(","):
            word, _, number = part.strip().partition(" ")
            try:
                require(word in ("share", "p", "q") and word not in found, "group", repr(text), "", "")
                found[word] = float(number)
            except ValueError:  # ConfigError is one
                found = {}
                break
        if "share" not in found:
            raise ConfigError(f"group {shown(text)!r}: must be 'NAME: share SHARE, p P, q Q', such as 'contradiction: share "
                              "0.05, q -1'; correct it")
        return cls(name=name.strip(), **found)

    def in_words(self) -> str:
        """The words that `from_text` reads."""
        return f"{self.name}: share {self.share:g}, p {self.p:g}, q {self.q:g}"


@spec
class Problem:
    """The data distribution of Li, Wei & Ma (2019), section 3; an example is (x1, x2, y), x1 and x2 in R^d.

    P (y): x1 = y gamma0 w* + xi given y w*^T xi >= 0, xi ~ N(0, I/d), |w*| = 1 (hard to generalise, easy to fit).
    Q (+1): x2 = alpha z;  Q (-1): x2 = alpha (z + b zeta), b = +-1, alpha ~ U[alpha_min, 1], |zeta| = r |z|, zeta
    orthogonal to z (easy to generalise, hard to fit). P-only with probability p0, Q-only with q0, else both.

    The paper has |z| = 1, alpha_min = 0, gamma0 = d^-1/2, r = d^-3/4, p0 = kappa^2/2, N = d/kappa^2; `z_norm` and
    `alpha_min` are fields because at reachable d the effect needs other constants (see `lrtheory.theory.timescales`).
    `z_norm` scales all of Q, so that r stays the angle between z and z + zeta (up to r^3/3).

    Beyond the paper, each with what the infinite engine can say of it: `extra_groups` (label noise, contradictions) and
    `alpha_power` (another law of alpha) it predicts as it does the paper's, for it reads the examples that were drawn. So it
    does `p_tail` (heavier tails of P), as long as its kernel keeps all rows (`network.kernel` matrix). More directions of Q
    no engine takes, for all of them evaluate three: see `lrtheory.train`.
    """

    d: int = static(default=64)
    """dimension of x1 and of x2"""
    kappa: float | None = static(default=None, instead_of="N")
    """sqrt(d/N); to give it takes back N; without either kappa is 1/2"""
    N: int | None = static(default=None, instead_of="kappa")
    """number of training examples; to give it takes back kappa; without either N = 4 d"""
    p0: float = static(default=0.05)
    """probability of a P-only example"""
    q0: float = static(default=0.25)
    """probability of a Q-only example"""
    extra_groups: tuple[Group, ...] = static(default=())
    """further groups beside the paper's three, which take their shares from the mixed one"""
    groups: GroupDraw = static(default="exact")
    """exact: round(p0 N), round(q0 N) and the rest, as the theorems condition on; iid: each example draws its group"""
    r: float = swept(default=0.02)
    """|zeta|/|z|, the angle that separates Q's classes (paper: d^-3/4)"""
    z_norm: float = swept(default=1.0)
    """length of z (paper: 1)"""
    alpha_min: float = swept(default=0.0)
    """least scale of an x2: alpha ~ U[alpha_min, 1] (paper: 0)"""
    alpha_power: float = swept(default=1.0)
    """alpha = alpha_min + (1 - alpha_min) u^alpha_power, u ~ U[0, 1] (paper: 1); above 1 small alphas are frequent"""
    gamma0: float = swept(default=0.125)
    """half the distance between P's classes (paper: d^-1/2)"""
    p_tail: float = swept(default=0.0)
    """heavier tails of P: xi times exp(p_tail n - p_tail^2), n ~ N(0, 1) an example, of mean square 1 (paper: 0)"""

    @property
    def n_train(self) -> int:
        """Number N of training examples, given or d/kappa^2 rounded."""
        return round(self.d / (self.kappa or 0.5) ** 2) if self.N is None else self.N

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups, in the order of their codes: p (P-only), mixed, q (Q-only), then further ones."""
        return ("p", "mixed", "q", *(g.name for g in self.extra_groups))

    @property
    def group_labels(self) -> tuple[str, ...]:
        """The same for readers: P-only, mixed, Q-only, then further ones by their names."""
        return ("P-only", "mixed", "Q-only", *self.group_names[3:])

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each group."""
        extra = tuple(g.share for g in self.extra_groups)
        return (self.p0, 1 - self.p0 - self.q0 - sum(extra), self.q0, *extra)

    @property
    def halves(self) -> tuple[tuple[float, float], ...]:
        """(p, q) of each group, as in `Group`: what x1 and x2 say of the label, and by how much they are scaled."""
        return ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), *((g.p, g.q) for g in self.extra_groups))

    def carried(self, power: int = 1) -> tuple[float, float]:
        """(E[p^power], E[q^power]) over examples: 1 - q0 and 1 - p0 without further groups."""
        p, q = (sum(share * half[k]**power for share, half in zip(self.shares, self.halves, strict=True)) for k in (0, 1))
        return p, q

    def alpha_moment(self, power: int) -> float:
        """E[alpha^power] for power 1 or 2, alpha = a + (1 - a) u^k: a + (1 - a)/(1 + k), and so on. Derived here.

        >>> Problem(alpha_min=0.25).alpha_moment(1), Problem().alpha_moment(2)
        (0.625, 0.3333333333333333)
        """
        a, one, two = self.alpha_min, 1 / (1 + self.alpha_power), 1 / (1 + 2 * self.alpha_power)
        return a + (1 - a) * one if power == 1 else a * a + 2 * a * (1 - a) * one + (1 - a) ** 2 * two

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Exact group sizes in the order of their codes: round(share N), and the rest for the mixed group."""
        sizes = [round(share * self.n_train) for share in self.shares]
        sizes[MIXED] = self.n_train - sum(sizes) + sizes[MIXED]
        return tuple(sizes)

    @property
    def p_rows(self) -> slice:
        """Examples of a training set that can carry x1 (all of them where groups are i.i.d.)."""
        return slice(0, self.n_train - self.group_sizes[Q_ONLY] if self.groups == "exact" else self.n_train)

    @property
    def q_rows(self) -> slice:
        """Examples of a training set that can carry x2 (all of them where groups are i.i.d.)."""
        return slice(self.group_sizes[P_ONLY] if self.groups == "exact" else 0, self.n_train)

    def check(self) -> None:
        """Raise `ConfigError` for numbers that describe no distribution."""
        require_count("problem.d", self.d, 2, "z and zeta need two dimensions")
        if self.N is not None and self.kappa is not None:
            raise ConfigError(f"problem.N = {self.N} and problem.kappa = {self.kappa}: give one at most; "
                              "set the other to None (N = d/kappa^2)")
        if self.kappa is not None:
            require_positive("problem.kappa", self.kappa)
        require(0 < self.n_train < 2**31, "problem.N", self.n_train, "between 1 and 2^31 - 1",
                "give other N, or d and kappa (N = d/kappa^2)")
        require_choice("problem.groups", self.groups, get_args(GroupDraw))
        for name in ("p0", "q0"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"problem.{name}", value, "a probability in [0, 1]", "lower or raise it")
        for k, group in enumerate(self.extra_groups):
            where = f"problem.extra_groups[{k}]"
            require(re.fullmatch("[a-z][a-z0-9_]{0,99}", group.name) is not None, f"{where}.name", repr(group.name),
                    "1 to 100 lower-case letters, digits and _", "results are called loss_NAME")
            require(self.group_names.count(group.name) == 1, f"{where}.name", repr(group.name),
                    "different from all other groups", "p, mixed and q are the paper's; choose another name")
            require(0 <= group.share <= 1, f"{where}.share", group.share, "a probability in [0, 1]", "lower or raise it")
            for half in ("p", "q"):
                value = getattr(group, half)
                require(math.isfinite(value) and abs(value) <= MOST, f"{where}.{half}", value,
                        f"a finite number of at most {MOST:g}", "1: true, -1: false, 0: absent")
        total = self.p0 + self.q0 + sum(g.share for g in self.extra_groups)
        extra = "".join(f" + share of {g.name}" for g in self.extra_groups)
        require(total <= 1, f"problem.p0 + problem.q0{extra}", total, "at most 1",
                "the groups other than the mixed one cannot exceed all examples; lower one")
        sizes = self.group_sizes
        for name, size, share in zip(self.group_labels, sizes, self.shares, strict=True):
            require(size >= 1 or share < 1e-9, "problem.N", self.n_train,
                    f"large enough to give the {name} group (share {share:.3g}) at least one example",
                    f"use N >= {int(1 / max(share, 1e-9)) + 1}, a smaller kappa, or share 0")
        require(min(sizes) >= 0, "problem.N", self.n_train, "large enough for its rounded groups", "raise N")
        require_positive("problem.r", self.r)
        require_positive("problem.z_norm", self.z_norm)
        require_nonnegative("problem.gamma0", self.gamma0)
        require(0 <= self.alpha_min <= 1, "problem.alpha_min", self.alpha_min, "in [0, 1]", "alpha ~ U[alpha_min, 1]")
        require(0 < self.alpha_power <= 100, "problem.alpha_power", self.alpha_power, "above 0 and at most 100",
                "1 is the uniform law")
        require(0 <= self.p_tail <= 3, "problem.p_tail", self.p_tail, "in [0, 3]", "0 is Gaussian")


class Data(NamedTuple):
    """Labelled examples; x2 is kept as its scale and its direction, and made when it is asked for.

    x2_i = alpha_i points[direction_i], and x1_i, x2_i are 0 where absent. `Problem.group_names` names the groups.
    """

    x1: Array  # (n, d), zero rows in Q-only
    alpha: Array  # (n,), 0 in P-only
    direction: Array  # (n,) int: 0 = z, 1 = z + zeta, 2 = z - zeta
    y: Array  # (n,), +1.0 or -1.0
    group: Array  # (n,) int: code of the group, an index into `Problem.group_names`
    basis: Array  # (3, d): unit vectors w*, z/|z|, zeta/|zeta|
    points: Array  # (3, d): z, z + zeta, z - zeta

    @property
    def x2(self) -> Array:
        """Second halves in the ambient space, x2 = alpha (z + b zeta): (n, d)."""
        return self.alpha[..., None] * jnp.take_along_axis(self.points, self.direction[..., None], axis=-2)

    @property
    def x(self) -> Array:
        """Both halves side by side, as networks that know no halves read them: (n, 2 d)."""
        return jnp.concatenate([self.x1, self.x2], axis=-1)


def directions(problem: Problem) -> Array:
    """The three directions of Q, z, z + zeta and z - zeta, in coordinates along (z/|z|, zeta/|zeta|): (3, 2)."""
    one, r = jnp.ones_like(jnp.asarray(problem.r)), jnp.asarray(problem.r)
    return problem.z_norm * jnp.stack([jnp.stack([one, 0 * r]), jnp.stack([one, r]), jnp.stack([one, -r])])


def _basis(problem: Problem, key: Array) -> Array:
    """Unit vectors (w*, z/|z|, zeta/|zeta|), uniform; the last two orthogonal: (3, d)."""
    w, z, zeta = jax.random.normal(key, (3, problem.d))
    z = z / jnp.linalg.norm(z)
    zeta = zeta - matmul(zeta, z) * z
    return jnp.stack([w / jnp.linalg.norm(w), z, zeta / jnp.linalg.norm(zeta)])


def _examples(problem: Problem, basis: Array, group: Array, key: Array) -> Data:
    """Draw y, x1 ~ |p| P_{sign(p) y} and x2 ~ |q| Q_{sign(q) y} for each entry of `group` (n,); p or q is 0 where absent."""
    n = group.shape[0]
    key_normal, key_uniform = jax.random.split(key)
    w_star = basis[0]
    xi = jax.random.normal(key_normal, (n, problem.d)) / jnp.sqrt(problem.d)
    tail = jnp.asarray(problem.p_tail)
    scale = jnp.exp(tail * jax.random.normal(jax.random.fold_in(key_normal, 1), (n,)) - tail**2)
    for_y, for_b, for_alpha = jax.random.uniform(key_uniform, (3, n))
    y = jnp.where(for_y < 0.5, -1.0, 1.0)
    p, q = jnp.asarray(problem.halves, y.dtype)[group].T
    y1, y2 = jnp.where(p < 0, -y, y), jnp.where(q < 0, -y, y)  # what each half says
    along = matmul(xi, w_star)
    # Reflecting xi through w*'s hyperplane where the sign is wrong draws from N(0, I/d) given y <w*, xi> >= 0.
    x1 = xi + jnp.outer(y1 * (jnp.abs(along) + problem.gamma0 / scale) - along, w_star)  # times scale below
    power = jnp.asarray(problem.alpha_power)
    alpha = problem.alpha_min + (1 - problem.alpha_min) * jnp.where(power == 1, for_alpha, for_alpha**power)
    direction = jnp.where(y2 > 0, 0, jnp.where(for_b < 0.5, 1, 2))
    return Data(x1=(jnp.abs(p) * scale)[:, None] * x1, alpha=jnp.abs(q) * alpha, direction=direction, y=y, group=group,
                basis=basis, points=matmul(directions(problem), basis[1:]))


def sample(problem: Problem, key: Array) -> Data:
    """Draw a training set of N examples, ordered P-only, mixed, further groups, Q-only.

    Groups are exact (the sizes the theorems condition on) or i.i.d. with probabilities (p0, the rest, q0, ...), as
    `problem.groups` says; drawn i.i.d., Q-only ones come before further groups. Source: section 3. Pure in (problem, key):
    vmap over either. `problem` is taken to be valid: `Problem.check` raises `ConfigError` where it is not.

    >>> import jax
    >>> from lrtheory import Problem, sample
    >>> data = sample(Problem(d=8, N=20, p0=0.1, q0=0.25), jax.random.key(0))
    >>> data.x1.shape, data.group.tolist()
    ((20, 8), [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    >>> data.x2.shape, data.x.shape  # x2 and both halves as vectors
    ((20, 8), (20, 16))
    """
    require_kind("problem", problem, Problem, "a Problem", "such as lrtheory.Problem()")
    require_key("key", key)
    key_basis, key_group, key_examples = jax.random.split(key, 3)
    codes = jnp.array([P_ONLY, MIXED, *range(3, len(problem.shares)), Q_ONLY])
    if problem.groups == "exact":
        group = jnp.repeat(codes, jnp.array(problem.group_sizes)[codes], total_repeat_length=problem.n_train)
    else:
        drawn = jax.random.choice(key_group, len(problem.shares), (problem.n_train,), p=jnp.array(problem.shares))
        group = jnp.sort(drawn)
    return _examples(problem, _basis(problem, key_basis), group, key_examples)


def sample_test(problem: Problem, data: Data, n: int, key: Array) -> Data:
    """Draw n fresh examples that carry both halves, in the basis of `data`.

    Reading only x1, only x2 or both gives test points of P, Q and the mixed group alike.
    """
    require_kind("problem", problem, Problem, "a Problem", "such as lrtheory.Problem()")
    require_kind("data", data, Data, "examples", "lrtheory.sample draws them")
    require_number("n", n, lambda n: 0 <= n < 2**31 and n == int(n), "a whole number of examples below 2^31", "correct it")
    require_key("key", key)
    return _examples(problem, data.basis, jnp.full((int(n),), MIXED), key)


def q_test_error(g: Array) -> Array:
    """Test error on Q-only examples, in closed form (derived here: f2 is positively homogeneous).

    (1/2) 1[g(z) <= 0] + (1/4) 1[g(z + zeta) >= 0] + (1/4) 1[g(z - zeta) >= 0], for g (..., 3).
    """
    g = _of_directions(g)
    wrong = ~jnp.stack([g[..., 0] > 0, g[..., 1] < 0, g[..., 2] < 0], -1)  # not a number is wrong, too
    return jnp.sum(jnp.where(wrong, jnp.array([0.5, 0.25, 0.25]), 0.0), axis=-1)


def contrast(g: Array) -> Array:
    """g(z + zeta) + g(z - zeta) - 2 g(z), for g (..., 3): how far the network tells Q's classes apart (below 0: right)."""
    g = _of_directions(g)
    return g[..., 1] + g[..., 2] - 2 * g[..., 0]


def _of_directions(g: object) -> Array:
    """Outputs on Q's three directions, or `ConfigError` for what is none."""
    try:
        found = jnp.asarray(g)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = jnp.zeros(())
    require(found.shape[-1:] == (3,), "g", f"a {type(g).__name__} of shape {found.shape}", "numbers (..., 3)",
            "g on z, z + zeta and z - zeta, as measured")
    return found

