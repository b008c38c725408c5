"""Measures the sentence encoder against people's judgements, and says what the attacks' thresholds mean in them.

Judgements are those of the Semantic Textual Similarity Benchmark (Cer et al., SemEval 2017, Task 1): pairs of sentences
with a mean score from 0 (different topics) to 5 (the same meaning).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import pearsonr, spearmanr

from flat_dist.attack.engine.sentence_encoder import SentenceEncoder
from flat_dist.config.errors import UserError
from flat_dist.data.text_files import read_text
from flat_dist.storage import durable

EQUIVALENT = 4.0
"""Smallest score of a pair that means the same; 4 is "mostly equivalent, but some unimportant details differ"."""

MOST = 5.0
"""The highest score."""


@dataclass(frozen=True)
class Threshold:
    """The smallest similarity of two windows that an attack accepts."""

    metric: str
    """angular (1 - angle / pi) or cosine."""
    value: float

    @property
    def cosine(self) -> float:
        """The threshold as a cosine."""
        return float(np.cos(np.pi * (1 - self.value))) if self.metric == "angular" else self.value


THRESHOLDS = {
    "textfooler": Threshold("angular", 0.840845057),
    "bae": Threshold("cosine", 0.936338023),
    "clare": Threshold("cosine", 0.7),
    "bert-attack": Threshold("cosine", 0.2),
}
"""Those of TextAttack 0.3.11."""


@dataclass(frozen=True)
class Judgements:
    """Pairs of sentences, and the mean of people's scores for each, from 0 to 5."""

    pairs: list[tuple[str, str]]
    scores: list[float]


def read_judgements(path: Path) -> Judgements:
    """Read a file of the benchmark, such as sts-test.csv: genre, file, year, number, score and two sentences, separated
    by tabs, without quotes.

    Raises:
        UserError: the file is missing, or has another layout.
    """
    if not path.is_file():
        raise UserError(f"--judgements {path} does not exist: name a file of the STS benchmark, such as sts-test.csv")
    rows = list(csv.reader(read_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    try:
        found = Judgements([(row[5], row[6]) for row in rows], [float(row[4]) for row in rows])
        if not found.scores or not all(0 <= score <= MOST for score in found.scores):
            raise ValueError
    except (IndexError, ValueError) as error:
        raise UserError(
            f"{path} is not a file of the STS benchmark: each line has genre, file, year, number, score from 0 to 5, "
            "and two sentences, separated by tabs"
        ) from error
    return found


def measure(encoder: SentenceEncoder, path: Path) -> dict[str, Any]:
    """Correlations of similarities with scores, and what passes each threshold.

    Args:
        encoder: of the sentences.
        path: a file of the benchmark.

    Returns:
        Pearson's and Spearman's correlation; the cosine above and below which pairs are best told into those that mean
        the same and others (most correct); and for each threshold of `THRESHOLDS` see `passing`.
    """
    judgements = read_judgements(path)
    encodings = encoder.encode([sentence for pair in judgements.pairs for sentence in pair]).cpu().numpy()
    cosine_N, score_N = (encodings[::2] * encodings[1::2]).sum(1), np.array(judgements.scores)
    return {
        "judgements": path.name,
        "sha256": durable.sha256(path),
        "pairs": len(score_N),
        "pearson": round(float(pearsonr(cosine_N, score_N).statistic), 3),
        "spearman": round(float(spearmanr(cosine_N, score_N).statistic), 3),
        "best_cosine": round(best_cosine(cosine_N, score_N), 3),
        "thresholds": {name: passing(cosine_N, score_N, one.cosine) for name, one in THRESHOLDS.items()},
    }


def passing(cosine_N: np.ndarray, score_N: np.ndarray, threshold: float) -> dict[str, float | None]:
    """What a threshold lets through.

    Returns:
        The threshold as a cosine; the shares of all pairs, of pairs that mean the same (at least `EQUIVALENT`) and of
        other pairs that pass; of those that pass the share that means the same; and the score that pairs at the
        threshold have, by isotonic regression of scores on cosines. None where there are no such pairs.
    """
    passes_N, same_N = cosine_N >= threshold, score_N >= EQUIVALENT
    order = np.argsort(cosine_N, kind="stable")
    fitted_N = isotonic_regression(score_N[order]).x
    return {
        "cosine": round(threshold, 3),
        "pass": _share(passes_N),
        "same_pass": _share(passes_N[same_N]),
        "others_pass": _share(passes_N[~same_N]),
        "same_of_passing": _share(same_N[passes_N]),
        "score_at": round(float(np.interp(threshold, cosine_N[order], fitted_N)), 2),
    }


def best_cosine(cosine_N: np.ndarray, score_N: np.ndarray) -> float:
    """The smallest cosine of the threshold that tells most pairs rightly into those that mean the same and others."""
    same_N = score_N >= EQUIVALENT
    candidates = np.unique(cosine_N)
    right = [int(((cosine_N >= cosine) == same_N).sum()) for cosine in candidates]
    return float(candidates[int(np.argmax(right))])


def _share(flags: np.ndarray | Sequence[bool]) -> float | None:
    return round(float(np.mean(flags)), 3) if len(flags) else None
