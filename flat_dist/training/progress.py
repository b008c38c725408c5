"""Progress of a training: a file that a worker writes, and the bar that the driver shows."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flat_dist.runtime.progress import Bar
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.job import HISTORY
from flat_dist.training.state import History

PROGRESS = "progress.json"
"""Name of the file with the number of epochs done so far, a fraction."""

PROGRESS_SECONDS = 3.0
"""How often a worker writes it."""

WATCH_SECONDS, REMOTE_WATCH_SECONDS = 1.0, 5.0
"""How often the driver reads it, on a local disk and on an object store."""


@contextmanager
def shown(output: Folder, bar: Bar) -> Iterator[None]:
    """Show the progress of a training in another process, which writes to `output`."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(WATCH_SECONDS if output.local else REMOTE_WATCH_SECONDS):
            _show(output, bar)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
    _show(output, bar)


def _show(output: Folder, bar: Bar) -> None:
    """Show the epochs so far, and the share of the current one."""
    history, done = _read_latest(output, HISTORY, History, []), _read_latest(output, PROGRESS, float, 0.0)
    notes = [
        f"loss {one.get('loss', math.nan):.3f}, dev accuracy {100 * one.get('dev_accuracy', math.nan):.1f} %"
        for one in history[-1:]
    ]
    current = done - len(history)
    if current > 0:
        notes.append(f"{100 * current:.0f} % of epoch {len(history) + 1}")
    bar.advance(len(history) - bar.done, ", ".join(notes))


def _read_latest(output: Folder, name: str, kind: Any, default: Any) -> Any:
    """Content of a file of the worker; `default` if it is missing, or damaged by an earlier worker."""
    try:
        return output.read_json(name, kind)
    except (FileNotFoundError, DamagedFileError):
        return default


@dataclass
class ProgressFile:
    """Writes the number of epochs done so far to a file, every few seconds."""

    output: Folder
    written: float = field(default_factory=time.monotonic)

    def __call__(self, epochs: float) -> None:
        """Write the epochs done so far, if the last time was long enough ago."""
        if time.monotonic() - self.written > PROGRESS_SECONDS:
            self.written = time.monotonic()
            self.output.write_json(PROGRESS, epochs)
