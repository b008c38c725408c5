"""One trial, in a process of Ray Tune: the rounds at a point of the space.

The process reserves no CPU: its tasks and attack workers run one after another in the trial's placement group. So a
trial cannot deadlock on its own resources.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ray import tune

from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.config.schema import Config
from flat_dist.config.serialization import from_dict
from flat_dist.data.dataset_stage import read_dataset
from flat_dist.evaluation import distributed as distributed_evaluation
from flat_dist.evaluation.attribution_worker import AttributionWorker
from flat_dist.evaluation.result import Result
from flat_dist.pipeline.adversarial_training import AdversarialTraining, Round
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.worker_group import WarmWorkers
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep.trials import DIVERGED, ENDED, OBJECTIVES, Axes, Records, RoundMetrics, Trial, apply_point, score
from flat_dist.tracking.tracker import NoTracker
from flat_dist.training.loop import DivergenceError
from flat_dist.training.single_task import train_alone

ATTACK_WORKERS, EXPLANATION_WORKERS = WarmWorkers(AttackWorker), WarmWorkers(AttributionWorker)
"""Workers that all trials of this process use, one trial after another."""


@dataclass(frozen=True)
class TrialJob:
    """What all trials share, as plain values that can be sent to other processes."""

    config: Mapping[str, Any]
    """Config of the sweep, as `to_dict` returns it."""
    data: str
    """Folder of the dataset's splits."""
    contents: Mapping[str, str | None]
    """Result of `run_folder.contents`: the machine of a trial may not have the user's files."""
    records: str
    """Folder of `Records`."""
    axes: Axes
    objective: str
    least_accuracy: float
    """Clean accuracy below which a trial's score has a penalty: the base model's, minus the tolerance."""

    def point(self, indices: Mapping[str, int]) -> dict[str, float]:
        """The values by field of the config, from their indices in the axes."""
        return {field: values[indices[field]] for field, values in self.axes.items()}

    def report(self, measured: RoundMetrics, diverged: str = "") -> None:
        """Report a round to Ray Tune."""
        tune.report(
            {
                "round": measured.round,
                "score": score(measured, self.objective, self.least_accuracy),
                **{name: measured.objective(name) for name in OBJECTIVES},
                "measured": json.dumps(asdict(measured)),
                "diverged": diverged,
            }
        )


def run_trial(indices: Mapping[str, int], job: TrialJob) -> None:
    """Run the rounds at a point, and report each one. The rounds of a trial that ended before are reported again.

    Args:
        indices: index of the value, by field of the config.
        job: what all trials share.
    """
    point = job.point(indices)
    name, records = Trial(point).name, Folder(job.records)
    with exclusive_lock(records / name, name, lambda line: None):
        known = Records(records).read(name)
        if known is not None and known.status in ENDED:
            for measured in known.rounds:
                job.report(measured)
            if known.status == DIVERGED:
                job.report(_worst(len(known.rounds) + 1), known.reason)
            return
        number = 0
        try:
            for measured in _rounds(apply_point(from_dict(Config, job.config, "the sweep"), point), job):
                job.report(measured)
                number = measured.round
        except DivergenceError as error:
            job.report(_worst(number + 1), str(error))


def _worst(number: int) -> RoundMetrics:
    """The numbers of a model that diverged: without a report, the searcher would try similar points again."""
    return RoundMetrics(number, 0.0, 0.0, None, {}, _now())


def _rounds(config: Config, job: TrialJob) -> Iterator[RoundMetrics]:
    storage, display = Folder(config.storage), Display(quiet=True)
    dataset = read_dataset(Folder(job.data))
    # Warm workers on a GPU would keep memory that training needs.
    group = ATTACK_WORKERS.group(config.attack.workers) if config.attack.device == "cpu" else None
    explainers = EXPLANATION_WORKERS.group(config.attack.workers) if config.training.device == "cpu" else None
    environment = Environment(storage, NoTracker(), display, train_alone, group, job.contents)
    run = AdversarialTraining(RunStages(config, dataset, environment))
    for done in run.rounds():
        if done.number:
            executor = run.stages.executor
            explained = distributed_evaluation.explain_pairs(config, executor, done.attacked, display, explainers)
            results = distributed_evaluation.with_consistency(config, done.results, explained)
            yield _metrics(config, replace(done, results=results))


def _metrics(config: Config, done: Round) -> RoundMetrics:
    own = result_of_training_attack(config, done.results)
    consistency = next((own.interpretations[name].common for name in config.evaluation.explain), None)
    metrics: dict[str, float | None] = {}
    for result in done.results:
        metrics |= result.metrics(config.evaluation.split)
    return RoundMetrics(
        round=done.number,
        accuracy=own.accuracy,
        after_attack_accuracy=own.after_attack_accuracy,
        kendall_tau=consistency.kendall_tau if consistency else None,
        metrics=metrics,
        timestamp=_now(),
    )


def result_of_training_attack(config: Config, results: Sequence[Result]) -> Result:
    """The result under the attack used in training."""
    return next(result for result in results if result.attack == config.attack.name)


def _now() -> int:
    return round(1000 * time.time())
