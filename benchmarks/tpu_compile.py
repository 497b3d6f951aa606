"""Compile the sweep's and the CIFAR-10 training's programs for TPUs, from a machine that has none, and say what they need.

    pip install -e '.[tpu]' && python benchmarks/tpu_compile.py            sweeps
    pip install -e '.[tpu]' && python benchmarks/tpu_compile.py --cifar    an epoch of WideResNet-16-10 (preset paper)

For each engine and topology: the memory of the step's program on one device, the bytes of its arguments as numbers and as
laid out (a TPU pads the last two axes of an array to tiles), the products' precision and the collectives, of which there
must be none. For the CIFAR-10 training: the memory of an epoch as one program on one device, images included, and in which
type its convolutions are. Nothing is run: no speed is claimed. The compiler is libtpu's own, ahead of time.
"""

import argparse
import os
import re

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost",
               "TPU_ACCELERATOR_TYPE": "v5litepod-4", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import lrtheory as lt
from lrtheory.theory import programs as batch
from lrtheory.vision import cifar, models
from lrtheory.vision import simulate as train
from lrtheory.vision.presets import preset

COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topologies", nargs="+", default=["v5e:2x2", "v6e:2x2"])
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--cifar", action="store_true", help="an epoch of the preset paper instead")
    asked = parser.parse_args()
    if asked.cifar:
        return print_cifar(asked.topologies)
    config = lt.preset("quick")
    print(f"jax {jax.__version__}; quick preset, {asked.points} points x {len(config.algorithms)} algorithms x "
          f"{asked.seeds} seeds, seeds over 4 devices")
    print(f"{'topology':<9} {'engine':<10} {'program MiB':>12} {'arguments MiB':>14} {'as laid out':>12} {'padding':>8} "
          f"{'products at full float32':>24} {'collectives':>12}")
    for name in asked.topologies:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
        for engine in ("reduced", "decoupled"):
            block = batch.Block(asked.points, asked.seeds)
            lowered = batch.lower_block(config.replace(engine=engine), ("training.eta_ratio",), block,
                                        devices=topology.devices)
            compiled = lowered.follow.compile()
            found, text = compiled.memory_analysis(), compiled.as_text()
            plain = sum(a.size * a.dtype.itemsize for a in map(as_numbers, jax.tree.leaves(lowered.follow.in_avals)))
            plain /= lowered.mesh.size  # nearly all of it is spread
            products = re.findall(r".* (?:convolution|dot)\(.*", text)
            full = [line for line in products if "operand_precision={highest,highest}" in line]
            share = f"{len(full)} of {len(products)}"
            print(f"{name:<9} {engine:<10} {batch.peak_bytes(compiled) / 2**20:>12.0f} {plain / 2**20:>14.1f} "
                  f"{found.argument_size_in_bytes / 2**20:>12.1f} {found.argument_size_in_bytes / plain:>7.2f}x "
                  f"{share:>24} {len(re.findall(COLLECTIVES, text)):>12}", flush=True)


def print_cifar(names: list[str]) -> None:
    """An epoch of WideResNet-16-10 for one device of each topology."""
    models.flat = lambda: False  # as on a TPU, not as on the CPU that compiles
    config = preset("paper")
    print(f"jax {jax.__version__}; an epoch of {config.name}: {config.n_train // config.training.batch_size} steps of "
          f"{config.training.batch_size} images, {train.parameter_count(config):,} parameters")
    print(f"{'topology':<9} {'program MiB':>12} {'arguments MiB':>14} {'convolutions in bfloat16':>25}")
    algorithm, seed = config.training.algorithm("L-S"), jnp.asarray(0)
    data = jax.eval_shape(lambda: train.choose(config, cifar.synthetic(config.n_train, config.n_test), 0))
    state = jax.eval_shape(functools.partial(train.begin, config, algorithm, seed))
    chosen = jax.ShapeDtypeStruct((config.n_train // config.training.batch_size, config.training.batch_size), jnp.int32)
    known = jax.tree.map(jnp.asarray, config.replace(name="", note=""))
    for name in names:
        mesh = Mesh(np.array(topologies.get_topology_desc(platform="tpu", topology_name=name).devices[:1]), ("device",))
        where = NamedSharding(mesh, PartitionSpec())
        abstract = jax.tree.map(lambda x, where=where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
                                (known, algorithm, seed, data, state, chosen))
        lowered = jax.jit(train.scanned_epoch, donate_argnums=4).lower(*abstract)
        compiled = lowered.compile(compiler_options={"exec_time_optimization_effort": -1.0})
        found, lines = compiled.memory_analysis(), re.findall(r"(\w+)\[[^=]* convolution\(", compiled.as_text())
        print(f"{name:<9} {batch.peak_bytes(compiled) / 2**20:>12.0f} {found.argument_size_in_bytes / 2**20:>14.1f} "
              f"{str(lines.count('bf16')) + ' of ' + str(len(lines)):>25}", flush=True)


def as_numbers(leaf: jax.core.ShapedArray) -> jax.ShapeDtypeStruct:
    """Keys as the numbers they are."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.ShapeDtypeStruct((*leaf.shape, 2), "uint32")
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


if __name__ == "__main__":
    main()
