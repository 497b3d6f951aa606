"""The patched CIFAR-10 training: images a second, share of the matmul ceiling, against PyTorch, and ways of stacking runs.

    python benchmarks/cifar.py                              small CNN, what two cores can do
    python benchmarks/cifar.py --preset paper --steps 100   WideResNet-16-10, on a GPU or TPU

Claim to test: `lrtheory cifar` trains WideResNet-16-10 in bfloat16 at 35% or more of the bfloat16 matmul ceiling that the
same device reaches in the same run, and faster than PyTorch with channels-last memory and autocast to bfloat16. Random
images; compilation is reported apart; the best of three repeats counts. FLOP are those of convolutions and the linear layer,
forward times 3, from shapes. PyTorch's loop has its own code here: the same model, Nesterov SGD, images on the device, a
patch of the same kind. `pip install -e '.[bench]'` for it.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import lrtheory as lt
from lrtheory.vision import cifar, runs
from lrtheory.vision.config import Experiment
from lrtheory.vision.presets import preset

try:
    import torch
    from torch import nn
except ImportError:
    torch = None


def best(f, repeats=3):
    """Least wall time of f() in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def ceiling(dtype):
    """Matmul FLOP a second at 8192^3 (an accelerator) or 2048^3 (a CPU)."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    return 2 * n**3 / best(lambda: product(a).block_until_ready(), 5)


def flop_per_image(config):
    """Of a training step: multiply-adds of convolutions and the linear layer, times 2, times 3 (forward, two gradients)."""
    found, model = [0], config.model.build()

    def count(next_fun, args, kwargs, context):
        out = next_fun(*args, **kwargs)
        if type(context.module).__name__ == "Conv" and context.method_name == "__call__":
            k, cin = context.module.kernel_size, args[0].shape[-1]
            found[0] += 2 * k[0] * k[1] * cin * out.size // out.shape[0]
        return out

    import flax.linen as linen

    with linen.intercept_methods(count):
        jax.eval_shape(lambda: model.init({"params": jax.random.key(0)}, jnp.zeros((1, 32, 32, 3))))
    return 3 * found[0]


def ours(config, images, at_once=1):
    """(images a second, seconds to compile) of whole epochs, draws and patches included."""
    config = config.replace(at_once=at_once, seeds=1, algorithms=("L-S", "S", "S+noise")[:1])
    job = runs.Job(runs=tuple(("L-S", k) for k in range(at_once)))
    course = runs.Course(config, job, [config.training.algorithm("L-S")] * at_once, images, jax.local_devices()[0])
    state, start = [course.begin()], time.perf_counter()

    def epoch():
        state[0], seen = course.train_epoch(state[0], 1)
        jax.block_until_ready(seen)

    epoch()
    first = time.perf_counter() - start
    seconds = best(epoch)
    return at_once * config.steps_per_epoch * config.training.batch_size / seconds, first - seconds


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
    """PyTorch's images a second: channels last, bfloat16 autocast where ours computes in it, data on the device."""
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

    epoch()
    return config.steps_per_epoch * size / best(epoch)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--steps", type=int, default=40, help="steps timed, an epoch")
    parser.add_argument("--batch", type=int, help="images a step (default: the preset's)")
    parser.add_argument("--compute", choices=("float32", "bfloat16"))
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2, 4])
    asked = parser.parse_args()
    lt.use_all_cores()
    config: Experiment = preset(asked.preset)
    config = config.replace(**{"training.batch_size": asked.batch or config.training.batch_size})
    config = config.replace(n_train=asked.steps * config.training.batch_size, n_test=100, **{
        "model.compute": asked.compute or config.model.compute})
    images = cifar.synthetic(max(config.n_train, 500), 500)
    peak = ceiling(jnp.dtype(config.model.compute))
    flop = flop_per_image(config)
    device = jax.local_devices()[0]
    print(f"jax {jax.__version__}, one of {jax.local_device_count()} x {device.device_kind}; {config.name}, "
          f"{config.model.compute}, batch {config.training.batch_size}, {asked.steps} steps; "
          f"{flop / 1e9:.3f} GFLOP an image; matmul ceiling {peak / 1e12:.3g} TFLOP/s")
    other = theirs(config, images) if torch is not None else float("nan")
    name = f"PyTorch {torch.__version__}" if torch is not None else "PyTorch (absent)"
    print(f"{'':24}images/s  of ceiling  over PyTorch  compile s")
    print(f"{name:24}{other:8.0f}{other * flop / peak:11.1%}{1:14.2f}")
    for count in asked.at_once:
        rate, seconds = ours(config, images, count)
        print(f"lrtheory, {count} at once{'':4}{rate:8.0f}{rate * flop / peak:11.1%}{rate / other:14.2f}{seconds:11.1f}",
              flush=True)


if __name__ == "__main__":
    main()
