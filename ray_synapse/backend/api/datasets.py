"""``/sdk/ground_truth_events/``: small datasets that lie in a folder of this machine."""

import json
import os
import sqlite3
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

from ray_synapse.backend.api import checks
from ray_synapse.backend.api.pages import link_name, page, values_of
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.database import Database, as_id, now, stamp
from ray_synapse.backend.store import insert
from ray_synapse.errors import NotFoundError, RefusedError, SettingsError

CATEGORIES = {  # the folders that say what their files are for
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
}
FIELDS = ("id", "category", "name", "files", "data")
FILTERS = (("ground_truth_dataset_versions", "dataset"), ("category", "category"))
MAX_FILES = 100_000  # it is for small datasets: all of them are listed in one go


class DatasetCalls(Database):
    """The part of ``EmbeddedApi`` that knows datasets."""

    def add_dataset(self, folder: Path) -> tuple[int, Counter[str]]:
        """Make the files of a folder known as a dataset. They stay where they are.

        The first level of sub-folders says the category: ``train``, ``validation`` (or ``valid``,
        ``val``, ``dev``) or ``test``; what is elsewhere is for training. Below these, the files of
        one sub-folder are one item with its name; files in no further sub-folder are one item for
        each name without its ending. A JSON file is the annotation of its item, the others are its
        files.

        Args:
            folder: The folder. Hidden files and folders in it are passed over.

        Returns:
            The dataset's id, and how many items each category has.

        Raises:
            SettingsError: It is no folder, it has no files or over 100,000, a link out of it, or an
                annotation that is no JSON.
        """
        folder = folder.expanduser().absolute()
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder; give one with the files of a dataset.")
        try:
            items = _items(folder)
            rows = [(*key[:2], *_item(folder, paths)) for key, paths in items.items()]
        except OSError as error:
            raise SettingsError(
                f"{error.filename or folder} cannot be read: {error.strerror}. Make it readable, "
                "or take it out of the folder."
            ) from error
        with self._write() as db:
            dataset = insert(db, "datasets", {"folder": str(folder), "created": now()})
            db.executemany(
                "INSERT INTO dataset_events (dataset, category, name, files, data) "
                "VALUES (?, ?, ?, ?, ?)",
                [(dataset, *row) for row in rows],
            )
        return dataset, Counter(row[0] for row in rows)

    def datasets(self) -> list[dict[str, Any]]:
        """All datasets, the newest first: ``id``, ``folder``, ``created``, ``items``."""
        query = (
            "SELECT datasets.*, COUNT(dataset_events.id) AS items FROM datasets "
            "LEFT JOIN dataset_events ON dataset = datasets.id GROUP BY datasets.id "
            "ORDER BY datasets.id DESC"
        )
        with self._read() as db:
            return [dict(row) for row in db.execute(query)]

    def delete_dataset(self, dataset: int) -> None:
        """Forget a dataset. Its files stay where they are.

        Raises:
            NotFoundError: There is no such dataset.
        """
        with self._write() as db:
            removed = db.execute("DELETE FROM datasets WHERE id = ?", (as_id(dataset),))
        if not removed.rowcount:
            raise NotFoundError(
                f"dataset {dataset} does not exist; `ray-synapse dataset ls` lists them."
            )

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        """The items of a dataset: ``category``, ``name``, ``files`` and ``data``.

        Args:
            query: ``ground_truth_dataset_versions`` (the dataset's id), ``category``, ``fields``,
                ``page`` and ``page_size``. (``data`` is always whole, as with ``expand=data``.)
        """
        query = list(query)
        fields = [each for each in values_of(query, "fields") if each in FIELDS] or FIELDS
        conditions, arguments = ["1"], list[int | str]()
        with self._read() as db:
            for name, column in FILTERS:
                if values := values_of(query, name):
                    conditions.append(f"{column} IN ({', '.join('?' * len(values))})")
                    arguments += values
                    if column == "dataset":
                        _check_datasets(db, values)
            answer, rows = page(
                db,
                "/sdk/ground_truth_events/",
                query,
                "dataset_events JOIN (SELECT id AS dataset, created FROM datasets) USING (dataset)",
                " AND ".join(conditions),
                arguments,
                "id",
            )
        results = [_wire(row) for row in rows]
        return {**answer, "results": [{name: each[name] for name in fields} for each in results]}

    def dataset_file(self, event: str, number: str) -> Path:
        """Where a file of an item lies on this machine; the first one is number 0."""
        query = (
            "SELECT folder, files FROM dataset_events JOIN datasets ON datasets.id = dataset "
            "WHERE dataset_events.id = ?"
        )
        with self._read() as db:
            row = db.execute(query, (as_id(event),)).fetchone()
        files = list(json.loads(row["files"]).values()) if row else []
        if number not in map(str, range(len(files))):
            raise NotFoundError(f"item {event!r} has no file number {number!r}.")
        folder = Path(row["folder"])
        path = folder / str(files[int(number)])
        if not PurePath(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise NotFoundError(f"file number {number!r} of item {event!r} left its folder.")
        return path


Key = tuple[str, str, bool]  # the category, the item's name, and whether it is a folder


def _items(folder: Path) -> dict[Key, list[PurePath]]:
    """The files below a folder by the item that they are of, in order."""
    items = defaultdict[Key, list[PurePath]](list)
    for path in _files(folder):
        category = CATEGORIES.get(path.parts[0].lower()) if len(path.parts) > 1 else None
        below = PurePath(*path.parts[1:]) if category else path
        is_folder = len(below.parts) > 1
        name = below.parent if is_folder else below.with_suffix("")
        items[category or "train", str(name), is_folder].append(path)
    return {key: sorted(paths, key=lambda path: path.name) for key, paths in items.items()}


def _files(folder: Path) -> list[PurePath]:
    """The files below a folder, relative to it."""
    found, inside = [], os.path.realpath(folder)
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        target = os.path.realpath(path)  # a circle of links leads nowhere, which is no error here
        leads_out = not PurePath(target).is_relative_to(inside)
        if path.is_symlink() and (leads_out or not path.is_file()):
            raise SettingsError(
                f"{path} is a link to {target}; a dataset has links to files "
                "within its folder only. Copy what it leads to, or take it out."
            )
        if path.is_file():
            found.append(relative)
    if not 0 < len(found) <= MAX_FILES:
        raise SettingsError(f"{folder} has {len(found):,} files; allowed are 1 to {MAX_FILES:,}.")
    return sorted(found)


def _item(folder: Path, paths: list[PurePath]) -> tuple[str, str]:
    """The files and the annotation of one item, as the database keeps them."""
    annotations = {path.name: _annotation(folder / path) for path in paths if _is_json(path)}
    data = next(iter(annotations.values())) if len(annotations) == 1 else annotations
    for one, other in pairwise(paths):
        if one.name == other.name:
            raise SettingsError(
                f"{folder / one} and {folder / other} would be one file of one item: rename one."
            )
    files = {path.name: str(path) for path in paths if not _is_json(path)}
    return json.dumps(files), checks.stored("data", data)


def _is_json(path: PurePath) -> bool:
    return path.suffix.lower() == ".json"


def _annotation(path: Path) -> Any:
    try:
        data = json.loads(path.read_text("utf-8"))
        checks.stored("data", data)
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f"{path} is no JSON: {error}. A .json file is an item's annotation: correct it, or "
            "take it out of the folder."
        ) from error
    return data


def _check_datasets(db: sqlite3.Connection, datasets: list[str]) -> None:
    for dataset in datasets:
        if db.execute("SELECT 1 FROM datasets WHERE id = ?", (as_id(dataset),)).fetchone() is None:
            fault = (
                f"Dataset {dataset!r} does not exist. `ray-synapse dataset add FOLDER` makes one."
            )
            raise RefusedError({"ground_truth_dataset_versions": [fault]})


def _wire(row: sqlite3.Row) -> Json:
    event, made = row["id"], stamp(row["created"])
    links = {
        name: {"url": f"/media/datasets/{event}/{number}/{made}/{link_name(name)}"}
        for number, name in enumerate(json.loads(row["files"]))
    }
    return {
        "id": event,
        "category": row["category"],
        "name": row["name"],
        "files": links,
        "data": json.loads(row["data"]),
    }
