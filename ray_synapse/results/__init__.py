"""After fit(): which file is a trial's model, its upload, the best trial."""
