"""Attack the texts of a dataset with a checkpoint as the victim, and write Arrow shards.

The same command again continues an interrupted attack, and finds a finished one. A checkpoint is a folder that training
left, such as runs/stages/train-base-0-...

  python jobs/attack.py --checkpoint runs/stages/train-base-0-... --attack.name pwws --evaluation.sample 100
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import flat_dist.runtime.start  # noqa: F401, the first import
from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.schema import AttackConfig, Config, DataConfig, EvaluationConfig, Hardware, Split
from flat_dist.config.validation import validate
from flat_dist.resources import synonym_file
from flat_dist.runtime import hardware
from flat_dist.runtime.progress import Display
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Texts:
    """What is attacked."""

    split: Split = "test"
    """Split to attack: train, dev or test."""
    sample: int = 0
    """Texts to attack, drawn by the seed; 0: all of the split."""


@dataclass(frozen=True)
class Command:
    """What to attack, and how."""

    checkpoint: str
    """Folder of the victim."""
    storage: str = "runs"
    """Folder for the shards; an absolute path when run by `ray job submit`."""
    hardware: Hardware = "auto"
    """What it runs on: cpu, gtx1080, a100, h100, or auto: this cluster's GPUs, or its CPUs."""
    seed: int = 1111
    """Seed of the draw and of the attack."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    evaluation: Texts = field(default_factory=Texts)


RENAMED = {
    "--split": "--evaluation.split",
    "--examples": "--evaluation.sample",
    "--profile": "--attack.profile",
}


def job(arguments: Sequence[str]) -> None:
    """Parse, build, attack."""
    command = options.read(Command, arguments, __doc__, RENAMED)
    from flat_dist.attack.plan import TextsToAttack, plan_attack
    from flat_dist.attack.pool.run import run_attacks
    from flat_dist.data import datasets
    from flat_dist.data.shards import read_shards
    from flat_dist.evaluation.accuracy import after_attack
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.models.artifact import open_checkpoint
    from flat_dist.runtime import cluster
    from flat_dist.storage.stage import Executor

    attack, split = command.attack, command.evaluation.split
    config = Config(
        data=command.data,
        attack=attack,
        evaluation=EvaluationConfig(split=split, sample=command.evaluation.sample),
        storage=command.storage,
        seed=command.seed,
        hardware=command.hardware,
    )
    validate(config)
    Folder(config.storage).check()
    synonym_file.check(attack.synonyms)
    folder = Folder(command.checkpoint)
    label_names = checkpoints.load(folder).label_names
    dataset = datasets.load(config.data)
    datasets.check_classes(dataset, label_names, folder.uri)
    draw = derive_seed(config.seed, "evaluation")
    examples = datasets.sample(getattr(dataset, split), config.evaluation.sample, draw)
    with cluster.connected(), Display(as_json=command.json) as display:
        config, said = hardware.resolve(config, cluster.machine(config.hardware, display.log_line))
        display.log_line(said)
        texts = TextsToAttack(split, examples, dataset.fingerprint)
        plan = plan_attack(config, open_checkpoint(folder), texts, attack.name)
        executor = Executor(Folder(config.storage), display.log_line)
        (shards,) = run_attacks([plan], config.attack, executor, display)
    summary = asdict(after_attack(read_shards(shards.folder)))
    for name, value in summary.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"shards: {shards.folder.uri}")
    if command.json:
        cli.print_json(summary | {"shards": shards.folder.uri})


if __name__ == "__main__":
    cli.main(job)
