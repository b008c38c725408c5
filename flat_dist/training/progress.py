"""How far a training is: what a worker writes down, and what the driver shows of it."""

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from flat_dist.runtime.progress import Bar
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.job import HISTORY
from flat_dist.training.state import History

PROGRESS = "progress.json"
"""Epochs done so far, a fraction; for whoever watches."""


PROGRESS_SECONDS = 3.0
"""How often it is written."""


WATCH_SECONDS, REMOTE_WATCH_SECONDS = 1.0, 5.0
"""How often the driver looks for a new epoch, on this machine and on an object store."""


def watch(output: Folder, bar: Bar, finished: threading.Event) -> None:
    """Show the progress until the training has finished."""
    while not finished.wait(WATCH_SECONDS if output.local else REMOTE_WATCH_SECONDS):
        show_progress(output, bar)
    show_progress(output, bar)


def show_progress(output: Folder, bar: Bar) -> None:
    """Show the epochs so far, and the share of the current one."""
    history, done = _read_latest(output, HISTORY, History, []), _read_latest(output, PROGRESS, float, 0.0)
    notes = [
        f"loss {one.get('loss', math.nan):.3f}, dev accuracy {100 * one.get('dev_accuracy', math.nan):.1f} %"
        for one in history[-1:]
    ]
    under_way = done - len(history)
    if under_way > 0:
        notes.append(f"{100 * under_way:.0f} % of epoch {len(history) + 1}")
    bar.advance(len(history) - bar.done, ", ".join(notes))


def _read_latest(output: Folder, name: str, kind: Any, nothing: Any) -> Any:
    """What the worker wrote down last; nothing yet where an earlier one left a file that is damaged."""
    try:
        return output.read_json(name, kind)
    except (FileNotFoundError, DamagedFileError):
        return nothing


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
