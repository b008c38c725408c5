import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPTextConfig,
    CLIPTextModel,
    DebertaConfig,
    DebertaModel,
    DistilBertConfig,
    DistilBertModel,
    EsmConfig,
    EsmModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from flat_dist.data.batches import Batch, Examples
from flat_dist.data.datasets import Dataset
from flat_dist.data.encoder import Encoder
from flat_dist.data.wordpieces import WordPieces
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import encoders
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.factory import initial
from flat_dist.models.mask import bernoulli_entropy
from flat_dist.models.transformer import Transformer
from flat_dist.storage.folder import Folder
from flat_dist.training.loop import Loop, TrainingData
from flat_dist.training.objective import Objective, importance_difference
from flat_dist.training.optimizer import make_optimizer
from tests.conftest import PIECES

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,  # of pretrained weights it is 0.02, with which all tiny models say much the same
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
BACKBONES: dict[str, Callable[..., PreTrainedModel]] = {
    "bert": lambda **settings: BertModel(BertConfig(**SIZES, **settings)),
    "deberta": lambda **settings: DebertaModel(DebertaConfig(**SIZES, **DISENTANGLED, **settings)),
    "roberta": lambda **settings: RobertaModel(RobertaConfig(pad_token_id=1, **SIZES, **settings)),
}

pytestmark = pytest.mark.usefixtures("one_thread")  # of models this small more threads make hard work

EVERY = pytest.mark.parametrize("name", BACKBONES)
CONTEXTUAL = pytest.mark.parametrize("contextual", [False, True])

CLS, SEP = 2, 3
CLEAN = Examples(((CLS, 5, 6, 7, SEP), (CLS, 8, 9, SEP)), np.array([0, 1]))
ADVERSARIAL = Examples(
    ((CLS, 5, 9, 11, 7, SEP), (CLS, 10, 9, SEP)),
    np.array([0, 1]),
    (((((6,), 2), ((9, 11), 2)),), ((((8,), 1), ((10,), 1)),)),
)


def make_model(name: str, masked: bool = True, backbone: dict[str, Any] | None = None, **options: Any) -> Transformer:
    config = ModelConfig(name="encoder", **{"mask_hidden_size": 8, **options})
    torch.manual_seed(0)
    model = Transformer(config, BACKBONES[name](vocab_size=20, **(backbone or {})), (1, 1), 2)
    if masked:
        checkpoints.add_mask(model, config)
    return model.eval()


def clean_batch() -> Batch:
    return CLEAN.batch([0, 1])


def catch_input(module: nn.Module, name: str) -> list[Any]:
    """The list that what a module gets as its argument `name` will be in."""
    caught: list[Any] = []
    module.register_forward_pre_hook(lambda module, inputs, named: caught.append(named[name]), with_kwargs=True)
    return caught


def catch_output(module: nn.Module) -> list[Any]:
    caught: list[Any] = []
    module.register_forward_hook(lambda module, inputs, output: caught.append(output))
    return caught


DISTINCT = ((((5,), 2), ((8, 7), 2)), (((16,), 1), ((9,), 1)))
"""Swaps of pieces whose importance differs, in each of the models below."""


# The mask computes in float32 whatever its input, so that differences are taken in float32 as well: a step of 0.01 in a
# direction of length one, and values of order one, leave an error of about 1e-5 in the slope.
@CONTEXTUAL
@pytest.mark.parametrize("name", ["bert", "deberta"])
def test_the_gradient_of_gammas_term_equals_finite_differences(name: str, contextual: bool) -> None:
    model = make_model(name, contextual=contextual).train()
    for layer in (model.mask.network[0], model.mask.network[2]):
        layer.weight.data *= 2
    swaps = Examples(((),), np.zeros(1), (DISTINCT,)).batch([0]).swaps
    differences = importance_difference(model, swaps)
    assert differences.min() > 0.03  # far from the kink of the absolute value
    differences.sum().backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}
    expected = {f"mask.network.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")}
    expected |= {"backbone.embeddings.word_embeddings.weight"}
    if contextual:
        expected |= {f"backbone.embeddings.LayerNorm.{part}" for part in ("weight", "bias")}
    if contextual and name == "bert":
        expected |= {f"backbone.embeddings.{part}_embeddings.weight" for part in ("position", "token_type")}
    assert moved == expected
    for name, value in model.named_parameters():
        if name not in expected:
            continue
        generator = torch.Generator().manual_seed(1)
        direction = torch.randn(value.shape, generator=generator) * (value.grad != 0)
        direction /= direction.norm()
        ends = []
        for step in (0.01, -0.01):
            value.data += step * direction
            with torch.no_grad():
                ends.append(importance_difference(model, swaps).double().sum())
            value.data -= step * direction
        slope = (value.grad * direction).sum().item()
        assert abs(slope) > 1e-3, name
        assert ((ends[0] - ends[1]) / 0.02).item() == pytest.approx(slope, rel=1e-2, abs=2e-4), name


@EVERY
def test_importance_depends_only_on_the_piece(name: str) -> None:
    model = make_model(name)
    importance = model.importance(torch.full((5,), 6), torch.arange(5))
    assert importance.unique().numel() == 1
    assert model.importance(torch.arange(5, 12), torch.zeros(7, dtype=torch.long)).unique().numel() == 7
    torch.testing.assert_close(importance[0], model.mask.importance(model.embedding.weight[6]))


def test_contextual_importance_depends_on_the_position_if_embeddings_do() -> None:
    distinct = {
        name: make_model(name, contextual=True)
        .importance(torch.full((1, 5), 6), torch.arange(5)[None])
        .unique()
        .numel()
        for name in BACKBONES
    }
    assert distinct == {"bert": 5, "roberta": 5, "deberta": 1}  # this DeBERTa knows of positions in attention only


@CONTEXTUAL
@EVERY
def test_importance_of_a_swap_is_the_importance_of_its_pieces(name: str, contextual: bool) -> None:
    model = make_model(name, contextual=contextual)
    batch = ADVERSARIAL.batch([0, 1])
    in_text_BT = model(batch.ids_BT, batch.real_BT).log_odds_BT.sigmoid()
    side = batch.swaps.substitute
    expected_SW = torch.gather(in_text_BT, 1, side.positions_SW)
    found_SW = model.importance(side.ids_SW, side.positions_SW)
    torch.testing.assert_close(found_SW[side.real_SW], expected_SW[side.real_SW])


@CONTEXTUAL
@EVERY
def test_importance_is_never_dropped_out(name: str, contextual: bool) -> None:
    model = make_model(name, backbone={"hidden_dropout_prob": 0.5}, contextual=contextual)
    batch = clean_batch()
    positions = torch.arange(5).expand(2, 5)
    expected = model.importance(batch.ids_BT, positions)
    model.train()
    for _ in range(2):
        assert torch.equal(model.importance(batch.ids_BT, positions), expected)
        torch.testing.assert_close(model(batch.ids_BT, batch.real_BT).log_odds_BT.sigmoid(), expected)
    assert all(module.training for module in model.modules())
    logits = [model(batch.ids_BT, batch.real_BT).logits_BC for _ in range(2)]
    assert not torch.equal(*logits)


@pytest.mark.parametrize("mask_special", [False, True])
@EVERY
def test_masks_multiply_embeddings_of_words_before_positions_are_added(name: str, mask_special: bool) -> None:
    model, batch = make_model(name, mask_special=mask_special), clean_batch()
    words = batch.real_BT if mask_special else torch.tensor([[0, 1, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(model.words(batch.ids_BT, batch.real_BT), words)
    vectors = model.backbone.get_input_embeddings()(batch.ids_BT)
    masks = torch.where(words, model.mask.importance(vectors), 1.0)
    caught = catch_input(model.backbone, "inputs_embeds")
    logits = model(batch.ids_BT, batch.real_BT).logits_BC
    selected = vectors * masks[..., None]
    torch.testing.assert_close(caught[0], selected)
    if not mask_special:
        special = batch.real_BT & ~words
        assert torch.equal(caught[0][special], vectors[special])
    states = model.backbone(inputs_embeds=selected, attention_mask=batch.real_BT.long())
    first = states.pooler_output if "pooler_output" in states else states.last_hidden_state[:, 0]
    torch.testing.assert_close(logits, model.output(first))


@pytest.mark.parametrize("mask_special", [False, True])
@EVERY
def test_contextual_masks_multiply_the_embedding_layers_output(name: str, mask_special: bool) -> None:
    model, batch = make_model(name, contextual=True, mask_special=mask_special), CLEAN.batch([0])
    layer = model.backbone.embeddings
    # Of a text without padding the layer makes the same of integers as of their vectors.
    embedded = layer(batch.ids_BT)
    words = batch.real_BT if mask_special else torch.tensor([[False, True, True, True, False]])
    masks = torch.where(words, model.mask.importance(embedded), 1.0)
    expected = model.backbone.encoder(embedded * masks[..., None], batch.real_BT.long() if name == "deberta" else None)
    first = expected.last_hidden_state[:, 0] if name == "deberta" else model.backbone.pooler(expected.last_hidden_state)
    prediction = model(batch.ids_BT, batch.real_BT)
    torch.testing.assert_close(prediction.logits_BC, model.output(first))
    torch.testing.assert_close(prediction.log_odds_BT, model.mask.log_odds(embedded))
    assert torch.equal(layer(batch.ids_BT), embedded)  # nothing stays behind


@pytest.mark.parametrize("mask_special", [False, True])
@CONTEXTUAL
def test_masked_words_get_no_attention_in_training_only(contextual: bool, mask_special: bool) -> None:
    model = make_model("bert", mask_attention=True, contextual=contextual, mask_special=mask_special)
    batch = clean_batch()
    caught, masks = catch_input(model.backbone, "attention_mask"), catch_output(model.mask)
    model(batch.ids_BT, batch.real_BT)
    assert torch.equal(caught[0], batch.real_BT.long())
    model.train()
    for seed in range(5):
        torch.manual_seed(seed)
        model(batch.ids_BT, batch.real_BT)
        kept = (masks[-1][0] > 0.5) | ~model.words(batch.ids_BT, batch.real_BT)
        assert torch.equal(caught[-1], (batch.real_BT & kept).long())
    assert any(not torch.equal(attention, caught[0]) for attention in caught)
    plain = make_model("bert", contextual=contextual, mask_special=mask_special).train()
    caught = catch_input(plain.backbone, "attention_mask")
    plain(batch.ids_BT, batch.real_BT)
    assert torch.equal(caught[0], batch.real_BT.long())


@pytest.mark.parametrize("pooling", ["first", "mean"])
@CONTEXTUAL
@EVERY
def test_logits_do_not_depend_on_padding(name: str, contextual: bool, pooling: str) -> None:
    model, batch = make_model(name, contextual=contextual, pooling=pooling), clean_batch()
    wide = nn.functional.pad(batch.ids_BT, (0, 6))
    for row, text in enumerate(CLEAN.ids):
        ids = torch.tensor([text])
        alone = model(ids, torch.ones_like(ids, dtype=torch.bool))
        for padded in (batch.ids_BT, wide):
            found = model(padded, padded != 0)
            torch.testing.assert_close(found.logits_BC[row], alone.logits_BC[0], rtol=0, atol=1e-6)
            torch.testing.assert_close(found.log_odds_BT[row, : len(text)], alone.log_odds_BT[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@EVERY
def test_the_first_state_or_the_mean_of_the_real_ones_is_classified(name: str, masked: bool) -> None:
    batch = clean_batch()
    for pooling in ("first", "mean"):
        model = make_model(name, masked, pooling=pooling)
        vectors = model.embed(batch.ids_BT)
        if masked:
            words = model.words(batch.ids_BT, batch.real_BT)
            vectors = torch.where(words, model.mask.importance(vectors), 1.0)[..., None] * vectors
        states = model.backbone(inputs_embeds=vectors, attention_mask=batch.real_BT.long()).last_hidden_state
        if pooling == "mean":
            pooled = torch.stack([states[0].mean(0), states[1, :4].mean(0)])
            assert getattr(model.backbone, "pooler", None) is None
        elif name == "deberta":
            pooled = states[:, 0]
        else:
            pooled = torch.tanh(model.backbone.pooler.dense(states[:, 0]))
        prediction = model(batch.ids_BT, batch.real_BT)
        torch.testing.assert_close(prediction.logits_BC, model.output(pooled))
        assert (prediction.log_odds_BT is None) == (not masked)


@CONTEXTUAL
@EVERY
def test_entropy_counts_only_words(name: str, contextual: bool) -> None:
    model, batch = make_model(name, contextual=contextual), clean_batch()
    log_odds = model(batch.ids_BT, batch.real_BT).log_odds_BT
    terms = Objective(model, ObjectiveConfig(beta=0.1), 10)(batch, None)
    entropies = [bernoulli_entropy(log_odds[0, 1:4]).mean().item(), bernoulli_entropy(log_odds[1, 1:3]).mean().item()]
    assert terms["clean_mask_entropy"].item() == pytest.approx(sum(entropies) / 2, rel=1e-5)


@CONTEXTUAL
@pytest.mark.parametrize("entropy", ["mean", "padded_mean"])
def test_an_embedding_of_another_size_than_the_states_can_be_masked(contextual: bool, entropy: str) -> None:
    model = make_model("deberta", backbone={"embedding_size": 12}, contextual=contextual)
    terms = Objective(model.train(), ObjectiveConfig(entropy=entropy), 10)(clean_batch(), ADVERSARIAL.batch([0, 1]))
    terms["loss"].backward()
    assert model.embedding.weight.grad.abs().sum() > 0


@EVERY
def test_freezing_the_embeddings_freezes_their_whole_layer(name: str) -> None:
    model = make_model(name)
    model.embeddings.requires_grad_(False)
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("backbone.embeddings.")}
    assert "backbone.embeddings.LayerNorm.weight" in frozen
    optimized = {
        value for group in make_optimizer(model, TrainingConfig(), 0.1).param_groups for value in group["params"]
    }
    assert optimized == {value for name, value in model.named_parameters() if name not in frozen}


@EVERY
def test_weight_decay_spares_biases_and_normalisation(name: str) -> None:
    model = make_model(name)
    names = {value: name for name, value in model.named_parameters()}
    config = TrainingConfig(optimizer="adamw", weight_decay=0.1)
    decayed, spared = (
        [names[one] for one in group["params"]] for group in make_optimizer(model, config, 0.1).param_groups
    )
    assert sorted(decayed + spared) == sorted(names.values())
    assert all(one.endswith("bias") or "LayerNorm" in one for one in spared)
    assert not any(one.endswith("bias") or "LayerNorm" in one for one in decayed)


@pytest.mark.parametrize("frozen", [False, True])
@CONTEXTUAL
@pytest.mark.parametrize("name", ["bert", "deberta"])
def test_recomputed_activations_give_the_same_gradients(name: str, contextual: bool, frozen: bool) -> None:
    gradients, calls = [], []
    for recomputed in (False, True):
        model = make_model(name, contextual=contextual).train()
        model.embeddings.requires_grad_(not frozen)
        if recomputed:
            model.recompute_activations()
        calls.append(catch_output(model.backbone.encoder.layer[0].intermediate))
        torch.manual_seed(5)
        Objective(model, ObjectiveConfig(), 10)(clean_batch(), ADVERSARIAL.batch([0, 1]))["loss"].backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert [len(found) for found in calls] == [2, 4]  # clean and adversarial texts, each once more going back
    kept, again = gradients
    assert kept.keys() == again.keys()
    for name, value in kept.items():
        torch.testing.assert_close(again[name], value, rtol=1e-5, atol=1e-7)


@CONTEXTUAL
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_transformer_trains_in_parts_and_compares_importance_in_float32(precision: str, contextual: bool) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    steps = []
    for size in (0, 1):
        model = make_model("bert", backbone=still, contextual=contextual, dropout=0.0, sample_masks=False)
        training = TrainingConfig(batch_size=2, micro_batch=size, precision=precision, checkpointing=size > 0)
        config = Config(objective=ObjectiveConfig(gamma=1.0), training=training)
        loop = Loop(model, TrainingData(CLEAN, ADVERSARIAL, CLEAN), config, "test", learning_rate=1e-3)
        logits, mask_logits = catch_output(model.output), catch_output(model.mask.network)
        loss = loop.train_epoch(1)["loss"]
        assert {output.dtype for output in logits} == {getattr(torch, precision)}
        assert {output.dtype for output in mask_logits} == {torch.float32}
        # Keys' biases shift all of a softmax alike; Adam makes steps of what rounding leaves of their gradients.
        steps.append((loss, {name: value for name, value in model.named_parameters() if "key.bias" not in name}))
    (whole_loss, whole), (loss, parts) = steps
    assert loss == pytest.approx(whole_loss, rel=1e-5 if precision == "float32" else 0.02)
    if precision == "float32":
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-5)


def make_checkpoint(model: Transformer, tokenizer: BertTokenizerFast) -> Checkpoint:
    return Checkpoint(model, model.options, Encoder(WordPieces.from_tokenizer(tokenizer), 12), ("negative", "positive"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"masked": False},
        {"pooling": "mean", "masked": False},
        {"contextual": True, "pooling": "mean", "mask_special": True, "backbone": {"hidden_dropout_prob": 0.3}},
    ],
)
@EVERY
def test_a_checkpoint_is_saved_and_loaded(
    name: str, options: dict[str, Any], tokenizer: BertTokenizerFast, tmp_path: Path
) -> None:
    saved = make_checkpoint(make_model(name, **options), tokenizer)
    folder = Folder(tmp_path / "checkpoint")
    checkpoints.save(saved, folder)
    assert sorted(folder.names()) == ["checkpoint.json", "model.safetensors"]
    loaded = checkpoints.load(folder)
    assert (loaded.config, loaded.encoder, loaded.label_names) == (saved.config, saved.encoder, saved.label_names)
    before, after = saved.model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert repr(loaded.model) == repr(saved.model)  # dropouts too
    texts = ["good film", "bad", "A goodness; of films is unheard ***", ""]
    assert torch.equal(saved.probabilities(texts), loaded.probabilities(texts))
    fingerprint = checkpoints.fingerprint(folder)
    checkpoints.save(loaded, folder)
    assert checkpoints.fingerprint(folder) == fingerprint
    loaded.model.output.bias.data += 1
    checkpoints.save(loaded, folder)
    assert checkpoints.fingerprint(folder) != fingerprint


def encoder_config(folder: Path | str | None, **options: Any) -> ModelConfig:
    return ModelConfig(name="encoder", encoder=None if folder is None else str(folder), **options)


def test_a_checkpoint_does_not_depend_on_the_encoders_folder(
    encoder_folder: Path, sentences: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(encoder_folder, tmp_path / "elsewhere")
    fingerprints = []
    for number, source in enumerate((encoder_folder, tmp_path / "elsewhere")):
        config = Config(model=encoder_config(source), data=DataConfig(max_length=20))
        checkpoint, made_of = initial(config, sentences, masked=True)
        assert made_of.startswith(f"encoder: {source}")
        checkpoints.save(checkpoint, Folder(tmp_path / str(number)))
        fingerprints.append(checkpoints.fingerprint(Folder(tmp_path / str(number))))
    assert fingerprints[0] == fingerprints[1]


def test_an_initial_transformer_has_the_encoders_weights_and_a_fresh_output_layer(
    encoder_folder: Path, sentences: Dataset
) -> None:
    config = Config(model=encoder_config(encoder_folder), data=DataConfig(max_length=20))
    checkpoint, _ = initial(config, sentences, masked=False)
    original = BertModel.from_pretrained(encoder_folder).state_dict()
    found = checkpoint.model.backbone.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in original.items())
    assert checkpoint.model.mask is None
    assert checkpoint.encoder.encode("a good film") == tuple(
        PIECES.index(name) for name in ("[CLS]", "a", "good", "film", "[SEP]")
    )
    again, _ = initial(config, sentences, masked=False)
    assert torch.equal(again.model.output.weight, checkpoint.model.output.weight)


def test_half_precision_weights_are_trained_in_float32(
    encoder_folder: Path, sentences: Dataset, tmp_path: Path
) -> None:
    shutil.copytree(encoder_folder, tmp_path / "half")
    BertModel.from_pretrained(encoder_folder).half().save_pretrained(tmp_path / "half")
    checkpoint, _ = initial(
        Config(model=encoder_config(tmp_path / "half"), data=DataConfig(max_length=24)), sentences, masked=True
    )
    checkpoints.save(checkpoint, Folder(tmp_path / "checkpoint"))
    for model in (checkpoint.model, checkpoints.load(Folder(tmp_path / "checkpoint")).model):
        assert {value.dtype for value in model.parameters()} == {torch.float32}


def dropouts(model: Transformer) -> set[float]:
    return {module.p for module in model.backbone.modules() if isinstance(module, nn.Dropout)}


@pytest.mark.parametrize(("dropout", "expected"), [(None, {0.1}), (0.0, {0.0}), (0.3, {0.3})])
def test_the_config_sets_the_encoders_dropout(
    dropout: float | None, expected: set[float], encoder_folder: Path, tokenizer: BertTokenizerFast, tmp_path: Path
) -> None:
    model, _ = encoders.pretrained(encoder_config(encoder_folder, encoder_dropout=dropout), classes=2)
    assert dropouts(model) == expected
    checkpoints.save(make_checkpoint(model, tokenizer), Folder(tmp_path))
    assert dropouts(checkpoints.load(Folder(tmp_path)).model) == expected


def save_encoder(folder: Path, tokenizer: BertTokenizerFast, backbone: PreTrainedModel | None) -> Path:
    tokenizer.save_pretrained(folder)
    if backbone is not None:
        backbone.save_pretrained(folder)
    return folder


def distilbert() -> DistilBertModel:
    settings = {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 40}
    return DistilBertModel(DistilBertConfig(vocab_size=len(PIECES), **settings))


def clip() -> CLIPTextModel:
    settings = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(PIECES), max_position_embeddings=40, **settings))


def esm() -> EsmModel:
    settings = {"token_dropout": True, "position_embedding_type": "rotary", "pad_token_id": 0, "mask_token_id": 4}
    return EsmModel(EsmConfig(vocab_size=len(PIECES), **SIZES, **settings))


def assert_one_sentence(error: pytest.ExceptionInfo[UserError]) -> None:
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (None, {}, "cannot load the encoder .* give its folder with --model.encoder"),
        (distilbert, {"contextual": True}, "--model.contextual needs an encoder whose layer `embeddings` takes"),
        (clip, {}, "does not take word embeddings"),
        (esm, {}, "uses token information beyond the embedding"),
    ],
)
def test_encoders_that_cannot_be_used_are_refused(
    backbone: Callable[[], PreTrainedModel] | None,
    options: dict[str, Any],
    message: str,
    tokenizer: BertTokenizerFast,
    tmp_path: Path,
) -> None:
    save_encoder(tmp_path, tokenizer, backbone and backbone())
    with pytest.raises(UserError, match=message) as error:
        encoders.pretrained(encoder_config(tmp_path, **options), classes=2)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (None, "--model.name encoder needs --model.encoder"),
        ("flat-dist/no-such-encoder", "cannot load the encoder 'flat-dist/no-such-encoder'"),
        ("no/such/folder", "cannot load the encoder 'no/such/folder'"),
    ],
)
def test_unavailable_encoders_are_refused_before_any_work(encoder: str | None, message: str) -> None:
    for attempt in (encoders.check, lambda config: encoders.pretrained(config, classes=2)):
        with pytest.raises(UserError, match=message) as error:
            attempt(encoder_config(encoder))
        assert_one_sentence(error)


def damage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def other_sizes(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 32', '"intermediate_size": 64'))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "unheard-of"}'),
        damage,
        other_sizes,
    ],
)
def test_an_incomplete_or_damaged_folder_is_refused(
    harm: Callable[[Path], Any], encoder_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder, folder)
    harm(folder)
    with pytest.raises(UserError, match="cannot load the encoder") as error:
        encoders.pretrained(encoder_config(folder), classes=2)
    assert_one_sentence(error)


def test_an_encoder_without_an_embedding_layer_can_mask_words(tokenizer: BertTokenizerFast, tmp_path: Path) -> None:
    model, pieces = encoders.pretrained(encoder_config(save_encoder(tmp_path, tokenizer, distilbert())), classes=2)
    checkpoints.add_mask(model, model.options)
    probabilities = Checkpoint(model, model.options, Encoder(pieces, 12), ("x", "y")).probabilities(["a film", "good"])
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2))


@pytest.fixture(scope="module")
def minilm(sentences: Dataset) -> Checkpoint:
    config = ModelConfig(name="minilm", pooling="mean")
    return initial(Config(model=config, data=DataConfig(max_length=24)), sentences, masked=True)[0]


def test_minilm_has_the_special_pieces_of_its_tokenizer(minilm: Checkpoint) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoders.source(minilm.config))
    assert list(minilm.encoder.encode("a good film .")) == tokenizer("a good film .").input_ids
    assert minilm.model.around == (1, 1)


@pytest.mark.usefixtures("one_thread")
def test_minilm_is_batch_invariant(minilm: Checkpoint, sentences: Dataset) -> None:
    ids = [minilm.encoder.encode(text) for text in sentences.test["text"].to_pylist()[:60]]
    scores = minilm.predict(ids, batch_size=64)
    assert scores.std() > 0
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tolist()
    for size in (1, 3, 7):
        assert torch.equal(minilm.predict([ids[row] for row in order], size), scores[order])


@pytest.mark.parametrize("length", [2, 41])
def test_texts_must_fit_between_special_pieces_and_positions(
    length: int, encoder_folder: Path, sentences: Dataset
) -> None:
    config = Config(model=encoder_config(encoder_folder), data=DataConfig(max_length=length))
    with pytest.raises(UserError, match=f"max-length is {length}, but must be between 3 and 40"):
        initial(config, sentences, masked=False)
