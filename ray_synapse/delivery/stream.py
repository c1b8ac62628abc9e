"""One upload of one archive: in one pass over its files, with about one chunk in memory."""

import time
import uuid
from collections.abc import Callable
from itertools import islice
from typing import Any

from ray_synapse.archive import Archive
from ray_synapse.backend.http import HttpApi
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.reading import Chunk, Reading
from ray_synapse.delivery.retry import Verdict, at_least_asked, verdict
from ray_synapse.errors import BackendError, NotFoundError

CHUNK_BYTES = 50 << 20  # as the published client: the server is known to take it
SETTLE_S = (
    1.0,
    1.0,
    2.0,
    4.0,
    4.0,
    4.0,
    8.0,
    8.0,
)  # a server was seen to finish 17 s after its client gave up
NOTE_EVERY_S = 0.5  # how far an upload came


class PausedError(Exception):
    """The process is not to send any more; another one goes on from where this one came to."""


class UploadStream:
    """Sends the archive of a model, from where an earlier try ended.

    Args:
        outbox: Where it is noted how far it came.
        api: The server.
        pause: Waits so many seconds; returns True when it is time to end.
        model: What is sent.
        archive: Its files.
        name: What the file is called.
    """

    def __init__(
        self,
        outbox: Outbox,
        api: HttpApi,
        pause: Callable[[float], bool],
        model: ModelRow,
        archive: Archive,
        name: str,
    ) -> None:
        self._outbox, self._api, self._pause = outbox, api, pause
        self._model, self._name = model, name
        self._archive = archive
        self._upload = model.upload
        self._nonce = uuid.uuid4().hex  # of the first chunk, which makes the upload
        self._offset = 0  # what the server has
        self._is_sure = True  # of that
        self._sent = 0
        self._noted_at = 0.0

    def send(self) -> str:
        """Send what the server lacks, and end the upload. Gives its id."""
        if self._upload is not None and self._ask().get("completed_at"):
            return self._done()
        with Reading(self._archive.pieces(), self._stop_if_paused) as reading:
            for start in range(0, self._archive.size, CHUNK_BYTES):
                chunk = Chunk(reading, min(CHUNK_BYTES, self._archive.size - start))
                self._send_from(chunk, start)
                chunk.finish()  # what the server has already is needed for the MD5
                self._stop_if_paused()
            md5 = reading.md5()
        self._finish(md5)
        return self._done()

    def _send_from(self, chunk: Chunk, start: int) -> None:
        """Send what the server lacks of a chunk; after a failure it is asked what that is."""
        waits, end = iter(SETTLE_S), start + chunk.length
        while not self._is_sure or self._offset < end:
            try:
                if not self._is_sure:
                    self._ask()
                if self._offset < start:
                    raise NotFoundError(f"upload {self._upload} has lost what was sent before")
                if self._offset < end:
                    self._put(chunk, start)
            except BackendError as error:
                self._is_sure = self._upload is None
                wait = next(waits, None)
                can_go_on = verdict(error, repeatable=True) is Verdict.AGAIN
                if wait is None or not can_go_on or self._pause(at_least_asked(wait, error)):
                    raise

    def _ask(self) -> dict[str, Any]:
        """What the server has."""
        state = self._api.get_upload(self._upload or "")
        self._offset = self._sent = int(state["offset"])
        self._is_sure = True
        return state

    def _put(self, chunk: Chunk, start: int) -> None:
        first, last = self._offset, start + chunk.length - 1
        self._sent = first  # what is sent again does not count twice
        answer = self._api.put_chunk(
            self._upload,
            self._name,
            f"bytes {first}-{last}/{self._archive.size}",
            chunk.after(first - start),
            key=f"chunk-{self._nonce}-{first}-{last}",
            on_sent=self._note_sent,
        )
        self._offset = last + 1
        if self._upload is None:
            self._upload = str(answer["id"])
            self._outbox.set_model(self._model.id, upload=self._upload)

    def _finish(self, md5: str) -> None:
        """End the upload. A server that gave no answer may still be at it, and is only asked."""
        assert self._upload is not None
        waits = iter(SETTLE_S)
        is_first = True
        while True:
            try:
                self._api.finish_upload(self._upload, {"md5": md5}, key=f"end-{self._upload}")
                return
            except BackendError as error:
                if verdict(error, repeatable=True) is not Verdict.AGAIN:
                    if not is_first and self._ask().get("completed_at"):
                        return  # it is refused since an earlier try has worked
                    raise
                is_first, is_lost = False, error.was_sent and error.status is None
                asked = list(waits if is_lost else islice(waits, 1))
                for wait in asked:
                    if self._pause(at_least_asked(wait, error)):
                        raise
                    if self._ask().get("completed_at"):
                        return
                if is_lost or not asked:
                    raise

    def _done(self) -> str:
        assert self._upload is not None
        size = self._archive.size
        self._outbox.set_model(self._model.id, uploaded=1, sent=size, size=size)
        return self._upload

    def _note_sent(self, number: int) -> None:
        """Now and then note how far it came: who waits for the end sees that bytes move."""
        self._sent += number
        if time.monotonic() - self._noted_at >= NOTE_EVERY_S:
            self._stop_if_paused()
            self._noted_at = time.monotonic()
            self._outbox.set_model(self._model.id, sent=self._sent)

    def _stop_if_paused(self) -> None:
        if self._pause(0):
            raise PausedError
