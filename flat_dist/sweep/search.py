"""The search: Ray Tune decides which trials run and which end early; what it costs to restart is kept small.

A trial is a run of the main job that measures on dev. Its stages are those of any run, so that what trials have in
common, the base model and the attack on it, is computed once, and a trial that is started again finds what it had.
The trial itself holds no processor: it waits for tasks and attack workers that live in its share of the cluster, one
after another, and so cannot wait for what it holds itself.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher
from ray.tune.search.optuna import OptunaSearch

from flat_dist import measure, room, stages
from flat_dist.attack.crew import Standing
from flat_dist.config import Config, UserError, from_dict, to_dict
from flat_dist.data.datasets import Dataset
from flat_dist.data.storage import Folder
from flat_dist.lock import held
from flat_dist.progress import Bar, Display
from flat_dist.rounds import Round, Run
from flat_dist.sweep.trials import (
    DIVERGED,
    FAILED,
    FINISHED,
    OBJECTIVES,
    PRUNED,
    RUNNING,
    Axes,
    Measured,
    Records,
    Trial,
    describe,
    finished,
    place,
    score,
    size,
)
from flat_dist.tracking.pending import NoTracker, Tracker
from flat_dist.tracking.table import Result
from flat_dist.training import distributed
from flat_dist.training.loop import DivergenceError

ENVIRONMENT = {
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # what is younger than this is searched again after a crash
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # trials are logged to MLflow, and kept as records
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # which would announce the search, whatever the verbosity
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep at once, as it ends every job
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of the user stay what they are
}

STATE = "tune"
"""Folder in that of the sweep where Ray Tune keeps its state."""
TRIALS = "trials"
"""Folder in that of the sweep that holds a record of each trial."""

WORKER_LOSSES = 2
"""Times that a trial goes on after its last stage when its process was lost."""

RANDOM_FIRST = 5
"""Points that TPE draws at random before it models what it has seen (Optuna: 10, more than half of a small search)."""

STATUSES = {FINISHED: "FINISHED", PRUNED: "KILLED", DIVERGED: "FAILED", FAILED: "FAILED"}
"""How MLflow calls them."""

STANDING = Standing()
"""Attack workers of the trials that this process runs, one after another."""

ENDED = (FINISHED, PRUNED, DIVERGED)
"""Trials that are not run again."""


@dataclass(frozen=True)
class Settings:
    """How the space is searched."""

    samples: int = 16
    """Trials; a grid has one for each of its points instead."""
    searcher: str = "tpe"
    """grid, random, tpe (Optuna's tree-structured Parzen estimator), or pareto (the same for all three objectives at
    once)."""
    scheduler: str = "asha"
    """asha: trials that are not among the best third after as many rounds of training end early; or none."""
    objective: str = "after_attack_accuracy"
    """What the best trial is best in: after_attack_accuracy, accuracy, or kendall_tau (interpretation consistency)."""
    tolerance: float = 0.01
    """Clean accuracy that the best trial may lack to the most accurate one, as a share."""


CHOICES: dict[str, tuple[str, ...]] = {
    "searcher": ("grid", "random", "tpe", "pareto"),
    "scheduler": ("none", "asha"),
    "objective": OBJECTIVES,
}


@dataclass(frozen=True)
class TrialJob:
    """What trials have in common, in plain values that travel."""

    config: Mapping[str, Any]
    """The sweep's, as `config.to_dict` makes it."""
    data: str
    """Folder of the dataset's splits."""
    records: str
    """Folder of `Records`."""
    axes: Axes
    objective: str
    least_accuracy: float
    """Clean accuracy below which a trial's score is lowered: the base model's, less the tolerance."""

    def report(self, measured: Measured, diverged: str = "") -> None:
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


def search(
    config: Config, dataset: Dataset, axes: Axes, settings: Settings, folder: Folder, tracker: Tracker, display: Display
) -> tuple[Result, list[Trial]]:
    """Search the space; goes on where an interrupted search of the same folder stopped.

    Args:
        config: the run that a trial is, but for its point; one kind of training, hardware resolved.
        dataset: what to train and measure on.
        axes: the space.
        settings: searcher, scheduler, and what is best.
        folder: the sweep's.
        tracker: a child run is logged for each trial.
        display: shows the progress.

    Returns:
        The base model under the attack that training sees, and all trials that have ended.

    Raises:
        UserError: the cluster has no place for a trial, or no trial could be trained to the end.
    """
    shared = replace(config, storage=Folder(config.storage).uri)
    workers, bundles = _share(shared, settings.samples)
    room.await_room(_sum(bundles), "a trial", display.say)
    base = _seen(shared, next(Run(shared, Folder(shared.storage), dataset, NoTracker(), display).rounds()).results)
    attack = replace(config.attack, workers=workers, cpu_workers=0)
    job = TrialJob(
        config=to_dict(replace(shared, attack=attack)),
        data=stages.dataset(Folder(shared.storage), dataset).uri,
        records=(folder / TRIALS).uri,
        axes=axes,
        objective=settings.objective,
        least_accuracy=base.accuracy - settings.tolerance,
    )
    total = size(axes) if settings.searcher == "grid" else settings.samples
    with display.stage("sweep", total) as bar:
        watcher = _Watcher(job, config.training.rounds, tracker, bar, display)
        _tune(job, settings, folder / STATE, bundles, watcher, config)
    ended = [trial for trial in watcher.trials.values() if trial.status in STATUSES]
    if not finished(ended):
        reason = next((trial.reason for trial in ended if trial.reason), "all were interrupted")
        raise UserError(f"no trial of {len(ended)} was trained to the end: {reason}")
    return base, ended


def _share(config: Config, samples: int) -> tuple[int, list[dict[str, float]]]:
    """Attack workers of a trial, and the bundles of a placement group that it trains, attacks and measures in.

    The first bundle is that of the trial's own process, which only waits.
    """
    cluster = ray.cluster_resources()
    cpus = float(config.training.cpus_per_worker)
    if "cuda" in (config.training.device, config.attack.device):
        beside = int(cluster.get("CPU", 1.0) // max(cluster.get("GPU", 1.0), 1.0))
        per_gpu = int(1 / config.attack.gpus_per_worker + 1e-9) if config.attack.gpus_per_worker else 1
        workers = config.attack.workers or max(1, min(per_gpu, beside))
        return workers, [{}, {"CPU": max(cpus, float(workers)), "GPU": 1.0}]
    workers = config.attack.workers or max(1, int(cluster.get("CPU", 1.0)) // samples)
    return workers, [{}, {"CPU": cpus}, *({"CPU": 1.0} for _ in range(workers - int(cpus)))]


def _sum(bundles: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for bundle in bundles:
        total.update(bundle)
    return dict(total)


def _tune(
    job: TrialJob,
    settings: Settings,
    state: Folder,
    bundles: Sequence[Mapping[str, float]],
    watcher: "_Watcher",
    config: Config,
) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sizes = {field: len(values) for field, values in job.axes.items()}
    grid = settings.searcher == "grid"
    files, path = state.remote or (None, str(state.local))
    # Not `Tuner.restore`, which would bring the callback back from a pickle: it holds the connection to MLflow.
    tune.run(
        tune.with_parameters(run_trial, job=job),
        name=state.name,
        storage_path=path.rpartition("/")[0],
        storage_filesystem=files,
        # Points are told by the numbers of their values: to a searcher the order of the values is what it can learn.
        config={name: tune.grid_search(list(range(n))) if grid else tune.randint(0, n) for name, n in sizes.items()},
        num_samples=1 if grid else settings.samples,
        search_alg=_searcher(settings, config.seed),
        scheduler=_scheduler(settings, config.training.rounds),
        resources_per_trial=tune.PlacementGroupFactory([dict(bundle) for bundle in bundles]),
        max_failures=WORKER_LOSSES,
        reuse_actors=True,  # a process takes longer to start than a small model to train
        verbose=0,
        callbacks=[watcher],
        resume="AUTO+RESTART_ERRORED" if state.names() else None,
        raise_on_failed_trial=False,
    )


def _searcher(settings: Settings, seed: int) -> Searcher | BasicVariantGenerator:
    if settings.searcher in ("grid", "random"):
        return BasicVariantGenerator(random_state=seed)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=RANDOM_FIRST, multivariate=True, constant_liar=True
    )
    if settings.searcher == "tpe":
        return OptunaSearch(metric="score", mode="max", sampler=sampler)
    return OptunaSearch(metric=list(OBJECTIVES), mode=["max"] * len(OBJECTIVES), sampler=sampler)


def _scheduler(settings: Settings, rounds: int) -> TrialScheduler:
    if settings.scheduler == "none":
        return FIFOScheduler()
    # One round more than there is, or it would end the processes of those that are through.
    return ASHAScheduler("round", metric="score", mode="max", max_t=rounds + 1, grace_period=1, reduction_factor=3)


def run_trial(indices: Mapping[str, int], job: TrialJob) -> None:
    """What Ray Tune runs: the rounds at a point, each reported; what has ended before is reported again.

    Args:
        indices: number of the value, by field of the config.
        job: what trials have in common.
    """
    point = {field: values[indices[field]] for field, values in job.axes.items()}
    name, records = Trial(point).name, Folder(job.records)
    with held(records / name, name, lambda line: None):
        known = Records(records).read(name)
        if known is not None and known.status in ENDED:
            for measured in known.rounds:
                job.report(measured)
            if known.status == DIVERGED:
                job.report(_worst(len(known.rounds) + 1), known.reason)
            return
        number = 0
        try:
            for measured in _rounds(place(from_dict(Config, job.config, "the sweep"), point), job):
                job.report(measured)
                number = measured.round
        except DivergenceError as error:
            job.report(_worst(number + 1), str(error))


def _worst(number: int) -> Measured:
    """What a model that diverged counts for: a searcher that is told nothing would come back to it."""
    return Measured(number, 0.0, 0.0, None, {}, _now())


def _rounds(config: Config, job: TrialJob) -> Iterator[Measured]:
    storage, display = Folder(config.storage), Display(quiet=True)
    dataset = stages.read_dataset(Folder(job.data))
    # A worker on a GPU would keep its share of it from training.
    crew = STANDING.crew(config.attack) if config.attack.device == "cpu" else None
    run = Run(config, storage, dataset, NoTracker(), display, distributed.train_alone, crew)
    for found in run.rounds():
        if found.number:
            explained = measure.interpretations(config, storage, found.tests, display)
            yield _measured(config, replace(found, results=measure.with_consistency(found.results, explained)))


def _measured(config: Config, found: Round) -> Measured:
    seen = _seen(config, found.results)
    consistency = next((seen.interpretations[name] for name in config.evaluation.explain), None)
    metrics: dict[str, float | None] = {}
    for result in found.results:
        metrics |= result.metrics(config.evaluation.split)
    return Measured(
        round=found.number,
        accuracy=seen.accuracy,
        after_attack_accuracy=seen.after_attack_accuracy,
        kendall_tau=consistency.kendall_tau if consistency else None,
        metrics=metrics,
        timestamp=_now(),
    )


def _seen(config: Config, results: Sequence[Result]) -> Result:
    """The result under the attack that training sees."""
    return next(result for result in results if result.attack == config.attack.name)


def _now() -> int:
    return round(1000 * time.time())


class _Watcher(tune.Callback):
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
        measured = Measured(**json.loads(result["measured"]))
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
        point = {field: values[trial.config[field]] for field, values in self.job.axes.items()}
        return self.trials.get(Trial(point).name) or Trial(point)

    def _keep(self, trial: Trial) -> None:
        self.trials[trial.name] = trial
        self.records.write(trial)

    def _end(self, trial: Trial) -> None:
        self._keep(trial)
        self.tracker.end(trial.name, STATUSES[trial.status], {"trial": trial.status, "reason": trial.reason})
        self.display.say(describe(trial))
