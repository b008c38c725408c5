"""Which examples make up each optimiser step of an epoch."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from flat_dist.config.schema import Config


class Step(NamedTuple):
    """Indices of a step's examples; any may be empty."""

    clean: np.ndarray
    attacked: np.ndarray
    """Of the attacked examples."""
    twins: np.ndarray
    """Of clean examples whose adversarial twins are made on the fly."""


NOTHING = np.empty(0, dtype=np.int64)


def plan_epoch(
    clean_N: np.ndarray, attacked_M: np.ndarray, config: Config, seed: int, twins: float = 0.0
) -> list[Step]:
    """Steps of one epoch: every clean example once.

    With `balanced` weighting, each step has as many adversarial examples as clean ones: twins of a share of its clean
    examples, and attacked examples, which are shuffled again when all are used. With `union`, clean examples, attacked
    ones and the twins of all clean ones are shuffled together and each appears once (released code).

    Args:
        clean_N, attacked_M: lengths of the clean and of the attacked texts.
        config: weighting, batch size, and how many batches are sorted by length together.
        seed: of the random order.
        twins: share of the adversarial examples that are twins made on the fly.
    """
    generator = np.random.default_rng(seed)
    size, clean = config.training.batch_size, len(clean_N)
    order = functools.partial(_order, size=size, buckets=config.training.buckets, generator=generator)
    if config.objective.weighting == "union":
        ends = np.cumsum([clean, len(attacked_M)])
        together = order(np.concatenate([clean_N, attacked_M, clean_N if twins else NOTHING]))
        batches = [together[start : start + size] for start in range(0, len(together), size)]
        return [
            Step(
                batch[batch < ends[0]],
                batch[(batch >= ends[0]) & (batch < ends[1])] - ends[0],
                batch[batch >= ends[1]] - ends[1],
            )
            for batch in batches
        ]
    clean_order = order(clean_N)
    batches = [clean_order[start : start + size] for start in range(0, clean, size)]
    stream = itertools.chain.from_iterable(order(attacked_M) for _ in itertools.count())
    steps = []
    for batch in batches:
        of_batch = _draw(batch, twins, generator)
        wanted = min(len(batch) - len(of_batch), len(attacked_M))
        steps.append(Step(batch, np.fromiter(itertools.islice(stream, wanted), int), of_batch))
    return steps


def _draw(batch: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A random share of a batch."""
    count = round(share * len(batch))
    if count in (0, len(batch)):
        return batch[:count]
    return batch[np.sort(generator.permutation(len(batch))[:count])]


def _order(lengths_N: np.ndarray, size: int, buckets: int, generator: np.random.Generator) -> np.ndarray:
    """A random order in which batches hold texts of similar length: `buckets` batches at a time are sorted by it."""
    order = generator.permutation(len(lengths_N))
    if buckets == 1:
        return order
    batches = []
    for start in range(0, len(order), size * buckets):
        drawn = order[start : start + size * buckets]
        by_length = drawn[np.argsort(lengths_N[drawn], kind="stable")]
        whole = len(by_length) // size * size  # an incomplete batch stays last
        batches += [*generator.permutation(by_length[:whole].reshape(-1, size)), by_length[whole:]]
    return np.concatenate(batches)
