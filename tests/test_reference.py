"""The reference that `make docs` builds from the code: it is complete, and its defaults are those of the code."""

import importlib
import re

import pytest

from docs import reference
from flat_dist import __all__ as api_names
from flat_dist.commands.main import VERBS
from flat_dist.config.options import options
from flat_dist.config.schema import Config
from flat_dist.config.serialization import presets
from tests.markdown import ROOT, Page

PAGES = reference.pages()


def rows(text: str) -> dict[str, list[str]]:
    """The cells values, default and meaning, by option."""
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `--")]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in found}


def options_of(verb: str) -> set[str]:
    module = importlib.import_module(f"flat_dist.commands.{verb}")
    kinds = module.VERBS.values() if verb == "bench" else [getattr(module, "Command", None) or module.cli.Command]
    return {name for kind in kinds for name in options(kind)}


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_has_all_its_options(verb: str) -> None:
    sections = re.findall(r"`(--\w+\.)…`\]\(settings\.md#(\w+)\)", PAGES[verb])
    assert all(dots == f"--{name}." and f"\n## {name}\n" in PAGES["settings"] for dots, name in sections)
    of_sections = {name for name in rows(PAGES["settings"]) if name.startswith(tuple(dots for dots, _ in sections))}
    assert rows(PAGES[verb]).keys() | of_sections == options_of(verb)


def test_the_settings_are_those_of_the_config() -> None:
    assert list(rows(PAGES["settings"])) == [name for name in options(Config) if "." in name]


@pytest.mark.parametrize("page", [*VERBS, "settings"])
def test_every_option_says_what_it_means(page: str) -> None:
    assert all(len(cells) == 3 and len(cells[2]) > 10 for cells in rows(PAGES[page]).values())


@pytest.mark.parametrize(
    ("page", "name", "cells"),
    [
        ("settings", "--training.epochs", ("whole number", "`10`; default run: `6`")),
        ("settings", "--data.folder", ("text, or `none`", "`none`")),
        ("settings", "--training.freeze-embeddings", (None, "`base` `continued` `adv` `flat`; default run: empty")),
        ("settings", "--model.pooling", ("`first`, `mean`", "`first`")),
        ("settings", "--tracking.enabled", ("flag", "on")),
        ("evaluate", "--checkpoint", ("several of: text", "required")),
        ("attack", "--evaluation.split", (None, "`test`")),
        ("bench", "--limit-gib", ("number", "`8.0`")),
    ],
)
def test_values_and_defaults(page: str, name: str, cells: tuple[str | None, str]) -> None:
    values, default, _ = rows(PAGES[page])[name]
    assert cells[0] in (None, values)
    assert default == cells[1]


def test_a_measurement_with_another_default_has_the_meaning_of_the_option_that_all_share() -> None:
    of_train = rows(PAGES["bench"].split("## flat-dist bench train\n")[1].split("\n## ")[0])
    assert of_train["--examples"][1:] == [
        "`480`", "Number of texts to attack, to explain, or to train on in an epoch."
    ]  # fmt: skip


def test_the_presets_and_the_python_api_are_complete() -> None:
    assert re.findall(r"^## (\w+)$", PAGES["presets"], re.MULTILINE) == list(presets())
    assert "{name: sst2, max_length: 50" in PAGES["presets"]
    named = re.findall(r":: flat_dist\.api\.(\w+)$", PAGES["api"], re.MULTILINE)
    assert sorted(named) == sorted(api_names)


def test_every_page_is_in_the_contents_once() -> None:
    index = Page(ROOT / "docs" / "index.md")
    listed = re.findall(r"^(?:reference/)?[a-z-]+$", reference.contents(index.text), re.MULTILINE)
    written = {path.stem for path in ROOT.glob("docs/*.md")} - {"index"}
    assert sorted(listed) == sorted(written | {f"reference/{name}" for name in PAGES})


def test_letters_with_a_meaning_in_markdown_are_escaped_outside_code() -> None:
    assert reference.escaped("sheet-<n>.csv, a|b, `<n>` and `a|b`") == r"sheet-\<n>.csv, a\|b, `<n>` and `a\|b`"
    text = "First line\ngoes on.\n\n  flat-dist one\n  flat-dist two\n\nLast."
    assert reference.description(text) == "First line goes on.\n\n```text\nflat-dist one\nflat-dist two\n```\n\nLast."
