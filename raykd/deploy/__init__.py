"""Out of the door: finished models as files that need no raykd, and as versions in MLflow's registry."""
