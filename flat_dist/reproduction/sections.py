"""The tables of the results page: each with the paper's numbers beside the measured ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from flat_dist.report.formatting import fixed, percent, significant
from flat_dist.reproduction.records import Column, Shown

PLACE = {0: "data", 1: "model", 3: "attack", 4: "training"}
"""Text columns of most tables, by place in `flat_dist.reproduction.records.Record.labels`."""


@dataclass(frozen=True)
class Section:
    """A table of the page."""

    title: str
    about: str
    shown: Shown


def _consistency(number: str, method: str, heading: str) -> list[Section]:
    """Kendall's tau and top-5 by one method."""
    common = "texts that the attack changed for base, adv and flat"
    return [
        Section(
            f"Table {number}: {name}, {heading}",
            f"*all*: over all texts, in which unchanged ones count 1, as in the paper; *common*: over the {common}.",
            Shown(
                "main",
                (Column(f"all_{key}_{method}", fixed, ", all"), Column(f"{key}_{method}", fixed, ", common")),
                PLACE,
                (Column(f"all_{key}_{method}", fixed),),
            ),
        )
        for name, key in (("Kendall’s tau", "tau"), ("top-5 intersection", "top_5"))
    ]


SUMMARY = Shown(
    "main",
    (Column("accuracy", percent), Column("after_attack", percent, ", after")),
    PLACE,
    (Column("accuracy", percent), Column("after_attack", percent, ", after")),
)
"""Clean and after-attack accuracy, for the README."""

SECTIONS: Sequence[Section] = (
    Section(
        "Table 2: accuracy on the test texts",
        "In percent.",
        Shown("main", (Column("accuracy", percent),), PLACE, (Column("accuracy", percent),)),
    ),
    Section(
        "Table 3: after-attack accuracy",
        "In percent of all attacked texts. *worst*: of the outcomes with probabilities and with margins, the worse one "
        "of each text; *probabilities*: TextAttack’s attack alone, as in the paper. The difference is what rounding "
        "decides.",
        Shown(
            "main",
            (Column("after_attack", percent, ", worst"), Column("probabilities", percent, ", probabilities")),
            PLACE,
            (Column("after_attack", percent),),
        ),
    ),
    Section(
        "What rounding decides",
        "In percent: *saturated*, texts whose probability is exactly 1 before the attack; *rounding*, texts that are "
        "right after the attack on probabilities, but not after that on margins; *unchanged*, failed attacks that "
        "changed no word.",
        Shown(
            "main",
            (
                Column("saturated", percent, ", saturated"),
                Column("rounding", percent, ", rounding"),
                Column("failed_unchanged", percent, ", unchanged"),
            ),
            PLACE,
        ),
    ),
    *_consistency("3", "ig", "integrated gradients"),
    Section(
        "Table 4: after-attack accuracy under attacks that training did not see",
        "In percent of the attacked texts, which may be fewer than in the paper; the worse of both forms of scores. "
        "Models are trained against TextFooler. The paper calls genetic Gene.",
        Shown(
            "transfer",
            (Column("after_attack", percent),),
            {0: "data", 1: "model", 4: "training", 2: "attack"},
            (Column("after_attack", percent),),
        ),
    ),
    Section(
        "Table 5: FLAT without its regularisers",
        "In percent. flat has beta and gamma above 0; the names of the others say which are 0. Of the recipe released, "
        "each row has its own clean epochs.",
        Shown("ablation", SUMMARY.columns, PLACE, SUMMARY.published),
    ),
    Section(
        "Table 7: accuracy on the development texts",
        "In percent.",
        Shown("main", (Column("dev_accuracy", percent),), PLACE, (Column("dev_accuracy", percent),)),
    ),
    *_consistency("8", "lime", "LIME"),
    Section(
        "Table 9: correlations of the words’ importance",
        "Pearson’s r and p of FLAT’s global importance, the frequency of words in training texts, and how often "
        "attacks replaced them.",
        Shown(
            "words",
            (Column("r", lambda value: fixed(value, 3), ", r"), Column("p", significant, ", p")),
            {0: "data", 1: "model", 4: "correlation"},
            (Column("r", lambda value: fixed(value, 3), ", r"), Column("p", significant, ", p")),
        ),
    ),
    Section(
        "Table 10: masks shared by groups of similar words",
        "In percent. Training on clean texts: base without masks, the others with as many groups as their names say. "
        "Each card names the vectors by which words were grouped.",
        Shown("groups", SUMMARY.columns, PLACE, SUMMARY.published),
    ),
)
"""The tables in the order of the page."""
