"""The content of the report's page, from the results of a run or an evaluation."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import pyarrow as pa

from flat_dist.config.schema import WORST, Config
from flat_dist.data.sentence_pairs import split
from flat_dist.data.shards import read_shards
from flat_dist.evaluation import attributions, substitutions, word_importance
from flat_dist.evaluation.attack_margins import AttackMargins, attack_margins
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.text_tasks import measured_with
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.black_box import is_black_box
from flat_dist.pipeline.experiment import Experiment, ExperimentResults, Source, hints
from flat_dist.report import cards
from flat_dist.report.page import Importance, Page, Saliency
from flat_dist.report.summary_table import METHODS
from flat_dist.resources import assets, synonyms
from flat_dist.runtime.seeds import derive_seed

SPREAD_WORDS, SPREAD_SYNONYMS = 1000, 10
"""Maximum number of words, and of synonyms of each word, whose importance is compared (paper, Figure 5)."""


def page(experiment: Experiment, found: ExperimentResults, cards: Sequence[Mapping[str, Any]]) -> Page:
    """The content of the report."""
    config, source = experiment.config, experiment.source
    architecture = _architecture(experiment, found)
    tables = {kind: [read_shards(shards) for shards in folders] for kind, folders in found.shards.items()}
    return Page(
        title=f"{architecture} on {source.described}",
        facts=_facts(experiment, architecture) | ({"hints": "; ".join(warnings)} if (warnings := hints(found)) else {}),
        dataset=source.name,
        model=architecture,
        label_names=source.label_names,
        split=source.split,
        texts=source.texts,
        results=found.results,
        rounds=found.rounds,
        margins=_margins(found),
        saliencies=[
            Saliency(
                each.attacked.model_name,
                each.attacked.attack,
                each.method.name,
                each.pairs,
                _first_sentences(each.attacked),
            )
            for each in found.explained
        ],
        importances=_importances(config, source, found, tables),
        transfers=found.transfers,
        sets=found.sets,
        annotation=found.annotation,
        replacements={kind: substitutions.replacements(rows) for kind, rows in tables.items() if rows},
        cards=cards,
        processes=experiment.processes,
    )


def _first_sentences(attacked: AttackedModel) -> dict[str, str]:
    """Of the attacked texts that are pairs: the first sentence, by the id of the text."""
    rows = read_shards(attacked.shards.folder).select(["example_id", "original_text"]).to_pylist()
    pairs = ((row["example_id"], split(row["original_text"] or "")) for row in rows)
    return {example_id: pair[0] for example_id, pair in pairs if pair}


def _architecture(experiment: Experiment, found: ExperimentResults) -> str:
    """That of the first model."""
    if not found.attacked:
        return experiment.config.model.name
    return str(checkpoints.describe(found.attacked[0].model.folder)["architecture"])


def _facts(experiment: Experiment, architecture: str) -> dict[str, str]:
    config, settings, source = experiment.config, experiment.settings, experiment.source
    facts = {
        "data": f"{source.described}; {source.texts} texts in the {source.split} split",
        "data fingerprint": source.fingerprint,
        "model": architecture,
    }
    if "training" in settings:
        facts |= {"attack in training": config.attack.name, "rounds": str(config.training.rounds)}
    if "checkpoints" in settings:
        facts["checkpoints"] = ", ".join(" ".join(pair) for pair in settings["checkpoints"].items())
    if config.model.contextual:
        facts["word importance"] = "not shown: with a contextual mask, the importance of a word depends on its text"
    chosen = attributions.methods(config.evaluation, config.seed)
    facts |= {METHODS[method.name]: _listed(method.settings()) for method in chosen}
    measures = {
        name: f"{one.get('package') or one['detail']} ({one['source']})" for name, one in measured_with().items()
    }
    facts["similarity of texts"] = f"cosine under {measures['sentence_encoder']}, over whole texts"
    facts["perplexity of texts"] = f"under {measures['language_model']}"
    return facts | {
        "pairs explained": config.evaluation.pairs,
        "seed": str(config.seed),
        "synonyms": config.attack.synonyms,
        "hardware": f"{config.hardware}, training on {config.training.device}, attacks on {config.attack.device}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in cards.VERSIONS),
    }


def _margins(found: ExperimentResults) -> list[AttackMargins]:
    """Margins under the first attack that sees probabilities, of each model that can be asked at no cost."""
    first = {
        attacked.model_name: (attacked, part)
        for attacked in reversed(found.attacked)
        for part in attacked.parts
        if attacked.attack != WORST and part.scores == "probabilities"
    }
    return [
        attack_margins(name, part.attack, read_shards(part.shards.folder), checkpoints.load(attacked.model.folder))
        for name, (attacked, part) in reversed(first.items())
        if not is_black_box(attacked.model.folder)
    ]


def _listed(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items())


def _importances(
    config: Config, source: Source, found: ExperimentResults, tables: Mapping[str, Sequence[pa.Table]]
) -> list[Importance]:
    if not found.masked:
        return []
    prepared = assets.prepare()
    neighbours = synonyms.neighbours(config.attack.synonyms, prepared)
    known = synonyms.provenance(config.attack.synonyms, prepared)
    origin = f"from {known['detail']} ({known['source']})"
    importances = []
    for masked in found.masked:
        checkpoint = checkpoints.load(masked.model.folder)
        if checkpoint.config.contextual:
            continue  # the importance of a word depends on its text
        words = word_importance.words_of(source.words, tables.get(masked.model.model_name, ()), checkpoint)
        spread = word_importance.synonym_spread(
            words, neighbours, SPREAD_WORDS, SPREAD_SYNONYMS, derive_seed(config.seed, "spread")
        )
        origin_of_spread = f"{len(spread):,} words, up to {SPREAD_SYNONYMS} synonyms each, {origin}"
        importances.append(
            Importance(masked.title, words, word_importance.correlations(words), spread, origin_of_spread)
        )
    return importances
