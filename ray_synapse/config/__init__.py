"""The JSON of a sweep, checked: pure, and without Ray, so that it is checked before Ray starts."""
