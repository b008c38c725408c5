"""Sources of the resources of each attack, as written into every shard."""

from flat_dist.config.schema import AttackSetting
from flat_dist.resources import synonyms
from flat_dist.resources.assets import Assets

RESOURCES = {
    "textfooler": ("part_of_speech", "universal_tagset", "sentence_encoder", "synonyms"),
    "pwws": ("wordnet", "stopwords"),
}
"""Resources of each attack: names of `Assets.provenance`, and `synonyms`, whose source the user chooses."""


UNIFORM_RESOURCES = ("sentence_encoder", "synonyms")
"""Resources that the constraints of Li et al. 2021 add to each attack. Their candidates replace WordNet's."""


def provenance(
    attack: str, synonyms_source: str, assets: Assets, setting: AttackSetting = "original"
) -> dict[str, dict[str, str]]:
    """Source of each resource of an attack (original, stand-in or user) and its sha256.

    Raises:
        UserError: the synonyms are unavailable.
    """
    known, names = assets.provenance(), RESOURCES[attack]
    if setting == "li2021":
        names = tuple(dict.fromkeys(name for name in (*names, *UNIFORM_RESOURCES) if name != "wordnet"))
    return {name: synonyms.provenance(synonyms_source, assets) if name == "synonyms" else known[name] for name in names}
