"""LIME (Ribeiro et al. 2016) on words, by the lime package, for many texts at once.

The texts that LIME asks a model about depend on nothing but how many words a text has and the seed: which words stay.
So the package explains all texts of one length together: it is given a text of numbered places, and each class of each
text is a class of its own. What each text says at those places is filled in here.

Shape letters: N texts that LIME asks about, C classes, T pieces of a text, D size of a word vector, M pieces of a part.
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
"""Word vectors evaluated at once: bounds memory for texts of any length."""

Spans = Sequence[tuple[int, int]]
"""Start and end of the pieces of each word of a text."""


@dataclass(frozen=True)
class Lime:
    """Settings of LIME; the paper names none."""

    samples: int = 1000
    """Texts that the model is asked about for each explanation, the text itself among them."""
    kernel_width: float = 25.0
    """Width of the exponential kernel on 100 times the cosine distance; 25 is the package's default."""
    seed: int = 0
    """Of the choice of words that stay; texts of one length have the same choice."""

    def explainer(self) -> LimeTextExplainer:
        """The package's explainer: each occurrence of a word counts for itself, left-out words leave no gap, and the
        linear model has all words in it."""
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
    """Its pieces, special ones among them."""
    spans: Spans
    """Where the pieces of its words are; at least one word."""


@torch.no_grad()
def explain(model: TextClassifier, texts: Sequence[Text], unknown: int, settings: Lime) -> list[np.ndarray]:
    """LIME's weight of each word for the probability of each class: an array (C, words) for each text.

    A text that all words are left out of is one unknown word, as everywhere else.

    Args:
        model: left in evaluation mode.
        texts: what to explain.
        unknown: the piece that stands for an unknown word.
        settings: samples, kernel width and seed.
    """
    model.eval()
    by_length = defaultdict(list)
    for row, text in enumerate(texts):
        by_length[len(text.spans)].append(row)
    explained: dict[int, np.ndarray] = {}
    for length, rows in by_length.items():
        found = _explain(model, [texts[row] for row in rows], length, unknown, settings)
        explained.update(zip(rows, found, strict=True))
    return [explained[row] for row in range(len(texts))]


def _explain(
    model: TextClassifier, texts: Sequence[Text], length: int, unknown: int, settings: Lime
) -> list[np.ndarray]:
    """The weights of texts of so many words."""
    classes = model.output.out_features
    places = " ".join(map(str, range(length)))

    def probabilities(neighbours: list[str]) -> np.ndarray:
        kept = [tuple(map(int, neighbour.split())) for neighbour in neighbours]
        parts: dict[Spans, _Parts] = {}
        columns = []
        for text in texts:
            layout = (*text.spans, (0, len(text.ids)))
            if layout not in parts:
                parts[layout] = _parts(kept, text)
            columns.append(_probabilities(model, text, parts[layout], unknown))
        return np.concatenate(columns, axis=1)

    # Probabilities add up to 1, and weights are linear in them: those of the last class need no fit.
    labels = [row * classes + label for row in range(len(texts)) for label in range(classes - 1)]
    explanation = settings.explainer().explain_instance(
        places, probabilities, labels=labels, num_features=length, num_samples=settings.samples
    )
    fitted = np.array([[weight for _, weight in sorted(explanation.local_exp[label])] for label in labels])
    weights = fitted.reshape(len(texts), classes - 1, length)
    return list(np.concatenate([weights, -weights.sum(axis=1, keepdims=True)], axis=1))


@dataclass(frozen=True)
class _Parts:
    """What is left of texts of one layout for each choice of words."""

    positions: list[torch.Tensor]
    """Different ones, (N', M) for each number of pieces M; a position beyond the text's end is an unknown word."""
    numbers_N: np.ndarray
    """Which of them, counted through, each choice is."""


def _parts(kept: Sequence[tuple[int, ...]], text: Text) -> _Parts:
    """The parts of a text that choices of its words leave; what repeats is there once."""
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
    return _Parts(batches, np.array([numbers[words] for words in kept]))


def _probabilities(model: TextClassifier, text: Text, parts: _Parts, unknown: int) -> np.ndarray:
    """Class probabilities (N, C) of a text's neighbours."""
    device = model.output.weight.device
    embedded_TD = model.embed(torch.tensor([*text.ids, unknown], device=device))
    logits = model.classify_parts(embedded_TD, [positions_NM.to(device) for positions_NM in parts.positions])
    return logits.softmax(-1).double().cpu().numpy()[parts.numbers_N]
