"""The part of the results page about the paper's claims: how often they hold, and the differences behind them."""

from collections.abc import Mapping, Sequence

from flat_dist.report.formatting import DASH, fixed, percent, significant
from flat_dist.report.paper import DATASETS, MODELS
from flat_dist.report.table import Table
from flat_dist.reproduction.cards import Card
from flat_dist.reproduction.cells import RECIPES
from flat_dist.reproduction.claims import CLAIMS, Claim, Count, Difference, count, count_published, differences
from flat_dist.reproduction.records import markdown, wrapped

Groups = Mapping[tuple[str, ...], Sequence[Card]]
"""The cards of all seeds, by use, dataset, model, attack and recipe."""


def claim_parts(groups: Groups) -> list[str]:
    """How often the paper's claims hold, over cells and in each of them."""
    main = {key: cards for key, cards in groups.items() if key[0] == "main"}
    known = {key: differences(cards) for key, cards in main.items()}
    recipes = [recipe for recipe in RECIPES if any(key[4] == recipe for key in main)]
    rows = []
    for claim in CLAIMS:
        row = [f"FLAT’s {claim.title}", _of(count_published(claim))]
        for recipe in recipes:
            keys = [key for key in main if key[4] == recipe]
            same = count_published(claim, [(dataset, model, attack) for _, dataset, model, attack, _ in keys])
            row += [_of(same), _measured(count(claim, [known[key].get(claim) for key in keys]))]
        rows.append(row)
    head = ["claim", "published, all cells"]
    for recipe in recipes:
        head += [f"published, cells of {recipe}", f"{recipe}: holds; certain; p < 0.05"]
    about = (
        "In how many cells of Tables 2, 3 and 8 a claim holds. *certain*: the 95 % interval over seeds and texts "
        "excludes a difference that breaks the claim; *p < 0.05*: it holds, and the exact test (McNemar; of "
        "explanations, the sign test) says so in every seed. Consistency is over at most 300 texts a seed that the "
        "attack changed for all three models."
    )
    parts = [*wrapped(about), markdown(Table(head, rows)).rstrip()]
    return parts + (["### Differences", markdown(_differences(main, known)).rstrip()] if main else [])


def _of(found: Count) -> str:
    return f"{found.holds} of {found.of}" if found.of else DASH


def _measured(found: Count) -> str:
    if not found.of:
        return DASH
    tested = DASH if found.significant is None else str(found.significant)
    return f"{found.holds} of {found.of}; {found.certain}; {tested}"


def _differences(main: Groups, known: Mapping[tuple[str, ...], Mapping[Claim, Difference]]) -> Table:
    """FLAT minus adv and base in each cell."""
    rows = []
    for key, cards in main.items():
        _, dataset, model, attack, recipe = key
        for claim in CLAIMS:
            one = known[key].get(claim)
            if one is not None:
                title = f"{claim.title.replace(' above', ' minus').replace(' within one point of', ' minus')}"
                rows.append([DATASETS[dataset], MODELS[model], attack, recipe, title, *_difference(claim, one, cards)])
    return Table(("data", "model", "attack", "recipe", "FLAT’s", "difference", "p, by seed", "seeds"), rows, 5)


def _difference(claim: Claim, one: Difference, cards: Sequence[Card]) -> list[str]:
    to_text = percent if claim.quantity in ("accuracy", "after_attack") else fixed
    interval = f"{to_text(one.interval.low)} to {to_text(one.interval.high)}"
    return [f"{to_text(one.mean)} ({interval})", ", ".join(map(significant, one.p_values)), str(len(cards))]
