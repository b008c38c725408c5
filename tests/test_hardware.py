import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from flat_dist.benchmarks import common
from flat_dist.benchmarks import memory as memory_benchmark
from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, DataConfig, ModelConfig, TrainingConfig
from flat_dist.models.transformer import Transformer
from flat_dist.resources.assets import Assets
from flat_dist.runtime import hardware
from flat_dist.runtime.hardware import GIB, Machine
from flat_dist.training import memory
from flat_dist.training.objective import cross_entropy

H100 = Machine("NVIDIA H100", (9, 0), 79.1)
NONE = Machine(problem="torch finds no GPU")


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_50", "sm_60", "sm_70", "sm_90"], (6, 1), True),  # the build cu126 on a GTX 1080: sm_60's kernels
        (["sm_75", "sm_80", "sm_90", "compute_90"], (6, 1), False),
        (["sm_70", "sm_75"], (7, 0), True),
        (["sm_75", "sm_80"], (7, 0), False),
        (["sm_80", "sm_90"], (8, 6), True),
        (["sm_90a"], (9, 0), True),
        (["sm_90", "compute_90"], (12, 0), True),  # PTX is compiled for later cards
        (["sm_90"], (12, 0), False),
        ([], (8, 0), False),
    ],
)
def test_kernels_of_a_build(built_for: list[str], capability: tuple[int, int], runs: bool) -> None:
    assert hardware.has_kernels(built_for, capability) == runs


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int], built_for: list[str]) -> None:
    properties = SimpleNamespace(name=name, major=capability[0], minor=capability[1], total_memory=8 * GIB)
    monkeypatch.setattr(hardware, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)


def test_a_gpu_without_kernels_gets_the_right_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "NVIDIA GeForce GTX 1080", (6, 1), ["sm_75", "sm_80", "sm_90"])
    found = hardware.detect()
    assert found.gpu is None
    version = torch.__version__.partition("+")[0]
    line = f"pip install torch=={version}+cu126 --index-url"
    for part in ("GTX 1080 (sm_61)", torch.__version__, line, "/whl/cu126"):
        assert part in found.problem
    assert "\n" not in found.problem
    config, said = hardware.resolve(Config(), found)
    assert config.hardware == config.training.device == config.attack.device == "cpu"
    assert said == f"hardware: {found.problem}, so cpu"
    with pytest.raises(UserError, match="--hardware gtx1080 needs a GPU, but NVIDIA GeForce GTX 1080"):
        hardware.resolve(Config(hardware="gtx1080"), found)


def test_a_gpu_that_fails_at_its_first_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    pretend(monkeypatch, "NVIDIA Something", (8, 0), ["sm_80"])
    monkeypatch.setattr(torch, "zeros", fail)
    assert hardware.detect().problem.endswith("(CUDA error: no kernel image is available)")


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "DRIVER", "libnowhere.so.1")
    assert hardware.detect() == Machine(problem="this machine has no NVIDIA driver (libnowhere.so.1 is missing)")


@pytest.mark.parametrize(
    ("machine", "name", "precision", "memory_gib", "workers"),
    [
        (Machine("NVIDIA GeForce GTX 1080", (6, 1), 8.0), "gtx1080", "float32", 7.5, 2),
        (Machine("Tesla V100", (7, 0), 16.0), "gtx1080", "float32", 15.5, 2),
        (Machine("NVIDIA A100", (8, 0), 39.6), "a100", "bfloat16", 39.1, 6),
        (Machine("NVIDIA GeForce RTX 3060", (8, 6), 12.0), "a100", "bfloat16", 11.5, 3),
        (H100, "h100", "bfloat16", 78.6, 8),
        (NONE, "cpu", "float32", 0.0, 0),
    ],
)
def test_auto_uses_detected_hardware(
    machine: Machine, name: str, precision: str, memory_gib: float, workers: int
) -> None:
    config, said = hardware.resolve(Config(), machine)
    assert (config.hardware, config.training.precision) == (name, precision)
    assert config.training.memory_gib == pytest.approx(memory_gib)
    device = "cuda" if machine.gpu else "cpu"
    assert config.training.device == config.attack.device == device
    share = config.attack.gpus_per_worker
    assert share == 0 if not workers else (workers * share <= 1 < (workers + 1) * share)
    assert (machine.gpu or machine.problem) in said


def test_the_users_settings_are_not_changed() -> None:
    mine = replace(TrainingConfig(), precision="float32", memory_gib=20.0)
    config, _ = hardware.resolve(Config(training=mine), H100)
    assert (config.training.precision, config.training.memory_gib) == ("float32", 20.0)
    assert hardware.resolve(Config(hardware="cpu"), H100)[0].training.device == "cpu"
    imagined, _ = hardware.resolve(Config(hardware="gtx1080"), NONE, imagine=True)
    assert (imagined.training.device, imagined.training.memory_gib) == ("cuda", 7.5)
    again, _ = hardware.resolve(imagined, NONE, imagine=True)
    assert again == imagined


def make(layers: int = 4, width: int = 64, length: int = 60, **training: object) -> tuple[Transformer, Config]:
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=500, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=4 * width
    )
    model = Transformer(ModelConfig(name="encoder"), BertModel(settings), (1, 1), 2)
    limits = replace(TrainingConfig(batch_size=8), device="cuda", precision="float32", **training)  # type: ignore[arg-type]
    return model, Config(data=DataConfig(max_length=length), model=ModelConfig(name="encoder"), training=limits)


def test_activations_are_those_that_a_formula_counts() -> None:
    # Korthikanti et al. (2023), Eq. 1: of each layer, 16 activations of size (length, width) and 2 masks of dropout,
    # and, of each head, softmax, its dropout and a mask of size (length, length). In float32: 66 and 9 bytes.
    # Embeddings, the pooler, and copies of scaled queries and keys come on top.
    model, config = make(layers=8)
    length, width, heads, layers = 60, 64, 4, 8
    formula = layers * (66 * length * width + 9 * heads * length**2)
    assert formula < memory.activation_bytes(model, config) < 1.25 * formula


def test_measuring_memory_changes_nothing() -> None:
    model, config = make()
    model.eval()
    before = torch.get_rng_state()
    first = memory.activation_bytes(model, config)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert memory.activation_bytes(model, config) == first


def test_the_largest_fitting_micro_batch_is_chosen_before_checkpointing() -> None:
    model, config = make(layers=12, width=128, length=250, memory_gib=100.0)
    per_text = memory.activation_bytes(model, config)
    whole, said = memory.fit(model, config)
    assert (whole.training.micro_batch, whole.training.checkpointing) == (8, False)
    assert "= " in said and said.endswith("of 100 GiB")

    def needed(micro_batch: int, checkpointing: bool) -> float:
        return memory.estimate(model, config, micro_batch, checkpointing, per_text).total

    assert needed(1, True) < needed(1, False) < needed(2, False) < needed(8, False)
    weights = sum(parameter.numel() for parameter in model.parameters())
    by_hand = 16 * weights / GIB + memory.FRAGMENTATION * 2 * 8 * per_text / GIB + memory.CUDA_GIB
    assert needed(8, False) == pytest.approx(by_hand)
    for wanted in ((4, False), (1, False), (1, True)):
        tight = replace(config, training=replace(config.training, memory_gib=needed(*wanted) + 1e-6))
        found = memory.fit(model, tight)[0].training
        assert found.checkpointing == wanted[1]
        assert found.micro_batch >= wanted[0] if found.checkpointing else found.micro_batch == wanted[0]


def test_a_model_that_does_not_fit_is_refused_with_numbers() -> None:
    model, config = make(memory_gib=0.5)
    with pytest.raises(
        UserError, match=r"at length 60 does not fit into 0.5 GiB of GPU memory: weights .* \+ .* = 0\.\d\d GiB"
    ):
        memory.fit(model, config)


def test_the_plan_of_an_imagined_gtx1080_keeps_bert_base_within_its_memory(assets: Assets, tmp_path: Path) -> None:
    BertModel(BertConfig()).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(assets.minilm).save_pretrained(tmp_path)
    job = Path(__file__).parents[1] / "jobs" / "flat_round.py"
    options = f"--dry-run --preset transformer --model.encoder {tmp_path} --data.max-length 250 --hardware gtx1080"
    out = subprocess.run([sys.executable, job, *options.split()], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert '"precision": "float32"' in out.stdout and '"device": "cuda"' in out.stdout
    planned = next(line for line in out.stdout.splitlines() if "training memory" in line)
    total, of = planned.split(" = ")[1].split(" GiB (micro-batch 8) of ")
    assert 4 < float(total) <= float(of.split()[0]) == 7.5


gpu = pytest.mark.skipif(hardware.detect().gpu is None, reason=hardware.detect().problem)


@gpu
@pytest.mark.gpu
def test_bert_base_trains_within_the_planned_memory_of_a_gtx1080() -> None:
    from flat_dist import cli

    measured = memory_benchmark.peak(
        replace(cli.load_preset("transformer"), hardware="gtx1080"), length=250, limit_gib=8.0
    )
    planned = float(measured["planned"].split(" = ")[1].split()[0])
    assert measured["peak_gib"] <= planned <= 7.5


@gpu
@pytest.mark.gpu
def test_a_training_step_on_the_gpu_equals_the_cpu() -> None:
    model, _ = make()
    ids_BT = torch.arange(1, 61).view(2, 30)
    labels_B, real_BT = torch.tensor([0, 1]), torch.ones(2, 30, dtype=torch.bool)
    expected = cross_entropy(model.eval()(ids_BT, real_BT).logits_BC, labels_B)
    inputs = (tensor.cuda() for tensor in (ids_BT, real_BT))
    found = cross_entropy(model.cuda()(*inputs).logits_BC, labels_B.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)


@gpu
@pytest.mark.gpu
def test_the_attack_engine_agrees_with_textattack_on_the_gpu() -> None:
    from flat_dist import cli
    from flat_dist.runtime.progress import Display

    config = cli.load_preset("transformer")
    measured = common.attack(config, None, 40, "auto", Display(quiet=True))
    assert measured["different"] <= 1  # sums on a GPU depend on the batch, and a tie may fall the other way
    assert measured["speedup"] > 1
