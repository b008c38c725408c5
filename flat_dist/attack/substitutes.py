"""The stage of the table of substitutes: the attack's candidates for every word of the training texts."""

from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa

from flat_dist.attack.strength import resolve_strength
from flat_dist.config.attacks import entry_of, recipe_of
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config
from flat_dist.data import substitutes
from flat_dist.data.datasets import Dataset
from flat_dist.data.preprocessing import clean, tokenize
from flat_dist.resources import assets
from flat_dist.resources.catalogue import sources
from flat_dist.resources.provenance import provenance
from flat_dist.storage.arrow import write_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output, Stage

DECIDES_CANDIDATES = ("synonyms", "wordnet", "stopwords")
"""Resources of the attacks that decide which candidates a word has."""

ALL = 10_000
"""More candidates than any word has. With a limit, WordNet's synonyms are in WordNet's order; TextAttack's own order
changes from process to process."""


def substitutes_stage(config: Config, dataset: Dataset) -> Stage:
    """The stage that writes the table (`flat_dist.data.substitutes.SCHEMA`).

    Raises:
        UserError: the synonyms cannot be read; when filled, no training word has a candidate.
    """
    attack = config.attack
    known = provenance(entry_of(attack.name).resources, sources(attack), assets.prepare(), attack.setting)

    def fill(folder: Folder) -> Output:
        table = make_table(attack, dataset.train["text"].to_pylist())
        if not table.num_rows:
            raise UserError(
                f"no word of the training texts has a candidate of {attack.name}, so there are no adversarial texts to "
                "make: for other languages than English, set --attack.name textfooler and --attack.synonyms to a file"
            )
        write_table(folder, substitutes.NAME, table)
        return Output([f"{substitutes.NAME}.arrow"], notes={"words": table.num_rows})

    resources = {name: known[name] for name in DECIDES_CANDIDATES if name in known}
    return Stage(
        name="substitutes",
        title=f"list substitutes of the training words for {attack.name}",
        inputs={
            "dataset": dataset.fingerprint,
            "attack": recipe_of(attack.name),
            "setting": attack.setting,
            "neighbours": attack.neighbours,
            "resources": resources,
        },
        fill=fill,
    )


def make_table(attack: AttackConfig, texts: list[str]) -> pa.Table:
    """The candidates of all words of texts, in alphabetical order; words without candidates are left out."""
    from flat_dist.resources import textattack_setup

    prepared = assets.prepare()
    textattack_setup.activate(prepared)
    # These import TextAttack, which must find its resources in place.
    from flat_dist.attack import recipes
    from flat_dist.attack.engine.from_textattack import candidates_of_word

    resources = recipes.LinguisticResources(prepared, attack.synonyms, "cpu", 1, sources(attack).given)
    # The sentence encoder judges whole texts, so no candidate of a word needs it.
    resources.encoder = SimpleNamespace(encode=None)  # type: ignore[assignment]
    # No text is predicted here.
    victim = SimpleNamespace(scores="probabilities", model=None)
    recipe = recipe_of(attack.name)
    strength = resolve_strength(replace(attack, neighbours=attack.neighbours or ALL), None, recipe)
    built = recipes.build(recipe, victim, resources, strength)  # type: ignore[arg-type]
    words = sorted({word for text in texts for word in tokenize(clean(text))})
    rows = {word: candidates_of_word(built, word) for word in words}
    rows = {word: candidates for word, candidates in rows.items() if candidates}
    return pa.table([list(rows), list(rows.values())], schema=substitutes.SCHEMA)
