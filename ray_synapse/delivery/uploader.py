"""Delivers one model: its archive as a stream, then its registration. Never twice."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray_synapse.archive import Archive
from ray_synapse.artifact import Artifact, identity
from ray_synapse.backend.http import HttpApi
from ray_synapse.backend.protocol import JobId
from ray_synapse.delivery.outbox.models import ModelRow
from ray_synapse.delivery.outbox.outbox import Outbox
from ray_synapse.delivery.retry import Verdict, at_least_asked, verdict
from ray_synapse.delivery.stream import SETTLE_S, UploadStream
from ray_synapse.errors import BackendError, NotFoundError, RefusedError
from ray_synapse.names import MAX_VERSIONS, versions

ASKED_TIMES = 3  # for a model whose registration got no answer, before it is tried again


class Uploader:
    """Delivers models of one run. For any number of threads, each with a model of its own.

    Args:
        outbox: Where it is noted how far they came.
        api: The server.
        job: The run's job.
        pause: Waits so many seconds; returns True when it is time to end.
    """

    def __init__(
        self, outbox: Outbox, api: HttpApi, job: JobId, pause: Callable[[float], bool]
    ) -> None:
        self._outbox, self._api, self._job, self._pause = outbox, api, job, pause
        self._plugin: dict[str, Any] | None = None

    def deliver(self, model: ModelRow, artifact: Artifact) -> int | str:
        """Upload and register a model, from where an earlier try ended.

        Args:
            model: What is to be delivered.
            artifact: Its files.

        Returns:
            The server's id of it, which may be known there from an earlier try.

        Raises:
            BackendError: The server; ``retry.verdict`` tells what may follow.
            OSError: The files.
        """
        while True:
            name, known = self._find(model)
            if known is not None:
                return known
            upload = self._upload(model, artifact, name)
            try:
                return self._register(model, name, upload)
            except RefusedError:
                if self._find(model)[0] != name:  # somebody else took the name in the meantime
                    model = replace(model, upload=upload, uploaded=True)
                elif model.uploaded:  # on an earlier day, and forgotten since
                    self._outbox.set_model(model.id, upload=None, uploaded=0, sent=0)
                    model = replace(model, upload=None, uploaded=False)
                else:
                    raise

    # The name

    def _find(self, model: ModelRow) -> tuple[str, int | str | None]:
        """A free name for it, or the id that it has already."""
        for name in versions(model.name):
            found = self._by_name(name)
            if found is None:
                return name, None
            if "configuration" not in found:
                found = self._api.get_model(found["id"])
            # A server that does not tell the configuration leaves only the name, which has the id
            # of the trial in it.
            theirs = found.get("configuration", {"artifact": model.identity})
            if (theirs or {}).get("artifact") == model.identity:
                return name, found["id"]
        raise RefusedError(f"there are {MAX_VERSIONS} models called {model.name} already.")

    def _by_name(self, name: str) -> dict[str, Any] | None:
        page = self._api.list_models([("name", name)])
        found = [each for each in page.get("results") or () if each.get("name") == name]
        return found[0] if found else None

    # The archive

    def _upload(self, model: ModelRow, artifact: Artifact, name: str) -> str:
        """The id of the finished upload."""
        if model.uploaded and model.upload is not None:
            return model.upload
        try:
            return self._stream(model, artifact, name).send()
        except (NotFoundError, RefusedError):  # it was forgotten, or its files have changed since
            if model.upload is None:
                raise
            self._outbox.set_model(model.id, upload=None, sent=0)
            return self._stream(replace(model, upload=None), artifact, name).send()

    def _stream(self, model: ModelRow, artifact: Artifact, name: str) -> UploadStream:
        files = artifact.files()
        if identity(artifact, files) != model.identity:
            raise FileNotFoundError(f"{artifact.path} has other ones than when the trial ended")
        archive = Archive(files, artifact.open)
        return UploadStream(self._outbox, self._api, self._pause, model, archive, f"{name}.zip")

    # The registration

    def _register(self, model: ModelRow, name: str, upload: str) -> int | str:
        fields: dict[str, Any] = {
            **self._plugin_of_job(),
            "name": name,
            "chunked_upload": upload,
            "configuration": {**model.configuration, "artifact": model.identity},
        }
        if model.parent is not None:
            fields["checkpoint"] = model.parent
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        try:
            answer = self._api.create_model(fields, key=f"model-{upload}-{digest}")
            registered: int | str = answer["id"]
            return registered
        except BackendError as error:
            # Names are unique, so asking for it settles what became of the request.
            if not error.was_sent or verdict(error, repeatable=True) is Verdict.STOP:
                raise
            for wait in SETTLE_S[:ASKED_TIMES]:
                known = self._find(model)[1]
                if known is not None:
                    return known
                if self._pause(at_least_asked(wait, error)):
                    break
            raise

    def _plugin_of_job(self) -> dict[str, Any]:
        """``plugin`` and ``version`` of the job's release, where it has one."""
        if self._plugin is None:
            release = self._api.get_job(self._job).get("plugin_release")
            if isinstance(release, dict) and not isinstance(release.get("plugin"), dict):
                release = release.get("id")
            if isinstance(release, (int, str)):
                release = self._api.get_plugin_release(release, [("expand", "plugin")])
            plugin = (release or {}).get("plugin")
            code = plugin.get("code") if isinstance(plugin, dict) else None
            found = {"plugin": code, "version": (release or {}).get("version")}
            self._plugin = {key: value for key, value in found.items() if value is not None}
        return self._plugin
