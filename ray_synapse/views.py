"""A run as text: the table of its trials, progress, messages and models, in any width."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ray_synapse import settings, vitals
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Counts, JobId
from ray_synapse.errors import SettingsError
from ray_synapse.formats import cell, local_time, percent, printable, size_of
from ray_synapse.names import display_name
from ray_synapse.run import TrainRun

MAX_CELL = 24  # characters: a longer value is cut where the space is limited
PIPED_WIDTH = 1_000_000  # nothing is cut or wrapped in a file or a pipe
COLUMN_GAP = 2

Column = tuple[str, str]  # the part of the table it belongs to, and its name
TRIAL: Column = ("trial", "trial")


def show(run: TrainRun | JobId) -> None:
    """Print a run of the embedded backend: what ``ray-synapse show`` prints.

    Args:
        run: The run, or the id of its job.

    Raises:
        NotFoundError: There is no such job.
        SettingsError: The run is on a server.
    """
    if isinstance(run, TrainRun):
        backend = run._backend
        if not isinstance(backend, LocalBackend):
            raise SettingsError(
                f"run {display_name(run.name)!r} is job {run.job_id} on "
                f"{run._spec.backend.describe()}: look at it there. run.stats() and `ray-synapse "
                "doctor` tell what is not delivered yet."
            )
        run._channel.flush(1.0)
        render_job(backend, run.job_id)
    else:
        render_job(LocalBackend(settings.home()), run)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, which ends quietly; rich would exit with 1."""
        raise BrokenPipeError


def make_console() -> Console:
    """A console on stdout that is as wide as the terminal, or as wide as needed in a pipe."""
    if sys.stdout.isatty():
        return _Console(highlight=False)
    return _Console(highlight=False, width=PIPED_WIDTH, color_system=None, soft_wrap=True)


def render_jobs(jobs: Sequence[dict[str, Any]]) -> None:
    """Print the list of jobs."""
    console = make_console()
    rows = [
        [
            str(job["id"]),
            display_name(job["name"]),
            status_of(job),
            local_time(job["created"]),
            percent(job["progress_record"]),
            f"{job['models']} ({size_of(job['model_bytes'])})" if job["models"] else "-",
        ]
        for job in jobs
    ]
    _print_table(console, ["job", "name", "status", "created", "done", "models"], rows)


def render_job(backend: LocalBackend, job_id: JobId) -> None:
    """Print one job."""
    console = make_console()
    job = backend.job(job_id)
    console.print(
        f"job {job['id']}  {display_name(job['name'])}  {status_of(job)}  "
        f"{percent(job['progress_record'])}",
        markup=False,
    )
    goal = f"{job['mode'] or '?'} {job['metric']}" if job["metric"] else "not given"
    console.print(f"started {local_time(job['created'])}, optimizes {goal}", markup=False)
    table = backend.trials(job_id)
    if vitals.is_interrupted(job):
        console.print(printable(vitals.obituary(job, local_time)), markup=False, soft_wrap=True)
        table = vitals.table_at_end(table) if table else None
    if table:
        console.print()
        _print_trials(console, table)
    _print_messages(console, backend.logs(job_id, "message"))
    _print_models(console, backend.models(job_id))
    console.print()
    console.print(_records(backend, job_id), markup=False)
    console.print(f"stored in {backend.home}", markup=False, soft_wrap=True)


def describe_job(backend: LocalBackend, job_id: JobId) -> dict[str, Any]:
    """Everything that ``render_job`` prints and more, as plain JSON values."""
    job, table = vitals.as_it_is(backend.job(job_id)), backend.trials(job_id)
    return {
        **job,
        "trials": vitals.table_at_end(table) if table and job["interrupted"] else table,
        "metrics": backend.logs(job_id, "metric"),
        "messages": backend.logs(job_id, "message"),
        "models": backend.models(job_id),
        "records": {
            word: sum(getattr(count, word) for count in backend.counts(job_id).values())
            for word in Counts._fields
        },
    }


def status_of(job: dict[str, Any]) -> str:
    """The job's status; one whose process died without a word says so."""
    known = vitals.as_it_is(job)
    return f"{known['status']} (interrupted)" if known["interrupted"] else str(known["status"])


def _print_trials(console: Console, table: dict[str, Any]) -> None:
    """The table of trials. What does not fit in the width is left out and named."""
    best = table.get("best_trial") or ""
    columns = _columns(table)
    rows = [_row(trial_id, row, columns, best) for trial_id, row in table["trials"].items()]
    metrics = [column for column in columns if column[0] == "metrics"]
    by_importance = sorted(columns, key=lambda column: column in metrics[1:])
    if metrics:  # the optimized one right after the status
        by_importance.remove(metrics[0])
        fixed = [column for column in by_importance if column[0] in ("trial", "base")]
        by_importance.insert(len(fixed), metrics[0])
    fitting = _fitting(console.width, by_importance, rows)
    shown = [column for column in columns if column in fitting]
    cells = [[row[column] for column in shown] for row in rows]
    names = [name for _, name in shown]
    _print_table(console, names, cells, marked=lambda row: row[0].startswith("*"))
    if best:
        console.print("* the best trial", markup=False)
    left_out = [name for part, name in columns if (part, name) not in fitting]
    if left_out:
        console.print(
            f"not shown for want of width: {', '.join(left_out)} (--json has all)", markup=False
        )


def _columns(table: dict[str, Any]) -> list[Column]:
    parts = ("base", "hyperparameters", "metrics")
    found = [(part, str(name)) for part in parts for name in table.get(part) or ()]
    if not found:  # logged by hand, as flat objects without columns
        rows = [row for row in table["trials"].values() if isinstance(row, dict)]
        found = [("", name) for name in dict.fromkeys(name for row in rows for name in row)]
    return [TRIAL, *(column for column in found if column != ("base", "trial_id"))]


def _row(trial_id: str, row: Any, columns: list[Column], best: str) -> dict[Column, str]:
    cells = dict.fromkeys(columns, "")
    cells[TRIAL] = f"* {cell(trial_id)}" if trial_id == best else f"  {cell(trial_id)}"
    if not isinstance(row, dict):
        return cells
    for part in {part for part, _ in columns} - {TRIAL[0]}:
        mine = [column for column in columns if column[0] == part]
        values = row.get(part)
        if isinstance(values, list):
            skipped = 1 if part == "base" and len(values) > len(mine) else 0  # the trial's id
            cells.update(zip(mine, map(cell, values[skipped:]), strict=False))
        else:
            cells.update({each: cell(row[each[1]]) for each in mine if each[1] in row})
    return cells


def _fitting(width: int, columns: list[Column], rows: list[dict[Column, str]]) -> set[Column]:
    fitting: set[Column] = set()
    used = 0
    for column in columns:
        longest = max([len(column[1]), *(len(row[column]) for row in rows)])
        used += (longest if width >= PIPED_WIDTH else min(longest, MAX_CELL)) + COLUMN_GAP
        if used - COLUMN_GAP <= width or len(fitting) < 2:
            fitting.add(column)
    return fitting


def _print_table(
    console: Console,
    names: list[str],
    rows: list[list[str]],
    marked: Callable[[list[str]], bool] = lambda row: False,
    max_cell: int = MAX_CELL,
) -> None:
    table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="bold")
    piped = console.width >= PIPED_WIDTH
    for name in names:
        limit = None if piped else max(max_cell, len(name))
        table.add_column(Text(printable(name)), no_wrap=True, overflow="ellipsis", max_width=limit)
    for row in rows:
        table.add_row(*map(Text, row), style="bold green" if marked(row) else "")
    console.print(table)


def _print_messages(console: Console, messages: list[dict[str, Any]]) -> None:
    if messages:
        console.print("\nmessages", style="bold")
    for message in messages:
        level, content = message["level"] or "info", message["data"]["content"]
        text = f"{local_time(message['time'])}  {level}: {printable(content)}"
        console.print(text, markup=False)


def _print_models(console: Console, models: list[dict[str, Any]]) -> None:
    if models:
        console.print("\nmodels", style="bold")
        rows = [[str(each["id"]), cell(each["name"]), size_of(each["size"])] for each in models]
        _print_table(console, ["id", "name", "size"], rows, max_cell=console.width - 20)
        folder = os.path.dirname(models[0]["file"])
        console.print(f"as zip archives in {folder}", markup=False, soft_wrap=True)


def _records(backend: LocalBackend, job_id: JobId) -> str:
    counts = list(backend.counts(job_id).values())
    parts = [(word, sum(getattr(count, word) for count in counts)) for word in Counts._fields]
    return "records: " + ", ".join(
        f"{number:,} {word}" for word, number in parts if number or word in ("logged", "delivered")
    )
