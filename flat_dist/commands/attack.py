"""Attack a checkpoint on the texts of a dataset, and write Arrow shards.

A checkpoint is a folder that training wrote, such as runs/stages/train-base-0-..., or that `save_pretrained` of Hugging
Face wrote for a fine-tuned classifier; a function from texts to probabilities; or the address of a model. Running the
same command again continues an interrupted attack; a finished attack is not repeated.

  flat-dist attack --checkpoint runs/stages/train-base-0-... --attack.name pwws --evaluation.sample 100
  flat-dist attack --checkpoint my_package.models:predict --data.label-names negative positive
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config, DataConfig, EndpointConfig, EvaluationConfig, Hardware, Split
from flat_dist.config.validation import validate
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Texts:
    """The texts to attack."""

    split: Split = "test"
    """Split to attack: train, dev or test."""
    sample: int = 0
    """Number of texts to attack, drawn by the seed; 0: the whole split."""


@dataclass(frozen=True)
class Command:
    """What to attack, and how."""

    checkpoint: str
    """The model to attack: a folder, package.module:function, or https://..."""
    storage: str = "runs"
    """Folder for the shards; an absolute path when run by `ray job submit`."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto: the cluster's GPUs if it has any, else its CPUs."""
    seed: int = 1111
    """Seed of the sample of texts and of the attack."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    evaluation: Texts = field(default_factory=Texts)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)


RENAMED = {
    "--split": "--evaluation.split",
    "--examples": "--evaluation.sample",
    "--profile": "--attack.profile",
}


def job(arguments: Sequence[str]) -> None:
    """Parse, build, attack."""
    command = options.read(Command, arguments, __doc__, RENAMED)
    from flat_dist.data import datasets
    from flat_dist.data.shards import read_shards
    from flat_dist.evaluation.accuracy import after_attack
    from flat_dist.evaluation.diagnosis import below_chance, diagnose
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.pipeline import jobs, own_models

    if command.attack.sample:
        raise UserError("--attack.sample has no effect on this command: set --evaluation.sample")
    config = Config(
        data=command.data,
        attack=command.attack,
        evaluation=EvaluationConfig(split=command.evaluation.split, sample=command.evaluation.sample),
        storage=command.storage,
        seed=command.seed,
        hardware=command.hardware,
    )
    validate(config)

    def data_names() -> tuple[str, ...]:
        return datasets.load(config.data).label_names

    names, pairs = (config.data.label_names, data_names), config.data.text_pair_column is not None
    folder = Folder(own_models.place(command.checkpoint, config.storage, command.endpoint, *names, pairs)[1])
    checkpoints.describe(folder)  # a mistake in its name is found before the data are read
    dataset = datasets.load(own_models.resolve_cleaning(config.data, [folder]))
    shards = jobs.attack(config, folder, dataset, Display(as_json=command.json))
    rows = read_shards(shards)
    for said in filter(None, (below_chance(rows), diagnose(rows))):
        print(f"hint: {said}")
    show(asdict(after_attack(rows)), shards, command.json)


def show(summary: Mapping[str, Any], shards: Folder, as_json: bool) -> None:
    """Print the numbers of an attack, and the folder of its shards."""
    for name, value in summary.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"shards: {shards.uri}")
    if as_json:
        cli.print_json({**summary, "shards": shards.uri})
