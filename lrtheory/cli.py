"""The command line: `lrtheory run`.

Lives here: arguments, exit codes, and the order in which the parts are called. Imports wait until a command needs
them, so that help is immediate.
"""

import io
import sys

USAGE = """\
lrtheory: why a large initial learning rate generalises better, simulated (Li, Wei & Ma, NeurIPS 2019)

  lrtheory run                        train L-S and S from 8 seeds, under a minute on two cores
  lrtheory run --preset mitigation    presets: quick (default), full, literal, mitigation
  lrtheory run --seeds 16 --problem.r 0.03 --out FOLDER
  lrtheory run --config FOLDER/config.json    a run again, bit for bit on the same machine
  lrtheory run --help                 every option
  lrtheory --version
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "±" must not end a run on a terminal that cannot show it
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"lrtheory {version('lrtheory')}, jax {version('jax')}")
        return 0
    if argv[0] != "run":
        print(f"lrtheory: unknown command {argv[0]!r}: must be run; see lrtheory --help", file=sys.stderr)
        return 2
    from lrtheory.spec import ConfigError

    try:
        return run(argv[1:])
    except ConfigError as error:
        print(f"lrtheory run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lrtheory run: interrupted; nothing but config.json was written", file=sys.stderr)
        return 130


def run(argv: list[str]) -> int:
    """`lrtheory run`: train, print the table and the verdict, write the folder."""
    from rich.console import Console

    from lrtheory import arguments, batch, devices, figures, report, results

    devices.use_all_cores()  # first: the checks below already compute with JAX
    config, folder = arguments.parse(argv)
    config.check()
    results.prepare_folder(folder, config)
    console = Console(highlight=False)
    console.print(report.opening(config))
    with report.progress(console, config) as progress:
        found = batch.run(config, progress=progress)
    summary = results.save(found, folder)
    figures.save_all(found, folder / "figures")
    console.print(report.closing(summary))
    facts = summary["environment"]
    console.print(f"{facts['wall_seconds']:.0f} s, of which {facts['compile_seconds']:.0f} s compiling, on "
                  f"{facts['devices_used']} x {facts['device']}. Written to {folder}: config.json, summary.json, "
                  "results.zarr, figures/", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
