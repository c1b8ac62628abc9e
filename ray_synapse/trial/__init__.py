"""In a trial's process: the wrapper around the user's function."""
