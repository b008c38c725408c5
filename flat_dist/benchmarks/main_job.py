"""Measures the whole main job: how long it takes, how much of that is work, and its memory."""

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.pipeline.results import RESULTS, TIMELINE
from flat_dist.runtime import timeline
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder

LOOK_SECONDS = 0.5
"""How often the memory of the processes is read."""


def measure(config: Config, texts: int, display: Display) -> dict[str, Any]:
    """Run the job from nothing, and once more when nothing is left to do, each in a process of its own.

    Args:
        config: of the job; its storage and its profile are replaced.
        texts: number of test texts to attack, at most.
        display: shows the progress.

    Returns:
        Seconds of both runs, of the work in the first one, and by phase; and the peak memory of the driver, of the
        largest worker, and of all processes together, in GiB.

    Raises:
        UserError: the job failed.
    """
    with tempfile.TemporaryDirectory() as scratch, display.stage("run the job, and run it again", 2) as bar:
        config = replace(config, storage=scratch, evaluation=replace(config.evaluation, sample=texts))
        preset = Path(scratch) / "job.yaml"
        preset.write_text(yaml.safe_dump(to_dict(config)))
        memory = _Memory()
        first = _run([str(preset), "--profile"], memory)
        bar.advance(1)
        again = _run([str(preset)], _Memory())
        bar.advance(1)
        (folder,) = (Folder(str(path.parent)) for path in Path(scratch).glob(f"*/{RESULTS}"))
        processes = timeline.from_dict(folder.read_json(TIMELINE))
    cores = psutil.cpu_count() or 1
    work, summary = timeline.work_seconds(processes, cores), timeline.summarize(processes)
    return {
        "wall_s": round(first, 1),
        "work_s": round(work, 1),
        "ratio": round(first / work, 3),
        "again_s": round(again, 1),
        "cores": cores,
        "idle_share": round(summary.idle_share, 3),
        "phases": {name: _rounded(spent) for name, spent in (("driver", summary.driver), ("workers", summary.workers))},
        "peak_gib": memory.peaks(),
    }


def _rounded(seconds: Any) -> dict[str, float]:
    return {phase: round(spent, 1) for phase, spent in seconds.items() if spent}


def _run(arguments: Sequence[str], memory: "_Memory") -> float:
    """Seconds of a job."""
    command = [sys.executable, "-m", "flat_dist.commands.main", "train", "--preset", *arguments]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            memory.look(process.pid)
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - began
        if process.returncode:
            errors.seek(0)
            raise UserError(f"the job failed: {errors.read().strip().splitlines()[-1]}")
    return seconds


class _Memory:
    """Resident memory of a process and of all that it has started. Pages that processes share count for each."""

    def __init__(self) -> None:
        self._driver = self._all = 0
        self._workers: dict[int, int] = defaultdict(int)

    def look(self, pid: int) -> None:
        """Read it now."""
        sizes = {}
        try:
            driver = psutil.Process(pid)
            for process in [driver, *driver.children(recursive=True)]:
                sizes[process.pid] = process.memory_info().rss
                if process.pid != pid and process.name().startswith("ray::"):
                    self._workers[process.pid] = max(self._workers[process.pid], sizes[process.pid])
        except psutil.NoSuchProcess:
            return
        self._driver = max(self._driver, sizes[pid])
        self._all = max(self._all, sum(sizes.values()))

    def peaks(self) -> dict[str, float]:
        """The largest values, in GiB."""
        values = {"driver": self._driver, "worker": max(self._workers.values(), default=0), "all": self._all}
        return {name: round(size / 2**30, 2) for name, size in values.items()}
