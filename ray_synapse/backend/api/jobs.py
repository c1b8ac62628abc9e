"""``/jobs/``, ``/trains/`` and ``/plugin_releases/``: the jobs and what is known of them."""

import json
import sqlite3
from typing import Any

from ray_synapse import __version__, vitals
from ray_synapse.backend.api import checks
from ray_synapse.backend.api.once import Once
from ray_synapse.backend.api.pages import page, values_of
from ray_synapse.backend.api.protocol import Json, Query
from ray_synapse.backend.database import BRIEF, as_id, now, parsed
from ray_synapse.backend.store import insert, update
from ray_synapse.errors import NotFoundError, RefusedError, SettingsError
from ray_synapse.names import MAX_NAME_CHARS, encode_name

RELEASE = 1  # the only one: this package, in this version
PLUGIN = {"id": 1, "code": "ray_synapse", "name": "ray_synapse"}
CATEGORY, ACTION = "neural_net", "train"  # of each job here
ACTIVE = ("PENDING", "RUNNING")
IS_WATCHED = "status = 'RUNNING' AND (pid IS NOT NULL OR beat IS NOT NULL)"  # in SQL
PATCH_RULES = {
    "status": checks.one_of(checks.STATUSES),
    "progress_record": checks.nullable(checks.mapping),
    "metrics_record": checks.nullable(checks.mapping),
    **dict.fromkeys(("console_logs", "result", "meta"), checks.anything),
}
RULES = {"name": checks.name_up_to(MAX_NAME_CHARS), **PATCH_RULES}
WATCHED = ("host", "pid", "beat")  # by these the process that drives a job of ours is watched
HIDDEN = (*WATCHED, "experiment")  # of this machine; nothing for a client


class JobCalls(Once):
    """The part of ``EmbeddedApi`` that knows the jobs."""

    def create_job(self, fields: Any, *, key: str | None = None) -> Json:
        """Make a job from its ``name``, and any field that ``update_job`` takes."""
        sent = checks.checked("a job", fields, RULES, ["name"])
        try:
            name = encode_name(sent["name"])
        except SettingsError as error:
            raise RefusedError({"name": [str(error)]}) from None
        row = {"status": "PENDING", "created": now(), **_columns(sent), "name": name}
        row["updated"] = row["created"]

        def write(db: sqlite3.Connection) -> Json:
            return self._wire_job(db, insert(db, "jobs", row))

        return self._once(key, "POST /jobs/", fields, write)

    def get_job(self, job: int | str) -> Json:
        """All that is known of a job."""
        with self._read() as db:
            return self._wire_job(db, job)

    def update_job(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Overwrite fields of a job, each whole. Answers the job."""
        row = {**_columns(checks.checked("a job", fields, PATCH_RULES)), "updated": now()}
        if row.get("status") == "RUNNING":  # now this client drives it, and nobody watches that
            row.update(dict.fromkeys(WATCHED))

        def write(db: sqlite3.Connection) -> Json:
            number = self._number(db, job)
            update(db, "jobs", number, row)
            return self._wire_job(db, number)

        return self._once(key, f"PATCH /jobs/{job}/", fields, write)

    def list_jobs(self, query: Query = ()) -> Json:
        """Jobs, the newest first, without the fields that clients fill at will (``result``, ...).

        Args:
            query: ``params`` (``name:<encoded name>``), ``is_active`` (``true``, ``false``),
                ``category``, ``job__action``, ``ids_ex`` (ids to leave out), ``page`` and
                ``page_size``. Others are passed over, as a server does.
        """
        query = list(query)
        with self._read() as db:
            where, arguments = _filter(query, _interrupted(db))
            answer, rows = page(db, "/jobs/", query, "jobs", where, arguments, columns=BRIEF)
        return {**answer, "results": [_wire(parsed(row)) for row in rows]}

    def override_best_trial(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""
        sent = checks.an_object("a best trial", fields)
        rules = {**dict.fromkeys(sent, checks.anything), "trial_id": checks.name}
        best = checks.stored(
            "best_trial", checks.checked("a best trial", sent, rules, ["trial_id"])
        )

        def write(db: sqlite3.Connection) -> Json:
            update(db, "jobs", self._number(db, job), {"best_trial": best})
            return dict(json.loads(best))

        return self._once(key, f"PUT /trains/{job}/override_best_trial/", fields, write)

    def get_plugin_release(self, release: int | str, query: Query = ()) -> Json:
        """A release; with ``expand=plugin`` the plugin as an object."""
        if str(release) != str(RELEASE):
            raise NotFoundError(
                f"plugin release {release!r} does not exist; the embedded backend has one: "
                f"{RELEASE}, this package."
            )
        plugin = PLUGIN if "plugin" in values_of(query, "expand") else PLUGIN["id"]
        return {"id": RELEASE, "version": __version__, "plugin": plugin}

    def _wire_job(self, db: sqlite3.Connection, job: int | str) -> Json:
        return _wire(self._job(db, job))


def _columns(fields: Json) -> Json:
    return {
        name: value if name in ("name", "status") or value is None else checks.stored(name, value)
        for name, value in fields.items()
    }


def _wire(job: Json) -> Json:
    shown = {name: value for name, value in job.items() if name not in HIDDEN}
    if vitals.is_interrupted(job):
        shown["status"] = vitals.INTERRUPTED
    return {**shown, "plugin_release": RELEASE, "category": CATEGORY, "action": ACTION}


def _interrupted(db: sqlite3.Connection) -> list[int]:
    """The jobs that are said to run, but whose processes are gone."""
    rows = db.execute(f"SELECT id, status, {', '.join(WATCHED)} FROM jobs WHERE {IS_WATCHED}")
    return [row["id"] for row in map(dict, rows) if vitals.is_interrupted(row)]


def _filter(query: list[tuple[str, str]], interrupted: list[int]) -> tuple[str, list[int | str]]:
    """The SQL for the filters of a list of jobs, with its arguments."""
    conditions, arguments = ["1"], list[int | str]()
    names = [_name_in(pair) for pair in values_of(query, "params")]
    if names:
        conditions.append(f"name IN ({', '.join('?' * len(names))})")
        arguments += names
    for text in values_of(query, "is_active")[-1:]:
        if text.lower() not in ("true", "false"):
            raise RefusedError({"is_active": [f"It is true or false, not {checks.shown(text)}."]})
        negated = "" if text.lower() == "true" else "NOT "
        ended = ", ".join(map(str, interrupted))
        conditions.append(f"{negated}(status IN (?, ?) AND id NOT IN ({ended}))")
        arguments += ACTIVE
    for name, only in (("category", CATEGORY), ("job__action", ACTION)):
        if any(text != only for text in values_of(query, name)):
            conditions.append("0")
    if left_out := [as_id(text) for text in values_of(query, "ids_ex")]:
        conditions.append(f"id NOT IN ({', '.join('?' * len(left_out))})")
        arguments += left_out
    return " AND ".join(conditions), arguments


def _name_in(pair: str) -> str:
    name, _, value = pair.partition(":")
    if name != "name":
        raise RefusedError({"params": [f"It filters by `name:<name>`, not {checks.shown(pair)}."]})
    return value.replace(":", "%3A")
