"""Which program runs an attack: the engine of this project, or TextAttack itself, text by text.

Attacks of this package run on the engine. Of any other, a trial build on a tiny victim decides, before a run begins:
an attack that cannot be built fails there, with one sentence, and not in every example.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flat_dist.attack.builders import source_sha256
from flat_dist.config.attacks import entry_of, is_path, recipe_of
from flat_dist.config.schema import AttackConfig, ModelConfig, Scores
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.resources import assets
from flat_dist.resources.catalogue import Sources, check_available, sources

ENGINE, TEXTATTACK = "engine", "textattack"
"""Runners."""

NO_PAIRS = "the engine asks a masked language model about single texts only, not about pairs of sentences"
"""Why attacks with one run in TextAttack where the texts are pairs."""


@dataclass(frozen=True)
class Runner:
    """How an attack is run."""

    name: str
    """`ENGINE` or `TEXTATTACK`."""
    resources: tuple[str, ...]
    """Resources that the attack uses, as in `AttackEntry.resources`."""
    reason: str = ""
    """Why the engine does not run it."""
    builder: tuple[str, str] | None = None
    """Path and sha256 of the source of a builder of the user."""
    folder: str = ""
    """Where else than among the installed packages the workers look for it."""

    def describe(self, attack: str) -> str:
        """Which program runs the attack, for the user."""
        if self.name == ENGINE:
            return f"{attack} is run by the attack engine"
        return f"{attack} is run by TextAttack itself, text by text, because {self.reason}"


def runner_of(attack: str, config: AttackConfig, scores: Scores, pairs: bool = False) -> Runner:
    """How an attack is run.

    Args:
        attack: a name or a path.
        config: resources.
        scores: what the attack sees.
        pairs: whether it attacks pairs of sentences.

    Raises:
        UserError: the attack is unknown, a resource is unavailable, or it cannot be built, or cannot be used here.
    """
    entry, wanted = entry_of(attack), sources(config)
    check_available(entry, wanted)
    if entry.is_own:
        found = Runner(ENGINE, entry.resources)
    else:
        found = _tried(recipe_of(attack), scores, wanted, str(Path.cwd()) if is_path(attack) else "")
    if pairs and found.name == ENGINE and "masked_language_model" in found.resources:
        return replace(found, name=TEXTATTACK, reason=NO_PAIRS)
    return found


@functools.cache
def _tried(attack: str, scores: Scores, wanted: Sources, folder: str) -> Runner:
    from flat_dist.resources import textattack_setup

    prepared = assets.prepare()
    textattack_setup.activate(prepared)
    # These import TextAttack, which must find its resources in place.
    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.limits import Limits
    from flat_dist.attack.parts import resources_of
    from flat_dist.attack.victim import Victim
    from flat_dist.resources.masked_language_model_source import tiny
    from flat_dist.resources.table_embedding import TableEmbedding

    resources: Any = recipes.LinguisticResources(prepared, wanted.synonyms, "cpu", 1, wanted.given)
    # No text is attacked here, so that the large resources need not be read.
    resources.embedding = TableEmbedding({"good": ["fine"]})
    resources.encoder = SimpleNamespace(encode=None)
    resources.masked_language_model = lambda name: tiny(prepared)
    built = recipes.build(attack, Victim(_tiny(), scores=scores), resources)
    builder = (attack, source_sha256(attack)) if is_path(attack) else None
    found = entry_of(attack).resources or resources_of(built)
    try:
        build_engine(built, Limits(1, 1, 1), Profile())
    except NotImplementedError as error:
        return Runner(TEXTATTACK, found, " ".join(str(error).split()), builder, folder)
    return Runner(ENGINE, found, "", builder, folder)


def _tiny() -> Checkpoint:
    """A model of a few words with random weights."""
    config = ModelConfig(kernels=1, embedding_dim=2, mask_hidden_size=1)
    encoder = Encoder(Vocabulary.build([["good", "bad"]], 0), 8)
    model = checkpoints.build(config, len(encoder.vocabulary), 2)
    return Checkpoint(model.eval(), config, encoder, ("negative", "positive"))
