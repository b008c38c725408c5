"""Train a base classifier, attack it, train it again with adversarial training and with FLAT, and compare the three.

The result of each step is kept in a folder named by a hash of its inputs. Running the same command again continues an
interrupted run, and repeats no finished step.

  flat-dist train --dry-run --model.name lstm
  flat-dist train --data.train a.csv --data.dev b.csv --data.test c.csv
  flat-dist train --preset sst2,transformer --attack.name pwws --training.rounds 3
"""

import json
from collections.abc import Sequence

from flat_dist import cli
from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.data import datasets
from flat_dist.pipeline import run_folder
from flat_dist.pipeline.plan import check, hints, plan
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.lock import exclusive_lock
from flat_dist.tracking import mlflow


def job(arguments: Sequence[str]) -> None:
    """Parse, check, and run or show the plan."""
    command = cli.parse(arguments, str(__doc__))
    config = command.config
    check(config)
    dataset = datasets.load(config.data)
    run_folder.check(config, run_folder.identity(config, dataset.fingerprint))
    if command.dry_run:
        show_plan(config, dataset, command.json)
    else:
        run(config, dataset, command.json)


def run(config: Config, dataset: datasets.Dataset, as_json: bool) -> None:
    """Train, attack and evaluate on Ray, and show the results."""
    from flat_dist.pipeline import results
    from flat_dist.pipeline.adversarial_training import AdversarialTraining
    from flat_dist.pipeline.experiment import Experiment, source
    from flat_dist.pipeline.stages import Environment, RunStages
    from flat_dist.runtime import cluster

    mlflow.check_server(config)
    with cluster.connected(), Display(as_json=as_json) as display:
        config, hardware_description = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        for line in (hardware_description, *datasets.describe(dataset), *hints(config, dataset)):
            display.log_line(line)
        settings = run_folder.identity(config, dataset.fingerprint)
        name = run_folder.run_name(config, settings)
        folder = Folder(config.storage) / name
        run_folder.open_folder(folder, settings)
        with (
            exclusive_lock(folder, "this run", log_line=display.log_line),
            mlflow.tracked(config, name, settings, folder, display.log_line) as tracker,
        ):
            environment = Environment(Folder(config.storage), tracker, display)
            found = AdversarialTraining(RunStages(config, dataset, environment)).run()
            results.publish(folder, Experiment(config, settings, source(config, dataset)), found, tracker)
    results.show(found, folder, config, f"{dataset.source}, {config.model.name}", as_json)


def show_plan(config: Config, dataset: datasets.Dataset, as_json: bool) -> None:
    """Print the config and the steps of the run, as it would run on this machine."""
    machine = hardware.detect() if config.hardware == "auto" else hardware.Machine()
    config, hardware_description = hardware.resolve(config, machine, imagine=True)
    notes, steps = [hardware_description, *datasets.describe(dataset), *hints(config, dataset)], plan(config, dataset)
    if config.training.device == "cuda":
        from flat_dist.models.factory import initial
        from flat_dist.training import memory

        config, memory_description = memory.fit(initial(config, dataset, masked=False)[0].model, config)
        notes.insert(1, memory_description)
    if as_json:
        cli.print_json({"config": to_dict(config), "plan": [*notes, *steps]})
        return
    print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
    print(*notes, *(f"{number}. {step}" for number, step in enumerate(steps, 1)), sep="\n")
