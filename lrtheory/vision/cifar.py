"""CIFAR-10 as arrays: found on disk in either standard layout, read without running what is in a file, or downloaded.

Lives here: where images are looked for, how their files are read and checked. Lives elsewhere: receiving a file (download),
what is done to an image (patches).

Files are only ever read by name: nothing of an archive is extracted, and a pickle may build lists, dictionaries, numbers,
strings and uint8 arrays, nothing else. Only regular files are read, and no more of them than CIFAR-10 has, whatever sizes
they say they have.
"""

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import platformdirs

from lrtheory.fields import parse, read_text
from lrtheory.files import write_json
from lrtheory.spec import ConfigError, require
from lrtheory.vision.download import fetch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Names of the ten classes, in the order of their numbers."""
VARIABLE = "LRTHEORY_CIFAR10"
"""Environment variable that names the folder or archive."""
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
"""Where `load` downloads from."""
MD5 = "c58f30108f718f92721af3b95e74349a"
"""Of the archive at `URL`, as published there."""
ARCHIVE = "cifar-10-python.tar.gz"
"""What it is called in the cache."""
STEMS = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
"""The six files of the Python layout; those of the binary one end in .bin."""
PUBLISHED = dict(zip(STEMS, ("c99cafc152244af753f735de768cd75f", "d4bba439e000b95fd0a9bffe97cbabec",
                             "54ebc095f3ab1f0389bbae665268c751", "634d18415352ddfa80567beed471001a",
                             "482c414d41f54cd18b22e5b47cb7c3cb", "40351d587109b95175f43aff81a1287e"), strict=True))
"""MD5 of each file of the Python layout, as PyTorch's torchvision has them; none are published for the binary one."""
REMEMBERED = "images.json"
"""In the folder of trainings: where their images are."""
PER_BATCH = 10_000
"""Images in each of the six files."""
PIXELS = 3 * 32 * 32
"""Bytes of an image."""
_TOO_LARGE = 2 * PER_BATCH * (PIXELS + 1)  # bytes; the largest real file is half of it
_MOST = 7 * _TOO_LARGE  # bytes of an archive, unpacked or not; the real ones have half of it
_MEMBERS, _NAME = 1000, 2**16  # members of an archive, and bytes of a header that tells a long name; real ones: 9, and none


class Images(NamedTuple):
    """Images (N, 32, 32, 3) uint8, channels last, and classes (N,) uint8, of the training and of the test set."""

    train: np.ndarray
    train_classes: np.ndarray
    test: np.ndarray
    test_classes: np.ndarray
    source: str  # where they come from, and whether that is what was published
    path: str = ""  # the folder or archive; empty: none


def load(data_dir: Path | str | None = None, *, download: bool = False,
         tell: Callable[[str], None] = lambda text: None) -> Images:
    """Real CIFAR-10.

    Looked for in `data_dir`, else where the environment variable LRTHEORY_CIFAR10 says, else in the user's cache folder.
    Each may be a folder with the six files of one of the two layouts, an archive of such a folder (.tar.gz or .tar), or a
    folder that holds one of these, whatever their names.

    Each file of the Python layout is compared with its published checksum (`PUBLISHED`); `Images.source` says which differ.

    Args:
      data_dir: folder or archive; None: the variable, then the cache.
      download: fetch the archive (170 MB, checksum verified) into the cache if nothing is there.
      tell: told of the course of a download.

    Raises:
      ConfigError: nothing found, or a file that is truncated, of the wrong size, mislabelled or not what it says.
    """
    named = data_dir or os.environ.get(VARIABLE) or None
    where = Path(named or cache())
    with contextlib.suppress(RuntimeError):  # nobody's home
        where = where.expanduser()
    found = _find(where)
    if found is None and named is None and download:
        where.mkdir(parents=True, exist_ok=True)
        found = where / ARCHIVE
        fetch(URL, found, MD5, tell, most=_MOST)
    if found is None:
        said = f"--data-dir {data_dir}" if data_dir else f"{VARIABLE}={named}" if named else str(where)
        raise ConfigError(f"{said}: holds no CIFAR-10; must be a folder with data_batch_1 to 5 and test_batch (or all six "
                          f"as .bin), its .tar.gz or .tar, or a folder with one of these; get {URL} and give it with "
                          "--data-dir, or " + ("name no place and " if named else "") + "say --download")
    members = _members(found)
    images = _images(members, str(found), PER_BATCH)
    return images._replace(source=str(found) + _unpublished(members), path=str(found.absolute()))


def _unpublished(members: Mapping[str, bytes]) -> str:
    """What to say of files that differ from the published ones; of those that have no published checksum nothing."""
    found = {name: hashlib.md5(contents, usedforsecurity=False).hexdigest() for name, contents in members.items()}
    differ = [name for name, checksum in found.items() if PUBLISHED.get(name, checksum) != checksum]
    return f"; not the published images: {', '.join(differ)} differ{'s' * (len(differ) == 1)} by checksum" if differ else ""


def remember(folder: Path, images: Images) -> None:
    """Write down in the folder of trainings where their images are, so that resuming need not be told."""
    if images.path:
        write_json(folder / REMEMBERED, {"path": images.path})


def remembered(folder: Path) -> Path | None:
    """Where the images of a folder's trainings were, if they are there yet."""
    try:
        found = parse(read_text(folder / REMEMBERED), REMEMBERED)
        path = Path(found["path"])
        return path if path.exists() else None
    except (OSError, ValueError, TypeError, LookupError):  # nothing depends on it
        return None


def must_be_usable(images: Images) -> None:
    """Raise `ConfigError` unless images are what `load` returns: of CIFAR-10's size and type, and each of a class.

    How many there are, and how many of each class, is open: a part of CIFAR-10 will do, and labels changed on purpose.
    """
    require(isinstance(images, Images), "images", f"a {type(images).__name__}", "lrtheory.vision.cifar.Images",
            "cifar.load gives them")
    for name, pixels, classes in (("images.train", images.train, images.train_classes),
                                  ("images.test", images.test, images.test_classes)):
        kind, shape = _kind_and_shape(pixels)
        require(kind == "uint8" and len(shape) == 4 and shape[1:] == (32, 32, 3), name, _told(pixels),
                "uint8 of shape (N, 32, 32, 3), channels last", "give pixel values from 0 to 255")
        kind, labels = _kind_and_shape(classes)
        require("int" in kind and labels == shape[:1], f"{name}_classes", _told(classes), f"{shape[0]:,} whole numbers",
                "give one for each image")
        if (bad := _first_without_class(classes)) is not None:
            raise ConfigError(f"{name}_classes: image {bad} has class {classes[bad]}; must be 0 to {len(CLASSES) - 1}; "
                              "number the classes from 0")


def _kind_and_shape(values: Any) -> tuple[str, tuple[int, ...]]:
    """Type of an array's entries, and its shape; of what is no array nothing."""
    return str(getattr(values, "dtype", "")), getattr(values, "shape", ())


def _told(values: Any) -> str:
    """What a value is, for messages."""
    kind, shape = _kind_and_shape(values)
    return f"{kind} of shape {shape}" if kind else f"a {type(values).__name__}"


def _first_without_class(classes: np.ndarray) -> int | None:
    """Index of the first class that is none of CIFAR-10's."""
    bad = np.flatnonzero((np.asarray(classes) < 0) | (np.asarray(classes) >= len(CLASSES)))
    return int(bad[0]) if bad.size else None


def fingerprint(images: Images) -> str:
    """A digest of images and classes, wherever they come from."""
    whole = hashlib.sha256()
    for each in images[:4]:
        whole.update(f"{each.shape}{each.dtype}".encode())
        whole.update(np.ascontiguousarray(each).data)
    return whole.hexdigest()


def cache() -> Path:
    """The user's cache folder of this package."""
    return Path(platformdirs.user_cache_dir("lrtheory"))


def synthetic(n_train: int = 512, n_test: int = 256, seed: int = 0) -> Images:
    """A stand-in for tests: noise around one random smooth image a class. It is nothing like CIFAR-10.

    Args:
      n_train: training images.
      n_test: test images.
      seed: of everything.
    """
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 40, (len(CLASSES), 8, 8, 3)).repeat(4, 1).repeat(4, 2)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        classes = rng.permutation(np.arange(n) % len(CLASSES)).astype(np.uint8)
        images = 120 + means[classes] + rng.normal(0, 40, (n, 32, 32, 3))
        return np.clip(images, 0, 255).astype(np.uint8), classes

    return Images(*draw(n_train), *draw(n_test), source="synthetic")


def _find(where: Path) -> Path | None:
    """The folder with the six files, or the archive, at a path or directly below it, by what is in it; None: neither."""
    if where.is_file():
        return where
    with contextlib.suppress(OSError):
        if _has_batches(where):
            return where
        below = sorted(where.iterdir()) if where.is_dir() else []
        archives = [p for p in below if p.name.endswith((".tar.gz", ".tgz", ".tar")) and p.is_file()]
        return next((p for p in below if _has_batches(p)), None) or next(
            (p for p in archives if "cifar-10" in p.name), archives[0] if len(archives) == 1 else None)
    return None


def _has_batches(where: Path) -> bool:
    """Whether a folder has one of the six files, by name: which are missing is said when they are read."""
    return where.is_dir() and any((where / f"{stem}{end}").exists() for stem in STEMS for end in ("", ".bin"))


def _members(found: Path) -> dict[str, bytes]:
    """The batch files by name, from a folder or an archive."""
    wanted = {f"{stem}{end}" for stem in STEMS for end in ("", ".bin")}
    members: dict[str, bytes] = {}

    def take(name: str, stream: IO[bytes]) -> None:
        members[name] = stream.read(_TOO_LARGE + 1)
        if len(members[name]) > _TOO_LARGE:
            raise ConfigError(f"{found}: {name} has more than {_TOO_LARGE:,} bytes; must have at most so many; this is no "
                              "CIFAR-10")

    try:
        if found.is_dir():
            for name in wanted:
                file = found / name
                if file.exists() and not file.is_file():  # a device has no end, and a pipe may never begin
                    raise ConfigError(f"{file}: is no regular file; must be one; get it again")
                if file.exists():
                    with file.open("rb") as stream:
                        take(name, stream)
        else:
            with _unpacked(found) as unpacked, tarfile.open(  # pyright: ignore[reportCallIssue]
                    None, "r|", _Bounded(unpacked), tarinfo=_Modest) as archive:  # pyright: ignore[reportArgumentType]
                for count, member in enumerate(archive):
                    name = Path(member.name).name
                    if count >= _MEMBERS:
                        raise ConfigError(f"{found}: has more than {_MEMBERS:,} members; must be an archive of CIFAR-10; "
                                          "get it again")
                    if member.isreg() and name in wanted:
                        stream = archive.extractfile(member)
                        assert stream is not None, "a regular member has contents"
                        take(name, stream)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{found}: cannot be read as a .tar.gz or .tar ({error}); it may be truncated; get it "
                          "again") from None
    except OSError as error:
        raise ConfigError(f"{found}: cannot be read ({error.strerror or error}); correct the path or its rights") from None
    for kind in (STEMS, [f"{stem}.bin" for stem in STEMS]):
        if all(name in members for name in kind):
            return {name: members[name] for name in kind}
    missing = [name for name in STEMS if name not in members and f"{name}.bin" not in members] or STEMS
    raise ConfigError(f"{found}: {missing[0]} is missing; must hold data_batch_1 to 5 and test_batch, all as Python or all "
                      "as binary files; get the archive again")


def _unpacked(archive: Path) -> IO[bytes]:
    """An archive's contents, zipped or not."""
    with archive.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(archive) if zipped else archive.open("rb")  # type: ignore[return-value]


class _Bounded:
    """What an archive unpacks to, up to where no CIFAR-10 ends."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.left = stream, _MOST

    def read(self, size: int) -> bytes:
        """The next bytes."""
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError(f"more than {_MOST:,} bytes in it")
        return self.stream.read(size)


class _Modest(tarfile.TarInfo):
    """A member whose header is one that CIFAR-10 could have."""

    @classmethod
    def frombuf(cls, *arguments: Any) -> "tarfile.TarInfo":
        """The member that a header describes."""
        member = super().frombuf(*arguments)
        if member.size < 0 or (member.size > _NAME and member.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)):
            raise tarfile.ReadError(f"a header says {member.size:,} bytes")
        return member


def _images(members: Mapping[str, bytes], source: str, per_batch: int) -> Images:
    """Check and join the six batches."""
    parts = []
    for name, contents in members.items():
        read = _binary if name.endswith(".bin") else _python
        parts.append(read(contents, f"{source}: {name}", per_batch))
    pixels, classes = (np.concatenate(p) for p in zip(*parts, strict=True))
    images = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    split = 5 * per_batch
    for name, each in (("training", classes[:split]), ("test", classes[split:])):
        counts = np.bincount(each, minlength=len(CLASSES))
        if np.any(counts != len(each) // len(CLASSES)):
            worst = int(np.argmax(np.abs(counts - len(each) // len(CLASSES))))
            raise ConfigError(f"{source}: {counts[worst]:,} {name} images of class {worst} ({CLASSES[worst]}); must be "
                              f"{len(each) // len(CLASSES):,} of each; the batches are mixed up or mislabelled, get them "
                              "again")
    found = Images(images[:split], classes[:split], images[split:], classes[split:], source)
    must_be_usable(found)
    return found


def _binary(contents: bytes, name: str, per_batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) and classes (N,) of records of one class byte and 3072 pixels."""
    size = per_batch * (PIXELS + 1)
    if len(contents) != size:
        raise ConfigError(f"{name} has {len(contents):,} bytes; must have {size:,}; it is truncated or another "
                          "file, get it again")
    records = np.frombuffer(contents, np.uint8).reshape(per_batch, PIXELS + 1)
    return records[:, 1:], _classes(records[:, 0], name)


def _python(contents: bytes, name: str, per_batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) and classes (N,) of a pickled dictionary of data and labels."""
    try:
        tree = _Harmless(io.BytesIO(contents), encoding="bytes").load()
    except _Refused as error:
        raise ConfigError(f"{name} asks for {error}, which no CIFAR-10 file does; it is refused, nothing of it was run; get "
                          "it again") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise ConfigError(f"{name} cannot be read as a pickle ({type(error).__name__}: {error}); it is truncated or another "
                          "file, get it again") from None
    tree = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in tree.items()} if isinstance(tree, dict) else {}
    data, classes, title = tree.get("data"), tree.get("labels"), tree.get("batch_label")
    pixels = data.values if isinstance(data, _Array) else None
    if pixels is None or pixels.shape != (per_batch, PIXELS):
        shown = type(data).__name__ if pixels is None else f"of shape {pixels.shape}"
        raise ConfigError(f"{name}: data is {shown}; must be uint8 of shape ({per_batch}, {PIXELS}); get it again")
    if not isinstance(classes, list) or len(classes) != per_batch or not all(type(c) is int for c in classes):
        raise ConfigError(f"{name}: labels must be a list of {per_batch} whole numbers; get it again")
    own = re.split(r"[/\\ ]", name)[-1]  # whatever the folders are called
    number = own.rpartition("data_batch_")[2]
    of = f"training batch {number} of 5" if "data_batch_" in own else "testing batch 1 of 1"
    if isinstance(title, bytes) and title.decode("latin-1") != of:
        raise ConfigError(f"{name} calls itself {title.decode('latin-1')!r}; must be {of!r}; the files are mixed up, get "
                          "them again")
    return pixels, _classes(np.asarray(classes), name)


def _classes(classes: np.ndarray, name: str) -> np.ndarray:
    """Classes as uint8, all in 0 to 9."""
    if (bad := _first_without_class(classes)) is not None:
        raise ConfigError(f"{name}: image {bad} has class {classes[bad]}; must be 0 to 9; the file is damaged, get it again")
    return classes.astype(np.uint8)


class _Refused(Exception):
    """A pickle that asks for something else than an array."""


class _Array:
    """An array as a pickle describes it; numpy's own code sees only the bytes of a uint8 array."""

    values: np.ndarray | None = None

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, contents = state
        if not isinstance(kind, _Uint8) or fortran or not isinstance(contents, bytes):
            raise _Refused("an array that is not uint8 in C order")
        self.values = np.frombuffer(contents, np.uint8).reshape(shape)


class _Uint8:
    """The only element type there is in these files."""

    def __init__(self, code: Any, *rest: Any) -> None:
        if code not in (b"u1", "u1"):
            raise _Refused(f"arrays of type {code!r}")

    def __setstate__(self, state: Any) -> None:
        pass


class _Harmless(pickle.Unpickler):
    """Reads lists, dictionaries, numbers, strings and uint8 arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core.", "numpy.core.")  # as numpy 2 writes it
        allowed = {"numpy.core.multiarray._reconstruct": _Array, "numpy.ndarray": _Array, "numpy.dtype": _Uint8}
        if f"{module}.{name}" not in allowed:
            raise _Refused(f"{module}.{name}")
        return allowed[f"{module}.{name}"]
