"""Hints about properties of a dataset that are valid but can make results misleading."""

from collections import Counter, defaultdict
from collections.abc import Collection

from flat_dist.config.schema import SPLITS
from flat_dist.data.datasets import Dataset
from flat_dist.data.labels import printable
from flat_dist.data.preprocessing import tokenize

MAX_SHOWN_SYMBOLS = 5
"""Symbols that a hint shows."""

NEARLY_ALL = 0.9
"""Share of a split from which a hint is given."""


def dataset_hints(dataset: Dataset, max_length: int, split: str = "train") -> list[str]:
    """Hints about lost symbols, cut texts, texts in two splits, texts with two labels, and one dominant class.

    Args:
        dataset: for training or evaluation.
        max_length: maximum number of words that a model reads.
        split: the split whose lengths are checked.
    """
    return [
        f"hint: {hint}"
        for hint in (
            _lost_symbols(dataset),
            _cut_texts(getattr(dataset, split)["text"].to_pylist(), split, max_length),
            *(_repeated_texts(dataset, other) for other in ("dev", "test")),
            _two_labels(dataset),
            _one_large_class(dataset),
        )
        if hint
    ]


def _lost_symbols(dataset: Dataset) -> str:
    if not dataset.lost:
        return ""
    total = sum(getattr(dataset, split).num_rows for split in SPLITS)
    found = symbols_found(len(dataset.lost), total, Counter("".join(dataset.lost)))
    return f"{found}, which cleaning leaves out; --data.cleaning no keeps them, but only for models of your own"


def symbols_found(count: int, total: int, symbols: Counter[str]) -> str:
    """Says how many texts have symbols, and shows the most frequent ones."""
    often = " ".join(symbol for symbol, _ in symbols.most_common(MAX_SHOWN_SYMBOLS))
    return f"{count:,} of {total:,} texts have emoji or other symbols ({often})"


def _cut_texts(texts: Collection[str], split: str, max_length: int) -> str:
    lengths = [len(tokenize(text)) for text in texts]
    longer = sum(length > max_length for length in lengths)
    if longer < NEARLY_ALL * len(texts):
        return ""
    return (
        f"{_of(longer, len(texts), split)} are longer than --data.max-length {max_length}, so their ends are not "
        f"read; the longest has {max(lengths):,} words"
    )


def _repeated_texts(dataset: Dataset, split: str) -> str:
    train, texts = set(dataset.train["text"].to_pylist()), getattr(dataset, split)["text"].to_pylist()
    repeated = sum(text in train for text in texts)
    if not repeated:
        return ""
    return f"{_of(repeated, len(texts), split)} are also training texts, so accuracy on {split} is too high"


def _two_labels(dataset: Dataset) -> str:
    labels_of: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(dataset.train["text"].to_pylist(), dataset.train["label"].to_pylist(), strict=True):
        labels_of[text].add(label)
    ambiguous = {text: labels for text, labels in labels_of.items() if len(labels) > 1}
    if not ambiguous:
        return ""
    text, labels = next(iter(ambiguous.items()))
    classes = " and ".join(printable(dataset.label_names[label]) for label in sorted(labels))
    counts = f"{len(ambiguous):,} of {len(labels_of):,}"
    return f"{counts} different training texts have two labels, such as {text[:60]!r}: {classes}"


def _one_large_class(dataset: Dataset) -> str:
    label, count = Counter(dataset.train["label"].to_pylist()).most_common(1)[0]
    if count < NEARLY_ALL * dataset.train.num_rows:
        return ""
    name = printable(dataset.label_names[label])
    return (
        f"{_of(count, dataset.train.num_rows, 'train')} are of the class {name}: a model that always predicts it has "
        f"the same accuracy"
    )


def _of(count: int, total: int, split: str) -> str:
    named = {"train": "training"}.get(split, split)
    return f"all {total:,} {named} texts" if count == total else f"{count:,} of {total:,} {named} texts"
