"""The exception tree: who can be caught as what."""

import pickle

import pytest

from ray_synapse import errors

TREE = [
    (errors.SettingsError, (errors.SynapseError, ValueError)),
    (errors.ConfigError, (errors.SynapseError, ValueError)),
    (errors.LibraryError, (errors.SynapseError, ImportError)),
    (errors.PayloadError, (errors.SynapseError, ValueError)),
    (errors.NoRunError, (errors.SynapseError, RuntimeError)),
    (errors.TrainableError, (errors.SynapseError, ValueError)),
    (errors.BackendError, (errors.SynapseError,)),
    (errors.NotFoundError, (errors.BackendError, LookupError)),
    (errors.StorageError, (errors.BackendError, OSError)),
    (errors.NoSpaceError, (errors.BackendError, OSError)),
    (errors.RefusedError, (errors.BackendError, ValueError)),
    (errors.TooLargeError, (errors.BackendError, ValueError)),
    (errors.DeniedError, (errors.BackendError, PermissionError)),
    (errors.UnreachableError, (errors.BackendError, ConnectionError)),
    (errors.NoAnswerError, (errors.BackendError, TimeoutError)),
]


@pytest.mark.parametrize(("kind", "parents"), TREE, ids=lambda each: getattr(each, "__name__", ""))
def test_an_error_can_be_caught_as_ours_and_as_what_python_calls_it(
    kind: type[Exception], parents: tuple[type[Exception], ...]
) -> None:
    for parent in (errors.SynapseError, *parents):
        assert issubclass(kind, parent)


@pytest.mark.parametrize("kind", [kind for kind, _ in TREE], ids=lambda kind: kind.__name__)
def test_the_text_of_an_error_is_what_was_given(kind: type[Exception]) -> None:
    assert str(kind("x: y. Do z.")) == "x: y. Do z."


def test_the_tree_at_the_top_of_the_file_names_every_error() -> None:
    kinds = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in kinds)
    assert {kind.__name__ for kind, _ in TREE} | {"SynapseError"} == set(kinds)


def test_a_full_disk_is_told_from_a_disk_that_cannot_be_written() -> None:
    assert not issubclass(errors.NoSpaceError, errors.StorageError)


def test_a_config_error_tells_every_fault_and_survives_a_process() -> None:
    error = pickle.loads(pickle.dumps(errors.ConfigError("one is wrong", "two is missing")))
    assert error.faults == ("one is wrong", "two is missing")
    assert str(error) == "2 faults:\n  - one is wrong\n  - two is missing"


def test_a_refused_error_tells_the_faults_of_each_field_and_survives_a_process() -> None:
    faults = {"name": ["It is missing."], "lr": ["It is text."]}
    error = pickle.loads(pickle.dumps(errors.RefusedError(faults)))
    assert error.faults == faults
    assert str(error) == "name: It is missing.; lr: It is text."


@pytest.mark.parametrize(
    "kind", [kind for kind, _ in TREE if issubclass(kind, errors.BackendError)]
)
def test_what_a_server_said_survives_a_process(kind: type[errors.BackendError]) -> None:
    error = kind("x: y. Do z.")
    assert (error.status, error.retry_after) == (None, None)
    assert error.was_sent is (kind is not errors.UnreachableError)
    error.status, error.retry_after, error.was_sent = 503, 1.5, not error.was_sent
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, "x: y. Do z.", vars(error))
    assert (again.status, again.retry_after) == (503, 1.5)


def test_a_refused_error_tells_first_which_request_got_which_answer() -> None:
    for given in ("lr: It is text.", {"lr": ["It is text."]}):
        error = errors.RefusedError(given)
        error.answer = "POST /models/: 400 Bad Request"
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == "POST /models/: 400 Bad Request: lr: It is text."
