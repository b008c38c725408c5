"""The stages of explaining the pairs of attacked models, one for each model, attack and method."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import pyarrow as pa

from flat_dist.config.schema import Config
from flat_dist.config.serialization import content_hash, stage_values
from flat_dist.data.shards import read_shards
from flat_dist.evaluation.attributions import AttributionMethod, methods
from flat_dist.evaluation.pair_choice import choose_pairs
from flat_dist.evaluation.result import AttackedModel
from flat_dist.storage.stage import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributionPlan(Stage):
    """The stage of explaining pairs."""

    attacked: AttackedModel
    method: AttributionMethod
    rows: pa.Table
    """Pairs to explain: rows of `flat_dist.data.shards.SCHEMA`."""


def plan_attributions(config: Config, attacked: Sequence[AttackedModel]) -> list[AttributionPlan]:
    """The stages of explaining the pairs of models under attacks, one for each method that the config asks for.

    Pairs are chosen among those of all models that are under the same attack.
    """
    rows = [read_shards(each.shards.folder) for each in attacked]
    plans: dict[int, list[AttributionPlan]] = {number: [] for number in range(len(attacked))}
    for attack in dict.fromkeys(each.attack for each in attacked):
        numbers = [number for number, each in enumerate(attacked) if each.attack == attack]
        for method, count in methods(config.evaluation, config.seed).items():
            chosen = choose_pairs([rows[number] for number in numbers], config.evaluation.pairs, count, config.seed)
            for number, pairs in zip(numbers, chosen, strict=True):
                plans[number].append(_plan(config, attacked[number], method, pairs))
    return [plan for of_model in plans.values() for plan in of_model]


def _plan(config: Config, attacked: AttackedModel, method: AttributionMethod, rows: pa.Table) -> AttributionPlan:
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
