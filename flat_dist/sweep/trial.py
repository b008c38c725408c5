"""One trial, in a process of Ray Tune's: the rounds at a point of the space.

The process holds no processor: it waits for tasks and attack workers that live in the trial's share of the cluster, one
after another, and so cannot wait for what it holds itself.
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
"""Workers of the trials that this process runs, one after another."""


@dataclass(frozen=True)
class TrialJob:
    """What trials have in common, in plain values that travel."""

    config: Mapping[str, Any]
    """The sweep's, as `config.to_dict` makes it."""
    data: str
    """Folder of the dataset's splits."""
    contents: Mapping[str, str | None]
    """As `run_folder.contents`: a trial's machine need not have the user's files."""
    records: str
    """Folder of `Records`."""
    axes: Axes
    objective: str
    least_accuracy: float
    """Clean accuracy below which a trial's score is lowered: the base model's, less the tolerance."""

    def point(self, indices: Mapping[str, int]) -> dict[str, float]:
        """The values, by field of the config, that numbers of values stand for."""
        return {field: values[indices[field]] for field, values in self.axes.items()}

    def report(self, measured: RoundMetrics, diverged: str = "") -> None:
        """Tell Ray Tune what a round came to."""
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
    """What Ray Tune runs: the rounds at a point, each reported; what has ended before is reported again.

    Args:
        indices: number of the value, by field of the config.
        job: what trials have in common.
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
    """What a model that diverged counts for: a searcher that is told nothing would come back to it."""
    return RoundMetrics(number, 0.0, 0.0, None, {}, _now())


def _rounds(config: Config, job: TrialJob) -> Iterator[RoundMetrics]:
    storage, display = Folder(config.storage), Display(quiet=True)
    dataset = read_dataset(Folder(job.data))
    # Idle workers on a GPU would keep training from it.
    group = ATTACK_WORKERS.group(config.attack.workers) if config.attack.device == "cpu" else None
    explainers = EXPLANATION_WORKERS.group(config.attack.workers) if config.training.device == "cpu" else None
    environment = Environment(storage, NoTracker(), display, train_alone, group, job.contents)
    run = AdversarialTraining(RunStages(config, dataset, environment))
    for found in run.rounds():
        if found.number:
            executor = run.stages.executor
            explained = distributed_evaluation.explain_pairs(config, executor, found.attacked, display, explainers)
            results = distributed_evaluation.with_consistency(found.results, explained)
            yield _measured(config, replace(found, results=results))


def _measured(config: Config, found: Round) -> RoundMetrics:
    own = seen(config, found.results)
    consistency = next((own.interpretations[name] for name in config.evaluation.explain), None)
    metrics: dict[str, float | None] = {}
    for result in found.results:
        metrics |= result.metrics(config.evaluation.split)
    return RoundMetrics(
        round=found.number,
        accuracy=own.accuracy,
        after_attack_accuracy=own.after_attack_accuracy,
        kendall_tau=consistency.kendall_tau if consistency else None,
        metrics=metrics,
        timestamp=_now(),
    )


def seen(config: Config, results: Sequence[Result]) -> Result:
    """The result under the attack that training sees."""
    return next(result for result in results if result.attack == config.attack.name)


def _now() -> int:
    return round(1000 * time.time())
