import time
from types import SimpleNamespace

import pytest
import ray
from ray import tune
from ray.tune import PlacementGroupFactory

from ray_synapse.tuning.resources import Cluster, asked, holdings, request_of, shortage
from ray_synapse.tuning.waiting import IDLE_S, MAX_IDLE, MAX_REQUESTS, Waiting, ask_ray
from tests.sweeps import fit

LAPTOP = [{"CPU": 2.0, "memory": 16e9, "object_store_memory": 7e9, "node:192.0.2.2": 1.0}]
MIXED = [{"CPU": 16.0, "accelerator_type:T4": 1.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}]


def request(*bundles, strategy="PACK"):
    return request_of(PlacementGroupFactory(list(bundles), strategy=strategy))


def trial(number, factory=None, status="PENDING", **more):
    factory = factory or PlacementGroupFactory([{"CPU": 1}])
    return SimpleNamespace(
        trial_id=f"t{number}", status=status, placement_group_factory=factory, **more
    )


def big(cpus=64):
    return PlacementGroupFactory([{"CPU": cpus}])


class Counted:
    """A cluster that counts how often it was asked."""

    def __init__(self, nodes=LAPTOP, free=None):
        self.answer = Cluster(nodes, LAPTOP[0] if free is None else free)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.answer


# What is asked for, in words.


@pytest.mark.parametrize(
    ("bundles", "strategy", "text"),
    [
        ([{"CPU": 1}], "PACK", "1 CPU"),
        ([{"GPU": 0.25, "CPU": 0.5}], "PACK", "0.5 CPU and 0.25 GPU"),
        ([{"b": 1, "a": 2, "GPU": 1}], "PACK", "1 GPU, 2 a and 1 b"),
        ([{"CPU": 1, "memory": 4e9}], "PACK", "1 CPU and 4.0 GB of memory"),
        ([{"CPU": 1}, {"CPU": 2}, {"CPU": 2}], "SPREAD", "1 x {1 CPU} + 2 x {2 CPU} (SPREAD)"),
        ([{}, {"CPU": 2}], "PACK", "2 CPU"),
        ([{f"r{n}": 1} for n in range(9)], "PACK", "1 x {1 r0} + 1 x {1 r1} + 1 x {1 r2} + "),
    ],
)
def test_a_request_is_told_as_a_person_would(bundles, strategy, text):
    told = asked(request(*bundles, strategy=strategy))
    assert told.startswith(text) if text.endswith("+ ") else told == text
    assert len(told) < 100


def test_the_holdings_name_what_is_asked_for_and_nothing_internal():
    cluster = Cluster(MIXED, {"CPU": 3.0})
    text = holdings(cluster, [request({"CPU": 1, "GPU": 1})])
    assert text == "24 CPU and 1 GPU on 3 nodes; 3 CPU and 0 GPU free"


# What no node can give.


@pytest.mark.parametrize(
    ("nodes", "bundles", "strategy", "why"),
    [
        (LAPTOP, [{"CPU": 64}], "PACK", "the only node has 2 CPU"),
        (LAPTOP, [{"GPU": 0.5}], "PACK", "the only node has 0 GPU"),
        (LAPTOP, [{"CPU": 1, "tpu": 1}], "PACK", "the only node has 2 CPU and 0 tpu"),
        (LAPTOP, [{"memory": 64e9}], "PACK", "the only node has 16.0 GB of memory"),
        # Each is there, but not on one node.
        (MIXED, [{"CPU": 8, "GPU": 1}], "PACK", "the closest of 3 nodes has 4 CPU and 1 GPU"),
        (MIXED, [{"CPU": 20}], "PACK", "the closest of 3 nodes has 16 CPU"),
        (MIXED, [{"CPU": 1}, {"CPU": 20}], "SPREAD", "{20 CPU} fits on no node: the closest of 3"),
        (MIXED, [{"CPU": 12}, {"CPU": 5}], "STRICT_PACK", "STRICT_PACK wants 17 CPU on one node: "),
        (
            MIXED,
            [{"CPU": 8}, {"CPU": 8}],
            "STRICT_SPREAD",
            "STRICT_SPREAD wants a node for each bundle: {8 CPU} fits on 1 node, not on 2",
        ),
        (
            MIXED,
            [{"CPU": 1}, {"CPU": 2}, {"CPU": 1}, {"CPU": 2}],
            "STRICT_SPREAD",
            "STRICT_SPREAD wants a node for each bundle: 3 nodes for 4 bundles",
        ),
        (
            MIXED,
            [{"CPU": 10}, {"CPU": 15}],
            "PACK",
            "that is 25 CPU in all: the cluster has 24 CPU",
        ),
        (MIXED, [{"CPU": 3}] * 8, "PACK", "{3 CPU} fits 7 times on its nodes, not 8 times"),
    ],
)
def test_what_no_cluster_of_these_nodes_can_give_is_found(nodes, bundles, strategy, why):
    told = shortage(request(*bundles, strategy=strategy), nodes)
    assert told is not None
    assert told.startswith(why) if why.endswith((": ", " 3")) else told == why


@pytest.mark.parametrize(
    ("nodes", "bundles", "strategy"),
    [
        (LAPTOP, [{"CPU": 2}], "PACK"),
        (LAPTOP, [{"CPU": 0.1}] * 20, "PACK"),
        (LAPTOP, [{"CPU": 0.1}] * 20, "STRICT_PACK"),  # 20 times 0.1 is more than 2, in floats
        (LAPTOP, [{"CPU": 1, "node:192.0.2.2": 0.01}], "PACK"),
        (MIXED, [{"CPU": 1, "accelerator_type:T4": 0.001}], "PACK"),
        (MIXED, [{"CPU": 3}] * 7, "SPREAD"),
        (MIXED, [{"CPU": 4}] * 3, "STRICT_SPREAD"),
        (MIXED, [{}, {"GPU": 1}, {"CPU": 16}], "PACK"),
    ],
)
def test_what_fits_is_never_called_impossible(nodes, bundles, strategy):
    assert shortage(request(*bundles, strategy=strategy), nodes) is None


# Told at once.


def test_a_request_that_no_node_can_give_is_told_once_for_all_its_trials():
    cluster = Counted()
    waiting = Waiting(cluster)
    trials = [trial(n, big()) for n in range(6)] + [trial(9)]
    (text,) = waiting.look(trials, 0)
    assert text.startswith(
        "6 trials (t0, t1, t2, t3, ...) ask for 64 CPU, which the cluster cannot give: "
        "the only node has 2 CPU. An autoscaler may still add a node"
    )
    assert "tune.with_resources()" in text
    trials.append(trial(10, big()))
    assert waiting.look(trials, 1) == []
    assert cluster.calls == 1
    trials.append(trial(11, big(32)))
    (text,) = waiting.look(trials, 2)
    assert text.startswith("1 trial (t11) asks for 32 CPU, ")


def test_a_trial_is_judged_when_tune_has_settled_what_it_asks_for_and_again_when_that_changes():
    waiting = Waiting(Counted())
    one = trial(1)
    one.placement_group_factory = None
    assert waiting.look([one], 0) == []
    one.placement_group_factory = PlacementGroupFactory([{"CPU": 1}])
    assert waiting.look([one], 1) == []
    one.placement_group_factory = big()
    assert len(waiting.look([one], 2)) == 1


def test_trials_that_run_or_have_ended_are_not_judged():
    cluster = Counted()
    states = ("RUNNING", "PAUSED", "TERMINATED", "ERROR")
    assert Waiting(cluster).look([trial(n, big(), s) for n, s in enumerate(states)], 0) == []
    assert cluster.calls == 0


def test_no_more_than_a_handful_of_impossible_requests_is_told():
    waiting = Waiting(Counted())
    trials = [trial(n, big(64 + n)) for n in range(20)]
    told = waiting.look(trials, 0)
    assert len(told) == MAX_REQUESTS
    assert told[-1].endswith("not said again in this sweep.")
    assert waiting.look([*trials, trial(21, big(500))], 1) == []


def test_ten_thousand_waiting_trials_cost_one_question_and_next_to_no_time():
    cluster = Counted()
    waiting = Waiting(cluster)
    trials = [trial(n, PlacementGroupFactory([{"CPU": 1}])) for n in range(10_000)]
    waiting.look(trials, 0)
    took = []
    for second in range(1, 4):
        started = time.perf_counter()
        waiting.look(trials, second)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.2  # measured: 0.01
    assert cluster.calls == 1


# Idle.


def idle(waiting, trials, start=0.0, seconds=IDLE_S):
    """All that was told while the trials were looked at once a second."""
    return [text for s in range(seconds + 1) for text in waiting.look(trials, start + s)]


def test_a_minute_in_which_nothing_runs_is_told_once_with_what_is_asked_for_and_there():
    waiting = Waiting(Counted(free={}))
    trials = [trial(1, big(2)), trial(2, big(2)), trial(3), trial(4, status="TERMINATED")]
    assert idle(waiting, trials, seconds=IDLE_S - 1) == []
    (text,) = waiting.look(trials, IDLE_S)
    assert text.startswith(
        "nothing has run for 60 s. 3 trials (t1, t2, t3) wait: 2 for 2 CPU; 1 for 1 CPU. "
        "The cluster has 2 CPU on 1 node; 0 CPU free. What is not free is held by other work"
    )
    assert "max_concurrent_trials" in text
    assert idle(waiting, trials, IDLE_S, 10 * IDLE_S) == []


def test_an_idle_sweep_that_asks_for_too_much_is_told_so_and_one_that_has_room_likewise():
    waiting = Waiting(Counted())
    told = idle(waiting, [trial(1, big())])
    assert len(told) == 2
    assert "1 for 64 CPU, which the cluster cannot give (the only node has 2 CPU)." in told[1]
    assert told[1].endswith("or add nodes to the Ray cluster.")
    (text,) = idle(Waiting(Counted()), [trial(1)])
    assert "2 CPU free. So much is free" in text


def test_a_message_stays_short_however_many_requests_there_are():
    nodes = [{"CPU": 16.0}] * 1000
    trials = [trial(n, PlacementGroupFactory([{"CPU": 1, "x": n + 1}])) for n in range(1000)]
    told = idle(Waiting(Counted(nodes)), trials)
    assert max(len(text) for text in told) < 1000
    assert "; and 996 other requests. The cluster has 16000 CPU and 0 x on 1000 nodes" in told[-1]
    (text,) = idle(
        Waiting(Counted()), [SimpleNamespace(**{**vars(trial(1)), "placement_group_factory": None})]
    )
    assert "1 trial (t1) waits: to start. The cluster has 2 CPU on 1 node" in text


def test_trials_that_start_slowly_or_run_between_two_looks_are_not_idle():
    running, waiting = trial(1, status="RUNNING"), Waiting(Counted())
    trials = [running, trial(2)]
    for minute in range(10):  # 59 s of waiting, and a trial that runs at one look
        running.status = "PENDING"
        assert idle(waiting, trials, minute * 60, 58) == []
        running.status = "RUNNING"
        assert waiting.look(trials, minute * 60 + 59) == []
    trials = [trial(n) for n in range(10)]
    for number in range(10):  # trials that are never seen to run
        trials[number].status = "TERMINATED"
        assert idle(waiting, trials, 1000 + number * 50, 49) == []
    again = trial(1, num_failures=0, run_metadata=SimpleNamespace(last_result_time=0.0))
    assert idle(waiting, [again], 2000, 59) == []
    again.num_failures = 1  # a short run that failed
    assert idle(waiting, [again], 2060, 59) == []
    again.run_metadata.last_result_time = 7.0  # one that reported, and was paused and picked
    assert idle(waiting, [again], 2120, 59) == []
    assert len(waiting.look([again], 2180)) == 1


def test_it_is_told_again_after_something_has_run_but_only_a_handful_of_times():
    waiting, one = Waiting(Counted()), trial(1)
    told = []
    for turn in range(2 * MAX_IDLE):
        one.status = "PENDING"
        told += idle(waiting, [one], turn * 100)
        one.status = "RUNNING"
        told += waiting.look([one], turn * 100 + 80)
        assert len(told) == min(turn + 1, MAX_IDLE)
    assert told[-1].endswith("not said again in this sweep.")


def test_paused_trials_wait_for_the_scheduler_and_ray_is_not_asked():
    cluster = Counted()
    trials = [trial(n, status="PAUSED") for n in range(2)]
    (text,) = idle(Waiting(cluster), trials)
    assert "2 trials (t0, t1) are paused and wait for the scheduler" in text
    assert cluster.calls == 0
    (text,) = idle(Waiting(cluster), [*trials, trial(2)])
    assert "1 trial (t2) waits (2 more paused, by the scheduler): 1 for 1 CPU." in text


def test_a_ray_that_does_not_answer_gives_nothing_to_say_until_it_does():
    cluster = Counted()
    answer, cluster.answer = cluster.answer, None
    waiting, trials = Waiting(cluster), [trial(1, big())]
    assert idle(waiting, trials, seconds=70) == []
    cluster.answer = answer
    assert len(waiting.look(trials, 71)) == 2


def test_a_fault_is_told_on_the_terminal_and_not_raised(capsys):
    assert Waiting(Counted()).look([SimpleNamespace(trial_id="t1")], 0) == []
    assert "what trials wait for cannot be told: AttributeError" in capsys.readouterr().err


# With Ray.


def test_asking_never_starts_ray(monkeypatch):
    assert not ray.is_initialized()
    assert ask_ray() is None
    # As when another thread shuts Ray down right after the first look.
    looks = iter([True])
    monkeypatch.setattr(ray, "is_initialized", lambda: next(looks, False))
    assert ask_ray() is None
    monkeypatch.undo()
    started = ray.is_initialized()
    ray.shutdown()
    assert not started


class Looks(tune.Callback):
    """Drives a Waiting in Tune's loop, by a clock on which a second is a minute."""

    def __init__(self):
        self.waiting, self.told = Waiting(), []

    def on_step_end(self, iteration, trials, **info):
        self.told += self.waiting.look(trials, time.monotonic() * 60)


@pytest.mark.ray
def test_a_real_sweep_that_asks_for_too_much_is_told_at_once_and_after_a_minute(cluster, tmp_path):
    looks = Looks()
    trainable = tune.with_resources(lambda config: {"score": 1}, {"cpu": 64})
    fit(trainable, looks, storage=tmp_path, num_samples=2, time_budget_s=4)
    at_once, idle_for_long = looks.told
    assert at_once.startswith("2 trials (")
    assert ") ask for 64 CPU, which the cluster cannot give: the only node has 2 CPU." in at_once
    assert "2 for 64 CPU, which the cluster cannot give" in idle_for_long
    assert "The cluster has 2 CPU on 1 node; " in idle_for_long
