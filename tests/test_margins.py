"""Margins: log-odds of classes that never saturate, whatever the batch."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.margins import margins


def test_margins_of_two_classes_are_differences_of_logits() -> None:
    found = margins(torch.tensor([[3.0, 1.0], [-400.0, 500.0]]))
    assert found.dtype == torch.float64
    assert found.tolist() == [[2.0, -2.0], [-900.0, 900.0]]


def test_margins_of_three_classes_by_hand() -> None:
    # exp: 1, 2, 5; odds 1 : 7, 2 : 6, 5 : 3
    found = margins(torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64).log())
    np.testing.assert_allclose(found, np.log([[1 / 7, 2 / 6, 5 / 3]]), rtol=1e-14)


def test_margins_tell_apart_texts_whose_probabilities_are_equal() -> None:
    logits = torch.tensor([[40.0, 0.0, -1.0], [30.0, 0.0, -1.0], [30.0, 0.0, -2.0]])
    assert logits.softmax(-1)[:, 0].tolist() == [1.0, 1.0, 1.0]
    first, second, third = margins(logits)[:, 0].tolist()
    assert second < third < first
    assert first == pytest.approx(40 - math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_margins_equal_scipys_and_keep_prediction_and_ranking(classes: int, scale: float) -> None:
    logits = scale * torch.randn(200, classes, generator=torch.Generator().manual_seed(classes))
    found = margins(logits).numpy()
    for row, own in zip(found, logits.double().numpy(), strict=True):
        expected = [own[c] - logsumexp(np.delete(own, c)) for c in range(classes)]
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)
    assert (found.argmax(1) == logits.argmax(1).numpy()).all()
    if scale == 1.0:
        for c in range(classes):
            assert (found[:, c].argsort() == logits.double().softmax(-1)[:, c].numpy().argsort()).all()


def test_margins_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    vocabulary = Vocabulary.build([[f"w{number}" for number in range(28)]])
    config = ModelConfig(kernels=8, embedding_dim=8, vectors=None)
    model = checkpoints.build(config, len(vocabulary), 5)
    checkpoint = Checkpoint(model, config, Encoder(vocabulary, 50), tuple("abcde"))
    ids = [tuple(2 + n * 7 % 20 for n in range(start, start + 1 + start % 20)) for start in range(61)]
    together = checkpoint.predict_margins(ids)
    np.testing.assert_allclose(torch.sigmoid(together), checkpoint.predict(ids), atol=1e-6)
    logits = torch.cat([logits_BC[: len(rows)] for rows, logits_BC in checkpoint._logits(ids, 0)])
    order = [row for rows, _ in checkpoint._logits(ids, 0) for row in rows]
    np.testing.assert_allclose(checkpoint.predict(ids, temperature=4.0)[order], (logits / 4).softmax(-1), atol=1e-6)
    for size in (1, 5, 60):
        apart = [checkpoint.predict_margins(ids[start : start + size]) for start in range(0, 61, size)]
        assert torch.equal(torch.cat(apart), together)
    assert checkpoint.predict_margins([]).shape == (0, 5)
