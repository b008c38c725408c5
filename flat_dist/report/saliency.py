"""The saliency of pairs as data for the report's page: which pairs are shown, and their numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.evaluation.consistency import KS

if TYPE_CHECKING:
    from flat_dist.report.page import Saliency

SHOWN = 60
"""Pairs that the page holds of each attack, at most."""

ATTRIBUTIONS = 160_000
"""Attributions that the page holds of all pairs, at most: about 1.5 MB. Long texts make the pairs fewer."""


def payload(saliencies: Sequence["Saliency"], label_names: Sequence[str]) -> dict[str, Any] | None:
    """What the page's script shows, in plain values; None where there is no pair.

    A pair is known by its id: models are attacked separately, and each has an adversarial text of its own.
    Texts are kept once (`texts`), for all models and methods that share them.
    """
    texts: dict[tuple[str, ...], int] = {}
    attacks = []
    names = list(dict.fromkeys(one.attack for one in saliencies))
    for attack in names:
        ours = [one for one in saliencies if one.attack == attack]
        known = _by_commonness(ours)
        found = [(one, _rows_of(one, known[:SHOWN])) for one in ours]
        shown = _within_budget(known[:SHOWN], [rows for _, rows in found], ATTRIBUTIONS // len(names))
        if shown:
            rows = _packed(found, shown, texts)
            attacks.append({"name": attack, "ids": shown, "total": len(known), "rows": rows})
    if not attacks:
        return None
    classes = max(_classes(one) for one in saliencies)
    labels = [*label_names, *(f"class {index}" for index in range(len(label_names), classes))]
    return {"labels": labels, "texts": [list(text) for text in texts], "attacks": attacks}


def _by_commonness(saliencies: Iterable["Saliency"]) -> list[str]:
    """Ids of pairs, those first that most models and methods have; else as they come."""
    found = Counter(pair for one in saliencies for pair in one.pairs["pair_id"].to_pylist())
    return [pair for pair, _ in sorted(found.items(), key=lambda item: -item[1])]


def _rows_of(saliency: "Saliency", ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    table = saliency.pairs
    wanted = pc.is_in(table["pair_id"], value_set=pa.array(ids, pa.string()))
    return {row["pair_id"]: row for row in table.filter(wanted).to_pylist()}


def _within_budget(ids: Sequence[str], found: Sequence[Mapping[str, Mapping[str, Any]]], budget: int) -> list[str]:
    """As many of the ids, from the first on, as there is room for their attributions; one at least."""
    shown: list[str] = []
    for pair in ids:
        rows = [rows[pair] for rows in found if pair in rows]
        both = [(*row["original_attributions"], *row["perturbed_attributions"]) for row in rows]
        budget -= sum(len(of_class) for classes in both for of_class in classes)
        if shown and budget < 0:
            break
        shown.append(pair)
    return shown


def _packed(
    found: Sequence[tuple["Saliency", Mapping[str, Mapping[str, Any]]]],
    shown: Sequence[str],
    texts: dict[tuple[str, ...], int],
) -> dict[str, Any]:
    """Rows by method, model and id of the pair."""
    packed: dict[str, Any] = {}
    for one, rows in found:
        models = packed.setdefault(one.method, {})
        models[one.training] = {pair: _row(rows[pair], texts) for pair in shown if pair in rows}
    return {method: models for method, models in packed.items() if any(models.values())}


def _row(row: Mapping[str, Any], texts: dict[tuple[str, ...], int]) -> dict[str, Any]:
    original, perturbed = tuple(row["original_words"]), tuple(row["perturbed_words"])
    alignment = [[pair["original"], pair["perturbed"]] for pair in row["alignment"]]
    identity = [[index, index] for index in range(len(original))]
    return {
        "label": row["label"],
        "status": row["status"],
        "words": [texts.setdefault(original, len(texts)), texts.setdefault(perturbed, len(texts))],
        "scores": [_rounded(row["original_scores"]), _rounded(row["perturbed_scores"])],
        "values": [
            [_rounded(of_class) for of_class in row["original_attributions"]],
            [_rounded(of_class) for of_class in row["perturbed_attributions"]],
        ],
        "aligned": None if alignment == identity and len(original) == len(perturbed) else alignment,
        "tau": _rounded(row["kendall_tau"] or []),
        "top5": _rounded([_top_5(of_class) for of_class in row["top_k"] or []]),
        "error": _rounded([row["completeness_error"]])[0],
    }


def _top_5(of_class: Sequence[float] | None) -> float | None:
    return of_class[KS.index(5)] if of_class and len(of_class) > KS.index(5) else None


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Four significant digits: more cannot be seen, and float32 written in full is three times as long."""
    return [None if value is None or not isfinite(value) else float(f"{value:.4g}") for value in values]


def _classes(saliency: "Saliency") -> int:
    return pc.max(pc.list_value_length(saliency.pairs["original_scores"])).as_py() or 0
