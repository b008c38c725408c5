"""Attacks of limited strength against TextAttack objects that are built here, part by part."""

from collections.abc import Sequence
from typing import Any

import pytest

from flat_dist.attack.limits import Limits
from flat_dist.attack.strength import Strength
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import Example, Record
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from tests.parity.test_engine import LIMITS, ODD_TEXTS, status, texts

pytestmark = pytest.mark.usefixtures("one_thread")

STRENGTHS = {
    "one_neighbour": Strength(neighbours=1),
    "few_words": Strength(max_changed=0.13),
    "both": Strength(neighbours=8, max_changed=0.25),
    "li2021": Strength("li2021", 50, 0.3, 50),
    "li2021_imdb": Strength("li2021", 4, 0.1, 3),
}


def built(recipe: str, victim: Any, linguistics: Any, strength: Strength) -> Any:
    """Stock TextAttack with the limits, from its own parts."""
    from textattack import Attack
    from textattack.attack_recipes import PWWSRen2019
    from textattack.constraints.overlap import MaxWordsPerturbed
    from textattack.constraints.semantics import WordEmbeddingDistance
    from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder
    from textattack.transformations import WordSwapEmbedding, WordSwapWordNet

    from flat_dist.attack import recipes

    class OfWordNet(WordSwapWordNet):
        def _get_replacement_words(self, word: str, random: bool = False) -> list[str]:
            from nltk.corpus import wordnet

            everything = super()._get_replacement_words(word)
            found: list[str] = []
            for sense in wordnet.synsets(word):
                found += [name for name in sense.lemma_names() if name in everything and name not in found]
            assert sorted(found) == sorted(everything)
            return found[: strength.neighbours or None]

    stock = PWWSRen2019.build(victim) if recipe == "pwws" else recipes.textfooler(victim, linguistics)
    constraints = [*stock.pre_transformation_constraints, *stock.constraints]
    transformation: Any = OfWordNet()
    if strength.setting == "li2021":
        constraints = [one for one in constraints if not isinstance(one, WordEmbeddingDistance)]
        compared: Any = {"metric": "angular", "compare_against_original": False, "window_size": 15}
        similar = UniversalSentenceEncoder(0.840845057, skip_text_shorter_than_window=True, **compared)
        similar.model = linguistics.encoder.encode
        constraints.append(similar)  # TextFooler then has it twice, as in the code of Li et al. 2021
    if strength.setting == "li2021" or recipe == "textfooler":
        transformation = WordSwapEmbedding(strength.neighbours or 50, linguistics.embedding)
    if strength.max_changed < 1:
        constraints.append(MaxWordsPerturbed(max_percent=strength.max_changed))
    return Attack(stock.goal_function, constraints, transformation, stock.search_method)


def ours(
    recipe: str, victim: Any, linguistics: Any, rows: Sequence[tuple[str, int]], strength: Strength
) -> list[Record]:
    from flat_dist.attack import recipes, records
    from flat_dist.attack.engine.from_textattack import build_engine
    from flat_dist.attack.engine.profile import Profile

    limits = Limits(LIMITS.concurrent, LIMITS.batch_size, LIMITS.cache_size, queries_per_word=strength.queries_per_word)
    stock, own = (recipes.build(recipe, victim, linguistics, strength) for _ in range(2))
    examples = [Example(str(number), text, label) for number, (text, label) in enumerate(rows)]
    return records.attack_examples(build_engine(own, limits, Profile()), stock, examples, seed=3)


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("recipe", ["textfooler", "pwws"])
def test_limited_attacks_are_stock_textattacks(
    recipe: str, name: str, victim: Folder, linguistics: Any, sentences: Dataset
) -> None:
    from textattack.shared import AttackedText

    from flat_dist.attack.victim import Victim

    strength, attacked = STRENGTHS[name], Victim(checkpoints.load(victim))
    rows = texts(sentences)[:10] + [(text, number % 2) for number, text in enumerate(ODD_TEXTS)]
    stock = built(recipe, attacked, linguistics, strength)
    found = ours(recipe, attacked, linguistics, rows, strength)
    for (text, label), record in zip(rows, found, strict=True):
        budget = strength.queries_per_word * max(len(AttackedText(text).words), 1)
        stock.goal_function.query_budget = budget or float("inf")
        result = stock.attack(text, label)
        assert record.error is None
        assert record.perturbed_text == result.perturbed_result.attacked_text.text
        assert record.num_queries == result.num_queries
        over = status(result) == "failed" and result.num_queries == budget
        assert record.status == ("timeout" if over else status(result))
    held = "timeout" if name == "li2021_imdb" else "failed"
    assert {"successful", held, "skipped"} <= {record.status for record in found}


def test_candidates_of_wordnet_do_not_depend_on_the_order_of_a_set(linguistics: Any) -> None:
    from flat_dist.attack.engine.strengthen import FirstSynonyms

    # The first sense of the noun has only itself and a name of two words; then frump, and the dog that is a scoundrel.
    assert FirstSynonyms(3)._get_replacement_words("dog") == ["frump", "cad", "bounder"]
    assert FirstSynonyms(2)._get_replacement_words("xyzzy") == []
