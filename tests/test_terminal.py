"""Tables on terminals of any width."""

import re
from io import StringIO

import pytest
from rich.console import Console

from flat_dist.report.summary_table import table
from flat_dist.report.table import Table
from flat_dist.report.terminal import TerminalTable
from tests import pages


def shown(printed: TerminalTable, width: int) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(printed)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 160, 240])
def test_every_number_of_a_run_is_there_once_and_whole(width: int) -> None:
    printed = table(pages.results(("textfooler", "pwws")), "a run")
    lines = shown(printed, width)
    assert max(map(len, lines)) <= width
    found = [word for line in lines for word in re.split(" {2,}", line.strip())]
    for row in printed.table.rows:
        for cell in row[printed.table.text_columns :]:
            assert cell in found
    numbers = sum(bool(re.fullmatch(r"[\d.]+( \u00b1 [\d.]+)?", word)) for word in found)
    assert numbers == sum(len(row) - printed.table.text_columns for row in printed.table.rows)


def test_columns_that_do_not_fit_follow_below_beside_the_names() -> None:
    own = TerminalTable(Table(("model", "accuracy %", "after\nattack %", "queries"), [("[a]", "75.5", "5.5", "99")], 1))
    wide = [line.split() for line in shown(own, 80) if line.strip()]
    assert wide[0] == ["model", "accuracy", "%", "after", "attack", "%", "queries"]
    assert wide[2] == ["[a]", "75.5", "5.5", "99"]
    narrow = [line.split() for line in shown(own, 25) if line.strip()]
    assert [line for line in narrow if line[0] == "[a]"] == [["[a]", "75.5", "5.5"], ["[a]", "99"]]
    assert [line for line in narrow if line[0] == "model"] == [["model", "%", "%"], ["model", "queries"]]


def test_a_table_without_rows_has_its_header() -> None:
    assert shown(TerminalTable(Table(("model", "n"), [], 1)), 40)[1].split() == ["model", "n"]
