"""Which hyperparameters: search space, searcher, schedulers, trial (Ray Tune), broker and study."""
