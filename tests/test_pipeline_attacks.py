"""Attacks that measure models: which texts each form of scores sees, and what counts. No Ray is started."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flat_dist.attack.plan import AttackPlan, TextsToAttack, plan_attack
from flat_dist.config.errors import IncompleteError, UserError
from flat_dist.config.schema import Config, Scores
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import MANIFEST, Record, Swap, read_shards, to_table, write_manifest, write_shard
from flat_dist.evaluation.distributed import results
from flat_dist.models.artifact import ModelArtifact, open_checkpoint
from flat_dist.pipeline import attacks
from flat_dist.pipeline.attacks import Attacker, Target
from flat_dist.pipeline.failures import FailedAttack, check_complete
from flat_dist.resources.assets import Assets
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor, Output

OUTCOMES = {
    ("textfooler", "probabilities"): ("skipped", "successful", "failed", "timeout", "failed", "error"),
    ("textfooler", "margin"): ("", "", "successful", "failed", "failed", ""),
    ("pwws", "probabilities"): ("skipped", "successful", "successful", "successful", "successful", "successful"),
}
"""What each attack does to the six texts; empty for those that it must not see. PWWS leaves nothing for margins."""


@pytest.fixture
def texts(sentences: Dataset) -> TextsToAttack:
    return TextsToAttack("test", sentences.test.slice(0, 6), "data")


@pytest.fixture
def model(victim: Folder, assets: Assets) -> ModelArtifact:
    return open_checkpoint(victim, "flat")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, texts: TextsToAttack) -> list[list[str]]:
    """Titles of the attacks that run together."""
    calls: list[list[str]] = []
    numbers = {name: at for at, name in enumerate(texts.examples["example_id"].to_pylist())}

    def fill(plan: AttackPlan, folder: Folder) -> Output:
        records = []
        for row in plan.examples.to_pylist():
            status = OUTCOMES[plan.job.attack, plan.job.scores][numbers[row["example_id"]]]
            assert status
            swaps = (Swap(0, "old", "new"),) if status == "successful" else ()
            records.append(Record(row["example_id"], row["label"], row["text"], row["text"], status, swaps))
        scores = [None if record.status == "error" else [0.5, 0.5] for record in records]
        shard = write_shard(folder, 0, to_table(records, scores, scores, 0, {}))
        write_manifest(folder, [shard], plan.job.identity, {})
        return Output([shard.name], records=[MANIFEST])

    def run_attacks(plans: Sequence[AttackPlan], config: Any, executor: Executor, *_: Any) -> list[Artifact]:
        calls.append([plan.title for plan in plans])
        return executor.run_all(plans, lambda opened: [one.commit(fill(one.stage, one.folder)) for one in opened])

    monkeypatch.setattr(attacks, "run_attacks", run_attacks)
    monkeypatch.setattr(attacks, "worker_groups", lambda config: [])
    return calls


def attacker(storage: Path, *scores: Scores) -> Attacker:
    config = Config()
    evaluation = replace(config.evaluation, scores=scores or config.evaluation.scores)
    config = replace(config, evaluation=evaluation, attack=replace(config.attack, device="cpu"))
    return Attacker(config, Executor(Folder(storage), print), Display(quiet=True))


def statuses(shards: Artifact) -> list[str]:
    return read_shards(shards.folder)["status"].to_pylist()


def test_another_form_of_scores_is_used_on_texts_that_are_not_broken(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path
) -> None:
    logged = []
    target = Target(model, texts, ("textfooler", "pwws"), lambda name, artifact: logged.append(name))
    training = plan_attack(attacker(tmp_path).config, model, replace(texts, split="training", round=1), "pwws")
    found, (beside,) = attacker(tmp_path).measure([target], [training])
    assert calls == [
        [
            "textfooler on flat, test texts",
            "pwws on flat, test texts",
            "pwws on flat, training texts",
        ],
        ["textfooler with margin on flat, test texts"],
    ]
    assert [(each.attack, len(each.parts)) for each in found] == [("textfooler", 2), ("pwws", 1), ("worst", 3)]
    textfooler, pwws, worst = (statuses(each.shards) for each in found)
    assert textfooler == ["skipped", "successful", "successful", "timeout", "failed", "error"]
    assert worst == pwws == statuses(beside) == ["skipped", *["successful"] * 5]
    assert logged == ["textfooler-probabilities", "pwws-probabilities", "textfooler-margin", "textfooler", "worst"]
    # Again: all stages are complete, and the same.
    again, _ = attacker(tmp_path).measure([target], [training])
    assert [each.shards for each in again] == [each.shards for each in found]


def test_one_attack_with_one_form_of_scores_is_its_own_worst_case(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path
) -> None:
    (found,), _ = attacker(tmp_path, "probabilities").measure([Target(model, texts, ("textfooler",))])
    assert found.shards == found.parts[0].shards
    assert statuses(found.shards) == list(OUTCOMES["textfooler", "probabilities"])
    assert len(calls) == 1


def test_models_have_worst_cases_of_their_own(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path
) -> None:
    targets = [Target(replace(model, model_name=name), texts, ("textfooler", "pwws")) for name in ("adv", "flat")]
    found, _ = attacker(tmp_path).measure(targets)
    assert [(each.model_name, each.attack) for each in found] == [
        *((name, attack) for name in ("adv", "flat") for attack in ("textfooler", "pwws")),
        ("adv", "worst"),
        ("flat", "worst"),
    ]


def test_weaker_attacks_are_attacks_of_their_own_on_all_texts(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path
) -> None:
    logged: list[str] = []
    target = Target(model, texts, ("textfooler", "pwws"), lambda name, _: logged.append(name), (50, 2))
    found, _ = attacker(tmp_path).measure([target])
    assert calls[0] == [
        *("textfooler on flat, test texts", "textfooler, 2 neighbours a word on flat, test texts"),
        "textfooler on flat, test texts",  # TextFooler has 50 by itself: the same stage
        *("pwws on flat, test texts", "pwws, 2 neighbours a word on flat, test texts"),
        "pwws, 50 neighbours a word on flat, test texts",
    ]
    assert [(each.attack, len(each.parts)) for each in found] == [("textfooler", 2), ("pwws", 1), ("worst", 3)]
    assert [{count: len(parts) for count, parts in each.weaker.items()} for each in found] == [
        {2: 2, 50: 2},
        {2: 1, 50: 1},
        {2: 3, 50: 3},
    ]
    assert found[0].weaker[50] == found[0].parts
    assert len({part.shards.folder.uri for each in found for part in each.weaker[2]}) == 3
    assert "textfooler-margin-2-neighbours" in logged
    textfooler, pwws, worst = results(found, {}, None)
    # As `OUTCOMES` say, whatever the number: of five texts that could be attacked, TextFooler leaves two, PWWS none.
    assert textfooler.by_neighbours == {2: 2 / 5, 50: 2 / 5}
    assert pwws.by_neighbours == worst.by_neighbours == {2: 0, 50: 0}
    assert list(textfooler.by_changed_words) == ["probabilities", "worst"]
    assert list(pwws.by_changed_words) == ["probabilities"]


def test_importance_orders_words_only_where_there_is_a_mask(texts: TextsToAttack, model: ModelArtifact) -> None:
    config = attacker(Path()).config
    plans = [plan_attack(config, model, texts, name) for name in ("pwws-importance", "pwws-gradient", "pwws")]
    assert plans[0].inputs == plans[1].inputs != plans[2].inputs
    assert [plan.job.attack for plan in plans] == ["pwws-gradient", "pwws-gradient", "pwws"]
    assert plans[0].title == "pwws-gradient on flat, test texts"


def test_scores_belong_to_the_inputs_of_an_attack(texts: TextsToAttack, model: ModelArtifact) -> None:
    config = replace(Config(), attack=replace(Config().attack, device="cpu"))
    other = replace(config, attack=replace(config.attack, scores="margin"))
    plans = [plan_attack(each, model, texts, "pwws") for each in (config, other)]
    assert plans[0].inputs != plans[1].inputs
    assert [plan.job.scores for plan in plans] == ["probabilities", "margin"]
    assert [plan.job.identity["scores"] for plan in plans] == ["probabilities", "margin"]


def test_a_temperature_is_named_where_attacks_see_probabilities_and_changes_nothing_else(
    texts: TextsToAttack, model: ModelArtifact
) -> None:
    config = replace(Config(), attack=replace(Config().attack, device="cpu"))

    def plan(**settings: Any) -> AttackPlan:
        return plan_attack(replace(config, attack=replace(config.attack, **settings)), model, texts, "pwws")

    hot = plan(temperature=4.0)
    assert hot.title == "pwws, temperature 4 on flat, test texts"
    assert hot.job.temperature == hot.job.identity["temperature"] == 4
    assert "temperature" not in plan().job.identity
    assert plan(scores="margin", temperature=4.0).inputs == plan(scores="margin").inputs


def test_an_attack_that_fails_loses_no_other_result(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = attacks.run_attacks

    def run_attacks(plans: Sequence[AttackPlan], *others: Any) -> list[Artifact]:
        if any(plan.job.attack == "pwws" and plan.model.model_name == "adv" for plan in plans):
            raise UserError("the synonyms are gone")
        return runs(plans, *others)

    monkeypatch.setattr(attacks, "run_attacks", run_attacks)
    targets = [Target(replace(model, model_name=name), texts, ("textfooler", "pwws")) for name in ("adv", "flat")]
    mine = attacker(tmp_path)
    found, _ = mine.measure(targets)
    # No `worst`: on both models it would be over textfooler alone.
    assert [(each.model_name, each.attack) for each in found] == [
        ("adv", "textfooler"), ("flat", "textfooler"), ("flat", "pwws")
    ]  # fmt: skip
    assert mine.failures == [FailedAttack("adv", model.round, "pwws", "the synonyms are gone")]
    with pytest.raises(IncompleteError, match=r"1 of the attacks have no result \(pwws on adv: the synonyms are gone"):
        check_complete(mine.failures)
    monkeypatch.setattr(attacks, "run_attacks", runs)
    again, _ = attacker(tmp_path).measure(targets)
    assert [each.shards for each in again if each.attack == "textfooler"] == [each.shards for each in found[:2]]
    assert len(again) == 6


def test_a_model_without_any_attack_left_ends_the_run_as_do_failed_attacks_in_training(
    calls: list[list[str]], texts: TextsToAttack, model: ModelArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = attacks.run_attacks

    def run_attacks(plans: Sequence[AttackPlan], *others: Any) -> list[Artifact]:
        if any(plan.job.attack == "pwws" for plan in plans):
            raise UserError("the synonyms are gone")
        return runs(plans, *others)

    monkeypatch.setattr(attacks, "run_attacks", run_attacks)
    with pytest.raises(UserError, match="the synonyms are gone"):
        attacker(tmp_path).measure([Target(model, texts, ("pwws",))])
    training = plan_attack(attacker(tmp_path).config, model, replace(texts, split="training", round=1), "pwws")
    with pytest.raises(UserError, match="the synonyms are gone"):
        attacker(tmp_path).measure([Target(model, texts, ("textfooler",))], [training])
