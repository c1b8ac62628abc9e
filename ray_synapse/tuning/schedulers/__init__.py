"""Tune schedulers from JSON."""
