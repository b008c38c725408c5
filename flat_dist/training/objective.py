"""The FLAT objective (paper, Eqs. 1 to 3 and Section 3.2).

Shapes: B texts, T pieces, C classes, S swaps, W pieces on one side of a swap.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flat_dist.config.schema import ObjectiveConfig
from flat_dist.data.batches import Batch, Pieces, Swaps
from flat_dist.models.classifier import Prediction, TextClassifier
from flat_dist.models.mask import bernoulli_entropy


def cross_entropy(logits_BC: Tensor, labels_B: Tensor, double_softmax: bool = False) -> Tensor:
    """Cross-entropy of each text (B), in nats.

    `double_softmax` reproduces the released CNN and LSTM, which feed probabilities to a loss that expects logits.
    """
    return F.cross_entropy(logits_BC.softmax(-1) if double_softmax else logits_BC, labels_B, reduction="none")


def divergence(logits_BC: Tensor, target_BC: Tensor, double_softmax: bool = False) -> Tensor:
    """KL divergence of each text's prediction from a target (B), in nats; both are given as logits.

    The gradient flows through both (TRADES, Zhang et al. 2019).
    """
    predicted_BC, wanted_BC = (
        (logits.softmax(-1) if double_softmax else logits).log_softmax(-1) for logits in (logits_BC, target_BC)
    )
    return F.kl_div(predicted_BC, wanted_BC, log_target=True, reduction="none").sum(-1)


def mask_entropy(
    log_odds_BT: Tensor, real_BT: Tensor, reduction: str, length: int, padding: Callable[[], Tensor]
) -> Tensor:
    """Entropy H(W | x) of each text's masks (B), in nats (paper, Section 3.2).

    Args:
        log_odds_BT: log-odds of each word's importance.
        real_BT: true at words, false at padding.
        reduction: `sum` over real words (the paper's formula), `mean` over them, or `padded_mean` over all `length`
            positions, including the padding (released code).
        length: positions of a padded text, for `padded_mean`.
        padding: gives the log-odds of the padding's importance, a scalar, for `padded_mean`.
    """
    total_B = (bernoulli_entropy(log_odds_BT) * real_BT).sum(1)
    if reduction == "sum":
        return total_B
    words_B = real_BT.sum(1)
    if reduction == "mean":
        return total_B / words_B
    return (total_B + (length - words_B) * bernoulli_entropy(padding())) / length


def importance_difference(model: TextClassifier, swaps: Swaps, pieces: str = "mean") -> Tensor:
    """|phi(x_i) - phi(x'_i)| of each swap (S), Eq. 3.

    The importance of a word of several pieces is their mean, or their max (released code).
    """
    original_S, substitute_S = (_importance(model, side, pieces) for side in (swaps.original, swaps.substitute))
    return (original_S - substitute_S).abs()


def _importance(model: TextClassifier, side: Pieces, reduction: str) -> Tensor:
    importance_SW = model.importance(side.ids_SW, side.positions_SW)
    if reduction == "max":
        return importance_SW.masked_fill(~side.real_SW, 0.0).amax(1)
    return (importance_SW * side.real_SW).sum(1) / side.real_SW.sum(1)


def beta_in_epoch(config: ObjectiveConfig, epoch: int) -> float:
    """Weight of the masks' entropy in an epoch (from 0) of a training stage."""
    return max(config.beta, config.initial_beta - config.beta_decay * epoch)


class Objective(nn.Module):
    """A model with its loss in one module, so that DistributedDataParallel sees every use of the parameters.

    Without a mask this is plain training: beta and gamma have no effect (paper, Section 3.3).
    """

    def __init__(
        self,
        model: TextClassifier,
        config: ObjectiveConfig,
        max_length: int,
        world_size: int = 1,
        word_dropout: float = 0.0,
    ):
        super().__init__()
        self.model = model
        self.config = config
        self.beta = config.beta
        """Weight of the masks' entropy; a schedule may change it."""
        self.max_length = max_length
        self.world_size = world_size
        self.word_dropout = word_dropout

    def forward(self, clean: Batch | None, adversarial: Batch | None) -> dict[str, Tensor]:
        """Scalar terms: `loss`, which training minimises, and others to log.

        Means are over the whole batch: the sum over this worker's share, divided by the batch's size, times the number
        of workers, because gradients are averaged over workers.
        """
        both = (("clean", clean), ("adversarial", adversarial))
        batches = {name: batch for name, batch in both if batch is not None}
        predictions = {name: self._predict(batch) for name, batch in batches.items()}
        parts = {name: self._prediction_loss(name, batch, predictions) for name, batch in batches.items()}
        counts = {name: batch.count for name, batch in batches.items()}
        weights = dict.fromkeys(counts, 1.0)
        if self.config.weighting == "union":
            weights = {name: count / sum(counts.values()) for name, count in counts.items()}
        if "adversarial" in weights:
            weights["adversarial"] *= self.config.adversarial_weight
        terms = {f"{name}_{term}": value for name, part in parts.items() for term, value in part.items()}
        total = torch.stack([weights[name] * part["prediction_loss"] for name, part in parts.items()]).sum()
        if adversarial is not None and self.model.mask is not None:
            terms["importance_difference"] = self._importance_loss(adversarial, sum(counts.values()))
            total = total + self.config.gamma * terms["importance_difference"]
        return {"loss": total, **terms}

    def _prediction_loss(
        self, name: str, batch: Batch, predictions: Mapping[str, Prediction | None]
    ) -> dict[str, Tensor]:
        """How far predictions are from what they should be, minus beta times the entropy of the masks (Eq. 2)."""
        prediction = predictions[name]
        follows_clean = name == "adversarial" and self.config.adversarial_target == "prediction"
        distance = "divergence" if follows_clean else "cross_entropy"
        if prediction is None:
            names = (distance, "prediction_loss", *(("mask_entropy",) if self.model.mask is not None else ()))
            return dict.fromkeys(names, self._zero())
        double_softmax = self.config.double_softmax
        if follows_clean:
            clean = predictions["clean"]
            assert clean is not None and len(clean.logits_BC) == len(batch.labels_B)  # each text beside its twin
            distance_B = divergence(prediction.logits_BC, clean.logits_BC, double_softmax)
        else:
            distance_B = cross_entropy(prediction.logits_BC, batch.labels_B, double_softmax)
        terms = {distance: self._mean(distance_B, batch.count)}
        terms["prediction_loss"] = terms[distance]
        if prediction.log_odds_BT is not None:
            entropy_B = mask_entropy(
                prediction.log_odds_BT,
                self.model.words(batch.ids_BT, batch.real_BT),
                self.config.entropy,
                self.max_length,
                self.model.padding_log_odds,
            )
            terms["mask_entropy"] = self._mean(entropy_B, batch.count)
            terms["prediction_loss"] = terms[distance] - self.beta * terms["mask_entropy"]
        return terms

    def _predict(self, batch: Batch) -> Prediction | None:
        """The prediction; None where this worker has no share of a small batch.

        In training, each word's vector is replaced by zeros with the probability `word_dropout`.
        """
        if not len(batch.labels_B):
            return None
        if not (self.training and self.word_dropout):
            prediction: Prediction = self.model(batch.ids_BT, batch.real_BT)
            return prediction
        dropped_BT = torch.rand(batch.ids_BT.shape, device=batch.ids_BT.device) < self.word_dropout
        kept_BT = ~(dropped_BT & self.model.words(batch.ids_BT, batch.real_BT))
        return self.model.predict_embedded(kept_BT.unsqueeze(-1) * self.model.embed(batch.ids_BT), batch.real_BT)

    def _importance_loss(self, adversarial: Batch, union: int) -> Tensor:
        if adversarial.swaps is None:
            raise ValueError("an adversarial batch needs swaps to compare importance")
        if not len(adversarial.swaps.original.ids_SW):
            return self._zero()
        count = adversarial.swaps.pairs if self.config.pairs == "pairs" else union
        return self._mean(importance_difference(self.model, adversarial.swaps, self.config.pieces), count)

    def _zero(self) -> Tensor:
        # Zero, but with a gradient for every parameter: workers wait for each other's gradients.
        parameters = [parameter.sum() for parameter in self.model.parameters() if parameter.requires_grad]
        return 0.0 * torch.stack(parameters).sum()

    def _mean(self, values: Tensor, count: int) -> Tensor:
        return values.sum() * (self.world_size / count)
