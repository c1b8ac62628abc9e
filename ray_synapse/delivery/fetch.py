"""A model of the backend, unpacked on this machine for a trial or a training to start from."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact, ModelFile
from ray_synapse.backend.api.embedded import EmbeddedApi
from ray_synapse.errors import BackendError, NotFoundError
from ray_synapse.model_cache import unpacked

if TYPE_CHECKING:
    from ray_synapse.backend.http import HttpApi

PIECE_BYTES = 4 << 20  # of a file, in one call of the relay: it takes milliseconds
COPY_BYTES = 1 << 20
LOOK_S = 0.1  # between two questions whether the relay has it

Model = dict[str, Any]


def fetch_model(api: "HttpApi", host: str, home: Path, model_id: int | str) -> Model:
    """Download and unpack a model, unless it is here already.

    Returns:
        ``{"id", "name", "category", "path"}``; the folder is for reading only.

    Raises:
        NotFoundError: There is no such model, or it has no file.
        BackendError: It cannot be downloaded, or its archive cannot be unpacked.
    """
    model = api.get_model(model_id)
    link = model.get("file")
    if not link:
        raise NotFoundError(f"model {model_id!r} on {host} has no file: it came without one.")

    def write(file: BinaryIO) -> None:
        with api.download(link) as pieces:
            for piece in pieces:
                file.write(piece)

    content = str(model.get("checksum") or urlsplit(link).path)
    folder = unpacked(home, [host, str(model["id"]), content], write)
    return described(model, folder)


def fetch_local(home: Path, model_id: int | str) -> Model:
    """Unpack a model of the embedded backend, unless it is unpacked already."""
    api = EmbeddedApi(home)
    model = api.get_model(model_id)
    archive = api.model_archive(str(model_id))

    def write(file: BinaryIO) -> None:
        with open(archive, "rb") as source:
            shutil.copyfileobj(source, file, COPY_BYTES)

    return described(model, unpacked(home, [str(home), str(model["id"]), model["file"]], write))


def described(model: Model, folder: Path) -> Model:
    """A model as a trial gets it."""
    return {**{key: model.get(key) for key in ("id", "name", "category")}, "path": str(folder)}


class Fetched(NamedTuple):
    """What became of a download: one of the two, or nothing yet."""

    model: Model | None = None
    error: BackendError | None = None


class Downloads:
    """The downloads of a relay: each in a thread, so that it goes on taking records.

    Args:
        fetch: ``fetch_model`` for the relay's server.
    """

    def __init__(self, fetch: Callable[[int | str], Model]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._found: dict[int | str, Fetched] = {}

    def look(self, model_id: int | str) -> Fetched:
        """Begin a download, or say what became of it. An error is said once, then it is retried."""
        with self._lock:
            found = self._found.get(model_id)
            if found is not None and found.model and not Path(found.model["path"]).is_dir():
                found = None  # the cache was emptied
            if found is None:
                self._found[model_id] = found = Fetched()
                threading.Thread(target=self._run, args=(model_id,), daemon=True).start()
            elif found.error is not None:
                del self._found[model_id]
        return found

    def _run(self, model_id: int | str) -> None:
        try:
            found = Fetched(model=self._fetch(model_id))
        except BackendError as error:
            found = Fetched(error=error)
        except Exception as error:
            found = Fetched(error=BackendError(f"model {model_id!r}: {error!r}"))
        with self._lock:
            self._found[model_id] = found

    def files(self, model_id: int | str) -> list[ModelFile]:
        """The files of a model that was fetched."""
        return Artifact(self._path(model_id)).files()

    def piece(self, model_id: int | str, name: str, offset: int) -> bytes:
        """Some bytes of a file of a model that was fetched; none at its end."""
        with open(Path(self._path(model_id)) / name, "rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)

    def _path(self, model_id: int | str) -> str:
        model = self._found[model_id].model
        assert model is not None
        return str(model["path"])


def fetch_by_relay(ask: Callable[..., Any], home: Path, model_id: int | str) -> Model:
    """The model by way of the run's relay, which has the token.

    Args:
        ask: Calls a method of the relay, by its name, and waits for the answer.
        home: The folder for the cache, where the relay's own cannot be read: on another node.
        model_id: The model.
    """
    while True:
        found: Fetched = ask("look_for_model", model_id)
        if found.error is not None:
            raise found.error
        if found.model is not None:
            break
        time.sleep(LOOK_S)
    if Path(found.model["path"]).is_dir():
        return found.model
    files: list[ModelFile] = ask("model_files", model_id)

    def write(file: BinaryIO) -> None:
        for piece in Archive(files, lambda each: _Remote(ask, model_id, each.name)).pieces():
            file.write(piece)

    folder = unpacked(home, ["relay", found.model["path"], str(model_id)], write)
    return {**found.model, "path": str(folder)}


class _Remote:
    """A file on the relay's node, as far as an archive reads it."""

    def __init__(self, ask: Callable[..., Any], model_id: int | str, name: str) -> None:
        self._pieces = self._read(ask, model_id, name)
        self._rest = b""

    def read(self, size: int) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def close(self) -> None:
        self._pieces.close()

    def __enter__(self) -> "_Remote":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @staticmethod
    def _read(ask: Callable[..., Any], model_id: int | str, name: str) -> Any:
        offset = 0
        while piece := ask("model_piece", model_id, name, offset):
            offset += len(piece)
            yield piece
