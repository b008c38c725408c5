"""The attack on one text that the user gives, in this process: no dataset, and no Ray."""

from dataclasses import dataclass, replace

import pyarrow as pa

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.attack.checks import check_attacks
from flat_dist.attack.plan import TextsToAttack, plan_attack
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.data import labels
from flat_dist.data.preprocessing import clean, lost_symbols
from flat_dist.data.shards import Example
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import open_checkpoint
from flat_dist.pipeline import own_models
from flat_dist.report.text_attack import TextAttack
from flat_dist.resources import synonym_file
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder

EXAMPLE_ID = "text"


@dataclass(frozen=True)
class GivenText:
    """What the user gives."""

    text: str
    label: str | None
    """Its class; None: the class that the model predicts."""


def attack_text(config: Config, checkpoint: Folder, given: GivenText, display: Display) -> TextAttack:
    """Attack one text with `config.attack`.

    Args:
        config: a valid one.
        checkpoint: the model.
        given: the text; it is cleaned where texts of datasets are.
        display: shows which program runs the attack, and its limits.

    Raises:
        UserError: the model reads only pairs of sentences, the text has no word, its label is none of the model's
            classes, or the attack cannot run.
    """
    synonym_file.check(config.attack.synonyms)
    runners = check_attacks([config.attack.name], config.attack, [config.attack.scores])
    own_models.check_uses(checkpoint, [config.attack.name])
    model = checkpoints.load(checkpoint)
    if not model.encoder.reads_texts:
        raise UserError(
            f"--text is a single text, but {checkpoint.uri} reads pairs of sentences: attack pairs of a file instead, "
            "with --data.file and --data.text-pair-column"
        )
    is_cleaned = own_models.resolve_cleaning(config.data, [checkpoint]).cleaning == "yes"
    text = clean(given.text) if is_cleaned else given.text
    if not text:
        raise UserError(f"--text {given.text!r} has no word after cleaning: give a text with words")
    config, _ = hardware.resolve(config, hardware.detect())
    label = _class_of(given, model.label_names, model.probabilities([text])[0].tolist())
    for line in (*runners, *(_lost(given.text) if is_cleaned else [])):
        display.log_line(line)
    columns = {"example_id": [EXAMPLE_ID], "text": [text], "label": pa.array([label], pa.int32())}
    texts = TextsToAttack("given", pa.table(columns), dataset="")
    job = plan_attack(config, open_checkpoint(checkpoint), texts, config.attack.name).job
    job = replace(job, stall_seconds=0.0)  # a model that hangs must not end this process, which has a user before it
    from flat_dist.attack.pool.session import AttackSession  # imports TextAttack

    session = AttackSession()
    records = session.process(job, [Example(EXAMPLE_ID, text, label)])
    (row,) = session.rows(job, records).to_pylist()
    counts: CandidateCounts = session.profile.counts
    return TextAttack(
        attack=job.attack,
        label_names=tuple(model.label_names),
        row=row,
        counts=counts,
        max_queries=job.limits[job.device].queries(len(text.split())),
        max_seconds=config.attack.max_seconds,
    )


def _lost(text: str) -> list[str]:
    """The hint about symbols that cleaning leaves out."""
    symbols = " ".join(dict.fromkeys(lost_symbols(text)))
    return [f"hint: cleaning leaves out {symbols}, which the model does not read"] if symbols else []


def _class_of(given: GivenText, names: tuple[str, ...], scores: list[float]) -> int:
    """The number of the text's class.

    Raises:
        UserError: its label is none of the classes.
    """
    if given.label is None:
        return scores.index(max(scores))
    try:
        return labels.class_number(labels.normalize(given.label), names)
    except labels.UnusableError as error:
        raise UserError(f"--label: {error}") from error
