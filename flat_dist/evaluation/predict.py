"""Predictions of a checkpoint, with the global importance of each word, and on request its attribution."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from flat_dist.config.errors import UserError
from flat_dist.data.batches import to_batch
from flat_dist.data.text_stream import TextRow
from flat_dist.evaluation.attributions import AttributionMethod, attribute
from flat_dist.models.checkpoint import Checkpoint

BATCH_SIZE = 64
"""Texts that are predicted at a time, by default."""

Prediction = dict[str, Any]
"""What `predict` says of a text."""


def predict_stream(
    checkpoint: Checkpoint,
    rows: Iterable[TextRow],
    method: AttributionMethod | None = None,
    batch_size: int = BATCH_SIZE,
    keep_bad_rows: bool = False,
) -> Iterator[list[tuple[TextRow, Prediction | None]]]:
    """Predict rows batch by batch: no more than `batch_size` of them are held at a time.

    Args:
        checkpoint: the model.
        rows: texts.
        method: of attributions; None: none.
        batch_size: rows of a batch.
        keep_bad_rows: a row with a fault has the prediction None. Otherwise it is an error.

    Returns:
        Batches of rows with their predictions, in order.

    Raises:
        UserError: a row has a fault. The rows before it are returned first.
    """
    for batch in _batches(rows, batch_size):
        bad = next((number for number, row in enumerate(batch) if row.fault), len(batch))
        usable = batch if keep_bad_rows else batch[:bad]
        predictions = iter(predict(checkpoint, [row.text for row in usable if not row.fault], method))
        if usable:
            yield [(row, None if row.fault else next(predictions)) for row in usable]
        if len(usable) < len(batch):
            fault = batch[bad]
            raise UserError(f"{fault.place}: {fault.fault}; fix the row, or keep bad rows with --keep-bad-rows")


def _batches(rows: Iterable[TextRow], size: int) -> Iterator[list[TextRow]]:
    """Batches of rows; those before an error are returned before it is raised."""
    batch: list[TextRow] = []
    try:
        for row in rows:
            batch.append(row)
            if len(batch) == size:
                yield batch
                batch = []
    except UserError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def predict(checkpoint: Checkpoint, texts: Sequence[str], method: AttributionMethod | None = None) -> list[Prediction]:
    """For each text: its words as the model reads them, label, probabilities by class, importance by word, and
    attribution by word: what the word adds to the probability of the label.

    There is no importance if the model has no mask, or the text has no word, and no attribution without a method.
    """
    names = checkpoint.label_names
    attributions = attributions_of(checkpoint, texts, method) if method else []
    predictions = []
    for number, (text, scores) in enumerate(zip(texts, checkpoint.probabilities(texts).tolist(), strict=True)):
        words = checkpoint.encoder.words(text)
        prediction: dict[str, Any] = {
            "text": " ".join(words),
            "label": names[scores.index(max(scores))],
            "probabilities": dict(zip(names, scores, strict=True)),
        }
        if checkpoint.model.mask is not None and words:
            importance = word_importance(checkpoint, text)
            prediction["importance"] = [list(pair) for pair in zip(words, importance, strict=True)]
        if method:
            of_label = attributions[number][scores.index(max(scores))].tolist()
            prediction["attributions"] = [list(pair) for pair in zip(words, of_label, strict=True)]
        predictions.append(prediction)
    return predictions


def predict_table(checkpoint: Checkpoint, texts: Iterable[str], method: AttributionMethod | None = None) -> pa.Table:
    """The predictions of texts as a table, whose columns `flat_dist.api.predict` describes."""
    fields = [
        ("text", pa.string()),
        ("label", pa.string()),
        ("probabilities", pa.struct([(name, pa.float32()) for name in checkpoint.label_names])),
        ("importance", pa.list_(pa.struct([("word", pa.string()), ("importance", pa.float32())]))),
        ("attributions", pa.list_(pa.struct([("word", pa.string()), ("attribution", pa.float32())]))),
    ]
    schema = pa.schema(fields if method else fields[:-1])
    tables = [schema.empty_table()]
    for batch in predict_stream(checkpoint, map(TextRow, texts), method):
        rows = [prediction for _, prediction in batch if prediction]
        for row in rows:
            for name in ("importance", "attributions"):
                if name in row:
                    key = name.removesuffix("s")
                    row[name] = [{"word": word, key: value} for word, value in row[name]]
        tables.append(pa.Table.from_pylist(rows, schema=schema))
    return pa.concat_tables(tables).combine_chunks()


def attributions_of(checkpoint: Checkpoint, texts: Sequence[str], method: AttributionMethod) -> list[np.ndarray]:
    """Attributions (C, words) of each text; (C, 0) of a text without words."""
    with_words = [text for text in texts if checkpoint.encoder.spans(text)]
    found = iter(attribute(checkpoint, with_words, method)[0] if with_words else [])
    nothing = np.zeros((len(checkpoint.label_names), 0), np.float32)
    return [next(found) if checkpoint.encoder.spans(text) else nothing for text in texts]


@torch.no_grad()
def word_importance(checkpoint: Checkpoint, text: str) -> list[float]:
    """Global importance phi of each word of a text, as the model reads it: the mean over its pieces.

    Raises:
        ValueError: the model has no mask.
    """
    batch = to_batch([checkpoint.encoder.encode(text)]).to(checkpoint.device)
    positions_BT = torch.arange(batch.ids_BT.shape[1], device=checkpoint.device).unsqueeze(0)
    (pieces_T,) = checkpoint.model.eval().importance(batch.ids_BT, positions_BT)
    return [pieces_T[start:end].mean().item() for start, end in checkpoint.encoder.spans(text)]


@torch.no_grad()
def drop_rate(checkpoint: Checkpoint, texts: Sequence[str], batch_size: int = 64) -> float:
    """Share of the texts' words that the word mask drops in training, in [0, 1]: the mean of 1 - phi over all words.

    Raises:
        ValueError: the model has no mask.
    """
    model, dropped, words = checkpoint.model.eval(), 0.0, 0
    for start in range(0, len(texts), batch_size):
        ids = [checkpoint.encoder.encode(text) for text in texts[start : start + batch_size]]
        batch = to_batch(ids).to(checkpoint.device)
        positions_BT = torch.arange(batch.ids_BT.shape[1], device=checkpoint.device).expand(batch.ids_BT.shape)
        words_BT = model.words(batch.ids_BT, batch.real_BT)
        dropped += float((1 - model.importance(batch.ids_BT, positions_BT))[words_BT].double().sum())
        words += int(words_BT.sum())
    return dropped / words
