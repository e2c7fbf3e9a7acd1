"""Forward passes that torch compiles: what is compiled, whether it works here, and what happens where it does not."""
