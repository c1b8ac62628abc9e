"""The calls of a Synapse backend: one method for each, with the JSON that goes over the wire."""

from collections.abc import Iterable
from typing import Any, Protocol

Json = dict[str, Any]
Query = Iterable[tuple[str, str]]  # the parameters of a URL, in order, repeated or not


class Api(Protocol):
    """What any client of Synapse can ask for. Every method may be called from any thread.

    Links in an answer (``next``, ``previous``, ``url``, ``file``) are paths that begin with ``/``
    here, and whole URLs over HTTP. A list is ``{"count", "next", "previous", "results"}``.

    A write takes a ``key``, the ``Idempotency-Key`` of HTTP: the first write that succeeds with a
    key is done, and each repetition gets its answer.

    All methods raise ``NotFoundError`` for what does not exist (404), ``RefusedError`` for what has
    the wrong form (400), ``TooLargeError`` and ``NoSpaceError`` for what is too large (413), and
    ``StorageError`` when nothing can be read or written now (503).
    """

    def create_logs(self, entries: Any, *, key: str | None = None) -> Json:
        """Keep one log entry, or all of a list or none. Answers ``{"count": entries kept}``."""

    def create_job(self, fields: Any, *, key: str | None = None) -> Json:
        """Make a job from its ``name``, and any field that ``update_job`` takes."""

    def get_job(self, job: int | str) -> Json:
        """All that is known of a job."""

    def update_job(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Overwrite fields of a job, each whole. Answers the job."""

    def list_jobs(self, query: Query = ()) -> Json:
        """Jobs, the newest first."""

    def create_model(self, fields: Any, *, key: str | None = None) -> Json:
        """Register a model under a name that is not taken. Answers the model."""

    def get_model(self, model: int | str) -> Json:
        """One model; ``file`` leads to its archive, or is None."""

    def list_models(self, query: Query = ()) -> Json:
        """Models, the newest first."""

    def put_chunk(
        self,
        upload: str | None,
        filename: str,
        content_range: str,
        chunk: bytes,
        *,
        key: str | None = None,
    ) -> Json:
        """Take the next bytes of a file; without an ``upload`` they are the first of a new one.

        Args:
            upload: The ``id`` of an upload that goes on.
            filename: What the client calls the file.
            content_range: ``bytes <first>-<last>/<total>``; ``first`` is the upload's ``offset``.
            chunk: The bytes.
            key: The idempotency key.
        """

    def finish_upload(self, upload: str, fields: Any, *, key: str | None = None) -> Json:
        """End an upload with the ``md5`` of the whole file. May be repeated."""

    def get_upload(self, upload: str) -> Json:
        """An upload's state: ``offset``, and ``completed_at`` once it has ended."""

    def override_best_trial(self, job: int | str, fields: Any, *, key: str | None = None) -> Json:
        """Register the trial that won: ``trial_id`` and its hyperparameters."""

    def get_plugin_release(self, release: int | str, query: Query = ()) -> Json:
        """A release; with ``expand=plugin`` the plugin as an object."""

    def list_ground_truth_events(self, query: Query = ()) -> Json:
        """The items of a dataset: ``category``, ``files`` and ``data``."""
