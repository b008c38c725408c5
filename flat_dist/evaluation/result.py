"""Models under attack, and what was measured of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from flat_dist.evaluation.attributions import AttributionMethod
from flat_dist.evaluation.classes import OfClass
from flat_dist.evaluation.consistency import Consistency
from flat_dist.evaluation.model_consistency import AllTexts, ModelConsistency
from flat_dist.evaluation.significance import Comparison, Interval
from flat_dist.evaluation.top_k import TOP_METRIC
from flat_dist.evaluation.validity import Validity
from flat_dist.evaluation.worst_case import AttackPart
from flat_dist.models.artifact import ModelArtifact
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact

MAX_LOGGED_CLASSES = 100
"""Classes whose numbers are tracked; results.json has those of all."""

INVALID_IN_METRICS = r"[^\w. -]"
"""Characters of model names that names of metrics must not have."""


@dataclass(frozen=True)
class Result:
    """One model under one attack, on one split. Shares are in [0, 1]; None where nothing was measured."""

    training: str
    """The kind of training (base, continued, adv, flat), or the name of a checkpoint."""
    round: int
    """Rounds of training behind the model."""
    attack: str
    trained_on: bool | None
    """Whether training saw this attack; None where that is not known, and for an adaptive form of the attack in
    training, whose candidates it saw."""
    accuracy: float
    """On the whole split."""
    after_attack_accuracy: float | None
    """Of the n attacked examples; already wrong ones count as wrong (paper, Table 3). For each text, the worst outcome
    over `evaluation.scores`. None if the model predicts one class for all texts: no attack can change that."""
    attack_success_rate: float | None
    """None if `after_attack_accuracy` is."""
    mean_queries: float | None
    words_changed: float | None
    n: int
    interpretations: Mapping[str, ModelConsistency] = field(default_factory=dict)
    """Consistency on original/adversarial pairs, by method: ig (paper, Table 3), lime (paper, Table 8)."""
    after_attack_accuracy_probabilities: float | None = None
    """The same, under attacks that see probabilities, as TextAttack's do; None if there were none."""
    saturated: float | None = None
    """Share of the n examples whose probability of the predicted class is exactly 1 before the attack."""
    failed_unchanged: float | None = None
    """Share of failed attacks that changed no word, for the first of `evaluation.scores`."""
    accuracy_interval: Interval | None = None
    """95 % bootstrap interval of `accuracy` over texts; None where it was not computed, as after earlier rounds."""
    after_attack_interval: Interval | None = None
    """95 % bootstrap interval of `after_attack_accuracy` over texts."""
    accuracy_comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """Accuracy compared with that of each model before it, by the other model's name, on the whole split."""
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """After-attack accuracy compared with that of each model before it, on the attacked texts."""
    by_changed_words: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """After-attack accuracy if at most a percentage of a text's words may change: for the first of `evaluation.scores`,
    by its name, exactly; and if there are others, for the worst over all (`worst`), an upper bound below 100 %, because
    they see only texts that the first left right."""
    by_neighbours: Mapping[int, float] = field(default_factory=dict)
    """After-attack accuracy by the maximum number of candidates of a word, for each of `evaluation.neighbours`."""
    validity: Mapping[str, Validity] = field(default_factory=dict)
    """Whether the adversarial texts are still valid: over the `successful` attacks, and over all `changed` texts. Empty
    where it was not measured, as after earlier rounds."""

    macro_f1: float | None = None
    """Mean F1 of the classes, on the whole split, as scikit-learn defines it."""
    by_class: Mapping[str, OfClass] = field(default_factory=dict)
    """Numbers of each class, by its name and in the order of the classes."""
    stand_ins: tuple[str, ...] = ()
    """Resources of the attack that stood in for those of TextAttack, by name."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Maximum numbers of `queries` and `seconds` of the attack on a text; 0: no limit."""

    def metrics(self, split: str) -> dict[str, float | None]:
        """Its numbers on a split, by the names that they are tracked under; those by k are left out."""
        return self.accuracy_metrics(split) | self.consistency_metrics(split)

    def accuracy_metrics(self, split: str) -> dict[str, float | None]:
        """The numbers of the attack."""
        values = asdict(self)
        names = (
            "after_attack_accuracy",
            "after_attack_accuracy_probabilities",
            "attack_success_rate",
            "mean_queries",
            "words_changed",
            "saturated",
            "failed_unchanged",
            "n",
        )
        return {f"{split}/accuracy": self.accuracy} | {f"{split}/{self.attack}/{name}": values[name] for name in names}

    def validity_metrics(self, split: str) -> dict[str, float | None]:
        """Similarity, perplexity and changed words of the adversarial texts."""
        return {
            f"{split}/{self.attack}/validity/{which}/{name}": value
            for which, found in self.validity.items()
            for name, value in asdict(found).items()
        }

    def class_metrics(self, split: str) -> dict[str, float | None]:
        """Macro-F1, and the accuracies of the first `MAX_LOGGED_CLASSES` classes by number and name."""
        found: dict[str, float | None] = {f"{split}/macro_f1": self.macro_f1}
        for number, (name, one) in enumerate(list(self.by_class.items())[:MAX_LOGGED_CLASSES]):
            called = str(number) if name == str(number) else f"{number} {re.sub(INVALID_IN_METRICS, '_', name)[:60]}"
            found[f"{split}/class/{called}/accuracy"] = one.accuracy
            found[f"{split}/{self.attack}/class/{called}/after_attack_accuracy"] = one.after_attack_accuracy
        return found

    def comparison_metrics(self, split: str) -> dict[str, float | None]:
        """Intervals and comparisons."""
        found: dict[str, float | None] = {}
        for under, name, interval, comparisons in (
            (split, "accuracy", self.accuracy_interval, self.accuracy_comparisons),
            (f"{split}/{self.attack}", "after_attack_accuracy", self.after_attack_interval, self.comparisons),
        ):
            if interval is not None:
                found |= {f"{under}/{name}_low": interval.low, f"{under}/{name}_high": interval.high}
            for other, compared in comparisons.items():
                against = f"{under}/{name}_minus_{re.sub(INVALID_IN_METRICS, '_', other)}"
                found |= {against: compared.difference, f"{against}_p": compared.p_value}
                found |= {f"{against}_low": compared.interval.low, f"{against}_high": compared.interval.high}
        return found

    def consistency_metrics(self, split: str) -> dict[str, float | None]:
        """The numbers of the interpretations."""
        found: dict[str, float | None] = {}
        for method, interpretation in self.interpretations.items():
            found |= _interpretation_metrics(interpretation, f"{split}/{self.attack}/{method}")
        return found


def _interpretation_metrics(found: ModelConsistency, under: str) -> dict[str, float | None]:
    """The numbers of one method: kendall_tau and the like are over the common pairs, others have a name before them."""
    parts = {under: found.common, f"{under}/own": found.own}
    parts |= {f"{under}/{outcome}": part for outcome, part in found.common_by_outcome.items()}
    parts |= {f"{under}/own/{outcome}": part for outcome, part in found.own_by_outcome.items()}
    metrics = {f"{name}/{key}": value for name, part in parts.items() for key, value in _numbers(part).items()}
    low, high = found.common_interval or (None, None)
    metrics |= {f"{under}/kendall_tau_low": low, f"{under}/kendall_tau_high": high}
    metrics |= {f"{under}/unchanged/{outcome}": count for outcome, count in found.unchanged.items()}
    if found.all_texts:
        metrics |= {f"{under}/all_texts/{key}": value for key, value in _numbers(found.all_texts).items()}
    return metrics


def _numbers(found: Consistency | AllTexts) -> dict[str, float | None]:
    """Its numbers; of the top-k intersections, the one that is shown."""
    return {name: value for name, value in asdict(found).items() if name != "top_k"} | {TOP_METRIC: found.top}


@dataclass(frozen=True)
class AttackedModel:
    """A model, and what an attack made of the texts that it was asked about."""

    model: ModelArtifact
    attack: str
    """Name of an attack, or `WORST`."""
    shards: Artifact
    """Rows of `flat_dist.data.shards.SCHEMA`."""
    parts: Sequence[AttackPart] = field(default=(), compare=False)
    """The attacks whose worst case the rows are, by attack and in the order of `evaluation.scores`; empty for pairs of
    a user."""
    weaker: Mapping[int, Sequence[AttackPart]] = field(default_factory=dict, compare=False)
    """The same attacks with fewer candidates of a word, by their maximum number."""

    @property
    def model_name(self) -> str:
        """The training kind, or the user's name for the checkpoint."""
        return self.model.model_name

    @property
    def round(self) -> int:
        """Rounds of adversarial training behind the model."""
        return self.model.round


@dataclass(frozen=True)
class PairAttributions:
    """Attributions of original/adversarial pairs."""

    attacked: AttackedModel
    method: AttributionMethod
    pairs: pa.Table
    """Rows of `flat_dist.evaluation.attributions.SCHEMA`, without pairs that could not be explained."""
    folder: Folder
    """Folder of the stage, whose table has all pairs."""
