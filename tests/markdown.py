"""Reads Markdown pages: their commands, code spans, links and headings. For the tests of the documentation."""

import re
import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Command(NamedTuple):
    """One simple command of a shell block."""

    page: str
    line: str
    """As the page shows it."""
    words: tuple[str, ...]
    """Program and arguments, without variables that are set for it."""
    stdin: str
    """What the pipe before it writes, if that is `echo`."""


class Page:
    """A Markdown file of this repository."""

    def __init__(self, path: Path):
        self.path, self.name = path, path.relative_to(ROOT).as_posix()
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without fenced blocks; a code span that a line break divides is put together."""
        return FENCE.sub("", self.text).replace("\n", " ")

    @property
    def spans(self) -> list[str]:
        """What stands between backticks."""
        return SPAN.findall(self.prose)

    @property
    def links(self) -> list[str]:
        return LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """Headings as links name them."""
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in HEADING.findall(FENCE.sub("", self.text))
        }

    @property
    def files(self) -> dict[str, str]:
        """The Python files that the page shows: blocks whose first line is a comment with a path."""
        blocks = [block for language, block in FENCE.findall(self.text) if language == "python"]
        named = [(re.match(r"# ([\w/]+\.py)\n", block), block) for block in blocks]
        return {found[1]: block for found, block in named if found}

    def commands(self) -> Iterator[Command]:
        """The commands of all blocks that are marked as bash."""
        for language, block in FENCE.findall(self.text):
            if language == "bash":
                for line in block.replace("\\\n", " ").splitlines():
                    yield from self._commands_of(line)

    def _commands_of(self, line: str) -> Iterator[Command]:
        words = shlex.split(line.replace("(", " ").replace(")", " ").replace(";", " ; "), comments=True)
        simple: list[list[str]] = [[]]
        for word in words:
            if word in (";", "|"):
                simple.append([])
            else:
                simple[-1].append(word)
        echoed = ""
        for found in simple:
            while found and re.fullmatch(r"[A-Z_]+=\S*", found[0]):
                found = found[1:]
            if found and found[0] == "echo":
                echoed = " ".join(found[1:])
            elif found:
                yield Command(self.name, line.strip(), tuple(found), echoed)


def pages() -> list[Page]:
    """The pages that a user reads."""
    return [Page(path) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))]
