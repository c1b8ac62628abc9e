"""The handle of one run: what a script, a trial or another SDK holds to log something."""

import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ray_synapse import console, payloads
from ray_synapse.backend.protocol import Backend, Counts
from ray_synapse.delivery import cluster
from ray_synapse.delivery.channel import Channel
from ray_synapse.errors import BackendError, PayloadError
from ray_synapse.images import to_data_uri
from ray_synapse.progress import Progress
from ray_synapse.run_spec import RunSpec, Sweep
from ray_synapse.values import Wire, dumps, to_wire

FLUSH_S = 10.0  # at the end of a run: the longest that a script waits for its last records
SWEEP_STOP_S = 10.0  # likewise, for the last table of a sweep that just ended
LEVELS = ("debug", "info", "success", "warning", "error", "danger")  # of the backend's API


class TrainRun:
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

    def __init__(self, spec: RunSpec, *, owned: bool) -> None:
        self.name = spec.name
        self.job_id = spec.job_id
        self.metric, self.mode, self.upload = spec.metric, spec.mode, spec.upload
        self.num_samples = spec.num_samples
        self._spec = spec
        self._is_tune = spec.is_tune
        self._checkpoint_output: str | None = None
        owns_relay = owned and not cluster.in_worker()
        self._channel = Channel(spec.backend, spec.job_id, spec.relay, owns_relay=owns_relay)
        self._progress: Progress | None = None
        self._table: dict[str, Wire] | None = None  # the newest trials table that was logged
        self._sweeps: list[Sweep] = []  # the ones that are not finished yet, the newest last
        self._concluded = False  # the newest sweep is finished: models, best trial, last table
        self._told: set[str] = set()  # what finish said already
        self._owner_pid = os.getpid() if owned else None

    # What a script logs.

    def log_metric(self, category: str, key: str, value: Any, **metrics: Any) -> None:
        """Log a value, from a trial or a training.

        Args:
            category: The group it is shown in, such as ``"training"``.
            key: Its name, such as ``"loss"``.
            value: A number; NaN and infinities become null.
            **metrics: What belongs to it, such as ``epoch=3``.
        """
        self._put_metric(category, key, value, metrics, cluster.trial_id())

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
        data = payloads.visualization(category, group, index, meta, cluster.trial_id())
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
        self._table = table
        self._channel.put("trials", dumps(table))

    def set_progress(self, current: float, total: float | None, category: str) -> None:
        """Move the job's progress.

        Inside a trial this does nothing: there only the number of finished trials moves it.

        Args:
            current: How much is done.
            total: Out of how much; None if that is open.
            category: The step: ``dataset``, ``train``, ``trials``, ``model_upload``, or your own.
        """
        if cluster.trial_id() is not None:
            return
        if self._progress is None:
            self._progress = Progress(self._overall_before())
        record = self._progress.move(
            current, total, str(category), now=time.monotonic(), tuning=self.is_tune
        )
        self._channel.put("progress", dumps(record), step=str(to_wire(str(category))))

    def end_log(self) -> None:
        """Log that the run is complete, and wait up to 10 s until everything is written."""
        self.log_message("The run is complete.")
        self._channel.flush(FLUSH_S)

    def stats(self) -> dict[str, int]:
        """What became of the records of this run, of all its processes as far as known here.

        Returns:
            ``logged``, ``delivered``, ``waiting``, ``in_doubt``, ``parked``, ``dropped`` and
            ``replaced`` (snapshots that a newer one made needless before they were sent). The
            first is the sum of the others.
        """
        counts = self._channel.counts().values()
        return {word: sum(getattr(count, word) for count in counts) for word in Counts._fields}

    # What belongs to a trial or a training.

    @property
    def checkpoint_output(self) -> str | None:
        """The folder or file that this trial or training writes its model to.

        A relative path is made absolute when it is set.
        """
        return self._checkpoint_output

    @checkpoint_output.setter
    def checkpoint_output(self, path: str | os.PathLike[str] | None) -> None:
        self._checkpoint_output = None if path is None else str(Path(path).expanduser().absolute())

    @property
    def is_tune(self) -> bool:
        """Whether this is a tuning run; always so inside a trial."""
        return self._is_tune or cluster.trial_id() is not None

    @is_tune.setter
    def is_tune(self, value: bool) -> None:
        self._is_tune = bool(value)

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
        from ray_synapse.start import revive

        if self._owner_pid is not None:
            self._channel.open_relay()  # so that it is there when the pickle arrives
        return revive, (self._as_spec(),)

    # For the other parts of the package.

    def _put_metric(
        self, category: str, key: str, value: Any, metrics: Mapping[str, Any], trial: str | None
    ) -> None:
        self._channel.put("metric", dumps(payloads.metric(category, key, value, metrics, trial)))

    def _count_dropped(self, number: int) -> None:
        """Count records that were dropped before they got here."""
        self._channel.count_dropped(number)

    def _adopt(self) -> None:
        """This process drives the run from now on: it makes the relay and ends the job."""
        self._owner_pid = os.getpid()
        self._channel.open_relay(own=True)

    def _driven_here(self) -> dict[str, Wire]:
        """The fields of a job that this process drives."""
        return {"status": "RUNNING", "host": socket.gethostname(), "pid": os.getpid()}

    def _as_spec(self) -> RunSpec:
        old = self._spec
        return RunSpec(
            *(self.name, self.job_id, old.backend, old.relay, self.metric, self.mode, self.upload),
            *(self._is_tune, self.num_samples),
        )

    @property
    def _backend(self) -> Backend:
        return self._channel.backend

    def _patch_job(self, **fields: Wire) -> None:
        """Change the job; a backend that cannot is only told of."""
        try:
            self._backend.patch_job(self.job_id, fields)
        except BackendError as error:
            console.say_once(f"job {self.job_id}: not changed: {error}")

    def _overall_before(self) -> float:
        try:
            record = self._backend.job(self.job_id)["progress_record"] or {}
            return float(record["current_progress"]["overall"])
        except (BackendError, KeyError, TypeError, ValueError):
            return 0.0
