"""Progress of long stages on standard error: bars in a terminal, regular lines in a log, or JSON lines."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flat_dist.runtime.timeline import Timeline


class PlainConsole(Console):
    """A terminal or log that prints text literally: file names are not markup."""

    def __init__(self, **settings: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **settings)
        if not self.is_terminal:
            self.width = max(self.width, 120)

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError if the reader has gone; see `flat_dist.cli.main`."""
        raise


LOG_SECONDS = 30.0
"""Shortest interval of a bar's lines in a log; the end of a stage always gets a line."""


class Bar:
    """One stage's progress.

    Args:
        display: where the bar is shown.
        title: name of the stage.
        total: amount of work.
        done: amount already done; it does not count for the rate.
    """

    def __init__(self, display: "Display", title: str, total: int, done: int = 0):
        self.display, self.title, self.total, self.done, self.done_before = display, title, total, done, done
        self.note, self.facts, self.finished = "", {}, False  # type: str, dict[str, Any], bool
        self.start_time: float | None = None
        self.task: TaskID | None = (
            display.bars.add_task(title, total=total, completed=done, note="") if display.bars else None
        )

    def start(self) -> None:
        """Start the clock, if it is not running."""
        if self.start_time is None:
            self.start_time = time.monotonic()
            self.display.last_line = max(self.display.last_line, self.start_time)

    def advance(self, amount: int, note: str = "", **facts: Any) -> None:
        """Add progress.

        Args:
            amount: in the unit of `total`.
            note: replaces the note beside the bar.
            facts: numbers by name, also shown beside the bar; None: not known yet.
        """
        if amount:
            self.start()
        self.done += amount
        self.note, self.facts = note or self.note, facts or self.facts
        if self.display.bars and self.task is not None:
            self.display.bars.update(self.task, completed=self.done, note=self._details())
        elif self.start_time is not None and self.done < self.total and self.display.line_is_due():
            self._line()

    def finish(self) -> None:
        """Print the final line of the stage; a second call does nothing."""
        if self.finished:
            return
        self.finished = True
        if self.display.bars and self.task is not None:
            self.display.bars.remove_task(self.task)
            self.task = None
        self._line()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start_time if self.start_time is not None else 0.0

    @property
    def rate(self) -> float | None:
        """Work per second; None before the first progress."""
        return (self.done - self.done_before) / self.seconds if self.done > self.done_before and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds for the rest."""
        return (self.total - self.done) / self.rate if self.rate else None

    def _details(self) -> str:
        notes = [_speed(self.rate)] if self.rate else []
        if self.seconds_left:
            notes.append(f"{_duration(self.seconds_left)} left")
        notes += [self.note] if self.note else []
        notes += [_fact(name, value) for name, value in self.facts.items() if value is not None]
        return ", ".join(notes)

    def _line(self) -> None:
        self.display.last_line = time.monotonic()
        summary = f"{self.title}: {self.done}/{self.total} in {_duration(self.seconds)}"
        details = self._details()
        self.display.log_line(
            f"{summary}, {details}" if details else summary,
            stage=self.title,
            done=self.done,
            total=self.total,
            seconds=round(self.seconds, 1),
            per_second=round(self.rate, 3) if self.rate else None,
            seconds_left=round(self.seconds_left, 1) if self.seconds_left is not None else None,
            **self.facts,
        )


def _fact(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if name.endswith("_rate"):
        return f"{words} {value:.0%}"
    return f"{value} {words.removesuffix('s') if value == 1 else words}"


def _speed(rate: float) -> str:
    return f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class Display:
    """Shows progress, and keeps the run's timeline; use it as a context manager.

    Args:
        quiet: show nothing.
        as_json: a JSON object for each line.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False):
        self.console = PlainConsole(stderr=True, quiet=quiet, soft_wrap=True)
        self.as_json = as_json
        self.bars: Progress | None = None
        self.last_line = time.monotonic()
        """Time of the last line of a bar."""
        self.timeline = Timeline()

    def __enter__(self) -> "Display":
        if self.console.is_terminal and not self.as_json:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self.bars = Progress(*columns, console=self.console)
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()
            self.bars = None

    def line_is_due(self) -> bool:
        """Whether the log needs a new line of progress."""
        return time.monotonic() - self.last_line > LOG_SECONDS

    def log_line(self, line: str, **facts: Any) -> None:
        """Print a line; as JSON, with facts as fields."""
        now = time.strftime("%H:%M:%S")
        if self.as_json:
            self.console.print(json.dumps({"time": now, "message": line, **facts}), soft_wrap=True)
        else:
            self.console.print(f"[{now}] {line}")

    def bar(self, title: str, total: int, done: int = 0) -> Bar:
        """A bar for one stage; call `finish` at the end."""
        return Bar(self, title, total, done)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Bar]:
        """A bar that ends with the block."""
        bar = self.bar(title, total)
        bar.start()
        try:
            yield bar
        finally:
            bar.finish()
