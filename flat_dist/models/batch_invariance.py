"""Batch-invariant arithmetic on CPUs: the result of a text is the same, to the bit, in any batch.

A matrix library chooses its kernel, and so the order of its sums, by the shape of a product and by where its numbers
lie in memory; it may also sum rows at the edge of a tile in another order than other rows. All this depends on the
processor. Therefore every call here has a fixed number of rows, padded with copies, its other dimensions depend only on
the text, and what it reads and writes starts at a multiple of 64 bytes. The position of a text among the rows may still
matter: a number of rows is used only if a check, on this processor and with this number of threads, gives the same row
the same bits at every position. If the check fails, the next number is tried; the last is 1, which has one position.

Shape letters: B rows of a call, T pieces, N rows in total, D and E features, H features of a text, C classes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flat_dist.models.classifier import TextClassifier

log = logging.getLogger(__name__)

WORD_ROWS = (24, 48, 16, 8, 1)
TRANSFORMER_ROWS = (8, 12, 6, 24, 4, 1)
"""Texts of a call, the preferred number first: 24 and 48 pass the check on AVX-512, AVX2 and SSE kernels. Transformers
get fewer, because few texts have the same length."""

MAX_PIECES = 2**14
"""Maximum number of pieces in a call: limits the memory for long texts."""

ALIGNMENT = 64
"""Bytes: the widest vector register, and a line of the cache. PyTorch's memory starts at a multiple of it."""

MIN_CHECKED_SUMS = 512
"""Random sums in a check, at least: two orders of one sum often agree by chance."""


class InvariantBatchSize:
    """Number of texts of one length that a model can classify at once with the same bits at every position.

    Args:
        model: a classifier on a CPU, in evaluation mode.
        candidates: numbers of texts, the preferred one first.
    """

    def __init__(self, model: TextClassifier, candidates: Sequence[int]):
        self.model, self.candidates = model, candidates
        self._known: dict[tuple[int, int], int] = {}

    def rows(self, length: int) -> int:
        """Number of texts in a call if each has `length` pieces, padding included.

        Raises:
            ArithmeticError: the same call gives different bits when it is repeated.
        """
        key = length, torch.get_num_threads()
        if key not in self._known:
            fitting = [rows for rows in self.candidates if rows == 1 or rows * length <= MAX_PIECES]
            self._known[key] = _first(fitting, lambda rows: self._is_alike(rows, length), f"texts of {length} pieces")
        return self._known[key]

    @torch.no_grad()
    def _is_alike(self, rows: int, length: int) -> bool:
        """Whether every layer gives one text the same bits at each position."""
        generator = torch.Generator().manual_seed(length)
        ids_BT = torch.randint(self.model.embedding.num_embeddings, (1, length), generator=generator).repeat(rows, 1)
        if self.model.end_id is not None:
            ids_BT[:, -1] = self.model.end_id
        real_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        with _compared(self.model, rows) as alike:
            first_BC, again_BC = (self.model(ids_BT, real_BT).logits_BC for _ in range(2))
            output = self.model.output
            trials = -(-MIN_CHECKED_SUMS // output.out_features)
            for features_1H in torch.randn(trials, 1, output.in_features, generator=generator):
                output(features_1H.repeat(rows, 1))
        return all(alike) and _same(first_BC, again_BC)


@contextmanager
def _compared(model: nn.Module, rows: int) -> Iterator[list[bool]]:
    """Compare the rows of each layer's output while the block runs."""
    alike: list[bool] = []

    def compare(module: nn.Module, inputs: object, output: object) -> None:
        found = output[0] if isinstance(output, tuple) else output
        if isinstance(found, Tensor) and found.shape[:1] == (rows,):
            alike.append(_same(found, found[:1].expand_as(found)))

    hooks = [module.register_forward_hook(compare) for module in model.modules()]
    try:
        yield alike
    finally:
        for hook in hooks:
            hook.remove()


class InvariantLinear:
    """`x @ weight + bias`; a row gets the same bits whatever the other rows are.

    Args:
        weight: (D, E).
        bias: (E), or none.
        candidates: rows of a call, the preferred number first. On a GPU all rows are one call.

    Raises:
        ArithmeticError: the same product gives different bits when it is repeated.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, candidates: Sequence[int]):
        self._candidates = candidates
        self._known: dict[int, int] = {}
        # Copies in aligned memory. Columns of zeros let each row of the product start at a multiple of ALIGNMENT.
        columns = -weight.shape[1] % (ALIGNMENT // weight.element_size())
        self._weight = F.pad(weight, (0, columns))
        self._bias = None if bias is None else F.pad(bias, (0, columns))
        self.weight = self._weight[:, : weight.shape[1]]

    def __call__(self, x_ND: Tensor, out_NE: Tensor | None = None) -> Tensor:
        """The product (N, E), written to `out_NE` if given."""
        if out_NE is None:
            out_NE = x_ND.new_empty(len(x_ND), self.weight.shape[1])
        if self.weight.device.type != "cpu":
            bias = None if self._bias is None else self._bias[: self.weight.shape[1]]
            return _multiply(x_ND, self.weight, bias, out_NE)
        rows = self._rows()
        for x_BD, part_BE in zip(x_ND.split(rows), out_NE.split(rows), strict=True):
            self._call(rows, x_BD, part_BE)
        return out_NE

    def _call(self, rows: int, x_BD: Tensor, out_BE: Tensor) -> None:
        """One product of at most `rows` rows. The matrix library always sees `rows` of them, at aligned addresses."""
        count, width = len(x_BD), self.weight.shape[1]
        if count < rows or not _is_aligned(x_BD):
            filled_BD = x_BD.new_zeros(rows, x_BD.shape[1])
            filled_BD[:count] = x_BD
            x_BD = filled_BD
        if count == rows and width == self._weight.shape[1] and _is_aligned(out_BE):
            _multiply(x_BD, self._weight, self._bias, out_BE)
        else:
            product = x_BD.new_empty(rows, self._weight.shape[1])
            out_BE[:] = _multiply(x_BD, self._weight, self._bias, product)[:count, :width]

    def _rows(self) -> int:
        threads = torch.get_num_threads()
        if threads not in self._known:
            self._known[threads] = _first(self._candidates, self._is_alike, f"products {tuple(self.weight.shape)}")
        return self._known[threads]

    def _is_alike(self, rows: int) -> bool:
        generator = torch.Generator().manual_seed(rows)
        trials = -(-MIN_CHECKED_SUMS // self.weight.shape[1])
        for x_1D in torch.randn(trials, 1, self.weight.shape[0], generator=generator):
            x_BD = x_1D.repeat(rows, 1)
            first_BE, again_BE = (x_BD.new_empty(rows, self.weight.shape[1]) for _ in range(2))
            for out_BE in (first_BE, again_BE):
                self._call(rows, x_BD, out_BE)
            if not (_same(first_BE, first_BE[:1].expand_as(first_BE)) and _same(first_BE, again_BE)):
                return False
        return True


def _multiply(x_BD: Tensor, weight: Tensor, bias: Tensor | None, out_BE: Tensor) -> Tensor:
    if bias is None:
        return torch.mm(x_BD, weight, out=out_BE)
    return torch.addmm(bias, x_BD, weight, out=out_BE)


def _is_aligned(x: Tensor) -> bool:
    """Whether a matrix lies in memory as a new one does: rows without gaps, from an aligned address on."""
    return x.data_ptr() % ALIGNMENT == 0 and x.stride() == (x.shape[1], 1)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal; NaN equals NaN."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _first(candidates: Sequence[int], is_alike: Callable[[int], bool], what: str) -> int:
    """The first number of rows that passes the check.

    Raises:
        ArithmeticError: none does, not even 1.
    """
    for rows in candidates:
        if is_alike(rows):
            log.debug("%s: %d rows a call, %d threads", what, rows, torch.get_num_threads())
            return rows
    raise ArithmeticError(
        f"this processor gives different bits for {what} when the same computation is repeated, so results are not "
        "reproducible: check its memory, and the environment variables ONEDNN_*, MKL_* and ATEN_*"
    )
