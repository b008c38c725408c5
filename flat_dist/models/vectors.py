"""Pretrained word vectors for a vocabulary: built-in GloVe, or a file in the format of GloVe or word2vec."""

import functools
import hashlib
import itertools
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flat_dist.config.errors import UserError
from flat_dist.config.schema import ModelConfig
from flat_dist.data.text_files import other_format
from flat_dist.resources import assets

BUILT_IN, BUILT_IN_SIZE = "glove-6b-50d", 50

CHECKED_LINES = 20_000
"""Vectors of a file that `check` reads; the others are checked when they are used."""

HEADER = re.compile(rb"(\d{1,12})[ \t](\d{1,6})[ \t\r]*\n")
"""First line of word2vec's formats: the number of words, and the size of a vector."""

FASTTEXT = b"\xba\x16\x4f\x2f"
"""First bytes of fastText's own binary format."""

CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def initial_vectors(config: ModelConfig, words: Sequence[str], seed: int) -> tuple[np.ndarray, int]:
    """Vectors (V, D) for `words`, and the number of pretrained ones.

    Words without a pretrained vector get components drawn from U(-0.25, 0.25) (Kim 2014); word 0, padding, is zero. If
    a file has a word twice, the first vector counts.

    Raises:
        UserError: the file of vectors is missing or malformed, or its vectors have another size than the config's.
    """
    generator = np.random.default_rng(seed)
    vectors_VD = generator.uniform(-0.25, 0.25, (len(words), config.embedding_dim)).astype(np.float32)
    vectors_VD[0] = 0.0
    missing = {word: position for position, word in enumerate(words)}
    for word, vector_D in _pretrained(config):
        if word in missing:
            vectors_VD[missing.pop(word)] = vector_D
    return vectors_VD, len(words) - len(missing)


def check(config: ModelConfig) -> None:
    """Raise UserError if the pretrained vectors are missing, malformed near the start, or of another size."""
    if config.vectors == BUILT_IN:
        _check_size(config, BUILT_IN_SIZE)
        return
    for _ in itertools.islice(_pretrained(config), CHECKED_LINES):
        pass


def fingerprint(config: ModelConfig) -> str | None:
    """Identity of the vectors: the name of the built-in ones, or the hash of a file's content."""
    if not _is_file(config) or not Path(str(config.vectors)).is_file():
        return config.vectors
    path = Path(str(config.vectors)).resolve()
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _is_file(config: ModelConfig) -> bool:
    return config.vectors not in (None, BUILT_IN)


def _pretrained(config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Words and their vectors, in the file's order; the size is checked."""
    if config.vectors is None:
        return
    if config.vectors == BUILT_IN:
        for word, vector_D in zip(*assets.prepare().glove(), strict=True):
            _check_size(config, len(vector_D))
            yield word, vector_D
        return
    path = Path(config.vectors)
    head = _read_head(config, path)
    header = HEADER.match(head)
    _check_kind(path, head, header is not None)
    if header is None:
        yield from _read_text(config, path, 0, None)
        return
    _check_size(config, int(header[2]))
    start, count = header.end(), int(header[1])
    if _is_binary(head[start:], config.embedding_dim):
        yield from _read_binary(path, start, count, config.embedding_dim)
    else:
        yield from _read_text(config, path, start, count)


def _read_head(config: ModelConfig, path: Path) -> bytes:
    """The first bytes of the file."""
    if not path.is_file():
        raise UserError(
            f"--model.vectors {config.vectors!r} is not a file: give a file of word vectors, {BUILT_IN}, or none"
        )
    try:
        with path.open("rb") as file:
            return file.read(2**16)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _check_size(config: ModelConfig, size: int) -> None:
    if size != config.embedding_dim:
        raise UserError(
            f"{config.vectors} has vectors of size {size}, but --model.embedding-dim is {config.embedding_dim}: set it "
            f"to {size}"
        )


def _check_kind(path: Path, head: bytes, has_header: bool) -> None:
    """Raise UserError if the file has another known format."""
    if not head.strip():
        raise UserError(f"{path} is empty: name a file of word vectors")
    problem = other_format(head) or ("fastText's own format: name its .vec file" if head.startswith(FASTTEXT) else "")
    if problem:
        raise UserError(f"{path} is {problem}")
    if not has_header and b"\0" in head:
        raise UserError(
            f"{path} is neither a text file nor word2vec's binary format, which begins with the number of words and "
            "their size: save the vectors as one of them"
        )


def _is_binary(body: bytes, size: int) -> bool:
    """Whether the content after a header is word2vec's binary format, not text."""
    line = body.partition(b"\n")[0]
    if _numbers(line.rsplit(None, size)[1:]) is not None:
        return False
    return CONTROL.search(body[: 64 + 4 * size]) is not None


def _read_binary(path: Path, start: int, count: int, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """word2vec's binary format: a word, a space, and the numbers as float32; mapped, not read into memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number in range(1, count + 1):
            space = content.find(b" ", start)
            end = space + 1 + 4 * size
            if space < 0 or end > len(content):
                raise UserError(f"{path} holds {number - 1} words, but its header says {count}: download it again")
            word = content[start:space].lstrip(b"\n").decode("utf-8", "replace")  # the C tool may cut words
            vector_D = np.frombuffer(content[space + 1 : end], dtype="<f4").astype(np.float32)
            if not np.isfinite(vector_D).all():
                raise UserError(f"{path}: the vector of word {number}, {word[:40]!r}, is not finite: fix or remove it")
            yield word, vector_D
            start = end


def _read_text(config: ModelConfig, path: Path, start: int, count: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Text format: on each line a word and its numbers; words may have spaces, as in GloVe 840B."""
    size, count_read = config.embedding_dim, 0
    with path.open("rb") as lines:
        lines.seek(start)
        for number, line in enumerate(lines, 1 if count is None else 2):
            if not line.strip():
                continue
            if not count_read:
                _check_first(config, line)
            word, *numbers = line.rsplit(None, size)
            vector_D = _numbers(numbers) if len(numbers) == size else None
            if vector_D is None:
                raise UserError(f"{path}:{number} is not a word followed by {size} numbers: fix or remove the line")
            if not np.isfinite(vector_D).all():
                raise UserError(f"{path}:{number} holds a number that is not finite: fix or remove the line")
            try:
                text = word.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                byte = word[error.start]
                raise UserError(f"{path}:{number}: not UTF-8 (byte {byte:#04x}): save it as UTF-8") from error
            count_read += 1
            yield text, vector_D
    if count is not None and count_read != count:
        raise UserError(
            f"{path} holds {count_read} words, but its header says {count}: download it again, or fix its first line"
        )


def _check_first(config: ModelConfig, line: bytes) -> None:
    """Raise UserError if the first line ends in another number of numbers than the config's size."""
    if size := sum(1 for _ in itertools.takewhile(_is_number, reversed(line.split()[1:]))):
        _check_size(config, size)


def _numbers(fields: Sequence[bytes]) -> np.ndarray | None:
    """Fields of a line as numbers; None if there are none, or one is not a number."""
    try:
        with np.errstate(over="ignore"):  # too large becomes infinite, which is refused later
            return np.array(fields, dtype=np.float32) if fields else None
    except ValueError:
        return None


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
