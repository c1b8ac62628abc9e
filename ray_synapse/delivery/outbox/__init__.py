"""The durable queue on disk: what a run has logged for a server and is not known to be there."""
