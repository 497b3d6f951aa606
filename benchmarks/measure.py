"""What the benchmarks measure with: least times, matmul ceilings, a network's operations, a device's time by kernel.

    python benchmarks/measure.py            the ceilings of this machine, for each type and precision

A ceiling is the rate of large products that depend on each other, a chain of them in one program: a single one on a fast
device takes about as long as launching it and waiting for it.
"""

import collections
import functools
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.profiler import ProfileData
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import lrtheory as lt
from lrtheory.vision import models

CHAIN = {"cpu": 4}
"""Products in one program, by backend; elsewhere 20."""
HIGHEST = jax.lax.Precision.HIGHEST
"""Of every product of lrtheory's theory: what its share of a ceiling is a share of."""
KINDS = {"copy": r"nchwtonhwc|nhwctonchw|transpose|copy|memcpy|memset|gather|slice|concatenate",
         "convolution": r"conv(?!ert)|cudnn|xmma|[wd]grad|fprop|implicit|nvjet|cutlass|gemm|\bdot",
         "random": r"threefry|rng|random|xor|shift|sort",
         "reduction": r"reduc",
         "elementwise": r"fusion|wrapped|loop|add|mul|convert|select|broadcast|compare"}
"""What a kernel's name tells of it; the first that fits counts. Products count as convolutions: libraries make them such."""


def describe() -> str:
    """Version and devices, as every benchmark's first line has them."""
    return f"jax {jax.__version__}, {jax.local_device_count()} x {jax.local_devices()[0].device_kind}"


def on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def best(f: Callable[[], Any], repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """Least seconds of f(), by the wall or another clock. f waits for its results; it is called once before, to compile."""
    f()
    times = []
    for _ in range(repeats):
        start = clock()
        f()
        times.append(clock() - start)
    return min(times)


class Conv(NamedTuple):
    """A convolution without bias, on square images."""

    side: int
    inputs: int
    outputs: int
    size: int
    stride: int

    def __str__(self) -> str:
        return f"{self.side}x{self.side}, {self.inputs} to {self.outputs}, {self.size}x{self.size}, stride {self.stride}"

    @property
    def flop(self) -> int:
        """Of the forward pass of one image; either gradient takes as many."""
        return 2 * self.size**2 * self.inputs * self.outputs * (-(-self.side // self.stride)) ** 2


class Act(NamedTuple):
    """BatchNorm, noise and ReLU."""

    side: int
    inputs: int

    def __str__(self) -> str:
        return f"{self.side}x{self.side}, {self.inputs}: BatchNorm, noise, ReLU"


def operations(model: nn.Module) -> collections.Counter[Conv | Act]:
    """Operations of one forward pass of a CIFAR-10 network, with how often each is there."""
    found = collections.Counter()

    def note(next_fun, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv):
            m = context.module
            found[Conv(args[0].shape[1], args[0].shape[-1], m.features, m.kernel_size[0], m.strides[0])] += 1
        elif context.method_name == "__call__" and isinstance(context.module, models._Activation):
            found[Act(args[0].shape[1], args[0].shape[-1])] += 1
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: model.init({"params": jax.random.key(0)}, jnp.zeros((1, 32, 32, 3))))
    return found


def ceiling(dtype: Any = "float32", precision: Any = None, *, devices: int = 1, n: int | None = None,
            chain: int | None = None) -> float:
    """FLOP a second of n x n products (8192; 2048 on a CPU), `chain` one after another, on `devices` devices at once."""
    n, chain = n or (8192 if on_accelerator() else 2048), chain or CHAIN.get(jax.default_backend(), 20)
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("device",))
    spread = NamedSharding(mesh, PartitionSpec("device"))

    @functools.partial(jax.jit, out_shardings=(spread, spread))
    def draw():
        x, y = jax.random.normal(jax.random.key(0), (2, devices, n, n))
        return x.astype(dtype), (y / n**0.5).astype(dtype)  # products keep the size of x

    @jax.jit
    def products(x, y):
        for _ in range(chain):  # written out: on CPU a loop of them took a tenth longer
            x = jnp.matmul(x, y, precision=precision)
        return x

    x, y = draw()
    return 2 * n**3 * chain * devices / best(lambda: products(x, y).block_until_ready(), 5)


class Kernels(NamedTuple):
    """What a device ran during a call, in ms."""

    wall: float  # of the call, under the profiler
    busy: float  # in which at least one kernel ran
    count: int
    kinds: dict[str, float]
    names: list[tuple[str, float, int]]  # kernel, ms in all, calls; longest first

    def table(self, steps: int, rows: int = 25) -> str:
        """Lines to print, per step."""
        head = (f"{self.count / steps:.0f} kernels a step, busy {self.busy / steps:.3f} ms a step; wall time, under the "
                f"profiler, {self.wall / steps:.3f} ms")
        total = sum(self.kinds.values())
        kinds = [f"  {ms / steps:9.4f} ms {ms / total:6.1%}  {kind}" for kind, ms in self.kinds.items()]
        names = [f"  {ms / steps:9.4f} ms x{calls / steps:7.1f}  {name[:100]}" for name, ms, calls in self.names[:rows]]
        return "\n".join([head, *kinds, "of these, the longest:", *names])


def kernels(f: Callable[[], Any]) -> Kernels | None:
    """The kernels of one call of f(), which has run before and waits for its results; None if the profiler saw none."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            start = time.perf_counter()
            f()
            wall = 1e3 * (time.perf_counter() - start)
        found = [event for file in Path(folder).rglob("*.xplane.pb") for event in _events(ProfileData.from_file(str(file)))]
    if not found:
        return None
    kinds, ms, calls = (collections.Counter() for _ in range(3))
    for name, _, duration in found:
        kinds[kind(name)] += duration / 1e6
        ms[name] += duration / 1e6
        calls[name] += 1
    return Kernels(wall, _covered((start, start + duration) for _, start, duration in found) / 1e6, len(found),
                   dict(kinds.most_common()), [(name, spent, calls[name]) for name, spent in ms.most_common()])


def kind(name: str) -> str:
    """Which of `KINDS` a kernel is of, else "other"."""
    return next((k for k, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), "other")


def _events(data: ProfileData) -> Iterator[tuple[str, float, float]]:
    """(kernel, start, duration), in ns, of everything the first device ran: its streams, or XLA's operations on a CPU."""
    for plane in data.planes:
        for line in plane.lines:
            if re.search(r"/device:[GT]PU:0$", plane.name) and re.match(r"Stream|XLA Ops$", line.name):
                yield from ((event.name, event.start_ns, event.duration_ns) for event in line.events)
            elif plane.name == "/host:CPU" and not on_accelerator():
                for event in line.events:
                    if not re.match(r"while|call|conditional", event.name) and "hlo_op" in dict(event.stats):
                        yield event.name, event.start_ns, event.duration_ns


def _covered(intervals: Iterator[tuple[float, float]]) -> float:
    """Length of a union of intervals."""
    total, end = 0.0, -np.inf
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def peak_memory() -> float:
    """GiB that this process has held at once on its first device so far; nan where the device does not say, as on a CPU."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", np.nan) / 2**30


def main() -> None:
    lt.use_all_cores()
    print(describe())
    for dtype, precision in (("float32", HIGHEST), ("float32", None), ("bfloat16", None)):
        name = dtype + (" at full precision" if precision else "")
        print(f"{name:26}{ceiling(dtype, precision) / 1e12:8.3g} TFLOP/s", flush=True)


if __name__ == "__main__":
    main()
