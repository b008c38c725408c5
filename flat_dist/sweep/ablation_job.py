"""The ablation as a command: its checks, its run on Ray, and its plan."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from flat_dist import cli
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.config.validation import HIGHEST_SEED
from flat_dist.data import datasets
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import hints
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.sweep.variants import WORD_DROPOUT, check_names, variants
from flat_dist.tracking import mlflow


@dataclass(frozen=True)
class AblationJob:
    """What to compare.

    Args:
        config: FLAT's.
        rows: names of the models.
        seeds: of the runs; each trains all models.
        as_json: whether to print one JSON object as the last line.
    """

    config: Config
    rows: Sequence[str]
    seeds: Sequence[int]
    as_json: bool

    def check(self) -> None:
        """Raise UserError for settings that make no ablation."""
        seeds = self.seeds
        if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed <= HIGHEST_SEED for seed in seeds):
            raise UserError(f"--seeds is {list(seeds)}: give at least one, each once, from 0 to {HIGHEST_SEED}")
        if not self.config.training.rounds:
            raise UserError("an ablation has at least one round (--training.rounds 1)")
        check_names(self.rows, self.config)

    def run(self, dataset: datasets.Dataset) -> None:
        """Train and measure all models with all seeds on Ray, and show the table."""
        from flat_dist.pipeline import results
        from flat_dist.pipeline.stages import Environment
        from flat_dist.runtime import cluster
        from flat_dist.sweep import ablation_output as output
        from flat_dist.sweep.ablation_run import Ablation
        from flat_dist.tracking.tracker import NoTracker
        from flat_dist.training import distributed, single_task

        config, done, found = self.config, [], []
        mlflow.check_server(config)
        with cluster.connected(), Display(as_json=self.as_json) as display:
            config, hardware_said = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
            for line in (hardware_said, *datasets.describe(dataset), *hints(config, dataset)):
                display.log_line(line)
            identity = {
                "ablation": run_folder.identity(config, dataset.fingerprint),
                "rows": list(self.rows),
                "seeds": list(self.seeds),
            }
            name = config.run_name or f"ablation-{run_folder.name_of(config, identity)}"
            folder = Folder(config.storage) / name
            run_folder.open_folder(folder, identity)
            page = output.AblationPage(f"Ablation of {config.model.name} on {dataset.source}", _facts(config, dataset))
            with (
                exclusive_lock(folder, "this ablation", log_line=display.log_line),
                mlflow.tracked(config, name, identity, folder, display.log_line) as tracker,
            ):
                train = distributed.train if config.training.workers > 1 else single_task.train_alone
                environment = Environment(Folder(config.storage), NoTracker(), display, train)
                for one in Ablation(config, dataset, self.rows, self.seeds, environment).run():
                    done.append(one)
                    found = output.publish(folder, page, done, config.seed, tracker)
        results.print_server(config)
        output.show(found, folder, self.as_json)

    def show_plan(self, dataset: datasets.Dataset) -> None:
        """Print the models and the seeds."""
        measured = {"training.word_dropout": "the share of words that FLAT's masks drop"}
        rows = [
            {
                "model": one.name,
                "training": one.training,
                "changes": measured if one.name == WORD_DROPOUT else dict(one.changes),
            }
            for one in variants(self.rows, 0.0)
        ]
        if self.as_json:
            cli.print_json({"models": rows, "seeds": list(self.seeds)})
            return
        print(*datasets.describe(dataset), *hints(self.config, dataset), sep="\n")
        print(*(f"{number}. {json.dumps(row, ensure_ascii=False)}" for number, row in enumerate(rows, 1)), sep="\n")
        print(f"seeds: {', '.join(map(str, self.seeds))}")


def _facts(config: Config, dataset: datasets.Dataset) -> dict[str, str]:
    return {
        "data": dataset.source,
        "data fingerprint": dataset.fingerprint,
        "model": config.model.name,
        "attack in training": config.attack.name,
        "adversarial examples from": config.training.adversaries,
        "rounds": str(config.training.rounds),
        "measured on": f"{config.evaluation.split}, {config.evaluation.sample or 'all'} texts attacked",
    }
