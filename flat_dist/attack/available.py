"""Which attacks can run here: those whose resources are at hand."""

from collections.abc import Sequence

from flat_dist.config.attacks import ALL, ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.resources.catalogue import Sources, check_available


def expand(attacks: Sequence[str], wanted: Sources) -> tuple[tuple[str, ...], dict[str, str]]:
    """Attacks, with `ALL` replaced by every attack that can run: those of the registry, without adaptive forms.

    Args:
        attacks: names, each of which may be `ALL`.
        wanted: the user's own resources.

    Returns:
        The attacks, each once if `ALL` is one of them, and for those that it leaves out the reason.
    """
    if ALL not in attacks:
        return tuple(attacks), {}  # a name that is given twice is an error of its own
    found: dict[str, None] = {}
    left_out: dict[str, str] = {}
    for attack in attacks:
        if attack != ALL:
            found[attack] = None
            continue
        for name, entry in ATTACKS.items():
            if reason := entry.refused or _missing(name, wanted):
                left_out[name] = reason
            else:
                found[name] = None
    return tuple(found), left_out


def _missing(name: str, wanted: Sources) -> str:
    """What an attack lacks; empty: nothing."""
    try:
        check_available(ATTACKS[name], wanted)
    except UserError as error:
        return str(error)
    return ""
