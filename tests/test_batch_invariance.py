"""A number of rows is used only if a row gets the same bits at every place; kernels that fail are imitated."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flat_dist.config.schema import ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.batch_invariance import InvariantBatchSize, InvariantLinear
from flat_dist.models.checkpoint import Checkpoint

TILE = 24


def summed_otherwise(rows: Tensor) -> Tensor:
    """What a kernel with tiles of 24 rows does: the rows after the last whole tile differ in the last bit."""
    rows = rows.clone()
    edge = len(rows) - len(rows) % TILE
    rows[edge:] = torch.nextafter(rows[edge:], torch.full_like(rows[edge:], torch.inf))
    return rows


class TiledLinear(nn.Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return summed_otherwise(super().forward(rows))


def tiled_model(trained: bool = False) -> Any:
    """Unless it is trained all weights are 0, so that every processor gets the same sums."""
    torch.manual_seed(0)
    model = checkpoints.build(ModelConfig(kernels=4, embedding_dim=8), 30, 2)
    tiled = TiledLinear(model.output.in_features, 2)
    tiled.load_state_dict(model.output.state_dict())
    model.output = tiled
    for parameter in model.parameters():
        parameter.data *= trained
    return model.eval()


@pytest.mark.parametrize(("candidates", "chosen"), [((32, 48, 24), 48), ((25, 24), 24), ((16, 24), 16)])
def test_a_batch_size_that_fails_the_check_is_skipped(candidates: tuple[int, ...], chosen: int) -> None:
    assert InvariantBatchSize(tiled_model(), candidates).rows(8) == chosen


def test_the_check_compares_every_layer() -> None:
    model = tiled_model()
    model.output = nn.Linear(model.output.in_features, 2)
    model.output.weight.data.zero_()  # so that the logits do not show it
    model.convolutions[1].register_forward_hook(lambda module, inputs, output: summed_otherwise(output))
    assert InvariantBatchSize(model, (32, 48)).rows(8) == 48


def test_batch_size_1_always_passes_unless_results_are_not_reproducible() -> None:
    model = tiled_model()
    model.output.register_forward_hook(lambda module, inputs, output: summed_otherwise(output))
    assert InvariantBatchSize(model, (32, 25, 1)).rows(8) == 1
    model.output.register_forward_hook(lambda module, inputs, output: output + torch.rand(()))
    with pytest.raises(ArithmeticError, match="results are not reproducible"):
        InvariantBatchSize(model, (32, 25, 1)).rows(8)


def test_long_texts_get_small_batches() -> None:
    assert InvariantBatchSize(tiled_model(), (24, 16, 1)).rows(2**10) == 16
    assert InvariantBatchSize(tiled_model(), (24, 16, 1)).rows(2**14 + 1) == 1


def test_predictions_do_not_depend_on_the_batch_with_tiled_kernels() -> None:
    vocabulary = Vocabulary.build([[f"w{number}" for number in range(28)]])
    checkpoint = Checkpoint(tiled_model(trained=True), ModelConfig(), Encoder(vocabulary, 50), ("x", "y"))
    texts = [" ".join(f"w{n * 7 % 31}" for n in range(start, start + 1 + start % 20)) for start in range(61)]
    together = checkpoint.probabilities(texts)
    for size in (1, 5, 60):
        apart = [checkpoint.probabilities(texts[start : start + size]) for start in range(0, 61, size)]
        assert torch.equal(torch.cat(apart), together)


@pytest.mark.parametrize("count", [0, 1, 47, 48, 49, 120])
@pytest.mark.parametrize("biased", [False, True])
def test_the_linear_layer_equals_a_matrix_product(count: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(count)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((count, 20), (20, 7), (7,)))
    product = InvariantLinear(weight, bias if biased else None, (48, 1))
    torch.testing.assert_close(product(x), x @ weight + (bias if biased else 0.0))
    out = torch.empty(count, 7)
    assert product(x, out) is out
    assert torch.equal(out, product(x))
    for row in range(count):
        assert torch.equal(product(x[row : row + 1])[0], out[row])


@pytest.mark.parametrize("rows", [48, 1])
@pytest.mark.parametrize("features", [7, 16])
def test_the_linear_layer_does_not_depend_on_where_its_input_lies_in_memory(rows: int, features: int) -> None:
    x, weight, bias = torch.randn(60, 16), torch.randn(16, features), torch.randn(features)
    out = InvariantLinear(weight, bias, (rows, 1))(x)
    for offset in (1, 4, 8):  # numbers of 4 bytes
        moved_x, moved_weight, moved_bias, moved_out = (
            torch.empty(tensor.numel() + offset)[offset:].view(tensor.shape).copy_(tensor)
            for tensor in (x, weight, bias, out)
        )
        moved_out.zero_()
        product = InvariantLinear(moved_weight, moved_bias, (rows, 1))
        assert torch.equal(product(moved_x, moved_out), out)
        wide = torch.randn(60, 40)
        wide[:, offset : offset + 16] = x
        assert torch.equal(product(wide[:, offset : offset + 16]), out)


def test_the_linear_layer_skips_row_counts_that_fail_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def mm(x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
        calls.append(len(x))
        return out.copy_(summed_otherwise(x @ weight))

    calls: list[int] = []
    product = InvariantLinear(torch.zeros(20, 7), None, (32, 48, 1))  # every processor gets 0
    monkeypatch.setattr(torch, "mm", mm)
    product(torch.randn(3, 20))
    assert calls[-1] == 48
