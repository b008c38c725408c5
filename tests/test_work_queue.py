import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.work_queue import ATTEMPTS, AttackStage, Chunk, WorkQueue
from flat_dist.config.errors import UserError
from flat_dist.data import shards
from flat_dist.data.shards import Record
from flat_dist.storage.folder import Folder


def units(sizes: list[int]) -> list[Chunk]:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [
        Chunk(0, number, start, start + size) for number, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


@given(
    sizes=st.lists(st.integers(1, 300), max_size=8),
    poison=st.sets(st.integers(0, 400), max_size=4),
    workers=st.integers(1, 9),
    smallest=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_every_example_is_done_once_and_only_those_that_kill_are_given_up(
    sizes: list[int], poison: set[int], workers: int, smallest: int, seed: int
) -> None:
    """Workers that take chunks and end in any order, and die of some examples; and some chunks are lost with a node."""
    work, done, given_up, random_ = WorkQueue(units(sizes), [smallest]), [], [], random.Random(seed)
    flying: list[Chunk] = []
    preempted = 5
    while work or flying:
        while work and len(flying) < workers:
            flying.append(work.take(workers))
        chunk = flying.pop(random_.randrange(len(flying)))
        rows = range(chunk.start, chunk.stop)
        if preempted and random_.random() < 0.2:
            preempted -= 1
            work.requeue(chunk)
        elif not poison.isdisjoint(rows):
            if work.record_crash(chunk):
                given_up += rows
        else:
            done += rows
        assert work.examples == sum(sizes) - len(done) - len(given_up) - sum(map(len, flying))
    assert sorted(done) == [row for row in range(sum(sizes)) if row not in poison]
    assert sorted(given_up) == [row for row in range(sum(sizes)) if row in poison]


def test_a_killer_among_256_costs_four_workers() -> None:
    work, deaths = WorkQueue(units([256]), [256]), 0
    while work:
        chunk = work.take(1)
        if 77 in range(chunk.start, chunk.stop):
            deaths += 1
            assert len(chunk) == [256, 16, 1, 1][deaths - 1]
            assert work.record_crash(chunk) == (deaths == 4)
    assert deaths == 2 + ATTEMPTS


def test_a_suspect_is_tried_again_when_all_else_is_done() -> None:
    work = WorkQueue(units([1, 1, 1]), [1])
    suspect = work.take(1)
    work.record_crash(suspect)
    assert [work.take(1).unit for _ in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_no_piece_is_more_than_a_workers_share_of_what_is_left(workers: int) -> None:
    work, taken = WorkQueue(units([256] * 8), [16]), []
    while work:
        left = work.examples
        taken.append(len(work.take(workers)))
        assert taken[-1] < max(16, -(-left // workers)) + 16
        assert work.chunks <= left
    assert taken[0] == min(256, -(-2048 // workers))
    assert workers == 1 or taken[-1] < 32


def stage(folder: Folder, texts: list[str], unit_size: int = 3) -> AttackStage:
    job = AttackJob("pwws", "victim", "counterfit", folder.uri, 1, 3, "cpu", {}, unit_size, {})
    rows = {"example_id": [str(number) for number in range(len(texts))], "text": texts, "label": [0] * len(texts)}
    return AttackStage("pwws", job, pa.table(rows))


def write(folder: Folder, unit: int, ids: list[str], status: str = "failed") -> shards.ShardInfo:
    records = [Record(example_id, 0, "a b", "a b", status) for example_id in ids]
    return shards.write_shard(folder, unit, shards.to_table(records, [None] * len(ids), [None] * len(ids), 1, {}))


def test_units_come_heaviest_first_and_those_that_are_written_not_at_all(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    texts = ["a"] * 3 + ["a b"] * 3 + ["a", "a", "a b c d e"] + ["a"]
    opened = stage(folder, texts).open(5)
    assert [(chunk.stage, chunk.unit, chunk.start, chunk.stop) for chunk in opened] == [
        (5, 2, 6, 9),  # 1 + 1 + 25
        (5, 1, 3, 6),  # 4 + 4 + 4
        (5, 0, 0, 3),
        (5, 3, 9, 10),
    ]
    write(folder, 1, ["3", "4", "5"])
    again = stage(folder, texts)
    assert [chunk.unit for chunk in again.open(0)] == [2, 0, 3]
    assert (again.total, dict(again.counts)) == (4, {"failed": 3})


def test_a_unit_in_pieces_is_put_together_in_order(tmp_path: Path) -> None:
    made = stage(Folder(tmp_path), ["a"] * 7)
    made.open(0)
    records = [Record(str(number), 0, "a", "a", "failed") for number in range(7)]
    assert made.is_whole(Chunk(0, 1, 3, 6))
    assert not made.is_whole(Chunk(0, 1, 3, 5))
    assert made.is_whole(Chunk(0, 2, 6, 7))
    assert made.keep_part(Chunk(0, 1, 5, 6), records[5:6]) is None
    assert made.keep_part(Chunk(0, 1, 3, 5), records[3:5]) == records[3:6]


def test_the_manifest_is_written_with_the_last_shard_and_trusted_while_all_are_whole(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    made = stage(folder, ["a"] * 5)
    made.open(0)
    made.keep(1, write(folder, 1, ["3", "4"]))
    assert made.manifest() is None
    info = write(folder, 0, ["0", "1", "2"], "error")
    made.keep(0, info)
    manifest = made.manifest()
    assert manifest is not None
    assert manifest["counts"] == {"failed": 2, "error": 3}
    (tmp_path / info.name).unlink()
    assert made.manifest() is None
    assert [chunk.unit for chunk in stage(folder, ["a"] * 5).open(0)] == [0]


def test_more_failures_than_allowed_end_the_run(tmp_path: Path) -> None:
    made = stage(Folder(tmp_path), ["a"] * 5)
    made.check_failures(1, 0.2)
    with pytest.raises(UserError, match=r"2 of 5 examples could not be attacked.*--attack.max_failures 0.2"):
        made.check_failures(2, 0.2)
