import sys
import threading
from types import SimpleNamespace

import pytest

import ray_synapse
from ray_synapse.backend.protocol import Counts
from ray_synapse.tuning.end import End
from ray_synapse.tuning.ledger import Event, Ledger
from ray_synapse.tuning.recorder import MAX_EVENTS, Recorder
from ray_synapse.tuning.sink import Sink


def trial(number, status="RUNNING"):
    return SimpleNamespace(
        trial_id=f"t{number:05}",
        status=status,
        config={"lr": number},
        last_result={},
        experiment_dir_name="exp",
    )


class Kept:
    """A run of somebody else that keeps the tables it is given."""

    def __init__(self, gate=None):
        self.tables, self.metrics, self.gate = [], [], gate

    def log_trials(self, **table):
        self.tables.append(table)
        if self.gate is not None:
            self.gate.wait(60)

    def log_metric(self, category, key, value, **metrics):
        self.metrics.append((value, metrics))


def recorder_for(run, **options):
    settings = {
        "metric": "score",
        "mode": "max",
        "total": None,
        "place": None,
        "is_restored": False,
        "log_results": True,
        "show_progress": False,
    }
    ledger = Ledger("score", options.pop("columns", None))
    return Recorder(lambda name: run and Sink(run, name), ledger, **{**settings, **options})


def test_the_last_state_is_always_sent():
    run, mine = Kept(), trial(1)
    recorder = recorder_for(run)
    for step in range(1, 500):
        recorder.add(Event("result", mine, {"score": step, "training_iteration": step}))
    mine.status = "TERMINATED"
    recorder.end([mine], End("it ended"))
    recorder.stop(30)
    assert run.tables[-1]["trials"]["t00001"] == {
        "base": ["t00001", "TERMINATED"],
        "hyperparameters": [1],
        "metrics": [499],
    }
    assert len(run.tables) < 10
    assert [value for value, _ in run.metrics] == list(range(1, 500))


def test_while_a_run_blocks_only_the_newest_table_waits_and_the_buffer_is_bounded():
    gate = threading.Event()
    run, mine = Kept(gate), trial(1)
    recorder = recorder_for(run, log_results=False)
    recorder.add(Event("start", mine))
    while not run.tables:
        threading.Event().wait(0.01)
    for step in range(MAX_EVENTS + 500):
        recorder.add(Event("result", mine, {"score": step, "training_iteration": step}))
    assert len(recorder._events) == MAX_EVENTS
    gate.set()
    recorder.end([mine], End("it ended"))
    recorder.stop(30)
    assert len(run.tables) <= 3
    assert run.tables[-1]["trials"]["t00001"]["metrics"] == [MAX_EVENTS + 499]


def test_results_that_were_dropped_are_counted():
    run = ray_synapse.init("overflow")
    mine, gate = trial(1), threading.Event()
    recorder = Recorder(
        lambda name: gate.wait(60) and Sink(run, name),
        Ledger(None, None),
        metric=None,
        mode=None,
        total=None,
        place=None,
        is_restored=False,
        log_results=True,
        show_progress=False,
    )
    recorder.add(Event("start", mine))
    for step in range(MAX_EVENTS + 99):
        recorder.add(Event("result", mine, {"score": step, "training_iteration": step}))
    gate.set()
    recorder.end([mine], End("it ended"))
    recorder.stop(60)
    assert run.stats()["dropped"] >= 99
    stats = run.stats()
    assert stats["logged"] == sum(stats[word] for word in Counts._fields if word != "logged")


def test_without_a_run_nothing_happens_and_nothing_breaks():
    recorder = recorder_for(None)
    recorder.add(Event("start", trial(1)))
    recorder.end([trial(1)], End("it ended"))
    recorder.stop(10)


def test_large_tables_come_rarely():
    """10,000 rows are about 600 KB: at 100 KB a second the next may come in six seconds."""
    run, trials = Kept(), [trial(number) for number in range(10_000)]
    recorder = recorder_for(run)
    recorder.seen(trials)
    recorder.add(Event("result", trials[0], {"score": 1, "training_iteration": 1}))
    while recorder._interval < 5:
        threading.Event().wait(0.01)
    assert len(run.tables) == 1
    recorder.stop(60)


@pytest.mark.parametrize("number", [10, 10_000])
def test_a_hook_does_no_work_that_grows_with_the_number_of_trials(number):
    """Counted in Python calls, which are the same on every machine."""
    from ray_synapse import SynapseLoggerCallback

    callback = SynapseLoggerCallback(Kept())
    callback._recorder = recorder_for(None)
    trials = [trial(index) for index in range(number)]
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    callback.on_step_end(1, trials)
    callback.on_trial_result(1, trials, trials[0], {"score": 1})
    callback.on_trial_complete(1, trials, trials[0])
    sys.setprofile(None)
    callback._recorder.stop(10)
    assert calls < 60
