"""Word attributions of original/adversarial pairs, and their consistency (paper, Section 5.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.config.schema import EvaluationConfig
from flat_dist.data.batches import to_batch
from flat_dist.evaluation import lime
from flat_dist.evaluation.consistency import Consistency, align, compare, consistency
from flat_dist.evaluation.integrated_gradients import integrated_gradients
from flat_dist.evaluation.lime import Lime
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime.seeds import derive_seed

BY_WORD = pa.list_(pa.list_(pa.float32()))
"""Numbers by class, then by word, or by k from 1 to 10."""

SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("label", pa.int32()),
        ("status", pa.string()),
        ("original_words", pa.list_(pa.string())),
        ("perturbed_words", pa.list_(pa.string())),
        ("original_scores", pa.list_(pa.float32())),
        ("perturbed_scores", pa.list_(pa.float32())),
        ("original_attributions", BY_WORD),
        ("perturbed_attributions", BY_WORD),
        ("alignment", pa.list_(pa.struct([("original", pa.int32()), ("perturbed", pa.int32())]))),
        ("kendall_tau", pa.list_(pa.float32())),
        ("top_k", BY_WORD),
        ("completeness_error", pa.float32()),
        ("error", pa.string()),
    ]
)
"""One explained pair: words as the model reads them, class probabilities, attributions, aligned words, and consistency
by class (null if undefined, empty if no words are aligned).

The column error is null unless explaining the pair crashed its worker. Then it has the reason, and the results are
null."""


@dataclass(frozen=True)
class AttributionMethod:
    """An attribution method, and all settings of its attributions."""

    name: str
    """ig or lime."""
    steps: int = 50
    """Steps on the path of integrated gradients."""
    lime: Lime = field(default_factory=Lime)

    def settings(self) -> dict[str, Any]:
        """All settings of its attributions, as plain values."""
        if self.name == "ig":
            return {
                "method": "integrated gradients (captum) of the softmax probability, on word embeddings",
                "baseline": "zero vectors; special pieces stay",
                "steps": self.steps,
                "quadrature": "gausslegendre",
            }
        return {
            "method": "LIME (LimeTextExplainer) of the softmax probability, on words; those left out leave no gap",
            "samples": self.lime.samples,
            "kernel": "exponential, on 100 times the cosine distance",
            "kernel_width": self.lime.kernel_width,
            "seed": self.lime.seed,
        }


def methods(evaluation: EvaluationConfig, seed: int) -> dict[AttributionMethod, int]:
    """The methods of a config, and how many pairs each explains; 0: all."""
    settings = Lime(evaluation.lime_samples, evaluation.lime_kernel_width, derive_seed(seed, "lime") % 2**32)
    pairs = {"ig": evaluation.ig_pairs, "lime": evaluation.lime_pairs}
    return {AttributionMethod(name, evaluation.ig_steps, settings): pairs[name] for name in evaluation.explain}


def explain(checkpoint: Checkpoint, rows: Sequence[Mapping[str, Any]], method: AttributionMethod) -> pa.Table:
    """The result of `explain_rows` as a table."""
    return pa.Table.from_pylist(explain_rows(checkpoint, rows, method), schema=SCHEMA)


def explain_rows(
    checkpoint: Checkpoint, rows: Sequence[Mapping[str, Any]], method: AttributionMethod
) -> list[dict[str, Any]]:
    """Explain pairs: turns rows of `flat_dist.data.shards.SCHEMA` into rows of `SCHEMA`.

    Args:
        checkpoint: the model to explain.
        rows: pairs.
        method: ig or lime, with its settings.
    """
    texts = [row[side] for side in ("original_text", "perturbed_text") for row in rows]
    attributions, errors = attribute(checkpoint, texts, method)
    words = [checkpoint.encoder.words(text) for text in texts]
    scores = checkpoint.probabilities(texts).tolist()
    explained = []
    for number, row in enumerate(rows):
        perturbed = number + len(rows)
        alignment = align(words[number], words[perturbed], _replaced_only(row["swaps"]))
        pair = {
            "pair_id": row["example_id"],
            "label": row["label"],
            "status": row["status"],
            "original_words": words[number],
            "perturbed_words": words[perturbed],
            "original_scores": scores[number],
            "perturbed_scores": scores[perturbed],
            "original_attributions": attributions[number].tolist(),
            "perturbed_attributions": attributions[perturbed].tolist(),
            "alignment": [{"original": word, "perturbed": other} for word, other in alignment],
            "completeness_error": max(errors[number], errors[perturbed]) if errors else None,
        }
        if alignment:
            taus_C, tops_CK = compare(attributions[number], attributions[perturbed], alignment)
            pair["kendall_tau"] = [None if np.isnan(tau) else tau for tau in taus_C]
            pair["top_k"] = tops_CK.tolist()
        else:
            pair["kendall_tau"], pair["top_k"] = [], []
        explained.append(pair)
    return explained


def _replaced_only(swaps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each changed word has one word in its place: an insertion and a merge together keep the length, too."""
    return all(len(swap["original"].split()) == len(swap["substitute"].split()) for swap in swaps)


def summarise(explained: pa.Table) -> Consistency:
    """Consistency over all explained pairs. Pairs with an error are left out."""
    explained = explained.filter(pc.is_null(explained["error"]))
    rows = explained.select(["kendall_tau", "top_k", "completeness_error"]).to_pylist()
    aligned = [row for row in rows if row["kendall_tau"]]
    taus = [np.array(row["kendall_tau"], dtype=np.float64) for row in aligned]
    errors = [row["completeness_error"] for row in rows if row["completeness_error"] is not None]
    result = consistency(taus, [np.array(row["top_k"]) for row in aligned], len(rows) - len(aligned))
    return replace(result, completeness_error=max(errors, default=None))


def attribute(
    checkpoint: Checkpoint, texts: Sequence[str], method: AttributionMethod
) -> tuple[list[np.ndarray], list[float] | None]:
    """Attributions (C, words) of each text, and the completeness error of each for integrated gradients."""
    encoded = [checkpoint.encoder.encode(text) for text in texts]
    spans = [checkpoint.encoder.spans(text) for text in texts]
    classes = len(checkpoint.label_names)
    if method.name == "ig":
        batch = to_batch(encoded).to(checkpoint.device)
        attributions = integrated_gradients(checkpoint.model, batch.ids_BT, batch.real_BT, method.steps)
        return attributions.by_word(spans), attributions.error.abs().amax(dim=1).tolist()
    not_empty = [lime.Text(*pair) for pair in zip(encoded, spans, strict=True) if pair[1]]
    weights = iter(lime.explain(checkpoint.model, not_empty, checkpoint.encoder.vocabulary.unknown, method.lime))
    return [next(weights) if words else np.zeros((classes, 0)) for words in spans], None
