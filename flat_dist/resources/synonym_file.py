"""The user's own synonyms: a JSON file that maps a word to its neighbours, or a folder with TextAttack's vectors."""

import json
import logging
from pathlib import Path
from typing import Any

from flat_dist.config.errors import UserError
from flat_dist.resources import textattack_vectors
from flat_dist.resources.english import ALPHABETIC

log = logging.getLogger(__name__)


def check(source: str) -> None:
    """Raise UserError if `--attack.synonyms` names a file or folder that cannot be used; other sources are not
    checked."""
    if source in ("counterfit", "original"):
        return
    if Path(source).is_dir():
        textattack_vectors.read(Path(source))
    else:
        read_table(Path(source))


def read_table(path: Path) -> dict[str, list[str]]:
    """The user's table: word to neighbours, best first, in lower case; only words of the letters a to z are kept.

    Raises:
        UserError: the file is missing, is not a JSON object of lists of strings, or has no usable word.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"--attack.synonyms {str(path)!r} cannot be read ({error.strerror}): give counterfit, original, or the "
            "path of a JSON file or of a folder with TextAttack's vectors"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON in UTF-8: {error}") from error
    _check_table(path, content)
    raw = {word.lower(): [other.lower() for other in others] for word, others in content.items()}
    table = {
        word: [other for other in dict.fromkeys(others) if other != word and ALPHABETIC.fullmatch(other)]
        for word, others in raw.items()
        if ALPHABETIC.fullmatch(word)
    }
    names = {*raw, *(other for others in raw.values() for other in others)}
    if dropped := sum(not ALPHABETIC.fullmatch(name) for name in names):
        log.warning("%s: dropped %d words with other characters than a to z", path, dropped)
    if not any(table.values()):
        raise UserError(f"{path} has no word of the letters a to z with a neighbour of the letters a to z")
    return table


def _check_table(path: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, word to list of words, not {type(content).__name__}")
    for word, others in content.items():
        if not isinstance(others, list):
            raise UserError(f"{path}: the entry of {word!r} must be a list of words, not {others!r}")
        for other in others:
            if not isinstance(other, str):
                raise UserError(f"{path}: the entry of {word!r} holds {other!r}, which is not a word in quotes")
