#!/usr/bin/env bash
# Everything that should be measured on a GPU or TPU, each part once, and again from where it stopped:
#     bash benchmarks/accelerator.sh DATA FOLDER [PRESET]
# DATA holds CIFAR-10; FOLDER keeps the outputs; PRESET is paper, or tiny to try all of it on a CPU within minutes.
set -euo pipefail
data=$(realpath "$1"); mkdir -p "$2"; out=$(realpath "$2"); preset=${3:-paper}
cd "$(dirname "$0")/.."

part() {  # NAME COMMAND...: run it unless it is done, keep what it prints
  [ -f "$out/$1.txt" ] || { "${@:2}" | tee "$out/$1.partial" && mv "$out/$1.partial" "$out/$1.txt"; }
}

small=(); [ "$preset" = tiny ] && small=(--steps 2)
part version python -m lrtheory --version
part cifar python benchmarks/cifar.py --preset "$preset" --steps "$([ "$preset" = tiny ] && echo 2 || echo 100)" --at-once 1
if [ -d "$out/cifar-$preset" ]; then
  part "cifar-$preset-run" python -m lrtheory cifar --resume "$out/cifar-$preset" --data-dir "$data"
else
  part "cifar-$preset-run" python -m lrtheory cifar --preset "$preset" --seeds 1 --checkpoint-epochs 1 --data-dir "$data" \
    --out "$out/cifar-$preset"
fi
part engines python benchmarks/engines.py "${small[@]}"
[ "$preset" = tiny ] && exit
part sweeps python benchmarks/sweeps.py
part infinite python benchmarks/infinite.py
part quick python -m lrtheory run --seeds 256 --out "$out/quick"
