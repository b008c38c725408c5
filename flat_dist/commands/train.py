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
from flat_dist.pipeline.plan import check, check_classes, hints, plan, resolve
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.runtime.timeline import summarize


def job(arguments: Sequence[str]) -> None:
    """Parse, check, and run or show the plan."""
    command = cli.parse(arguments, str(__doc__))
    config = resolve(command.config)
    check(config)
    display = Display(as_json=command.json)
    driver = display.timeline.driver
    driver.since_start_of_process("import")
    with driver.phase("data"):
        dataset = datasets.load(config.data)
    if command.dry_run:
        check_classes(config, dataset)
        run_folder.check(config, run_folder.identity(config, dataset.fingerprint))
        show_plan(config, dataset, command.json)
        return
    with driver.phase("import"):
        from flat_dist.pipeline import finished, results

    title = f"{dataset.source}, {config.model.name}"
    if ended := finished.find(config, dataset.fingerprint):
        config, folder, run = ended
        display.log_line("this run has ended, and nothing of it is missing: these are its results")
        results.show_again(folder, config, run.hints, title, command.json)
        return
    with driver.phase("import"):
        from flat_dist.pipeline import jobs

    ran = jobs.train(config, dataset, display)
    if config.profile:
        print(*summarize(display.timeline.processes()).lines(), sep="\n")
    results.show(ran.found, ran.folder, ran.config, title, command.json)


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
