"""Units, shards and the manifest of an attack stage. No Ray is started."""

from pathlib import Path

import pyarrow as pa
import pytest

from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.stage import AttackStage
from flat_dist.config.errors import UserError
from flat_dist.data import shards
from flat_dist.data.shards import Record
from flat_dist.scheduling.work_queue import Chunk
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Output


def stage(folder: Folder, texts: list[str], unit_size: int = 3) -> AttackStage:
    job = AttackJob("pwws", "victim", "counterfit", folder.uri, 1, 3, "cpu", {}, unit_size, {})
    rows = {"example_id": [str(number) for number in range(len(texts))], "text": texts, "label": [0] * len(texts)}
    return AttackStage("pwws", job, pa.table(rows))


def write(folder: Folder, unit: int, ids: list[str], status: str = "failed") -> shards.ShardInfo:
    records = [Record(example_id, 0, "a b", "a b", status) for example_id in ids]
    return shards.write_shard(folder, unit, shards.to_table(records, [None] * len(ids), [None] * len(ids), 1, {}))


def test_missing_units_are_returned_the_most_expensive_first(tmp_path: Path) -> None:
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


def test_results_of_a_split_unit_are_joined_in_order(tmp_path: Path) -> None:
    made = stage(Folder(tmp_path), ["a"] * 7)
    made.open(0)
    records = [Record(str(number), 0, "a", "a", "failed") for number in range(7)]
    assert made.is_unit(Chunk(0, 1, 3, 6))
    assert not made.is_unit(Chunk(0, 1, 3, 5))
    assert made.is_unit(Chunk(0, 2, 6, 7))
    assert made.keep_chunk(Chunk(0, 1, 5, 6), records[5:6]) is None
    assert made.keep_chunk(Chunk(0, 1, 3, 5), records[3:5]) == records[3:6]


def test_the_manifest_is_written_after_the_last_shard_and_committed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    committed: list[Output] = []
    made = stage(folder, ["a"] * 5)
    made.commit = committed.append
    made.open(0)
    made.keep_unit(1, write(folder, 1, ["3", "4"]))
    assert shards.read_manifest(folder) is None and committed == []
    info = write(folder, 0, ["0", "1", "2"], "error")
    made.keep_unit(0, info)
    manifest = shards.read_manifest(folder)
    assert manifest is not None
    assert manifest["counts"] == {"failed": 2, "error": 3}
    assert [sorted(output.files) for output in committed] == [sorted(each["name"] for each in manifest["shards"])]
    (tmp_path / info.name).unlink()
    assert [chunk.unit for chunk in stage(folder, ["a"] * 5).open(0)] == [0]


def test_more_failures_than_allowed_end_the_run(tmp_path: Path) -> None:
    made = stage(Folder(tmp_path), ["a"] * 5)
    made.check_failures(1, 0.2)
    with pytest.raises(UserError, match=r"2 of 5 examples could not be attacked.*--attack.max-failures 0.2"):
        made.check_failures(2, 0.2)
