"""Progress in a job's log: plain lines, right counts, and nothing redrawn; and in a terminal."""

from __future__ import annotations

import re
from io import StringIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from raykd.progress import CountProgress, RunProgress, Start, working
from raykd.progress.line import Line, duration
from raykd.progress.time_left import Lengths, TimeLeft


@pytest.fixture
def log() -> StringIO:
    return StringIO()


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """A clock that is set by hand."""
    time = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: time[0])
    return time


def train(progress: RunProgress, name: str, epochs: int) -> None:
    for _ in range(epochs):
        progress.epoch(name, {"validation_accuracy": 0.5})


def test_a_log_has_a_line_for_each_trial_that_ends(log):
    with RunProgress(Console(file=log), "search", epochs=16, trials=2) as progress:
        train(progress, "trial-0000", 8)
        progress.end_trial("trial-0000", "finished", 8, 8, 0.875)
        train(progress, "trial-0001", 2)
        progress.end_trial("trial-0001", "stopped early", 2, 8, 0.9)
    waiting, finished, stopped = log.getvalue().splitlines()
    assert waiting == "search 0/16 epochs, 0/2 trials, waiting for the first epoch, 0:00:00"
    assert finished.startswith("trial-0000 finished at 87.50% | 1/2 trials, best 87.50%")
    # A trial that was stopped is not the best.
    assert stopped == "trial-0001 stopped early after epoch 2 at 90.00% | 2/2 trials, best 87.50%"
    assert "\x1b" not in log.getvalue()
    assert "\r" not in log.getvalue()


def test_a_single_network_shows_its_best_epoch(log, monkeypatch):
    monkeypatch.setattr("raykd.progress.run.LINE_SECONDS", -1.0)
    monkeypatch.setattr("raykd.progress.run.LINE_SHARE", 0.0)
    with RunProgress(Console(file=log), "standard teacher", epochs=2) as progress:
        progress.epoch("standard teacher", {"validation_accuracy": 0.75})
        progress.epoch("standard teacher", {"validation_accuracy": 0.5})
    _, first, second = log.getvalue().splitlines()
    assert first.startswith("standard teacher: 75.00% | 1/2 epochs, best 75.00%")
    assert second == "standard teacher: 50.00% | 2/2 epochs, best 75.00%"


def test_a_terminal_has_one_line_that_is_redrawn(log):
    console = Console(file=log, force_terminal=True, width=120)
    with RunProgress(console, "search", epochs=8, trials=2) as progress:
        train(progress, "trial-0000", 4)
        progress.end_trial("trial-0000", "finished", 4, 4, 0.875)
        train(progress, "trial-0001", 1)
        progress.end_trial("trial-0001", "stopped early", 1, 4, 0.5)
        progress.say("a line above")
    # The remaining epochs of a stopped trial are taken off the total.
    assert "5/5 epochs, 2/2 trials" in log.getvalue()
    assert "a line above\n" in log.getvalue()
    assert "finished at" not in log.getvalue()


def test_what_is_waited_for_is_told_as_it_changes(log):
    states = iter(["waiting for worker processes", "waiting for worker processes", "waiting for the first epoch"])
    with RunProgress(Console(file=log), "search", 16, 2) as progress:
        for text in states:
            progress._tell_start(Start(text))
        train(progress, "trial-0000", 1)
        progress._tell_start(Start("waiting for trial processes"))
    told = [re.sub(r", 0:00:0\d$", "", line.partition("waiting")[2]) for line in log.getvalue().splitlines()]
    assert told == [" for the first epoch", " for worker processes", " for the first epoch"]


def test_a_long_run_says_so_with_what_comes_after_it(log, now):
    with RunProgress(Console(file=log), "search", 64, 8, afterwards={"finalists": 16}) as progress:
        assert not progress._tell_whole_time()
        for student in range(8):
            progress.epoch(f"trial-000{student}", {"validation_accuracy": 0.5, "seconds": 600.0})
        assert not progress._tell_whole_time()  # others of the class may be about to report
        now[0] += 6.0
        assert progress._tell_whole_time()
    assert "search: about 70 min at this pace, then 20 min for the finalists" in log.getvalue()


def test_a_long_run_says_so_by_the_batches_of_its_first_epoch(log, now):
    with RunProgress(Console(file=log), "search", 64, 8, afterwards={"finalists": 16}) as progress:
        progress._over.set()
        # Eight students in two classes, each of which needs ten minutes for an epoch of its four.
        progress._tell_start(Start("waiting for the first epoch"))
        assert not progress._tell_whole_time()
        now[0] += 20.0
        progress._tell_start(Start("waiting for the first epoch", 600.0, 8 / 600.0))
        assert progress._tell_whole_time()
        now[0] += 300.0
        assert "75 min left" in progress._line(now[0]).text(80)
        now[0] += 300.0
        for student in range(8):
            progress.epoch(f"trial-000{student}", {"validation_accuracy": 0.5, "seconds": 600.0})
        assert "70 min left" in progress._line(now[0]).text(80)
        # What a classroom said before its report came later.
        progress._tell_start(Start("waiting for the first epoch", 6000.0, 8 / 6000.0))
        assert "70 min left" in progress._line(now[0]).text(80)
    assert "search: about 80 min at this pace, then 20 min for the finalists" in log.getvalue()


def test_things_are_counted_in_a_log_once_they_take_long(log, now):
    now[0] = 0.0
    with CountProgress(Console(file=log), "MLflow", 1200, "events sent", patience=3.0) as progress:
        for now[0], left in ((1.0, 1100), (4.0, 900), (5.0, 800), (15.0, 100)):
            progress.left(left)
    assert log.getvalue().splitlines() == ["MLflow: 300 of 1,200 events sent", "MLflow: 1,100 of 1,200 events sent"]


def test_things_are_counted_by_a_bar_in_a_terminal(log):
    console = Console(file=log, force_terminal=True, no_color=True, width=80)
    with CountProgress(console, "MLflow", 5, "events sent") as progress:
        progress.left(2)
    assert "3/5 events sent" in log.getvalue()


def test_what_is_being_done_is_said_at_once_in_a_terminal_and_not_in_a_log(log):
    with working(Console(file=log), "starting Ray [2]"):
        pass
    assert log.getvalue() == ""
    terminal = StringIO()
    with working(Console(file=terminal, force_terminal=True, width=80), "checking [2]"):
        pass
    assert "checking [2]" in terminal.getvalue()


TITLES = ["search", "standard teacher", "generous teacher without fold 10 of 12", "MLflow (Ctrl-C stops waiting)"]
COUNTS = ["0/30 epochs", "123/512 epochs, 7/32 trials", "239,999/240,000 epochs, 999/1000 students"]
LEFTS = ["", "9.9 days left", "waiting for worker processes", "waiting for the first epoch"]


@given(
    st.sampled_from(TITLES),
    st.sampled_from(COUNTS),
    st.sampled_from(["", "best 100.00%"]),
    st.sampled_from(LEFTS),
    st.sampled_from(["", "123:59:59"]),
    st.integers(80, 250),
)
def test_totals_and_time_left_are_never_cut(title, counts, note, left, since, width):
    shown, bar, rest = Line(title, counts, note, left, since).fitted(width)
    assert len(shown) + (bar + 1 if bar else 0) + 1 + len(rest) <= width
    assert rest.startswith(counts)
    assert left in rest
    assert title.startswith(shown.rstrip("…"))
    assert bar == 0 or bar >= 8
    if width > 160:
        assert (shown, note in rest, since in rest, bar >= 8) == (title, True, True, True)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("title", TITLES)
def test_a_terminal_shows_the_whole_line(title, width, log, now):
    """What rich makes of it, at every stage of a run: no line is wrapped or cut."""
    console = Console(file=log, force_terminal=True, no_color=True, width=width)
    with RunProgress(console, title, 64 * 240, 64) as progress:
        for epoch in range(240):
            now[0] += 30.0
            progress.epoch("trial-0000", {"validation_accuracy": 0.5, "seconds": 30.0})
            if epoch % 80 == 79:
                progress._bar._live.refresh()  # no thread draws at a clock that stands still
        progress.end_trial("trial-0000", "finished", 240, 240, 0.98765)
    lines = [re.sub(r"\x1b\[[\d;?]*\w", "", line).strip() for line in re.split(r"[\r\n]+", log.getvalue())]
    drawn = [line for line in lines if "epochs" in line and "about" not in line]
    assert len(drawn) >= 4
    assert all(len(line) <= width for line in drawn)
    assert all(re.search(r"\d+/15360 epochs, \d/64 trials", line) for line in drawn)
    assert "waiting for the first epoch" in drawn[0]
    assert re.search(r"240/15360 epochs, 1/64 trials, .* left", drawn[-1])
    assert "…" not in "".join(drawn) or len(title) > 20


# Recorded runs, as events in seconds: epochs of a network, and its end.
Events = list[tuple[float, str, str]]


def studies(classes: int, epochs: int, stops: dict[int, int], slow: float = 1.0, start: float = 30.0) -> Events:
    """Trials in classes of eight, of which some are stopped, after an odd first epoch."""
    events, time = [], start
    for group in range(classes):
        for epoch in range(1, epochs + 1):
            sitting = [i for i in range(8 * group, 8 * group + 8) if stops.get(i, epochs) >= epoch]
            time += (slow if (group, epoch) == (0, 1) else 1.0) * (0.5 + len(sitting) / 4)
            for place, i in enumerate(sitting):
                events.append((time + place / 100, f"trial-{i}", "epoch"))
                if epoch == min(stops.get(i, epochs), epochs):
                    events.append((time + place / 100, f"trial-{i}", "end"))
        time += 4.0  # processes start
    return events


RUNS = {
    "no stops": (studies(4, 16, {}), 16),
    "slow first epoch": (studies(4, 16, {}, slow=40.0), 16),
    "most are stopped": (studies(8, 40, {i: 10 for i in range(64) if i % 4}), 40),
    "all but one stopped at once": (studies(3, 100, {i: 5 for i in range(24) if i != 7}), 100),
    "one long network": ([(60.0 * (i + 1), "trial-0", "epoch") for i in range(30)] + [(1800.0, "trial-0", "end")], 30),
    "history of a resumed trial": (
        [(5.0 + i / 50, "trial-0", "epoch") for i in range(100)]
        + [(10.0 + 20 * i, "trial-0", "epoch") for i in range(140)]
        + [(2790.0, "trial-0", "end")],
        240,
    ),
}


@pytest.mark.parametrize(("events", "epochs"), RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("look", [0.25, 10.0])
def test_the_time_left_never_jumps_and_comes_true(events: Events, epochs: int, look: float):
    names = {name for _, name, _ in events}
    left = TimeLeft(len(names), len(names) * epochs)
    end = events[-1][0]
    shown: list[tuple[float, float]] = []
    waiting = list(events)
    time = 0.0
    while waiting:
        while waiting and waiting[0][0] <= time:
            at, name, what = waiting.pop(0)
            left.epoch(name, at, 2.5) if what == "epoch" else left.end(name)
        if (seconds := left.seconds(time)) is not None and waiting:
            shown.append((time, seconds))
        time += look
    assert all(0.1 < later / earlier < 10 for (_, earlier), (_, later) in pairwise(shown))
    assert left.seconds(end + 1) is None
    if epochs == 100:
        return  # one trial goes on alone for long, and several times faster: nobody can foresee that
    # From the middle on it is right within a factor of two, but for its last seconds.
    middle = [(seconds, end - time) for time, seconds in shown if events[0][0] + end < 2 * time < 2 * end - 40]
    assert middle
    assert all(0.5 < (seconds + 5) / (true + 5) < 2 for seconds, true in middle), middle


def test_the_time_left_expects_trials_to_be_stopped():
    """After eight trials, six of them stopped at a quarter: the others are expected to fare as they did."""
    lengths = Lengths(40)
    for trial in range(8):
        for epoch in range(41 if trial < 2 else 11):
            lengths.reach(epoch)
    assert lengths.expected()[0] == 40
    for _ in range(6):
        lengths.stop(10)
    expected = lengths.expected()
    # One more is taken to have gone on: a third of nine passes epoch 10.
    assert expected[10] == pytest.approx(30 / 3)
    assert expected[0] == pytest.approx(10 + 30 / 3)
    assert expected[11:] == list(range(29, -1, -1))


@given(st.lists(st.tuples(st.integers(0, 7), st.floats(0, 5)), min_size=1, max_size=60), st.data())
def test_whatever_happens_the_time_left_does_not_jump(epochs: list[tuple[int, float]], data: st.DataObject):
    left, time, last = TimeLeft(8, 8 * 60), 0.0, None
    for network, seconds in epochs:
        time += seconds
        left.epoch(str(network), time, seconds or None)
        if data.draw(st.booleans()):
            left.end(str(data.draw(st.integers(0, 7))))
        shown = left.seconds(time)
        if last is not None and shown is not None:
            assert 1 / 3.001 < shown / last < 3.001
        last = shown or last


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "0.1 s"), (45, "45 s"), (300, "5.0 min"), (7200, "2.0 h"), (3e5, "3.5 days")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
