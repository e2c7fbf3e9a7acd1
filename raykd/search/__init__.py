"""The search: spaces, Optuna's record and sampler, and Tune's trials."""
