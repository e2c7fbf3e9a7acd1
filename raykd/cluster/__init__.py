"""Ray: the session, its resources, and the classrooms, with the broker between them and the trials."""
