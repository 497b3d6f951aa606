"""The patched CIFAR-10 training: images a second, share of the matmul ceiling, where the time goes, against PyTorch.

    python benchmarks/cifar.py                              small CNN, what two cores can do
    python benchmarks/cifar.py --preset paper --steps 60 --at-once 1 --kernels          WideResNet-16-10, on a GPU or TPU
    python benchmarks/cifar.py --preset paper --widen 4 --at-once 1 2 4 --alone         how many runs at once

Claim to test: `lrtheory cifar` trains WideResNet-16-10 in bfloat16 at 35% or more of the bfloat16 matmul ceiling that the
same device reaches in the same run, and faster than eager PyTorch with channels-last memory and autocast to bfloat16. Random
images; compilation is reported apart; the best of three repeats counts. FLOP are those of convolutions, forward times 3,
from shapes. PyTorch's loop has its own code here: the same model, Nesterov SGD, images on the device, a patch of the same
kind. `pip install -e '.[bench]'` for it.

Several runs at once, by vmap: what `--at-once` of `lrtheory cifar` does, convolutions become grouped ones. By map: one
run's epoch after another in one program, convolutions stay as they are. On a CPU, a run on each device at the same time,
too: what `lrtheory cifar` does, for PyTorch's one run takes all cores. Every number is that of one run: ms a step of it
(wall time over runs), s an epoch of 50,000 images of it.
"""

import argparse
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import measure
import numpy as np

import lrtheory as lt
from lrtheory.vision import cifar, runs, simulate
from lrtheory.vision.config import N_TRAIN, Experiment
from lrtheory.vision.presets import preset

try:
    import torch
    from torch import nn
except ImportError:
    torch = None


class Timed(NamedTuple):
    """A way of training, timed."""

    step: float  # seconds a step of one run
    compile_seconds: float
    epoch: Callable[[], None]


def flop_per_image(config):
    """Of a training step: multiply-adds of convolutions, times 2, times 3 (forward, two gradients)."""
    found = measure.operations(config.model.build())
    return 3 * sum(times * op.flop for op, times in found.items() if isinstance(op, measure.Conv))


@functools.partial(jax.jit, donate_argnums=4)
def mapped_epoch(config, algorithms, seeds, data, states, chosen):
    """An epoch of several runs one after another, convolutions as in a single run: all but `config` with a leading axis."""
    return jax.lax.map(lambda run: simulate.scanned_epoch(config, *run), (algorithms, seeds, data, states, chosen))


def ours(config: Experiment, images: cifar.Images, at_once: int, by: str, device: jax.Device | None = None) -> Timed:
    """Whole epochs of `at_once` runs, draws and patches included, as in `lrtheory cifar` ("vmap") or by lax.map ("map")."""
    config = config.replace(at_once=at_once, seeds=1, algorithms=("L-S",))
    job = runs.Job(runs=tuple(("L-S", seed) for seed in range(at_once)))
    course = runs.Course(config, job, [config.training.algorithm("L-S")] * at_once, images,
                         device or jax.local_devices()[0])
    state, start = [course.begin()], time.perf_counter()

    def epoch():
        if by == "map":
            numbers, algorithms, seeds, data = course.known
            whole, _ = course.programs.order(numbers, seeds, jnp.asarray(1))
            state[0], seen = mapped_epoch(numbers, algorithms, seeds, data, state[0], whole)
        else:
            state[0], seen = course.train_epoch(state[0], 1)
        jax.block_until_ready(seen)

    epoch()
    first = time.perf_counter() - start
    seconds = measure.best(epoch)
    return Timed(seconds / at_once / config.steps_per_epoch, first - seconds, epoch)


def on_each_device(config: Experiment, images: cifar.Images) -> Timed:
    """Whole epochs of a run on every device at the same time."""
    each = [ours(config, images, 1, "vmap", device) for device in jax.local_devices()]
    with ThreadPoolExecutor(len(each)) as pool:
        def epoch():
            list(pool.map(lambda one: one.epoch(), each))

        seconds = measure.best(epoch) / len(each)
    return Timed(seconds / config.steps_per_epoch, sum(one.compile_seconds for one in each), epoch)


def torch_model(config):
    """The same networks in PyTorch."""
    m = config.model

    def conv(a, b, size, stride):
        return nn.Conv2d(a, b, size, stride, size // 2, bias=False)

    if m.kind == "small-cnn":
        layers, before = [], 3
        for width, stride in zip(m.widths, m.strides, strict=True):
            layers += [conv(before, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))

    class Block(nn.Module):
        def __init__(self, a, b, stride):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(a), nn.BatchNorm2d(b)
            self.conv1, self.conv2 = conv(a, b, 3, stride), conv(b, b, 3, 1)
            self.short = conv(a, b, 1, stride) if a != b or stride != 1 else None

        def forward(self, x):
            out = self.bn1(x).relu()
            x = x if self.short is None else self.short(out)
            return x + self.conv2(self.bn2(self.conv1(out)).relu())

    layers, before = [conv(3, 16, 3, 1)], 16
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range((m.depth - 4) // 6):
            layers.append(Block(before, width * m.widen, stride if block == 0 else 1))
            before = width * m.widen
    return nn.Sequential(*layers, nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(before, 10))


def theirs(config, images):
    """PyTorch's seconds a step: channels last, bfloat16 autocast where ours computes in it, data on the device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    model = torch_model(config).to(device, memory_format=torch.channels_last)
    sgd = torch.optim.SGD(model.parameters(), 0.004, momentum=0.9, nesterov=True, weight_decay=5e-4)
    pixels = torch.from_numpy(images.train[: config.n_train]).to(device).permute(0, 3, 1, 2)
    classes = torch.from_numpy(images.train_classes[: config.n_train].astype(np.int64)).to(device)
    patch, zeta = torch.randn(3, 7, 7, device=device), torch.rand(10, 3, 7, 7, device=device)
    flags = torch.rand(len(classes), device=device) < 0.8
    half, size = config.model.compute == "bfloat16", config.training.batch_size

    def epoch():
        for chosen in torch.randperm(len(classes), device=device)[: config.steps_per_epoch * size].split(size):
            x, y = (pixels[chosen].float() - 120) / 63, classes[chosen]
            sign = torch.randint(0, 2, (len(y), 1, 1, 1), device=device) * 2 - 1
            alone = flags[chosen] & (torch.rand(len(y), device=device) < 0.2)
            x = torch.where(alone[:, None, None, None], torch.zeros_like(x), x)
            with_patch = x.clone()
            with_patch[:, :, 12:19, 12:19] = patch + sign * zeta[y]
            x = torch.where(flags[chosen][:, None, None, None], with_patch, x).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = nn.functional.cross_entropy(model(x), y)
            sgd.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return measure.best(epoch) / config.steps_per_epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--steps", type=int, default=40, help="steps timed, an epoch")
    parser.add_argument("--batch", type=int, help="images a step (default: the preset's)")
    parser.add_argument("--widen", type=int, help="WideResNet's widening factor (default: the preset's)")
    parser.add_argument("--compute", choices=("float32", "bfloat16"))
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--by", nargs="*", choices=("vmap", "map"), help="how (default: both, on a CPU vmap: a loop's "
                        "convolutions are slow there)")
    parser.add_argument("--kernels", action="store_true", help="where the time of the first of these goes, by kernel")
    parser.add_argument("--alone", action="store_true", help="leave PyTorch out")
    asked = parser.parse_args()
    lt.use_all_cores()
    config: Experiment = preset(asked.preset)
    size = asked.batch or config.training.batch_size
    config = config.replace(n_train=asked.steps * size, n_test=100, **{
        "training.batch_size": size, "model.compute": asked.compute or config.model.compute,
        "model.widen": asked.widen or config.model.widen})
    images = cifar.synthetic(max(config.n_train, 500), 500)
    peak = measure.ceiling(config.model.compute)
    flop = flop_per_image(config) * size
    network = f", widened by {config.model.widen}" if config.model.kind == "wide-resnet" else ""
    print(f"{measure.describe()}, one of them; {config.name}{network}, {config.model.compute}, batch {size}, "
          f"{asked.steps} steps; {flop / size / 1e9:.3g} GFLOP an image; matmul ceiling {peak / 1e12:.3g} TFLOP/s")
    print(f"{'':28}images/s  of ceiling  ms a step  s an epoch  compile s   peak GiB", flush=True)

    def row(name: str, step: float, *more: float) -> None:
        print(f"{name:28}{size / step:8.0f}{flop / step / peak:12.1%}{1e3 * step:11.3f}{N_TRAIN / size * step:12.2f}"
              + "".join(f"{value:11.1f}" for value in more), flush=True)

    steps = []
    for count in asked.at_once:
        for by in (asked.by or (["vmap", "map"] if measure.on_accelerator() else ["vmap"]))[: None if count > 1 else 1]:
            timed = ours(config, images, count, by)
            row(f"lrtheory, {count} at once" + (f", {by}" if count > 1 else ""), timed.step, timed.compile_seconds,
                measure.peak_memory())
            if asked.kernels and not steps:
                found = measure.kernels(timed.epoch)
                print(found.table(count * asked.steps) if found else "the profiler saw no kernel", flush=True)
            steps.append(timed.step)
            del timed  # its images and state
    if not measure.on_accelerator() and jax.local_device_count() > 1:
        timed = on_each_device(config, images)
        row(f"lrtheory, on {jax.local_device_count()} devices", timed.step, timed.compile_seconds, measure.peak_memory())
        steps.append(timed.step)
    if asked.alone:
        return
    if torch is None:
        print("PyTorch is not installed: pip install 'lrtheory[bench]'")
        return
    other = theirs(config, images)
    row(f"PyTorch {torch.__version__}, eager", other)
    if steps:
        print(f"lrtheory over PyTorch: {other / min(steps):.2f}")


if __name__ == "__main__":
    main()
