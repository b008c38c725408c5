"""Files of word vectors: what is read, and what is refused before any work."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.models import vectors

WORDS = ["film", "naïve", "the", "of"]
VECTORS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def config(path: Path) -> ModelConfig:
    return ModelConfig(vectors=str(path), embedding_dim=5)


def written(path: Path, content: bytes) -> ModelConfig:
    path.write_bytes(content)
    return config(path)


def rows(words: list[str], between: str = " ") -> bytes:
    lines = (between.join([word, *map(repr, map(float, row))]) for word, row in zip(words, VECTORS, strict=False))
    return "".join(f"{line}\n" for line in lines).encode()


def binary(words: list[str], end: bytes) -> bytes:
    packed = (
        word.encode() + b" " + row.astype("<f4").tobytes() + end for word, row in zip(words, VECTORS, strict=False)
    )
    return f"{len(words)} 5\n".encode() + b"".join(packed)


def read(model: ModelConfig, words: list[str]) -> np.ndarray:
    vectors.check(model)
    found, count = vectors.initial_vectors(model, ["<pad>", *words], seed=0)
    assert count == len(words)
    return found[1:]


@pytest.mark.parametrize(
    "content",
    [
        rows(WORDS),
        b"4 5\n" + rows(WORDS),
        b"4 5 \r\n" + rows(WORDS).replace(b"\n", b" \r\n"),
        rows(WORDS, "\t"),
        rows(WORDS) + b"\n",
        binary(WORDS, b""),  # as gensim writes it
        binary(WORDS, b"\n"),  # as the tool in C does
    ],
    ids=["glove", "word2vec", "windows", "tabs", "blank end", "binary", "binary with line ends"],
)
def test_the_formats_of_glove_and_word2vec(content: bytes, tmp_path: Path) -> None:
    assert (read(written(tmp_path / "v", content), WORDS) == VECTORS).all()


def test_words_may_have_spaces_and_the_first_duplicate_counts(tmp_path: Path) -> None:
    model = written(tmp_path / "v", rows(["film", ". . .", "at name@domain.com", "film"]))
    assert (read(model, ["film", ". . ."]) == VECTORS[:2]).all()


def test_words_with_invalid_bytes_are_skipped_in_binary_files(tmp_path: Path) -> None:
    content = binary(["film", "xx", "the"], b"").replace(b"xx ", b"x\xc3 ")
    assert (read(written(tmp_path / "v", content), ["film", "the"]) == VECTORS[[0, 2]]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (rows(["film"]).replace(b"film", b"na\xefve"), "v:1: not UTF-8 \\(byte 0xef\\)"),
        (b"film 1 2 3\n", "has vectors of size 3, but --model.embedding-dim is 5: set it to 3"),
        (b"9 3\nfilm 1 2 3\n", "has vectors of size 3"),
        (b"film 1 2 3 4 5\nthe 1 2 3\n", "v:2 is not a word followed by 5 numbers"),
        (b"film 1 2 3 4 5\nthe 1 2 x 4 5\n", "v:2 is not a word followed by 5 numbers"),
        (b"film 1 nan 3 4 5\n", "v:1 holds a number that is not finite"),
        (b"film 1 2 3 4 inf\n", "v:1 holds a number that is not finite"),
        (b"film 1 2 3 4 1e39\n", "v:1 holds a number that is not finite"),
        (b"2 5\nfilm 1 2 3 4 5\n", "v holds 1 words, but its header says 2"),
        (b"text,label\nfine film,1\n", "v:1 is not a word followed by 5 numbers"),
        (gzip.compress(rows(WORDS), mtime=0), "is compressed \\(gzip\\): unpack it"),
        (b"PK\x03\x04", "zip archive"),
        (b"\xba\x16\x4f\x2f" + bytes(60), "fastText's own format: name its .vec file"),
        (b"\x80\x04\x95" + bytes(60), "neither a text file nor word2vec's binary format"),
        (binary(WORDS, b"")[:-3], "holds 3 words, but its header says 4"),
        (binary(["film"], b"")[:-4] + b"\x00\x00\x80\x7f", "the vector of word 1, 'film', is not finite"),
    ],
)
def test_other_files_are_refused_before_any_work(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught, warnings.catch_warnings(action="error"):
        vectors.check(written(tmp_path / "v", content))
    assert "\n" not in str(caught.value)


def test_a_files_fingerprint_depends_on_its_content(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", rows(WORDS)), written(tmp_path / "b", rows(WORDS))
    assert vectors.fingerprint(first) == vectors.fingerprint(second)
    written(tmp_path / "a", rows(WORDS[::-1]))
    assert vectors.fingerprint(first) != vectors.fingerprint(second)
    assert vectors.fingerprint(ModelConfig()) == "glove-6b-50d"
    assert vectors.fingerprint(ModelConfig(vectors=None)) is None
