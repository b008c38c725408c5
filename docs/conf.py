"""Sphinx builds docs/ as a website: `make docs`. Warnings, such as a link that leads nowhere, are errors there."""

from pathlib import Path
from typing import Any

import flat_dist
from docs import reference  # the root of the checkout is on the path of `python -m sphinx`

project = "flat_dist"
author = "The flat_dist authors"
version = release = flat_dist.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "reference/*.md", "results/*.md"]

myst_heading_anchors = 4
default_role = "literal"  # one backtick in a docstring marks code, as in Markdown
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!flat_dist\.).*"),  # types of other packages, whose documentation is not at hand
    ("py:.*", r"flat_dist\.(config|data|evaluation|models)\..*"),  # parts of results, and settings
]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px", "show_powered_by": False}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
html_show_copyright = False

reference.write(Path(__file__).parent / "reference")


def add_contents(_app: Any, name: str, source: list[str]) -> None:
    """Make the sidebar of the sections of the index, which GitHub shows as plain tables."""
    if name == root_doc:
        source[0] += reference.contents(source[0])


FIELDS: dict[str, list[str]] = {}
"""Docstrings of fields, by name, while napoleon would read what is before their first colon as a type."""


def keep_field(_app: Any, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Keep the docstring of a field as it is written. Called before napoleon."""
    if what in ("attribute", "property"):
        FIELDS[name] = list(lines)


def restore_field(_app: Any, _what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Put back what `keep_field` kept. Called after napoleon."""
    lines[:] = FIELDS.pop(name, lines)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", keep_field, priority=100)
    app.connect("autodoc-process-docstring", restore_field, priority=900)
