"""The driver's part in the delivery: that exactly one process sends, and a person hears of it."""

import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_synapse import console
from ray_synapse.backend.http import Credentials
from ray_synapse.delivery.fetch import Model
from ray_synapse.delivery.holder import Holder
from ray_synapse.delivery.patience import Patience
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.errors import StorageError

if TYPE_CHECKING:
    from ray_synapse.artifact import Artifact

LOOK_S = 1.0  # between two looks whether the relay lives, and whether there is something to say
SILENT_S = 2.0  # before a person is told what is waited for
LAST_REQUEST_S = 2.0  # for what is under way when a run closes: it would be in doubt else


class Courier:
    """Has the relay send what a run has logged for a server, or this process without one.

    Args:
        backend: The run's backend.
        credentials: The server, and how to be let in.
        look_after: Called about each second, on a thread: finds out whether the relay lives.
    """

    def __init__(
        self, backend: SynapseBackend, credentials: Credentials, look_after: Callable[[], None]
    ) -> None:
        self._outbox, self._job = backend.outbox, backend.spec.job
        self._credentials = credentials
        self._relay: Any = None
        self._artifacts: dict[int, Artifact] = {}  # of models that were to be delivered
        self._holder = Holder(backend.outbox, backend.spec.job, credentials)
        with contextlib.suppress(StorageError):
            self._outbox.begin_sending()
        self._holder.resume()
        self._closed = threading.Event()
        threading.Thread(
            target=_watch,
            args=(weakref.WeakMethod(look_after), self._outbox.take_notes, self._closed),
            name="ray_synapse-courier",
            daemon=True,
        ).start()

    def follow(self, relay: Any) -> None:
        """Have this relay send from now on; without one, this process."""
        if relay is self._relay or self._closed.is_set():
            return
        if self._relay is not None:
            self._dismiss(LAST_REQUEST_S)
        self._relay = relay
        if relay is None:
            self._holder.resume()
            return
        self._holder.pause()
        with contextlib.suppress(Exception):  # it is gone again: then it is not followed long
            relay.connect.remote(*self._credentials.reveal())
            for number, artifact in list(self._artifacts.items()):
                self._hand_over(number, artifact)

    def know_artifact(self, number: int, artifact: "Artifact") -> None:
        """Hand over the files of a model that is to be delivered."""
        self._artifacts[number] = artifact
        self._holder.know_artifact(number, artifact)
        if self._relay is not None:
            self._hand_over(number, artifact)

    def _hand_over(self, number: int, artifact: "Artifact") -> None:
        with contextlib.suppress(Exception):  # a file system that no pickle takes: by its URI
            self._relay.know_artifact.remote(number, artifact)

    def _dismiss(self, timeout: float) -> Any:
        """Have the relay send no more; it is kept alive until it has ended what is under way."""
        relay, self._relay = self._relay, None
        with contextlib.suppress(Exception):  # it is gone already
            answer = relay.disconnect.remote(timeout).future()
            answer.add_done_callback(lambda _: relay)
            return answer
        return None

    def fetch_model(self, model_id: int | str) -> Model:
        """Download a model from the server and unpack it."""
        return self._holder.fetch_model(model_id)

    def wait(self, patience: Patience, is_done: Callable[[], bool] | None = None) -> bool:
        """Wait until all that was logged so far is delivered, or what ``is_done`` says is true.

        A server that refuses the token is not waited for.

        Returns:
            Whether it is so.

        Raises:
            StorageError: The outbox cannot be read.
        """
        if is_done is None:
            so_far = self._outbox.newest_ids()
            is_done = functools.partial(self._outbox.is_empty, so_far)

        tell_at = time.monotonic() + SILENT_S

        def is_over() -> bool:
            if is_done() or self._outbox.is_stopped():
                return True
            if time.monotonic() > tell_at and patience.left > 0:
                console.say_once(
                    f"job {self._job}: waiting for {self._credentials.host} to take what was "
                    "logged (Ctrl-C ends the wait)"
                )
            return False

        with self._outbox.hurried():
            return patience.wait(is_over, self._outbox.progress) and is_done()

    def close(self, *, at_once: bool) -> None:
        """Send no more. What is under way may end, unless ``at_once``."""
        self._closed.set()
        timeout = 0.0 if at_once else LAST_REQUEST_S
        answer = self._dismiss(timeout) if self._relay is not None else None
        if answer is not None and not at_once:
            with contextlib.suppress(Exception):
                answer.result(timeout + 1.0)
        self._holder.close(timeout)
        self.tell()

    @property
    def credentials(self) -> Credentials:
        """The server, and how to be let in."""
        return self._credentials

    @property
    def is_closed(self) -> bool:
        """Whether nothing is sent any more."""
        return self._closed.is_set()

    def serves(self, credentials: Credentials) -> bool:
        """Whether it still sends, with these."""
        is_same = credentials.reveal() == self._credentials.reveal()
        return is_same and not self._closed.is_set() and not self._outbox.is_stopped()

    def tell(self) -> None:
        """Say what the sending process has noted for a person."""
        _tell(self._outbox.take_notes)


def _watch(
    look_after: "weakref.WeakMethod[Callable[[], None]]",
    take_notes: Callable[[], list[str]],
    closed: threading.Event,
) -> None:
    while not closed.wait(LOOK_S):
        look = look_after()
        if look is None:
            return
        with contextlib.suppress(Exception):  # nothing that it finds may end it
            look()
        del look
        _tell(take_notes)


def _tell(take_notes: Callable[[], list[str]]) -> None:
    with contextlib.suppress(StorageError):
        for text in take_notes():
            console.say(text)
