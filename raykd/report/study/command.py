"""The command `raykd report`."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console

from raykd.database_urls import sqlite_file
from raykd.errors import RaykdError
from raykd.report.study.facts import StudyFacts, facts_of
from raykd.tracking.address import tracking_uri
from raykd.tracking.parent_run import log_files

FOLDER, PAGE = "report", "report.html"


def report(
    study: str | Path,
    output: Path | None = None,
    console: Console | None = None,
    *,
    follow: bool = False,
    port: int | None = None,
) -> Path | None:
    """Write a study's page, and log it to the study's MLflow run in place of an earlier one; or serve it.

    Args:
        study: The study's folder, or its name below `outputs/`.
        output: File of the page; then nothing is logged. None: `report/report.html` in the study's folder.
        console: Where the outcome is printed. None: standard output.
        follow: Serve the page until Ctrl-C, see `raykd.report.study.live.follow`, and write nothing.
        port: Of the served page.

    Returns:
        The page; None if it was served.

    Raises:
        RaykdError: there is no such study, it has no teacher yet, the page cannot be written, or an option does not fit
            the others.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    if follow:
        if output is not None:
            raise RaykdError("raykd report --follow writes no file: leave --output out")
        from raykd.report.study.live import follow as serve_until_interrupted

        serve_until_interrupted(study, port, console)
        return None
    if port is not None:
        raise RaykdError("--port is that of the served page: add --follow")
    facts = facts_of(study)
    # Heavy: plotly.
    from raykd.report.study.page import write_page
    from raykd.report.study.words import headline

    page = (output or facts.recorded.folder / FOLDER / PAGE).expanduser().absolute()
    write_page(facts, page)
    for sentence in headline(facts):
        console.print(sentence, markup=False)
    console.print(f"report: {page}", markup=False)
    if output is None:
        logged = _log(facts, page)
        console.print(f"logged to the study's MLflow run, under {FOLDER}/" if logged else "not logged to MLflow")
    return page


def _log(facts: StudyFacts, page: Path) -> bool:
    settings, folder = facts.recorded.experiment.tracking, facts.recorded.folder
    database = sqlite_file(tracking_uri(settings, folder))
    if database is not None and not database.exists():
        logging.getLogger("raykd.tracking").warning("the study's MLflow database %s is gone", database)
        return False
    return log_files(settings, folder, facts.name, [page], FOLDER)
