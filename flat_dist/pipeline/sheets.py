"""Writes the blind sheet of an evaluation's adversarial texts for people."""

from collections.abc import Callable, Sequence

from flat_dist.config.schema import WORST
from flat_dist.evaluation.annotation import draw
from flat_dist.evaluation.annotation_sheet import ANNOTATED, sheet_name, write_sheet
from flat_dist.pipeline.experiment import ExperimentResults
from flat_dist.storage.folder import Folder


def write(
    folder: Folder,
    found: ExperimentResults,
    label_names: Sequence[str],
    count: int,
    seed: int,
    log_line: Callable[[str], None],
) -> None:
    """Write a sheet of pairs from all attacks on all models, and say where it is.

    Args:
        folder: for the sheet and its key.
        found: what was measured.
        label_names: of the models.
        count: maximum number of pairs.
        seed: of the run.
        log_line: prints a message.

    Raises:
        UserError: no attack was successful.
    """
    attacked = [each for each in found.attacked if each.attack != WORST]
    pairs = draw(attacked, label_names, count, seed)
    is_new = write_sheet(folder, pairs, count)
    place = f"{folder.uri}/{sheet_name(count)}"
    if not is_new:
        log_line(f"{place} was there before, and is kept as it is")
        return
    fewer = f", all that there are instead of {count}" if len(pairs) < count else ""
    log_line(
        f"{place} has {len(pairs)} pairs{fewer}: give each person a copy, and read them back with {ANNOTATED} COPY ..."
    )
