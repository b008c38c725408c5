"""LIME for many texts at once, against the lime package text by text."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.evaluation import lime
from flat_dist.evaluation.lime import Lime, Text
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint

SETTINGS = Lime(samples=60, kernel_width=25.0, seed=3)

TEXTS = [
    "a good film",
    "fine bad film",
    "good",
    "good good good film is good",
    "a film nobody knows is a good film . it is a bad film",
    "is a film",
]


def word_model(name: str, classes: int, masked: bool) -> Checkpoint:
    torch.manual_seed(1)
    config = ModelConfig(name=name, kernels=12, embedding_dim=10, hidden_size=8, mask_hidden_size=8)
    vocabulary = Vocabulary.build([text.split() for text in TEXTS[:4]])
    model = checkpoints.build(config, len(vocabulary), classes)
    for parameter in model.parameters():  # as they come, such small models say much the same of every text
        parameter.data *= 3
    if masked:
        checkpoints.add_mask(model, config)
    return Checkpoint(model.train(), config, Encoder(vocabulary, 12), tuple("abcdef"[:classes]))


@pytest.fixture(params=["cnn", "masked cnn, 3 classes", "lstm", "encoder"])
def checkpoint(request: pytest.FixtureRequest, encoder_folder: Path) -> Checkpoint:
    if request.param != "encoder":
        classes = 3 if "classes" in request.param else 2
        return word_model("lstm" if request.param == "lstm" else "cnn", classes, "masked" in request.param)
    torch.manual_seed(0)
    config = ModelConfig(name="encoder", encoder=str(encoder_folder), mask_hidden_size=8, pooling="mean")
    model, pieces = encoders.pretrained(config, classes=2)
    for parameter in model.parameters():
        parameter.data *= 6 if parameter.ndim > 1 else 1
    return Checkpoint(model, config, Encoder(pieces, 16), ("a", "b"))


def explained(checkpoint: Checkpoint, texts: list[str], settings: Lime = SETTINGS) -> list[np.ndarray]:
    encoder = checkpoint.encoder
    encoded = [Text(encoder.encode(text), encoder.spans(text)) for text in texts]
    return lime.explain(checkpoint.model, encoded, encoder.vocabulary.unknown, settings)


def test_equals_the_lime_package_text_by_text(checkpoint: Checkpoint) -> None:
    for text, weights_CT in zip(TEXTS, explained(checkpoint, TEXTS), strict=True):
        words = checkpoint.encoder.words(text)
        explanation = SETTINGS.explainer().explain_instance(
            " ".join(words),
            lambda texts: checkpoint.probabilities(texts).numpy(),
            labels=range(len(checkpoint.label_names)),
            num_features=len(words),
            num_samples=SETTINGS.samples,
        )
        assert weights_CT.shape == (len(checkpoint.label_names), len(words))
        for label, weights_T in enumerate(weights_CT):
            expected = dict(explanation.local_exp[label])
            np.testing.assert_allclose(weights_T, [expected[word] for word in range(len(words))], atol=1e-6)
    assert max(np.abs(weights).max() for weights in explained(checkpoint, TEXTS)) > 0.01


def test_a_text_does_not_depend_on_the_others(checkpoint: Checkpoint) -> None:
    together = explained(checkpoint, TEXTS)
    for text, weights in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(explained(checkpoint, [text])[0], weights, atol=1e-6)


def test_the_settings_change_the_weights(checkpoint: Checkpoint) -> None:
    (first,), (same,) = (explained(checkpoint, TEXTS[3:4]) for _ in range(2))
    assert np.array_equal(first, same)
    for other in (Lime(60, 25.0, 4), Lime(61, 25.0, 3), Lime(60, 5.0, 3)):
        assert not np.array_equal(explained(checkpoint, TEXTS[3:4], other)[0], first)


def test_a_decisive_word_gets_the_weight() -> None:
    """A bag of words whose logit is that of one word: its weight is large, the others' are near 0."""
    checkpoint = word_model("cnn", 2, masked=False)
    model = checkpoint.model
    for parameter in model.parameters():
        parameter.data.zero_()
    good = checkpoint.encoder.encode("good")[0]
    model.embedding.weight.data[good, 0] = 1.0
    for convolution in model.convolutions:  # type: ignore[union-attr]
        convolution.weight.data[0, 0, :] = 1.0
    model.output.weight.data[1, 0] = 4.0
    (weights_CT,) = explained(checkpoint, ["a film is a good film"], Lime(200, 25.0, 0))
    assert weights_CT[1].argmax() == 4
    assert weights_CT[1, 4] > 10 * np.abs(np.delete(weights_CT[1], 4)).max()
    np.testing.assert_allclose(weights_CT[0], -weights_CT[1])
