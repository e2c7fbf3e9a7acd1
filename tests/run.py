"""All tests, in two lanes that run beside each other: `make test`. Or many faults, one after the other: `make chaos`.

Each cluster has namespaces of its own, because two on one host disturb each other. More at once takes longer: each
classroom starts about eight processes, which keeps two cores busy. Where namespaces cannot be had, everything runs in
one lane.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

from helpers.namespaces import isolated, refusal

ROOT = Path(__file__).parents[1]
END_TO_END = "tests/end_to_end"
JOBS, NODES = f"{END_TO_END}/jobs", f"{END_TO_END}/nodes"
"""Tests that make their own namespaces."""
FAULTS = "tests/faults"
SHOWN_TESTS = 15
"""How many of the slowest tests are named."""
TAIL = 150
"""Lines that are shown of a failed part."""
FIRST_LINES = 12
"""Of what a failed test raised; shown last, as whoever keeps the output may keep its end alone."""


@dataclass(frozen=True)
class Part:
    """Tests that one pytest process runs.

    - arguments: pytest's
    - isolated: in namespaces of its own, where there are any
    """

    name: str
    arguments: list[str]
    isolated: bool = False


LANES = (
    (
        Part("one cluster", [END_TO_END, FAULTS, f"--ignore={JOBS}", f"--ignore={NODES}"], isolated=True),
        Part("several nodes", [NODES]),
    ),
    (Part("no cluster", ["-m", "not cluster"]), Part("jobs", [JOBS])),
)
"""Parts that run one after the other, beside those of the other lane. Both take about the same time."""


@dataclass(frozen=True)
class Finished:
    """What became of a part.

    - code: pytest's exit code
    - cases: all tests that it reports; none if it died before
    """

    code: int
    cases: list[ElementTree.Element]

    @property
    def counts(self) -> dict[str, int]:
        """Tests by outcome. A part that died without a report counts as one failure."""
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in self.cases)
        skipped = sum(case.find("skipped") is not None for case in self.cases)
        died = self.code != 0 and failed == 0
        return {"passed": len(self.cases) - failed - skipped, "failed": failed + died, "skipped": skipped}

    @property
    def failures(self) -> Iterator[str]:
        """Each failed test with the first lines of what it raised."""
        for case in self.cases:
            for found in (case.find("failure"), case.find("error")):
                if found is not None:
                    lines = found.get("message", "").splitlines()[:FIRST_LINES]
                    yield "\n    ".join([f"FAILED {case.get('classname')}::{case.get('name')}", *lines])


def run(part: Part, folder: Path, *, namespaces: bool) -> Finished:
    """Run a part in a folder of its own, and print what became of it, with the end of its output if a test failed."""
    place = folder / part.name.replace(" ", "-")
    place.mkdir()
    log, report = place / "output.txt", place / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *part.arguments]
    # Ray's processes would wait for the other lane; and Unix sockets lie in its folder, whose paths may not be long.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_TMPDIR": str(place)}
    started = time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(
            isolated(command) if part.isolated and namespaces else command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    finished = Finished(code, cases)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in finished.counts.items())
    text = [f"{part.name}: {counts}, {(time.monotonic() - started) / 60:.1f} min"]
    if finished.counts["failed"]:
        text += [f"    {line}" for line in log.read_text(errors="replace").splitlines()[-TAIL:]]
    print("\n".join(text), flush=True)
    return finished


def run_all(folder: Path) -> list[Finished]:
    """Run all parts: the lanes beside each other, or one after the other."""
    why = refusal()
    if why is not None:
        print(f"everything runs in one lane: {why}", flush=True)

    def run_lane(lane: tuple[Part, ...]) -> list[Finished]:
        return [run(part, folder, namespaces=why is None) for part in lane]

    with ThreadPoolExecutor(len(LANES) if why is None else 1) as pool:
        return list(chain.from_iterable(pool.map(run_lane, LANES)))


def run_faults(count: str, seed: str) -> int:
    """Inject so many faults into a study, and show all that happens."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", FAULTS, f"--faults={count}", f"--fault-seed={seed}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.run(isolated(command), cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run all tests; the exit code is 1 if any failed."""
    if sys.argv[1:2] == ["faults"]:
        return run_faults(*sys.argv[2:])
    with tempfile.TemporaryDirectory(prefix="raykd-", ignore_cleanup_errors=True) as folder:
        finished = run_all(Path(folder))
    cases = [case for part in finished for case in part.cases]
    print("slowest tests:")
    for case in sorted(cases, key=lambda case: float(case.get("time", 0)), reverse=True)[:SHOWN_TESTS]:
        print(f"{float(case.get('time', 0)):6.1f} s  {case.get('classname')}::{case.get('name')}")
    totals = {outcome: sum(part.counts[outcome] for part in finished) for outcome in ("passed", "failed", "skipped")}
    for failure in chain.from_iterable(part.failures for part in finished):
        print(failure)
    print(", ".join(f"{count} {outcome}" for outcome, count in totals.items()), flush=True)
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
