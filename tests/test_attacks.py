"""The attacks, driven by one table of recipes: stock TextAttack's results, rows that can be trusted."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from flat_dist.attack.limits import resolve
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.session import AttackSession
from flat_dist.config.attacks import ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig
from flat_dist.data import shards
from flat_dist.data.shards import Example, Record, Swap
from flat_dist.models import checkpoint as checkpoints
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import Sources
from flat_dist.resources.provenance import provenance
from flat_dist.storage.arrow import from_bytes
from flat_dist.storage.folder import Folder

RECIPES = sorted(
    name for name, entry in ATTACKS.items() if entry.is_own and "masked_language_model" not in entry.resources
)
"""Without those of tests/test_masked_language_model.py."""
LIMITS = resolve(AttackConfig(device="cpu", max_queries=1000), transformer=False)


@pytest.fixture(scope="module")
def session(assets: Assets) -> AttackSession:
    return AttackSession()


def make_job(recipe: str, victim: Folder, output: str = "nowhere") -> AttackJob:
    return AttackJob(recipe, victim.uri, "counterfit", output, 1, 3, "cpu", {"cpu": LIMITS}, 256, {"recipe": recipe})


def test_tags_equal_stock_textattacks_at_every_position(session: AttackSession, examples: pa.Table) -> None:
    from textattack.constraints.grammaticality import PartOfSpeech

    from flat_dist.attack.engine.pos_tagger import Tagger

    contexts, positions, expected = [], [], []
    stock = PartOfSpeech()
    for text in [*examples["text"].to_pylist(), "the the film film the", "good", "1999 well-made -x 3d"]:
        words = text.split()
        for position, word in enumerate(words):
            before, after = words[max(position - 4, 0) : position], words[position + 1 : position + 4]
            for candidate in (word, "run", "quickly", "the", "Mr", "-START-"):
                contexts.append((*before, candidate, *after))
                positions.append(contexts[-1].index(candidate))
                expected.append(stock._get_pos(before, candidate, after))
    assert len(set(expected)) > 5
    assert Tagger("universal", 4096).tag(contexts, positions).tolist() == expected
    one_by_one = Tagger("universal", 16)  # forgets all the time
    assert [one_by_one.tag([c], [p])[0] for c, p in zip(contexts, positions, strict=True)] == expected


@pytest.mark.parametrize("recipe", RECIPES)
def test_attacks_break_the_victim_and_change_only_words(
    recipe: str, session: AttackSession, victim: Folder, examples: pa.Table, tmp_path: Any
) -> None:
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in examples.to_pylist()]
    job = make_job(recipe, victim, str(tmp_path))
    info = session.run(job, 0, rows)
    assert info.counts["successful"] > info.counts.get("failed", 0)
    for row in from_bytes(Folder(tmp_path).read(info.name)).to_pylist():
        assert len(row["original_text"].split()) == len(row["perturbed_text"].split())
        assert (row["status"] == "successful") <= (len(row["swaps"]) > 0)
        assert row["num_queries"] >= 1
    assert session.run(job, 0, rows) == info


@pytest.mark.parametrize("recipe", RECIPES)
def test_provenance_names_every_resource_with_its_hash(recipe: str, assets: Assets) -> None:
    known = provenance(ATTACKS[recipe].resources, Sources(), assets)
    assert all(entry["source"] in ("stand-in", "original", "user") for entry in known.values())
    assert all(len(entry["sha256"]) == 64 for entry in known.values())
    assert known.keys() == set(ATTACKS[recipe].resources)


@pytest.mark.parametrize("recipe", ["pwws", "pso"])
def test_provenance_leaves_out_what_li2021_replaces(recipe: str, assets: Assets) -> None:
    known = provenance(ATTACKS[recipe].resources, Sources(), assets, "li2021")
    assert known.keys() == {"stopwords", "sentence_encoder", "synonyms"}


def test_attacks_by_textattack_itself_are_seeded_per_example_and_errors_become_rows(
    session: AttackSession, victim: Folder
) -> None:
    from flat_dist.attack import recipes
    from flat_dist.attack.records import attack_with_textattack
    from flat_dist.attack.victim import Victim

    drawn = []

    class Raises(Victim):
        def __call__(self, text_input_list: object, **_: object) -> torch.Tensor:
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
            raise KeyError("lost")

    linguistics = recipes.LinguisticResources(session.assets, "counterfit", "cpu", cache_size=1024)
    attack = recipes.build("pwws", Raises(checkpoints.load(victim)), linguistics)
    for example_id in ("a", "b", "a"):
        record = attack_with_textattack(attack, Example(example_id, "a film", 1), 5, LIMITS)
        assert (record.status, record.error) == ("error", "KeyError: 'lost'")
        assert record.perturbed_text == "a film"
    assert drawn[0] == drawn[2] != drawn[1]


def test_success_is_decided_by_a_new_prediction(session: AttackSession, victim: Folder) -> None:
    from flat_dist.attack.records import to_rows

    loaded = checkpoints.load(victim)
    text = "a wonderful , moving and funny film"
    label = int(loaded.probabilities([text]).argmax())
    claimed = [Record("a", label, text, text, "failed"), Record("b", 1 - label, text, text, "failed")]
    assert to_rows(claimed, loaded, 1, {})["status"].to_pylist() == ["failed", "successful"]


def test_swaps_are_the_words_that_differ(session: AttackSession) -> None:
    from flat_dist.data.alignment import find_swaps

    assert find_swaps("a good film .", "a Fine film .") == (Swap(1, "good", "fine"),)
    assert find_swaps("the earth", "the Earth") == ()
    assert find_swaps("a good film", "a very good film") == (Swap(1, "", "very"),)
    assert find_swaps("a good old film", "a classic film") == (Swap(1, "good old", "classic"),)


def test_an_unknown_attack_is_refused(session: AttackSession, victim: Folder) -> None:
    with pytest.raises(UserError, match=r"did you mean .textfooler."):
        session.process(make_job("textfoler", victim), [Example("a", "a film", 1)])


def test_textfooler_uses_the_users_own_table(
    session: AttackSession, victim: Folder, examples: pa.Table, tmp_path: Any
) -> None:
    words = {word for text in examples["text"].to_pylist() for word in text.split() if word.isalpha()}
    table = tmp_path / "table.json"
    table.write_text(shards.json.dumps({word: ["film", "movie"] for word in words}))
    job = AttackJob("textfooler", victim.uri, str(table), "nowhere", 1, 3, "cpu", {"cpu": LIMITS}, 256, {})
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in examples.to_pylist()]
    swaps = [swap for record in session.process(job, rows) for swap in record.swaps]
    assert swaps
    assert {swap.substitute for swap in swaps} <= {"film", "movie"}
