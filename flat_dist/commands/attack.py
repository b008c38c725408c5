"""Attack a checkpoint on the texts of a dataset, and write Arrow shards; or on one text, and show what happens.

A checkpoint is a folder that training wrote, such as runs/stages/train-base-0-..., or that `save_pretrained` of Hugging
Face wrote for a fine-tuned classifier; a function from texts to probabilities; or the address of a model. Running the
same command again continues an interrupted attack; a finished attack is not repeated.

  flat-dist attack --checkpoint runs/stages/train-base-0-... --attack.name pwws --evaluation.sample 100
  flat-dist attack --checkpoint my_package.models:predict --data.label-names negative positive
  flat-dist attack --checkpoint FOLDER --text "a fine film" --label positive --attack.name pwws

With --text, no dataset is read, and no shard is written. It prints the adversarial text with its changed words, in
colours on a terminal; the probabilities before and after; how many queries the attack needed, and why it ended; and how
many candidates each constraint rejected.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flat_dist import cli
from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.config.schema import AttackConfig, Config, DataConfig, EndpointConfig, EvaluationConfig, Hardware, Split
from flat_dist.config.validation import validate
from flat_dist.runtime.progress import Display, PlainConsole
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
    text: str | None = None
    """One text to attack, instead of a dataset. It is cleaned where texts of datasets are: see `data.cleaning`."""
    label: str | None = None
    """Class of `text`. None: the class that the model predicts."""
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
}


def job(arguments: Sequence[str]) -> None:
    """Parse, build, attack."""
    parsed = options.CommandLine(Command, arguments, RENAMED)
    command = parsed.read(__doc__)
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
    if command.text is None:
        attack_dataset(command, config)
    else:
        check_text_options([*parsed.given, *parsed.flags])
        attack_text(command, config)


def check_text_options(given: Iterable[str]) -> None:
    """Check that each option that the user gave has an effect on the attack of one text.

    Raises:
        UserError: one has none.
    """
    for name in given:
        if name.startswith(("--data.", "--evaluation.")) and name not in ("--data.label-names", "--data.cleaning"):
            raise UserError(f"{name} has no effect with --text, which reads no dataset: leave it out")


def attack_text(command: Command, config: Config) -> None:
    """Attack one text, and print what happened."""
    from flat_dist.pipeline.text_attack import GivenText
    from flat_dist.pipeline.text_attack import attack_text as attack

    def no_names() -> tuple[str, ...]:
        raise UserError("a function or an endpoint needs the names of its classes: give --data.label-names")

    folder = model_folder(command, config, no_names)
    given = GivenText(command.text or "", command.label)
    found = attack(config, folder, given, Display(as_json=command.json))
    found.show(PlainConsole())
    if command.json:
        cli.print_json(found.values())


def attack_dataset(command: Command, config: Config) -> None:
    """Attack the texts of a dataset, and print a summary."""
    from flat_dist.attack.candidate_counts import from_dict
    from flat_dist.data import datasets
    from flat_dist.data.shards import read_counts, read_shards
    from flat_dist.evaluation.accuracy import after_attack
    from flat_dist.evaluation.diagnosis import below_chance, describe, diagnose
    from flat_dist.pipeline import jobs, own_models

    if command.label is not None:
        raise UserError("--label has an effect only with --text: give both, or none")
    folder = model_folder(command, config, lambda: datasets.load(config.data).label_names)
    dataset = datasets.load(own_models.resolve_cleaning(config.data, [folder]))
    shards = jobs.attack(config, folder, dataset, Display(as_json=command.json))
    rows, counts = read_shards(shards), from_dict(read_counts(shards))
    for said in filter(None, (below_chance(rows), diagnose(rows, counts))):
        print(f"hint: {said}")
    if counts.words:
        print(f"candidates: {describe(counts)}")
    show(asdict(after_attack(rows)), shards, command.json)


def model_folder(command: Command, config: Config, data_names: Callable[[], Sequence[str]]) -> Folder:
    """The folder of the model; of a function or an endpoint, one that stands for it.

    Raises:
        UserError: there is no such model.
    """
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.pipeline import own_models

    names, pairs = (config.data.label_names, data_names), config.data.text_pair_column is not None
    folder = Folder(own_models.place(command.checkpoint, config.storage, command.endpoint, *names, pairs)[1])
    checkpoints.describe(folder)  # a mistake in its name is found before the data are read
    return folder


def show(summary: Mapping[str, Any], shards: Folder, as_json: bool) -> None:
    """Print the numbers of an attack, and the folder of its shards."""
    for name, value in summary.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"shards: {shards.uri}")
    if as_json:
        cli.print_json({**summary, "shards": shards.uri})
