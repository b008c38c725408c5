"""Consistency of a model's explanations for a card. Shapes: C classes, K sizes k."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from flat_dist.data.datasets import sample
from flat_dist.evaluation.model_consistency import ModelConsistency
from flat_dist.evaluation.pair_choice import common_ids
from flat_dist.evaluation.top_k import KS, TOP
from flat_dist.reproduction.cards import Explained
from flat_dist.reproduction.outcomes import encode_pairs
from flat_dist.runtime.seeds import derive_seed
from flat_dist.sweep.ablation import pair_taus

KEPT = 300
"""Pairs of a cell whose numbers its card keeps, from which differences between models are computed."""


def explained_of(found: ModelConsistency, pairs: pa.Table, kept: Collection[str], ids: Sequence[str]) -> Explained:
    """The numbers of one model under one attack, by one method.

    Args:
        found: consistency on common pairs and over all texts.
        pairs: rows of `flat_dist.evaluation.attributions.SCHEMA`.
        kept: ids of the pairs whose numbers are kept.
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
        taus=encode_pairs(pair_taus(pairs, kept), ids),
        tops=encode_pairs(pair_tops(pairs, kept), ids),
    )


def kept_ids(attacked: Sequence[pa.Table], explained: Sequence[pa.Table], which: str, seed: int) -> set[str]:
    """Ids of the pairs whose numbers a card keeps: at most `KEPT` of those that the attack changed for all models.

    Args:
        attacked: rows of `flat_dist.data.shards.SCHEMA`, of one attack on each model.
        explained: pairs of each model and method.
        which: pairs that count as changed, by `evaluation.pairs`.
        seed: of the draw.
    """
    known = set(common_ids(attacked, which)).intersection(*(table["pair_id"].to_pylist() for table in explained))
    return set(
        sample(pa.table({"example_id": sorted(known)}), KEPT, derive_seed(seed, "kept pairs"))["example_id"].to_pylist()
    )


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
