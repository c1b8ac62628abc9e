"""encode_name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ray_synapse
from ray_synapse.errors import SettingsError
from ray_synapse.names import MAX_NAME_CHARS, encode_name

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("digits:lr,width", "digits%3Alr%2Cwidth"),
        ("::,,", "%3A%3A%2C%2C"),
        ("plain name-1.0_x/y", "plain name-1.0_x/y"),
        ("größe 训练", "größe 训练"),
        ("  spaces around  ", "spaces around"),
        ("100%", "100%"),
    ],
)
def test_only_colon_and_comma_are_encoded(name: str, encoded: str) -> None:
    assert encode_name(name) == encoded


@given(PRINTABLE)
def test_encoding_twice_changes_nothing_more(name: str) -> None:
    once = encode_name(name)
    assert encode_name(once) == once
    assert ":" not in once
    assert "," not in once


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u00a0"])
def test_an_empty_or_blank_name_is_a_clear_error(name: str) -> None:
    with pytest.raises(SettingsError, match="must not be empty or blank"):
        encode_name(name)


@pytest.mark.parametrize("name", [None, 3, b"bytes", ["a"]])
def test_a_name_that_is_no_text_is_a_clear_error(name: Any) -> None:
    with pytest.raises(SettingsError, match="is text, not"):
        encode_name(name)


def test_a_name_of_the_greatest_length_is_taken_and_a_longer_one_refused() -> None:
    assert encode_name("x" * MAX_NAME_CHARS) == "x" * MAX_NAME_CHARS
    with pytest.raises(SettingsError, match=f"at most {MAX_NAME_CHARS} characters") as caught:
        encode_name("y" * (MAX_NAME_CHARS + 1))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["nul\x00byte", "not utf-8 \udcff", "two\nlines"])
def test_a_name_that_no_line_or_file_name_can_hold_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        encode_name(name)


def test_a_wrong_name_can_be_caught_as_a_value_error_through_the_public_name() -> None:
    with pytest.raises(ValueError, match="name"):
        ray_synapse.encode_name("")
