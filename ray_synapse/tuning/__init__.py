"""On the driver, while Tune runs: hooks, the table of trials."""
