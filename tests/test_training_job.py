"""What a worker writes after a training."""

from pathlib import Path

from flat_dist.models import checkpoint as checkpoints
from flat_dist.runtime.timeline import Recorder
from flat_dist.storage.folder import Folder
from flat_dist.training.job import HISTORY, write_best
from tests.test_loop import make_loop, run


def test_a_training_that_resumes_after_its_last_epoch_writes_its_history_again(victim: Folder, tmp_path: Path) -> None:
    loop, state, output = make_loop("base"), Folder(tmp_path / "state"), Folder(tmp_path / "output")
    run(loop, epochs=2)
    loop.save(state)
    resumed = make_loop("base")
    resumed.restore(state)
    write_best(resumed, checkpoints.load(victim), output, Recorder())
    history = output.read_json(HISTORY)
    assert history == loop.state.history and [metrics["epoch"] for metrics in history] == [1, 2]
