"""Measures models on Ray: accuracy, results of attacks, and consistency of interpretations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import torch

from flat_dist.config.attacks import has_curve, has_same_candidates
from flat_dist.config.schema import WORST, Config
from flat_dist.data.batches import encode_clean
from flat_dist.data.shards import read_manifest, read_shards
from flat_dist.evaluation.accuracy import after_attack, predicts_one_class
from flat_dist.evaluation.attribution_stage import (
    AttributionJob,
    AttributionStage,
    attribution_stage,
    count_errors,
    read_pairs,
    without_errors,
)
from flat_dist.evaluation.attribution_worker import attribution_workers
from flat_dist.evaluation.classes import Predictions, by_class, macro_f1, of_attack
from flat_dist.evaluation.model_consistency import ModelConsistency, compare_models
from flat_dist.evaluation.plan import AttributionPlan, plan_attributions
from flat_dist.evaluation.result import AttackedModel, PairAttributions, Result
from flat_dist.evaluation.strength_curve import by_changed_words
from flat_dist.evaluation.worst_case import AttackPart, merge
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.encoders import TRANSFORMERS
from flat_dist.runtime import tasks
from flat_dist.runtime.progress import Display
from flat_dist.scheduling.scheduler import run_stages
from flat_dist.scheduling.stage import check_failures
from flat_dist.scheduling.worker_group import WorkerGroup
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Executor, OpenStage
from flat_dist.training.loop import predict


def predictions(attacked: Sequence[AttackedModel], data: Folder, split: str, config: Config) -> dict[str, Predictions]:
    """What each checkpoint predicts for each text of a split of the dataset in a folder, by the checkpoint's URI."""
    device = config.training.device
    uris = dict.fromkeys(each.model.folder.uri for each in attacked)
    task = _predict.options(num_gpus=1 if device == "cuda" else 0)  # on a GPU one at a time
    calls = {uri: partial(task.remote, uri, data.uri, split, device) for uri in uris}
    found = dict(tasks.results("accuracy", calls, config.attack.stall_seconds))
    return {uri: found[uri] for uri in uris}


def results(
    attacked: Sequence[AttackedModel],
    predicted: Mapping[str, Predictions],
    trained_on: str | None,
    label_names: Sequence[str] = (),
) -> list[Result]:
    """What each attack left of each model's accuracy.

    Args:
        attacked: models under attacks.
        predicted: predictions on the whole split, by the checkpoint's URI; where they are missing, accuracy is that on
            the attacked texts.
        trained_on: the attack that training saw; None where that is not known.
        label_names: names of the classes; without them, classes are called by number.
    """
    return [_result(each, predicted.get(each.model.folder.uri), trained_on, label_names) for each in attacked]


def _result(
    attacked: AttackedModel, predicted: Predictions | None, trained_on: str | None, label_names: Sequence[str]
) -> Result:
    rows = read_shards(attacked.shards.folder)
    summary = after_attack(rows)
    by_scores = {scores: after_attack(merge(parts)) for scores, parts in _parts_by_scores(attacked).items()}
    alone, first = by_scores.get("probabilities"), next(iter(by_scores.values()), summary)
    reported = not predicts_one_class(rows)
    classes = by_class(predicted or of_attack(rows), rows, label_names, reported)
    identities = _identities(attacked)
    return Result(
        training=attacked.model_name,
        round=attacked.round,
        attack=attacked.attack,
        trained_on=_seen(attacked.attack, trained_on),
        accuracy=float(predicted.right.mean()) if predicted else summary.standard_accuracy,
        after_attack_accuracy=summary.after_attack_accuracy if reported else None,
        attack_success_rate=summary.attack_success_rate if reported else None,
        mean_queries=summary.mean_queries,
        words_changed=summary.words_changed,
        n=summary.n,
        after_attack_accuracy_probabilities=alone.after_attack_accuracy if alone and reported else None,
        saturated=summary.saturated,
        failed_unchanged=first.failed_unchanged,
        macro_f1=macro_f1(classes),
        by_class=classes,
        by_changed_words=_by_changed_words(attacked) if reported else {},
        by_neighbours={
            count: after_attack(merge(parts)).after_attack_accuracy
            for count, parts in (attacked.weaker.items() if reported else ())
        },
        stand_ins=_stand_ins(identities),
        limits=_limits(identities),
    )


def _identities(attacked: AttackedModel) -> list[dict[str, Any]]:
    """What the manifests of the attacks say of themselves."""
    folders = [part.shards.folder for part in attacked.parts] or [attacked.shards.folder]
    return [(read_manifest(folder) or {}).get("identity", {}) for folder in folders]


def _stand_ins(identities: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    known = {name: source for one in identities for name, source in one.get("resources", {}).items()}
    return tuple(name for name, source in known.items() if source.get("source") == "stand-in")


def _limits(identities: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Queries and seconds after which an attack ends. Empty for a worst case over attacks with different limits."""
    limits = [one["limits"] for one in identities if "limits" in one]
    return limits[0] if limits and all(one == limits[0] for one in limits) else {}


def _seen(attack: str, trained_on: str | None) -> bool | None:
    """Whether training saw an attack. None for the worst case, and for the attack in training with another order of
    words: training saw its candidates."""
    if trained_on is None or attack == WORST:
        return None
    return True if attack == trained_on else None if has_same_candidates(attack, trained_on) else False


def _by_changed_words(attacked: AttackedModel) -> dict[str, dict[int, float]]:
    """Curves for the first form of scores, and, if there are others, for the worst over all."""
    parts = _parts_by_scores(attacked)
    if not parts or not has_curve([part.attack for part in attacked.parts]):
        return {}
    name, first = next(iter(parts.items()))
    kept = {name: first} if len(parts) == 1 else {name: first, WORST: attacked.parts}
    return {scores: by_changed_words([read_shards(part.shards.folder) for part in own]) for scores, own in kept.items()}


def _parts_by_scores(attacked: AttackedModel) -> dict[str, list[AttackPart]]:
    found: dict[str, list[AttackPart]] = {}
    for part in attacked.parts:
        found.setdefault(part.scores, []).append(part)
    return found


def with_consistency(config: Config, results: Sequence[Result], explained: Sequence[PairAttributions]) -> list[Result]:
    """The results, with the consistency of what was explained. Models under the same attack are compared."""
    groups: dict[tuple[str, str], list[PairAttributions]] = {}
    for one in explained:
        groups.setdefault((one.attacked.attack, one.method.name), []).append(one)
    found: dict[tuple[str, str], dict[str, ModelConsistency]] = {}
    for (attack, method), group in groups.items():
        rows = [read_shards(one.attacked.shards.folder) for one in group]
        compared = compare_models(rows, [one.pairs for one in group], config.evaluation.pairs, config.seed)
        for one, consistency in zip(group, compared, strict=True):
            found.setdefault((one.attacked.model_name, attack), {})[method] = consistency
    return [replace(result, interpretations=found.get((result.training, result.attack), {})) for result in results]


def explain_pairs(
    config: Config,
    executor: Executor,
    attacked: Sequence[AttackedModel],
    display: Display,
    group: WorkerGroup | None = None,
) -> list[PairAttributions]:
    """Explain pairs of each attacked model with each method that the config asks for: first the pairs that an attack
    changed for all of the models, then others.

    Args:
        config: methods, number of pairs, device, and the share of pairs that may fail.
        executor: finds complete stages, and commits the others.
        attacked: models under attacks.
        display: shows a bar for each stage.
        group: workers to use instead of new ones that end with the work.

    Raises:
        UserError: the cluster has no room for a worker, or too many pairs could not be explained.
        RuntimeError: a worker could not be started.
    """

    def fill(opened: Sequence[OpenStage[AttributionPlan]]) -> None:
        stages = [_chunked(each, config) for each in opened]
        workers = [group or attribution_workers(config)]
        run_stages(stages, workers, "explanation worker", config.attack.max_failures, display)

    # The pairs of the worst case are pairs of the attacks, which are explained.
    plans = plan_attributions(config, [each for each in attacked if each.attack != WORST])
    artifacts = executor.run_all(plans, fill)
    distinct = {artifact.folder: plan for plan, artifact in zip(plans, artifacts, strict=True)}
    tables = {folder: _read(plan, folder, config, display) for folder, plan in distinct.items()}
    return [
        PairAttributions(plan.attacked, plan.method, tables[artifact.folder], artifact.folder)
        for plan, artifact in zip(plans, artifacts, strict=True)
    ]


def _chunked(opened: OpenStage[AttributionPlan], config: Config) -> AttributionStage:
    plan, model = opened.stage, opened.stage.attacked.model
    job = AttributionJob(
        checkpoint=model.folder.uri,
        method=plan.method,
        output=opened.folder.uri,
        device=config.training.device,
        stall_seconds=config.attack.stall_seconds,
    )
    transformer = checkpoints.describe(model.folder)["model"]["name"] in TRANSFORMERS
    return attribution_stage(plan.title, job, plan.rows, transformer, opened.commit)


def _read(plan: AttributionPlan, folder: Folder, config: Config, display: Display) -> pa.Table:
    """The explained pairs of a complete stage. Prints how many pairs could not be explained.

    Raises:
        UserError: too many pairs could not be explained.
    """
    pairs = read_pairs(folder)
    errors = count_errors(pairs)
    if errors:
        display.log_line(f"{plan.title}: {errors} of {pairs.num_rows} {AttributionStage.FAILED} (column error)")
    counts = errors, pairs.num_rows
    check_failures(plan.title, AttributionStage.FAILED, folder.uri, counts, config.attack.max_failures)
    return without_errors(pairs)


@ray.remote(num_cpus=1, max_retries=2)
def _predict(checkpoint: str, data: str, split: str, device: str, name: str) -> Predictions:
    torch.set_num_threads(1)
    progress = tasks.ProgressReporter(name)
    loaded = checkpoints.load(Folder(checkpoint), device)
    progress.follow(loaded.model.output)
    examples = encode_clean(read_table(Folder(data), split), loaded.encoder)
    return Predictions(examples.labels, predict(loaded.model, examples))
