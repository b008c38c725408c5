"""Bad inputs to every command: exit code 2, one sentence on standard error, nothing left behind, before any work.

A row is a command, its arguments (IN is the folder of `inputs`), and a part of the sentence. Commands run in this
process, in an empty folder; whatever starts Ray, MLflow, training or an attack fails the test. tyro's own boxes never
reach a user: `flat_dist.config.options` says the same in a sentence, which the check for `error: ` holds it to.
"""

import importlib
import io
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from safetensors.torch import save as save_tensors

from flat_dist import cli
from flat_dist.attack.pool import run as pool
from flat_dist.benchmarks import common
from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.folder import Folder
from flat_dist.tracking.mlflow_tracker import MlflowTracker
from flat_dist.training import distributed

ROOT = Path(__file__).parent.parent
COMMANDS = {name: name for name in ("evaluate", "attack", "predict", "export", "report", "bench", "prepare")}
COMMANDS |= {"flat_round": "train", "sweep": "tune"}
"""Scripts of jobs/ and tuning/, and the command of `flat-dist` that each of them is."""

DATA = "--data.folder IN/good"
VICTIM = "--checkpoint IN/victim"
BOTH = f"{VICTIM} {DATA} --data.label-names negative positive"

GOOD = "text,label\na good film,1\na bad film,0\n"

OPTIONS = [
    # unknown, misspelt, misplaced
    ("flat_round", "--data.text-colum x", "did you mean --data.text-column?"),
    ("flat_round", "--training.lr 1", "unknown option '--training.lr': --help lists"),
    ("flat_round", "--beta 1", "did you mean --objective.beta?"),
    ("flat_round", "--see 5", "unknown option '--see'"),
    ("flat_round", "--objective", "unknown option '--objective'"),
    ("flat_round", "--trainingrounds 3", "did you mean --training.rounds?"),
    ("flat_round", "--epochs 3", "did you mean --training.epochs?"),
    ("flat_round", "--no-model.sample-masks", "unknown option '--no-model.sample-masks'"),
    ("flat_round", "--no-seed", "unknown option '--no-seed'"),
    ("flat_round", "--training.no-rounds", "unknown option"),
    ("flat_round", "nonsense", "'nonsense' belongs to no option"),
    ("flat_round", "-x", "'-x' belongs to no option"),
    ("flat_round", "-- --json", "unknown option '--'"),
    ("flat_round", "—seed 5", "'—seed' belongs to no option"),
    ("flat_round", "--seed 1 2", "'2' belongs to no option: --seed, before it, takes one value"),
    ("flat_round", "--json yes", "'yes' belongs to no option: --json, before it, takes no value"),
    ("flat_round", "--dry-run=true", "--dry-run takes no value"),
    ("flat_round", "--tracking.no-enabled=1", "--tracking.no-enabled takes no value"),
    ("flat_round", "--data.text_column", "--data.text-column needs a value"),
    ("flat_round", "--data.folder --json", "--data.folder needs a value"),
    ("flat_round", "--seed", "--seed needs a value"),
    ("flat_round", "--training.kinds base --training.kinds flat", "--training.kinds is given twice"),
    ("flat_round", "--tyro-print-completion bash", "unknown option"),
    ("flat_round", "'--se\ned' 1", "unknown option"),
    ("flat_round", "'--\udcff' 1", "unknown option"),
    ("evaluate", f"{VICTIM} --attack textfooler", "unknown option '--attack'"),
    ("evaluate", f"{VICTIM} --checkpoint IN/victim", "--checkpoint is given twice"),
    ("evaluate", f"{VICTIM} --model.name cnn", "unknown option '--model.name'"),
    ("evaluate", "", "--checkpoint is missing"),
    ("evaluate", "--checkpoint", "--checkpoint needs at least one folder"),
    ("evaluate", f"{VICTIM} --preset sst2", "unknown option '--preset'"),
    ("attack", "", "--checkpoint is missing"),
    ("attack", "--checkpoint", "--checkpoint needs a value"),
    ("attack", f"{VICTIM} --attacks pwws", "unknown option '--attacks'"),
    ("attack", f"{VICTIM} IN/victim", "belongs to no option"),
    ("attack", f"{VICTIM} --attack.profile=yes", "takes no value"),
    ("predict", "", "--checkpoint is missing"),
    ("predict", f"{VICTIM} --batch-size 9999999999999999999999", "and at most"),
    ("predict", "--checkpoint", "--checkpoint needs a value"),
    ("predict", f"{VICTIM} --json", "unknown option '--json'"),
    ("predict", f"{VICTIM} 'a fine film'", "belongs to no option"),
    ("report", "", "--run is missing"),
    ("flat_round", "--data.folder IN/good --storage /proc/x", "accepts no files"),
    ("evaluate", f"{VICTIM} --data.folder IN/good --storage /proc/x", "accepts no files"),
    ("flat_round", "--data.folder IN/good --tracking.uri sqlite:////proc/x/mlflow.db", "accepts no files"),
    ("flat_round", "--data.folder IN/good --tracking.uri sqlite:///IN/good/train.csv", "is not an SQLite database"),
    ("report", "IN/good", "belongs to no option"),
    ("report", "--run IN/good --tracking.url x", "did you mean --tracking.uri?"),
    ("report", "--run IN/good --resend=yes", "--resend takes no value"),
    ("bench", "", "name a benchmark: attack"),
    ("bench", "atack", "did you mean 'attack'?"),
    ("bench", "--examples 3", "unknown benchmark '--examples'"),
    ("bench", "'' --json", "name a benchmark"),
    ("bench", "attack scale", "'scale' belongs to no option"),
    ("bench", "attack --planned 3", "unknown option '--planned'"),
    ("bench", "attack --storage x", "unknown option '--storage'"),
    ("bench", "scale --stock-encoder ours", "unknown option"),
    ("bench", "attack --stock-encoder theirs", "choose one of auto, ours, package"),
    ("bench", "interpret --length 3", "unknown option '--length'"),
    ("bench", "attack --recipes pwws", "unknown option '--recipes'"),
    ("prepare", "x", "'x' belongs to no option"),
    ("prepare", "--force", "unknown option '--force'"),
    ("prepare", "--seed 1", "unknown option '--seed'"),
    ("prepare", "''", "belongs to no option"),
    ("sweep", "--ablation --seeds 1,1", "--seeds is [1, 1]: give at least one, each once"),
    ("sweep", "--ablation --seeds -1", "each once, from 0 to 4294967295"),
    ("sweep", "--ablation --training.rounds 0", "an ablation has at least one round"),
    ("sweep", "--ablation --objective.gamma 0", "flat-gamma-0 and flat are the same model"),
    ("sweep", "--ablation --training.adversaries random", "adv and adv-random are the same model"),
    ("sweep", "--ablation --rows base,adv", "--rows is base, adv: name each row once, and flat, which the others"),
    ("sweep", "--ablation --rows flat,flat-beta", "unknown value of --rows 'flat-beta'"),
    ("sweep", "--ablation --training.word-dropout 0.5", "--training.word-dropout is set by the row adv-word-dropout"),
    ("sweep", "--ablation --samples 3", "--samples has no effect with --ablation: leave it out"),
    ("sweep", "--ablation --space.beta 3", "--space.beta has no effect with --ablation: leave it out"),
    ("sweep", "--ablation --training.kinds adv", "--training.kinds has no effect with --ablation: leave it out"),
    ("sweep", "--seeds 1,2", "--seeds has an effect only with --ablation"),
    (
        "flat_round",
        "--substitutes.positions 0.5 --training.adversaries attack",
        "--substitutes.positions has no effect with --training.adversaries attack: leave it out, or "
        "choose gradient or random or both",
    ),
    (
        "flat_round",
        "--substitutes.share 0.3 --training.adversaries gradient",
        "--substitutes.share has no effect with --training.adversaries gradient: leave it out, or choose",
    ),
    (
        "flat_round",
        "--substitutes.share 0.3 --training.adversaries both --objective.weighting union",
        "--substitutes.share has no effect with --objective.weighting union",
    ),
    (
        "flat_round",
        "--objective.adversarial-target prediction --training.adversaries both",
        "it needs --training.adversaries gradient or random, not both",
    ),
    (
        "flat_round",
        "--objective.adversarial-target prediction --training.adversaries gradient --objective.weighting union",
        "it needs --objective.weighting balanced, not union",
    ),
    (
        "sweep",
        "--substitutes.steps 2 --training.adversaries random",
        "--substitutes.steps has no effect with --training.adversaries random",
    ),
    ("flat_round", "--training.word-dropout 1", "--training.word-dropout is 1.0, but must be at least 0 and below 1"),
    ("sweep", "--sample 3", "did you mean --attack.sample or --evaluation.sample?"),
    ("sweep", "--space.betas 3", "did you mean --space.beta?"),
    ("sweep", "grid", "'grid' belongs to no option"),
    ("sweep", "--samples", "--samples needs a value"),
    ("sweep", "--ablation=no", "--ablation takes no value"),
]

NUMBERS = [
    ("flat_round", "--seed x", "--seed is 'x', but must be a whole number"),
    ("flat_round", "--seed 1.5", "--seed is '1.5', but must be a whole number"),
    ("flat_round", "--seed ''", "--seed is '', but must be a whole number"),
    ("flat_round", "--seed=", "--seed is '', but must be a whole number"),
    ("flat_round", "--seed -1", "--seed is -1, but must be at least 0"),
    ("flat_round", "--seed 4294967296", "--seed must be at most 4294967295"),
    ("flat_round", f"--seed {10**30}", "--seed must be at most 4294967295"),
    ("flat_round", f"--seed 1{'0' * 5000}", "--seed is '1000"),
    ("flat_round", "--seed 0x10", "must be a whole number"),
    ("flat_round", "--seed None", "must be a whole number"),
    ("flat_round", "--seed inf", "must be a whole number"),
    ("flat_round", f"--training.epochs {10**12}", "--training.epochs must be at most 2147483647"),
    ("flat_round", "--training.epochs 0", "--training.epochs is 0, but must be at least 1"),
    ("flat_round", "--training.epochs -3", "--training.epochs is -3"),
    ("flat_round", "--training.epochs 1e3", "must be a whole number"),
    ("flat_round", "--training.epochs-per-round 0", "--training.epochs-per-round is 0"),
    ("flat_round", "--training.rounds -1", "--training.rounds is -1"),
    ("flat_round", "--training.batch-size 0", "--training.batch-size is 0"),
    ("flat_round", "--training.learning-rate 0", "--training.learning-rate is 0.0, but must be above 0"),
    ("flat_round", "--training.learning-rate -1e-3", "--training.learning-rate is -0.001"),
    ("flat_round", "--training.learning-rate nan", "--training.learning-rate is nan"),
    ("flat_round", "--training.learning-rate inf", "--training.learning-rate is inf"),
    ("flat_round", "--training.learning-rate 1e999", "--training.learning-rate is inf"),
    ("flat_round", "--training.learning-rate fast", "must be a number"),
    ("flat_round", "--training.learning-rate 0,001", "must be a number"),
    ("flat_round", "--training.round-learning-rate 0", "must be above 0"),
    ("flat_round", "--training.mask-learning-rate -1", "must be at least 0"),
    ("flat_round", "--training.warmup 1", "--training.warmup is 1.0, but must be at least 0 and below 1"),
    ("flat_round", "--training.warmup nan", "--training.warmup is nan"),
    ("flat_round", "--training.clip -1", "--training.clip is -1.0"),
    ("flat_round", "--training.clip inf", "--training.clip is inf"),
    ("flat_round", "--training.round-clip -1", "--training.round-clip is -1.0"),
    ("flat_round", "--training.weight-decay -1", "--training.weight-decay is -1.0"),
    ("flat_round", "--training.buckets 0", "--training.buckets is 0"),
    ("flat_round", "--training.workers 0", "--training.workers is 0"),
    ("flat_round", "--training.cpus-per-worker 0", "--training.cpus-per-worker is 0"),
    ("flat_round", "--training.micro-batch -1", "--training.micro-batch is -1"),
    ("flat_round", "--training.memory-gib -1", "--training.memory-gib is -1.0"),
    ("flat_round", "--training.memory-gib nan", "--training.memory-gib is nan"),
    ("flat_round", "--objective.beta -0.1", "--objective.beta is -0.1, but must be at least 0"),
    ("flat_round", "--objective.beta nan", "--objective.beta is nan"),
    ("flat_round", "--objective.gamma inf", "--objective.gamma is inf"),
    ("flat_round", "--objective.gamma=-inf", "--objective.gamma is -inf"),
    ("flat_round", "--model.dropout 1", "--model.dropout is 1.0, but must be at least 0 and below 1"),
    ("flat_round", "--model.dropout -0.1", "--model.dropout is -0.1"),
    ("flat_round", "--model.dropout nan", "--model.dropout is nan"),
    ("flat_round", "--model.temperature 0", "--model.temperature is 0.0, but must be above 0"),
    ("flat_round", "--model.temperature inf", "--model.temperature is inf"),
    ("flat_round", "--model.kernels 0", "--model.kernels is 0"),
    ("flat_round", f"--model.kernels {2**31}", "--model.kernels must be at most"),
    ("flat_round", "--model.kernel-widths", "--model.kernel-widths is empty"),
    ("flat_round", "--model.kernel-widths 0", "--model.kernel-widths is 0"),
    ("flat_round", "--model.kernel-widths 3 x", "--model.kernel-widths is 'x'"),
    ("flat_round", "--model.kernel-widths 3,,4", "--model.kernel-widths is ''"),
    ("flat_round", "--model.hidden-size 0", "--model.hidden-size is 0"),
    ("flat_round", "--model.mask-hidden-size 0", "--model.mask-hidden-size is 0"),
    ("flat_round", "--model.embedding-dim 0", "--model.embedding-dim is 0"),
    ("flat_round", "--model.embedding-dim 60", "has vectors of size 50"),
    ("flat_round", "--data.max-length 0", "--data.max-length is 0"),
    ("flat_round", "--data.max-length -5", "--data.max-length is -5"),
    ("flat_round", "--data.min-frequency -1", "--data.min-frequency is -1"),
    ("flat_round", "--attack.sample -1", "--attack.sample is -1"),
    ("flat_round", "--attack.workers -1", "--attack.workers is -1"),
    ("flat_round", "--attack.cpu-workers -1", "--attack.cpu-workers is -1"),
    ("flat_round", "--attack.neighbours -1", "--attack.neighbours is -1"),
    ("flat_round", "--evaluation.neighbours 4 0", "--evaluation.neighbours is 0"),
    ("flat_round", "--evaluation.neighbours 4 8 4", "--evaluation.neighbours contains a value twice (4, 8, 4)"),
    ("flat_round", "--attack.max-changed 0", "--attack.max-changed is 0.0, but must be above 0"),
    ("flat_round", "--attack.max-changed 1.5", "--attack.max-changed is 1.5, but must be at most 1"),
    ("flat_round", "--attack.temperature 1e-40", "--attack.temperature is 1e-40, but must be at least 0.01"),
    ("evaluate", f"{VICTIM} --attack.temperature 1e6", "--attack.temperature is 1000000.0, but must be at most 1000"),
    ("attack", f"{VICTIM} --attack.max-changed nan", "--attack.max-changed is nan"),
    ("evaluate", f"{VICTIM} --attack.setting li2020", "did you mean 'li2021'?"),
    ("flat_round", "--attack.unit-size -1", "--attack.unit-size is -1"),
    ("flat_round", "--attack.concurrent -1", "--attack.concurrent is -1"),
    ("flat_round", "--attack.batch-size -1", "--attack.batch-size is -1"),
    ("flat_round", "--attack.cache-size 10", "--attack.cache-size is 10, but must be at least 1024"),
    ("flat_round", "--attack.max-queries -1", "--attack.max-queries is -1"),
    ("flat_round", "--attack.max-seconds nan", "--attack.max-seconds is nan"),
    ("flat_round", "--attack.stall-seconds -1", "--attack.stall-seconds is -1.0"),
    ("flat_round", "--attack.max-failures -0.5", "--attack.max-failures is -0.5"),
    ("flat_round", "--attack.gpus-per-worker 1.5", "--attack.gpus-per-worker is 1.5"),
    ("flat_round", "--evaluation.sample -1", "--evaluation.sample is -1"),
    ("flat_round", "--evaluation.ig-steps 0", "--evaluation.ig-steps is 0"),
    ("flat_round", "--evaluation.ig-pairs -1", "--evaluation.ig-pairs is -1"),
    ("flat_round", "--evaluation.lime-samples 0", "--evaluation.lime-samples is 0, but must be at least 10"),
    ("flat_round", "--evaluation.lime-kernel-width 0", "--evaluation.lime-kernel-width is 0.0"),
    ("flat_round", "--evaluation.lime-pairs=-2", "--evaluation.lime-pairs is -2"),
    ("evaluate", f"{VICTIM} --seed -1", "--seed is -1"),
    ("evaluate", f"{VICTIM} --ig-steps 0", "--evaluation.ig-steps is 0"),
    ("evaluate", f"{VICTIM} --evaluation.ig-steps 0", "--evaluation.ig-steps is 0"),
    ("evaluate", f"{VICTIM} --evaluation.sample -1", "--evaluation.sample is -1"),
    ("evaluate", f"{VICTIM} --sample x", "--evaluation.sample is 'x'"),
    ("attack", f"{VICTIM} --examples -1", "--evaluation.sample is -1"),
    ("attack", f"{VICTIM} --evaluation.sample -1", "--evaluation.sample is -1"),
    ("attack", f"{VICTIM} --seed {10**30}", "--seed must be at most"),
    ("attack", f"{VICTIM} --attack.sample 9", "--attack.sample has no effect on this command: set --evaluation.sample"),
    ("evaluate", f"{VICTIM} --attack.sample 9", "no effect on this command: set --evaluation.sample"),
    ("evaluate", f"{VICTIM} --attack.name pwws", "no effect on this command: set --evaluation.attacks"),
    ("evaluate", f"{VICTIM} --attack.scores margin", "no effect on this command: set --evaluation.scores"),
    ("attack", f"{VICTIM} --attack.scores logits", "unknown value of --attack.scores 'logits'"),
    ("attack", f"{VICTIM} --attack.workers -2", "--attack.workers is -2"),
    ("predict", f"{VICTIM} --batch-size -5", "--batch-size is -5, but must be at least 1"),
    ("predict", f"{VICTIM} --batch-size 0", "--batch-size is 0"),
    ("predict", f"{VICTIM} --batch-size many", "--batch-size is 'many', but must be a whole number"),
    ("bench", "attack --examples 0", "--examples is 0, but must be at least 1"),
    ("bench", "memory --examples -1", "--examples is -1"),
    ("bench", "attack --examples some", "--examples is 'some'"),
    ("bench", "scale --planned 0", "--planned and --in-flight must be at least 1"),
    ("bench", "scale --in-flight", "--planned and --in-flight must be at least 1"),
    ("bench", "scale --in-flight 1 0", "--planned and --in-flight must be at least 1"),
    ("bench", "peak --length 0", "--length must be at least 1"),
    ("bench", "peak --limit-gib nan", "--limit-gib above 0"),
    ("bench", "peak --limit-gib 0", "--limit-gib above 0"),
    ("bench", "attack --seed -1", "--seed is -1"),
    ("bench", "attack --attack.batch-size -1", "--attack.batch-size is -1"),
    ("sweep", "--samples 0", "--samples must be at least 1"),
    ("sweep", f"--samples {10**12}", "--samples must be at least 1"),
    ("sweep", "--samples x", "--samples is 'x'"),
    ("sweep", "--tolerance -0.1", "--tolerance at least 0"),
    ("sweep", "--tolerance nan", "--tolerance at least 0"),
    ("sweep", "--space.beta", "--space.beta is []"),
    ("sweep", "--space.beta x", "--space.beta is 'x'"),
    ("sweep", "--space.beta -1", "--objective.beta is -1.0"),
    ("sweep", "--space.beta 1,1", "--space.beta is [1.0, 1.0]"),
    ("sweep", "--space.gamma nan", "--objective.gamma is nan"),
    ("sweep", "--space.learning-rate 0", "--training.round-learning-rate is 0.0"),
    ("sweep", "--space.clip inf", "--training.round-clip is inf"),
    ("sweep", "--training.rounds 0", "at least one round"),
    ("sweep", "--training.workers 2", "a trial trains on one worker"),
]

CHOICES = [
    ("flat_round", "--model.name cnm", "did you mean 'cnn'?"),
    ("flat_round", "--model.name ''", "--model.name is empty"),
    ("flat_round", "--model.name CNN", "unknown value of --model.name 'CNN'"),
    ("flat_round", "--model.name encoder", "--model.name encoder needs --model.encoder"),
    ("flat_round", "--model.pooling max", "unknown value of --model.pooling 'max'"),
    ("flat_round", "--attack.name textfolder", "did you mean 'textfooler'?"),
    ("flat_round", "--attack.name textfooler,pwws", "unknown value of --attack.name"),
    ("flat_round", "--attack.device tpu", "unknown value of --attack.device 'tpu'"),
    ("flat_round", "--training.device gpu", "unknown value of --training.device 'gpu'"),
    ("flat_round", "--training.precision float16", "did you mean 'bfloat16'?"),
    ("flat_round", "--training.optimizer sgd", "unknown value of --training.optimizer 'sgd'"),
    ("flat_round", "--training.schedule cosine", "unknown value of --training.schedule 'cosine'"),
    ("flat_round", "--training.kinds", "--training.kinds is empty"),
    ("flat_round", "--training.kinds base,flat,base", "--training.kinds contains a value twice"),
    ("flat_round", "--training.kinds base flatt", "did you mean 'flat'?"),
    ("flat_round", "--training.kinds base,", "--training.kinds is empty"),
    ("flat_round", "--training.init zero", "unknown value of --training.init 'zero'"),
    ("flat_round", "--training.keep failed", "unknown value of --training.keep 'failed'"),
    ("flat_round", "--training.select test", "unknown value of --training.select 'test'"),
    ("flat_round", "--training.shards latest", "unknown value of --training.shards 'latest'"),
    ("flat_round", "--training.freeze-embeddings flat,flat", "--training.freeze-embeddings contains a value twice"),
    ("flat_round", "--objective.entropy max", "unknown value of --objective.entropy 'max'"),
    ("flat_round", "--objective.pieces sum", "unknown value of --objective.pieces 'sum'"),
    ("flat_round", "--evaluation.attacks", "--evaluation.attacks is empty"),
    ("flat_round", "--evaluation.attacks pwws,pwws", "--evaluation.attacks contains a value twice"),
    ("flat_round", "--evaluation.attacks pwws bay", "unknown value of --evaluation.attacks 'bay'"),
    ("flat_round", "--evaluation.scores", "--evaluation.scores is empty"),
    ("flat_round", "--evaluation.scores margin margin", "--evaluation.scores contains a value twice"),
    ("flat_round", "--evaluation.scores margins", "did you mean 'margin'?"),
    ("flat_round", "--evaluation.explain ig ig", "--evaluation.explain contains a value twice"),
    ("flat_round", "--evaluation.explain shap", "unknown value of --evaluation.explain 'shap'"),
    ("flat_round", "--evaluation.split validation", "unknown value of --evaluation.split 'validation'"),
    ("flat_round", "--evaluation.pairs some", "unknown value of --evaluation.pairs 'some'"),
    ("flat_round", "--hardware tpu", "unknown value of --hardware 'tpu'"),
    ("flat_round", "--hardware ''", "--hardware is empty"),
    ("flat_round", "--data.name sst3", "did you mean 'sst2'?"),
    ("flat_round", "--data.name '[b]'", "unknown dataset --data.name '[b]'"),
    ("evaluate", f"{VICTIM} --attacks textfoler", "did you mean 'textfooler'?"),
    ("evaluate", f"{VICTIM} --attacks", "--evaluation.attacks is empty"),
    ("evaluate", f"{VICTIM} --evaluation.attacks pwws,pwws", "--evaluation.attacks contains a value twice"),
    ("evaluate", f"{VICTIM} --explain ig,shap", "unknown value of --evaluation.explain 'shap'"),
    ("evaluate", f"{VICTIM} --split tests", "unknown value of --evaluation.split 'tests'"),
    ("evaluate", f"{VICTIM} --trained-on bay", "unknown value of --trained-on 'bay'"),
    ("evaluate", f"{VICTIM} --hardware tpu", "unknown value of --hardware 'tpu'"),
    ("attack", f"{VICTIM} --split tests", "unknown value of --evaluation.split 'tests'"),
    ("attack", f"{VICTIM} --attack.name bay", "unknown value of --attack.name 'bay'"),
    ("attack", f"{VICTIM} --hardware tpu", "unknown value of --hardware 'tpu'"),
    ("predict", f"{VICTIM} --hardware tpu", "unknown value of --hardware 'tpu'"),
    ("predict", f"{VICTIM} --hardware ''", "--hardware is empty"),
    ("bench", "attack --recipe bay", "unknown value of --attack.name 'bay'"),
    ("bench", "attack --attack.name bay", "unknown value of --attack.name 'bay'"),
    ("bench", "attack --model rnn", "unknown value of --model.name 'rnn'"),
    ("bench", "train --model.name rnn", "unknown value of --model.name 'rnn'"),
    ("bench", "interpret --method shap", "unknown value of --evaluation.explain 'shap'"),
    ("bench", "interpret --evaluation.explain", "--evaluation.explain is empty"),
    ("bench", "scale --hardware tpu", "unknown value of --hardware 'tpu'"),
    ("sweep", "--searcher bayes", "unknown value of --searcher 'bayes'"),
    ("sweep", "--scheduler pbt", "unknown value of --scheduler 'pbt'"),
    ("sweep", "--objective accuracies", "did you mean 'accuracy'?"),
    ("sweep", "--training.kinds base flat", "a trial has one training"),
    ("sweep", "--evaluation.split test", "a search must select on dev"),
    ("sweep", "--evaluation.attacks pwws", "add it to --evaluation.attacks"),
    ("sweep", "--objective kendall_tau --evaluation.explain", "needs attributions"),
    ("sweep", "--training.kinds base", "a trial has one training"),
    ("sweep", "--ablation --rows flat,flat-beta-0 --objective.beta 0", "are the same model"),
]

NAMES = [
    *(
        (command, f"{start} --run-name {shlex.quote(name)}", said)
        for command, start in (("flat_round", DATA), ("evaluate", VICTIM), ("sweep", DATA))
        for name, said in (
            ("../outside", "a name must not contain slashes"),
            ("a/b", "a name must not contain slashes"),
            ("/tmp/x", "a name must not contain slashes"),
            ("..", "a name must not contain slashes"),
            ("stages", "the storage uses that name itself"),
            ("Stages", "the storage uses that name itself"),
            ("mlflow.db-wal", "the storage uses that name itself"),
            ("", "--run-name is empty"),
            ("a\nb", "control character"),
        )
    ),
    ("flat_round", "--run-name ray_train", "the storage uses that name itself"),
    ("flat_round", "--run-name mlartifacts", "the storage uses that name itself"),
    ("flat_round", "--run-name mlflow.db", "the storage uses that name itself"),
    ("flat_round", "--run-name .", "a name must not contain slashes"),
    ("flat_round", "--run-name .hidden", "must not begin with a dot"),
    ("flat_round", "--run-name '   '", "--run-name is empty"),
    ("flat_round", "--run-name 'mine '", "or end with a space"),
    ("flat_round", "--run-name ' mine'", "must not begin with a dot or a space"),
    ("flat_round", "--run-name 'a\\b'", "a name must not contain slashes"),
    ("flat_round", "--run-name '[/x]'", "a name must not contain slashes"),
    ("flat_round", "--run-name 'a\0b'", "control character"),
    ("flat_round", "--run-name 'a\x1b[31mb'", "control character"),
    ("flat_round", "--run-name 'a\tb'", "control character"),
    ("flat_round", "--run-name 'a\udce9'", "not UTF-8"),
    ("flat_round", f"--run-name {'x' * 201}", "201 bytes long"),
    ("flat_round", f"--run-name {'é' * 130}", "260 bytes long"),
    ("flat_round", f"{DATA} --storage IN/runs --run-name mine", "was made with another config"),
    ("evaluate", f"{BOTH} --storage IN/runs --run-name mine", "was made with another config"),
    ("evaluate", "--checkpoint ../x=IN/victim", "'../x'"),
    ("evaluate", "--checkpoint a/b=IN/victim", "'a/b'"),
    ("evaluate", "--checkpoint .=IN/victim", "'.'"),
    ("evaluate", f"--checkpoint {'x' * 250}=IN/victim", "xxx"),
    ("evaluate", "--checkpoint a=IN/victim a=IN/victim", "two checkpoints are called 'a'"),
    ("evaluate", "--checkpoint IN/victim IN/victim", "two checkpoints are called 'victim'"),
    ("evaluate", "--checkpoint IN/victim IN/others", "evaluate them separately"),
    ("evaluate", "--checkpoint 'a\nb=IN/victim'", "'a\\nb"),
]

PLACES = [
    ("flat_round", "--storage ''", "--storage is empty"),
    ("flat_round", "--storage '  '", "--storage is empty"),
    ("flat_round", "--storage 'a\0b'", "control character"),
    ("flat_round", "--storage 'a\nb'", "control character"),
    ("flat_round", "--storage 'a\udcff'", "not UTF-8"),
    ("flat_round", "--storage nowhere://x", "nowhere://x"),
    ("flat_round", "--storage http://127.0.0.1/runs", "http://127.0.0.1"),
    ("flat_round", "--storage 's3://KEY:SECRET@bucket/runs'", "carries credentials"),
    ("flat_round", "--storage 's3://bucket/runs?access_key=A&secret_key=B'", "carries credentials"),
    ("flat_round", "--storage 's3://bucket/runs?session_token=A'", "carries credentials"),
    ("flat_round", "--storage 'abfs://u@h/runs?client_secret=A'", "credentials"),
    ("flat_round", "--storage 'abfs://h/runs?sig=A'", "credentials"),
    ("flat_round", "--storage 's3://bucket/runs?token=A'", "credentials"),
    ("flat_round", "--storage s3://", "s3://"),
    ("flat_round", "--storage s3:bucket/runs", "s3:bucket"),
    ("flat_round", "--storage 's3://bucket/runs?nonsense=1'", "nonsense"),
    ("attack", f"{VICTIM} --storage nowhere://x", "nowhere://x"),
    ("attack", f"{VICTIM} --storage ''", "--storage is empty"),
    ("evaluate", f"{BOTH} --storage nowhere://x", "nowhere://x"),
    ("evaluate", f"{VICTIM} --storage ''", "--storage is empty"),
    ("sweep", f"{DATA} --storage nowhere://x", "nowhere://x"),
    ("sweep", f"{DATA} --storage ''", "--storage is empty"),
    ("flat_round", "--tracking.uri ''", "--tracking.uri is empty"),
    ("flat_round", "--tracking.uri http://user:secret@127.0.0.1:5000", "--tracking.uri contains a password"),
    ("flat_round", f"{DATA} --tracking.uri nonsense://x", "nonsense"),
    ("flat_round", f"{DATA} --tracking.uri 'mysql://u:p@h/db'", "--tracking.uri contains a password"),
    ("flat_round", f"{DATA} --tracking.uri 'http://['", "--tracking.uri"),
    ("flat_round", "--tracking.experiment ''", "--tracking.experiment is empty"),
    ("flat_round", "--tracking.experiment 'a\0b'", "control character"),
    ("evaluate", f"{VICTIM} --tracking.uri http://user:secret@127.0.0.1:5000", "--tracking.uri contains a password"),
    ("evaluate", f"{BOTH} --tracking.uri nonsense://x", "nonsense"),
    ("sweep", f"{DATA} --tracking.uri http://user:secret@127.0.0.1:5000", "--tracking.uri contains a password"),
    ("report", "--run IN/pending --resend --tracking.uri http://user:secret@127.0.0.1:5000", "password"),
    ("report", "--run IN/pending --resend --tracking-uri ''", "--tracking.uri is empty"),
    ("report", "--run ''", "--run is empty"),
    ("report", "--run nowhere", "is missing or empty"),
    ("report", "--run nowhere --resend", "is missing or empty"),
    ("report", "--run IN/good --tracking.uri http://127.0.0.1:1", "give both"),
    ("report", "--run IN/good", "has none of results.json, sweep.json and ablation.json"),
    ("report", "--run IN/good/train.csv", "train.csv"),
    ("report", "--run nowhere://x", "nowhere://x"),
    ("report", "--run 'a\0b'", "control character"),
    ("report", "--run IN/results/empty", "results.json"),
    ("report", "--run IN/results/cut", "results.json"),
    ("report", "--run IN/results/binary", "results.json"),
    ("report", "--run IN/results/object", "results.json"),
    ("report", "--run IN/results/fields", "results.json"),
    ("report", "--run IN/results/deep", "results.json"),
    ("report", "--run IN/results/sweep", "sweep.json"),
    ("report", "--run IN/pendings/empty --resend", "tracking-pending.json"),
    ("report", "--run IN/pendings/list --resend", "tracking-pending.json"),
    ("report", "--run IN/pendings/fields --resend", "tracking-pending.json"),
    *(
        (command, f"{DATA if command == 'flat_round' else BOTH} --storage file", "file")
        for command in ("flat_round", "evaluate", "attack")
    ),
    ("flat_round", f"{DATA} --storage file/runs", "file"),
    ("flat_round", f"{DATA} --storage {'x' * 300}", "x"),
]

CLUSTERS = [
    *(
        (command, f"{start} --tracking.no-enabled", said, {"env": {"RAY_ADDRESS": address}})
        for command, start in (("flat_round", DATA), ("sweep", DATA), ("evaluate", BOTH))
        for address, said in (
            ("http://127.0.0.1:8265", "http://127.0.0.1:8265"),
            ("ray://127.0.0.1:10001", "ray://127.0.0.1:10001"),
            ("nonsense", "nonsense"),
        )
    ),
]

EXPORTS = [
    ("export", "--to new", "--checkpoint is missing"),
    ("export", f"{VICTIM}", "--to is missing"),
    ("export", f"{VICTIM} --to file", "file"),
    ("export", f"{VICTIM} --to IN/good", "is not empty: name a new folder"),
    ("export", f"{VICTIM} --to new --format onnx", "unknown value of --format 'onnx'"),
    ("export", f"{VICTIM} --to new --format transformers", "it is a cnn, which transformers does not know"),
    ("export", "--checkpoint nowhere --to new", "nowhere holds no checkpoint"),
    ("sweep", f"{DATA} --tracking.log-models", "--tracking.log-models has no effect on this command"),
    ("flat_round", f"{DATA} --preset classifier", "--model.name classifier needs --model.encoder: the folder"),
    ("flat_round", f"{DATA} --preset classifier --model.encoder IN/good", "is no folder with a classifier"),
    (
        "flat_round",
        f"{DATA} --preset classifier --model.encoder IN/good --training.epochs 3",
        "--training.epochs has no effect with --model.name classifier",
    ),
]

PRESETS = [
    ("flat_round", "--preset", "--preset needs a value"),
    ("flat_round", "--preset=", "--preset is empty"),
    ("flat_round", "--preset ''", "--preset is empty"),
    ("flat_round", "--preset rotten", "unknown preset 'rotten'"),
    ("flat_round", "--preset sst3", "did you mean 'sst2'?"),
    ("flat_round", "--preset sst2,,minilm", "unknown preset ''"),
    ("flat_round", "--preset sst2 minilm", "'minilm' belongs to no option"),
    ("flat_round", "--preset sst2 --preset nonsense", "unknown preset 'nonsense'"),
    ("flat_round", "--preset nowhere.yaml", "preset file nowhere.yaml does not exist"),
    ("flat_round", "--preset IN/presets", "unknown preset"),
    ("flat_round", "--preset IN/presets/folder.yaml", "folder.yaml does not exist"),
    ("flat_round", "--preset nowhere://x/y.yaml", "nowhere://x"),
    ("flat_round", "--preset 'a\0.yaml'", "control character"),
    ("flat_round", f"--preset {'x' * 3000}", "unknown preset 'xxx"),
    *(
        ("flat_round", f"--preset IN/presets/{name}.yaml", said)
        for name, said in (
            ("list", "must contain fields"),
            ("text", "must contain fields"),
            ("number", "must contain fields"),
            ("broken", "is not valid YAML"),
            ("tab", "is not valid YAML"),
            ("two", "is not valid YAML"),
            ("tagged", "is not valid YAML"),
            ("deep", "deep.yaml"),
            ("latin", "latin.yaml is not UTF-8"),
            ("binary", "binary.yaml"),
            ("unknown", "unknown field"),
            ("section", "unknown field"),
            ("misspelt", "did you mean 'training.rounds'?"),
            ("keys", "unknown field"),
            ("scalar", "training must contain fields"),
            ("null", "training must contain fields"),
            ("words", "training.rounds must be int"),
            ("float", "training.rounds must be int"),
            ("bool", "training.rounds must be int"),
            ("kinds", "training.kinds must be a list"),
            ("nested", "training.kinds"),
            ("nan", "objective.beta is nan"),
            ("inf", "objective.beta is inf"),
            ("huge", "objective.beta"),
            ("digits", "digits.yaml"),
            ("date", "storage must be str"),
            ("nul", "control character"),
            ("empty-text", "--storage is empty"),
            ("seed", "--seed must be at most"),
            ("run-name", "a name must not contain slashes"),
        )
    ),
    ("sweep", "--preset nowhere.yaml", "preset file nowhere.yaml does not exist"),
    ("sweep", "--preset IN/presets/list.yaml", "must contain fields"),
    ("sweep", "--preset nonsense", "unknown preset 'nonsense'"),
    ("bench", "attack --preset nowhere.yaml", "preset file nowhere.yaml does not exist"),
    ("bench", "train --preset IN/presets/broken.yaml", "is not valid YAML"),
    ("bench", "train --preset nonsense", "unknown preset 'nonsense'"),
]

FILES = [
    ("flat_round", "--data.folder ''", "--data.folder is empty"),
    ("flat_round", "--data.folder nowhere", "nowhere"),
    ("flat_round", "--data.folder IN/good/train.csv", "is not a folder"),
    ("flat_round", "--data.folder 'IN/\0'", "control character"),
    ("flat_round", f"--data.folder {'x' * 300}", "xxx"),
    ("flat_round", "--data.folder IN/presets", "has no train file"),
    ("flat_round", "--data.folder IN/both", "has both"),
    ("flat_round", "--data.train IN/good/train.csv", "--data.dev"),
    ("flat_round", "--data.test IN/good/train.csv", "--data.train"),
    ("flat_round", "--data.folder IN/good --data.train IN/good/train.csv", "choose one source"),
    ("flat_round", "--data.folder IN/good --data.hf sst2", "choose one source"),
    ("flat_round", "--data.train ''", "--data.train is empty"),
    ("flat_round", "--data.train nowhere.csv --data.dev x.csv --data.test y.csv", "nowhere.csv"),
    ("flat_round", "--data.train IN/good --data.dev x.csv --data.test y.csv", "good"),
    ("flat_round", f"{DATA} --data.text-column words", "no column 'words'"),
    ("flat_round", f"{DATA} --data.label_column words", "no column 'words'"),
    ("flat_round", f"{DATA} --data.text-column ''", "--data.text-column is empty"),
    ("flat_round", f"{DATA} --data.label-names one", "one"),
    ("flat_round", f"{DATA} --data.label-names a b c", "'c'"),
    ("flat_round", f"{DATA} --data.label-names a a", "a"),
    ("flat_round", f"{DATA} --data.label-names ''", "--data.label-names is empty"),
    ("flat_round", "--data.hf nobody/nothing", "nobody/nothing"),
    ("flat_round", "--data.hf ''", "--data.hf is empty"),
    ("flat_round", "--data.hf ../../x", "../../x"),
    ("flat_round", "--data.name imdb", "Hugging Face hub"),
    *(
        ("flat_round", f"--data.train IN/data/{name} --data.dev IN/good/dev.csv --data.test IN/good/test.csv", said)
        for name, said in (
            ("empty.csv", "empty.csv"),
            ("header.csv", "header.csv"),
            ("columns.csv", "no column 'text'"),
            ("twice.csv", "column"),
            ("fields.csv", "fields.csv:3"),
            ("quotes.csv", "quotes.csv"),
            ("latin.csv", "latin.csv:2"),
            ("utf16.csv", "utf16.csv"),
            ("nul.csv", "nul.csv"),
            ("blank.csv", "blank.csv:2"),
            ("stars.csv", "stars.csv:2"),
            ("label.csv", "label.csv:3"),
            ("no-label.csv", "no-label.csv:2"),
            ("negative.csv", "negative.csv"),
            ("gap.csv", "gap.csv"),
            ("one-class.csv", "only the class"),
            ("text.txt", "text.txt"),
            ("missing.csv", "missing.csv"),
            ("empty.jsonl", "empty.jsonl"),
            ("cut.jsonl", "cut.jsonl:2"),
            ("list.jsonl", "list.jsonl:1"),
            ("number.jsonl", "number.jsonl:1"),
            ("keys.jsonl", "keys.jsonl:1"),
            ("null.jsonl", "null.jsonl:1"),
            ("float.jsonl", "float.jsonl:1"),
            ("nested.jsonl", "nested.jsonl:1"),
            ("deep.jsonl", "deep.jsonl:1"),
            ("latin.jsonl", "latin.jsonl:1"),
            ("empty.parquet", "empty.parquet"),
            ("text.parquet", "text.parquet"),
            ("cut.parquet", "cut.parquet"),
            ("columns.parquet", "columns.parquet"),
            ("rows.parquet", "rows.parquet"),
            ("binary.parquet", "binary.parquet"),
        )
    ),
    ("evaluate", f"{VICTIM} --data.folder nowhere", "nowhere"),
    ("evaluate", f"{VICTIM} --data.folder IN/three", "has the classes negative, positive"),
    ("attack", f"{VICTIM} --data.folder nowhere", "nowhere"),
    ("attack", f"{VICTIM} --data.folder IN/three", "has the classes negative, positive"),
    ("sweep", "--data.folder nowhere", "nowhere"),
    ("sweep", "--data.folder IN/both", "has both"),
    ("bench", "attack --data.folder nowhere", "nowhere"),
    ("bench", "interpret --data.folder IN/presets", "has no train file"),
    ("bench", "attack --data.folder IN/good --examples 100", "lower --examples"),
    ("bench", "attack data:data-config --data.folder nowhere", "nowhere"),
]

PAIRS = [
    *(
        ("evaluate", f"{VICTIM} --adversarial IN/pairs/{name}", said)
        for name, said in (
            ("nowhere.csv", "nowhere.csv"),
            ("empty.csv", "empty.csv"),
            ("header.csv", "header.csv"),
            ("columns.csv", "columns.csv"),
            ("label.csv", "label.csv:2"),
            ("blank.csv", "blank.csv:2"),
            ("latin.csv", "latin.csv:2"),
            ("text.txt", "text.txt is no text log of TextAttack"),
            ("cut.jsonl", "cut.jsonl:1"),
        )
    ),
    ("evaluate", f"{VICTIM} --adversarial ''", "--adversarial is empty"),
    ("evaluate", f"{VICTIM} --adversarial", "--adversarial needs at least one file"),
    ("evaluate", f"{VICTIM} --pairs-file IN/pairs/nowhere.csv", "nowhere.csv does not exist"),
    ("evaluate", f"{VICTIM} --annotated", "--annotated needs at least one filled sheet"),
    ("evaluate", f"{VICTIM} --attacks al", "unknown value of --evaluation.attacks 'al'"),
    ("flat_round", "--evaluation.attacks all", "--evaluation.attacks all is only for flat-dist evaluate"),
    ("evaluate", f"{BOTH} --annotated nowhere.csv", "has no key of a sheet"),
    ("evaluate", f"{BOTH} --annotate -1", "--annotate is -1"),
    ("evaluate", f"{VICTIM} --fail-under", "--fail-under needs at least one METRIC=VALUE"),
    ("evaluate", f"{VICTIM} --fail-under acuracy=0.5", "did you mean 'accuracy'?"),
    ("evaluate", f"{VICTIM} --fail-under accuracy=50", "accuracy is from 0 to 1: write 0.4 for 40 percent"),
    ("evaluate", f"{VICTIM} --fail-under accuracy=0.5 --fail-under accuracy", "write METRIC=VALUE"),
    ("evaluate", f"{BOTH} --fail-under deepwordbug:accuracy=0.5", "unknown attack of --fail-under 'deepwordbug'"),
    ("evaluate", f"{BOTH} --explain --fail-under kendall_tau=0.5", "add --evaluation.explain ig"),
    ("evaluate", f"{VICTIM} --junit out.xml", "--junit has an effect only with --fail-under"),
    ("evaluate", f"{VICTIM} --fail-under accuracy=0.5 --junit IN/good", "is a folder: name a file in it"),
    ("evaluate", f"{VICTIM} --fail-under accuracy=0.5 --junit file/out.xml", "--junit "),
    ("evaluate", f"{VICTIM} --adversarial IN/pairs", "pairs"),
]

TABLES = [
    *(
        ("flat_round", f"--model.vectors IN/vectors/{name}", said)
        for name, said in (
            ("nowhere.txt", "nowhere.txt"),
            ("empty.txt", "empty.txt"),
            ("short.txt", "size 3"),
            ("words.txt", "words.txt:1"),
            ("nan.txt", "nan.txt:1"),
            ("latin.txt", "latin.txt:1"),
            ("binary.bin", "binary.bin"),
            ("later.txt", "later.txt:2"),
        )
    ),
    ("flat_round", "--model.vectors IN/vectors", "vectors"),
    ("flat_round", "--model.vectors ''", "--model.vectors is empty"),
    ("bench", "attack --model.vectors nowhere.txt", "nowhere.txt"),
    ("bench", "attack --model.vectors IN/vectors/short.txt", "size 3"),
    *(
        (command, f"{start} --attack.synonyms IN/synonyms/{name}", said)
        for command, start in (("flat_round", ""), ("attack", VICTIM))
        for name, said in (
            ("nowhere.json", "nowhere.json"),
            ("empty.json", "empty.json"),
            ("cut.json", "cut.json"),
            ("list.json", "list.json"),
            ("words.json", "words.json"),
            ("numbers.json", "numbers.json"),
            ("latin.json", "latin.json"),
            ("deep.json", "deep.json"),
        )
    ),
    ("flat_round", "--attack.synonyms IN/synonyms", "synonyms"),
    ("evaluate", f"{VICTIM} --attack.synonyms nowhere.json", "nowhere.json"),
    ("sweep", "--attack.synonyms nowhere.json", "nowhere.json"),
    ("bench", "attack --attack.synonyms nowhere.json", "nowhere.json"),
    *(
        ("flat_round", f"--model.name encoder --model.encoder {name}", said)
        for name, said in (
            ("nowhere/nothing", "nowhere/nothing"),
            ("IN/good", "good"),
            ("IN/good/train.csv", "train.csv"),
            ("IN/encoders/empty", "empty"),
            ("IN/encoders/list", "list"),
            ("IN/encoders/unknown", "unknown"),
            ("IN/encoders/code", "code"),
        )
    ),
    ("flat_round", "--model.name bert --model.encoder ''", "--model.encoder is empty"),
]

CHECKPOINTS = [
    *(
        (command, f"--checkpoint {folder}", said)
        for command in ("predict", "evaluate", "attack")
        for folder, said in (
            ("nowhere", "nowhere holds no checkpoint"),
            ("IN/good", "holds no checkpoint"),
            ("IN/victim/model.safetensors", "model.safetensors"),
            ("nowhere://x", "nowhere://x"),
            ("s3://KEY:SECRET@bucket/x", "carries credentials"),
            ("IN/damaged/empty-description", "checkpoint.json"),
            ("IN/foreign", "has format 'flat_dist.checkpoint/99'"),
        )
    ),
    ("bench", "attack --checkpoint nowhere", "nowhere holds no checkpoint"),
    ("bench", "interpret --checkpoint IN/good", "holds no checkpoint"),
    ("bench", "attack --checkpoint ''", "--checkpoint is empty"),
    ("predict", "--checkpoint ''", "--checkpoint is empty"),
    ("evaluate", "--checkpoint ''", "--checkpoint is empty"),
    ("attack", "--checkpoint 'a\0b'", "control character"),
    *(
        ("predict", f"--checkpoint IN/damaged/{name}", name)
        for name in (
            "cut-description",
            "list-description",
            "no-model",
            "no-labels",
            "three-labels",
            "negative-length",
            "text-length",
            "unknown-model",
            "no-vocabulary",
            "short-vocabulary",
            "empty-weights",
            "cut-weights",
            "other-weights",
            "nan-weights",
            "wrong-shape",
        )
    ),
]

INPUTS = [
    ("predict", VICTIM, "standard input, line 1: not UTF-8", {"stdin": b"caf\xe9 is great\n"}),
    ("predict", f"{VICTIM}  ", "standard input, line 1: contains a NUL", {"stdin": b"a \0 film\na film\n"}),
    ("predict", f"{VICTIM}   ", "standard input, line 1: not UTF-8", {"stdin": "a film\n".encode("utf-16")}),
    ("predict", f"{VICTIM}    ", "standard input, line 1", {"stdin": b"\x89PNG\r\n\x1a\n\0\0\0"}),
    ("predict", f"{VICTIM} --batch-size 64", "standard input or output is closed", {"stdin": None}),
]

TEXTS = [
    ("predict", f"{VICTIM} --input nowhere.csv", "--input nowhere.csv does not exist"),
    ("predict", f"{VICTIM} --input IN/good", "is a folder: name a file"),
    ("predict", f"{VICTIM} --input IN/victim/checkpoint.json", "its name must end in .csv, .tsv or .jsonl"),
    ("predict", f"{VICTIM} --input IN/data/empty.csv", "empty.csv is empty"),
    ("predict", f"{VICTIM} --input IN/data/header.csv", "header.csv has no rows"),
    (
        "predict",
        f"{VICTIM} --input IN/data/columns.csv",
        "has no column 'text' among words, label: rename it, or set --d",
    ),
    ("predict", f"{VICTIM} --input IN/data/twice.csv", "more than one column 'text'"),
    ("predict", f"{VICTIM} --input IN/data/latin.csv", "latin.csv:2: not UTF-8"),
    ("predict", f"{VICTIM} --input IN/data/utf16.csv", "UTF-16"),
    ("predict", f"{VICTIM} --input IN/good/test.csv --output file", "must end in .jsonl or .csv, or give --format"),
    ("predict", f"{VICTIM} --input IN/good/test.csv --output IN/good/test.csv", "is the input, which it would replace"),
    ("predict", f"{VICTIM} --output IN/good", "is a folder: name a file in it"),
    ("predict", f"{VICTIM} --output nowhere/out.csv", "the folder nowhere does not exist"),
    ("predict", f"{VICTIM} --format xml", "unknown value of --format 'xml'"),
    ("predict", f"{VICTIM} --keep-bad-rows", "--keep-bad-rows has an effect only with --input"),
    ("predict", f"{VICTIM} --text-column words", "--data.text-column has an effect only with --input"),
    ("predict", f"{VICTIM} --ig-steps 3", "--ig-steps has an effect only with --explain ig"),
    ("predict", f"{VICTIM} --explain ig --lime-samples 30", "--lime-samples has an effect only with --explain lime"),
    ("predict", f"{VICTIM} --explain lime --lime-samples 0", "lime-samples is 0"),
    ("attack", f"{VICTIM} --label positive", "--label has an effect only with --text"),
    ("attack", f"{VICTIM} --text", "--text needs a value"),
    ("attack", f"{VICTIM} --text 'a film' --label great", "'great' is none of the classes negative, positive"),
    ("attack", f"{VICTIM} --text '*#*'", "has no word after cleaning"),
    ("attack", f"{VICTIM} --text 'a film' --data.file x.csv", "--data.file has no effect with --text"),
    ("attack", f"{VICTIM} --text 'a film' --evaluation.sample 3", "--evaluation.sample has no effect with --text"),
]

Row = tuple[Any, ...]
ROWS: list[Row] = [
    *OPTIONS,
    *NUMBERS,
    *CHOICES,
    *NAMES,
    *PLACES,
    *CLUSTERS,
    *EXPORTS,
    *PRESETS,
    *FILES,
    *PAIRS,
    *TABLES,
    *CHECKPOINTS,
    *INPUTS,
    *TEXTS,
]


def name_of(row: Row) -> str:
    environment = row[3].get("env", {}) if len(row) > 3 else {}
    given = "".join(f"{name}={value} " for name, value in environment.items())
    return f"{given}{row[0]} {row[1]}"[:150].encode("unicode_escape").decode()


def save_victim(folder: Path, labels: tuple[str, ...] = ("negative", "positive")) -> None:
    """A CNN of random weights that knows four words."""
    torch.manual_seed(0)
    config = ModelConfig(kernels=2, embedding_dim=4, vectors=None)
    encoder = Encoder(Vocabulary.build([["a", "good", "bad", "film"]], 0), 50)
    model = checkpoints.build(config, len(encoder.vocabulary), len(labels)).eval()
    checkpoints.save(Checkpoint(model, config, encoder, labels), Folder(folder))


def write(folder: Path, **files: str | bytes) -> None:
    """Files by name, in which `__` stands for a dot, and `_` for a hyphen."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".").replace("_", "-")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_data(folder: Path) -> None:
    for name in ("good", "both"):
        write(folder / name, train__csv=GOOD, dev__csv=GOOD, test__csv=GOOD)
    write(folder / "both", train__jsonl='{"text": "a film", "label": 1}\n')
    three = "text,label\na film,0\nbad,1\ngood,2\n"
    write(folder / "three", train__csv=three, dev__csv=three, test__csv=three)
    write(
        folder / "data",
        empty__csv="",
        header__csv="text,label\n",
        columns__csv="words,label\na film,1\n",
        twice__csv="text,text,label\na film,a film,1\n",
        fields__csv="text,label\na film,1\na film, again,0\n",
        quotes__csv='text,label\n"a film,1\nbad,0\n',
        latin__csv="text,label\ncaf\xe9,1\nbad,0\n".encode("latin-1"),
        utf16__csv=GOOD.encode("utf-16"),
        nul__csv="text,label\na \0 film,1\nbad,0\n",
        blank__csv="text,label\n  ,1\nbad,0\n",
        stars__csv="text,label\n***,1\nbad,0\n",
        label__csv="text,label\na film,1\nbad,zero\n",
        no_label__csv="text,label\na film,\nbad,0\n",
        negative__csv="text,label\na film,-1\nbad,0\n",
        gap__csv="text,label\na film,0\nbad,2\n",
        one_class__csv="text,label\na film,1\nbad,1\n",
        text__txt="a film\n",
        empty__jsonl="",
        cut__jsonl='{"text": "a film", "label": 1}\n{"text": "bad", "la',
        list__jsonl='["a film", 1]\n',
        number__jsonl="7\n",
        keys__jsonl='{"words": "a film", "label": 1}\n',
        null__jsonl='{"text": null, "label": 1}\n{"text": "bad", "label": 0}\n',
        float__jsonl='{"text": "a film", "label": 1.5}\n{"text": "bad", "label": 0}\n',
        nested__jsonl='{"text": ["a film"], "label": 1}\n{"text": "bad", "label": 0}\n',
        deep__jsonl='{"text": ' + "[" * 100_000 + "\n",
        latin__jsonl='{"text": "caf\xe9", "label": 1}\n'.encode("latin-1"),
        empty__parquet=b"",
        text__parquet="a film\n",
        cut__parquet=b"PAR1 and no more",
    )
    tables = {
        "columns": pa.table({"words": ["a film"], "label": [1]}),
        "rows": pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}),
        "binary": pa.table({"text": pa.array([b"\xff\xfe", b"bad"], pa.binary()), "label": [1, 0]}),
    }
    for name, table in tables.items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    write(
        folder / "pairs",
        empty__csv="",
        header__csv="original,adversarial,label\n",
        columns__csv="before,after,label\na film,a movie,1\n",
        label__csv="original,adversarial,label\na film,a movie,neutral\n",
        blank__csv="original,adversarial,label\na film,  ,1\n",
        latin__csv="original,adversarial,label\na film,caf\xe9,1\n".encode("latin-1"),
        text__txt="a film\n",
        cut__jsonl='{"original": "a film", "adv',
    )


def write_resources(folder: Path) -> None:
    write(
        folder / "vectors",
        empty__txt="",
        short__txt="film 1 2 3\n",
        words__txt="film good bad\n",
        nan__txt=f"film {' '.join(['nan'] * 50)}\n",
        latin__txt=f"caf\xe9 {' '.join(['1'] * 50)}\n".encode("latin-1"),
        binary__bin=b"1 50\nfilm " + bytes(range(100)),
        later__txt=f"film {' '.join(['1'] * 50)}\nbad 1 2 3\n",
    )
    write(
        folder / "synonyms",
        empty__json="",
        cut__json='{"film": ["mov',
        list__json='["film", "movie"]',
        words__json='{"film": "movie"}',
        numbers__json='{"film": [1, 2]}',
        latin__json='{"caf\xe9": ["bar"]}'.encode("latin-1"),
        deep__json="[" * 100_000,
    )
    settings = {"empty": "", "list": "[]", "unknown": '{"model_type": "nonsense"}'}
    settings["code"] = '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"}}'
    for name, text in settings.items():
        write(folder / "encoders" / name, config__json=text)
    write(folder / "encoders" / "code", mine__py="raise SystemExit('code of a folder was run')\n")


def write_presets(folder: Path) -> None:
    write(
        folder / "presets",
        list__yaml="- 1\n",
        text__yaml="rounds\n",
        number__yaml="7\n",
        broken__yaml="a: [\n",
        tab__yaml="training:\n\trounds: 3\n",
        two__yaml="seed: 1\n---\nseed: 2\n",
        tagged__yaml="seed: !!python/object/apply:os.getcwd []\n",
        deep__yaml="[" * 20_000,
        latin__yaml="storage: caf\xe9\n".encode("latin-1"),
        binary__yaml=b"\0\1\2",
        unknown__yaml="sede: 1\n",
        section__yaml="learning: {rate: 1}\n",
        misspelt__yaml="training: {round: 3}\n",
        keys__yaml="training: {3: 4}\n",
        scalar__yaml="training: 3\n",
        null__yaml="training:\n",
        words__yaml="training: {rounds: many}\n",
        float__yaml="training: {rounds: 1.5}\n",
        bool__yaml="training: {rounds: true}\n",
        kinds__yaml="training: {kinds: flat}\n",
        nested__yaml="training: {kinds: [[flat]]}\n",
        nan__yaml="objective: {beta: .nan}\n",
        inf__yaml="objective: {beta: .inf}\n",
        huge__yaml=f"objective: {{beta: {10**400}}}\n",
        digits__yaml=f"seed: 1{'0' * 5000}\n",
        date__yaml="storage: [2020-01-01]\n",
        nul__yaml='storage: "a\\0b"\n',
        empty_text__yaml='storage: ""\n',
        seed__yaml=f"seed: {10**30}\n",
        run_name__yaml="run_name: ../outside\n",
    )
    (folder / "presets" / "folder.yaml").mkdir()


def write_runs(folder: Path) -> None:
    write(folder / "runs" / "mine", config__json='{"seed": 2}')
    results = {
        "empty": b"",
        "cut": b'[{"training": "ba',
        "binary": b"\xff\xfe\0",
        "object": b"{}",
        "fields": b'[{"training": "base"}]',
        "deep": b"[" * 100_000,
    }
    for name, content in results.items():
        write(folder / "results" / name, results__json=content)
    write(folder / "results" / "sweep", sweep__json="{}")
    kept = {"uri": "http://127.0.0.1:9", "experiment": "x", "artifacts": None, "run_name": "x", "parameters": {}}
    operation = {"kind": "finish", "child": None, "arguments": {"status": "FINISHED"}}
    pending = {"destination": {**kept, "hardware": "cpu"}, "operations": [operation]}
    write(folder / "pending", tracking_pending__json=json.dumps(pending))
    for name, text in {"empty": "", "list": "[]", "fields": '{"destination": {}, "operations": [{}]}'}.items():
        write(folder / "pendings" / name, tracking_pending__json=text)


def write_checkpoints(folder: Path) -> None:
    save_victim(folder / "victim")
    save_victim(folder / "others", ("no", "yes"))

    def describe(**changes: Any) -> str:
        return json.dumps(json.loads((folder / "victim" / "checkpoint.json").read_text()) | changes)

    def without(name: str) -> str:
        values = json.loads(describe())
        del values[name]
        return json.dumps(values)

    descriptions = {
        "empty-description": "",
        "cut-description": describe()[:100],
        "list-description": "[]",
        "no-model": without("model"),
        "no-labels": without("label_names"),
        "three-labels": describe(label_names=["a", "b", "c"]),
        "negative-length": describe(max_length=-5),
        "text-length": describe(max_length="many"),
        "unknown-model": describe(model={"name": "rnn"}),
        "no-vocabulary": without("vocabulary"),
        "short-vocabulary": describe(vocabulary=["<pad>", "<unk>"]),
    }
    shutil.copytree(folder / "victim", folder / "foreign")
    write(folder / "foreign", checkpoint__json=describe(format="flat_dist.checkpoint/99"))
    for name, text in descriptions.items():
        shutil.copytree(folder / "victim", folder / "damaged" / name)
        write(folder / "damaged" / name, checkpoint__json=text)
    model = checkpoints.load(Folder(folder / "victim")).model
    state = model.state_dict()
    weights = (folder / "victim" / "model.safetensors").read_bytes()
    name, tensor = next((name, tensor) for name, tensor in state.items() if tensor.dim() > 1)
    contents = {
        "empty-weights": b"",
        "cut-weights": weights[: len(weights) // 2],
        "other-weights": save_tensors({"x": torch.zeros(1)}),
        "nan-weights": save_tensors({**state, name: torch.full_like(tensor, float("nan"))}),
        "wrong-shape": save_tensors({**state, name: tensor[:1].clone()}),
    }
    for name, content in contents.items():
        shutil.copytree(folder / "victim", folder / "damaged" / name)
        write(folder / "damaged" / name, model__safetensors=content)


@pytest.fixture(scope="module")
def inputs(assets: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that commands are given: good ones, and each kind of bad one."""
    folder = tmp_path_factory.mktemp("inputs")
    for written in (write_data, write_resources, write_presets, write_runs, write_checkpoints):
        written(folder)
    return folder


def job_of(script: str) -> Callable[[Sequence[str]], None]:
    return importlib.import_module(f"flat_dist.commands.{COMMANDS[script]}").job  # type: ignore[no-any-return]


def forbidden(what: str) -> Callable[..., None]:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError(f"{what} was started")

    return started


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is work fails the test."""
    monkeypatch.setattr(ray, "init", forbidden("Ray"))
    monkeypatch.setattr(MlflowTracker, "start", forbidden("MLflow"))
    monkeypatch.setattr(pool, "run_attacks", forbidden("an attack"))
    monkeypatch.setattr(distributed, "train", forbidden("training"))
    monkeypatch.setattr(common, "victim", forbidden("training"))
    for name in ("RAY_ADDRESS", cli.TRACEBACK):
        monkeypatch.delenv(name, raising=False)


class Standard(io.TextIOWrapper):
    """Standard input."""


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture
def refused(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Runs a command that must be refused, and returns its sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file where a folder is wanted")
    before = files_of(tmp_path), files_of(inputs)

    def run(command: str, arguments: str, stdin: bytes | None = b"", env: dict[str, str] | None = None) -> str:
        given = [argument.replace("IN/", f"{inputs}/") for argument in shlex.split(arguments)]
        monkeypatch.setattr(sys, "argv", [f"flat-dist {COMMANDS[command]}", *given])
        monkeypatch.setattr(sys, "stdin", None if stdin is None else Standard(io.BytesIO(stdin)))
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(job_of(command))
        out, said = capfd.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert said.startswith("error: ") and said.endswith("\n") and said.count("\n") == 1, said
        assert "Traceback" not in said and len(said) < 1200
        return said

    yield run
    assert (files_of(tmp_path), files_of(inputs)) == before


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_bad_input_is_one_sentence(row: Row, refused: Callable[..., str]) -> None:
    command, arguments, message, *more = row
    said = refused(command, arguments, **(more[0] if more else {}))
    assert message in said


def test_there_are_rows_enough_and_none_twice() -> None:
    assert len(ROWS) >= 250
    assert len({(row[0], row[1], str(row[3:])) for row in ROWS}) == len(ROWS)
    assert {row[0] for row in ROWS} == set(COMMANDS)
