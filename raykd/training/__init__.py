"""How networks are trained: one loop for teachers, single students and the trials of a study."""
