"""The paper's numbers for a cell, and all cells of its Tables 2, 3, 7 and 8."""

from itertools import product

from flat_dist.report import paper
from flat_dist.report.paper import Numbers
from flat_dist.reproduction.cells import TABLE_10, TRAININGS, USES, Cell
from flat_dist.sweep.variants import TABLE_5

CellKey = tuple[str, str, str]
"""Dataset, model, and attack in training."""

ALL_CELLS: tuple[CellKey, ...] = tuple(product(USES["main"].datasets, paper.MODELS, USES["main"].attacks))
"""The cells of the paper."""


def published(cell: Cell, training: str, attack: str) -> Numbers:
    """The paper's numbers for a model under an attack.

    Args:
        cell: of the model.
        training: base, adv or flat; or the name of a row of Table 5 or 10, or of growing data.
        attack: on test texts.
    """
    if not USES[cell.use].of_the_paper:
        return Numbers()
    if cell.use == "groups" and attack == cell.attack and TABLE_10[training]:
        return paper.group_masks(TABLE_10[training])
    if cell.use != "ablation":
        return paper.numbers(cell.dataset, cell.model, training, attack, cell.attack)
    accuracy, after_attack = paper.ablation(*TABLE_5[training])
    return Numbers(accuracy=accuracy, after_attack_accuracy=after_attack if attack == cell.attack else None)


def published_cell(key: CellKey) -> dict[str, Numbers]:
    """The paper's numbers of a cell of `ALL_CELLS`, by kind of training."""
    dataset, model, attack = key
    return {training: paper.numbers(dataset, model, training, attack, attack) for training in TRAININGS}
