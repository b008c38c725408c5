"""The stage of explaining the pairs of an attacked model by one method."""

from dataclasses import dataclass
from importlib import metadata

import pyarrow as pa

from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash, stage_values
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.attributions import AttributionMethod, choose_pairs, methods
from flat_dist.evaluation.result import AttackedModel
from flat_dist.storage.stage import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionPlan(Stage):
    """The stage of explaining pairs."""

    attacked: AttackedModel
    method: AttributionMethod
    rows: pa.Table
    """Pairs to explain: rows of `flat_dist.data.shards.SCHEMA`."""


def plan_attributions(config: Config, attacked: AttackedModel) -> list[AttributionPlan]:
    """The stages of explaining a model's pairs, one for each method that the config asks for."""
    chosen = methods(config.evaluation, config.seed)
    return [_plan(config, attacked, method, count) for method, count in chosen.items()]


def _plan(config: Config, attacked: AttackedModel, method: AttributionMethod, count: int) -> AttributionPlan:
    rows = choose_pairs(read_shards(attacked.shards.folder), config.evaluation.pairs, count, config.seed)
    others = tuple(f"{name}_" for name in ("ig", "lime") if name != method.name)
    settings = stage_values(config.evaluation)
    return AttributionPlan(
        name=f"explain-{method.name}",
        title=f"explain pairs with {method.name} of {attacked.model_name}, {attacked.attack}",
        inputs={
            "checkpoint": attacked.model.fingerprint,
            "attack": attacked.shards.fingerprint,
            "pairs": content_hash(rows["example_id"].to_pylist()),
            "method": method.settings(),
            "settings": {name: value for name, value in settings.items() if not name.startswith(others)},
            "versions": {name: metadata.version(name) for name in ("captum", "lime", "scikit-learn", "torch")},
        },
        attacked=attacked,
        method=method,
        rows=rows,
    )
