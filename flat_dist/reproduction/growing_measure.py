"""What a cell about growing data measures: the models of all rounds, and the work behind them."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from flat_dist.config.schema import ADVERSARIAL, Config
from flat_dist.data.shards import read_manifest
from flat_dist.pipeline.adversarial_training import Round
from flat_dist.reproduction.cards import Spent
from flat_dist.reproduction.growing import row_of
from flat_dist.storage.file_validation import DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.job import TIMINGS, Timings


def renamed(one: Round, source: str) -> Round:
    """A round whose models have the names of rows: base once, and the others from round 1 on."""
    pairs = [
        (each, result)
        for each, result in zip(one.attacked, one.results, strict=True)
        if each.model_name == "base" or one.number
    ]
    names = [row_of(each.model_name, source, each.round) for each, _ in pairs]
    return replace(
        one,
        attacked=[
            replace(each, model=replace(each.model, model_name=name))
            for (each, _), name in zip(pairs, names, strict=True)
        ],
        results=[replace(result, training=name) for (_, result), name in zip(pairs, names, strict=True)],
    )


def spent_by(
    rounds: Sequence[Round], attacked_texts: Mapping[str, Sequence[Folder]], source: str, config: Config, texts: int
) -> dict[str, Spent]:
    """The work behind each model, by the name of its row.

    Args:
        rounds: all rounds of a source, from 0.
        attacked_texts: shards of attacked training texts, by kind of training.
        source: of the adversarial texts.
        config: of the source.
        texts: number of clean training texts.
    """
    training, found = config.training, {}
    epochs, steps = training.epochs_per_round, math.ceil(texts / training.batch_size)
    for kind in ADVERSARIAL:
        attacks = [_attack_seconds(folder) for folder in attacked_texts.get(kind, ())]
        folders = [each.model.folder for one in rounds[1:] for each in one.attacked if each.model_name == kind]
        trainings = [_training_seconds(folder, epochs) for folder in folders]
        for number in range(1, len(rounds)):
            known = [seconds for seconds in trainings[:number] if seconds is not None]
            found[row_of(kind, source, number)] = Spent(
                steps=number * epochs * steps,
                training_seconds=round(sum(known), 1) if len(known) == number else None,
                attack_seconds=round(sum(attacks[:number]), 1),
            )
    return found


def _training_seconds(model: Folder, epochs: int) -> float | None:
    """Seconds of all epochs of a training; of one that was continued, as many as those after the interruption say."""
    with suppress(FileNotFoundError, DamagedFileError):  # no result depends on them
        timings: Timings = model.read_json(TIMINGS, Timings)
        if timings.seconds:
            return epochs * sum(timings.seconds) / len(timings.seconds)
    return None


def _attack_seconds(shards: Folder) -> float:
    """Seconds of an attack, added up over its workers."""
    manifest = read_manifest(shards) or {}
    return float(manifest.get("timings", {}).get("worker_seconds", 0.0))
