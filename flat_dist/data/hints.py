"""What a dataset has that is allowed, but would make its results mislead."""

from collections import Counter, defaultdict
from collections.abc import Collection

from flat_dist.data.datasets import Dataset
from flat_dist.data.labels import shown
from flat_dist.data.preprocessing import tokenize

NEARLY_ALL = 0.9
"""Share of a split from which something counts as said of nearly all of it."""


def dataset_hints(dataset: Dataset, max_length: int, split: str = "train") -> list[str]:
    """Hints about texts that are cut, that stand in two splits, or that have two labels, and about one large class.

    Args:
        dataset: what to train or measure on.
        max_length: words that a model reads of a text.
        split: whose lengths are looked at.
    """
    return [
        f"hint: {hint}"
        for hint in (
            _cut(getattr(dataset, split)["text"].to_pylist(), split, max_length),
            *(_seen(dataset, other) for other in ("dev", "test")),
            _two_labels(dataset),
            _one_large_class(dataset),
        )
        if hint
    ]


def _cut(texts: Collection[str], split: str, max_length: int) -> str:
    lengths = [len(tokenize(text)) for text in texts]
    longer = sum(length > max_length for length in lengths)
    if longer < NEARLY_ALL * len(texts):
        return ""
    return (
        f"{_of(longer, len(texts), split)} are longer than --data.max_length {max_length}, so that their ends are not "
        f"read; the longest has {max(lengths):,} words"
    )


def _seen(dataset: Dataset, split: str) -> str:
    train, texts = set(dataset.train["text"].to_pylist()), getattr(dataset, split)["text"].to_pylist()
    repeated = sum(text in train for text in texts)
    if not repeated:
        return ""
    return f"{_of(repeated, len(texts), split)} are training texts, too, so that accuracy on {split} is too high"


def _two_labels(dataset: Dataset) -> str:
    found: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(dataset.train["text"].to_pylist(), dataset.train["label"].to_pylist(), strict=True):
        found[text].add(label)
    double = {text: labels for text, labels in found.items() if len(labels) > 1}
    if not double:
        return ""
    text, labels = next(iter(double.items()))
    classes = " and ".join(shown(dataset.label_names[label]) for label in sorted(labels))
    return (
        f"{len(double):,} of {len(found):,} different training texts have two labels, such as {text[:60]!r}: {classes}"
    )


def _one_large_class(dataset: Dataset) -> str:
    label, count = Counter(dataset.train["label"].to_pylist()).most_common(1)[0]
    if count < NEARLY_ALL * dataset.train.num_rows:
        return ""
    name = shown(dataset.label_names[label])
    return (
        f"{_of(count, dataset.train.num_rows, 'train')} are of the class {name}: a model that predicts nothing else is "
        f"right as often"
    )


def _of(count: int, total: int, split: str) -> str:
    named = {"train": "training"}.get(split, split)
    return f"all {total:,} {named} texts" if count == total else f"{count:,} of {total:,} {named} texts"
