"""The timeline of a run: spans of the driver and the workers."""

from typing import Any

import pytest

from flat_dist.report.timeline_chart import timeline_charts
from flat_dist.runtime import timeline
from flat_dist.runtime.timeline import DRIVER, Recorder, Span, Timeline, summarize, to_dict, union


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timeline, "time", clock)
    return clock


def test_of_nested_phases_the_innermost_counts(clock: Clock) -> None:
    recorder = Recorder()
    with recorder.phase("attack"):
        clock.now = 103.0
        with recorder.phase("data"):
            clock.now = 107.0
        clock.now = 108.0
    clock.now = 120.0
    with recorder.phase("write"):
        clock.now = 121.0
    assert [(span.phase, span.start, span.end) for span in recorder.spans] == [
        ("attack", 100.0, 103.0),
        ("data", 103.0, 107.0),
        ("attack", 107.0, 108.0),
        ("write", 120.0, 121.0),
    ]


def test_a_phase_ends_with_an_error(clock: Clock) -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="broken"), recorder.phase("train"):
        clock.now = 101.0
        raise ValueError("broken")
    clock.now = 110.0
    assert recorder.take()[1] == [Span("train", 100.0, 101.0)]
    assert recorder.take()[1] == []


def test_the_time_until_a_workers_first_span_is_its_start() -> None:
    found = Timeline()
    found.add("a", [Span("import", 5.0, 7.0), Span("attack", 7.0, 9.0)], asked=2.0)
    found.add("a", [Span("attack", 9.05, 12.0), Span("attack", 20.0, 21.0)], asked=15.0)
    found.add("b", [Span("explain", 1.0, 2.0)])
    assert found.processes() == {
        DRIVER: [],
        "worker 1": [Span("explain", 1.0, 2.0)],
        "worker 2": [
            Span("start", 2.0, 5.0),
            Span("import", 5.0, 7.0),
            Span("attack", 7.0, 12.0),
            Span("attack", 20.0, 21.0),
        ],
    }


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [([], 0.0), ([(0, 2)], 2.0), ([(4, 6), (0, 5)], 6.0), ([(0, 9), (2, 3)], 9.0), ([(0, 1), (3, 5)], 3.0)],
)
def test_overlapping_spans_count_once(spans: list[tuple[float, float]], seconds: float) -> None:
    assert union(Span("train", *span) for span in spans) == seconds


PROCESSES = {
    DRIVER: [Span("import", 10.0, 12.0), Span("train", 14.0, 24.0), Span("evaluate", 24.0, 26.0)],
    "worker 1": [Span("start", 14.0, 17.0), Span("train", 17.0, 22.0)],
    "worker 2": [Span("start", 14.0, 16.0), Span("train", 16.0, 20.0), Span("write", 20.0, 30.0)],
}
"""A worker trains from 16 to 22, a task evaluates from 24 to 26: 8 of 20 seconds."""


def test_a_summary_says_how_long_no_worker_computed() -> None:
    summary = summarize(PROCESSES)
    assert (summary.wall_s, summary.idle_s, summary.idle_share) == (20.0, 12.0, 0.6)
    assert {name: spent for name, spent in summary.driver.items() if spent} == {"import": 2, "train": 10, "evaluate": 2}
    assert {name: spent for name, spent in summary.workers.items() if spent} == {"start": 5, "train": 9, "write": 10}
    assert summary.lines()[-1] == "no worker computed in 12 of 20 s (60%)"


def test_kept_spans_begin_at_zero() -> None:
    kept: dict[str, Any] = to_dict(PROCESSES)
    assert kept["worker 1"] == [["start", 4.0, 7.0], ["train", 7.0, 12.0]]


def test_the_chart_names_the_processes_and_the_phases_that_occur() -> None:
    assert timeline_charts({}) == []
    (chart,) = timeline_charts(PROCESSES)
    shown = [name for name in (*timeline.PHASES, *PROCESSES) if f">{name}<" in chart.svg]
    assert shown == ["start", "import", "train", "evaluate", "write", DRIVER, "worker 1", "worker 2"]
