"""The engine with small victims: an example that fails affects no other, and queries share batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from flat_dist.attack.limits import Limits, resolve, unit_size
from flat_dist.config.schema import AttackConfig, Scores
from flat_dist.data.shards import Example, Record
from flat_dist.models.margins import margins
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets

SYNONYMS = {"good": ["great", "fine"], "bad": ["poor", "awful"], "film": ["movie"]}
TEXTS = ["a good film", "a bad film", "the good and the bad", "nothing here to swap", "poison good"]


class WordCount:
    """A victim whose probability of class 1 falls with each `great` and `poor`."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.model = self

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(sorted(map(hash, text.split())))

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
        assert len(set(ids)) == len(ids)
        self.batches.append(len(ids))
        if any(hash("poison") in text for text in ids):
            raise OSError("cannot read that")
        right = [0.8 - 0.3 * sum(text.count(hash(word)) for word in ("great", "poor")) for text in ids]
        return torch.tensor([[1 - chance, chance] for chance in right])


@pytest.fixture
def attack(assets: Assets) -> Iterator[Any]:
    """Attacks texts of class 1 with the synonyms above."""
    textattack_setup.activate(assets)
    from flat_dist.attack import records
    from flat_dist.attack.engine.engine import Engine
    from flat_dist.attack.engine.greedy import GreedySettings
    from flat_dist.attack.engine.profile import Profile
    from flat_dist.attack.engine.tokenized_text import Candidate

    def run(
        victim: Any,
        limits: Limits,
        texts: Sequence[str] = TEXTS,
        ranking: str = "delete",
        from_original: bool = False,
    ) -> list[Record]:
        settings = GreedySettings(
            ranking=ranking,
            unknown="[UNK]",
            indices=lambda text: list(range(len(text.split()))),
            candidates=lambda word: [Candidate.parse(other) for other in SYNONYMS.get(word, ())],
            from_original=from_original,
        )
        engine = Engine(settings, [], victim, limits, Profile())
        examples = [Example(str(number), text, 1) for number, text in enumerate(texts)]
        return records.attack_examples(engine, None, examples, seed=1)

    yield run


class Saturated(WordCount):
    """A victim to which every word matters, with logits so far apart that its probabilities are exactly 0 and 1."""

    def __init__(self, scores: Scores) -> None:
        super().__init__()
        self.scores = scores

    def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
        support = {hash(word): weight for word, weight in {"good": 60.0, "great": -25.0, "poor": -25.0}.items()}
        right = [sum(support.get(word, 0.5) for word in text) for text in ids]
        logits = torch.tensor([[0.0, value] for value in right]).view(-1, 2)  # also for no texts
        return logits.softmax(-1) if self.scores == "probabilities" else margins(logits)


@pytest.mark.parametrize("ranking", ["delete", "unk", "weighted-saliency"])
def test_margins_break_a_saturated_victim_of_which_probabilities_show_nothing(attack: Any, ranking: str) -> None:
    texts = ["a good good film", "good bad film good", "a good film"]
    limits = Limits(64, 8, 1024)
    blind = attack(Saturated("probabilities"), limits, texts, ranking)
    assert [(record.status, record.perturbed_text) for record in blind[:2]] == [("failed", text) for text in texts[:2]]
    seeing = attack(Saturated("margin"), limits, texts, ranking, from_original=True)
    assert [(record.status, record.error) for record in seeing] == [("successful", None)] * 3
    assert seeing[0].perturbed_text == "a great great film"


@pytest.mark.parametrize("ranking", ["delete", "unk", "weighted-saliency"])
@pytest.mark.parametrize("concurrent", [1, 3, 64])
def test_an_error_affects_one_example_only(attack: Any, concurrent: int, ranking: str) -> None:
    found = attack(WordCount(), Limits(concurrent, 8, 1024), ranking=ranking)
    assert [record.status for record in found] == ["successful", "successful", "successful", "failed", "error"]
    assert [record.perturbed_text for record in found[:3]] == ["a great film", "a poor film", "the great and the bad"]
    assert found[4].error == "OSError: cannot read that"
    assert found[4].perturbed_text == "poison good"


def test_queries_of_many_examples_share_batches_and_are_answered_once(attack: Any) -> None:
    together, alone = WordCount(), WordCount()
    texts = TEXTS[:4] * 3
    assert attack(together, Limits(64, 8, 1024), texts) == attack(alone, Limits(1, 8, 1024), texts)
    assert len(together.batches) < len(alone.batches)
    assert sum(together.batches) == sum(alone.batches)
    # Queries are counted as TextAttack counts them, also those answered from the cache.
    assert [record.num_queries for record in attack(WordCount(), Limits(64, 8, 1024), TEXTS[:1])] == [1 + 3 + 2]


def test_an_example_over_its_limit_keeps_its_best_text(attack: Any) -> None:
    texts = ["a good good film", "a film"]
    limits = Limits(64, 8, 1024, max_queries=9)  # 1 + 4 deletions + 2 swaps of each `good`

    class Stubborn(WordCount):
        def predict(self, ids: Sequence[tuple[int, ...]], batch_size: int) -> torch.Tensor:
            return super().predict(ids, batch_size) * 0.5 + torch.tensor([0.0, 0.5])

    first, second = attack(Stubborn(), limits, texts)
    assert (first.status, first.perturbed_text, first.num_queries) == ("timeout", "a great great film", 9)
    assert (second.status, second.perturbed_text, second.num_queries) == ("failed", "a film", 4)


def test_defaults_depend_on_device_and_victim() -> None:
    cpu, gpu = (resolve(AttackConfig(device=device), transformer=False) for device in ("cpu", "cuda"))
    assert gpu.concurrent > cpu.concurrent and gpu.batch_size > cpu.batch_size
    given = resolve(AttackConfig(device="cpu", concurrent=3, batch_size=5), transformer=True)
    assert given == Limits(3, 5, cpu.cache_size)
    assert unit_size(AttackConfig(), given) == 12
    assert unit_size(AttackConfig(unit_size=5), given) == 5
    # A crash loses a unit, and a transformer is slow.
    slow = resolve(AttackConfig(device="cpu"), transformer=True)
    assert unit_size(AttackConfig(), slow) < unit_size(AttackConfig(), cpu)
