"""Every command on a folder of studies that this process may only read: prints, as JSON, how each ended."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import raykd
from raykd.cli import main
from raykd.command_line import ended_well
from raykd.results.load import recorded_study
from raykd.settings_io import override


def commands(outputs: Path) -> dict[str, Callable[[], object]]:
    """The commands, each for the study `small` in the folder, or for a new one there."""
    study, elsewhere = outputs / "small", outputs.parent / "page.html"
    begun = override(recorded_study(study).experiment, {"study.trials": 1, "study.space": "dkd_bias"})
    new = override(begun, {"study.name": "new"})
    cached = override(new, {"study.output": outputs.parent / "written", "teacher.cache": outputs / "cache"})
    lines = {
        "confirm": [str(study)],
        "replay": ["small/trial-0000", "--output", str(outputs)],
        "report": [str(study)],
        "report elsewhere": [str(study), "--output", str(elsewhere)],
        "export": [str(study), "--output", str(outputs / "exported")],
        "register": [str(study), "--name", "digits"],
        "bank build": [str(study)],
        "bank clear": ["--all", "--cache", str(outputs / "cache")],
        "plan": ["--config", str(study / "experiment.yaml"), "--json", str(outputs / "plan.json")],
    }
    found: dict[str, Callable[[], object]] = {
        name: lambda name=name, line=line: main([*name.removesuffix(" elsewhere").split(), *line])  # type: ignore[misc]
        for name, line in lines.items()
    }
    for name in ("tune", "distill", "train_teacher", "compare_teachers", "claims"):
        found[name] = lambda name=name: ended_well(lambda: getattr(raykd, name)(new))  # type: ignore[misc]
    found["teacher.cache"] = lambda: ended_well(lambda: raykd.tune(cached))
    found["tune --resume"] = lambda: ended_well(lambda: raykd.tune(override(begun, {"study.resume": True})))
    return found


def ended(command: Callable[[], object]) -> tuple[object, str]:
    """The exit code of a command, and what it printed to standard error."""
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        try:
            command()
        except SystemExit as end:
            return end.code, errors.getvalue()
        except BaseException as error:
            return "traceback", repr(error)
    return 0, errors.getvalue()


if __name__ == "__main__":
    print(json.dumps({name: ended(command) for name, command in commands(Path(sys.argv[1])).items()}))
