"""The order of a run: what is trained, attacked and measured after which round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from flat_dist.config.schema import Config, TrainingConfig
from flat_dist.pipeline.adversarial_training import AdversarialTraining, Round
from flat_dist.runtime.progress import Display


@dataclass(frozen=True)
class Model:
    model_name: str
    round: int


@dataclass
class FakeStages:
    """Models and attacks by name alone."""

    kinds: tuple[str, ...]
    rounds: int
    adversaries: str = "attack"
    trained: list[tuple[str, int, int]] = field(default_factory=list)
    """Kind, round, and number of attacks on training texts that it learns from."""
    environment: Any = field(default_factory=lambda: SimpleNamespace(workers=None, display=Display(quiet=True)))

    def __post_init__(self) -> None:
        training = TrainingConfig(kinds=self.kinds, rounds=self.rounds, adversaries=self.adversaries)
        self.config = Config(training=training)
        self.trains_on_attacks = self.adversaries == "attack"
        self.attacker = self

    def prepare(self) -> None:
        pass

    def first_models(self, kinds: Sequence[str]) -> dict[str, Model]:
        return {kind: Model(kind, 0) for kind in kinds}

    def round_training(self, number: int, model: Model, shards: Sequence[str]) -> Model:
        assert model.round == number - 1
        self.trained.append((model.model_name, number, len(shards)))
        return Model(model.model_name, number)

    def train(self, inputs: Mapping[str, Model]) -> dict[str, Model]:
        return dict(inputs)

    def test_attacks(self, number: int, model: Model) -> Model:
        return model

    def training_attack(self, number: int, model: Model) -> str:
        return f"{model.model_name}-{number}"

    def measure(self, targets: Sequence[Model], beside: Sequence[str]) -> tuple[Sequence[Model], Sequence[str]]:
        return targets, beside


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(AdversarialTraining, "_measure", lambda self, number, attacked: Round(number, attacked, (), {}))

    def find(stages: FakeStages) -> list[list[tuple[str, int]]]:
        """Kind and round of the models that are measured after each round."""
        rounds = AdversarialTraining(stages).rounds()
        return [[(model.model_name, model.round) for model in each.attacked] for each in rounds]

    return find


def test_base_is_trained_once_and_measured_beside_the_last_round_of_the_others(order: Any) -> None:
    stages = FakeStages(("base", "continued", "adv", "flat"), 2)
    assert order(stages) == [
        [("base", 0), ("continued", 0), ("adv", 0), ("flat", 0)],
        [("continued", 1), ("adv", 1), ("flat", 1)],
        [("base", 0), ("continued", 2), ("adv", 2), ("flat", 2)],
    ]
    # The attacked examples of all rounds so far, which continued does not see.
    assert stages.trained == [
        *(("continued", 1, 0), ("adv", 1, 1), ("flat", 1, 1)),
        *(("continued", 2, 0), ("adv", 2, 2), ("flat", 2, 2)),
    ]


def test_base_alone_has_no_rounds(order: Any) -> None:
    assert order(FakeStages(("base",), 2)) == [[("base", 0)]]


def test_substitutes_need_no_attack_on_training_texts(order: Any) -> None:
    stages = FakeStages(("flat", "base"), 1, "gradient")
    assert order(stages) == [[("flat", 0), ("base", 0)], [("flat", 1), ("base", 0)]]
    assert stages.trained == [("flat", 1, 0)]
