"""A run whose Ray is killed under it says how to go on, and ends."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from raykd.cluster.watch import RESUME
from tests.helpers.namespaces import isolated, refusal
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.cluster

RUN = """
import time
import psutil, ray
from raykd.cluster.session import ray_session
from raykd.command_line import ended_well
from raykd.config import ClusterSettings

class Work:
    def step(self):
        time.sleep(0.1)

def job():
    with ray_session(ClusterSettings()):
        work = ray.remote(Work).remote()
        ray.get(work.step.remote())
        print("begun", flush=True)
        while True:
            ray.get(work.step.remote())

ended_well(job)
"""


@pytest.mark.parametrize("service", ["raylet", "gcs_server"])
def test_a_run_whose_ray_was_killed_says_how_to_go_on(service: str) -> None:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    command = isolated([sys.executable, "-c", RUN])
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n", run.communicate(timeout=60)[1]
        (process,) = [each for each in psutil.Process(run.pid).children(recursive=True) if each.name() == service]
        process.kill()
        _, shown = run.communicate(timeout=180)
    finally:
        run.kill()
    assert run.returncode == 1
    lines = [line for line in shown.splitlines() if line]
    assert "Traceback" not in shown
    place = lines.index(RESUME)
    assert lines[place - 1].startswith("error: Ray") and lines[place - 1].endswith("has ended, and so has this run")
