"""What the stages of a run depend on: every field of the config that does not opt out by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flat_dist.attack.plan import TextsToAttack, plan_attack
from flat_dist.config.schema import BY_CONTENT, NOT_IN_RESULT, PLAN, UNLESS_DEFAULT, Config
from flat_dist.data import shards
from flat_dist.data.datasets import Dataset
from flat_dist.evaluation.plan import plan_attributions
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models.artifact import open_checkpoint
from flat_dist.models.factory import initial_stage
from flat_dist.resources.assets import Assets
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact
from flat_dist.training import distributed
from flat_dist.training.stage import Trainer, TrainingInputs, training_stage
from tests.test_config import ALL_FIELDS, other_value, value_of, with_value
from tests.test_loop import MODEL, make_loop, run

Inputs = Callable[[Config], dict[str, Any]]

CONTENTS = {"vectors": "hash of vectors", "encoder": "hash of an encoder"}


@pytest.fixture(scope="module")
def inputs(assets: Assets, victim: Folder, sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Inputs of each kind of stage, for a config."""
    folder = Folder(tmp_path_factory.mktemp("rows"))
    record = shards.Record("0", 1, "a good film", "a fine film", "successful", (shards.Swap(1, "good", "fine"),), 12)
    table = shards.to_table([record], [[0.25, 0.75]], [[0.75, 0.25]], 1, {})
    shards.write_manifest(folder, [shards.write_shard(folder, 0, table)], {}, {})
    model, rows = open_checkpoint(victim), Artifact(folder, "rows")
    texts = TextsToAttack("test", sentences.test.slice(0, 2), sentences.fingerprint)
    start = TrainingInputs("flat", 1, Artifact(folder, "data"), model, [rows], Artifact(folder, "substitutes"))
    trainer = Trainer(distributed.train, folder, Display(quiet=True))

    def find(config: Config) -> dict[str, Any]:
        explained = plan_attributions(config, [AttackedModel(model, "pwws", rows)])
        return {
            "init": initial_stage(config, sentences, True, CONTENTS, print).inputs,
            "train": training_stage(config, start, trainer).inputs,
            "train adv": training_stage(config, replace(start, training="adv"), trainer).inputs,
            "attack": plan_attack(config, model, texts, "pwws").inputs,
            **{f"explain {plan.method.name}": plan.inputs for plan in explained},
        }

    return find


@pytest.mark.parametrize(("name", "hint", "metadata"), ALL_FIELDS, ids=[name for name, _, _ in ALL_FIELDS])
def test_a_field_changes_the_inputs_of_a_stage_unless_it_is_marked(
    name: str, hint: Any, metadata: Any, inputs: Inputs
) -> None:
    config = with_value(Config(), "attack.device", "cpu")
    value = "cuda" if name == "attack.device" else other_value(name, hint, value_of(config, name))
    if name == "attack.synonyms":
        value = "original"  # another source of synonyms, whose content differs
    before, after = inputs(config), inputs(with_value(config, name, value))
    if name in ("attack.concurrent", "attack.device"):  # they decide the default of --attack.unit-size, a shard's size
        assert before["attack"]["settings"].pop("unit_size") != after["attack"]["settings"].pop("unit_size")
    changed = {stage for stage in before.keys() & after.keys() if before[stage] != after[stage]}
    if not metadata or metadata == UNLESS_DEFAULT:
        assert changed
    elif metadata == NOT_IN_RESULT:
        assert not changed
    else:
        assert metadata in (PLAN, BY_CONTENT)


def test_trainings_without_a_mask_are_shared_by_searches_over_beta_and_gamma(inputs: Inputs, victim: Folder) -> None:
    model = open_checkpoint(victim)
    trainer = Trainer(distributed.train, victim, Display(quiet=True))
    other = with_value(with_value(Config(), "objective.beta", 0.5), "objective.gamma", 0.5)
    for kind, same in (("adv", True), ("flat", False)):
        start = TrainingInputs(kind, 1, model, model, [model])
        first, second = (training_stage(config, start, trainer).inputs for config in (Config(), other))
        assert (first == second) == same


@pytest.mark.parametrize("micro_batch", [2, 3])
def test_random_numbers_depend_on_the_micro_batch_which_belongs_to_the_result(micro_batch: int, inputs: Inputs) -> None:
    """Dropout and sampled masks are drawn part by part, so that other parts are other numbers."""

    model = replace(MODEL, dropout=0.5, sample_masks=True)

    def losses(micro_batch: int) -> list[float]:
        return run(make_loop("flat", model=model, micro_batch=micro_batch), epochs=1)

    assert losses(0) == losses(0)
    assert losses(micro_batch) == losses(micro_batch) != losses(0)
    config = with_value(Config(), "attack.device", "cpu")
    assert inputs(config)["train"] != inputs(with_value(config, "training.micro_batch", micro_batch))["train"]


def test_the_device_of_training_belongs_to_its_result(inputs: Inputs) -> None:
    config = with_value(Config(), "attack.device", "cpu")
    trained = [inputs(with_value(config, "training.device", device))["train"] for device in ("cpu", "cuda")]
    assert trained[0] != trained[1]


def test_a_stage_is_found_again_in_another_storage(tmp_path: Path, sentences: Dataset) -> None:
    first, second = (
        initial_stage(replace(Config(), storage=str(tmp_path / name)), sentences, False, CONTENTS, print)
        for name in ("one", "two")
    )
    assert first.folder(Folder(tmp_path)).uri == second.folder(Folder(tmp_path)).uri
