"""The language model of genetic: what it was trained on, and what it answers."""

import pytest

from flat_dist.data import built_in
from flat_dist.resources.assets import Assets
from flat_dist.resources.language_model import CORPORA, LanguageModel, _read, held_out_perplexity, words_of
from flat_dist.resources.packages import fetch


def test_it_prefers_what_follows_in_english(assets: Assets) -> None:
    model = LanguageModel(assets, 64)
    the, was, zzz = model.get_words_probs("of", ["THE", "was", "zzz"])
    assert the > was > zzz > 0
    assert model.get_words_probs("Of", ["the", "was", "zzz"]) == [the, was, zzz]
    assert model.get_words_probs("of", []) == []


def test_its_perplexity_on_the_built_in_datasets_is_kept(assets: Assets) -> None:
    measured = held_out_perplexity(assets)
    assert set(measured) == set(built_in.DATASETS)
    assert all(400 < perplexity < 900 for perplexity in measured.values()), measured


@pytest.mark.slow
def test_it_has_not_seen_the_built_in_datasets(assets: Assets) -> None:
    from rich.console import Console

    archives = fetch(assets.folder / "packages", Console(stderr=True))
    seen = {tuple(sentence) for corpus in CORPORA for sentence in _read(archives, corpus)}
    for name, dataset in built_in.DATASETS.items():
        texts = [tuple(words_of(row.text)) for split in dataset.splits() for row in split.rows]
        long = [text for text in texts if len(text) > 7]  # shorter ones are in any English text
        assert sum(text in seen for text in long) <= len(long) // 1000, name
