"""People's judgement of adversarial texts: which pairs they see, and what their answers say.

A pair has two texts in random order. People say whether both have the same label, and whether each is fluent, without
knowing which text is the adversarial one, or which attack and model it is from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import pyarrow as pa

from flat_dist.data.shards import read_shards
from flat_dist.evaluation.pair_choice import CHOICES, changed_rows
from flat_dist.evaluation.result import AttackedModel

SIDES = ("a", "b")
"""Names of the two texts of a pair."""

SAME, FLUENT = "same_label", "fluent"

QUESTIONS = (SAME, *(f"{FLUENT}_{side}" for side in SIDES))
"""What people are asked about a pair; each answer is yes or no, or missing."""


@dataclass(frozen=True)
class AnnotationPair:
    """A pair of texts, and where it is from."""

    pair: str
    """A `p`, so that no spreadsheet takes it for a number, and eight hexadecimal digits, which say nothing about it."""
    original: str
    adversarial: str
    side: str
    """Which of `SIDES` the adversarial text is."""
    model: str
    attack: str
    example_id: str
    label: str
    """The true class."""


def draw(attacked: Sequence[AttackedModel], label_names: Sequence[str], count: int, seed: int) -> list[AnnotationPair]:
    """Pairs of successful attacks, drawn in turn from each attack on each model, in random order.

    A pair that several attacks made is drawn once.

    Args:
        attacked: models under attacks, without worst cases, whose pairs are those of the attacks.
        label_names: of the models.
        count: maximum number of pairs.
        seed: of the draw, of the order and of the sides.
    """
    groups = [sorted(_pairs(each, label_names, seed), key=lambda pair: pair.pair) for each in attacked]
    found: dict[tuple[str, str], AnnotationPair] = {}
    for rank in range(max(map(len, groups), default=0)):
        for group in groups:
            if rank < len(group) and len(found) < count:
                found.setdefault((group[rank].original, group[rank].adversarial), group[rank])
    return sorted(found.values(), key=lambda pair: _digest(seed, "order", pair.pair))


def _pairs(attacked: AttackedModel, label_names: Sequence[str], seed: int) -> list[AnnotationPair]:
    rows: pa.Table = changed_rows(CHOICES["successful"](read_shards(attacked.shards.folder)))
    pairs = []
    for row in rows.select(["example_id", "original_text", "perturbed_text", "label"]).to_pylist():
        digest = _digest(seed, row["original_text"], row["perturbed_text"])
        pairs.append(
            AnnotationPair(
                pair=f"p{digest[:8]}",
                original=row["original_text"],
                adversarial=row["perturbed_text"],
                side=SIDES[int(digest[8], 16) % 2],
                model=attacked.model_name,
                attack=attacked.attack,
                example_id=row["example_id"],
                label=label_names[row["label"]],
            )
        )
    return pairs


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


Answers = Mapping[str, bool | None]
"""Answers by question; None: no answer."""


@dataclass(frozen=True)
class Judged:
    """What people said about some pairs. Shares are over answers of all people, in [0, 1]; None without answers."""

    pairs: int
    """Pairs with an answer."""
    same_label: float | None
    fluent: float | None
    """Share of adversarial texts that are fluent."""
    fluent_originals: float | None


@dataclass(frozen=True)
class Annotation:
    """What people said about adversarial texts."""

    people: int
    all: Judged
    by_attack: Mapping[str, Judged] = field(default_factory=dict)
    by_model: Mapping[str, Judged] = field(default_factory=dict)
    kappa: Mapping[str, float | None] = field(default_factory=dict)
    """Cohen's kappa of two people by question, same_label or fluent; with more people, the mean over all two of them.
    None if it is undefined: nothing was answered by both, or both always gave the same answer. Empty for one person."""
    both: Mapping[str, int] = field(default_factory=dict)
    """Answers that two people both gave, by question; with more people, the sum over all two of them."""

    def metrics(self) -> dict[str, float | None]:
        """Its numbers by the names that they are tracked under."""
        groups = {"all": self.all, **self.by_attack, **{f"model/{name}": one for name, one in self.by_model.items()}}
        names = ("pairs", "same_label", "fluent", "fluent_originals")
        shares = {f"annotation/{group}/{name}": getattr(one, name) for group, one in groups.items() for name in names}
        return shares | {f"annotation/kappa/{question}": value for question, value in self.kappa.items()}


def judge(key: Mapping[str, AnnotationPair], people: Sequence[Mapping[str, Answers]]) -> Annotation:
    """Shares and agreement.

    Args:
        key: the pairs, by id.
        people: each person's answers, by id of the pair.
    """
    answered = [pair for pair in key.values() if any(_has_answer(one.get(pair.pair, {})) for one in people)]
    kappas: dict[str, float | None] = {}
    both: dict[str, int] = {}
    if len(people) > 1:
        for name, questions in ((SAME, QUESTIONS[:1]), (FLUENT, QUESTIONS[1:])):
            shared = [_shared(first, second, questions) for first, second in combinations(people, 2)]
            known = [value for answers in shared if (value := cohen_kappa(answers)) is not None]
            kappas[name] = sum(known) / len(known) if known else None
            both[name] = sum(map(len, shared))
    return Annotation(
        people=len(people),
        all=_judged(answered, people),
        by_attack=_by(answered, "attack", people),
        by_model=_by(answered, "model", people),
        kappa=kappas,
        both=both,
    )


def _has_answer(answers: Answers) -> bool:
    return any(one is not None for one in answers.values())


def _by(pairs: Sequence[AnnotationPair], name: str, people: Sequence[Mapping[str, Answers]]) -> dict[str, Judged]:
    groups: dict[str, list[AnnotationPair]] = {}
    for pair in pairs:
        groups.setdefault(getattr(pair, name), []).append(pair)
    return {group: _judged(own, people) for group, own in sorted(groups.items())}


def _judged(pairs: Sequence[AnnotationPair], people: Sequence[Mapping[str, Answers]]) -> Judged:
    answers = [(pair, one[pair.pair]) for one in people for pair in pairs if pair.pair in one]
    other = dict(zip(SIDES, reversed(SIDES), strict=True))
    return Judged(
        pairs=len(pairs),
        same_label=_share([own.get(SAME) for _, own in answers]),
        fluent=_share([own.get(f"{FLUENT}_{pair.side}") for pair, own in answers]),
        fluent_originals=_share([own.get(f"{FLUENT}_{other[pair.side]}") for pair, own in answers]),
    )


def _share(answers: Sequence[bool | None]) -> float | None:
    given = [answer for answer in answers if answer is not None]
    return sum(given) / len(given) if given else None


def _shared(
    first: Mapping[str, Answers], second: Mapping[str, Answers], questions: Sequence[str]
) -> list[tuple[bool, bool]]:
    """Answers of two people to the same questions."""
    return [
        (mine, theirs)
        for pair in first
        if pair in second
        for question in questions
        if (mine := first[pair].get(question)) is not None and (theirs := second[pair].get(question)) is not None
    ]


def cohen_kappa(answers: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement of two people beyond chance (Cohen 1960); None if it is undefined.

    Args:
        answers: of both to each question.
    """
    if not answers:
        return None
    count = len(answers)
    agreed = sum(mine == theirs for mine, theirs in answers) / count
    first, second = (sum(pair[person] for pair in answers) / count for person in (0, 1))
    by_chance = first * second + (1 - first) * (1 - second)
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
