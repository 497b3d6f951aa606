"""The networks, their gradients and the update against PyTorch with equal weights, in double precision.

Skipped where PyTorch is not installed: pip install -e '.[bench]'.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrtheory.vision import models, simulate
from lrtheory.vision.config import SGD, Experiment, Model

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.xdist_group("vision")
SIZES = (6, 6, 6, 6, 4)
"""Images of each step; the last one is shorter."""


@pytest.fixture(scope="module")
def torch_model():
    """The benchmark's model, written in PyTorch's own words."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
    try:
        import cifar
    finally:
        sys.path.pop(0)
    return cifar.torch_model


def pairs(kind, params, stats, net):
    """(ours, theirs, how) of every tensor: "kernel" and "weight" are transposed, "stat" is a running one."""
    def norm(p, s, theirs):
        return [(p["scale"], theirs.weight, ""), (p["bias"], theirs.bias, ""),
                (s["mean"], theirs.running_mean, "stat"), (s["var"], theirs.running_var, "stat")]

    def act(p, s, theirs):
        return norm(p["BatchNorm_0"], s["BatchNorm_0"], theirs)

    layers, found = list(net), []
    if kind == "small-cnn":
        for k in range(3):
            found.append((params[f"Conv_{k}"]["kernel"], layers[3 * k].weight, "kernel"))
            found += act(params[f"_Activation_{k}"], stats[f"_Activation_{k}"], layers[3 * k + 1])
    else:
        found.append((params["Conv_0"]["kernel"], layers[0].weight, "kernel"))
        for k, block in enumerate(layers[1:7]):
            p, s = params[f"_Block_{k}"], stats[f"_Block_{k}"]
            convolutions = ([block.short] if block.short is not None else []) + [block.conv1, block.conv2]
            found += [(p[f"Conv_{i}"]["kernel"], c.weight, "kernel") for i, c in enumerate(convolutions)]
            found += act(p["_Activation_0"], s["_Activation_0"], block.bn1)
            found += act(p["_Activation_1"], s["_Activation_1"], block.bn2)
        found += act(params["_Activation_0"], stats["_Activation_0"], layers[7])
    last = params["logits"]
    return [*found, (last["kernel"], layers[-1].weight, "weight"), (last["bias"], layers[-1].bias, "")]


def as_theirs(value, how):
    """Our tensor in PyTorch's order of axes."""
    return np.transpose(np.asarray(value), {"kernel": (3, 2, 0, 1), "weight": (1, 0)}.get(how, range(np.ndim(value))))


@pytest.mark.parametrize("model", [Model(kind="small-cnn"), Model(widen=1)], ids=lambda m: m.kind)
def test_five_steps_are_pytorchs(torch_model, model):
    """Logits, gradients, running statistics, parameters after five Nesterov steps with decay, logits of evaluation."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        ours = (models.WideResNet(widen=1, dtype=jnp.float64) if model.kind == "wide-resnet"
                else models.SmallCNN(dtype=jnp.float64))
        config = Experiment(model=model, training=SGD(batch_size=6), n_train=sum(SIZES))
        algorithm = config.training.algorithm("L-S")
        start = ours.init({"params": jax.random.key(0)}, jnp.zeros((1, 32, 32, 3)))
        start = jax.tree.map(lambda v: jnp.asarray(v + 0.1 * rng.uniform(size=v.shape), jnp.float64), start)
        params, stats = start["params"], start["batch_stats"]
        net = torch_model(config).double()
        for mine, yours, how in pairs(model.kind, params, stats, net):
            yours.data.copy_(torch.tensor(as_theirs(mine, how)))
        sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
        link = simulate.optimiser(config, algorithm)
        inner = link.init(params)

        @jax.jit
        def gradient(params, stats, x, classes):
            def objective(params):
                logits, changed = ours.apply({"params": params, "batch_stats": stats}, x, 0.0, train=True,
                                             rngs={"noise": jax.random.key(1)}, mutable=["batch_stats"])
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
                return losses.mean(), (logits, changed["batch_stats"])
            return jax.value_and_grad(objective, has_aux=True)(params)

        def same(mine, yours, what, rtol):
            yours = yours.detach().numpy()
            np.testing.assert_allclose(mine, yours, rtol=rtol, atol=rtol * np.abs(yours).max(), err_msg=what)

        for step, size in enumerate(SIZES):
            x, classes = rng.normal(size=(size, 32, 32, 3)), rng.integers(0, 10, size)
            (loss, (logits, stats)), found = gradient(params, stats, x, classes)
            theirs = net(torch.tensor(x).permute(0, 3, 1, 2))
            their_loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(classes))
            sgd.zero_grad()
            their_loss.backward()
            same(logits, theirs, f"logits, step {step}", 1e-11)
            for mine, yours, how in pairs(model.kind, found, stats, net):
                if how == "stat":
                    same(mine, yours, f"running statistics, step {step}", 1e-11)
                else:
                    same(as_theirs(mine, how), yours.grad, f"gradient, step {step}", 1e-10)
            updates, inner = link.update(found, inner, params, value=loss)
            params = optax.apply_updates(params, updates)
            sgd.step()
        for mine, yours, how in pairs(model.kind, params, stats, net):
            same(as_theirs(mine, how), yours, "parameters after five steps", 1e-10)
        x = rng.normal(size=(3, 32, 32, 3))
        same(ours.apply({"params": params, "batch_stats": stats}, jnp.asarray(x)),
             net.eval()(torch.tensor(x).permute(0, 3, 1, 2)), "evaluation", 1e-10)


def test_pytorchs_linear_layer_starts_like_ours():
    """The published code leaves it at PyTorch's default."""
    theirs = torch.nn.Linear(640, 10).weight.detach().numpy()
    mine = np.asarray(models.fan_in(jax.random.key(0), (640, 10)))
    assert np.abs(theirs).max() <= 640**-0.5
    assert mine.std() == pytest.approx(theirs.std(), rel=0.03)
    assert np.abs(mine).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)
