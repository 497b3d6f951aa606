"""Files and folders: written whole or not at all, owned by one process, never overwritten, true to what was written.

Lives here: the folder of a run, its lock, small files, digests, a labelled dataset on disk. Lives elsewhere: what is written
(theory.results, vision.results), the chunks of a sweep (sweeps.store).
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import xarray as xr
import zarr
from zarr.storage import LocalStore

from lrtheory.devices import free_memory
from lrtheory.fields import from_json, parse, plain, read_text, to_json
from lrtheory.spec import ConfigError, one_line, require

STORE, SUMMARY, LOCK = "results.zarr", "summary.json", ".lock"
"""Names in the folder of a run, a sweep or a training."""
ROOT, CHECKSUMS, ORDER, LABELS = "zarr.json", "checksums", "order", "labels"
"""The file that makes a folder a dataset; its attributes with the digests of all other files, and its own, with the order of
its variables, and with its coordinates."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags by which a file is not opened where a link, or a pipe that nobody reads, has its name."""
OF_ZARR = re.compile(r"(?:[^/]+/)?(?:zarr\.json|c(?:/\d+)*|(?:c/)?(?:\d+/)*(?:zarr|c|\d+)\.[0-9a-f]{32}\.partial)")
"""Names of the files that zarr writes for a group of arrays, and while it writes them."""
LONGEST = 200
"""Bytes of a name that a file has; file systems take 255, and ours come with an ending."""


class Damaged(ValueError):
    """What is on disk is not what was written: how it differs, in words."""


def write_whole(path: Path, contents: str | bytes) -> None:
    """Write a small file so that it is there as a whole or as it was before, through no link.

    Raises `OSError` if it cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb", opener=lambda p, flags: os.open(p, flags | NO_LINK, 0o666)) as file:
        file.write(contents.encode() if isinstance(contents, str) else contents)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, tree: Any) -> None:
    """Write a tree as strict JSON, as `write_whole` does: `fields.plain`, null for what is no number."""
    write_whole(path, json.dumps(plain(tree, nan=None), indent=2, allow_nan=False) + "\n")


def digest(tree: Any) -> str:
    """SHA-256 of a tree that JSON can say."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """{name: SHA-256} of files below a folder. Raises `OSError`."""
    def one(name: str) -> str:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    names = list(names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def sealed(tree: dict[str, Any]) -> str:
    """A tree with its digest, as text."""
    return json.dumps({"digest": digest(tree)} | tree, indent=1) + "\n"


def write_sealed(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree with its digest, as `write_whole` does."""
    write_whole(path, sealed(tree))


def read_sealed(path: Path) -> dict[str, Any]:
    """A tree that `write_sealed` wrote. Raises `OSError` if it cannot be read now, `Damaged` if it was changed."""
    try:
        tree = parse(read_text(path), path.name)
    except ConfigError as error:
        raise Damaged(str(error)) from None
    except OSError as error:
        if error.errno is None:  # it can be, and is no text
            raise Damaged(f"{path.name} is {error.strerror}") from None
        raise
    if not isinstance(tree, dict) or tree.pop("digest", None) != digest(tree):
        raise Damaged(f"{path.name} was changed after it was written")
    return tree


def write_results(folder: Path, results: xr.Dataset, summary: dict[str, Any],
                  **further: xr.Dataset | None) -> dict[str, Any]:
    """Write results.zarr, NAME.zarr for each further dataset there is, and summary.json into a folder; the summary again."""
    for name, dataset in ({Path(STORE).stem: results} | further).items():
        if dataset is not None:
            write_store(folder / f"{name}.zarr", dataset)
    write_json(folder / SUMMARY, summary)
    return summary


def write_store(path: Path, dataset: xr.Dataset) -> None:
    """Write a dataset so that `read_dataset` finds it as a whole or as it was before, whatever ends this process."""
    for name in dataset.variables:
        require_name("the name of a variable", name)
    partial, whole = (path.with_name(f"{path.name}.{state}") for state in ("partial", "whole"))
    if whole.is_dir():  # an earlier process ended here
        _replace(path, whole)
    _make_way(partial, [name for name in _files(partial, hidden=True) if OF_ZARR.fullmatch(name)])
    names = {ORDER: list(map(str, dataset.data_vars)), LABELS: list(map(str, dataset.coords))}
    dataset.assign_attrs(names).to_zarr(LocalStore(partial), mode="w", consolidated=False)
    root = json.loads((partial / ROOT).read_text())
    root["attributes"][CHECKSUMS] = {"files": digests(partial, _files(partial))}
    root["attributes"][CHECKSUMS]["digest"] = digest(root)
    write_json(partial / ROOT, root)
    partial.rename(whole)  # from here on it is what is read
    _replace(path, whole)


def _replace(path: Path, whole: Path) -> None:
    """Put a dataset in another's place."""
    names = []
    with suppress(OSError, ValueError, LookupError, TypeError):  # without a record nothing is known to be ours
        names = [*parse(read_text(path / ROOT), ROOT)["attributes"][CHECKSUMS]["files"], ROOT]
    _make_way(path, names)
    whole.rename(path)


def _make_way(path: Path, names: Iterable[str]) -> None:
    """Free a name: of what lies there the files are removed that were written here, the rest is kept under another name."""
    remove_written(path, names)
    if os.path.lexists(path):
        path.rename(next(other for k in itertools.count(1)
                         if not os.path.lexists(other := path.with_name(f"{path.name}.kept-{k}"))))


def remove_written(folder: Path, names: Iterable[str] | None = None) -> None:
    """Remove the files below a folder that a record of one's own names (None: all), then the folders in it that are empty.

    What lies beside them stays, and so do links and all that is behind them: a folder that is a link is left as it is.
    """
    known = None if names is None else set(names)
    if folder.is_symlink() or not folder.is_dir():
        return
    for where, _, files in os.walk(folder, topdown=False):
        for path in (Path(where, name) for name in files):
            if not path.is_symlink() and (known is None or path.relative_to(folder).as_posix() in known):
                path.unlink()
        with suppress(OSError):  # something is in it
            os.rmdir(where)


def read_dataset(folder: str | Path, name: str = STORE) -> xr.Dataset:
    """A dataset that `write_results` wrote, in memory. Raises `ConfigError` if there is none, or not as it was written."""
    store, whole = Path(folder) / name, Path(folder) / f"{name}.whole"
    store = whole if whole.is_dir() else store
    if not store.is_dir():
        raise ConfigError(f"{folder}: no {name} in it; {_origin(Path(folder))[0]}")
    try:
        must_be_whole(store)
        must_fit(store)
        found = xr.open_zarr(LocalStore(store, read_only=True), consolidated=False, zarr_format=3).load()
        if lost := [n for key in (ORDER, LABELS) for n in found.attrs.get(key, ()) if n not in found.variables]:
            raise Damaged(f"{lost[0]} was stored and is not there")
    except Exception as error:  # damage, and what others put there, may raise anything
        raise ConfigError(f"{store}: damaged ({reason(error)}); must be as it was written; write it anew: "
                          f"{_origin(Path(folder))[1]}") from None
    for key in (CHECKSUMS, LABELS):
        found.attrs.pop(key, None)
    order = [name for name in found.attrs.pop(ORDER, ()) if name in found.data_vars]
    return found[[*order, *(name for name in found.data_vars if name not in order)]]  # zarr has them in any


def _origin(folder: Path) -> tuple[str, str]:
    """Why a folder has no results, and what would write them anew, by the files that only one command writes."""
    there = {name for name in ("verify.json", "design.json", "question.json", "checkpoints", "config.json", SUMMARY)
             if (folder / name).exists()}
    ended, give = "what was to write it did not end; again: ", "give a folder that `lrtheory run`, `sweep` or `cifar` wrote"
    if "verify.json" in there:
        again = "lrtheory verify, into another folder"
        return f"it holds verdicts of `lrtheory verify`, whose figures are in {folder}/figures; {give}", again
    if "design.json" in there:
        again = f"lrtheory design --config {folder}/config.json, into another folder"
        return f"it holds a schedule of `lrtheory design`; {give}", again
    if "question.json" in there:
        again = "lrtheory.train with the same arguments and this folder"
        return ended + again, f"remove {STORE}, then {again}; finished seeds are kept"
    if "checkpoints" in there:
        again = f"lrtheory cifar --resume {folder}"
    elif "config.json" in there:
        again = f"lrtheory run --config {folder}/config.json, into another folder"
    else:
        return give, "lrtheory theorem, into another folder" if SUMMARY in there else "the command that wrote it"
    return ended + again, again


def must_be_whole(store: Path) -> None:
    """Raise `Damaged` unless a dataset's files are those that were written, `OSError` if they cannot be read.

    What earlier versions wrote has no checksums: it must have been written to its end, which a summary beside it shows.
    """
    root = parse(read_text(store / ROOT), ROOT)
    seal = root["attributes"].get(CHECKSUMS)
    if seal is None:
        if not (store.parent / SUMMARY).is_file():
            raise Damaged(f"{SUMMARY} is missing, it was not written to its end")
        return
    if seal.pop("digest") != digest(root):
        raise Damaged(f"{ROOT} was changed after it was written")
    must_be_same(store, seal["files"])
    if stray := sorted(set(_files(store)) - set(seal["files"])):
        raise Damaged(f"{stray[0]} was not written with it")


def must_be_same(folder: Path, listed: dict[str, str]) -> None:
    """Raise `Damaged` unless files below a folder have the digests listed."""
    if lost := [name for name in listed if not (folder / name).is_file()]:
        raise Damaged(f"{len(lost)} files are missing, {lost[0]} first")
    found = digests(folder, listed)
    if changed := [name for name in listed if found[name] != listed[name]]:
        raise Damaged(f"{len(changed)} files were changed, {changed[0]} first")


def must_fit(store: Path, read: Callable[[zarr.Array], bool] = lambda array: True) -> None:
    """Raise `Damaged` if the arrays that will be read would not fit into the memory; nothing of them is read yet."""
    group = zarr.open_group(LocalStore(store, read_only=True), mode="r", zarr_format=3)
    needed, free = sum(array.nbytes for _, array in group.arrays() if read(array)), free_memory()
    if needed > free:
        raise Damaged(f"its arrays would take {needed / 2**30:.3g} GiB of the {free / 2**30:.3g} that are free")


def reason(error: BaseException) -> str:
    """Why something could not be read, in a few words."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(said.strip().partition("\n")[0], 200) or type(error).__name__


def _files(folder: Path, hidden: bool = False) -> list[str]:
    """Names of the files below a dataset's folder, sorted; unless asked for, without hidden ones and the one at its root."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")
                  if p.is_file() and (hidden or (p != folder / ROOT and not p.name.startswith("."))))


def require_free(folder: Path, remedy: str = "choose another or remove it", begun: Mapping[str, str] | None = None) -> None:
    """Raise `ConfigError` if writing into the folder would touch what is there.

    A lock alone is nothing, and so is what a process that was killed at once has left of `begun`, the files that are written
    first: {name: contents}, with no contents for a folder.
    """
    try:
        taken = os.path.lexists(folder) and (not folder.is_dir() or any(
            not _is_nothing(path, begun or {}) for path in folder.iterdir()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {folder}: cannot be read ({reason(error)}); choose another folder") from None
    if taken:
        raise ConfigError(f"--out {folder}: exists and is not empty; must be a new or empty folder; {remedy}")


def _is_nothing(path: Path, begun: Mapping[str, str]) -> bool:
    """Whether a path is a lock, or the first part of what is begun."""
    if path.name == LOCK:
        return True
    contents = begun.get(path.name.removesuffix(".partial"))
    if contents is None or path.is_symlink():
        return False
    if path.is_dir():
        return not contents and not any(path.iterdir())
    whole = contents.encode()
    return path.is_file() and path.stat().st_size <= len(whole) and whole.startswith(path.read_bytes())


def prepare_folder(folder: Path, config: Any) -> None:
    """Create the folder of a run with its resolved config.json, before anything is computed.

    Raises `ConfigError` if it exists and is not empty, or cannot be written; nothing is overwritten.
    """
    text = to_json(config)
    assert from_json(text, type(config)) == config, "a config that cannot be read back would lose the run"
    own(folder, "config.json", text)


def own(folder: Path, name: str, text: str) -> None:
    """Create a folder with its first file, by which it is this process's; raises as `prepare_folder` does."""
    require_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("x") as file:  # of two processes at once, one has the folder
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"--out {folder}: another process has it; must be a new or empty folder; choose another") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {folder}: cannot be written ({reason(error)}); choose another folder") from None


def new_folder(wanted: Path) -> Path:
    """Make a folder that was not there, of the name wanted or, where that is taken, with a number. Raises `ConfigError`."""
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for k in itertools.count(1):
            folder = wanted if k == 1 else wanted.with_name(f"{wanted.name}-{k}")
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise ConfigError(f"{wanted}: cannot be made ({error.strerror}); give a folder by --out") from None
    raise AssertionError("numbers do not end")


def plain_name(name: str) -> str:
    """A name as part of a path: letters, digits and + - _ . alone, never a folder above.

    >>> plain_name("../../x"), plain_name("S+noise v1.2")
    ('x', 'S+noise-v1.2')
    """
    return re.sub(r"[^\w+.-]+", "-", name).strip(".-")[:80] or "unnamed"


def require_name(option: str, name: Any) -> None:
    """Raise `ConfigError` unless a name can be that of a file, and so of an array in a store, as it is."""
    holds = isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= LONGEST
    holds = holds and not set(name) & {"/", "\\"} and name != ROOT and set(name) != {"."}
    require(holds, option, repr(name), f"1 to {LONGEST} bytes of printable text without / and \\, not {ROOT} or dots alone",
            "choose another name")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone; the lock goes with the process, however it ends.

    Raises `ConfigError` if another process has it.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise ConfigError(f"{folder}: another process is working on it; must be one at a time; wait for that one or "
                          "end it") from None
    except (OSError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{folder}: cannot be written, or its disk has no locks ({reason(error)}); choose another "
                          "folder") from None
    try:
        yield
    finally:
        lock.release()
