"""Training epochs in plain PyTorch: steps, clipping, dev accuracy, and a state that can be saved after each epoch."""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config
from flat_dist.data.batches import Batch, Examples, concatenate, with_count
from flat_dist.models.classifier import TextClassifier
from flat_dist.runtime.seeds import derive_seed
from flat_dist.storage.folder import Folder
from flat_dist.training.batching import NOTHING, Step, plan_epoch
from flat_dist.training.objective import Objective, beta_in_epoch
from flat_dist.training.optimizer import make_optimizer, rate_factor
from flat_dist.training.state import TrainingState, restore_state, save_state
from flat_dist.training.substitution import Substitution


class DivergenceError(UserError):
    """A term of the objective, or a weight, is not finite."""


@dataclass(frozen=True)
class TrainingData:
    """Encoded examples. Training on clean data has neither `adversarial` nor `substitution`."""

    clean: Examples
    adversarial: Examples | None
    """Attacked examples."""
    dev: Examples
    substitution: Substitution | None = None
    """Makes adversarial twins of clean examples in each step."""

    @property
    def twins(self) -> float:
        """Share of a batch's adversarial examples that are made on the fly."""
        if self.substitution is None:
            return 0.0
        return self.substitution.config.share if self.adversarial else 1.0


@torch.no_grad()
def predict(model: TextClassifier, examples: Examples, batch_size: int = 64) -> np.ndarray:
    """The predicted class of each example (N), with dropout and mask sampling off."""
    model.eval()
    device = model.output.weight.device
    predicted_N, order = np.empty(len(examples), dtype=np.int64), np.argsort(examples.lengths, kind="stable")
    for start in range(0, len(examples), batch_size):
        chosen = order[start : start + batch_size]
        batch = examples.batch(chosen).to(device)
        predicted_N[chosen] = model(batch.ids_BT, batch.real_BT).logits_BC.argmax(-1).cpu().numpy()
    return predicted_N


def accuracy(model: TextClassifier, examples: Examples, batch_size: int = 64) -> float:
    """Share of correctly classified examples, with dropout and mask sampling off."""
    return float((predict(model, examples, batch_size) == examples.labels).mean())


@dataclass(frozen=True)
class Worker:
    """One of the workers that share each batch."""

    rank: int = 0
    world_size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    """Called on the objective before training, to average gradients over workers."""
    after_step: Callable[[float], None] = lambda epochs: None
    """Called after each step with the epochs done so far, a fraction."""


class Loop:
    """The epochs of a training on one worker.

    Args:
        model: is trained in place.
        data: examples to train on.
        config: of the run.
        name: of the training; the random numbers depend on it.
        learning_rate: of the optimiser, before its schedule.
        worker: this worker's share of each batch.
    """

    def __init__(
        self,
        model: TextClassifier,
        data: TrainingData,
        config: Config,
        name: str,
        learning_rate: float,
        worker: Worker = Worker(),
    ):
        self.model, self.data, self.config, self.name, self.worker = model, data, config, name, worker
        self.device = model.output.weight.device
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(model, config.training, learning_rate)
        if config.training.checkpointing:
            model.recompute_activations()
        self._terms = Objective(
            model, config.objective, config.data.max_length, worker.world_size, config.training.word_dropout
        )
        self.objective = worker.wrap(self._terms)
        self.state = TrainingState()
        self.seconds: list[float] = []
        """Duration of each epoch in this process."""

    def run(self, epochs: int, after_epoch: Callable[["Loop", dict[str, float]], None]) -> None:
        """Train until `epochs` are done; call `after_epoch` with the metrics of each."""
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
        """Train one epoch. The learning rate's schedule extends over all `epochs`.

        Raises:
            DivergenceError: the mean of a term of the objective, or a weight, is not finite.
        """
        seed = derive_seed(self.config.seed, self.name, self.state.epoch)
        torch.manual_seed(derive_seed(seed, self.worker.rank))
        self.objective.train()
        self._terms.beta = beta_in_epoch(self.config.objective, self.state.epoch)
        adversarial = self.data.adversarial
        lengths = self.data.clean.lengths, adversarial.lengths if adversarial else NOTHING
        steps = plan_epoch(*lengths, self.config, seed, self.data.twins)
        values: dict[str, list[Tensor]] = defaultdict(list)
        for number, step in enumerate(steps, start=self.state.epoch * len(steps)):
            self._set_rate(number, epochs * len(steps))
            share = self._replaced_share(number, epochs * len(steps))
            for name, value in self._train_step(step, seed, share).items():
                values[name].append(value)
            self.worker.after_step((number + 1) / len(steps))
        means = torch.stack([torch.stack(of_steps).double().mean() for of_steps in values.values()])
        if self.worker.world_size > 1:
            torch.distributed.all_reduce(means)
        found = dict(zip(values, (means / self.worker.world_size).tolist(), strict=True))
        self._check_finite(found)
        return found

    def _check_finite(self, terms: dict[str, float]) -> None:
        broken = [f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value)]
        if not broken and not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            broken = ["a weight is not finite"]
        if broken:
            raise DivergenceError(
                f"training of {self.name} diverged in epoch {self.state.epoch + 1} ({broken[0]}): lower the "
                "learning rate (--training.learning-rate, --training.round-learning-rate) or the largest gradient "
                "(--training.clip, --training.round-clip), or beta and gamma"
            )

    def _set_rate(self, step: int, steps: int) -> None:
        factor = rate_factor(step, steps, self.config.training)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]

    def _replaced_share(self, step: int, steps: int) -> float:
        """Share of the words with candidates that step `step` (from 0) of `steps` replaces."""
        settings = self.config.substitutes
        rising = round(settings.warmup * steps)
        return settings.positions * min(1.0, (step + 1) / (rising + 1))

    def _train_step(self, step: Step, seed: int, share: float) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        parts = self._parts(step, seed, share)
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

    def _parts(self, step: Step, seed: int, share: float) -> list[tuple[Batch | None, Batch | None]]:
        """This worker's share of a step, in parts that fit in memory one at a time."""
        adversarial = len(step.attacked) + len(step.twins)
        own = math.ceil(max(len(step.clean), adversarial) / self.worker.world_size)
        parts = math.ceil(own / (self.config.training.micro_batch or own))
        sides: list[list[Batch | None]] = [[None] * parts, [None] * parts]
        if len(step.clean):
            sides[0] = list(self.data.clean.batches(step.clean, self.worker.rank, self.worker.world_size, parts))
        if adversarial:
            sources = zip(self._own(step.attacked, parts), self._own(step.twins, parts), strict=True)
            examples = [self._adversarial(*indices, seed, share) for indices in sources]
            sides[1] = [with_count(each.batch(range(len(each))), adversarial) for each in examples]
        clean, others = ([batch and batch.to(self.device) for batch in side] for side in sides)
        return list(zip(clean, others, strict=True))

    def _own(self, indices: np.ndarray, parts: int) -> list[np.ndarray]:
        """This worker's indices, split into parts; some may be empty."""
        return np.array_split(indices[self.worker.rank :: self.worker.world_size], parts)

    def _adversarial(self, attacked: np.ndarray, twins: np.ndarray, seed: int, share: float) -> Examples:
        """Attacked examples, and twins for the model as it is now."""
        found = [self.data.adversarial.take(attacked)] if self.data.adversarial else []
        if self.data.substitution:
            found.append(self.data.substitution.twins(self.model, twins, seed, share))
        return concatenate(found)

    def _gradients_kept(self, keep: bool) -> AbstractContextManager[None]:
        """While more parts are to come, workers keep their gradients to themselves."""
        return self.objective.no_sync() if keep and self.worker.world_size > 1 else nullcontext()  # type: ignore[operator]

    def _precision(self) -> AbstractContextManager[None]:
        low = self.config.training.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext()

    def _keep_best(self, dev_accuracy: float) -> None:
        if self.config.training.select == "last" or dev_accuracy > self.state.best_accuracy:
            self.state.best_epoch, self.state.best_accuracy = self.state.epoch, dev_accuracy
            self.state.best_weights = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}

    def save(self, folder: Folder) -> None:
        """Write all that `restore` needs."""
        save_state(folder, self.model, self.optimizer, self.state)

    def restore(self, folder: Folder) -> None:
        """Resume from the state in a folder, with the next epoch.

        Raises:
            DamagedFileError: a file is missing or damaged; then nothing is changed.
        """
        self.state = restore_state(folder, self.model, self.optimizer)
