"""Live progress: one line that is redrawn in a terminal, and plain lines elsewhere, as in a job's log."""

from raykd.progress.console import standard_output, working
from raykd.progress.count import CountProgress
from raykd.progress.line import duration
from raykd.progress.run import Awaited, RunProgress, Start

__all__ = ["Awaited", "CountProgress", "RunProgress", "Start", "duration", "standard_output", "working"]
