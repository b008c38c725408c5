"""Training epochs in plain PyTorch: steps, clipping, dev accuracy, and a state that can be saved after each epoch."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from flat_dist.config import Config
from flat_dist.data.batches import Examples
from flat_dist.data.storage import Folder
from flat_dist.models.classifier import TextClassifier
from flat_dist.seeds import derive_seed
from flat_dist.training.objective import Objective

Step = tuple[np.ndarray, np.ndarray]
"""Indices of a step's clean and adversarial examples; either may be empty."""


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
    history: list[dict[str, float]] = field(default_factory=list)


def plan_epoch(clean: int, adversarial: int, config: Config, seed: int) -> list[Step]:
    """Steps of one epoch: every clean example once.

    `balanced` weighting gives each step as many adversarial examples as clean ones, going through them in fresh
    orders as often as needed; `union` shuffles both together, so that each appears once (released code).
    """
    generator = np.random.default_rng(seed)
    size = config.training.batch_size
    if config.objective.weighting == "union":
        order = generator.permutation(clean + adversarial)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        return [(batch[batch < clean], batch[batch >= clean] - clean) for batch in batches]
    order = generator.permutation(clean)
    batches = [order[start : start + size] for start in range(0, clean, size)]
    stream = _endless(adversarial, generator)
    return [(batch, np.fromiter(itertools.islice(stream, min(len(batch), adversarial)), int)) for batch in batches]


def _endless(count: int, generator: np.random.Generator) -> Iterator[int]:
    while count:
        yield from generator.permutation(count)


@torch.no_grad()
def accuracy(model: TextClassifier, examples: Examples, batch_size: int = 256) -> float:
    """Share of examples that the model classifies rightly, dropout and mask sampling off."""
    model.eval()
    device = model.output.weight.device
    right = 0
    for start in range(0, len(examples), batch_size):
        batch = examples.batch(np.arange(start, min(start + batch_size, len(examples)))).to(device)
        right += int((model(batch.ids_BT, batch.real_BT).logits_BC.argmax(-1) == batch.labels_B).sum())
    return right / len(examples)


class Loop:
    """Epochs of one training stage on one worker.

    Args:
        model: what is trained, in place.
        data: what it is trained on.
        config: the run.
        name: the stage's name, which its random numbers depend on.
        learning_rate: Adam's rate.
        rank, world_size: this worker's share of each batch.
        wrap: called on the objective before training, to average gradients over workers.
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
    ):
        self.model, self.data, self.config, self.name = model, data, config, name
        self.rank, self.world_size = rank, world_size
        self.device = model.output.weight.device
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate)
        self.objective = wrap(Objective(model, config.objective, config.data.max_length, world_size))
        self.state = TrainingState()

    def run(self, epochs: int, after_epoch: Callable[["Loop", dict[str, float]], None]) -> None:
        """Train until `epochs` are done, calling `after_epoch` with the epoch's metrics after each."""
        while self.state.epoch < epochs:
            metrics = self._train_epoch()
            self.state.epoch += 1
            metrics |= {"epoch": self.state.epoch, "dev_accuracy": accuracy(self.model, self.data.dev)}
            self._keep_best(metrics["dev_accuracy"])
            self.state.history.append(metrics)
            after_epoch(self, metrics)

    def _train_epoch(self) -> dict[str, float]:
        seed = derive_seed(self.config.seed, self.name, self.state.epoch)
        torch.manual_seed(derive_seed(seed, self.rank))
        self.objective.train()
        adversarial = self.data.adversarial
        steps = plan_epoch(len(self.data.clean), len(adversarial) if adversarial else 0, self.config, seed)
        values: dict[str, list[Tensor]] = defaultdict(list)
        for step in steps:
            for name, value in self._train_step(step).items():
                values[name].append(value)
        means = torch.stack([torch.stack(of_steps).double().mean() for of_steps in values.values()])
        if self.world_size > 1:
            torch.distributed.all_reduce(means)
        return dict(zip(values, (means / self.world_size).tolist(), strict=True))

    def _train_step(self, step: Step) -> dict[str, Tensor]:
        sources = (self.data.clean, self.data.adversarial)
        clean, adversarial = (
            source.batch(indices, self.rank, self.world_size).to(self.device) if source and len(indices) else None
            for source, indices in zip(sources, step, strict=True)
        )
        terms = self.objective(clean, adversarial)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        if self.config.training.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.config.training.clip)
        self.optimizer.step()
        return {name: value.detach() for name, value in terms.items()}

    def _keep_best(self, dev_accuracy: float) -> None:
        if self.config.training.select == "last" or dev_accuracy > self.state.best_accuracy:
            self.state.best_epoch, self.state.best_accuracy = self.state.epoch, dev_accuracy
            self.state.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def save(self, folder: Folder) -> None:
        """Write all that `restore` needs: weights, the best weights so far, Adam's moments, and the history."""
        folder.write("model.safetensors", save_tensors(self.model.state_dict()))
        folder.write("best.safetensors", save_tensors(self.state.best_weights))
        moments = self.optimizer.state_dict()["state"]
        folder.write(
            "optimizer.safetensors",
            save_tensors(
                {f"{index}.{key}": value for index, values in moments.items() for key, value in values.items()}
            ),
        )
        numbers = {name: getattr(self.state, name) for name in ("epoch", "best_epoch", "best_accuracy", "history")}
        folder.write_json("state.json", numbers)

    def restore(self, folder: Folder) -> None:
        """Continue from what `save` wrote; the next epoch is the one that would have come."""
        self.model.load_state_dict(load_tensors(folder.read("model.safetensors")))
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, value in load_tensors(folder.read("optimizer.safetensors")).items():
            index, _, key = name.partition(".")
            moments[int(index)][key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": dict(moments)})
        best = load_tensors(folder.read("best.safetensors"))
        self.state = TrainingState(best_weights=best, **folder.read_json("state.json"))
