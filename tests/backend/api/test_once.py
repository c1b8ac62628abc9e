"""How long the answers to writes with a key are remembered."""

from pathlib import Path

import pytest

from ray_synapse.backend.api import checks, once
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.errors import RefusedError


def make(api: EmbeddedApi, key: str) -> int:
    return int(api.create_job({"name": "a", "meta": "x" * 1000}, key=key)["id"])


def test_the_oldest_large_answers_are_forgotten_when_they_become_too_many(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "LARGE_BYTES", 900)
    monkeypatch.setattr(once, "KEPT_BYTES", 8000)
    monkeypatch.setattr(once, "FORGET_EVERY_BYTES", 1000)
    api = EmbeddedApi(home)
    small = api.create_job({"name": "a"}, key="small")
    first = [make(api, f"{number}") for number in range(20)]
    assert api.create_job({"name": "a"}, key="small") == small
    again = [make(api, f"{number}") for number in (19, 18, 0)]
    assert again[:2] == [first[19], first[18]]
    assert again[2] not in first


def test_an_answer_is_forgotten_after_a_week(home: Path) -> None:
    first = make(EmbeddedApi(home), "old"), make(EmbeddedApi(home), "new")
    api = EmbeddedApi(home)
    with api._write() as db:
        db.execute("UPDATE answers SET created = created - 8 * 24 * 3600 WHERE key = 'old'")
    make(api, "another")  # the first write of an hour looks
    assert make(api, "old") not in first
    assert make(api, "new") == first[1]


@pytest.mark.parametrize("key", [None, "deep"])
def test_a_key_changes_nothing_of_how_deep_json_may_nest(home: Path, key: str | None) -> None:
    api, deep = EmbeddedApi(home), []
    for _ in range(checks.MAX_DEPTH - 1):
        deep = [deep]
    job = api.create_job({"name": "a", "meta": deep}, key=key)
    assert api.get_job(job["id"])["meta"] == deep
    with pytest.raises(RefusedError, match="nests deeper"):
        api.create_job({"name": "a", "meta": [deep]}, key=key and "deeper")
