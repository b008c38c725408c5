"""Follows the trials that Ray Tune runs: records, child runs in MLflow, and progress."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from flat_dist.config.errors import UserError
from flat_dist.runtime.progress import Bar, Display
from flat_dist.storage.folder import Folder
from flat_dist.sweep.trial import TrialJob
from flat_dist.sweep.trials import (
    DIVERGED,
    ENDED,
    FAILED,
    FINISHED,
    PRUNED,
    RUNNING,
    Records,
    RoundMetrics,
    Trial,
    describe,
)
from flat_dist.tracking.tracker import Tracker

STATUSES = {FINISHED: "FINISHED", PRUNED: "KILLED", DIVERGED: "FAILED", FAILED: "FAILED"}
"""Statuses of trials in MLflow."""


class TrialCallback(tune.Callback):
    """Writes a record of each trial, logs it as a child run, and shows the progress of the sweep."""

    def __init__(self, job: TrialJob, rounds: int, tracker: Tracker, bar: Bar, display: Display):
        self.job, self.rounds, self.tracker, self.bar, self.display = job, rounds, tracker, bar, display
        self.records = Records(Folder(job.records))
        self.trials: dict[str, Trial] = {}

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Read the records of an earlier call."""
        self.trials = self.records.all()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial runs."""
        known = self._trial(trial)
        if known.status not in ENDED:
            self._record(replace(known, status=RUNNING, reason=""))
            self.tracker.parameters(known.name, known.point)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record and log a round of a trial."""
        known = self._trial(trial)
        if known.status in ENDED or result["diverged"]:
            return
        measured = RoundMetrics(**json.loads(result["measured"]))
        if measured.round > len(known.rounds):
            self._record(replace(known, rounds=(*known.rounds, measured)))
        else:  # a restarted trial reports it again: with the first timestamp, MLflow drops the repeated numbers
            measured = known.rounds[measured.round - 1]
        values = {**measured.metrics, "score": result["score"]}
        self.tracker.metrics(known.name, values, measured.round, measured.timestamp)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial ended, or was ended early."""
        known, diverged = self._trial(trial), trial.last_result.get("diverged")
        if known.status not in ENDED:
            status = DIVERGED if diverged else FINISHED if len(known.rounds) == self.rounds else PRUNED
            known = replace(known, status=status, reason=diverged or "")
        self._end(known)  # also if its record says so already: the driver may have been killed before it logged that

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial failed."""
        error = trial.get_pickled_error() or trial.get_error()
        cause = getattr(error, "cause", None) or error
        message = str(cause) if isinstance(cause, UserError) else f"{type(cause).__name__}: {cause}"
        reason = message.strip().splitlines()[0] if message else "unknown"
        self._end(replace(self._trial(trial), status=FAILED, reason=reason))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Update the progress."""
        ended = sum(trial.is_finished() for trial in trials)
        counts = Counter(trial.status for trial in self.trials.values())
        facts: dict[str, Any] = {"pruned": counts[PRUNED] or None, "failed": counts[DIVERGED] + counts[FAILED] or None}
        self.bar.advance(ended - self.bar.done, **facts)

    def _trial(self, trial: TuneTrial) -> Trial:
        point = self.job.point(trial.config)
        return self.trials.get(Trial(point).name) or Trial(point)

    def _record(self, trial: Trial) -> None:
        self.trials[trial.name] = trial
        self.records.write(trial)

    def _end(self, trial: Trial) -> None:
        self._record(trial)
        self.tracker.end(trial.name, STATUSES[trial.status], {"trial": trial.status, "reason": trial.reason})
        self.display.log_line(describe(trial))
