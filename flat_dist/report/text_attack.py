"""The attack on one text, for people and as plain values: texts, probabilities, and why it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.data.alignment import align_spans
from flat_dist.data.labels import printable
from flat_dist.evaluation.diagnosis import blocked, describe

BEFORE, AFTER = "bold red", "bold green"
"""Colours of words that were changed, and of what replaces them."""


@dataclass(frozen=True)
class TextAttack:
    """What an attack made of one text."""

    attack: str
    label_names: tuple[str, ...]
    row: Mapping[str, Any]
    """A row of `flat_dist.data.shards.SCHEMA`."""
    counts: CandidateCounts
    max_queries: int
    """Of this text; 0: no limit."""
    max_seconds: float
    """0: no limit."""

    @property
    def label(self) -> str:
        """The class of the text."""
        return self.label_names[self.row["label"]]

    def predicted(self, side: str) -> str | None:
        """The class that the model predicts for the `original` or the `perturbed` text; None after an error."""
        scores = self.row[f"{side}_scores"]
        return self.label_names[scores.index(max(scores))] if scores else None

    @property
    def ended(self) -> str:
        """Why the attack ended, in words."""
        status, queries = self.row["status"], self.row["num_queries"]
        if status == "successful":
            return f"success: the model now predicts {_shown(self.predicted('perturbed'))}"
        if status == "skipped":
            return f"not attacked: the model was wrong already, it predicts {_shown(self.predicted('original'))}"
        if status == "error":
            return f"error: {self.row['error']}"
        if status == "timeout" and (queries == self.max_queries or not self.max_seconds):
            return f"query limit: {queries:,} queries are used up; --attack.max-queries sets another limit"
        if status == "timeout":
            return f"time: {self.max_seconds:g} seconds are used up; --attack.max-seconds sets another limit"
        why = blocked(self.counts)
        return "no more candidates: the prediction stays" + (f"; {why}" if why else "")

    def values(self) -> dict[str, Any]:
        """All of it as plain values."""
        row = self.row
        return {
            "attack": self.attack,
            "label": self.label,
            "status": row["status"],
            "ended": self.ended,
            "text": row["original_text"],
            "adversarial_text": row["perturbed_text"],
            "predicted": self.predicted("original"),
            "adversarial_predicted": self.predicted("perturbed"),
            "probabilities": self._by_class("original"),
            "adversarial_probabilities": self._by_class("perturbed"),
            "changed": row["swaps"],
            "queries": row["num_queries"],
            "candidates": self.counts.to_dict() | {"words_without": list(self.counts.words_without)},
        }

    def _by_class(self, side: str) -> dict[str, float]:
        return dict(zip(self.label_names, self.row[f"{side}_scores"] or (), strict=False))

    def show(self, console: Console) -> None:
        """Print it: changed words in colours on a terminal that has them, else between `[[` and `]]`."""
        coloured = console.is_terminal and console.color_system is not None and not console.no_color
        row = self.row
        original, perturbed = row["original_text"].split(" "), row["perturbed_text"].split(" ")
        replaced_only = all(len(one["substitute"].split()) == len(one["original"].split()) for one in row["swaps"])
        spans = align_spans(original, perturbed, replaced_only)
        changed = [span for span in spans if original[span[0] : span[1]] != perturbed[span[2] : span[3]]]
        lines = [
            ("attack", Text(f"{self.attack}, label {_shown(self.label)}")),
            ("ended", Text(self.ended)),
            ("queries", Text("not counted" if row["num_queries"] is None else f"{row['num_queries']:,}")),
            ("original", _marked(original, [span[:2] for span in changed], BEFORE if coloured else "")),
        ]
        if changed:
            lines.append(("adversarial", _marked(perturbed, [span[2:] for span in changed], AFTER if coloured else "")))
            swaps = (f"{one['original'] or '-'} -> {one['substitute'] or '-'}" for one in row["swaps"])
            lines.append(("changed", Text(", ".join(swaps))))
        lines.append(("probability", Text(self._probabilities())))
        if said := describe(self.counts):
            lines.append(("candidates", Text(said)))
        if self.counts.words_without:
            lines.append(("without", Text(f"no candidates for {', '.join(self.counts.words_without)}")))
        for name, line in lines:
            console.print(Text(f"{name + ':':13}") + line, soft_wrap=True)

    def _probabilities(self) -> str:
        after = self._by_class("perturbed")
        pairs = self._by_class("original").items()
        return ", ".join(f"{_shown(name)} {before:.3f} -> {after[name]:.3f}" for name, before in pairs) or "unknown"


def _shown(name: str | None) -> str:
    return printable(name) if name is not None else "nothing"


def _marked(words: Sequence[str], spans: Sequence[tuple[int, ...]], style: str) -> Text:
    """Words, of which those in spans stand out."""
    starts, ends = {start for start, end in spans if end > start}, {end for start, end in spans if end > start}
    inside = {index for start, end in spans for index in range(start, end)}
    found = Text()
    for index, word in enumerate(words):
        opening = "" if style or index not in starts else "[["
        closing = "" if style or index + 1 not in ends else "]]"
        found.append(" " if index else "")
        found.append(f"{opening}{word}{closing}", style if index in inside else "")
    return found
