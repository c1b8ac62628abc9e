"""The embedded backend, on real files and with real processes."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ray_synapse.backend.local import LocalBackend, LocalSpec
from ray_synapse.backend.protocol import Batch, Counts, JobId, Record
from ray_synapse.errors import (
    BackendError,
    NoSpaceError,
    NotFoundError,
    SettingsError,
    StorageError,
)
from ray_synapse.values import dumps


def record(seq: int, event: str = "metric", data: Any = None) -> Record:
    return Record(seq, event, "2024-01-02T03:04:05+00:00", dumps(seq if data is None else data))


def batch(
    first: int,
    last: int,
    *,
    process: str = "p",
    event: str = "metric",
    after: int | None = None,
    dropped: int = 0,
    replaced: int = 0,
) -> Batch:
    records = [record(seq, event) for seq in range(first, last + 1)]
    before = first - 1 if after is None else after
    return Batch(process, before, records, last + dropped, dropped, replaced)


def logged(backend: LocalBackend, job: JobId) -> list[Any]:
    return [row["data"] for row in backend.logs(job)]


def zipped(content: bytes) -> Callable[[BinaryIO], None]:
    def write(archive: BinaryIO) -> None:
        archive.write(content)

    return write


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestJobs:
    def test_a_job_is_always_a_new_one_also_under_the_same_name(
        self, backend: LocalBackend
    ) -> None:
        assert backend.create_job("same", {}) != backend.create_job("same", {})

    def test_a_new_job_has_what_was_said_of_it(self, backend: LocalBackend) -> None:
        fields: dict[str, Any] = {
            "status": "RUNNING",
            "metric": "loss",
            "mode": "min",
            "host": "h",
            "pid": 7,
            "experiment": "/results/digits",
            "search_space": {"lr": {"type": "uniform"}},
        }
        job = backend.job(backend.create_job("name", fields))
        assert {key: job[key] for key in fields} == fields
        assert job["name"] == "name"
        assert job["progress_record"] is job["result"] is job["best_trial"] is None
        assert job["created"] == job["updated"]
        assert job["created"].endswith("+00:00")

    def test_a_job_of_which_nothing_was_said_is_pending(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        assert backend.job(job)["status"] == "PENDING"

    def test_only_the_fields_that_were_given_change(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.patch_job(job, {"status": "RUNNING", "result": {"a": [1, None]}})
        backend.patch_job(job, {"status": "SUCCEEDED"})
        found = backend.job(job)
        assert (found["status"], found["result"]) == ("SUCCEEDED", {"a": [1, None]})
        assert found["name"] == "digits"

    def test_a_field_can_be_emptied(self, backend: LocalBackend, job: JobId) -> None:
        backend.patch_job(job, {"result": 1, "metric": "x"})
        backend.patch_job(job, {"result": None, "metric": None})
        assert backend.job(job)["result"] is backend.job(job)["metric"] is None

    def test_a_change_of_nothing_is_none(self, backend: LocalBackend, job: JobId) -> None:
        backend.patch_job(job, {})
        assert backend.job(job)["status"] == "PENDING"

    @pytest.mark.parametrize("field", ["nonsense", "id", "name; DROP TABLE jobs", "best_trial"])
    def test_a_field_that_a_job_has_not_is_refused(
        self, backend: LocalBackend, job: JobId, field: str
    ) -> None:
        with pytest.raises(SettingsError, match="has no field"):
            backend.patch_job(job, {field: 1})
        with pytest.raises(SettingsError, match="has no field"):
            backend.create_job("x", {field: 1})

    def test_jobs_are_listed_the_newest_first_with_their_models(
        self, backend: LocalBackend
    ) -> None:
        first, second = backend.create_job("a", {}), backend.create_job("b", {})
        backend.add_model(first, "m1", {}, 3, zipped(b"123"))
        backend.add_model(first, "m2", {}, 3, zipped(b"4567"))
        found = [(job["id"], job["models"], job["model_bytes"]) for job in backend.jobs()]
        assert found == [(second, 0, 0), (first, 2, 7)]

    def test_a_sign_of_life_is_noted_and_changes_nothing_else(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        before = backend.job(job)
        assert before["beat"] is None
        backend.beat(job)
        first = backend.job(job)["beat"]
        assert first >= before["updated"]
        assert first.endswith("+00:00")
        time.sleep(0.002)
        backend.beat(str(job))
        after = backend.job(job)
        assert after["beat"] > first
        assert {**after, "beat": None} == before

    def test_who_says_that_it_drives_a_job_has_given_a_sign_of_life(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.patch_job(job, {"status": "RUNNING", "metric": "loss"})
        assert backend.job(job)["beat"] is None
        backend.patch_job(job, {"host": "h", "pid": 7})
        assert backend.job(job)["beat"] is not None

    def test_the_newest_job_of_an_experiment_is_found_by_its_path(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        assert backend.job_of("/results/a") is None
        backend.patch_job(job, {"experiment": "/results/a"})
        other = backend.create_job("b", {"experiment": "/results/b"})
        assert (backend.job_of("/results/a"), backend.job_of("/results/b")) == (job, other)
        newer = backend.create_job("a", {"experiment": "/results/a"})
        assert backend.job_of("/results/a") == newer
        backend.patch_job(job, {"status": "RUNNING"})
        assert backend.job_of("/results/a") == newer
        backend.delete_job(newer)
        assert backend.job_of("/results/a") == job
        assert backend.job_of("/results") is None

    def test_an_empty_home_has_no_jobs(self, backend: LocalBackend) -> None:
        assert backend.jobs() == []

    def test_the_best_trial_is_kept_as_it_was_given(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.set_best_trial(job, {"trial_id": "a", "lr": 0.1, "net/width": None})
        assert backend.job(job)["best_trial"] == {"trial_id": "a", "lr": 0.1, "net/width": None}
        backend.set_best_trial(job, {"trial_id": "b"})
        assert backend.job(job)["best_trial"] == {"trial_id": "b"}

    def test_the_id_of_a_job_may_come_as_text(self, backend: LocalBackend, job: JobId) -> None:
        backend.write(str(job), batch(1, 2))
        assert backend.job(str(job))["id"] == job
        assert logged(backend, job) == [1, 2]
        assert backend.counts(str(job)) == backend.counts(job)

    METHODS: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("job", ()),
        ("patch_job", ({"status": "RUNNING"},)),
        ("beat", ()),
        ("delete_job", ()),
        ("write", (batch(1, 1),)),
        ("counts", ()),
        ("trials", ()),
        ("logs", ()),
        ("models", ()),
        ("set_best_trial", ({"trial_id": "a"},)),
        ("add_model", ("m", {}, 1, zipped(b"1"))),
    )

    @pytest.mark.parametrize("missing", [99, "99", "uuid-like", 10**30], ids=str)
    @pytest.mark.parametrize(("method", "arguments"), METHODS, ids=[name for name, _ in METHODS])
    def test_a_job_that_does_not_exist_is_not_found_by_any_method(
        self,
        backend: LocalBackend,
        job: JobId,
        method: str,
        arguments: tuple[Any, ...],
        missing: JobId,
    ) -> None:
        with pytest.raises(NotFoundError, match="does not exist"):
            getattr(backend, method)(missing, *arguments)


class TestRecords:
    def test_single_records_are_all_kept_in_order(self, backend: LocalBackend, job: JobId) -> None:
        assert backend.write(job, batch(1, 3)) == 3
        assert backend.write(job, batch(4, 5)) == 5
        assert logged(backend, job) == [1, 2, 3, 4, 5]

    def test_a_record_comes_back_as_it_went_in(self, backend: LocalBackend, job: JobId) -> None:
        data = {"content": "größer 😀", "none": None, "list": [1, 2.5]}
        each = Record(1, "message", "2024-01-02T03:04:05+00:00", dumps(data), "f", "train", "info")
        backend.write(job, Batch("p", 0, [each], 1, 0, 0))
        assert backend.logs(job) == [
            {
                "event": "message",
                "time": "2024-01-02T03:04:05+00:00",
                "data": data,
                "step": "train",
                "level": "info",
                "file": "f",
            }
        ]

    def test_records_can_be_asked_for_by_event(self, backend: LocalBackend, job: JobId) -> None:
        backend.write(job, batch(1, 2))
        backend.write(job, batch(3, 3, event="message"))
        assert [row["data"] for row in backend.logs(job, "message")] == [3]
        assert [row["data"] for row in backend.logs(job, "metric")] == [1, 2]
        assert backend.logs(job, "visualization") == []

    def test_a_resent_batch_doubles_nothing(self, backend: LocalBackend, job: JobId) -> None:
        for _ in range(3):
            assert backend.write(job, batch(1, 3)) == 3
        assert logged(backend, job) == [1, 2, 3]
        assert backend.counts(job) == {"p": Counts(3, 3)}

    def test_a_resent_batch_that_has_grown_adds_what_is_new(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 3))
        assert backend.write(job, batch(2, 5)) == 5
        assert logged(backend, job) == [1, 2, 3, 4, 5]

    def test_an_old_batch_that_arrives_late_changes_nothing(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 5))
        assert backend.write(job, batch(2, 3)) == 5
        assert logged(backend, job) == [1, 2, 3, 4, 5]
        assert backend.counts(job) == {"p": Counts(5, 5)}

    def test_a_batch_after_a_gap_is_refused_until_the_gap_is_filled(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 2))
        with pytest.raises(StorageError, match="record 3 of process p is still missing"):
            backend.write(job, batch(4, 5))
        assert logged(backend, job) == [1, 2]
        backend.write(job, batch(3, 3))
        assert backend.write(job, batch(4, 5)) == 5

    def test_a_number_that_was_replaced_on_the_way_is_no_gap(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 2))
        assert backend.write(job, batch(5, 6, after=2, replaced=2)) == 6
        assert backend.counts(job) == {"p": Counts(6, 4, replaced=2)}

    def test_each_process_has_its_own_numbers(self, backend: LocalBackend, job: JobId) -> None:
        backend.write(job, batch(1, 2, process="a"))
        backend.write(job, batch(1, 3, process="b"))
        assert logged(backend, job) == [1, 2, 1, 2, 3]
        assert backend.counts(job) == {"a": Counts(2, 2), "b": Counts(3, 3)}

    def test_each_job_has_its_own_records(self, backend: LocalBackend, job: JobId) -> None:
        other = backend.create_job("other", {})
        backend.write(job, batch(1, 2))
        assert backend.write(other, batch(1, 1)) == 1
        assert (logged(backend, job), logged(backend, other)) == ([1, 2], [1])

    def test_an_empty_batch_brings_the_counts_up_to_date(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 2))
        assert backend.write(job, Batch("p", 2, [], 9, 3, 1)) == 2
        assert backend.counts(job) == {"p": Counts(9, 2, waiting=3, dropped=3, replaced=1)}

    def test_of_snapshots_only_the_newest_is_kept(self, backend: LocalBackend, job: JobId) -> None:
        assert backend.trials(job) is None
        backend.write(job, batch(1, 3, event="trials"))
        backend.write(job, batch(4, 4))
        assert backend.trials(job) == 3
        assert logged(backend, job) == [4]

    def test_an_old_snapshot_that_is_resent_does_not_come_back(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 1, event="trials"))
        backend.write(job, batch(2, 2, event="trials"))
        backend.write(job, batch(1, 1, event="trials"))
        assert backend.trials(job) == 2

    def test_progress_is_a_field_of_the_job(self, backend: LocalBackend, job: JobId) -> None:
        backend.write(job, batch(1, 2, event="progress"))
        assert backend.job(job)["progress_record"] == 2
        assert logged(backend, job) == []

    def test_one_bad_record_leaves_nothing_of_its_batch(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        bad = record(2)._replace(time=None)  # type: ignore[arg-type]
        with pytest.raises(BackendError, match="does not take this"):
            backend.write(job, Batch("p", 0, [record(1), bad, record(3)], 3, 0, 0))
        assert logged(backend, job) == []
        assert backend.counts(job) == {}
        assert backend.write(job, batch(1, 3)) == 3

    def test_a_large_image_is_kept(self, backend: LocalBackend, job: JobId) -> None:
        image = "data:image/png;base64," + "A" * 20_000_000
        each = record(1, "visualization")._replace(file=image)
        backend.write(job, Batch("p", 0, [each], 1, 0, 0))
        assert backend.logs(job)[0]["file"] == image


class TestModels:
    def test_a_model_is_kept_with_what_is_to_be_known_of_it(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        number = backend.add_model(job, "digits_t1", {"config": {"lr": 0.1}}, 3, zipped(b"zip"))
        model = backend.find_model("digits_t1")
        assert model is not None
        assert (model["id"], model["job"], model["size"]) == (number, job, 3)
        assert model["configuration"] == {"config": {"lr": 0.1}}
        assert Path(model["file"]).read_bytes() == b"zip"
        assert Path(model["file"]).is_absolute()
        assert Path(model["file"]).suffix == ".zip"
        assert backend.models(job) == [model]

    def test_there_is_no_model_of_an_unknown_name(self, backend: LocalBackend) -> None:
        assert backend.find_model("nothing") is None

    def test_a_name_is_taken_once_in_all_jobs(self, backend: LocalBackend, job: JobId) -> None:
        backend.add_model(job, "m", {}, 1, zipped(b"1"))
        other = backend.create_job("other", {})
        for each in (job, other):
            with pytest.raises(StorageError, match="model called m exists already"):
                backend.add_model(each, "m", {}, 1, zipped(b"2"))
        model = backend.find_model("m")
        assert model is not None
        assert Path(model["file"]).read_bytes() == b"1"
        assert backend.models(other) == []

    @pytest.mark.parametrize(
        "name", ["a/b", "../../up", "dots.in.name", ".hidden", "größe", "a b", "x%2Fy", "v1."]
    )
    def test_a_name_cannot_lead_out_of_its_folder(
        self, backend: LocalBackend, job: JobId, home: Path, name: str
    ) -> None:
        backend.add_model(job, name, {}, 1, zipped(b"1"))
        backend.add_model(job, f"{name}2", {}, 1, zipped(b"2"))
        folder = home / "models" / str(job)
        assert len(files_below(folder)) == 2
        for model, content in zip(backend.models(job), (b"1", b"2"), strict=True):
            assert Path(model["file"]).parent == folder
            assert Path(model["file"]).read_bytes() == content

    @pytest.mark.parametrize("name", ["ü" * 200, "%3A" * 200, "x" * 210], ids=["ü", "%3A", "x"])
    def test_the_longest_name_that_a_run_may_have_is_no_obstacle(
        self, backend: LocalBackend, job: JobId, name: str
    ) -> None:
        backend.add_model(job, f"{name}_abc12_00000", {}, 1, zipped(b"1"))
        backend.add_model(job, f"{name}_abc12_00001", {}, 1, zipped(b"2"))
        contents = [Path(model["file"]).read_bytes() for model in backend.models(job)]
        assert contents == [b"1", b"2"]

    def test_an_archive_that_fails_midway_leaves_nothing(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        def write(archive: BinaryIO) -> None:
            archive.write(b"half")
            raise OSError("the checkpoint is gone")

        with pytest.raises(OSError, match="the checkpoint is gone"):
            backend.add_model(job, "m", {}, 1, write)
        assert backend.find_model("m") is None
        assert files_below(home / "models") == []
        backend.add_model(job, "m", {}, 1, zipped(b"whole"))

    def test_a_model_that_leaves_less_than_the_reserve_is_refused_with_the_reason(
        self, backend: LocalBackend, job: JobId, home: Path, tmp_path: Path
    ) -> None:
        huge = tmp_path / "huge"
        with open(huge, "wb") as stream:
            stream.truncate(1 << 42)  # sparse: it takes no space
        called: list[BinaryIO] = []
        with pytest.raises(NoSpaceError, match=r"ray-synapse rm.*RAY_SYNAPSE_UPLOAD=best"):
            backend.add_model(job, "m", {}, huge.stat().st_size, called.append)
        assert called == []
        assert backend.models(job) == []
        assert files_below(home / "models") == []

    def test_models_are_added_by_several_threads_at_once(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        def add(number: int) -> None:
            backend.add_model(job, f"m{number}", {}, 1, zipped(str(number).encode()))

        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = {model["name"]: Path(model["file"]).read_text() for model in backend.models(job)}
        assert found == {f"m{number}": str(number) for number in range(8)}


class TestRemoval:
    def test_everything_of_a_job_goes_with_it_and_nothing_of_another(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        other = backend.create_job("other", {})
        for each in (job, other):
            backend.write(each, batch(1, 2))
            backend.write(each, batch(3, 3, event="trials"))
            backend.add_model(each, f"m{each}", {}, 1, zipped(b"12345"))
        assert backend.delete_job(job) == 5
        with pytest.raises(NotFoundError):
            backend.job(job)
        assert backend.find_model(f"m{job}") is None
        assert files_below(home / "models") == [f"{other}/m{other}.zip"]
        assert logged(backend, other) == [1, 2]
        assert backend.trials(other) == 3

    def test_an_id_is_never_used_again(self, backend: LocalBackend, job: JobId) -> None:
        backend.delete_job(job)
        assert backend.create_job("next", {}) != job

    def test_the_name_of_a_removed_model_is_free(self, backend: LocalBackend, job: JobId) -> None:
        backend.add_model(job, "m", {}, 1, zipped(b"1"))
        backend.delete_job(job)
        backend.add_model(backend.create_job("next", {}), "m", {}, 1, zipped(b"2"))

    def test_the_database_gives_the_space_back(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        image = record(1, "visualization")._replace(file="A" * 5_000_000)
        backend.write(job, Batch("p", 0, [image], 1, 0, 0))
        backend.delete_job(job)
        LocalBackend(home).jobs()
        done = subprocess.run(
            [sys.executable, "-c", CHECKPOINT, str(home)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) < 1_000_000

    def test_what_is_logged_to_a_removed_job_is_refused_as_not_found(
        self, backend: LocalBackend, job: JobId
    ) -> None:
        backend.write(job, batch(1, 1))
        backend.delete_job(job)
        with pytest.raises(NotFoundError):
            backend.write(job, batch(2, 2))


CHECKPOINT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/ray_synapse.db")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
pages = connection.execute("PRAGMA page_count").fetchone()[0]
print(pages * connection.execute("PRAGMA page_size").fetchone()[0])
"""

WRITE = """
import sys
from pathlib import Path
from ray_synapse.backend.local import LocalBackend
from ray_synapse.backend.protocol import Batch, Record
from ray_synapse.values import dumps

home, job, process, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
backend = LocalBackend(Path(home))
for seq in range(1, count + 1):
    data = dumps([process, seq])
    records = [Record(seq, "metric", "2024-01-02T03:04:05+00:00", data)]
    assert backend.write(job, Batch(process, seq - 1, records, seq, 0, 0)) == seq
    print(seq, flush=True)
"""


def start_writer(home: Path, job: JobId, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, str(home), str(job), name, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestProcesses:
    def test_many_processes_write_while_one_reads(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        names, count = ["a", "b", "c", "d"], 100
        writers = [start_writer(home, job, name, count) for name in names]
        seen = 0
        while any(writer.poll() is None for writer in writers):
            found = logged(backend, job)
            assert len(found) >= seen
            seen = len(found)
            for name in names:
                own = [seq for process, seq in found if process == name]
                assert own == list(range(1, len(own) + 1))
            assert backend.job(job)["name"] == "digits"
        errors = [writer.communicate(timeout=60)[1] for writer in writers]
        assert errors == [""] * len(names)
        assert len(logged(backend, job)) == len(names) * count
        assert backend.counts(job) == dict.fromkeys(names, Counts(count, count))

    def test_what_was_acknowledged_survives_a_kill(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        writer = start_writer(home, job, "a", 1_000_000)
        assert writer.stdout is not None
        for _ in range(50):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        writer.communicate(timeout=60)
        kept = [seq for _, seq in logged(LocalBackend(home), job)]
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) >= acknowledged
        backend.write(job, batch(1, 1, process="next"))

    def test_a_new_home_is_made_by_several_processes_at_once(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; "
            "from ray_synapse.backend.local import LocalBackend; "
            "print(LocalBackend(Path(sys.argv[1])).create_job('a', {}))"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path / "new")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(6)
        ]
        done = [process.communicate(timeout=60) for process in processes]
        assert [errors for _, errors in done] == [""] * 6
        assert sorted(int(number) for number, _ in done) == [1, 2, 3, 4, 5, 6]

    def test_a_full_disk_is_an_error_and_it_goes_on_when_there_is_room(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        code = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from ray_synapse.backend.local import LocalBackend\n"
            "from ray_synapse.backend.protocol import Batch, Record\n"
            "from ray_synapse.errors import StorageError\n"
            "backend, job = LocalBackend(Path(sys.argv[1])), int(sys.argv[2])\n"
            "def write(seq, size):\n"
            "    record = Record(seq, 'message', 'now', '\"' + 'x' * size + '\"')\n"
            "    return backend.write(job, Batch('p', seq - 1, [record], seq, 0, 0))\n"
            "write(1, 10)\n"
            "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))\n"
            "try:\n"
            "    write(2, 1_000_000)\n"
            "except StorageError as error:\n"
            "    print('refused')\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
            "print(write(2, 1_000_000))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(home), str(job)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout.split(), done.stderr) == (["refused", "2"], "")
        assert [len(data) for data in logged(backend, job)] == [10, 1_000_000]


class TestSpec:
    def test_a_spec_is_small_and_opens_the_same_backend_anywhere(
        self, backend: LocalBackend, job: JobId, home: Path
    ) -> None:
        spec = LocalSpec(str(home))
        pickled = pickle.dumps(spec)
        assert len(pickled) < 500
        assert pickle.loads(pickled) == spec
        assert hash(pickle.loads(pickled)) == hash(spec)
        assert pickle.loads(pickled).open().job(job)["name"] == "digits"

    def test_it_can_be_reached_where_its_database_is(self, home: Path) -> None:
        spec = LocalSpec(str(home))
        assert not spec.reachable()
        spec.open().create_job("a", {})
        assert spec.reachable()

    def test_opening_touches_no_file(self, home: Path) -> None:
        LocalSpec(str(home)).open()
        assert not home.exists()

    def test_it_says_where_it_is(self, home: Path) -> None:
        assert LocalSpec(str(home)).describe() == str(home)


def test_a_home_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    backend = LocalBackend(tmp_path / "file" / "home")
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        backend.create_job("a", {})
    os.remove(tmp_path / "file")
    assert backend.create_job("a", {}) == 1


def test_the_files_are_where_a_user_looks_for_them(
    backend: LocalBackend, job: JobId, home: Path
) -> None:
    backend.add_model(job, "m", {}, 1, zipped(json.dumps({}).encode()))
    assert {"ray_synapse.db", f"models/{job}/m.zip"} <= set(files_below(home))
