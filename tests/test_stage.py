"""Typed stages and their executor. What becomes of damaged folders is tested in test_damage.py."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flat_dist.storage.folder import Folder
from flat_dist.storage.stage import MARKER, Artifact, Executor, OpenStage, Output, Stage, read_marker

Fill = Callable[[Folder], Output]


@pytest.fixture
def filled() -> list[str]:
    """Names of the stages that were filled, in order."""
    return []


@pytest.fixture
def executor(tmp_path: Path) -> Executor:
    return Executor(Folder(tmp_path), lambda line: None)


def make(filled: list[str], name: str = "a", log: Callable[[Artifact], None] = lambda artifact: None, **inputs: object):
    def fill(folder: Folder) -> Output:
        filled.append(name)
        folder.write("result", name.encode())
        folder.write("seconds", str(len(filled)).encode())
        return Output(["result"], records=["seconds"], notes={"order": len(filled)})

    return Stage(name=name, title=f"make {name}", inputs=inputs, fill=fill, log=log)


def test_a_stage_runs_once_and_its_folder_is_named_by_its_inputs(executor: Executor, filled: list[str]) -> None:
    first = executor.run(make(filled, seed=1, of=["x", "y"]))
    assert executor.run(make(filled, of=("x", "y"), seed=1)) == first  # in another order, and as a tuple
    assert filled == ["a"] and first.notes == {"order": 1}
    other = executor.run(make(filled, seed=2, of=["x", "y"]))
    assert filled == ["a", "a"] and other.folder != first.folder
    assert other.fingerprint == first.fingerprint  # of equal content; the seconds are only a record
    assert {first.folder.name[:2], other.folder.name[:2]} == {"a-"}


def test_a_folder_without_its_marker_is_filled_again(executor: Executor, filled: list[str]) -> None:
    artifact = executor.run(make(filled, seed=1))
    artifact.folder.delete(MARKER)
    assert executor.run(make(filled, seed=1)) == artifact
    assert filled == ["a", "a"]


def test_a_fill_that_fails_leaves_no_marker_and_frees_the_lock(executor: Executor, filled: list[str]) -> None:
    def fill(folder: Folder) -> Output:
        folder.write("part", b"1")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        executor.run(Stage(name="a", title="a", inputs={"seed": 1}, fill=fill))
    artifact = executor.run(make(filled, seed=1))
    assert filled == ["a"] and artifact.folder.exists("part")  # what an interrupted fill left is there for the next


def test_a_result_is_logged_each_time_that_it_is_asked_for(executor: Executor, filled: list[str]) -> None:
    logged: list[Artifact] = []
    for _ in range(2):
        executor.run(make(filled, log=logged.append, seed=1))
    assert len(filled) == 1 and len(logged) == 2 and logged[0] == logged[1]


def test_equal_stages_are_filled_once_together_and_each_is_logged(executor: Executor, filled: list[str]) -> None:
    logged: list[str] = []
    stages = [
        make(filled, "a", lambda artifact: logged.append("first"), seed=1),
        make(filled, "b", lambda artifact: logged.append("second"), seed=1),
        make(filled, "a", lambda artifact: logged.append("third"), seed=1),
    ]
    executor.run(stages[1])

    def fill(opened: Sequence[OpenStage[Stage]]) -> None:
        assert [each.stage for each in opened] == [stages[0]]
        opened[0].fill()

    first, second, third = executor.run_all(stages, fill)
    assert first == third != second and filled == ["b", "a"]
    assert logged == ["second", "first", "second", "third"]


def test_a_stage_that_its_fill_left_uncommitted_is_an_error(executor: Executor, filled: list[str]) -> None:
    with pytest.raises(RuntimeError, match=r"make a: .* is not complete"):
        executor.run_all([make(filled, seed=1)], lambda opened: None)


def test_what_only_an_interrupted_stage_needs_is_removed_after_the_commit(executor: Executor) -> None:
    seen: list[bool] = []

    def fill(folder: Folder) -> Output:
        folder.write("result", b"1")
        return Output(["result"], after_commit=lambda: seen.append(folder.exists(MARKER)))

    executor.run(Stage(name="a", title="a", inputs={}, fill=fill))
    assert seen == [True]


def test_two_drivers_fill_a_stage_once(tmp_path: Path, filled: list[str]) -> None:
    begun, waiting = threading.Event(), threading.Event()

    def fill(folder: Folder) -> Output:
        filled.append("a")
        begun.set()
        assert waiting.wait(60)  # until the other driver is at the lock
        folder.write("result", b"1")
        return Output(["result"])

    def log_line(line: str) -> None:
        assert "make a: waiting for" in line
        waiting.set()

    stage = Stage(name="a", title="make a", inputs={"seed": 1}, fill=fill)
    found: list[Artifact] = []
    first = threading.Thread(target=lambda: found.append(Executor(Folder(tmp_path), log_line).run(stage)))
    first.start()
    assert begun.wait(60)
    found.append(Executor(Folder(tmp_path), log_line).run(stage))
    first.join()
    assert filled == ["a"] and found[0] == found[1]


def test_a_marker_holds_inputs_hashes_and_notes(executor: Executor, filled: list[str]) -> None:
    artifact = executor.run(make(filled, seed=1))
    marker = read_marker(artifact.folder)
    assert marker.inputs == {"seed": 1} and marker.notes == {"order": 1}
    assert marker.files == {"result": artifact.folder.sha256("result")}
    assert marker.records == {"seconds": artifact.folder.sha256("seconds")}
