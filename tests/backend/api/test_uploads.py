"""What two servers on one folder do to an upload, and what is left of the disk."""

import hashlib
import shutil
from pathlib import Path

import pytest

from ray_synapse.backend import models
from ray_synapse.backend.api import uploads
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.errors import NoSpaceError, RefusedError, StorageError

MIB = 1 << 20


def test_a_file_that_was_checked_is_not_changed_by_a_chunk_that_another_server_still_takes(
    home: Path,
) -> None:
    slow, fast = EmbeddedApi(home), EmbeddedApi(home)
    upload = fast.put_chunk(None, "a.zip", "bytes 0-2/6", b"abc")["id"]
    late = slow.open_chunk(upload, "bytes 3-5/6")
    late.write(b"X")
    fast.put_chunk(upload, "a.zip", "bytes 3-5/6", b"def")
    fast.finish_upload(upload, {"md5": hashlib.md5(b"abcdef").hexdigest()})
    late.write(b"XX")
    with pytest.raises(RefusedError, match="ended"):
        late.finish("a.zip")
    late.close()
    assert fast.finished_upload(upload).read_bytes() == b"abcdef"
    assert [path.name for path in (home / "uploads").iterdir()] == [upload]


def test_one_request_at_a_time_has_an_upload(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "TURN_S", 0.1)
    first, second = EmbeddedApi(home), EmbeddedApi(home)
    upload = first.put_chunk(None, "a.zip", "bytes 0-2/3", b"abc")["id"]
    with first._turn(upload), pytest.raises(StorageError, match="try again"):
        second.finish_upload(upload, {"md5": hashlib.md5(b"abc").hexdigest()})
    assert second.finish_upload(upload, {"md5": hashlib.md5(b"abc").hexdigest()})["completed_at"]


def test_the_end_does_not_wait_for_a_file_that_is_checked(home: Path) -> None:
    api = EmbeddedApi(home)
    upload = api.put_chunk(None, "a.zip", "bytes 0-2/3", b"abc")["id"]
    api.close()
    with pytest.raises(StorageError, match="the server ends"):
        api.finish_upload(upload, {"md5": hashlib.md5(b"abc").hexdigest()})


def test_uploads_that_have_begun_keep_the_room_that_they_will_need(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    room = 100 * MIB  # others use the same disk meanwhile
    monkeypatch.setattr(models, "MIN_FREE_BYTES", shutil.disk_usage(home).free - room)
    api = EmbeddedApi(home)
    api.put_chunk(None, "a.zip", f"bytes 0-2/{60 * MIB}", b"abc")
    with pytest.raises(NoSpaceError, match="must stay free"):
        api.put_chunk(None, "b.zip", f"bytes 0-2/{60 * MIB}", b"abc")
    api.put_chunk(None, "c.zip", f"bytes 0-2/{10 * MIB}", b"abc")
