"""How the models of a sweep get to the run's backend: at once, or by way of its outbox."""

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ray_synapse import console
from ray_synapse.artifact import Artifact, identity
from ray_synapse.backend.local import LocalBackend
from ray_synapse.delivery.synapse import SynapseBackend
from ray_synapse.errors import BackendError
from ray_synapse.names import display_name
from ray_synapse.results.checkpoints import resolve
from ray_synapse.results.decision import entry_of
from ray_synapse.results.outcome import Outcome, outcome_of
from ray_synapse.results.upload import upload_model
from ray_synapse.run import TrainRun
from ray_synapse.run_core import RunCore
from ray_synapse.values import Wire, to_wire

ModelId = int | str
Moved = Callable[
    [float, int], None
]  # how many models have arrived (in parts, too), and of how many


class Uploads(Protocol):
    """Takes the models of a sweep.

    Attributes:
        ids: The index of a trial to its model's id; None for a model that is still on its way.
        refused: The index of a trial to the reason why its model is not uploaded.
    """

    ids: dict[int, ModelId | None]
    refused: dict[int, str]

    def add(self, index: int, outcome: Outcome, artifact: Artifact) -> bool:
        """Take the model of a trial. Returns whether it is there already."""

    def wait(self, moved: Moved) -> None:
        """Wait for what is still on its way, and say how it moves."""

    def keep_result(self, summary: dict[str, Any], best: int | None) -> None:
        """Make the summary the result of the job; ``best`` is the index of the trial that won."""


class Moving:
    """Shows how the models move: on the run, and as a line in the terminal.

    Only what has changed: each record that the run sends counts as progress of its delivery, for
    which the end of the run waits.

    Args:
        run: The run.
        is_logged: Whether the run's progress moves, too.
    """

    def __init__(self, run: TrainRun, *, is_logged: bool = True) -> None:
        self._run, self._is_logged = run, is_logged
        self._line = console.ProgressLine()
        self._told: set[tuple[float, int]] = set()

    def move(self, done: float, total: int) -> None:
        """So many models have arrived, in parts too."""
        where = (round(done, 2), total)
        if where in self._told:
            return
        self._told.add(where)
        share = f"models · {done / total:.0%}"
        self._line.move(display_name(self._run.name), int(done), total, share)
        if self._is_logged:
            self._run.set_progress(*where, "model_upload")

    def end(self) -> None:
        """Leave the line in the terminal as it is."""
        self._line.end()


def uploads_of(run: RunCore) -> Uploads:
    """The way that the models of this run go."""
    return _Queued(run) if isinstance(run._backend, SynapseBackend) else _AtOnce(run)


class _AtOnce:
    """To the embedded backend."""

    def __init__(self, run: RunCore) -> None:
        self._run, self._space = run, _search_space(run)
        self.ids: dict[int, ModelId | None] = {}
        self.refused: dict[int, str] = {}

    def add(self, index: int, outcome: Outcome, artifact: Artifact) -> bool:
        run, backend = self._run, self._run._backend
        assert isinstance(backend, LocalBackend)
        configuration = {"search_space": self._space, **entry_of(outcome, artifact)}
        try:
            self.ids[index] = upload_model(
                *(backend, run.job_id, _name(run, outcome), artifact, configuration),
                parent=run._parent_model,
            )
        except Exception as error:  # any file system's, or the backend's: the others go on
            self.refused[index] = str(error) or type(error).__name__
        return True

    def wait(self, moved: Moved) -> None:
        """There is nothing to wait for."""

    def keep_result(self, summary: dict[str, Any], best: int | None) -> None:
        self._run._patch_job(result=summary)


class _Queued:
    """To a server, by way of the outbox: the process that holds it uploads."""

    def __init__(self, run: RunCore) -> None:
        self._run, self._space = run, _search_space(run)
        assert isinstance(run._backend, SynapseBackend)
        self._outbox = run._backend.outbox
        self._numbers: dict[int, int] = {}  # the index of a trial to its model's in the outbox
        self.ids: dict[int, ModelId | None] = {}
        self.refused: dict[int, str] = {}

    def add(self, index: int, outcome: Outcome, artifact: Artifact) -> bool:
        try:
            self._numbers[index] = request_model(self._run, self._space, outcome, artifact)
        except (BackendError, OSError) as error:
            self.refused[index] = str(error) or type(error).__name__
        return False

    def wait(self, moved: Moved) -> None:
        courier = self._run._channel.courier
        try:
            if courier is not None and self._numbers:
                courier.wait(self._run._patience, lambda: self._look(moved))
            for index, number in self._numbers.items():
                row = self._outbox.model(number)
                if row.state == "parked":
                    self.refused[index] = row.reason or "the server refuses it"
                else:
                    self.ids[index] = row.model
        except BackendError as error:  # the outbox cannot be read now
            console.say_once(f"job {self._run.job_id}: its models are not known now: {error}")
            self.ids.update({each: None for each in self._numbers if each not in self.refused})

    def keep_result(self, summary: dict[str, Any], best: int | None) -> None:
        places: dict[int, list[Wire]] = {}
        for place, index in enumerate(sorted(self.ids)):
            if index in self._numbers:
                places[self._numbers[index]] = [["trial_models", place, "model_id"]]
        if best in self._numbers and best in self.ids:
            places[self._numbers[best]].append(["model_id"])
        try:
            self._outbox.put_result(summary, places)
        except BackendError as error:
            console.say_once(f"job {self._run.job_id}: its result could not be kept: {error}")

    def _look(self, moved: Moved) -> bool:
        shares = self._outbox.shares()
        mine = [shares[number] for number in self._numbers.values()]
        moved(sum(mine), len(mine))
        return all(share == 1.0 for share in mine)


class EarlyUploads:
    """Has each trial's model uploaded when the trial has completed, while the sweep goes on.

    Only a copy that Tune keeps: a folder of the user's own may be another trial's by now, which
    shows at the end. What goes wrong here is left for the end, too.

    Args:
        run: The run; its models go to a server.
    """

    def __init__(self, run: RunCore) -> None:
        self._run = run
        self._trials: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="ray_synapse-early", daemon=True).start()

    def add(self, trial: Any) -> None:
        """Take a trial that has completed. Waits for nothing."""
        self._trials.put(trial)

    def close(self) -> None:
        """The run has ended. Waits for nothing."""
        self._trials.put(None)

    def _work(self) -> None:
        while (trial := self._trials.get()) is not None:
            try:
                outcome = outcome_of(trial)
                artifact = resolve(outcome)
                if artifact and artifact.source == "checkpoint" and not outcome.error:
                    self._run._channel.open_relay()  # uploads from here would slow Tune's loop
                    request_model(self._run, _search_space(self._run), outcome, artifact)
            except Exception as error:  # a file system's
                console.say_once(f"job {self._run.job_id}: a model is left for the end: {error}")


def request_model(run: RunCore, space: Wire, outcome: Outcome, artifact: Artifact) -> int:
    """Put a trial's model into the outbox. Returns its number there.

    Raises:
        OSError: Its files cannot be listed.
        StorageError: The outbox cannot be written.
    """
    assert isinstance(run._backend, SynapseBackend)
    files = artifact.files()
    configuration = {"search_space": space, **entry_of(outcome, artifact)}
    number = run._backend.outbox.request_model(
        _name(run, outcome),
        identity(artifact, files),
        configuration,
        parent=run._parent_model,
        uri=artifact.uri(),
        size=sum(file.size for file in files),
    )
    if run._channel.courier is not None:
        run._channel.courier.know_artifact(number, artifact)
    return number


def _name(run: RunCore, outcome: Outcome) -> str:
    """The name of a trial's model; a training has no trial."""
    return f"{run.name}_{outcome.trial_id}" if outcome.trial_id else run.name


def _search_space(run: RunCore) -> Wire:
    try:
        return to_wire(run._backend.job(run.job_id)["search_space"])
    except (BackendError, KeyError):
        return None
