"""CIFAR-10's files: both layouts are read alike, nothing in a file is run, and every damage gets one clear line."""

import gzip
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lrtheory.spec import ConfigError
from lrtheory.vision import cifar

N = 20  # images a batch here; 10,000 in the real files
NAMES = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
TITLES = [f"training batch {k} of 5" for k in range(1, 6)] + ["testing batch 1 of 1"]


def trees():
    """Six dictionaries as the Python layout has them."""
    rng = np.random.default_rng(0)
    return {name: {"batch_label": title.encode(), "labels": rng.permutation(np.arange(N) % 10).tolist(),
                   "data": rng.integers(0, 256, (N, 3072), dtype=np.uint8), "filenames": [b"a.png"] * N}
            for name, title in zip(NAMES, TITLES, strict=True)}


def python(tree):
    return pickle.dumps(tree, protocol=4)


def binary(tree):
    return np.concatenate([np.array(tree["labels"], np.uint8)[:, None], tree["data"]], 1).tobytes()


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Batches of N images, and neither a cache nor a variable of this machine."""
    monkeypatch.setattr(cifar, "PER_BATCH", N)
    monkeypatch.delenv(cifar.VARIABLE, raising=False)
    monkeypatch.setattr(cifar, "cache", lambda: tmp_path / "cache")


def write(folder, layout, files):
    (folder / layout).mkdir(parents=True)
    for name, contents in files.items():
        (folder / layout / name).write_bytes(contents)
    return folder


def packed(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))
    return path


def test_both_layouts_and_both_archives_say_the_same(tmp_path, monkeypatch):
    files = {"cifar-10-batches-py": {n: python(t) for n, t in trees().items()},
             "cifar-10-batches-bin": {f"{n}.bin": binary(t) for n, t in trees().items()}}
    expected = np.stack([t["data"] for t in trees().values()]).reshape(-1, 3, 32, 32)
    for k, (layout, contents) in enumerate(files.items()):
        folder = write(tmp_path / str(k), layout, contents)
        archive = packed(tmp_path / f"{k}.tar.gz", {f"{layout}/{n}": c for n, c in contents.items()})
        for where in (folder, folder / layout, archive):
            found = cifar.load(where)
            assert found.train.shape == (5 * N, 32, 32, 3)
            assert found.test.dtype == found.train_classes.dtype == np.uint8
            joined = np.concatenate([found.train, found.test])
            np.testing.assert_array_equal(joined[:, 3, 4, 2], expected[:, 2, 3, 4])  # red, green, blue; rows; columns
            np.testing.assert_array_equal(found.train_classes[:N], trees()["data_batch_1"]["labels"])
    monkeypatch.setenv(cifar.VARIABLE, str(tmp_path / "0"))
    assert cifar.load().path.endswith("cifar-10-batches-py")
    (tmp_path / "1").rename(tmp_path / "cache")
    monkeypatch.delenv(cifar.VARIABLE)
    assert cifar.load().source.endswith("cifar-10-batches-bin")  # which has no published checksums


def test_folders_and_archives_are_known_by_what_is_in_them(tmp_path, monkeypatch):
    """Renamed, linked, where one stands, at home, in an archive that is not zipped, with whatever beside them."""
    files = {n: python(t) for n, t in trees().items()}
    mine = write(tmp_path / "home", "my images", files) / "my images"
    (tmp_path / "link").symlink_to(mine)
    archive = packed(tmp_path / "x.tar.gz", files)
    for name in ("plain.tar", "kept/cifar-10-python.tar", "odd.name"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.decompress(archive.read_bytes()))
    (tmp_path / "kept/other.tar").write_bytes(b"x")
    monkeypatch.chdir(mine)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for where in (mine, tmp_path / "home", tmp_path / "link", ".", "~", "~/my images", tmp_path / "plain.tar",
                  tmp_path / "kept", tmp_path / "odd.name"):
        found = cifar.load(where)
        assert len(found.train) == 5 * N, where
        assert Path(found.path).exists()
        assert Path(found.path).is_absolute()
    monkeypatch.setenv(cifar.VARIABLE, "~")
    assert len(cifar.load().test) == N


def test_what_is_not_as_published_is_said(tmp_path, monkeypatch):
    files = {n: python(t) for n, t in trees().items()}
    published = {n: hashlib.md5(c).hexdigest() for n, c in files.items()}
    folder = write(tmp_path, "cifar-10-batches-py", files)
    assert cifar.load(folder).source.endswith("not the published images: data_batch_1, data_batch_2, data_batch_3, "
                                              "data_batch_4, data_batch_5, test_batch differ by checksum")
    monkeypatch.setattr(cifar, "PUBLISHED", published)
    assert cifar.load(folder).source == f"{folder}/cifar-10-batches-py"
    other = trees()["data_batch_3"] | {"filenames": [b"b.png"] * N}
    (folder / "cifar-10-batches-py/data_batch_3").write_bytes(python(other))
    assert cifar.load(folder).source.endswith("; not the published images: data_batch_3 differs by checksum")


def test_nothing_found_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"data_dir .*nowhere: holds no CIFAR-10; .*download"):
        cifar.load(tmp_path / "nowhere")
    monkeypatch.setenv(cifar.VARIABLE, "/nowhere")
    with pytest.raises(ConfigError, match=f"{cifar.VARIABLE}=/nowhere: holds no"):
        cifar.load()
    monkeypatch.delenv(cifar.VARIABLE)
    monkeypatch.setattr(cifar, "cache", lambda: tmp_path / "cache")
    with pytest.raises(ConfigError, match="holds no") as caught:
        cifar.load()
    assert str(caught.value).startswith(f"{tmp_path / 'cache'}: holds no")


class Bomb:
    """What a crafted pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Named:
    """Asks for any name of numpy."""

    def __init__(self, function, *arguments):
        self.state = function, arguments

    def __reduce__(self):
        return self.state


@pytest.mark.parametrize(("craft", "complaint"), [
    (lambda t, p: python(t | {"labels": Bomb(p)}), r"asks for posix.mkdir.*nothing of it was run"),
    (lambda t, p: python(t | {"data": Named(np.fromfile, str(p))}), "asks for numpy"),
    (lambda t, p: python(t | {"data": np.array([Bomb(p)], object)}), "asks for arrays of type"),
    (lambda t, p: python(t | {"data": t["data"].astype(np.int8)}), "asks for arrays of type"),
    (lambda t, p: python(t | {"data": np.asfortranarray(t["data"])}), "not uint8 in C order"),
    (lambda t, p: python(t)[:-500], "truncated or another file"),
    (lambda t, p: b"hello", "truncated or another file"),
    (lambda t, p: python([1, 2]), "data is NoneType"),
    (lambda t, p: python(t | {"data": t["data"][:-1]}), r"data is of shape \(19, 3072\)"),
    (lambda t, p: python(t | {"labels": t["labels"][:-1]}), "labels must be a list of 20"),
    (lambda t, p: python(t | {"labels": [10, *t["labels"][1:]]}), "image 0 has class 10; must be 0 to 9"),
    (lambda t, p: python(t | {"labels": [1] * N}), "training images of class"),
    (lambda t, p: python(trees()["data_batch_3"]), "calls itself 'training batch 3 of 5'; must be 'training batch 2 of 5'"),
])
def test_a_bad_pickle_runs_nothing_and_is_refused_by_name(tmp_path, craft, complaint):
    mark = tmp_path / "was-run"
    files = {n: python(t) for n, t in trees().items()}
    files["data_batch_2"] = craft(trees()["data_batch_2"], mark)
    with pytest.raises(ConfigError, match=complaint) as error:
        cifar.load(write(tmp_path, "cifar-10-batches-py", files))
    assert "\n" not in str(error.value)
    assert "data_batch_2" in str(error.value) or "class" in complaint
    assert not mark.exists()


@pytest.mark.parametrize(("damage", "complaint"), [
    (lambda f: f | {"data_batch_4.bin": f["data_batch_4.bin"][:-1]}, r"data_batch_4.bin has 61,459 bytes; must have 61,460"),
    (lambda f: {k: v for k, v in f.items() if k != "test_batch.bin"}, "test_batch is missing"),
    (lambda f: f | {"test_batch.bin": b"\xff" + f["test_batch.bin"][1:]}, "test_batch.bin: image 0 has class 255"),
])
def test_a_bad_binary_file_is_refused_by_name(tmp_path, damage, complaint):
    files = damage({f"{n}.bin": binary(t) for n, t in trees().items()})
    with pytest.raises(ConfigError, match=complaint):
        cifar.load(write(tmp_path, "cifar-10-batches-bin", files))


def test_archives_write_nothing_and_follow_no_link(tmp_path):
    contents = {f"../../{n}": python(t) for n, t in trees().items()}
    inside = tmp_path / "a/b"
    inside.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    found = cifar.load(packed(inside / "evil.tar.gz", contents))  # read by name; nothing is extracted
    assert len(found.train) == 5 * N
    assert set(tmp_path.rglob("*")) - before == {inside / "evil.tar.gz"}
    with tarfile.open(inside / "links.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ConfigError, match="data_batch_1 is missing"):
        cifar.load(inside / "links.tar.gz")
    whole = (inside / "evil.tar.gz").read_bytes()
    (inside / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"cannot be read as a \.tar\.gz"):
        cifar.load(inside / "cut.tar.gz")


@pytest.fixture
def server():
    """A file server that understands ranges and drops the connection after as many bytes as it is told."""
    class Files(http.server.BaseHTTPRequestHandler):
        contents, drop, ranges, asked = b"", [], True, []

        def do_GET(self):
            start = 0
            if (asked := self.headers.get("Range")) and self.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.asked.append(start)
            if start >= len(self.contents):
                self.send_error(416)
                return
            body = self.contents[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.drop.pop(0)] if self.drop else body)

        def log_message(self, format, *args):
            pass

    Files.asked, Files.drop = [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Files, f"http://127.0.0.1:{listening.server_port}/cifar-10-python.tar.gz"
        listening.shutdown()


def test_a_download_goes_on_where_it_ended_and_is_verified(server, tmp_path):
    files, url = server
    files.contents = np.random.default_rng(1).bytes(1_000_000)
    good, told = hashlib.md5(files.contents).hexdigest(), []
    files.drop = [300_000, 500_000]
    cifar.fetch(url, tmp_path / "a", good, told.append)
    assert (tmp_path / "a").read_bytes() == files.contents
    assert files.asked == [0, 300_000, 800_000]
    assert any("of 1 MB" in line for line in told)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]

    files.drop = [400_000]
    with pytest.raises(ConfigError, match="400,000 bytes are kept"):
        cifar.fetch(url, tmp_path / "b", good, attempts=1)
    cifar.fetch(url, tmp_path / "b", good)
    assert files.asked[-1] == 400_000
    assert (tmp_path / "b").read_bytes() == files.contents

    (tmp_path / "c.part").write_bytes(files.contents)  # all there, only not yet verified
    cifar.fetch(url, tmp_path / "c", good)
    assert (tmp_path / "c").exists()
    files.ranges = False  # a server that sends all of it again
    (tmp_path / "d.part").write_bytes(b"x" * 1000)
    cifar.fetch(url, tmp_path / "d", good)
    assert (tmp_path / "d").read_bytes() == files.contents
    with pytest.raises(ConfigError, match=f"md5 {good}; must be 0"):
        cifar.fetch(url, tmp_path / "e", "0" * 32)
    assert not list(tmp_path.glob("e*"))


def test_what_cannot_be_downloaded_says_so(tmp_path):
    with pytest.raises(ConfigError, match="nothing was received; or get the file by other means") as error:
        cifar.fetch("http://127.0.0.1:9/none", tmp_path / "a", "0", attempts=2)
    assert "\n" not in str(error.value)


def test_an_empty_cache_is_filled_on_request_only(server, tmp_path, monkeypatch):
    files, url = server
    archive = packed(tmp_path / "x.tar.gz", {f"cifar-10-batches-py/{n}": python(t) for n, t in trees().items()})
    files.contents = archive.read_bytes()
    monkeypatch.setattr(cifar, "URL", url)
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(files.contents).hexdigest())
    with pytest.raises(ConfigError, match="or say download"):
        cifar.load()
    assert files.asked == []
    assert len(cifar.load(download=True).train) == 5 * N
    assert len(cifar.load().test) == N
    assert files.asked == [0]


@pytest.mark.skipif(cifar.VARIABLE not in os.environ, reason=f"no real images: {cifar.VARIABLE} is not set")
def test_the_real_images(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(cifar, "PER_BATCH", 10_000)
    found = cifar.load(Path(os.environ[cifar.VARIABLE]))
    assert found.train.shape == (50_000, 32, 32, 3)
    np.testing.assert_allclose(found.train.mean((0, 1, 2)), (125.3, 123.0, 113.9), atol=0.5)  # as published
    np.testing.assert_allclose(found.train.std((0, 1, 2)), (63.0, 62.1, 66.7), atol=1.0)


def test_the_stand_in_is_balanced_and_says_what_it_is():
    found = cifar.synthetic(100, 50)
    assert found.source == "synthetic"
    assert found.train.dtype == np.uint8
    assert set(np.bincount(found.train_classes)) == {10}


def header(name, size, kind=tarfile.REGTYPE):
    """The header of a member, whatever size it says."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.thorough(but=["header", "unexpected"])
@pytest.mark.parametrize(("contents", "complaint"), [
    (lambda: header("cifar/data_batch_1", 2**43), "unexpected end|more than"),
    (lambda: header("another file", 2**43) + bytes(2**22), "unexpected end|more than"),
    (lambda: header("x", 3 * 2**30, tarfile.GNUTYPE_LONGNAME) + bytes(2**22), "a header says 3,221,225,472 bytes"),
    (lambda: header("x", 3 * 2**30, tarfile.GNUTYPE_LONGLINK) + bytes(2**22), "a header says 3,221,225,472 bytes"),
    (lambda: header("x", 3 * 2**30, tarfile.XHDTYPE) + bytes(2**22), "a header says"),
    (lambda: header("x", 3 * 2**30, tarfile.XGLTYPE) + bytes(2**22), "a header says"),
    (lambda: header("x", 3 * 2**30, tarfile.GNUTYPE_SPARSE) + bytes(2**22), "more than"),
    (lambda: header("x", -(2**40)), "a header says"),
    (lambda: b"".join(header(f"x{k}", 0) for k in range(2000)), "more than 1,000 members"),
    (lambda: header("cifar/data_batch_1", 70_000_000) + bytes(70_000_000), "data_batch_1 has more than"),
    (lambda: header("zeros", 10**9) + bytes(10**9), "more than 430,220,000 bytes"),
    (lambda: b"\xff" * 5000, "cannot be read as a"),
])
def test_sizes_that_archives_claim_are_not_believed(tmp_path, contents, complaint):
    path = tmp_path / "claims.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(contents())
    tracemalloc.start()
    with pytest.raises(ConfigError, match=complaint) as error:
        cifar.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()
    assert str(error.value).isprintable()


@pytest.mark.parametrize("layout", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_only_regular_files_are_read(tmp_path, layout):
    """A device behind a link has no end, and a pipe may never begin."""
    files = {n: python(t) for n, t in trees().items()} if layout.endswith("py") else {
        f"{n}.bin": binary(t) for n, t in trees().items()}
    folder = write(tmp_path, layout, files)
    file = folder / layout / next(iter(files))
    for replace in (lambda: file.symlink_to("/dev/zero"), lambda: os.mkfifo(file), file.mkdir):
        file.unlink()
        replace()
        with pytest.raises(ConfigError, match="is no regular file"):
            cifar.load(folder)
        file.rmdir() if file.is_dir() else None
        file.touch()
    os.mkfifo(tmp_path / "pipe.tar.gz")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "empty/cifar-10-python.tar.gz")
    for where in ("pipe.tar.gz", "empty", "/dev/zero"):
        with pytest.raises(ConfigError, match="holds no CIFAR-10"):
            cifar.load(tmp_path / where)
    (tmp_path / "link").symlink_to(write(tmp_path / "whole", layout, files))  # a link to what is whole is fine
    assert len(cifar.load(tmp_path / "link").train) == 5 * N


def test_a_folder_may_be_called_as_files_are(tmp_path):
    """A path with data_batch_ in it says nothing of the files."""
    place = write(tmp_path, "data_batch_3 copy", {name: python(tree) for name, tree in trees().items()})
    assert len(cifar.load(place / "data_batch_3 copy").train) == 5 * N
