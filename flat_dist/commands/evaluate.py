"""Evaluate checkpoints: accuracy, accuracy under attack, and consistency of their attributions under attack.

Several checkpoints are compared in one report. `--adversarial` uses adversarial texts that you or others have logged,
instead of attacks. Results, JSON cards and the report are written to <storage>/<run name>/ and to MLflow. Running the
same command again continues an interrupted evaluation.

  flat-dist evaluate --checkpoint runs/stages/train-flat-2-... --evaluation.attacks textfooler,pwws
  flat-dist evaluate --checkpoint base=FOLDER flat=FOLDER --trained-on textfooler --evaluation.explain ig
  flat-dist evaluate --checkpoint base=FOLDER flat=FOLDER --attacks all --sample 300
  flat-dist evaluate --checkpoint base=FOLDER flat=FOLDER --adversarial textfooler.csv run.txt dev.json

A checkpoint is a folder that training wrote, or that `save_pretrained` of Hugging Face wrote for a fine-tuned
classifier; a function from texts to probabilities, package.module:function; or the address of a model, https://...

With several checkpoints, each is also asked about the texts that each attack made against the others (transfer: Table 4
of the paper and the matrix behind it). No attack is run for that: the texts are those of the direct attacks.
`--annotate 100` also writes a blind sheet of adversarial texts for people; `--annotated` reads it back.

`--fail-under` makes it a check for CI: the exit code is 1 if a checkpoint is under a threshold.

  flat-dist evaluate --checkpoint FOLDER --fail-under after_attack_accuracy=0.4 accuracy=0.7 --junit robustness.xml
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated

from flat_dist.config import options
from flat_dist.config.errors import UserError
from flat_dist.config.schema import (
    WORST,
    Attack,
    AttackConfig,
    Checked,
    Config,
    DataConfig,
    EndpointConfig,
    EvaluationConfig,
    Hardware,
    ModelConfig,
    TrackingConfig,
)
from flat_dist.data import datasets
from flat_dist.evaluation import thresholds
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.storage.location import is_folder

UNDER_THRESHOLD = 1
"""Exit code if a checkpoint is under a threshold."""

Least = Annotated[str, Checked(thresholds.check_text, repeatable=True)]
"""The least value of a metric."""


@dataclass(frozen=True)
class Command:
    """What to evaluate, and on which data."""

    checkpoint: tuple[str, ...]
    """The models: folders such as runs/stages/train-flat-2-..., package.module:function, or https://...; NAME=FOLDER
    gives one a name."""
    adversarial: tuple[str, ...] = ()
    """Files of adversarial texts, to measure instead of a dataset and attacks: a .csv, .tsv, .jsonl (also with .gz
    after it) or .parquet with the columns original, adversarial and label; TextAttack's CSV log, marked or plain, or
    its text log (.txt); AdvGLUE's .json (its task sst2). Labels are class names or numbers. Of --data, only
    --data.drop-bad-rows has an effect."""
    annotate: int = 0
    """Number of original/adversarial pairs of successful attacks to write as a blind sheet for people: sheet-<n>.csv in
    the results' folder annotation/, with its key beside it. 0: no sheet."""
    annotated: tuple[str, ...] = ()
    """Filled sheets, one file for each person. Give them with the options of the evaluation that wrote the sheet."""
    fail_under: tuple[Least, ...] = ()
    """Least values that each checkpoint must reach, as METRIC=VALUE: accuracy, macro_f1, after_attack_accuracy,
    kendall_tau or top_5, from 0 to 1. The worst over all attacks counts; ATTACK:METRIC=VALUE is about one attack. If a
    checkpoint is under one of them, the exit code is 1. May be given several times."""
    junit: str | None = None
    """File for the outcome of --fail-under as JUnit XML: one test case for each threshold and checkpoint."""
    trained_on: Attack | None = None
    """Attack used in training: other attacks are then marked as unseen, and the paper's numbers are shown."""
    storage: str = "runs"
    """Folder for shards, attributions and results; an absolute path when run by `ray job submit`."""
    run_name: str | None = None
    """Name of the results' folder; default: a hash of the settings."""
    hardware: Hardware = "auto"
    """Hardware profile: cpu, gtx1080, a100, h100, or auto: the cluster's GPUs if it has any, else its CPUs."""
    seed: int = 1111
    """Seed of samples, attacks and LIME."""
    json: bool = False
    """Print one JSON object as the last line of standard output."""
    data: DataConfig = field(default_factory=DataConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


RENAMED = {
    f"--{one.name}".replace("_", "-"): f"--evaluation.{one.name}".replace("_", "-") for one in fields(EvaluationConfig)
} | {"--pairs-file": "--adversarial"}
"""Options of the evaluation are accepted without their prefix, as in --attacks pwws; and the former name of another."""


def build_config(command: Command, model: ModelConfig) -> Config:
    """The config of an evaluation.

    Raises:
        UserError: an option has a value that no evaluation can use.
    """
    for name, instead in (("name", "attacks"), ("sample", "sample"), ("scores", "scores")):
        if getattr(command.attack, name) != getattr(AttackConfig(), name):
            raise UserError(f"--attack.{name} has no effect on this command: set --evaluation.{instead}")
    if command.annotate < 0:
        raise UserError(f"--annotate is {command.annotate}, but must be at least 0")
    return Config(
        data=command.data,
        model=model,
        attack=replace(command.attack, name=command.trained_on or command.attack.name),
        evaluation=command.evaluation,
        tracking=command.tracking,
        storage=command.storage,
        run_name=command.run_name,
        hardware=command.hardware,
        seed=command.seed,
    )


def job(arguments: Sequence[str]) -> None:
    """Parse, check, evaluate."""
    parsed = options.CommandLine(Command, arguments, RENAMED)
    if parsed.given.get("--adversarial") == []:
        raise UserError("--adversarial needs at least one file of adversarial texts")
    if parsed.given.get("--annotated") == []:
        raise UserError("--annotated needs at least one filled sheet")
    if parsed.given.get("--fail-under") == []:
        raise UserError("--fail-under needs at least one METRIC=VALUE, such as after_attack_accuracy=0.4")
    command = parsed.read(__doc__)
    least = list(map(thresholds.parse, command.fail_under))
    report_to = junit_place(command)
    from flat_dist.attack.available import expand
    from flat_dist.data import pairs
    from flat_dist.models import checkpoint as checkpoints
    from flat_dist.models.black_box import is_black_box
    from flat_dist.pipeline import evaluation, jobs, own_models, results
    from flat_dist.report.junit import junit
    from flat_dist.resources import catalogue

    def data_names() -> tuple[str, ...]:
        if command.adversarial:
            raise UserError("a function or an endpoint needs the names of its classes: give --data.label-names")
        return datasets.load(command.data).label_names

    known = command.data.label_names, data_names, command.data.text_pair_column is not None
    models = evaluation.models(evaluation.placed(command.checkpoint, command.storage, command.endpoint, *known))
    attacks, left_out = expand(command.evaluation.attacks, catalogue.sources(command.attack))
    command = replace(command, evaluation=replace(command.evaluation, attacks=attacks))
    config = build_config(command, checkpoints.load(models[0].folder).config)
    jobs.check_evaluation(config)
    data: datasets.Dataset | list[pairs.Pairs]
    if command.adversarial:
        named = any(is_black_box(model.folder) for model in models)  # such a model has no class names of its own
        pairs.check_data_options(replace(config.data, label_names=()) if named else config.data)
        data = pairs.read_sets(command.adversarial, evaluation.label_names(models), config.data.drop_bad_rows)
        names = [one.name for one in data]
    else:
        read = own_models.resolve_cleaning(config.data, [model.folder for model in models])
        data, names = datasets.load(read), [*config.evaluation.attacks]
    names += [WORST] if len(names) > 1 else []
    thresholds.check_measured(least, names, explained=bool(config.evaluation.explain))
    messages = [f"--attacks all leaves out {name}: {reason}" for name, reason in left_out.items()]
    job = jobs.Evaluation(config, models, data, command.trained_on, messages, command.annotate, command.annotated)
    ran = job.run(Display(as_json=command.json))
    checks = thresholds.check(least, [model.model_name for model in models], ran.found.results)
    if report_to:
        report_to[0].write(report_to[1], junit(checks))
    under = [one.sentence for one in checks if not one.passed]
    try:
        results.show(ran.found, ran.folder, ran.config, job.source.described, command.json)
    finally:
        print(*(f"failed: {sentence}" for sentence in under), sep="\n", end="\n" if under else "", file=sys.stderr)
    if under:
        sys.exit(UNDER_THRESHOLD)


def junit_place(command: Command) -> tuple[Folder, str] | None:
    """Folder and name of the file for JUnit XML; None if none is asked for.

    Raises:
        UserError: there is nothing to write, or it cannot be written there.
    """
    if command.junit is None:
        return None
    if not command.fail_under:
        raise UserError("--junit has an effect only with --fail-under: give both")
    place, slash, file = command.junit.rpartition("/")
    folder = Folder((place or slash) or ".")
    folder.check("--junit")
    if not file or is_folder(command.junit):
        raise UserError(f"--junit {command.junit} is a folder: name a file in it, such as junit.xml")
    return folder, file
