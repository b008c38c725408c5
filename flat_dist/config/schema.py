"""The config of a run: frozen dataclasses, one for each section.

The docstring under a field is its `--help`; it names the source of the default. Values marked "released code" reproduce
the paper's code (UVa-NLP/FLAT, commit 5094803); the defaults follow the paper.

A field is part of a run's result, unless its metadata say otherwise: `NOT_IN_RESULT`, `PLAN`, `BY_CONTENT` or
`UNLESS_DEFAULT`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from flat_dist.config import attacks

NOT_IN_RESULT = {"result": "no"}
"""The field does not change the result of a run by more than rounding: it is not part of the run's identity."""

PLAN = {"result": "plan"}
"""The field decides which stages a run has, or each stage gets its own value of it: it is part of the run's identity,
but not of the inputs of a single stage."""

BY_CONTENT = {"result": "content"}
"""The field says where the user's data or files are. Their content, not the field, is part of the run's identity and of
the inputs of its stages."""

UNLESS_DEFAULT = {"result": "unless default"}
"""The field is part of the run's identity and of the inputs of its stages only with another value than its default. So
results from before the field stay current."""

Training = Literal["base", "continued", "adv", "flat"]
"""Kinds of training."""

ADVERSARIAL: tuple[Training, ...] = ("adv", "flat")
"""Kinds of training that see adversarial examples."""

Adversaries = Literal["attack", "gradient", "random", "both"]
"""Where the adversarial examples of training come from."""


@dataclass(frozen=True)
class Checked:
    """Marks the type of an option whose values a function checks."""

    check: Callable[[str, str], None]
    """Takes a value, and what it is called in messages; raises `UserError`."""
    repeatable: bool = False
    """Whether a list of them may be given in parts, by the same option several times."""


Attack = Annotated[str, Checked(attacks.check)]
"""An attack of `flat_dist.config.attacks.ATTACKS`, one of its adaptive forms (after a hyphen, the order of words), or
the Python path of a builder of the user."""

MeasuredAttack = Annotated[str, Checked(attacks.check_measured)]
"""An attack, or all of them."""

WORST = "worst"
"""Stands for all attacks on a model: for each text, the worst outcome."""

Scores = Literal["probabilities", "margin"]
"""What an attack sees of a class: its probability, or its margin, the log-odds, which rounding cannot stop."""

AttackSetting = Literal["original", "li2021"]
"""Constraints of attacks: each attack's own, or those of Li et al. 2021, the same for all attacks."""

Device = Literal["auto", "cpu", "cuda"]

Precision = Literal["auto", "float32", "bfloat16"]

Hardware = Literal["auto", "cpu", "gtx1080", "a100", "h100"]

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
"""All splits of a dataset, in the order in which they are listed."""

Interpretation = Literal["ig", "lime"]
"""Methods that explain a prediction."""

BUILT_IN = "customer_reviews"
"""The default dataset. It comes with a package, so that it works offline."""
OFFLINE = (BUILT_IN, "rotten_tomatoes_sample")
"""All datasets that come with packages."""


@dataclass(frozen=True)
class DataConfig:
    """The dataset, and how texts are split into words."""

    name: str = field(default=BUILT_IN, metadata=BY_CONTENT)
    """Named dataset: customer_reviews or rotten_tomatoes_sample (built in), sst2, trec, ag_news or imdb (from the hub,
    or from `folder`)."""
    folder: str | None = field(default=None, metadata=BY_CONTENT)
    """Folder with train, dev and test files (.csv, .tsv, .jsonl, also with .gz after it, or .parquet)."""
    train: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own training file, of the same kinds. Needs `dev` and `test` too."""
    dev: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own development file. The best epoch is selected on it."""
    test: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own test file. Used for evaluation only."""
    file: str | None = field(default=None, metadata=BY_CONTENT)
    """Your own file with all texts, of the same kinds, from which train, dev and test are drawn: see `split`."""
    split: tuple[float, ...] = field(default=(0.8, 0.1, 0.1), metadata=BY_CONTENT)
    """Shares of train, dev and test that are drawn from `file`, of each class. The texts' hashes decide, so that the
    order of the rows does not matter. Equal texts stay together."""
    hf: str | None = field(default=None, metadata=BY_CONTENT)
    """Any Hugging Face dataset with train, validation (or dev) and test splits: its name on the hub, or a folder that
    `datasets.save_to_disk` wrote."""
    text_column: str = field(default="text", metadata=BY_CONTENT)
    """Column of the text; of pairs of sentences, of the first one."""
    text_pair_column: str | None = field(default=None, metadata=BY_CONTENT)
    """Column of the second sentence, such as text_pair. With it, each example is a pair: attacks change the second
    sentence, and leave the first as it is (a premise and its hypothesis). For transformers."""
    label_column: str = field(default="label", metadata=BY_CONTENT)
    """Column of the label: a class name, or an integer from 0."""
    label_names: tuple[str, ...] = field(default=(), metadata=BY_CONTENT)
    """Class names in the order of their integers. Empty: those of the named dataset, or the names in the data,
    sorted. If the class names are themselves integers (1 2 3), an integer in a file is a class name, not a
    position."""
    drop_bad_rows: bool = field(default=False, metadata=BY_CONTENT)
    """Leave out unusable rows (no text, no text left after cleaning, no usable label, malformed) and print how
    many. Otherwise such a row is an error."""
    cleaning: Literal["auto", "yes", "no"] = field(default="auto", metadata=BY_CONTENT)
    """Whether texts are cleaned when they are read (lower case, words separated by spaces; paper, Appendix A), or stay
    as they are written. auto: cleaned, unless the attacked models are all your own (classifiers of Hugging Face,
    functions, addresses), which then read the texts as in production."""
    max_length: int = 50
    """Maximum number of words of a text that a model reads; for transformers, of word pieces, special ones included.
    The rest is cut off (paper, Table 6)."""
    min_frequency: int = 0
    """Words that occur at most this often in the training texts become unknown words (paper, Table 6: low-frequency
    threshold)."""

    @property
    def named(self) -> str | None:
        """The named dataset that the examples are; None for the user's own.

        `name` with `folder` says which dataset the folder holds (`--preset sst2 --data.folder`), unless it is the name
        of a built-in one.
        """
        if self.hf or self.file or self.train or self.dev or self.test or (self.folder and self.name in OFFLINE):
            return None
        return self.name


@dataclass(frozen=True)
class ModelConfig:
    """The classifier. FLAT training adds the word mask."""

    name: Literal["cnn", "lstm", "bert", "deberta", "minilm", "encoder", "classifier"] = "cnn"
    """cnn (Kim 2014), lstm (one layer, max-pooling over time), bert (bert-base-uncased), deberta
    (microsoft/deberta-base), minilm (works offline: its weights come with a package), encoder (any other, see
    `encoder`), or classifier (your own fine-tuned classifier in the folder `encoder`: it is the base model as it is,
    and adv and flat start from its body and head)."""
    encoder: str | None = field(default=None, metadata=BY_CONTENT)
    """Transformers: hub name, or folder with config.json, to load the pretrained weights from; of a classifier, the
    folder that `save_pretrained` wrote."""
    vectors: str | None = field(default="glove-6b-50d", metadata=BY_CONTENT)
    """CNN, LSTM: pretrained word vectors that initialise the embedding: glove-6b-50d, a file of GloVe or word2vec
    (text or binary), or none."""
    embedding_dim: int = 50
    """CNN, LSTM: size of a word vector. Must equal that of `vectors`."""
    kernels: int = 200
    """CNN: kernels per width (released code: 200)."""
    kernel_widths: tuple[int, ...] = (3, 4, 5)
    """CNN: kernel widths in words (paper, Appendix A)."""
    hidden_size: int = 300
    """LSTM: hidden units (released code: 200 to 300)."""
    dropout: float = 0.2
    """Dropout on the pooled features (released code: 0.2). Word importance has no dropout."""
    mask_hidden_size: int = 400
    """Hidden units of the word mask's inference network (released code: 400)."""
    temperature: float = 1.0
    """Temperature of the Gumbel-softmax that samples word masks in training (released code: 1)."""
    sample_masks: bool = True
    """Sample hard word masks in training (paper, Section 3.4). Otherwise words are multiplied by their importance,
    as at inference."""
    pooling: Literal["first", "mean"] = "first"
    """Transformers: features to classify: the first state, after the encoder's pooler if it has one (BERT), or the
    mean of all states."""
    encoder_dropout: float | None = None
    """Transformers: dropout inside the encoder. None: the value of the encoder's own configuration (BERT: 0.1)."""
    contextual: bool = False
    """Transformers: compute the word mask from the output of the embedding layer (word, position and segment;
    released code), and multiply that output, instead of the word embedding alone (paper, Section 3.2)."""
    mask_attention: bool = False
    """Transformers: in training, masked words get no attention either (released code)."""
    mask_special: bool = False
    """Transformers: special pieces such as [CLS] can be masked too (released code)."""
    initial_importance: float = 0.0
    """Importance of every word when the word mask is added, in (0, 1), nearly the same for all words. 0: as the mask's
    random weights have it, about 0.5 (released code). Near 1, FLAT starts from what the base model has learned."""
    group_masks: int = field(default=0, metadata=UNLESS_DEFAULT)
    """CNN, LSTM, in all kinds of training but flat: number of groups of similar words. The words of a group share a
    mask, a trained number that starts as 1 and multiplies their vectors (paper, Appendix D, Table 10). The groups are
    clusters of the vectors behind `attack.synonyms`; words without one keep the mask 1. 0: no groups."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """The FLAT objective (paper, Eqs. 1 to 3). Of the kinds of training, only flat uses beta and gamma."""

    beta: float = 0.1
    """Weight of the entropy of the word masks (paper, Section 3.2)."""
    gamma: float = 0.001
    """Weight of the difference in importance between replaced words and their substitutes (paper, Eq. 1)."""
    entropy: Literal["mean", "sum", "padded_mean"] = "mean"
    """Entropy of a text's word masks: mean over its words, sum over its words, or padded_mean, the mean over all
    positions (released code)."""
    pairs: Literal["pairs", "union"] = "pairs"
    """Eq. 3 averages over original/adversarial pairs, or over the union of D and D' (released code)."""
    weighting: Literal["balanced", "union"] = "balanced"
    """Eq. 2: balanced gives clean and adversarial examples equal weight; union takes one mean over all (released
    code)."""
    pieces: Literal["mean", "max"] = "mean"
    """Importance of a word of several word pieces: their mean, or their max (released code)."""
    double_softmax: bool = False
    """Pass probabilities instead of logits to the cross-entropy, as the released CNN and LSTM do. This rescales
    beta and gamma."""
    initial_beta: float = 0.0
    """Beta in the first epoch of a training stage, from which it falls to `beta`. 0: always `beta`."""
    beta_decay: float = 0.099
    """What beta falls by after each epoch, if `initial_beta` is above `beta` (word masks, Chen & Ji 2020: from 1, by
    0.099)."""
    adversarial_weight: float = 1.0
    """Weight of the prediction loss on adversarial texts, beside 1 on clean texts (paper, Eq. 2: 1). Lower values keep
    more of the accuracy on clean texts."""
    adversarial_target: Literal["label", "prediction"] = "label"
    """What predictions on adversarial texts should be: the label (cross-entropy; paper, Eq. 2), or the prediction on
    the clean text (KL divergence, as in TRADES, Zhang et al. 2019). The second needs substitutes
    (`training.adversaries` gradient or random) and balanced weighting."""


@dataclass(frozen=True)
class SubstitutesConfig:
    """On-the-fly substitutes: adversarial twins of each batch's clean texts (`training.adversaries` gradient, random
    and both). Candidates are those of the attack `attack.name`, before its constraints on the whole text."""

    positions: float = 0.9
    """Share of the words with candidates that are replaced."""
    candidates: int = 30
    """Candidates of a word, the nearest first."""
    steps: int = 1
    """Gradients per batch: each chooses the substitutes of its share of the words."""
    warmup: float = 0.0
    """Share of a training stage's steps in which `positions` rises from 0."""
    share: float = 0.5
    """With `both` and balanced weighting: share of a batch's adversarial texts that are made on the fly; the others are
    attacked examples."""
    smoothing: float = 0.0
    """CNN, LSTM: before the first round, each word's vector is moved by this share towards the mean vector of its
    candidates, twice, so that words and their substitutes start alike. 0: not at all."""


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. Defaults are those of the released CNN code; the presets transformer and minilm have those of
    transformers."""

    kinds: tuple[Training, ...] = field(default=("base", "adv", "flat"), metadata=PLAN)
    """Kinds of training to compare: base (once, on clean data), continued (base, trained on clean data in the rounds
    too), adv (plain adversarial training), flat."""
    adversaries: Adversaries = "attack"
    """Adversarial examples that adv and flat train on: attack (rounds of attacks on training texts, as in the paper),
    gradient (substitutes that the model's gradient chooses in each step; no attack), random (substitutes drawn at
    random in each step), or both (gradient beside attack)."""
    init: Literal["base", "scratch"] = field(default="base", metadata=PLAN)
    """FLAT starts from the base model (paper, Section 3.4), or from scratch: it then has its own clean epochs, and
    attacks its own model in the first round."""
    rounds: int = field(default=2, metadata=PLAN)
    """Rounds: attack the latest model, then train on the attacked examples (paper: 3 to 5; released CNN and LSTM:
    2)."""
    epochs: int = field(default=10, metadata=PLAN)
    """Epochs on clean data, before the first attack."""
    epochs_per_round: int = field(default=10, metadata=PLAN)
    """Epochs after each attack."""
    batch_size: int = 64
    """Clean examples per optimiser step, over all workers."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """adam (released CNN and LSTM), or adamw, without weight decay on biases and normalisation (released BERT)."""
    learning_rate: float = field(default=0.001, metadata=PLAN)
    """Learning rate before the first attack."""
    round_learning_rate: float = field(default=0.001, metadata=PLAN)
    """Learning rate after an attack."""
    word_dropout: float = 0.0
    """Probability that a step of adv in the rounds replaces a word's vector by zeros, without a mask: what remains of
    FLAT's masks if they drop words at random. Other kinds of training have none."""
    adv_learning_rate: float = field(default=0.0, metadata=PLAN)
    """Learning rate of adv in the rounds. 0: `round_learning_rate`."""
    flat_learning_rate: float = field(default=0.0, metadata=PLAN)
    """Learning rate of flat in the rounds. 0: `round_learning_rate` (released CNN: half of that of adv)."""
    mask_learning_rate: float = 0.0
    """Learning rate of the word mask. 0: that of the rest of the model (released code)."""
    schedule: Literal["constant", "linear"] = "constant"
    """Learning rate schedule: constant, or linear decay to 0 over the steps of a training stage (released BERT)."""
    warmup: float = 0.0
    """Share of a training stage's steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Weight decay of adamw (released BERT: 0)."""
    clip: float = 1.0
    """Maximum norm of the gradient. 0: no clipping."""
    round_clip: float | None = field(default=None, metadata=PLAN)
    """Maximum norm of the gradient after an attack. None: that of `clip`."""
    freeze_embeddings: tuple[Training, ...] = ("base", "continued", "adv", "flat")
    """Kinds of training that do not change the word vectors (released CNN and LSTM: all)."""
    shards: Literal["accumulate", "replace"] = field(default="accumulate", metadata=PLAN)
    """Train on the attacked examples of all rounds so far (accumulate), or of the latest round only (replace;
    released code)."""
    keep: Literal["successful", "successful_and_failed", "all"] = "successful"
    """Attacked examples to train on: successful, successful_and_failed, or all (released code)."""
    select: Literal["dev", "last"] = "dev"
    """Checkpoint to keep of the epochs since the latest attack: the best on clean dev accuracy (dev), or the
    last."""
    buckets: int = 1
    """Number of batches whose texts are sorted by length together, to reduce padding. 1: no sorting."""
    workers: int = 1
    """Ray Train workers. They share each batch."""
    cpus_per_worker: int = 1
    """CPUs and threads of each training worker. The number of threads changes results in the last bit."""
    device: Device = "auto"
    """Device for training: cpu, cuda, or auto (by `hardware`)."""
    precision: Precision = "auto"
    """Arithmetic of training: float32, bfloat16 (autocast), or auto (by `hardware`)."""
    memory_gib: float = field(default=0.0, metadata=PLAN)
    """Maximum GPU memory for training, in GiB. 0: by `hardware`."""
    micro_batch: int = 0
    """Clean examples in memory at a time, with as many adversarial ones; gradients are summed over the batch. It
    changes the random numbers of dropout and of sampled masks. 0: on a GPU as many as fit, on a CPU the whole
    batch."""
    checkpointing: bool = field(default=False, metadata=NOT_IN_RESULT)
    """Transformers: compute activations again in the backward pass instead of storing them. Set automatically if
    the batch does not fit otherwise."""

    @property
    def last_round(self) -> int:
        """Number of rounds that are run: none for base alone, which is trained once."""
        return 0 if self.kinds == ("base",) else self.rounds


@dataclass(frozen=True)
class AttackConfig:
    """Attacks, which run on a pool of Ray workers."""

    name: Attack = field(default="textfooler", metadata=PLAN)
    """The attack: textfooler, pwws, another of TextAttack's recipes, or the Python path of a builder, my_package:build.
    Training uses it to make adversarial texts. Those with -importance and -gradient are adaptive: the word mask's
    importance, or the gradient through it, orders the words."""
    scores: Scores = "probabilities"
    """What the attack in training sees of the victim: probabilities (TextAttack), which in float32 reach 1, so that no
    change of a word lowers them, or margin, the log-odds of each class in float64, which do not."""
    neighbours: int = 0
    """Maximum number of candidates of a word: of TextFooler the nearest neighbours, of PWWS the first synonyms in
    WordNet. 0: as many as the attack has (TextFooler: 50)."""
    max_changed: float = 1.0
    """Largest share of a text's words that an attack may change, rounded up to whole words. 1: no limit."""
    setting: AttackSetting = "original"
    """Constraints: original, each attack's own, or li2021, those of Li et al. 2021 for all attacks: at most 30 % of a
    text's words changed (IMDB: 10 %), 50 neighbours a word, similar sentences, no limit on the cosine of word vectors,
    at most 50 victim queries a word of the text."""
    sample: int = field(default=0, metadata=PLAN)
    """Training examples to attack in a round, drawn anew each round. 0: all (paper: all, or 10,000 of IMDB and
    AG)."""
    synonyms: str = field(default="counterfit", metadata=BY_CONTENT)
    """TextFooler's synonyms: counterfit (works offline), original (TextAttack's, downloaded), a folder with a copy of
    TextAttack's, or a JSON file."""
    unit_size: int = 0
    """Examples per unit of work, which becomes one shard. 0: four times `concurrent`."""
    concurrent: int = field(default=0, metadata=NOT_IN_RESULT)
    """Examples that a worker attacks at the same time. 0: on a CPU 64 (transformers 16), on a GPU 256 (transformers
    64). Does not change results."""
    batch_size: int = 0
    """GPU: texts per forward pass of the victim. 0: 1,024 (transformers 256). On a CPU this number is fixed."""
    cache_size: int = field(default=4096, metadata=NOT_IN_RESULT)
    """Maximum number of entries in each cache of a worker. The sentence encoder's cache has twice as many, of 15 kB
    each. Does not change results."""
    max_queries: int | None = None
    """Maximum number of victim queries per example; above it the example is a timeout. 0: no limit. None: the attack's
    own, which is 10,000 for genetic, iga, pso, leap and faster-alzantot, 3,000 for clare and kuleshov, and no limit for
    the others."""
    max_seconds: float = 0.0
    """Maximum seconds of a worker per example; above it the example is a timeout. 0: no limit."""
    stall_seconds: float = field(default=600.0, metadata=NOT_IN_RESULT)
    """Seconds without progress after which a worker is ended and its work is done again. An example that alone stalls
    two workers becomes an error. Also used for explanations, and for training (at least 60 s). 0: no limit."""
    max_failures: float = field(default=0.01, metadata=NOT_IN_RESULT)
    """Maximum share of an attack's examples, or of the pairs to explain, that may end as errors. Above it the run
    stops."""
    profile: bool = field(default=False, metadata=NOT_IN_RESULT)
    """Print where the time of each attack went. The manifests contain it in any case."""
    workers: int = field(default=0, metadata=NOT_IN_RESULT)
    """Number of workers that attack texts and explain pairs. An autoscaling cluster is asked for them step by step.
    0: one for each CPU, or share of a GPU, that the cluster has at the time."""
    cpu_workers: int = field(default=0, metadata=NOT_IN_RESULT)
    """Additional workers on CPUs beside those on GPUs. Scores of their examples differ in the last digits."""
    device: Device = field(default="auto", metadata=NOT_IN_RESULT)
    """Device for the victim: cpu, cuda, or auto (by `hardware`)."""
    gpus_per_worker: float = field(default=0.0, metadata=NOT_IN_RESULT)
    """Share of a GPU per worker, below 1. 0: by `hardware`."""
    temperature: float = 1.0
    """Divides the logits before the probabilities that attacks see, from 0.01 to 1000; predictions stay the same. 1: as
    in TextAttack. Above 1, probabilities that float32 rounds to 1 become smaller again, and the attack can follow
    them. No effect on margins."""
    resources: tuple[str, ...] = field(default=(), metadata=BY_CONTENT)
    """Your own resources of attacks, as NAME=PATH; `flat-dist resources list` has the names. Synonyms have an
    option of their own, `synonyms`."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate."""

    split: Split = field(default="test", metadata=PLAN)
    """Split to evaluate on: train, dev or test. Sweeps use dev."""
    attacks: tuple[MeasuredAttack, ...] = field(default=("textfooler", "pwws"), metadata=PLAN)
    """Attacks after the last round, also adaptive ones such as textfooler-importance. After earlier rounds, only the
    attack that training sees. Two or more also give `worst`: for each text, the worst of them. `evaluate` also
    takes all: every attack whose resources are at hand, without adaptive ones."""
    scores: tuple[Scores, ...] = field(default=("probabilities", "margin"), metadata=PLAN)
    """What each attack sees of the victim, one after the other: probabilities (TextAttack), then margin, the log-odds,
    on the texts that the attack has not broken yet. The worst outcome of a text counts."""
    sample: int = field(default=0, metadata=PLAN)
    """Examples of the split to attack, drawn by the seed. 0: all."""
    explain: tuple[Interpretation, ...] = field(default=("ig", "lime"), metadata=PLAN)
    """Interpretation methods whose consistency is measured: ig (integrated gradients), lime."""
    pairs: Literal["changed", "successful", "all"] = field(default="changed", metadata=PLAN)
    """Pairs to explain: changed (the attack changed a word), successful, or all, which includes unchanged texts.
    Consistency never averages unchanged texts in; it is over the pairs chosen for every model, and over each model's
    own (the paper does not say)."""
    ig_pairs: int = field(default=0, metadata=PLAN)
    """Pairs per model and attack to explain with integrated gradients, drawn at random: first those that the attack
    changed for all models, the same for each, then others. 0: all (paper: all)."""
    ig_steps: int = 50
    """Steps of integrated gradients."""
    lime_pairs: int = field(default=1000, metadata=PLAN)
    """Pairs per model and attack to explain with LIME, drawn as `ig_pairs` are. 0: all (paper: 1,000)."""
    lime_samples: int = 1000
    """Perturbed texts per explanation with LIME."""
    lime_kernel_width: float = 25.0
    """Kernel width of LIME, for 100 times the cosine distance."""
    neighbours: tuple[int, ...] = field(default=(), metadata=PLAN)
    """Numbers of candidates of a word, such as 1 2 4 8 16 50: each attack after the last round also runs with at most
    so many, for a curve of after-attack accuracy. Empty: no curve."""


@dataclass(frozen=True)
class TrackingConfig:
    """Tracking with MLflow."""

    uri: str | None = None
    """Address of the tracking server. None: the SQLite file mlflow.db in `storage` (in runs, if that is a bucket)."""
    experiment: str = "flat_dist"
    """MLflow experiment of the run."""
    enabled: bool = True
    """Log to MLflow."""
    log_models: bool = False
    """Log each measured model, too, as an MLflow model that `mlflow models serve` serves. The files are as large as the
    models. Functions and endpoints are not logged."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    substitutes: SubstitutesConfig = field(default_factory=SubstitutesConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig, metadata=NOT_IN_RESULT)
    storage: str = field(default="runs", metadata=NOT_IN_RESULT)
    """Folder for stages, results and the MLflow database. With `ray job submit`, an absolute path or a URI."""
    run_name: str | None = field(default=None, metadata=NOT_IN_RESULT)
    """Name of the run's folder in `storage`. None: from dataset, model, attack and a hash of the config."""
    hardware: Hardware = field(default="auto", metadata=NOT_IN_RESULT)
    """Hardware for training and attacks: cpu, gtx1080, a100, h100, or auto (this machine's GPU, or else its
    CPU)."""
    profile: bool = field(default=False, metadata=NOT_IN_RESULT)
    """Print where the time of the run went, phase by phase, and show it in the report as a timeline."""
    seed: int = 1111
    """Random seed of the whole run (released code: 1111)."""


@dataclass(frozen=True)
class EndpointConfig:
    """Requests to a model behind HTTP, `--checkpoint https://...`; no effect on other models, or on results."""

    batch_size: int = 32
    """Maximum number of texts in a request."""
    timeout: float = 30.0
    """Seconds to wait for a connection, and for an answer to begin."""
    retries: int = 5
    """Times that a request is repeated after a lost connection, a timeout, or the status 429, 500, 502, 503 or 504."""
    rate: float = 0.0
    """Maximum number of requests per second of each attack worker. 0: no limit."""
