"""``POST /logs/``: what jobs log."""

import sqlite3
from collections import Counter
from typing import Any, NamedTuple

from ray_synapse.backend.api import checks
from ray_synapse.backend.api.once import Once
from ray_synapse.backend.api.protocol import Json
from ray_synapse.backend.store import insert_many
from ray_synapse.errors import RefusedError

PROCESS = "http"  # stands for all clients among the processes that log to a job
RULES = {
    "event": checks.name,
    "data": checks.mapping,
    "datetime": lambda value: "" if checks.utc(value) else _no_time(value),
    "job": checks.identifier,
    "file": checks.nullable(checks.data_uri),
    "step": checks.nullable(checks.text),
    "level": checks.nullable(checks.one_of(checks.LEVELS)),
}
REQUIRED = ("event", "data", "datetime", "job")


class Entry(NamedTuple):
    """A log entry as the database keeps it."""

    job: int | str
    event: str
    time: str
    data: str
    step: str | None
    level: str | None
    file: str | None


class LogCalls(Once):
    """The part of ``EmbeddedApi`` that keeps what is logged."""

    def create_logs(self, entries: Any, *, key: str | None = None) -> Json:
        """Keep one log entry, or all of a list or none. Answers ``{"count": entries kept}``."""
        many = entries if isinstance(entries, list) else [entries]
        found = [
            _entry(each, f"entry {i}: " if len(many) > 1 else "") for i, each in enumerate(many)
        ]

        def write(db: sqlite3.Connection) -> Json:
            numbers = {job: self._number(db, job) for job in {entry.job for entry in found}}
            _insert(db, [entry._replace(job=numbers[entry.job]) for entry in found])
            return {"count": len(found)}

        return self._once(key, "POST /logs/", entries, write)


def _entry(entry: Any, where: str) -> Entry:
    """A checked entry. Fields that the API does not know are passed over, as a server does."""
    fields = checks.an_object(f"{where}a log entry", entry)
    try:
        known = {name: fields[name] for name in RULES if name in fields}
        checks.checked("a log entry", known, RULES, REQUIRED)
        for name in fields.keys() - RULES.keys():
            checks.stored(name, fields[name])
        _check_data(known["event"], known["data"])
        return Entry(
            job=known["job"],
            event=known["event"],
            time=checks.utc(known["datetime"]) or "",
            data=checks.stored("data", known["data"]),
            step=known.get("step"),
            level=known.get("level"),
            file=known.get("file"),
        )
    except RefusedError as error:
        faults = {name: [where + text for text in texts] for name, texts in error.faults.items()}
        raise RefusedError(faults) from None


def _check_data(event: str, data: Json) -> None:
    """What the events that are shown must have."""
    if event == "trials":
        if not isinstance(data.get("trials"), dict):
            raise RefusedError({"data": ["`trials` must be an object of trial id to values."]})
        for part in ("base", "hyperparameters", "metrics"):
            if not isinstance(data.get(part) or [], list):
                raise RefusedError({"data": [f"`{part}` must be a list of names of columns."]})
        if not isinstance(data.get("best_trial") or "", str):
            raise RefusedError({"data": ["`best_trial` must be a trial's id, or empty."]})
    if event == "message" and not isinstance(data.get("content"), str):
        raise RefusedError({"data": ["`content` must be text."]})


def _insert(db: sqlite3.Connection, entries: list[Entry]) -> None:
    jobs = Counter(entry.job for entry in entries)
    kept = {}
    for job, number in jobs.items():
        db.execute(
            "INSERT INTO processes VALUES (?, ?, ?, ?, ?, 0, 0) ON CONFLICT (job, process) "
            "DO UPDATE SET seq = seq + excluded.seq, delivered = delivered + excluded.delivered, "
            "logged = logged + excluded.logged",
            (job, PROCESS, number, number, number),
        )
        query = "SELECT seq FROM processes WHERE job = ? AND process = ?"
        kept[job] = db.execute(query, (job, PROCESS)).fetchone()[0] - number
    rows = []
    for entry in entries:
        kept[entry.job] += 1
        if entry.event != "trials":
            rows.append((*entry, PROCESS, kept[entry.job]))
    insert_many(
        db, "INSERT INTO logs (job, event, time, data, step, level, file, process, seq)", rows
    )
    tables = {entry.job: entry for entry in entries if entry.event == "trials"}
    db.executemany(
        "INSERT OR REPLACE INTO snapshots VALUES (?, 'trials', ?, ?)",
        [(job, table.time, table.data) for job, table in tables.items()],
    )


def _no_time(value: Any) -> str:
    return f"It must be a time of ISO 8601 with an offset, not {checks.shown(value)}."
