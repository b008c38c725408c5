"""Sources of the resources of each attack, as written into every shard."""

from collections.abc import Sequence

from flat_dist.config.schema import AttackSetting
from flat_dist.resources import synonyms
from flat_dist.resources.assets import Assets
from flat_dist.resources.catalogue import ORIGINAL, RESOURCES, Sources

UNIFORM_RESOURCES = ("sentence_encoder", "synonyms")
"""Resources that the constraints of Li et al. 2021 add to each attack."""

REPLACED = {"wordnet": ("wordnet",), "hownet": ("hownet", "part_of_speech", "universal_tagset")}
"""By the source of an attack's candidates: resources that it no longer uses with those of Li et al. 2021."""


def provenance(
    resources: Sequence[str], wanted: Sources, assets: Assets, setting: AttackSetting = "original"
) -> dict[str, dict[str, str]]:
    """Source of each resource of an attack (original, stand-in or user) and its sha256.

    Args:
        resources: names in `flat_dist.resources.catalogue.RESOURCES`.
        wanted: the user's own.
        assets: the stand-ins.
        setting: constraints that add resources, or replace them.

    Raises:
        UserError: a resource is unavailable.
    """
    names = tuple(resources)
    if setting == "li2021":
        replaced = {name for source in names for name in REPLACED.get(source, ())}
        names = tuple(dict.fromkeys(name for name in (*names, *UNIFORM_RESOURCES) if name not in replaced))
    return {name: source_of(name, wanted, assets) for name in names}


def source_of(name: str, wanted: Sources, assets: Assets) -> dict[str, str]:
    """Source of a resource (original, stand-in or user), its sha256, and details.

    Raises:
        UserError: it is unavailable.
    """
    if name == "synonyms":
        return synonyms.provenance(wanted.synonyms, assets)
    resource, path = RESOURCES[name], wanted.path(name)
    if path is not None:
        return resource.fetch() if resource.fetch and str(path) == ORIGINAL else resource.describe(path)
    if resource.built:
        built = resource.built()
        found = {"source": "stand-in", "sha256": built.fingerprint(assets), "detail": resource.stand_in}
        return found | ({"measured": resource.measured(built.folder(assets))} if resource.measured else {})
    if name == "hownet":
        from flat_dist.resources import hownet  # imports large libraries

        return hownet.provenance(assets)
    return assets.provenance()[name]
