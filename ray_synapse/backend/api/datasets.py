"""``/sdk/ground_truth_events/``: small datasets that lie in a folder of this machine."""

import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path, PurePath
from typing import Any

from ray_synapse.backend import sqlite
from ray_synapse.backend.api import checks
from ray_synapse.backend.api.pages import link_name, page, values_of
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.database import Database, as_id, now, stamp
from ray_synapse.errors import NotFoundError, RefusedError, SettingsError

CATEGORIES = {  # the folders that say what their files are for
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    "test": "test",
}
FIELDS = ("id", "category", "files", "data")
MAX_FILES = 100_000  # it is for small datasets: all of them are listed in one go


class DatasetCalls(Database):
    """The part of ``EmbeddedApi`` that knows datasets."""

    def add_dataset(self, folder: Path) -> tuple[int, Counter[str]]:
        """Make the files of a folder known as a dataset. They stay where they are.

        The first level of sub-folders says the category: ``train``, ``validation`` (or ``valid``,
        ``val``) and ``test``; what is elsewhere is for training. The files of one sub-folder below
        that are one item; files that lie side by side in the folder of a category are one item for
        each name without its ending. A JSON file is the annotation of its item, the others are its
        files.

        Args:
            folder: The folder. Hidden files and folders in it are passed over.

        Returns:
            The dataset's id, and how many items each category has.

        Raises:
            SettingsError: It is no folder, it has no files or over 100,000, or an annotation is no
                JSON.
        """
        folder = folder.expanduser().absolute()
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder; give one with the files of a dataset.")
        with sqlite.translated(folder):
            items = _items(folder)
        rows = [(item[0], *_item(folder, paths)) for item, paths in items.items()]
        with self._write() as db:
            statement = "INSERT INTO datasets (folder, created) VALUES (?, ?)"
            dataset = int(db.execute(statement, (str(folder), now())).lastrowid or 0)
            db.executemany(
                "INSERT INTO dataset_events (dataset, category, files, data) VALUES (?, ?, ?, ?)",
                [(dataset, *row) for row in rows],
            )
        return dataset, Counter(row[0] for row in rows)

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        """The items of a dataset: ``category``, ``files`` and ``data``.

        Args:
            query: ``ground_truth_dataset_versions`` (the dataset's id), ``category``, ``fields``,
                ``page`` and ``page_size``. (``data`` is always whole, as with ``expand=data``.)
        """
        query = list(query)
        fields = [each for each in values_of(query, "fields") if each in FIELDS] or FIELDS
        conditions, arguments = ["1"], list[int | str]()
        with self._read() as db:
            for name, column in (("ground_truth_dataset_versions", "dataset"), ("category",) * 2):
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
        return Path(row["folder"], files[int(number)])


def _items(folder: Path) -> dict[tuple[str, PurePath], list[PurePath]]:
    """The files below a folder, by category and item, in order."""
    items = defaultdict[tuple[str, PurePath], list[PurePath]](list)
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for path in sorted(path for path in paths if not any(part[0] == "." for part in path.parts)):
        is_sorted = len(path.parts) > 1 and path.parts[0] in CATEGORIES
        category = CATEGORIES[path.parts[0]] if is_sorted else "train"
        depth = len(path.parts) - is_sorted
        items[category, path.with_suffix("") if depth == 1 else path.parent].append(path)
    count = sum(map(len, items.values()))
    if not 0 < count <= MAX_FILES:
        raise SettingsError(f"{folder} has {count:,} files; allowed are 1 to {MAX_FILES:,}.")
    return items


def _item(folder: Path, paths: list[PurePath]) -> tuple[str, str]:
    """The files and the annotation of one item, as the database keeps them."""
    annotations = {path.name: _annotation(folder / path) for path in paths if _is_json(path)}
    data = next(iter(annotations.values())) if len(annotations) == 1 else annotations
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
        if db.execute("SELECT 1 FROM datasets WHERE id = ?", (dataset,)).fetchone() is None:
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
        "files": links,
        "data": json.loads(row["data"]),
    }
