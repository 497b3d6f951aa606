"""The command line's entry: which command a line names, and exit codes.

Lives here: the overview that help shows, complaints as one line. Lives elsewhere: what the commands do (commands), what
their words mean (arguments), how a signal ends one (lrtheory.stopping), for which it listens before all else is imported.
"""

import io
import os
import sys

from lrtheory import stopping
from lrtheory.cli.terminal import surviving

USAGE = """\
lrtheory: why a large initial learning rate generalises better, simulated (Li, Wei & Ma, NeurIPS 2019)

  lrtheory run                        train L-S and S from 8 seeds, about a minute on two cores
  lrtheory run --preset mitigation    presets: quick (default), full, literal, mitigation, phase
  lrtheory run --config FOLDER/config.json    a run again, bit for bit on the same machine

  lrtheory run --algorithm 'mine: warmup 20 to 0.02, hold until loss 0.21, cosine 100 to 2e-6'

  lrtheory sweep --axis 'eta_ratio=geomspace(1e-5,1,12)' --axis r=0.02,0.03 --seeds 64
  lrtheory sweep --preset phase       the phase diagram: 78 points, 32 seeds, two algorithms
  lrtheory sweep --preset mini --axis training.eta1=0.5,0.7 --data-dir FOLDER    likewise of the CNN below
  lrtheory sweep --resume FOLDER      finish what an interrupt, a kill or a full disk left undone
  lrtheory sweep --extend FOLDER --seeds 128 --axis r=0.04    more seeds and values; only what is new is computed

  lrtheory verify                     thirteen predictions of the theory, each with a verdict; a folder with a report
  lrtheory verify --list              what each says and how it is judged
  lrtheory verify --only order error
  lrtheory verify --resume FOLDER     go on with the claims that an interrupt or a kill left unjudged
  lrtheory verify --setting conv      the same outside the theorems' setting: conv, minibatch
  lrtheory verify --setting theorem   bound and floor: both theorems' bounds, in their own regime

  lrtheory theorem                    both theorems at their own exponents, d = 1e2 to 1e40, about a minute
  lrtheory theorem --study exponents  the same over the exponent of r; size, rates: over d' and eta2

  lrtheory design                     the schedule that ends best within a budget, and what networks say of it
  lrtheory design --family wsd --iterations 20000 --objective test_loss

  lrtheory cifar --data-dir FOLDER    the same order in a CNN on patched CIFAR-10, 5 minutes on two cores
  lrtheory cifar --preset paper --download    WideResNet-16-10 as published, on a GPU or TPU
  lrtheory cifar --resume FOLDER      go on from the checkpoints of an interrupted one

  lrtheory plot FOLDER                the figures of a run again; --figure gates, --figure film, --y contrast, --style talk
  lrtheory plot FOLDER --x eta_ratio --y test_error_p    of a sweep; --theory OTHER: the same sweep with --engine infinite
  lrtheory export FOLDER --to runs.csv

  lrtheory run --help                 the options that most runs need, and --help-all for every one; likewise cifar;
                                      sweep, verify, design, plot, export: --help
  lrtheory completion bash            a script for tab completion: bash, zsh or fish
  lrtheory --version                  versions, devices, precision
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a claim, disk or process failed, 2 bad input, 130 interrupted."""
    alone = argv is None  # nothing comes after it in this process
    argv = sys.argv[1:] if argv is None else argv
    with stopping.listening(" ".join(["lrtheory", *argv[:1]]), for_good=alone):
        try:
            code = _surviving(argv)
        except Exception:  # others may wait for this process: it must not wait for them
            if not (alone and stopping.in_company()):
                raise
            import traceback

            traceback.print_exc()
            code = 1
        if alone:
            stopping.leave(code)
        return code


def _surviving(argv: list[str]) -> int:
    """`main`, while signals are heard."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "±" must not end a run on a terminal that cannot show it
    os.environ["MPLBACKEND"] = "agg"  # figures are files here; the user's choice is for his windows, and may not be there
    with surviving():
        return _called(argv)


def _called(argv: list[str]) -> int:
    """`main`, on streams that survive their readers."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    from lrtheory.cli import commands

    command, name = commands.COMMANDS.get(argv[0]), argv[0]
    if command is None:
        known = ", ".join(list(commands.COMMANDS)[:-1])
        print(f"lrtheory: unknown command {name[:80]!r}: must be one of {known}; see lrtheory --help", file=sys.stderr)
        return 2

    def complain(text: str, code: int) -> int:
        print(f"lrtheory {name}: {text}", file=sys.stderr)
        return code

    try:
        from lrtheory.files import reason
        from lrtheory.spec import ConfigError
    except Exception as error:  # JAX reads the environment as it is imported
        return complain(f"JAX cannot be loaded ({str(error).splitlines()[0]}); correct the environment variables JAX_...", 2)
    try:
        return command(argv[1:])
    except ConfigError as error:
        return complain(error.in_shell, 2)
    except OSError as error:
        return complain(f"{error.filename or 'the folder'}: {error.strerror or reason(error)}; make room or choose another "
                        "folder", 1)
    except FloatingPointError as error:
        return complain(f"jax_debug_nans ended it ({reason(error)}); unset JAX_DEBUG_NANS: runs may diverge", 1)
    except MemoryError as error:
        return complain(f"no memory is left ({reason(error)}); choose smaller sizes or fewer seeds", 1)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return complain(f"no memory is left on the device ({reason(error)}); choose smaller sizes or fewer seeds", 1)
    except (stopping.Interrupted, KeyboardInterrupt):
        return complain(stopping.how_it_stands(), stopping.STOPPED)


if __name__ == "__main__":
    sys.exit(main())
