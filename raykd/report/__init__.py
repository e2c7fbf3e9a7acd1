"""What a user sees of a run: the plan before it, progress during it, tables after it."""
