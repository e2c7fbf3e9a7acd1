"""The page of one study: what it found, how sure that is, what mattered, and what it cost."""
