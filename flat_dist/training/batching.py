"""Which examples make up each optimiser step of an epoch."""

import functools
import itertools

import numpy as np

from flat_dist.config.schema import Config

Step = tuple[np.ndarray, np.ndarray]
"""Indices of a step's clean and adversarial examples; either may be empty."""


def plan_epoch(clean_N: np.ndarray, adversarial_M: np.ndarray, config: Config, seed: int) -> list[Step]:
    """Steps of one epoch: every clean example once.

    With `balanced` weighting, each step has as many adversarial examples as clean ones, which are shuffled again when
    all are used. With `union`, both are shuffled together and each appears once (released code).

    Args:
        clean_N, adversarial_M: lengths of the clean and of the adversarial texts.
        config: weighting, batch size, and how many batches are sorted by length together.
        seed: of the random order.
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
