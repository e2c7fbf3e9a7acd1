"""Deployment: finished models as files that do not need raykd, and as versions in MLflow's model registry."""
