"""Our replacement for TextAttack's counter-fitted vectors: GloVe, counter-fitted to WordNet.

It is built once, in the folder of the assets.
"""

import dataclasses
import io
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flat_dist.resources.assets import Assets
from flat_dist.resources.built import BuiltResource
from flat_dist.resources.counterfitting import Constraints, Counterfit, counterfit, nearest, neighbour_pairs, unit
from flat_dist.resources.wordnet import codes, constraints, vocabulary
from flat_dist.runtime.progress import Display

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from textattack.shared import WordEmbedding

FORMAT = 1
"""Version of method and layout; part of the folder's name."""
NAME = "synonyms"
FILES = ("neighbours.npy", "vectors.npy", "words.txt")


def resource(config: Counterfit = Counterfit()) -> BuiltResource:  # noqa: B008
    """How the replacement is built: vectors.npy (V, D), neighbours.npy (V, K + 1) and words.txt."""
    return BuiltResource(NAME, FILES, partial(_origin, config=config), partial(_contents, config=config))


def build(assets: Assets, config: Counterfit = Counterfit()) -> Path:  # noqa: B008
    """The folder of the replacement, built if missing.

    Raises:
        UserError: the folder of the assets cannot be written.
    """
    return resource(config).build(assets)


def _origin(assets: Assets, config: Counterfit) -> dict[str, Any]:
    hashes = {name: assets.provenance()[name]["sha256"] for name in ("wordnet", "word_vectors")}
    return {"format": FORMAT, "lemminflect": version("lemminflect"), **hashes, **dataclasses.asdict(config)}


def _contents(assets: Assets, config: Counterfit) -> dict[str, bytes]:
    """The content of each file."""
    with Display() as display:
        words, glove_VD, codes_VD, pairs = _read_inputs(assets, config, display)
        with display.stage("Synonyms: neighbours in GloVe", len(words)) as bar:
            original_N2 = neighbour_pairs(nearest(glove_VD, config.preserved, on_progress=bar.advance))
        with display.stage("Synonyms: counter-fitting", config.sweeps) as bar:
            vectors_VD = counterfit(
                np.hstack([glove_VD, codes_VD]),
                pairs,
                config,
                on_progress=lambda loss: bar.advance(1, f"loss {loss:.0f}"),
                neighbours_N2=original_N2,
            )
        with display.stage("Synonyms: neighbours", len(words)) as bar:
            neighbours_VK = nearest(vectors_VD, config.neighbours, on_progress=bar.advance)
    return _files(words, vectors_VD, neighbours_VK)


def _files(words: Sequence[str], vectors_VD: np.ndarray, neighbours_VK: np.ndarray) -> dict[str, bytes]:
    return {
        "neighbours.npy": _to_npy(neighbours_VK),
        "vectors.npy": _to_npy(vectors_VD),
        "words.txt": "\n".join(words).encode(),
    }


def _read_inputs(
    assets: Assets, config: Counterfit, display: Display
) -> tuple[list[str], np.ndarray, np.ndarray, Constraints]:
    """The vocabulary, its unit GloVe vectors (V, D), its codes (V, D), and the constraints from WordNet."""
    with display.stage("Synonyms: reading WordNet", 3) as bar:
        wordnet = _wordnet(assets)
        candidates, glove_GD = assets.glove()
        vocabulary_V = vocabulary(candidates, wordnet, config)
        words, glove_VD = [candidates[index] for index in vocabulary_V], unit(glove_GD[vocabulary_V])
        bar.advance(1)
        pairs = constraints(words, wordnet, config)
        bar.advance(1)
        codes_VD = config.code_weight * codes(words, wordnet, config)
        bar.advance(1)
    return words, glove_VD, codes_VD, pairs


def _wordnet(assets: Assets) -> "WordNetCorpusReader":
    import nltk  # takes a second
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    if str(assets.nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(assets.nltk_data))  # NLTK opens files only in these folders
    with warnings.catch_warnings(action="ignore"):  # about missing languages
        return WordNetCorpusReader(str(assets.nltk_data / "corpora" / "wordnet"), None)


def _to_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def read_neighbours(folder: Path) -> dict[str, list[str]]:
    """Each word's neighbours, nearest first, in a folder from `build`."""
    words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")
    return {words[row[0]]: [words[index] for index in row[1:]] for row in np.load(folder / "neighbours.npy").tolist()}


def load(folder: Path) -> "WordEmbedding":
    """The neighbours as TextAttack takes them. Call `flat_dist.resources.textattack_setup.activate` first."""
    from textattack.shared import WordEmbedding

    words = (folder / "words.txt").read_text(encoding="utf-8").split("\n")
    # Memory-mapped, so that all workers of a machine share one copy; `max` reads all of it now.
    vectors_VD, neighbours_VK = (np.load(folder / name, mmap_mode="r") for name in ("vectors.npy", "neighbours.npy"))
    vectors_VD.max(), neighbours_VK.max()
    index = {word: position for position, word in enumerate(words)}
    return WordEmbedding(vectors_VD, index, dict(enumerate(words)), neighbours_VK)
