"""Training epochs in plain PyTorch: steps, clipping, dev accuracy, and a state that can be saved after each epoch."""

import functools
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, TrainingConfig
from flat_dist.data.batches import Batch, Examples
from flat_dist.models.classifier import TextClassifier
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.file_validation import DEFAULT_REMEDY, DamagedFileError
from flat_dist.storage.folder import Folder
from flat_dist.training.objective import Objective

Step = tuple[np.ndarray, np.ndarray]
"""Indices of a step's clean and adversarial examples; either may be empty."""


History = list[dict[str, int | float]]
"""Metrics of each epoch."""


class DivergenceError(UserError):
    """A term of the objective, or a weight, is no finite number any more."""


@dataclass(frozen=True)
class TrainingData:
    """What a stage trains on; no adversarial examples before the first attack."""

    clean: Examples
    adversarial: Examples | None
    dev: Examples


@dataclass
class TrainingState:
    """Where training stands at the end of an epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=list)


MODEL, BEST, OPTIMIZER = "model.safetensors", "best.safetensors", "optimizer.safetensors"
STATE = "state.json"
"""Written last into the folder of a state, with the hashes of its other files."""


@dataclass(frozen=True)
class Saved:
    """What `Loop.save` writes beside tensors."""

    epoch: int
    best_epoch: int
    best_accuracy: float
    history: History
    files: dict[str, str]
    """sha256 of each file of tensors."""


def read_saved(folder: Folder) -> Saved:
    """What `Loop.save` wrote beside tensors, once it is known that those are whole.

    Raises:
        DamagedFileError: a file is missing, or not as it was written.
    """
    try:
        saved: Saved = folder.read_json(STATE, Saved)
        whole = saved.files.keys() == {MODEL, BEST, OPTIMIZER} and all(
            folder.sha256(name) == digest for name, digest in saved.files.items()
        )
    except FileNotFoundError as error:
        raise DamagedFileError(f"{folder.uri} lacks a file ({error}): {DEFAULT_REMEDY}") from error
    if not whole:
        raise DamagedFileError(f"a file of {folder.uri} is not as it was written: {DEFAULT_REMEDY}")
    return saved


def plan_epoch(clean_N: np.ndarray, adversarial_M: np.ndarray, config: Config, seed: int) -> list[Step]:
    """Steps of one epoch: every clean example once.

    `balanced` weighting gives each step as many adversarial examples as clean ones, going through them in fresh
    orders as often as needed; `union` shuffles both together, so that each appears once (released code).

    Args:
        clean_N, adversarial_M: lengths of the clean and of the adversarial texts.
        config: weighting, batch size, and how many batches are sorted by length together.
        seed: of the order.
    """
    generator = np.random.default_rng(seed)
    size, clean = config.training.batch_size, len(clean_N)
    order = functools.partial(_order, size=size, buckets=config.training.buckets, generator=generator)
    if config.objective.weighting == "union":
        together = order(np.concatenate([clean_N, adversarial_M]))
        batches = [together[start : start + size] for start in range(0, len(together), size)]
        return [(batch[batch < clean], batch[batch >= clean] - clean) for batch in batches]
    clean_order = order(clean_N)
    batches = [clean_order[start : start + size] for start in range(0, clean, size)]
    stream = itertools.chain.from_iterable(order(adversarial_M) for _ in itertools.count())
    wanted = [min(len(batch), len(adversarial_M)) for batch in batches]
    return [(batch, np.fromiter(itertools.islice(stream, n), int)) for batch, n in zip(batches, wanted, strict=True)]


def _order(lengths_N: np.ndarray, size: int, buckets: int, generator: np.random.Generator) -> np.ndarray:
    """A random order in which the texts of a batch, drawn from `buckets` batches at a time, are of similar length."""
    order = generator.permutation(len(lengths_N))
    if buckets == 1:
        return order
    batches = []
    for start in range(0, len(order), size * buckets):
        drawn = order[start : start + size * buckets]
        by_length = drawn[np.argsort(lengths_N[drawn], kind="stable")]
        whole = len(by_length) // size * size  # a batch that is not full stays the last
        batches += [*generator.permutation(by_length[:whole].reshape(-1, size)), by_length[whole:]]
    return np.concatenate(batches)


def make_optimizer(model: nn.Module, config: TrainingConfig, learning_rate: float) -> torch.optim.Optimizer:
    """Adam, or AdamW whose decay spares biases and normalisation, which have one dimension (released BERT code).

    The groups' `initial_lr` is the rate that a schedule starts from; the word mask may have one of its own.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = config.mask_learning_rate if name.startswith("mask.") else 0.0
            decay = config.weight_decay if config.optimizer == "adamw" and parameter.ndim > 1 else 0.0
            groups[own or learning_rate, decay].append(parameter)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    )


def rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """What the learning rate is multiplied with in step `step`, from 0, of `steps`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (steps - step) / (steps - warmup) if config.schedule == "linear" else 1.0


@torch.no_grad()
def accuracy(model: TextClassifier, examples: Examples, batch_size: int = 64) -> float:
    """Share of examples that the model classifies rightly, dropout and mask sampling off."""
    model.eval()
    device = model.output.weight.device
    right, order = 0, np.argsort(examples.lengths, kind="stable")
    for start in range(0, len(examples), batch_size):
        batch = examples.batch(order[start : start + batch_size]).to(device)
        right += int((model(batch.ids_BT, batch.real_BT).logits_BC.argmax(-1) == batch.labels_B).sum())
    return right / len(examples)


class Loop:
    """Epochs of one training stage on one worker.

    Args:
        model: what is trained, in place.
        data: what it is trained on.
        config: the run.
        name: the stage's name, which its random numbers depend on.
        learning_rate: the optimiser's rate.
        rank, world_size: this worker's share of each batch.
        wrap: called on the objective before training, to average gradients over workers.
        after_step: called after each step with the epochs done so far, a fraction.
    """

    def __init__(
        self,
        model: TextClassifier,
        data: TrainingData,
        config: Config,
        name: str,
        learning_rate: float,
        rank: int = 0,
        world_size: int = 1,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
        after_step: Callable[[float], None] = lambda epochs: None,
    ):
        self.model, self.data, self.config, self.name = model, data, config, name
        self.rank, self.world_size, self.after_step = rank, world_size, after_step
        self.device = model.output.weight.device
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(model, config.training, learning_rate)
        if config.training.checkpointing:
            model.recompute_activations()
        self.objective = wrap(Objective(model, config.objective, config.data.max_length, world_size))
        self.state = TrainingState()
        self.seconds: list[float] = []
        """Of each epoch's training in this process."""

    def run(self, epochs: int, after_epoch: Callable[["Loop", dict[str, float]], None]) -> None:
        """Train until `epochs` are done, calling `after_epoch` with the epoch's metrics after each."""
        while self.state.epoch < epochs:
            began = time.perf_counter()
            metrics = self.train_epoch(epochs)
            self.seconds.append(time.perf_counter() - began)
            self.state.epoch += 1
            metrics |= {"epoch": self.state.epoch, "dev_accuracy": accuracy(self.model, self.data.dev)}
            self._keep_best(metrics["dev_accuracy"])
            self.state.history.append(metrics)
            after_epoch(self, metrics)

    def train_epoch(self, epochs: int) -> dict[str, float]:
        """Train for the next one of `epochs`, over which the schedule of the learning rate extends.

        Raises:
            DivergenceError: the epoch's mean of a term of the objective, or a weight after it, is not finite.
        """
        seed = derive_seed(self.config.seed, self.name, self.state.epoch)
        torch.manual_seed(derive_seed(seed, self.rank))
        self.objective.train()
        adversarial = self.data.adversarial
        nothing = np.empty(0, dtype=np.int64)
        lengths = self.data.clean.lengths, adversarial.lengths if adversarial else nothing
        steps = plan_epoch(*lengths, self.config, seed)
        values: dict[str, list[Tensor]] = defaultdict(list)
        for number, step in enumerate(steps, start=self.state.epoch * len(steps)):
            self._set_rate(number, epochs * len(steps))
            for name, value in self._train_step(step).items():
                values[name].append(value)
            self.after_step((number + 1) / len(steps))
        means = torch.stack([torch.stack(of_steps).double().mean() for of_steps in values.values()])
        if self.world_size > 1:
            torch.distributed.all_reduce(means)
        found = dict(zip(values, (means / self.world_size).tolist(), strict=True))
        self._check_finite(found)
        return found

    def _check_finite(self, terms: dict[str, float]) -> None:
        broken = [f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value)]
        if not broken and not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            broken = ["a weight is not finite"]
        if broken:
            raise DivergenceError(
                f"training of {self.name} diverged in epoch {self.state.epoch + 1} ({broken[0]}): lower the "
                "learning rate (--training.learning_rate, --training.round_learning_rate) or the largest gradient "
                "(--training.clip, --training.round_clip), or beta and gamma"
            )

    def _set_rate(self, step: int, steps: int) -> None:
        factor = rate_factor(step, steps, self.config.training)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]

    def _train_step(self, step: Step) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        parts = self._parts(step)
        for number, (clean, adversarial) in enumerate(parts, start=1):
            with self._gradients_kept(number < len(parts)):
                with self._precision():
                    found = self.objective(clean, adversarial)
                found["loss"].backward()
            for name, value in found.items():
                terms[name] = terms[name] + value.detach() if name in terms else value.detach()
        if self.config.training.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.training.clip)
        self.optimizer.step()
        return terms

    def _parts(self, step: Step) -> list[tuple[Batch | None, Batch | None]]:
        """This worker's share of a step, in parts that fit in memory one at a time."""
        share = math.ceil(max(map(len, step)) / self.world_size)
        parts = math.ceil(share / (self.config.training.micro_batch or share))
        sides: list[list[Batch | None]] = []
        for source, indices in zip((self.data.clean, self.data.adversarial), step, strict=True):
            if source and len(indices):
                batches = source.batches(indices, self.rank, self.world_size, parts)
                sides.append([batch.to(self.device) for batch in batches])
            else:
                sides.append([None] * parts)
        return list(zip(*sides, strict=True))

    def _gradients_kept(self, keep: bool) -> AbstractContextManager[None]:
        """While more parts are to come, workers keep their gradients to themselves."""
        return self.objective.no_sync() if keep and self.world_size > 1 else nullcontext()  # type: ignore[operator]

    def _precision(self) -> AbstractContextManager[None]:
        low = self.config.training.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext()

    def _keep_best(self, dev_accuracy: float) -> None:
        if self.config.training.select == "last" or dev_accuracy > self.state.best_accuracy:
            self.state.best_epoch, self.state.best_accuracy = self.state.epoch, dev_accuracy
            self.state.best_weights = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}

    def save(self, folder: Folder) -> None:
        """Write all that `restore` needs: weights, the best weights so far, the optimiser's moments, the history."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {
            MODEL: self.model.state_dict(),
            BEST: self.state.best_weights,
            OPTIMIZER: {f"{index}.{key}": value for index, values in moments.items() for key, value in values.items()},
        }
        files = {name: folder.write(name, save_tensors(values)) for name, values in tensors.items()}
        numbers = {name: getattr(self.state, name) for name in ("epoch", "best_epoch", "best_accuracy", "history")}
        folder.write_json(STATE, {**numbers, "files": files})

    def restore(self, folder: Folder) -> None:
        """Continue from what `save` wrote; the next epoch is the one that would have come.

        Raises:
            DamagedFileError: it is not as it was written; nothing is changed then.
        """
        saved = read_saved(folder)
        tensors = {name: load_tensors(folder.read(name)) for name in saved.files}
        self.model.load_state_dict(tensors[MODEL])
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, value in tensors[OPTIMIZER].items():
            index, _, key = name.partition(".")
            moments[int(index)][key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": dict(moments)})
        self.state = TrainingState(
            best_weights=tensors[BEST],
            epoch=saved.epoch,
            best_epoch=saved.best_epoch,
            best_accuracy=saved.best_accuracy,
            history=saved.history,
        )
