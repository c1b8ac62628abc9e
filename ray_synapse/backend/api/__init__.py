"""The API of a Synapse backend, call by call, as the embedded backend answers it."""
