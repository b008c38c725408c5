"""Where the time of a run goes: what the driver and the workers do, phase by phase."""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import psutil

Phase = Literal["start", "import", "data", "train", "attack", "evaluate", "explain", "write"]
"""What a process does. start: Ray and the workers' processes start; import: Python imports packages; data: datasets,
vocabularies and models are read; evaluate: predictions without an attack, and validity of texts; write: results are
written. A driver that trains, attacks, evaluates or explains waits for workers."""

PHASES: tuple[Phase, ...] = get_args(Phase)
WORK: tuple[Phase, ...] = ("train", "attack", "explain")
"""Phases in which a worker computes."""
DRIVER = "driver"

GAP_SECONDS = 0.1
"""Spans of one phase with a shorter time between them are kept as one."""


@dataclass(frozen=True)
class Span:
    """A time in which a process was in one phase."""

    phase: Phase
    start: float
    """Seconds since the epoch."""
    end: float

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.end - self.start


@dataclass
class Recorder:
    """Records the phases of this process. Of nested phases, the innermost counts."""

    spans: list[Span] = field(default_factory=list)
    _open: list[Phase] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """The block is in this phase."""
        self._switch()
        self._open.append(phase)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def since_start_of_process(self, phase: Phase) -> None:
        """The time from the start of this process until now was in this phase."""
        self.spans.append(Span(phase, psutil.Process().create_time(), time.time()))

    def take(self) -> tuple[str, list[Span]]:
        """Name of this process, and its spans since the last call."""
        self._switch()
        taken, self.spans = self.spans, []
        return f"{socket.gethostname()} {os.getpid()}", taken

    def _switch(self) -> None:
        """End the current span; what follows belongs to the phase that is open then."""
        now = time.time()
        if self._open:
            self.spans.append(Span(self._open[-1], self._since, now))
        self._since = now


@dataclass
class Timeline:
    """The spans of a run's processes."""

    driver: Recorder = field(default_factory=Recorder)
    workers: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """By name of the process."""

    def add(self, worker: str, spans: Iterable[Span], asked: float | None = None) -> None:
        """Add spans of a worker.

        Args:
            worker: name of its process.
            spans: in order.
            asked: when the driver asked for the process, in seconds since the epoch; the time until its first span
                counts as its start. None: it was there before.
        """
        for span in spans:
            known = self.workers[worker]
            if not known and asked is not None:
                known.append(Span("start", asked, max(asked, span.start)))
            if known and known[-1].phase == span.phase and span.start - known[-1].end < GAP_SECONDS:
                span = Span(span.phase, known.pop().start, span.end)
            known.append(span)

    def processes(self) -> dict[str, list[Span]]:
        """The spans of the driver and of each worker, in the order in which the workers started."""
        ordered = sorted(self.workers.values(), key=lambda spans: spans[0].start)
        return {DRIVER: self.driver.spans} | {f"worker {number}": spans for number, spans in enumerate(ordered, 1)}


@dataclass(frozen=True)
class Summary:
    """Seconds of a run."""

    wall_s: float
    """From the start of the driver's process until its last span ended."""
    idle_s: float
    """Of these, the time in which no worker computed. Evaluation counts as computed: its tasks record nothing."""
    driver: Mapping[Phase, float]
    """By phase."""
    workers: Mapping[Phase, float]
    """By phase, added up over the workers."""

    @property
    def idle_share(self) -> float:
        """Share of the run in which no worker computed."""
        return self.idle_s / self.wall_s if self.wall_s else 0.0

    def lines(self) -> list[str]:
        """The summary in words."""
        spent = [
            f"{name}: " + ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in phases.items() if seconds >= 0.5)
            for name, phases in (("driver", self.driver), ("workers, added up", self.workers))
        ]
        return [*spent, f"no worker computed in {self.idle_s:.0f} of {self.wall_s:.0f} s ({self.idle_share:.0%})"]


def summarize(processes: Mapping[str, Sequence[Span]]) -> Summary:
    """Seconds by phase.

    Args:
        processes: spans by process, one of which is `DRIVER`.
    """
    everything = [span for spans in processes.values() for span in spans]
    first, last = min(span.start for span in everything), max(span.end for span in everything)
    workers = [span for name, spans in processes.items() if name != DRIVER for span in spans]
    tasks = [span for span in processes[DRIVER] if span.phase == "evaluate"]
    busy = union([*(span for span in workers if span.phase in WORK), *tasks])
    return Summary(last - first, last - first - busy, _by_phase(processes[DRIVER]), _by_phase(workers))


def union(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of the spans lasts."""
    covered, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        covered += max(span.end - max(span.start, end), 0.0)
        end = max(end, span.end)
    return covered


def _by_phase(spans: Iterable[Span]) -> dict[Phase, float]:
    totals: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
    for span in spans:
        totals[span.phase] += span.seconds
    return totals


def to_dict(processes: Mapping[str, Sequence[Span]]) -> dict[str, list[list[Any]]]:
    """The spans as JSON keeps them: phase, start and end of each, in seconds since the first start."""
    zero = min(span.start for spans in processes.values() for span in spans)
    return {
        name: [[span.phase, round(span.start - zero, 2), round(span.end - zero, 2)] for span in spans]
        for name, spans in processes.items()
    }


def work_seconds(processes: Mapping[str, Sequence[Span]], cores: int) -> float:
    """Seconds that the steps of a run would take in warm processes on so many cores.

    The steps follow each other as the driver's phases do. Attacks and explanations divide evenly among the cores. A
    training uses one core, and trainings of the same phase run side by side. Starting, importing and reading models in
    workers do not count; reading data, evaluating and writing count with the driver's time.
    """
    workers = [span for name, spans in processes.items() if name != DRIVER for span in spans]
    total = 0.0
    for step in processes[DRIVER]:
        if step.phase in WORK:
            own = [one.seconds for one in workers if one.phase == step.phase and step.start <= one.start < step.end]
            longest = max(own, default=0.0) if step.phase == "train" else 0.0
            total += max(longest, sum(own) / cores)
        elif step.phase not in ("start", "import"):
            total += step.seconds
    return total


def from_dict(kept: Mapping[str, Sequence[tuple[Phase, float, float]]]) -> dict[str, list[Span]]:
    """The spans that `to_dict` has made plain."""
    return {name: [Span(*span) for span in spans] for name, spans in kept.items()}
