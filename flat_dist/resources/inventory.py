"""What there is of each resource: for `flat-dist resources`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flat_dist.config.attacks import ATTACKS
from flat_dist.config.errors import UserError
from flat_dist.resources import assets as offline
from flat_dist.resources import synonym_file
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import OPTIONS, RESOURCES, Resource, Sources
from flat_dist.resources.packages import packages
from flat_dist.resources.provenance import source_of

COUNTERFIT, ORIGINAL = "counterfit", "original"
"""Values of `attack.synonyms` that are no files."""


@dataclass(frozen=True)
class Item:
    """A resource as it would be used."""

    name: str
    purpose: str
    attacks: tuple[str, ...]
    """Attacks that use it."""
    source: str
    """original, stand-in or user; missing: attacks that need it cannot run."""
    what: str
    """The content that would be used, or that is missing."""
    package: str
    """Registry packages that it is from, with their versions; empty: none."""
    original: str
    """What TextAttack uses."""
    given: str
    """How the user can give another."""
    size: int
    """Bytes on this disk."""
    present: bool
    """Whether it is complete; otherwise the first command that needs it downloads or builds it."""


def inventory(wanted: Sources, folder: Path) -> list[Item]:
    """All resources of attacks; nothing is downloaded or built.

    Args:
        wanted: the user's own.
        folder: the cache.
    """
    complete = offline.is_complete(folder)
    return [_item(name, resource, wanted, Assets(folder), complete) for name, resource in RESOURCES.items()]


def _item(name: str, resource: Resource, wanted: Sources, cache: Assets, complete: bool) -> Item:
    source, what, place, present = _state(name, resource, wanted, cache, complete)
    return Item(
        name=name,
        purpose=resource.purpose,
        attacks=tuple(attack for attack, entry in ATTACKS.items() if name in entry.resources),
        source=source,
        what=what,
        package=", ".join(map(_pinned, resource.packages)) if source == "stand-in" else "",
        original=resource.original,
        given=OPTIONS.get(name) or (f"--attack.resources {name}=PATH: {resource.given}" if resource.given else ""),
        size=sum(_bytes(one) for one in place),
        present=present,
    )


def _state(
    name: str, resource: Resource, wanted: Sources, cache: Assets, complete: bool
) -> tuple[str, str, list[Path], bool]:
    """Source, content, files or folders, and whether it is complete."""
    path = wanted.path(name)
    if name == "synonyms" and wanted.synonyms not in (COUNTERFIT, ORIGINAL):
        path = Path(wanted.synonyms)
    if path is not None and resource.fetch and str(path) == ORIGINAL:
        return "original", resource.original, list(resource.fetched()), bool(resource.fetched())
    if path is not None:
        return "user", str(path), [path], path.exists()
    if name == "synonyms" and wanted.synonyms == ORIGINAL:
        place = cache.folder / "textattack" / "word_embeddings" / "paragramcf"
        return "original", resource.original, [place], place.is_dir()
    if not resource.stand_in:
        return "missing", resource.original, [], False
    if resource.built:
        built = resource.built()
        return "stand-in", resource.stand_in, [built.folder(cache)], complete and built.is_complete(cache)
    return "stand-in", resource.stand_in, [cache.folder / place for place in resource.places], complete


def _pinned(package: str) -> str:
    return f"{package}=={packages()[package].version}"


def describe(item: Item) -> str:
    """An item in some lines."""
    present = "present" if item.present else "not present"
    state = "missing" if item.source == "missing" else f"{item.source}, {present}, {item.size / 1e6:.1f} MB"
    lines = [f"{item.name}: {state}", f"for {item.purpose}; used by {', '.join(item.attacks) or 'no attack'}"]
    if item.source != "missing":
        lines.append(item.what + (f", from {item.package}" if item.package else ""))
    lines.append(f"TextAttack uses {item.original}" + (f"; {item.given}" if item.given else ""))
    return "\n  ".join(lines)


def _bytes(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(one.stat().st_size for one in place.rglob("*") if one.is_file())


def prepare(wanted: Sources, folder: Path, on_demand: bool = False) -> None:
    """Download and build all that is missing or damaged.

    Args:
        wanted: the user's own, or originals to download.
        folder: the cache.
        on_demand: build also what an attack would build when it first needs it.

    Raises:
        UserError: a resource cannot be had.
    """
    offline.repair(folder)
    cache = offline.prepare(folder)
    for name, resource in RESOURCES.items():
        path = wanted.path(name)
        if path is not None and resource.fetch and str(path) == ORIGINAL:
            resource.fetch()
        elif resource.built and path is None and (on_demand or not resource.on_demand):
            resource.built().build(cache)
    if wanted.synonyms == ORIGINAL:
        from flat_dist.resources import synonyms

        synonyms.provenance(ORIGINAL, cache)


def verify(wanted: Sources, folder: Path) -> list[str]:
    """Read all files, and compare them with their hashes.

    Returns:
        What is wrong, one line each; empty if all is well.
    """
    problems = [f"{folder / name} is missing or damaged" for name in offline.damaged(folder)]
    cache = Assets(folder)
    for name, resource in RESOURCES.items():
        built = resource.built() if resource.built else None
        unused = built is not None and resource.on_demand and not built.folder(cache).exists()
        if built is not None and not unused and not built.is_complete(cache):
            problems.append(f"{built.folder(cache)} ({name}) is missing or damaged")
        if name in dict(wanted.given):
            problems += _problem(lambda: source_of(name, wanted, cache))  # noqa: B023 - called at once
    return problems + _problem(lambda: synonym_file.check(wanted.synonyms))


def _problem(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except UserError as error:
        return [str(error)]
    return []
