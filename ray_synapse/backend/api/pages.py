"""Lists, page by page, and the links in answers."""

import re
import sqlite3
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from ray_synapse.backend.api.checks import shown
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.errors import NotFoundError, RefusedError

PAGE_SIZE = 100  # the published client asks for as many
MAX_PAGE_SIZE = 200  # a page is made in one go, and nothing else is answered meanwhile
MAX_LINK_NAME_CHARS = 100
MAX_VALUES = 1000  # of one parameter
UNSAFE = re.compile(r"[^\w.-]+")


def values_of(query: Query, name: str) -> list[str]:
    """What a parameter says, which may be repeated or a list with commas.

    Raises:
        RefusedError: It has over 1,000 values.
    """
    values = [
        part.strip()
        for key, value in query
        if key == name
        for part in value.split(",")
        if part.strip()
    ]
    if len(values) > MAX_VALUES:
        raise RefusedError({name: [f"It has {len(values)} values, allowed are {MAX_VALUES}."]})
    return values


def link_name(name: str) -> str:
    """A name as the last part of a link: no client or proxy reads anything else into it."""
    return quote(UNSAFE.sub("_", name).lstrip(".")[:MAX_LINK_NAME_CHARS] or "file")


def page(
    db: sqlite3.Connection,
    path: str,
    query: Query,
    table: str,
    where: str = "1",
    arguments: Sequence[int | str] = (),
    order: str = "id DESC",
    columns: str = "*",
) -> tuple[Json, list[sqlite3.Row]]:
    """One page of a table's rows, and the answer around them (without the ``results``).

    Args:
        db: The database.
        path: The list's own path, for the links.
        query: The parameters of the request: ``page`` (from 1) and ``page_size`` are used here.
        table: Which table.
        where: Which of its rows, in SQL; with ``arguments``.
        arguments: See ``where``.
        order: By which columns, in SQL.
        columns: Which columns, in SQL.

    Raises:
        RefusedError: ``page_size`` is no number over 0.
        NotFoundError: There is no such page.
    """
    query = list(query)
    size = min(_number(query, "page_size", PAGE_SIZE), MAX_PAGE_SIZE)
    number = _number(query, "page", 1)
    count = db.execute(f"SELECT COUNT(*) FROM {table} WHERE {where}", arguments).fetchone()[0]
    last = max(1, -(-count // size))
    if number > last:
        raise NotFoundError(f"page {number} does not exist; the last one is {last}.")
    rows = db.execute(
        f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*arguments, size, (number - 1) * size),
    ).fetchall()
    answer = {
        "count": count,
        "next": _link(path, query, number + 1) if number < last else None,
        "previous": _link(path, query, number - 1) if number > 1 else None,
    }
    return answer, rows


def _number(query: Query, name: str, default: int) -> int:
    given = [value for key, value in query if key == name]
    if not given:
        return default
    text = given[-1]
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise RefusedError({name: [f"It must be a whole number over 0, not {shown(text)}."]})


def _link(path: str, query: Query, number: int) -> str:
    others = [(key, value) for key, value in query if key != "page"]
    return f"{path}?{urlencode([*others, ('page', str(number))])}"
