"""Consistency of models that are compared on the same pairs, and of each model on its own pairs.

An attack changes other texts for each model, and leaves some unchanged. Those are like themselves (tau 1), so a mean
that includes them grows with their share, and two models' means over their own pairs are about different texts.
Therefore models are compared on `common` pairs: originals that the attack changed for every model. Shape letters: P
pairs, C classes, R resamples.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.evaluation.attributions import summarise
from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.pair_choice import changed_rows, chosen_and_changed, common_ids
from flat_dist.evaluation.top_k import KS, TOP
from flat_dist.runtime.seeds import derive_seed

RESAMPLES, BLOCK = 2000, 100
"""Resamples of a bootstrap interval, and how many of them are in memory at a time."""

LEVEL = 0.95
"""Coverage of bootstrap intervals."""


@dataclass(frozen=True)
class AllTexts:
    """Consistency over all texts, in which an unchanged text counts as tau 1 and top-k 1 (the paper's composition).

    It is computed from the explained pairs: no unchanged text is explained for it.
    """

    kendall_tau: float | None
    top_k: dict[int, float]
    """By k; empty if undefined."""
    unchanged: float
    """Share of texts that the attack left unchanged, in [0, 1]."""

    @property
    def top(self) -> float | None:
        """The intersection of the `TOP` top words, in [0, 1]; None if undefined."""
        return self.top_k.get(TOP)


@dataclass(frozen=True)
class ModelConsistency:
    """Consistency of one model under one attack, by one attribution method. No number but `all_texts` has unchanged
    texts."""

    common: Consistency
    """Over the pairs that the attack changed for every model that is compared, and that could be explained and aligned
    for each. The adversarial text is the model's own."""
    own: Consistency
    """Over all explained pairs of the model, which include those of `common`."""
    common_interval: tuple[float, float] | None
    """95 % bootstrap interval of the tau of `common`, over pairs; None if it is undefined."""
    common_by_outcome: Mapping[str, Consistency]
    """`common`, split by the outcome of the attack on this model."""
    own_by_outcome: Mapping[str, Consistency]
    common_pairs: int
    """Pairs that the attack changed for every model; `common` has fewer if only some were drawn."""
    own_pairs: int
    """Pairs that the attack changed for this model."""
    texts: int
    """Texts that the attack got, without those that could not be attacked."""
    unchanged: Mapping[str, int]
    """Texts that the attack left unchanged, by its outcome."""
    all_texts: AllTexts | None
    """The paper's composition; None if it cannot be computed, because the explained pairs do not stand for all changed
    texts: `evaluation.pairs` leaves some out, or too few were drawn."""


def compare_models(
    attacked: Sequence[pa.Table], explained: Sequence[pa.Table], which: str, seed: int
) -> list[ModelConsistency]:
    """Consistency of each model, in the order of the models.

    Args:
        attacked: rows of `flat_dist.data.shards.SCHEMA` of one attack on each model.
        explained: rows of `flat_dist.evaluation.attributions.SCHEMA` without errors: pairs of each model, explained by
            one method.
        which: pairs that count as changed, by `evaluation.pairs`.
        seed: of the run. The same pairs are resampled alike for all models.
    """
    common = common_ids(attacked, which)
    drawn = set(common).intersection(*(table["pair_id"].to_pylist() for table in explained))
    aligned = drawn.intersection(*map(_aligned_ids, explained))
    return [
        _consistency(rows, table, common, (drawn, aligned), which, seed)
        for rows, table in zip(attacked, explained, strict=True)
    ]


def _consistency(
    attacked: pa.Table,
    explained: pa.Table,
    common: Collection[str],
    explained_common: tuple[Collection[str], Collection[str]],
    which: str,
    seed: int,
) -> ModelConsistency:
    drawn, aligned = explained_common
    own_ids = chosen_and_changed(attacked, which)
    own, shared = _with_ids(explained, own_ids), _with_ids(explained, aligned)
    changed = set(changed_rows(attacked)["example_id"].to_pylist())
    unchanged = [
        status
        for name, status in zip(attacked["example_id"].to_pylist(), attacked["status"].to_pylist(), strict=True)
        if name not in changed and status != "error"
    ]
    parts = [set(common), changed - set(common)] if changed == set(own_ids) else None
    return ModelConsistency(
        common=replace(summarise(shared), unaligned=len(drawn) - len(aligned)),
        own=summarise(own),
        common_interval=tau_interval(shared.sort_by("pair_id"), derive_seed(seed, "bootstrap of pairs")),
        common_by_outcome=_by_outcome(shared),
        own_by_outcome=_by_outcome(own),
        common_pairs=len(common),
        own_pairs=len(own_ids),
        texts=len(changed) + len(unchanged),
        unchanged=dict(sorted(Counter(unchanged).items())),
        all_texts=_over_all_texts(own, parts, len(unchanged)) if parts else None,
    )


def _aligned_ids(explained: pa.Table) -> list[str]:
    rows = explained.select(["pair_id", "kendall_tau"]).to_pylist()
    return [row["pair_id"] for row in rows if row["kendall_tau"]]


def _with_ids(explained: pa.Table, ids: Iterable[str]) -> pa.Table:
    return explained.filter(pc.is_in(explained["pair_id"], value_set=pa.array(sorted(ids), pa.string())))


def _by_outcome(explained: pa.Table) -> dict[str, Consistency]:
    outcomes = sorted(set(explained["status"].to_pylist()))
    return {outcome: summarise(explained.filter(pc.equal(explained["status"], outcome))) for outcome in outcomes}


def tau_interval(explained: pa.Table, seed: int) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean tau over pairs; None with fewer than two pairs, or without a tau.

    Args:
        explained: rows of `flat_dist.evaluation.attributions.SCHEMA`. Those without an aligned word are left out.
        seed: of the resamples, which depend on the number of pairs alone.
    """
    rows = [row for row in explained["kendall_tau"].to_pylist() if row]
    if len(rows) < 2:
        return None
    taus_PC = np.array(rows, dtype=np.float64)
    random, pairs = np.random.default_rng(seed), len(rows)
    blocks = [random.multinomial(pairs, np.full(pairs, 1 / pairs), size=BLOCK) for _ in range(RESAMPLES // BLOCK)]
    means_R = np.concatenate([_mean_tau(taus_PC, counts_RP) for counts_RP in blocks])
    means_R = means_R[~np.isnan(means_R)]
    if not len(means_R):
        return None
    low, high = np.quantile(means_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mean_tau(taus_PC: np.ndarray, weights_RP: np.ndarray, ones: float = 0.0) -> np.ndarray:
    """Weighted mean over the pairs with a tau within each class, then over the classes with one, (R,); NaN if none.

    Args:
        taus_PC: NaN if undefined.
        weights_RP: weight of each pair.
        ones: weight of texts whose tau is 1 in each class.
    """
    defined_PC = ~np.isnan(taus_PC)
    weights_RC = weights_RP @ defined_PC + ones
    sums_RC = weights_RP @ np.where(defined_PC, taus_PC, 0.0) + ones
    means_RC = np.divide(sums_RC, weights_RC, out=np.full(sums_RC.shape, np.nan), where=weights_RC > 0)
    known_RC = ~np.isnan(means_RC)
    classes_R = known_RC.sum(axis=1)
    sums_R = np.where(known_RC, means_RC, 0.0).sum(axis=1)
    return np.divide(sums_R, classes_R, out=np.full(len(sums_R), np.nan), where=classes_R > 0)


def _over_all_texts(own: pa.Table, parts: Sequence[Collection[str]], unchanged: int) -> AllTexts | None:
    """The paper's composition. A drawn pair stands for others of its part: the common pairs are drawn first.

    Args:
        own: explained pairs of the model.
        parts: ids of all changed texts: common ones, and others.
        unchanged: number of unchanged texts.
    """
    texts = sum(map(len, parts)) + unchanged
    rows = [row for row in own.select(["pair_id", "kendall_tau", "top_k"]).to_pylist() if row["kendall_tau"]]
    weights: dict[str, float] = {}
    for part in parts:
        of_part = [row["pair_id"] for row in rows if row["pair_id"] in part]
        if part and not of_part:
            return None
        weights |= {name: len(part) / len(of_part) for name in of_part}
    if not texts or not rows:
        return AllTexts(1.0, dict.fromkeys(KS, 1.0), 1.0) if texts else None
    weights_1P = np.array([[weights[row["pair_id"]] for row in rows]])
    taus_PC = np.array([row["kendall_tau"] for row in rows], dtype=np.float64)
    tops_PK = np.array([row["top_k"] for row in rows]).mean(axis=1)
    tau = _mean_tau(taus_PC, weights_1P, unchanged)[0]
    tops_K = (weights_1P[0] @ tops_PK + unchanged) / (weights_1P.sum() + unchanged)
    top_k = dict(zip(KS, tops_K.tolist(), strict=True))
    return AllTexts(None if np.isnan(tau) else float(tau), top_k, unchanged / texts)
