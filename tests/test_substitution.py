"""Adversarial twins that are made on the fly."""

import ast
import copy
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from flat_dist.attack.substitutes import make_table
from flat_dist.config.errors import UserError
from flat_dist.config.schema import (
    AttackConfig,
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    SubstitutesConfig,
    TrainingConfig,
)
from flat_dist.data import substitutes
from flat_dist.data.batches import Examples, encode_clean, to_batch
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.classifier import TextClassifier
from flat_dist.models.factory import initial
from flat_dist.models.gradients import loss_gradient
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.tracking.tracker import NoTracker
from flat_dist.training.batching import NOTHING, plan_epoch
from flat_dist.training.loop import Loop, TrainingData, Worker
from flat_dist.training.objective import beta_in_epoch
from flat_dist.training.substitution import Substitution
from tests.test_loop import LOSSES

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = [f"w{number}" for number in range(20)]
MODEL = ModelConfig(embedding_dim=8, kernels=6, hidden_size=7, mask_hidden_size=5, vectors=None)
ALONE = Worker()
ALL = SubstitutesConfig(positions=1.0)


def make_texts(count: int = 40) -> list[str]:
    generator = np.random.default_rng(1)
    return [" ".join(generator.choice(WORDS, size=generator.integers(3, 9))) for _ in range(count)]


TEXTS = make_texts()
LABELS = np.array([int(text.count("w1") > 1) for text in TEXTS])
VOCABULARY = Vocabulary.build([WORDS])
ENCODER = Encoder(VOCABULARY, 20)
CANDIDATES = {word: [WORDS[(n + step) % 20] for step in (1, 3, 7)] for n, word in enumerate(WORDS[:15])}
"""The last five words have none."""


def table(known: dict[str, list[str]]) -> pa.Table:
    return pa.table([list(known), list(known.values())], schema=substitutes.SCHEMA)


def make_substitution(
    config: SubstitutesConfig = ALL, ranked: bool = True, encoder: Encoder = ENCODER, known: dict | None = None
) -> Substitution:
    words = substitutes.build(table(known or CANDIDATES), TEXTS, encoder, config.candidates)
    return Substitution(words, LABELS, config, ranked)


def make_model(name: str = "cnn", masked: bool = True) -> TextClassifier:
    torch.manual_seed(0)
    config = replace(MODEL, name=name)
    model = checkpoints.build(config, len(VOCABULARY), 2)
    if masked:
        checkpoints.add_mask(model, config)
    return model


@torch.no_grad()
def negative_log_odds(model: TextClassifier, embedded_BTD: torch.Tensor, real_BT: torch.Tensor, label: int) -> float:
    logits_C = model.eval().classify(embedded_BTD, real_BT)[0].double()
    probability = logits_C.softmax(0)[label]
    return float(torch.log1p(-probability) - torch.log(probability))


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_the_gradient_is_that_of_the_log_odds_through_the_mask(name: str) -> None:
    model, text = make_model(name), ENCODER.encode(TEXTS[0])
    gradient_TD = loss_gradient(model, [text], LABELS[:1])[0]
    batch = to_batch([text])
    step = 1e-2
    with torch.no_grad():
        embedded = model.embed(batch.ids_BT)
        for position, dimension in ((0, 0), (1, 3), (2, 7)):
            values = []
            for sign in (1, -1):
                moved = embedded.clone()
                moved[0, position, dimension] += sign * step
                values.append(negative_log_odds(model, moved, batch.real_BT, int(LABELS[0])))
            slope = (values[0] - values[1]) / (2 * step)
            assert gradient_TD[position, dimension].item() == pytest.approx(slope, rel=0.05, abs=1e-3)


@pytest.mark.parametrize("name", ["cnn", "lstm"])
@pytest.mark.parametrize("masked", [True, False])
def test_the_chosen_candidate_is_the_best_of_a_loop_over_all(name: str, masked: bool) -> None:
    model, substitution = make_model(name, masked), make_substitution()
    twins = substitution.twins(model.train(), range(len(TEXTS)), seed=3, share=1.0)
    assert model.training
    for text, label, twin in zip(TEXTS, LABELS, twins.ids, strict=True):
        ids = ENCODER.encode(text)
        gradient_TD = loss_gradient(model, [ids], np.array([label]))[0]
        for position, word in enumerate(text.split()):
            vectors = model.embedding.weight.detach()
            gains = {
                other: float(gradient_TD[position] @ (vectors[ENCODER.encode(other)[0]] - vectors[ids[position]]))
                for other in CANDIDATES.get(word, [])
            }
            if gains:
                chosen = VOCABULARY.words[twin[position]]
                assert gains[chosen] == pytest.approx(max(gains.values()), abs=1e-6)
            else:
                assert twin[position] == ids[position]


def test_a_twin_depends_on_its_text_and_the_seed_and_not_on_its_batch() -> None:
    model, substitution = make_model(), make_substitution()
    whole = substitution.twins(model, range(10), seed=5, share=0.5)
    halves = [substitution.twins(model, part, seed=5, share=0.5) for part in (range(0, 10, 2), range(1, 10, 2))]
    assert [whole.ids[n] for n in range(0, 10, 2)] == list(halves[0].ids)
    assert [whole.ids[n] for n in range(1, 10, 2)] == list(halves[1].ids)
    assert whole.ids != substitution.twins(model, range(10), seed=6, share=0.5).ids


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_swaps_are_the_words_that_differ(ranked: bool, steps: int) -> None:
    substitution = make_substitution(replace(ALL, steps=steps), ranked)
    twins = substitution.twins(make_model(), range(len(TEXTS)), seed=2, share=0.7)
    changed = 0
    for text, twin, swaps in zip(TEXTS, twins.ids, twins.swaps, strict=True):
        ids = ENCODER.encode(text)
        different = [position for position in range(len(ids)) if ids[position] != twin[position]]
        assert [start for (_, start), _ in swaps] == different
        assert all(left == (ids[at],) and right == (twin[other],) for (left, at), (right, other) in swaps)
        assert all(WORDS[15] not in text.split()[at] for at in different)
        changed += len(different)
    possible = sum(word in CANDIDATES for text in TEXTS for word in text.split())
    assert 0.55 < changed / possible < 0.85


class Pieces:
    """Each word has as many pieces as its last digit modulo 3 says, and special pieces around the text."""

    prefix, suffix, unknown = (1,), (2,), 3

    def pieces(self, word: str) -> tuple[int, ...]:
        number = int(word[1:])
        return tuple(4 + 3 * number + piece for piece in range(number % 3 + 1))


@pytest.mark.parametrize("length", [40, 9])
def test_substitutes_of_any_number_of_pieces_fit_and_their_swaps_point_at_them(length: int) -> None:
    encoder = Encoder(Pieces(), length)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = checkpoints.build(replace(MODEL, name="cnn"), 4 + 3 * 20, 2)
    twins = make_substitution(encoder=encoder).twins(model, range(len(TEXTS)), seed=2, share=1.0)
    sizes = set()
    for text, twin, swaps in zip(TEXTS, twins.ids, twins.swaps, strict=True):
        original = encoder.encode(text)
        assert len(twin) <= length
        assert (twin[0], twin[-1]) == (1, 2)
        for (left, at), (right, other) in swaps:
            assert tuple(original[at : at + len(left)]) == tuple(left)
            assert tuple(twin[other : other + len(right)]) == tuple(right)
            sizes.add((len(left), len(right)))
    assert len(sizes) > 3


def test_a_word_of_several_pieces_is_ranked_by_the_mean_of_its_pieces() -> None:
    encoder = Encoder(Pieces(), 40)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = checkpoints.build(replace(MODEL, name="lstm"), 4 + 3 * 20, 2)
    substitution = make_substitution(encoder=encoder)
    words = TEXTS[0].split()
    position = next(n for n, word in enumerate(words) if word in CANDIDATES)
    start = 1 + sum(len(Pieces().pieces(word)) for word in words[:position])
    own = Pieces().pieces(words[position])
    gradient_TD = loss_gradient(model, [encoder.encode(TEXTS[0])], LABELS[:1])[0]
    summed_D = gradient_TD[start : start + len(own)].sum(0)
    vectors = model.embedding.weight.detach()
    gains = [float(summed_D @ vectors[list(Pieces().pieces(one))].mean(0)) for one in CANDIDATES[words[position]]]
    twin = substitution.twins(model, [0], seed=2, share=1.0)
    expected = Pieces().pieces(CANDIDATES[words[position]][int(np.argmax(gains))])
    (found,) = [right for (left, at), (right, _) in twin.swaps[0] if at == start]
    assert tuple(found) == expected


MINILM_TEXTS = ["an overwrought film , but a touching story", "unwatchable from the start"]
MINILM_CANDIDATES = {
    "overwrought": ["tired", "bombastic", "melodramatic"],
    "film": ["movie", "motion-picture", "flick"],
    "touching": ["moving", "heartwarming", "soppy"],
    "story": ["tale", "storyline"],
    "unwatchable": ["bad", "unbearable", "abysmal"],
    "start": ["outset", "beginning", "get-go"],
}


def test_a_transformers_substitutes_are_the_best_of_a_loop_over_finite_differences(sentences: Dataset) -> None:
    """MiniLM in float64; each candidate's mean vector takes the place of all pieces of the word, by a small step."""
    config = Config(model=ModelConfig(name="minilm", pooling="mean"), data=DataConfig(max_length=24))
    checkpoint = initial(config, sentences, masked=False)[0]
    encoder, labels = checkpoint.encoder, np.array([1, 0])
    words = substitutes.build(table(MINILM_CANDIDATES), MINILM_TEXTS, encoder, 30)
    twins = Substitution(words, labels, ALL).twins(checkpoint.model, [0, 1], seed=1, share=1.0)
    exact = copy.deepcopy(checkpoint.model).double().eval()
    sizes, step = set(), 1e-3
    for text, label, swaps in zip(MINILM_TEXTS, labels, twins.swaps, strict=True):
        batch = to_batch([encoder.encode(text)])
        embedded_1TD = exact.embed(batch.ids_BT).detach()
        chosen = {start: right for (_, start), (right, _) in swaps}
        for word, (start, end) in zip(text.split(), encoder.spans(text), strict=True):
            slopes = {}
            for candidate in MINILM_CANDIDATES.get(word, ()):
                pieces = encoder.encode(candidate)[1:-1]
                towards = exact.embed(torch.tensor(pieces)).mean(0) - embedded_1TD[0, start:end]
                losses = []
                for sign in (1, -1):
                    moved = embedded_1TD.clone()
                    moved[0, start:end] += sign * step * towards
                    losses.append(negative_log_odds(exact, moved, batch.real_BT, int(label)))
                slopes[pieces] = (losses[0] - losses[1]) / (2 * step)
                sizes.add((end - start, len(pieces)))
            assert (start in chosen) == bool(slopes)
            if slopes:
                assert chosen[start] == max(slopes, key=slopes.__getitem__)
    assert {(1, 1), (1, 2), (2, 1), (2, 2)} <= {(min(own, 2), min(other, 2)) for own, other in sizes}


def test_a_candidate_that_the_model_reads_as_the_word_is_left_out() -> None:
    known = {"w0": ["w0", "new", "other", "w1", "w1"]}
    words = substitutes.build(table(known), ["w0 w2"], ENCODER, 30)
    assert words.pieces == ((VOCABULARY.unknown,), ENCODER.encode("w1"))
    assert words.texts[0].rows.tolist() == [0, substitutes.NONE]
    assert substitutes.build(table(known), ["w0"], ENCODER, 1).candidates_RK.tolist() == [[0]]


def test_a_saturated_model_still_has_a_gradient() -> None:
    model = make_model(masked=False)
    with torch.no_grad():
        model.output.weight.mul_(1e4)
    ids = [ENCODER.encode(text) for text in TEXTS]
    logits = model.eval()(*[getattr(to_batch(ids), name) for name in ("ids_BT", "real_BT")]).logits_BC
    predicted = logits.argmax(1)
    assert (logits.softmax(1).amax(1) == 1).any()
    assert (F.cross_entropy(logits, predicted, reduction="none") == 0).any()
    gradient_BTD = loss_gradient(model, ids, predicted.numpy())
    assert (gradient_BTD.abs().amax((1, 2)) > 0).all()


def make_loop(
    adversaries: str, attacked: Examples | None = None, worker: Worker = ALONE, model: str = "cnn", **training: object
) -> Loop:
    config = Config(
        model=MODEL,
        objective=ObjectiveConfig(beta=0.1, gamma=0.5),
        training=TrainingConfig(batch_size=16, adversaries=adversaries, **training),
    )
    rows = pa.table({"text": TEXTS, "label": LABELS})
    clean = encode_clean(rows, ENCODER)
    substitution = make_substitution(config.substitutes, ranked=adversaries != "random")
    return Loop(make_model(model), TrainingData(clean, attacked, clean, substitution), config, "test", 0.01, worker)


@pytest.mark.parametrize("model", ["cnn", "lstm"])
def test_training_on_twins_reproduces_the_losses_on_record(model: str) -> None:
    losses: list[float] = []
    make_loop("gradient", model=model).run(3, lambda _, metrics: losses.append(metrics["loss"]))
    assert losses == pytest.approx(json.loads(LOSSES.read_text())[f"{model}-gradient"], rel=1e-4)


@pytest.mark.parametrize("adversaries", ["gradient", "random"])
def test_training_on_twins_lowers_their_loss_and_has_eq_3(adversaries: str) -> None:
    loop = make_loop(adversaries)
    losses: list[dict[str, float]] = []
    loop.run(8, lambda _, metrics: losses.append(metrics))
    assert losses[-1]["adversarial_cross_entropy"] < losses[0]["adversarial_cross_entropy"]
    assert all(metrics["importance_difference"] > 0 for metrics in losses)


def test_the_parts_of_a_batch_change_no_loss_without_randomness() -> None:
    found = []
    for micro_batch in (0, 3):
        loop = make_loop("gradient", micro_batch=micro_batch)
        loop.model.dropout.p, loop.model.mask.sample = 0.0, False
        losses: list[float] = []
        loop.run(3, lambda _, metrics, into=losses: into.append(metrics["loss"]))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_two_workers_have_the_twins_of_one() -> None:
    step = plan_epoch(np.arange(40), NOTHING, Config(training=TrainingConfig(batch_size=16)), 1, twins=1.0)[0]
    (whole,) = make_loop("gradient")._parts(step, 7, 0.5)
    shares = [make_loop("gradient", worker=Worker(rank, 2))._parts(step, 7, 0.5)[0] for rank in (0, 1)]
    rows = [real_row(share[1], number) for number in range(8) for share in shares]
    assert rows == [real_row(whole[1], number) for number in range(16)]
    assert {share[1].count for share in shares} == {share[1].swaps.pairs for share in shares} == {16}


def test_a_worker_without_a_share_of_a_small_batch_has_empty_batches() -> None:
    """The last batch of an epoch may have fewer texts than there are workers."""
    step = plan_epoch(np.arange(1), NOTHING, Config(training=TrainingConfig(batch_size=16)), 1, twins=1.0)[0]
    loop = make_loop("gradient", worker=Worker(1, 2))
    ((clean, adversarial),) = loop._parts(step, 7, 0.5)
    assert (len(clean.labels_B), len(adversarial.labels_B), clean.count, adversarial.count) == (0, 0, 1, 1)
    loop.objective(clean, adversarial)["loss"].backward()
    assert all((parameter.grad == 0).all() for parameter in loop.parameters)


SUBSTITUTES_OF_GOOD = """
from flat_dist.attack.substitutes import make_table
from flat_dist.config.schema import AttackConfig
print(make_table(AttackConfig("pwws"), ["a good film", "the great people"]).to_pydict())
"""


def test_the_candidates_of_pwws_are_alike_in_every_process_and_those_of_textattack(assets: Assets) -> None:
    """In this process and in one whose strings have other hashes."""
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", SUBSTITUTES_OF_GOOD]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = make_table(AttackConfig("pwws"), ["a good film", "the great people"]).to_pydict()
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == found
    assert found["word"] == ["film", "good", "great", "people"]
    textattack_setup.activate(assets)
    from textattack.transformations import WordSwapWordNet

    for word, candidates in zip(found["word"], found["candidates"], strict=True):
        assert set(candidates) == set(WordSwapWordNet()._get_replacement_words(word)) - {word}


def real_row(batch: object, number: int) -> list[int]:
    return batch.ids_BT[number][batch.real_BT[number]].tolist()


@pytest.mark.parametrize("weighting", ["balanced", "union"])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_plans_mix_attacked_examples_and_twins(weighting: str, share: float) -> None:
    config = Config(objective=ObjectiveConfig(weighting=weighting), training=TrainingConfig(batch_size=8))
    steps = plan_epoch(np.arange(40), np.arange(30), config, 4, share)
    assert sorted(np.concatenate([step.clean for step in steps]).tolist()) == list(range(40))
    twins = np.concatenate([step.twins for step in steps])
    if weighting == "union":
        assert sorted(twins.tolist()) == list(range(40))
        assert sorted(np.concatenate([step.attacked for step in steps]).tolist()) == list(range(30))
    else:
        assert all(len(step.twins) == share * 8 and len(step.attacked) == (1 - share) * 8 for step in steps)
        assert all(set(step.twins) <= set(step.clean) for step in steps)


def test_both_sources_are_in_each_batch() -> None:
    clean = encode_clean(pa.table({"text": TEXTS, "label": LABELS}), ENCODER)
    attacked = replace(clean, swaps=((),) * len(clean))
    loop = make_loop("both", attacked)
    (step, *_) = plan_epoch(clean.lengths, attacked.lengths, loop.config, 1, loop.data.twins)
    ((_, adversarial),) = loop._parts(step, 7, 0.9)
    assert (len(step.attacked), len(step.twins), len(adversarial.labels_B)) == (8, 8, 16)
    rows = [real_row(adversarial, number) for number in range(16)]
    assert rows[:8] == [list(clean.ids[index]) for index in step.attacked]
    assert rows[8:] != [list(clean.ids[index]) for index in step.twins]
    assert adversarial.labels_B.tolist() == LABELS[[*step.attacked, *step.twins]].tolist()


def shares(warmup: float) -> Sequence[float]:
    loop = make_loop("gradient")
    loop.config = replace(loop.config, substitutes=SubstitutesConfig(positions=0.8, warmup=warmup))
    return [loop._replaced_share(step, 10) for step in range(10)]


def test_the_share_of_replaced_words_rises_in_the_warm_up() -> None:
    assert shares(0.0) == [0.8] * 10
    assert shares(0.3) == pytest.approx([0.2, 0.4, 0.6, *[0.8] * 7])


def test_an_interrupted_training_on_twins_continues_as_if_it_had_not_stopped(tmp_path) -> None:
    whole = make_loop("gradient")
    whole.run(4, lambda loop, _: loop.save(Folder(tmp_path)) if loop.state.epoch == 2 else None)
    resumed = make_loop("gradient")
    resumed.restore(Folder(tmp_path))
    resumed.run(4, lambda *_: None)
    assert resumed.state.history == whole.state.history


def test_beta_falls_after_each_epoch_to_its_final_value() -> None:
    annealed = ObjectiveConfig(beta=0.1, initial_beta=1.0, beta_decay=0.4)
    assert [beta_in_epoch(annealed, epoch) for epoch in range(4)] == pytest.approx([1.0, 0.6, 0.2, 0.1])
    assert beta_in_epoch(ObjectiveConfig(beta=0.3), 5) == 0.3


def test_texts_without_any_candidate_are_refused(assets: Assets, tmp_path: Path) -> None:
    """Twins would be copies of the texts, and adversarial training would do nothing, without a word about it."""
    texts = pa.table({"example_id": ["1", "2"], "text": ["xqzzy vbnq", "the 12"], "label": [0, 1]})
    dataset = Dataset(texts, texts, texts, ("no", "yes"), "test")
    environment = Environment(Folder(tmp_path), NoTracker(), Display(quiet=True))
    stages = RunStages(Config(training=TrainingConfig(adversaries="gradient")), dataset, environment)
    with pytest.raises(UserError, match="no word of the training texts has a candidate of textfooler"):
        stages.prepare()
