"""The items of a dataset, fetched page by page from a Synapse backend."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from ray_synapse import console
from ray_synapse.backend.api.checks import shown
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.delivery.retry import Verdict, verdict, wait_before
from ray_synapse.errors import BackendError, DeniedError, NotFoundError, RefusedError

PAGE_ITEMS = 100  # the published client asks for as many
PATIENCE_S = 60.0  # without any page: a server that restarts is back by then, and a person waits
FINAL = (RefusedError, DeniedError, NotFoundError)  # only a person can change these
UNCATEGORIZED = "uncategorized"  # no item is lost, and none becomes one to train with unasked

Item = dict[str, Any]
Asked = tuple[tuple[str, str], ...]


class DatasetApi(Protocol):
    """What of ``backend.api.protocol.Api`` is needed here."""

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        """A page of the items of a dataset."""


def load_events(
    api: DatasetApi, dataset: int, moved: Callable[[int, int | None], None]
) -> dict[str, list[Item]]:
    """Fetch all items of a dataset, with what they are for.

    What may pass (a server that restarts, a lost connection) is tried again for up to 60 s without
    any page. All pages are asked of ``api``, whatever host their links name.

    Args:
        api: ``HttpApi`` for a Synapse server, or ``EmbeddedApi`` for the embedded backend.
        dataset: The dataset's id.
        moved: Called after each page with the number of items so far, and how many there are (None
            if the server does not say).

    Returns:
        The items by category (``train``, ``validation``, ...), in the order in which they came;
        those without one are ``uncategorized``. Each is a dict with ``category``, ``files`` and
        ``data``. ``files[name]["url"]`` is a URL that ``urllib.request.urlopen`` opens: the one
        that the server gave, or with ``EmbeddedApi`` the ``file://`` URI of the file on this
        machine.

    Raises:
        RefusedError: There is no such dataset in the embedded backend, or the server refuses it.
        NotFoundError: The server has no such dataset, or a file has left its dataset's folder.
        DeniedError: The server does not accept the token.
        BackendError: There was no page for 60 s, or the answers are no pages of items.
    """
    found: dict[str, list[Item]] = {}
    number = 0
    for items, total in _pages(api, dataset):
        for item in items:
            here = _with_local_files(api, item) if isinstance(api, EmbeddedApi) else item
            found.setdefault(_category(item), []).append(here)
        number += len(items)
        moved(number, total)
    return found


def _pages(api: DatasetApi, dataset: int) -> Iterator[tuple[list[Item], int | None]]:
    """The items of each page, and how many the dataset has."""
    query: Asked | None = (
        ("ground_truth_dataset_versions", str(dataset)),
        *(("fields", name) for name in ("category", "files", "data")),
        ("expand", "data"),
        ("page_size", str(PAGE_ITEMS)),
    )
    seen = set[Asked]()
    while query is not None:
        seen.add(query)
        page = _page(api, query)
        items, total = page.get("results"), page.get("count")
        if not (isinstance(items, list) and all(isinstance(each, dict) for each in items)):
            raise _fault(query, f"its results are {shown(items)}, and not a list of objects")
        yield items, total if type(total) is int else None
        following = _query_of(page.get("next"), query)
        if following in seen:
            raise _fault(query, f"its next page is {shown(page['next'])}, which was there before")
        query = following


def _page(api: DatasetApi, query: Asked) -> Json:
    give_up, attempt = time.monotonic() + PATIENCE_S, 0
    while True:
        try:
            return api.list_ground_truth_events(query)
        except BackendError as error:
            left = give_up - time.monotonic()
            if not _may_pass(error) or left <= (error.retry_after or 0.0):
                raise
            attempt += 1
            console.say_once(f"the dataset is asked for again for up to {PATIENCE_S:g} s: {error}")
            wait = min(wait_before(attempt, error), left)
        time.sleep(wait)


def _may_pass(error: BackendError) -> bool:
    again = verdict(error, repeatable=True) is Verdict.AGAIN
    return again and not isinstance(error, FINAL)


def _query_of(link: Any, query: Asked) -> Asked | None:
    """What the link to the next page asks for; None if there is none."""
    if link is None:
        return None
    following = tuple(parse_qsl(str(link).partition("?")[2], keep_blank_values=True))
    if not following:
        raise _fault(query, f"its next page is {shown(link)}, and not a link with parameters")
    return following


def _fault(query: Asked, what: str) -> BackendError:
    call = f"GET /sdk/ground_truth_events/?{urlencode(query)}"
    return BackendError(f"{call}: {what}. Is this a Synapse server? If so, tell whoever runs it.")


def _category(item: Item) -> str:
    category = item.get("category")
    return category if isinstance(category, str) and category else UNCATEGORIZED


def _with_local_files(api: EmbeddedApi, item: Item) -> Item:
    """An item whose links, ``/media/datasets/<item>/<number>/...``, are ``file://`` URIs."""
    files = {}
    for name, file in item["files"].items():
        event, number = file["url"].split("/")[3:5]
        files[name] = {**file, "url": api.dataset_file(event, number).as_uri()}
    return {**item, "files": files}
