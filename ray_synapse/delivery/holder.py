"""The threads that empty an outbox, in the one process that holds it."""

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ray_synapse import console
from ray_synapse.artifact import Artifact, artifact_at
from ray_synapse.backend.http import Credentials, HttpApi
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.fetch import Model, fetch_model
from ray_synapse.delivery.lane import POLL_S
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Backoff, Verdict, verdict
from ray_synapse.delivery.sender import Sender
from ray_synapse.delivery.standing import Standing
from ray_synapse.delivery.stream import PausedError
from ray_synapse.delivery.uploader import Uploader
from ray_synapse.errors import BackendError, StorageError

UPLOADS = 2  # at a time: more only share the same line, and each holds a chunk in memory
TRY_LOCK_S = 0.3  # between two looks whether the process that holds the outbox has ended
MAX_READS = 5  # of a model whose files cannot be read, before it is given up

Answer = TypeVar("Answer")


class Holder:
    """Sends what an outbox holds, between ``resume`` and ``pause``, when no other process does.

    Its threads are there from the beginning: none can be started while the interpreter exits.

    Args:
        outbox: The outbox.
        job: The run's job.
        credentials: The server, and how to be let in.
    """

    def __init__(self, outbox: Outbox, job: JobId, credentials: Credentials) -> None:
        self._outbox, self._job = outbox, job
        self._api, self._credentials = HttpApi(credentials), credentials
        self._home = outbox.path.parents[1]
        self._standing = Standing(outbox, job, credentials.host)
        self._wanted, self._paused = threading.Event(), threading.Event()
        self._paused.set()
        self._is_holding = threading.Event()  # between having the outbox and giving it away
        self._has_lock = threading.Event()
        self._is_closed = False
        self._uploader = Uploader(outbox, self._api, job, self._pause_upload)
        self._artifacts: dict[int, Artifact] = {}  # that were handed to this process
        self._choosing = threading.Lock()  # holds the next two together
        self._taken: set[int] = set()  # models that one of the threads has
        self._tries: defaultdict[int, Backoff] = defaultdict(Backoff)  # of each model
        self._reads: Counter[int] = Counter()  # that failed, of the files of each model
        for work in (self._send, *[self._upload] * UPLOADS):
            threading.Thread(target=work, name="ray_synapse-delivery", daemon=True).start()

    def resume(self) -> None:
        """Send from now on, as soon as no other process holds the outbox. Waits for nothing."""
        with contextlib.suppress(StorageError):
            self._outbox.note_about(stopped=None)
        self._standing.stopped = False
        self._paused.clear()
        self._wanted.set()

    def pause(self) -> None:
        """Send no more: what is under way is finished, then the outbox is free. Does not wait."""
        self._wanted.clear()
        self._paused.set()

    def close(self, timeout: float) -> None:
        """Pause for good, and wait up to ``timeout`` seconds for what is under way."""
        self._is_closed = True
        self._paused.set()
        self._wanted.set()
        give_up = time.monotonic() + timeout
        while self._has_lock.is_set() and time.monotonic() < give_up:
            time.sleep(0.02)
        self._api.close()

    @property
    def is_holding(self) -> bool:
        """Whether this process is the one that sends."""
        return self._is_holding.is_set()

    def know_artifact(self, number: int, artifact: Artifact) -> None:
        """Take the files of a model, with the file system that they lie on."""
        self._artifacts[number] = artifact

    def fetch_model(self, model_id: int | str) -> Model:
        """Download a model from the server and unpack it, in the calling thread."""
        api = HttpApi(self._credentials)  # of its own: the other's ends with the right to send
        with contextlib.closing(api):
            return fetch_model(api, self._credentials.host, self._home, model_id)

    # The threads

    def _send(self) -> None:
        while self._wanted.wait() and not self._is_closed:
            self._safely(self._hold_if_free)
            if self._standing.stopped:  # only another token changes that; others may have it
                self._wanted.clear()
            self._paused.wait(TRY_LOCK_S)

    def _hold_if_free(self) -> None:
        with self._outbox.holding() as is_mine:
            if is_mine:
                self._has_lock.set()
                self._hold()
        self._has_lock.clear()

    def _hold(self) -> None:
        sender = Sender(self._outbox, self._api, self._job, self._standing)
        self._is_holding.set()
        try:
            while not (self._paused.is_set() or self._standing.stopped):
                wait = self._safely(sender.step)
                self._paused.wait(POLL_S if wait is None else wait)
        finally:
            self._safely(sender.close)
            self._is_holding.clear()
            while self._is_uploading():  # the lock is for the uploads, too
                time.sleep(0.02)
            self._safely(self._outbox.shrink)
            self._api.close()  # another process goes on

    def _is_uploading(self) -> bool:
        with self._choosing:
            return bool(self._taken)

    def _upload(self) -> None:
        while self._wanted.wait() and not self._is_closed:
            model = self._safely(self._next_model) if self._may_upload() else None
            if model is None:
                self._paused.wait(POLL_S)
                continue
            try:
                self._safely(partial(self._deliver, model))
            finally:
                with self._choosing:
                    self._taken.discard(model.id)

    def _pause_upload(self, seconds: float) -> bool:
        """Wait; whether the upload has to make place for another process."""
        self._paused.wait(seconds)
        return not self._is_holding.is_set() or self._paused.is_set()

    def _may_upload(self) -> bool:
        return (
            self._is_holding.is_set() and not self._standing.stopped and not self._standing.wait()
        )

    def _next_model(self) -> ModelRow | None:
        with self._choosing:
            if not self._is_holding.is_set():
                return None
            for number in self._outbox.waiting_models():
                is_due = not self._standing.left(self._tries[number])
                if is_due and number not in self._taken:
                    self._taken.add(number)
                    return self._outbox.model(number)
        return None

    def _deliver(self, model: ModelRow) -> None:
        try:
            delivered = self._uploader.deliver(model, self._artifact_of(model))
        except PausedError:
            return
        except BackendError as error:
            self._standing.failed(error)
            may_follow = verdict(error, repeatable=True) in (Verdict.AGAIN, Verdict.STOP)
            self._failed(model, error, str(error), is_final=not may_follow)
        except Exception as error:  # a file system's, or an answer that lacks what it must have
            self._reads[model.id] += 1
            is_final = isinstance(error, FileNotFoundError) or self._reads[model.id] >= MAX_READS
            reason = f"its files: {error}" if isinstance(error, OSError) else repr(error)
            self._failed(model, BackendError(), reason, is_final=is_final)
        else:
            self._standing.answered()
            self._outbox.model_delivered(model.id, delivered)
            self._artifacts.pop(model.id, None)

    def _artifact_of(self, model: ModelRow) -> Artifact:
        known = self._artifacts.get(model.id)
        if known is not None:
            return known
        if model.uri is None:
            raise OSError("no address says where they lie, and this process was not told")
        return artifact_at(model.uri)

    def _failed(self, model: ModelRow, error: BackendError, reason: str, *, is_final: bool) -> None:
        self._tries[model.id].failed(error, time.monotonic())
        state = "parked" if is_final else "waiting"
        self._outbox.set_model(model.id, state=state, reason=reason)

    def _safely(self, step: Callable[[], Answer]) -> Answer | None:
        """Do a step; an outbox that cannot be written now is tried again, and told of."""
        try:
            return step()
        except StorageError as error:
            console.say_once(f"job {self._job}: cannot deliver now, trying again: {error}")
        except Exception as error:  # a fault of ours must not end the delivery of the run
            console.say_once(f"job {self._job}: a delivery failed: {type(error).__name__}: {error}")
        return None
