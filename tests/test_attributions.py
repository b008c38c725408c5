"""Explained pairs: what is explained, what is compared, and what is left out."""

import numpy as np
import pyarrow as pa
import pytest
from captum.attr import IntegratedGradients
from scipy.stats import kendalltau

from flat_dist.config.schema import EvaluationConfig
from flat_dist.data import shards
from flat_dist.data.batches import to_batch
from flat_dist.data.shards import Record, Swap
from flat_dist.evaluation.attributions import SCHEMA, AttributionMethod, explain, methods, summarise
from flat_dist.evaluation.lime import Lime
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder

IG, LIME = AttributionMethod("ig", steps=20), AttributionMethod("lime", lime=Lime(samples=40, seed=1))

PAIRS = [
    ("a clever film", "a bright film", "successful"),
    ("a dull and boring film", "a dull film", "failed"),  # dropped words
    ("one two", "three", "successful"),  # nothing in common
    ("good", "fine", "successful"),  # one word has no order
    ("an old film", "an old film", "skipped"),
]


@pytest.fixture(scope="module")
def checkpoint(victim: Folder) -> Checkpoint:
    return checkpoints.load(victim)


@pytest.fixture(scope="module")
def attacked() -> pa.Table:
    records = [
        Record(f"pair-{number}", 1, original, perturbed, status, () if original == perturbed else (Swap(0, "x", "y"),))
        for number, (original, perturbed, status) in enumerate(PAIRS)
    ]
    scores = [[0.5, 0.5]] * len(records)
    return shards.to_table(records, scores, scores, 0, {})


@pytest.mark.parametrize("method", [IG, LIME])
def test_a_pair_is_compared_as_with_scipy(
    checkpoint: Checkpoint, attacked: pa.Table, method: AttributionMethod
) -> None:
    explained = explain(checkpoint, attacked.to_pylist(), method)
    assert explained.schema == SCHEMA
    rows = explained.to_pylist()
    first = rows[0]
    assert first["original_words"] == ["a", "clever", "film"]
    for side, text in (("original", "a clever film"), ("perturbed", "a bright film")):
        np.testing.assert_allclose(first[f"{side}_scores"], checkpoint.probabilities([text])[0], atol=1e-6)
    for label in (0, 1):
        before, after = (first[f"{side}_attributions"][label] for side in ("original", "perturbed"))
        assert first["kendall_tau"][label] == pytest.approx(kendalltau(before, after).statistic)
    dropped = rows[1]
    kept = [0, 1, 4]
    assert [pair["original"] for pair in dropped["alignment"]] == kept
    before, after = dropped["original_attributions"][1], dropped["perturbed_attributions"][1]
    assert dropped["kendall_tau"][1] == pytest.approx(kendalltau([before[word] for word in kept], after).statistic)
    assert (rows[2]["kendall_tau"], rows[2]["top_k"]) == ([], [])
    assert rows[3]["kendall_tau"] == [None, None]
    assert rows[4]["kendall_tau"] == [1, 1]


def test_the_summary_counts_the_pairs_it_leaves_out(checkpoint: Checkpoint, attacked: pa.Table) -> None:
    explained = explain(checkpoint, attacked.to_pylist(), IG)
    found = summarise(explained)
    assert (found.pairs, found.undefined, found.unaligned) == (4, 2, 1)
    taus = np.array([row for row in explained["kendall_tau"].to_pylist() if row and None not in row])
    assert found.kendall_tau == pytest.approx(taus.mean(axis=0).mean())
    assert found.completeness_error == pytest.approx(max(explained["completeness_error"].to_pylist()))
    assert summarise(explain(checkpoint, attacked.to_pylist(), LIME)).completeness_error is None
    assert summarise(SCHEMA.empty_table()).kendall_tau is None


def test_integrated_gradients_equal_captums_on_the_embedding(checkpoint: Checkpoint, attacked: pa.Table) -> None:
    model = checkpoint.model
    for row in explain(checkpoint, attacked.to_pylist(), IG).to_pylist():
        batch = to_batch([checkpoint.encoder.encode(" ".join(row["original_words"]))])
        captum = IntegratedGradients(
            lambda embedded, real: model.classify(embedded, real.expand(len(embedded), -1)).softmax(-1)
        )
        for label, weights in enumerate(row["original_attributions"]):
            expected = captum.attribute(
                model.embed(batch.ids_BT).detach(), target=label, n_steps=20, additional_forward_args=(batch.real_BT,)
            )
            np.testing.assert_allclose(weights, expected.sum(-1)[0].detach(), atol=1e-6)


def test_the_methods_of_a_config() -> None:
    evaluation = EvaluationConfig(explain=("lime", "ig"), ig_pairs=5, ig_steps=7, lime_samples=30)
    first, second = methods(evaluation, seed=1).items()
    assert (first[0].name, first[1], first[0].settings()["samples"]) == ("lime", 1000, 30)
    assert (second[0].name, second[1], second[0].settings()["steps"]) == ("ig", 5, 7)
    assert first[0].settings() != next(iter(methods(evaluation, seed=2))).settings()
