"""Marks of attacks that used stand-ins, and the limits of attacks, in tables."""

from dataclasses import replace

from flat_dist.config.schema import WORST
from flat_dist.report.attack_notes import attack_notes, marked
from flat_dist.report.summary_table import markdown
from tests import pages


def test_attacks_with_stand_ins_are_marked_and_the_mark_is_explained() -> None:
    plain = replace(pages.results(("pwws",))[0], interpretations={})
    lent = replace(plain, attack="textfooler", stand_ins=("sentence_encoder", "synonyms"))
    assert (marked(plain), marked(lent)) == ("pwws", "textfooler*")
    text = markdown([plain, lent])
    assert "| textfooler*" in text and "| pwws" in text and "pwws*" not in text
    assert text.endswith("\nattacks with *: stand-ins for TextAttack's sentence encoder, synonyms.\n")
    assert attack_notes([plain]) == []


def test_limits_of_attacks_are_stated() -> None:
    result = pages.results(("pwws",))[0]
    limited = replace(result, limits={"queries": 300, "seconds": 0.0})
    both = replace(result, limits={"queries": 300, "seconds": 2.5})
    assert attack_notes([limited, replace(limited, attack=WORST)]) == ["attacks end after 300 queries a text"]
    assert attack_notes([both]) == ["attacks end after 300 queries or 2.5 seconds a text"]


def test_attacks_are_named_where_their_limits_differ() -> None:
    result = replace(pages.results(("pwws",))[0], limits={"queries": 0, "seconds": 0.0})
    many = replace(result, attack="iga", limits={"queries": 1234567, "seconds": 0.0})
    few = replace(result, attack="clare", limits={"queries": 9, "seconds": 0.0})
    worst = replace(result, attack=WORST, limits={})
    assert attack_notes([result, many, replace(many, attack="genetic"), few, worst]) == [
        "clare ends after 9 queries a text",
        "iga, genetic end after 1,234,567 queries a text",
    ]
    assert attack_notes([result, worst]) == []
