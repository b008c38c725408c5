"""The pages of the reference, as Markdown: every option of every command, the presets, and the Python API.

They come from the dataclasses and docstrings of the package, as `--help` does. `docs/conf.py` writes them.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import flat_dist
from flat_dist import cli
from flat_dist.commands.main import VERBS
from flat_dist.config.options import Option, options
from flat_dist.config.schema import Config
from flat_dist.config.serialization import presets

SETTINGS = {field.name: type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)}
SECTIONS = {name: kind for name, kind in SETTINGS.items() if dataclasses.is_dataclass(kind)}
"""Sections of the config, by name. Commands share them."""

TYPES = {
    "flat_dist.evaluation.accuracy": ("AttackSummary",),
    "flat_dist.evaluation.thresholds": ("Check",),
    "flat_dist.models.checkpoint": ("Checkpoint",),
    "flat_dist.pipeline.export": ("Exported",),
}
"""Classes that the Python API returns, beside its own."""


def write(folder: Path) -> None:
    """Write all pages into a folder, instead of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in pages().items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Markdown of each page, by its name."""
    return {
        **{verb: command_page(verb) for verb in VERBS},
        "settings": settings_page(),
        "presets": presets_page(),
        "api": api_page(),
    }


def contents(index: str) -> str:
    """Tables of contents of the index: the pages that each of its sections links, and the reference.

    Args:
        index: Markdown of the index.
    """
    made = []
    for section in index.split("\n## ")[1:]:
        names = re.findall(r"\]\(([^)]+)\.md\)", section)
        made.append(_toctree(names, hidden=True, caption=section.splitlines()[0]))
    names = [f"reference/{name}" for name in pages()]
    return "\n".join(["", *made, "## Reference", "", _toctree(names, hidden=False, caption="Reference")])


def _toctree(names: Iterable[str], hidden: bool, caption: str) -> str:
    flags = ":hidden:\n" if hidden else ":maxdepth: 1\n"
    return f"```{{toctree}}\n{flags}:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"


def command_page(verb: str) -> str:
    """A command: its description and examples, and its options."""
    module = importlib.import_module(f"flat_dist.commands.{verb}")
    parts = [f"# flat-dist {verb}", description(str(module.__doc__))]
    if verb == "bench":
        parts += _benchmarks(module)
    else:
        kind = getattr(module, "Command", None) or module.cli.Command
        parts += _options(options(kind))
    if renamed := getattr(module, "RENAMED", {}):
        pairs = ", ".join(f"`{short}` for `{name}`" for short, name in renamed.items())
        parts += ["## Other names", f"Accepted, too: {pairs}."]
    return "\n\n".join(parts) + "\n"


def _benchmarks(module: ModuleType) -> Iterator[str]:
    shared = options(module.Shared)
    yield "## Options of all measurements"
    yield from _options(shared)
    for verb, kind in module.VERBS.items():
        yield f"## flat-dist bench {verb}"
        yield description(inspect.getdoc(kind) or "")
        known, declared = options(kind), inspect.get_annotations(kind)
        own = {name: option for name, option in known.items() if option.owner is kind and option.field in declared}
        extra = {name: option for name, option in known.items() if option.owner is not kind and name not in shared}
        if own or extra:
            yield from _options(own | extra)


def _options(known: Mapping[str, Option]) -> Iterator[str]:
    """A table of the options of a command, and links to the sections of the config that it takes."""
    shared = {name: option for name, option in known.items() if option.owner in SECTIONS.values()}
    if own := {name: option for name, option in known.items() if name not in shared}:
        yield table(own)
    if sections := dict.fromkeys(name.removeprefix("--").partition(".")[0] for name in shared):
        links = ", ".join(f"[`--{name}.…`](settings.md#{name})" for name in sections)
        yield f"Sections of the config: {links}."


def settings_page() -> str:
    """The sections of the config."""
    parts = [
        "# Settings",
        "The sections of the config, which commands share. `flat-dist train` starts from the preset "
        f"`{cli.DEFAULT_PRESET}`: where it replaces a default, the column says so.",
    ]
    start = cli.load_preset(cli.DEFAULT_PRESET)
    for name, kind in SECTIONS.items():
        parts += [
            f"## {name}",
            description(str(kind.__doc__)),
            table(options(kind, f"--{name}."), getattr(start, name)),
        ]
    return "\n\n".join(parts) + "\n"


def presets_page() -> str:
    """The built-in presets, with the comments in their files."""
    parts = ["# Presets", "`--preset NAME` starts from one of these; `--preset sst2,robust` combines two."]
    for name, text in presets().items():
        lines = text.splitlines()
        comment = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
        body = "\n".join(line for line in lines if not line.startswith("#"))
        parts += [f"## {name}", escaped(comment), f"```yaml\n{body.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def api_page() -> str:
    """The Python API, which autodoc fills."""
    names = {name: getattr(flat_dist, name) for name in flat_dist.__all__}
    rows = [".. module:: flat_dist.api", ""]  # flat_dist.attack is also a package, which autodoc would describe
    for wants_class in (False, True):
        for name, value in names.items():
            if inspect.isclass(value) == wants_class:
                rows += _directive(value, f"flat_dist.api.{name}")
    for module, kinds in TYPES.items():
        for name in kinds:
            rows += _directive(type, f"{module}.{name}")
    block = "\n".join(rows)
    head = "# Python API\n\n`import flat_dist as fd`, then `fd.train(...)`; [python.md](../python.md) has an example."
    return f"{head}\n\n```{{eval-rst}}\n{block}\n```\n"


def _directive(value: object, name: str) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {name}", "   :members:", ""]
    return [f".. autofunction:: {name}", ""]


def table(known: Mapping[str, Option], start: object | None = None) -> str:
    """A table of options.

    Args:
        known: the options, by name.
        start: the section of the config that the default run starts from.
    """
    rows = ["| Option | Values | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, option in known.items():
        default = shown_default(option)
        if start is not None and (used := shown(getattr(start, option.field))) != default:
            default += f"; default run: {used}"
        meaning = meanings(option.owner).get(option.field, "")
        rows.append(f"| `{name}` | {values(option)} | {default} | {escaped(meaning)} |")
    return "\n".join(rows)


def values(option: Option) -> str:
    """The values that an option takes, in words."""
    if option.choices:
        one = ", ".join(f"`{choice}`" for choice in option.choices)
    else:
        one = {bool: "flag", int: "whole number", float: "number"}.get(option.kind, "text")
    return ("several of: " if option.many else "") + one + (", or `none`" if option.optional else "")


def shown_default(option: Option) -> str:
    """The default of an option, as a table shows it."""
    (field,) = (one for one in dataclasses.fields(option.owner) if one.name == option.field)
    if field.default is not dataclasses.MISSING:
        return shown(field.default)
    return "required" if field.default_factory is dataclasses.MISSING else shown(field.default_factory())


def shown(value: Any) -> str:
    """A value, as a table shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "`none`"
    if isinstance(value, tuple):
        return " ".join(f"`{one}`" for one in value) or "empty"
    return f"`{value}`" if value != "" else "empty"


@cache
def meanings(kind: type) -> Mapping[str, str]:
    """The docstrings under the fields of a dataclass, each on one line, by field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (defined,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(defined, ast.ClassDef)
        for node, after in zip(defined.body, [*defined.body[1:], None], strict=True):
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[node.target.id] = " ".join(str(after.value.value).split())
    return found


def description(text: str) -> str:
    """Markdown of a docstring: lines that begin with two spaces are commands."""
    blocks = []
    for block in inspect.cleandoc(text).split("\n\n"):
        lines = block.splitlines()
        if all(line.startswith("  ") for line in lines):
            blocks.append("```text\n" + "\n".join(line.removeprefix("  ") for line in lines) + "\n```")
        else:
            blocks.append(escaped(" ".join(lines)))
    return "\n\n".join(blocks)


def escaped(text: str) -> str:
    """Text of a docstring as Markdown: letters with a meaning are escaped outside code."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = [re.sub(r"([*<|\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "".join(part.replace("|", "\\|") if part.startswith("`") else part for part in parts)
