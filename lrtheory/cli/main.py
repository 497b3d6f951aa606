"""The command line: `lrtheory run`, `sweep`, `verify`, `cifar`, `plot`, `export` and `completion`.

Lives here: exit codes, signals, and the order in which the parts are called. Imports wait until a command needs them, so
that help is immediate. Lives elsewhere: what the words mean (arguments).
"""

import contextlib
import io
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from lrtheory.theory.config import Config

USAGE = """\
lrtheory: why a large initial learning rate generalises better, simulated (Li, Wei & Ma, NeurIPS 2019)

  lrtheory run                        train L-S and S from 8 seeds, about a minute on two cores
  lrtheory run --preset mitigation    presets: quick (default), full, literal, mitigation, phase
  lrtheory run --config FOLDER/config.json    a run again, bit for bit on the same machine

  lrtheory sweep --axis 'eta_ratio=geomspace(1e-5,1,12)' --axis r=0.02,0.03 --seeds 64
  lrtheory sweep --preset phase       the phase diagram: 78 points, 32 seeds, two algorithms
  lrtheory sweep --resume FOLDER      finish what an interrupt, a kill or a full disk left undone

  lrtheory verify                     ten predictions of the theory, each with a verdict; a folder with a report
  lrtheory verify --list              what each says and how it is judged
  lrtheory verify --only order error
  lrtheory verify --setting conv      the same outside the theorems' setting: conv, minibatch

  lrtheory cifar --data-dir FOLDER    the same order in a CNN on patched CIFAR-10, 8 minutes on two cores
  lrtheory cifar --preset paper --download    WideResNet-16-10 as published, on a GPU or TPU
  lrtheory cifar --resume FOLDER --data-dir FOLDER    go on from the checkpoints of an interrupted one

  lrtheory plot FOLDER --x eta_ratio --y test_error_p
  lrtheory export FOLDER --to runs.csv

  lrtheory run --help                 every option; likewise sweep, verify, cifar, plot, export
  lrtheory completion bash            a script for tab completion: bash, zsh or fish
  lrtheory --version                  versions, devices, precision
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a claim, disk or process failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "±" must not end a run on a terminal that cannot show it
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        print(versions())
        return 0
    commands = {"run": run, "sweep": sweep, "verify": verify, "cifar": cifar, "plot": plot, "export": export,
                "completion": completion}
    command, name = commands.get(argv[0]), argv[0]
    if command is None:
        print(f"lrtheory: unknown command {name!r}: must be one of {', '.join(commands)}; see lrtheory --help",
              file=sys.stderr)
        return 2
    from lrtheory.spec import ConfigError

    try:
        return command(argv[1:])
    except ConfigError as error:
        print(f"lrtheory {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stdout = None
        return 1
    except OSError as error:
        print(f"lrtheory {name}: {error.filename or 'the folder'}: {error.strerror or error}; make room or choose another "
              "folder", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lrtheory {name}: interrupted; what was being computed is lost, what had been written is kept",
              file=sys.stderr)
        return 130


def run(argv: list[str]) -> int:
    """`lrtheory run`: train, print the table and the verdict, write the folder."""
    from rich.console import Console

    from lrtheory import devices, files
    from lrtheory.cli import arguments, progress, report
    from lrtheory.theory import figures, results, runs

    devices.use_all_cores()  # first: the checks below already compute with JAX
    config, folder, wanted = arguments.run_arguments(argv)
    config = config.check()
    files.prepare_folder(folder, config)
    console = Console(highlight=False)
    console.print(report.run_opening(config))
    with progress.RunDisplay(console, config) as show:
        show.tell("compiling ...")
        found = runs.run(config, progress=show.progress)
    theory = predict(config, console.print) if wanted and config.engine != "infinite" else None
    summary = results.save(found, folder, theory)
    figures.save_all(found, folder / "figures", theory)
    console.print(report.run_closing(summary))
    facts = summary["environment"]
    console.print(f"{facts['wall_seconds']:.0f} s, of which {facts['compile_seconds']:.0f} s compiling, on "
                  f"{facts['devices_used']} x {facts['device']}. Written to {folder}: config.json, summary.json, "
                  "results.zarr, " + ("theory.zarr, " if theory is not None else "") + "figures/", soft_wrap=True)
    return 0


def predict(config: "Config", tell: Callable[[str], None]) -> "xr.Dataset | None":
    """The prediction for a run, or None where there can be none, which is said."""
    from lrtheory.spec import ConfigError
    from lrtheory.theory import runs

    tell("predicting the same at infinite width ...")
    try:
        return runs.predict(config)
    except ConfigError as error:
        tell(f"no prediction: {error}")
        return None


def sweep(argv: list[str]) -> int:
    """`lrtheory sweep`: print the plan, compute what is missing, write tables and figures."""
    from rich.console import Console

    from lrtheory import devices
    from lrtheory.cli import arguments, progress, report
    from lrtheory.sweeps import figures, plan, results
    from lrtheory.sweeps.course import Interrupted, Watch, carry_out

    devices.use_all_cores()
    asked, grid, folder = arguments.sweep_arguments(argv)
    first = True
    if asked.distributed:
        devices.join_processes()
        first = devices.is_first()
    grid.check()
    console = Console(highlight=False, quiet=not first)
    console.print(report.sweep_opening(grid), soft_wrap=True)
    if asked.dry_run:
        found = plan.make_plan(grid, runs=asked.chunk, tell=lambda text: console.print(text + " ..."))
        console.print(report.plan_table(found, grid.runs))
        return 0
    started = time.perf_counter()
    try:
        with progress.SweepDisplay(console) as show, stop_on_signals(show.tell) as stop:
            carry_out(grid, folder, chunk=asked.chunk, resume=asked.resume is not None,
                      watch=Watch(show.tell, show.planned, show.progress, stop))
    except (Interrupted, KeyboardInterrupt):
        print(f"lrtheory sweep: stopped early; what is finished is kept, go on with: lrtheory sweep --resume {folder}",
              file=sys.stderr)
        return 130
    if first:
        summary = results.save(folder)
        runs = results.load(folder)
        drawn = figures.save_all(runs, folder / "figures")
        console.print(report.sweep_closing(summary, runs))
        console.print(f"{time.perf_counter() - started:.0f} s. Written to {folder}: sweep.json, summary.json, points.csv, "
                      "results.zarr" + (", figures/" if drawn else ""), soft_wrap=True)
    return 0


def verify(argv: list[str]) -> int:
    """`lrtheory verify`: judge the predictions, print the table, write the report; 1 if an expected claim fails."""
    from rich.console import Console

    from lrtheory import devices
    from lrtheory.cli import arguments, report
    from lrtheory.predictions import verify as judging

    devices.use_all_cores()
    asked, folder = arguments.verify_arguments(argv)
    names = judging.chosen(asked.only)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)  # rows of a table, not of a page
    if asked.list:
        console.print(report.predictions(names))
        return 0
    found = judging.verify(asked.options, names, folder=folder, tell=lambda name: console.print(f"checking {name} ..."))
    console.print(report.verify_closing(found))
    console.print(f"{found['seconds']:.0f} s. Written to {folder}: verify.json, report.md, figures/", soft_wrap=True)
    return 1 if judging.broken(found) else 0


def cifar(argv: list[str]) -> int:
    """`lrtheory cifar`: train on patched CIFAR-10, print the table and the verdict, write the folder."""
    from rich.console import Console

    from lrtheory import devices, files
    from lrtheory.cli import arguments, progress, report
    from lrtheory.vision import cifar, figures, results, runs, simulate

    started = time.monotonic()
    devices.use_all_cores()
    asked, folder = arguments.cifar_arguments(argv)
    config = asked.options.check()
    until = math.inf if asked.minutes is None else started + 60 * asked.minutes
    if asked.resume is None:
        files.require_free(folder)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    images = cifar.load(asked.data_dir, download=asked.download, tell=lambda text: console.print(f"CIFAR-10: {text}"))
    if asked.resume is None:
        files.prepare_folder(folder, config)
    with files.locked(folder):
        console.print(report.cifar_opening(config, simulate.parameter_count(config), images.source), soft_wrap=True)
        try:
            with progress.CifarDisplay(console) as show, stop_on_signals(show.tell, "epoch") as stop:
                found = runs.run(config, images, checkpoints=folder / "checkpoints", progress=show.progress,
                                 keep=lambda so_far: results.save(so_far, folder), stop=stop, until=until)
        except (runs.Interrupted, KeyboardInterrupt):
            if (folder / files.SUMMARY).exists():
                so_far = files.read_dataset(folder)
                console.print(report.cifar_closing(results.summarise(so_far)))
                figures.save_all(so_far, config, images, folder / "figures")
            print(f"lrtheory cifar: stopped early; go on from the checkpoints with: lrtheory cifar --resume {folder}"
                  + (f" --data-dir {asked.data_dir}" if asked.data_dir else ""), file=sys.stderr)
            return 130
        summary = results.save(found, folder)
        figures.save_all(found, config, images, folder / "figures")
    console.print(report.cifar_closing(summary))
    facts = summary["environment"]
    console.print(f"{facts['wall_seconds']:.0f} s on {facts['devices_used']} x {facts['device']}. Written to {folder}: "
                  "config.json, summary.json, results.zarr, figures/, checkpoints/", soft_wrap=True)
    return 0


def plot(argv: list[str]) -> int:
    """`lrtheory plot`: one figure of a sweep."""
    from lrtheory.cli import arguments
    from lrtheory.spec import ConfigError
    from lrtheory.sweeps import figures, results

    asked = arguments.parse(arguments.PlotArguments, "plot", argv)
    runs = figures.select(results.load(asked.folder), arguments.selections(asked.select))
    if asked.z is None:
        figure, name = figures.line(runs, asked.x, asked.y, asked.panels), f"{asked.y}-over-{asked.x}"
    else:
        figure = figures.heat_map(runs, asked.x, asked.y, asked.z, asked.panels or "algorithm")
        name = f"{asked.z}-over-{asked.x}-and-{asked.y}"
    path = asked.out or asked.folder / "figures" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=200)
    except ValueError as error:
        raise ConfigError(f"--out {path}: cannot be drawn ({str(error).splitlines()[0]}); end it in .png, .pdf or "
                          ".svg") from None
    print(path)
    return 0


def export(argv: list[str]) -> int:
    """`lrtheory export`: a tidy table of a folder's results."""
    from lrtheory.cli import arguments
    from lrtheory.sweeps import results, tables

    asked = arguments.parse(arguments.ExportArguments, "export", argv)
    rows = tables.export(results.load(asked.folder), asked.to, asked.over_time)
    print(f"{asked.to}: {rows:,} rows")
    return 0


def completion(argv: list[str]) -> int:
    """`lrtheory completion`: a shell's script for tab completion of commands, options and choices."""
    from lrtheory.cli import arguments

    print(arguments.completion_script(arguments.parse(arguments.CompletionArguments, "completion", argv).shell))
    return 0


def versions() -> str:
    """What this program is and what it would run on: versions, revision, devices, precision."""
    import jax

    from lrtheory import devices, provenance

    devices.use_all_cores()
    facts = provenance.environment()
    revision = "" if facts["git_revision"] == "none" else f" ({facts['git_revision']})"
    packages = ", ".join(f"{name} {facts[name]}" for name in ("jax", "jaxlib", "flax", "optax", "numpy", "python"))
    return (f"lrtheory {facts['lrtheory']}{revision}\n{packages}\n"
            f"devices: {jax.local_device_count()} x {facts['device']}\nprecision: {facts['precision']}")


@contextlib.contextmanager
def stop_on_signals(tell: Callable[[str], None], unit: str = "chunk") -> Iterator[Callable[[], bool]]:
    """A function that says whether an end was asked for, by Ctrl-C or SIGTERM; a second time ends at once."""
    asked = [0]

    def handle(number: int, frame: object) -> None:
        del number, frame
        asked[0] += 1
        if asked[0] > 1:
            raise KeyboardInterrupt
        tell(f"stopping after the {unit} that is being computed; again to stop at once")

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked[0] > 0
    finally:
        for which, old in before.items():
            signal.signal(which, old)


if __name__ == "__main__":
    sys.exit(main())
