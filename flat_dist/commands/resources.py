"""The resources of attacks: what there is, and where from.

  flat-dist resources list       each resource: purpose, attacks, source, package, size, present or not
  flat-dist resources prepare    download and build what is missing or damaged
  flat-dist resources verify     read all files, and compare them with their hashes

`--synonyms` and `--resources` are the options --attack.synonyms and --attack.resources of other commands, to see what
these would use. Resources are kept in ~/.cache/flat_dist, or in the folder of the variable FLAT_DIST_CACHE.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError, unknown

VERBS = ("list", "prepare", "verify")


@dataclass(frozen=True)
class Command:
    """Which resources are meant."""

    synonyms: str = "counterfit"
    """counterfit, original, or a JSON file, as --attack.synonyms."""
    resources: tuple[str, ...] = ()
    """Your own, as NAME=PATH, as --attack.resources."""
    all: bool = False
    """prepare: build also what an attack would build when it first needs it, which takes minutes."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""


def job(arguments: Sequence[str]) -> None:
    """Parse, and list, prepare or verify.

    Raises:
        UserError: the command line is wrong, a resource cannot be had, or a file is damaged.
    """
    verb, *rest = arguments or [""]
    if verb in options.HELP:
        print(__doc__)
        return
    if verb not in VERBS:
        raise unknown("command", verb, VERBS) if verb else UserError(f"name a command: {', '.join(VERBS)}")
    command = options.read(Command, rest, f"{verb}: see flat-dist resources --help")
    from flat_dist.resources import assets, inventory
    from flat_dist.resources.catalogue import sources

    wanted, folder = sources(command), assets.cache_folder()
    if verb == "prepare":
        inventory.prepare(wanted, folder, command.all)
    if verb == "verify" and (problems := inventory.verify(wanted, folder)):
        raise UserError(f"{'; '.join(problems)}: flat-dist resources prepare makes the project's own again")
    items = inventory.inventory(wanted, folder)
    if verb == "list":
        for item in items:
            print(inventory.describe(item))
    print(f"offline resources: {folder}" + (", all files as they were made" if verb == "verify" else ""))
    if command.json:
        cli.print_json({"folder": str(folder), "resources": [asdict(item) for item in items]})
