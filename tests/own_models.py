"""Small fine-tuned classifiers, as Hugging Face's libraries save them."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,
}


def bert_tokenizer(folder: Path, words: list[str]) -> BertTokenizerFast:
    letters = sorted(set("".join(words)))
    pieces = dict.fromkeys(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{one}" for one in letters)]
    )
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)


def byte_level_tokenizer(folder: Path, texts: list[str]) -> PreTrainedTokenizerFast:
    """As RoBERTa's: case counts, and a space belongs to the piece after it."""
    from tokenizers import ByteLevelBPETokenizer

    learned = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learned.train_from_iterator(texts, vocab_size=600, special_tokens=special, show_progress=False)
    learned.save_model(str(folder))
    return RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))


def classes_of(names: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def save_bert(folder: Path, texts: list[str], names: tuple[str, ...] = ("NEGATIVE", "POSITIVE")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = bert_tokenizer(folder, sorted({word for text in texts for word in text.split()}))
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **SIZES, **classes_of(names))
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_roberta(folder: Path, texts: list[str], names: tuple[str, ...] = ("a", "b", "c")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_tokenizer(folder, texts)
    torch.manual_seed(2)
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, **SIZES, **classes_of(names)
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
