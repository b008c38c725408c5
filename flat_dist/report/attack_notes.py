"""What tables say about attacks: a mark for resources that stand in for TextAttack's, and the limits of each text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flat_dist.config.schema import WORST

if TYPE_CHECKING:
    from flat_dist.evaluation.result import Result
    from flat_dist.evaluation.transfer import Transfer

MARK = "*"
"""After the name of an attack that used stand-ins: its numbers are not those of the original attack."""


def marked(result: "Result") -> str:
    """The name of a result's attack, with the mark if it used stand-ins."""
    return result.attack + (MARK if result.stand_ins else "")


def marked_transfers(transfers: Sequence["Transfer"], results: Sequence["Result"]) -> list["Transfer"]:
    """The transfers, whose attacks are named as in the table of results."""
    names = {result.attack: marked(result) for result in results}
    return [replace(one, attack=names.get(one.attack, one.attack)) for one in transfers]


def attack_notes(results: Sequence["Result"]) -> list[str]:
    """Sentences without a full stop: what the mark means, and where attacks end."""
    stand_ins = dict.fromkeys(name.replace("_", " ") for result in results for name in result.stand_ins)
    notes = [f"attacks with {MARK}: stand-ins for TextAttack's {', '.join(stand_ins)}"] if stand_ins else []
    return [*notes, *_limit_notes(results)]


def _number(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _limit_notes(results: Sequence["Result"]) -> list[str]:
    """After how many queries or seconds attacks end; attacks are named where others have other limits."""
    attacks: dict[tuple[tuple[str, float], ...], dict[str, None]] = {}
    for result in results:
        if result.attack != WORST:
            attacks.setdefault(tuple(sorted(result.limits.items())), {})[result.attack] = None
    notes = []
    for limits, names in sorted(attacks.items()):
        ends = " or ".join(f"{_number(number)} {unit}" for unit, number in limits if number)
        who = "attacks end" if len(attacks) == 1 else f"{', '.join(names)} end{'s' if len(names) == 1 else ''}"
        notes += [f"{who} after {ends} a text"] if ends else []
    return notes
