"""Attacks on texts of scripts that write vowels as marks: rows with results, as of any other text."""

from pathlib import Path

import pytest
import torch

from flat_dist.attack.limits import resolve
from flat_dist.attack.plan import AttackJob
from flat_dist.attack.pool.session import AttackSession
from flat_dist.config.schema import AttackConfig, ModelConfig
from flat_dist.data.encoder import Encoder
from flat_dist.data.preprocessing import Vocabulary, clean, tokenize
from flat_dist.data.shards import Example
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.storage.arrow import from_bytes
from flat_dist.storage.folder import Folder

TEXTS = [
    "क्या यह फिल्म अच्छी है?",
    "यह की का film a good film है",
    "หนังดีมาก ไม่ชอบ",
    "இது ஒரு நல்ல படம்",
    "هٰذا فيلمٌ جميلٌ good",
    "זֶה סֶרֶט טוֹב",
]


@pytest.mark.parametrize("recipe", ["textfooler", "pwws"])
def test_rows_have_results(recipe: str, assets: object, tmp_path: Path) -> None:
    texts = [clean(text) for text in TEXTS]
    encoder = Encoder(Vocabulary.build(map(tokenize, texts)), 20)
    torch.manual_seed(0)
    config = ModelConfig(kernels=8)
    model = checkpoints.build(config, len(encoder.vocabulary), 2).eval()
    victim = Checkpoint(model, config, encoder, ("negative", "positive"))
    checkpoints.save(victim, Folder(tmp_path / "victim"))
    labels = victim.probabilities(texts).argmax(-1).tolist()
    limits = resolve(AttackConfig(device="cpu"), transformer=False)
    uri = Folder(tmp_path / "victim").uri
    job = AttackJob(recipe, uri, "counterfit", str(tmp_path), 1, 3, "cpu", {"cpu": limits}, 256, {"recipe": recipe})
    rows = [Example(f"test-{n}", *row) for n, row in enumerate(zip(texts, labels, strict=True))]
    info = AttackSession().run(job, 0, rows)
    assert set(info.counts) <= {"successful", "failed"}
    found = from_bytes(Folder(tmp_path).read(info.name)).to_pylist()
    assert [row["original_text"] for row in found] == texts
    assert any(row["num_queries"] > 1 for row in found)
