"""The page that follows a running study: served over HTTP, made anew as the record grows, and only reading."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from base64 import b85decode
from http.client import HTTPResponse
from pathlib import Path

import pytest
from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from raykd.cli import main
from raykd.config import Experiment, TrackingSettings
from raykd.errors import RaykdError
from raykd.places import JOURNAL, TEACHER
from raykd.report.study import live
from raykd.report.study.live import LivePage, follow
from raykd.results.load import recorded_study
from raykd.search.optuna_study import open_study
from tests.helpers.finished_models import finished_study
from tests.helpers.mounts import seen_read_only
from tests.helpers.paths import ROOT
from tests.report.test_report_page import Page, trial, written

SECONDS = 120.0
"""Longest wait for a process on a busy machine."""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return finished_study(tmp_path, TrackingSettings())


def asked(address: str, **headers: str) -> HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=SECONDS)


def shown(html: str, tmp_path: Path) -> Page:
    file = tmp_path / "fetched.html"
    file.write_text(html)
    return Page(file)


def running(folder: Path) -> subprocess.Popen[str]:
    """A command that follows a study on a free port, and takes Ctrl-C as in a terminal."""
    command = [sys.executable, "-m", "raykd.cli", "report", str(folder), "--follow", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_served_page_follows_the_record_and_ctrl_c_ends_it(experiment: Experiment, tmp_path: Path) -> None:
    folder = experiment.folder
    study = open_study(folder / JOURNAL, "small", 0)
    study.add_trial(trial(TrialState.RUNNING, 0.25))
    with running(folder) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[2]
            assert address.startswith("http://127.0.0.1:")
            before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
            first, version = shown(asked(address).read().decode(), tmp_path), asked(f"{address}version").read().decode()
            assert first.titles[0] == "Under way" and "2 of 32 trials: 1 finished, 1 under way." in first.text
            epochs = experiment.training.epochs
            assert f"trial-0001</td>\n<td>2 of {epochs}</td>\n<td>25.00 %" in first.text
            assert f'data-version="{version}"' in first.text
            script = asked(f"{address}{next(each for each in first.fetched if each.endswith('.js'))}")
            assert zlib.decompress(script.read()).decode() == get_plotlyjs()
            assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before

            # Another process goes on with the study, and is in the middle of a line.
            study.add_trial(trial(TrialState.COMPLETE, 0.95))
            with (folder / JOURNAL).open("ab") as journal:
                journal.write(b'{"op_code": 4, "wor')
            until = time.monotonic() + SECONDS
            while asked(f"{address}version").read().decode() == version:
                assert time.monotonic() < until
                time.sleep(0.2)
            second = shown(asked(address).read().decode(), tmp_path)
            assert "The best student is trial-0002: 95.00 %" in second.text
            best = next(t for f in second.figures for t in f["data"] if t.get("name") == "best so far")
            assert best["y"] == pytest.approx([90.0, 95.0])
            assert (folder / JOURNAL).read_bytes().endswith(b'"wor')

            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked(address, Host="elsewhere.example:80")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                asked(f"{address}../experiment.yaml")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130


def test_a_study_without_a_finished_trial_says_what_it_waits_for(experiment: Experiment) -> None:
    folder = experiment.folder
    teacher = (folder / TEACHER).read_bytes()
    (folder / TEACHER).unlink()
    (folder / JOURNAL).unlink()
    study = open_study(folder / JOURNAL, "small", 0)
    page = LivePage(recorded_study(folder))
    version, html = page.now()
    epochs = experiment.training.epochs
    assert "Waiting for the teacher" in html and f"The 32 trials of {epochs} epochs begin when it is there" in html
    assert page.now()[0] == version
    (folder / TEACHER).write_bytes(teacher)
    study.add_trial(trial(TrialState.RUNNING))
    page = LivePage(recorded_study(folder))
    assert page.now()[0] != version
    assert "No trial has finished yet" in page.now()[1] and "1 of 32 trials: 1 under way." in page.now()[1]


def test_a_page_is_not_made_more_often_than_the_study_can_spare(experiment: Experiment, monkeypatch) -> None:
    study, page = open_study(experiment.folder / JOURNAL, "small", 0), LivePage(recorded_study(experiment.folder))
    versions = [page.now()[0]]
    for share in (1000, 1000, 0):
        monkeypatch.setattr(live, "SHARE", share)
        study.add_trial(trial(TrialState.COMPLETE, 0.5))
        versions.append(page.now()[0])
    first, second, third, fourth = versions
    assert len({first, second}) == 2
    assert second == third == fourth


def test_a_folder_that_may_only_be_read_is_followed(experiment: Experiment, tmp_path: Path) -> None:
    if subprocess.run(seen_read_only(experiment.folder, ["true"]), check=False, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    open_study(experiment.folder / JOURNAL, "small", 0).add_trial(trial(TrialState.RUNNING, 0.5))
    with (experiment.folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    text = (
        "import sys, json\n"
        "from raykd.results.load import recorded_study\n"
        "from raykd.report.study.live import LivePage\n"
        "print(json.dumps(LivePage(recorded_study(sys.argv[1])).now()))"
    )
    command = seen_read_only(experiment.folder, [sys.executable, "-c", text, str(experiment.folder)])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 finished, 1 under way" in json.loads(ended.stdout.splitlines()[-1])[1]


def test_options_that_do_not_fit_are_refused(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(experiment.folder)
    for words, said in (
        (["--follow", "--output", "page.html"], "writes no file"),
        (["--port", "8000"], "add --follow"),
        (["--follow", "--port", "99999"], "name another one, or leave --port out"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["report", folder, *words])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    taken = live.Server(LivePage(recorded_study(folder)), 0)
    with taken, pytest.raises(RaykdError, match="Address already in use"):
        follow(folder, taken.server_port)


def test_a_file_holds_plotly_deflated_and_whole(experiment: Experiment) -> None:
    page = written(experiment)
    assert len(page.text.encode()) < 2_000_000
    _, _, rest = page.text.partition('<script type="text/plain" id="plotly" data-size="')
    size, _, rest = rest.partition('">')
    packed, _, _ = rest.partition("</script>")
    assert "<" not in packed
    assert zlib.decompress(b85decode(packed.replace(",", "<"))[: int(size)]).decode() == get_plotlyjs()
