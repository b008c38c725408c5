"""Word orders of adaptive attacks, against finite differences and the mask's own importance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from flat_dist.attack.word_order import attack_on, gradient_scores, importance_scores
from flat_dist.config.attacks import order_of, recipe_of
from flat_dist.config.schema import ModelConfig
from flat_dist.data.batches import to_batch
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint
from tests.conftest import PIECES

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = "the good film isn't a well-made , 'bad' film"
WORDS = ["the", "good", "film", "isn't", "a", "well-made", "bad", "film"]
"""The words of the text; the comma and the quotation marks belong to none."""

PLACES = [0, 1, 2, 3, 4, 5, 7, 8]
"""Where a model of whole words reads each of them: position 6 is the comma."""

CANDIDATES = {"good": ["bad", "unheard", "well-made"], "film": ["the"], "isn't": [], "bad": ["good", "film"]}


def candidates(word: str) -> list[str]:
    return CANDIDATES.get(word, [])


def spans(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    found, position = [], 0
    for word in words:
        start = text.index(word, position)
        position = start + len(word)
        found.append((start, position))
    return found


def word_model(name: str = "cnn", masked: bool = True, max_length: int = 50) -> Checkpoint:
    config = ModelConfig(name=name, embedding_dim=6, kernels=8, hidden_size=5, mask_hidden_size=12)  # type: ignore[arg-type]
    torch.manual_seed(4)
    vocabulary = Vocabulary.build([["the", "good", "film", "isn't", "a", "well-made", ",", "bad"]])
    model = checkpoints.build(config, len(vocabulary), 3)
    if masked:
        checkpoints.add_mask(model, config)
    return Checkpoint(model.eval(), config, Encoder(vocabulary, max_length), ("a", "b", "c"))


def word_piece_model(folder: Path) -> Checkpoint:
    torch.manual_seed(0)
    config = ModelConfig(name="encoder", encoder=str(folder), mask_hidden_size=8, pooling="mean")
    model, pieces = encoders.pretrained(config, classes=2)
    checkpoints.add_mask(model, config)
    return Checkpoint(model.eval(), config, Encoder(pieces, 16), ("a", "b"))


def rise(checkpoint: Checkpoint, text: str, label: int, word: slice, candidate: Sequence[int]) -> float:
    """First-order change of the label's negative log-odds if all vectors of a word move by candidate - word."""
    batch, step, values = to_batch([checkpoint.encoder.encode(text)]), 1e-3, []
    with torch.no_grad():
        embedded_BTD = checkpoint.model.embed(batch.ids_BT)
        change_D = checkpoint.model.embed(torch.tensor(candidate)).mean(0) - embedded_BTD[0, word].mean(0)
        for sign in (1, -1):
            moved_BTD = embedded_BTD.clone()
            moved_BTD[0, word] += sign * step * change_D
            probability = checkpoint.model.classify(moved_BTD, batch.real_BT)[0].double().softmax(0)[label]
            values.append(float(torch.log1p(-probability) - torch.log(probability)))
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("name", ["cnn", "lstm"])
@pytest.mark.parametrize("masked", [True, False])
def test_words_are_ordered_by_what_their_best_candidate_promises(name: str, masked: bool) -> None:
    checkpoint = word_model(name, masked)
    read = {word: checkpoint.encoder.encode(word) for word in [*WORDS, "unheard"]}
    for label in range(3):
        found_N = gradient_scores(checkpoint, candidates, TEXT, spans(TEXT, WORDS), label)
        for word, place, score in zip(WORDS, PLACES, found_N, strict=True):
            rises = [rise(checkpoint, TEXT, label, slice(place, place + 1), read[one]) for one in candidates(word)]
            assert score == pytest.approx(max(rises, default=-np.inf), rel=0.05, abs=1e-3)
        assert np.isneginf(found_N).sum() == 4


def test_the_masks_importance_orders_words_also_where_it_rounds_to_one() -> None:
    checkpoint = word_model()
    batch = to_batch([checkpoint.encoder.encode(TEXT)])
    with torch.no_grad():
        phi_T = checkpoint.model.importance(batch.ids_BT, torch.zeros_like(batch.ids_BT))[0].numpy()
    found_N = importance_scores(checkpoint, TEXT, spans(TEXT, WORDS), 0)
    np.testing.assert_allclose(1 / (1 + np.exp(-found_N)), phi_T[PLACES], rtol=1e-5)
    assert found_N[2] == found_N[7]  # the same word
    with torch.no_grad():
        checkpoint.model.mask.network[2].bias[1] += 40  # type: ignore[union-attr, operator]
        assert (checkpoint.model.importance(batch.ids_BT, torch.zeros_like(batch.ids_BT)) == 1).all()
    np.testing.assert_allclose(importance_scores(checkpoint, TEXT, spans(TEXT, WORDS), 0) - 40, found_N, atol=1e-4)


def test_the_pieces_of_a_word_count_together(encoder_folder: Path) -> None:
    checkpoint, text = word_piece_model(encoder_folder), "goodness is bad films"
    pieces = [slice(1, 3), slice(3, 4), slice(4, 5), slice(5, 7)]  # after [CLS]; goodness and films are two pieces each
    words = spans(text, text.split())
    found_N = gradient_scores(checkpoint, lambda word: ["fine", "goods"], text, words, 1)
    others = [[PIECES.index("fine")], [PIECES.index("good"), PIECES.index("##s")]]
    expected = [max(rise(checkpoint, text, 1, own, other) for other in others) for own in pieces]
    np.testing.assert_allclose(found_N, expected, rtol=0.05, atol=1e-4)
    batch = to_batch([checkpoint.encoder.encode(text)])
    with torch.no_grad():
        log_odds_BT = checkpoint.model(batch.ids_BT, batch.real_BT).log_odds_BT
    expected = [float(log_odds_BT[0, own].mean()) for own in pieces]
    np.testing.assert_allclose(importance_scores(checkpoint, text, words, 1), expected, rtol=1e-5)


def test_words_that_the_model_does_not_read_come_last() -> None:
    checkpoint, words = word_model(max_length=4), spans(TEXT, WORDS)
    for scores_N in (
        importance_scores(checkpoint, TEXT, words, 0),
        gradient_scores(checkpoint, lambda word: ["the"], TEXT, words, 0),
    ):
        assert np.isfinite(scores_N[:4]).all()
        assert np.isneginf(scores_N[4:]).all()
    assert importance_scores(checkpoint, "...", [], 0).shape == (0,)
    assert gradient_scores(checkpoint, candidates, "", [], 0).shape == (0,)


def test_without_a_mask_the_gradient_takes_the_place_of_importance() -> None:
    assert attack_on("pwws-importance", masked=False) == "pwws-gradient"
    assert attack_on("pwws-importance", masked=True) == "pwws-importance"
    assert attack_on("textfooler", masked=False) == "textfooler"
    assert (recipe_of("pwws-importance"), order_of("pwws-importance")) == ("pwws", "importance")
    assert (recipe_of("pwws"), order_of("pwws")) == ("pwws", "")
