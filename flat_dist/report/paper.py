"""The paper's numbers, to compare with measured ones (Chen & Ji, AAAI 2022; Tables 2 to 5 and 7 to 10)."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

DATASETS = {"sst2": "SST-2", "imdb": "IMDB", "ag_news": "AG News", "trec": "TREC"}
"""The paper's datasets, and their names in tables."""

SUBSTITUTES = {"rotten_tomatoes_sample": "sst2"}
"""Datasets that the paper does not have, and the dataset to compare with: both are movie reviews."""

ATTACKS = {"genetic": "gene", "alzantot": "gene"}
"""Attacks that the paper's tables have under another name."""

MODELS = {"cnn": "CNN", "lstm": "LSTM", "bert": "BERT", "deberta": "DeBERTa"}
"""The paper's models, and their names in tables."""


@dataclass(frozen=True)
class Numbers:
    """The paper's numbers for one model under one attack. Shares are in [0, 1]; None if the paper has none."""

    accuracy: float | None = None
    """On the test set (Table 2)."""
    after_attack_accuracy: float | None = None
    """Table 3 for the attack used in training and for base models, Table 4 for other attacks."""
    kendall_tau: Mapping[str, float] = field(default_factory=dict)
    """By method: ig (Table 3), lime (Table 8)."""
    top_5: Mapping[str, float] = field(default_factory=dict)
    """By method: ig (Table 3), lime (Table 8)."""
    dev_accuracy: float | None = None
    """On the development set (Table 7)."""


def source(dataset: str) -> str | None:
    """The paper's dataset to compare with; None if there is none."""
    name = SUBSTITUTES.get(dataset, dataset)
    return name if name in DATASETS else None


def numbers(dataset: str, model: str, training: str, attack: str, trained_on: str | None) -> Numbers:
    """The paper's numbers for a model under an attack; empty if it has none.

    Args:
        dataset: its name in the config. `SUBSTITUTES` names the dataset to use for one that the paper does not have.
        model: its name in the config.
        training: the kind of training. The paper has base, adv and flat.
        attack: the attack on test examples.
        trained_on: the attack used in training; None: unknown. It has no effect on base models.
    """
    row = {"dataset": source(dataset), "model": model, "training": training}
    seen = "" if training == "base" else trained_on
    published = ATTACKS.get(attack, attack)
    clean = _find("table2_test_accuracy", **row, train_attack=seen)
    dev = _find("table7_validation_accuracy", **row, train_attack=seen)
    robust = lime = transfer = None
    if training == "base" or attack == trained_on:
        robust = _find("table3_robustness_ig", **row, attack=attack)
        lime = _find("table8_consistency_lime", **row, attack=attack)
    if robust is None and row["dataset"] == "sst2" and (training == "base" or trained_on == "textfooler"):
        transfer = _find("table4_transfer_sst2", model=model, training=training, attack=published)
    methods = {name: found for name, found in (("ig", robust), ("lime", lime)) if found}
    return Numbers(
        accuracy=_share(clean, "accuracy"),
        after_attack_accuracy=_share(robust or transfer, "after_attack_accuracy"),
        kendall_tau={name: float(found["kendall_tau"]) for name, found in methods.items()},
        top_5={name: float(found["top5_intersection"]) for name, found in methods.items()},
        dev_accuracy=_share(dev, "accuracy"),
    )


def correlations() -> dict[str, tuple[float, float]]:
    """Table 9: Pearson's r and p by pair. The paper has them for LSTM-FLAT on SST-2 only."""
    rows = _read("table9_correlations_lstm_sst2")
    return {row["pair"]: (float(row["pearson_r"]), float(row["p_value"])) for row in rows}


def group_masks(groups: int) -> Numbers:
    """Table 10: a CNN on AG News whose words share masks in groups, under TextFooler."""
    row = _find("table10_group_masks_cnn_ag_news", groups=str(groups))
    return Numbers(
        accuracy=_share(row, "standard_accuracy"), after_attack_accuracy=_share(row, "after_attack_accuracy")
    )


def ablation(beta: bool, gamma: bool) -> tuple[float, float]:
    """Table 5: accuracy and after-attack accuracy of LSTM-FLAT on SST-2, as shares, with or without beta and gamma."""
    rows = _read("table5_ablation_lstm_sst2")
    row = next(row for row in rows if (float(row["beta"]) > 0, float(row["gamma"]) > 0) == (beta, gamma))
    return tuple(round(float(row[name]) / 100, 4) for name in ("standard_accuracy", "after_attack_accuracy"))  # type: ignore[return-value]


def _find(table: str, **wanted: str | None) -> dict[str, str] | None:
    rows = (row for row in _read(table) if all(row[name] == value for name, value in wanted.items()))
    return next(rows, None)


def _share(row: Mapping[str, str] | None, column: str) -> float | None:
    return None if row is None else round(float(row[column]) / 100, 4)  # the CSV files have percents, as the paper does


@cache
def _read(table: str) -> tuple[dict[str, str], ...]:
    text = resources.files("flat_dist.report").joinpath("paper_tables", f"{table}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
