"""Training and everything below it work where Ray cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT

SCRIPT = """
import sys
from pathlib import Path

sys.modules["ray"] = None  # importing it fails from here on

from tests.helpers.specs import plain, request_for, spec, train

folder = Path(sys.argv[1])
teacher = folder / "teacher"
assert train(request_for(plain(), teacher))[-1].finished
students = [folder / "first", folder / "second"]
reports = train(*(request_for(spec(training={"seed": n}), student, teacher) for n, student in enumerate(students)))
finished = {report.student for report in reports if report.finished}
assert finished == {"first", "second"}, reports
print(*sorted(finished))
"""


def test_a_teacher_and_two_students_are_trained_without_ray(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["first", "second"]
