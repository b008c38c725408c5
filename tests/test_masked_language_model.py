"""The masked language model of BAE, BERT-Attack and CLARE: gaps, edits, the stand-in, and a user's model."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from flat_dist.attack.checks import check_attacks
from flat_dist.attack.limits import resolve
from flat_dist.attack.plan import AttackJob, TextsToAttack, plan_attack
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.runner import ENGINE, TEXTATTACK, runner_of
from flat_dist.config.attacks import ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config, ModelConfig, ObjectiveConfig
from flat_dist.data.alignment import find_swaps
from flat_dist.data.batches import encode_adversarial, encode_clean
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.data.sentence_pairs import split
from flat_dist.data.shards import Example, Record, Swap, to_table
from flat_dist.evaluation.attributions import AttributionMethod, explain
from flat_dist.evaluation.lime import Lime
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.artifact import open_checkpoint
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.resources import masked_language_model as stand_in
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import Sources, sources
from flat_dist.resources.masked_language_model import Training, measured, resource
from flat_dist.resources.masked_language_model_source import load
from flat_dist.resources.provenance import provenance
from flat_dist.storage.arrow import from_bytes
from flat_dist.storage.folder import Folder
from flat_dist.training.objective import Objective
from tests.sentence_pairs import pairs_of, random_pair_model, save_word_encoder

NAMES = sorted(name for name, entry in ATTACKS.items() if "masked_language_model" in entry.resources)
TINY = Training(sentences=16, batch=8, held_out=4)
LIMITS = replace(resolve(AttackConfig(device="cpu"), transformer=False), max_queries=400)


# Attacks.


@pytest.fixture(scope="module")
def session(assets: Assets) -> AttackSession:
    return AttackSession()


@pytest.mark.parametrize("attack", NAMES)
def test_attacks_write_rows_that_say_what_they_changed(
    attack: str,
    session: AttackSession,
    victim: Folder,
    examples: pa.Table,
    masked_language_model: Path,
    tmp_path: Path,
) -> None:
    given = (("masked_language_model", str(masked_language_model)),)
    job = AttackJob(
        attack, victim.uri, "counterfit", str(tmp_path), 1, 3, "cpu", {"cpu": LIMITS}, 256, {}, resources=given
    )
    rows = [Example(row["example_id"], row["text"], row["label"]) for row in examples.slice(0, 8).to_pylist()]
    info = session.run(job, 0, rows)
    assert info.counts["successful"] and not info.counts.get("error")
    for row in from_bytes(Folder(tmp_path).read(info.name)).to_pylist():
        words = row["original_text"].split()
        for swap in reversed(row["swaps"]):
            replaced = swap["original"].split()
            assert words[swap["index"] : swap["index"] + len(replaced)] == replaced
            words[swap["index"] : swap["index"] + len(replaced)] = swap["substitute"].split()
        assert " ".join(words) == " ".join(row["perturbed_text"].split())
    assert session.run(job, 0, rows) == info


def test_a_worker_with_another_model_than_the_run_is_refused(
    session: AttackSession, victim: Folder, masked_language_model: Path
) -> None:
    given = (("masked_language_model", str(masked_language_model)),)
    identity = {"resources": {"masked_language_model": {"sha256": "0" * 64}}}
    job = AttackJob(
        "bae", victim.uri, "counterfit", "nowhere", 1, 3, "cpu", {"cpu": LIMITS}, 256, identity, resources=given
    )
    with pytest.raises(UserError, match="is not that of the machine that started the run"):
        session.process(job, [Example("0", "a good film", 1)])


@pytest.mark.parametrize("attack", NAMES)
def test_the_engine_runs_them_and_says_whose_model_it_is(
    attack: str, assets: Assets, masked_language_model: Path
) -> None:
    config = AttackConfig(resources=(f"masked_language_model={masked_language_model}",))
    runner = runner_of(attack, config, "probabilities")
    assert runner.name == ENGINE
    known = provenance(runner.resources, sources(config), assets)
    assert known["masked_language_model"]["source"] == "user"
    assert len(known["masked_language_model"]["sha256"]) == 64
    assert known.keys() == set(ATTACKS[attack].resources)


def test_pairs_are_attacked_by_textattack_itself_and_it_says_so(
    session: AttackSession, sentences: Dataset, masked_language_model: Path, tmp_path: Path
) -> None:
    pairs = pairs_of(sentences, 40)
    (tmp_path / "encoder").mkdir()
    model = random_pair_model(pairs, save_word_encoder(sentences, tmp_path / "encoder"))
    checkpoints.save(model, Folder(tmp_path / "model"))
    attack = AttackConfig(
        name="bae", device="cpu", max_queries=30, resources=(f"masked_language_model={masked_language_model}",)
    )
    (said,) = check_attacks(["bae", "pwws"], attack, ["probabilities"], pairs=True)
    assert said.startswith("bae is run by TextAttack itself, text by text, because the engine asks a masked language")
    assert check_attacks(["bae"], attack, ["probabilities"]) == []
    texts = TextsToAttack("test", pairs.test.slice(0, 4), "data")
    job = plan_attack(Config(attack=attack), open_checkpoint(Folder(tmp_path / "model")), texts, "bae").job
    assert (job.runner, job.identity["runner"]) == (TEXTATTACK, TEXTATTACK)
    predicted = model.probabilities(texts.examples["text"].to_pylist()).argmax(1).tolist()  # so that all are attacked
    rows = zip(texts.examples.to_pylist(), predicted, strict=True)
    records = session.process(job, [Example(row["example_id"], row["text"], label) for row, label in rows])
    assert all(record.status != "error" and record.num_queries for record in records)
    assert any(record.swaps for record in records)
    for record in records:
        (first, second), (kept, changed) = split(record.original_text), split(record.perturbed_text)  # type: ignore[misc]
        words = second.split()
        for swap in record.swaps:
            assert words[swap.index] == swap.original
            words[swap.index] = swap.substitute
        assert (kept, changed) == (first, " ".join(words))


def test_a_builder_of_the_user_gets_the_same_model(session: AttackSession, masked_language_model: Path) -> None:
    from textattack.attack_recipes import BAEGarg2019

    from flat_dist.attack.own_resources import with_own_resources
    from flat_dist.attack.recipes import LinguisticResources
    from flat_dist.attack.runner import _tiny
    from flat_dist.attack.victim import Victim

    given = (("masked_language_model", str(masked_language_model)),)
    attack = with_own_resources(
        BAEGarg2019.build, Victim(_tiny()), LinguisticResources(session.assets, "counterfit", "cpu", 16, given)
    )
    assert attack.transformation._language_model.config.hidden_size == 32


# Edits.


def test_edits_are_those_of_textattacks_text_objects(session: AttackSession) -> None:
    from textattack.shared import AttackedText

    from flat_dist.attack.engine.edits import Edit
    from flat_dist.attack.engine.tokenized_text import Candidate, TokenizedText
    from tests.parity.test_engine import ODD_TEXTS

    generator = random.Random(0)
    texts = [text for text in ODD_TEXTS if len(text.split()) > 3 and "电" not in text and "İ" not in text]
    for text in texts * 4:
        mine, theirs, modified = TokenizedText.parse(text), AttackedText(text), frozenset[int]()
        for _ in range(6):
            word = generator.choice(["fine", "it's", "Mr", "re-made", "x"])
            kind = generator.choice(["replace", "insert", "merge"])
            index = generator.randrange(len(mine.words) - (kind == "merge"))
            if word == mine.words[index]:
                continue
            if kind == "replace":
                theirs = theirs.replace_word_at_index(index, word)
            elif kind == "insert":
                theirs = theirs.insert_text_before_word_index(index, word)
            else:
                theirs = theirs.delete_word_at_index(index + 1).replace_word_at_index(index, word)
            edit = Edit(kind, index, Candidate.parse(word))
            mine, modified = edit.apply(mine), edit.modified(modified)
            assert (mine.text, list(mine.words)) == (theirs.text, theirs.words)
            assert mine == TokenizedText.parse(theirs.text)
            assert modified == theirs.attack_attrs["modified_indices"]
            assert edit.centre() == next(iter(theirs.attack_attrs["newly_modified_indices"]))
            for place in range(len(mine.words) + 3):
                assert mine.window(place, 5) == theirs.text_window_around_index(place, 5)


def test_equally_probable_words_are_taken_as_textattack_takes_them(
    session: AttackSession, masked_language_model: Path
) -> None:
    from textattack.shared import AttackedText
    from textattack.transformations import WordSwapMaskedLM

    from flat_dist.attack.engine.masked_language_model import GapFiller
    from flat_dist.attack.engine.query import Blank, FillQuery

    model, tokenizer = load(masked_language_model)
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()  # so that all words are equally probable
        model.cls.predictions.bias.zero_()
    stock = WordSwapMaskedLM("bae", model, tokenizer, max_candidates=7, min_confidence=0.0)
    text = AttackedText("a good film with a bad end")
    masked = text.replace_word_at_index(1, "[MASK]").text
    ((found,),) = GapFiller(model, tokenizer, 512, 10)([FillQuery([Blank(masked, 7, 0.0)])])
    (expected,) = stock._bae_replacement_words(text, [1])
    assert list(found) == [
        word for word in expected if any(character.isascii() and character.isalpha() for character in word)
    ]


# Swaps, Eq. 3, and attributions of texts of different length: values derived by hand.

BEFORE, AFTER = "a good old film with music .", "a very good classic with songs ."
"""An insertion (very), a merge (old film: classic), and a replacement (music: songs): as many words as before."""

SWAPS = (Swap(1, "", "very"), Swap(2, "old film", "classic"), Swap(5, "music", "songs"))


def test_an_insertion_and_a_merge_that_keep_the_length_are_two_swaps() -> None:
    assert find_swaps(BEFORE, AFTER, replaced_only=False) == SWAPS
    # An attack that only replaces words has another explanation of the same texts.
    assert [swap.index for swap in find_swaps(BEFORE, AFTER)] == [1, 2, 3, 5]
    assert find_swaps("good film", "film", replaced_only=False) == (Swap(0, "good", ""),)


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    words = sorted({*BEFORE.split(), *AFTER.split()})
    encoder = Encoder(Vocabulary(("<pad>", "<unk>", *words)), 20)
    torch.manual_seed(0)
    config = ModelConfig(kernels=4, embedding_dim=6, mask_hidden_size=3)
    model = checkpoints.build(config, len(encoder.vocabulary), 2)
    checkpoints.add_mask(model, config)
    return Checkpoint(model.eval(), config, encoder, ("negative", "positive"))


def attacked(swaps: tuple[Swap, ...] = SWAPS, perturbed: str = AFTER) -> pa.Table:
    record = Record("pair", 1, BEFORE, perturbed, "successful", swaps)
    return to_table([record], [[0.5, 0.5]], [[0.5, 0.5]], 1, {})


def test_the_importance_loss_compares_merged_words_by_their_mean(small: Checkpoint) -> None:
    vocabulary = small.encoder.vocabulary.words
    importance = {word: 0.1 * number for number, word in enumerate(sorted(set(vocabulary)))}

    def of(ids_SW: torch.Tensor, positions_SW: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[importance[vocabulary[one]] for one in row] for row in ids_SW.tolist()])

    adversarial = encode_adversarial(attacked(), small.encoder, "successful")
    assert adversarial.swaps is not None
    # The insertion has no word to compare with. Positions are those in each text.
    assert [(left[1], right[1]) for left, right in adversarial.swaps[0]] == [(2, 3), (5, 5)]
    objective = Objective(small.model, ObjectiveConfig(gamma=1.0, pairs="pairs"), 20)
    small.model.importance, before = of, small.model.importance  # type: ignore[method-assign]
    try:
        clean = encode_clean(pa.table({"text": [BEFORE], "label": pa.array([1], pa.int32())}), small.encoder)
        terms = objective(clean.batch([0]), adversarial.batch([0]))
    finally:
        small.model.importance = before  # type: ignore[method-assign]
    merged = abs((importance["old"] + importance["film"]) / 2 - importance["classic"])
    replaced = abs(importance["music"] - importance["songs"])
    assert terms["importance_difference"].item() == pytest.approx(merged + replaced, abs=1e-6)


@pytest.mark.parametrize(
    "method", [AttributionMethod("ig", steps=8), AttributionMethod("lime", lime=Lime(50, 25.0, 1))]
)
def test_attributions_of_inserted_and_merged_words_are_left_out(small: Checkpoint, method: AttributionMethod) -> None:
    from scipy.stats import kendalltau

    (row,) = explain(small, attacked().to_pylist(), method).to_pylist()
    kept = [(0, 0), (1, 2), (4, 4), (5, 5), (6, 6)]
    assert [(pair["original"], pair["perturbed"]) for pair in row["alignment"]] == kept
    for label in (0, 1):
        before, after = (np.array(row[f"{side}_attributions"][label]) for side in ("original", "perturbed"))
        assert (len(before), len(after)) == (7, 7)
        expected = kendalltau(before[[left for left, _ in kept]], after[[right for _, right in kept]]).statistic
        assert row["kendall_tau"][label] == pytest.approx(expected)
    # Texts of other lengths, as from an insertion alone.
    longer = attacked((Swap(1, "", "very"),), "a very good old film with music .")
    (row,) = explain(small, longer.to_pylist(), method).to_pylist()
    assert [pair["perturbed"] for pair in row["alignment"]] == [0, 2, 3, 4, 5, 6, 7]
    assert [len(one) for one in row["perturbed_attributions"]] == [8, 8]


# The stand-in, and a user's model.


def test_the_stand_in_is_made_the_same_again_and_can_be_loaded(assets: Assets, tmp_path: Path) -> None:
    first = stand_in._contents(assets, TINY)
    threads = torch.get_num_threads()
    assert stand_in._contents(assets, TINY) == first
    assert torch.get_num_threads() == threads
    for name, content in first.items():
        (tmp_path / name).write_bytes(content)
    model, tokenizer = load(tmp_path)
    ids = tokenizer("the [MASK] is good", return_tensors="pt")["input_ids"]
    assert model(ids)[0].shape == (1, ids.shape[1], len(tokenizer))
    for numbers in measured(tmp_path).values():
        assert 1 < numbers["perplexity"] < 1e6 and numbers["texts"] == 4 and 0 <= numbers["in_50"] <= 1
    assert "word frequencies alone" in stand_in.describe(tmp_path)


BUILD = """
import sys
from pathlib import Path
from flat_dist.resources.assets import Assets
from flat_dist.resources.masked_language_model import Training, resource
print("begins", flush=True)
print(resource(Training(sentences=16, batch=8, held_out=4)).fingerprint(Assets(Path(sys.argv[1]))))
"""


@pytest.mark.slow
def test_a_killed_build_is_never_used_and_parallel_ones_build_once(assets: Assets, tmp_path: Path) -> None:
    for each in assets.folder.iterdir():
        if each.name not in ("assets.lock", f"{stand_in.NAME}.lock") and not each.name.startswith(stand_in.NAME):
            (tmp_path / each.name).symlink_to(each)
    copy, built = Assets(tmp_path), resource(TINY)

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILD, str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    killed = start()
    assert killed.stdout is not None and killed.stdout.readline() == "begins\n"
    lock = tmp_path / f"{stand_in.NAME}.lock"
    while not lock.exists():
        time.sleep(0.02)
    time.sleep(1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not built.is_complete(copy)
    both = [start(), start()]
    said = [process.communicate()[0].splitlines()[-1] for process in both]
    assert said[0] == said[1] == built.fingerprint(copy)
    assert built.is_complete(copy)
    (built.folder(copy) / "model.safetensors").write_bytes(b"damaged")
    assert not built.is_complete(copy)


def test_a_model_that_cannot_be_used_is_one_sentence(
    assets: Assets, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(value: str) -> str:
        wanted = Sources("counterfit", (("masked_language_model", value),))
        with pytest.raises(UserError) as error:
            provenance(["masked_language_model"], wanted, assets)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "so its model cannot fill gaps" in message(str(encoder_folder))
    assert "cannot be loaded" in message(str(tmp_path))
    (tmp_path / "file").write_text("x")
    assert "is a file" in message(str(tmp_path / "file"))
    from flat_dist.resources import masked_language_model_source

    masked_language_model_source.download.cache_clear()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "cannot be downloaded from the Hugging Face hub" in message("original")
    assert sources(AttackConfig(resources=("masked_language_model=original",))).given == (
        ("masked_language_model", "original"),
    )
    textattack_setup.activate(assets)


def test_an_unknown_attack_with_the_stand_in_needs_no_training_to_be_looked_at(
    assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("the stand-in was trained")

    monkeypatch.setattr(stand_in, "_contents", trained)
    path = "textattack.attack_recipes:CLARE2020.build"
    found = runner_of(path, AttackConfig(), "probabilities")
    assert (found.name, set(found.resources)) == (ENGINE, set(ATTACKS["clare"].resources))
