"""Compile the sweep's program for TPUs, from a machine that has none, and say what it needs and what padding costs.

    pip install 'lrtheory[tpu]' && python benchmarks/tpu_compile.py

For each engine and topology: the memory of the step's program on one device, the bytes of its arguments as numbers and as
laid out (a TPU pads the last two axes of an array to tiles), the products' precision and the collectives, of which there
must be none. Nothing is run: no speed is claimed. The compiler is libtpu's own, ahead of time.
"""

import argparse
import os
import re

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost",
               "TPU_ACCELERATOR_TYPE": "v5litepod-4", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import jax
from jax.experimental import topologies

import lrtheory as lt
from lrtheory import batch

COLLECTIVES = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topologies", nargs="+", default=["v5e:2x2", "v6e:2x2"])
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=64)
    asked = parser.parse_args()
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


def as_numbers(leaf: jax.core.ShapedArray) -> jax.ShapeDtypeStruct:
    """Keys as the numbers they are."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.ShapeDtypeStruct((*leaf.shape, 2), "uint32")
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


if __name__ == "__main__":
    main()
