"""Students of one architecture whose networks pass each batch as one: what is stacked, when, and how they learn."""
