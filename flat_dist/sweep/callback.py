"""What becomes of trials while Ray Tune runs them: records, child runs in MLflow, and progress."""

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
"""How MLflow calls them."""


class TrialCallback(tune.Callback):
    """Writes a record of each trial, logs it as a child run, and shows how far the sweep is."""

    def __init__(self, job: TrialJob, rounds: int, tracker: Tracker, bar: Bar, display: Display):
        self.job, self.rounds, self.tracker, self.bar, self.display = job, rounds, tracker, bar, display
        self.records = Records(Folder(job.records))
        self.trials = self.records.all()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial's process is there."""
        known = self._of(trial)
        if known.status not in ENDED:
            self._keep(replace(known, status=RUNNING, reason=""))
            self.tracker.parameters(known.name, known.point)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has another round behind it."""
        known = self._of(trial)
        if known.status in ENDED or result["diverged"]:
            return
        measured = RoundMetrics(**json.loads(result["measured"]))
        if measured.round > len(known.rounds):
            self._keep(replace(known, rounds=(*known.rounds, measured)))
        else:  # of a trial that was started again: with the time of the first time, MLflow knows it
            measured = known.rounds[measured.round - 1]
        values = {**measured.metrics, "score": result["score"]}
        self.tracker.metrics(known.name, values, measured.round, measured.timestamp)

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial ended by itself, or was ended early."""
        known, diverged = self._of(trial), trial.last_result.get("diverged")
        if known.status not in ENDED:
            status = DIVERGED if diverged else FINISHED if len(known.rounds) == self.rounds else PRUNED
            known = replace(known, status=status, reason=diverged or "")
        self._end(known)  # also if it had ended: the driver may have been killed before MLflow knew

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial could not go on."""
        error = trial.get_pickled_error() or trial.get_error()
        cause = getattr(error, "cause", None) or error
        said = str(cause) if isinstance(cause, UserError) else f"{type(cause).__name__}: {cause}"
        self._end(replace(self._of(trial), status=FAILED, reason=said.strip().splitlines()[0] if said else "unknown"))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Ray Tune looked after its trials."""
        ended = sum(trial.is_finished() for trial in trials)
        counts = Counter(trial.status for trial in self.trials.values())
        facts: dict[str, Any] = {"pruned": counts[PRUNED] or None, "failed": counts[DIVERGED] + counts[FAILED] or None}
        self.bar.advance(ended - self.bar.done, **facts)

    def _of(self, trial: TuneTrial) -> Trial:
        point = self.job.point(trial.config)
        return self.trials.get(Trial(point).name) or Trial(point)

    def _keep(self, trial: Trial) -> None:
        self.trials[trial.name] = trial
        self.records.write(trial)

    def _end(self, trial: Trial) -> None:
        self._keep(trial)
        self.tracker.end(trial.name, STATUSES[trial.status], {"trial": trial.status, "reason": trial.reason})
        self.display.log_line(describe(trial))
