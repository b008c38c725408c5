"""Train, dev and test texts of one file, drawn by a hash of the texts.

No random generator is used: the splits depend on the set of texts, their classes and the shares, but neither on the
order of the rows nor on the machine.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from flat_dist.config.errors import UserError
from flat_dist.config.schema import SPLITS, DataConfig
from flat_dist.data.built_in import sha256
from flat_dist.data.examples import Example
from flat_dist.data.labels import printable


def check_shares(config: DataConfig) -> None:
    """Raise UserError for shares that cannot be used, or have no effect."""
    shares = config.split
    if not config.file and shares != DataConfig().split:
        raise UserError("--data.split has an effect only with --data.file: give both, or neither")
    given = ",".join(f"{share:g}" for share in shares)
    if len(shares) != len(SPLITS):
        raise UserError(
            f"--data.split is {given}, but must be three shares, of {', '.join(SPLITS)}: such as 0.8,0.1,0.1"
        )
    if not all(share > 0 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UserError(f"--data.split is {given}, but must be shares above 0 that add up to 1: such as 0.8,0.1,0.1")


def draw(
    examples: Sequence[Example], shares: Sequence[float], names: Sequence[str], source: str
) -> tuple[list[Example], ...]:
    """Train, dev and test, each in the order of the texts' hashes.

    Each class is split by itself, by its different texts. Equal texts are in the same split, also if their labels
    differ: such a text is counted as of its most frequent class.

    Args:
        examples: with cleaned texts.
        shares: of train, dev and test.
        names: of the classes, for messages.
        source: the file, for messages.

    Raises:
        UserError: a class has fewer different texts than there are splits.
    """
    labels_of: dict[str, Counter[int]] = defaultdict(Counter)
    for example in examples:
        labels_of[example.text][example.label] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for text in sorted(labels_of, key=lambda text: (sha256(text), text)):
        counts = labels_of[text]
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(text)
    split_of: dict[str, int] = {}
    for number, name in enumerate(names):
        texts = by_class[number]
        if len(texts) < len(shares):
            count = f"{len(texts)} different text{'s' * (len(texts) != 1)}"
            raise UserError(
                f"{source} has {count} of the class {printable(name)}, but {', '.join(SPLITS)} need one each: add "
                "some, or leave the class out"
            )
        ends = counts_of(len(texts), shares)
        split_of |= dict(zip(texts, (split for split, count in enumerate(ends) for _ in range(count)), strict=True))
    found: tuple[list[Example], ...] = tuple([] for _ in shares)
    for example in sorted(examples, key=lambda one: (sha256(one.text), one.text, one.label)):
        found[split_of[example.text]].append(example)
    return found


def counts_of(n: int, shares: Sequence[float]) -> list[int]:
    """How many of n texts each split gets: at least one, else its share, rounded so that the counts add up to n.

    Args:
        n: at least the number of splits.
        shares: of the splits; they add up to 1.
    """
    counts = [max(1, math.floor(n * share)) for share in shares]
    while (missing := n - sum(counts)) != 0:
        lack = [n * share - count for share, count in zip(shares, counts, strict=True)]
        if missing > 0:
            counts[lack.index(max(lack))] += 1
        else:
            larger = [number for number, count in enumerate(counts) if count > 1]
            counts[min(larger, key=lack.__getitem__)] -= 1
    return counts
