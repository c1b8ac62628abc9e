"""How a record gets from the process that made it to the run's backend."""
