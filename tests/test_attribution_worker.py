"""How many workers explain pairs. No Ray is started."""

from dataclasses import replace

import pytest

from flat_dist.config.schema import Config
from flat_dist.evaluation.attribution_worker import attribution_workers
from flat_dist.runtime import capacity

TOTAL = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("device", "workers", "resources", "fixed", "growing"),
    [
        ("cpu", 0, {"CPU": 1.0}, 16, 16),
        ("cpu", 1, {"CPU": 1.0}, 16, 16),  # fewer attack workers do not slow explanations down
        ("cpu", 200, {"CPU": 1.0}, 16, 32),  # 16 have started, and as many more may wait for nodes
        ("cuda", 0, {"CPU": 1.0, "GPU": 1.0}, 2, 2),  # each has a GPU for itself
    ],
)
def test_the_number_of_workers(
    device: str, workers: int, resources: dict[str, float], fixed: int, growing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "total", lambda: dict(TOTAL))
    plain = Config()
    config = replace(
        plain,
        training=replace(plain.training, device=device),  # type: ignore[arg-type]
        attack=replace(plain.attack, workers=workers),
    )
    group = attribution_workers(config)
    assert (group.device, group.resources) == (device, resources)
    assert group.limit(TOTAL, grows=False, started=16) == fixed
    assert group.limit(TOTAL, grows=True, started=16) == growing
