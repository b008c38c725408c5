"""Writes what is made of the cards: the page, the pictures, and the part of the README."""

from collections.abc import Mapping
from pathlib import Path

from flat_dist.config.errors import UserError
from flat_dist.reproduction import cards, growing_page
from flat_dist.reproduction.figures import top_k_charts
from flat_dist.reproduction.growing_numbers import growths
from flat_dist.reproduction.page import FIGURES, PAGE, grouped, page, readme
from flat_dist.storage.folder import Folder

START, END = "<!-- reproduction -->", "<!-- end of reproduction -->"
"""Lines of the README between which the table is."""


def publish(results: Folder) -> None:
    """Write the page and the pictures that follow from the cards. The same cards give the same bytes."""
    known = list(cards.read(results).values())
    groups = grouped(known)
    charts = [*top_k_charts(groups), *map(growing_page.chart, growths(groups))]
    write_pictures(results, {chart.name: chart.png for chart in charts})
    names = [name for name in (results / FIGURES).names() if name.endswith(".png")]
    results.write(PAGE, page(known, names).encode())


def write_pictures(results: Folder, pictures: Mapping[str, bytes]) -> None:
    """Write PNG files.

    Args:
        results: folder of the results.
        pictures: by name, without the ending.
    """
    for name, png in pictures.items():
        (results / FIGURES).write(f"{name}.png", png)


def update_readme(path: Path, results: Folder) -> None:
    """Replace the table in a README by that of the cards.

    Raises:
        UserError: the file does not exist, or has not both marks.
    """
    if not path.is_file():
        raise UserError(f"--readme {path} is not a file: name one that has the lines {START} and {END}")
    text = path.read_text(encoding="utf-8")
    path.write_text(with_table(text, results, str(path)), encoding="utf-8")


def with_table(text: str, results: Folder, place: str) -> str:
    """A README with the table of the cards between its marks.

    Raises:
        UserError: the text has not both marks, once each and in their order.
    """
    before, start, rest = text.partition(f"{START}\n")
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in after:
        raise UserError(f"--readme {place} needs the lines {START} and {END}, once each: add them where the table goes")
    return f"{before}{START}\n\n{readme(list(cards.read(results).values()))}\n\n{END}{after}"
