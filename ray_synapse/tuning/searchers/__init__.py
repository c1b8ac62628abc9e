"""Tune searchers from JSON: what each takes, and that it gets it exactly."""
