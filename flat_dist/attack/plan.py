"""An attack stage in plain values, which travel to the workers."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist.attack.limits import DEFAULTS, Limits, resolve, unit_size
from flat_dist.attack.runner import ENGINE, TEXTATTACK, Runner, runner_of
from flat_dist.attack.strength import Strength, resolve_strength
from flat_dist.attack.word_order import attack_on
from flat_dist.config.attacks import file_name, max_queries, recipe_of
from flat_dist.config.schema import Config, Scores
from flat_dist.config.serialization import content_hash, stage_values
from flat_dist.data.sentence_pairs import is_pair
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import ModelArtifact
from flat_dist.models.encoders import TRANSFORMERS
from flat_dist.resources import assets
from flat_dist.resources.catalogue import sources
from flat_dist.resources.provenance import provenance
from flat_dist.storage.stage import Artifact, Stage


@dataclass(frozen=True)
class AttackJob:
    """What to attack with which attack, and where the shards go."""

    attack: str
    """Its name, such as pwws."""
    checkpoint: str
    """Folder of the victim."""
    synonyms: str
    """Where TextFooler's neighbours come from; see `flat_dist.resources.synonyms`."""
    output: str
    """Folder of the shards."""
    round_number: int
    """0 for attacks that only measure."""
    seed: int
    device: str
    limits: Mapping[str, Limits]
    """How much at once, by device."""
    unit_size: int
    """Examples of a unit of work, which becomes one shard."""
    identity: Mapping[str, Any]
    """Attack (under the key "recipe"), resources, checkpoint hash, seed and versions, as written into every shard."""
    stall_seconds: float = 0.0
    """Seconds without progress after which a worker ends its process; 0: never."""
    scores: Scores = "probabilities"
    """What the attack sees of the victim."""
    temperature: float = 1.0
    """Divides the victim's logits before the probabilities."""
    strength: Strength = field(default_factory=Strength)
    """Limits beyond those of the recipe."""
    resources: tuple[tuple[str, str], ...] = ()
    """The user's own resources, as in `flat_dist.resources.catalogue.Sources`."""
    runner: str = ENGINE
    """Which program attacks, as in `flat_dist.attack.runner`."""
    import_from: str = ""
    """Folder in which the module of a user's builder is looked for, after all other places."""


HASHED_AT_ONCE = 2**16
"""Example ids that are hashed at a time."""


@dataclass(frozen=True)
class TextsToAttack:
    """Texts for an attack, and where they are from."""

    split: str
    """Name of the split, for messages."""
    examples: pa.Table
    """Columns example_id, text and label."""
    dataset: str
    """Fingerprint of the dataset."""
    round: int = 0
    """Round of training that they are for; 0: they are only for measuring."""

    @property
    def pairs(self) -> bool:
        """Whether they are pairs of sentences."""
        return any(map(is_pair, self.examples["text"].slice(0, 1).to_pylist()))


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackPlan(Stage):
    """The stage of an attack on a model."""

    model: ModelArtifact
    job: AttackJob
    """Without `output`, which is the stage's folder."""
    examples: pa.Table


def plan_attack(
    config: Config,
    model: ModelArtifact,
    texts: TextsToAttack,
    attack: str,
    log: Callable[[Artifact], None] = lambda artifact: None,
) -> AttackPlan:
    """The stage of attacking texts.

    Args:
        config: seed, and settings of the attack.
        model: the victim.
        texts: what to attack.
        attack: name of the attack. On a model without a mask, the gradient replaces the importance that orders words.
        log: logs the result.

    Raises:
        UserError: the checkpoint or the synonyms cannot be read.
    """
    described = checkpoints.describe(model.folder)
    transformer = described["model"]["name"] in TRANSFORMERS
    attack = attack_on(attack, described["masked"])
    runner = runner_of(attack, config.attack, config.attack.scores, texts.pairs)
    strength = resolve_strength(config.attack, config.data.named, recipe_of(attack))
    limits = {
        device: replace(
            resolve(config.attack, transformer, device, runner.name == TEXTATTACK, attack),
            queries_per_word=strength.queries_per_word,
        )
        for device in DEFAULTS
    }
    size = unit_size(config.attack, limits[config.attack.device])
    temperature = config.attack.temperature if config.attack.scores == "probabilities" else 1.0
    identity = _identity(config, model, attack, runner, strength, temperature)
    examples = content_hash([_hash(texts.examples["example_id"]), texts.dataset])
    resolved = {
        "unit_size": size,
        "neighbours": strength.neighbours,
        "temperature": temperature,
        "max_queries": identity["limits"]["queries"],
    }
    settings = stage_values(config.attack) | resolved
    return AttackPlan(
        name=f"attack-{file_name(attack)}",
        title=f"{describe(attack, config.attack.scores, strength, temperature)} on {model.label}, {texts.split} texts",
        inputs={**identity, "settings": settings, "examples": examples, "round": texts.round},
        keep_damaged=True,
        log=log,
        model=model,
        job=AttackJob(
            attack=attack,
            checkpoint=model.folder.uri,
            synonyms=config.attack.synonyms,
            output="",
            round_number=texts.round,
            seed=config.seed,
            device=config.attack.device,
            limits=limits,
            unit_size=size,
            identity=identity,
            stall_seconds=config.attack.stall_seconds,
            scores=config.attack.scores,
            temperature=temperature,
            strength=strength,
            resources=sources(config.attack).given,
            runner=runner.name,
            import_from=runner.folder,
        ),
        examples=texts.examples,
    )


def describe(attack: str, scores: Scores, strength: Strength, temperature: float) -> str:
    """An attack in words; scores, temperature and limits are named only where they are not the recipe's."""
    seen = "" if scores == "probabilities" else f" with {scores}"
    divided = "" if temperature == 1 else f", temperature {temperature:g}"
    return attack + seen + divided + strength.describe()


def _identity(
    config: Config, model: ModelArtifact, attack: str, runner: Runner, strength: Strength, temperature: float
) -> dict[str, Any]:
    """What every shard says about its attack; a temperature of 1 is not named. The key `recipe` is part of the format
    on disk."""
    return {
        "recipe": attack,
        "scores": config.attack.scores,
        **({} if temperature == 1 else {"temperature": temperature}),
        "strength": strength.values(),
        **_runner(runner),
        "resources": provenance(runner.resources, sources(config.attack), assets.prepare(), strength.setting),
        "checkpoint": model.fingerprint,
        "seed": config.seed,
        "limits": {
            "queries": max_queries(attack, config.attack.max_queries),
            "seconds": config.attack.max_seconds,
        },
        "versions": {name: metadata.version(name) for name in ("textattack", "torch", "nltk")},
    }


def _runner(runner: Runner) -> dict[str, Any]:
    """What a shard says about the program, and about a user's builder; the engine is not named."""
    named = {} if runner.name == ENGINE else {"runner": runner.name}
    if runner.builder is None:
        return named
    path, sha256 = runner.builder
    return {**named, "builder": {"path": path, "sha256": sha256}}


def _hash(ids: pa.ChunkedArray) -> str:
    """Hash of a column of strings, in parts: millions of Python strings would need gigabytes."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), HASHED_AT_ONCE):
        digest.update(json.dumps(ids.slice(start, HASHED_AT_ONCE).to_pylist()).encode())
    return digest.hexdigest()
