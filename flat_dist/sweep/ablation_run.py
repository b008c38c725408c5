"""Runs the variants of an ablation, with the cached stages of the main job: what is complete is not run again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flat_dist.config.schema import Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import read_shards
from flat_dist.evaluation import distributed as evaluations
from flat_dist.evaluation.comparison import with_comparisons
from flat_dist.evaluation.pair_choice import chosen_and_changed
from flat_dist.evaluation.predict import drop_rate
from flat_dist.evaluation.result import AttackedModel
from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline.adversarial_training import AdversarialTraining, Round
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.storage.stage import Executor
from flat_dist.sweep.ablation import SeedResults, outcomes, pair_taus
from flat_dist.sweep.variants import FLAT, Variant, variants

DECIMALS = 3
"""Decimals of the word dropout that is taken from FLAT's masks."""


@dataclass(frozen=True)
class Ablation:
    """The runs of all variants with several seeds.

    Args:
        config: FLAT's, with hardware resolved.
        dataset: what to train and measure on.
        rows: names of the variants, FLAT among them.
        seeds: of the runs.
        environment: where to work.
    """

    config: Config
    dataset: Dataset
    rows: Sequence[str]
    seeds: Sequence[int]
    environment: Environment

    def run(self) -> Iterator[SeedResults]:
        """The results of each seed, as soon as they are complete."""
        for seed in self.seeds:
            self.environment.display.log_line(f"seed {seed}")
            yield self._run_seed(seed)

    def _run_seed(self, seed: int) -> SeedResults:
        (flat,) = variants([FLAT], 0.0)
        found = {FLAT: self._last_round(flat, seed)}
        model = checkpoints.load(found[FLAT].attacked[0].model.folder)
        dropped = round(drop_rate(model, self.dataset.train["text"].to_pylist()), DECIMALS)
        self.environment.display.log_line(f"seed {seed}: FLAT's masks drop {100 * dropped:.1f} % of the words")
        named = variants(self.rows, dropped)
        found |= {variant.name: self._last_round(variant, seed) for variant in named if variant.name != FLAT}
        measured = self._measure(seed, dropped, list(found.values()))
        order: list[str] = [variant.name for variant in named]
        return replace(measured, results=sorted(measured.results, key=lambda result: order.index(result.training)))

    def _last_round(self, variant: Variant, seed: int) -> Round:
        """The last round of a run of the variant, with the variant's name."""
        stages = RunStages(variant.config(self.config, seed), self.dataset, self.environment)
        *_, last = AdversarialTraining(stages).rounds()
        attacked = [_renamed(each, variant.name) for each in last.attacked]
        return replace(
            last, attacked=attacked, results=[replace(result, training=variant.name) for result in last.results]
        )

    def _measure(self, seed: int, dropped: float, found: Sequence[Round]) -> SeedResults:
        """Compare the variants, the first of which is FLAT, on the same texts and the same pairs."""
        config, environment = replace(self.config, seed=seed), self.environment
        attacked = [each for last in found for each in last.attacked]
        results = [result for last in found for result in last.results]
        correct: dict[str, np.ndarray] = {}
        for last in found:
            correct |= last.correct
        executor = Executor(environment.storage, environment.display.log_line)
        explained = evaluations.explain_pairs(config, executor, attacked, environment.display)
        compared = with_comparisons(results, attacked, correct, seed)
        return SeedResults(
            seed=seed,
            dropped=dropped,
            results=evaluations.with_consistency(config, compared, explained),
            outcomes=outcomes(results, [read_shards(each.shards.folder) for each in attacked]),
            correct={
                each.model_name: {str(row): float(right) for row, right in enumerate(correct[each.model.folder.uri])}
                for each in attacked
            },
            taus={
                (each.attacked.model_name, each.attacked.attack, each.method.name): pair_taus(
                    each.pairs,
                    set(chosen_and_changed(read_shards(each.attacked.shards.folder), config.evaluation.pairs)),
                )
                for each in explained
            },
        )


def _renamed(attacked: AttackedModel, name: str) -> AttackedModel:
    return replace(attacked, model=replace(attacked.model, model_name=name))
