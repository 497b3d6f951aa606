"""The commands: `lrtheory run`, `sweep`, `verify`, `theorem`, `design`, `cifar`, `plot`, `export` and `completion`.

Lives here: what each calls in turn, prints and writes; what an early end keeps and says. Imports wait until a command needs
them, so that help is immediate. Lives elsewhere: what the words mean (arguments), what is printed (report), exit codes
(main).
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrtheory import stopping
from lrtheory.cli import terminal

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from lrtheory.theory.config import Config


def run(argv: list[str]) -> int:
    """`lrtheory run`: train, print the table and the verdict, write the folder."""
    from lrtheory import devices, files
    from lrtheory.cli import arguments, progress, report
    from lrtheory.theory import results, runs

    devices.use_all_cores()  # first: the checks below already compute with JAX
    config, out, wanted = arguments.run_arguments(argv)
    config = config.check()
    devices.require_working()
    runs.require_room(config)
    folder = out or arguments.dated_folder(config.name)
    files.prepare_folder(folder, config)
    again = f"lrtheory run --config {folder}/config.json"
    stopping.stands(f"interrupted; nothing was measured; again: {again}")
    console = terminal.console()
    console.print(report.run_opening(config))
    for caution in report.run_cautions(config):
        console.print(f"note: {caution}", soft_wrap=True)
    theory = predict(config, console) if wanted and config.engine != "infinite" else None
    if theory is not None and (jitter := results.annealing_jitter(config, theory)) is not None:
        console.print(report.jitter_line(jitter, config), soft_wrap=True)
    with contextlib.ExitStack() as gentle:
        with progress.RunDisplay(console, config) as show:
            show.tell("compiling ...")
            told = _from_first(show.progress, gentle, "steps", show.tell,
                               f"ended at once; what was measured is lost; again: {again}")
            found, early = _whole_or_part(lambda: runs.run(config, progress=told))
        summary = results.summarise(found, theory)
        if wanted and early is None:
            add_examples(summary, config, found, console.print)
        _saved(lambda: files.write_results(folder, found, summary, theory=theory),
               lambda: console.print(report.run_closing(summary)))
    stopping.stands(f"stopped early; what was measured is in {folder}; the whole of it: {again}")
    _raised(early)
    drawn = _drawn(lambda: import_module("lrtheory.theory.figures").save_all(found, folder / "figures", theory),
                   console.print)
    facts = summary["environment"]
    console.print(f"{facts['wall_seconds']:.0f} s, of which {facts['compile_seconds']:.0f} s compiling, on "
                  f"{facts['devices_used']} x {facts['device']}. Written to {folder}: config.json, summary.json, "
                  "results.zarr" + (", theory.zarr" if theory is not None else "") + (", figures/" if drawn else ""),
                  soft_wrap=True)
    return 0


def _from_first(progress: Callable[..., Any], gentle: contextlib.ExitStack, after: str, tell: Callable[[str], Any],
                stands: str | None = None, first: int = 1) -> Callable[..., None]:
    """`progress`; from its `first` call on there is something to keep, and an end is a gentle one, until `gentle` is left.

    It waits for what is being computed (`after`), which `tell` is told; at once it is another matter (`stands`).
    """
    calls = 0

    def told(*what: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == first:
            stopping.stands(stands or stopping.how_it_stands())
            gentle.enter_context(stopping.gently(f"the {after} that are being computed", tell))
        progress(*what)

    return told


def _whole_or_part(compute: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What was computed, and None; or as much as there was when an end was asked for, or a disk was full, and that cause.

    Raises the cause where there is nothing.
    """
    try:
        return compute(), None
    except Exception as error:
        found = vars(error).get("found")
        if found is None:
            raise
        return found, error


def _raised(early: Exception | None) -> None:
    """Raise why something ended early, if it did, once all is told and kept."""
    if early is not None:
        raise early


def _saved(save: Callable[[], Any], tell: Callable[[], Any]) -> None:
    """Save, and tell what was found, which is told even if the disk did not take it: its `OSError` comes after."""
    try:
        save()
    except OSError:
        tell()
        raise
    tell()


def _drawn(draw: Callable[[], Any], tell: Callable[[str], None]) -> bool:
    """Whether figures were drawn, after all else: that they cannot be costs the figures, and a line."""
    try:
        return bool(draw())
    except Exception as error:  # of matplotlib, of fonts, of the disk
        from lrtheory.files import reason

        tell(f"figures: not drawn ({reason(error)}); the results are complete without them")
        return False


def predict(config: "Config", console: "Console") -> "xr.Dataset | None":
    """The prediction for a run, or None where there can be none, which is said."""
    from lrtheory.cli.progress import RunDisplay
    from lrtheory.spec import ConfigError
    from lrtheory.theory import runs

    try:
        with RunDisplay(console, config) as show:
            show.tell("predicting the same at infinite width ...")
            return runs.predict(config, progress=show.progress)
    except ConfigError as error:
        console.print(f"no prediction: {error.in_shell}")
        return None


def add_examples(summary: dict[str, Any], config: "Config", found: "xr.Dataset", tell: Callable[[str], None]) -> None:
    """Put into the summary from how many examples P was learned, or say why there is no such number."""
    from lrtheory.spec import ConfigError
    from lrtheory.theory import examples

    tell("from how many examples P was learned ...")
    try:
        numbers = examples.learned(config, found)
    except ConfigError as error:
        tell(f"no such number: {error}")
        return
    for name, number in (numbers or {}).items():
        summary["algorithms"][name]["examples"] = number


def sweep(argv: list[str]) -> int:
    """`lrtheory sweep`: print the plan, compute what is missing, write tables and figures."""
    from lrtheory import devices, processes
    from lrtheory.cli import arguments, options, progress, report
    from lrtheory.sweeps import plan, results, trainings
    from lrtheory.sweeps.course import Watch, carry_out
    from lrtheory.vision import cifar

    devices.use_all_cores()
    asked, grid, out = arguments.sweep_arguments(argv)
    trained = isinstance(asked, options.TrainingsArguments)
    first = True
    if asked.distributed:
        processes.join_processes()
        first = processes.is_first()
    grid.check()
    devices.require_working()
    console = terminal.console(quiet=not first)
    console.print(report.sweep_opening(grid), soft_wrap=True)
    for caution in () if trained else report.cautions(grid):
        console.print(f"note: {caution}", soft_wrap=True)
    if asked.dry_run and trained:
        return 0
    if asked.dry_run:
        found = plan.make_plan(grid, runs=asked.chunk, tell=lambda text: console.print(text + " ..."))
        console.print(report.plan_table(found, grid.runs))
        return 0
    started = time.perf_counter()
    images = None
    if trained:
        where = asked.data_dir or (None if out is None else cifar.remembered(out))
        images = cifar.load(where, download=asked.download, tell=lambda text: console.print(f"CIFAR-10: {text}"))
        console.print(f"Images: {images.source}", soft_wrap=True)
    else:
        plan.require_room_for(grid)
    folder = out or _common_folder(f"{grid.config.name}-sweep")
    how = {"resume": asked.resume is not None, "extend": asked.extend is not None}
    stopping.stands(f"stopped early; what is finished is kept, go on with: lrtheory sweep --resume {folder}")
    with contextlib.ExitStack() as gentle, progress.SweepDisplay(console) as show:
        planned = _from_first(show.planned, gentle, "epochs" if trained else "chunks", console.print)
        watch = Watch(show.tell, planned, show.progress)
        if images is None:
            carry_out(grid, folder, chunk=asked.chunk, watch=watch, **how)
        else:
            trainings.carry_out(grid, folder, images, watch=watch, **how)
    if first:
        runs = results.load(folder)
        summary = results.summarise(folder, runs)
        _saved(lambda: results.save(folder, runs, summary), lambda: console.print(report.sweep_closing(summary, runs)))
        drawn = _drawn(lambda: import_module("lrtheory.sweeps.figures").save_all(runs, folder / "figures"), console.print)
        console.print(f"{time.perf_counter() - started:.0f} s. Written to {folder}: sweep.json, seals/, summary.json, "
                      "points.csv, results.zarr" + (", figures/" if drawn else ""), soft_wrap=True)
    return 0


def _common_folder(name: str) -> Path:
    """A new folder, the first process's for all. Raises `ConfigError` in every process where it cannot be made."""
    from lrtheory import processes
    from lrtheory.cli import arguments
    from lrtheory.spec import ConfigError

    path, complaint = "", None
    if processes.is_first():
        try:
            path = str(arguments.dated_folder(name))
        except ConfigError as error:
            complaint = error
    path = processes.first_says(path)
    if not path:
        raise complaint or ConfigError("the first process could not make a folder; its own message says why")
    return Path(path)


def verify(argv: list[str]) -> int:
    """`lrtheory verify`: judge the predictions, print the table, write the report; 1 if an expected claim fails."""
    from lrtheory import devices
    from lrtheory.cli import arguments, report
    from lrtheory.predictions import verify as judging
    from lrtheory.theory import runs
    from lrtheory.theory.theorem import precision

    devices.use_all_cores()
    asked, out = arguments.verify_arguments(argv)
    names = judging.chosen(asked.only, None if asked.list else asked.options)
    console = terminal.console(140)  # rows of a table, not of a page
    if asked.list:
        console.print(report.predictions(names))
        return 0
    with precision(asked.options):
        config = asked.options.check()
        devices.require_working()
        runs.require_room(config)
    folder = out or arguments.dated_folder(config.name)
    stopping.stands(f"stopped early; the claims that were judged are kept, go on with: lrtheory verify --resume {folder}")

    def tell(text: str) -> None:
        console.print(text if text.startswith("note") else f"checking {text} ...", soft_wrap=True)

    with contextlib.ExitStack() as gentle:  # from the second claim on there is a verdict to tell
        told = _from_first(tell, gentle, "runs", console.print, first=2)
        found, early = _whole_or_part(lambda: judging.verify(config, names, folder=folder, resume=asked.resume is not None,
                                                             tell=told))
        console.print(report.verify_closing(found))
    _raised(early)
    console.print(f"{found['seconds']:.0f} s. Written to {folder}: verify.json, report.md, figures/", soft_wrap=True)
    return 1 if judging.broken(found) else 0


def design(argv: list[str]) -> int:
    """`lrtheory design`: search, judge, print the table, write the folder."""
    from lrtheory import devices, files
    from lrtheory.cli import arguments, report
    from lrtheory.optimal import design as designing

    devices.use_all_cores()
    asked = arguments.design_arguments(argv)
    config = asked.options.check()
    devices.require_working()
    folder = asked.out or arguments.dated_folder(f"{config.name}-design")
    files.prepare_folder(folder, config)
    console = terminal.console(120)
    started = time.perf_counter()
    with stopping.gently("the runs that are being computed", console.print):
        found, early = _whole_or_part(lambda: designing.design(
            config, asked.family, time=asked.time, iterations=asked.iterations, peak=asked.peak, objective=asked.objective,
            competitors=asked.competitors, seeds=asked.judges, tell=lambda text: console.print(text, soft_wrap=True)))
        _saved(lambda: found.save(folder), lambda: console.print(report.design_closing(found)))
    stopping.stands(f"stopped early; what was found is in {folder}")
    _raised(early)
    drawn = _drawn(lambda: import_module("lrtheory.style").save_figures(
        {"design": lambda: import_module("lrtheory.optimal.figures").figure(found)}, folder / "figures"), console.print)
    console.print(f"{time.perf_counter() - started:.0f} s. Written to {folder}: config.json, design.json"
                  + (", figures/" if drawn else ""), soft_wrap=True)
    return 0


def theorem(argv: list[str]) -> int:
    """`lrtheory theorem`: follow the theorems over d, print the table, write numbers and a figure."""
    from lrtheory import devices, files
    from lrtheory.cli import arguments, report
    from lrtheory.predictions import series

    started = time.perf_counter()
    devices.use_all_cores()
    asked = arguments.theorem_arguments(argv)
    devices.require_working()
    console = terminal.console(140)
    settings = asked.settings()
    series.plan(asked.study, **settings)
    folder = asked.out or arguments.dated_folder(f"theorem-{asked.study}")
    files.own(folder, "study.json", json.dumps({"study": asked.study} | settings, indent=1) + "\n")
    with contextlib.ExitStack() as gentle:  # from the second row on there is one to keep
        tell = _from_first(lambda text: console.print(text + " ..."), gentle, "runs", console.print, first=2)
        (runs, summary), early = _whole_or_part(lambda: series.study(asked.study, tell=tell, **settings))
        _saved(lambda: files.write_results(folder, runs, summary), lambda: console.print(report.theorem_closing(summary)))
    stopping.stands(f"stopped early; the rows that were finished are in {folder}")
    _raised(early)
    drawn = _drawn(lambda: import_module("lrtheory.predictions.series_figures").save(runs, summary, folder / "figures"),
                   console.print)
    console.print(f"{time.perf_counter() - started:.0f} s. Written to {folder}: summary.json, results.zarr"
                  + (", figures/" if drawn else ""), soft_wrap=True)
    return 0


def cifar(argv: list[str]) -> int:
    """`lrtheory cifar`: train on patched CIFAR-10, print the table and the verdict, write the folder."""
    from lrtheory import devices, files
    from lrtheory.cli import arguments, progress, report
    from lrtheory.spec import ConfigError
    from lrtheory.vision import cifar, results, runs, simulate
    from lrtheory.vision.checkpoints import claim

    started = time.monotonic()
    devices.use_all_cores()
    asked, out = arguments.cifar_arguments(argv)
    config = asked.options.check()
    devices.require_working()
    runs.require_room(config)
    until = math.inf if asked.minutes is None else started + 60 * asked.minutes
    if asked.resume is None and out is not None:
        files.require_free(out)
    console, earlier = terminal.console(120), {}
    if asked.resume is not None and (asked.resume / files.STORE).is_dir():
        with contextlib.suppress(ConfigError):  # what is damaged is written anew
            earlier = files.read_dataset(asked.resume).attrs
    where = asked.data_dir or (None if asked.resume is None else cifar.remembered(asked.resume))
    images = cifar.load(where, download=asked.download, tell=lambda text: console.print(f"CIFAR-10: {text}"))
    folder = out or arguments.dated_folder(config.name)
    if asked.resume is None:
        files.prepare_folder(folder, config)

    def whole(found: "xr.Dataset") -> "xr.Dataset":
        """With the time that earlier sessions took; all of theirs where nothing was left to train."""
        if earlier and not found.attrs["devices_used"]:
            return found.assign_attrs(earlier)
        return found.assign_attrs(wall_seconds=round(found.attrs["wall_seconds"] + earlier.get("wall_seconds", 0.0), 3))

    def draw(found: "xr.Dataset") -> bool:
        return _drawn(lambda: import_module("lrtheory.vision.figures").save_all(found, config, images, folder / "figures"),
                      console.print)

    stopping.stands(f"stopped early; go on from the checkpoints with: lrtheory cifar --resume {folder}")
    with files.locked(folder):
        claim(folder / "checkpoints", config, images)
        cifar.remember(folder, images)
        console.print(report.cifar_opening(config, simulate.parameter_count(config), images.source), soft_wrap=True)
        with contextlib.ExitStack() as gentle, progress.CifarDisplay(console) as show:
            told = _from_first(show.progress, gentle, "epochs", console.print)
            found, early = _whole_or_part(lambda: runs.run(
                config, images, checkpoints=folder / "checkpoints", progress=told,
                keep=lambda so_far: results.save(whole(so_far), folder), until=until))
        found = whole(found)
        summary = results.summarise(found)
        _saved(lambda: files.write_results(folder, found, summary), lambda: console.print(report.cifar_closing(summary)))
        drawn = draw(found)
        _raised(early)
    facts = summary["environment"]
    console.print(f"{facts['wall_seconds']:.0f} s on {facts['devices_used']} x {facts['device']}. Written to {folder}: "
                  "config.json, summary.json, results.zarr, checkpoints/" + (", figures/" if drawn else ""), soft_wrap=True)
    return 0


def plot(argv: list[str]) -> int:
    """`lrtheory plot`: figures of a folder's results."""
    from lrtheory.cli import arguments
    from lrtheory.cli import plot as plotting
    from lrtheory.style import Undrawn

    try:
        for path in plotting.draw(arguments.plot_arguments(argv)):
            print(path)
    except Undrawn as error:
        print(f"lrtheory plot: {error}; make room or choose another folder", file=sys.stderr)
        return 1
    return 0


def export(argv: list[str]) -> int:
    """`lrtheory export`: a tidy table of a folder's results."""
    from lrtheory.cli import arguments, options
    from lrtheory.sweeps import results, tables

    asked = arguments.parse(options.ExportArguments, "export", argv)
    rows = tables.export(results.load(asked.folder), asked.to, asked.over_time)
    print(f"{asked.to}: {rows:,} rows")
    return 0


def completion(argv: list[str]) -> int:
    """`lrtheory completion`: a shell's script for tab completion of commands, options and what they take."""
    from lrtheory.cli import arguments, options

    shell = arguments.parse(options.CompletionArguments, "completion", argv).shell
    from lrtheory.cli import completion as completing

    print(completing.script(shell), end="")
    return 0


def version(argv: list[str]) -> int:
    """`lrtheory --version`: versions, revision, devices, precision."""
    import jax

    from lrtheory import devices, provenance

    del argv
    devices.use_all_cores()
    devices.require_working()
    facts = provenance.environment()
    revision = "" if facts["git_revision"] == "none" else f" ({facts['git_revision']})"
    packages = ", ".join(f"{name} {facts[name]}" for name in ("jax", "jaxlib", "flax", "optax", "numpy", "python"))
    print(f"lrtheory {facts['lrtheory']}{revision}\n{packages}\n"
          f"devices: {jax.local_device_count()} x {facts['device']}\nprecision: {facts['precision']}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": run, "sweep": sweep, "verify": verify, "theorem": theorem, "design": design, "cifar": cifar, "plot": plot,
    "export": export, "completion": completion, "--version": version}
"""By name; each takes its words and returns the exit code."""
