"""Attributions of pairs as data for the script of the report's page."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.evaluation.top_k import TOP_HEADING, shown_top
from flat_dist.report.page import Saliency

MAX_PAIRS = 60
"""Maximum number of pairs of each attack in the page."""

MAX_ATTRIBUTIONS = 160_000
"""Maximum number of attributions in the page, about 1.5 MB. With long texts, the page has fewer pairs."""


def payload(saliencies: Sequence[Saliency], label_names: Sequence[str]) -> dict[str, Any] | None:
    """The data of the page's script, as plain values; None if there is no pair.

    Pairs are matched by id: models are attacked separately, so their adversarial texts differ. `texts` has each text
    once, for all models and methods.
    """
    texts: dict[tuple[str, ...], int] = {}
    attacks = []
    names = list(dict.fromkeys(one.attack for one in saliencies))
    for attack in names:
        of_attack = [one for one in saliencies if one.attack == attack]
        ids = _most_common_ids(of_attack)
        found = [(one, _rows_of(one, ids[:MAX_PAIRS])) for one in of_attack]
        shown = _within_budget(ids[:MAX_PAIRS], [rows for _, rows in found], MAX_ATTRIBUTIONS // len(names))
        if shown:
            rows = _packed(found, shown, texts)
            first = {pair: text for one in of_attack for pair, text in one.first_sentences.items() if pair in shown}
            attacks.append({"name": attack, "ids": shown, "total": len(ids), "rows": rows, "first": first})
    if not attacks:
        return None
    classes = max(_classes(one) for one in saliencies)
    labels = [*label_names, *(f"class {index}" for index in range(len(label_names), classes))]
    return {"labels": labels, "top": TOP_HEADING, "texts": [list(text) for text in texts], "attacks": attacks}


def _most_common_ids(saliencies: Iterable[Saliency]) -> list[str]:
    """Ids of pairs, first those that the most models and methods have."""
    counts = Counter(pair for one in saliencies for pair in one.pairs["pair_id"].to_pylist())
    return [pair for pair, _ in sorted(counts.items(), key=lambda item: -item[1])]


def _rows_of(saliency: Saliency, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    table = saliency.pairs
    wanted = pc.is_in(table["pair_id"], value_set=pa.array(ids, pa.string()))
    return {row["pair_id"]: row for row in table.filter(wanted).to_pylist()}


def _within_budget(ids: Sequence[str], found: Sequence[Mapping[str, Mapping[str, Any]]], budget: int) -> list[str]:
    """The first ids whose attributions fit into the budget; at least one."""
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
    found: Sequence[tuple[Saliency, Mapping[str, Mapping[str, Any]]]],
    shown: Sequence[str],
    texts: dict[tuple[str, ...], int],
) -> dict[str, Any]:
    """Rows by method, model and pair id."""
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
        "top": _rounded([shown_top(of_class) for of_class in row["top_k"] or []]),
        "error": _rounded([row["completeness_error"]])[0],
    }


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Numbers with four significant digits: all digits of a float32 would take three times the space."""
    return [None if value is None or not isfinite(value) else float(f"{value:.4g}") for value in values]


def _classes(saliency: Saliency) -> int:
    return pc.max(pc.list_value_length(saliency.pairs["original_scores"])).as_py() or 0
