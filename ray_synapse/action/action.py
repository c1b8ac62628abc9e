"""``TrainAction``: the platform's JSON in, a training or a sweep out."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from ray_synapse import connect, registry, settings, start
from ray_synapse.action import conclusion, modes
from ray_synapse.action.checks import Checked, Checks
from ray_synapse.action.plugin import Plugin
from ray_synapse.config.params import is_old_form
from ray_synapse.connect import Destination
from ray_synapse.delivery.cluster import refuse_client
from ray_synapse.errors import SettingsError
from ray_synapse.progress import Progress
from ray_synapse.run import TrainRun

OLD_FORM = (
    '"action": "tune" with "hyperparameter": [...] is deprecated; write {"action": "train", '
    '"params": {"is_tune": true, "hyperparameters": [...], "tune_config": {...}, ...}}.'
)


class TrainAction:
    """A training, or a sweep of trials, as the platform's JSON describes it.

    ``{"action": "train", "params": {"name", "dataset", "checkpoint", "is_tune", ...}}``, or only
    its params. With ``is_tune`` it is a sweep, of ``hyperparameters`` and by ``tune_config``, with
    ``num_cpus`` and ``num_gpus`` for each trial; else a training in this process, with
    ``hyperparameter`` (an object, which is passed on as it is). Params that the platform does not
    know go to the plugin, as keyword arguments.

    Args:
        params: The JSON object. It is not changed.
        train: ``train(run, dataset, hyperparameter, checkpoint, **kwargs)`` returns the path of its
            model, or a dict with ``weights_path``. Without ``tune`` it is also what a sweep tunes:
            each ``run.log_metric`` whose key (or category/key) is the metric that is optimized then
            counts as a report, and the path is the trial's ``checkpoint_output``.
        tune: ``tune(hyperparameter, run, dataset, checkpoint, **kwargs)``: a function for Tune, as
            ``wrap_trainable`` takes one.
        run: The run to log to, from ``init``; it is not closed. Without one it is made, where the
            settings say, and closed at the end.
        load_dataset: ``load_dataset(id, run)`` gives what the plugin gets as its dataset. Without
            it that is ``{"train": [{"category", "files", "data"}, ...], "validation": ...}``: the
            ground-truth events of the dataset on the backend, by category.
        run_config: For Tune, such as ``tune.RunConfig(storage_path="s3://...")``. The callback that
            logs the trials is added.
        address: Of the Ray cluster that a sweep runs on. Without it Ray that this process has
            started, else the cluster of ``RAY_ADDRESS`` or of the Ray job, else a local one.

    Attributes:
        has_begun: Whether everything was found right, and the work has begun.
        status: The final status of the job: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``; None before.

    Raises:
        SettingsError: ``run`` is no run of ours. Also a ValueError.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        *,
        train: Callable[..., Any] | None = None,
        tune: Callable[..., Any] | None = None,
        run: TrainRun | None = None,
        load_dataset: Callable[..., Any] | None = None,
        run_config: "tune.RunConfig | None" = None,
        address: str | None = None,
    ) -> None:
        if run is not None and not isinstance(run, TrainRun):
            raise SettingsError(f"run is {run!r}; give the run that ray_synapse.init() gave.")
        if is_old_form(params):
            warnings.warn(OLD_FORM, DeprecationWarning, stacklevel=2)
        self._given, self._plugin = params, Plugin(train, tune, load_dataset)
        self._run, self._run_config, self._address = run, run_config, address
        self._destination: Destination | None = None
        self.has_begun = False
        self.status: str | None = None

    def start(self) -> dict[str, Any]:
        """Check everything, do it, and log the end, also if the plugin raises.

        Returns:
            ``{"model_id"}`` of a training, what ``finish`` returns of a sweep.

        Raises:
            ConfigError: The JSON is wrong: with all faults, before anything starts.
            SettingsError: A setting or an argument is wrong. Also a ValueError.
            LibraryError: A searcher's or scheduler's library is missing.
            TrainableError: What the plugin returned cannot be used.
            BackendError: The backend cannot be used, or does not take the model.
            Exception: What the plugin raises, as it is.
        """
        self._check_run()  # to one that has ended nothing can be told
        try:
            checked = self.check()
        except BaseException as error:
            conclusion.refuse(error, self._run, self._destination)
            raise
        self.has_begun = True
        return self._carry_out(checked)

    def check(self) -> Checked:
        """Check everything that ``start`` checks, and do nothing.

        A sweep needs Ray for it, which is connected or started.

        Raises:
            ConfigError: As ``start`` does; so are the other errors that come before the plugin.
        """
        self._check_run()
        refuse_client()
        return Checks(self._given, self._plugin, self._find_destination, self._run).run(
            self._address
        )

    def _check_run(self) -> None:
        if self._run is not None and self._run not in registry.open_runs():
            raise SettingsError(f"{self._run!r} has ended; give a new one from ray_synapse.init().")

    def _carry_out(self, checked: Checked) -> dict[str, Any]:
        run = self._run or self._begin(checked)
        run.name, run.is_tune, run.checkpoint_output = checked.name, checked.params.is_tune, None
        run._is_restorable = False
        if run._is_ended:  # it has had a job of which this is none
            run._is_ended, run._progress = False, Progress()
            run._patch_job(status="RUNNING")
        error: BaseException | None = None
        try:
            with registry.bound(run):
                if run.is_tune:
                    result = modes.tuned(run, checked, self._plugin, self._run_config)
                else:
                    result = modes.trained(run, checked, self._plugin)
        except BaseException as failure:
            error = failure
            raise
        finally:
            conclusion.conclude(run, error)
            self.status = run._status
            if run is not self._run:
                start.close(run, error)
        return result

    def _find_destination(self) -> Destination:
        if self._run is None:
            self._destination = connect.configured(settings.load())
        else:
            courier = self._run._channel.courier
            credentials = None if courier is None else courier.credentials
            self._destination = Destination(self._run._spec.backend, credentials)
        return self._destination

    def _begin(self, checked: Checked) -> TrainRun:
        goal, environment = checked.tune_config, settings.load()
        return start.begin(
            *(checked.name, checked.destination),
            *(goal and goal.metric, goal and goal.mode),
            upload=environment.upload,
            deadline_s=environment.deadline_s,
        )
