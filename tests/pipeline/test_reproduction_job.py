"""A small reproduction as a user starts it: one cell, then again, and one that is killed and continued."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flat_dist.data.shards import read_manifest
from flat_dist.evaluation.significance import mcnemar
from flat_dist.models import checkpoint as checkpoints
from flat_dist.reproduction import cards
from flat_dist.reproduction.cells import TABLE_10
from flat_dist.reproduction.claims import CLAIMS, differences
from flat_dist.reproduction.growing import SOURCES, row_of
from flat_dist.reproduction.growing_numbers import LINES
from flat_dist.reproduction.outcomes import decode
from flat_dist.storage.folder import Folder
from tests.pipeline.conftest import Command, printed

pytestmark = pytest.mark.ray

SCRIPT = Path(__file__).parents[2] / "jobs" / "reproduce.py"
NAME = "main-sst2-cnn-pwws-ours-1111"
OPTIONS = "--tables 2 --models cnn --datasets sst2 --attacks pwws --recipes ours --seeds 1 --pairs 3 --sample 12 --json"


def arguments(folder: Path) -> list[str]:
    given = ["--data", str(folder), "--storage", str(folder / "runs"), "--results", str(folder / "results")]
    return [*OPTIONS.split(), *given, "--hardware", "cpu"]


def write_sst2(folder: Path) -> None:
    """Sentences whose class is that of their adjectives."""
    words = (["bad", "awful", "poor", "dull", "weak"], ["good", "fine", "great", "nice", "lovely"])
    (folder / "sst2").mkdir()
    for split, count in (("train", 60), ("dev", 20), ("test", 16)):
        rows = [
            f"a {words[n % 2][n % 5]} film with a {words[n % 2][n % 3]} story number {split}{n},{n % 2}"
            for n in range(count)
        ]
        (folder / "sst2" / f"{split}.csv").write_text("\n".join(["text,label", *rows]))


def stages(folder: Path) -> dict[str, int]:
    """The finished stages, and when each was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("stages/*/stage.json")}


@pytest.fixture(scope="module")
def finished(flat_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reproduction with one cell."""
    folder = tmp_path_factory.mktemp("reproduction")
    write_sst2(folder)
    done = printed(flat_dist("reproduce", *arguments(folder)))
    assert done["cells"] == [NAME] and done["failed"] == {}
    return folder


def test_a_cell_becomes_a_card(finished: Path) -> None:
    card = cards.read(Folder(finished / "results"))[NAME]
    assert card.measured.texts == {"train": 60, "dev": 20, "test": 16}
    assert list(card.measured.trainings) == ["base", "adv", "flat"]
    for trained in card.measured.trainings.values():
        own = trained.attacks["pwws"]
        assert trained.accuracy == decode(trained.right).mean() and len(trained.right) == 16
        assert own.n == 12 and own.outcomes.count("-") == 4
        assert own.after_attack_accuracy == own.outcomes.count("1") / 12
        assert own.probabilities is not None and own.probabilities >= own.after_attack_accuracy
        assert list(own.explained) == ["ig", "lime"] and own.saturated is not None
    assert card.measured.trainings["flat"].attacks["pwws"].paper.after_attack_accuracy == 0.1483
    assert not card.resumed and card.hours > 0 and card.command.startswith("python jobs/reproduce.py --tables 2 ")
    assert str(finished) not in json.dumps(card.settings) + card.command


def test_the_claims_follow_from_the_card_alone(finished: Path) -> None:
    card = cards.read(Folder(finished / "results"))[NAME]
    found = differences([card])[CLAIMS[0]]
    flat, adv = (card.measured.trainings[name].attacks["pwws"].outcomes for name in ("flat", "adv"))
    pairs = list(zip(flat, adv, strict=True))
    assert found.p_values == [mcnemar(pairs.count(("1", "0")), pairs.count(("0", "1")))]


def test_the_same_command_runs_nothing_again(finished: Path, flat_dist: Command) -> None:
    before, path = stages(finished), finished / "results" / "cards" / f"{NAME}.json"
    written = path.stat().st_mtime_ns
    done = flat_dist("reproduce", *arguments(finished))
    assert printed(done)["cells"] == [NAME] and "cell 1 of" not in done.stderr
    assert stages(finished) == before and path.stat().st_mtime_ns == written
    assert "| SST-2 | CNN | pwws | flat | 83.3 |" in (finished / "results" / "README.md").read_text()


def test_a_lost_card_is_made_of_the_stages(finished: Path, flat_dist: Command) -> None:
    results, before = Folder(finished / "results"), stages(finished)
    first = cards.read(results)[NAME]
    (results / "cards").delete(f"{NAME}.json")
    printed(flat_dist("reproduce", *arguments(finished)))
    again = cards.read(results)[NAME]
    assert again.measured == first.measured and again.resumed
    assert stages(finished) == before


def test_a_card_of_other_settings_is_made_again(finished: Path, flat_dist: Command) -> None:
    other = [argument if argument != "12" else "11" for argument in arguments(finished)]
    done = flat_dist("reproduce", *other, "--dry-run")
    assert printed(done)["cells"][0]["current"] is False
    assert printed(flat_dist("reproduce", *arguments(finished), "--dry-run"))["cells"][0]["current"] is True


TOPICS = (
    "war army peace minister president treaty border troops election vote protest iraq china russia bomb police",
    "game team coach season player goal match win score league cup race final record ball football",
    "market stock profit price bank oil trade company shares sales dollar economy investor growth deal merger",
    "software computer internet phone space science research web online network virus chip satellite video data search",
)


def places(folder: Path) -> list[str]:
    """Options for data, finished steps and results below a folder."""
    return ["--data", str(folder), "--storage", str(folder / "runs"), "--results", str(folder / "results")]


def write_news(folder: Path) -> None:
    """Texts of eight words of one topic; each word of the training texts is frequent enough to be known."""
    (folder / "ag_news").mkdir()
    for split, count in (("train", 160), ("dev", 16), ("test", 16)):
        rows = []
        for n in range(count):
            words = TOPICS[n % 4].split()
            rows.append(f"{' '.join(words[(n // 4 + 3 * k) % 16] for k in range(8))} {split}{n},{n % 4}")
        (folder / "ag_news" / f"{split}.csv").write_text("\n".join(["text,label", *rows]))


def test_table_10_is_one_card_of_models_with_more_and_more_groups(flat_dist: Command, tmp_path: Path) -> None:
    write_news(tmp_path)
    options = "--tables 10 --models cnn --datasets ag_news --recipes ours --seeds 1 --sample 6 --json --hardware cpu"
    given = [*options.split(), *places(tmp_path)]
    done = flat_dist("reproduce", *given)
    name = "groups-ag_news-cnn-textfooler-ours-1111"
    assert printed(done)["cells"] == [name]
    card = cards.read(Folder(tmp_path / "results"))[name]
    assert list(card.measured.trainings) == list(TABLE_10)
    assert card.measured.clustered.startswith("GloVe 6B 50d counter-fitted")
    assert len({stage for stage in stages(tmp_path) if stage.startswith("train-base-0-")}) == len(TABLE_10)
    models = [Folder(path) for path in (tmp_path / "runs" / "stages").glob("train-base-0-*")]
    groups = {model.config.group_masks: model.model.groups for model in map(checkpoints.load, models)}
    assert sorted(groups) == list(TABLE_10.values())
    assert all(len(masks.values_G) == count and (masks.values_G != 1).any() for count, masks in groups.items() if count)
    assert "| AG News | CNN | textfooler | groups-50 | 91.1 | 1.4 |" in (tmp_path / "results" / "README.md").read_text()
    assert "cell 1 of" not in flat_dist("reproduce", *given).stderr


def test_growing_data_is_one_card_with_all_rounds_of_all_sources(flat_dist: Command, tmp_path: Path) -> None:
    write_sst2(tmp_path)
    options = "--tables growing --datasets sst2 --rounds 2 --seeds 1 --sample 6 --json --hardware cpu"
    given = [*options.split(), *places(tmp_path)]
    done = flat_dist("reproduce", *given)
    name = "growing-sst2-cnn-textfooler-ours-1111"
    assert printed(done)["cells"] == [name]
    results, before = Folder(tmp_path / "results"), stages(tmp_path)
    card = cards.read(results)[name]
    rows = {row_of(kind, source, number) for source, kind in LINES for number in (0, 1, 2)}
    assert card.measured.trainings.keys() == rows
    for row, trained in card.measured.trainings.items():
        assert trained.round == (0 if row == "base" else int(row[-1]))
        outcomes = trained.attacks["textfooler"].outcomes
        assert len(outcomes) == 16 and outcomes.count("-") == 10
    # all sources and both kinds of training start from one base, which is attacked once
    counts = Counter(re.split(r"-[0-9a-f]{16}$", stage)[0] for stage in before)
    assert [counts[f"train-{each}"] for each in ("base-0", "adv-1", "adv-2", "flat-1", "flat-2")] == [1, 3, 3, 3, 3]
    manifests = [read_manifest(Folder(path)) for path in (tmp_path / "runs" / "stages").glob("attack-*")]
    assert [manifest["rows"] for manifest in manifests if manifest].count(60) == 3  # of all training texts
    spent, steps = card.measured.spent, 6  # of a round: 60 texts are one batch, for six epochs
    for kind in ("adv", "flat"):
        for number in (1, 2):
            attack, *on_the_fly = (spent[row_of(kind, source, number)] for source in SOURCES)
            assert {one.steps for one in (attack, *on_the_fly)} == {number * steps}
            assert attack.attack_seconds > 0 and all(one.attack_seconds == 0 for one in on_the_fly)
            assert all(one.training_seconds is not None for one in (attack, *on_the_fly))
    assert "optimiser steps" in card.measured.equal_compute
    (results / "cards").delete(f"{name}.json")
    printed(flat_dist("reproduce", *given))
    assert stages(tmp_path) == before and cards.read(results)[name].measured == card.measured
    assert "## Growing data" in (tmp_path / "results" / "README.md").read_text()
    assert [path.name for path in (tmp_path / "results" / "figures").iterdir()] == [f"{name[:-5]}.png"]


@pytest.mark.slow
def test_a_killed_reproduction_continues(assets: object, private_token: None, tmp_path: Path) -> None:
    write_sst2(tmp_path)
    command = [sys.executable, str(SCRIPT), *arguments(tmp_path)]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(name.startswith("train-") for name in stages(tmp_path)):
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    before = stages(tmp_path)
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(out.splitlines()[-1])["cells"] == [NAME]
    assert before.items() <= stages(tmp_path).items()
    assert cards.read(Folder(tmp_path / "results"))[NAME].resumed
