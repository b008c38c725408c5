"""The checkpoint that training starts from: a vocabulary, pretrained vectors, and fresh weights."""

import torch

from flat_dist.config import Config
from flat_dist.data.batches import Encoder
from flat_dist.data.datasets import Dataset
from flat_dist.data.text import Vocabulary, tokenize
from flat_dist.models import checkpoint as checkpoints
from flat_dist.models import vectors
from flat_dist.models.checkpoint import Checkpoint
from flat_dist.seeds import derive_seed


def initial(config: Config, dataset: Dataset, masked: bool) -> tuple[Checkpoint, int]:
    """An untrained model for a dataset, and how many of its words have a pretrained vector.

    Raises:
        UserError: the file of vectors is missing or malformed, or its vectors have another size than the config's.
    """
    texts = (tokenize(text) for text in dataset.train["text"].to_pylist())
    encoder = Encoder(Vocabulary.build(texts, config.data.min_frequency), config.data.max_length)
    torch.manual_seed(derive_seed(config.seed, "init"))
    network = checkpoints.build(config.model, len(encoder.vocabulary), len(dataset.label_names), masked)
    seed = derive_seed(config.seed, "vectors")
    initial_VD, found = vectors.initial_vectors(config.model, encoder.vocabulary.words, seed)
    network.embedding.weight.data.copy_(torch.from_numpy(initial_VD))
    return Checkpoint(network, config.model, encoder, dataset.label_names), found
