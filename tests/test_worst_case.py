"""The worst outcome of each text over several attacks, against brute force; and the numbers that follow."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flat_dist.config.schema import Scores
from flat_dist.data.shards import (
    STATUSES,
    Record,
    Swap,
    read_manifest,
    read_shards,
    to_table,
    write_manifest,
    write_shard,
)
from flat_dist.evaluation.distributed import results
from flat_dist.evaluation.result import AttackedModel
from flat_dist.evaluation.worst_case import ORDER, ORIGINS, AttackPart, merge, worst_case, worst_case_stage
from flat_dist.models.artifact import ModelArtifact
from flat_dist.storage.arrow import read_table
from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import Artifact, Executor

TEXT = "one two three four"


def rows(outcomes: dict[str, tuple[str, int]], probability: float = 0.75) -> pa.Table:
    """Rows of an attack: status, and number of changed words, of each text."""
    records = [
        Record(name, 1, TEXT, TEXT, status, tuple(Swap(at, "old", "new") for at in range(changed)), num_queries=changed)
        for name, (status, changed) in outcomes.items()
    ]
    scores = [None if status == "error" else [1 - probability, probability] for status, _ in outcomes.values()]
    return to_table(records, scores, scores, 0, {})


def outcomes(table: pa.Table) -> dict[str, tuple[str, int]]:
    return {row["example_id"]: (row["status"], len(row["swaps"])) for row in table.to_pylist()}


def test_the_worst_outcome_by_hand() -> None:
    first = rows(
        {"a": ("failed", 0), "b": ("failed", 3), "c": ("successful", 2), "d": ("error", 0), "e": ("skipped", 0)}
    )
    second = rows({"c": ("successful", 1), "a": ("timeout", 1), "d": ("failed", 2)})
    third = rows({"b": ("failed", 1), "c": ("successful", 1), "a": ("successful", 4)})
    found, sources = worst_case([first, second, third])
    assert outcomes(found) == {
        "a": ("successful", 4),
        "b": ("failed", 3),
        "c": ("successful", 1),
        "d": ("failed", 2),
        "e": ("skipped", 0),
    }
    assert sources.tolist() == [2, 0, 1, 1, 0]


def test_the_worst_outcome_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    names = [f"text-{number}" for number in range(60)]
    tables = []
    for part in range(4):
        seen = names if not part else [name for name in names if rng.random() < 0.6]
        tables.append(rows({name: (str(rng.choice(STATUSES)), int(rng.integers(0, 5))) for name in seen}))
    found, sources = worst_case(tables)
    assert found["example_id"].to_pylist() == names
    for row, source in zip(found.to_pylist(), sources, strict=True):
        own = [(number, one) for number, table in enumerate(tables) for one in table.to_pylist()]
        own = [(number, one) for number, one in own if one["example_id"] == row["example_id"]]
        worst = min(ORDER.index(one["status"]) for _, one in own)
        own = [(number, one) for number, one in own if ORDER.index(one["status"]) == worst]
        if row["status"] == "successful":
            fewest = min(len(one["swaps"]) for _, one in own)
            own = [(number, one) for number, one in own if len(one["swaps"]) == fewest]
        assert (source, row) == own[0]


def test_statuses_that_leave_a_text_right_never_hide_one_that_does_not() -> None:
    assert set(ORDER) == set(STATUSES)
    wrong, right = ("skipped", "successful"), ("timeout", "failed")
    assert max(map(ORDER.index, wrong)) < min(map(ORDER.index, right)) < ORDER.index("error")


@pytest.fixture
def model(victim: Folder) -> ModelArtifact:
    return ModelArtifact(victim, "hash", model_name="flat", round=1)


def part(folder: Folder, attack: str, scores: Scores, table: pa.Table) -> AttackPart:
    own = folder / f"{attack}-{scores}"
    identity = {"recipe": attack, "scores": scores, "seed": 5}
    write_manifest(own, [write_shard(own, 0, table)], identity, {})
    return AttackPart(attack, scores, Artifact(own, f"{attack}-{scores}"))


@pytest.fixture
def parts(tmp_path: Path) -> list[AttackPart]:
    """Twelve texts: two wrong, ten right; TextFooler breaks one, with margins four more, PWWS another one."""
    right = {f"r{number}": ("failed", number % 2) for number in range(10)}
    wrong = {"w0": ("skipped", 0), "w1": ("skipped", 0)}
    margin = {name: ("successful" if name in ("r1", "r2", "r3", "r4") else "failed", 2) for name in list(right)[1:]}
    found = {
        ("textfooler", "probabilities"): right | wrong | {"r0": ("successful", 1)},
        ("textfooler", "margin"): margin,
        ("pwws", "probabilities"): right | wrong | {"r1": ("successful", 1), "r9": ("successful", 3)},
        ("pwws", "margin"): {name: outcome for name, outcome in right.items() if name not in ("r1", "r9")},
    }
    return [part(Folder(tmp_path), *name, rows(outcome, 1.0)) for name, outcome in found.items()]  # type: ignore[arg-type]


def test_a_stage_merges_attacks_and_says_where_each_row_is_from(
    model: ModelArtifact, parts: list[AttackPart], tmp_path: Path
) -> None:
    executor = Executor(Folder(tmp_path / "storage"))
    artifact = executor.run(worst_case_stage(model, "worst", parts))
    assert read_shards(artifact.folder).equals(merge(parts))
    manifest = read_manifest(artifact.folder)
    assert manifest is not None
    assert manifest["counts"] == {"successful": 6, "failed": 4, "skipped": 2}
    assert manifest["identity"]["recipe"] == "worst"
    assert manifest["identity"]["seed"] == 5
    assert "scores" not in manifest["identity"]
    origins = {row.pop("example_id"): tuple(row.values()) for row in read_table(artifact.folder, ORIGINS).to_pylist()}
    assert origins["r0"] == ("textfooler", "probabilities")
    assert origins["r1"] == ("pwws", "probabilities")  # which changed one word, TextFooler two
    assert origins["r2"] == ("textfooler", "margin")
    assert origins["r9"] == ("pwws", "probabilities")
    assert executor.run(worst_case_stage(model, "worst", parts)).fingerprint == artifact.fingerprint
    other = worst_case_stage(model, "worst", parts[:3])
    assert other.folder(executor.storage).uri != artifact.folder.uri


def attacked(model: ModelArtifact, attack: str, parts: list[AttackPart], storage: Path) -> AttackedModel:
    shards = Executor(Folder(storage)).run(worst_case_stage(model, attack, parts))
    return AttackedModel(model, attack, shards, parts)


def test_numbers_of_the_worst_case_by_hand(model: ModelArtifact, parts: list[AttackPart], tmp_path: Path) -> None:
    predictions = [("textfooler", parts[:2]), ("pwws", parts[2:]), ("worst", parts)]
    models = [attacked(model, name, own, tmp_path / "storage") for name, own in predictions]
    textfooler, pwws, worst = results(models, {}, "textfooler")
    # All 12 texts have the same prediction, but also the same label: that is no collapsed model.
    assert [row.after_attack_accuracy for row in (textfooler, pwws, worst)] == [5 / 12, 8 / 12, 4 / 12]
    assert [row.after_attack_accuracy_probabilities for row in (textfooler, pwws, worst)] == [9 / 12, 8 / 12, 7 / 12]
    assert [row.saturated for row in (textfooler, pwws, worst)] == [1, 1, 1]
    # TextFooler with probabilities: r1 to r9 failed, the even ones without a change. PWWS: r0 and r2 to r8.
    assert [row.failed_unchanged for row in (textfooler, pwws, worst)] == [4 / 9, 5 / 8, 4 / 7]
    assert [row.trained_on for row in (textfooler, pwws, worst)] == [True, False, None]
    assert [row.n for row in (textfooler, pwws, worst)] == [12, 12, 12]


def test_an_adaptive_form_of_the_attack_in_training_is_not_unseen(
    model: ModelArtifact, parts: list[AttackPart], tmp_path: Path
) -> None:
    names = ["textfooler", "textfooler-gradient", "pwws-gradient"]
    found = results([attacked(model, name, parts[:2], tmp_path) for name in names], {}, "textfooler")
    assert [row.trained_on for row in found] == [True, None, False]


def test_a_collapsed_model_has_no_after_attack_accuracy(model: ModelArtifact, tmp_path: Path) -> None:
    table = rows({f"{number}": ("failed", 0) for number in range(12)})
    label = table.schema.field("label")
    both = table.set_column(table.column_names.index("label"), label, pa.chunked_array([[0, 1] * 6], label.type))
    (found,) = results([AttackedModel(model, "pwws", part(Folder(tmp_path), "pwws", "margin", both).shards)], {}, None)
    assert (found.after_attack_accuracy, found.attack_success_rate) == (None, None)
    assert found.accuracy == 1.0  # as the rows say, which no attack skipped
    assert "test/pwws/after_attack_accuracy" in found.metrics("test")
