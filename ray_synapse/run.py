"""The handle of one run: what a script, a trial or another SDK holds to log something."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ray_synapse import payloads, signals
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Counts, Left
from ray_synapse.delivery import cluster
from ray_synapse.delivery.fetch import fetch_local
from ray_synapse.errors import BackendError, PayloadError
from ray_synapse.images import to_data_uri
from ray_synapse.places import is_uri
from ray_synapse.progress import Progress
from ray_synapse.run_core import RunCore
from ray_synapse.values import dumps, to_wire

FLUSH_S = 10.0  # at the end of a run: the longest that a script waits for its last records
SWEEP_STOP_S = 10.0  # likewise, for the last table of a sweep that just ended
LEVELS = ("debug", "info", "success", "warning", "error", "danger")  # of the backend's API


class TrainRun(RunCore):
    """One run on the backend. Made by ``ray_synapse.init``; there is one per job and process.

    It can be pickled: what arrives in another process of the same Ray cluster is a handle of the
    same run, whose records go the same way. No ``log_*`` method raises because of the backend.

    Attributes:
        name: The run's name, encoded (``encode_name``).
        job_id: The id of its job.
        metric: The metric that is optimized, or None.
        mode: ``"min"``, ``"max"`` or None.
        upload: Which trials' models ``finish`` uploads: ``"all"``, ``"best"`` or ``"none"``.
        num_samples: How many trials the sweep will have; None if that is open or not known here.
    """

    # What a script logs.

    def log_metric(self, category: str, key: str, value: Any, **metrics: Any) -> None:
        """Log a value, from a trial or a training.

        Args:
            category: The group it is shown in, such as ``"training"``.
            key: Its name, such as ``"loss"``.
            value: A number; NaN and infinities become null.
            **metrics: What belongs to it, such as ``epoch=3``.
        """
        self._put_metric(category, key, value, metrics, self._trial_id)
        if self._heard is not None:
            self._heard(str(category), str(key), value)

    def log_visualization(
        self, category: str, group: str, index: int, image: Any, **meta: Any
    ) -> None:
        """Log an image.

        Args:
            category: What it shows, such as ``"predictions"``.
            group: Such as ``"train"``.
            index: Its place in the group.
            image: A path, the bytes of an image file, a PIL image or a numpy array.
            **meta: What belongs to it.

        Raises:
            PayloadError: The image is none of these, cannot be read, or has more than 20 MiB.
        """
        data = payloads.visualization(category, group, index, meta, self._trial_id)
        self._channel.put("visualization", dumps(data), file=to_data_uri(image))

    def log_message(self, content: str, level: str = "info") -> None:
        """Log a line of text.

        Args:
            content: The text; what is over 20,000 characters is cut.
            level: ``debug``, ``info``, ``success``, ``warning``, ``error`` or ``danger``.

        Raises:
            PayloadError: The level is none of these. Also a ValueError.
        """
        if level not in LEVELS:
            raise PayloadError(f"level is {level!r}; allowed are {', '.join(LEVELS)}.")
        self._channel.put("message", dumps(payloads.message(content)), level=level)

    def log_trials(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        trials: Mapping[str, Any] | None = None,
        base: Iterable[str] | None = None,
        hyperparameters: Iterable[str] | None = None,
        metrics: Iterable[str] | None = None,
        best_trial: str = "",
    ) -> None:
        """Log the whole table of trials; it replaces the one before.

        Args:
            data: The whole payload. Or, instead of it:
            trials: Trial id to values: one flat object, or three lists ``base``,
                ``hyperparameters`` and ``metrics`` in the order of the columns.
            base: Names of the fixed columns.
            hyperparameters: Names of the hyperparameters' columns.
            metrics: Names of the metrics' columns.
            best_trial: The id of the trial that won; empty while the sweep runs.

        Raises:
            PayloadError: The payload is no dict or has no ``trials``. Also a ValueError.
        """
        table = payloads.trials(data, trials, base, hyperparameters, metrics, best_trial)
        self._put_table(dumps(table))

    def set_progress(self, current: float, total: float | None, category: str) -> None:
        """Move the job's progress.

        Inside a trial this does nothing: there only the number of finished trials moves it.

        Args:
            current: How much is done.
            total: Out of how much; None if that is open.
            category: The step: ``dataset``, ``train``, ``trials``, ``model_upload``, or your own.
        """
        if self._trial_id is not None:
            return
        if self._progress is None:
            self._progress = Progress(self._overall_before())
        record = self._progress.move(
            current, total, str(category), now=time.monotonic(), tuning=self.is_tune
        )
        self._channel.put("progress", dumps(record), step=str(to_wire(str(category))))

    def end_log(self, status: str = "SUCCEEDED") -> None:
        """Log that the run has ended, and wait up to 10 s until everything is written.

        Args:
            status: How it ended: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``. It is only told: leaving
                the run, or the end of the script, sets the status of the job.
        """
        if status == "SUCCEEDED":
            self.log_message("The run is complete.")
        else:
            level = "error" if status == "FAILED" else "warning"
            self.log_message(f"The run has ended: {status}.", level)
        self._channel.flush(FLUSH_S)

    def stats(self) -> dict[str, Any]:
        """What became of the records of this run, of all its processes as far as known here.

        Returns:
            Numbers of records: ``logged``, ``delivered``, ``waiting``, ``in_doubt`` (sent, but the
            server's answer was lost), ``parked`` (the server refuses them), ``dropped`` and
            ``replaced`` (snapshots that a newer one made needless before they were sent). The
            first is the sum of the others. Then ``models`` (their number by state), ``reasons``
            (why something is in doubt or parked, with how often), ``last_error`` of the delivery
            or None, and ``oldest_s``, the age of the oldest that waits in seconds, or None.
        """
        counts = Counts.total(self._channel.counts().values())
        try:
            left = self._backend.left(self.job_id)
        except BackendError as error:
            left = Left({}, {}, str(error), None)
        return {**counts._asdict(), **left._asdict()}

    # What belongs to a trial or a training.

    @property
    def checkpoint_output(self) -> str | None:
        """The folder or file that this trial or training writes its model to.

        A relative path is made absolute when it is set. In ``finish`` it may also be a URI, such as
        ``s3://bucket/model``.
        """
        return self._checkpoint_output

    @checkpoint_output.setter
    def checkpoint_output(self, path: str | os.PathLike[str] | None) -> None:
        text = None if path is None else os.fspath(path)
        if text is not None and not is_uri(text):
            text = str(Path(text).expanduser().absolute())
        self._checkpoint_output = text

    @property
    def is_tune(self) -> bool:
        """Whether this is a tuning run; always so inside a trial."""
        return self._is_tune or self._trial_id is not None

    @is_tune.setter
    def is_tune(self, value: bool) -> None:
        self._is_tune = bool(value)

    def get_model(self, model_id: int | str) -> dict[str, Any]:
        """Get a model of the backend to start from: downloaded and unpacked, once a machine.

        A trial gets it by way of the run's relay, so it needs no token. A model that the trials
        all start from is best fetched in the script: ``checkpoint = run.get_model(7)``, then
        ``wrap_trainable(train_fn, run=run, checkpoint=checkpoint)`` hands it on and makes it the
        parent of the trials' models.

        Args:
            model_id: The model's id on the backend.

        Returns:
            ``{"id", "name", "category", "path"}``; ``path`` is the folder with its files, which
            others use, too: for reading only.

        Raises:
            NotFoundError: There is no such model, or it has no file.
            BackendError: It cannot be downloaded, or its archive is not one that is safe to unpack.
        """
        if isinstance(self._backend, LocalBackend):
            return fetch_local(self._backend.home, model_id)
        return self._channel.fetch_model(model_id)

    def _of_trial(self, trial: str) -> "TrainRun":
        """The same run, for what belongs to a trial of another process."""
        other = object.__new__(TrainRun)
        other.__dict__ = {**self.__dict__, "_of": trial, "_checkpoint_output": None}
        return other

    # The end.

    def __enter__(self) -> "TrainRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from ray_synapse.start import close

        close(self, error)

    def __repr__(self) -> str:
        return f"<TrainRun {self.name!r}, job {self.job_id}, {self._spec.backend.describe()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from ray_synapse.registry import revive

        cluster.refuse_client()
        if self._owner_pid is not None:
            signals.watch()  # Ray may have started since
        self._channel.open_relay()  # so that it is there when the pickle arrives
        return revive, (self._as_spec(),)
