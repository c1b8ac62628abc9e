"""The Tune callback: hooks that only note what they see, and a recorder that does the rest."""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ray.tune import Callback

from ray_synapse import console
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery import cluster
from ray_synapse.errors import SettingsError
from ray_synapse.registry import Handle
from ray_synapse.run import TrainRun
from ray_synapse.settings import Mode, check_mode
from ray_synapse.table import Columns
from ray_synapse.tuning import loop, tune_settings
from ray_synapse.tuning.end import how_it_ended
from ray_synapse.tuning.ledger import Event, Ledger, beginning
from ray_synapse.tuning.opening import (
    about_objectives,
    agreed,
    can_pickle,
    experiment_path,
    is_chosen,
    make_run,
    refuse_second_sweep,
    run_for_sweep,
    run_of_the_script,
    take_over,
)
from ray_synapse.tuning.recorder import Recorder
from ray_synapse.tuning.search_space import describe_param_space
from ray_synapse.tuning.sink import Sink
from ray_synapse.tuning.tune_settings import TuneSettings
from ray_synapse.values import to_wire

Hook = TypeVar("Hook", bound=Callable[..., Any])


def _harmless(hook: Hook) -> Hook:
    """Keep whatever goes wrong in a hook away from Tune, which would end the sweep for it."""

    @functools.wraps(hook)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            console.say_once(f"{hook.__name__} failed, the sweep goes on: {error!r}")
            return None

    return guarded  # type: ignore[return-value]  # the same signature, by functools.wraps


class _TuneTrialsLoggingCallback(Callback):  # type: ignore[misc]  # Ray has no full hints
    """Keeps a live table of all trials on the run's backend. Public name: SynapseLoggerCallback.

    Attach it with ``tune.RunConfig(callbacks=[SynapseLoggerCallback(run)])``. It never slows or
    breaks a sweep: its hooks only note what they see, everything else happens on a thread.

    A run is for one sweep at a time: a second ``fit()`` with it is a new job of the same name,
    which the run is from then on; a sweep that is restored goes on in its own job.

    Args:
        run: The run to log to, from ``ray_synapse.init``. Or any object with
            ``log_trials(*, trials, base, hyperparameters, metrics, best_trial)``, which is called
            from one thread; its ``log_metric(category, key, value, **metrics)``,
            ``log_message(content, level)`` and, where the number of trials is known,
            ``set_progress(current, total, category)`` are used where they are there. Without one
            the callback makes its own run, named after the experiment.
        metric: The metric that is optimized. Taken from the run, else from Tune's settings.
        mode: ``"min"`` or ``"max"``. Likewise.
        log_results: Whether each result is also logged as a metric of its trial, so that there
            are curves. Without effect for a ``run`` that has no ``log_metric``.

    Raises:
        SettingsError: ``run`` cannot be logged to, or ``metric`` or ``mode`` is wrong or differs
            from the run's. Also a ValueError.
    """

    def __init__(
        self,
        run: Any = None,
        *,
        metric: str | None = None,
        mode: Mode | None = None,
        log_results: bool = True,
    ) -> None:
        if run is not None and not callable(getattr(run, "log_trials", None)):
            raise SettingsError(
                f"run is a {type(run).__name__} without log_trials(); pass what ray_synapse.init() "
                "gave, an object with that method, or nothing."
            )
        self._run = run
        check_mode(mode, "mode")
        theirs = (run.metric, run.mode) if isinstance(run, TrainRun) else (None, None)
        self._metric = agreed("metric", metric, "the callback", theirs[0], "the run")
        self._mode = agreed("mode", mode, "the callback", theirs[1], "the run")
        self._log_results = log_results
        self._recorder: Recorder | None = None
        self._own_run: TrainRun | None = None  # made here, since none was given
        self._restored_job: JobId | None = None  # of the run that an earlier process made
        self._columns: Columns | None = None  # likewise
        self._space: Mapping[str, Any] = {}  # the sweep's search space, as Tune has it
        self._began, self._time_budget = 0.0, None  # by time.monotonic; Tune's own value
        self._run_left_out = False  # a foreign run that could not be pickled

    # Tune's hooks, in the order in which Tune calls them.

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        time_budget_s: Any = None,
        **info: Any,
    ) -> None:
        """Check the settings and start the recorder. The only hook that may raise.

        Raises:
            SettingsError: metric or mode differ from the ones that Tune was given, or another
                sweep that goes on uses the same run or callback.
        """
        tune = tune_settings.look().towards(self._metric)
        try:
            self._set_up(tune, total_num_samples)
        except SettingsError as error:
            if isinstance(self._run, TrainRun):
                self._run._refused = str(error)
            raise
        self._began = time.monotonic()
        self._time_budget = time_budget_s

    @_harmless
    def on_step_end(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        """Note Tune's list of trials."""
        if self._recorder is not None:
            self._recorder.seen(trials)

    @_harmless
    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that the trial runs (again), with which config, and from whose checkpoint."""
        self._add("start", trial, about=beginning(trial))

    @_harmless
    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note a result; the copy is needed since Tune goes on changing it."""
        is_last = bool(result.get("done"))
        self._add("result", trial, dict(result), loop.stopped_by(trial) if is_last else None)

    @_harmless
    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that the trial ended; one that was paused was stopped by the scheduler."""
        was_waiting = trial.status in ("PAUSED", "PENDING")
        self._add("complete", trial, about=loop.stopped_by(trial) if was_waiting else None)

    @_harmless
    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that the trial failed and is started again."""
        self._add("recover", trial, about=(trial.num_failures, loop.failure()))

    @_harmless
    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that the trial failed."""
        self._add("error", trial, about=(trial.num_failures, loop.failure()))

    @_harmless
    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """Let the recorder send the last table; the run keeps it for ``finish``."""
        if self._recorder is not None:
            self._recorder.end(trials, how_it_ended(self._began, self._time_budget))

    # What Tune keeps of it.

    @_harmless
    def get_state(self) -> dict[str, Any] | None:
        """The job and the order of the columns; the rows come back from Tune's own trials."""
        if self._recorder is None:
            return None
        columns, run = self._recorder.ledger.table.columns, self._run or self._own_run
        return {
            "job_id": run.job_id if isinstance(run, TrainRun) else None,
            "hyperparameters": list(columns.hyperparameters),
            "metrics": list(columns.metrics),
        }

    @_harmless
    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what ``get_state`` gave."""
        self._restored_job = state["job_id"]
        self._columns = Columns(list(state["hyperparameters"]), list(state["metrics"]))

    def __getstate__(self) -> dict[str, Any]:
        cluster.refuse_client()
        state = {**self.__dict__, "_recorder": None, "_own_run": None, "_space": {}}
        if isinstance(self._run, TrainRun):
            state["_run"] = Handle(self._run._as_spec())
        elif self._run is not None and not can_pickle(self._run):
            state.update(_run=None, _run_left_out=True)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        run = state["_run"]
        self.__dict__.update(state, _run=run.run() if isinstance(run, Handle) else run)

    # Inside.

    def _set_up(self, tune: TuneSettings, total: int | None) -> None:
        refuse_second_sweep(self._recorder, self._run)
        self._recorder = self._own_run = None
        if not is_chosen(self, tune.callbacks):
            return
        ours = "the run or the callback"
        metric = agreed("metric", self._metric, ours, tune.metric, tune.source)
        mode = agreed("mode", self._mode, ours, tune.mode, tune.source)
        self._space = tune.param_space
        columns, self._columns = self._columns, None
        ledger = Ledger(metric, columns, list(tune.objectives))
        if len(tune.objectives) > 1:
            ledger.story.say(about_objectives(tune.objectives, metric))
        if self._run is None and self._restored_job is not None:
            self._run = run_of_the_script(self._restored_job)
        if isinstance(self._run, TrainRun):
            job, self._restored_job = self._restored_job, None
            self._run = run_for_sweep(self._run, job, tune.is_restored)
        self._recorder = Recorder(
            self._open_sink,
            ledger,
            metric=metric,
            mode=check_mode(mode, "mode"),
            total=total if total != sys.maxsize else None,
            place=loop.place(),
            is_restored=tune.is_restored,
            log_results=self._log_results,
            show_progress=tune.quiet,
        )
        if isinstance(self._run, TrainRun):
            take_over(self._run, self._recorder)

    def _add(
        self, kind: str, trial: Any, result: dict[str, Any] | None = None, about: Any = None
    ) -> None:
        if self._recorder is not None:
            self._recorder.add(Event(kind, trial, result, about))

    def _open_sink(self, trial: Any) -> Sink | None:
        """The run to log to; made here if none was given. Runs on the recorder's thread."""
        recorder, run = self._recorder, self._run
        assert recorder is not None
        experiment = getattr(trial, "experiment_dir_name", None) or "tune"
        if run is None:
            job_id, self._restored_job = self._restored_job, None
            run = self._own_run = make_run(experiment, job_id, recorder.metric, recorder.mode)
            if run is None:
                return None
            take_over(run, recorder)
        if not isinstance(run, TrainRun):
            return Sink(run, experiment)
        run._patch_job(
            **run._driven_here(),
            metric=recorder.metric,
            mode=recorder.mode,
            search_space=to_wire(describe_param_space(self._space)),
            experiment=experiment_path(trial),
        )
        return Sink(run, run.name, ends_with_sweep=run is self._own_run)


SynapseLoggerCallback = _TuneTrialsLoggingCallback
