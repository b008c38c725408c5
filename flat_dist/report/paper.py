"""The paper's numbers, to stand beside measured ones (Chen & Ji, AAAI 2022; Tables 2 to 5, 8 and 9)."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

DATASETS = {"sst2": "SST-2", "imdb": "IMDB", "ag_news": "AG News", "trec": "TREC"}
"""The paper's datasets, and how they are written."""

STANDS_FOR = {"rotten_tomatoes_sample": "sst2"}
"""Datasets that the paper has not, and the one whose numbers are shown beside: both are movie reviews."""

MODELS = {"cnn": "CNN", "lstm": "LSTM", "bert": "BERT", "deberta": "DeBERTa"}
"""The paper's models, and how they are written."""


@dataclass(frozen=True)
class Numbers:
    """What the paper reports for one model under one attack. Shares are in [0, 1]; None where it reports nothing."""

    accuracy: float | None = None
    """On the test set (Table 2)."""
    after_attack_accuracy: float | None = None
    """Table 3 for the attack that training saw and for base models, Table 4 for another attack."""
    kendall_tau: Mapping[str, float] = field(default_factory=dict)
    """By method: ig (Table 3), lime (Table 8)."""
    top_5: Mapping[str, float] = field(default_factory=dict)
    """By method: ig (Table 3), lime (Table 8)."""


def source(dataset: str) -> str | None:
    """The paper's dataset whose numbers are shown for a dataset; None where there is none."""
    name = STANDS_FOR.get(dataset, dataset)
    return name if name in DATASETS else None


def numbers(dataset: str, model: str, training: str, attack: str, trained_on: str | None) -> Numbers:
    """The paper's numbers for a model under an attack; empty where it has none.

    Args:
        dataset: as the config names it; `STANDS_FOR` says whose numbers are taken for one that the paper has not.
        model: as the config names it.
        training: base, adv or flat.
        attack: the attack on test examples.
        trained_on: the attack that training saw, if any is known. A base model saw none and is the same whatever its
            value.
    """
    row = {"dataset": source(dataset), "model": model, "training": training}
    seen = "" if training == "base" else trained_on
    clean = _find("table2_test_accuracy", **row, train_attack=seen)
    robust = lime = transfer = None
    if training == "base" or attack == trained_on:
        robust = _find("table3_robustness_ig", **row, attack=attack)
        lime = _find("table8_consistency_lime", **row, attack=attack)
    if robust is None and row["dataset"] == "sst2" and (training == "base" or trained_on == "textfooler"):
        transfer = _find("table4_transfer_sst2", model=model, training=training, attack=attack)
    methods = {name: found for name, found in (("ig", robust), ("lime", lime)) if found}
    return Numbers(
        accuracy=_share(clean, "accuracy"),
        after_attack_accuracy=_share(robust or transfer, "after_attack_accuracy"),
        kendall_tau={name: float(found["kendall_tau"]) for name, found in methods.items()},
        top_5={name: float(found["top5_intersection"]) for name, found in methods.items()},
    )


def correlations() -> dict[str, tuple[float, float]]:
    """Table 9: Pearson's r and p by pair, of LSTM-FLAT on SST-2, the only model that the paper has them for."""
    rows = _read("table9_correlations_lstm_sst2")
    return {row["pair"]: (float(row["pearson_r"]), float(row["p_value"])) for row in rows}


def ablation(beta: bool, gamma: bool) -> tuple[float, float]:
    """Table 5: accuracy and after-attack accuracy of LSTM-FLAT on SST-2, as shares, with or without beta and gamma."""
    rows = _read("table5_ablation_lstm_sst2")
    row = next(row for row in rows if (float(row["beta"]) > 0, float(row["gamma"]) > 0) == (beta, gamma))
    return tuple(round(float(row[name]) / 100, 4) for name in ("standard_accuracy", "after_attack_accuracy"))  # type: ignore[return-value]


def _find(table: str, **wanted: str | None) -> dict[str, str] | None:
    found = (row for row in _read(table) if all(row[name] == value for name, value in wanted.items()))
    return next(found, None)


def _share(row: Mapping[str, str] | None, column: str) -> float | None:
    return None if row is None else round(float(row[column]) / 100, 4)  # the CSV files keep the paper's percent


@cache
def _read(table: str) -> tuple[dict[str, str], ...]:
    text = resources.files("flat_dist.report").joinpath("paper_tables", f"{table}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
