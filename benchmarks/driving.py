"""Drives our callback as Tune does, without a sweep: any number of trials, results at any rate."""

import time
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial

import ray_synapse
from ray_synapse.backend.local import LocalBackend

STOP_S = 120  # for the last table and all records
HYPERPARAMETERS = 6
METRICS = ("score", "loss", "accuracy", "speed")


def a_trial(number: int) -> Trial:
    """One of Tune's own trials: what the garbage collector has to look at is what a sweep has."""
    trial = Trial(
        "benchmark",
        stub=True,
        trial_id=f"a1b2c_{number:05}",
        config={f"h{index}": number / (index + 7) for index in range(HYPERPARAMETERS)},
        storage=SimpleNamespace(experiment_dir_name="benchmark"),
    )
    trial.status = "RUNNING"
    return trial


def a_result(trial: Any, number: int) -> dict[str, Any]:
    """What Tune hands to its callbacks: the user's metrics and what it adds itself."""
    return {
        "score": number / 3,
        "loss": 1 / (number + 1),
        "accuracy": number,
        "speed": 0.5,
        "timestamp": 1700000000,
        "checkpoint_dir_name": None,
        "done": False,
        "training_iteration": number,
        "trial_id": trial.trial_id,
        "date": "2026-01-02_03-04-05",
        "time_this_iter_s": 0.01,
        "time_total_s": 0.01 * number,
        "pid": 4242,
        "hostname": "a",
        "node_ip": "127.0.0.1",
        "config": trial.config,
        "time_since_restore": 0.01 * number,
        "iterations_since_restore": number,
        "experiment_tag": "1_x=2",
    }


class Drive:
    """A sweep of so many trials that run all at once.

    Args:
        run: What is logged to.
        trials: How many there are.
    """

    def __init__(self, run: ray_synapse.TrainRun, trials: int) -> None:
        self.run, self.trials = run, [a_trial(number) for number in range(trials)]
        self.callback = ray_synapse.SynapseLoggerCallback(run)
        self.hook_s: list[float] = []  # of on_trial_result and on_step_end together
        self.late_s = 0.0  # that the results came later than they should
        self._results = 0
        self.callback.setup(num_samples=trials, total_num_samples=trials)

    def start(self) -> None:
        """Start all trials."""
        for trial in self.trials:
            self.callback.on_trial_start(0, self.trials, trial)
            if trial.trial_id.endswith("99"):
                time.sleep(0.01)  # as in a sweep: nobody starts 10,000 trials in a moment

    def results(self, number: int, per_second: float) -> None:
        """So many results, each of the next trial."""
        begin = time.perf_counter()
        for index in range(number):
            self._results += 1
            trial = self.trials[self._results % len(self.trials)]
            result = a_result(trial, self._results)
            before = time.perf_counter()
            self.callback.on_trial_result(index, self.trials, trial, result)
            self.callback.on_step_end(index, self.trials)
            after = time.perf_counter()
            self.hook_s.append(after - before)
            trial.run_metadata.last_result = result
            early = begin + (index + 1) / per_second - after
            if early > 0:
                time.sleep(early)
        self.late_s = max(time.perf_counter() - begin - number / per_second, 0.0)

    def end(self) -> float:
        """Complete the trials, and wait until all is written. Returns how long that took."""
        begin = time.perf_counter()
        for trial in self.trials:
            self.callback.on_trial_complete(0, self.trials, trial)
            trial.status = "TERMINATED"
            if trial.trial_id.endswith("99"):
                time.sleep(0.01)
        self.callback.on_experiment_end(self.trials)
        recorder = self.recorder
        recorder.stop(STOP_S)
        assert self.run._channel.flush(STOP_S)
        return time.perf_counter() - begin

    @property
    def recorder(self) -> Any:
        """The thread beside the loop."""
        recorder = self.callback._recorder
        assert recorder is not None
        return recorder

    def check(self, backend: Any, job: Any) -> None:
        """See that every record and the last table are in that backend."""
        counts = self.run.stats()
        assert counts["dropped"] == 0, counts
        check_table(backend.trials(job), self.trials)
        if isinstance(backend, LocalBackend):
            seen = [record["data"]["metrics"]["accuracy"] for record in backend.logs(job, "metric")]
            assert sorted(seen) == list(range(1, self._results + 1)), len(seen)


def check_table(table: Any, trials: list[Any]) -> None:
    """See that a table tells of each trial what Tune knows."""
    assert table["metrics"] == list(METRICS), table["metrics"]
    for trial in trials:
        row = table["trials"][trial.trial_id]
        assert row["base"] == [trial.trial_id, "TERMINATED"], row
        assert row["hyperparameters"] == [*trial.config.values()], row
        result = trial.run_metadata.last_result
        if result:
            assert row["metrics"] == [result[name] for name in METRICS], row
