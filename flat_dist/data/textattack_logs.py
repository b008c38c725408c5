"""Logs that TextAttack 0.3.11 writes: the marks around changed words, and its text log."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flat_dist.config.errors import UserError
from flat_dist.data.readers import Row, Rows
from flat_dist.data.text_files import read_text

MARKS = (
    re.compile(r"\[\[(.*?)\]\]"),
    re.compile(r"<font color = [\w, ]+>(.*?)</font>", re.DOTALL),
    re.compile(r"\x1b\[[\d:;]*m()"),
)
"""What surrounds a changed word under each color method: file, html and ansi. The method plain writes nothing."""

TITLE = re.compile(r"^-{45} Result (\d+) -{45}$", re.MULTILINE)
"""The line before a result in a text log."""

END = re.compile(r"^-{90}$", re.MULTILINE)
"""The line after the last result."""

OUTCOME = re.compile(r"(?P<label>.+) \(\d+%\) --> (?:\[(?P<without>FAILED|SKIPPED)\]|.+)")
"""The first line of a result: the original prediction, and the adversarial one or that there is none."""

SHORT_NAMES = {"neg": "negative", "pos": "positive"}
"""Class names that TextAttack replaces before it writes them with a capital letter."""


@dataclass(frozen=True)
class TextLog:
    """The results of a text log that have an adversarial text."""

    originals: Rows
    adversarials: Rows
    left_out: Mapping[str, int]
    """Numbers of failed and skipped results, whose adversarial text a text log does not have."""


def without_marks(text: str) -> str:
    """A text without the marks around changed words."""
    for mark in MARKS:
        text = mark.sub(r"\1", text)
    return text


def read_text_log(path: Path, label_names: Sequence[str]) -> TextLog:
    """Read a text log (`--log-to-txt`).

    A text log has no true class. In an untargeted attack, the class before the attack is the true one, because
    TextAttack skips other texts.

    Args:
        path: the file.
        label_names: the classes, which TextAttack writes with a capital letter.

    Raises:
        UserError: it is no text log.
    """
    content = read_text(path).replace("\r\n", "\n")
    titles = list(TITLE.finditer(without_marks(content)))
    if not titles:
        raise UserError(f"{path} is no text log of TextAttack: it has no line '{'-' * 5}... Result 1 ...{'-' * 5}'")
    left_out: Counter[str] = Counter()
    pairs = list(_results(path, without_marks(content), titles, label_names, left_out))
    sides = [Rows(str(path), [pair[side] for pair in pairs]) for side in (0, 1)]
    return TextLog(sides[0], sides[1], dict(sorted(left_out.items())))


def _results(
    path: Path, content: str, titles: Sequence[re.Match[str]], label_names: Sequence[str], left_out: Counter[str]
) -> Iterator[tuple[Row, Row]]:
    """Original and adversarial row of each result that has both; the others are counted."""
    ends = [title.start() for title in titles[1:]] + [len(content)]
    for title, end in zip(titles, ends, strict=True):
        place = f"{path}:{content.count(chr(10), 0, title.start()) + 1}"
        block = END.split(content[title.end() : end])[0].strip("\n")
        head, *texts = block.split("\n\n")
        outcome = OUTCOME.fullmatch(head)
        if outcome is not None and outcome["without"]:
            left_out[outcome["without"].lower()] += 1
            continue
        fault = "" if outcome is not None and len(texts) == 2 else "not a result with two texts: check the log"
        label = _class_name(outcome["label"], label_names) if outcome is not None else None
        original, adversarial = texts if not fault else ("", "")
        yield Row(original, label, place, fault), Row(adversarial, label, place, fault)


def _class_name(shown: str, label_names: Sequence[str]) -> str:
    """The class that TextAttack writes so; as it is, if there is none or more than one."""
    found = [name for name in label_names if _as_shown(name) == shown]
    return found[0] if len(found) == 1 else shown


def _as_shown(name: str) -> str:
    return SHORT_NAMES.get(name.lower(), name.lower()).capitalize()
