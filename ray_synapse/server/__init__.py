"""The embedded backend over HTTP: the same API as a Synapse server."""
