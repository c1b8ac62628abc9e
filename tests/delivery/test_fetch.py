"""Models that trials start from: downloaded once, unpacked safely, on whatever node."""

import hashlib
import io
import shutil
import stat
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

import ray_synapse
from ray_synapse import start
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.http import Credentials, HttpApi
from ray_synapse.delivery.fetch import PIECE_BYTES, Downloads, Fetched, fetch_by_relay, fetch_local
from ray_synapse.delivery.fetch import fetch_model as fetch
from ray_synapse.errors import BackendError, DeniedError, NotFoundError, RefusedError
from tests.delivery.test_stream import Files, weights
from tests.faults import cut, garbage, hang, hang_after, lost, refuse, slow, status
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import kept

TOKEN = "a-t0ken-for-tests"
FILES = {"model.pt": weights(300_000), "sub/größe.json": b"{}", "empty": b""}
WAIT_S = 20
MEDIA = "/media/"


class Place(NamedTuple):
    """A server with a token, and what it has kept."""

    url: str
    home: Path

    def add(self, content: bytes | Files | None = None, **fields: Any) -> int:
        """Register a model with that archive, which may be anything. Returns its id."""
        api = EmbeddedApi(self.home)
        if content is not None:
            data = zipped(content) if isinstance(content, dict) else content
            span = f"bytes 0-{len(data) - 1}/{len(data)}"
            upload = api.put_chunk(None, "model.zip", span, data)["id"]
            api.finish_upload(upload, {"md5": md5(data)})
            fields["chunked_upload"] = upload
        return int(api.create_model({"name": f"base {uuid.uuid4()}", **fields})["id"])


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def linked(name: str, target: str) -> bytes:
    """An archive with a symbolic link in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(entry, target)
        bundle.writestr("model.pt", b"1")
    return buffer.getvalue()


def bomb() -> bytes:
    """Few bytes that say that they unpack to 2 GiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for number in range(2):
            bundle.writestr(f"zeros-{number}", bytes(1 << 16))
        for entry in bundle.infolist():
            entry.file_size = 1 << 30
    return buffer.getvalue()


def content_of(path: str | Path) -> Files:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in Path(path).rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("server")
    with served(home, "--token", TOKEN) as process:
        yield Place(process.url, home)


@pytest.fixture
def proxy(server: Place) -> Iterator[Proxy]:
    with Proxy(server.url) as between:
        yield between
        between.heal()


@pytest.fixture
def elsewhere(server: Place) -> Iterator[Proxy]:
    """Another host, where a server may keep its files."""
    with Proxy(server.url) as between:
        between.always(status(200, zipped(FILES)))
        yield between


@pytest.fixture
def api(proxy: Proxy) -> Iterator[HttpApi]:
    made = HttpApi(Credentials(proxy.url, TOKEN))
    yield made
    made.close()


@pytest.fixture
def fetch_model(api: HttpApi, proxy: Proxy, home: Path) -> Callable[[int | str], dict[str, Any]]:
    return lambda model: fetch(api, proxy.url, home, model)


Fetch = Callable[[int | str], dict[str, Any]]


def downloads(proxy: Proxy) -> int:
    """How many times a file was asked for."""
    return sum(each.path.startswith(MEDIA) for each in proxy.requests)


def left_in(home: Path) -> list[str]:
    """What the cache holds, but for locks, which are empty."""
    folder = home / "cache" / "models"
    return sorted(each.name for each in folder.glob("*") if each.suffix != ".lock")


# From a server


def test_a_model_is_downloaded_and_unpacked(server: Place, fetch_model: Fetch, home: Path) -> None:
    parent = server.add()
    model = server.add(FILES, name="the base", checkpoint=parent)
    found = fetch_model(model)
    assert set(found) == {"id", "name", "category", "path"}
    assert (found["id"], found["name"], found["category"]) == (model, "the base", "fine_tuned")
    assert content_of(found["path"]) == FILES
    assert home in Path(found["path"]).parents


def test_it_is_downloaded_once(server: Place, proxy: Proxy, fetch_model: Fetch) -> None:
    model = server.add(FILES)
    first = fetch_model(model)
    assert downloads(proxy) == 1
    assert fetch_model(str(model)) == first
    assert downloads(proxy) == 1


def test_of_many_threads_that_ask_at_once_one_downloads(
    server: Place, proxy: Proxy, fetch_model: Fetch
) -> None:
    model = server.add(FILES)
    proxy.always(slow(0.2).on("GET", MEDIA))
    with ThreadPoolExecutor(6) as pool:
        paths = {found["path"] for found in pool.map(fetch_model, [model] * 6)}
    assert len(paths) == 1
    assert downloads(proxy) == 1


def test_a_model_whose_content_was_replaced_is_downloaded_again(
    server: Place, proxy: Proxy, elsewhere: Proxy, fetch_model: Fetch
) -> None:
    def says(checksum: str) -> None:
        body = {"id": 7, "name": "m", "file": f"{elsewhere.url}/m.zip", "checksum": checksum}
        proxy.script(status(200, body).on("GET", "/models/7/"))

    says("one")
    first = fetch_model(7)
    says("two")
    elsewhere.always(status(200, zipped({"new": b"2"})))
    second = fetch_model(7)
    assert content_of(first["path"]) == FILES
    assert content_of(second["path"]) == {"new": b"2"}


def test_a_link_that_is_signed_anew_each_time_leads_to_the_same_model(
    proxy: Proxy, elsewhere: Proxy, fetch_model: Fetch, home: Path
) -> None:
    for signature in ("s3cret-1", "s3cret-2"):
        link = f"{elsewhere.url}/m.zip?signature={signature}"
        proxy.script(status(200, {"id": 8, "name": "m", "file": link}).on("GET"))
        assert content_of(fetch_model(8)["path"]) == FILES
    assert len(elsewhere.requests) == 1
    assert elsewhere.requests[0].path == "/m.zip?signature=s3cret-1"
    assert not [name for name in left_in(home) if "s3cret" in name]


def test_models_of_one_id_on_two_servers_are_two(
    server: Place, proxy: Proxy, home: Path, tmp_path: Path
) -> None:
    body = {"id": 1, "name": "m", "file": "/media/same/m.zip"}
    found = []
    for content in ({"a": b"1"}, {"b": b"2"}):
        with Proxy(server.url) as other:
            other.always(
                status(200, body).on("GET", "/models/"), status(200, zipped(content)).on("GET")
            )
            api = HttpApi(Credentials(other.url))
            found.append(content_of(fetch(api, other.url, home, 1)["path"]))
            api.close()
    assert found == [{"a": b"1"}, {"b": b"2"}]


def test_the_token_goes_to_our_server_and_to_no_other(
    proxy: Proxy, elsewhere: Proxy, fetch_model: Fetch
) -> None:
    body = {"id": 9, "name": "m", "file": f"{elsewhere.url}/m.zip"}
    proxy.script(status(200, body).on("GET", "/models/"))
    fetch_model(9)
    assert [TOKEN in str(each.headers) for each in proxy.requests] == [True]
    assert [TOKEN in str(each.headers) for each in elsewhere.requests] == [False]


def test_a_redirect_to_another_host_is_followed_without_the_token(
    server: Place, proxy: Proxy, elsewhere: Proxy, fetch_model: Fetch
) -> None:
    model = server.add({"not": b"this"})
    to = {"Location": f"{elsewhere.url}/m.zip?signature=x"}
    proxy.always(status(302, headers=to).on("GET", MEDIA))
    assert content_of(fetch_model(model)["path"]) == FILES
    assert [TOKEN in str(each.headers) for each in proxy.requests] == [True, True]
    assert [TOKEN in str(each.headers) for each in elsewhere.requests] == [False]


@pytest.mark.parametrize("fault", [cut(), lost(), refuse(), status(503)], ids=lambda f: f.name)
def test_a_download_that_breaks_is_an_error_and_the_next_one_works(
    server: Place, proxy: Proxy, fetch_model: Fetch, home: Path, fault: Any
) -> None:
    model = server.add(FILES)
    proxy.script(fault.on("GET", MEDIA))
    with pytest.raises(BackendError):
        fetch_model(model)
    assert left_in(home) == []
    assert content_of(fetch_model(model)["path"]) == FILES


def test_a_model_that_does_not_exist_is_named(
    server: Place, fetch_model: Fetch, home: Path
) -> None:
    with pytest.raises(NotFoundError, match="987654"):
        fetch_model(987654)
    assert left_in(home) == []


def test_a_model_without_a_file_is_named(server: Place, proxy: Proxy, fetch_model: Fetch) -> None:
    model = server.add()
    with pytest.raises(NotFoundError, match=rf"model {model} on {proxy.url} has no file"):
        fetch_model(model)


def test_a_wrong_token_is_an_error_that_does_not_show_it(
    server: Place, proxy: Proxy, home: Path
) -> None:
    api = HttpApi(Credentials(proxy.url, "a-wr0ng-one"))
    with pytest.raises(DeniedError) as caught:
        fetch(api, proxy.url, home, server.add(FILES))
    api.close()
    assert "a-wr0ng-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (zipped({"../evil": b"1", "model.pt": b"2"}), "no plain path"),
        (zipped({"a/../../../evil": b"1", "model.pt": b"2"}), "no plain path"),
        (zipped({"/tmp/evil": b"1"}), "no plain path"),
        (linked("evil", "/etc/passwd"), "is a link"),
        (bomb(), "2,147,483,648 bytes unpacked"),
        (zipped(FILES)[:-30], "not a zip file"),
        (b"this is no archive", "not a zip file"),
        (zipped({}), "no file"),
    ],
    ids=["up", "far up", "absolute", "link", "bomb", "half", "no archive", "no files"],
)
def test_an_archive_that_is_not_safe_leaves_nothing(
    server: Place, fetch_model: Fetch, home: Path, tmp_path: Path, archive: bytes, why: str
) -> None:
    model = server.add(archive)
    with pytest.raises(RefusedError, match=why):
        fetch_model(model)
    assert left_in(home) == []
    assert not list(tmp_path.rglob("evil"))


def test_a_page_of_a_proxy_instead_of_a_file_is_no_model(
    server: Place, proxy: Proxy, fetch_model: Fetch
) -> None:
    model = server.add(FILES)
    proxy.script(garbage().on("GET", MEDIA))
    with pytest.raises(RefusedError):
        fetch_model(model)
    assert content_of(fetch_model(model)["path"]) == FILES


def test_a_run_gets_a_model_from_its_server(server: Place, proxy: Proxy) -> None:
    api = HttpApi(Credentials(server.url, TOKEN))
    job = api.create_job({"name": "digits"})["id"]
    api.close()
    model = server.add(FILES)
    run = ray_synapse.init("digits", host=proxy.url, job_id=job, access_token=TOKEN)
    try:
        found = run.get_model(model)
        assert content_of(found["path"]) == FILES
        assert run.get_model(model) == found
        assert downloads(proxy) == 1
        with pytest.raises(NotFoundError, match="987654"):
            run.get_model(987654)
    finally:
        start.close(run)


# From the embedded backend


def test_a_model_of_the_embedded_backend_is_unpacked_once(home: Path) -> None:
    model = Place("", home).add(FILES, name="the base")
    found = fetch_local(home, model)
    assert (found["id"], found["name"], found["category"]) == (model, "the base", "base")
    assert content_of(found["path"]) == FILES
    before = Path(found["path"]).stat().st_ino
    assert fetch_local(home, str(model)) == found
    assert Path(found["path"]).stat().st_ino == before


def test_a_model_of_a_sweep_on_the_embedded_backend_is_unpacked(home: Path) -> None:
    data = zipped(FILES)

    def write(target: BinaryIO) -> None:
        target.write(data)

    backend = kept(home)
    job = backend.create_job("digits", {})
    model = backend.add_model(job, "digits_a", {}, len(data), write)
    assert content_of(fetch_local(home, model)["path"]) == FILES


def test_a_model_that_the_embedded_backend_does_not_have_is_named(home: Path) -> None:
    with pytest.raises(NotFoundError, match="987654"):
        fetch_local(home, 987654)
    model = Place("", home).add()
    with pytest.raises(NotFoundError, match="has no file"):
        fetch_local(home, model)


def test_an_archive_of_the_embedded_backend_is_not_trusted_either(home: Path) -> None:
    with pytest.raises(RefusedError):
        fetch_local(home, Place("", home).add(zipped({"../evil": b"1"})))
    assert left_in(home) == []


# By way of the relay


class Relay:
    """What a trial asks: downloads in the relay's home, which is on another node if so said."""

    def __init__(self, fetch_model: Fetch, *, is_far: bool) -> None:
        self.downloads, self.is_far = Downloads(fetch_model), is_far
        self.asked: list[str] = []
        self.sizes: list[int] = []

    def ask(self, method: str, *arguments: Any) -> Any:
        self.asked.append(method)
        if method == "look_for_model":
            found = self.downloads.look(*arguments)
            if found.model is not None and self.is_far:
                return Fetched({**found.model, "path": f"/on/another/node{found.model['path']}"})
            return found
        if method == "model_files":
            return self.downloads.files(*arguments)
        assert method == "model_piece"
        piece = self.downloads.piece(*arguments)
        self.sizes.append(len(piece))
        return piece


@pytest.fixture
def far(fetch_model: Fetch) -> Relay:
    return Relay(fetch_model, is_far=True)


@pytest.fixture
def near(fetch_model: Fetch) -> Relay:
    return Relay(fetch_model, is_far=False)


def test_on_the_relays_node_its_own_folder_is_used(
    server: Place, near: Relay, tmp_path: Path
) -> None:
    found = fetch_by_relay(near.ask, tmp_path / "trial", server.add(FILES, name="near"))
    assert found["name"] == "near"
    assert content_of(found["path"]) == FILES
    assert set(near.asked) == {"look_for_model"}
    assert not (tmp_path / "trial").exists()


def test_on_another_node_the_files_come_through_the_relay_in_pieces(
    server: Place, proxy: Proxy, far: Relay, tmp_path: Path
) -> None:
    files = {**FILES, "large.bin": weights(2 * PIECE_BYTES + 100)}
    model = server.add(files, name="far")
    found = fetch_by_relay(far.ask, tmp_path / "trial", model)
    assert (found["id"], found["name"], found["category"]) == (model, "far", "base")
    assert tmp_path / "trial" in Path(found["path"]).parents
    assert content_of(found["path"]) == files
    assert max(far.sizes) == PIECE_BYTES
    assert downloads(proxy) == 1


def test_all_trials_of_a_node_have_it_once(
    server: Place, proxy: Proxy, far: Relay, tmp_path: Path
) -> None:
    model = server.add({**FILES, "large.bin": weights(PIECE_BYTES + 100)})

    def one(_: int) -> dict[str, Any]:
        return fetch_by_relay(far.ask, tmp_path / "trial", model)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(one, range(4))
    assert others == [first] * 3
    assert sum(far.sizes) == sum(map(len, FILES.values())) + PIECE_BYTES + 100
    far.sizes.clear()
    assert one(0) == first
    assert far.sizes == []
    assert downloads(proxy) == 1


def test_the_relay_answers_at_once_while_it_downloads(
    server: Place, proxy: Proxy, near: Relay, tmp_path: Path
) -> None:
    model = server.add(FILES)
    proxy.always(hang().on("GET", MEDIA))
    started = time.monotonic()
    for _ in range(3):
        assert near.ask("look_for_model", model) == Fetched()
    assert time.monotonic() - started < 1
    while not downloads(proxy):
        time.sleep(0.01)
    proxy.heal()
    with pytest.raises(BackendError):
        fetch_by_relay(near.ask, tmp_path, model)
    assert content_of(fetch_by_relay(near.ask, tmp_path, model)["path"]) == FILES


def test_models_are_downloaded_side_by_side(
    server: Place, proxy: Proxy, near: Relay, tmp_path: Path
) -> None:
    slow_one, fast_one = server.add(FILES), server.add({"fast": b"1"})
    proxy.script(hang_after().on("GET", MEDIA))
    near.ask("look_for_model", slow_one)
    while not downloads(proxy):
        time.sleep(0.01)
    assert content_of(fetch_by_relay(near.ask, tmp_path, fast_one)["path"]) == {"fast": b"1"}
    assert near.ask("look_for_model", slow_one) == Fetched()


@pytest.mark.parametrize("is_far", [False, True])
def test_what_the_server_says_reaches_the_trial_and_the_next_one_tries_again(
    server: Place, proxy: Proxy, fetch_model: Fetch, tmp_path: Path, is_far: bool
) -> None:
    relay, model = Relay(fetch_model, is_far=is_far), server.add(FILES)
    proxy.script(status(404, {"detail": "it is not there yet"}).on("GET", "/models/"))
    with pytest.raises(NotFoundError, match="it is not there yet"):
        fetch_by_relay(relay.ask, tmp_path / "trial", model)
    found = fetch_by_relay(relay.ask, tmp_path / "trial", model)
    assert content_of(found["path"]) == FILES


def test_whatever_goes_wrong_in_the_relay_is_an_error_of_ours_that_names_the_model(
    tmp_path: Path,
) -> None:
    def broken(model: int | str) -> dict[str, Any]:
        raise ZeroDivisionError("what is this")

    relay = Relay(broken, is_far=False)
    with pytest.raises(BackendError, match=r"model 'x7'.*what is this"):
        fetch_by_relay(relay.ask, tmp_path, "x7")


@pytest.mark.parametrize("is_far", [False, True])
def test_a_model_that_was_removed_from_the_relays_cache_is_fetched_again(
    server: Place, proxy: Proxy, fetch_model: Fetch, home: Path, tmp_path: Path, is_far: bool
) -> None:
    """A person frees space on the driver's node in a sweep of days."""
    relay, model = Relay(fetch_model, is_far=is_far), server.add(FILES)
    fetch_by_relay(relay.ask, tmp_path / "one node", model)
    shutil.rmtree(home / "cache")
    found = fetch_by_relay(relay.ask, tmp_path / "another node", model)
    assert content_of(found["path"]) == FILES


def test_a_relay_that_ends_in_mid_transfer_leaves_nothing_behind(
    server: Place, far: Relay, tmp_path: Path
) -> None:
    model = server.add({"large.bin": weights(2 * PIECE_BYTES)})
    pieces = threading.Semaphore(1)

    def ask(method: str, *arguments: Any) -> Any:
        if method == "model_piece" and not pieces.acquire(blocking=False):
            raise ConnectionError("the relay is gone")
        return far.ask(method, *arguments)

    with pytest.raises(OSError, match="the relay is gone"):
        fetch_by_relay(ask, tmp_path / "trial", model)
    assert left_in(tmp_path / "trial") == []
    found = fetch_by_relay(far.ask, tmp_path / "trial", model)
    assert content_of(found["path"]) == {"large.bin": weights(2 * PIECE_BYTES)}
