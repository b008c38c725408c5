"""Training under Ray Train leaves the process as it was; Ray itself is not started here."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from flat_dist.config.schema import Config
from flat_dist.config.serialization import to_dict
from flat_dist.runtime.progress import Display
from flat_dist.storage.folder import Folder
from flat_dist.training import distributed
from flat_dist.training.job import TrainingJob


def test_ray_train_does_not_take_ctrl_c_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Trainer:
        def __init__(self, *arguments: Any, **settings: Any):
            pass

        def fit(self) -> None:
            fitted.append(threading.current_thread())
            if threading.current_thread() is threading.main_thread():  # as Ray Train does
                signal.signal(signal.SIGINT, lambda number, frame: None)

    fitted: list[threading.Thread] = []
    monkeypatch.setattr(distributed, "TorchTrainer", Trainer)
    before = signal.getsignal(signal.SIGINT)
    folder = Folder(tmp_path)
    job = TrainingJob("base-0", "base", to_dict(Config()), folder.uri, folder.uri, (), 1, 0.1)
    with Display(as_json=True) as display, display.stage("train", 1) as bar:
        distributed.train(job, "run", folder / "ray_train", folder / "output", bar)
    assert len(fitted) == 1
    assert signal.getsignal(signal.SIGINT) is before
