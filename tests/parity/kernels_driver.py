"""Attacks with TextAttack and with the engine, and predicts in many batches, on the kernels of another processor.

Arguments: how many sentences to attack on a model of whole words, how many on a transformer, and the victims' folders.
The last line is JSON.
"""

import hashlib
import json
import sys
from typing import Any

import torch

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.config.schema import DataConfig
from flat_dist.data import datasets
from flat_dist.models import checkpoint as checkpoints
from flat_dist.resources import assets, textattack_setup
from flat_dist.storage.folder import Folder
from tests.parity.test_engine import RECIPES, ours, status, stocks

CUTS = (1, 7, 32)
"""Sizes of the batches that are compared with all texts at once."""


def differing_rows(compute: Any, texts: list[str]) -> int:
    """Texts whose numbers depend on what is computed with them."""
    together = compute(texts)
    same = torch.ones(len(texts), dtype=torch.bool)
    for size in CUTS:
        parts = [compute(texts[start : start + size]) for start in range(0, len(texts), size)]
        same &= (torch.cat(parts) == together).all(1)
    return int((~same).sum())


def main(words: int, transformer: int, folders: list[str]) -> None:
    torch.set_num_threads(1)
    prepared = assets.prepare()
    textattack_setup.activate(prepared)
    from flat_dist.attack import recipes

    linguistics = recipes.LinguisticResources(prepared, "counterfit", "cpu", cache_size=4096)
    rows = [
        (row["text"], row["label"]) for row in datasets.load(DataConfig(name="rotten_tomatoes_sample")).test.to_pylist()
    ]
    texts = [text for text, _ in rows[:33]]
    found: dict[str, Any] = {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "rows": {},
        "attacks": {},
        "texts": {},
    }
    found["rows"]["encoder"] = differing_rows(SentenceEncoder(prepared.sentence_encoder).encode, texts)
    for folder in folders:
        victim = checkpoints.load(Folder(folder))
        name = Folder(folder).name
        found["rows"][name] = differing_rows(victim.probabilities, texts if name != "minilm" else texts[:8])
        count = transformer if name == "minilm" else words
        for recipe in RECIPES if count else ():
            records = ours(recipe, victim, linguistics, rows[:count])
            results = stocks(recipe, victim, linguistics, rows[:count])
            found["attacks"][f"{recipe} {name}"] = sum(
                (record.status, record.perturbed_text, record.num_queries)
                != (status(result), result.perturbed_result.attacked_text.text, result.num_queries)
                for record, result in zip(records, results, strict=True)
            )
            written = "\n".join(record.perturbed_text for record in records)
            found["texts"][f"{recipe} {name}"] = hashlib.sha256(written.encode()).hexdigest()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
