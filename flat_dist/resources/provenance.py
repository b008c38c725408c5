"""Where the resources of each attack came from; written into every shard."""

from flat_dist.resources import synonyms
from flat_dist.resources.assets import Assets

RESOURCES = {
    "textfooler": ("part_of_speech", "universal_tagset", "sentence_encoder"),
    "pwws": ("wordnet", "stopwords"),
}
"""What each attack draws on, by the names of `Assets.provenance`; TextFooler on synonyms too."""


def provenance(recipe: str, synonyms_source: str, assets: Assets) -> dict[str, dict[str, str]]:
    """Where each resource of an attack came from: original, stand-in or the user's own, with its sha256.

    Raises:
        UserError: the synonyms cannot be had.
    """
    known = assets.provenance()
    used = {name: known[name] for name in RESOURCES[recipe]}
    if recipe == "textfooler":
        used["synonyms"] = synonyms.provenance(synonyms_source, assets)
    return used
