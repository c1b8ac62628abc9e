"""The platform's JSON as a training or a sweep."""
