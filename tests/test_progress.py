import json
import time
from pathlib import Path

import pytest

from flat_dist.runtime import progress
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.training.job import HISTORY
from flat_dist.training.progress import shown


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_log_has_one_line_per_30_seconds_for_all_bars(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        bars = [display.bar(title, 1000, done) for title, done in (("one", 100), ("two", 0))]
        for _ in range(100):
            clock.now += 1
            for bar in bars:
                bar.advance(1, success_rate=0.25, workers=1, restarts=None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # in 100 seconds
    # 32 steps by the first second after 30, counted from the first step; the other 868 take 31 / 32 as many seconds
    assert "one: 132/1000 in 31 s, 1.03/s, 14 min 1 s left, success rate 25%, 1 worker" in lines[0]
    assert "restarts" not in lines[0]


def test_json_output_is_one_object_per_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(as_json=True) as display:
        display.log_line("hello, [world] " + "x" * 200)
        bar = display.bar("attack", 40, done=10)
        bar.start()
        clock.now += 5
        bar.advance(20, success_rate=0.5, workers=2, restarts=0)
        clock.now += 31
        bar.advance(0, success_rate=0.5, workers=2, restarts=1)
        bar.advance(10, success_rate=0.5, workers=2, restarts=1)
        bar.finish()
        bar.finish()
    said, running, finished = map(json.loads, capsys.readouterr().err.splitlines())
    assert said["message"] == "hello, [world] " + "x" * 200
    expected = {"stage": "attack", "done": 30, "total": 40, "seconds": 36.0, "success_rate": 0.5, "workers": 2}
    assert {name: running[name] for name in expected} == expected
    assert running["per_second"] == pytest.approx(20 / 36, abs=1e-3)
    assert running["seconds_left"] == pytest.approx(10 * 36 / 20, abs=0.1)
    assert (running["restarts"], finished["done"], finished["seconds_left"]) == (1, 40, 0)


def test_a_stage_that_has_not_begun_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        bar = display.bar("attack", 40)
        clock.now += 100
        bar.advance(0)
    assert capsys.readouterr().err == ""


def test_bars_show_file_names_literally(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with Display() as display:
        assert display.bars is not None
        bar = display.bar("pwws on [/v2] [b]x[/b] :smile:", 10)
        bar.advance(5, note="[/x] {note}")
        display.bars.refresh()
        display.log_line("[red] said")
        bar.finish()
    shown = capsys.readouterr().err
    for part in ("pwws on [/v2] [b]x[/b] :smile:", "[/x] {note}", "[red] said"):
        assert part in shown


def test_the_epochs_of_a_training_elsewhere_are_shown_while_it_runs(tmp_path: Path) -> None:
    output, bar = Folder(tmp_path), Display(quiet=True).bar("train", 3)
    history = [{"epoch": epoch, "loss": 0.5, "dev_accuracy": 0.75} for epoch in (1, 2)]
    with shown(output, bar):
        for epochs in (1, 2):
            output.write_json(HISTORY, history[:epochs])
            deadline = time.monotonic() + 600
            while bar.done < epochs:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert (bar.done, bar.note) == (2, "loss 0.500, dev accuracy 75.0 %")
