import traceback
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError

from ray_synapse.formats import error_line
from ray_synapse.table import Columns
from ray_synapse.tuning.ledger import Beginning, Event, Ledger, beginning


def trial(trial_id="a1", status="RUNNING", result=None, **more):
    known = {"config": {"lr": 0.1}, "num_failures": 0, "max_failures": 0, "error_file": None}
    return SimpleNamespace(trial_id=trial_id, status=status, last_result=result, **known | more)


def row_of(ledger, trial_id="a1"):
    return ledger.table.snapshot()["trials"][trial_id]


def status_of(ledger, trial_id="a1"):
    return row_of(ledger, trial_id)["base"][1]


def told(ledger):
    return [message.content for message in ledger.story.take()]


def started(*trials):
    ledger = Ledger("score", None)
    for each in trials:
        ledger.take(Event("start", each, about=Beginning(dict(each.config))))
        ledger.look([each])
    return ledger


# From events to the table


def test_a_trial_goes_from_pending_to_running_to_its_end():
    mine = trial(status="PENDING")
    ledger = Ledger("score", None)
    ledger.look([mine])
    assert row_of(ledger) == {
        "base": ["a1", "PENDING"],
        "hyperparameters": [0.1],
        "metrics": [None],
    }
    ledger.take(Event("start", mine, about=Beginning(mine.config)))
    mine.status = "RUNNING"
    ledger.look([mine])
    assert status_of(ledger) == "RUNNING"
    result = {"score": 3, "training_iteration": 1, "config": {"lr": 0.1}}
    assert ledger.take(Event("result", mine, result)) == {"score": 3}
    assert row_of(ledger)["metrics"] == [3]
    ledger.take(Event("complete", mine))
    ledger.look([mine])  # Tune's own status changes only at its next turn
    assert status_of(ledger) == "TERMINATED"
    assert told(ledger) == []


def test_a_paused_trial_is_paused_and_then_runs_again():
    mine = trial()
    ledger = started(mine)
    for status in ("PAUSED", "PENDING", "RUNNING", "PAUSED", "TERMINATED"):
        mine.status = status
        ledger.look([mine])
        assert status_of(ledger) == status


def test_a_failed_trial_is_an_error_with_its_reason_and_a_retried_one_runs_again():
    mine = trial(num_failures=2, max_failures=1)  # by now: the event is told as it was then
    ledger = started(mine)
    ledger.take(Event("recover", mine, about=(1, ValueError("boom\nsecond line"))))
    mine.status = "PENDING"
    ledger.look([mine])
    assert status_of(ledger) == "PENDING"
    assert told(ledger) == [
        "Trial a1 failed and is started again (max_failures is 1): ValueError: boom"
    ]
    ledger.take(Event("start", mine, about=Beginning(mine.config)))
    mine.status = "RUNNING"
    ledger.look([mine])
    assert status_of(ledger) == "RUNNING"
    ledger.take(Event("error", mine, about=(2, ValueError("boom\nsecond line"))))
    assert status_of(ledger) == "ERROR"
    assert told(ledger) == ["Trial a1 failed 2 times: ValueError: boom"]


def test_a_failure_without_a_known_reason_is_told_too():
    mine = trial(num_failures=1)
    ledger = started(mine)
    ledger.take(Event("error", mine, about=(1, None)))
    assert told(ledger) == ["Trial a1 failed: it failed"]


@pytest.mark.parametrize("kind", ["result", "complete"])
def test_who_stopped_a_trial_is_told_with_the_iteration(kind):
    """In a last result Tune's own last one is still the one before it."""
    result = {"score": 3, "training_iteration": 4}
    mine = trial(result={"training_iteration": 3} if kind == "result" else result)
    ledger = started(mine)
    ledger.take(Event(kind, mine, result if kind == "result" else None, "ASHA"))
    assert told(ledger) == ["ASHA stopped trial a1 at iteration 4"]


# What a trial starts with


def test_an_exploit_is_told_once_and_the_row_has_the_config_that_runs_now():
    mine = trial()
    ledger = started(mine)
    exploit = Event("start", mine, about=Beginning({"lr": 0.5}, "b1", 4))
    ledger.take(exploit)
    assert told(ledger) == ["Trial a1 goes on from trial b1 at iteration 4 with lr 0.1 -> 0.5"]
    assert row_of(ledger)["hyperparameters"] == [0.5]
    ledger.take(exploit)  # as after a failure: from the same checkpoint
    assert told(ledger) == []
    ledger.take(Event("start", mine, about=Beginning({"lr": 0.5}, "b1", 6)))
    assert told(ledger) == ["Trial a1 goes on from trial b1 at iteration 6 with the same config"]
    ledger.take(Event("start", mine, about=Beginning({"lr": 0.5}, "a1", 8)))
    assert told(ledger) == []


def test_the_config_of_a_result_wins_over_the_one_that_is_chosen_for_later():
    mine = trial(config={"lr": 0.9})  # Tune has it already, the trial never ran it
    ledger = Ledger("score", None)
    ledger.take(Event("start", mine, about=Beginning({"lr": 0.1})))
    ledger.take(Event("result", mine, {"score": 1, "config": {"lr": 0.1}}))
    assert row_of(ledger)["hyperparameters"] == [0.1]
    mine.status, mine.last_result = "TERMINATED", {"score": 1, "config": {"lr": 0.1}}
    ledger.look([mine])
    assert row_of(ledger)["hyperparameters"] == [0.1]


def test_the_beginning_of_a_trial_is_read_from_its_newest_checkpoint():
    metrics = {"trial_id": "b1", "training_iteration": 4}
    mine = trial(latest_checkpoint_result=SimpleNamespace(metrics=metrics))
    assert beginning(mine) == Beginning({"lr": 0.1}, "b1", 4)
    assert beginning(trial(latest_checkpoint_result=None)) == Beginning({"lr": 0.1})
    assert beginning(trial()) == Beginning({"lr": 0.1})  # a Ray that keeps it elsewhere


# The end of the sweep


def test_at_the_end_one_message_names_what_was_cut_off_and_what_never_started():
    trials = [
        trial("a1", "TERMINATED", {"training_iteration": 7, "done": False}),
        trial("a2", "TERMINATED"),
        trial("a3", "TERMINATED"),
        trial("a4", "TERMINATED", {"training_iteration": 9, "done": True}),
    ]
    ledger = started(*trials[:2])
    ledger.look(trials)
    ledger.close("The time budget of 4 s is over", trials, tune_ended=True)
    assert told(ledger) == [
        "The time budget of 4 s is over: 3 trials were not done; cut off: a1 at iteration 7, "
        "a2 before its first result; never started: a3"
    ]


def test_a_trial_whose_complete_event_was_dropped_is_not_told_as_cut_off():
    mine = trial(status="TERMINATED", result={"score": 1, "training_iteration": 2, "done": True})
    ledger = started(mine)
    ledger.close("It ended", [mine], tune_ended=True)
    assert told(ledger) == []


def test_nor_is_one_that_reported_nothing_and_completed():
    mine = trial(status="TERMINATED")
    ledger = started(mine)
    ledger.take(Event("complete", mine))
    ledger.close("It ended", [mine], tune_ended=True)
    assert told(ledger) == []


def test_another_trials_result_is_not_taken_for_its_own():
    """After an exploit Tune has the donor's last result at the trial."""
    theirs = {"trial_id": "b1", "score": 9, "training_iteration": 9, "config": {"lr": 5}}
    mine = trial(status="TERMINATED", result=theirs)
    ledger = Ledger("score", None)
    ledger.look([mine])
    assert row_of(ledger)["hyperparameters"] == [0.1]
    assert row_of(ledger)["metrics"] == [None]
    ledger.close("It ended", [mine], tune_ended=True)
    assert told(ledger) == ["It ended: 1 trial was not done; never started: a1"]


def test_a_failure_without_a_hook_is_told_from_tunes_error_file(tmp_path):
    file = tmp_path / "error.txt"
    try:
        raise ValueError("boom")
    except ValueError:
        file.write_text(traceback.format_exc())
    mine = trial(status="ERROR", num_failures=1, error_file=str(file))
    ledger = started(mine)
    for _ in range(2):
        ledger.close("It ended", [mine], tune_ended=True)
    assert told(ledger) == ["Trial a1 failed: ValueError: boom"]
    assert status_of(ledger) == "ERROR"


def test_where_tune_itself_did_not_end_what_was_running_is_cut_off():
    mine, paused = trial(result={"training_iteration": 3}), trial("a2", "PAUSED")
    ledger = started(mine, paused)
    ledger.close("The script ended", [mine, paused], tune_ended=False)
    assert {status_of(ledger), status_of(ledger, "a2")} == {"TERMINATED"}
    assert "a1 at iteration 3, a2 before its first result" in told(ledger)[0]


# After a restore


def test_what_ended_before_the_restore_keeps_its_row_and_is_told_no_more():
    done = trial("a1", "TERMINATED", {"score": 5, "training_iteration": 2})
    failed = trial("a2", "ERROR", num_failures=1)
    goes_on = trial("a3", "PENDING", {"score": 4, "training_iteration": 2})
    trials = [done, failed, goes_on]
    ledger = Ledger("score", Columns(["lr"], ["score"]))
    ledger.resume([done, failed])
    assert ledger.table.told_ended == 2
    ledger.look(trials)
    rows = ledger.table.snapshot()["trials"].values()
    assert [row["base"][1] for row in rows] == ["TERMINATED", "ERROR", "PENDING"]
    assert [row["metrics"] for row in rows] == [[5], [None], [4]]
    ledger.close("It ended", trials, tune_ended=True)
    assert told(ledger) == [
        "It ended: 1 trial was not done; cut off: a3 at iteration 2",
    ]


@pytest.mark.parametrize("has_hook", [True, False])
def test_a_failed_trial_that_the_restore_starts_again_is_told_when_it_fails_again(has_hook):
    """Its first start in this process is no change of its config, whoever made its checkpoint."""
    mine = trial("a2", "ERROR", num_failures=1)
    ledger = Ledger("score", None)
    ledger.resume([mine])
    ledger.look([mine])
    mine.status = "PENDING"
    ledger.take(Event("start", mine, about=Beginning({"lr": 0.5}, "b1", 4)))
    for status in ("PENDING", "RUNNING"):
        mine.status = status
        ledger.look([mine])
        assert status_of(ledger, "a2") == status
    assert told(ledger) == []
    mine.status, mine.num_failures = "ERROR", 2
    if has_hook:
        ledger.take(Event("error", mine, about=(2, OSError("disk"))))
    ledger.close("It ended", [mine], tune_ended=True)
    reason = "OSError: disk" if has_hook else "it failed"
    assert told(ledger) == [f"Trial a2 failed 2 times: {reason}"]
    assert status_of(ledger, "a2") == "ERROR"


# The first line of an error


class Silent(Exception):
    pass


def in_a_trial(error):
    text = f"traceback\n  File x\n{type(error).__name__}: {error}"
    return RayTaskError("train", text, error)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("boom\nsecond line"), "ValueError: boom"),
        (ValueError("\n\n  late  \nsecond"), "ValueError: late"),
        (Silent(), "Silent"),
        (KeyError("lr"), "KeyError: 'lr'"),
        (in_a_trial(ValueError("boom\nsecond line")), "ValueError: boom"),
        ("Traceback (most recent call last):\n  File x\nOSError: disk\n\n", "OSError: disk"),
        ("", ""),
    ],
)
def test_an_error_is_one_line_its_type_and_what_it_says(error, line):
    assert error_line(error) == line


TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 8, in train
    step()
  File "train.py", line 4, in step
    raise Odd("no way\\n  second line")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^
mine.Odd: no way
  second line
third line
"""


@pytest.mark.parametrize("error", [RayTaskError("train", TRACEBACK, None), TRACEBACK])
def test_of_an_error_that_is_only_there_as_a_traceback_it_is_the_first_line_too(error):
    """As of one that no pickle can carry, and in Tune's error file."""
    assert error_line(error) == "mine.Odd: no way"
