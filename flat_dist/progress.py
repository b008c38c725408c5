"""Progress of long stages: live bars in a terminal, a line now and then in a log. Everything goes to standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOG_SECONDS = 30.0
"""A log gets a line this often at most."""


class Bar:
    """One stage's progress."""

    def __init__(self, display: "Display", title: str, total: int):
        self.display, self.title, self.total, self.done, self.note = display, title, total, 0, ""
        self.began = self.last_line = time.monotonic()
        self.task: TaskID | None = display.bars.add_task(title, total=total, note="") if display.bars else None

    def start(self) -> None:
        """Its time counts from now, if nothing is done yet."""
        if not self.done:
            self.began = self.last_line = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        """So much more is done; `note` replaces what is said beside the bar."""
        self.done += amount
        self.note = note or self.note
        if self.display.bars and self.task is not None:
            self.display.bars.update(self.task, completed=self.done, note=self.note)
        elif self.done < self.total and time.monotonic() - self.last_line > LOG_SECONDS:
            self._line()

    def finish(self) -> None:
        """Leave one line that says what the stage came to."""
        if self.display.bars and self.task is not None:
            self.display.bars.remove_task(self.task)
            self.task = None
        self._line()

    def _line(self) -> None:
        self.last_line = time.monotonic()
        seconds = self.last_line - self.began
        note = f", {self.note}" if self.note else ""
        self.display.say(f"{self.title}: {self.done}/{self.total} in {seconds:.0f} s{note}")


class Display:
    """Where progress is shown; use it as a context manager."""

    def __init__(self, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
        self.bars: Progress | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
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

    def say(self, line: str) -> None:
        """One line, now."""
        self.console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False)

    def bar(self, title: str, total: int) -> Bar:
        """A bar for one stage; call its `finish` in the end."""
        return Bar(self, title, total)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Bar]:
        """A bar that ends with the block."""
        bar = self.bar(title, total)
        try:
            yield bar
        finally:
            bar.finish()
