"""What logging costs, each beside the same without us: ``python -m benchmarks NAME``."""
