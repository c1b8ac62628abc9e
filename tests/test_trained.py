"""What a training returned."""

from pathlib import Path
from typing import Any

import pytest

from ray_synapse.errors import TrainableError
from ray_synapse.trained import Trained, read_trained


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("weights", Trained("weights", {})),
        (Path("a/weights"), Trained("a/weights", {})),
        ({"weights_path": "weights"}, Trained("weights", {})),
        ({"weights_path": Path("weights"), "mAP": 0.9}, Trained("weights", {"mAP": 0.9})),
        ({"mAP": 0.9}, Trained("the/output", {"mAP": 0.9})),
        (None, Trained("the/output", {})),
    ],
)
def test_a_path_a_dict_or_nothing_says_where_the_model_is(value: Any, expected: Trained) -> None:
    before = dict(value) if isinstance(value, dict) else value
    assert read_trained(value, "the/output") == expected
    assert value == before


@pytest.mark.parametrize("value", [0.93, ["weights"], object(), "", {"weights_path": 3}])
def test_anything_else_is_an_error_that_says_what_to_return(value: Any) -> None:
    with pytest.raises(TrainableError, match=r'return the path.*"weights_path": path'):
        read_trained(value, None)
