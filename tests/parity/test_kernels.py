"""One machine in the place of several: libraries are told to use the kernels of other processors.

`DNNL`, MKL, ATen and NumPy read these variables when they start, hence a process for each. On a processor that lacks
what a variable asks for, the libraries use less, and the test still holds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from flat_dist.data.datasets import Dataset
from flat_dist.models import checkpoint as checkpoints
from flat_dist.storage.folder import Folder
from tests.conftest import train_victim
from tests.parity.conftest import train_output_layer

ROOT = Path(__file__).parents[2]

NO_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR"
KERNELS = {
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": NO_AVX512,
    },
    "sse": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": f"X86_V3 {NO_AVX512}",
    },
}


@pytest.fixture(scope="module")
def victims(sentences: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Models of the usual size, with and without a mask."""
    folder = Folder(tmp_path_factory.mktemp("victims"))
    masked = train_victim(sentences)
    checkpoints.add_mask(masked.model, masked.config)
    made = {
        "cnn": train_victim(sentences),
        "masked": masked,
        "lstm": train_victim(sentences, name="lstm"),
        "minilm": train_output_layer(sentences),
    }
    for name, checkpoint in made.items():
        checkpoints.save(checkpoint, folder / name)
    return [(folder / name).uri for name in made]


def run(kernels: str, words: int, transformer: int, victims: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.parity.kernels_driver", str(words), str(transformer), *victims]
    environment = {**os.environ, **KERNELS[kernels], "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kernels", ["avx2", "sse"])
def test_results_are_stock_textattacks_on_other_kernels(kernels: str, victims: list[str]) -> None:
    found = run(kernels, 2, 0, victims)
    capability = {"avx2": "AVX2", "sse": "DEFAULT"}.get(kernels)
    if capability and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert found["capability"] == capability
    assert set(found["rows"].values()) == {0}, found
    assert len(found["attacks"]) == 6 and set(found["attacks"].values()) == {0}, found


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
def test_many_results_are_stock_textattacks_on_other_kernels(kernels: str, victims: list[str]) -> None:
    found = run(kernels, 40, 12, victims)
    assert set(found["rows"].values()) == {0}, found
    assert len(found["attacks"]) == 8 and set(found["attacks"].values()) == {0}, found
