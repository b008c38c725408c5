"""What a run is: frozen dataclasses, one for each part of a run.

Every default is stated in the docstring under its field, with its source. Options named after a row of the paper's
released code (UVa-NLP/FLAT, commit 5094803) reproduce that code; the defaults follow the paper.

A field is part of a run's result, unless its metadata say otherwise: `NOT_IN_RESULT`, `PLAN` or `BY_CONTENT`.
"""

from dataclasses import dataclass, field
from typing import Literal

NOT_IN_RESULT = {"result": "no"}
"""The field does not change the result of a run by more than rounding: it is not part of the run's identity."""

PLAN = {"result": "plan"}
"""The field decides which stages a run has, or each stage gets its own value of it: it is part of the run's identity,
but not of the inputs of a single stage."""

BY_CONTENT = {"result": "content"}
"""The field says where the user's data or files are. Their content, not the field, is part of the run's identity and of
the inputs of its stages."""

Training = Literal["base", "adv", "flat"]
"""Kinds of training."""

Attack = Literal["textfooler", "pwws"]

Device = Literal["auto", "cpu", "cuda"]

Precision = Literal["auto", "float32", "bfloat16"]

Hardware = Literal["auto", "cpu", "gtx1080", "a100", "h100"]

Split = Literal["train", "dev", "test"]

Interpretation = Literal["ig", "lime"]
"""Methods that explain a prediction."""

BUILT_IN = "rotten_tomatoes_sample"
"""The dataset that a registry package carries: what runs where nothing else is named."""


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from, and how text becomes words."""

    name: str = field(default=BUILT_IN, metadata=BY_CONTENT)
    """A named dataset: rotten_tomatoes_sample (built in), sst2, trec, ag_news or imdb (hub, or `folder`)."""
    folder: str | None = field(default=None, metadata=BY_CONTENT)
    """A folder with train, dev and test files (.csv, .jsonl or .parquet)."""
    train: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own training file (.csv, .jsonl or .parquet); needs `dev` and `test` too."""
    dev: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own development file; the best epoch is chosen on it."""
    test: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own test file; only measured on."""
    hf: str | None = field(default=None, metadata=BY_CONTENT)
    """Any dataset of the Hugging Face hub, by name, with train, validation (or dev) and test splits."""
    text_column: str = field(default="text", metadata=BY_CONTENT)
    """Column that holds the text."""
    label_column: str = field(default="label", metadata=BY_CONTENT)
    """Column that holds the label: a name, or an integer from 0."""
    label_names: tuple[str, ...] = field(default=(), metadata=BY_CONTENT)
    """Class names in the order of their integers; empty: those of the named dataset, or the names found, sorted. Where
    names are integers (1 2 3), an integer in a file is a name, never a position."""
    drop_bad_rows: bool = field(default=False, metadata=BY_CONTENT)
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

    name: Literal["cnn", "lstm", "bert", "deberta", "minilm", "encoder"] = "cnn"
    """cnn (Kim 2014), lstm (one layer, max-pool over time), bert (bert-base-uncased), deberta (microsoft/deberta-base),
    minilm (offline, from a registry package), or encoder (any other; see `encoder`)."""
    encoder: str | None = field(default=None, metadata=BY_CONTENT)
    """Transformers: a hub name, or a folder with config.json, that the weights come from instead."""
    vectors: str | None = field(default="glove-6b-50d", metadata=BY_CONTENT)
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
    pooling: Literal["first", "mean"] = "first"
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
    entropy: Literal["mean", "sum", "padded_mean"] = "mean"
    """Entropy of a text's masks: mean over real words, sum over them, or padded_mean over all positions (released)."""
    pairs: Literal["pairs", "union"] = "pairs"
    """Eq. 3 averages over original/adversarial pairs, or over the union of D and D' (released code)."""
    weighting: Literal["balanced", "union"] = "balanced"
    """Eq. 2: balanced weighs clean and adversarial examples equally; union takes one mean over both (released code)."""
    pieces: Literal["mean", "max"] = "mean"
    """Importance of a word of several pieces: their mean, or their max (released code)."""
    double_softmax: bool = False
    """Feed probabilities to the cross-entropy, as the released CNN and LSTM do; rescales beta and gamma."""


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. Rates and sizes default to those of the released CNN code; presets bert, deberta and minilm have
    those of transformers."""

    kinds: tuple[Training, ...] = field(default=("base", "adv", "flat"), metadata=PLAN)
    """Kinds of training to compare: base (clean data), adv (plain adversarial training), flat."""
    init: Literal["base", "scratch"] = field(default="base", metadata=PLAN)
    """A FLAT model starts from the base model (paper, 3.4), or from scratch: own clean epochs, then attacks itself."""
    rounds: int = field(default=2, metadata=PLAN)
    """Rounds of attacking the latest checkpoint and training (paper: 3 to 5; released CNN and LSTM: 2)."""
    epochs: int = field(default=10, metadata=PLAN)
    """Epochs on clean data, before the first attack."""
    epochs_per_round: int = field(default=10, metadata=PLAN)
    """Epochs after each attack."""
    batch_size: int = 64
    """Clean examples per optimiser step, over all workers."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """adam (released CNN and LSTM), or adamw, whose decay spares biases and normalisation (released BERT)."""
    learning_rate: float = field(default=0.001, metadata=PLAN)
    """Learning rate before the first attack."""
    round_learning_rate: float = field(default=0.001, metadata=PLAN)
    """Learning rate after an attack."""
    mask_learning_rate: float = 0.0
    """Learning rate of the word mask, which is new where the model is not; 0: as all the rest (released code)."""
    schedule: Literal["constant", "linear"] = "constant"
    """The rate stays as it is, or falls to 0 in a straight line (linear; released BERT) over the steps that the stage
    really takes."""
    warmup: float = 0.0
    """Share of a stage's steps in which the rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decay (released BERT: 0)."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    round_clip: float | None = field(default=None, metadata=PLAN)
    """Largest norm of the gradient after an attack; none: as `clip`."""
    freeze_embeddings: tuple[Training, ...] = ("base", "adv", "flat")
    """Kinds of training in which the word vectors stay as they are (released CNN and LSTM: all)."""
    shards: Literal["accumulate", "replace"] = field(default="accumulate", metadata=PLAN)
    """Train on the shards of all rounds so far (accumulate), or of the latest only (replace; released code)."""
    keep: Literal["successful", "successful_and_failed", "all"] = "successful"
    """Attacked examples to train on: successful, successful_and_failed, or all (released code)."""
    select: Literal["dev", "last"] = "dev"
    """The best epoch since the latest attack has the best clean dev accuracy (dev), or is the last one (last)."""
    buckets: int = 1
    """Batches whose texts are sorted by length together, so that each needs little padding; 1: no sorting."""
    workers: int = 1
    """Ray Train workers that share each batch."""
    cpus_per_worker: int = 1
    """CPUs, and threads, of each training worker; sums of other numbers of threads differ in the last bit."""
    device: Device = "auto"
    """Device of training: cpu or cuda; auto: by `hardware`."""
    precision: Precision = "auto"
    """Arithmetic of training: float32 or bfloat16 (autocast); auto: by `hardware`."""
    memory_gib: float = field(default=0.0, metadata=PLAN)
    """GPU memory that training may take; 0: by `hardware`."""
    micro_batch: int = 0
    """Clean examples, with as many adversarial ones, in memory at a time; gradients add up to those of the whole batch.
    0: on a GPU as many as fit, on a CPU all."""
    checkpointing: bool = field(default=False, metadata=NOT_IN_RESULT)
    """Transformers: compute activations again in the backward pass instead of keeping them; set by the planner where
    the batch would not fit without."""


@dataclass(frozen=True)
class AttackConfig:
    """Attack generation on the Ray pool."""

    name: Attack = field(default="textfooler", metadata=PLAN)
    """The attack that training sees: textfooler or pwws."""
    sample: int = field(default=0, metadata=PLAN)
    """Training examples attacked in a round, drawn anew each round; 0: all (paper: all, or 10,000 of IMDB and AG)."""
    synonyms: str = field(default="counterfit", metadata=BY_CONTENT)
    """TextFooler's neighbours: counterfit (offline stand-in), original (TextAttack's, downloaded), or a JSON file."""
    unit_size: int = 0
    """Examples per unit of work, which is one shard; 0: four times `concurrent`."""
    concurrent: int = field(default=0, metadata=NOT_IN_RESULT)
    """Examples that a worker attacks side by side; 0: 64 on a CPU (16 for a transformer), 256 on a GPU (64). Changes no
    result."""
    batch_size: int = 0
    """Texts that the victim sees at once on a GPU; 0: 1,024 (256 for a transformer). On a CPU their number is fixed."""
    cache_size: int = field(default=4096, metadata=NOT_IN_RESULT)
    """Words, and predictions, that each cache of a worker may hold; a word is taken for two pieces of 15 kB each in
    the sentence encoder's. Changes no result."""
    max_queries: int = 0
    """Texts that the victim may be asked about for one example, which then is a timeout; 0: no limit."""
    max_seconds: float = 0.0
    """Seconds of a worker that one example may take, before it is a timeout; 0: no limit."""
    stall_seconds: float = field(default=600.0, metadata=NOT_IN_RESULT)
    """Seconds that a worker may wait for one answer of the victim, or give no sign, before it counts as hanging and is
    ended; the example that hangs two workers alone becomes an error. Processes that explain or train are ended likewise
    (in training after 60 s at least), and their work is done again. 0: no limit."""
    max_failures: float = field(default=0.01, metadata=NOT_IN_RESULT)
    """Share of an attack's examples that may end as errors, before the run does."""
    profile: bool = field(default=False, metadata=NOT_IN_RESULT)
    """Print where the time of each attack went; the manifests have it in any case."""
    workers: int = field(default=0, metadata=NOT_IN_RESULT)
    """Attack workers; a cluster that grows is asked for so many, step by step. 0: one for each CPU, or share of a GPU,
    that the cluster has at the time."""
    cpu_workers: int = field(default=0, metadata=NOT_IN_RESULT)
    """Workers on CPUs beside those on GPUs; which of them attacked an example then shows in the last digits of its
    scores."""
    device: Device = field(default="auto", metadata=NOT_IN_RESULT)
    """Device of the victim in each actor: cpu or cuda; auto: by `hardware`."""
    gpus_per_worker: float = field(default=0.0, metadata=NOT_IN_RESULT)
    """Share of a GPU that an actor asks for, below 1; 0: by `hardware`."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured."""

    split: Split = field(default="test", metadata=PLAN)
    """Split to measure on: train, dev or test. Sweeps choose on dev."""
    attacks: tuple[Attack, ...] = field(default=("textfooler", "pwws"), metadata=PLAN)
    """Attacks after the last round; after earlier ones, only the attack that training sees."""
    sample: int = field(default=0, metadata=PLAN)
    """Examples of the split that are attacked, drawn by the seed; 0: all."""
    explain: tuple[Interpretation, ...] = field(default=("ig", "lime"), metadata=PLAN)
    """Interpretations whose consistency is measured: ig (integrated gradients), lime."""
    pairs: Literal["changed", "successful", "all"] = field(default="changed", metadata=PLAN)
    """Pairs explained: those in which the attack changed a word; successful ones; or all, with texts that it left alone
    and that thus are like themselves (the paper does not say)."""
    ig_pairs: int = field(default=0, metadata=PLAN)
    """Pairs explained with integrated gradients per model and attack, drawn at random; 0: all (paper: all)."""
    ig_steps: int = 50
    """Steps of the integrated gradients' path."""
    lime_pairs: int = field(default=1000, metadata=PLAN)
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
    tracking: TrackingConfig = field(default_factory=TrackingConfig, metadata=NOT_IN_RESULT)
    storage: str = field(default="runs", metadata=NOT_IN_RESULT)
    """Folder for stages, results and the MLflow database; an absolute path when run by `ray job submit`."""
    run_name: str | None = field(default=None, metadata=NOT_IN_RESULT)
    """Name of the run's folder under `storage`; default: from dataset, model, attack and the config's hash."""
    hardware: Hardware = field(default="auto", metadata=NOT_IN_RESULT)
    """What training and attacks run on: cpu, gtx1080, a100, h100, or auto: this machine's GPU, or its CPU."""
    seed: int = 1111
    """Seed of everything (released code: 1111)."""
