import pytest

from ray_synapse.tuning.story import MAX_CUT_OFF, MAX_NAMED, CutOff, Message, Story


def told(story):
    return [tuple(message) for message in story.take()]


def test_a_failed_trial_is_told_once_with_its_error_and_how_often_it_failed():
    story = Story()
    story.failed("a1", 1, "ValueError: boom")
    story.failed("a2", 3, "ValueError: boom")
    assert told(story) == [
        ("Trial a1 failed: ValueError: boom", "error"),
        ("Trial a2 failed 3 times: ValueError: boom", "error"),
    ]
    assert told(story) == []
    assert story.told_failed == {"a1", "a2"}


@pytest.mark.parametrize(
    ("failures", "allowed", "said"),
    [
        (1, 3, "failed and is started again (max_failures is 3): OSError: disk"),
        (2, 3, "failed 2 times and is started again (max_failures is 3): OSError: disk"),
        (1, -1, "failed and is started again: OSError: disk"),
    ],
)
def test_a_retried_trial_is_a_warning_that_says_how_often_it_may_fail(failures, allowed, said):
    story = Story()
    story.retried("a1", failures, allowed, "OSError: disk")
    assert told(story) == [(f"Trial a1 {said}", "warning")]
    assert not story.told_failed


def test_trials_that_end_alike_share_a_message_and_others_do_not():
    story = Story()
    story.failed("a1", 1, "ValueError: boom")
    story.failed("b1", 1, "OSError: disk")
    story.failed("a2", 1, "ValueError: boom")
    story.retried("a3", 1, 1, "ValueError: boom")
    story.stopped("c1", "ASHA", 3)
    story.stopped("c2", "ASHA", 5)
    story.stopped("d1", "Median", None)
    assert told(story) == [
        ("ASHA stopped 2 trials early: c1 at iteration 3, c2 at iteration 5", "info"),
        ("Median stopped trial d1 at iteration None", "info"),
        ("Trial a3 failed and is started again (max_failures is 1): ValueError: boom", "warning"),
        ("2 trials (a1, a2) failed: ValueError: boom", "error"),
        ("Trial b1 failed: OSError: disk", "error"),
    ]
    assert told(story) == []


@pytest.mark.parametrize("kind", ["failed", "retried", "stopped"])
def test_a_message_names_so_many_trials_and_the_next_one_the_rest(kind):
    story, ids = Story(), [f"t{number:05}" for number in range(2 * MAX_NAMED + 1)]
    for trial_id in ids:
        if kind == "failed":
            story.failed(trial_id, 1, "ValueError: boom")
        elif kind == "retried":
            story.retried(trial_id, 1, 1, "ValueError: boom")
        else:
            story.stopped(trial_id, "ASHA", 1)
    contents = [message.content for message in story.take()]
    assert len(contents) == 3
    assert [[each in text for text in contents].count(True) for each in ids] == [1] * len(ids)
    assert contents[0].count("t0") == contents[1].count("t0") == MAX_NAMED
    assert contents[2].count("t0") == 1
    assert str(MAX_NAMED) in contents[0]
    assert not any("2 trials" in text or "1 trials" in text for text in contents)


CHANGES = [
    # old config, new config, donor, iteration of the checkpoint, what is said
    ({"lr": 0.1}, {"lr": 0.25}, "b1", 4, "from trial b1 at iteration 4 with lr 0.1 -> 0.25"),
    ({"lr": 0.1}, {"lr": 0.25}, "b1", None, "from trial b1 with lr 0.1 -> 0.25"),
    ({"lr": 0.1}, {"lr": 0.1}, "b1", 4, "from trial b1 at iteration 4 with the same config"),
    ({"m": {"lr": 1, "n": 2}}, {"m": {"lr": 3, "n": 2}}, None, 4, "with m/lr 1 -> 3"),
    ({"a": 1, "b": 1}, {"a": 2, "b": 3}, None, None, "with a 1 -> 2, b 1 -> 3"),
    ({"a": 1}, {"a": 1, "late": "x\ny"}, None, None, "with late - -> x y"),
    ({"a": 1, "gone": 5}, {"a": 1}, None, None, "with gone 5 -> -"),
]


@pytest.mark.parametrize(("old", "new", "donor", "iteration", "said"), CHANGES)
def test_a_changed_config_is_told_with_the_donor_and_old_and_new_values(
    old, new, donor, iteration, said
):
    story = Story()
    story.changed("a1", old, new, donor, iteration)
    assert told(story) == [(f"Trial a1 goes on {said}", "info")]


def test_a_trial_that_goes_on_as_before_tells_nothing():
    story = Story()
    story.changed("a1", {"lr": 0.1, "fn": print}, {"lr": 0.1, "fn": print}, None, 4)
    assert told(story) == []


def test_one_message_names_the_trials_that_were_cut_off_and_those_that_never_started():
    story = Story()
    story.cut_off(
        "The time budget of 4 s is over",
        [
            CutOff("a1", True, 7),
            CutOff("b1", False, None),
            CutOff("a2", True, None),
            CutOff("b2", False, None),
        ],
    )
    assert told(story) == [
        (
            "The time budget of 4 s is over: 4 trials were not done; cut off: "
            "a1 at iteration 7, a2 before its first result; never started: b1, b2",
            "warning",
        )
    ]


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([CutOff("a1", True, 7)], "1 trial was not done; cut off: a1 at iteration 7"),
        ([CutOff("b1", False, None)], "1 trial was not done; never started: b1"),
    ],
)
def test_it_says_only_what_there_was(trials, said):
    story = Story()
    story.cut_off("It ended", trials)
    assert told(story) == [(f"It ended: {said}", "warning")]


def test_a_sweep_whose_trials_were_all_done_has_no_such_message():
    story = Story()
    story.cut_off("It ended", [])
    assert told(story) == []


def test_the_message_on_ten_thousand_trials_has_room_in_the_api_and_says_how_many_more():
    story = Story()
    ids = [f"1a2b3_{number:05}" for number in range(10_000)]
    story.cut_off("It ended", [CutOff(each, False, None) for each in ids])
    ((content, level),) = told(story)
    assert level == "warning"
    assert "10,000 trials were not done" in content
    assert ids[MAX_CUT_OFF - 1] in content
    assert ids[MAX_CUT_OFF] not in content
    assert content.endswith(" and 9,400 more")
    assert len(content) < 20_000  # the API cuts what is longer


def test_what_it_was_told_to_say_comes_with_its_level_and_in_order():
    story = Story()
    story.say("first")
    story.say("second", "error")
    assert story.take() == [Message("first", "info"), Message("second", "error")]
    assert story.take() == []
