"""The items of a dataset, as a training gets them: over TCP and from this machine's own backend."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import pytest

from ray_synapse.action import dataset as module
from ray_synapse.action.dataset import DatasetApi, load_events
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.delivery import retry
from ray_synapse.errors import (
    BackendError,
    DeniedError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnreachableError,
)
from tests.backend.fake_server import answer, answering, api_of, tidily
from tests.faults import cut, garbage, lost, refuse, status
from tests.proxy import Proxy
from tests.serving import served

TOKEN = "a-t0ken-for-tests"
TRAIN, VALIDATION = 200, 50
STEPS = [(100, 250), (200, 250), (250, 250)]
PATH = "/sdk/ground_truth_events/"
Moves = list[tuple[int, int | None]]


class Place(NamedTuple):
    """A served backend with a dataset."""

    url: str
    home: Path
    folder: Path
    dataset: int


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    with tidily():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("a set of 250")
    for category, number in (("train", TRAIN), ("validation", VALIDATION)):
        for at in range(number):
            item = folder / category / f"{at:03}"
            item.mkdir(parents=True)
            (item / "1.png").write_text(f"{category} {at}")
            (item / "a note.txt").write_text("ü")
            (item / "label.json").write_text(json.dumps({"label": at}))
    with served(home, "--token", TOKEN) as server:
        api = EmbeddedApi(home)
        dataset, _ = api.add_dataset(folder)
        api.close()
        yield Place(server.url, home, folder, dataset)


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    with Proxy(place.url) as between:
        yield between
        between.heal()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.02)


@pytest.fixture
def local(place: Place) -> Iterator[EmbeddedApi]:
    api = EmbeddedApi(place.home)
    yield api
    api.close()


def load(api: DatasetApi, dataset: int) -> tuple[dict[str, list[dict[str, Any]]], Moves]:
    """The items, and what was said on the way."""
    moves: Moves = []
    found = load_events(api, dataset, lambda number, total: moves.append((number, total)))
    return found, moves


def page(*results: Any, following: Any = None, **fields: Any) -> bytes:
    """An answer with a page."""
    whole = {"count": len(results), "next": following, "previous": None, "results": list(results)}
    return answer(200, {**whole, **fields})


def item(name: int, category: Any = "train") -> dict[str, Any]:
    return {"category": category, "files": {}, "data": {"name": name}}


def without_links(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
    return {
        category: [{**each, "files": list(each["files"])} for each in items]
        for category, items in found.items()
    }


def content(found: dict[str, Any], category: str, at: int) -> str:
    """The file of an item, by its link."""
    with urlopen(found[category][at]["files"]["1.png"]["url"], timeout=10) as file:
        return str(file.read().decode())


def test_all_pages_of_a_served_dataset_come_by_category_and_in_order(place: Place) -> None:
    found, moves = load(api_of(place.url, TOKEN), place.dataset)
    expected = {
        category: [
            {"category": category, "files": ["1.png", "a note.txt"], "data": {"label": at}}
            for at in range(number)
        ]
        for category, number in (("train", TRAIN), ("validation", VALIDATION))
    }
    assert without_links(found) == expected
    assert list(found) == ["train", "validation"]
    assert moves == STEPS
    assert content(found, "validation", 7) == "validation 7"


def test_in_process_the_same_comes_with_links_to_the_files_themselves(
    place: Place, local: EmbeddedApi
) -> None:
    found, moves = load(local, place.dataset)
    assert moves == STEPS
    assert without_links(found) == without_links(load(api_of(place.url, TOKEN), place.dataset)[0])
    assert content(found, "train", 150) == "train 150"
    folder = place.folder / "validation" / "049"
    assert found["validation"][49]["files"] == {
        name: {"url": (folder / name).as_uri()} for name in ("1.png", "a note.txt")
    }


def test_every_page_is_asked_of_our_own_host_with_our_token(place: Place, proxy: Proxy) -> None:
    load(api_of(proxy.url, TOKEN), place.dataset)  # the server's links name the server itself
    queries = [dict(parse_qsl(urlsplit(each.path).query)) for each in proxy.requests]
    assert [each.get("page") for each in queries] == [None, "2", "3"]
    assert {each.headers["Synapse-Access-Token"] for each in proxy.requests} == {f"Token {TOKEN}"}


def test_what_is_asked_is_what_the_platform_documents() -> None:
    with answering(page()) as fake:
        load(api_of(fake.url), 123)
    assert fake.seen[0].path == (
        f"{PATH}?ground_truth_dataset_versions=123&fields=category&fields=files&fields=data"
        "&expand=data&page_size=100"
    )


@pytest.mark.parametrize("start", [PATH, "https://elsewhere.example/api/v2/", ""])
def test_pages_are_followed_by_whatever_their_links_ask_for(start: str) -> None:
    link = f"{start}?cursor=cD0yMDI0%2B%3D%3D&fields=a&fields=b&empty="
    with answering(page(item(1), following=link), page(item(2))) as fake:
        found, _ = load(api_of(fake.url), 123)
    assert found == {"train": [item(1), item(2)]}
    assert fake.seen[1].path == f"{PATH}?cursor=cD0yMDI0%2B%3D%3D&fields=a&fields=b&empty="


def test_an_empty_dataset_is_no_items() -> None:
    with answering(page()) as fake:
        assert load(api_of(fake.url), 123) == ({}, [(0, 0)])


@pytest.mark.parametrize("category", [None, "", 5, ["train"]], ids=repr)
def test_an_item_without_a_category_is_kept_apart(category: Any) -> None:
    nameless = {"files": {}, "data": None}
    with answering(page(item(1, category), nameless, item(2, "test"))) as fake:
        found, _ = load(api_of(fake.url), 123)
    assert found == {"uncategorized": [item(1, category), nameless], "test": [item(2, "test")]}


@pytest.mark.parametrize("fields", [{"count": None}, {"count": "many"}, {"count": True}], ids=str)
def test_where_the_server_does_not_say_how_many_there_are_it_is_open(fields: Any) -> None:
    with answering(page(item(1), **fields)) as fake:
        assert load(api_of(fake.url), 123)[1] == [(1, None)]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "fault",
    [status(503), status(502), refuse(), lost(), cut(), garbage()],
    ids=lambda fault: fault.name,
)
def test_what_passes_is_tried_again_and_nothing_comes_twice(
    place: Place, proxy: Proxy, fault: Any
) -> None:
    proxy.script(None, fault, fault)
    found, moves = load(api_of(proxy.url, TOKEN), place.dataset)
    assert [each.fault for each in proxy.requests] == [None, fault.name, fault.name, None, None]
    assert [each["data"]["label"] for each in found["train"]] == list(range(TRAIN))
    assert len(found["validation"]) == VALIDATION
    assert moves == STEPS


@pytest.mark.usefixtures("hurried")
def test_a_failure_that_stays_is_raised_as_it_is_once_the_patience_is_over(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    proxy.script(None)
    proxy.always(status(503))
    moves: Moves = []
    began = time.monotonic()
    with pytest.raises(BackendError, match="The proxy of the tests says 503") as raised:
        load_events(api_of(proxy.url, TOKEN), place.dataset, lambda *at: moves.append(at))
    assert raised.value.status == 503
    assert moves == STEPS[:1]
    assert len(proxy.requests) > 3
    assert 0.5 <= time.monotonic() - began < 5


@pytest.mark.usefixtures("hurried")
def test_a_server_that_is_down_is_waited_for(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    proxy.stop()
    with pytest.raises(UnreachableError):
        load(api_of(proxy.url, TOKEN), place.dataset)
    proxy.start()
    assert load(api_of(proxy.url, TOKEN), place.dataset)[1] == STEPS


def test_a_server_that_asks_to_wait_for_longer_than_that_is_not_waited_for() -> None:
    with answering(answer(503, Retry_After=61)) as fake:
        with pytest.raises(BackendError) as raised:
            load(api_of(fake.url), 123)
        assert len(fake.seen) == 1
    assert raised.value.retry_after == 61


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, RefusedError),
        (401, DeniedError),
        (403, DeniedError),
        (404, NotFoundError),
        (413, TooLargeError),
    ],
)
def test_what_a_person_has_to_correct_is_raised_at_once(
    code: int, kind: type[BackendError]
) -> None:
    with answering(page(item(1), following="/?page=2"), answer(code, {"detail": "No."})) as fake:
        with pytest.raises(kind, match=r"No\."):
            load(api_of(fake.url), 123)
        assert len(fake.seen) == 2


def test_a_dataset_that_does_not_exist_is_told_at_once(place: Place, local: EmbeddedApi) -> None:
    began = time.monotonic()
    for api in (local, api_of(place.url, TOKEN)):
        with pytest.raises(RefusedError, match="Dataset '999' does not exist"):
            load(api, 999)
    assert time.monotonic() - began < module.PATIENCE_S / 2


def test_a_file_that_has_left_its_folder_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "set" / "1.png").write_text("1")
    api = EmbeddedApi(tmp_path / "home")
    dataset, _ = api.add_dataset(tmp_path / "set")
    (tmp_path / "set" / "1.png").unlink()
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "secret")
    began = time.monotonic()
    with pytest.raises(NotFoundError, match="left its folder"):
        load(api, dataset)
    assert time.monotonic() - began < module.PATIENCE_S / 2
    api.close()


@pytest.mark.parametrize(
    "links",
    [["/?page=2", "/?page=2"], ["/?page=2", "http://x/?page=3", "/y?page=2"]],
    ids=["to itself", "to an earlier one"],
)
def test_a_circle_of_pages_is_left_with_the_request_that_closes_it(links: list[str]) -> None:
    pages = [page(item(at), following=link) for at, link in enumerate(links)]
    with answering(*pages) as fake:
        with pytest.raises(BackendError) as raised:
            load(api_of(fake.url), 123)
        assert len(fake.seen) == len(links)
    last = urlsplit(links[-2]).query
    assert str(raised.value).startswith(f"GET {PATH}?{last}: its next page is '{links[-1]}', which")


@pytest.mark.parametrize(
    "fields",
    [{"results": None}, {"results": {}}, {"results": "text"}, {"results": [item(1), 2]}],
    ids=str,
)
def test_results_that_are_no_items_are_told_with_the_request(fields: Any) -> None:
    with answering(page(**fields)) as fake:
        with pytest.raises(BackendError, match="its results are") as raised:
            load(api_of(fake.url), 123)
        assert len(fake.seen) == 1
    assert str(raised.value).startswith(f"GET {PATH}?ground_truth_dataset_versions=123&")


@pytest.mark.parametrize("link", [5, "", "page two", "/?", {"page": 2}], ids=repr)
def test_a_link_that_leads_nowhere_does_not_pass_for_the_end(link: Any) -> None:
    with (
        answering(page(item(1), following=link)) as fake,
        pytest.raises(BackendError, match=r"dataset_versions=123.*its next page is"),
    ):
        load(api_of(fake.url), 123)
