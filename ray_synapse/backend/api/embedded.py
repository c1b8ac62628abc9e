"""The embedded backend as a server of Synapse's API, in this process."""

from ray_synapse.backend.api.datasets import DatasetCalls
from ray_synapse.backend.api.jobs import JobCalls
from ray_synapse.backend.api.logs import LogCalls
from ray_synapse.backend.api.models import ModelCalls
from ray_synapse.backend.api.uploads import UploadCalls


class EmbeddedApi(LogCalls, JobCalls, ModelCalls, UploadCalls, DatasetCalls):
    """Every call of Synapse's API on a folder of this machine. Implements ``protocol.Api``.

    It shares the folder with ``LocalBackend``: what a sweep stores there can be asked for here,
    and what comes in here is listed by ``ray-synapse ls``.
    """
