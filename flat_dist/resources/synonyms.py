"""TextFooler's neighbours of words: TextAttack's counter-fitted vectors, a table of the user's, or our stand-in.

The stand-in is GloVe, counter-fitted to WordNet; it is built once, in the folder of the assets.
"""

import dataclasses
import functools
import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from flat_dist.config.errors import UserError
from flat_dist.config.serialization import content_hash
from flat_dist.resources.assets import Assets, plain_values
from flat_dist.resources.counterfitting import Counterfit, counterfit, nearest, neighbour_pairs, unit
from flat_dist.resources.synonym_file import check, read_table
from flat_dist.resources.wordnet import codes, constraints, vocabulary
from flat_dist.runtime.progress import Display
from flat_dist.storage import durable

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from textattack.shared import AbstractWordEmbedding, WordEmbedding

__all__ = [
    "Counterfit",
    "build",
    "check",
    "constraints",
    "counterfit",
    "embedding",
    "nearest",
    "neighbour_recall",
    "neighbours",
    "provenance",
    "read_neighbours",
    "read_original",
    "read_table",
]

FORMAT = 1
"""Version of the method and of the folder's layout: part of the folder's name."""
MARKER = "synonyms.json"
"""Written last; sha256 of the folder's files, by name. A folder whose files have others is built again; each process
looks once (65 MB, 0.1 s), and again when a file has changed."""
FILES = ("neighbours.npy", "vectors.npy", "words.txt")


def build(assets: Assets, config: Counterfit = Counterfit()) -> Path:  # noqa: B008
    """The folder with vectors.npy (V, D), neighbours.npy (V, K + 1) and words.txt of the stand-in, built if need be.

    Any number of processes may call it.

    Raises:
        UserError: the folder of the assets cannot be written.
    """
    folder = assets.folder / f"synonyms-{content_hash(_origin(assets, config))}"
    if _is_whole(folder):
        return folder
    try:
        with filelock.FileLock(assets.folder / "synonyms.lock"):
            if not _is_whole(folder):  # another process may have been at it while this one waited
                durable.make_folder(folder)
                _build(folder, assets, config)
    except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
        raise UserError(f"cannot write {folder} ({error}): set FLAT_DIST_CACHE to a folder that can be") from error
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / MARKER).read_bytes())
        return set(hashes) == set(FILES) and all(durable.sha256(folder / name) == hashes[name] for name in FILES)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _origin(assets: Assets, config: Counterfit) -> dict[str, Any]:
    hashes = {name: assets.provenance()[name]["sha256"] for name in ("wordnet", "word_vectors")}
    return {"format": FORMAT, "lemminflect": version("lemminflect"), **hashes, **dataclasses.asdict(config)}


def _build(folder: Path, assets: Assets, config: Counterfit) -> None:
    with Display() as display:
        if (folder / MARKER).exists():
            display.log_line(f"{folder} is damaged: it is made again")
        with display.stage("Synonyms: reading WordNet", 3) as bar:
            wordnet = _wordnet(assets)
            candidates, glove_GD = assets.glove()
            kept_V = vocabulary(candidates, wordnet, config)
            words, glove_VD = [candidates[index] for index in kept_V], unit(glove_GD[kept_V])
            bar.advance(1)
            pairs = constraints(words, wordnet, config)
            bar.advance(1)
            codes_VD = config.code_weight * codes(words, wordnet, config)
            bar.advance(1)
        with display.stage("Synonyms: neighbours in GloVe", len(words)) as bar:
            original_N2 = neighbour_pairs(nearest(glove_VD, config.preserved, on_progress=bar.advance))
        with display.stage("Synonyms: counter-fitting", config.sweeps) as bar:
            vectors_VD = counterfit(
                np.hstack([glove_VD, codes_VD]),
                pairs.attract_P2,
                pairs.repel_Q2,
                config,
                on_progress=lambda loss: bar.advance(1, f"loss {loss:.0f}"),
                weight_P=pairs.weight_P,
                neighbours_N2=original_N2,
            )
        with display.stage("Synonyms: neighbours", len(words)) as bar:
            neighbours_VK = nearest(vectors_VD, config.neighbours, on_progress=bar.advance)
    _write(folder, words, vectors_VD, neighbours_VK)


def _wordnet(assets: Assets) -> "WordNetCorpusReader":
    import nltk  # a second, that jobs which build no table need not wait for
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    if str(assets.nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(assets.nltk_data))  # NLTK opens no file outside of these folders
    with warnings.catch_warnings(action="ignore"):  # that there are no other languages
        return WordNetCorpusReader(str(assets.nltk_data / "corpora" / "wordnet"), None)


def _write(folder: Path, words: Sequence[str], vectors_VD: np.ndarray, neighbours_VK: np.ndarray) -> None:
    contents = {
        "neighbours.npy": _saved(neighbours_VK),
        "vectors.npy": _saved(vectors_VD),
        "words.txt": "\n".join(words).encode(),
    }
    for name, content in contents.items():
        durable.write(folder / name, content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    durable.write(folder / MARKER, json.dumps(hashes, indent=1).encode())


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def embedding(source: str, assets: Assets) -> "AbstractWordEmbedding":
    """Neighbours for TextAttack's attacks. Call `flat_dist.resources.textattack_setup.activate` before.

    Args:
        source: counterfit (the stand-in, built if need be), original (TextAttack's vectors, downloaded), or the path of
            a JSON table.
        assets: what the stand-in is built from.

    Raises:
        UserError: the original cannot be downloaded, the stand-in cannot be written, or the table is no table.
    """
    if source == "counterfit":
        return _standin(build(assets))
    if source == "original":
        return _original()
    from flat_dist.resources.table_embedding import TableEmbedding

    return TableEmbedding(read_table(Path(source)))


def neighbours(source: str, assets: Assets) -> dict[str, list[str]]:
    """Each word's neighbours, nearest first; TextAttack is imported for `original` alone.

    Args:
        source: as in `embedding`. Of the original, as many neighbours of each word as the stand-in has.
        assets: what the stand-in is built from.

    Raises:
        UserError: as `embedding`.
    """
    if source == "counterfit":
        return read_neighbours(build(assets))
    if source == "original":
        from flat_dist.resources.textattack_setup import activate

        activate(assets)
        return _neighbours_in(_original(), Counterfit().neighbours)
    return read_table(Path(source))


def _neighbours_in(vectors: "WordEmbedding", count: int) -> dict[str, list[str]]:
    return {
        vectors.index2word(index): [vectors.index2word(other) for other in vectors.nearest_neighbours(index, count)]
        for index in range(len(vectors.embedding_matrix))
    }


def provenance(source: str, assets: Assets) -> dict[str, str]:
    """Where the neighbours come from: source (stand-in, original or user), sha256 of their content, and detail.

    Raises:
        UserError: as `embedding`.
    """
    if source == "counterfit":
        hashes = (build(assets) / MARKER).read_bytes()
        detail = "GloVe 6B 50d counter-fitted to WordNet 3.0"
        return {"source": "stand-in", "sha256": hashlib.sha256(hashes).hexdigest(), "detail": detail}
    if source == "original":
        from flat_dist.resources.textattack_setup import activate

        activate(assets)
        vectors = _original()
        digest = hashlib.sha256(vectors.embedding_matrix.tobytes() + np.asarray(vectors.nn_matrix).tobytes())
        return {"source": "original", "sha256": digest.hexdigest(), "detail": "TextAttack's counter-fitted Paragram"}
    table = read_table(Path(source))
    digest = hashlib.sha256(Path(source).read_bytes())
    return {"source": "user", "sha256": digest.hexdigest(), "detail": f"{Path(source).name}, {len(table)} words"}


def _standin(folder: Path) -> "WordEmbedding":
    from textattack.shared import WordEmbedding

    words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")
    # Mapped, so that all workers of a machine share one copy; and read, so that no page of it comes in later.
    vectors_VD, neighbours_VK = (np.load(folder / name, mmap_mode="r") for name in ("vectors.npy", "neighbours.npy"))
    vectors_VD.max(), neighbours_VK.max()
    index = {word: position for position, word in enumerate(words)}
    return WordEmbedding(vectors_VD, index, dict(enumerate(words)), neighbours_VK)


@functools.cache
def _original() -> "WordEmbedding":
    from textattack.shared import WordEmbedding, utils

    try:
        return read_original(Path(utils.download_from_s3(f"{WordEmbedding.PATH}/paragramcf")))
    except Exception as error:  # whatever the download or a half-downloaded file leads to
        raise UserError(
            f"TextAttack's counter-fitted vectors cannot be loaded ({type(error).__name__}: {error}): connect to the "
            "internet, or use --attack.synonyms counterfit or the path of a JSON table"
        ) from error


def read_original(folder: Path) -> "WordEmbedding":
    """TextAttack's counter-fitted vectors, in the folder that it downloads, without running what a pickle there says.

    Its own reader would. Distances, which it unpickles, too, are worked out here when they are asked for.

    Raises:
        pickle.UnpicklingError: the list of words holds anything but plain values.
    """
    from textattack.shared import WordEmbedding

    index = plain_values((folder / "wordlist.pickle").read_bytes())
    vectors_VD, neighbours_VK = np.load(folder / "paragram.npy"), np.load(folder / "nn.npy")
    return WordEmbedding(vectors_VD, index, {position: word for word, position in index.items()}, neighbours_VK)


def read_neighbours(folder: Path) -> dict[str, list[str]]:
    """Each word's neighbours, nearest first, in a folder that `build` made."""
    words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")
    return {words[row[0]]: [words[index] for index in row[1:]] for row in np.load(folder / "neighbours.npy").tolist()}


def neighbour_recall(
    neighbours: Mapping[str, Sequence[str]], reference: Mapping[str, Sequence[str]], per_word: bool = False
) -> float:
    """Share of reference neighbours that are among `neighbours`, over words that both know; NaN if there are none.

    A reference neighbour outside of our vocabulary counts as not found.

    Args:
        neighbours: word to neighbours.
        reference: word to true neighbours; words without any are left out.
        per_word: the mean of the words' shares, instead of the share of all pairs.
    """
    known = {word: others for word, others in reference.items() if others and word in neighbours}
    found = [len(set(others) & set(neighbours[word])) for word, others in known.items()]
    sizes = [len(set(others)) for others in known.values()]
    if not known:
        return float("nan")
    return float(np.mean(np.divide(found, sizes))) if per_word else sum(found) / sum(sizes)
