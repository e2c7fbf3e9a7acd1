"""What came of a study, a confirm or a comparison: read, counted, and put into tables."""
