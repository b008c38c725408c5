"""Pretrained word vectors for a vocabulary."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flat_dist import assets
from flat_dist.config import ModelConfig, UserError

BUILT_IN = "glove-6b-50d"


def initial_vectors(config: ModelConfig, words: Sequence[str], seed: int) -> tuple[np.ndarray, int]:
    """Vectors (V, D) for `words`, and how many of them are pretrained.

    Words without a pretrained vector get components drawn from U(-0.25, 0.25) (Kim 2014); word 0, padding, is zero.

    Raises:
        UserError: the file of vectors is missing or malformed, or its vectors have another size than the config's.
    """
    generator = np.random.default_rng(seed)
    vectors_VD = generator.uniform(-0.25, 0.25, (len(words), config.embedding_dim)).astype(np.float32)
    vectors_VD[0] = 0.0
    index = {word: position for position, word in enumerate(words)}
    found = 0
    for word, vector_D in _pretrained(config.vectors):
        _check_size(config, vector_D)
        if word in index:
            vectors_VD[index[word]] = vector_D
            found += 1
    return vectors_VD, found


def check(config: ModelConfig) -> None:
    """Raise UserError if the pretrained vectors are missing, or of another size than the config's."""
    for _, vector_D in itertools.islice(_pretrained(config.vectors), 1):
        _check_size(config, vector_D)


def _check_size(config: ModelConfig, vector_D: np.ndarray) -> None:
    if vector_D.shape != (config.embedding_dim,):
        raise UserError(
            f"{config.vectors} has vectors of size {vector_D.size}, but --model.embedding_dim is "
            f"{config.embedding_dim}: set it to {vector_D.size}"
        )


def _pretrained(source: str | None) -> Iterator[tuple[str, np.ndarray]]:
    if source is None:
        return
    if source == BUILT_IN:
        yield from zip(*assets.prepare().glove(), strict=True)
        return
    path = Path(source)
    if not path.is_file():
        raise UserError(f"--model.vectors {source!r} is neither {BUILT_IN!r} nor a file of word vectors")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            word, *numbers = line.rstrip().split(" ")
            if number == 1 and len(numbers) == 1:  # word2vec's header: words, size
                continue
            try:
                yield word, np.array(numbers, dtype=np.float32)
            except ValueError as error:
                raise UserError(f"{source}:{number} is not a word followed by numbers") from error
