"""What earlier runs have not delivered: ``ray-synapse doctor`` shows it, ``sync`` sends it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_synapse import console, settings, vitals
from ray_synapse.backend.protocol import Counts, JobId, Left
from ray_synapse.connect import credentials_for
from ray_synapse.delivery.holder import Holder
from ray_synapse.delivery.outbox.base import FOLDER
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.patience import Patience
from ray_synapse.delivery.report import counted, shortened, undelivered
from ray_synapse.delivery.synapse import described
from ray_synapse.errors import BackendError, NotFoundError, SettingsError, StorageError
from ray_synapse.formats import age, local_time, printable
from ray_synapse.greeting import greet
from ray_synapse.names import display_name

LAST_REQUEST_S = 5.0  # for what is under way when a person interrupts


@dataclass(frozen=True)
class Leftover:
    """An outbox of this machine.

    Attributes:
        outbox: It.
        job: The job's id on its server.
        name: The run's name.
        host: The server; None if that was not known.
    """

    outbox: Outbox
    job: JobId
    name: str
    host: str | None

    @property
    def where(self) -> str:
        """Its server, for a person."""
        return described(self.host)

    def counts(self) -> Counts:
        """What became of its records."""
        counts = self.outbox.counts(is_over=not self.is_held())
        return Counts.total(counts.values())

    def is_interrupted(self) -> bool:
        """Whether its process ended without a word, and its server was not told."""
        return vitals.is_interrupted(self.outbox.job_fields())

    def is_held(self) -> bool:
        """Whether a process sends it now."""
        with self.outbox.holding() as is_mine:
            return not is_mine


def leftovers(home: Path) -> Iterator[Leftover]:
    """All outboxes of this machine, delivered ones too; each is closed when the next is asked for.

    One that cannot be read is told of and left out.
    """
    for path in sorted((home / FOLDER).glob("*.db"), key=lambda path: path.stat().st_mtime):
        outbox = Outbox(path, 0)
        try:
            about = outbox.about()
            job = about.get("job") or {}
            if "id" in job:
                name = str(job.get("name") or "")
                yield Leftover(outbox, job["id"], name, about.get("host"))
        except StorageError as error:
            console.say(f"left out: {error}")
        finally:
            outbox.close()


def doctor(home: Path) -> int:
    """Print what is left of every run, with the reasons. Returns the exit code."""
    found = shown = 0
    for each in leftovers(home):
        found += 1
        if each.is_interrupted() or _is_left(each.counts(), each.outbox.left()):
            shown += 1
            _show(each)
    if not shown:
        runs = "1 run" if found == 1 else f"{found} runs"
        print(f"nothing is left to deliver ({runs} for a server in {home / FOLDER})")
    return 0


def sync(home: Path, job: str | None) -> int:
    """Send what is left of one run, or of all. Returns the exit code: 1 if something still is.

    Raises:
        NotFoundError: There is no run for such a job.
        KeyboardInterrupt: Ctrl-C, when what was under way has ended.
    """
    found, results = 0, []
    for each in leftovers(home):
        if job in (None, str(each.job)):
            found += 1
            if each.is_interrupted() or not each.outbox.is_empty():
                results.append(_sync(each))
    if job is not None and not found:
        raise NotFoundError(
            f"nothing was ever logged for job {job!r} of a server in {home / FOLDER}; "
            "`ray-synapse doctor` shows what is left."
        )
    if not results:
        print("nothing is left to deliver")
    return 0 if all(results) else 1


def _sync(leftover: Leftover) -> bool:
    """Send what is left of a run. Returns whether nothing waits any more."""
    job, outbox = leftover.job, leftover.outbox
    if leftover.is_held():
        print(f"job {job}: its run sends it right now")
        return True
    before = leftover.counts().delivered, outbox.left().models.get("delivered", 0)
    try:
        return _send(leftover)
    except (BackendError, SettingsError) as error:
        console.say(f"job {job}: {error}")
        return False
    finally:
        _report(leftover, *before)


def _report(leftover: Leftover, records: int, models: int) -> None:
    """Say what was delivered, beside what was before, and what is left."""
    counts, left = leftover.counts(), leftover.outbox.left()
    records, models = counts.delivered - records, left.models.get("delivered", 0) - models
    job = leftover.job
    parts = (counted(records, "record"), counted(models, "model"))
    if records or models:
        where = leftover.outbox.about().get("host") or leftover.where
        print(f"job {job}: {' and '.join(filter(None, parts))} delivered to {where}")
    for text in leftover.outbox.take_notes():
        console.say(text)
    rest = undelivered(job, [counts], left)
    if rest:
        console.say(rest)


def _send(leftover: Leftover) -> bool:
    environment = settings.load()
    credentials = credentials_for(leftover.host, environment)
    if credentials is None:
        raise SettingsError(
            f"it belongs to {leftover.where}, but configured is "
            f"{environment.server.get('host') or 'no server'}. Set SYNAPSE_HOST"
            f"{'' if leftover.host is None else '=' + leftover.host} and its token."
        )
    if_down = "Nothing was sent; try again later."
    if greet(credentials, leftover.job, environment.sources, if_down) is None:
        return False
    if leftover.host is None:  # from now on it is this one, also if the rest goes another day
        leftover.outbox.note_about(host=credentials.host)
    if leftover.outbox.end_if_interrupted():
        print(f"job {leftover.job}: its run was interrupted: this goes to its server, too")
    outbox, holder = leftover.outbox, Holder(leftover.outbox, leftover.job, credentials)
    line, total = console.ProgressLine(), leftover.counts().waiting
    outbox.begin_sending()
    holder.resume()

    def is_done() -> bool:
        left = Counts.total(outbox.counts(is_over=True).values()).waiting
        line.move(display_name(leftover.name), max(total - left, 0), total, "records")
        return outbox.is_empty() or outbox.is_stopped()

    patience = Patience(environment.deadline_s or settings.DEADLINE_S)
    try:
        with outbox.hurried():
            patience.wait(is_done, outbox.progress)
    finally:
        line.end()
        holder.close(LAST_REQUEST_S)
    if patience.is_interrupted:
        raise KeyboardInterrupt
    return outbox.is_empty()


def _is_left(counts: Counts, left: Left) -> bool:
    in_models = left.models.get("waiting", 0) + left.models.get("parked", 0)
    return bool(counts.waiting or counts.in_doubt or counts.parked or counts.dropped or in_models)


def _show(leftover: Leftover) -> None:
    counts, left = leftover.counts(), leftover.outbox.left()
    name = printable(display_name(leftover.name))
    print(f"job {leftover.job}  {name}  {leftover.where}")
    print(f"  records: {_words(counts._asdict(), 'logged', 'delivered')}")
    if dropped := leftover.outbox.dropped_here():
        print(f"  {dropped:,} were dropped for want of room: RAY_SYNAPSE_OUTBOX_BYTES gives more")
    lost = counts.dropped - Counts.total(leftover.outbox.counts().values()).dropped
    if lost:
        print(f"  {lost:,} of those that were dropped ended with the process that had logged them")
    if left.models:
        print(f"  models: {_words(left.models)}")
    if left.oldest_s is not None:
        print(f"  the oldest has waited for {age(left.oldest_s)}")
    if left.last_error:
        print(f"  last error: {shortened(left.last_error)}")
    for reason, number in sorted(left.reasons.items(), key=lambda item: -item[1]):
        print(f"  {number:,} x {shortened(reason)}")
    if leftover.is_interrupted():
        print(f"  {printable(vitals.obituary(leftover.outbox.job_fields(), local_time))}")
    if leftover.is_interrupted() or not leftover.outbox.is_empty():
        held = "its run sends it right now" if leftover.is_held() else _advice(leftover)
        print(f"  {held}")


def _advice(leftover: Leftover) -> str:
    if leftover.outbox.is_stopped():
        return (
            "its token was refused: set a valid SYNAPSE_ACCESS_TOKEN, then "
            f"`ray-synapse sync {leftover.job}` sends what waits"
        )
    if leftover.outbox.is_empty():
        return f"`ray-synapse sync {leftover.job}` tells its server"
    return f"`ray-synapse sync {leftover.job}` sends what waits"


def _words(numbers: dict[str, Any], *always: str) -> str:
    return ", ".join(
        f"{number:,} {word}" for word, number in numbers.items() if number or word in always
    )
