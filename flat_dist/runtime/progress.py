"""Progress of long stages: live bars in a terminal, a line now and then in a log, or JSON lines for machines.

Everything goes to standard error.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class PlainConsole(Console):
    """A terminal, or a log, that shows text as it is: what users name their files is no markup."""

    def __init__(self, **settings: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **settings)
        if not self.is_terminal:
            self.width = max(self.width, 120)

    def on_broken_pipe(self) -> None:
        """A reader that goes away ends the command as it ends others: see `flat_dist.cli.main`."""
        raise


LOG_SECONDS = 30.0
"""A log gets a line this often at most, beside one when a stage ends."""


class Bar:
    """One stage's progress.

    Args:
        display: where it is shown.
        title: what is under way.
        total: how much there is to do.
        done: how much of it was done before; it does not count as speed.
    """

    def __init__(self, display: "Display", title: str, total: int, done: int = 0):
        self.display, self.title, self.total, self.done, self.before = display, title, total, done, done
        self.note, self.facts, self.finished = "", {}, False  # type: str, dict[str, Any], bool
        self.began: float | None = None
        self.task: TaskID | None = (
            display.bars.add_task(title, total=total, completed=done, note="") if display.bars else None
        )

    def start(self) -> None:
        """Its time counts from now, if it did not before."""
        if self.began is None:
            self.began = time.monotonic()
            self.display.last_line = max(self.display.last_line, self.began)

    def advance(self, amount: int, note: str = "", **facts: Any) -> None:
        """So much more is done.

        Args:
            amount: in the unit of `total`.
            note: replaces what is said beside the bar.
            facts: numbers by name, which are said beside it too; None: not known yet.
        """
        if amount:
            self.start()
        self.done += amount
        self.note, self.facts = note or self.note, facts or self.facts
        if self.display.bars and self.task is not None:
            self.display.bars.update(self.task, completed=self.done, note=self._described())
        elif self.began is not None and self.done < self.total and self.display.line_is_due():
            self._line()

    def finish(self) -> None:
        """Leave one line that says what the stage came to; a second call does nothing."""
        if self.finished:
            return
        self.finished = True
        if self.display.bars and self.task is not None:
            self.display.bars.remove_task(self.task)
            self.task = None
        self._line()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began if self.began is not None else 0.0

    @property
    def rate(self) -> float | None:
        """How much is done in a second; None before there is anything to go by."""
        return (self.done - self.before) / self.seconds if self.done > self.before and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at that rate."""
        return (self.total - self.done) / self.rate if self.rate else None

    def _described(self) -> str:
        notes = [_speed(self.rate)] if self.rate else []
        if self.seconds_left:
            notes.append(f"{_duration(self.seconds_left)} left")
        notes += [self.note] if self.note else []
        notes += [_fact(name, value) for name, value in self.facts.items() if value is not None]
        return ", ".join(notes)

    def _line(self) -> None:
        self.display.last_line = time.monotonic()
        said = f"{self.title}: {self.done}/{self.total} in {_duration(self.seconds)}"
        described = self._described()
        self.display.log_line(
            f"{said}, {described}" if described else said,
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
    """Where progress is shown; use it as a context manager.

    Args:
        quiet: show nothing.
        as_json: a JSON object for each line.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False):
        self.console = PlainConsole(stderr=True, quiet=quiet, soft_wrap=True)
        self.as_json = as_json
        self.bars: Progress | None = None
        self.last_line = time.monotonic()
        """When a bar last left a line."""

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
        """Whether a log has had no line of progress for so long that it gets one."""
        return time.monotonic() - self.last_line > LOG_SECONDS

    def log_line(self, line: str, **facts: Any) -> None:
        """One line, now; as JSON with the facts of which it speaks."""
        now = time.strftime("%H:%M:%S")
        if self.as_json:
            self.console.print(json.dumps({"time": now, "message": line, **facts}), soft_wrap=True)
        else:
            self.console.print(f"[{now}] {line}")

    def bar(self, title: str, total: int, done: int = 0) -> Bar:
        """A bar for one stage; call its `finish` in the end."""
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
