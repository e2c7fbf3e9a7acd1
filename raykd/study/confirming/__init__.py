"""A study's best settings against the baselines: on the test split, over several seeds."""
