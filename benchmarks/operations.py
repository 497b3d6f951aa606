"""Each operation of a CIFAR-10 training step on a CPU: XLA against PyTorch, in CPU time.

    python benchmarks/operations.py --preset narrow

Question: which operations of XLA keep the training from PyTorch's speed? Every convolution of the network (forward,
gradient of its input, of its kernel) and every BatchNorm with noise and ReLU (forward, and forward with backward) alone;
the sum has each as often as a step has it. Images lie channels last in both. The least CPU time of some repeats counts, on
one core, where no thread waits for another. `pip install -e '.[bench]'` for PyTorch.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

if hasattr(os, "sched_setaffinity"):  # before XLA counts its cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import measure
import torch
from measure import Act, Conv

from lrtheory.vision import models
from lrtheory.vision.presets import preset

KEY = jax.random.key(0)


def cpu(f: Callable[[], Any], repeats: int) -> float:
    """Least CPU ms of f(), which waits for its results."""
    return 1e3 * measure.best(f, repeats, time.process_time)


def in_xla(op: Conv | Act, batch: int, repeats: int) -> list[float]:
    """Of the forward pass and of each gradient, in ms; of BatchNorm's forward pass, and of both passes."""
    def timed(f, *args):
        compiled = jax.jit(f).lower(*args).compile()
        return cpu(lambda: jax.block_until_ready(compiled(*args)), repeats)

    x = jax.random.normal(KEY, (batch, op.side, op.side, op.inputs))
    if isinstance(op, Act):
        module = models._Activation(jnp.float32)
        values = module.init({"params": KEY, "noise": KEY}, x, 0.1, True)

        def act(params, x):
            return module.apply({**values, "params": params}, x, 0.1, True, rngs={"noise": KEY}, mutable=["batch_stats"])

        def both(params, x, dy):
            y, back, changed = jax.vjp(act, params, x, has_aux=True)
            return y, changed, back(dy)

        return [timed(act, values["params"], x), timed(both, values["params"], x, x)]
    module = models._conv(op.outputs, op.size, op.stride, jnp.float32)
    values = module.init(KEY, x)
    dy = jax.random.normal(KEY, (batch, op.side // op.stride, op.side // op.stride, op.outputs))
    return [timed(module.apply, values, x),
            timed(lambda v, x, dy: jax.vjp(lambda x: module.apply(v, x), x)[1](dy), values, x, dy),
            timed(lambda v, x, dy: jax.vjp(lambda v: module.apply(v, x), v)[1](dy), values, x, dy)]


def in_pytorch(op: Conv | Act, batch: int, repeats: int) -> list[float]:
    """The same by PyTorch."""
    last = {"memory_format": torch.channels_last}
    x = torch.randn(batch, op.inputs, op.side, op.side).to(**last)
    if isinstance(op, Act):
        norm, noise, asked = torch.nn.BatchNorm2d(op.inputs), 0.1 * torch.randn(op.side, op.side), x.clone().requires_grad_()

        def act():
            return (norm(asked) + noise).relu()

        return [cpu(act, repeats), cpu(lambda: act().backward(x), repeats)]
    w = torch.randn(op.outputs, op.inputs, op.size, op.size).to(**last)
    stride, pad = [op.stride] * 2, [op.size // 2] * 2
    dy = torch.randn(batch, op.outputs, op.side // op.stride, op.side // op.stride).to(**last)

    def gradient(*mask):
        return cpu(lambda: torch.ops.aten.convolution_backward(dy, x, w, None, stride, pad, [1, 1], False, [0, 0], 1, mask),
                   repeats)

    with torch.no_grad():
        forward = cpu(lambda: torch.nn.functional.conv2d(x, w, stride=stride, padding=pad), repeats)
    return [forward, gradient(True, False, False), gradient(False, True, False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="narrow")
    parser.add_argument("--batch", type=int, help="images (default: the preset's batch)")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    config = preset(asked.preset)
    batch = asked.batch or config.training.batch_size
    torch.set_num_threads(1)
    print(f"{measure.describe()}, PyTorch {torch.__version__}; {config.name}, float32, batch {batch}; CPU ms, XLA / PyTorch")
    print(f"{'':38}times  {'forward':>14}{'input gradient':>17}{'kernel gradient':>18}")
    sums = [0.0, 0.0]
    found = measure.operations(config.model.build())
    for op, times in sorted(found.items(), key=lambda item: (-item[0].side, str(item[0]))):
        pairs = list(zip(in_xla(op, batch, asked.repeats), in_pytorch(op, batch, asked.repeats), strict=True))
        if isinstance(op, Conv):
            parts = pairs if op.inputs > 3 else [pairs[0], pairs[2]]  # no gradient of the images
            shown = "".join(f"{a:{width}.1f} /{b:5.1f}" for (a, b), width in zip(pairs, (8, 10, 11), strict=True))
        else:
            parts = pairs[1:]
            shown = f"{pairs[0][0]:8.1f} /{pairs[0][1]:5.1f}   both passes {pairs[1][0]:.1f} / {pairs[1][1]:.1f}"
        sums = [total + times * sum(part[which] for part in parts) for which, total in enumerate(sums)]
        print(f"{op!s:38}{times:5}  {shown}", flush=True)
    print(f"all of these in a step: {sums[0]:.0f} / {sums[1]:.0f}")


if __name__ == "__main__":
    main()
