"""How chunks are handed out, requeued and split."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_dist.scheduling.work_queue import ATTEMPTS, Chunk, WorkQueue


def units(sizes: list[int]) -> list[Chunk]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [
        Chunk(0, number, start, start + size) for number, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


@given(
    sizes=st.lists(st.integers(1, 300), max_size=8),
    failing=st.sets(st.integers(0, 400), max_size=4),
    workers=st.integers(1, 9),
    smallest=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_every_example_is_processed_once_and_only_failing_examples_are_isolated(
    sizes: list[int], failing: set[int], workers: int, smallest: int, seed: int
) -> None:
    """Workers finish in any order and crash on some examples; some chunks are lost with a node."""
    queue, done, isolated, random_ = WorkQueue(units(sizes), [smallest]), [], [], random.Random(seed)
    in_flight: list[Chunk] = []
    lost_nodes = 5
    while queue or in_flight:
        while queue and len(in_flight) < workers:
            in_flight.append(queue.take(workers))
        chunk = in_flight.pop(random_.randrange(len(in_flight)))
        rows = range(chunk.start, chunk.stop)
        if lost_nodes and random_.random() < 0.2:
            lost_nodes -= 1
            queue.requeue(chunk)
        elif not failing.isdisjoint(rows):
            if queue.record_crash(chunk):
                isolated += rows
        else:
            done += rows
        assert queue.examples == sum(sizes) - len(done) - len(isolated) - sum(map(len, in_flight))
    assert sorted(done) == [row for row in range(sum(sizes)) if row not in failing]
    assert sorted(isolated) == [row for row in range(sum(sizes)) if row in failing]


def test_a_failing_example_among_256_crashes_four_workers() -> None:
    queue, crashes = WorkQueue(units([256]), [256]), 0
    while queue:
        chunk = queue.take(1)
        if 77 in range(chunk.start, chunk.stop):
            crashes += 1
            assert len(chunk) == [256, 16, 1, 1][crashes - 1]
            assert queue.record_crash(chunk) == (crashes == 4)
    assert crashes == 2 + ATTEMPTS


def test_a_suspect_is_tried_again_after_all_other_work() -> None:
    queue = WorkQueue(units([1, 1, 1]), [1])
    suspect = queue.take(1)
    queue.record_crash(suspect)
    assert [queue.take(1).unit for _ in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_chunk_is_at_most_a_workers_share_of_what_waits(workers: int) -> None:
    queue, taken = WorkQueue(units([256] * 8), [16]), []
    while queue:
        left = queue.examples
        taken.append(len(queue.take(workers)))
        assert taken[-1] < max(16, -(-left // workers)) + 16
        assert queue.chunks <= left
    assert taken[0] == min(256, -(-2048 // workers))
    assert workers == 1 or taken[-1] < 32
