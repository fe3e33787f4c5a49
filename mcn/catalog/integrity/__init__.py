"""Finding damaged data files and damaged entries of the Delta log."""
