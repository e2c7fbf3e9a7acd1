"""One look for all figures: Okabe and Ito's colours, which the colour-blind tell apart, legible on light and dark."""

from __future__ import annotations

COLOURS = ("#D55E00", "#0091D5", "#009E73")
"""Of what stands out, the best first."""
BEST = COLOURS[0]
GREY = "#8a8f98"
REFERENCES = {
    "teacher": {"color": "#CC79A7", "dash": "dash"},
    "plain student": {"color": "#E69F00", "dash": "dot"},
}
SCALE = "Cividis"
"""Of heat maps; it is even for all eyes."""
LINES = ((0.0, "#5b7083"), (0.5, "#0091D5"), (1.0, "#E69F00"))
"""Of lines and points by a number: none of it is lost on white or on black."""
FAINT = "#b9bfc6"
"""Of the lines of stopped trials."""
OUTCOMES = {
    "finished": "#0091D5",
    "stopped early": "#8a8f98",
    "diverged": "#CC79A7",
    "failed": "#D55E00",
    "retried": "#F0A884",
    "interrupted": "#E69F00",
    "under way": "#009E73",
}
"""Of trials, by how they ended."""
