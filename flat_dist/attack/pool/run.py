"""Runs attack stages on Ray: workers attack small chunks of examples, and write each unit as one shard."""

from collections.abc import Sequence
from dataclasses import replace

from flat_dist.attack.engine import profile
from flat_dist.attack.plan import AttackPlan
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import read_manifest
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import run_stages
from flat_dist.scheduling.stage import check_failures
from flat_dist.scheduling.worker_group import WorkerGroup, ray_group
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor, OpenStage


def run_attacks(
    plans: Sequence[AttackPlan],
    config: AttackConfig,
    executor: Executor,
    display: Display,
    groups: Sequence[WorkerGroup] = (),
) -> list[Artifact]:
    """Attack all examples that no undamaged shard holds yet.

    Args:
        plans: what to attack.
        config: number of workers, and the share of examples that may fail.
        executor: finds complete attacks, and commits the others.
        display: shows a bar for each attack.
        groups: workers to use instead of new ones that end with the attacks.

    Returns:
        The folders of shards, one for each plan.

    Raises:
        UserError: the cluster has no room for a worker, or too many examples could not be attacked.
        RuntimeError: a worker could not be started.
    """

    def fill(opened: Sequence[OpenStage[AttackPlan]]) -> None:
        stages = [_chunked(each) for each in opened]
        run_stages(stages, groups or worker_groups(config), "attack worker", config.max_failures, display)

    artifacts = executor.run_all(plans, fill)
    distinct = {artifact.folder: plan for plan, artifact in zip(plans, artifacts, strict=True)}
    for folder, plan in distinct.items():
        _report(plan, folder, config, display)
    return artifacts


def _chunked(opened: OpenStage[AttackPlan]) -> AttackStage:
    plan = opened.stage
    return AttackStage(plan.title, replace(plan.job, output=opened.folder.uri), plan.examples, opened.commit)


def worker_groups(config: AttackConfig, worker: type[AttackWorker] = AttackWorker) -> list[WorkerGroup]:
    """The workers that a config asks for: on its device, and CPU workers in addition to workers on GPUs."""
    groups = [ray_group(worker, config.device, config.gpus_per_worker, config.workers)]
    if config.gpus_per_worker and config.cpu_workers:
        groups.append(ray_group(worker, "cpu", 0.0, config.cpu_workers))
    return groups


def _report(plan: AttackPlan, folder: Folder, config: AttackConfig, display: Display) -> None:
    """Print how many examples could not be attacked, and the profile.

    Raises:
        UserError: too many examples could not be attacked.
    """
    manifest = read_manifest(folder) or {}
    errors = manifest.get("counts", {}).get("error", 0)
    if errors:
        display.log_line(f"{plan.title}: {errors} of {manifest['rows']} {AttackStage.FAILED} (column error)")
    counts = errors, plan.examples.num_rows
    check_failures(plan.title, AttackStage.FAILED, folder.uri, counts, config.max_failures)
    if config.profile:
        display.log_line(f"{plan.title}: {profile.describe(manifest['timings']['profile'])}")
