"""The table of an ablation, by hand; and the share of words that masks drop."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from flat_dist.config.schema import Config, ModelConfig, ObjectiveConfig, SubstitutesConfig, TrainingConfig
from flat_dist.config.validation import validate
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.evaluation.comparison import measure
from flat_dist.evaluation.predict import drop_rate
from flat_dist.evaluation.result import Result
from flat_dist.evaluation.significance import Interval
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from flat_dist.sweep.ablation import SeedResults, pair_taus, rows
from flat_dist.sweep.ablation_output import AblationPage, markdown, publish, read, report_table
from flat_dist.sweep.variants import FLAT, VariantName, variants
from flat_dist.tracking.tracker import NoTracker

RIGHT = {
    1: {"flat": [1, 1, 1, 0], "adv": [1, 0, 0, 0]},
    2: {"flat": [1, 0, 1, 0], "adv": [0, 0, 1, 1]},
}
"""Whether each of four texts is right after the attack, by seed and model."""


def of_seed(seed: int, reported: bool = True) -> SeedResults:
    right = {name: np.array(values, dtype=float) for name, values in RIGHT[seed].items()}
    _, comparisons = measure(right, seed=0)
    results = [
        Result(
            name, 1, "pwws", False, 0.7 + 0.1 * seed, float(own.mean()) if reported else None, None, None, None, 4,
            comparisons=comparisons[name],
        )
        for name, own in right.items()
    ]  # fmt: skip
    outcomes = {(name, "pwws"): dict(zip("abcd", own.tolist(), strict=True)) for name, own in right.items()}
    return SeedResults(seed, 0.25, results, outcomes if reported else {})


def test_rows_are_means_over_seeds_and_differences_to_flat() -> None:
    flat, adv = rows([of_seed(1), of_seed(2)], seed=0)
    assert (flat.variant, adv.variant) == (FLAT, "adv")
    assert flat.accuracy == pytest.approx(0.85)
    assert flat.after_attack_accuracy == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert adv.after_attack_accuracy == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert flat.flat_minus_this is None and flat.p_values == []
    assert adv.flat_minus_this == pytest.approx((2 / 4 + 0) / 2)
    # seed 1: flat alone is right on two texts; seed 2: each alone is right on one
    assert adv.p_values == [pytest.approx(2 / 2**2), pytest.approx(1.0)]
    for row in (flat, adv):
        assert row.interval is not None and row.after_attack_accuracy is not None
        assert row.interval.low <= row.after_attack_accuracy <= row.interval.high


def test_seeds_that_measured_other_texts_are_averaged_over_their_own() -> None:
    first, second = of_seed(1), of_seed(2)
    renamed = {key: {f"{name}2": value for name, value in own.items()} for key, own in second.outcomes.items()}
    flat, adv = rows([first, replace(second, outcomes=renamed)], seed=0)
    assert flat.after_attack_accuracy == pytest.approx(0.625)
    assert adv.flat_minus_this == pytest.approx(0.25)


def test_a_model_that_is_not_reported_has_no_numbers_after_the_attack() -> None:
    flat, adv = rows([of_seed(1), of_seed(2, reported=False)], seed=0)
    assert flat.after_attack_accuracy is adv.after_attack_accuracy is adv.flat_minus_this is None
    assert report_table([flat, adv]).rows[1][4:6] == ["–", "–"]


def test_accuracy_and_tau_are_compared_on_the_texts_that_both_have() -> None:
    correct = {"flat": dict.fromkeys("abcd", 1.0), "adv": {"a": 1.0, "b": 0.0, "c": 0.0, "d": 1.0}}
    taus = {
        ("flat", "pwws", "ig"): {"a": 0.5, "b": 0.25, "c": 1.0},  # adv has no pair c, and flat no pair d
        ("adv", "pwws", "ig"): {"a": 0.25, "b": 0.25, "d": -1.0},
    }
    seeds = [replace(of_seed(number), correct=correct, taus=taus) for number in (1, 2)]
    flat, adv = rows(seeds, seed=0)
    assert flat.accuracy_difference is None and flat.tau_difference == {}
    assert adv.accuracy_difference is not None and adv.accuracy_difference.mean == 0.5
    assert adv.tau_difference["ig"].mean == pytest.approx((0.25 + 0) / 2)
    assert adv.tau_difference["ig"].interval == Interval(0.0, 0.25)
    no_common = {key: own for key, own in taus.items() if key[0] == "flat"} | {("adv", "pwws", "ig"): {"d": 0.5}}
    assert rows([seeds[0], replace(seeds[1], taus=no_common)], seed=0)[1].tau_difference == {}


def test_the_tau_of_a_pair_is_the_mean_over_its_classes() -> None:
    taus = {"pair_id": ["a", "b", "c", "d"], "kendall_tau": [[0.5, 0.0], [None, 0.25], [None, None], [1.0, 1.0]]}
    table = pa.table(taus, schema=pa.schema([("pair_id", pa.string()), ("kendall_tau", pa.list_(pa.float64()))]))
    assert pair_taus(table, {"a", "b", "c"}) == {"a": 0.25, "b": 0.25}


def test_the_table_as_markdown() -> None:
    correct = {name: dict.fromkeys("abcd", 1.0) for name in ("flat", "adv")}
    seeds = [replace(of_seed(number), correct=correct) for number in (1, 2)]
    head, rule, flat, adv = markdown(rows(seeds, seed=0)).splitlines()
    assert head == "| attack | model | accuracy, % | FLAT − model | after attack, % | FLAT − model | p |"
    assert rule == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert flat.startswith("| pwws | flat | 85.0 (51.0 to 100.0) | – | 62.5 (") and flat.endswith(") | – | – |")
    assert adv.startswith("| pwws | adv | 85.0 (51.0 to 100.0) | 0.0 (0.0 to 0.0) | 37.5 (")
    assert "| 25.0 (" in adv and adv.endswith(") | 0.5, 1 |")


def test_each_variant_changes_one_thing() -> None:
    config = Config(
        objective=ObjectiveConfig(initial_beta=1.0),
        substitutes=SubstitutesConfig(steps=2, share=0.3, positions=0.7),
        training=TrainingConfig(adversaries="both"),
    )
    names = get_args(VariantName)
    found = {one.name: one.config(config, 7) for one in variants(names, 0.25)}
    assert tuple(found) == names
    for own in found.values():
        validate(own)
        assert own.seed == 7
    base, adv, flat = (found[name] for name in ("base", "adv", "flat"))
    assert flat == replace(config, seed=7, training=replace(config.training, kinds=("flat",)))
    assert base == replace(flat, training=replace(flat.training, kinds=("base",)))
    assert adv == replace(flat, training=replace(flat.training, kinds=("adv",)))
    assert found["adv-word-dropout"] == replace(adv, training=replace(adv.training, word_dropout=0.25))
    for name, own in (("adv-random", adv), ("flat-random", flat)):
        training = replace(own.training, adversaries="random")
        assert found[name] == replace(own, training=training, substitutes=SubstitutesConfig(positions=0.7))
    for name, changes in (
        ("flat-gamma-0", {"gamma": 0.0}),
        ("flat-beta-0", {"beta": 0.0, "initial_beta": 0.0}),
        ("flat-beta-gamma-0", {"beta": 0.0, "initial_beta": 0.0, "gamma": 0.0}),
    ):
        assert found[name] == replace(flat, objective=replace(config.objective, **changes))


def test_the_models_of_table_5_have_the_papers_numbers() -> None:
    row = rows([of_seed(1)], seed=0)[0]
    names = ("flat-beta-gamma-0", "flat-beta-0", "flat-gamma-0", "flat")
    shown = report_table([replace(row, attack="textfooler", variant=name) for name in names])
    assert [own[-2:] for own in shown.rows] == [
        ["84.40", "8.35"],
        ["84.34", "8.18"],
        ["83.96", "9.99"],
        ["84.79", "17.76"],
    ]
    assert len(report_table([row]).header) == len(shown.header) - 2


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    correct, taus = (
        {"flat": {"a": 1.0}, "adv": {"a": 0.0}},
        {(name, "pwws", "ig"): {"a": 0.5} for name in ("flat", "adv")},
    )
    seeds = [replace(of_seed(number), correct=correct, taus=taus) for number in (1, 2)]
    found = publish(Folder(tmp_path), AblationPage("Ablation", {"model": "cnn"}), seeds, 0, NoTracker())
    assert read(Folder(tmp_path)) == found == rows(seeds, seed=0)


class KnownMask(nn.Module):
    """phi is the first component of the word's vector."""

    def importance(self, embedded: torch.Tensor) -> torch.Tensor:
        return embedded[..., 0]


def test_the_share_of_words_that_a_mask_drops() -> None:
    encoder = Encoder(Vocabulary.build([["a", "fine", "film"]]), 10)
    config = ModelConfig(embedding_dim=2, kernels=2, kernel_widths=(1,), vectors=None)
    model = checkpoints.build(config, len(encoder.vocabulary), 2)
    model.mask = KnownMask()  # type: ignore[assignment]
    phi = {"a": 0.25, "fine": 1.0, "film": 0.5}
    with torch.no_grad():
        for word, value in phi.items():
            model.embedding.weight[encoder.encode(word)[0], 0] = value
    checkpoint = Checkpoint(model, config, encoder, ("negative", "positive"))
    texts = ["a fine film", "a film", "film"]
    dropped = [0.75, 0.0, 0.5, 0.75, 0.5, 0.5]
    assert drop_rate(checkpoint, texts) == pytest.approx(sum(dropped) / 6)
    assert drop_rate(checkpoint, texts, batch_size=1) == pytest.approx(sum(dropped) / 6)
