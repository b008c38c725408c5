"""Consistency of a model's explanations for a card. Shapes: C classes, K sizes k."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from flat_dist.evaluation.model_consistency import ModelConsistency
from flat_dist.evaluation.pair_choice import chosen_and_changed
from flat_dist.evaluation.top_k import KS, TOP
from flat_dist.reproduction.cards import Explained
from flat_dist.reproduction.outcomes import encode_pairs
from flat_dist.sweep.ablation import pair_taus


def explained_of(found: ModelConsistency, pairs: pa.Table, changed: Collection[str], ids: Sequence[str]) -> Explained:
    """The numbers of one model under one attack, by one method; the paper's are not filled in.

    Args:
        found: consistency on common pairs and over all texts.
        pairs: rows of `flat_dist.evaluation.attributions.SCHEMA`.
        changed: ids of the pairs that the attack changed.
        ids: of all texts of the split.
    """
    everything = found.all_texts
    return Explained(
        kendall_tau=found.common.kendall_tau,
        top_5=found.common.top,
        pairs=found.common.pairs,
        all_kendall_tau=everything.kendall_tau if everything else None,
        all_top_5=everything.top if everything else None,
        unchanged=everything.unchanged if everything else None,
        top_k=_in_order(found.common.top_k),
        all_top_k=_in_order(everything.top_k if everything else {}),
        taus=encode_pairs(pair_taus(pairs, changed), ids),
        tops=encode_pairs(pair_tops(pairs, changed), ids),
    )


def changed_ids(attacked: pa.Table, which: str) -> set[str]:
    """Ids of the pairs that an attack changed, among those that `evaluation.pairs` chooses."""
    return set(chosen_and_changed(attacked, which))


def pair_tops(explained: pa.Table, ids: Collection[str]) -> dict[str, float]:
    """Intersection of the `TOP` top words of each pair: the mean over the classes. Pairs without one are left out.

    Args:
        explained: columns pair_id and top_k (C, K), of `flat_dist.evaluation.attributions.SCHEMA`.
        ids: of the pairs to use.
    """
    found = {}
    for row in explained.select(["pair_id", "top_k"]).to_pylist():
        tops_C = [own_K[KS.index(TOP)] for own_K in row["top_k"] if own_K]
        if row["pair_id"] in ids and tops_C:
            found[row["pair_id"]] = float(np.mean(tops_C))
    return found


def _in_order(by_k: Mapping[int, float]) -> list[float]:
    return [by_k[k] for k in KS if k in by_k]
