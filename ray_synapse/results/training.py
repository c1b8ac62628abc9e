"""The end of a training: its one model."""

from collections.abc import Mapping
from typing import Any

from ray_synapse.artifact import Artifact
from ray_synapse.errors import BackendError, TrainableError
from ray_synapse.metrics import CHECKPOINT_OUTPUT
from ray_synapse.results.checkpoints import resolve
from ray_synapse.results.outcome import Outcome
from ray_synapse.results.telling import say_where, tell
from ray_synapse.results.uploads import Moving, uploads_of
from ray_synapse.run import TrainRun
from ray_synapse.trained import WEIGHTS_PATH, Trained
from ray_synapse.values import to_wire

ALMOST = 0.99  # of a model: one that is refused counts as done, too


def finish_training(
    run: TrainRun, trained: Trained, hyperparameter: Mapping[str, Any]
) -> dict[str, Any]:
    """Upload the model of a training, under the run's name, and make it the job's result.

    Args:
        run: The run.
        trained: What came of the training.
        hyperparameter: What it was called with.

    Returns:
        ``{"model_id"}``: None if there is no model, if the run uploads none, or while a server has
        not got it yet (``ray-synapse sync`` completes it).

    Raises:
        TrainableError: There is nothing at the path that the training gave.
        BackendError: The backend does not take the model.
    """
    run.checkpoint_output = path = trained.path  # absolute from now on
    if path is None:
        what = ", ".join(trained.metrics)
        what = f"a dict with {what}, and no {WEIGHTS_PATH}" if what else "no path"
        tell(run, f"There is no model: train() returned {what}.")
        return _without_model(run)
    if run.upload == "none":
        tell(run, f"The model at {path} is not uploaded: upload is none.")
        return _without_model(run)
    metrics = {**trained.metrics, CHECKPOINT_OUTPUT: run.checkpoint_output}
    outcome = Outcome("", hyperparameter, metrics, None, (), "", "")
    result = _uploaded(run, outcome, _artifact(outcome, path))
    say_where(run, "the training is")
    return result


def _without_model(run: TrainRun) -> dict[str, Any]:
    result = {"model_id": None}
    run.set_progress(1, 1, "model_upload")
    run._patch_job(result=to_wire(result))
    say_where(run, "the training is")
    return result


def _artifact(outcome: Outcome, path: str) -> Artifact:
    artifact = resolve(outcome)
    if not artifact:
        raise TrainableError(
            f"train() gave {path} as the place of its model, but: {artifact.reason}. Return the "
            "path of a folder or file that is there when train() is done."
        )
    return artifact


def _uploaded(run: TrainRun, outcome: Outcome, artifact: Artifact) -> dict[str, Any]:
    uploads, moving = uploads_of(run), Moving(run)
    moving.move(0, 1)
    if not uploads.add(0, outcome, artifact):
        uploads.wait(lambda done, total: moving.move(min(done, ALMOST), total))
    moving.end()
    if 0 in uploads.refused:
        raise BackendError(
            f"the model was not uploaded: {uploads.refused[0]} It is still at {artifact.path}."
        )
    run.set_progress(1, 1, "model_upload")
    result = {"model_id": uploads.ids.get(0)}
    uploads.keep_result(result, 0)
    return result
