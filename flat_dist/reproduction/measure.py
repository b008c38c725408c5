"""Trains and measures the models of a cell, with the cached stages of the main job: nothing complete is run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flat_dist.config.errors import IncompleteError
from flat_dist.config.schema import Config
from flat_dist.data.datasets import Dataset
from flat_dist.data.shards import read_shards
from flat_dist.evaluation import distributed as evaluations
from flat_dist.evaluation.comparison import AFTER, by_example
from flat_dist.evaluation.result import AttackedModel, PairAttributions, Result
from flat_dist.pipeline.adversarial_training import AdversarialTraining, Round
from flat_dist.pipeline.stages import Environment, RunStages
from flat_dist.report import figures
from flat_dist.reproduction import words
from flat_dist.reproduction.cards import Attacked, Measured, Spent, Trained
from flat_dist.reproduction.cells import FIRST_SEED, TABLE_10, Cell
from flat_dist.reproduction.explained import explained_of, kept_ids
from flat_dist.reproduction.growing import EQUAL_COMPUTE, configs
from flat_dist.reproduction.growing_measure import renamed, spent_by
from flat_dist.reproduction.outcomes import encode
from flat_dist.reproduction.published import published
from flat_dist.resources import assets, synonyms
from flat_dist.storage.folder import Folder
from flat_dist.sweep.variants import FLAT, TABLE_5, variants


@dataclass(frozen=True)
class Run:
    """A round of a run of the main job: the last one, or of growing data any."""

    last: Round
    attacked_texts: Mapping[str, Sequence[Folder]]
    """Shards of attacked training texts, by kind of training."""
    spent: Mapping[str, Spent] = field(default_factory=dict)
    """Growing data: the work behind each model of all rounds."""


@dataclass(frozen=True)
class Finding:
    """What a cell gave."""

    measured: Measured
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name, without the ending."""


FIGURE_5 = (FLAT, "flat-gamma-0")
"""The models of the paper's Figure 5, in the order of its boxes."""


@dataclass(frozen=True)
class CellRun:
    """One cell.

    Args:
        cell: what to train and measure.
        config: its config, with hardware resolved.
        dataset: what to train and measure on.
        environment: where to work.
    """

    cell: Cell
    config: Config
    dataset: Dataset
    environment: Environment

    def run(self) -> Finding:
        """Train and measure.

        Raises:
            UserError: training diverged, or an attack cannot run.
            IncompleteError: an attack has no result.
        """
        runs = self.runs()
        measured = self.measure(runs)
        if self.cell.use == "growing":
            return Finding(replace(measured, equal_compute=EQUAL_COMPUTE))
        if self.cell.use == "words":
            return self._with_correlations(measured, runs[0])
        if self.cell.use == "groups":
            space = synonyms.provenance(self.config.attack.synonyms, assets.prepare())["detail"]
            return Finding(replace(measured, clustered=space))
        return self._with_spreads(measured, runs) if self.cell.use == "ablation" else Finding(measured)

    def _with_correlations(self, measured: Measured, run: Run) -> Finding:
        """Table 9, and Figure 4 of the first seed."""
        (attacked,) = (each for each in run.last.attacked if each.model_name == FLAT)
        tables, counted_in = words.attacked_tables(run.attacked_texts.get(FLAT, ()), attacked)
        known = words.importance_of(attacked.model, self._texts, tables)
        pictures = words.scatter_pictures(known, self.cell.name) if self.cell.seed == FIRST_SEED else {}
        return Finding(replace(measured, correlations=words.table_9(known), counted_in=counted_in), pictures)

    def _with_spreads(self, measured: Measured, runs: Sequence[Run]) -> Finding:
        """Figure 5: FLAT with and without gamma."""
        models = {each.model_name: each.model for run in runs for each in run.last.attacked}
        known = {name: words.importance_of(models[name], self._texts) for name in FIGURE_5}
        spreads = words.spreads_of(known, self.config)
        pictures = {}
        if self.cell.seed == FIRST_SEED and all(map(len, spreads.values())):
            pictures[f"{self.cell.name}-spread"] = figures.spread(spreads).png
        quartiles = {name: words.quartiles(spread) for name, spread in spreads.items()}
        return Finding(replace(measured, spreads=quartiles), pictures)

    @property
    def _texts(self) -> list[str]:
        texts: list[str] = self.dataset.train["text"].to_pylist()
        return texts

    def runs(self) -> list[Run]:
        """Train and attack the models: those of Tables 5 and 10 one after the other, others side by side; of growing
        data after each round.

        Raises:
            UserError: training diverged, or an attack cannot run.
            IncompleteError: an attack has no result.
        """
        if self.cell.use == "ablation":
            in_the_papers_order = sorted(TABLE_5, key=lambda name: TABLE_5[name], reverse=True)
            rows = [row for name in in_the_papers_order for row in variants([name], 0.0)]
            return [_renamed(self._run(row.config(self.config, self.config.seed)), row.name) for row in rows]
        if self.cell.use == "groups":
            return [_renamed(self._run(_with_groups(self.config, count)), row) for row, count in TABLE_10.items()]
        if self.cell.use == "growing":
            return [run for source, config in configs(self.config).items() for run in self._grown(source, config)]
        return [self._run(self.config)]

    def _run(self, config: Config) -> Run:
        return self._rounds(config, every_round=False)[-1]

    def _grown(self, source: str, config: Config) -> list[Run]:
        """All rounds of a source of adversarial texts, with the names of the card's rows."""
        runs = self._rounds(config, every_round=True)
        rounds, texts = [run.last for run in runs], self.dataset.train.num_rows
        spent = spent_by(rounds, runs[-1].attacked_texts, source, config, texts)
        return [replace(run, last=renamed(run.last, source), spent=spent) for run in runs]

    def _rounds(self, config: Config, every_round: bool) -> list[Run]:
        training = AdversarialTraining(RunStages(config, self.dataset, self.environment), every_round)
        rounds = list(training.rounds())
        if failures := training.stages.failures:
            raise IncompleteError("; ".join(f"no result: {failure.describe()}" for failure in failures))
        return [Run(one, training.attacked_texts()) for one in rounds]

    def measure(self, runs: Sequence[Run]) -> Measured:
        """Explain pairs if the cell asks for it, and collect all numbers.

        Args:
            runs: result of `runs`.
        """
        config, environment = self.config, self.environment
        stages = RunStages(config, self.dataset, environment)
        attacked, display = [each for run in runs for each in run.last.attacked], environment.display
        explained = evaluations.explain_pairs(config, stages.executor, attacked, display, environment.workers)
        results = [result for run in runs for result in run.last.results]
        right = {uri: own for run in runs for uri, own in run.last.correct.items()}
        dev = evaluations.predictions(attacked, stages.data.folder, "dev", config)
        numbers = _Numbers(
            self,
            list(zip(evaluations.with_consistency(config, results, explained), attacked, strict=True)),
            explained,
            {uri: dict(zip(self._ids("test"), own.astype(float).tolist(), strict=True)) for uri, own in right.items()},
            {uri: float(one.right.mean()) for uri, one in dev.items()},
        )
        return Measured(
            trainings={name: numbers.trained(name) for name in dict.fromkeys(result.training for result in results)},
            stand_ins={result.attack: list(result.stand_ins) for result in results},
            texts={split: len(self._ids(split)) for split in ("train", "dev", "test")},
            spent={name: spent for run in runs for name, spent in run.spent.items()},
        )

    def _ids(self, split: str) -> list[str]:
        ids: list[str] = getattr(self.dataset, split)["example_id"].to_pylist()
        return ids


@dataclass(frozen=True)
class _Numbers:
    """Everything that was measured of a cell's models."""

    run: CellRun
    results: Sequence[tuple[Result, AttackedModel]]
    explained: Sequence[PairAttributions]
    right: Mapping[str, Mapping[str, float]]
    """Whether each test text is right, by the checkpoint's URI."""
    dev: Mapping[str, float]
    """Accuracy on dev, by the checkpoint's URI."""

    def trained(self, name: str) -> Trained:
        """The numbers of a model."""
        own = [(result, attacked) for result, attacked in self.results if result.training == name]
        (result, attacked), ids = own[0], self.run._ids("test")
        uri = attacked.model.folder.uri
        return Trained(
            round=result.round,
            accuracy=result.accuracy,
            dev_accuracy=self.dev[uri],
            right=encode(self.right[uri], ids),
            attacks={result.attack: self._attacked(result, each) for result, each in own},
        )

    def _kept(self, attack: str) -> set[str]:
        """Ids of the pairs whose numbers the card keeps, the same for all models and methods."""
        own = [one for one in self.explained if one.attacked.attack == attack]
        rows = [read_shards(one.attacked.shards.folder) for one in own]
        config = self.run.config
        return kept_ids(rows, [one.pairs for one in own], config.evaluation.pairs, config.seed)

    def _attacked(self, result: Result, attacked: AttackedModel) -> Attacked:
        rows, ids = read_shards(attacked.shards.folder), self.run._ids("test")
        reported = result.after_attack_accuracy is not None
        pairs = {one.method.name: one.pairs for one in self.explained if one.attacked == attacked}
        return Attacked(
            after_attack_accuracy=result.after_attack_accuracy,
            probabilities=result.after_attack_accuracy_probabilities,
            saturated=result.saturated,
            failed_unchanged=result.failed_unchanged,
            success_rate=result.attack_success_rate,
            mean_queries=result.mean_queries,
            words_changed=result.words_changed,
            n=result.n,
            outcomes=encode(by_example(rows, AFTER), ids) if reported else "",
            paper=published(self.run.cell, result.training, result.attack),
            explained={
                method: explained_of(consistency, pairs[method], self._kept(attacked.attack), ids)
                for method, consistency in result.interpretations.items()
            },
        )


def _with_groups(config: Config, groups: int) -> Config:
    """The config of a row of Table 10."""
    return replace(config, model=replace(config.model, group_masks=groups))


def _renamed(run: Run, row: str) -> Run:
    """The run, with the name of a table's row in the place of the kind of training."""
    attacked = [replace(each, model=replace(each.model, model_name=row)) for each in run.last.attacked]
    results = [replace(result, training=row) for result in run.last.results]
    return replace(run, last=replace(run.last, attacked=attacked, results=results))
