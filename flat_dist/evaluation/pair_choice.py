"""Which pairs of original and attacked text are explained: first the same originals for all models, then others.

Each model is attacked on its own, so an attack changes other texts for each model. Only originals that it changed for
every model allow a comparison of models on the same texts.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flat_dist.data.datasets import sample
from flat_dist.runtime.seeds import derive_seed


def changed_rows(attacked: pa.Table) -> pa.Table:
    """Rows of an attack in which a word changed, successful or not; rows with status error have none."""
    return attacked.filter(pc.greater(pc.list_value_length(attacked["swaps"]), 0))


CHOICES = {
    "changed": changed_rows,
    "successful": lambda rows: rows.filter(pc.equal(rows["status"].cast(pa.string()), "successful")),
    "all": lambda rows: rows.filter(pc.not_equal(rows["status"].cast(pa.string()), "error")),
}
"""Rows of an attack to use as pairs, by `evaluation.pairs`: those with a changed word, successful or not; the
successful ones; or all of them. A row without a changed word, such as a skipped one, compares a text with itself."""


def chosen_and_changed(attacked: pa.Table, which: str) -> list[str]:
    """Ids of the chosen rows in which a word changed: only they tell how consistent a model is."""
    ids: list[str] = changed_rows(CHOICES[which](attacked))["example_id"].to_pylist()
    return ids


def common_ids(attacked: Sequence[pa.Table], which: str) -> list[str]:
    """Ids that are chosen and changed for every model, in the order of the first model's rows.

    Args:
        attacked: rows of `flat_dist.data.shards.SCHEMA`, of one attack on each model.
        which: one of `CHOICES`.
    """
    first, *others = (chosen_and_changed(rows, which) for rows in attacked)
    shared = set(first).intersection(*others)
    return [name for name in first if name in shared]


def choose_pairs(attacked: Sequence[pa.Table], which: str, count: int, seed: int) -> list[pa.Table]:
    """Pairs of each model to explain: `count` of them, or all if `count` is 0.

    Those that are common to all models come first, the same for all models; the rest are others of the model. Both are
    drawn by the seed.

    Args:
        attacked: rows of `flat_dist.data.shards.SCHEMA`, of one attack on each model.
        which: one of `CHOICES`.
        count: pairs of a model; 0, or at least as many as there are: all, in their order.
        seed: of the draw.
    """
    common = pa.array(common_ids(attacked, which), pa.string())
    return [_draw(CHOICES[which](rows), common, count, derive_seed(seed, "pairs")) for rows in attacked]


def _draw(rows: pa.Table, common: pa.Array, count: int, seed: int) -> pa.Table:
    if count == 0 or count >= rows.num_rows:
        return rows
    is_common = pc.is_in(rows["example_id"], value_set=common)
    first = sample(rows.filter(is_common), count, seed)
    if first.num_rows == count:
        return first
    return pa.concat_tables([first, sample(rows.filter(pc.invert(is_common)), count - first.num_rows, seed)])
