"""How runs are put together in one program: axes, when they are recorded, how calls are cut, where arrays lie, their memory.

Lives here: what any program of stacked runs needs. Lives elsewhere: what a run is (simulate of each wing and of custom), the
devices themselves (devices), labels (labelled).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SEGMENTS = 40
"""A block of runs is taken as this many calls of one compiled program, for progress; the numbers do not depend on it."""


def record_steps(steps: int, records: int) -> np.ndarray:
    """Number of steps done at each record: 0, then steps (k/records)^2, at least one step apart: (records + 1,).

    >>> record_steps(100, 4).tolist()
    [0, 6, 25, 56, 100]
    """
    k = np.arange(records + 1)
    return np.maximum(np.round(steps * (k / records) ** 2).astype(np.int64), k)


def pieces(marks: np.ndarray) -> list[np.ndarray]:
    """Cut the record steps into calls of equal length: [previous end, ends ...] for each.

    The first record is that of step 0, after no steps; the last call repeats the last end (no steps either).

    >>> [piece.tolist() for piece in pieces(np.array([0, 6, 25]))]
    [[0, 0], [0, 6], [6, 25]]
    """
    length = -(-len(marks) // SEGMENTS)
    count = -(-len(marks) // length)
    padded = np.pad(marks, (1, count * length - len(marks)), mode="edge").astype(np.int32)
    return [padded[k * length : (k + 1) * length + 1] for k in range(count)]


def over(f: Callable, size: int, in_axes: tuple, out_axes: Any = 0) -> Callable:
    """`f` over an axis of `size`, as `jax.vmap`; of 1, `f` itself: each axis over which it is batched is traced anew."""
    if size > 1:
        return jax.vmap(f, in_axes, out_axes, axis_size=size)

    def leading(change: Callable, axes: Any, tree: Any) -> Any:
        return jax.tree.map(lambda axis, part: part if axis is None else jax.tree.map(change, part), axes, tree,
                            is_leaf=lambda axis: axis is None)

    def one(*args: Any) -> Any:
        return leading(lambda x: x[None], out_axes, f(*leading(lambda x: x[0], in_axes, args)))

    return one


def axis_length(tree: Any) -> int:
    """Of the leading axis of all leaves."""
    return jax.tree.leaves(tree)[0].shape[0]


def places(tree: Any, mesh: Mesh, spec: Any) -> Any:
    """The sharding of each leaf, by one spec or a spec a leaf; an empty one (a group without examples) is never spread."""
    specs = jax.tree.map(lambda _: spec, tree) if isinstance(spec, PartitionSpec) else spec
    return jax.tree.map(lambda x, s: NamedSharding(mesh, s if x.size else PartitionSpec()), tree, specs)


def peak_bytes(compiled: jax.stages.Compiled) -> int:
    """Bytes a compiled program takes on one device, arguments and results included; 0 where the backend does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    return (found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
            - found.alias_size_in_bytes)
