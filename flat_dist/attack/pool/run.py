"""Spreads attacks over Ray actors: small chunks, pulled; each unit is written as one shard."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from flat_dist.attack.engine import profile
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.actor import AttackWorker
from flat_dist.attack.pool.scheduler import AttackScheduler
from flat_dist.attack.pool.work_queue import AttackStage, WorkQueue
from flat_dist.attack.pool.worker_group import WorkerGroup, worker_groups
from flat_dist.config.schema import AttackConfig
from flat_dist.data.shards import MANIFEST, read_manifest
from flat_dist.runtime import capacity
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock


def run_attacks(
    stages: Iterable[AttackStage],
    config: AttackConfig,
    display: Display,
    worker: type[AttackWorker] = AttackWorker,
    group: WorkerGroup | None = None,
) -> None:
    """Run attack stages on one pool: attack all examples that no whole shard holds yet, and commit the manifests.

    Args:
        stages: what to attack; those that are finished are left alone, and one that comes twice is run once.
        config: size of the pool and of its units.
        display: shows a bar for each stage.
        worker: what each actor is.
        group: who does it, instead of new workers that end with the attack.

    Raises:
        UserError: the cluster has no place for a worker, or too many examples could not be attacked.
        RuntimeError: a worker could not be started.
    """
    distinct = {stage.job.output: stage for stage in stages}
    todo = [stage for stage in distinct.values() if stage.manifest() is None]
    with ExitStack() as locks:
        for stage in sorted(todo, key=lambda stage: stage.job.output):  # no two drivers then wait for each other
            locks.enter_context(exclusive_lock(Folder(stage.job.output), stage.title, display.log_line))
        groups = [group] if group else worker_groups(config, worker)
        todo = [stage for stage in todo if stage.manifest() is None]  # or another driver was at it meanwhile
        for stage in todo:
            if Folder(stage.job.output).exists(MANIFEST):
                display.log_line(f"{stage.job.output} is damaged: what is not whole there is attacked again")
        _attack(todo, groups, config.max_failures, display)
    for stage in distinct.values():
        manifest = read_manifest(Folder(stage.job.output)) or {}
        errors = manifest.get("counts", {}).get("error", 0)
        if errors:
            display.log_line(
                f"{stage.title}: {errors} of {manifest['rows']} examples could not be attacked (column error)"
            )
        stage.check_failures(errors, config.max_failures)
        if config.profile:
            display.log_line(f"{stage.title}: {profile.describe(manifest['timings']['profile'])}")


def _attack(todo: Sequence[AttackStage], groups: Sequence[WorkerGroup], max_failures: float, display: Display) -> None:
    waiting = [unit for number, stage in enumerate(todo) for unit in stage.open(number)]
    bars = [display.bar(stage.title, stage.examples.num_rows, sum(stage.counts.values())) for stage in todo]
    for stage, bar in zip(todo, bars, strict=True):
        if stage.commit_if_whole():
            bar.finish()
    if not waiting:
        return
    capacity.wait_for_resources(groups[0].asks, "an attack worker", display.log_line)
    work = WorkQueue(waiting, [smallest_chunk(stage.job) for stage in todo])
    AttackScheduler(todo, bars, groups, work, display, max_failures).run()


def smallest_chunk(job: AttackJob) -> int:
    """Examples that a worker is given at least, if there are so many: half of what it attacks side by side."""
    return max(1, job.limits[job.device].concurrent // 2)
