"""All tests, in parts that run beside each other: `make test`.

Tests of a cluster mostly wait, and two Ray clusters on one host disturb each other. So they are divided among a few
processes in namespaces of their own, each with one cluster, and the other tests run beside them. Where namespaces
cannot be had, the parts run one after the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from helpers.namespaces import isolated, refusal

ROOT = Path(__file__).parents[1]
END_TO_END = Path("tests/end_to_end")
FAST = "without a cluster"
SHOWN_TESTS = 15
"""How many of the slowest tests are named."""
TAIL = 150
"""Lines that are shown of a failed part."""


MODULES = {
    "faults": ["test_faults.py"],
    "machines": ["jobs", "nodes"],
    "studies": ["test_confirm.py", "test_study.py"],
}
"""Modules of end-to-end tests by part; all others are a part of their own."""


def parts() -> dict[str, list[str]]:
    """pytest's arguments of each part."""
    named = {name for names in MODULES.values() for name in names}
    others = sorted(file.name for file in (ROOT / END_TO_END).glob("test_*.py") if file.name not in named)
    clustered = {
        part: [str(END_TO_END / name) for name in names] for part, names in (MODULES | {"others": others}).items()
    }
    return {**clustered, FAST: ["-m", "not cluster", "--numprocesses", "2", "--dist", "loadgroup"]}


@dataclass
class Part:
    """One pytest process, its output, and its report."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    report: Path
    started: float

    def cases(self) -> list[ElementTree.Element]:
        """All tests that it reports; none if it died before."""
        return list(ElementTree.parse(self.report).iter("testcase")) if self.report.exists() else []

    def counts(self) -> dict[str, int]:
        """Tests by outcome. A part that died without a report counts as one failure."""
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in self.cases())
        skipped = sum(case.find("skipped") is not None for case in self.cases())
        passed = len(self.cases()) - failed - skipped
        died = self.process.returncode != 0 and failed == 0
        return {"passed": passed, "failed": failed + died, "skipped": skipped}


def start(name: str, arguments: list[str], folder: Path, *, alone: bool) -> Part:
    """Start a part; `alone`: in namespaces of its own. Tests of several machines make their own."""
    place = folder / name.split()[0]
    place.mkdir()
    report = place / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    if name == FAST:
        command = ["nice", "-n", "5", *command]  # the others wait for clocks, these for the processor
    elif alone and name != "machines":
        command = isolated(command)
    # Unix sockets lie below it, whose paths may not be long.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(place)}
    log = place / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    return Part(name, process, log, report, time.monotonic())


def finish(running: list[Part]) -> Part:
    """Wait until one of the running parts ends, print what became of it, and return it."""
    while (part := next((each for each in running if each.process.poll() is not None), None)) is None:
        time.sleep(0.5)
    running.remove(part)
    show(part)
    return part


def show(part: Part) -> None:
    """Print what became of a part, and the end of its output if a test failed."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in part.counts().items())
    print(f"{part.name}: {counts}, {(time.monotonic() - part.started) / 60:.1f} min", flush=True)
    if part.counts()["failed"]:
        lines = part.log.read_text(errors="replace").splitlines()
        print("\n".join(f"    {line}" for line in lines[-TAIL:]), flush=True)


def main() -> int:
    """Run all parts; the exit code is 1 if any test failed."""
    why = refusal()
    if why is not None:
        print(f"the parts run one after the other: {why}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="raykd-"))
    done: list[Part] = []
    running: list[Part] = []
    try:
        for name, arguments in parts().items():
            running.append(start(name, arguments, folder, alone=why is None))
            while running and why is not None:
                done.append(finish(running))
        while running:
            done.append(finish(running))
    finally:
        for part in running:
            part.process.terminate()
            part.process.wait()
    cases = [case for part in done for case in part.cases()]
    print("slowest tests:")
    for case in sorted(cases, key=lambda case: float(case.get("time", 0)), reverse=True)[:SHOWN_TESTS]:
        print(f"{float(case.get('time', 0)):6.1f} s  {case.get('classname')}::{case.get('name')}")
    totals = {outcome: sum(part.counts()[outcome] for part in done) for outcome in ("passed", "failed", "skipped")}
    print(", ".join(f"{count} {outcome}" for outcome, count in totals.items()), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
