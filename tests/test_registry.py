"""The registry of attacks: names, adaptive forms, paths, resources, and what TextAttack says of its own recipes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flat_dist.attack import limits
from flat_dist.attack.checks import check_attacks
from flat_dist.attack.runner import ENGINE, TEXTATTACK, runner_of
from flat_dist.config import attacks
from flat_dist.config.attacks import ATTACKS, entry_of, has_same_candidates, names, order_of, recipe_of
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import RESOURCES, Sources, check_available, sources
from flat_dist.resources.provenance import provenance

AVAILABLE = [
    name
    for name, entry in ATTACKS.items()
    if not entry.refused and all(RESOURCES[resource].stand_in for resource in entry.resources)
]
STOCK = [name for name in AVAILABLE if not ATTACKS[name].is_own]


def test_every_recipe_that_textattack_names_is_known_here_with_the_same_class(assets: Assets) -> None:
    textattack_setup.activate(assets)
    from textattack.attack_args import ATTACK_RECIPE_NAMES

    assert ATTACK_RECIPE_NAMES.keys() <= ATTACKS.keys()
    for name, path in ATTACK_RECIPE_NAMES.items():
        if not ATTACKS[name].is_own:
            assert ATTACKS[name].builder == f"textattack.attack_recipes:{path.rpartition('.')[2]}.build"


def test_names_resources_and_builders_exist(assets: Assets) -> None:
    from flat_dist.attack.builders import load_builder

    for name, entry in ATTACKS.items():
        assert name == entry.name
        assert set(entry.resources) <= RESOURCES.keys()
        assert callable(load_builder(entry.builder))
    assert "textfooler-gradient" in names() and "hotflip" not in names() and "leap-gradient" not in names()


@pytest.mark.parametrize(
    ("attack", "recipe", "order"),
    [
        ("textfooler", "textfooler", ""),
        ("pwws-importance", "pwws", "importance"),
        ("bert-attack", "bert-attack", ""),
        ("leap-gradient", "leap-gradient", ""),
        ("my_package:build", "my_package:build", ""),
        ("pairs", "pairs", ""),
    ],
)
def test_an_adaptive_form_is_a_greedy_attack_with_an_order(attack: str, recipe: str, order: str) -> None:
    assert (recipe_of(attack), order_of(attack)) == (recipe, order)


@pytest.mark.parametrize(
    ("attack", "given", "expected"),
    [
        ("genetic", None, 10000),
        ("iga", None, 10000),
        ("pso", None, 10000),
        ("clare", None, 3000),
        ("clare", 0, 0),
        ("clare", 7, 7),
        ("textfooler", None, 0),
        ("pwws-gradient", None, 0),
        ("bae", None, 0),
        ("pwws", 7, 7),
        ("leap", None, 10000),
        ("kuleshov", None, 3000),
        ("my_package:build", None, 0),
    ],
)
def test_attacks_that_might_go_on_for_hours_end_after_a_number_of_queries(
    attack: str, given: int | None, expected: int
) -> None:
    assert attacks.max_queries(attack, given) == expected
    config = AttackConfig(name="textfooler", max_queries=given, device="cpu")
    assert limits.resolve(config, transformer=False, attack=attack).max_queries == expected
    assert limits.resolve(replace(config, name=attack), transformer=True).max_queries == expected


def test_a_command_says_which_attacks_end_by_themselves() -> None:
    measured = ("genetic", "pwws", "clare", "iga", "genetic")
    option = "--attack.max-queries sets another limit, and 0 none"
    assert check_attacks(measured, AttackConfig(), ["probabilities"]) == [
        f"genetic, iga end after 10,000 queries a text: {option}",
        f"clare ends after 3,000 queries a text: {option}",
    ]
    for given in (0, 3000):
        assert check_attacks(measured, AttackConfig(max_queries=given), ["probabilities"]) == []


def test_training_saw_the_candidates_of_an_attack_in_another_order() -> None:
    assert has_same_candidates("textfooler-gradient", "textfooler")
    assert not has_same_candidates("bert-attack", "bae")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("textfoler", "did you mean 'textfooler'"),
        ("morpheus", "morpheus cannot be used: its goal is a model whose output is text"),
        ("hotflip", "hotflip cannot be used: it reads the model's gradients"),
        ("my package:build", "is not the path of a builder"),
        ("my_package:", "is not the path of a builder"),
        ("file.py:build:more", "is not the path of a builder"),
    ],
)
def test_a_name_or_path_that_is_wrong_is_one_sentence(attack: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        attacks.check(attack, "value of --attack.name")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - set(AVAILABLE)))
def test_an_attack_without_its_resource_is_refused_before_anything_is_built(attack: str) -> None:
    if ATTACKS[attack].refused:
        with pytest.raises(UserError, match="cannot be used"):
            entry_of(attack)
        return
    with pytest.raises(UserError, match=r"needs .*, which cannot be downloaded here and has no stand-in"):
        runner_of(attack, AttackConfig(), "probabilities")


@pytest.mark.parametrize("attack", STOCK)
def test_textattacks_parts_use_the_resources_that_the_registry_names(attack: str, assets: Assets) -> None:
    textattack_setup.activate(assets)
    from flat_dist.attack import recipes
    from flat_dist.attack.parts import resources_of
    from flat_dist.attack.runner import _tiny
    from flat_dist.attack.victim import Victim

    linguistics = recipes.LinguisticResources(assets, "counterfit", "cpu", cache_size=1024)
    assert set(resources_of(recipes.build(attack, Victim(_tiny()), linguistics))) == set(ATTACKS[attack].resources)
    assert provenance(ATTACKS[attack].resources, Sources(), assets).keys() == set(ATTACKS[attack].resources)


def test_the_engine_runs_what_it_knows_and_textattack_the_rest(assets: Assets) -> None:
    assert runner_of("pwws-gradient", AttackConfig(), "margin").name == ENGINE
    slow = runner_of("deepwordbug", AttackConfig(), "probabilities")
    assert slow.name == TEXTATTACK and slow.builder is None
    said = slow.describe("deepwordbug")
    assert said.startswith("deepwordbug is run by TextAttack itself, text by text, because") and "\n" not in said
    known = runner_of("textattack.attack_recipes:TextFoolerJin2019.build", AttackConfig(), "probabilities")
    assert known.name == ENGINE and set(known.resources) == set(ATTACKS["textfooler"].resources)


def save_gpt2(folder: Path) -> None:
    """A GPT-2 of random weights whose pieces are bytes."""
    import transformers

    letters = list(transformers.models.gpt2.tokenization_gpt2.bytes_to_unicode().values())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = transformers.GPT2Config(vocab_size=len(vocabulary), n_embd=8, n_layer=1, n_head=1, n_positions=512)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)


def test_a_users_model_takes_the_place_of_one_on_the_hub(tmp_path: Path, assets: Assets) -> None:
    with pytest.raises(UserError, match=r"give a folder with a GPT-2 .* with --attack.resources gpt2=PATH"):
        check_available(ATTACKS["kuleshov"], Sources())
    save_gpt2(tmp_path / "model")
    config = AttackConfig(resources=(f"gpt2={tmp_path / 'model'}",))
    wanted = sources(config)
    assert wanted.path("gpt2") == tmp_path / "model" and wanted.path("hownet") is None
    found = runner_of("kuleshov", config, "probabilities")
    assert found.name == TEXTATTACK
    before = provenance(found.resources, wanted, assets)["gpt2"]
    assert before["source"] == "user" and before["detail"] == "model"
    (tmp_path / "model" / "merges.txt").write_text("#version: 0.3\n")
    assert provenance(found.resources, wanted, assets)["gpt2"]["sha256"] != before["sha256"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hownet", "is not NAME=PATH"),
        ("gpt=x", "did you mean 'gpt2'"),
        ("synonyms=x", "use --attack.synonyms with original, a folder"),
        ("wordnet=x", "cannot give wordnet: the only source here is WordNet 3.0"),
    ],
)
def test_a_users_resource_that_cannot_be_used_is_one_sentence(value: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        sources(AttackConfig(resources=(value,)))
    assert message in str(error.value)


def test_a_build_that_was_interrupted_is_never_used(tmp_path: Path) -> None:
    from flat_dist.resources.built import BuiltResource

    made: list[int] = []

    def contents(assets: Any) -> dict[str, bytes]:
        made.append(1)
        return {"a": b"one", "b": b"two"}

    resource, mine = BuiltResource("thing", ("a", "b"), lambda assets: {"format": 1}, contents), Assets(tmp_path)
    folder = resource.folder(mine)
    folder.mkdir()
    (folder / "a").write_bytes(b"one")  # as a killed process leaves it
    assert not resource.is_complete(mine)
    assert resource.build(mine) == resource.build(mine) == folder
    assert resource.is_complete(mine) and made == [1]
    (folder / "b").write_bytes(b"two and more")
    assert not resource.is_complete(mine)
    resource.build(mine)
    assert made == [1, 1] and (folder / "b").read_bytes() == b"two"
