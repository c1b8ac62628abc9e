"""What tests of the delivery have in common."""

import pytest

from ray_synapse.delivery import holder, lane, letters, patience, retry, sender, snapshots


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made for servers far away and for people is short here."""
    for module, name, seconds in (
        (retry, "FIRST_WAIT_S", 0.02),
        (retry, "MAX_WAIT_S", 0.1),
        (letters, "MAX_AGE_S", 0.02),
        (lane, "POLL_S", 0.02),
        (sender, "POLL_S", 0.02),
        (holder, "POLL_S", 0.02),
        (holder, "TRY_LOCK_S", 0.02),
        (snapshots, "MIN_INTERVAL_S", 0.02),
        (snapshots, "SLOWNESS", 1.0),
        (patience, "LOOK_S", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)
