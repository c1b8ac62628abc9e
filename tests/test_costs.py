"""What a fixed schedule of events costs, counted: only a regression fails, not a slow machine.

The numbers are what was counted when this was written, and up to a fifth more.
"""

import sys
import threading
import time

import pytest

import ray_synapse
from ray_synapse.backend.http import Credentials, HttpApi
from ray_synapse.delivery.letters import MAX_AGE_S
from ray_synapse.delivery.sender import Sender
from ray_synapse.delivery.standing import Standing
from ray_synapse.tuning.end import End
from ray_synapse.tuning.ledger import Event, Ledger, beginning
from ray_synapse.tuning.recorder import Recorder
from ray_synapse.tuning.sink import Sink
from tests.proxy import Proxy
from tests.serving import served
from tests.synapse import kept, make_job
from tests.tuning.test_recorder import trial

TRIALS, SECONDS, PER_SECOND = 200, 30, 20
RESULTS = SECONDS * PER_SECOND
METRICS = ("score", "loss", "accuracy", "speed")


def result_of(trial, number):
    values = {name: number / (index + 3) for index, name in enumerate(METRICS)}
    return {**values, "training_iteration": number, "config": trial.config, "done": False}


def calls_of(function, *arguments):
    """How many functions are called in this thread, Python's own included."""
    count = [-1]  # what ends the count

    def note(frame, event, argument):
        count[0] += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return count[0]


@pytest.fixture
def recorder_for(mocker):
    """Makes a recorder without its thread, on a clock that the test sets."""
    now = [1000.0]

    def make(run):
        ledger = Ledger("score", None)
        settings = {"metric": "score", "mode": "max", "total": TRIALS, "place": None}
        start = mocker.patch.object(threading.Thread, "start")
        recorder = Recorder(
            *(lambda trial: Sink(run, "costs"), ledger),
            **settings,
            is_restored=False,
            log_results=True,
            show_progress=False,
        )
        mocker.stop(start)
        return recorder

    mocker.patch("time.monotonic", side_effect=lambda: now[0])
    make.now = now
    return make


def follow(make, run, each_second=lambda: None):
    """A sweep of the schedule: the recorder takes one turn a second."""
    recorder, trials = make(run), [trial(number) for number in range(TRIALS)]
    recorder.seen(trials)
    for each in trials:
        recorder.add(Event("start", each, None, beginning(each)))
    for number in range(RESULTS):
        mine = trials[number % TRIALS]
        recorder.add(Event("result", mine, result_of(mine, number)))
        if number % PER_SECOND == PER_SECOND - 1:
            make.now[0] += 1
            recorder._turn(stopping=False)
            each_second()
    for each in trials:
        each.status = "TERMINATED"
        recorder.add(Event("complete", each))
    recorder._end, recorder._stopping = End("it ended"), True
    recorder._turn(stopping=True)


@pytest.mark.parametrize("trials", [10, 1_000])
def test_hooks_make_the_same_few_calls_with_any_number_of_trials(trials, mocker):
    run = ray_synapse.init("costs", upload="none")
    callback, many = ray_synapse.SynapseLoggerCallback(run), [trial(n) for n in range(trials)]
    callback.setup(total_num_samples=trials)
    result = result_of(many[0], 1)
    callback.on_step_end(0, many)
    callback.on_trial_result(0, many, many[0], result)

    def hooks():
        callback.on_trial_result(1, many, many[0], result)
        callback.on_step_end(1, many)

    assert calls_of(hooks) <= 28
    callback.on_experiment_end(many)


def test_a_table_costs_what_has_changed_in_it():
    ledger, many = Ledger("score", None), [trial(number) for number in range(1_000)]
    for each in many:
        ledger.take(Event("start", each, None, beginning(each)))
        ledger.take(Event("result", each, result_of(each, 1)))
    whole = calls_of(ledger.table.to_json)
    ledger.take(Event("result", many[7], result_of(many[7], 2)))
    one = calls_of(ledger.table.to_json)
    assert one <= 60
    assert whole <= 8.5 * len(many)
    ledger.look(many)
    assert calls_of(ledger.look, many) <= 3 * len(many)


def test_a_sweep_costs_so_many_statements_and_bytes_in_the_embedded_backend(recorder_for):
    run = ray_synapse.init("costs", upload="none")
    statements = []
    with run._backend._alone() as db:
        db.set_trace_callback(statements.append)
    follow(recorder_for, run)
    with run._backend._alone() as db:
        db.set_trace_callback(None)
    records = run._backend.logs(run.job_id, "metric")
    assert [each["data"]["metrics"]["score"] for each in records] == [
        number / 3 for number in range(RESULTS)
    ]
    tables = [each for each in statements if "snapshots" in each and "'trials'" in each]
    assert len(tables) <= 32  # one a second, the first and the last
    assert len(statements) <= 1_070
    assert sum(map(len, statements)) <= 1_120_000


def test_a_sweep_costs_so_many_requests_and_bytes_to_a_server(recorder_for, tmp_path):
    with served(tmp_path / "server") as server, Proxy(server.url) as proxy:
        job = make_job(server.url)
        run = ray_synapse.init("costs", host=proxy.url, job_id=job, offline=True, upload="none")
        outbox = run._backend.outbox
        sender = Sender(
            outbox,
            HttpApi(Credentials(proxy.url)),
            job,
            Standing(outbox, job, proxy.url),
        )

        def send():
            for _ in range(8):
                sender.step()

        follow(recorder_for, run, each_second=send)
        time.sleep(MAX_AGE_S)  # for which the last entries wait for others
        for _ in range(20):
            send()
            recorder_for.now[0] += 1
        assert outbox.is_empty()
        assert len(kept(tmp_path / "server").logs(job, "metric")) == RESULTS
        assert len(proxy.requests) <= 38  # a table a second, three letters, what a job has
        assert sum(each.size for each in proxy.requests) <= 900_000
