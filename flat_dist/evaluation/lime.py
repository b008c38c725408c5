"""LIME (Ribeiro et al. 2016) on words, by the lime package, for many texts at once.

LIME queries a model with neighbours of a text, which leave out some of its words. The choice of words depends only on
the number of words and the seed. So the package explains all texts with the same number of words in one call: it gets a
text of numbered positions, and treats each class of each text as a class of its own. This module replaces the positions
by the words of each text.

Shape letters: N neighbours, C classes, T pieces of a text, D size of a word vector, M pieces of a neighbour.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lime.lime_text import LimeTextExplainer

from flat_dist.models.classifier import TextClassifier

WORDS_PER_BATCH = 8192
"""Maximum number of word vectors in a batch; it limits memory for texts of any length."""

Spans = Sequence[tuple[int, int]]
"""Start and end of the pieces of each word of a text."""


@dataclass(frozen=True)
class Lime:
    """Settings of LIME. The paper gives none."""

    samples: int = 1000
    """Number of neighbours for each explanation, including the text itself."""
    kernel_width: float = 25.0
    """Width of the exponential kernel on 100 times the cosine distance; 25 is the package's default."""
    seed: int = 0
    """Seed of the choice of words. Texts with the same number of words have the same choice."""

    def explainer(self) -> LimeTextExplainer:
        """The package's explainer. Each occurrence of a word has a weight, and removed words leave no gap."""
        return LimeTextExplainer(
            kernel_width=self.kernel_width,
            feature_selection="none",
            split_expression=r"\s+",
            bow=False,
            mask_string="",
            random_state=self.seed,
        )


@dataclass(frozen=True)
class Text:
    """An encoded text."""

    ids: Sequence[int]
    """Ids of its pieces, including special ones."""
    spans: Spans
    """Positions of the pieces of its words; at least one word."""


@torch.no_grad()
def explain(model: TextClassifier, texts: Sequence[Text], unknown: int, settings: Lime) -> list[np.ndarray]:
    """LIME's weight of each word for the probability of each class: an array (C, words) for each text.

    A neighbour without words is read as one unknown word, as everywhere else.

    Args:
        model: left in evaluation mode.
        texts: what to explain.
        unknown: id of the unknown word.
        settings: samples, kernel width and seed.
    """
    model.eval()
    by_length = defaultdict(list)
    for row, text in enumerate(texts):
        by_length[len(text.spans)].append(row)
    explained: dict[int, np.ndarray] = {}
    for length, rows in by_length.items():
        weights = _explain(model, [texts[row] for row in rows], length, unknown, settings)
        explained.update(zip(rows, weights, strict=True))
    return [explained[row] for row in range(len(texts))]


def _explain(
    model: TextClassifier, texts: Sequence[Text], length: int, unknown: int, settings: Lime
) -> list[np.ndarray]:
    """The weights of texts with the same number of words."""
    classes = model.output.out_features
    positions = " ".join(map(str, range(length)))

    def probabilities(neighbours: list[str]) -> np.ndarray:
        kept = [tuple(map(int, neighbour.split())) for neighbour in neighbours]
        by_layout: dict[Spans, _Neighbours] = {}
        columns = []
        for text in texts:
            layout = (*text.spans, (0, len(text.ids)))
            if layout not in by_layout:
                by_layout[layout] = _neighbours(kept, text)
            columns.append(_probabilities(model, text, by_layout[layout], unknown))
        return np.concatenate(columns, axis=1)

    # Probabilities add up to 1, and weights are linear in them: the last class needs no fit.
    labels = [row * classes + label for row in range(len(texts)) for label in range(classes - 1)]
    explanation = settings.explainer().explain_instance(
        positions, probabilities, labels=labels, num_features=length, num_samples=settings.samples
    )
    fitted = np.array([[weight for _, weight in sorted(explanation.local_exp[label])] for label in labels])
    weights = fitted.reshape(len(texts), classes - 1, length)
    return list(np.concatenate([weights, -weights.sum(axis=1, keepdims=True)], axis=1))


@dataclass(frozen=True)
class _Neighbours:
    """The neighbours of texts with one layout."""

    positions: list[torch.Tensor]
    """Distinct neighbours as positions, (N', M) for each number of pieces M. A position past the end is unknown."""
    numbers_N: np.ndarray
    """Index of each neighbour among the distinct ones."""


def _neighbours(kept: Sequence[tuple[int, ...]], text: Text) -> _Neighbours:
    """The neighbours of a text, without repetitions."""
    before, after = range(text.spans[0][0]), range(text.spans[-1][1], len(text.ids))
    by_size: dict[int, dict[tuple[int, ...], list[int]]] = defaultdict(dict)
    for words in set(kept):
        pieces = [piece for word in words for piece in range(*text.spans[word])] or [len(text.ids)]
        by_size[len(pieces)][words] = [*before, *pieces, *after]
    numbers = {words: number for number, words in enumerate(itertools.chain(*by_size.values()))}
    batches = [
        batch
        for size, members in by_size.items()
        for batch in torch.tensor(list(members.values())).split(max(1, WORDS_PER_BATCH // size))
    ]
    return _Neighbours(batches, np.array([numbers[words] for words in kept]))


def _probabilities(model: TextClassifier, text: Text, neighbours: _Neighbours, unknown: int) -> np.ndarray:
    """Class probabilities (N, C) of a text's neighbours."""
    device = model.output.weight.device
    embedded_TD = model.embed(torch.tensor([*text.ids, unknown], device=device))
    logits = model.classify_parts(embedded_TD, [positions_NM.to(device) for positions_NM in neighbours.positions])
    return logits.softmax(-1).double().cpu().numpy()[neighbours.numbers_N]
