"""Margins of attacked texts by outcome."""

import numpy as np
import pyarrow as pa
import torch

from flat_dist.evaluation.attack_margins import SATURATED, attack_margins
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder


def test_margins_are_those_of_the_right_class_by_outcome(victim: Folder) -> None:
    checkpoint = checkpoints.load(victim)
    texts = ["a good film", "a bad film", "the plot is dull", "a great film"]
    labels, statuses = [1, 0, 1, 0], ["successful", "failed", "skipped", "error"]
    rows = pa.table({"original_text": texts, "label": labels, "status": pa.array(statuses).dictionary_encode()})
    found = attack_margins("flat", "pwws", rows, checkpoint)
    assert (found.training, found.attack) == ("flat", "pwws")
    assert {name: len(values) for name, values in found.by_outcome.items()} == {
        "skipped": 1,
        "successful": 1,
        "failed": 1,
    }
    for text, label, status in zip(texts[:3], labels, statuses, strict=False):
        probability = checkpoint.probabilities([text]).double()[0, label].item()
        expected = np.log(probability / (1 - probability))
        np.testing.assert_allclose(found.by_outcome[status], [expected], rtol=1e-4)


def test_the_saturated_margin_is_where_float32_has_a_probability_of_1() -> None:
    def probability(margin: float) -> float:
        return torch.tensor([margin, 0.0]).softmax(-1)[0].item()

    assert probability(SATURATED + 0.1) == 1
    assert probability(SATURATED - 0.1) < 1
