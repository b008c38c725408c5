"""The search: Ray Tune decides which trials run, and which end early.

A trial is a run of the main job that measures on dev. It uses the same cached stages as every run. So all trials share
the base model and the attack on it, and a restarted trial continues after its last finished stage.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher
from ray.tune.search.optuna import OptunaSearch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.data.datasets import Dataset
from flat_dist.evaluation.result import Result
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.adversarial_training import AdversarialTraining
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.runtime import capacity
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.sweep.callback import STATUSES, TrialCallback
from flat_dist.sweep.space import Settings, Sweep
from flat_dist.sweep.trial import TrialJob, result_of_training_attack, run_trial
from flat_dist.sweep.trials import OBJECTIVES, Records, Trial, count_points, finished
from flat_dist.tracking.tracker import NoTracker, Tracker

ENVIRONMENT = {
    "TUNE_GLOBAL_CHECKPOINT_S": "2",  # seconds between saves of the search's state
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # trials are logged to MLflow, and written as records
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a header at every verbosity
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends a sweep at once, like every job
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # the user's relative paths stay valid
}

STATE = "tune"
"""Subfolder of the sweep for the state of Ray Tune."""
TRIALS = "trials"
"""Subfolder of the sweep with a record of each trial."""

WORKER_LOSSES = 2
"""How often a trial restarts after its process was lost."""

RANDOM_FIRST = 5
"""Points that TPE draws at random before it fits a model. Optuna's default, 10, is over half of a small search."""


def search(sweep: Sweep, dataset: Dataset, tracker: Tracker, display: Display) -> tuple[Result, list[Trial]]:
    """Search the space, or continue an interrupted search of the same folder.

    Args:
        sweep: the space, and how to search it.
        dataset: the data to train and measure on.
        tracker: logs a child run for each trial.
        display: shows the progress.

    Returns:
        The base model's result under the attack used in training, and all trials that have ended.

    Raises:
        UserError: the cluster has too few resources for a trial, or no trial could be trained to the end.
    """
    folder, settings = sweep.folder, sweep.settings
    shared = replace(sweep.config, storage=Folder(sweep.config.storage).uri)
    workers, bundles = _resources(shared, settings.samples)
    capacity.wait_for_resources(_sum(bundles), "a trial", display.log_line)
    storage = Folder(shared.storage)
    training = AdversarialTraining(RunStages(shared, dataset, Environment(storage, NoTracker(), display)))
    base = result_of_training_attack(shared, next(training.rounds()).results)
    attack = replace(shared.attack, workers=workers, cpu_workers=0)
    job = TrialJob(
        config=to_dict(replace(shared, attack=attack)),
        data=training.stages.data.folder.uri,
        contents=run_folder.contents(sweep.config),
        records=(folder / TRIALS).uri,
        axes=sweep.axes,
        objective=settings.objective,
        least_accuracy=base.accuracy - settings.tolerance,
    )
    _drop_damaged(folder, Records(folder / TRIALS), display)
    total = count_points(sweep.axes) if settings.searcher == "grid" else settings.samples
    with display.stage("sweep", total) as bar:
        callback = TrialCallback(job, shared.training.rounds, tracker, bar, display)
        _tune(job, settings, folder / STATE, bundles, callback, shared)
    ended = [trial for trial in callback.trials.values() if trial.status in STATUSES]
    if not finished(ended):
        reason = next((trial.reason for trial in ended if trial.reason), "all were interrupted")
        raise UserError(f"no trial of {len(ended)} was trained to the end: {reason}")
    return base, ended


def _drop_damaged(folder: Folder, records: Records, display: Display) -> None:
    """Delete trials with damaged files, so that they run again.

    Ray Tune must lose its state too, because it counts them as ended. The records of the other trials stay, so those
    are not run again.
    """
    damaged = set(records.names()) - records.all().keys()
    if damaged:
        display.log_line(f"trials with damaged files run again: {', '.join(sorted(damaged))}")
        folder.remove(STATE)
        for name in damaged:
            records.folder.delete(f"{name}.json")


def _resources(config: Config, samples: int) -> tuple[int, list[dict[str, float]]]:
    """Number of attack workers of a trial, and the bundles of its placement group.

    The first bundle is for the trial's own process, which only waits.
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
    callback: "TrialCallback",
    config: Config,
) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sizes = {field: len(values) for field, values in job.axes.items()}
    grid = settings.searcher == "grid"
    files, path = state.remote or (None, str(state.local))
    # Not `Tuner.restore`: it would unpickle the callback, which holds the connection to MLflow.
    tune.run(
        tune.with_parameters(run_trial, job=job),
        name=state.name,
        storage_path=path.rpartition("/")[0],
        storage_filesystem=files,
        # The parameters are indices into the axes: a searcher can learn from the order of the values.
        config={name: tune.grid_search(list(range(n))) if grid else tune.randint(0, n) for name, n in sizes.items()},
        num_samples=1 if grid else settings.samples,
        search_alg=_searcher(settings, config.seed),
        scheduler=_scheduler(settings, config.training.rounds),
        resources_per_trial=tune.PlacementGroupFactory([dict(bundle) for bundle in bundles]),
        max_failures=WORKER_LOSSES,
        reuse_actors=True,  # starting a process takes longer than training a small model
        verbose=0,
        callbacks=[callback],
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
    # One more than the number of rounds: otherwise ASHA would end the processes of finished trials.
    return ASHAScheduler("round", metric="score", mode="max", max_t=rounds + 1, grace_period=1, reduction_factor=4)
