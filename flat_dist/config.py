"""What a run is: frozen dataclasses for every stage, presets, and content hashes. No I/O beyond reading presets.

Every default is stated in the docstring under its field, with its source. Options named after a row of the paper's
released code (UVa-NLP/FLAT, commit 5094803) reproduce that code; the defaults follow the paper.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import reprlib
import typing
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

BUILT_IN = "rotten_tomatoes_sample"
"""The dataset that a registry package carries: what runs where nothing else is named."""


class UserError(Exception):
    """A mistake that the user can mend; its message says what was wrong, where, and what to do."""


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from, and how text becomes words."""

    name: str = BUILT_IN
    """A named dataset: rotten_tomatoes_sample (built in), sst2, trec, ag_news or imdb (hub, or `folder`)."""
    folder: str | None = None
    """A folder with train, dev and test files (.csv, .jsonl or .parquet)."""
    train: str | None = None
    """Your own training file (.csv, .jsonl or .parquet); needs `dev` and `test` too."""
    dev: str | None = None
    """Your own development file; the best epoch is chosen on it."""
    test: str | None = None
    """Your own test file; only measured on."""
    hf: str | None = None
    """Any dataset of the Hugging Face hub, by name, with train, validation (or dev) and test splits."""
    text_column: str = "text"
    """Column that holds the text."""
    label_column: str = "label"
    """Column that holds the label: a name, or an integer from 0."""
    label_names: tuple[str, ...] = ()
    """Class names in the order of their integers; empty: those of the named dataset, or the names found, sorted. Where
    names are integers (1 2 3), an integer in a file is a name, never a position."""
    drop_bad_rows: bool = False
    """Leave out rows that cannot be used (no text, nothing left of it after cleaning, no usable label, malformed), and
    say how many; otherwise they are an error that names them."""
    max_length: int = 50
    """Words a model reads of a text, or word pieces, special ones included; the rest is cut (paper, Table 6)."""
    min_frequency: int = 0
    """Words seen this often or less in training are unknown words (paper, Table 6: the low-frequency threshold)."""

    @property
    def named(self) -> str | None:
        """The named dataset that the examples are; None for the user's own.

        `name` with `folder` says which dataset the folder holds (`--preset sst2 --data.folder`), but for its default.
        """
        if self.hf or self.train or self.dev or self.test or (self.folder and self.name == BUILT_IN):
            return None
        return self.name


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of the classifier. The word mask is added by the kind of training, not here."""

    name: str = "cnn"
    """cnn (Kim 2014), lstm (one layer, max-pool over time), bert (bert-base-uncased), deberta (microsoft/deberta-base),
    minilm (offline, from a registry package), or encoder (any other; see `encoder`)."""
    encoder: str | None = None
    """Transformers: a hub name, or a folder with config.json, that the weights come from instead."""
    vectors: str | None = "glove-6b-50d"
    """CNN, LSTM: pretrained word vectors that initialise the embedding: glove-6b-50d, a word2vec or GloVe text file, or
    none."""
    embedding_dim: int = 50
    """CNN, LSTM: size of a word vector; must equal that of `vectors`."""
    kernels: int = 200
    """CNN: kernels per width (released code: 200)."""
    kernel_widths: tuple[int, ...] = (3, 4, 5)
    """CNN: widths of the kernels, in words (paper, Appendix A)."""
    hidden_size: int = 300
    """LSTM: hidden units (released code: 200 to 300)."""
    dropout: float = 0.2
    """Dropout on the pooled features (released code: 0.2); never on the importance scores."""
    mask_hidden_size: int = 400
    """Hidden units of the mask's inference network (released code: 400)."""
    temperature: float = 1.0
    """Temperature of the Gumbel-softmax that samples word masks in training (released code: 1)."""
    sample_masks: bool = True
    """Draw hard masks in training (paper, Section 3.4); otherwise words are multiplied by their importance, as at
    inference."""
    pooling: str = "first"
    """Transformers: what is classified: the first state, after the encoder's pooler if it has one (BERT), or the mean
    of the states."""
    encoder_dropout: float | None = None
    """Transformers: dropout inside the encoder; none: as its own configuration says (BERT: 0.1)."""
    contextual: bool = False
    """Transformers: the mask sees, and multiplies, what the embedding layer makes of word, position and segment
    (released code), instead of the word's embedding alone (paper, Section 3.2)."""
    mask_attention: bool = False
    """Transformers: in training, words that are masked out get no attention either (released code)."""
    mask_special: bool = False
    """Transformers: special pieces such as [CLS] can be masked out too (released code)."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The FLAT objective (paper, Eqs. 1 to 3); `adv` and `base` training set beta and gamma aside."""

    beta: float = 0.1
    """Weight of the masks' entropy (paper, Section 3.2)."""
    gamma: float = 0.001
    """Weight of the importance difference between replaced words and their substitutes (paper, Eq. 1)."""
    entropy: str = "mean"
    """Entropy of a text's masks: mean over real words, sum over them, or padded_mean over all positions (released)."""
    pairs: str = "pairs"
    """Eq. 3 averages over original/adversarial pairs, or over the union of D and D' (released code)."""
    weighting: str = "balanced"
    """Eq. 2: balanced weighs clean and adversarial examples equally; union takes one mean over both (released code)."""
    pieces: str = "mean"
    """Importance of a word of several pieces: their mean, or their max (released code)."""
    double_softmax: bool = False
    """Feed probabilities to the cross-entropy, as the released CNN and LSTM do; rescales beta and gamma."""


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. Rates and sizes default to those of the released CNN code; presets bert, deberta and minilm have
    those of transformers."""

    kinds: tuple[str, ...] = ("base", "adv", "flat")
    """Kinds of training to compare: base (clean data), adv (plain adversarial training), flat."""
    init: str = "base"
    """A FLAT model starts from the base model (paper, 3.4), or from scratch: own clean epochs, then attacks itself."""
    rounds: int = 2
    """Rounds of attacking the latest checkpoint and training (paper: 3 to 5; released CNN and LSTM: 2)."""
    epochs: int = 10
    """Epochs on clean data, before the first attack."""
    epochs_per_round: int = 10
    """Epochs after each attack."""
    batch_size: int = 64
    """Clean examples per optimiser step, over all workers."""
    optimizer: str = "adam"
    """adam (released CNN and LSTM), or adamw, whose decay spares biases and normalisation (released BERT)."""
    learning_rate: float = 0.001
    """Learning rate before the first attack."""
    round_learning_rate: float = 0.001
    """Learning rate after an attack."""
    mask_learning_rate: float = 0.0
    """Learning rate of the word mask, which is new where the model is not; 0: as all the rest (released code)."""
    schedule: str = "constant"
    """The rate stays as it is, or falls to 0 in a straight line (linear; released BERT) over the steps that the stage
    really takes."""
    warmup: float = 0.0
    """Share of a stage's steps in which the rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decay (released BERT: 0)."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    round_clip: float | None = None
    """Largest norm of the gradient after an attack; none: as `clip`."""
    freeze_embeddings: tuple[str, ...] = ("base", "adv", "flat")
    """Kinds of training in which the word vectors stay as they are (released CNN and LSTM: all)."""
    shards: str = "accumulate"
    """Train on the shards of all rounds so far (accumulate), or of the latest only (replace; released code)."""
    keep: str = "successful"
    """Attacked examples to train on: successful, successful_and_failed, or all (released code)."""
    select: str = "dev"
    """The best epoch since the latest attack has the best clean dev accuracy (dev), or is the last one (last)."""
    buckets: int = 1
    """Batches whose texts are sorted by length together, so that each needs little padding; 1: no sorting."""
    workers: int = 1
    """Ray Train workers that share each batch."""
    cpus_per_worker: int = 1
    """CPUs, and threads, of each training worker; sums of other numbers of threads differ in the last bit."""
    device: str = "auto"
    """Device of training: cpu or cuda; auto: by `hardware`."""
    precision: str = "auto"
    """Arithmetic of training: float32 or bfloat16 (autocast); auto: by `hardware`."""
    memory_gib: float = 0.0
    """GPU memory that training may take; 0: by `hardware`."""
    micro_batch: int = 0
    """Clean examples, with as many adversarial ones, in memory at a time; gradients add up to those of the whole batch.
    0: on a GPU as many as fit, on a CPU all."""
    checkpointing: bool = False
    """Transformers: compute activations again in the backward pass instead of keeping them; set by the planner where
    the batch would not fit without."""


@dataclass(frozen=True)
class AttackConfig:
    """Attack generation on the Ray pool."""

    name: str = "textfooler"
    """The attack that training sees: textfooler or pwws."""
    sample: int = 0
    """Training examples attacked in a round, drawn anew each round; 0: all (paper: all, or 10,000 of IMDB and AG)."""
    synonyms: str = "counterfit"
    """TextFooler's neighbours: counterfit (offline stand-in), original (TextAttack's, downloaded), or a JSON file."""
    unit_size: int = 0
    """Examples per unit of work, which is one shard; 0: four times `concurrent`."""
    concurrent: int = 0
    """Examples that a worker attacks side by side; 0: 64 on a CPU (16 for a transformer), 256 on a GPU (64). Changes no
    result."""
    batch_size: int = 0
    """Texts that the victim sees at once on a GPU; 0: 1,024 (256 for a transformer). On a CPU their number is fixed."""
    cache_size: int = 4096
    """Words, and predictions, that each cache of a worker may hold; a word is taken for two pieces of 15 kB each in
    the sentence encoder's. Changes no result."""
    max_queries: int = 0
    """Texts that the victim may be asked about for one example, which then is a timeout; 0: no limit."""
    max_seconds: float = 0.0
    """Seconds of a worker that one example may take, before it is a timeout; 0: no limit."""
    stall_seconds: float = 600.0
    """Seconds that a worker may wait for one answer of the victim, or give no sign, before it counts as hanging and is
    ended; the example that hangs two workers alone becomes an error. Processes that explain or train are ended likewise
    (in training after 60 s at least), and their work is done again. 0: no limit."""
    max_failures: float = 0.01
    """Share of an attack's examples that may end as errors, before the run does."""
    profile: bool = False
    """Print where the time of each attack went; the manifests have it in any case."""
    workers: int = 0
    """Attack workers; a cluster that grows is asked for so many, step by step. 0: one for each CPU, or share of a GPU,
    that the cluster has at the time."""
    cpu_workers: int = 0
    """Workers on CPUs beside those on GPUs; which of them attacked an example then shows in the last digits of its
    scores."""
    device: str = "auto"
    """Device of the victim in each actor: cpu or cuda; auto: by `hardware`."""
    gpus_per_worker: float = 0.0
    """Share of a GPU that an actor asks for, below 1; 0: by `hardware`."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured."""

    split: str = "test"
    """Split to measure on: train, dev or test. Sweeps choose on dev."""
    attacks: tuple[str, ...] = ("textfooler", "pwws")
    """Attacks after the last round; after earlier ones, only the attack that training sees."""
    sample: int = 0
    """Examples of the split that are attacked, drawn by the seed; 0: all."""
    explain: tuple[str, ...] = ("ig", "lime")
    """Interpretations whose consistency is measured: ig (integrated gradients), lime."""
    pairs: str = "changed"
    """Pairs explained: those in which the attack changed a word; successful ones; or all, with texts that it left alone
    and that thus are like themselves (the paper does not say)."""
    ig_pairs: int = 0
    """Pairs explained with integrated gradients per model and attack, drawn at random; 0: all (paper: all)."""
    ig_steps: int = 50
    """Steps of the integrated gradients' path."""
    lime_pairs: int = 1000
    """Pairs explained with LIME per model and attack, drawn at random; 0: all (paper: 1,000)."""
    lime_samples: int = 1000
    """Texts that LIME asks the model about for each explanation."""
    lime_kernel_width: float = 25.0
    """Width of LIME's kernel, on 100 times the cosine distance."""


@dataclass(frozen=True)
class TrackingConfig:
    """MLflow."""

    uri: str | None = None
    """Tracking server, or none for an SQLite file beside the run."""
    experiment: str = "flat_dist"
    """MLflow experiment that the run appears in."""
    enabled: bool = True
    """Whether to log to MLflow at all."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    storage: str = "runs"
    """Folder for stages, results and the MLflow database; an absolute path when run by `ray job submit`."""
    run_name: str | None = None
    """Name of the run's folder under `storage`; default: from dataset, model, attack and the config's hash."""
    hardware: str = "auto"
    """What training and attacks run on: cpu, gtx1080, a100, h100, or auto: this machine's GPU, or its CPU."""
    seed: int = 1111
    """Seed of everything (released code: 1111)."""


CHOICES: dict[str, tuple[str, ...]] = {
    "model.name": ("cnn", "lstm", "bert", "deberta", "minilm", "encoder"),
    "model.pooling": ("first", "mean"),
    "objective.entropy": ("mean", "sum", "padded_mean"),
    "objective.pairs": ("pairs", "union"),
    "objective.weighting": ("balanced", "union"),
    "objective.pieces": ("mean", "max"),
    "training.kinds": ("base", "adv", "flat"),
    "training.init": ("base", "scratch"),
    "training.freeze_embeddings": ("base", "adv", "flat"),
    "training.shards": ("accumulate", "replace"),
    "training.keep": ("successful", "successful_and_failed", "all"),
    "training.select": ("dev", "last"),
    "training.optimizer": ("adam", "adamw"),
    "training.schedule": ("constant", "linear"),
    "training.device": ("auto", "cpu", "cuda"),
    "training.precision": ("auto", "float32", "bfloat16"),
    "attack.name": ("textfooler", "pwws"),
    "attack.device": ("auto", "cpu", "cuda"),
    "evaluation.split": ("train", "dev", "test"),
    "evaluation.attacks": ("textfooler", "pwws"),
    "evaluation.explain": ("ig", "lime"),
    "evaluation.pairs": ("changed", "successful", "all"),
    "hardware": ("auto", "cpu", "gtx1080", "a100", "h100"),
}
"""Fields whose value (or each of whose values) must be one of a few words."""

LOWEST: dict[str, float] = {
    "data.max_length": 1,
    "data.min_frequency": 0,
    "model.embedding_dim": 1,
    "model.kernels": 1,
    "model.kernel_widths": 1,
    "model.hidden_size": 1,
    "model.mask_hidden_size": 1,
    "objective.beta": 0,
    "objective.gamma": 0,
    "training.rounds": 0,
    "training.epochs": 1,
    "training.epochs_per_round": 1,
    "training.batch_size": 1,
    "training.clip": 0,
    "training.round_clip": 0,
    "training.mask_learning_rate": 0,
    "training.weight_decay": 0,
    "training.buckets": 1,
    "training.workers": 1,
    "training.cpus_per_worker": 1,
    "training.micro_batch": 0,
    "training.memory_gib": 0,
    "attack.sample": 0,
    "attack.unit_size": 0,
    "attack.concurrent": 0,
    "attack.batch_size": 0,
    "attack.cache_size": 1024,
    "attack.max_queries": 0,
    "attack.max_seconds": 0,
    "attack.stall_seconds": 0,
    "attack.max_failures": 0,
    "attack.workers": 0,
    "attack.cpu_workers": 0,
    "evaluation.sample": 0,
    "evaluation.ig_pairs": 0,
    "evaluation.ig_steps": 1,
    "evaluation.lime_pairs": 0,
    "evaluation.lime_samples": 10,
    "seed": 0,
}
"""Numeric fields and the least value each may have."""

HIGHEST = 2**31 - 1
"""The greatest whole number that libraries below take everywhere."""

HIGHEST_SEED = 2**32 - 1
"""NumPy's."""

FILLED = ("training.kinds", "model.kernel_widths", "evaluation.attacks")
"""Lists that must have a value."""

DISTINCT = ("training.kinds", "training.freeze_embeddings", "evaluation.attacks", "evaluation.explain")
"""Lists in which no value may be twice."""

POSITIVE = (
    "model.temperature",
    "training.learning_rate",
    "training.round_learning_rate",
    "evaluation.lime_kernel_width",
)
"""Numeric fields that must be above zero."""

BELOW_ONE = ("model.dropout", "model.encoder_dropout", "training.warmup", "attack.gpus_per_worker")
"""Shares: fields that must be at least 0 and below 1."""


def unknown(what: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that is none of the known ones, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {quoted(value)}: choose one of {', '.join(names)}{hint}")


def quoted(value: str) -> str:
    """A value of the user as messages show it: in quotes, without what would break a line, and not too long."""
    return repr(value if len(value) <= 80 else f"{value[:60]}…{value[-19:]}")


def check_text(name: str, value: str) -> None:
    """Raise UserError if a text is none that a path, an address or a name could be; `name` is the option's."""
    if not value.strip():
        raise UserError(f"{name} is empty: give it a value, or leave it out")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which is not UTF-8: give it another name")
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise UserError(f"{name} is {quoted(value)}, which holds a control character: leave that out")


def validate(config: Config) -> None:
    """Raise UserError for the first field whose value no run could use."""
    for name, value in _fields(config):
        if isinstance(value, str):
            check_text(f"--{name}", value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name} is {value}, but must be a finite number")
        elif isinstance(value, int) and value > (most := HIGHEST_SEED if name == "seed" else HIGHEST):
            raise UserError(f"--{name} is greater than {most}, the greatest number that it may be")
    for name in FILLED:
        if not _values(config, name):
            raise UserError(f"--{name} is empty: name at least one value")
    for name in DISTINCT:
        if len(set(values := _values(config, name))) < len(values):
            raise UserError(f"--{name} holds a value twice ({', '.join(values)}): name each once")
    for name, choices in CHOICES.items():
        for value in _values(config, name):
            if value not in choices:
                raise unknown(f"value of --{name}", value, choices)
    for name, least in LOWEST.items():
        for value in _values(config, name):
            if value is not None and (not math.isfinite(value) or value < least):
                raise UserError(f"--{name} is {value}, but must be at least {least}")
    for name in POSITIVE:
        for value in _values(config, name):
            if not math.isfinite(value) or value <= 0:
                raise UserError(f"--{name} is {value}, but must be above 0")
    for name in BELOW_ONE:
        for value in _values(config, name):
            if value is not None and not 0 <= value < 1:
                raise UserError(f"--{name} is {value}, but must be below 1, and at least 0")


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a dataclass, those in lists one by one, and the name of its field."""
    for one in dataclasses.fields(config):
        value, name = getattr(config, one.name), f"{prefix}{one.name}"
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{name}.")
        else:
            yield from ((name, item) for item in (value if isinstance(value, tuple) else (value,)))


def _values(config: Config, name: str) -> tuple[Any, ...]:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value if isinstance(value, tuple) else (value,)


def presets() -> dict[str, str]:
    """Names of the built-in presets and the YAML text of each."""
    folder = resources.files("flat_dist") / "presets"
    return {
        path.name.removesuffix(".yaml"): path.read_text(encoding="utf-8")
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".yaml")
    }


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of its version 1.2: `1e-5` is a number; `no`, `on`, `007` and `2024-01-01` are text.

    PyYAML reads version 1.1. A key that stands twice in a mapping is an error.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares it so

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)
for _tag, _pattern, _starts in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)

_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
"""What YAML 1.1 takes for true and false: here only where a field is one of both."""


def from_yaml(text: str, source: str, start: Config | None = None) -> Config:
    """The config that a preset describes: `start`, or the defaults, with the fields that it names replaced.

    Raises:
        UserError: the text is not YAML, or names a field that does not exist, or one twice.
    """
    try:
        values = _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    return from_dict(Config, {} if values is None else values, source, start=start)


def from_dict(kind: type[T], values: Any, source: str, prefix: str = "", start: T | None = None) -> T:
    """Build the dataclass `kind` from nested mappings; the inverse of `to_dict`.

    Args:
        kind: a dataclass.
        values: its fields; those that are missing are as in `start`, or have their defaults.
        source: where the values are from, for messages.
        prefix: names of the fields that hold this one, for messages.
        start: what to replace fields of.

    Raises:
        UserError: a key is no field of the dataclass, or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.') or 'the file'} must hold fields, not {reprlib.repr(values)}")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"field in {source}", f"{prefix}{key}", (f"{prefix}{name}" for name in hints))
        inner = getattr(start, key) if start is not None else None
        arguments[key] = _coerce(hints[key], value, source, f"{prefix}{key}", inner)
    return kind(**arguments) if start is None else dataclasses.replace(start, **arguments)  # type: ignore[type-var]


def _coerce(hint: Any, value: Any, source: str, name: str, start: Any = None) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, source, f"{name}.", start)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{source}: {name} must be a list, not {reprlib.repr(value)}")
        element = typing.get_args(hint)[0]
        return tuple(_coerce(element, item, source, name) for item in value)
    allowed = typing.get_args(hint) or (hint,)
    if bool in allowed and isinstance(value, str):
        value = _SWITCHES.get(value.lower(), value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if float in allowed and number:
        return _float(value, source, name)
    if str in allowed and isinstance(value, int) and number:
        return str(value)  # a name that is written like a number, such as 2024
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        expected = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in allowed)
        quoted = f": write it in quotes, as in '{value}'" if str in allowed and isinstance(value, float | bool) else ""
        raise UserError(f"{source}: {name} must be {expected}, not {reprlib.repr(value)}{quoted}")
    return value


def _float(value: int | float, source: str, name: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise UserError(f"{source}: {name} must be float, and {reprlib.repr(value)} is too large for one") from error


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested plain values, ready for JSON or YAML."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def content_hash(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on the content of nested plain values alone."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
