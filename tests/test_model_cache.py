"""Downloaded models: unpacked once, whole, and never beyond their folder."""

import io
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_synapse import model_cache
from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact
from ray_synapse.errors import BackendError, NoSpaceError, RefusedError, StorageError
from ray_synapse.model_cache import unpacked

KEY = ("http://127.0.0.1:8000", "12", "d41d8cd98f00b204")
MODEL = {"weights.bin": bytes(range(256)) * 5_000, "config/a.json": b"{}", "config/deep/b": b""}
WAIT_S = 60
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


class Entry(NamedTuple):
    """An entry of an archive made by hand; None is what is right for the content."""

    name: bytes
    content: bytes = b"x"
    method: int = zipfile.ZIP_STORED
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    mode: int = stat.S_IFREG | 0o644
    offset: int | None = None


def by_hand(*entries: Entry) -> bytes:
    body, table = b"", b""
    for each in entries:
        packed = each.content if each.packed is None else each.packed
        crc = zlib.crc32(each.content) if each.crc is None else each.crc
        size = len(each.content) if each.size is None else each.size
        numbers = struct.pack("<5H", 20, each.flags, each.method, 0, 33)
        numbers += struct.pack("<3I2H", crc, len(packed), size, len(each.name), 0)
        offset = len(body) if each.offset is None else each.offset
        if each.offset is None:
            body += b"PK\3\4" + numbers + each.name + packed
        table += b"PK\1\2" + struct.pack("<H", 3 << 8 | 20) + numbers
        table += struct.pack("<3H2I", 0, 0, 0, each.mode << 16, offset) + each.name
    end = struct.pack("<4H2IH", 0, 0, len(entries), len(entries), len(table), len(body), 0)
    return body + table + b"PK\5\6" + end


def giving(archive: bytes, calls: list[int] | None = None) -> Callable[[BinaryIO], None]:
    """A download that comes in pieces."""

    def fetch(file: BinaryIO) -> None:
        if calls is not None:
            calls.append(1)
        for start in range(0, len(archive), 65_536):
            file.write(archive[start : start + 65_536])

    return fetch


def never(file: BinaryIO) -> None:
    raise AssertionError("it was downloaded again")


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left_in(home: Path) -> list[str]:
    """What is in the cache, beside the locks."""
    paths = (home / "cache" / "models").iterdir()
    return sorted(path.name for path in paths if path.suffix != ".lock")


@pytest.mark.parametrize("method", METHODS)
def test_a_model_is_downloaded_once_and_unpacked_below_the_home(home: Path, method: int) -> None:
    folder = unpacked(home, KEY, giving(zipped(MODEL, method)))
    assert folder.parent == home / "cache" / "models"
    assert content_of(folder) == MODEL
    assert unpacked(home, KEY, never) == folder
    assert left_in(home) == [folder.name, f"{folder.name}.json"]


def test_an_archive_as_uploads_make_it_comes_back_the_same(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "model"
    for name, content in MODEL.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    artifact = Artifact(str(source))
    archive = b"".join(Archive(artifact.files(), artifact.open).pieces())
    assert content_of(unpacked(home, KEY, giving(archive))) == MODEL


def test_a_model_of_one_file_is_a_folder_too(home: Path) -> None:
    assert content_of(unpacked(home, KEY, giving(zipped({"model.pt": b"w"})))) == {"model.pt": b"w"}


def test_folders_of_the_archive_are_made_also_when_empty_or_named_after_their_files(
    home: Path,
) -> None:
    archive = zipped({"a/b/c": b"1", "a/b/": b"", "a/": b"", "empty/": b""})
    folder = unpacked(home, KEY, giving(archive))
    assert content_of(folder) == {"a/b/c": b"1"}
    assert (folder / "empty").is_dir()


def test_keys_that_differ_anywhere_have_their_own_folders_which_show_the_id(home: Path) -> None:
    keys = [("s", "12", "x"), ("s", "12", "y"), ("s", "1", "2x"), ("s", "1", "2", "x"), ("t", "12")]
    keys += [("../../etc", "/12", "..\0"), ("é" * 500, "12", "\ud800")]
    folders = [unpacked(home, key, giving(zipped({"f": b"%d" % n}))) for n, key in enumerate(keys)]
    assert [content_of(folder)["f"] for folder in folders] == [b"%d" % n for n in range(len(keys))]
    assert {folder.parent for folder in folders} == {home / "cache" / "models"}
    for folder in (folders[0], *folders[-2:]):
        assert "12" in folder.name.split("-")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000], ids=oct)
def test_files_have_plain_permissions_whatever_the_archive_says(home: Path, umask: int) -> None:
    archive = by_hand(
        Entry(b"d/", b"", mode=stat.S_IFDIR | 0o2777), Entry(b"d/f", mode=stat.S_IFREG | 0o4777)
    )
    before = os.umask(umask)
    try:
        folder = unpacked(home, KEY, giving(archive))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "d", folder / "d/f")]
    assert modes == [0o755, 0o755, 0o644]


@pytest.mark.parametrize(
    "name",
    [
        *(b"../x", b"a/../../x", b"a/..", b"..", b"/x", b"//x", b"/", b"a//b", b"./x", b"."),
        *(b"..\\x", b"a\\b", b"C:/x", b"c:x", b"x\0.txt", b"../\0", b"", b"a/../"),
        *(b"n" * 256, b"d/" * 600 + b"x"),
    ],
)
def test_a_path_that_is_not_plainly_below_the_folder_is_refused(
    home: Path, tmp_path: Path, name: bytes
) -> None:
    assert_refused(home, by_hand(Entry(name)), "path")
    assert {path.name for path in tmp_path.iterdir()} == {home.name}


ENTRY = struct.pack("<5H", 20, 0, 0, 0, 33) + struct.pack("<3I2H", zlib.crc32(b"x"), 1, 1, 1, 0)
QUOTED = b"PK\3\4" + ENTRY + b"bx"  # the whole entry b, as the content of another

# The end of what the list says of it, from the length of the comment on, which hides the next ones.
FIRST_LISTED = struct.pack("<3H2I", 0, 0, 0, 0o600 << 16, 0) + b"weights.bin"


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("archive", "fault"),
    [
        (by_hand(Entry(b"a", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)), "'a' is a link"),
        (by_hand(Entry(b"a", mode=stat.S_IFIFO | 0o644)), "special"),
        (by_hand(Entry(b"a", mode=stat.S_IFCHR | 0o644)), "special"),
        (by_hand(Entry(b"a", mode=stat.S_IFDIR | 0o755)), "special"),
        (by_hand(Entry(b"a/", b"", mode=stat.S_IFREG | 0o644)), "special"),
        (by_hand(Entry(b"a"), Entry(b"a")), "twice"),
        (by_hand(Entry(b"W.npy"), Entry(b"w.npy")), "ignores case"),
        (by_hand(Entry(b"w.npy"), Entry(b"W.npy")), "ignores case"),
        (by_hand(Entry(b"A/x"), Entry(b"a/y")), "ignores case"),
        (by_hand(Entry(b"a"), Entry(b"a/b")), "twice"),
        (by_hand(Entry(b"a/b"), Entry(b"a")), "twice"),
        (by_hand(Entry(b"a", flags=1)), "'a' is encrypted"),
        (by_hand(Entry(b"a", flags=0x41)), "'a' is encrypted"),
        (zipped({"a": b"x"}, zipfile.ZIP_BZIP2), "stored and deflated"),
        (zipped({"a": b"x"}, zipfile.ZIP_LZMA), "stored and deflated"),
        (by_hand(Entry(b"a", QUOTED), Entry(b"b", offset=31)), "'b' overlaps"),
        (by_hand(Entry(b"a", crc=1)), "CRC"),
        (by_hand(Entry(b"a", b"xx", size=3)), "3 bytes"),
        (by_hand(Entry(b"a", b"xx", 8, deflated(b"xx"), size=3)), "3 bytes"),
        (by_hand(Entry(b"a", b"xx", 8, b"\xff\xff\xff")), "invalid"),
        (by_hand(), "no file"),
        (zipped(MODEL).replace(FIRST_LISTED, b"\xff\0" + FIRST_LISTED[2:]), "lists 1 of 3 entries"),
        (by_hand(Entry(b"a/", b"", mode=stat.S_IFDIR)), "no file"),
        (b"", "not a zip"),
        (b"<html>Not found</html>", "not a zip"),
        (zipped(MODEL)[:-30], "not a zip"),
        (zipped(MODEL)[:1000], "not a zip"),
        (zipped(MODEL)[1000:], "overlaps what is before it"),
        (zipped(MODEL).replace(bytes(range(256)), bytes(256), 1), "CRC"),
        (by_hand(Entry(b"ok"), Entry(b"b", offset=0)), "overlaps"),
        (by_hand(Entry(b"a", offset=5_000)), "header"),
    ],
)
def test_an_archive_that_is_not_whole_and_plain_is_refused(
    home: Path, archive: bytes, fault: str
) -> None:
    assert_refused(home, archive, fault)


def assert_refused(home: Path, archive: bytes, fault: str) -> None:
    with pytest.raises(RefusedError, match=rf"model http-127.*-12-.*{fault}.*upload the model"):
        unpacked(home, KEY, giving(archive))
    assert left_in(home) == []
    assert content_of(unpacked(home, KEY, giving(zipped(MODEL)))) == MODEL  # it does no harm


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_bytes_come_a_model_is_whole_or_refused(data: st.DataObject) -> None:
    archive = bytearray(
        zipped({"a/b": b"12345" * 9, "c": b"6" * 40}, data.draw(st.sampled_from(METHODS)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    home = Path(tempfile.mkdtemp())
    try:
        folder = unpacked(home / "home", KEY, giving(bytes(archive)))
    except (RefusedError, NoSpaceError):  # the latter when it says to have terabytes
        assert left_in(home / "home") == []
    else:
        assert sorted(content_of(folder).values()) == [b"12345" * 9, b"6" * 40]
        assert unpacked(home / "home", KEY, never) == folder
    finally:
        assert [path.name for path in home.iterdir()] == ["home"]
        shutil.rmtree(home)


def test_a_bomb_is_refused_before_anything_of_it_is_unpacked(home: Path) -> None:
    zeros = deflated(bytes(1 << 20))
    bomb = by_hand(Entry(b"a", b"", 8, zeros, size=(2 << 30) - 1))
    assert_refused(home, bomb, "2,147,483,647 bytes unpacked, allowed are 1,073,741,824")


def test_many_files_count_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "SMALL_MODEL_BYTES", 2 << 20)
    zeros = Entry(b"a", bytes(1 << 20), 8, deflated(bytes(1 << 20)))
    many = [zeros._replace(name=b"%d" % number) for number in range(3)]
    assert sum(map(len, content_of(unpacked(home, ("2",), giving(by_hand(*many[:2])))).values()))
    with pytest.raises(RefusedError, match="3,145,728 bytes unpacked, allowed are 2,097,152"):
        unpacked(home, ("3",), giving(by_hand(*many)))


def test_a_model_that_is_hardly_packed_may_be_larger_than_a_small_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "SMALL_MODEL_BYTES", 10)
    assert content_of(unpacked(home, KEY, giving(zipped(MODEL)))) == MODEL
    monkeypatch.setattr(model_cache, "MAX_MODEL_BYTES", 100)
    with pytest.raises(RefusedError, match="allowed are 100"):
        unpacked(home, ("other",), giving(zipped(MODEL)))


def test_no_file_gets_more_content_than_it_is_listed_with(home: Path) -> None:
    lying = by_hand(Entry(b"a", bytes(50 << 20), 8, deflated(bytes(50 << 20)), size=10))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))  # more would be a StorageError
    try:
        assert_refused(home, lying, "CRC")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_archive_of_too_many_files_and_folders_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "MAX_ENTRIES", 10)
    deep = "/".join("abcdefghi")
    assert content_of(unpacked(home, ("9",), giving(zipped({f"{deep}/x": b"1"}))))
    for archive in ({f"{deep}/j/x": b"1"}, {str(number): b"" for number in range(11)}):
        with pytest.raises(RefusedError, match="more than 10 files and folders"):
            unpacked(home, KEY, giving(zipped(archive)))


def test_a_list_of_entries_that_would_fill_the_memory_is_not_read(home: Path) -> None:
    length = model_cache.MAX_LIST_BYTES + 1
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, length, 0, 0)
    assert_refused(home, bytes(length) + end, "its list of entries has more than 20,000,000 bytes")


def test_a_download_stops_before_the_disk_is_full(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def fetch(file: BinaryIO) -> None:
        for _ in range(100):
            file.write(bytes(1 << 20))
            written.append(1)
            if len(written) == 5:
                monkeypatch.setattr(model_cache, "MIN_FREE_BYTES", 1 << 60)

    with pytest.raises(NoSpaceError, match=r"archive needs .* MB free, of which .* must stay"):
        unpacked(home, KEY, fetch)
    assert len(written) < 10
    assert left_in(home) == []


def test_a_model_that_would_fill_the_disk_is_not_unpacked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = shutil.disk_usage(home.parent).free - (500 << 20)
    monkeypatch.setattr(model_cache, "MIN_FREE_BYTES", room)
    with pytest.raises(NoSpaceError, match=r"needs 1,073\.7 MB"):
        unpacked(home, KEY, giving(by_hand(Entry(b"a", size=1 << 30))))
    assert left_in(home) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only the superuser can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_all_the_same_is_no_space(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "MIN_FREE_BYTES", -(1 << 40))
    with pytest.raises(NoSpaceError, match="No space left on device"):
        unpacked(tiny_disk, KEY, giving(bytes(2 << 20)))
    assert left_in(tiny_disk) == []


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/cache/models/.*Not a directory"):
        unpacked(tmp_path / "file", KEY, never)


@pytest.mark.parametrize("error", [ConnectionResetError("cut"), BackendError("no"), ValueError()])
def test_what_the_download_raises_is_passed_on_and_the_next_one_tries_again(
    home: Path, error: Exception
) -> None:
    def fetch(file: BinaryIO) -> None:
        file.write(zipped(MODEL)[:100])
        raise error

    with pytest.raises(type(error)) as raised:
        unpacked(home, KEY, fetch)
    assert raised.value is error
    assert left_in(home) == []
    assert content_of(unpacked(home, KEY, giving(zipped(MODEL)))) == MODEL


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file is gone": lambda folder: (folder / "config/deep/b").unlink(),
    "a file is shorter": lambda folder: (folder / "weights.bin").write_bytes(b"x"),
    "a file is longer": lambda folder: (folder / "config/deep/b").write_bytes(b"x"),
    "all is gone": lambda folder: shutil.rmtree(folder),
    "a file is in its place": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
    "the list is gone": lambda folder: folder.with_name(f"{folder.name}.json").unlink(),
    "the list is cut": lambda folder: folder.with_name(f"{folder.name}.json").write_text('{"a'),
    "the list is none": lambda folder: folder.with_name(f"{folder.name}.json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_made_anew(home: Path, damage: str) -> None:
    folder = unpacked(home, KEY, giving(zipped(MODEL)))
    DAMAGES[damage](folder)
    assert content_of(unpacked(home, KEY, giving(zipped(MODEL)))) == MODEL
    assert unpacked(home, KEY, never) == folder
    assert left_in(home) == [folder.name, f"{folder.name}.json"]


# A process that asks for a model when it gets a line, and says which folder it was given.
ASK = """
import sys, time
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from ray_synapse.model_cache import unpacked
home, archive, calls = map(Path, sys.argv[1:])
def fetch(file):
    with open(calls, "a") as log:
        log.write("downloaded\\n")
    content = archive.read_bytes()
    file.write(content[:1000])
    file.flush()
    time.sleep(0.3)
    file.write(content[1000:])
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(3) as pool:
    asked = [pool.submit(unpacked, home, ("s", "12"), fetch) for _ in range(3)]
    for each in asked:
        folder = each.result()
        assert (folder / "weights.bin").stat().st_size == 1_280_000
        print(folder, flush=True)
"""


class Asking:
    """A process that asks for a model."""

    def __init__(self, home: Path, tmp_path: Path, script: str = ASK) -> None:
        (tmp_path / "model.zip").write_bytes(zipped(MODEL))
        paths = [str(path) for path in (home, tmp_path / "model.zip", tmp_path / "calls")]
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answers(self) -> list[str]:
        answers = self.process.communicate(timeout=WAIT_S)[0].splitlines()
        assert self.process.returncode == 0
        return answers


def test_of_many_that_ask_at_once_one_downloads_for_all(home: Path, tmp_path: Path) -> None:
    processes = [Asking(home, tmp_path) for _ in range(3)]
    for each in processes:
        each.go()
    folders = [answer for each in processes for answer in each.answers()]
    assert len(folders) == 9
    assert {*folders} == {str(unpacked(home, ("s", "12"), never))}
    assert (tmp_path / "calls").read_text() == "downloaded\n"


def test_one_that_waits_takes_over_from_one_that_is_killed(home: Path, tmp_path: Path) -> None:
    killed, waiting = Asking(home, tmp_path), Asking(home, tmp_path)
    killed.go()
    wait_for(lambda: (tmp_path / "calls").exists())
    waiting.go()
    killed.process.kill()
    assert killed.process.wait(WAIT_S) == -signal.SIGKILL
    assert len(waiting.answers()) == 3
    assert content_of(unpacked(home, ("s", "12"), never)) == MODEL
    assert len(left_in(home)) == 2


def wait_for(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_who_waits_for_a_download_that_fails_downloads_itself(home: Path) -> None:
    has_begun, may_fail = threading.Event(), threading.Event()

    def failing(file: BinaryIO) -> None:
        has_begun.set()
        assert may_fail.wait(WAIT_S)
        raise ConnectionResetError

    calls: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(unpacked, home, KEY, failing)
        assert has_begun.wait(WAIT_S)
        second = pool.submit(unpacked, home, KEY, giving(zipped(MODEL), calls))
        assert not calls
        may_fail.set()
        assert content_of(second.result(WAIT_S)) == MODEL
    assert isinstance(first.exception(), ConnectionResetError)


def test_different_models_do_not_wait_for_each_other_nor_disturb_each_other(home: Path) -> None:
    other = threading.Event()

    def slow(file: BinaryIO) -> None:
        file.write(zipped(MODEL)[:1000])
        file.flush()
        assert other.wait(WAIT_S)
        file.write(zipped(MODEL)[1000:])

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(unpacked, home, ("1",), slow)
        wait_for(lambda: (home / "cache" / "models").exists() and left_in(home) != [])
        unpacked(home, ("2",), giving(zipped(MODEL)))
        other.set()
        assert content_of(first.result(WAIT_S)) == MODEL


def test_what_a_killed_process_left_of_one_model_is_removed_by_who_makes_another(
    home: Path, tmp_path: Path
) -> None:
    killed = Asking(home, tmp_path)
    killed.go()
    wait_for(lambda: (tmp_path / "calls").exists())
    killed.process.kill()
    killed.process.wait(WAIT_S)
    assert [name[-5:] for name in left_in(home)] == [".part"]
    folder = unpacked(home, ("another",), giving(zipped(MODEL)))
    assert left_in(home) == [folder.name, f"{folder.name}.json"]


def test_the_lock_ends_with_the_call_though_a_forked_child_has_its_file(home: Path) -> None:
    children = []

    def fetch(file: BinaryIO) -> None:
        sleeper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(WAIT_S,))
        sleeper.start()
        children.append(sleeper)
        raise ConnectionResetError

    try:
        with pytest.raises(ConnectionResetError):
            unpacked(home, KEY, fetch)
        with ThreadPoolExecutor(1) as pool:
            next_one = pool.submit(unpacked, home, KEY, giving(zipped(MODEL)))
            assert content_of(next_one.result(10)) == MODEL
    finally:
        for child in children:
            child.kill()
            child.join()


# Makes a model in a child that kills itself at its n-th step on the file system, for each n.
KILL = """
import os, signal, sys, zipfile
from pathlib import Path
from ray_synapse.model_cache import unpacked
root, archive, _ = map(Path, sys.argv[1:])
STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock")
print("ready", flush=True)
sys.stdin.readline()
with zipfile.ZipFile(archive) as bundle:
    expected = {name: bundle.read(name) for name in bundle.namelist()}

def ask(home):
    return unpacked(home, ("s", "12"), lambda file: file.write(archive.read_bytes()))

def die_after(steps):
    def count(event, arguments):
        nonlocal steps
        steps -= event in STEPS
        if event in STEPS and steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)

for is_damaged in (False, True):
    for steps in range(1000):
        home = root / f"{is_damaged}-{steps}"
        if is_damaged:
            (ask(home) / "weights.bin").write_bytes(b"damaged")
        child = os.fork()
        if not child:
            die_after(steps)
            ask(home)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), status
        folder = ask(home)
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {str(each.relative_to(folder)): each.read_bytes() for each in files} == expected
        left = [path for path in home.glob("cache/models/*.part/**/*") if path.is_file()]
        assert all("damaged" in path.parts for path in left), left
        unpacked(home, ("other",), lambda file: file.write(archive.read_bytes()))
        assert not [*home.glob("cache/models/*.part")]
        if status == 0:
            break
    print(steps)
"""


def test_killed_at_any_step_nothing_is_left_that_looks_whole(home: Path, tmp_path: Path) -> None:
    process = Asking(home, tmp_path, KILL)
    process.go()
    steps = [int(answer) for answer in process.answers()]
    assert min(steps) > 15  # else it has not seen them
