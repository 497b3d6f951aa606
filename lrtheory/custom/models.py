"""What is trained: a model as two pure functions, whatever it is written in, and losses.

Lives here: `Model`, models of Flax (linen and nnx) and of Equinox as such, the logistic, softmax and squared losses. Lives
elsewhere: training them (simulate).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lrtheory import keys
from lrtheory.spec import ConfigError

Params = Any
"""A pytree of arrays: all of it is trained."""


class Model(NamedTuple):
    """A model: how it starts, and what it computes; pure functions, and everything that is trained is in `params`.

    >>> import jax, jax.numpy as jnp
    >>> linear = Model(init=lambda key: jax.random.normal(key, (3,)), apply=lambda w, x: x @ w)
    >>> linear.apply(linear.init(jax.random.key(0)), jnp.ones((5, 3))).shape
    (5,)
    """

    init: Callable[[Array], Params]  # key -> params
    apply: Callable[[Params, Any], Any]  # (params, x) -> outputs, the examples along the first axis of both
    noisy: Callable[[Params, Any, Array, Array], Any] | None = None  # (params, x, level, key) -> outputs under noise


def linen(module: Any, example: Any) -> Model:
    """A model of Flax linen; `example`: an x of one or more examples.

    Raises `ConfigError` if more than `params` would change.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> model = linen(nn.Dense(2), jnp.ones((1, 3)))
    """
    found = jax.eval_shape(module.init, keys.key(0), example)
    _params_alone(set(found) - {"params"})
    return Model(lambda key: module.init(key, example)["params"], lambda params, x: module.apply({"params": params}, x))


def nnx(make: Callable[[Any], Any]) -> Model:
    """A model of Flax nnx, make(rngs) -> module, called on many examples. Its `Param`s are trained.

    Raises `ConfigError` for one with running statistics.

    >>> from flax import nnx as flax_nnx
    >>> model = nnx(lambda rngs: flax_nnx.Linear(3, 2, rngs=rngs))
    """
    from flax import nnx as flax_nnx

    def parts(key: Any) -> tuple[Any, Any, Any]:
        return flax_nnx.split(make(flax_nnx.Rngs(key)), flax_nnx.Param, ...)  # type: ignore[return-value]

    graph, _, rest = parts(0)
    _params_alone({type(leaf).__name__ for _, leaf in flax_nnx.iter_graph(make(flax_nnx.Rngs(0)))
                   if isinstance(leaf, flax_nnx.BatchStat)})
    return Model(lambda key: parts(key)[1], lambda params, x: flax_nnx.merge(graph, params, rest)(x))


def equinox(make: Callable[[Array], Any]) -> Model:
    """A model of Equinox, make(key) -> module, or of any pytree that is called on one example.

    Its inexact arrays are trained.

    >>> model = equinox(lambda key: jax.tree_util.Partial(lambda w, x: x @ w, jax.random.normal(key, (3,))))
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((5, 3))).shape
    (5,)
    """
    def trained(leaf: Any) -> bool:
        return isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.inexact)

    whole, tree = jax.tree.flatten(make(keys.key(0)))

    def apply(params: list[Array], x: Any) -> Any:
        values = iter(params)
        module = jax.tree.unflatten(tree, [next(values) if trained(leaf) else leaf for leaf in whole])
        return jax.vmap(module)(x)

    return Model(lambda key: [leaf for leaf in jax.tree.leaves(make(key)) if trained(leaf)], apply)


def _params_alone(others: set[str]) -> None:
    """Raise `ConfigError` if a model has something that changes beside its params."""
    if others:
        raise ConfigError(f"model: has {', '.join(sorted(others))}, which change while it trains; must have params alone; "
                          "use a normalisation without running statistics (LayerNorm, GroupNorm)")


def logistic(outputs: Array, y: Array) -> Array:
    """log(1 + exp(-y f)) in nat, of outputs f (n,) or (n, 1) and labels y = +-1 (n,): (n,). Source: section 3."""
    return jax.nn.softplus(-y * outputs.reshape(y.shape))


def softmax(outputs: Array, y: Array) -> Array:
    """-log(softmax(f)_y) in nat, of outputs f (n, classes) and labels y (n,), whole numbers from 0: (n,).

    >>> import jax.numpy as jnp
    >>> [round(float(loss), 4) for loss in softmax(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([1, 0]))]
    [0.6931, 0.1269]
    """
    chosen = jnp.take_along_axis(outputs, y[:, None].astype(int), axis=-1)[:, 0]
    return jax.nn.logsumexp(outputs, axis=-1) - chosen


def squared(outputs: Array, y: Array) -> Array:
    """(f - y)^2 / 2, summed over what an example has beside the first axis: (n,)."""
    return jnp.sum((outputs.reshape(y.shape) - y).reshape(y.shape[0], -1) ** 2, axis=-1) / 2
