from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.batches import to_batch
from flat_dist.data.encoder import Encoder
from flat_dist.evaluation.integrated_gradients import integrated_gradients
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.classifier import Prediction, TextClassifier

WORDS, DIMENSIONS = 30, 6


class BagOfWords(TextClassifier):
    """Logits are linear in the sum of the word vectors."""

    def __init__(self, classes: int) -> None:
        super().__init__(dropout=0.5)
        self.embedding = nn.Embedding(WORDS, DIMENSIONS, padding_idx=0)
        self.output = nn.Linear(DIMENSIONS, classes)
        self.largest_batch = 0

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        self.largest_batch = max(self.largest_batch, real_BT.numel())
        return Prediction(self.output(self.dropout((embedded_BTD * real_BT.unsqueeze(-1)).sum(dim=1))), None)


class MaskedLSTM(BagOfWords):
    """A FLAT-like model: words weighted by a function of themselves, an LSTM, dropout that must be off."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.weight = nn.Linear(DIMENSIONS, 1)
        self.lstm = nn.LSTM(DIMENSIONS, DIMENSIONS, batch_first=True)

    def predict_embedded(self, embedded_BTD: Tensor, real_BT: Tensor) -> Prediction:
        states_BTH, _ = self.lstm(torch.sigmoid(self.weight(embedded_BTD)) * embedded_BTD)
        return super().predict_embedded(4 * states_BTH, real_BT)


@pytest.fixture(params=[2, 4])
def lstm(request: pytest.FixtureRequest) -> MaskedLSTM:
    torch.manual_seed(1)
    return MaskedLSTM(request.param)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    lengths_B = torch.tensor([3, 9, 1, 6, 9, 2])
    real_BT = torch.arange(11) < lengths_B.unsqueeze(1)
    return torch.randint(1, WORDS, real_BT.shape, generator=generator) * real_BT, real_BT


def test_a_linear_model_has_a_closed_form(batch: tuple[Tensor, Tensor]) -> None:
    # With two classes p_1 = sigmoid(w.x + b) depends on the words through z = w.x alone, so a word's attribution is its
    # share of z times the change in probability: (w.x_t / z) (sigmoid(z + b) - sigmoid(b)).
    torch.manual_seed(0)
    model = BagOfWords(2)
    ids_BT, real_BT = batch
    words_BCT = integrated_gradients(model, ids_BT, real_BT, steps=50).words
    weight, bias = (parameter[1] - parameter[0] for parameter in (model.output.weight, model.output.bias))
    scores_BT = (model.embedding(ids_BT) @ weight).detach()
    total_B1 = scores_BT.sum(dim=1, keepdim=True)
    expected_BT = scores_BT / total_B1 * (torch.sigmoid(total_B1 + bias) - torch.sigmoid(bias)).detach()
    torch.testing.assert_close(words_BCT[:, 1], expected_BT, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(words_BCT[:, 0], -expected_BT, atol=1e-5, rtol=1e-4)


def test_attributions_add_up_to_the_change_in_probability(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    ids_BT, real_BT = batch
    result = integrated_gradients(lstm, ids_BT, real_BT, steps=50)
    embedded_BTD = lstm.embed(ids_BT)
    start, end = (lstm.classify(x, real_BT).softmax(-1) for x in (0 * embedded_BTD, embedded_BTD))
    assert (end - start).abs().max() > 0.05
    torch.testing.assert_close(result.words.sum(dim=-1), end - start, atol=1e-2, rtol=0)
    torch.testing.assert_close(result.error, result.words.sum(dim=-1) - (end - start), atol=1e-6, rtol=0)


def test_the_error_shrinks_with_more_steps(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    coarse, fine = (integrated_gradients(lstm, *batch, steps=steps).error.abs().max() for steps in (1, 20))
    assert fine < coarse / 10


@pytest.mark.parametrize("words_per_batch", [1, 100, 700, 10_000])
def test_equals_captum_text_by_text_and_class_by_class(
    lstm: MaskedLSTM, batch: tuple[Tensor, Tensor], words_per_batch: int
) -> None:
    ids_BT, real_BT = batch
    words_BCT = integrated_gradients(lstm, ids_BT, real_BT, steps=20, words_per_batch=words_per_batch).words
    method = IntegratedGradients(lambda embedded, real: lstm.classify(embedded, real).softmax(-1))
    for ids_T, real_T, words_CT in zip(ids_BT, real_BT, words_BCT, strict=True):
        embedded_1TD = lstm.embed(ids_T[real_T].unsqueeze(0))
        for target, words_T in enumerate(words_CT):
            expected_1TD = method.attribute(
                embedded_1TD, target=target, n_steps=20, additional_forward_args=(real_T[real_T].unsqueeze(0),)
            )
            torch.testing.assert_close(words_T[real_T], expected_1TD.sum(dim=-1)[0].detach(), atol=1e-5, rtol=0)
            assert not words_T[~real_T].any()


def test_memory_is_bounded(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    integrated_gradients(lstm, *batch, steps=50, words_per_batch=60)
    assert lstm.largest_batch <= 60


def test_the_model_is_not_changed_except_for_evaluation_mode(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    lstm.train()
    integrated_gradients(lstm, *batch, steps=2)
    assert not lstm.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in lstm.parameters())


def test_the_pieces_of_a_word_are_added_up(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    result = integrated_gradients(lstm, *batch, steps=2)
    texts = result.by_word([[(0, 1), (1, 3)], [(2, 9)], [], [(0, 1)], [(0, 1)], [(0, 1)]])
    assert [text.shape[1] for text in texts] == [2, 1, 0, 1, 1, 1]
    words_BCT = result.words.numpy()
    np.testing.assert_allclose(texts[0][:, 0], words_BCT[0, :, 0])
    np.testing.assert_allclose(texts[0][:, 1], words_BCT[0, :, 1] + words_BCT[0, :, 2])
    np.testing.assert_allclose(texts[1][:, 0], words_BCT[1, :, 2:9].sum(1), rtol=1e-6)


def test_an_empty_text_has_no_attributions(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    ids_BT, real_BT = batch
    kept = integrated_gradients(lstm, ids_BT, real_BT, steps=5)
    emptied = integrated_gradients(lstm, ids_BT, real_BT & (torch.arange(len(real_BT)) != 1).unsqueeze(1), steps=5)
    assert not emptied.words[1].any()
    torch.testing.assert_close(emptied.words[2:], kept.words[2:])
    with pytest.raises(UserError, match="no text has a word to explain"):
        integrated_gradients(lstm, ids_BT, torch.zeros_like(real_BT), steps=5)


def test_a_diverged_model_is_an_error(lstm: MaskedLSTM, batch: tuple[Tensor, Tensor]) -> None:
    nn.init.constant_(lstm.output.weight, float("nan"))
    with pytest.raises(UserError, match="diverged"):
        integrated_gradients(lstm, *batch, steps=2)


def test_special_pieces_do_not_change_along_the_path(encoder_folder: Path) -> None:
    config = ModelConfig(name="encoder", encoder=str(encoder_folder), mask_hidden_size=8, pooling="mean")
    torch.manual_seed(0)
    model, pieces = encoders.pretrained(config, classes=2)
    checkpoints.add_mask(model, config)
    for parameter in model.parameters():  # as they come, all such tiny models say much the same
        parameter.data *= 8 if parameter.ndim > 1 else 1
    texts = ["a good film is goodness", "bad films"]
    encoder = Encoder(pieces, 40)
    batch = to_batch([encoder.encode(text) for text in texts])
    result = integrated_gradients(model, batch.ids_BT, batch.real_BT, steps=50)
    special_BT = torch.isin(batch.ids_BT, torch.tensor([*pieces.prefix, *pieces.suffix]))
    assert not result.words.transpose(1, 2)[special_BT].any()
    embedded_BTD = model.embed(batch.ids_BT).detach()
    start_BTD = embedded_BTD * special_BT.unsqueeze(-1)
    start_BC, end_BC = (model.classify(x, batch.real_BT).softmax(-1).detach() for x in (start_BTD, embedded_BTD))
    assert (end_BC - start_BC).abs().max() > 0.05
    torch.testing.assert_close(result.words.sum(-1), end_BC - start_BC, atol=5e-3, rtol=0)
    words = result.by_word([encoder.spans(text) for text in texts])
    assert [array.shape for array in words] == [(2, 5), (2, 2)]  # goodness and films are two pieces each
    for array, error_C, change_C in zip(words, result.error, end_BC - start_BC, strict=True):
        np.testing.assert_allclose(array.sum(1) - error_C.numpy(), change_C.numpy(), atol=1e-5)
