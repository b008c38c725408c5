"""NLTK's averaged perceptron tagger on arrays: the same tags, for many contexts at once.

Scores are sums of the same weights in the same order as NLTK's, in double precision: equal to the last bit.

Shape letters: N contexts, W words of a context, F features, C classes.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from nltk.tag.mapping import map_tag
from nltk.tag.perceptron import PerceptronTagger

SUFFIX, PREFIX, WORD, BEFORE, BEFORE_SUFFIX, BEFORE2, AFTER, AFTER_SUFFIX, AFTER2, KNOWN, PAIRS = range(11)
"""Columns of a word's row; from PAIRS on, its feature after each tag."""


@lru_cache(1)
def shared_tagger(tagset: str, size: int) -> "Tagger":
    """The tagger of this process: reading its weights takes longer than attacking some examples."""
    return Tagger(tagset, size)


class Tagger:
    """Part-of-speech tags of single words in context.

    Args:
        tagset: NLTK's name of the set of tags (`universal`).
        size: words in the cache.
    """

    def __init__(self, tagset: str, size: int):
        tagger = PerceptronTagger()
        self._normalize, self._known = tagger.normalize, tagger.tagdict
        # Of equally good classes NLTK takes the last; here it is the first.
        self._classes = sorted(tagger.classes, reverse=True)
        self._tags = [*self._classes, *tagger.START]
        self._start, self._end = tagger.START, tagger.END
        self._universal = np.array([map_tag("en-ptb", tagset, tag) for tag in self._classes])
        self._weights_FC, self._feature = self._arrange(tagger.model.weights)
        tags = self._tags
        self._after = self._words_after_tags()
        self._after_tag = self._features("i-1 tag", tags)
        self._after_tag2 = self._features("i-2 tag", tags)
        self._after_tags = np.array([self._features(f"i tag+i-2 tag {tag}", tags) for tag in tags])
        self._size = size
        self._clear(size)

    def _arrange(self, weights: dict[str, dict[str, float]]) -> tuple[np.ndarray, dict[str, int]]:
        # Row 0 is for features that the model does not have.
        position = {tag: index for index, tag in enumerate(self._classes)}
        weights_FC = np.zeros((len(weights) + 1, len(position)))
        for row, by_class in enumerate(weights.values(), 1):
            weights_FC[row, [position[tag] for tag in by_class]] = list(by_class.values())
        return weights_FC, {name: row for row, name in enumerate(weights, 1)}

    def _features(self, name: str, values: Sequence[str]) -> np.ndarray:
        return np.array([self._feature.get(f"{name} {value}", 0) for value in values])

    def _words_after_tags(self) -> dict[str, list[tuple[int, int]]]:
        # For each word: the tags for which "word after tag" is a feature, and the feature.
        position = {tag: index for index, tag in enumerate(self._tags)}
        after: dict[str, list[tuple[int, int]]] = {}
        for name, feature in self._feature.items():
            if name.startswith("i-1 tag+i word "):
                tag, _, word = name.removeprefix("i-1 tag+i word ").partition(" ")
                after.setdefault(word, []).append((position[tag], feature))
        return after

    def _clear(self, size: int) -> None:
        self._rows: dict[str, int] = {}
        self._words = np.full((size, PAIRS + len(self._tags)), 0, dtype=np.int32)

    def _row(self, word: str) -> int:
        row = self._rows.get(word)
        if row is None:
            row = self._rows[word] = len(self._rows)
            outside = word in self._start or word in self._end
            seen, get = word if outside else self._normalize(word), self._feature.get
            self._words[row, :PAIRS] = (
                get(f"i suffix {word[-3:]}", 0),
                get(f"i pref1 {word[0]}", 0),
                get(f"i word {seen}", 0),
                get(f"i-1 word {seen}", 0),
                get(f"i-1 suffix {seen[-3:]}", 0),
                get(f"i-2 word {seen}", 0),
                get(f"i+1 word {seen}", 0),
                get(f"i+1 suffix {seen[-3:]}", 0),
                get(f"i+2 word {seen}", 0),
                self._tags.index(self._known[word]) if self._known.get(word) else -1,
            )
            self._words[row, PAIRS:] = 0
            for tag, feature in self._after.get(seen, ()):
                self._words[row, PAIRS + tag] = feature
        return row

    def tag(self, contexts: Sequence[Sequence[str]], positions: Sequence[int]) -> np.ndarray:
        """Tag (N) of the word at each position (N) of its context."""
        if not contexts:
            return np.empty(0, dtype=self._universal.dtype)
        tags_NW = self._tag(self._rows_of(contexts), np.asarray(positions))
        return self._universal[tags_NW[np.arange(len(contexts)), positions]]

    def tag_all(self, texts: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tags of all words of each text."""
        longest = max(map(len, texts), default=0)
        if not longest:
            return [[] for _ in texts]
        tags_NW = self._universal[self._tag(self._rows_of(texts), np.array([len(text) - 1 for text in texts]))]
        return [tags[: len(text)] for tags, text in zip(tags_NW.tolist(), texts, strict=True)]

    def _rows_of(self, contexts: Sequence[Sequence[str]]) -> np.ndarray:
        words = {*self._start, *self._end}.union(*contexts)
        if len(self._rows) + len(words.difference(self._rows)) > len(self._words):
            self._clear(max(self._size, len(words)))
        longest = max(map(len, contexts))
        padding = [self._row(word) for word in (*self._start, *self._end)]
        rows_NW = np.full((len(contexts), longest + 4), padding[3])
        rows_NW[:, :2] = padding[:2]
        for line, context in zip(rows_NW, contexts, strict=True):
            length = len(context)
            line[2 : length + 2] = [self._row(word) for word in context]
            line[length + 2] = padding[2]
        return rows_NW

    def _tag(self, rows_NW: np.ndarray, last_N: np.ndarray) -> np.ndarray:
        """Index of the tag of each word (N, W), up to the last one asked for."""
        before_N = np.full(len(rows_NW), self._tags.index(self._start[0]))
        before2_N = np.full(len(rows_NW), self._tags.index(self._start[1]))
        tags = []
        for index in range(last_N.max() + 1):
            # Later words do not change the tags of earlier ones.
            here_N = self._words[rows_NW[:, index + 2], KNOWN].astype(np.int64)
            (unknown,) = np.nonzero((here_N < 0) & (last_N >= index))
            here_N[unknown] = self._predict(rows_NW[unknown, index : index + 5], before_N[unknown], before2_N[unknown])
            tags.append(here_N)
            before_N, before2_N = here_N, before_N
        return np.stack(tags, 1)

    def _predict(self, rows_N5: np.ndarray, before_N: np.ndarray, before2_N: np.ndarray) -> np.ndarray:
        words, (before2, before, here, after, after2) = self._words, rows_N5.T
        features = (
            np.full(len(rows_N5), self._feature["bias"]),
            words[here, SUFFIX],
            words[here, PREFIX],
            self._after_tag[before_N],
            self._after_tag2[before2_N],
            self._after_tags[before_N, before2_N],
            words[here, WORD],
            words[here, PAIRS + before_N],
            words[before, BEFORE],
            words[before, BEFORE_SUFFIX],
            words[before2, BEFORE2],
            words[after, AFTER],
            words[after, AFTER_SUFFIX],
            words[after2, AFTER2],
        )
        scores_NC = np.zeros((len(rows_N5), self._weights_FC.shape[1]))
        for feature_N in features:
            scores_NC += self._weights_FC[feature_N]
        return scores_NC.argmax(1)
