"""The attacks by name: how each is built, which resources it uses, and what can be done with it.

This is the one place that lists attacks. A builder is written as a path, because TextAttack takes seconds to import,
and commands check names before they need it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flat_dist.config.errors import UserError, check_text, quoted, unknown

Order = Literal["importance", "gradient"]

IMPORTANCE: Order = "importance"
GRADIENT: Order = "gradient"
ORDERS = (IMPORTANCE, GRADIENT)
"""Orders of words of adaptive attacks, which know the model (`flat_dist.attack.word_order`)."""

PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A builder of the user: my_package.attacks:build."""


POPULATION_QUERIES, EDIT_QUERIES = 10_000, 3_000
"""Victim queries for a text after which attacks end that would otherwise ask tens of thousands of times about a text
that resists: searches with a population, and greedy ones that try all edits of the text in each step. On film
reviews, few texts that such an attack breaks need more."""


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """An attack."""

    name: str
    builder: str
    """Python path, module:function, of what makes the `textattack.Attack`. A function of this package takes a victim
    and `flat_dist.attack.recipes.LinguisticResources`; any other takes the victim, as TextAttack's recipes do."""
    resources: tuple[str, ...] = ()
    """Names in `flat_dist.resources.catalogue.RESOURCES`. Empty for a builder of the user: its parts say which."""
    greedy: bool = False
    """Whether it changes the words one by one in an order that it finds first, each word at most once. Then it has
    adaptive forms, and a curve of after-attack accuracy over the share of changed words."""
    lists_candidates: bool = False
    """Whether the candidates of a word can be listed, so that training can make substitutes on the fly."""
    has_strength: bool = False
    """Whether `attack.neighbours`, `max_changed` and `setting` hold for it."""
    own_candidates: int = 0
    """Candidates of a word that it has by itself: a limit above has no effect. 0: no fixed number."""
    max_queries: int = 0
    """Maximum number of victim queries per example where the user sets none; 0: no limit, because it always ends."""
    refused: str = ""
    """Why it cannot attack a classifier of texts here, after "X cannot be used: "; empty: it can."""

    @property
    def is_own(self) -> bool:
        """Whether this package has its builder; otherwise TextAttack or the user has."""
        return self.builder.startswith("flat_dist.")


def _own(
    name: str,
    function: str,
    *resources: str,
    own_candidates: int = 0,
    greedy: bool = True,
    lists_candidates: bool = True,
    max_queries: int = 0,
) -> AttackEntry:
    return AttackEntry(
        name=name,
        builder=f"flat_dist.attack.recipes:{function}",
        resources=resources,
        greedy=greedy,
        lists_candidates=lists_candidates,
        has_strength=True,
        own_candidates=own_candidates,
        max_queries=max_queries,
    )


def _masked(name: str, *resources: str, max_queries: int = 0) -> AttackEntry:
    """An attack with a masked language model."""
    builder = f"flat_dist.attack.masked_recipes:{name.replace('-', '_')}"
    common = ("stopwords", "sentence_encoder", "masked_language_model")
    return AttackEntry(name=name, builder=builder, resources=(*common, *resources), max_queries=max_queries)


def _recipe(name: str, recipe: str, *resources: str, max_queries: int = 0, refused: str = "") -> AttackEntry:
    """A recipe of TextAttack as it is."""
    path = f"textattack.attack_recipes:{recipe}.build"
    return AttackEntry(name=name, builder=path, resources=resources, max_queries=max_queries, refused=refused)


_TAGS = ("part_of_speech", "universal_tagset")
_TEXT_OUTPUT = "its goal is a model whose output is text, but this one returns scores of classes"

ATTACKS = {
    entry.name: entry
    for entry in (
        _own("textfooler", "textfooler", *_TAGS, "sentence_encoder", "synonyms", own_candidates=50),
        _own("pwws", "pwws", "wordnet", "stopwords"),
        _own(
            "genetic",
            "genetic",
            "stopwords",
            "synonyms",
            "language_model",
            own_candidates=8,
            greedy=False,
            max_queries=POPULATION_QUERIES,
        ),
        _own("iga", "iga", "stopwords", "synonyms", own_candidates=50, greedy=False, max_queries=POPULATION_QUERIES),
        _own(
            "pso",
            "pso",
            "stopwords",
            "hownet",
            *_TAGS,
            greedy=False,
            lists_candidates=False,
            max_queries=POPULATION_QUERIES,
        ),
        _masked("bae", *_TAGS),
        _masked("bert-attack"),
        _masked("clare", *_TAGS, max_queries=EDIT_QUERIES),
        # Other recipes, by their names in textattack.attack_args.ATTACK_RECIPE_NAMES.
        _recipe("textbugger", "TextBuggerLi2018", "stopwords", "synonyms", "sentence_encoder"),
        _recipe("deepwordbug", "DeepWordBugGao2018", "stopwords"),
        _recipe("pruthi", "Pruthi2019", "stopwords"),
        _recipe("leap", "LEAP2023", "stopwords", "wordnet", max_queries=POPULATION_QUERIES),
        _recipe("alzantot", "GeneticAlgorithmAlzantot2018", refused="here it is called genetic"),
        _recipe(
            "faster-alzantot",
            "FasterGeneticAlgorithmJia2019",
            "stopwords",
            "synonyms",
            "learning_to_write",
            max_queries=POPULATION_QUERIES,
        ),
        _recipe("a2t", "A2TYoo2021", "stopwords", *_TAGS, "synonyms", "sentence_bert"),
        _recipe("kuleshov", "Kuleshov2017", "stopwords", "synonyms", "gpt2", max_queries=EDIT_QUERIES),
        _recipe("checklist", "CheckList2020", "entity_tagger"),
        _recipe(
            "hotflip",
            "HotFlipEbrahimi2017",
            refused="it reads the model's gradients through a Hugging Face tokenizer, which this victim does not have; "
            "textfooler-gradient is an attack that follows gradients",
        ),
        _recipe("input-reduction", "InputReductionFeng2018", refused="its goal is to keep the prediction"),
        _recipe("morpheus", "MorpheusTan2020", refused=_TEXT_OUTPUT),
        _recipe("seq2sick", "Seq2SickCheng2018BlackBox", refused=_TEXT_OUTPUT),
        _recipe(
            "bad-characters",
            "BadCharacters2021",
            refused="its goal must be chosen, and none is to change the prediction of a classifier to any other class",
        ),
    )
}
"""All attacks that have a name, without their adaptive forms."""


def names() -> tuple[str, ...]:
    """All names, with adaptive forms such as pwws-gradient; without attacks that cannot be used here."""
    adaptive = [f"{name}-{order}" for name, entry in ATTACKS.items() if entry.greedy for order in ORDERS]
    return (*(name for name, entry in ATTACKS.items() if not entry.refused), *adaptive)


def is_path(attack: str) -> bool:
    """Whether an attack is a builder of the user, such as my_package:build."""
    return ":" in attack


def recipe_of(attack: str) -> str:
    """The attack behind an adaptive form: textfooler of textfooler-gradient; the name itself for any other."""
    recipe, _, order = attack.rpartition("-")
    return recipe if order in ORDERS and recipe in ATTACKS and ATTACKS[recipe].greedy else attack


def order_of(attack: str) -> str:
    """The word order of an adaptive form: gradient of textfooler-gradient; empty for any other attack."""
    return attack.removeprefix(recipe_of(attack)).removeprefix("-")


def entry_of(attack: str) -> AttackEntry:
    """What is known of an attack, or of the one behind an adaptive form.

    Raises:
        UserError: the attack is unknown, or cannot be used here.
    """
    check(attack, "attack")
    recipe = recipe_of(attack)
    return ATTACKS.get(recipe) or AttackEntry(name=recipe, builder=recipe)


def max_queries(attack: str, given: int | None) -> int:
    """Maximum number of victim queries per example; 0: no limit.

    Args:
        attack: a name or a path; a builder of the user has no limit of its own.
        given: what the user sets; None: the attack's own.

    Raises:
        UserError: the attack is unknown, or cannot be used here.
    """
    return entry_of(attack).max_queries if given is None else given


def has_same_candidates(attack: str, other: str) -> bool:
    """Whether two attacks have the same candidates, in another order of words at most."""
    return recipe_of(attack) == recipe_of(other)


def has_curve(attacks: Sequence[str]) -> bool:
    """Whether one pass of the attacks also shows what they reach with fewer changed words."""
    return all(recipe_of(attack) in ATTACKS and ATTACKS[recipe_of(attack)].greedy for attack in attacks)


def file_name(attack: str) -> str:
    """An attack as a part of names of files and metrics: my_package-build for my_package:build."""
    return attack.replace(":", "-")


ALL = "all"
"""Stands for every attack whose resources are at hand; `flat_dist.attack.available` lists them."""


def check_measured(attack: str, what: str) -> None:
    """Check the name of an attack that models are measured under, or `ALL`; see `check`."""
    if attack != ALL:
        check(attack, what)


def check(attack: str, what: str) -> None:
    """Check the name of an attack, or the spelling of a path.

    Args:
        attack: as the user wrote it.
        what: what it is called in messages, such as: value of --attack.name.

    Raises:
        UserError: there is no such attack, it cannot be used here, or a path is not module:function.
    """
    if is_path(attack):
        check_text(what, attack)
        if not PATH.fullmatch(attack):
            raise UserError(
                f"the {what} {quoted(attack)} is not the path of a builder: write package.module:function, as in "
                "my_package.attacks:build"
            )
        return
    known = ATTACKS.get(attack)
    if known is not None and known.refused:
        raise UserError(f"the {what} {attack} cannot be used: {known.refused}")
    if attack not in names():
        raise unknown(what, attack, names())
