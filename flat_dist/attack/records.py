"""Attacks examples and turns the results into rows of a shard, without Ray."""

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from textattack import Attack
from textattack.attack_results import AttackResult, FailedAttackResult, SkippedAttackResult
from textattack.search_methods import PopulationBasedSearch
from textattack.shared import AttackedText
from textattack.shared.validators import transformation_consists_of_word_swaps

from flat_dist.attack.engine.engine import Engine
from flat_dist.attack.engine.query import LimitError
from flat_dist.attack.engine.tokenized_text import UnusualTextError
from flat_dist.attack.limits import Limits
from flat_dist.attack.text_input import attacked_text, fix_first_sentence, text_of
from flat_dist.data.alignment import find_swaps
from flat_dist.data.sentence_pairs import attacked, is_pair
from flat_dist.data.shards import Example, Record, to_table
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.runtime.seeds import derive_seed


def attack_examples(engine: Engine, stock: Attack, examples: Sequence[Example], seed: int) -> list[Record]:
    """Attack examples; an example that fails becomes a row with status error.

    Texts that the engine cannot split into words are attacked by `stock`, the same attack in TextAttack.
    """
    records = {}
    seeded = ((example.text, example.label, derive_seed(seed, example.example_id)) for example in examples)
    for number, search, error in engine.attack(seeded):
        example = examples[number]
        if isinstance(error, UnusualTextError):
            records[number] = attack_with_textattack(stock, example, seed, engine.limits)
        elif error is not None or search is None:
            records[number] = _failure(example, error)
        else:
            outcome = search.status, search.current.text, search.num_queries
            records[number] = _record(example, *outcome, search.replaces_only)
    return [records[number] for number in range(len(examples))]


def attack_with_textattack(attack: Attack, example: Example, seed: int, limits: Limits) -> Record:
    """Attack one example with TextAttack itself, within the limits.

    The random state depends on the run's seed and the example's id only.
    """
    seed_example(seed, example)
    start = attacked_text(example.text)
    if is_pair(example.text):
        fix_first_sentence(attack)
    best, best_score = start, -math.inf
    population = isinstance(attack.search_method, PopulationBasedSearch)
    deadline = time.monotonic() + (limits.max_seconds or math.inf)

    def get_transformations(current: AttackedText, **settings: Any) -> list[AttackedText]:
        # A greedy search calls this with its best text so far.
        nonlocal best
        best = best if population else current
        if time.monotonic() > deadline:
            raise LimitError
        return attack.get_transformations(current, **settings)

    def get_goal_results(texts: list[AttackedText], **settings: Any) -> Any:
        nonlocal best, best_score
        if time.monotonic() > deadline:
            raise LimitError
        results, search_over = attack.goal_function.get_results(texts, **settings)
        for result in results if population else ():
            if result.score > best_score:
                best, best_score = result.attacked_text, result.score
        return results, search_over

    attack.search_method.get_transformations = get_transformations
    attack.search_method.get_goal_results = get_goal_results
    max_queries = limits.queries(len(best.words))
    attack.goal_function.query_budget = max_queries or math.inf
    try:
        result = attack.attack(start, example.label)
    except LimitError:
        return _record(example, "timeout", text_of(best), attack.goal_function.num_queries, _replaces_only(attack))
    except Exception as error:  # a shard has a row for every example
        return _failure(example, error)
    finally:
        attack.clear_cache()
    return _from_textattack(example, result, max_queries, _replaces_only(attack))


def _replaces_only(attack: Attack) -> bool:
    """Whether the attack keeps the number of words."""
    return bool(transformation_consists_of_word_swaps(attack.transformation))


def _from_textattack(example: Example, result: AttackResult, max_queries: int, replaces_only: bool) -> Record:
    if isinstance(result, SkippedAttackResult):
        return _record(example, "skipped", example.text, result.num_queries)
    failed, exhausted = isinstance(result, FailedAttackResult), result.num_queries == max_queries
    status = "successful" if not failed else "timeout" if exhausted else "failed"
    perturbed = text_of(result.perturbed_result.attacked_text)
    return _record(example, status, perturbed, result.num_queries, replaces_only)


def _record(example: Example, status: str, perturbed: str, num_queries: int, replaces_only: bool = True) -> Record:
    changed = perturbed != example.text
    swaps = find_swaps(attacked(example.text), attacked(perturbed), replaces_only) if changed else ()
    return Record(example.example_id, example.label, example.text, perturbed, status, swaps, num_queries)


def _failure(example: Example, error: Exception | None) -> Record:
    cause = f"{type(error).__name__}: {error}"
    return Record(example.example_id, example.label, example.text, example.text, "error", error=cause)


def seed_example(seed: int, example: Example) -> None:
    """Seed all global generators with the seed of an example, for TextAttack; the engine draws from its own."""
    own = derive_seed(seed, example.example_id)
    random.seed(own)
    np.random.seed(own % 2**32)
    torch.manual_seed(own)


def to_rows(records: Sequence[Record], victim: Checkpoint, round_number: int, metadata: Mapping[str, Any]) -> pa.Table:
    """A shard's table: all texts are predicted again in one batch, and that prediction decides success.

    The attack's own result is not trusted. On a GPU, one fixed batch makes the scores independent of the batches of the
    attacks. Examples that could not be attacked have no scores: predicting them may fail again.
    """
    attacked = [number for number, record in enumerate(records) if record.status != "error"]
    scores: dict[str, list[list[float] | None]] = {}
    for name in ("original_text", "perturbed_text"):
        texts = [getattr(records[number], name) for number in attacked]
        probabilities = victim.probabilities(texts, batch_size=max(len(texts), 1)).tolist()
        by_number = dict(zip(attacked, probabilities, strict=True))
        scores[name] = [by_number.get(number) for number in range(len(records))]
    decided = [_decide_success(*pair) for pair in zip(records, scores["perturbed_text"], strict=True)]
    return to_table(decided, scores["original_text"], scores["perturbed_text"], round_number, metadata)


def _decide_success(record: Record, perturbed_scores: Sequence[float] | None) -> Record:
    if perturbed_scores is None or record.status == "skipped":
        return record
    if int(np.argmax(perturbed_scores)) != record.label:
        return replace(record, status="successful")
    return replace(record, status="failed") if record.status == "successful" else record
