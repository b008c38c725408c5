"""TextAttack's counter-fitted vectors in a folder, as it downloads them; no code in a pickle is run.

TextAttack's own reader would run it. The pickles of distances, which it also reads, are not needed: they are computed.
"""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flat_dist.config.errors import UserError, first_line
from flat_dist.resources.packages import plain_values
from flat_dist.storage import durable

VECTORS, WORDS, NEIGHBOURS = FILES = ("paragram.npy", "wordlist.pickle", "nn.npy")


@dataclass(frozen=True)
class WordVectors:
    """Words with vectors (V, D), and the rows of each word's neighbours (V, K), the word itself first."""

    index: dict[str, int]
    """Row of each word."""
    vectors_VD: np.ndarray
    neighbours_VK: np.ndarray


def load(folder: Path) -> WordVectors:
    """Read the folder.

    Raises:
        pickle.UnpicklingError: the list of words has anything but plain values.
        OSError: a file is missing, or cannot be read.
        ValueError: a file has another layout.
    """
    index = plain_values((folder / WORDS).read_bytes())
    vectors_VD, neighbours_VK = np.load(folder / VECTORS), np.load(folder / NEIGHBOURS)
    if not isinstance(index, dict) or not all(isinstance(word, str) for word in index):
        raise ValueError(f"{WORDS} does not map words to rows")
    if vectors_VD.ndim != 2 or neighbours_VK.ndim != 2 or not len(index) == len(vectors_VD) == len(neighbours_VK) > 0:
        raise ValueError(f"{WORDS}, {VECTORS} and {NEIGHBOURS} do not have one row a word")
    if sorted(index.values()) != list(range(len(index))):
        raise ValueError(f"{WORDS} does not number its words from 0")
    if vectors_VD.dtype.kind != "f" or not np.isfinite(vectors_VD).all():
        raise ValueError(f"{VECTORS} has other values than finite numbers")
    if neighbours_VK.dtype.kind not in "iu" or neighbours_VK.min() < 0 or neighbours_VK.max() >= len(index):
        raise ValueError(f"{NEIGHBOURS} names rows that do not exist")
    return WordVectors(index, vectors_VD, neighbours_VK)


def read(folder: Path) -> WordVectors:
    """Read the user's folder.

    Raises:
        UserError: a file is missing, cannot be read, or has another layout.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(
            f"--attack.synonyms {str(folder)!r} has no {' and no '.join(missing)}: give the folder paragramcf as "
            f"TextAttack downloads it, with {', '.join(FILES)}"
        )
    try:
        return load(folder)
    except (OSError, ValueError, TypeError, EOFError, KeyError, IndexError, pickle.UnpicklingError) as error:
        raise UserError(
            f"--attack.synonyms {str(folder)!r} does not have TextAttack's vectors ({first_line(error)}): give the "
            "folder paragramcf as TextAttack downloads it"
        ) from error


def sha256(folder: Path) -> str:
    """Hash of the files that are read.

    Raises:
        UserError: one of them cannot be read.
    """
    try:
        return hashlib.sha256("".join(durable.sha256(folder / name) for name in FILES).encode()).hexdigest()
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}): allow access") from error
