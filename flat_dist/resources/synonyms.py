"""Synonyms for TextFooler: counter-fitted GloVe, TextAttack's counter-fitted vectors, or the user's own table."""

import functools
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flat_dist.config.errors import UserError
from flat_dist.resources import counterfitted_glove, textattack_vectors
from flat_dist.resources.assets import Assets
from flat_dist.resources.counterfitting import Counterfit
from flat_dist.resources.synonym_file import read_table
from flat_dist.resources.textattack_vectors import WordVectors

if TYPE_CHECKING:
    from textattack.shared import AbstractWordEmbedding, WordEmbedding


def embedding(source: str, assets: Assets) -> "AbstractWordEmbedding":
    """Neighbours for TextAttack's attacks. Call `flat_dist.resources.textattack_setup.activate` first.

    Args:
        source: counterfit (counter-fitted GloVe, built if missing), original (TextAttack's vectors, downloaded), or
            the path of a JSON table or of a folder with TextAttack's vectors.
        assets: inputs of counter-fitted GloVe.

    Raises:
        UserError: the download or the build fails, or the table is not valid.
    """
    if source == "counterfit":
        return counterfitted_glove.load(counterfitted_glove.build(assets))
    if source == "original":
        return _original()
    if Path(source).is_dir():
        return _in_folder(Path(source).absolute())
    from flat_dist.resources.table_embedding import TableEmbedding

    return TableEmbedding(read_table(Path(source)))


def neighbours(source: str, assets: Assets) -> dict[str, list[str]]:
    """Each word's neighbours, nearest first; only TextAttack's vectors import it.

    Args:
        source: as in `embedding`; from TextAttack's vectors, as many neighbours per word as counter-fitted GloVe has.
        assets: inputs of counter-fitted GloVe.

    Raises:
        UserError: as in `embedding`.
    """
    if source == "counterfit":
        return counterfitted_glove.read_neighbours(counterfitted_glove.build(assets))
    if source == "original" or Path(source).is_dir():
        from flat_dist.resources.textattack_setup import activate

        activate(assets)
        vectors = _original() if source == "original" else _in_folder(Path(source).absolute())
        return _neighbours_in(vectors, Counterfit().neighbours)
    return read_table(Path(source))


def vectors_of(words: Sequence[str], source: str, assets: Assets) -> tuple[list[int], np.ndarray]:
    """Vectors (N, D) of the space in which neighbours are near, and their rows in `words`; a JSON table has none.

    Args:
        words: some of them may have no vector.
        source: as in `embedding`.
        assets: inputs of counter-fitted GloVe.

    Raises:
        UserError: as in `embedding`.
    """
    from flat_dist.resources.textattack_setup import activate

    activate(assets)
    known = embedding(source, assets)
    found = {row: vector_D for row, word in enumerate(words) if (vector_D := known[word]) is not None}
    return list(found), np.array(list(found.values()))


def _neighbours_in(vectors: "WordEmbedding", count: int) -> dict[str, list[str]]:
    return {
        vectors.index2word(index): [vectors.index2word(other) for other in vectors.nearest_neighbours(index, count)]
        for index in range(len(vectors.embedding_matrix))
    }


def provenance(source: str, assets: Assets) -> dict[str, str]:
    """Source of the neighbours (stand-in, original or user), sha256 of their content, and details.

    Raises:
        UserError: as in `embedding`.
    """
    if source == "counterfit":
        fingerprint = counterfitted_glove.resource().fingerprint(assets)
        return {"source": "stand-in", "sha256": fingerprint, "detail": "GloVe 6B 50d counter-fitted to WordNet 3.0"}
    if source == "original":
        from flat_dist.resources.textattack_setup import activate

        activate(assets)
        vectors = _original()
        digest = hashlib.sha256(vectors.embedding_matrix.tobytes() + np.asarray(vectors.nn_matrix).tobytes())
        return {"source": "original", "sha256": digest.hexdigest(), "detail": "TextAttack's counter-fitted Paragram"}
    if Path(source).is_dir():
        words = len(textattack_vectors.read(Path(source)).index)
        detail = f"counter-fitted vectors in {Path(source).name}, {words} words"
        return {"source": "user", "sha256": textattack_vectors.sha256(Path(source)), "detail": detail}
    table = read_table(Path(source))
    digest = hashlib.sha256(Path(source).read_bytes())
    return {"source": "user", "sha256": digest.hexdigest(), "detail": f"{Path(source).name}, {len(table)} words"}


@functools.cache
def _original() -> "WordEmbedding":
    from textattack.shared import WordEmbedding, utils

    try:
        folder = Path(utils.download_from_s3(f"{WordEmbedding.PATH}/paragramcf"))
        try:
            return read_original(folder)
        except Exception:  # an interrupted download leaves half a folder, which TextAttack takes for the whole
            shutil.rmtree(folder)
        return read_original(Path(utils.download_from_s3(f"{WordEmbedding.PATH}/paragramcf")))
    except Exception as error:  # a failed download can raise any error
        # Without its traceback, which would keep TextAttack's lock of the download from being released.
        cause = error.with_traceback(None)
        raise UserError(
            f"TextAttack's counter-fitted vectors cannot be loaded ({type(error).__name__}: {error}): connect to the "
            "internet, or use --attack.synonyms counterfit or the path of a JSON table"
        ) from cause


def read_original(folder: Path) -> "WordEmbedding":
    """TextAttack's counter-fitted vectors from its downloaded folder; see `flat_dist.resources.textattack_vectors`."""
    return _embedding(textattack_vectors.load(folder))


@functools.cache
def _in_folder(folder: Path) -> "WordEmbedding":
    return _embedding(textattack_vectors.read(folder))


def _embedding(vectors: WordVectors) -> "WordEmbedding":
    from textattack.shared import WordEmbedding

    words = {position: word for word, position in vectors.index.items()}
    return WordEmbedding(vectors.vectors_VD, vectors.index, words, vectors.neighbours_VK)


def neighbour_recall(
    neighbours: Mapping[str, Sequence[str]], reference: Mapping[str, Sequence[str]], per_word: bool = False
) -> float:
    """Share of reference neighbours that are in `neighbours`, over words in both; NaN if there are none.

    A reference neighbour outside our vocabulary counts as missing.

    Args:
        neighbours: word to neighbours.
        reference: word to true neighbours; words without any are left out.
        per_word: mean of the words' shares instead of the share of all pairs.
    """
    shared = {word: others for word, others in reference.items() if others and word in neighbours}
    hits = [len(set(others) & set(neighbours[word])) for word, others in shared.items()]
    sizes = [len(set(others)) for others in shared.values()]
    if not shared:
        return float("nan")
    return float(np.mean(np.divide(hits, sizes))) if per_word else sum(hits) / sum(sizes)
