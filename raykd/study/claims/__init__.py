"""The study of the papers' claims: who is compared, and how it is run."""
