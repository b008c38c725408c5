"""Runs attack stages on Ray: workers attack small chunks of examples, and write each unit as one shard."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from flat_dist.attack.engine import profile
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import MANIFEST, read_manifest
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import run_stages
from flat_dist.scheduling.worker_group import WorkerGroup, ray_group
from flat_dist.storage.lock import exclusive_lock


def run_attacks(
    stages: Iterable[AttackStage],
    config: AttackConfig,
    display: Display,
    worker: type[AttackWorker] = AttackWorker,
    group: WorkerGroup | None = None,
) -> None:
    """Attack all examples that no undamaged shard holds yet, and commit the manifests.

    Args:
        stages: what to attack. Finished stages are left alone; stages with the same output run once.
        config: number of workers and size of the units.
        display: shows a bar for each stage.
        worker: class of the actors.
        group: workers to use instead of new ones that end with the attack.

    Raises:
        UserError: the cluster has no room for a worker, or too many examples could not be attacked.
        RuntimeError: a worker could not be started.
    """
    distinct = {stage.job.output: stage for stage in stages}
    missing = [stage for stage in distinct.values() if stage.manifest() is None]
    with ExitStack() as locks:
        for stage in sorted(missing, key=lambda stage: stage.job.output):  # the same order in all drivers: no deadlock
            locks.enter_context(exclusive_lock(stage.folder, stage.title, display.log_line))
        todo = [stage for stage in missing if stage.manifest() is None]  # another driver may have finished some
        for stage in todo:
            if stage.folder.exists(MANIFEST):
                display.log_line(f"{stage.job.output} is damaged: missing and damaged shards are made again")
        groups = [group] if group else worker_groups(config, worker)
        run_stages(todo, groups, "attack worker", config.max_failures, display)
    _report(list(distinct.values()), config, display)


def worker_groups(config: AttackConfig, worker: type[AttackWorker] = AttackWorker) -> list[WorkerGroup]:
    """The workers that a config asks for: on its device, and CPU workers in addition to workers on GPUs."""
    groups = [ray_group(worker, config.device, config.gpus_per_worker, config.workers)]
    if config.gpus_per_worker and config.cpu_workers:
        groups.append(ray_group(worker, "cpu", 0.0, config.cpu_workers))
    return groups


def _report(stages: Sequence[AttackStage], config: AttackConfig, display: Display) -> None:
    """Print how many examples could not be attacked, and the profile.

    Raises:
        UserError: too many examples could not be attacked.
    """
    for stage in stages:
        manifest = read_manifest(stage.folder) or {}
        errors = manifest.get("counts", {}).get("error", 0)
        if errors:
            display.log_line(f"{stage.title}: {errors} of {manifest['rows']} {stage.FAILED} (column error)")
        stage.check_failures(errors, config.max_failures)
        if config.profile:
            display.log_line(f"{stage.title}: {profile.describe(manifest['timings']['profile'])}")
