"""On-the-fly substitutes: adversarial twins of a batch's texts, for the model as it is at that step.

The gradient of each text's loss on its word vectors ranks the candidates of each word by the first-order change of the
loss, `gradient . (candidate - word)` (as HotFlip, Ebrahimi et al. 2018, does for all words). It costs one backward pass
more than training on the clean texts alone, and no attack.

Shapes: B texts, T pieces, N chosen words, K candidates of a word, P pieces of a word, U distinct candidates, D size of
a word vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flat_dist.config.schema import SubstitutesConfig
from flat_dist.data.batches import Examples, SwapIds
from flat_dist.data.substitutes import NONE, Pieces, Substitutes
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.gradients import loss_gradient, mean_vectors

Place = tuple[int, int]
"""Number of a text in the batch, and of a word in it."""


@dataclass
class _Text:
    """A text while its words are replaced."""

    label: int
    before: Pieces
    """What the model reads before the first word."""
    original: tuple[Pieces, ...]
    words: list[Pieces]
    rows: np.ndarray
    """Row of each word in the table of candidates."""
    steps: np.ndarray
    """In which step each word is replaced; NONE: never."""
    generator: np.random.Generator

    def chosen(self, step: int) -> list[int]:
        """The words that are replaced in a step."""
        return np.flatnonzero(self.steps == step).tolist()


@dataclass(frozen=True)
class Substitution:
    """Makes adversarial twins of the training texts.

    Args:
        substitutes: the texts' words, and their candidates.
        labels: class of each text (number of texts).
        config: share of words, number of candidates and of steps.
        ranked: whether the gradient chooses the candidates; otherwise they are drawn at random.
    """

    substitutes: Substitutes
    labels: np.ndarray
    config: SubstitutesConfig
    ranked: bool = True

    def twins(self, model: TextClassifier, indices: Sequence[int] | np.ndarray, seed: int, share: float) -> Examples:
        """The texts at `indices` with substitutes, and the swaps between each text and its twin (paper, Eq. 3).

        A twin depends on the weights, its text, the seed and the share, and not on the other texts of the batch.

        Args:
            model: for which the substitutes are chosen. Its weights and their gradients stay as they are.
            indices: of the texts.
            seed: of the choice of words.
            share: of the words with candidates that are replaced, in [0, 1].
        """
        texts = [self._start(int(index), seed, share) for index in indices]
        for step in range(self.config.steps):
            self._replace(model, texts, step)
        ids = tuple(self.substitutes.ids(text.before, text.words) for text in texts)
        labels = np.array([text.label for text in texts], dtype=np.int64)
        return Examples(ids, labels, tuple(self._swaps(text) for text in texts))

    def _start(self, index: int, seed: int, share: float) -> _Text:
        known = self.substitutes.texts[index]
        generator = np.random.default_rng((seed, index))
        drawn = generator.random(len(known.rows))
        steps = np.floor(drawn / max(share, 1e-12) * self.config.steps).astype(np.int64)
        replaced = (known.rows != NONE) & (drawn < share)
        words = list(known.pieces)
        return _Text(
            label=int(self.labels[index]),
            before=known.before,
            original=known.pieces,
            words=words,
            rows=known.rows,
            steps=np.where(replaced, steps, NONE),
            generator=generator,
        )

    def _replace(self, model: TextClassifier, texts: Sequence[_Text], step: int) -> None:
        places = [(number, word) for number, text in enumerate(texts) for word in text.chosen(step)]
        if not places:
            return
        rows = np.array([texts[number].rows[word] for number, word in places])
        candidates_NK = self.substitutes.candidates_RK[rows]
        if self.ranked:
            chosen_N = self._highest(model, texts, places, candidates_NK)
        else:
            counts_N = (candidates_NK != NONE).sum(1)
            chosen_N = [
                int(texts[number].generator.integers(count))
                for (number, _), count in zip(places, counts_N, strict=True)
            ]
        for (number, word), row_K, chosen in zip(places, candidates_NK, chosen_N, strict=True):
            texts[number].words[word] = self.substitutes.pieces[row_K[chosen]]

    def _highest(
        self,
        model: TextClassifier,
        texts: Sequence[_Text],
        places: Sequence[Place],
        candidates_NK: np.ndarray,
    ) -> list[int]:
        """The candidate of each place that raises the loss most, to first order."""
        gradients_ND = self._gradients(model, texts, places)
        device = gradients_ND.device
        used_U, inverse = np.unique(candidates_NK, return_inverse=True)
        # Of NONE, which is -1, this takes the last candidate; it is masked below.
        pieces = [self.substitutes.pieces[number] for number in used_U.tolist()]
        vectors_UD = mean_vectors(model, pieces)
        vectors_NKD = vectors_UD[torch.from_numpy(inverse.reshape(candidates_NK.shape)).to(device)]
        changes_NK = torch.einsum("nkd,nd->nk", vectors_NKD, gradients_ND)
        missing_NK = torch.from_numpy(candidates_NK == NONE).to(device)
        chosen: list[int] = changes_NK.masked_fill(missing_NK, -torch.inf).argmax(1).tolist()
        return chosen

    def _gradients(self, model: TextClassifier, texts: Sequence[_Text], places: Sequence[Place]) -> Tensor:
        """Gradient of the loss (N, D) on the vectors of the words at places, summed over a word's pieces."""
        ids = [self.substitutes.ids(text.before, text.words) for text in texts]
        gradient_BTD = loss_gradient(model, ids, np.array([text.label for text in texts], dtype=np.int64))
        starts = [_starts(text.words, len(text.before)) for text in texts]
        sizes = [len(texts[number].words[word]) for number, word in places]
        gradients = []
        length = gradient_BTD.shape[1]
        device = gradient_BTD.device
        text_N = torch.tensor([number for number, _ in places], device=device)
        start_N = torch.tensor([starts[number][word] for number, word in places], device=device)
        size_N = torch.tensor(sizes, device=device)
        for piece in range(max(sizes)):
            position_N = start_N + piece
            inside_N = (piece < size_N) & (position_N < length)
            found_ND = gradient_BTD[text_N, position_N.clamp(max=length - 1)]
            gradients.append(found_ND * inside_N.unsqueeze(1))
        return torch.stack(gradients).sum(0)

    def _swaps(self, text: _Text) -> SwapIds:
        """The swaps of words that the model reads on both sides."""
        first = len(text.before)
        sides = zip(text.original, _starts(text.original, first), text.words, _starts(text.words, first), strict=True)
        return tuple(
            ((old, old_start), (new, new_start))
            for old, old_start, new, new_start in sides
            if old != new and max(old_start + len(old), new_start + len(new)) <= self.substitutes.end
        )


def _starts(words: Sequence[Pieces], first: int) -> list[int]:
    """Position of each word's first piece."""
    ends = np.cumsum([first, *map(len, words)])
    return ends[:-1].tolist()
