"""`flat-dist attack --text`: one attack as TextAttack runs it, why it ended, and how it is shown."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flat_dist.attack.candidate_counts import CandidateCounts
from flat_dist.commands.attack import job
from flat_dist.config.errors import UserError
from flat_dist.models import checkpoint as checkpoints
from flat_dist.report.text_attack import TextAttack
from flat_dist.resources import textattack_setup
from flat_dist.resources.assets import Assets
from flat_dist.storage.folder import Folder

TEXT = "A Fine film, and a good story with a warm heart!"
CLEAN = "a fine film , and a good story with a warm heart !"


def attack(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Lines for people, those of the log included, and the JSON object after them."""
    job([*arguments, "--json", "--hardware", "cpu"])
    printed = capsys.readouterr()
    *lines, last = printed.out.splitlines()
    return [*lines, *printed.err.splitlines()], json.loads(last)


def test_the_attack_is_textattacks(
    victim: Folder, assets: Assets, one_thread: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    textattack_setup.activate(assets)
    from flat_dist.attack import recipes
    from flat_dist.attack.victim import Victim

    checkpoint = checkpoints.load(victim)
    scores = checkpoint.probabilities([CLEAN])[0].tolist()
    label = scores.index(max(scores))
    name, other = checkpoint.label_names[label], checkpoint.label_names[1 - label]
    resources = recipes.LinguisticResources(assets, "counterfit", "cpu", cache_size=4096)
    expected = recipes.build("pwws", Victim(checkpoint), resources).attack(CLEAN, label)
    changed = expected.perturbed_result.attacked_text.text
    command = ["--checkpoint", victim.uri, "--text", TEXT, "--attack.name", "pwws", "--storage", str(tmp_path)]

    lines, found = attack(capsys, *command)
    assert (found["text"], found["adversarial_text"], found["label"]) == (CLEAN, changed, name)
    assert found["queries"] == expected.num_queries
    assert list(found["probabilities"].values()) == scores
    assert list(found["adversarial_probabilities"].values()) == checkpoint.probabilities([changed])[0].tolist()
    assert f"queries:     {expected.num_queries}" in lines
    differing = [new for old, new in zip(CLEAN.split(), changed.split(), strict=True) if old != new]
    assert [swap["substitute"] for swap in found["changed"]] == differing
    if found["status"] == "successful":
        assert found["ended"] == f"success: the model now predicts {other}"
    marked = " ".join(f"[[{new}]]" if new in differing else new for new in changed.split())
    assert not differing or f"adversarial: {marked}" in lines

    _, wrong = attack(capsys, *command, "--label", other)
    assert (wrong["status"], wrong["queries"]) == ("skipped", 1)
    assert wrong["ended"] == f"not attacked: the model was wrong already, it predicts {name}"
    _, short = attack(capsys, *command, "--attack.max-queries", "3")
    assert (short["status"], short["queries"]) == ("timeout", 3)
    assert short["ended"].startswith("query limit: 3 queries are used up")
    assert not any("leaves out" in line for line in lines)
    lines, nothing = attack(capsys, *command[:2], "--text", "xyzzy \u2605 plugh the and", *command[4:])
    assert any("hint: cleaning leaves out" in line for line in lines)
    assert (nothing["status"], nothing["candidates"]["without"]) == ("failed", 2)
    assert nothing["candidates"]["words_without"] == ["xyzzy", "plugh"]
    assert nothing["candidates"]["fixed"] == {"stop words": 2}
    assert nothing["ended"].startswith("no more candidates: the prediction stays; no candidate for 2 of 2 words")
    assert list(tmp_path.iterdir()) == []


def test_a_function_is_attacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one_model.py").write_text(
        "def predict(texts):\n    return [[0.2, 0.8] if 'good' in text.split() else [0.9, 0.1] for text in texts]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    command = ["--checkpoint", "one_model:predict", "--text", "a good film", "--attack.name", "pwws"]
    with pytest.raises(UserError, match=r"give --data\.label-names"):
        job(command)
    _, found = attack(capsys, *command, "--label", "yes", "--data.label-names", "no", "yes")
    assert (found["status"], found["adversarial_predicted"]) == ("successful", "no")
    assert [(one["index"], one["original"]) for one in found["changed"]] == [(1, "good")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "positive"], "--label has an effect only with --text"),
        (["--text", "a film", "--data.file", "x.csv"], "--data.file has no effect with --text"),
        (["--text", "a film", "--evaluation.sample", "3"], "--evaluation.sample has no effect with --text"),
        (["--text", "a film", "--label", "great"], "--label: label 'great' is none of the classes negative, positive"),
        (["--text", "#*#"], "has no word after cleaning"),
    ],
    ids=["label", "data", "sample", "class", "words"],
)
def test_what_cannot_be_attacked_is_one_sentence(victim: Folder, arguments: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        job(["--checkpoint", victim.uri, *arguments])
    assert said in str(error.value) and "\n" not in str(error.value)


ROW = {
    "label": 1,
    "original_text": "a fine film",
    "perturbed_text": "a thin film",
    "status": "successful",
    "original_scores": [0.1, 0.9],
    "perturbed_scores": [0.7, 0.3],
    "swaps": [{"index": 1, "original": "fine", "substitute": "thin"}],
    "num_queries": 1234,
    "error": None,
}
COUNTS = CandidateCounts(2, 1, 40, Counter({"part of speech": 30, "sentence encoder": 8}), Counter({"stop words": 1}))


def shown(row: dict[str, Any] = ROW, counts: CandidateCounts = COUNTS, **console: Any) -> str:
    file = io.StringIO()
    TextAttack("textfooler", ("bad", "good"), row, counts, 50, 2.5).show(Console(file=file, **console))
    return file.getvalue()


def test_plain_marks_where_there_are_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "attack:      textfooler, label good\n"
        "ended:       success: the model now predicts bad\n"
        "queries:     1,234\n"
        "original:    a [[fine]] film\n"
        "adversarial: a [[thin]] film\n"
        "changed:     fine -> thin\n"
        "probability: bad 0.100 -> 0.700, good 0.900 -> 0.300\n"
        "candidates:  40 candidates for 2 of 3 words (not: stop words 1 (33%)), none for 1 of them; passed: 2; "
        "rejected: part of speech 30 (75%), sentence encoder 8 (20%)\n"
    )
    assert shown() == expected
    assert shown(force_terminal=True, color_system=None) == expected
    monkeypatch.setenv("NO_COLOR", "1")
    assert "[[thin]]" in shown(force_terminal=True, color_system="standard")


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = shown(force_terminal=True, color_system="standard", legacy_windows=False)
    assert "\x1b[1;31mfine\x1b[0m" in found and "\x1b[1;32mthin\x1b[0m" in found and "[[" not in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "timeout", "num_queries": 50}, "query limit: 50 queries are used up"),
        ({"status": "timeout", "num_queries": 49}, "time: 2.5 seconds are used up"),
        ({"status": "failed"}, "no more candidates: the prediction stays; no candidate for 1 of 2 words"),
        ({"status": "error", "error": "OSError: gone", "original_scores": None, "perturbed_scores": None}, "OSError"),
    ],
    ids=["queries", "seconds", "failed", "error"],
)
def test_why_an_attack_ended(changes: dict[str, Any], said: str) -> None:
    assert said in shown(ROW | changes)
    assert "constraints reject 38 of 40 candidates: part of speech 30 (75%)" in shown(ROW | {"status": "failed"})
