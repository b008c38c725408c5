from pathlib import Path

import pyarrow as pa
import pytest

from flat_dist.config.errors import UserError
from flat_dist.data import shards
from flat_dist.data.shards import Record, ShardInfo, Swap
from flat_dist.storage.folder import Folder

METADATA = {"recipe": "textfooler", "seed": 7}


def make_records(unit: int) -> list[Record]:
    return [
        Record(f"train-{unit}0", 1, "a good film", "a fine film", "successful", (Swap(1, "good", "fine"),), 12),
        Record(f"train-{unit}1", 0, "bad", "bad", "error", error="ValueError: no"),
    ]


def make_table(unit: int) -> pa.Table:
    return shards.to_table(make_records(unit), [[0.25, 0.75], [1.0, 0.0]], [[0.75, 0.25], [1.0, 0.0]], 3, METADATA)


def make_stage(folder: Folder) -> list[ShardInfo]:
    infos = [shards.write_shard(folder, unit, make_table(unit)) for unit in (0, 1)]
    shards.write_manifest(folder, infos, METADATA, {"seconds": 1.0})
    return infos


def test_a_table_has_the_schema_and_its_metadata() -> None:
    table = make_table(0)
    assert table.schema.names == shards.SCHEMA.names
    assert table.schema.equals(shards.SCHEMA)
    assert table.schema.metadata == {
        b"format": b"flat_dist.shard/1",
        b"recipe": b'"textfooler"',
        b"seed": b"7",
    }
    assert table.to_pylist()[0] == {
        "example_id": "train-00",
        "round": 3,
        "label": 1,
        "original_text": "a good film",
        "perturbed_text": "a fine film",
        "status": "successful",
        "original_scores": [0.25, 0.75],
        "perturbed_scores": [0.75, 0.25],
        "swaps": [{"index": 1, "original": "good", "substitute": "fine"}],
        "num_queries": 12,
        "error": None,
    }


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    names = [shards.write_shard(Folder(tmp_path / name), 4, make_table(0)) for name in ("a", "b")]
    assert names[0] == names[1]
    assert names[0].name.startswith("000004-")
    assert (tmp_path / "a" / names[0].name).read_bytes() == (tmp_path / "b" / names[0].name).read_bytes()


def test_a_finished_stage_is_read_in_the_order_of_its_units(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    make_stage(folder)
    manifest = shards.read_manifest(folder)
    assert manifest is not None
    assert (manifest["rows"], manifest["counts"]) == (4, {"successful": 2, "error": 2})
    assert manifest["identity"] == METADATA
    assert shards.read_shards(folder)["example_id"].to_pylist() == ["train-00", "train-01", "train-10", "train-11"]


def test_readers_use_only_the_shards_in_the_manifest(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    shards.write_shard(folder, 0, make_table(0))
    assert shards.read_manifest(folder) is None
    with pytest.raises(UserError, match="has not finished"):
        shards.read_shards(folder)


@pytest.mark.parametrize("damage", ["truncated", "one byte", "missing"])
def test_damage_to_a_committed_shard_is_found(damage: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    path = tmp_path / make_stage(folder)[1].name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if damage == "truncated" else data[:99] + bytes([data[99] ^ 1]) + data[100:])
    with pytest.raises(UserError, match=r"(missing from .*|damaged.*)run again the command that wrote it"):
        shards.read_shards(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_manifest_is_none(content: bytes, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    make_stage(folder)
    folder.write(shards.MANIFEST, content)
    assert shards.read_manifest(folder) is None


def test_after_an_interruption_only_valid_shards_of_the_same_plan_are_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    good = shards.write_shard(folder, 0, make_table(0))
    other_plan = shards.write_shard(folder, 1, make_table(1))
    damaged = shards.write_shard(folder, 2, make_table(2))
    path = tmp_path / damaged.name
    path.write_bytes(path.read_bytes()[:-1])
    folder.write("not-a-shard.arrow", b"")
    plan = [["train-00", "train-01"], ["somebody", "else"], ["train-20", "train-21"]]
    assert dict(shards.finished_units(folder, plan.__getitem__, len(plan))) == {0: good}
    assert folder.names() == [good.name]
    assert other_plan.name not in folder.names()


def test_a_stage_without_examples_is_empty(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    shards.write_manifest(folder, [], METADATA, {})
    assert shards.read_shards(folder).num_rows == 0
    assert shards.to_table([], [], [], 0, METADATA).num_rows == 0
