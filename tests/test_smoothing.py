"""Word vectors moved towards those of their candidates."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from flat_dist.config.errors import UserError
from flat_dist.config.schema import Config, ModelConfig, SubstitutesConfig, TrainingConfig
from flat_dist.config.serialization import to_dict
from flat_dist.data import substitutes
from flat_dist.data.preprocessing import Vocabulary
from flat_dist.models import checkpoint as checkpoints
from flat_dist.pipeline.plan import check
from flat_dist.storage.arrow import write_table
from flat_dist.storage.folder import Folder
from flat_dist.training.job import TrainingJob, load_start
from flat_dist.training.smoothing import smooth_vectors

TABLE = pa.table([["good", "fine", "film"], [["fine", "absent"], ["good", "film"], ["absent"]]], substitutes.SCHEMA)


def test_two_passes_by_hand() -> None:
    vocabulary = Vocabulary(("<pad>", "<unk>", "good", "fine", "film"))
    vectors = torch.tensor([[0.0], [5.0], [1.0], [3.0], [8.0]])
    smooth_vectors(vectors, vocabulary, TABLE, 0.5)
    # First pass: good (1 + 3) / 2 = 2, fine (3 + (1 + 8) / 2) / 2 = 3.75; second: (2 + 3.75) / 2, (3.75 + 5) / 2.
    assert vectors.flatten().tolist() == pytest.approx([0.0, 5.0, 2.875, 4.375, 8.0])


def test_words_without_candidates_that_the_model_knows_keep_their_vectors() -> None:
    vectors = torch.tensor([[0.0], [5.0], [1.0]])
    smooth_vectors(vectors, Vocabulary(("<pad>", "<unk>", "film")), TABLE, 1.0)
    assert vectors.flatten().tolist() == [0.0, 5.0, 1.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_a_training_starts_from_smoothed_vectors(victim: Folder, tmp_path: Path, smoothing: float) -> None:
    before = checkpoints.load(victim)
    folder = Folder(tmp_path)
    known = [word for word in before.encoder.vocabulary.words if word in ("good", "great")]
    assert len(known) == 2
    write_table(folder, substitutes.NAME, pa.table([["good"], [["great"]]], substitutes.SCHEMA))
    config = Config(training=TrainingConfig(freeze_embeddings=()))
    job = TrainingJob("adv-1", "adv", to_dict(config), "", victim.uri, (), 1, 0.1, folder.uri, smoothing)
    after = load_start(job, config).model.embedding.weight
    (good,), (great,) = (before.encoder.vocabulary.pieces(word) for word in ("good", "great"))
    start = before.model.embedding.weight
    # Great has no candidates, so two passes leave the share 0.1 * 0.1 of good's vector.
    left = (1 - smoothing) ** 2
    torch.testing.assert_close(after[good], left * start[good] + (1 - left) * start[great])
    others = [number for number in range(len(start)) if number != good]
    assert torch.equal(after[others], start[others])


def test_word_pieces_are_not_smoothed() -> None:
    config = Config(model=ModelConfig(name="minilm"), substitutes=SubstitutesConfig(smoothing=0.5))
    with pytest.raises(UserError, match="smoothing moves the vectors of words"):
        check(config)
